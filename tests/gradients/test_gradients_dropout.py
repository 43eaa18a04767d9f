"""Dropout of recorded passes: what is dropped, against passes with the masks applied by hand and Keras.

Shapes: B batch, T time, I input, H hidden, O features of h, K features of a layer's output, L layers,
D directions.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest
from gradient_cases import DIFFERENCE_TOLERANCE, STEP, arrays_of, assert_same_gradients
from support import DTYPES, assert_same_bits

from lstm import LSTM, Tape
from lstm.core import dropout

BACKENDS = ("native", "numpy")
BATCH, TIME, INPUT, HIDDEN = 4, 6, 3, 5
RATES = {"dropout": 0.3, "input_dropout": 0.4, "recurrent_dropout": 0.25}


def make(backend: str = "native", **options: Any) -> LSTM:
    return LSTM(INPUT, HIDDEN, init="pytorch", rng=3, backend=backend, **options)  # type: ignore[arg-type]


def call_of(net: LSTM) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    cells = len(net.layers)
    shapes = ((BATCH, TIME, INPUT), (cells, BATCH, net.proj_size or HIDDEN), (cells, BATCH, HIDDEN))
    X, h0, C0 = (rng.standard_normal(shape) for shape in shapes)
    return X, h0, C0


def masks_of(net: LSTM, rng: int, time: int = TIME, **rates: float) -> dropout.Masks:
    """What `record` draws of this seed."""
    architecture = net.core.architecture
    checked = dropout.rates(
        architecture,
        rates.get("dropout", 0.0),
        rates.get("input_dropout", 0.0),
        rates.get("recurrent_dropout", 0.0),
    )
    return dropout.draw(checked, np.random.default_rng(rng), architecture, net.dtype, BATCH, time)


@pytest.mark.parametrize("dtype", [np.dtype(dtype) for dtype in DTYPES])
def test_what_is_drawn(dtype: np.dtype[Any]) -> None:
    """As much as asked for, the same at all steps or not; what is kept is scaled so that the mean stays."""
    architecture = LSTM(30, 40, num_layers=3, bidirectional=True).core.architecture
    rates = dropout.Rates(0.3, 0.4, 0.25)
    masks = dropout.draw(rates, np.random.default_rng(0), architecture, dtype, 50, 20)
    assert masks.input is not None
    assert masks.recurrent is not None
    assert masks.between is not None
    assert (masks.input.shape, masks.recurrent.shape) == ((50, 30), (6, 50, 40))
    for factors, rate in ((masks.input, 0.4), (masks.recurrent, 0.25)):
        assert factors.dtype == dtype
        assert set(np.unique(factors)) == {dtype.type(0), dtype.type(1 / (1 - rate))}
        assert abs(factors.mean() - 1) < 0.05
    assert [kept.shape for kept in masks.between] == [(50, 20, 80)] * 2
    for kept in masks.between:
        assert abs(kept.mean() - 0.7) < 0.01
        assert np.any(kept[:, 0] != kept[:, 1])
    ones = np.ones((50, 20, 80), dtype)
    np.testing.assert_array_equal(masks.of_layer(0, ones), ones)
    assert abs(masks.of_layer(1, ones).mean() - 1) < 0.02
    assert np.any(masks.of_layer(1, ones) != masks.of_layer(2, ones))


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_feature_of_x_is_dropped_for_a_whole_sequence(backend: str) -> None:
    net = make(backend, bidirectional=True)
    X, h0, C0 = call_of(net)
    factors = masks_of(net, 5, input_dropout=0.4).input
    assert factors is not None
    tape = net.record(X, h0, C0, input_dropout=0.4, rng=5)
    other = net.record(X * factors[:, np.newaxis], h0, C0)
    assert_same_bits(tape.Y, other.Y)
    g, expected = tape.backward(dY=tape.Y), other.backward(dY=other.Y)
    assert expected.X is not None
    expected.X = expected.X * factors[:, np.newaxis]
    assert_same_gradients(g, expected)


@pytest.mark.parametrize("backend", BACKENDS)
def test_outputs_are_dropped_between_layers(backend: str) -> None:
    """As nn.LSTM does: not after the last layer, at every step anew."""
    net = make(backend, num_layers=2, bidirectional=True)
    X, h0, C0 = call_of(net)
    kept = masks_of(net, 5, dropout=0.3).between
    assert kept is not None
    tape = net.record(X, h0, C0, dropout=0.3, rng=5)
    state = net.state_dict()
    below = {name: array for name, array in state.items() if "_l0" in name}
    above = {name.replace("_l1", "_l0"): array for name, array in state.items() if "_l1" in name}
    first = LSTM.from_state_dict(below, backend=backend).record(X, h0[:2], C0[:2])  # type: ignore[arg-type]
    scaled = first.Y * kept[0] * (1 / 0.7)
    second = LSTM.from_state_dict(above, backend=backend).record(scaled, h0[2:], C0[2:])  # type: ignore[arg-type]
    np.testing.assert_allclose(tape.Y, second.Y, rtol=0, atol=1e-15)
    dY = np.cos(np.arange(tape.Y.size)).reshape(tape.Y.shape)
    g, last = tape.backward(dY), second.backward(dY)
    assert last.X is not None
    assert_same_gradients(
        g,
        {
            **first.backward(last.X * kept[0] / 0.7),
            **{name.replace("_l0", "_l1"): array for name, array in last.items()},
            **{name: getattr(g, name) for name in ("X", "h0", "C0")},
        },
    )


@pytest.mark.parametrize("backend", BACKENDS)
def test_h_is_dropped_on_its_way_to_the_next_step(backend: str) -> None:
    """The same features at every step, those of h0 too; C and the outputs keep theirs."""
    net = make(backend)
    X, h0, C0 = call_of(net)
    factors = masks_of(net, 5, recurrent_dropout=0.25).recurrent
    assert factors is not None
    assert (factors == 0).any()
    tape = net.record(X, h0, C0, recurrent_dropout=0.25, rng=5)
    h, C = h0[0], C0[0]
    for t in range(TIME):
        h, C = net.forward(X[:, t], h * factors[0], C)
        assert_same_bits(tape.Y[:, t], h) if backend == "native" else np.testing.assert_allclose(
            tape.Y[:, t], h, rtol=0, atol=1e-15
        )
    np.testing.assert_array_equal(tape.h_n[0], tape.Y[:, -1])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("seed", range(4))
def test_gradients_through_all_dropout(seed: int, backend: str) -> None:
    """Central differences of passes that drop the same: every array, in all elements at once."""
    rng = np.random.default_rng(seed)
    options: dict[str, Any] = [
        {"bidirectional": True, "num_layers": 3},
        {"proj_size": 3, "num_layers": 2, "reverse": True},
        {"peephole": True, "num_layers": 2, "clip": 0.6},
        {"bidirectional": True, "merge": "mul", "num_layers": 2},
    ][seed]
    net = make(backend, **options)
    X, h0, C0 = call_of(net)
    lengths = np.array([6, 2, 0, 5])
    X[1, 2:] = np.nan
    arrays = {**net.state_dict(), "X": X, "h0": h0, "C0": C0}
    call: dict[str, Any] = {"lengths": lengths, "rng": seed, **RATES}
    if seed == 3:
        call["mask"] = rng.integers(0, 3, (BATCH, TIME)) > 0

    def run(arrays: dict[str, np.ndarray]) -> Tape:
        net.load_state_dict({name: arrays[name] for name in net.state_dict()})
        return net.record(arrays["X"], arrays["h0"], arrays["C0"], **call)

    tape = run(arrays)
    results = (tape.Y, tape.h_n, tape.C_n)
    derivatives = [rng.standard_normal(values.shape) for values in results]
    for name, gradient in arrays_of(tape.backward(*derivatives)).items():
        direction = rng.choice([-1.0, 1.0], gradient.shape)
        sides = []
        for step in (STEP, -STEP):
            moved = run({**arrays, name: arrays[name] + step * direction})
            results = (moved.Y, moved.h_n, moved.C_n)
            sides.append(sum(np.vdot(d, values) for d, values in zip(derivatives, results, strict=True)))
        numeric, exact = (sides[0] - sides[1]) / (2 * STEP), np.vdot(gradient, direction)
        assert abs(numeric - exact) <= DIFFERENCE_TOLERANCE * max(1.0, np.abs(gradient).max()), name
        assert gradient.any(), name


def test_dropping_everything() -> None:
    """At rates of 1: X, h and the layer below are as if they were zero, and nothing is NaN."""
    net = make(num_layers=2)
    X, h0, C0 = call_of(net)
    zeros = net.record(np.zeros_like(X), h0, C0)
    assert_same_bits(net.record(X, h0, C0, input_dropout=1).Y, zeros.Y)
    state = net.state_dict()
    blind = make(num_layers=2)
    blind.load_state_dict({n: np.zeros_like(a) if n == "weight_ih_l1" else a for n, a in state.items()})
    np.testing.assert_allclose(net.record(X, h0, C0, dropout=1).Y, blind.record(X, h0, C0).Y, atol=1e-15)
    blind.load_state_dict({n: np.zeros_like(a) if "weight_hh" in n else a for n, a in state.items()})
    tape = net.record(X, h0, C0, recurrent_dropout=1)
    np.testing.assert_allclose(tape.Y, blind.record(X, h0, C0).Y, atol=1e-15)
    g = tape.backward(dY=tape.Y)
    assert not g["weight_hh_l0"].any()
    assert not g.h0.any()  # type: ignore[union-attr]
    assert g["weight_ih_l0"].any()


def test_seeds_and_tapes_written_over() -> None:
    net = make(num_layers=2)
    X, h0, C0 = call_of(net)
    first, again, other = (net.record(X, h0, C0, **RATES, rng=seed) for seed in (1, 1, 2))
    assert_same_bits(first.Y, again.Y)
    assert np.any(first.Y != other.Y)
    source = np.random.default_rng(1)
    assert_same_bits(net.record(X, h0, C0, **RATES, rng=source).Y, first.Y)
    assert np.any(net.record(X, h0, C0, **RATES, rng=source).Y != first.Y)
    assert np.any(net.record(X, h0, C0, **RATES).Y != net.record(X, h0, C0, **RATES).Y)
    net.record(X, h0, C0, **RATES, rng=1, out=other)
    assert_same_bits(other.Y, first.Y)
    assert_same_gradients(other.backward(dY=first.Y), first.backward(dY=first.Y))
    assert_same_bits(net.record(X, h0, C0, out=other).Y, net.forward_sequence(X, h0, C0))


@pytest.mark.parametrize("name", RATES)
@pytest.mark.parametrize(
    ("value", "error", "match"),
    [
        (-0.1, ValueError, "is -0.1, but must be a probability, from 0 to 1"),
        (1.5, ValueError, "is 1.5, but must be a probability"),
        (np.nan, ValueError, "is nan, but must be finite"),
        ("half", TypeError, "is 'half', but must be a number"),
        (True, TypeError, "is True, but must be a number"),
        (np.zeros(2), TypeError, r"is array\(\[0\., 0\.\]\), but must be a number"),
    ],
)
def test_wrong_rates(name: str, value: Any, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=f"^{name} {match}"):
        make(num_layers=2).record(np.ones((2, 3, INPUT)), **{name: value})


def test_dropout_between_layers_needs_two() -> None:
    with pytest.raises(ValueError, match=r"dropout is 0\.5, but lies between layers"):
        make().record(np.ones((2, 3, INPUT)), dropout=0.5)
    with pytest.raises(TypeError, match="rng is 'seed'"):
        make().record(np.ones((2, 3, INPUT)), rng="seed")


def test_what_keras_drops() -> None:
    """Keras's cell masks the same operands, with a mask a gate; with the same one for all it agrees."""
    os.environ.setdefault("KERAS_BACKEND", "torch")
    keras = pytest.importorskip("keras")
    if keras.backend.backend() != "torch":
        pytest.skip("needs Keras on PyTorch")
    net = make(dtype=np.float32)
    X, h0, C0 = (array.astype(np.float32) for array in call_of(net))
    layer = keras.layers.LSTM(HIDDEN, return_sequences=True, dropout=0.4, recurrent_dropout=0.25)
    layer.build((BATCH, TIME, INPUT))
    state = net.state_dict()
    layer.set_weights([state["weight_ih_l0"].T, state["weight_hh_l0"].T, state["bias_ih_l0"]])
    masks = masks_of(net, 5, input_dropout=0.4, recurrent_dropout=0.25)
    assert masks.recurrent is not None
    tensors = {name: keras.ops.convert_to_tensor(value) for name, value in (("h", h0[0]), ("C", C0[0]))}
    layer.cell.get_dropout_mask = lambda x: [keras.ops.convert_to_tensor(masks.input)] * 4
    layer.cell.get_recurrent_dropout_mask = lambda h: [keras.ops.convert_to_tensor(masks.recurrent[0])] * 4
    expected = layer(
        keras.ops.convert_to_tensor(X), initial_state=[tensors["h"], tensors["C"]], training=True
    )
    tape = net.record(X, h0, C0, input_dropout=0.4, recurrent_dropout=0.25, rng=5)
    np.testing.assert_allclose(tape.Y, expected.detach().numpy(), rtol=0, atol=1e-6)
