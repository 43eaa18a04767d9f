"""What is learned from: rows with their targets, and how much each step counts.

Shapes: B batch, T time, I input, P outputs of the head.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike

from ..core import states
from ..core.checks import real_array
from ..model import LSTM
from .heads import LinearHead
from .losses import Loss

ROWS_AT_ONCE = 256  # of a check, so that windows of a long series are never all in memory


class Data(NamedTuple):
    """Checked rows."""

    X: np.ndarray  # (B, T, I) of any real dtype
    y: np.ndarray  # as `Loss.targets` returns it
    lengths: np.ndarray | None  # (B,) of intp
    mask: np.ndarray | None  # (B, T) of bool
    weights: np.ndarray  # (B,) or, with predictions at every step, (B, T) of float64

    def __len__(self) -> int:
        return len(self.X)

    @property
    def size(self) -> int:
        """Rows, B."""
        return len(self.X)

    def rows(self, which: np.ndarray) -> Self:
        """A copy of some rows, by their numbers."""
        return type(self)(*(None if array is None else array[which] for array in self))  # type: ignore[arg-type]

    @classmethod
    def of(
        cls,
        net: LSTM,
        head: LinearHead,
        loss: Loss,
        X: ArrayLike,
        y: ArrayLike,
        lengths: ArrayLike | None = None,
        mask: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """X (B, T, I) or, where I is 1, (B, T); y as the loss takes it: TypeError or ValueError if unfit."""
        array = real_array("X", X)
        if array.ndim == 2 and net.input_size == 1:
            array = array[..., np.newaxis]
        if array.ndim != 3:
            raise ValueError(f"X has shape {array.shape}, but must be (rows, time, {net.input_size})")
        array, batch, _ = states.sequence_input(array, net.input_size)
        if not batch:
            raise ValueError(f"X has shape {array.shape}: there are no rows to learn from")
        rows = states.row_lengths(lengths, batch, array.shape[1])
        steps = states.step_mask(mask, array, batch)
        shape = array.shape[:2] if head.every_step else array.shape[:1]
        targets = loss.targets(y, shape, head.outputs, net.dtype)
        counts = _counted(array.shape[:2], rows, steps)
        weights = step_weights(array.shape[:2], rows, steps, sample_weight, every_step=head.every_step)
        if not (weights > 0).any():
            raise ValueError("no step counts: all are masked, past their row's length, or of weight 0")
        _check_finite("X", array, counts)
        _check_targets(targets, weights > 0, loss, head.outputs)
        return cls(array, targets, rows, steps, weights)

    @classmethod
    def held(cls, net: LSTM, head: LinearHead, loss: Loss, validation: Any) -> Self:
        """Rows to judge by: a tuple of X, y and, if there are any, lengths, mask and sample_weight."""
        if not isinstance(validation, tuple | list) or not 2 <= len(validation) <= 5:
            raise TypeError(
                "validation must be a tuple of X and y and, if there are any, lengths, mask and sample_weight"
            )
        try:
            return cls.of(net, head, loss, *validation)
        except (TypeError, ValueError) as error:
            raise type(error)(f"validation: {error}") from error


def step_weights(
    shape: tuple[int, int],
    lengths: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    *,
    every_step: bool = False,
) -> np.ndarray:
    """Say how much each prediction counts in a loss.

    Parameters
    ----------
    shape : tuple of int
        (B, T).
    lengths, mask : array_like, optional
        As for `LSTM.forward_sequence`. What they leave out counts nothing; so does the only prediction of a
        row of which they leave no step.
    sample_weight : array_like, optional
        (B,), or (B, T) with `every_step`; at least 0.
    every_step : bool
        Whether there is a prediction at every step.

    Returns
    -------
    numpy.ndarray
        (B,) or (B, T), of float64.

    Raises
    ------
    TypeError, ValueError
        If a shape does not fit, or a weight is negative or not finite.

    Examples
    --------
    >>> from lstm.train import step_weights
    >>> step_weights((2, 3), lengths=[3, 1], every_step=True).tolist()
    [[1.0, 1.0, 1.0], [1.0, 0.0, 0.0]]
    >>> step_weights((2, 3), lengths=[3, 0]).tolist()
    [1.0, 0.0]
    """
    batch, time = shape
    rows = states.row_lengths(lengths, batch, time)
    counts = _counted(shape, rows, states.step_mask(mask, np.empty((batch, time, 0)), batch))
    weights = np.asarray(counts if every_step else counts.any(axis=1), np.float64)
    if sample_weight is None:
        return weights
    given = np.asarray(real_array("sample_weight", sample_weight), np.float64)
    if given.shape != (batch,) and given.shape != weights.shape:
        also = f" or {weights.shape}" if every_step else ""
        raise ValueError(f"sample_weight has shape {given.shape}, but must be {(batch,)}{also}")
    if not (np.isfinite(given) & (given >= 0)).all():
        raise ValueError("sample_weight must be finite and at least 0")
    weights *= given[:, np.newaxis] if given.ndim < weights.ndim else given
    return weights


def _counted(shape: tuple[int, int], lengths: np.ndarray | None, mask: np.ndarray | None) -> np.ndarray:
    """(B, T) of bool: the steps that lengths (B,) and a mask (B, T) leave; no memory if there is neither."""
    counts: np.ndarray = np.broadcast_to(np.True_, shape)
    if lengths is not None:
        counts = np.arange(shape[1]) < lengths[:, np.newaxis]
    return counts if mask is None else counts & mask


def _check_finite(name: str, values: np.ndarray, counts: np.ndarray) -> None:
    """ValueError if values (B, ..., K) are not finite where they count, (B, ...)."""
    if values.dtype.kind != "f":
        return
    for start in range(0, len(values), ROWS_AT_ONCE):
        block = slice(start, start + ROWS_AT_ONCE)
        bad = counts[block] & ~np.isfinite(values[block]).all(axis=-1)
        if bad.any():
            place = np.argwhere(bad)[0]
            where = ", ".join(str(k) for k in (place[0] + start, *place[1:]))
            raise ValueError(f"{name}[{where}] is not finite; leave such steps out by mask= or lengths=")


def _check_targets(targets: np.ndarray, counts: np.ndarray, loss: Loss, outputs: int) -> None:
    """ValueError if a target that counts is not finite, or no class."""
    if targets.ndim > counts.ndim:
        _check_finite("y", targets, counts)
    elif targets.dtype.kind == "i" and targets.size:
        used = targets[counts]
        if used.min() < 0 or used.max() >= outputs:
            raise ValueError(
                f"y has classes from {used.min()} to {used.max()}, "
                f"but the head has outputs for 0 to {outputs - 1}"
            )
