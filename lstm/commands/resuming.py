"""`lstm run --resume`: what is needed to go on behind the last whole block of a run that has ended.

Shapes: N rows, H hidden, O features of h, L layers, D directions.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from ..formats import FormatError
from ..formats.numpy_files import read_arrays, write_arrays
from ..formats.writing import continuing, replacing
from .common import UnusableError, writing

if TYPE_CHECKING:
    from .blocks import Piece, States

SECONDS = 1.0
"""Between two records, at least."""
REST = 20
"""Between two records, at least so many times what it took to write the last one."""


def key_of(*values: object) -> str:
    """What two runs have in common that compute the same: of texts, numbers, shapes and arrays."""
    digest = hashlib.sha256()
    for value in values:
        if isinstance(value, np.ndarray):
            digest.update(f"{value.dtype.str}{value.shape}".encode())
            digest.update(np.ascontiguousarray(value).reshape(-1).view(np.uint8).data)
        else:
            digest.update(repr(value).encode())
        digest.update(b"\0")
    return digest.hexdigest()


class Record:
    """How far a run has come, in a file next to the output: its key, blocks done, states after them."""

    def __init__(self, path: str, output: BinaryIO, key: str, states: States) -> None:
        self._path, self._output, self._key, self._states = path, output, key, states
        self._next = time.monotonic() + SECONDS
        self.blocks = 0  # that an earlier run has done

    def read(self) -> None:
        """Go on where the file says; UnusableError if it is another run's, or damaged."""
        advice = f"remove {self._path} to begin again"
        try:
            arrays = read_arrays(self._path)
            blocks, first, stop, size = (int(number) for number in arrays["done"])
            h, C, key = arrays["h"], arrays["C"], str(arrays["key"])
        except FileNotFoundError:
            self._output.truncate(0)
            return
        except (OSError, FormatError, KeyError, ValueError, TypeError) as error:
            raise UnusableError(f"{self._path} is no record of a run ({error}); {advice}") from error
        if key != self._key:
            raise UnusableError(
                f"{self._path} is of a run of another model, input, state or option; {advice}"
            )
        found = os.fstat(self._output.fileno()).st_size
        if found < size:
            raise UnusableError(
                f"{self._output.name} has {found} bytes, but {size} when {self._path} was written; {advice}"
            )
        self.blocks = blocks
        self._states.go_on(slice(first, stop), h, C)

    def after(self, number: int, piece: Piece) -> None:
        """Write it now and then, once the output's blocks are on the disk."""
        start = time.monotonic()
        if start < self._next:
            return
        self._output.flush()
        os.fsync(self._output.fileno())
        h, C = self._states.h, self._states.C
        assert h is not None
        assert C is not None
        size = os.fstat(self._output.fileno()).st_size
        done = np.array([number, piece.rows.start, piece.rows.stop, size])
        with replacing(self._path) as partial, open(partial, "wb") as file:
            write_arrays(file, {"key": np.array(self._key), "done": done, "h": h, "C": C})
        now = time.monotonic()
        self._next = now + max(SECONDS, REST * (now - start))

    def remove(self) -> None:
        """Remove the file: all is done."""
        with contextlib.suppress(FileNotFoundError):
            os.remove(self._path)


@contextlib.contextmanager
def resumed(path: str, key: str, states: States) -> Iterator[tuple[BinaryIO, Record]]:
    """Yield the output's file, what has been written of it kept, and the record of how far that goes."""
    with writing(path), continuing(path) as partial, open(partial, "r+b") as file:
        record = Record(f"{partial}.npz", file, key, states)
        record.read()
        yield file, record
        file.flush()
        # Before the output has its name: without a record all is done again, with one of another file some
        # would be left out.
        record.remove()
