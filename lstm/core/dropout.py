"""Dropout of a recorded pass: what is dropped, drawn before anything is computed.

Shapes: B batch, T time, I input, O features of h, K features of a layer's output, L layers, D directions.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .architecture import Architecture
from .checks import finite_number


class Rates(NamedTuple):
    """Probabilities with which a number is dropped, from 0 to 1."""

    between: float = 0.0  # of a layer's outputs, at every step anew
    input: float = 0.0  # of the features of X, once a sequence
    recurrent: float = 0.0  # of the features of h on their way to the next step, once a sequence


NONE = Rates()


class Masks(NamedTuple):
    """What was drawn, None where nothing is dropped. What is kept is scaled by 1 / (1 - rate)."""

    input: np.ndarray | None = None  # (B, I): factors, 0 for what is dropped
    recurrent: np.ndarray | None = None  # (L D, B, O): factors
    between: list[np.ndarray] | None = None  # L - 1 times (B, T, K) of bool: what is kept
    between_scale: float = 1.0

    def of_layer(self, layer: int, outputs: np.ndarray) -> np.ndarray:
        """Outputs (B, T, K) of the layer before, or their gradient -> (B, T, K), masked and scaled."""
        if self.between is None or layer == 0:
            return outputs
        return np.asarray(outputs * self.between[layer - 1] * outputs.dtype.type(self.between_scale))

    @property
    def nbytes(self) -> int:
        """Bytes that the masks take."""
        arrays = [self.input, self.recurrent, *(self.between or [])]
        return sum(array.nbytes for array in arrays if array is not None)


NOTHING = Masks()


def rates(architecture: Architecture, dropout: Any, input_dropout: Any, recurrent_dropout: Any) -> Rates:
    """The rates of a call; TypeError or ValueError for what is none, or could drop nothing."""
    if type(dropout) is type(input_dropout) is type(recurrent_dropout) is float and not (
        dropout or input_dropout or recurrent_dropout
    ):
        return NONE  # the everyday call
    checked = Rates(
        _rate("dropout", dropout),
        _rate("input_dropout", input_dropout),
        _rate("recurrent_dropout", recurrent_dropout),
    )
    if checked.between and architecture.num_layers == 1:
        raise ValueError(
            f"dropout is {dropout!r}, but lies between layers, and this LSTM has only one; "
            "there are input_dropout and recurrent_dropout too"
        )
    return checked


def _rate(name: str, value: Any) -> float:
    """A number from 0 to 1."""
    number = finite_number(name, value)
    if not 0 <= number <= 1:
        raise ValueError(f"{name} is {value!r}, but must be a probability, from 0 to 1")
    return number


def draw(
    rates: Rates,
    rng: np.random.Generator | None,
    architecture: Architecture,
    dtype: np.dtype[Any],
    batch: int,
    time: int,
) -> Masks:
    """Draw the masks of a pass of X (B, T, I): the input's, the recurrent ones, those between layers.

    `rng` may be None where nothing is dropped.
    """
    if rng is None:
        return NOTHING
    factors = []
    shapes = (
        (batch, architecture.input_size),
        (architecture.cells, batch, architecture.state_size),
    )
    for rate, shape in zip((rates.input, rates.recurrent), shapes, strict=True):
        kept = rng.random(shape) >= rate if rate else None
        factors.append(None if kept is None else kept * dtype.type(_scale(rate)))
    between = None
    if rates.between:
        shape = (batch, time, architecture.output_size)
        between = [rng.random(shape) >= rates.between for _ in range(architecture.num_layers - 1)]
    return Masks(factors[0], factors[1], between, _scale(rates.between))


def _scale(rate: float) -> float:
    """What keeps the mean: 1 / (1 - rate); 0 if all is dropped."""
    return 0.0 if rate == 1 else 1 / (1 - rate)
