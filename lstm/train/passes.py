"""One pass over a batch, in parts: its loss, and the gradient of net and head.

Shapes: B batch, T time, N weights.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np

from ..model import LSTM
from ..tape import Tape
from .data import Data
from .heads import LinearHead
from .losses import Loss, add_rows, mean_loss, row_losses, weight_of
from .parameters import Parameters


class Pass(NamedTuple):
    """What a pass over a batch found; its gradient is in the parameters."""

    loss: float  # the mean over the steps that count
    weight: float  # how much they count in all


class Batch(NamedTuple):
    """What a step learns from."""

    data: Data
    rows: np.ndarray  # (B,) of intp: which rows of the data
    loss: Loss
    part_size: int | None  # rows that are in memory at once; None: all
    dropout: dict[str, Any]
    rng: np.random.Generator

    @property
    def total(self) -> float:
        """How much all steps count."""
        return weight_of(self.data.weights[self.rows])

    def parts(self, size: int) -> list[np.ndarray]:
        """The rows of each part, (size,) or fewer of the last one."""
        return [self.rows[start : start + size] for start in range(0, len(self.rows), size)]


class Passes(Protocol):
    """What computes loss and gradient of a step: this process, or others."""

    def __call__(self, parameters: Parameters, batch: Batch) -> Pass:
        """The mean loss of a batch; write its gradient (N,) to ``parameters.gradient``."""


class LocalPasses:
    """Computes in this process, part by part, in memory that one part leaves to the next."""

    def __init__(self) -> None:
        self._tape: Tape | None = None

    def __reduce__(self) -> tuple[type[LocalPasses], tuple[()]]:
        return LocalPasses, ()  # the tape is memory, for speed alone

    def __call__(self, parameters: Parameters, batch: Batch) -> Pass:
        """The mean loss of a batch; its gradient (N,) is written to the parameters."""
        parameters.gradient[...] = 0
        total, mean = batch.total, 0.0
        for rows in batch.parts(batch.part_size or len(batch.rows)):
            part = batch.data.rows(rows)
            losses = self.add_part(parameters, batch.loss, part, total, batch.dropout, batch.rng)
            mean = add_rows(losses, mean)
        return Pass(mean, total)

    @np.errstate(all="ignore")
    def add_part(
        self,
        parameters: Parameters,
        loss: Loss,
        part: Data,
        total: float,
        dropout: dict[str, Any],
        rng: np.random.Generator | None,
    ) -> np.ndarray:
        """Add the gradient of some rows of a batch; returns what each adds to the mean loss, (B,).

        `total` is how much all steps of the batch count.
        """
        net, head, tape = parameters.net, parameters.head, self._tape
        fits = tape is not None and tape.Y.shape[:2] == part.X.shape[:2]
        tape = self._tape = net.record(
            part.X, lengths=part.lengths, mask=part.mask, **dropout, rng=rng, out=tape if fits else None
        )
        features = head.features(tape.Y, tape.h_n)
        rows, derivative = row_losses(loss, head.forward(features), part.y, part.weights, total)
        d_features = head.backward(
            features, derivative, parameters.head_weight_gradient, parameters.head_bias_gradient
        )
        tape.backward(**head.starts(tape, d_features), inputs=False, add_to=parameters.net_gradients)
        return rows


@np.errstate(all="ignore")
def mean_loss_of(net: LSTM, head: LinearHead, loss: Loss, data: Data, batch_size: int) -> float:
    """The mean loss over all rows, without dropout, `batch_size` rows at a time."""
    total, mean = weight_of(data.weights), 0.0
    for start in range(0, data.size, batch_size):
        part = data.rows(np.arange(start, min(start + batch_size, data.size)))
        prediction = head.predict(net, part.X, lengths=part.lengths, mask=part.mask)
        mean, _ = mean_loss(loss, prediction, part.y, part.weights, total, mean)
    return mean
