"""The activation functions of the ONNX operator in each place of the equations."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support import DTYPES, EACH_ISA, assert_close, assert_same_bits, on_isa

from lstm import LSTM

FUNCTION_CASES: list[Any] = [
    "Sigmoid",
    "Tanh",
    "Relu",
    ("Affine", 0.7, -0.4),
    ("LeakyRelu", 0.3),
    ("ThresholdedRelu", 0.75),
    ("ThresholdedRelu", -0.75),
    ("ScaledTanh", 0.9, 1.3),
    ("HardSigmoid", 0.3, 0.4),
    ("Elu", 0.8),
    "Softsign",
    "Softplus",
]
FUNCTION_NAMES = [str(case) for case in FUNCTION_CASES]


def arguments_of_functions(dtype: Any) -> np.ndarray:
    """(n,): of every size and sign, dense where the functions bend, and what is special; no subnormals."""
    rng = np.random.default_rng(0)
    limits = np.finfo(dtype)
    spread = np.exp(rng.uniform(np.log(limits.smallest_normal) + 3, 6, 3000))
    special = [0.0, 0.75, 1.0, np.inf, limits.max, limits.smallest_normal, 1e30, 88.0, 705.0]
    values = np.concatenate([spread, np.linspace(0, 8, 2000), np.linspace(0, 100, 500), special]).astype(
        dtype
    )
    near = np.concatenate([np.nextafter(dtype(0.75), dtype([0, 1])), dtype([np.nan])])
    return np.concatenate([values, -values, near, -near])


def through_a_net(function: Any, place: str, values: np.ndarray, **options: Any) -> np.ndarray:
    """(n,) -> (n,): `function` as a net of one unit and n rows computes it in one of its places."""
    constant = ("Affine", 0.0, 1.0)  # a gate that is open
    usual = {"gates": "Sigmoid", "candidate": "Tanh", "cell output": "Tanh"}
    if place == "cell output":
        usual["gates"] = constant  # type: ignore[assignment]
    functions = {**usual, place: function}
    state = {name: np.zeros_like(w) for name, w in LSTM(1, 1, dtype=values.dtype).state_dict().items()}
    isa = options.pop("isa", None)
    if place != "cell output":
        state["weight_ih_l0"][:] = 1
    net = LSTM.from_state_dict(state, activations=list(functions.values()), **options)
    net = net if isa is None else on_isa(net, isa)
    n, dtype = len(values), values.dtype
    X = np.zeros((n, 1, 1), dtype) if place == "cell output" else values.reshape(n, 1, 1)
    C0 = values.reshape(1, n, 1) if place == "cell output" else np.zeros((1, n, 1), dtype)
    trace = net.trace(X, np.zeros((1, n, 1), dtype), C0)
    if place == "gates":
        for other in (trace.f, trace.o):
            assert_same_bits(other, trace.i)
    found = {"gates": trace.i, "candidate": trace.g, "cell output": trace.h}[place]
    return found[0, :, 0, 0]


@np.errstate(all="ignore")
def true_values(function: Any, values: np.ndarray) -> np.ndarray:
    """(n,) -> (n,): the function in long double, its parameters as the net's dtype holds them."""
    name, *parameters = function if isinstance(function, tuple) else (function,)
    a, b, *_ = (*(np.longdouble(values.dtype.type(p)) for p in parameters), 0, 0)
    z = values.astype(np.longdouble)
    exp_of_minus_size = np.exp(-np.abs(z))
    by_name = {
        "Sigmoid": lambda: 1 / (1 + np.exp(-z)),
        "Tanh": lambda: np.tanh(z),
        "Relu": lambda: np.maximum(z, 0),
        "Affine": lambda: a * z + b,
        "LeakyRelu": lambda: np.where(z < 0, a * z, z),
        "ThresholdedRelu": lambda: np.where(z <= a, 0, z),
        "ScaledTanh": lambda: a * np.tanh(b * z),
        "HardSigmoid": lambda: np.clip(a * z + b, 0, 1),
        "Elu": lambda: np.where(z < 0, a * np.expm1(z), z),
        "Softsign": lambda: np.where(np.isinf(z), np.sign(z), z / (1 + np.abs(z))),
        "Softplus": lambda: np.maximum(z, 0) + np.log1p(exp_of_minus_size),
    }
    return by_name[name]()


@pytest.mark.parametrize("isa", EACH_ISA)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("place", ["gates", "candidate", "cell output"])
@pytest.mark.parametrize("function", FUNCTION_CASES, ids=FUNCTION_NAMES)
def test_each_function_in_each_place(function: Any, place: str, dtype: Any, isa: str) -> None:
    """Within 3 ULP, infinities as the function has them, NaN of NaN alone, the same bits on every ISA."""
    values = arguments_of_functions(dtype)
    found = through_a_net(function, place, values, isa=isa)
    assert_same_bits(found, through_a_net(function, place, values, isa="generic"))
    expected = true_values(function, values)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(values))
    with np.errstate(over="ignore"):
        rounded = expected.astype(dtype)
    finite = np.isfinite(rounded)
    np.testing.assert_array_equal(found[~finite & ~np.isnan(values)], rounded[~finite & ~np.isnan(values)])
    limits = np.finfo(dtype)
    error = np.abs(found[finite].astype(np.longdouble) - expected[finite])
    allowed = 3 * np.spacing(np.clip(np.abs(rounded[finite]), limits.smallest_normal, limits.max / 2))
    # What is too small counts as zero.
    allowed = np.where(
        np.abs(expected[finite]) < 2 * limits.smallest_normal, 2 * limits.smallest_normal, allowed
    )
    worst = np.argmax(error / allowed)
    assert error[worst] <= allowed[worst], (values[finite][worst], found[finite][worst])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("place", ["gates", "candidate", "cell output"])
@pytest.mark.parametrize("function", FUNCTION_CASES, ids=FUNCTION_NAMES)
def test_each_function_in_numpy(function: Any, place: str, dtype: Any) -> None:
    values = arguments_of_functions(dtype)
    values = values[~(np.abs(values) > 1e4) | np.isinf(values)]
    found = through_a_net(function, place, values, backend="numpy")
    assert_close(found, true_values(function, values).astype(dtype))
