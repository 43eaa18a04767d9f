""".npy files larger than memory: read and written in blocks of batch rows and time steps.

They are not mapped: a mapped file counts in full against a limit of address space, and one that is cut
short meanwhile ends the process by a signal. Shapes: B batch, T time, K features.
"""

from __future__ import annotations

import io
import os
import sys
from types import TracebackType
from typing import Any, BinaryIO, Self

import numpy as np

from ..formats import FormatError
from ..formats.numpy_files import LONGEST_HEADER, read_header
from ..formats.reading import open_plain

SPAN_BYTES = 1 << 22
"""Read at once of a Fortran-ordered file, in which the rows asked for are among all others."""


class Reader:
    """An array of an .npy file; FormatError if the file is damaged or holds no numbers."""

    in_order = False
    """Whether blocks can be read from the first one to the last one alone."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        self._file = open_plain(self.path)
        try:
            head = self._file.read(LONGEST_HEADER)
            header = read_header(self.path, head)
            self.shape, self._is_fortran, self.dtype, self._start = header
            self._check_size(os.fstat(self._file.fileno()).st_size)
        except BaseException:
            self._file.close()
            raise

    def _check_size(self, size: int) -> None:
        count = 1
        for length in self.shape:
            count *= length
        claimed = count * self.dtype.itemsize
        if self._start + claimed != size:
            raise FormatError(
                f"{self.path} claims shape {self.shape} of {self.dtype}, {claimed} bytes, but holds "
                f"{size - self._start}"
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    @property
    def is_fortran(self) -> bool:
        """Whether one step of all rows is contiguous, rather than the steps of one row."""
        return self._is_fortran and len(self.shape) > 1

    def whole(self) -> np.ndarray:
        """The whole array."""
        array = np.empty(self.shape, self.dtype, order="F" if self._is_fortran else "C")
        self._fill(array.reshape(-1, order="A"), 0)
        return array

    def block(self, rows: slice, steps: slice) -> np.ndarray:
        """(B, T, K) of an array (B, T, K), or of (T, K) as that of one row."""
        batch, time, features = self.shape if len(self.shape) == 3 else (1, *self.shape)
        count, length = rows.stop - rows.start, steps.stop - steps.start
        if not self.is_fortran:
            array = np.empty((count, length, features), self.dtype)
            if length == time:
                self._fill(array.reshape(-1), rows.start * time * features)
            else:
                for k in range(count):
                    self._fill(array[k].reshape(-1), ((rows.start + k) * time + steps.start) * features)
            return array
        array = np.empty((features, length, count), self.dtype)
        span = max(1, SPAN_BYTES // (batch * self.dtype.itemsize))
        for feature in range(features):
            for first in range(0, length, span):
                part = array[feature, first : first + span]
                all_rows = np.empty((len(part), batch), self.dtype)
                self._fill(all_rows.reshape(-1), (feature * time + steps.start + first) * batch)
                part[...] = all_rows[:, rows]
        return array.transpose(2, 1, 0)

    def _fill(self, flat: np.ndarray, first: int) -> None:
        """Read a contiguous array from the element `first` of the file on."""
        view = flat.view(np.uint8).data
        self._go_to(self._start + first * self.dtype.itemsize)
        filled = 0
        while filled < len(view):
            got = self._read_into(view[filled:])
            if not got:
                raise FormatError(f"{self.path} was cut short while it was read")
            filled += got

    def _go_to(self, position: int) -> None:
        self._file.seek(position)

    def _read_into(self, view: memoryview) -> int:
        return self._file.readinto(view)

    def check_end(self) -> None:
        """FormatError if there is more than the array; of a file that is known before it is read."""


class PipeReader(Reader):
    """An array in .npy format from a pipe, whose blocks are read once, from the first to the last."""

    in_order = True

    def __init__(self, file: BinaryIO) -> None:
        self.path = "stdin"
        self._pipe = file
        self._ahead = memoryview(file.read(LONGEST_HEADER))
        header = read_header(self.path, bytes(self._ahead))
        self.shape, self._is_fortran, self.dtype, self._start = header
        if self.is_fortran:
            raise FormatError("stdin holds an array in Fortran order, which can be read from a file alone")
        self._ahead = self._ahead[self._start :]
        self._place = self._start

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def _go_to(self, position: int) -> None:
        assert position == self._place

    def _read_into(self, view: memoryview) -> int:
        got = min(len(view), len(self._ahead))
        if got:
            view[:got] = self._ahead[:got]
            self._ahead = self._ahead[got:]
        else:
            got = self._pipe.readinto(view)  # type: ignore[attr-defined]
        self._place += got
        return got

    def check_end(self) -> None:
        """FormatError if there is more than the array."""
        if self._ahead or self._pipe.read(1):
            raise FormatError(f"stdin holds more than the {self.shape} of {self.dtype} that it claims")


def opened(path: str) -> Reader:
    """The array of a file, or of stdin for "-"."""
    if path != "-":
        return Reader(path)
    if sys.stdin is None:
        raise FormatError("there is no stdin to read")
    return PipeReader(sys.stdin.buffer)


class Writer:
    """An .npy file of an array (B, T, K), (T, K) or (K,), C-ordered, written in blocks.

    Those of a file in any order, to a pipe from the first one to the last one.
    """

    def __init__(self, file: BinaryIO, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self._file = file
        self._time, self._features = (1, *shape)[-2:]
        self._itemsize = dtype.itemsize
        header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
        head = io.BytesIO()
        np.lib.format.write_array_header_1_0(head, header)
        self._start = self._place = len(head.getvalue())
        self._is_pipe = not file.seekable()
        if not self._is_pipe:
            file.seek(0)
        self._write(head.getbuffer())

    def write(self, rows: slice, steps: slice, block: np.ndarray) -> None:
        """Write the block (B, T, K) of these rows and steps."""
        if steps.stop - steps.start == self._time:
            self._put(rows.start * self._time, block)
            return
        for k, row in enumerate(block):
            self._put((rows.start + k) * self._time + steps.start, row)

    def _put(self, step: int, array: np.ndarray) -> None:
        position = self._start + step * self._features * self._itemsize
        if self._is_pipe:
            assert position == self._place
        else:
            self._file.seek(position)
        self._write(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
        self._place = position + array.nbytes

    def _write(self, data: memoryview) -> None:
        done = 0
        while done < len(data):  # an unbuffered stdout may take less
            done += self._file.write(data[done:])
