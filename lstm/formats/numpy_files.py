"""NumPy's files from strangers: .npy arrays and .npz archives of them, bounded and without pickle."""

from __future__ import annotations

import io
import os
import re
import sys
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np

from ..core import memory as memories
from .archive import LONGEST_SHOWN, BoundedReader, budget, checked_entries, chunks, opened, pruned_budget
from .errors import FormatError
from .reading import open_plain

LONGEST_HEADER = 4096  # bytes

# The header of an .npy array is matched, not evaluated as the Python expression that it is. All writers
# put the keys in this order, as the format's description says.
HEADER = re.compile(
    r"\s*\{\s*'descr'\s*:\s*(?P<descr>[^\s].*?)\s*,\s*'fortran_order'\s*:\s*(?P<fortran>True|False)\s*,"
    r"\s*'shape'\s*:\s*\((?P<shape>[^()]*)\)\s*,?\s*\}\s*",
    re.ASCII | re.DOTALL,
)
NUMBERS_OR_TEXT = re.compile(r"'([<>|=]?[fiubU][0-9]{1,9})'", re.ASCII)


def write_arrays(file: io.BufferedWriter, arrays: dict[str, np.ndarray]) -> None:
    """Write what np.savez does, which in NumPy 2.0 takes `allow_pickle` for the name of one more array."""
    archive = zipfile.ZipFile(file, "w")
    try:
        for key, array in arrays.items():
            with archive.open(f"{key}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, array, allow_pickle=False)
        archive.close()
    except BaseException:
        # To close it would raise another error wherever Ctrl-C left an entry half open.
        archive.fp = None
        raise


def read_arrays(
    path: str | os.PathLike[str],
    is_known: Callable[[str], bool] | None = None,
    otherwise: Callable[[], str] = str,
) -> dict[str, np.ndarray]:
    """Every array of an .npz file by name; FormatError if one is damaged or unsuitable.

    `is_known` says which entries there may be (None: any, which may expand to less), and
    `otherwise` what an error says of another. Arrays hold numbers or text.
    """
    name = os.fspath(path)
    with BoundedReader(open_plain(name)) as file:
        bound = budget if is_known is None else pruned_budget
        left = bound(os.fstat(file.fileno()).st_size)
        with opened(name, file, ".npz") as archive:
            entries = _array_entries(name, archive)
            for key in entries:
                if is_known is not None and not is_known(key):
                    raise FormatError(f"{_where(name, key)} {otherwise()}")
            arrays = {}
            for key, entry in entries.items():
                arrays[key] = _read_array(_where(name, key), archive, entry, left)
                left -= arrays[key].nbytes
            return arrays


def read_shapes(path: str | os.PathLike[str]) -> dict[str, tuple[int, ...]]:
    """The shape of every array of an .npz file by name, as its header claims; no values are read."""
    name = os.fspath(path)
    shapes = {}
    with BoundedReader(open_plain(name)) as file, opened(name, file, ".npz") as archive:
        for key, entry in _array_entries(name, archive).items():
            with archive.open(entry) as content:
                shapes[key] = read_header(_where(name, key), content.read(LONGEST_HEADER))[0]
    return shapes


def _array_entries(name: str, archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """The entries of an .npz file by the names of their arrays; FormatError if one is no array."""
    entries = checked_entries(name, archive.infolist())
    for key in entries:
        if not key.endswith(".npy"):
            raise FormatError(f"{_where(name, key)} is no .npy array")
    return {key.removesuffix(".npy"): entry for key, entry in entries.items()}


def _where(name: str, key: str) -> str:
    """How an error names an entry."""
    return f"{name}: entry {key.removesuffix('.npy')!r:.{LONGEST_SHOWN}}"


def _read_array(where: str, archive: zipfile.ZipFile, entry: zipfile.ZipInfo, left: int) -> np.ndarray:
    """One array, its header checked against the file and the bytes `left` before memory is asked for."""
    with archive.open(entry) as file:
        shape, fortran, dtype, start = read_header(where, file.read(LONGEST_HEADER))
    count = 1
    for length in shape:
        count *= length
    size, what = count * dtype.itemsize, f"shape {str(shape)[:LONGEST_SHOWN]} of {dtype}"
    if start + size > entry.file_size:
        raise FormatError(f"{where} claims {what}, {size} bytes, which the file does not hold")
    if size > left:
        raise FormatError(
            f"{where} claims {what}, {size} bytes, but no more than {left} are read of what a compressed "
            "file of this size holds; save it uncompressed if it is to be trusted"
        )
    memory = memories.memory(size)
    filled = 0
    for chunk in chunks(archive, entry, start):
        if filled + len(chunk) <= size:
            memory.data[filled : filled + len(chunk)] = chunk
        filled += len(chunk)
        if filled > size:
            break
    if filled != size:
        raise FormatError(f"{where} does not hold just the {size} bytes that {what} takes")
    if dtype.kind == "U" and memory.view(f"{dtype.byteorder}u4").max(initial=0) > sys.maxunicode:
        raise FormatError(f"{where} holds numbers above {sys.maxunicode:#x}, which are no characters")
    try:
        return memory.view(dtype).reshape(shape, order="F" if fortran else "C")
    except (ValueError, OverflowError) as error:
        raise FormatError(f"{where} claims {what}: {error}") from error


def read_header(where: str, head: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
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
    simple = NUMBERS_OR_TEXT.fullmatch(header["descr"])
    try:
        dtype = np.dtype(simple[1]) if simple else None
    except (TypeError, ValueError):
        dtype = None
    if dtype is None or dtype.itemsize < 1:  # NumPy 2.0 lets sizes wrap around
        raise FormatError(
            f"{where} has dtype {header['descr']:.{LONGEST_SHOWN}}, but must hold numbers or text"
        )
    return tuple(int(length) for length in lengths), header["fortran"] == "True", dtype, start
