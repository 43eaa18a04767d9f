"""Keras: the files that it saves, read without it, and its live layers."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

from ...core.weights import Parts
from ..untold import check_options
from . import files
from .hdf5 import File
from .layers import Layer, Names, warn
from .picking import check_pick, in_listed_order, names_of, pick, shown
from .stack import assemble
from .tensors import tensors as tensors


def read(path: str | os.PathLike[str], layer: str | int | None = None, **options: Any) -> Parts:
    """The net of a .keras, .h5 or .weights.h5 file; `options` are what such a file may not tell."""
    check_pick(layer)
    check_options(options)
    with _opened(path) as (hdf5, layers, feeds):
        picked = pick(layers, feeds, layer)
        parts = assemble(picked, hdf5.arrays, options)
    warn(os.fspath(path), picked, stacklevel=5)
    return parts


def notes(path: str | os.PathLike[str], layer: str | int | None = None, **options: Any) -> list[str]:
    """What a user should know of the net that `read` gives."""
    with _opened(path) as (_, layers, feeds):
        picked = pick(layers, feeds, layer)
        return list(dict.fromkeys(note for one in picked for note in one.config.notes))


def names(path: str | os.PathLike[str]) -> list[tuple[int, tuple[str, ...]]]:
    """Number and names of the recurrent layers of a file, each followed by the cells that it stacks."""
    with _opened(path) as (_, layers, _):
        return [
            (number, names_of(one.config)) for number, layer in enumerate(layers) for one in shown([layer])
        ]


@contextlib.contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[tuple[File, list[Layer], dict[Names, Names]]]:
    """The HDF5 file, the recurrent layers and which feeds which; FormatError for what goes wrong."""
    with files.opened_file(path) as (hdf5, description, version):
        layers, feeds = files.layers(hdf5, description, version)
        yield hdf5, in_listed_order(layers), feeds
