"""NumPy's .npz: the state dict under PyTorch's names and, where this package wrote it, a configuration.

The configuration is the entry ``lstm``, a JSON text. A file without it is a bare state dict.
"""

from __future__ import annotations

import errno
import io
import json
import os
import re
import zipfile
from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from .. import model
from ..core import memory as memories
from ..core import state_dict
from . import FormatError, lstm_entry
from .writing import replacing

CONFIG = "lstm"

# What a file's arrays may claim together: its own size, by not much more. A damaged or hostile header must
# not make us ask for terabytes, nor a few compressed zeros for gigabytes. Weights hardly compress, yet those
# of a pruned net may hold many zeros.
LARGEST_EXPANSION = 8
SMALL = 1 << 20
CHUNK = 1 << 16
LONGEST_CONFIG = 10_000  # characters
LONGEST_HEADER = 4096  # bytes
LONGEST_SHOWN = 200  # characters of what a file names, in an error

# The header of an .npy array is matched, not evaluated as the Python expression that it is. All writers
# put the keys in this order, as the format's description says.
HEADER = re.compile(
    r"\s*\{\s*'descr'\s*:\s*(?P<descr>[^\s].*?)\s*,\s*'fortran_order'\s*:\s*(?P<fortran>True|False)\s*,"
    r"\s*'shape'\s*:\s*\((?P<shape>[^()]*)\)\s*,?\s*\}\s*",
    re.ASCII | re.DOTALL,
)
PLAIN_DTYPE = re.compile(r"'([<>|=]?[fiubU][0-9]{1,9})'", re.ASCII)


def save(net: model.LSTM, path: str | os.PathLike[str]) -> None:
    """Write the net's state dict and configuration, uncompressed; an old file is replaced whole."""
    with replacing(path) as partial, open(partial, "wb") as file:
        _write_arrays(file, {CONFIG: np.array(json.dumps(lstm_entry.describe(net))), **net.state_dict()})


def _write_arrays(file: io.BufferedWriter, arrays: dict[str, np.ndarray]) -> None:
    """What np.savez writes, which in NumPy 2.0 takes `allow_pickle` for the name of one more array."""
    with zipfile.ZipFile(file, "w") as archive:
        for key, array in arrays.items():
            with archive.open(f"{key}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, array, allow_pickle=False)


def load(path: str | os.PathLike[str], backend: Literal["native", "numpy"]) -> model.LSTM:
    """The net of a file as `save` writes it, or of a bare state dict."""
    arrays = read_arrays(path, is_entry)
    return lstm_entry.build(os.fspath(path), arrays, _config(path, arrays.pop(CONFIG, None)), backend)


def is_entry(name: str) -> bool:
    """Whether a net's file may have an entry of this name."""
    return name == CONFIG or state_dict.NAME.fullmatch(name) is not None


class _Reader(io.BufferedReader):
    """A file that is never read in large pieces. zipfile reads the directory of entries in one."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > SMALL:
            raise zipfile.BadZipFile(f"its directory of entries takes {size} bytes")
        return super().read(size)


def read_arrays(
    path: str | os.PathLike[str], is_known: Callable[[str], bool] | None = None
) -> dict[str, np.ndarray]:
    """Every array of an .npz file by name, read-only; FormatError where one is damaged or unsuitable.

    `is_known` tells which entries there may be; None: any. Arrays hold plain numbers or text.
    """
    name = os.fspath(path)
    with _Reader(io.FileIO(name)) as file:
        size = os.fstat(file.fileno()).st_size
        try:
            with zipfile.ZipFile(file) as archive:
                return _read_entries(name, archive, is_known, max(SMALL, LARGEST_EXPANSION * size))
        except (FormatError, MemoryError):
            raise
        except Exception as error:
            # Damage makes zipfile raise nearly anything: BadZipFile, zlib.error, struct.error,
            # UnicodeDecodeError, NotImplementedError, RuntimeError, EINVAL for a negative offset.
            if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
                raise
            raise FormatError(f"{name} is damaged or no .npz file: {str(error)[:LONGEST_SHOWN]}") from error


def _read_entries(
    name: str, archive: zipfile.ZipFile, is_known: Callable[[str], bool] | None, budget: int
) -> dict[str, np.ndarray]:
    """All arrays of an archive, which may take `budget` bytes together."""
    entries: dict[str, zipfile.ZipInfo] = {}
    for entry in archive.infolist():
        key = entry.filename.removesuffix(".npy")
        where = f"{name}: entry {key!r:.{LONGEST_SHOWN}}"
        if key == entry.filename:
            raise FormatError(f"{where} is no .npy array")
        if key in entries:
            raise FormatError(f"{where} stands in it twice")
        if is_known is not None and not is_known(key):
            raise FormatError(f"{where} is none of a state dict's, such as weight_ih_l0, nor {CONFIG!r}")
        # The decompressors of zip's other methods ask for memory that the file names.
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise FormatError(f"{where} is compressed by method {entry.compress_type}, but must be deflated")
        entries[key] = entry
    arrays = {}
    for key, entry in entries.items():
        arrays[key] = _read_array(f"{name}: entry {key!r:.{LONGEST_SHOWN}}", archive, entry, budget)
        budget -= arrays[key].nbytes
    return arrays


def _read_array(where: str, archive: zipfile.ZipFile, entry: zipfile.ZipInfo, budget: int) -> np.ndarray:
    """One array, its header checked against the file and `budget` before memory is asked for."""
    with archive.open(entry) as file:
        shape, fortran, dtype, start = _read_header(where, file.read(LONGEST_HEADER))
    count = 1
    for length in shape:
        count *= length
    claimed, told = count * dtype.itemsize, f"shape {str(shape)[:LONGEST_SHOWN]} of {dtype}"
    if start + claimed > entry.file_size or claimed > budget:
        raise FormatError(f"{where} claims {told}, {claimed} bytes, which the file does not hold")
    memory = memories.memory(claimed)
    filled = 0
    with archive.open(entry) as file:
        file.read(start)
        # In chunks, since one large read takes the memory twice; past the end, for zipfile to check the CRC.
        while chunk := file.read(CHUNK):
            if filled + len(chunk) <= claimed:
                memory.data[filled : filled + len(chunk)] = chunk
            filled += len(chunk)
            if filled > claimed:
                break
    if filled != claimed:
        raise FormatError(f"{where} does not hold just the {claimed} bytes that {told} takes")
    try:
        return memory.view(dtype).reshape(shape, order="F" if fortran else "C")
    except (ValueError, OverflowError) as error:
        raise FormatError(f"{where} claims {told}: {error}") from error


def _read_header(where: str, head: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    """(shape, Fortran order, dtype, where the data starts) of an .npy array from its first bytes."""
    version = tuple(head[6:8])
    if head[:6] != b"\x93NUMPY" or version not in ((1, 0), (2, 0)):
        raise FormatError(f"{where} is no .npy array of version 1.0 or 2.0")
    first = 10 if version == (1, 0) else 12
    start = first + int.from_bytes(head[8:first], "little")
    header = HEADER.fullmatch(head[first:start].decode("latin-1"))
    if len(head) < start or header is None:
        raise FormatError(f"{where} has a damaged header")
    lengths = [length.strip() for length in header["shape"].split(",")]
    if not lengths[-1]:
        lengths.pop()
    if not all(n.isascii() and n.isdigit() for n in lengths):
        raise FormatError(f"{where} has shape ({header['shape']:.{LONGEST_SHOWN}})")
    plain = PLAIN_DTYPE.fullmatch(header["descr"])
    try:
        dtype = np.dtype(plain[1]) if plain else None
    except (TypeError, ValueError):
        dtype = None
    if dtype is None or dtype.itemsize < 1:  # NumPy 2.0 lets sizes wrap around
        raise FormatError(
            f"{where} has dtype {header['descr']:.{LONGEST_SHOWN}}, but must hold plain numbers or text"
        )
    return tuple(int(length) for length in lengths), header["fortran"] == "True", dtype, start


def _config(path: str | os.PathLike[str], entry: np.ndarray | None) -> dict[str, Any]:
    """The checked content of the configuration entry; {} where there is none."""
    if entry is None:
        return {}
    where = f"{os.fspath(path)}: entry {CONFIG!r}"
    if entry.dtype.kind != "U" or entry.ndim != 0:
        raise FormatError(f"{where} is {entry.dtype} of shape {entry.shape}, but must be one text")
    if entry.nbytes > 4 * LONGEST_CONFIG:
        raise FormatError(f"{where} has over {LONGEST_CONFIG} characters")
    return lstm_entry.parse(where, str(entry[()]))
