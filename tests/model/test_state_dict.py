"""State dicts: PyTorch's names and shapes, there and back; those that fit no net."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from nets import BACKENDS, HIDDEN, INPUT, NAMES, assert_unchanged, make_net
from support import DTYPES, assert_close, assert_same_bits

from lstm import LSTM


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


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("precision", [None, "int8"])
def test_weights_that_lie_anywhere(dtype: type, precision: Any) -> None:
    """As in the bytes that another process has sent: at no multiple of their size."""
    if precision is not None and dtype is np.float64:
        return
    net = LSTM(3, 5, num_layers=2, peephole=True, proj_size=4, dtype=dtype, init="pytorch", rng=0)
    shifted = {}
    for name, array in net.state_dict().items():
        buffer = np.zeros(array.nbytes + 1, np.uint8)
        shifted[name] = buffer[1:].view(dtype).reshape(array.shape)
        shifted[name][...] = array
    X = np.random.default_rng(1).standard_normal((4, 7, 3)).astype(dtype)
    expected = LSTM.from_state_dict(net.state_dict(), precision=precision).forward_sequence(X)
    found = LSTM.from_state_dict(shifted, precision=precision).forward_sequence(X)
    np.testing.assert_array_equal(found, expected)
