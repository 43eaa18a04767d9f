"""Steps that a mask leaves out: the others are gathered, run as rows of different lengths, and scattered.

Shapes: B batch, T time, T' steps of the longest row after gathering, I input.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class MaskedSteps(NamedTuple):
    """The steps that count, at the start of every row, and where they belong."""

    X: np.ndarray  # (B, T', I)
    lengths: np.ndarray  # (B,) of intp
    mask: np.ndarray  # (B, T) of bool: their places in the caller's X
    within: np.ndarray  # (B, T') of bool: their places here

    def scatter(self, values: np.ndarray, into: np.ndarray) -> None:
        """Values (..., B, T', K) to their places in `into` (..., B, T, K), which is zero at all others."""
        into[...] = 0
        into[..., self.mask, :] = values[..., self.within, :]


def gather(X: np.ndarray, mask: np.ndarray) -> MaskedSteps:
    """X (B, T, I), mask (B, T) of bool: a copy of the steps that count; no others are read."""
    lengths = mask.sum(axis=1, dtype=np.intp)
    within = np.arange(lengths.max(initial=0)) < lengths[:, np.newaxis]
    gathered = np.zeros((*within.shape, X.shape[2]), X.dtype)
    gathered[within] = X[mask]
    return MaskedSteps(gathered, lengths, mask, within)


def joined(
    mask: np.ndarray | None, lengths: np.ndarray | None
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """A mask (B, T) and lengths (B,) as one of the two: lengths if all that is left out is at the ends."""
    if mask is None:
        return None, lengths
    time = np.arange(mask.shape[1])
    if lengths is not None:
        mask = mask & (time < lengths[:, np.newaxis])
    counts = mask.sum(axis=1, dtype=np.intp)
    if bool((mask == (time < counts[:, np.newaxis])).all()):
        return None, None if bool((counts == mask.shape[1]).all()) else counts
    return mask, None
