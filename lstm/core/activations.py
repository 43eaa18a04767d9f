"""The activation functions of the ONNX LSTM operator: names, default parameters, and how NumPy computes them
and their derivatives.

The order of `ACTIVATIONS` is that of ``LSTM_SIGMOID …`` in csrc/lstm_kernels.h. All functions take and
give arrays of any shape.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeAlias, cast

import numpy as np

from .checks import finite_number
from .typing import ActivationForm, ActivationName

Function: TypeAlias = Callable[[np.ndarray, float, float], np.ndarray]


class Activation(NamedTuple):
    """One function: its name in ONNX's spelling and its two parameters, whether it has them or not."""

    name: str
    alpha: float
    beta: float


class Definition(NamedTuple):
    """Default parameters, None where the function has no such one, the function y(z), and its derivative.

    The derivative is a function of the value y if that tells it, else of the argument z.
    """

    alpha: float | None
    beta: float | None
    function: Function
    derivative: Function
    of_value: bool = True


def sigmoid(z: np.ndarray) -> np.ndarray:
    """(...) -> (...). The logistic function; exp may overflow to infinity, whose reciprocal is 0."""
    with np.errstate(all="ignore"):
        return np.asarray(1 / (1 + np.exp(-z)))


def _thresholded_relu(z: np.ndarray, alpha: float, beta: float) -> np.ndarray:
    # A NaN is not above the threshold, and stays.
    return np.where(z <= alpha, z.dtype.type(0), z)


def _elu(z: np.ndarray, alpha: float, beta: float) -> np.ndarray:
    return np.where(z < 0, alpha * np.expm1(np.minimum(z, 0)), z)


def _softsign(z: np.ndarray, alpha: float, beta: float) -> np.ndarray:
    finite = np.clip(z, np.finfo(z.dtype).min, np.finfo(z.dtype).max)
    return np.asarray(finite / (1 + np.abs(finite)))


# At their kinks, derivatives of Relu, ThresholdedRelu and HardSigmoid are 0, those of LeakyRelu and Elu 1.


def _relu_derivative(y: np.ndarray, alpha: float, beta: float) -> np.ndarray:
    return np.asarray(np.where(y > 0, y.dtype.type(1), y.dtype.type(0)))


def _thresholded_relu_derivative(z: np.ndarray, alpha: float, beta: float) -> np.ndarray:
    return np.asarray(np.where(z > alpha, z.dtype.type(1), z.dtype.type(0)))


def _leaky_relu_derivative(z: np.ndarray, alpha: float, beta: float) -> np.ndarray:
    return np.asarray(np.where(z < 0, alpha, z.dtype.type(1)))


def _scaled_tanh_derivative(z: np.ndarray, alpha: float, beta: float) -> np.ndarray:
    return np.asarray(alpha * beta * (1 - np.square(np.tanh(beta * z))))


def _hard_sigmoid_derivative(y: np.ndarray, alpha: float, beta: float) -> np.ndarray:
    return np.asarray(np.where((y > 0) & (y < 1), alpha, y.dtype.type(0)))


def _elu_derivative(z: np.ndarray, alpha: float, beta: float) -> np.ndarray:
    return np.asarray(np.where(z < 0, alpha * np.exp(np.minimum(z, 0)), z.dtype.type(1)))


ACTIVATIONS: dict[str, Definition] = {
    "Sigmoid": Definition(None, None, lambda z, alpha, beta: sigmoid(z), lambda y, alpha, beta: y * (1 - y)),
    "Tanh": Definition(
        None, None, lambda z, alpha, beta: np.asarray(np.tanh(z)), lambda y, alpha, beta: 1 - y * y
    ),
    "Relu": Definition(None, None, lambda z, alpha, beta: np.maximum(z, 0), _relu_derivative),
    "Affine": Definition(
        1.0, 0.0, lambda z, alpha, beta: alpha * z + beta, lambda y, alpha, beta: np.full_like(y, alpha)
    ),
    "LeakyRelu": Definition(
        0.01, None, lambda z, alpha, beta: np.where(z < 0, alpha * z, z), _leaky_relu_derivative, False
    ),
    "ThresholdedRelu": Definition(1.0, None, _thresholded_relu, _thresholded_relu_derivative, False),
    "ScaledTanh": Definition(
        1.0, 1.0, lambda z, alpha, beta: np.asarray(alpha * np.tanh(beta * z)), _scaled_tanh_derivative, False
    ),
    "HardSigmoid": Definition(
        0.2, 0.5, lambda z, alpha, beta: np.clip(alpha * z + beta, 0, 1), _hard_sigmoid_derivative
    ),
    "Elu": Definition(1.0, None, _elu, _elu_derivative, False),
    "Softsign": Definition(None, None, _softsign, lambda y, alpha, beta: np.square(1 - np.abs(y))),
    "Softplus": Definition(
        None,
        None,
        lambda z, alpha, beta: np.logaddexp(z, z.dtype.type(0)),
        lambda y, alpha, beta: -np.expm1(-y),
    ),
}

DEFAULT_ACTIVATIONS = (
    Activation("Sigmoid", 1.0, 0.0),
    Activation("Tanh", 1.0, 0.0),
    Activation("Tanh", 1.0, 0.0),
)
"""Gates, candidate and cell output of the default equations."""

_SPELLING = {name.lower(): name for name in ACTIVATIONS}


def apply(activation: Activation, z: np.ndarray) -> np.ndarray:
    """z (...) -> (...), of the same dtype."""
    function = ACTIVATIONS[activation.name].function
    with np.errstate(all="ignore"):
        return function(z, z.dtype.type(activation.alpha), z.dtype.type(activation.beta))


def derivative(activation: Activation, z: np.ndarray | None, y: np.ndarray) -> np.ndarray:
    """z (...) and y = `apply` of it -> dy/dz (...); z may be None for a function whose value tells it."""
    definition = ACTIVATIONS[activation.name]
    argument = y if definition.of_value else z
    assert argument is not None
    with np.errstate(all="ignore"):
        return definition.derivative(argument, y.dtype.type(activation.alpha), y.dtype.type(activation.beta))


def value_tells_derivative(activation: Activation) -> bool:
    """Whether `derivative` does without z."""
    return ACTIVATIONS[activation.name].of_value


def kind(activation: Activation) -> int:
    """The number under which the native kernel knows the function."""
    return list(ACTIVATIONS).index(activation.name)


def canonical(name: Any, alpha: Any = None, beta: Any = None) -> Activation:
    """The activation of this name, in any case, with ONNX's default for a parameter that is None.

    TypeError or ValueError where there is no such function, or it has no such parameter.
    """
    if not isinstance(name, str):
        raise TypeError(f"an activation is {name!r}, but must be a name such as 'Tanh'")
    spelled = _SPELLING.get(name.lower())
    if spelled is None:
        raise ValueError(f"there is no activation {name!r}; there are {', '.join(ACTIVATIONS)}")
    definition = ACTIVATIONS[spelled]
    return Activation(
        spelled,
        _parameter(spelled, "alpha", alpha, definition.alpha, 1.0),
        _parameter(spelled, "beta", beta, definition.beta, 0.0),
    )


def _parameter(name: str, which: str, value: Any, default: float | None, unused: float) -> float:
    """A finite number; `unused` for a function that has no such parameter."""
    if value is None:
        return unused if default is None else default
    if default is None:
        raise ValueError(f"the activation {name} has no {which}, but {which} is {value!r}")
    return finite_number(f"{which} of the activation {name}", value)


def parse(given: Any, directions: int) -> tuple[Activation, ...]:
    """Three activations a direction from names or (name, alpha, beta) tuples; the default ones for None.

    Three of them serve both directions.
    """
    if given is None:
        return DEFAULT_ACTIVATIONS * directions
    count = "3 of them" if directions == 1 else "3 or 6 of them"
    expected = f"{count}, such as ('Sigmoid', 'Tanh', 'Tanh')"
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise TypeError(f"activations is {given!r}, but must be {expected}")
    entries = list(given)
    if len(entries) not in (3, 3 * directions):
        raise ValueError(f"activations has {len(entries)} entries, but must have {expected}")
    parsed = []
    for entry in entries:
        parts = entry if isinstance(entry, tuple | list) else (entry,)
        if not 1 <= len(parts) <= 3:
            raise ValueError(f"an activation is {entry!r}, but must be a name or (name, alpha, beta)")
        parsed.append(canonical(*parts))
    return tuple(parsed * directions if len(parsed) == 3 else parsed)


def form_of(activation: Activation) -> ActivationForm:
    """The form in which users see it: a name, or a tuple of it and the parameters that it has."""
    definition = ACTIVATIONS[activation.name]
    name = cast(ActivationName, activation.name)
    if definition.alpha is None:
        return name
    if definition.beta is None:
        return name, activation.alpha
    return name, activation.alpha, activation.beta
