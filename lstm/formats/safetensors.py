"""safetensors: a state dict under PyTorch's names and, where this package wrote it, a configuration.

The configuration is the metadata ``lstm``, a JSON text. The library parses; nothing of a file is run.
"""

from __future__ import annotations

import json
import os
from typing import Any, Literal

import numpy as np

from .. import model
from . import FormatError, candidates, lstm_entry
from .writing import replacing

CONFIG = "lstm"
# By the names that the format gives to dtypes; a bfloat16 is the upper half of a float32.
DTYPES = {"F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": np.uint16}
LONGEST_CONFIG = 10_000  # characters


def _library() -> Any:
    try:
        import safetensors
        import safetensors.numpy
    except ImportError as error:
        raise ImportError(
            '.safetensors files need safetensors: pip install "lstm-native[safetensors]"'
        ) from error
    return safetensors


def save(net: model.LSTM, path: str | os.PathLike[str]) -> None:
    """Write the net's state dict and configuration; an old file is replaced whole."""
    library = _library()
    with replacing(path) as partial:
        library.numpy.save_file(
            net.state_dict(), partial, metadata={CONFIG: json.dumps(lstm_entry.describe(net))}
        )


def load(
    path: str | os.PathLike[str], backend: Literal["native", "numpy"], prefix: str | None = None
) -> model.LSTM:
    """The one LSTM among a file's tensors, or that of `prefix`."""
    library = _library()
    name = os.fspath(path)
    with open(name, "rb"):  # for the usual OSError where it cannot be
        pass
    try:
        with library.safe_open(name, "numpy") as file:
            shapes = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
            dtypes = {key: file.get_slice(key).get_dtype() for key in shapes}
            metadata = file.metadata() or {}
            names = candidates.find(shapes, prefix)
            state = {key: _read(name, file, full, dtypes[full]) for key, full in names.items()}
    except (FormatError, MemoryError):
        raise
    except ValueError as error:
        raise FormatError(f"{name}: {error}") from error
    except Exception as error:
        # The library raises its own SafetensorError, and for some damage others.
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise FormatError(f"{name} is damaged or no .safetensors file: {error}") from error
    found = {}
    if CONFIG in metadata:
        where = f"{name}: metadata {CONFIG!r}"
        if len(metadata[CONFIG]) > LONGEST_CONFIG:
            raise FormatError(f"{where} has over {LONGEST_CONFIG} characters")
        found = lstm_entry.parse(where, metadata[CONFIG])
    return lstm_entry.build(name, state, found, backend)


def _read(path: str, file: Any, key: str, dtype: str) -> np.ndarray:
    """One tensor of an open file, float16 and bfloat16 widened to float32."""
    if dtype not in DTYPES:
        raise FormatError(
            f"{path}: entry {key!r} has dtype {dtype}, but must have one of {', '.join(DTYPES)}"
        )
    if dtype == "BF16":
        return _read_bfloat16(path, key)
    array = np.asarray(file.get_tensor(key))
    return array.astype(np.float32) if dtype == "F16" else array


def _read_bfloat16(path: str, key: str) -> np.ndarray:
    """One bfloat16 tensor, which NumPy has no dtype for, as float32.

    The library has checked the header: its length in 8 bytes, a JSON text, and then the values.
    """
    with open(path, "rb") as raw:
        length = int.from_bytes(raw.read(8), "little")
        entry = json.loads(raw.read(length))[key]
        first, last = entry["data_offsets"]
        raw.seek(8 + length + first)
        upper = np.frombuffer(raw.read(last - first), "<u2").astype(np.uint32)
    upper <<= 16
    return upper.view(np.float32).reshape(entry["shape"])
