"""NumPy's .npz: the state dict under PyTorch's names and, where this package wrote it, a configuration.

The configuration is the entry ``lstm``, a JSON text. A file without it is a bare state dict.
"""

from __future__ import annotations

import json
import os
import zipfile
import zlib
from typing import IO, Any, Literal

import numpy as np

from .. import model, params
from . import FormatError

CONFIG = "lstm"
VERSION = 1
# No array may claim more than the file could hold, by much: a damaged or hostile header must not
# make us ask for terabytes. Weights hardly compress, yet those of a new net may hold many zeros.
LARGEST_EXPANSION = 8
SMALL = 1 << 20


def save(net: model.LSTM, path: str | os.PathLike[str]) -> None:
    """Write the net's state dict and configuration, uncompressed; an old file is replaced whole."""
    config = {
        "version": VERSION,
        "input_size": net.input_size,
        "hidden_size": net.hidden_size,
        "bias": net.bias,
        "dtype": net.dtype.name,
    }
    name = os.fspath(path)
    partial = f"{name}.{os.getpid()}.partial"
    try:
        with open(partial, "wb") as file:
            np.savez(file, allow_pickle=False, **{CONFIG: json.dumps(config)}, **net.state_dict())
        os.replace(partial, name)
    except BaseException:
        if os.path.exists(partial):
            os.remove(partial)
        raise


def load(path: str | os.PathLike[str], backend: Literal["native", "numpy"]) -> model.LSTM:
    """The net of a file as `save` writes it, or of a bare state dict."""
    arrays = read_arrays(path)
    config = _config(path, arrays.pop(CONFIG, None))
    try:
        weights, bias = params.from_state_dict(arrays)
        net = model.LSTM.from_state_dict(
            arrays, dtype=config.get("dtype", params.weights_dtype(weights)), backend=backend
        )
    except (ValueError, TypeError) as error:
        raise FormatError(f"{os.fspath(path)}: {error}") from error
    found = {"input_size": net.input_size, "hidden_size": net.hidden_size, "bias": bias}
    for key, value in found.items():
        if key in config and config[key] != value:
            raise FormatError(
                f"{os.fspath(path)}: its arrays have {key}={value}, but entry {CONFIG!r} says {config[key]!r}"
            )
    return net


def read_arrays(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Every array of an .npz file by name; FormatError where one is damaged or not numbers or text."""
    name = os.fspath(path)
    size = os.path.getsize(name)
    arrays = {}
    try:
        with zipfile.ZipFile(name) as archive:
            for entry in archive.infolist():
                if not entry.filename.endswith(".npy"):
                    raise FormatError(f"{name}: entry {entry.filename!r} is no .npy array")
                key = entry.filename.removesuffix(".npy")
                if key in arrays:
                    raise FormatError(f"{name}: entry {key!r} stands in it twice")
                with archive.open(entry) as file:
                    arrays[key] = _read_array(f"{name}: entry {key!r}", file, entry, size)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise FormatError(f"{name} is damaged or no .npz file: {error}") from error
    return arrays


def _read_array(where: str, file: IO[bytes], entry: zipfile.ZipInfo, file_size: int) -> np.ndarray:
    """One array, its header checked against the file before memory is asked for."""
    try:
        version = np.lib.format.read_magic(file)
        if version == (1, 0):
            shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
        elif version == (2, 0):
            shape, fortran, dtype = np.lib.format.read_array_header_2_0(file)
        else:
            raise FormatError(f"{where} has .npy version {version}, but must have (1, 0) or (2, 0)")
    except FormatError:
        raise
    except Exception as error:
        raise FormatError(f"{where} has a damaged header: {error}") from error
    if dtype.kind not in "fiubU":
        raise FormatError(f"{where} has dtype {dtype}, but must hold plain numbers or text")
    count = 1
    for length in shape:
        if not isinstance(length, int) or length < 0:
            raise FormatError(f"{where} has shape {shape}")
        count *= length
    claimed = count * dtype.itemsize
    if claimed > entry.file_size or claimed > max(SMALL, LARGEST_EXPANSION * file_size):
        raise FormatError(
            f"{where} claims shape {shape} of {dtype}, {claimed} bytes, which the file does not hold"
        )
    data = file.read(claimed)
    if len(data) != claimed or file.read(1):
        raise FormatError(f"{where} has {len(data)} bytes of data or more, but needs {claimed}")
    array = np.frombuffer(data, dtype, count)
    return array.reshape(shape, order="F" if fortran else "C")


def _config(path: str | os.PathLike[str], entry: np.ndarray | None) -> dict[str, Any]:
    """The checked content of the configuration entry; {} where there is none."""
    if entry is None:
        return {}
    where = f"{os.fspath(path)}: entry {CONFIG!r}"
    if entry.dtype.kind != "U" or entry.ndim != 0:
        raise FormatError(f"{where} is {entry.dtype} of shape {entry.shape}, but must be one text")
    try:
        config = json.loads(str(entry[()]))
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{where} is no JSON: {error}") from error
    if not isinstance(config, dict) or config.get("version") != VERSION:
        raise FormatError(f"{where} must be an object with version {VERSION}")
    known = {"version", "input_size", "hidden_size", "bias", "dtype"}
    if unknown := sorted(set(config) - known):
        raise FormatError(f"{where} has {', '.join(unknown)}, which this version does not know")
    if config.get("dtype") not in ("float32", "float64"):
        raise FormatError(f"{where} has dtype {config.get('dtype')!r}")
    return config
