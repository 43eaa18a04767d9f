"""Optimizers, over one flat array of weights: a few calls of NumPy a step, for a net of any shape.

Shapes: N weights, M moments of each.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar, TypeAlias

import numpy as np

from .. import _kernel
from ..core.checks import finite_number

Rate: TypeAlias = float | Callable[[int], float]


def clip_norm(gradient: np.ndarray, bound: float) -> float:
    """Scale a gradient in place so that its Euclidean norm is at most `bound`.

    Parameters
    ----------
    gradient : numpy.ndarray
        (N,).
    bound : float
        Above 0.

    Returns
    -------
    float
        The norm before.

    Examples
    --------
    >>> import numpy as np
    >>> from lstm.train import clip_norm
    >>> gradient = np.array([3.0, 4.0])
    >>> clip_norm(gradient, 1.0)
    5.0
    >>> gradient.round(4).tolist()
    [0.6, 0.8]
    """
    positive("bound", bound)
    # Not np.linalg.norm: the order in which BLAS adds depends on its threads.
    norm = float(np.sqrt(np.square(gradient, dtype=np.float64).sum()))
    if norm > bound:
        gradient *= bound / norm
    return norm


def positive(name: str, value: Any) -> float:
    """A number above 0."""
    number = finite_number(name, value)
    if number <= 0:
        raise ValueError(f"{name} is {value!r}, but must be above 0")
    return number


def _fraction(name: str, value: Any) -> float:
    """A number from 0 up to, but not including, 1."""
    number = finite_number(name, value)
    if not 0 <= number < 1:
        raise ValueError(f"{name} is {value!r}, but must be from 0 to below 1")
    return number


class Optimizer:
    """How weights move down a gradient. It keeps nothing itself: its moments belong to the caller."""

    learning_rate: Rate
    moments: ClassVar[int]
    """Numbers that are kept for every weight, M."""

    def start(self, values: np.ndarray) -> np.ndarray:
        """Make the moments before the first step, (M, N), for weights (N,)."""
        return np.zeros((self.moments, values.size), values.dtype)

    def rate(self, step: int) -> float:
        """Give the learning rate after `step` steps; ValueError if a schedule gives none."""
        if not callable(self.learning_rate):
            return self.learning_rate
        rate = finite_number(f"learning_rate({step})", self.learning_rate(step))
        if rate < 0:
            raise ValueError(f"learning_rate({step}) is {rate!r}, but must be at least 0")
        return rate

    def update(self, values: np.ndarray, gradient: np.ndarray, moments: np.ndarray, step: int) -> None:
        """Move weights and moments in place.

        Parameters
        ----------
        values, gradient : numpy.ndarray
            (N,), contiguous, of float32 or float64.
        moments : numpy.ndarray
            (M, N), as `start` makes them.
        step : int
            Steps before this one.
        """
        raise NotImplementedError(f"{type(self).__name__} has no update")

    def __repr__(self) -> str:
        options = ", ".join(f"{name}={value!r}" for name, value in vars(self).items())
        return f"{type(self).__name__}({options})"


def _learning_rate(value: Any) -> Rate:
    return value if callable(value) else positive("learning_rate", value)


def _at_least_zero(name: str, value: Any) -> float:
    number = finite_number(name, value)
    if number < 0:
        raise ValueError(f"{name} is {value!r}, but must be at least 0")
    return number


class Adam(Optimizer):
    """Adam (Kingma and Ba 2015); with `weight_decay` AdamW (Loshchilov and Hutter 2019).

    Parameters
    ----------
    learning_rate : float or callable
        A number above 0, or a function of the steps so far.
    beta1, beta2 : float
        How slowly the means of gradients and of their squares change, from 0 to below 1.
    epsilon : float
        Added to the root of the mean square, above 0.
    weight_decay : float
        How much of every weight goes in a step, times the learning rate; apart from the gradient.

    Examples
    --------
    >>> import numpy as np
    >>> from lstm.train import Adam
    >>> optimizer, values = Adam(lambda step: 0.1 / (1 + step)), np.array([1.0, -2.0])
    >>> moments = optimizer.start(values)
    >>> optimizer.update(values, np.array([3.0, -5.0]), moments, 0)
    >>> values.round(6).tolist()
    [0.9, -1.9]
    """

    moments = 2

    def __init__(
        self,
        learning_rate: Rate = 0.001,
        *,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        self.learning_rate = _learning_rate(learning_rate)
        self.beta1, self.beta2 = _fraction("beta1", beta1), _fraction("beta2", beta2)
        self.epsilon = positive("epsilon", epsilon)
        self.weight_decay = _at_least_zero("weight_decay", weight_decay)

    def update(self, values: np.ndarray, gradient: np.ndarray, moments: np.ndarray, step: int) -> None:
        """Move weights and moments in place; see `Optimizer`."""
        rate = self.rate(step)
        _kernel.adam(
            values,
            np.ascontiguousarray(gradient, values.dtype),
            moments,
            1 - rate * self.weight_decay,
            1 - self.beta1,
            1 - self.beta2,
            # The two means start at zero, which these divisions make up for.
            1 / math.sqrt(1 - self.beta2 ** (step + 1)),
            self.epsilon,
            rate / (1 - self.beta1 ** (step + 1)),
        )


class SGD(Optimizer):
    """Gradient descent with momentum.

    Parameters
    ----------
    learning_rate : float or callable
        A number above 0, or a function of the steps so far.
    momentum : float
        How much of the last step's movement stays, from 0 to below 1.
    nesterov : bool
        Whether the gradient counts as if the movement had been made already (Nesterov 1983).
    weight_decay : float
        How much of every weight goes in a step, times the learning rate; apart from the gradient.

    Examples
    --------
    >>> import numpy as np
    >>> from lstm.train import SGD
    >>> optimizer, values = SGD(0.1, momentum=0.5), np.array([1.0])
    >>> moments = optimizer.start(values)
    >>> for step in range(2):
    ...     optimizer.update(values, np.array([1.0]), moments, step)
    >>> values.round(6).tolist()
    [0.75]
    """

    moments = 1

    def __init__(
        self,
        learning_rate: Rate,
        *,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
    ) -> None:
        self.learning_rate = _learning_rate(learning_rate)
        self.momentum = _fraction("momentum", momentum)
        self.nesterov = bool(nesterov)
        self.weight_decay = _at_least_zero("weight_decay", weight_decay)
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov=True needs a momentum above 0, but momentum is 0")

    def update(self, values: np.ndarray, gradient: np.ndarray, moments: np.ndarray, step: int) -> None:
        """Move weights and moments in place; see `Optimizer`."""
        rate, (movement,) = self.rate(step), moments
        if self.weight_decay:
            values *= 1 - rate * self.weight_decay
        movement *= self.momentum
        movement += gradient
        if self.nesterov:
            values -= rate * (gradient + self.momentum * movement)
        else:
            values -= rate * movement
