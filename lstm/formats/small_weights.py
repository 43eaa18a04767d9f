"""Small weights under the names of a state dict, as .npz and .safetensors files hold them.

Matrices of 16 bits keep their names; bfloat16, which NumPy lacks, is the uint16 of its bits. Those of int8
are integers under their names, and the scales of their rows, (4H,) of float32, under these with ``_scale``.
All other arrays are of float32.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..core.precision import SMALL, Int8Rows, narrow, widen
from ..core.state_dict import to_state_dict
from ..core.weights import Int8Weights, Parts
from .errors import FormatError

SCALE = re.compile(r"weight_(ih|hh)_l(0|[1-9][0-9]{0,5})(_reverse)?_scale")
ENDING = "_scale"
STORED: dict[str, np.dtype[Any]] = {
    "int8": np.dtype(np.int8),
    "float16": np.dtype(np.float16),
    "bfloat16": np.dtype(np.uint16),
}
"""What the small matrices are stored as."""
UNKEPT = "the integers of its weights have zero points, or scales that are not positive, which int8 nets lack"


def rows_of(integers: np.ndarray, zero_points: np.ndarray, scales: np.ndarray) -> Int8Rows | None:
    """Integers (..., K) of 8 bits, zero points (...) and scales (...) -> rows that int8 keeps, if there are.

    It has no zero points: those that leave int8 once they are taken off are lost.
    """
    wide = integers.astype(np.int32) - zero_points.astype(np.int32)[..., np.newaxis]
    scales = scales.astype(np.float32)
    fits = np.array_equal(wide, wide.astype(np.int8))
    return Int8Rows(wide.astype(np.int8), scales) if fits and are_scales(scales) else None


def are_scales(scales: np.ndarray) -> bool:
    """Whether an int8 net can have them, (...) of float32: finite also times an integer, none negative."""
    with np.errstate(all="ignore"):
        return bool(((scales >= 0) & np.isfinite(scales * np.float32(128))).all())


def arrays(parts: Parts) -> dict[str, np.ndarray]:
    """What a file holds of a net, small weights or not."""
    state = to_state_dict(parts)
    if parts.precision == "int8":
        for cell, weights in enumerate(parts.weights):
            assert isinstance(weights, Int8Weights)
            for kind, rows in zip(SMALL["int8"], weights.matrices, strict=True):
                name = kind + parts.architecture.suffix(cell)
                state[name] = rows.values.reshape(state[name].shape)
                state[name + ENDING] = rows.scales.reshape(-1)
    elif parts.precision is not None:
        for name in state:
            if name.startswith(SMALL[parts.precision]):
                bits = narrow(name, state[name], parts.precision)
                state[name] = bits.view(STORED[parts.precision])
    return state


def widened(
    path: str, stored: Mapping[str, np.ndarray], precision: str
) -> tuple[dict[str, np.ndarray], dict[str, Int8Rows]]:
    """The state dict in float32 of what a file holds, and for int8 the rows (4H, K) by their names.

    In place of these it has zeros, which take no memory. FormatError if it is not what `arrays` makes of such
    a precision.
    """
    state: dict[str, np.ndarray] = {}
    rows: dict[str, Int8Rows] = {}
    for name, array in stored.items():
        is_small = name.startswith(SMALL[precision]) and not SCALE.fullmatch(name)
        expected: np.dtype[Any] = STORED[precision] if is_small else np.dtype(np.float32)
        if array.dtype.newbyteorder("=") != expected:
            raise FormatError(
                f"{path}: entry {name!r} has dtype {_named(array.dtype)}, but in a net of precision "
                f"{precision!r} it must have {_named(expected)}"
            )
        array = np.ascontiguousarray(array.astype(expected, copy=False))
        if not is_small:
            state[name] = array
        elif precision == "int8":
            rows[name] = Int8Rows(array, _scales(path, name, array, stored))
            state[name] = np.broadcast_to(np.float32(0), array.shape)
        else:
            state[name] = widen(array.view(np.uint16), precision)
    for name in rows:
        state.pop(name + ENDING, None)
    return state, rows


def _named(dtype: np.dtype[Any]) -> str:
    """A dtype in an error; the bits of bfloat16 may have been either."""
    return "bfloat16 (or uint16)" if dtype == np.uint16 else dtype.name


def _scales(path: str, name: str, matrix: np.ndarray, stored: Mapping[str, np.ndarray]) -> np.ndarray:
    """The checked scales (4H,) of a matrix (4H, K)."""
    where = f"{path}: entry {name + ENDING!r}"
    scales = stored.get(name + ENDING)
    if scales is None or matrix.ndim != 2 or scales.shape != matrix.shape[:1]:
        found = "is missing" if scales is None else f"has shape {scales.shape}"
        raise FormatError(f"{where} {found}, but {name!r} has shape {matrix.shape}: one scale for every row")
    if not are_scales(scales):
        raise FormatError(f"{where} holds a scale that is negative, NaN or infinite, or nearly that")
    return np.ascontiguousarray(scales, np.float32)


def with_rows(parts: Parts, rows: Mapping[str, Int8Rows]) -> Parts | None:
    """The net with the rows (4H, K) by their names in a state dict in place of its matrices.

    None if some matrix has none.
    """
    architecture, hidden = parts.architecture, parts.architecture.hidden_size
    weights = []
    for cell, one in enumerate(parts.weights):
        names = [kind + architecture.suffix(cell) for kind in SMALL["int8"]]
        if not all(name in rows for name in names):
            return None
        inputs, hidden_rows = (
            Int8Rows(rows[name].values.reshape(4, hidden, -1), rows[name].scales.reshape(4, hidden))
            for name in names
        )
        weights.append(Int8Weights(inputs, hidden_rows, *one[2:]))
    return parts._replace(weights=weights)
