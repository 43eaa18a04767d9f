"""Signals such as Ctrl-C during a call of seconds, a second thread in a stream, forks during a step.

Shapes: B batch, T time, I input, H hidden.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest
from alarms import HEARD, EndedBefore, delay_of
from support import assert_same_bits, on_isa

import lstm
from lstm import LSTM, _kernel


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """CPU time counts that of all threads; tests/threads has the signals of a team."""
    lstm.set_num_threads(1)
    yield
    lstm.set_num_threads(None)


def many_steps(net: LSTM, *rows: int) -> np.ndarray:
    """X (..., T, I) that takes about a second of CPU time."""
    steps, took = 4, 0.0
    while took < 0.01:
        steps *= 2
        sample = np.zeros((*rows, steps, net.input_size), net.dtype)
        took = 1.0
        for _ in range(6):  # the quickest of them was not interrupted
            start = time.process_time()
            net.forward_sequence(sample)
            took = min(took, time.process_time() - start)
    return np.zeros((*rows, min(int(steps / took), 20_000_000 // net.input_size), net.input_size), net.dtype)


NETS: dict[str, dict[str, Any]] = {
    "one tile": {"hidden_size": 16, "dtype": np.float32},
    "float64": {"hidden_size": 100},
    "two layers": {"hidden_size": 32, "num_layers": 2},
    "two directions": {"hidden_size": 32, "bidirectional": True},
    "projection": {"hidden_size": 64, "proj_size": 8, "dtype": np.float32},
}


@pytest.mark.parametrize("rows", [(), (4,), (100,)])
@pytest.mark.parametrize("name", NETS)
def test_a_call_hears_signals(name: str, rows: tuple[int, ...]) -> None:
    """The exception comes in time, the thread's floating-point mode is its own, and the net works on.

    Many rows are run by slow kernels: a second of fast ones fills gigabytes, which take long to be freed.
    """
    net = LSTM(4, **NETS[name], rng=0)
    if rows == (100,):
        net = on_isa(net, "generic")
    check = np.random.default_rng(0).standard_normal((3, 20, 4)).astype(net.dtype)
    expected = net.forward_sequence(check)
    X = many_steps(net, *rows)
    mode = _kernel.floating_point_mode()
    assert delay_of(lambda: net.forward_sequence(X)) < HEARD
    assert _kernel.floating_point_mode() == mode
    assert_same_bits(net.forward_sequence(check), expected)


def test_a_trace_hears_signals() -> None:
    net = LSTM(4, 64, dtype=np.float32, rng=0)
    X = many_steps(net)[:300_000]
    assert delay_of(lambda: net.trace(X)) < HEARD


def backward_time(net: LSTM, X: np.ndarray) -> float:
    """Seconds of CPU time of a backward pass over X (B, T, I), the best of three."""
    took = np.inf
    for _ in range(3):
        tape = net.record(X)
        dY = np.ones_like(tape.Y)
        start = time.process_time()
        tape.backward(dY)
        took = min(took, time.process_time() - start)
    return took


@pytest.mark.parametrize(
    "options",
    [
        {"input_size": 16, "hidden_size": 64},
        {"input_size": 200, "hidden_size": 32},
        {"input_size": 4, "hidden_size": 64, "proj_size": 40, "proj_clip": 0.5, "peephole": True},
    ],
)
@pytest.mark.parametrize("part", [0.2, 0.5, 0.7])
def test_an_interrupted_backward(part: float, options: dict[str, Any]) -> None:
    """Wherever it is, in the steps or at the weights: `add_to` is as it was, and the tape is used."""
    net = on_isa(LSTM(**options, dtype=np.float32, rng=0), "generic")  # slow, so that little memory is needed
    few = np.random.default_rng(0).standard_normal((4, 100, net.input_size)).astype(np.float32)
    took = backward_time(net, few)
    repeats = int(np.ceil(0.25 / took))
    X = np.tile(few, (repeats, 1, 1))
    took *= repeats
    mode = _kernel.floating_point_mode()
    delay = np.inf
    for _ in range(10):  # a call may take less time than a few rows, timed on a busy machine, suggest
        tape = net.record(few)
        g = tape.backward(np.ones_like(tape.Y))
        before = {name: array.copy() for name, array in g.items()}
        tape = net.record(X)
        dY = np.ones_like(tape.Y)
        try:
            delay = delay_of(partial(tape.backward, dY, add_to=g), part * took)
            break
        except EndedBefore as ended:
            took = ended.took
    assert delay < HEARD
    assert _kernel.floating_point_mode() == mode
    for name, array in g.items():
        assert_same_bits(array, before[name], name)
    with pytest.raises(RuntimeError, match="this tape has been used"):
        tape.backward(dY)
    net.record(few).backward(dY[:4], add_to=g)


@pytest.mark.parametrize("backend", ["native", "numpy"])
@pytest.mark.parametrize("layers", [1, 2])
def test_an_interrupted_stream_is_as_before(layers: int, backend: str) -> None:
    net = LSTM(4, 32, num_layers=layers, rng=0)
    X = many_steps(net)
    stream = LSTM.from_state_dict(net.state_dict(), backend=backend).stream()  # type: ignore[arg-type]
    start = np.random.default_rng(0).standard_normal((10, 4))
    stream.run(start)
    before = stream.state
    assert delay_of(lambda: stream.run(X)) < HEARD
    for found, wanted in zip(stream.state, before, strict=True):
        assert_same_bits(found, wanted)
    twin = net.stream()
    twin.state = before
    np.testing.assert_allclose(stream.step(start[0]), twin.step(start[0]), rtol=0, atol=1e-13)


def test_a_step_of_many_rows_hears_signals() -> None:
    """It runs on a copy of the state, as `run` does."""
    net = LSTM(64, 512, dtype=np.float32, rng=0)
    stream = net.stream(20_000)
    x = np.ones((20_000, 64), np.float32)
    before = stream.state
    assert (
        delay_of(lambda: [stream.step(x) for _ in range(20)]) < HEARD + 1
    )  # storing 20,000 rows takes a while
    assert not before[0].any()


@pytest.mark.parametrize("backend", ["native", "numpy"])
def test_a_second_thread_in_a_stream_raises(backend: str) -> None:
    net = LSTM(4, 64, rng=0, backend=backend)  # type: ignore[arg-type]
    X = np.zeros((100_000 if backend == "native" else 5_000, 4))
    stream = net.stream()
    begun = threading.Event()

    def run() -> None:
        begun.set()
        while True:
            try:
                stream.run(X)
                return
            except RuntimeError:  # without a GIL the other thread may be the first
                pass

    thread = threading.Thread(target=run)
    thread.start()
    begun.wait()
    refused = 0
    while thread.is_alive():
        for call in (lambda: stream.run(X[:1]), lambda: stream.step(X[0]), lambda: stream.step([0, 0, 0, 0])):
            try:
                call()
            except RuntimeError as error:
                refused += "in the middle of a step in another thread" in str(error)
    thread.join()
    assert refused > 0
    stream.step(X[0])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning"
)  # of a fork beside a thread, which is what is tested
def test_a_fork_during_a_step_leaves_the_child_s_stream_usable() -> None:
    net = LSTM(4, 64, rng=0)
    stream = net.stream()
    X = np.zeros((400_000, 4))
    thread = threading.Thread(target=stream.run, args=(X,))
    thread.start()
    statuses = []
    while thread.is_alive() and len(statuses) < 20:
        child = os.fork()
        if child == 0:
            try:
                stream.run(X[:3])
                stream.step(X[0])
                net.layers[0].bf = np.zeros(64)
            except BaseException:
                os._exit(1)
            os._exit(0)
        statuses.append(os.waitpid(child, 0)[1])
    thread.join()
    assert statuses
    assert not any(statuses)
