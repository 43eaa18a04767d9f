"""Where a training run is; together with the data, all that decides how it goes on.

Shapes: N weights, M moments of each.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Self

import numpy as np


class State(NamedTuple):
    """A state is replaced as a whole and never changed, so that no signal leaves half a step."""

    weights: np.ndarray  # (N,)
    moments: np.ndarray  # (M, N)
    best: np.ndarray  # (N,) after the best epoch
    order: np.ndarray  # (rows,) of intp: the order of this epoch; empty between epochs
    rng: dict[str, Any]  # the generator's
    step: int = 0
    epoch: int = 0
    place: int = 0  # rows of `order` that are done
    epoch_sum: float = 0.0  # of this epoch's losses so far, each times what its batch weighs
    epoch_weight: float = 0.0
    best_loss: float = float("inf")
    best_epoch: int = 0

    @classmethod
    def start(cls, weights: np.ndarray, moments: np.ndarray, rng: np.random.Generator) -> Self:
        """Before the first step."""
        return cls(weights, moments, weights, np.empty(0, np.intp), dict(rng.bit_generator.state))

    def after_epoch(self) -> Self:
        """The state once all rows have been seen."""
        none: dict[str, Any] = {"place": 0, "order": self.order[:0], "epoch_sum": 0.0, "epoch_weight": 0.0}
        return self._replace(epoch=self.epoch + 1, **none)
