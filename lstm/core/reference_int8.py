"""The products of int8 weights in NumPy alone: the integers are summed exactly, the scales come after.

Of each row of the batch and each step, x and h become integers with one scale, so that a row's result
depends on nothing but that row::

    q_x = rint(x · 127 / m)   s_x = m / 127     m = max |x|, of h the largest that |h| can be
    z = b + (q_x · W_x) s_x s_W + (q_h · W_h) s_h s_V

with the integers W_x, W_h and their scales s_W, s_V, one for every unit and gate. Sums and scales meet in a
fused multiply-add of float32.

Shapes: B batch, T time, I input, H hidden, O features of h, K features of x or of h.
"""

from __future__ import annotations

import numpy as np

from .precision import LEAST, MOST_INT8, Int8Rows
from .weights import Int8Weights

TINY = np.finfo(np.float32).tiny


def quantize(values: np.ndarray, least: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """(..., K) of float32 -> integers (..., K) and the scale of each row (...), of float32 both.

    The scale is that of a row whose largest magnitude is at least `least`. It is NaN, and the integers zero,
    for a row with NaN or infinity. Subnormal numbers count as zero, and so does a row with nothing above
    `LEAST`.
    """
    values = np.where(np.abs(values) < TINY, np.float32(0), values)
    most = np.maximum(np.abs(values).max(axis=-1), np.float32(least))  # (...)
    small = most < LEAST
    finite = np.isfinite(most)
    factors = np.where(small | ~finite, np.float32(0), np.float32(MOST_INT8) / most)
    scales = np.where(small, np.float32(0), most / np.float32(MOST_INT8))
    integers = np.rint(np.where(finite[..., np.newaxis], values, np.float32(0)) * factors[..., np.newaxis])
    return integers, np.where(finite, scales, np.float32(np.nan))


def add_products(z: np.ndarray, integers: np.ndarray, scales: np.ndarray, matrix: Int8Rows) -> np.ndarray:
    """z (4, ..., H), integers (..., K), scales (...), matrix (4, H, K) -> z + products (4, ..., H)."""
    weights = matrix.values.astype(np.float64).transpose(0, 2, 1)  # (4, K, H)
    fours = (slice(None), *[np.newaxis] * (integers.ndim - 2))  # (4, ...), to meet integers' axes in front
    # Exact: a double holds all integers up to 2⁵³. (..., K) @ (4, ..., K, H)
    sums = (integers.astype(np.float64) @ weights[fours]).astype(np.float32)
    both = scales[np.newaxis, ..., np.newaxis] * matrix.scales[fours][..., np.newaxis, :]
    # In double the product is exact, so that only the sum is rounded, as in a fused multiply-add.
    return np.asarray((sums.astype(np.float64) * both + z).astype(np.float32))


def input_products(weights: Int8Weights, X: np.ndarray) -> np.ndarray:
    """X (B, T, I) -> (4, B, T, H): what x and the bias give to every gate, for all steps at once."""
    with np.errstate(all="ignore"):
        integers, scales = quantize(X)
        bias = weights.bias[:, np.newaxis, np.newaxis]
        return add_products(bias, integers, scales, weights.input)


def add_hidden_products(
    weights: Int8Weights, products: np.ndarray, h: np.ndarray, is_bounded: bool
) -> np.ndarray:
    """products (4, B, H), h (B, O) -> z (4, B, H); where h `is_bounded`, by 1, that is its largest."""
    integers, scales = quantize(h, 1.0 if is_bounded else 0.0)
    return add_products(products, integers, scales, weights.hidden)
