"""The LSTM class: arguments, weights, names, files, copies, and what importing the package does."""

from __future__ import annotations

import copy
import doctest
import importlib
import json
import os
import pickle
import pkgutil
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import (
    DTYPES,
    EACH_ISA,
    as_backend,
    assert_close,
    assert_same_bits,
    on_isa,
    random_case,
    random_net,
)

import lstm
from lstm import LSTM, FormatError, _kernel

BACKENDS = ("native", "numpy")
INPUT, HIDDEN = 3, 5
MATRICES = ("Wf", "Wi", "WC", "Wo")
BIASES = ("bf", "bi", "bC", "bo")
NAMES = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
# PyTorch's order of the gates along the rows of a weight.
ROWS = {"i": 0, "f": 1, "C": 2, "o": 3}


def make_net(**options: Any) -> LSTM:
    return random_net(np.random.default_rng(0), INPUT, HIDDEN, options.pop("dtype", np.float64), **options)


def assert_same_weights(actual: LSTM, expected: LSTM) -> None:
    """The same sizes, dtype and bits of every weight."""
    assert (actual.input_size, actual.hidden_size) == (expected.input_size, expected.hidden_size)
    assert (actual.bias, actual.dtype) == (expected.bias, expected.dtype)
    wanted = expected.state_dict()
    assert list(actual.state_dict()) == list(wanted)
    for name, array in actual.state_dict().items():
        assert_same_bits(array, wanted[name], name)


def assert_unchanged(net: LSTM, attempt: Callable[[], Any], error: type[Exception], match: str) -> None:
    """`attempt` raises and leaves every weight as it was."""
    before = copy.copy(net)
    with pytest.raises(error, match=match):
        attempt()
    assert_same_weights(net, before)


# The constructor


@pytest.mark.parametrize("integer", [int, np.int8, np.int64, np.uint32])
def test_sizes_of_any_integer_type(integer: type) -> None:
    net = LSTM(integer(3), integer(5))
    assert (net.input_size, net.hidden_size) == (3, 5)
    assert type(net.input_size) is type(net.hidden_size) is int
    assert net.forward_sequence(np.ones((2, 3))).shape == (2, 5)


@pytest.mark.parametrize("name", ["input_size", "hidden_size"])
@pytest.mark.parametrize(
    ("value", "error"),
    [
        (0, ValueError),
        (-1, ValueError),
        (np.int64(0), ValueError),
        (True, TypeError),
        (np.True_, TypeError),
        (3.0, TypeError),
        (np.float64(3), TypeError),
        ("3", TypeError),
        (None, TypeError),
        ([3], TypeError),
    ],
)
def test_wrong_sizes(name: str, value: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=f"^{name} is "):
        LSTM(**{"input_size": 3, "hidden_size": 5, name: value})


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        *[("bias", value, TypeError) for value in (1, 0, None, "True", [])],
        *[("dtype", value, TypeError) for value in ("float16", int, complex, object, None, "no dtype", 64)],
        *[("dtype", value, TypeError) for value in ("longdouble", ">f8", ">f4", "f8,f8", "(2,)f8", [], {})],
        *[("dtype", value, TypeError) for value in (",,,", {"names": ["a"]})],
        *[("init", value, ValueError) for value in ("zeros", None, 3, ["glorot"], "Glorot")],
        *[("backend", value, ValueError) for value in ("torch", None, 3, ["native"], "Native")],
        *[("rng", value, ValueError) for value in (-1, [1, -1])],
        *[("rng", value, TypeError) for value in ("seed", 1.5, object())],
    ],
)
def test_wrong_options(name: str, value: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=name):
        LSTM(3, 5, **{name: value})


def test_options_are_by_name_only_and_unknown_ones_raise() -> None:
    with pytest.raises(TypeError):
        LSTM(3, 5, True)  # type: ignore[misc]
    with pytest.raises(TypeError, match="layers"):
        LSTM(3, 5, layers=2)  # type: ignore[call-arg]


@pytest.mark.parametrize("dtype", ["float32", np.float32, np.dtype(np.float32), "f4", "single"])
def test_every_name_of_a_dtype(dtype: Any) -> None:
    assert LSTM(3, 5, dtype=dtype).dtype == np.float32
    assert LSTM(3, 5, dtype=dtype).forward_sequence(np.ones((2, 3))).dtype == np.float32


def test_defaults() -> None:
    net = LSTM(3, 5)
    assert (net.bias, net.dtype, net.backend) == (True, np.float64, "native")


@pytest.mark.parametrize("name", ["input_size", "hidden_size", "bias", "dtype", "backend", "wf", "Whf", "h"])
def test_only_weights_can_be_assigned(name: str) -> None:
    """A misspelt weight raises instead of being kept beside the real one."""
    net = make_net()
    with pytest.raises(AttributeError):
        setattr(net, name, 3)


# Initial weights


def gates(net: LSTM) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Of every gate: the recurrent weights (H, H), the input weights (H, I), the bias (H,)."""
    hidden = net.hidden_size
    return {
        gate: (getattr(net, f"W{gate}")[:, :hidden], getattr(net, f"W{gate}")[:, hidden:], bias[:, 0])
        for gate in ROWS
        for bias in [getattr(net, f"b{gate}")]
    }


@pytest.mark.parametrize("dtype", DTYPES)
def test_glorot(dtype: type) -> None:
    net = LSTM(30, 50, dtype=dtype, init="glorot", rng=1)
    limit = np.sqrt(6 / (30 + 50))
    for gate, (hidden, input_, bias) in gates(net).items():
        assert_close(hidden @ hidden.T, np.eye(50, dtype=dtype), f"W{gate} is orthogonal")
        assert 0.98 * limit < np.abs(input_).max() <= limit * (1 + 1e-7)
        assert abs(input_.mean()) < 0.05 * limit
        assert_same_bits(bias, np.full(50, gate == "f", dtype))
    assert LSTM(30, 50, rng=1).Wf.tobytes() == LSTM(30, 50, init="glorot", rng=1).Wf.tobytes()


@pytest.mark.parametrize("size", [1, 2])
def test_orthogonal_weights_are_of_either_sign(size: int) -> None:
    """Drawn uniformly of all orthogonal matrices: rotations and reflections alike."""
    determinants = [np.linalg.det(LSTM(1, size, rng=seed).Wf[:, :size]) for seed in range(40)]
    assert_close(np.abs(determinants), np.ones(40))
    assert 8 < np.sum(np.array(determinants) > 0) < 32


@pytest.mark.parametrize("dtype", DTYPES)
def test_pytorch(dtype: type) -> None:
    net = LSTM(30, 50, dtype=dtype, init="pytorch", rng=1)
    limit = 1 / np.sqrt(50)
    for arrays in gates(net).values():
        for array in arrays:
            assert 0.9 * limit < np.abs(array).max() <= limit * (1 + 1e-7)
            assert (array != 0).all()
            assert np.unique(array).size > 0.98 * array.size


@pytest.mark.parametrize("dtype", DTYPES)
def test_normal(dtype: type) -> None:
    net = LSTM(30, 50, dtype=dtype, init="normal", rng=1)
    for hidden, input_, bias in gates(net).values():
        for array in (hidden, input_):
            assert abs(array.mean()) < 0.1
            assert abs(array.std() - 1) < 0.1
            assert np.abs(array).max() > 2.5
        assert_same_bits(bias, np.zeros(50, dtype))


@pytest.mark.parametrize("init", ["glorot", "pytorch", "normal"])
def test_gates_are_drawn_apart(init: str) -> None:
    parts = [
        array
        for hidden, input_, _ in gates(LSTM(4, 4, init=init, rng=2)).values()
        for array in (hidden, input_)
    ]  # type: ignore[arg-type]
    assert len({part.tobytes() for part in parts}) == 8


@pytest.mark.parametrize("init", ["glorot", "pytorch", "normal"])
@pytest.mark.parametrize("bias", [True, False])
def test_a_seed_gives_the_same_net(bias: bool, init: str) -> None:
    options: dict[str, Any] = {"init": init, "bias": bias}
    net = LSTM(3, 5, rng=7, **options)
    for rng in (7, np.int64(7), np.random.default_rng(7), np.random.SeedSequence(7)):
        assert_same_weights(LSTM(3, 5, rng=rng, **options), net)
    assert_same_weights(LSTM(3, 5, rng=7, backend="numpy", **options), net)
    assert LSTM(3, 5, rng=8, **options).Wf.tobytes() != net.Wf.tobytes()
    assert LSTM(3, 5, **options).Wf.tobytes() != LSTM(3, 5, **options).Wf.tobytes()
    assert_same_bits(LSTM(3, 5, rng=7, dtype="f4", **options).Wf, net.Wf.astype(np.float32))


def test_a_generator_is_drawn_from() -> None:
    rng = np.random.default_rng(7)
    first, second = LSTM(3, 5, rng=rng), LSTM(3, 5, rng=rng)
    assert first.Wf.tobytes() != second.Wf.tobytes()
    # The global state of numpy.random is left alone.
    before = np.random.get_state()[1].tobytes()
    LSTM(3, 5)
    assert np.random.get_state()[1].tobytes() == before


# The eight arrays


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_eight_arrays_are_the_state_dicts(dtype: type, backend: str) -> None:
    """Columns are ordered [h, x]; rows of a state dict i, f, g, o."""
    net = make_net(dtype=dtype, backend=backend)
    state = net.state_dict()
    for gate, k in ROWS.items():
        rows = slice(k * HIDDEN, (k + 1) * HIDDEN)
        matrix, column = getattr(net, f"W{gate}"), getattr(net, f"b{gate}")
        assert_same_bits(matrix[:, :HIDDEN], state["weight_hh_l0"][rows])
        assert_same_bits(matrix[:, HIDDEN:], state["weight_ih_l0"][rows])
        assert_same_bits(column, state["bias_ih_l0"][rows, np.newaxis])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", MATRICES + BIASES)
def test_editing_an_array_in_place_raises(name: str, backend: str) -> None:
    net = make_net(backend=backend)
    before = net.state_dict()
    array = getattr(net, name)
    assert not array.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        array[0, 0] = 1
    with pytest.raises(ValueError, match="read-only"):
        getattr(net, name).__iadd__(1)
    for key, weights in net.state_dict().items():
        assert_same_bits(weights, before[key])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", MATRICES + BIASES)
def test_assigning_an_array_sets_just_that(name: str, dtype: type, backend: str) -> None:
    rng = np.random.default_rng(3)
    net = make_net(dtype=dtype, backend=backend)
    before = {other: getattr(net, other) for other in MATRICES + BIASES}
    X, h0, C0 = random_case(rng, 2, 4, INPUT, HIDDEN, dtype)
    outputs = net.forward_sequence(X, h0, C0)
    value = rng.standard_normal(before[name].shape)
    setattr(net, name, value)
    assert not np.array_equal(net.forward_sequence(X, h0, C0), outputs)
    value_before = value.copy()
    value[...] = np.nan
    for other in MATRICES + BIASES:
        expected = value_before.astype(dtype) if other == name else before[other]
        assert_same_bits(getattr(net, other), expected, other)
    setattr(net, name, before[name])
    assert_same_bits(net.forward_sequence(X, h0, C0), outputs)


@pytest.mark.parametrize("name", BIASES)
def test_a_bias_may_be_assigned_flat(name: str) -> None:
    net = make_net()
    values = np.arange(1.0, HIDDEN + 1)
    setattr(net, name, values)
    assert_same_bits(getattr(net, name), values[:, np.newaxis])
    setattr(net, name, values.tolist()[::-1])
    assert_same_bits(getattr(net, name), values[::-1, np.newaxis])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", MATRICES)
@pytest.mark.parametrize(
    ("value", "error"),
    [
        (np.ones((HIDDEN, HIDDEN)), ValueError),
        (np.ones((HIDDEN + INPUT, HIDDEN)), ValueError),
        (np.ones((1, HIDDEN, HIDDEN + INPUT)), ValueError),
        (np.ones((HIDDEN, 1)), ValueError),
        (1.0, ValueError),
        ([[1.0], [1.0, 2.0]], ValueError),
        (np.ones((HIDDEN, HIDDEN + INPUT), complex), TypeError),
        (np.full((HIDDEN, HIDDEN + INPUT), "1"), TypeError),
        (np.ma.ones((HIDDEN, HIDDEN + INPUT)), TypeError),
        (None, TypeError),
    ],
)
def test_wrong_matrices(value: Any, error: type[Exception], name: str, backend: str) -> None:
    net = make_net(backend=backend)
    assert_unchanged(net, lambda: setattr(net, name, value), error, name)


@pytest.mark.parametrize("name", BIASES)
@pytest.mark.parametrize(
    ("value", "error"),
    [
        (np.ones(HIDDEN + 1), ValueError),
        (np.ones((1, HIDDEN)), ValueError),
        (np.ones((HIDDEN, 2)), ValueError),
        (0.0, ValueError),
        (np.ones(HIDDEN, complex), TypeError),
        (None, TypeError),
    ],
)
def test_wrong_biases(value: Any, error: type[Exception], name: str) -> None:
    net = make_net()
    assert_unchanged(net, lambda: setattr(net, name, value), error, name)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("init", ["glorot", "pytorch"])
def test_without_biases(init: str, backend: str) -> None:
    net = LSTM(INPUT, HIDDEN, bias=False, init=init, rng=4, backend=backend)  # type: ignore[arg-type]
    assert list(net.state_dict()) == ["weight_ih_l0", "weight_hh_l0"]
    for name in BIASES:
        assert_same_bits(getattr(net, name), np.zeros((HIDDEN, 1)))
        assert_unchanged(net, lambda name=name: setattr(net, name, np.ones(HIDDEN)), ValueError, "bias=False")
    zeros = np.zeros(HIDDEN)
    assert_same_bits(net.forward(np.zeros(INPUT), zeros, zeros)[0], zeros)
    net.Wf = np.ones((HIDDEN, HIDDEN + INPUT))
    assert not net.bias


# The teaching class


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_teaching_class(dtype: type, backend: str) -> None:
    """The three lines that the project began with, against the equations by hand."""
    net = make_net(dtype=dtype, backend=backend)
    rng = np.random.default_rng(5)
    X = rng.standard_normal((10, INPUT)).astype(dtype)
    h, C = rng.standard_normal((2, HIDDEN, 1)).astype(dtype)
    first = h, C

    def sigmoid(z: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-z))

    for x in X[:, :, np.newaxis]:
        h_net, C_net = net.forward(x, h, C)
        assert h_net.shape == C_net.shape == (HIDDEN, 1)
        hx = np.vstack([h, x])
        f = sigmoid(net.Wf @ hx + net.bf)
        i = sigmoid(net.Wi @ hx + net.bi)
        g = np.tanh(net.WC @ hx + net.bC)
        o = sigmoid(net.Wo @ hx + net.bo)
        C = f * C + i * g
        h = o * np.tanh(C)
        assert_close(h_net, h)
        assert_close(C_net, C)
    Y, (h_n, C_n) = net.forward_sequence(X, *first, return_state=True)
    assert Y.shape == (10, HIDDEN)
    assert_close(Y[-1:].T, h)
    assert_close(h_n, h)
    assert_close(C_n, C)
    assert net.forward_sequence(X).shape == (10, HIDDEN)


# State dicts


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_state_dict_has_pytorchs_names_and_shapes(dtype: type, backend: str) -> None:
    net = make_net(dtype=dtype, backend=backend)
    state = net.state_dict()
    shapes = {name: array.shape for name, array in state.items()}
    rows = 4 * HIDDEN
    assert shapes == dict(zip(NAMES, [(rows, INPUT), (rows, HIDDEN), (rows,), (rows,)], strict=True))
    assert list(state) == list(NAMES)
    assert all(type(array) is np.ndarray and array.dtype == dtype for array in state.values())
    assert_same_bits(state["bias_hh_l0"], np.zeros(rows, dtype))
    for array in state.values():
        array[...] = np.nan
    assert not any(np.isnan(array).any() for array in net.state_dict().values())


@pytest.mark.parametrize("backend", BACKENDS)
def test_state_dict_fits_pytorch(backend: str) -> None:
    torch = pytest.importorskip("torch")
    net = make_net(backend=backend)
    layer = torch.nn.LSTM(INPUT, HIDDEN, dtype=torch.float64)
    assert {name: tuple(w.shape) for name, w in layer.state_dict().items()} == {
        name: w.shape for name, w in net.state_dict().items()
    }
    loaded = LSTM.from_state_dict(layer.state_dict(), backend=backend)  # type: ignore[arg-type]
    sums = {"bias_ih_l0": layer.bias_ih_l0 + layer.bias_hh_l0, "weight_ih_l0": layer.weight_ih_l0}
    for name, tensor in sums.items():
        assert_same_bits(loaded.state_dict()[name], tensor.detach().numpy())


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_state_dict_comes_back_bit_for_bit(dtype: type, bias: bool, backend: str) -> None:
    """Signs of zeros, subnormals, infinities and NaNs too."""
    net = make_net(dtype=dtype, bias=bias, backend=backend)
    state = net.state_dict()
    special = [-0.0, 0.0, np.inf, -np.inf, np.nan, np.finfo(dtype).smallest_subnormal]
    for name in NAMES[: 3 if bias else 2]:
        state[name].flat[: len(special)] = special
    loaded = LSTM.from_state_dict(state, backend=backend)  # type: ignore[arg-type]
    net.load_state_dict(state)
    for name, array in state.items():
        assert_same_bits(loaded.state_dict()[name], array, name)
        assert_same_bits(net.state_dict()[name], array, name)
    assert_same_bits(LSTM.from_state_dict(loaded.state_dict()).WC, net.WC)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_two_biases_are_added(dtype: type) -> None:
    rng = np.random.default_rng(6)
    net = make_net(dtype=dtype)
    state = net.state_dict()
    first, second = rng.standard_normal((2, 4 * HIDDEN)).astype(dtype)
    second[3] = 0
    first[3] = -0.0
    net.load_state_dict({**state, "bias_ih_l0": first, "bias_hh_l0": second})
    expected = first + second
    expected[3] = -0.0
    assert_same_bits(net.state_dict()["bias_ih_l0"], expected)
    assert_same_bits(net.state_dict()["bias_hh_l0"], np.zeros_like(expected))


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.bool_, np.float16])
@pytest.mark.parametrize("net_dtype", DTYPES)
def test_biases_of_narrow_dtypes_are_added_without_overflow(net_dtype: type, dtype: type) -> None:
    largest = np.iinfo(dtype).max if np.dtype(dtype).kind in "iu" else 1 if dtype is np.bool_ else 60000
    biases = np.full(4 * HIDDEN, largest, dtype)
    state = {**make_net().state_dict(), "bias_ih_l0": biases, "bias_hh_l0": biases}
    net = LSTM.from_state_dict(state, dtype=net_dtype)
    assert_same_bits(net.bf, np.full((HIDDEN, 1), 2 * float(biases[0]), net_dtype))


@pytest.mark.parametrize(("first", "second"), [(3e38, 3e38), (np.inf, -np.inf)])
def test_biases_past_the_largest_number_warn_of_nothing(first: float, second: float) -> None:
    rows = 4 * HIDDEN
    state = make_net(dtype=np.float32).state_dict()
    state["bias_ih_l0"], state["bias_hh_l0"] = np.full((2, rows), [[first], [second]], np.float32)
    net = LSTM.from_state_dict(state)
    with np.errstate(all="ignore"):
        assert_close(net.bf, np.full((HIDDEN, 1), np.float32(first) + np.float32(second)))


def test_weights_past_float32_become_infinite() -> None:
    net = make_net(dtype=np.float32)
    net.Wf = np.full((HIDDEN, HIDDEN + INPUT), 1e300)
    net.bf = np.full(HIDDEN, -1e300)
    state = {**net.state_dict(), "weight_ih_l0": np.full((4 * HIDDEN, INPUT), 1e300)}
    net.load_state_dict(state)
    loaded = LSTM.from_state_dict(state, dtype=np.float32)
    assert np.isposinf(net.Wf).all()
    assert np.isneginf(net.bf).all()
    assert np.isposinf(loaded.WC[:, HIDDEN:]).all()


@pytest.mark.parametrize(
    ("dtypes", "expected"),
    [
        (("f4", "f4", "f4", "f4"), "f4"),
        (("f2", "f4", "f2", "f2"), "f4"),
        (("f2", "f2", "f2", "f2"), "f4"),
        (("f8", "f4", "f4", "f4"), "f8"),
        (("f4", "f8", "f4", "f4"), "f8"),
        (("f4", "f4", "f4", "f8"), "f8"),
        (("i8", "f4", "f4", "f4"), "f8"),
        (("f4", "f4", "i1", "f4"), "f8"),
        (("f4", "f4", "f4", "?"), "f8"),
        (("f4", "f4"), "f4"),
        (("f8", "f8"), "f8"),
    ],
)
def test_the_dtype_follows_from_the_arrays(dtypes: tuple[str, ...], expected: str) -> None:
    state = {name: a.astype(d) for (name, a), d in zip(make_net().state_dict().items(), dtypes, strict=False)}
    assert LSTM.from_state_dict(state).dtype == expected
    for dtype in DTYPES:
        assert LSTM.from_state_dict(state, dtype=dtype).dtype == dtype


def damaged_states() -> dict[str, tuple[dict[Any, Any], type[Exception], str]]:
    """State dicts that make no net of INPUT and HIDDEN: (state, error, what the message says)."""
    good = make_net().state_dict()
    rows = 4 * HIDDEN

    def without(*names: str) -> dict[str, np.ndarray]:
        return {name: array for name, array in good.items() if name not in names}

    return {
        "empty": ({}, ValueError, "lacks weight_ih_l0, weight_hh_l0"),
        "no weight_ih": (without("weight_ih_l0"), ValueError, "lacks weight_ih_l0"),
        "no weight_hh": (without("weight_hh_l0"), ValueError, "lacks weight_hh_l0"),
        "no bias_ih": (without("bias_ih_l0"), ValueError, "lacks bias_ih_l0"),
        "no bias_hh": (without("bias_hh_l0"), ValueError, "lacks bias_hh_l0"),
        "a second layer": (
            {**good, "weight_ih_l1": np.ones((rows, HIDDEN))},
            ValueError,
            "lacks weight_hh_l1",
        ),
        "reverse": (
            {**good, "weight_ih_l0_reverse": np.ones((rows, 3))},
            ValueError,
            "lacks weight_hh_l0_reverse",
        ),
        "projection": ({**good, "weight_hr_l0": np.ones((2, HIDDEN))}, ValueError, "weight_hr_l0"),
        "an integer name": ({**good, 3: np.ones(3)}, ValueError, "has 3"),
        "transposed ih": ({**good, "weight_ih_l0": good["weight_ih_l0"].T}, ValueError, "weight_ih_l0"),
        "transposed hh": ({**good, "weight_hh_l0": good["weight_hh_l0"].T}, ValueError, "weight_hh_l0"),
        "flat ih": ({**good, "weight_ih_l0": good["weight_ih_l0"].ravel()}, ValueError, "weight_ih_l0"),
        "rank 3 hh": ({**good, "weight_hh_l0": good["weight_hh_l0"][None]}, ValueError, "weight_hh_l0"),
        "no rows": ({**good, "weight_hh_l0": np.ones((0, 0))}, ValueError, "weight_hh_l0"),
        "no features": ({**good, "weight_ih_l0": np.ones((rows, 0))}, ValueError, "weight_ih_l0"),
        "three gates": ({**good, "weight_hh_l0": np.ones((3 * HIDDEN, HIDDEN))}, ValueError, "weight_hh_l0"),
        "other rows": ({**good, "weight_ih_l0": np.ones((rows + 4, INPUT))}, ValueError, "weight_ih_l0"),
        "long bias": ({**good, "bias_ih_l0": np.ones(rows + 1)}, ValueError, "bias_ih_l0"),
        "column bias": ({**good, "bias_hh_l0": np.ones((rows, 1))}, ValueError, "bias_hh_l0"),
        "complex": ({**good, "weight_ih_l0": good["weight_ih_l0"] * 1j}, TypeError, "weight_ih_l0"),
        "text bias": ({**good, "bias_ih_l0": np.full(rows, "1")}, TypeError, "bias_ih_l0"),
        "masked": ({**good, "weight_hh_l0": np.ma.array(good["weight_hh_l0"])}, TypeError, "weight_hh_l0"),
        "None": ({**good, "bias_hh_l0": None}, TypeError, "bias_hh_l0"),
        "ragged": ({**good, "bias_hh_l0": [[1.0], [1.0, 2.0]]}, ValueError, "bias_hh_l0"),
    }


DAMAGED_STATES = damaged_states()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", DAMAGED_STATES)
def test_wrong_state_dicts(name: str, backend: str) -> None:
    state, error, match = DAMAGED_STATES[name]
    net = make_net(backend=backend)
    assert_unchanged(net, lambda: net.load_state_dict(state), error, match)
    with pytest.raises(error, match=match):
        LSTM.from_state_dict(state, backend=backend)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("other", "match"),
    [
        (LSTM(INPUT + 1, HIDDEN), "input_size=4"),
        (LSTM(INPUT, HIDDEN + 1), "hidden_size=6"),
        (LSTM(INPUT, HIDDEN, bias=False), "bias=False"),
    ],
)
def test_a_state_dict_of_other_sizes(other: LSTM, match: str) -> None:
    net = make_net()
    assert_unchanged(net, lambda: net.load_state_dict(other.state_dict()), ValueError, match)
    assert_unchanged(other, lambda: other.load_state_dict(net.state_dict()), ValueError, match)


def test_a_state_dict_is_copied() -> None:
    for backend in BACKENDS:
        state = make_net().state_dict()
        net = LSTM.from_state_dict(state, backend=backend)  # type: ignore[arg-type]
        before = net.state_dict()
        for array in state.values():
            array[...] = np.nan
        for name, array in net.state_dict().items():
            assert_same_bits(array, before[name])


# Files


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_saved_net_comes_back_bit_for_bit(dtype: type, bias: bool, backend: str, tmp_path: Path) -> None:
    net = make_net(dtype=dtype, bias=bias, backend=backend)
    state = net.state_dict()
    for name in NAMES[: 3 if bias else 2]:
        state[name].flat[:4] = [-0.0, np.inf, np.nan, np.finfo(dtype).smallest_subnormal]
    net.load_state_dict(state)
    path = tmp_path / "net.npz"
    net.save(path)
    for other in BACKENDS:
        loaded = lstm.load(path, backend=other)  # type: ignore[arg-type]
        assert type(loaded) is LSTM
        assert loaded.backend == other
        assert_same_weights(loaded, net)
    assert os.listdir(tmp_path) == ["net.npz"]


def test_a_saved_file_holds_no_pickle_and_pytorchs_names(tmp_path: Path) -> None:
    net = make_net()
    net.save(tmp_path / "net.npz")
    with np.load(tmp_path / "net.npz", allow_pickle=False) as archive:
        assert sorted(archive.files) == sorted([*NAMES, "lstm"])
        config = json.loads(str(archive["lstm"]))
        for name, array in net.state_dict().items():
            assert_same_bits(archive[name], array)
    assert config == {
        "version": 1,
        "input_size": INPUT,
        "hidden_size": HIDDEN,
        "bias": True,
        "dtype": "float64",
    }


def test_saving_twice_writes_the_same_bytes_and_replaces(tmp_path: Path) -> None:
    path = tmp_path / "net.npz"
    path.write_text("an old file")
    make_net().save(path)
    first = path.read_bytes()
    make_net().save(path)
    assert path.read_bytes() == first
    assert_same_weights(lstm.load(path), make_net())


@pytest.mark.parametrize("kind", [str, Path, lambda path: FsPath(path)])
def test_paths_of_every_kind(kind: Callable[[str], Any], tmp_path: Path) -> None:
    path = kind(str(tmp_path / "net.NPZ"))
    make_net().save(path)
    assert_same_weights(lstm.load(path), make_net())


class FsPath:
    """A path-like object that is no pathlib.Path."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __fspath__(self) -> str:
        return self.path


@pytest.mark.parametrize("write", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", [np.float16, *DTYPES])
def test_a_bare_state_dict(dtype: type, bias: bool, write: Callable[..., None], tmp_path: Path) -> None:
    """Arrays of PyTorch's names alone: what a stranger writes with NumPy."""
    net = make_net(bias=bias)
    state = {name: array.astype(dtype) for name, array in net.state_dict().items()}
    if bias:
        state["bias_hh_l0"] = np.linspace(-1, 1, 4 * HIDDEN).astype(dtype)
    write(tmp_path / "bare.npz", **state)
    loaded = lstm.load(tmp_path / "bare.npz")
    assert_same_weights(loaded, LSTM.from_state_dict(state))
    assert loaded.dtype == (np.float64 if dtype is np.float64 else np.float32)


@pytest.mark.parametrize("name", ["net.bin", "net", "net.npz.gz", ".npz", "net.npy", "net.onnx2"])
def test_unknown_endings(name: str, tmp_path: Path) -> None:
    net, path = make_net(), tmp_path / name
    with pytest.raises(ValueError, match=r"\.npz"):
        net.save(path)
    assert not path.exists()
    make_net().save(tmp_path / "real.npz")
    shutil.copy(tmp_path / "real.npz", path)
    with pytest.raises(ValueError, match=r"must end in \.npz") as caught:
        lstm.load(path)
    assert not isinstance(caught.value, FormatError)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("name", ["net.pt", "net.pth", "net.PT"])
def test_a_pytorch_file_is_not_read(name: str, tmp_path: Path) -> None:
    """The message shows how PyTorch loads it."""
    path = tmp_path / name
    path.write_bytes(pickle.dumps(make_net()))
    with pytest.raises(ValueError, match="PyTorch") as caught:
        lstm.load(path)
    for part in (str(path), "torch.load(", "weights_only=True", "LSTM.from_torch("):
        assert part in str(caught.value)


def test_the_lines_shown_for_a_pytorch_file_work(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    path = tmp_path / "net.pt"
    layer = torch.nn.LSTM(INPUT, HIDDEN)
    torch.save(layer.state_dict(), path)
    with pytest.raises(ValueError, match="PyTorch") as caught:
        lstm.load(path)
    lines = [line.strip() for line in str(caught.value).splitlines() if line.startswith(" ")]
    names: dict[str, Any] = {"torch": torch, "lstm": lstm}
    exec("\n".join(lines), names)
    assert_same_weights(names["net"], LSTM.from_state_dict(layer.state_dict()))


@pytest.mark.parametrize("path", [None, 3, b"net.npz", ["net.npz"]])
def test_paths_that_are_none(path: Any) -> None:
    with pytest.raises(TypeError):
        lstm.load(path)
    with pytest.raises(TypeError):
        make_net().save(path)


def test_files_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        lstm.load(tmp_path / "none.npz")
    with pytest.raises(FileNotFoundError):
        make_net().save(tmp_path / "no folder" / "net.npz")
    (tmp_path / "folder.npz").mkdir()
    with pytest.raises(IsADirectoryError):
        lstm.load(tmp_path / "folder.npz")
    with pytest.raises(OSError, match="folder"):
        make_net().save(tmp_path / "folder.npz")
    assert os.listdir(tmp_path) == ["folder.npz"]


def test_a_wrong_backend_is_not_blamed_on_the_file(tmp_path: Path) -> None:
    make_net().save(tmp_path / "net.npz")
    with pytest.raises(ValueError, match=r"^backend is 'torch'") as caught:
        lstm.load(tmp_path / "net.npz", backend="torch")  # type: ignore[arg-type]
    assert not isinstance(caught.value, FormatError)


def test_an_old_file_outlives_a_save_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "net.npz"
    make_net().save(path)
    before = path.read_bytes()

    def fail(*args: Any, **options: Any) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(np.lib.format, "write_array", fail)
    with pytest.raises(OSError, match="no space left"):
        LSTM(2, 2).save(path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["net.npz"]


# Copies and pickles

COPIERS: dict[str, Callable[[Any], Any]] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    **{
        f"pickle {protocol}": lambda net, protocol=protocol: pickle.loads(pickle.dumps(net, protocol))
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
    },
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("copier", COPIERS)
def test_copies_have_the_same_bits_and_are_independent(
    copier: str, dtype: type, bias: bool, backend: str
) -> None:
    net = make_net(dtype=dtype, bias=bias, backend=backend)
    X, h0, C0 = random_case(np.random.default_rng(8), 2, 4, INPUT, HIDDEN, dtype)
    outputs = net.forward_sequence(X, h0, C0)
    twin = COPIERS[copier](net)
    assert type(twin) is LSTM
    assert twin is not net
    assert twin.backend == backend
    assert repr(twin) == repr(net)
    assert_same_weights(twin, net)
    assert_same_bits(twin.forward_sequence(X, h0, C0), outputs)
    twin.Wf = np.zeros((HIDDEN, HIDDEN + INPUT))
    assert_same_bits(net.forward_sequence(X, h0, C0), outputs)
    another = COPIERS[copier](net)
    net.Wo = np.zeros((HIDDEN, HIDDEN + INPUT))
    assert_same_bits(another.forward_sequence(X, h0, C0), outputs)


@pytest.mark.parametrize("isa", EACH_ISA)
def test_a_pickle_holds_nothing_of_the_machine(isa: str) -> None:
    """The same bytes whatever ISA the weights were packed for."""
    net = make_net(dtype=np.float32)
    assert pickle.dumps(on_isa(net, isa)) == pickle.dumps(net)
    twin = pickle.loads(pickle.dumps(on_isa(net, isa)))
    assert_same_weights(twin, net)
    assert twin.core.isa == _kernel.DEFAULT_ISA


def test_pickles_of_both_backends_hold_the_same_weights() -> None:
    net = make_net()
    twins = [pickle.loads(pickle.dumps(as_backend(net, backend))) for backend in BACKENDS]
    assert [twin.backend for twin in twins] == list(BACKENDS)
    for twin in twins:
        assert_same_weights(twin, net)


def test_deepcopy_keeps_one_net_one() -> None:
    net = make_net()
    first, second = copy.deepcopy([net, net])
    assert first is second
    assert first is not net


class Named(LSTM):
    """A subclass with attributes of its own."""

    def __init__(self, name: str) -> None:
        super().__init__(INPUT, HIDDEN, rng=9)
        self.name = name

    def forward_sequence(self, X: Any, *args: Any, **options: Any) -> Any:
        return super().forward_sequence(X, *args, **options)


class Slotted(LSTM):
    """A subclass with a slot of its own."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        super().__init__(INPUT, HIDDEN, rng=9)
        self.name = name


@pytest.mark.parametrize("copier", COPIERS)
@pytest.mark.parametrize("subclass", [Named, Slotted])
def test_copies_of_a_subclass(subclass: Callable[[str], Any], copier: str) -> None:
    net = subclass("mine")
    twin = COPIERS[copier](net)
    assert type(twin) is type(net)
    assert_same_weights(twin, net)
    assert twin.name == "mine"


@pytest.mark.parametrize("copier", [name for name in COPIERS if name != "copy"])
def test_copies_of_a_net_that_knows_itself(copier: str) -> None:
    net: Any = Named("mine")
    net.family = [net]
    twin = COPIERS[copier](net)
    assert twin.family[0] is twin
    assert net.family[0] is net


def test_a_subclass(tmp_path: Path) -> None:
    net = Named("mine")
    assert repr(net) == "Named(3, 5, dtype=float64)"
    assert net.forward_sequence(np.ones((2, INPUT))).shape == (2, HIDDEN)
    assert type(Named.from_state_dict(net.state_dict())) is Named
    net.save(tmp_path / "net.npz")
    assert_same_weights(lstm.load(tmp_path / "net.npz"), net)


@pytest.mark.parametrize("backend", BACKENDS)
def test_weights_are_packed_once(backend: str) -> None:
    """Again only when they change."""
    net = make_net(backend=backend)
    stored = net.core.cells
    X, h0, C0 = random_case(np.random.default_rng(10), 2, 4, INPUT, HIDDEN, np.float64)
    net.forward_sequence(X, h0, C0)
    net.forward(X[:, 0], h0, C0)
    _ = net.Wf, net.bo, net.state_dict(), repr(net), pickle.dumps(net)
    assert net.core.cells is stored
    assert copy.copy(net).core.cells is stored
    net.bf = np.ones(HIDDEN)
    assert net.core.cells is not stored
    stored = net.core.cells
    net.load_state_dict(net.state_dict())
    assert net.core.cells is not stored


# What is shown


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, "LSTM(3, 5, dtype=float64)"),
        ({"dtype": "f4"}, "LSTM(3, 5, dtype=float32)"),
        ({"bias": False}, "LSTM(3, 5, bias=False, dtype=float64)"),
        ({"backend": "numpy"}, "LSTM(3, 5, dtype=float64, backend='numpy')"),
        ({"bias": False, "dtype": "f4", "backend": "numpy", "init": "normal"},
         "LSTM(3, 5, bias=False, dtype=float32, backend='numpy')"),
    ],
)  # fmt: skip
def test_repr(options: dict[str, Any], expected: str) -> None:
    net = LSTM(INPUT, HIDDEN, **options)
    assert repr(net) == expected
    again = eval(expected, {"LSTM": LSTM, "float32": np.float32, "float64": np.float64})
    assert repr(again) == expected


def test_show_config(capsys: pytest.CaptureFixture[str]) -> None:
    facts = lstm.show_config("dict")
    assert facts["isa"] == _kernel.DEFAULT_ISA
    assert facts["isas"] == list(_kernel.SUPPORTED_ISAS)
    assert facts["isa"] in facts["isas"]
    assert (facts["lstm"], facts["numpy"]) == (lstm.__version__, np.__version__)
    assert facts["threads"] >= 1
    json.dumps(facts)
    assert capsys.readouterr().out == ""
    assert lstm.show_config() is None
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(facts)
    assert f"isa     {facts['isa']}" in lines
    assert f"isas    {', '.join(facts['isas'])}" in lines


@pytest.mark.parametrize("mode", ["dicts", None, 3])
def test_show_config_in_an_unknown_mode(mode: Any) -> None:
    with pytest.raises(ValueError, match="mode"):
        lstm.show_config(mode)


# The package

MODULES = [
    "lstm",
    *(
        module.name
        for module in pkgutil.walk_packages(lstm.__path__, "lstm.")
        if module.name not in ("lstm._kernel.kernel", "lstm.__main__")
    ),
]


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name: str) -> None:
    if name == "lstm.plot":
        pytest.importorskip("matplotlib").use("Agg")
    module = importlib.import_module(name)
    found = doctest.testmod(module, optionflags=doctest.ELLIPSIS)
    assert found.failed == 0
    if name in (
        "lstm",
        "lstm.model",
        "lstm.stream",
        "lstm.config",
        "lstm.files",
        "lstm.tape",
        "lstm.gradient_check",
    ):
        assert found.attempted > 0


def run_python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `code` in a new interpreter that imports the lstm that this one has."""
    folder = str(Path(lstm.__file__).parent.parent)
    kept = {name: value for name, value in os.environ.items() if name != "LSTM_ISA"}
    return subprocess.run(
        [sys.executable, "-P", "-c", code],
        env={**kept, "PYTHONPATH": folder, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("isa", EACH_ISA)
def test_an_isa_can_be_forced(isa: str) -> None:
    done = run_python(
        "import lstm, numpy as np; net = lstm.LSTM(3, 5); net.forward_sequence(np.ones((2, 3)));"
        "print(lstm.show_config('dict')['isa'], net.core.cells[0].isa)",
        LSTM_ISA=isa,
    )
    assert (done.stdout, done.stderr) == (f"{isa} {isa}\n", "")


def test_the_best_isa_is_the_default() -> None:
    for environment in ({}, {"LSTM_ISA": ""}):
        done = run_python("import lstm; print(lstm.show_config('dict')['isa'])", **environment)
        assert (done.stdout, done.stderr) == (f"{_kernel.SUPPORTED_ISAS[-1]}\n", "")


@pytest.mark.parametrize("isa", ["sse9", "AVX2", " avx2", "0"])
def test_an_unknown_isa_raises(isa: str) -> None:
    done = run_python("import lstm", LSTM_ISA=isa)
    assert done.returncode == 1
    message = done.stderr.splitlines()[-1]
    assert message.startswith("ValueError: ")
    assert "LSTM_ISA" in message
    assert repr(isa) in message
    for supported in _kernel.SUPPORTED_ISAS:
        assert supported in message


def test_a_source_tree_that_was_never_built_says_how_to_build_it(tmp_path: Path) -> None:
    source = Path(lstm.__file__).parent
    shutil.copytree(
        source, tmp_path / "lstm", ignore=shutil.ignore_patterns("*.so", "*.pyd", "*.c", "__pycache__")
    )
    # An editable install's finder would look for the kernel in the built tree.
    code = (
        "import sys, importlib.machinery as m;"
        "sys.meta_path[:] = [m.BuiltinImporter, m.FrozenImporter, m.PathFinder];"
        "import lstm"
    )
    done = run_python(code, PYTHONPATH=str(tmp_path))
    assert done.returncode == 1
    message = done.stderr.splitlines()[-1]
    assert message.startswith("ImportError: ")
    for part in ("not been built", "pip install .", "pip install -e ."):
        assert part in message


def test_importing_takes_numpy_alone() -> None:
    """Nor does using it: no PyTorch, ONNX, Keras or plotting is imported."""
    code = (
        "import sys, pickle; import numpy, numpy.random; before = set(sys.modules); import lstm;"
        "net = lstm.LSTM(3, 5); net.forward_sequence(numpy.ones((2, 3))); pickle.dumps(net);"
        "new = {name.split('.')[0] for name in set(sys.modules) - before};"
        "new = {name for name in new if 'cython' not in name};"
        "print(sorted(new - set(sys.stdlib_module_names) - {'lstm', 'numpy'}))"
    )
    done = run_python(code)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_the_public_names() -> None:
    classes = {"LSTM", "FormatError", "Gradients", "Stream", "Tape"}
    functions = {"check_gradients", "load", "show_config"}
    assert set(lstm.__all__) == {*classes, *functions, "__version__"}
    for name in lstm.__all__:
        assert hasattr(lstm, name)
    assert issubclass(FormatError, ValueError)


# The short way of everyday arrays


def sequence_calls(dtype: Any) -> list[tuple[str, bool, dict[str, Any]]]:
    """(what, whether it goes the short way, arguments of forward_sequence) for a net of 3 and 5."""
    rng = np.random.default_rng(7)
    X, h0, C0 = (rng.standard_normal(shape).astype(dtype) for shape in ((4, 6, 3), (1, 4, 5), (1, 4, 5)))
    row, h, C = X[1].copy(), h0[:, 1].copy(), C0[:, 1].copy()
    shared = np.zeros(4 * 6 * 5, dtype)
    shared[: X.size] = X.ravel()
    inside, whole = shared[: X.size].reshape(X.shape), shared.reshape(4, 6, 5)
    return [
        ("a batch", True, {"X": X}),
        ("a batch and its states", True, {"X": X, "h0": h0, "C0": C0}),
        ("h0 alone", True, {"X": X, "h0": h0}),
        ("C0 alone", True, {"X": row, "C0": C}),
        ("a sequence", True, {"X": row}),
        ("a sequence and its states", True, {"X": row, "h0": h, "C0": C}),
        ("out", True, {"X": X, "h0": h0, "C0": C0, "out": np.full((4, 6, 5), np.nan, dtype)}),
        ("out of a sequence", True, {"X": row, "out": np.full((6, 5), np.nan, dtype)}),
        ("states without the first axis", False, {"X": X, "h0": h0[0], "C0": C0[0]}),
        ("a vector as state", False, {"X": row, "h0": h[0], "C0": C[0]}),
        ("out over X", False, {"X": inside, "out": whole}),
        ("out strided", False, {"X": X, "out": np.zeros((4, 6, 10), dtype)[:, :, ::2]}),
        ("X strided", False, {"X": np.repeat(X, 2, axis=1)[:, ::2]}),
        ("lengths", False, {"X": X, "lengths": [6, 0, 3, 5]}),
        ("lists", False, {"X": X.tolist()}),
        ("no steps", False, {"X": X[:, :0].copy()}),
        ("no rows", False, {"X": X[:0].copy(), "h0": h0[:, :0].copy(), "C0": C0[:, :0].copy()}),
    ]


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("index", range(17))
def test_the_short_way_gives_what_the_checked_way_gives(
    index: int, dtype: Any, reverse: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bits, shapes, dtypes and `out` itself; inputs are left alone."""
    net = random_net(np.random.default_rng(3), 3, 5, dtype, reverse=reverse)
    short_way = _kernel.everyday_sequence
    results, taken = [], []

    def counted(*arguments: Any) -> Any:
        taken.append(short_way(*arguments) is not None)
        return None

    for way in (short_way, counted):
        monkeypatch.setattr(_kernel, "everyday_sequence", way)
        what, is_short, arguments = sequence_calls(dtype)[index]
        before = {name: np.copy(value) for name, value in arguments.items() if name != "out"}
        Y, (h_n, C_n) = net.forward_sequence(**arguments, return_state=True)
        assert arguments.get("out") is None or Y is arguments["out"]
        if what != "out over X":
            for name, value in before.items():
                np.testing.assert_array_equal(arguments[name], value, name)
        results.append((Y, h_n, C_n))
    assert taken == ([] if what == "lengths" else [is_short])
    for first, second in zip(*results, strict=True):
        assert_same_bits(first, second, what)
        assert type(first) is np.ndarray
        assert first.flags.writeable
