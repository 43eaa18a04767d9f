"""Signals during long work of NumPy and the system: weights that are drawn, set, read, saved and loaded."""

from __future__ import annotations

import io
import os
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest
from alarms import HEARD, delay_of

from lstm import LSTM, load
from lstm.core import interruptible as module
from lstm.core.interruptible import LONG, interruptible
from lstm.formats import npz, writing
from lstm.formats.numpy_files import write_arrays

NOISE = np.random.default_rng(0).standard_normal(1 << 23)


def slow(*_: Any, **__: Any) -> None:
    """A second of CPU time in one call of NumPy, whose threads take none."""
    np.sort(NOISE, kind="stable")


def test_work_is_interrupted() -> None:
    assert delay_of(lambda: interruptible(slow, LONG)) < HEARD


def test_drawing_weights_is_interrupted() -> None:
    assert delay_of(lambda: LSTM(4, 700, rng=0)) < HEARD


def test_results_errors_and_modes_are_those_of_the_caller() -> None:
    with np.errstate(divide="raise"), pytest.raises(FloatingPointError):
        interruptible(lambda: np.ones(1) / np.zeros(1), LONG)
    caller = threading.current_thread()
    assert interruptible(threading.current_thread, LONG) is not caller
    assert interruptible(threading.current_thread, LONG - 1) is caller


def test_no_thread_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(*_: Any) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(module._thread, "start_new_thread", start)
    assert interruptible(lambda: 7, LONG) == 7


def test_a_thread_that_ends_before_its_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """As without memory for its first call: Python says so on stderr, and the thread is gone."""
    monkeypatch.setattr(module._thread, "start_new_thread", lambda *_: None)
    with pytest.raises(MemoryError, match="thread's work"):
        interruptible(lambda: 7, LONG)


@pytest.fixture
def net() -> LSTM:
    """Its file is longer than LONG."""
    return LSTM(300, 300, init="pytorch", rng=0)


def test_loading_is_interrupted(net: LSTM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "net.npz"
    net.save(path)
    monkeypatch.setattr(npz, "read", slow)
    assert delay_of(lambda: load(path)) < HEARD


@pytest.mark.parametrize("place", ["write", "fsync"])
def test_saving_is_interrupted(
    place: str, net: LSTM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old file is as it was, and nothing is left beside it."""
    path = tmp_path / "net.npz"
    net.save(path)
    before = path.read_bytes()
    if place == "write":
        monkeypatch.setattr(npz, "write", slow)
    else:
        monkeypatch.setattr(writing.os, "fsync", slow)
    assert delay_of(lambda: net.save(path)) < HEARD
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["net.npz"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_ctrl_c_anywhere_in_an_archive_is_ctrl_c() -> None:
    """No error of the half written archive takes its place."""
    arrays = {"a": np.ones(3), "b": np.ones(5)}
    place = left = 0

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal left
        if Path(frame.f_code.co_filename).stem not in ("zipfile", "__init__", "numpy_files"):
            return None
        if event == "line":
            left -= 1
            if left == 0:
                raise KeyboardInterrupt
        return trace

    while left <= 0:
        place += 1
        left = place
        found = sys.gettrace()
        sys.settrace(trace)
        try:
            write_arrays(io.BufferedWriter(io.BytesIO()), arrays)
        except KeyboardInterrupt:
            assert left <= 0
        finally:
            sys.settrace(found)
    assert place > 100
