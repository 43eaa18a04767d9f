"""All arrays of floats that a file of Keras stores, whatever layers they are of."""

from __future__ import annotations

import os

import numpy as np

from . import files
from .hdf5 import NO_FLOATS


def tensors(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """The datasets of a .keras, .h5 or .weights.h5 file by path, those without floats left out."""
    with files.opened_file(path) as (hdf5, *_):
        entries = [entry for entry in hdf5.entries.values() if entry.problem != NO_FLOATS]
        return dict(zip((entry.path for entry in entries), hdf5.arrays(entries), strict=True))
