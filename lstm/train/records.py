"""What training has been: losses and rates of all steps and epochs."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class DivergedError(ArithmeticError):
    """The loss or the weights became infinite or NaN."""


class History(NamedTuple):
    """What training has been so far."""

    loss: np.ndarray  # (steps,) of every batch, before its step
    learning_rate: np.ndarray  # (steps,)
    epoch_loss: np.ndarray  # (epochs,): the mean over the epoch's batches
    validation_loss: np.ndarray  # (epochs,): after the epoch; NaN without validation
    epoch_end: np.ndarray  # (epochs,): steps so far


class Records:
    """Lists that grow; what is past the steps and epochs of the state is of a step that was broken off."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.rates: list[float] = []
        self.epochs: list[tuple[float, float, int]] = []  # loss, validation loss, steps so far

    def add_step(self, step: int, loss: float, rate: float) -> None:
        """What the step after `step` steps was."""
        self.losses[step:] = [loss]
        self.rates[step:] = [rate]

    def add_epoch(self, epoch: int, loss: float, validation: float, step: int) -> None:
        """What the epoch after `epoch` epochs was."""
        self.epochs[epoch:] = [(loss, validation, step)]

    def history(self, steps: int, epochs: int) -> History:
        """New arrays of so many steps and epochs."""
        each = np.array(self.epochs[:epochs], np.float64).reshape(-1, 3)
        ends = each[:, 2].astype(np.intp)
        return History(
            np.array(self.losses[:steps], np.float64),
            np.array(self.rates[:steps], np.float64),
            each[:, 0].copy(),
            each[:, 1].copy(),
            ends,
        )
