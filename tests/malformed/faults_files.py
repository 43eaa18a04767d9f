"""A format whose loader does all that none may do, to see that `run` tells of it."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import Case

FILE = "broken.npz"
LONGEST = 0.2  # seconds, in place of those of `run`: three times that is soon over on a busy machine too
FAULTS = {
    "sound": "",
    "crash": "the process ended with -6",
    "other error": "KeyError: 'weight'",
    "warning": "RuntimeWarning: odd",
    "without name": "its message lacks",
    "without word": "its message lacks entry",
    "long": "its message has",
    "memory": "MB for a file of 6 bytes",
    "slow": f"took more than {LONGEST} s",
    "slow process": f"took more than {LONGEST} s",
    "waiting": "",
    "read": "it is read as a net",
    "hang": "it hung for",
    "exit": "SystemExit",
}


def cases() -> Iterator[Case]:
    for name in FAULTS:
        yield Case(name, FILE, name.encode(), ("entry",))


def prepare() -> None:
    import lstm

    lstm.load = _load
    sys.modules["__main__"].LONGEST = LONGEST  # type: ignore[attr-defined]


def _spend(seconds: float) -> None:
    """Take so much time of the CPU."""
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def _load(path: Path) -> Any:
    import warnings

    import lstm

    fault = path.read_text()
    if fault == "crash":
        os.abort()
    if fault == "other error":
        raise KeyError("weight")
    if fault == "warning":
        warnings.warn("odd", RuntimeWarning, stacklevel=1)
    if fault == "without name":
        raise lstm.FormatError("entry")
    if fault == "without word":
        raise lstm.FormatError(f"{path}")
    if fault == "long":
        error = lstm.FormatError("")
        error.args = (f"{path}: entry" + "x" * 9000,)
        raise error
    if fault == "memory":
        del [bytearray(b"x" * (40 << 20))][:]
    if fault == "slow":
        _spend(1.5 * LONGEST)
    if fault == "slow process":
        child = os.fork()
        if child == 0:
            _spend(1.5 * LONGEST)
            os._exit(0)
        os.waitpid(child, 0)
    if fault == "waiting":
        time.sleep(1.5 * LONGEST)
    if fault == "read":
        return lstm.LSTM(3, 4)
    if fault == "hang":
        time.sleep(600)
    if fault == "exit":
        raise SystemExit(3)
    raise lstm.FormatError(f"{path}: entry")
