"""The sums of the contract of the numbers in NumPy alone, to the last bit.

The running sum begins at `start`; products are summed in blocks of at most 128 along k, each from zero by
fused multiply-add in order of k; each block's sum is added to the running sum. The h half of a net is cut in
two halves where it is at most 16 deep.

Shapes: R rows, P panels, K depth, L lanes, G = 4 gates.
"""

from __future__ import annotations

from typing import Any

import numpy as np

SUM_BLOCK = 128
SHORT_SUM = 16


def two_sum(a: Any, b: Any) -> tuple[Any, Any]:
    """The rounded a + b and what rounding dropped (Knuth)."""
    total = a + b
    rest = total - a
    return total, (a - (total - rest)) + (b - rest)


def two_product(a: Any, b: Any) -> tuple[Any, Any]:
    """The rounded a b and what rounding dropped (Dekker; Veltkamp's splitting)."""
    factor = a.dtype.type((1 << ((np.finfo(a.dtype).nmant + 2) // 2)) + 1)
    high, low = [], []
    for x in (a, b):
        scaled = factor * x
        high.append(scaled - (scaled - x))
        low.append(x - high[-1])
    total = a * b
    rest = ((high[0] * high[1] - total) + high[0] * low[1]) + low[0] * high[1]
    return total, rest + low[0] * low[1]


def odd_sum(a: Any, b: Any) -> Any:
    """a + b rounded to odd: where it is inexact, whichever neighbour has an odd last bit."""
    total, lost = two_sum(a, b)
    bits = total.view(f"i{total.itemsize}")
    # Bits count away from zero, so that the neighbour on the side of `lost` is one up or one down.
    toward = np.where((lost > 0) == (total > 0), 1, -1).astype(bits.dtype)
    return np.where((lost != 0) & (bits & 1 == 0), bits + toward, bits).view(total.dtype)


def fma(a: Any, b: Any, c: Any) -> Any:
    """a b + c rounded once, from sums and products of the dtype itself.

    Boldo and Melquiond, "Emulation of a FMA and correctly rounded sums: proved algorithms using rounding
    to odd" (2008). Good while nothing overflows or is subnormal.
    """
    a, b, c = np.broadcast_arrays(a, b, c)
    product, product_low = two_product(a, b)
    middle, low = two_sum(c, product_low)
    high, rest = two_sum(product, middle)
    return high + odd_sum(rest, low)


def hidden_block(depth: int) -> int:
    """k of a block of the h half."""
    return (depth + 1) // 2 if depth <= SHORT_SUM else SUM_BLOCK


def canonical_sums(
    input: np.ndarray, weights: np.ndarray, start: np.ndarray, block: int = SUM_BLOCK
) -> np.ndarray:
    """input (R, K), weights (P, K, G, L), start (R, P, G, L) -> sums (R, P, G, L), in blocks of k."""
    sums = start
    for first in range(0, input.shape[1], block):
        partial = np.zeros_like(start)
        for k in range(first, min(first + block, input.shape[1])):
            partial = fma(input[:, k, np.newaxis, np.newaxis, np.newaxis], weights[:, k], partial)
        sums = sums + partial
    return sums
