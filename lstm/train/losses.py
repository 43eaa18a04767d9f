"""Losses, and their derivatives by the predictions.

Shapes: ... the steps, (B,) or (B, T) for instance, P outputs of the head.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..core.checks import cast, finite_number, real_array


class Loss:
    """What a prediction of one step costs; a loss of one's own is a class that has these two methods."""

    def targets(self, y: ArrayLike, steps: tuple[int, ...], outputs: int, dtype: Any) -> np.ndarray:
        """Check what is to be predicted.

        Parameters
        ----------
        y : array_like
            (..., P); (...) if P is 1.
        steps : tuple of int
            The shape that stands for ..., such as (B,) or (B, T).
        outputs : int
            P.
        dtype : numpy.dtype
            Of the result, that of the net.

        Returns
        -------
        numpy.ndarray
            (..., P), a view of `y` if it can be.

        Raises
        ------
        TypeError, ValueError
            If the dtype is not real, or the shape does not fit.
        """
        return _real_targets(y, steps, outputs, outputs, dtype)

    def __call__(self, prediction: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Compute the loss of every step, and its derivative.

        Parameters
        ----------
        prediction : numpy.ndarray
            (..., P).
        target : numpy.ndarray
            As `targets` returns it.

        Returns
        -------
        values : numpy.ndarray
            (...), the loss of every step: the mean over its outputs.
        derivative : numpy.ndarray
            (..., P), of each step's loss by its prediction.
        """
        raise NotImplementedError(f"{type(self).__name__} has no __call__")

    def __repr__(self) -> str:
        options = ", ".join(f"{name}={value!r}" for name, value in vars(self).items())
        return f"{type(self).__name__}({options})"


def _real_targets(y: ArrayLike, steps: tuple[int, ...], width: int, outputs: int, dtype: Any) -> np.ndarray:
    """`y` (..., width) or, for a width of 1, (...), as (..., width) of `dtype`."""
    array = real_array("y", y)
    if width == 1 and array.shape == steps:
        array = array[..., np.newaxis]
    if array.shape != (*steps, width):
        also = f" or {steps}" if width == 1 else ""
        raise ValueError(
            f"y has shape {array.shape}, but must be {(*steps, width)}{also}: "
            f"the head gives {outputs} output{'s' * (outputs != 1)} for each of {steps}"
        )
    return cast(array, np.dtype(dtype), copy=False) if array.dtype != dtype else array


class Squared(Loss):
    """The squared error, its mean over the outputs of a step.

    Examples
    --------
    >>> import numpy as np
    >>> from lstm.train import Squared
    >>> values, derivative = Squared()(np.array([[3.0], [0.0]]), np.array([[1.0], [1.0]]))
    >>> values.tolist(), derivative.ravel().tolist()
    ([4.0, 1.0], [4.0, -2.0])
    """

    def __call__(self, prediction: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Values (...) and derivative (..., P); see `Loss`."""
        error = prediction - target
        return np.square(error).mean(axis=-1), error * (2 / error.shape[-1])


class Huber(Loss):
    """Half the squared error up to `delta`, a straight line beyond it (Huber 1964).

    Parameters
    ----------
    delta : float
        Where the line begins, above 0.

    Examples
    --------
    >>> import numpy as np
    >>> from lstm.train import Huber
    >>> values, derivative = Huber(1.0)(np.array([[0.5], [3.0]]), np.zeros((2, 1)))
    >>> values.tolist(), derivative.ravel().tolist()
    ([0.125, 2.5], [0.5, 1.0])
    """

    def __init__(self, delta: float = 1.0) -> None:
        self.delta = finite_number("delta", delta)
        if self.delta <= 0:
            raise ValueError(f"delta is {delta!r}, but must be above 0")

    def __call__(self, prediction: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Values (...) and derivative (..., P); see `Loss`."""
        error = prediction - target
        bounded = np.clip(error, -self.delta, self.delta)
        values = bounded * (error - 0.5 * bounded)
        return values.mean(axis=-1), bounded / error.shape[-1]


class Quantile(Loss):
    """The pinball loss, whose minimum is a quantile of the targets (Koenker and Bassett 1978).

    Parameters
    ----------
    quantiles : float or sequence of float
        Each above 0 and below 1. One number holds for every output. Several are the quantiles of one
        target: the head has an output for each, and y needs no more than one column.

    Examples
    --------
    >>> import numpy as np
    >>> from lstm.train import Quantile
    >>> values, derivative = Quantile(0.75)(np.zeros((2, 1)), np.array([[2.0], [-2.0]]))
    >>> values.tolist(), derivative.ravel().tolist()
    ([1.5, 0.5], [-0.75, 0.25])
    """

    def __init__(self, quantiles: float | Sequence[float]) -> None:
        given = real_array("quantiles", quantiles).astype(np.float64)
        if given.ndim > 1 or given.size == 0 or not ((given > 0) & (given < 1)).all():
            raise ValueError(f"quantiles is {quantiles!r}, but must be numbers above 0 and below 1")
        self.quantiles: float | list[float] = given.tolist()

    def targets(self, y: ArrayLike, steps: tuple[int, ...], outputs: int, dtype: Any) -> np.ndarray:
        """(..., 1) for several quantiles, else (..., P); see `Loss`."""
        if isinstance(self.quantiles, float):
            return super().targets(y, steps, outputs, dtype)
        if len(self.quantiles) != outputs:
            raise ValueError(
                f"the head gives {outputs} outputs, but there are {len(self.quantiles)} quantiles"
            )
        return _real_targets(y, steps, 1, outputs, dtype)

    def __call__(self, prediction: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Values (...) and derivative (..., P); see `Loss`."""
        error = prediction - target
        quantiles = np.asarray(self.quantiles, error.dtype)
        slope = np.where(error > 0, 1 - quantiles, np.where(error < 0, -quantiles, 0)).astype(error.dtype)
        return (slope * error).mean(axis=-1), slope / error.shape[-1]


class CrossEntropy(Loss):
    """The negative logarithm of the softmax of the right class; the head has an output for each class.

    y holds the numbers of the classes, (...), from 0 to P - 1.

    Examples
    --------
    >>> import numpy as np
    >>> from lstm.train import CrossEntropy
    >>> values, derivative = CrossEntropy()(np.array([[0.0, 0.0]]), np.array([1]))
    >>> values.round(4).tolist(), derivative.tolist()
    ([0.6931], [[0.5, -0.5]])
    """

    def targets(self, y: ArrayLike, steps: tuple[int, ...], outputs: int, dtype: Any) -> np.ndarray:
        """(...) of intp; numbers that are no class, at steps that do not count, are allowed."""
        array = np.asarray(y)
        if array.dtype.kind not in "iub":
            raise TypeError(
                f"y has dtype {array.dtype}, but must hold the numbers of classes, from 0 to {outputs - 1}"
            )
        if array.shape != steps:
            raise ValueError(f"y has shape {array.shape}, but must be {steps}: a class for each step")
        return array.astype(np.intp, copy=False)

    def __call__(self, prediction: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Values (...) and derivative (..., P); see `Loss`."""
        shifted = prediction - prediction.max(axis=-1, keepdims=True)
        powers = np.exp(shifted)
        sums = powers.sum(axis=-1, keepdims=True)
        place = target[..., np.newaxis]
        values = (np.log(sums) - np.take_along_axis(shifted, place, axis=-1))[..., 0]
        derivative = powers / sums
        right = np.take_along_axis(derivative, place, axis=-1)
        np.put_along_axis(derivative, place, right - 1, axis=-1)
        return values, derivative


def mean_loss(
    loss: Loss,
    prediction: np.ndarray,
    target: np.ndarray,
    weights: np.ndarray | None = None,
    total: float | None = None,
    add_to: float = 0.0,
) -> tuple[float, np.ndarray]:
    """Compute the mean loss over the steps that count, and its derivative.

    Parameters
    ----------
    loss : Loss
        Of one step.
    prediction : numpy.ndarray
        (B, P) or (B, T, P).
    target : numpy.ndarray
        As `Loss.targets` returns it.
    weights : numpy.ndarray, optional
        (B,) or (B, T), how much each step counts, as `step_weights` makes them; by default all alike. What a
        step of weight 0 predicts, and its target, are not looked at, NaN included.
    total : float, optional
        What the sum is divided by: of a batch in parts, the sum of the weights of all of it. By default the
        sum of `weights`; nothing is divided where that is 0.
    add_to : float
        The value of the parts before.

    Returns
    -------
    value : float
        The mean; of a part its share of it, added to that of the parts before.
    derivative : numpy.ndarray
        (B, P) or (B, T, P).

    Notes
    -----
    Rows are added one after the other in float64, so that parts add up to the whole bit for bit.

    Examples
    --------
    >>> import numpy as np
    >>> from lstm.train import Squared, mean_loss
    >>> prediction, target = np.array([[3.0], [0.0]]), np.array([[1.0], [np.nan]])
    >>> value, derivative = mean_loss(Squared(), prediction, target, np.array([1.0, 0.0]))
    >>> value, derivative.tolist()
    (4.0, [[4.0], [0.0]])
    """
    if weights is None:
        weights = np.ones(prediction.shape[:-1])
    rows, derivative = row_losses(
        loss, prediction, target, weights, weight_of(weights) if total is None else total
    )
    return add_rows(rows, add_to), derivative


def row_losses(
    loss: Loss, prediction: np.ndarray, target: np.ndarray, weights: np.ndarray, total: float
) -> tuple[np.ndarray, np.ndarray]:
    """As `mean_loss`, but what every row adds to the value, (B,) of float64, in place of their sum."""
    steps = prediction.shape[:-1]
    counts = weights > 0
    if not counts.all():  # nothing of the others, whatever they hold
        prediction = np.where(counts[..., np.newaxis], prediction, 0)
        target = np.where(counts.reshape(steps + (1,) * (target.ndim - len(steps))), target, 0)
    scale = weights / total if total > 0 else weights
    values, derivative = loss(prediction, target)
    derivative = derivative * scale.astype(derivative.dtype)[..., np.newaxis]
    return _of_rows(values * scale), derivative


def weight_of(weights: np.ndarray) -> float:
    """Sum of (B,) or (B, T), row after row."""
    return add_rows(_of_rows(weights))


def _of_rows(values: np.ndarray) -> np.ndarray:
    """(B, ...) -> (B,) in float64: each row by itself."""
    values = np.asarray(values, np.float64)
    return np.asarray(values.sum(axis=1)) if values.ndim > 1 else values


def add_rows(rows: np.ndarray, total: float = 0.0) -> float:
    """`total` and (B,) of float64, one row after the other."""
    for row in rows.tolist():  # not sum(), which compensates from Python 3.12 on
        total += row
    return total
