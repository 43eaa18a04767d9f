"""The LSTM class: arguments, initial weights, the eight arrays, the teaching class, what is shown."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from nets import (
    BACKENDS,
    BIASES,
    HIDDEN,
    INPUT,
    MATRICES,
    ROWS,
    assert_same_weights,
    assert_unchanged,
    make_net,
)
from support import DTYPES, assert_close, assert_same_bits, random_case, random_net

from lstm import LSTM, _kernel

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
