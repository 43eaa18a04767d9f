"""All arrays of floats that a file of Keras stores, whatever layers they are of."""

from __future__ import annotations

import contextlib
import os
from typing import IO

import numpy as np

from ..archive import BoundedReader
from ..errors import FormatError
from ..reading import open_plain
from . import files
from .hdf5 import File

# What the process that reads HDF5 says of counters and texts.
NO_FLOATS = "does not hold floats"


def tensors(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """The datasets of a .keras, .h5 or .weights.h5 file by path, those without floats left out."""
    name = os.fspath(path)
    with contextlib.ExitStack() as stack:
        file: IO[bytes] = stack.enter_context(BoundedReader(open_plain(name)))
        try:
            if name.lower().endswith(".keras"):
                *_, file = files.unpacked(name, file)
                stack.enter_context(file)
            hdf5 = stack.enter_context(File(name, file))
            entries = [entry for entry in hdf5.entries.values() if entry.problem != NO_FLOATS]
            return dict(zip((entry.path for entry in entries), hdf5.arrays(entries), strict=True))
        except FormatError:
            raise
        except (ValueError, TypeError, OverflowError, RecursionError) as error:
            raise FormatError(f"{name}: {error}") from error
