"""NumPy's .npz: the state dict under PyTorch's names and, if this package wrote it, an entry ``lstm``.

A file without that entry is a bare state dict.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from ..core.state_dict import NAME
from ..core.weights import Parts
from . import candidates, lstm_entry, small_weights
from .errors import FormatError
from .lstm_entry import ENTRY
from .numpy_files import read_arrays, read_shapes, write_arrays
from .option_names import option

HEAD = ("head.weight", "head.bias", "head.every_step")
"""Entries of the linear head that `lstm.train.save` writes beside a net, which is read without them."""


def read(path: str | os.PathLike[str], prefix: str | None = None, **options: Any) -> Parts:
    """The net of a file as `write` makes it, or of a bare state dict, or the one of `prefix` among others.

    `options` are what the file may not tell.
    """
    if prefix is not None:
        return _picked(os.fspath(path), prefix, options)
    arrays = read_arrays(path, lambda name: is_entry(name) or name in HEAD, lambda: _advice(path))
    for name in HEAD:
        arrays.pop(name, None)
    entry = _entry(path, arrays.pop(ENTRY, None))
    return lstm_entry.parts(os.fspath(path), arrays, entry, options)


def _advice(path: str | os.PathLike[str]) -> str:
    """What an error says of an entry that is not of a net alone."""
    listed = ", ".join(repr(own[0]) for _, own in names(path)[:10])
    return f"is none of a state dict's, such as weight_ih_l0, nor {ENTRY!r}" + (
        f"; pick an LSTM of this larger model by {option('prefix')}: there are {listed}" if listed else ""
    )


def _picked(name: str, prefix: str, options: dict[str, Any]) -> Parts:
    """The net of a prefix among all arrays of a file."""
    arrays = read_arrays(name)
    entry = _entry(name, arrays.pop(ENTRY, None))
    try:
        names = candidates.find({key: array.shape for key, array in arrays.items()}, prefix)
    except ValueError as error:
        raise FormatError(f"{name}: {error}") from error
    return lstm_entry.parts(name, {own: arrays[full] for own, full in names.items()}, entry, options)


def names(path: str | os.PathLike[str]) -> list[tuple[int, tuple[str, ...]]]:
    """Number and prefix of every LSTM of a larger model's file; none of the file of a net alone."""
    shapes = read_shapes(path)
    if all(is_entry(name) or name in HEAD for name in shapes):
        return []
    prefixes = sorted(prefix.removesuffix(".") for prefix in candidates.prefixes(shapes))
    return [(number, (prefix,)) for number, prefix in enumerate(prefixes)]


def notes(path: str | os.PathLike[str], **options: Any) -> list[str]:
    """What the net that `read` gives lacks of the file's model."""
    del options
    if not any(name in HEAD for name in read_shapes(path)):
        return []
    return ["a linear head, head.weight and head.bias, is left out; lstm.train.load reads both"]


def tensors(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Every array of a file by name, without the entry ``lstm``."""
    arrays = read_arrays(path)
    arrays.pop(ENTRY, None)
    return arrays


def write(parts: Parts, path: str | os.PathLike[str]) -> None:
    """Write the net's state dict and what its arrays do not say, uncompressed."""
    with open(path, "wb") as file:
        write_arrays(file, {ENTRY: np.array(lstm_entry.text(parts)), **small_weights.arrays(parts)})


def is_entry(name: str) -> bool:
    """Whether a net's file may have an entry of this name."""
    return name == ENTRY or any(one.fullmatch(name) for one in (NAME, small_weights.SCALE))


def _entry(path: str | os.PathLike[str], array: np.ndarray | None) -> dict[str, Any]:
    """The checked content of the entry ``lstm``; {} if there is none."""
    if array is None:
        return {}
    where = f"{os.fspath(path)}: entry {ENTRY!r}"
    if array.dtype.kind != "U" or array.ndim != 0:
        raise FormatError(f"{where} is {array.dtype} of shape {array.shape}, but must be one text")
    return lstm_entry.parse(where, str(array[()]))
