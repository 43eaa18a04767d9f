"""Scratch memory that threads keep between calls: bounded, freed on request, at a thread's end, by a fork."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from support import assert_same_bits

import lstm
from lstm import LSTM, _kernel

KEPT = 2 << 20  # as in csrc/scratch.h


def run(hidden_size: int = 8, rows: int = 1, steps: int = 3) -> np.ndarray:
    """One call that needs scratch memory."""
    net = LSTM(3, hidden_size, dtype=np.float32, init="pytorch", rng=0)
    return net.forward_sequence(np.ones((rows, steps, 3), np.float32))


@pytest.fixture(autouse=True)
def nothing_kept() -> None:
    lstm.release_memory()


def test_memory_is_kept_and_released_once() -> None:
    run()
    kept = lstm.release_memory()
    assert 0 < kept < 100_000
    assert lstm.release_memory() == 0
    run()
    assert lstm.release_memory() == kept


def test_the_largest_is_kept_and_no_more() -> None:
    run(64, steps=1000)
    largest = _kernel.release_scratch()
    for hidden_size, steps in ((64, 1000), (8, 3), (32, 100)):
        run(hidden_size, steps=steps)
    assert _kernel.release_scratch() == largest


def test_what_is_large_is_not_kept() -> None:
    run(4000, rows=96, steps=1)
    assert _kernel.release_scratch() == 0


def test_calls_of_changing_sizes_keep_no_more_than_the_bound() -> None:
    rng = np.random.default_rng(0)
    nets = [LSTM(3, hidden_size, dtype=np.float32, rng=0) for hidden_size in (1, 20, 300)]
    X = np.ones((100, 12, 3), np.float32)
    for _ in range(300):
        net = nets[rng.integers(len(nets))]
        net.forward_sequence(X[: rng.integers(1, 100), : rng.integers(1, 12)].copy())
    assert 0 < _kernel.release_scratch() <= KEPT


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs Linux's /proc")
def test_a_thread_that_ends_keeps_nothing() -> None:
    thread = threading.Thread(target=run)
    thread.start()
    task = Path(f"/proc/self/task/{thread.native_id}")
    thread.join()
    while task.exists():  # for Python it has ended earlier
        time.sleep(0.001)
    assert _kernel.release_scratch() == 0


def test_memory_of_another_thread_is_released() -> None:
    ready, done = threading.Event(), threading.Event()
    results: list[np.ndarray] = []

    def work() -> None:
        results.append(run())
        ready.set()
        assert done.wait(60)
        results.append(run())

    thread = threading.Thread(target=work)
    thread.start()
    assert ready.wait(60)
    assert _kernel.release_scratch() > 0
    done.set()
    thread.join()
    assert_same_bits(results[0], results[1])


def test_releasing_while_others_are_at_work() -> None:
    expected, stop = run(20, steps=500), threading.Event()
    results: list[list[np.ndarray]] = [[], []]

    def work(number: int) -> None:
        while not stop.is_set():
            results[number] = [*results[number][-20:], run(20, steps=500)]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for _ in range(3000):
        _kernel.release_scratch()
    stop.set()
    for thread in threads:
        thread.join()
    for found in results:
        assert found
        for Y in found:
            assert_same_bits(Y, expected)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_begins_with_nothing() -> None:
    """The child frees what its parent's threads kept, and computes; the parent keeps its own."""
    ready, done = threading.Event(), threading.Event()

    def work() -> None:
        run()
        ready.set()
        done.wait(60)

    thread = threading.Thread(target=work)
    thread.start()
    assert ready.wait(60)
    expected = run()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            if _kernel.release_scratch() == 0 and run().tobytes() == expected.tobytes():
                status = 0 if _kernel.release_scratch() > 0 else 2
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert _kernel.release_scratch() > 0
    done.set()
    thread.join()
