"""Keras: the files that it saves, read without it, and its live layers."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import IO

from ...core.weights import Parts
from ..archive import BoundedReader
from ..errors import FormatError
from ..reading import open_plain
from . import files
from .description import Names
from .hdf5 import File
from .stack import Layer, assemble, cells_of, check_pick, pick
from .tensors import tensors as tensors


def read(path: str | os.PathLike[str], layer: str | int | None = None) -> Parts:
    """The net of a .keras, .h5 or .weights.h5 file."""
    check_pick(layer)
    with _opened(path) as (hdf5, layers, feeds):
        return assemble(pick(layers, feeds, layer), hdf5.arrays)


def names(path: str | os.PathLike[str]) -> list[tuple[int, tuple[str, ...]]]:
    """Number and names of the LSTM layers of a file, each followed by the cells that it stacks."""
    with _opened(path) as (_, layers, _):
        return [
            (number, (one.config.name, "/".join(one.config.names)))
            for number, layer in enumerate(layers)
            for one in (layer, *cells_of(layer))
        ]


@contextlib.contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[tuple[File, list[Layer], dict[Names, Names]]]:
    """The HDF5 file, the LSTM layers and which feeds which; FormatError for what goes wrong with them."""
    name = os.fspath(path)
    with contextlib.ExitStack() as stack:
        file: IO[bytes] = stack.enter_context(BoundedReader(open_plain(name)))
        try:
            description, version = None, 3
            if name.lower().endswith(".keras"):
                description, version, file = files.unpacked(name, file)
                stack.enter_context(file)
            hdf5 = stack.enter_context(File(name, file))
            if description is None:
                description, version = files.legacy_config(name, hdf5)
            yield hdf5, *files.layers(hdf5, description, version)
        except FormatError:
            raise
        except (ValueError, TypeError, OverflowError, RecursionError) as error:
            raise FormatError(f"{name}: {error}") from error
