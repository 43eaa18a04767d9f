"""safetensors: a state dict under PyTorch's names and, if this package wrote it, a metadata entry ``lstm``.

The library parses what is read; nothing of a file is run.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import io
import json
import mmap
import os
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ..core import memory as memories
from ..core.precision import widen
from ..core.weights import Parts
from . import candidates, lstm_entry, small_weights
from .errors import FormatError, is_out_of_memory
from .lstm_entry import ENTRY
from .reading import open_plain

# By the names that the format gives to dtypes; a bfloat16 is the upper half of a float32.
DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}
SMALL_DTYPES = {**DTYPES, "I8": "<i1"}
NAMES = {np.dtype(dtype): name for name, dtype in SMALL_DTYPES.items()}
LENGTH = 8  # bytes that a file begins with: the length of its header
# The longest header in any file, in bytes, and what part of a larger file it may be.
LONGEST_HEADER = 1 << 19
HEADER_SHARE = 16
HEADER_MEMORY = 32  # times its length: more than the library was seen to take
WHOLE = {
    "BOOL": "?",
    **{f"{kind}{8 * size}": f"<{kind.lower()}{size}" for kind in "IU" for size in (1, 2, 4, 8)},
}


def _library() -> Any:
    try:
        import safetensors
        import safetensors.numpy
    except ImportError as error:
        raise ImportError(
            '.safetensors files need safetensors: pip install "lstm-native[safetensors]"'
        ) from error
    return safetensors


def write(parts: Parts, path: str | os.PathLike[str]) -> None:
    """Write the net's state dict and what its arrays do not say: the bytes that the library gives.

    Not by the library. Version 0.8 puts a new file in the place of one that it is given, and what it makes in
    memory takes twice the net's size and holds up signals: 0.3 s for 128 MB (Intel Xeon).
    """
    state = small_weights.arrays(parts)
    # As the library has them: the widest first, so that all are aligned.
    names = sorted(state, key=lambda name: (-state[name].itemsize, name))
    header: dict[str, Any] = {"__metadata__": {ENTRY: lstm_entry.text(parts)}}
    end = 0
    for name in names:
        array, start = state[name], end
        end += array.nbytes
        header[name] = {
            "dtype": NAMES[array.dtype],
            "shape": list(array.shape),
            "data_offsets": [start, end],
        }
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % LENGTH)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(LENGTH, "little") + text)
        for name in names:
            stored = SMALL_DTYPES[NAMES[state[name].dtype]]
            file.write(np.ascontiguousarray(state[name], stored).data)


def read(path: str | os.PathLike[str], prefix: str | None = None, **options: Any) -> Parts:
    """The one LSTM among a file's tensors, or that of `prefix`; `options` are what the file may not tell."""
    name = os.fspath(path)
    with _opened(name) as file:
        metadata = file.library_file.metadata() or {}
        try:
            tensors = candidates.find(file.shapes(), prefix)
        except ValueError as error:
            raise FormatError(f"{name}: {error}") from error
        entry = {}
        if ENTRY in metadata:
            entry = lstm_entry.parse(f"{name}: metadata {ENTRY!r}", metadata[ENTRY])
        read = file.stored if "precision" in entry else file.floats
        state = {key: read(full) for key, full in tensors.items()}
    return lstm_entry.parts(name, state, entry, options)


def tensors(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Every tensor of a file by name."""
    with _opened(os.fspath(path)) as file:
        return {key: file.numbers(key) for key in file.library_file.keys()}  # noqa: SIM118


def names(path: str | os.PathLike[str]) -> list[tuple[int, tuple[str, ...]]]:
    """Number and prefix of every LSTM of a file."""
    with _opened(os.fspath(path)) as file:
        prefixes = sorted(prefix.removesuffix(".") for prefix in candidates.prefixes(file.shapes()))
    return [(number, (prefix,)) for number, prefix in enumerate(prefixes)]


class File:
    """A file of this name that the library has opened and checked."""

    def __init__(self, name: str, library_file: Any) -> None:
        self._name = name
        self.library_file = library_file

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes of all tensors by name."""
        file = self.library_file
        return {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118

    def stored(self, key: str, dtypes: Mapping[str, str] = SMALL_DTYPES) -> np.ndarray:
        """One tensor of `dtypes` as it is stored, bfloat16 as the uint16 of its bits."""
        dtype = self.library_file.get_slice(key).get_dtype()
        if dtype not in dtypes:
            raise FormatError(
                f"{self._name}: entry {key!r} has dtype {dtype}, but must have one of {', '.join(dtypes)}"
            )
        return self._values(key, dtypes[dtype])

    def floats(self, key: str) -> np.ndarray:
        """One tensor of floats, float16 and bfloat16 widened to float32."""
        array = self.stored(key, DTYPES)
        if array.dtype == np.uint16:
            return widen(array, "bfloat16")
        return array.astype(np.float32) if array.dtype == np.float16 else array

    def numbers(self, key: str) -> np.ndarray:
        """One tensor of floats, integers or truth values."""
        dtype = self.library_file.get_slice(key).get_dtype()
        if dtype in DTYPES:
            return self.floats(key)
        if dtype not in WHOLE:
            raise FormatError(f"{self._name}: entry {key!r} has dtype {dtype}, which NumPy does not have")
        return self._values(key, WHOLE[dtype])

    def _values(self, key: str, dtype: str) -> np.ndarray:
        """One tensor as it is stored.

        The library has checked its place. It maps the file instead of reading it, which ends the process if
        the file is cut short meanwhile, has no bfloat16 for NumPy, and panics where it gets no memory.
        """
        header, start = self._header
        first, last = header[key]["data_offsets"]
        memory = memories.memory(last - first)
        with io.BufferedReader(open_plain(self._name)) as file:
            file.seek(start + first)
            if file.readinto(memory.data) != last - first:
                raise FormatError(f"{self._name} was cut short while it was read")
        return memory.view(dtype).reshape(header[key]["shape"])

    @functools.cached_property
    def _header(self) -> tuple[dict[str, Any], int]:
        """The tensors by name, and where their values start: after the header's length, and the header."""
        with io.BufferedReader(open_plain(self._name)) as file:
            length = int.from_bytes(file.read(LENGTH), "little")
            return json.loads(file.read(length)), LENGTH + length


@contextlib.contextmanager
def _opened(name: str) -> Iterator[File]:
    """A file of this name; FormatError for what goes wrong with it in this block."""
    library = _library()
    _check_header(name)
    try:
        with library.safe_open(name, "numpy") as file:
            yield File(name, file)
    except (FormatError, MemoryError):
        raise
    except Exception as error:
        # The library raises its own SafetensorError, and for some damage others.
        if isinstance(error, OSError) and error.errno is not None:
            raise
        if is_out_of_memory(error):
            raise MemoryError(f"{name}: {error}") from error
        raise FormatError(f"{name} is damaged or no .safetensors file: {error}") from error


def _check_header(name: str) -> None:
    """FormatError for a header that is too long to be read, MemoryError where there is no memory for it.

    The library would take up to twenty times its length, and end the process where it does not get it.
    """
    with open_plain(name) as file:
        size = os.fstat(file.fileno()).st_size
        length = int.from_bytes(file.read(LENGTH), "little")
        if length > size - LENGTH:
            return  # the library says what is wrong
        most = max(LONGEST_HEADER, size // HEADER_SHARE)
        if length > most:
            raise FormatError(
                f"{name} has a header of {length} bytes, but of a file of {size} bytes no more than {most} "
                "are read"
            )
        try:
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ):
                np.empty(HEADER_MEMORY * length, np.uint8)
        except OSError as error:
            if error.errno != errno.ENOMEM:
                raise
            raise MemoryError(f"{name}: there is no memory for {size} bytes") from error
