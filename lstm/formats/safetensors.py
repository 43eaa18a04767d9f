"""safetensors: a state dict under PyTorch's names and, if this package wrote it, a metadata entry ``lstm``.

The library parses; nothing of a file is run.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..core.state_dict import to_state_dict
from ..core.weights import Parts
from . import candidates, lstm_entry
from .errors import FormatError
from .lstm_entry import ENTRY
from .reading import open_plain

# By the names that the format gives to dtypes; a bfloat16 is the upper half of a float32.
DTYPES = {"F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": np.uint16}
WHOLE = ("BOOL", *(f"{sign}{bits}" for sign in "IU" for bits in (8, 16, 32, 64)))


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
    """Write the net's state dict and what its arrays do not say."""
    library = _library()
    state = to_state_dict(parts)
    # Where there is no memory for the whole file, the library does not raise but ends the process.
    np.empty(2 * sum(array.nbytes for array in state.values()), np.uint8)
    content = library.numpy.save(state, metadata={ENTRY: lstm_entry.text(parts)})
    with open(path, "wb") as file:
        file.write(content)


def read(path: str | os.PathLike[str], prefix: str | None = None, **options: Any) -> Parts:
    """The one LSTM among a file's tensors, or that of `prefix`; `options` are what the file may not tell."""
    name = os.fspath(path)
    with _opened(name) as file:
        metadata = file.metadata() or {}
        try:
            tensors = candidates.find(_shapes(file), prefix)
        except ValueError as error:
            raise FormatError(f"{name}: {error}") from error
        state = {key: _tensor(name, file, full) for key, full in tensors.items()}
    entry = {}
    if ENTRY in metadata:
        entry = lstm_entry.parse(f"{name}: metadata {ENTRY!r}", metadata[ENTRY])
    return lstm_entry.parts(name, state, entry, options)


def tensors(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Every tensor of a file by name."""
    name = os.fspath(path)
    with _opened(name) as file:
        return {key: _any_tensor(name, file, key) for key in file.keys()}  # noqa: SIM118


def names(path: str | os.PathLike[str]) -> list[tuple[int, tuple[str, ...]]]:
    """Number and prefix of every LSTM of a file."""
    with _opened(os.fspath(path)) as file:
        prefixes = sorted(prefix.removesuffix(".") for prefix in candidates.prefixes(_shapes(file)))
    return [(number, (prefix,)) for number, prefix in enumerate(prefixes)]


@contextlib.contextmanager
def _opened(name: str) -> Iterator[Any]:
    """The library's view of a file; FormatError for what goes wrong with it in this block."""
    library = _library()
    with open_plain(name):  # raises the same OSError as for other formats
        pass
    try:
        with library.safe_open(name, "numpy") as file:
            yield file
    except (FormatError, MemoryError):
        raise
    except Exception as error:
        # The library raises its own SafetensorError, and for some damage others.
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise FormatError(f"{name} is damaged or no .safetensors file: {error}") from error


def _shapes(file: Any) -> dict[str, tuple[int, ...]]:
    """The shapes of all tensors by name."""
    return {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118


def _tensor(path: str, file: Any, key: str) -> np.ndarray:
    """One tensor of an open file, float16 and bfloat16 widened to float32."""
    dtype = file.get_slice(key).get_dtype()
    if dtype not in DTYPES:
        raise FormatError(
            f"{path}: entry {key!r} has dtype {dtype}, but must have one of {', '.join(DTYPES)}"
        )
    if dtype == "BF16":
        return _bfloat16(path, key)
    array = np.asarray(file.get_tensor(key))
    return array.astype(np.float32) if dtype == "F16" else array


def _any_tensor(path: str, file: Any, key: str) -> np.ndarray:
    """One tensor of floats, integers or truth values."""
    dtype = file.get_slice(key).get_dtype()
    if dtype in DTYPES:
        return _tensor(path, file, key)
    if dtype not in WHOLE:
        raise FormatError(f"{path}: entry {key!r} has dtype {dtype}, which NumPy does not have")
    return np.asarray(file.get_tensor(key))


def _bfloat16(path: str, key: str) -> np.ndarray:
    """One bfloat16 tensor, which NumPy has no dtype for, as float32.

    The library has checked the header: its length in 8 bytes, a JSON text, and then the values.
    """
    with io.BufferedReader(open_plain(path)) as raw:
        length = int.from_bytes(raw.read(8), "little")
        entry = json.loads(raw.read(length))[key]
        first, last = entry["data_offsets"]
        raw.seek(8 + length + first)
        upper = np.frombuffer(raw.read(last - first), "<u2").astype(np.uint32)
    upper <<= 16
    return upper.view(np.float32).reshape(entry["shape"])
