"""Standardised inputs and targets, and the net for raw data that is made of one trained on them.

Shapes: n rows, T steps, I input, H hidden, K features of h, P outputs.
"""

from __future__ import annotations

from typing import NamedTuple, Self

import numpy as np

from ..model import LSTM
from ..train import LinearHead


class Scaling(NamedTuple):
    """Means and standard deviations of features."""

    mean: np.ndarray  # (I,) of float64
    scale: np.ndarray  # (I,), above 0

    @classmethod
    def of(cls, values: np.ndarray, counts: np.ndarray, weights: np.ndarray) -> Self:
        """Of values (n, T, I) at the steps that count (n, T), weighted by weights (n,) or (n, T).

        A feature that is constant keeps its scale.
        """
        each = counts * (weights[:, np.newaxis] if weights.ndim == 1 else weights)  # (n, T) of float64
        total = each.sum() or 1.0
        kept = np.where(counts[..., np.newaxis], values, 0)
        mean = np.einsum("nti,nt->i", kept, each) / total
        kept = kept - mean
        variance = np.einsum("nti,nti,nt->i", kept, kept, each) / total
        scale = np.sqrt(variance)
        # Rounding of the mean leaves a constant feature a deviation of some units in its last place.
        is_constant = scale <= 10 * np.finfo(values.dtype).eps * np.abs(mean)
        return cls(mean, np.where(is_constant | ~(scale > 0), 1.0, scale))

    @classmethod
    def none(cls, size: int) -> Self:
        """One that changes nothing."""
        return cls(np.zeros(size), np.ones(size))

    def apply(self, values: np.ndarray) -> np.ndarray:
        """(..., I) -> (..., I), of the same dtype."""
        return np.asarray(((values - self.mean) / self.scale).astype(values.dtype))


def for_raw_data(net: LSTM, head: LinearHead, x: Scaling, y: Scaling) -> tuple[LSTM, LinearHead]:
    """Copies of net and head that take the data as they are, and give predictions in the unit of y.

    The gates' sums are linear in x, and predictions in h: W (x - m) / s = (W / s) x - (W / s) m.
    """
    raw, state = net.__copy__(), net.state_dict()
    for direction in ("", "_reverse") if net.bidirectional else ("",):
        weight = state[f"weight_ih_l0{direction}"] / x.scale  # (4 H, I) of float64
        bias = state[f"bias_ih_l0{direction}"] - weight @ x.mean
        state |= {f"weight_ih_l0{direction}": weight, f"bias_ih_l0{direction}": bias}
    raw.load_state_dict(state)
    raw_head = head.copy()
    raw_head.set(head.weight * y.scale[:, np.newaxis], head.bias * y.scale + y.mean)
    return raw, raw_head
