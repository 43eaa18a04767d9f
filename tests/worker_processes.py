"""What tests do to the worker processes of a Dask cluster."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from typing import Any


def slow_down(seconds: float) -> None:
    """On a worker: let every pass of a net take longer; 0: as it was."""
    from lstm.core.net import Net

    for name in ("run", "record"):
        method = getattr(Net, name)
        original = getattr(method, "original", method)

        def slow(*arguments: Any, original: Any = original) -> Any:
            time.sleep(seconds)
            return original(*arguments)

        slow.original = original  # type: ignore[attr-defined]
        setattr(Net, name, slow if seconds else original)


@contextlib.contextmanager
def slow_workers(client: Any, seconds: float) -> Iterator[None]:
    """Every pass of a net takes longer on all workers, so that there is a middle of a computation."""
    client.run(slow_down, seconds)
    yield
    client.run(slow_down, 0)


def kill_one(client: Any) -> None:
    """End the process of a worker by SIGKILL; its nanny starts another."""
    os.kill(next(iter(client.run(os.getpid).values())), signal.SIGKILL)
