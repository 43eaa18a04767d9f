"""HDF5 as Keras writes it: the names, shapes and arrays of a file, parsed by h5py in a process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NamedTuple, NoReturn, Self

import numpy as np

from ... import systems
from ...core import memory as memories
from ..archive import budget
from ..errors import FormatError
from . import hdf5_child

CHILD = Path(__file__).with_name("hdf5_child.py")
LONGEST_LISTING = 8 << 20  # bytes
# Of the clock, for a machine that is busy; the child bounds its own CPU time far more tightly.
SECONDS = 30.0
BYTES_A_SECOND = 10e6
# Python, NumPy and h5py were seen to take 110 MB of address space; less than this may be too little.
LITTLE_MEMORY = 256 << 20
THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS")
DTYPES = {"<f2": np.float16, "<f4": np.float32, "<f8": np.float64, "bfloat16": np.uint16}


NO_FLOATS = "does not hold floats"
"""What the process says of counters and texts."""


class Entry(NamedTuple):
    """A dataset that has not been read yet."""

    path: str
    shape: tuple[int, ...]
    dtype: str
    problem: str | None  # why it will not be read


class File:
    """An open HDF5 file; FormatError, which names it, where it is damaged or leads elsewhere.

    Parameters
    ----------
    name : str
        What the file is called in errors.
    file : file object
        The open file itself, of a real descriptor.

    Attributes
    ----------
    size : int
        Of the file, in bytes.
    attributes : dict
        The texts and lists of texts that Keras attaches to groups, by the group's path, then by name.
    entries : dict of str to Entry
        The datasets by path.

    """

    def __init__(self, name: str, file: IO[bytes]) -> None:
        self._name = name
        self.size = os.fstat(file.fileno()).st_size
        self._left = budget(self.size)
        self._process = start_child(file.fileno(), self.size)
        self._late = threading.Event()
        # It holds nothing of this object, which would be a circle, freed late.
        wait = SECONDS + self.size / BYTES_A_SECOND
        self._clock = threading.Timer(wait, _stop, (self._process, self._late))
        self._clock.daemon = True
        try:
            self._clock.start()
            self.attributes, self.entries = self._listing()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the process."""
        self._clock.cancel()
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()

    def _read(self, size: int) -> memoryview:
        """Exactly `size` bytes of the process's answer."""
        memory = memories.memory(size)
        filled = 0
        while filled < size:
            count = self._process.stdout.readinto(memory.data[filled:])  # type: ignore[union-attr]
            if not count:
                self._ended()
            filled += count
        return memory.data

    def _ended(self) -> NoReturn:
        """Raise with why the process gave no answer."""
        try:
            code = self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            code = 0
        how = f"with status {code}" if code > 0 else f"by signal {-code}"
        ended = f"the process that reads {self._name} by h5py ended {how}"
        # The system kills what takes memory that it does not have.
        is_killed = code == -signal.SIGKILL and not self._late.is_set()
        if is_killed or (code not in (0, -signal.SIGPROF) and has_little_memory(self.size)):
            raise MemoryError(f"{ended}, for want of memory")
        if code > 0:
            raise ImportError(ended)
        how = "took too long" if -code in (signal.SIGPROF, signal.SIGKILL) else f"ended {how}"
        raise FormatError(f"{self._name} is damaged: reading it as HDF5 {how}")

    def _listing(self) -> tuple[dict[str, dict[str, Any]], dict[str, Entry]]:
        """What the file holds. The process has met hostile bytes, so that its answer is checked too."""
        length = int.from_bytes(self._read(8), "little")
        if length > LONGEST_LISTING + 2 * self.size:
            raise FormatError(f"{self._name} has too many entries for a file of {self.size} bytes")
        try:
            answer = json.loads(bytes(self._read(length)))
            if "memory" in answer:
                raise MemoryError(f"{self._name}: there is no memory to read it as HDF5: {answer['memory']}")
            if "import" in answer:
                raise ImportError(f"{self._name} is read by h5py, which fails with {answer['import']}")
            if "error" in answer:
                raise FormatError(f"{self._name}: {answer['error']}")
            entries = {
                str(path): Entry(path, tuple(map(int, shape)), str(dtype), problem)
                for path, (shape, dtype, problem) in answer["datasets"].items()
            }
            attributes = {str(path): dict(own) for path, own in answer["attributes"].items()}
        except FormatError:
            raise
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise FormatError(f"{self._name} is damaged: {error}") from error
        return attributes, entries

    def arrays(self, entries: list[Entry]) -> Iterator[np.ndarray]:
        """The data of datasets, bfloat16 widened to float32, one after another."""
        for entry in entries:
            where = f"{self._name}: entry {entry.path!r}"
            if entry.problem is not None or entry.dtype not in DTYPES:
                raise FormatError(f"{where} {entry.problem or NO_FLOATS}")
        try:
            self._process.stdin.write(json.dumps([e.path for e in entries]).encode() + b"\n")  # type: ignore[union-attr]
            self._process.stdin.flush()  # type: ignore[union-attr]
        except BrokenPipeError:
            self._ended()
        for entry in entries:
            yield self._array(entry)

    def _array(self, entry: Entry) -> np.ndarray:
        dtype = np.dtype(DTYPES[entry.dtype])
        size = dtype.itemsize
        for length in entry.shape:
            size *= length
        self._left -= size
        told = bytes(self._read(1)) if size >= 0 and self._left >= 0 else hdf5_child.NO_DATA
        if told == hdf5_child.NO_MEMORY:
            raise MemoryError(f"{self._name}: there is no memory to read entry {entry.path!r}")
        if told != hdf5_child.DATA:
            raise FormatError(f"{self._name}: entry {entry.path!r} of shape {entry.shape} cannot be read")
        array = np.frombuffer(self._read(size), dtype.newbyteorder("<")).reshape(entry.shape)
        if entry.dtype == "bfloat16":  # the upper half of a float32
            return (array.astype(np.uint32) << 16).view(np.float32)
        return array.astype(dtype, copy=False)


def _stop(process: subprocess.Popen[bytes], late: threading.Event) -> None:
    """End a process that takes too long."""
    late.set()
    process.kill()


def has_little_memory(size: int) -> bool:
    """Whether this process and those that it starts may have less than a file of this size can take."""
    limit = systems.memory_limit()
    return limit is not None and limit < LITTLE_MEMORY + 2 * size


def start_child(descriptor: int, size: int) -> subprocess.Popen[bytes]:
    """The process, isolated from the environment and from the folder it is started in."""
    if find_spec("h5py") is None:
        raise ImportError('.keras and .h5 files need h5py: pip install "lstm-native[keras]"')
    if not systems.IS_POSIX:
        raise ImportError(
            ".keras and .h5 files are read by a process whose time the system bounds; this one does not: "
            "load the model with Keras and pass it to LSTM.from_keras, or save the net as .npz on Linux"
        )
    if getattr(sys, "frozen", False) or not sys.executable:
        raise ImportError(
            ".keras and .h5 files are read by a Python process of its own, which a frozen program cannot "
            "start; save the net as .npz in an ordinary Python"
        )
    specs = [find_spec(library) for library in ("numpy", "h5py")]
    folders = [str(Path(spec.origin).parent.parent) for spec in specs if spec is not None and spec.origin]
    # If standard input or output are closed, the file may have their numbers, which the process's pipes take.
    passed = systems.duplicate(descriptor)
    try:
        return subprocess.Popen(
            [sys.executable, "-I", "-S", str(CHILD), str(passed), str(size), *dict.fromkeys(folders)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            pass_fds=(passed,),
            env={**os.environ, "HDF5_PLUGIN_PRELOAD": "::", **dict.fromkeys(THREADS, "1")},
        )
    finally:
        os.close(passed)
