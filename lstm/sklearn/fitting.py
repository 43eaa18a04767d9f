"""The fit by a Trainer: rows to judge by, when to stop, outputs of net and head.

Shapes: n rows, T steps, T_i steps of row i, P outputs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Self

import numpy as np

from ..model import LSTM
from ..train import DivergedError, LinearHead, Trainer
from .sequences import Sequences


class Examples(NamedTuple):
    """What is learned from, or judged by."""

    given: Sequences
    targets: np.ndarray  # (n, P) or (n, T, P); numbers of classes have no P
    weights: np.ndarray  # (n,) or (n, T) of float64

    def take(self, which: np.ndarray) -> Self:
        """A copy of some rows, by their numbers."""
        return type(self)(self.given.take(which), self.targets[which], self.weights[which])


Score = Callable[[np.ndarray, np.ndarray, np.ndarray | None], float]  # of outputs, targets and weights


class Run(NamedTuple):
    """What a run has shown."""

    scores: list[float] | None  # over the rows to judge by, after every epoch; None if there are none
    has_converged: bool
    error: DivergedError | None


def run(
    trainer: Trainer,
    examples: Examples,
    held: Examples | None,
    score: Score,
    epochs: int,
    tol: float,
    patience: int,
    progress: bool,
) -> Run:
    """Train until `epochs` epochs are done, or the loss has not fallen by more than `tol` for `patience`."""
    scores: list[float] | None = None if held is None else []
    has_converged = False
    error = None

    def stop(trainer: Trainer) -> bool:
        nonlocal has_converged
        history = trainer.history
        losses = history.epoch_loss
        if held is not None and scores is not None:
            losses = history.validation_loss
            outputs = outputs_of(trainer.net, trainer.head, held.given)
            scores.append(score_at_steps(score, held.given, outputs, held.targets, held.weights))
        has_converged = is_idle(losses, tol, patience)
        return has_converged

    try:
        trainer.fit(
            examples.given.X,
            examples.targets,
            epochs=epochs,
            lengths=examples.given.lengths,
            sample_weight=examples.weights,
            validation=None
            if held is None
            else (held.given.X, held.targets, held.given.lengths, None, held.weights),
            stop=stop,
            progress=progress,
        )
    except DivergedError as raised:
        error = raised
    return Run(scores, has_converged, error)


def is_idle(losses: np.ndarray, tol: float, patience: int) -> bool:
    """Whether more than `patience` epochs, the last ones, were not better by `tol` than the best before."""
    before = np.minimum.accumulate(np.concatenate([[np.inf], losses[:-1]]))
    gained = np.flatnonzero(losses <= before - tol)
    return len(losses) - 1 - int(gained[-1]) > patience


def outputs_of(net: LSTM, head: LinearHead, given: Sequences) -> np.ndarray:
    """(n, P), or (n, T, P) of a head at every step, zero past a row's length."""
    if head.every_step:
        return given.join([head.forward(Y) for Y in net.forward_sequences(given.rows())])
    return head.forward(net.forward_sequences(given.rows(), last=True))


def score_at_steps(
    score: Score, given: Sequences, outputs: np.ndarray, targets: np.ndarray, weights: np.ndarray | None
) -> float:
    """A score of outputs (n, P) and targets, or over all steps that there are of (n, T, P)."""
    if outputs.ndim < 3:
        return score(outputs, targets, weights)
    counts = given.counts
    if weights is not None:
        weights = np.broadcast_to(weights[:, np.newaxis] if weights.ndim == 1 else weights, counts.shape)[
            counts
        ]
    return score(outputs[counts], targets[counts], weights)


def put(net: LSTM, head: LinearHead, into: Any) -> None:
    """Give the weights of net and head to those of a trainer."""
    into.net.load_state_dict(net.state_dict())
    into.head.set(head.weight, head.bias)
