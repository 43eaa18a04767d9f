"""Deadlines that a paced thread misses beside a busy Python thread: methods of a stream and its C functions.

    python benchmarks/paced.py

A thread of C is woken every 1.33 ms, as by an audio library at 48 kHz, and does a block of 64 samples. It
calls Python, which calls `Stream.step` 64 times or `Stream.run` once, or it calls the C functions of
`stream.native`. All take turns, beside a Python thread that computes and without one. A block is missed if it
is not done before the next one is due. Needs a C compiler, and Linux.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from lstm import LSTM
from lstm.comparison.machine import cpu_name

RUN = ctypes.CFUNCTYPE(ctypes.c_int, *[ctypes.c_void_p] * 3, ctypes.c_ssize_t)
SAMPLES, RATE = 64, 48000
PERIOD = SAMPLES * 10**9 // RATE  # nanoseconds


class Stepper(ctypes.Structure):
    """What `run_steps` of paced.c takes as its stream."""

    _fields_ = (
        ("step", ctypes.c_void_p),
        ("stream", ctypes.c_void_p),
        ("inputs", ctypes.c_ssize_t),
        ("outputs", ctypes.c_ssize_t),
    )


def compiled() -> ctypes.CDLL:
    """paced.c as a library."""
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder, "paced.so")
        source = Path(__file__).with_name("paced.c")
        subprocess.run(["cc", "-O2", "-shared", "-fPIC", source, "-o", library], check=True)
        paced = ctypes.CDLL(str(library))
    paced.pace.restype = ctypes.c_int64
    paced.pace.argtypes = [ctypes.c_void_p] * 4 + [ctypes.c_ssize_t, ctypes.c_int64, ctypes.c_int64]
    paced.pace.argtypes += [ctypes.POINTER(ctypes.c_int64)]
    return paced


class Blocks:
    """A net of H units, one sample in at a time, and the ways to do a block: X (T, 1) -> Y (T, H)."""

    def __init__(self, library: ctypes.CDLL, hidden_size: int) -> None:
        self.pace: Callable[..., int] = library.pace
        self.stream = LSTM(1, hidden_size, dtype=np.float32, rng=0).stream()
        self.X, self.Y = np.ones((SAMPLES, 1), np.float32), np.empty((SAMPLES, hidden_size), np.float32)
        native = self.stream.native
        self.stepper = Stepper(native.step, native.handle, 1, hidden_size)
        self.ways: dict[str, tuple[Any, int | None]] = {
            "`Stream.step`, 64 times": (RUN(self.by_steps), None),
            "`native.step`, 64 times": (library.run_steps, ctypes.addressof(self.stepper)),
            "`Stream.run`": (RUN(self.by_run), None),
            "`native.run`": (RUN(native.run), native.handle),
        }

    def by_steps(self, *_: Any) -> int:
        """A block by the method, step by step."""
        for x, y in zip(self.X, self.Y, strict=True):
            self.stream.step(x, y)
        return 0

    def by_run(self, *_: Any) -> int:
        """A block by the method."""
        self.stream.run(self.X, self.Y)
        return 0

    def turn(self, way: str, blocks: int) -> tuple[int, int]:
        """How many blocks were missed, and the longest time of one in nanoseconds."""
        function, stream = self.ways[way]
        longest = ctypes.c_int64()
        address = ctypes.cast(function, ctypes.c_void_p)
        arrays = self.X.ctypes.data, self.Y.ctypes.data
        missed = self.pace(address, stream, *arrays, SAMPLES, PERIOD, blocks, ctypes.byref(longest))
        if missed < 0:
            raise SystemExit(f"{way} was refused")
        return missed, longest.value


@contextmanager
def busy_thread(is_there: bool) -> Iterator[None]:
    """A Python thread that computes while the block runs."""
    stop = threading.Event()

    def compute() -> None:
        while not stop.is_set():
            sum(range(1000))

    thread = threading.Thread(target=compute)
    if is_there:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        if is_there:
            thread.join()


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--hidden", type=int, default=20, help="hidden_size (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=4, help="turns of each way (default: %(default)s)")
    parser.add_argument("--blocks", type=int, default=375, help="of a turn (default: %(default)s, 0.5 s)")
    options = parser.parse_args()
    block = Blocks(compiled(), options.hidden)
    missed = dict.fromkeys(((way, busy) for way in block.ways for busy in (False, True)), 0)
    longest = dict.fromkeys(missed, 0)
    for _ in range(options.rounds):
        for way, busy in missed:
            with busy_thread(busy):
                count, took = block.turn(way, options.blocks)
            missed[way, busy] += count
            longest[way, busy] = max(longest[way, busy], took)
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    print(f"{cpu_name()}, {os.cpu_count()} CPUs, load average {load}; H {options.hidden}, float32,")
    print(f"{options.rounds * options.blocks} blocks of {SAMPLES} samples, due every {PERIOD / 1e6:.2f} ms\n")
    print("| a block by | missed alone | missed beside a busy thread | longest alone | longest beside it |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for way in block.ways:
        shares = [f"{missed[way, busy] / options.rounds / options.blocks:.1%}" for busy in (False, True)]
        times = [f"{longest[way, busy] / 1e6:.2f} ms" for busy in (False, True)]
        print(f"| {' | '.join([way, *shares, *times])} |")


if __name__ == "__main__":
    main()
