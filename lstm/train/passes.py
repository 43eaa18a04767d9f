"""One pass over a batch, in parts: its loss, and the gradient of net and head.

Shapes: B batch, T time, N weights.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..model import LSTM
from ..tape import Tape
from .data import Data
from .heads import LinearHead
from .losses import Loss, mean_loss, weight_of
from .parameters import Parameters


class Pass(NamedTuple):
    """What a pass over a batch found; its gradient is in the parameters."""

    loss: float  # the mean over the steps that count
    weight: float  # how much they count in all
    tape: Tape | None  # of the last part, whose memory the next pass may use


@np.errstate(all="ignore")
def loss_and_gradient(
    parameters: Parameters,
    loss: Loss,
    data: Data,
    rows: np.ndarray,
    part_size: int | None,
    dropout: dict[str, Any],
    rng: np.random.Generator,
    tape: Tape | None,
) -> Pass:
    """The mean loss of `rows` (B,) of the data; its gradient (N,) is written to ``parameters.gradient``."""
    net, head = parameters.net, parameters.head
    parameters.gradient[...] = 0
    total, mean = weight_of(data.weights[rows]), 0.0
    size = len(rows) if part_size is None else part_size
    for start in range(0, len(rows), size):
        part = data.rows(rows[start : start + size])
        fits = tape is not None and tape.Y.shape[:2] == part.X.shape[:2]
        tape = net.record(
            part.X, lengths=part.lengths, mask=part.mask, **dropout, rng=rng, out=tape if fits else None
        )
        features = head.features(tape.Y, tape.h_n)
        mean, derivative = mean_loss(loss, head.forward(features), part.y, part.weights, total, mean)
        d_features = head.backward(
            features, derivative, parameters.head_weight_gradient, parameters.head_bias_gradient
        )
        tape.backward(**head.starts(tape, d_features), inputs=False, add_to=parameters.net_gradients)
    return Pass(mean, total, tape)


@np.errstate(all="ignore")
def mean_loss_of(net: LSTM, head: LinearHead, loss: Loss, data: Data, batch_size: int) -> float:
    """The mean loss over all rows, without dropout, `batch_size` rows at a time."""
    total, mean = weight_of(data.weights), 0.0
    for start in range(0, data.size, batch_size):
        part = data.rows(np.arange(start, min(start + batch_size, data.size)))
        prediction = head.predict(net, part.X, lengths=part.lengths, mask=part.mask)
        mean, _ = mean_loss(loss, prediction, part.y, part.weights, total, mean)
    return mean
