"""Weights that take less memory than float32: bfloat16, float16, and int8 with a scale for every row.

Shapes: K features of x or of h; a row is what one unit and gate multiplies with them.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from .. import _kernel
from .architecture import Architecture, Options

SMALL = {
    "bfloat16": ("weight_ih", "weight_hh", "weight_hr"),
    "float16": ("weight_ih", "weight_hh", "weight_hr"),
    "int8": ("weight_ih", "weight_hh"),
}
"""The matrices that each precision keeps small, by what their names in a state dict begin with."""

PRECISIONS = tuple(SMALL)

MOST_INT8 = 127
"""The largest integer a weight, x or h becomes. Of weights from elsewhere -128 may be one, too."""

MOST_DEPTH = 65_536
"""Products that a sum may have: 255 · 128 · 65,536, with the kernel's offset of x and h, fits an int32."""

LEAST = np.float32(2.0**-119)
"""Rows whose largest value is below this count as zero: 1/127 of it and 127 over it are still normal."""


class Int8Rows(NamedTuple):
    """A matrix whose value at (..., k) is ``values[..., k] * scales[...]``, one product of float32."""

    values: np.ndarray  # (..., K) of int8
    scales: np.ndarray  # (...) of float32, finite and not negative

    @property
    def nbytes(self) -> int:
        """Bytes of both arrays."""
        return self.values.nbytes + self.scales.nbytes

    def widen(self) -> np.ndarray:
        """(..., K) of float32."""
        with np.errstate(all="ignore"):
            return np.asarray(self.values.astype(np.float32) * self.scales[..., np.newaxis])


def check_precision(value: Any, dtype: np.dtype[Any]) -> str | None:
    """None or one of `PRECISIONS`, which a float32 net may have; else TypeError or ValueError."""
    if value is None:
        return None
    expected = f"None or one of {', '.join(map(repr, PRECISIONS))}"
    if not isinstance(value, str):
        raise TypeError(f"precision is {value!r}, but must be {expected}")
    if value not in PRECISIONS:
        raise ValueError(f"precision is {value!r}, but must be {expected}")
    if dtype != np.float32:
        raise ValueError(f"precision is {value!r}, but dtype is {dtype}: small weights need dtype float32")
    return value


def check_depths(precision: str | None, architecture: Architecture) -> None:
    """ValueError if the sums of an int8 net would be longer than an int32 can hold."""
    if precision != "int8":
        return
    inputs = max(architecture.cell_input_size(cell) for cell in range(architecture.cells))
    if (most := max(inputs, architecture.state_size)) > MOST_DEPTH:
        raise ValueError(
            f"precision is 'int8', but a layer takes {most} features, and {MOST_DEPTH} at most fit"
        )


def check_gradients_exist(precision: str | None, dtype: np.dtype[Any]) -> None:
    """ValueError for a net of small weights: a step of training is less than they resolve."""
    if precision is not None:
        raise ValueError(
            f"gradients need weights of {dtype}, but this LSTM has precision={precision!r}; "
            "net.quantize(None) gives it full ones"
        )


def kept_bytes(kind: str, shape: tuple[int, ...], dtype: np.dtype[Any], precision: str | None) -> int:
    """Bytes of a weight of this shape and `kind`, what its name begins with in a state dict."""
    count = math.prod(shape)
    if precision is None or kind not in SMALL[precision]:
        return count * dtype.itemsize
    return count + shape[0] * dtype.itemsize if precision == "int8" else 2 * count


def quantize_rows(name: str, matrix: np.ndarray) -> Int8Rows:
    """Matrix (..., K) of float32 -> integers (..., K) and scales (...): s = max|row| / 127, q = row / s.

    ValueError, which names the matrix, if it holds NaN or infinity.
    """
    found = _kernel.enter_default_mode()
    try:
        with np.errstate(all="ignore"):
            most = np.abs(matrix).max(axis=-1)  # (...)
            small = most < LEAST
            scales = np.where(small, np.float32(0), most / np.float32(MOST_INT8))
            if not np.isfinite(scales * np.float32(MOST_INT8)).all():
                raise ValueError(f"{name} holds NaN, infinity or nearly that, which int8 cannot hold")
            divisors = np.where(small, np.float32(np.inf), scales)[..., np.newaxis]
            values = np.clip(np.rint(matrix / divisors), -MOST_INT8, MOST_INT8).astype(np.int8)
    finally:
        _kernel.restore_mode(found)
    return Int8Rows(values, scales)


def requantize_rows(name: str, matrix: np.ndarray, kept: Int8Rows) -> Int8Rows:
    """`quantize_rows`, but rows of (..., K) that have the values of `kept` keep its integers and scales."""
    changed = (matrix != kept.widen()).any(axis=-1)  # (...)
    values, scales = kept.values.copy(), kept.scales.copy()
    if changed.any():
        values[changed], scales[changed] = quantize_rows(name, matrix[changed])
    return Int8Rows(values, scales)


def round_to(name: str, matrix: np.ndarray, precision: str) -> np.ndarray:
    """Matrix (...) of float32 -> the nearest values that a 16-bit precision holds, again as float32."""
    return widen(narrow(name, matrix, precision), precision)


def narrow(name: str, matrix: np.ndarray, precision: str) -> np.ndarray:
    """Matrix (...) of float32 -> (...) of uint16, the bits of the nearest bfloat16 or float16, ties to even.

    NaN and infinity stay. ValueError, which names the matrix, if a finite value is too large.
    """
    bits = np.empty(matrix.shape, np.uint16)
    parts = zip(matrix, bits, strict=True) if matrix.ndim > 2 else [(matrix, bits)]
    for part, into in parts:  # gate by gate, for the memory that it takes on the way
        with np.errstate(all="ignore"):
            into[...] = _half_bits(part) if precision == "float16" else _bfloat16_bits(part)
            overflows = np.isfinite(part) & ~np.isfinite(widen(into, precision))
        if overflows.any():
            largest = np.abs(part[overflows]).max()
            raise ValueError(f"{name} holds a value of magnitude {largest}, which {precision} cannot hold")
    return bits


def _half_bits(matrix: np.ndarray) -> np.ndarray:
    return matrix.astype(np.float16).view(np.uint16)


def _bfloat16_bits(matrix: np.ndarray) -> np.ndarray:
    """The upper halves of float32, after what rounds the lower ones away."""
    wide = np.ascontiguousarray(matrix).view(np.uint32)
    upper = wide >> np.uint32(16)
    rounded = (wide + (upper & np.uint32(1)) + np.uint32(0x7FFF)) >> np.uint32(16)
    # Rounding could carry a NaN's bits into its sign.
    return np.where(np.isnan(matrix), upper | np.uint32(0x40), rounded).astype(np.uint16)


def widen(bits: np.ndarray, precision: str) -> np.ndarray:
    """Bits (...) of uint16 of a bfloat16 or float16 -> their values (...) as float32, exactly."""
    if precision == "float16":
        return bits.view(np.float16).astype(np.float32)
    return np.asarray((bits.astype(np.uint32) << np.uint32(16)).view(np.float32))


def bounds_h(options: Options, has_projection: bool) -> bool:
    """Whether |h| ≤ 1 after every step: then int8 takes 1 for the largest |h|, so that its scale is fixed."""
    at_gates, _, at_output = options.activations
    return (
        not has_projection
        and at_gates.name in ("Sigmoid", "HardSigmoid")
        and at_output.name in ("Tanh", "Sigmoid", "HardSigmoid", "Softsign")
    )
