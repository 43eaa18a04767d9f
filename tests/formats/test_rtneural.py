"""RTNeural's .json files: nets of the right values, and what is no one net.

Shapes: B batch, T time, I input, H hidden.
"""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rtneural_models import dense, lstm_layer, model, other_layer
from support import assert_same_bits

import lstm
from lstm import LSTM, FormatError
from lstm.formats import format_of
from lstm.formats.listing import picks
from lstm.formats.rtneural import bounded_json

X = np.random.default_rng(0).standard_normal((2, 7, 3)).astype(np.float32)


def net_of(seed: int = 0, inputs: int = 3, **options: Any) -> LSTM:
    return LSTM(inputs, 5, **{"dtype": np.float32, "init": "pytorch", "rng": seed, **options})


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """A file of a JSON value, or of a text."""

    def written(value: Any, indent: int | None = 4) -> Path:
        path = tmp_path / "model.json"
        path.write_text(value if isinstance(value, str) else json.dumps(value, indent=indent), "utf-8")
        return path

    return written


def by_hand(layers: list[list[Any]], X: np.ndarray) -> np.ndarray:
    """(B, T, I) -> (B, T, H) by the equations, from the lists in the file: gates i, f, c, o in columns."""

    def sigmoid(z: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-z))

    Y = X.astype(np.float64)
    for lists in layers:
        kernel, recurrent, bias = (np.array(one) for one in lists)
        H = len(recurrent)
        h, C, steps = np.zeros((len(Y), H)), np.zeros((len(Y), H)), []
        for x in Y.transpose(1, 0, 2):
            i, f, c, o = np.split(x @ kernel + h @ recurrent + bias, 4, axis=1)
            C = sigmoid(f) * C + sigmoid(i) * np.tanh(c)
            h = sigmoid(o) * np.tanh(C)
            steps.append(h)
        Y = np.stack(steps, axis=1)
    return Y


@pytest.mark.parametrize("indent", [None, 4])
def test_values_are_those_of_the_equations(indent: int | None, write: Callable[..., Path]) -> None:
    """Of two layers with a dropout, which RTNeural passes over, and other layers around them."""
    net = net_of(num_layers=2)
    layers = [lstm_layer(net), other_layer("unknown"), lstm_layer(net, 1), dense()]
    path = write(model(*layers), indent)
    found = lstm.load(path)
    assert repr(found) == "LSTM(3, 5, num_layers=2, dtype=float32)"
    lists = [layers[0]["weights"], layers[2]["weights"]]
    assert np.abs(found.forward_sequence(X) - by_hand(lists, X)).max() < 2e-6
    for name, array in net.state_dict().items():
        assert_same_bits(found.state_dict()[name], array, name)


def test_numbers_of_float64_make_a_net_of_it(write: Callable[..., Path]) -> None:
    net = net_of(dtype=np.float64)
    found = lstm.load(write(model(lstm_layer(net))))
    assert found.dtype == np.float64
    assert_same_bits(found.forward_sequence(X), net.forward_sequence(X))


def test_layers_without_biases_and_shapes(write: Callable[..., Path]) -> None:
    net = net_of(bias=False)
    layer = lstm_layer(net)
    del layer["shape"]
    found = lstm.load(write({"layers": [layer]}))
    assert_same_bits(found.forward_sequence(X), net.forward_sequence(X))
    layer["activation"] = ""  # of Keras's default, too
    assert lstm.load(write("\ufeff" + json.dumps({"layers": [layer]}))).hidden_size == 5


def test_one_unit_and_one_feature(write: Callable[..., Path]) -> None:
    net = LSTM(1, 1, dtype=np.float32, rng=3)
    found = lstm.load(write(model(lstm_layer(net), inputs=1)))
    assert_same_bits(found.forward_sequence(X[:, :, :1]), net.forward_sequence(X[:, :, :1]))


# Which layers are one net


def gru() -> dict[str, Any]:
    return other_layer("gru", (5, 15), (5, 15), (2, 15))


REFUSED: list[tuple[list[dict[str, Any]], str]] = [
    ([lstm_layer(net_of()), dense(), lstm_layer(net_of(inputs=1))], "'dense' is between them"),
    ([lstm_layer(net_of()), lstm_layer(LSTM(5, 4, rng=0))], "they differ in units"),
    (
        [lstm_layer(net_of()), other_layer("activation", activation="relu"), lstm_layer(net_of(inputs=5))],
        "'activation' is between them",
    ),
    ([lstm_layer(net_of()), gru()], "layer 1 is a GRU"),
    ([lstm_layer(net_of()), other_layer("unknown", (5, 5))], "layer 1 is 'unknown', which may be recurrent"),
]


@pytest.mark.parametrize(("layers", "why"), REFUSED, ids=lambda one: one if isinstance(one, str) else "")
def test_what_is_no_one_net(layers: list[Any], why: str, write: Callable[..., Path]) -> None:
    """It raises with the reason and the choices, and each can be picked."""
    path = write(model(*layers))
    with pytest.raises(FormatError, match=rf"{why}; pick .* by layer=: there are 0 \(layer 0 of the file\)"):
        lstm.load(path)
    found = lstm.load(path, layer=0)
    assert_same_bits(found.forward_sequence(X), net_of().forward_sequence(X))
    last = sum(one["type"] == "lstm" for one in layers) - 1
    assert (
        lstm.load(path, layer=-1).hidden_size
        == layers[2 * last if last and len(layers) == 3 else last]["shape"][2]
    )
    with pytest.raises(FormatError, match=f"no LSTM layer of number {last + 1}; there are 0"):
        lstm.load(path, layer=last + 1)


def test_picks_by_name(write: Callable[..., Path]) -> None:
    layers = [lstm_layer(net_of(), name="lower"), dense(), lstm_layer(net_of(1, 1), name="upper"), dense()]
    path = write(model(*layers))
    assert [pick.value for pick in picks(path)] == [None, "lower", "upper"]
    assert_same_bits(lstm.load(path, layer="upper").Wf, net_of(1, 1).Wf)
    with pytest.raises(FormatError, match=r"has 0 LSTM layers 'other'; there are 0 \('lower', layer 0 of"):
        lstm.load(path, layer="other")
    with pytest.raises(TypeError, match="layer is True"):
        lstm.load(path, layer=True)
    for layer in layers:
        layer.pop("name", None)
    assert [pick.value for pick in picks(write(model(*layers)))] == [None, 0, 1]


def test_notes_and_tensors(write: Callable[..., Path]) -> None:
    """What is left out is said, and is there."""
    layers = [
        other_layer("conv1d", (3, 2, 4), (4,)),
        lstm_layer(net_of(inputs=4)),
        other_layer("unknown"),
        dense(),
    ]
    path = write(model(*layers))
    assert lstm.load(path).input_size == 4
    assert format_of(path).notes(path) == ["other layers are left out: conv1d (layer 0), dense (layer 3)"]
    found = lstm.tensors(path)
    shapes = {name: array.shape for name, array in found.items()}
    assert shapes == {
        **{"0.conv1d.0": (3, 2, 4), "0.conv1d.1": (4,), "1.lstm.0": (4, 20), "1.lstm.1": (5, 20)},
        **{"1.lstm.2": (20,), "3.dense.0": (5, 1), "3.dense.1": (1,)},
    }
    assert_same_bits(found["0.conv1d.0"], np.array(layers[0]["weights"][0], np.float32))
    path = write(model(lstm_layer(net_of())))
    assert format_of(path).notes(path) == []


# PyTorch's


@pytest.mark.parametrize("inner", [True, False])
def test_state_dicts_of_pytorch(inner: bool, write: Callable[..., Path]) -> None:
    """As RTNeural loads them for a model in code, at the top or in an entry."""
    net = net_of(num_layers=2)
    state = {f"rec.{name}": array.tolist() for name, array in net.state_dict().items()}
    state["lin.weight"] = [[0.5] * 5]
    path = write({"model_data": {"hidden_size": 5}, "state_dict": state} if inner else state)
    assert_same_bits(lstm.load(path).forward_sequence(X), net.forward_sequence(X))
    assert lstm.tensors(path)["lin.weight"].shape == (1, 5)
    state |= {name.replace("rec.", "other."): array for name, array in state.items()}
    path = write(state)
    with pytest.raises(FormatError, match="has 2 LSTMs, pick one by layer=: 'rec', 'other'"):
        lstm.load(path)
    for layer in ("other", 1, -1):
        assert_same_bits(lstm.load(path, layer=layer).forward_sequence(X), net.forward_sequence(X))
    with pytest.raises(FormatError, match="no LSTM has the prefix 'third'"):
        lstm.load(path, layer="third")
    assert [pick.value for pick in picks(path)] == [None, "rec", "other"]


# What is not read


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"activation": "relu"}, "the activation 'relu', but RTNeural's have tanh alone"),
        ({"weights": []}, "has 0 weights, but an LSTM has"),
        (
            {"weights": [[[1.0] * 20] * 3, [[1.0] * 20] * 4, [1.0] * 20]},
            "'shape' ends in 5, but the weights are of 4",
        ),
        (
            {"weights": [[[1.0] * 20] * 2, [[1.0] * 20] * 5, [1.0] * 20]},
            "'in_shape' ends in 3, but the weights are of 2",
        ),
        (
            {"weights": [[[1.0] * 19] * 3, [[1.0] * 20] * 5, [1.0] * 20]},
            r"kernel has shape \(3, 19\), but must have",
        ),
        (
            {"weights": [[[1.0] * 20] * 3, [[1.0] * 20] * 5, [1.0] * 19]},
            r"bias has shape \(19,\), but must have",
        ),
        (
            {"weights": [[[1.0] * 20] * 2 + [[1.0]], [[1.0] * 20] * 5, [1.0]]},
            "lists of 20 and of 1 numbers in one",
        ),
        ({"weights": [[1.0], [[1.0] * 20] * 5, [1.0] * 20]}, "'in_shape' ends in 3"),
        ({"weights": {"a": 1}}, "'weights' is no list"),
        ({"type": None}, "layer 0 is no object with a 'type'"),
    ],
    ids=str,
)
def test_layers_that_are_damaged(change: dict[str, Any], why: str, write: Callable[..., Path]) -> None:
    path = write(model(lstm_layer(net_of(), **change)))
    with pytest.raises(FormatError, match=why) as caught:
        lstm.load(path)
    assert str(path) in str(caught.value)


def test_files_of_something_else(write: Callable[..., Path]) -> None:
    for value in ({}, [], 1, None, "text", {"a": [1.0]}, {"state_dict": 1}):
        with pytest.raises(
            FormatError, match="is no model of RTNeural: it has neither 'layers' nor a state dict"
        ):
            lstm.load(write(json.dumps(value)))
    with pytest.raises(FormatError, match="has no LSTM layer; its layers are 'dense', 'gru'"):
        lstm.load(write(model(dense(), gru())))
    with pytest.raises(FormatError, match="has no LSTM layer; its layers are none"):
        lstm.load(write({"layers": []}))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 10**400])
def test_numbers_that_are_not_finite(value: float, write: Callable[..., Path]) -> None:
    layer = lstm_layer(net_of())
    layer["weights"][2][7] = value
    with pytest.raises(FormatError, match=r"is no JSON|is not finite"):
        lstm.load(write(model(layer)))


def test_memory_is_bounded_by_the_size_of_the_file(write: Callable[..., Path]) -> None:
    """Of short numbers, whose objects would take ten times their text, and of lists of nothing."""

    def peak(path: Path) -> int:
        tracemalloc.start()
        try:
            with pytest.raises(FormatError):
                lstm.load(path)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    for text in (
        '{"layers": [' + "[]," * 150_000 + "[]]}",
        '{"layers": [' + '"",' * 150_000 + '""]}',
        '{"layers": ' + "[" * 400_000,
        '{"layers": "' + "\\" * 1_000_000,
        '{"layers": [{"type": "dense", "weights": [' + "[0.0]," * 100_000 + "[0.0]]}]}",
        '{"layers": [{"type": "lstm", "weights": [[[' + "0," * 450_000 + "0]],[[0]]]}]}",
    ):
        path = write(text)
        assert peak(path) < 2 * path.stat().st_size + (8 << 20)


def test_a_large_file_is_read(tmp_path: Path) -> None:
    net = LSTM(16, 200, dtype=np.float32, init="pytorch", rng=0)
    path = tmp_path / "large.json"
    path.write_text(json.dumps(model(lstm_layer(net), inputs=16), indent=4))
    assert path.stat().st_size > 8 * bounded_json.LONGEST_REST
    assert_same_bits(lstm.load(path).Wf, net.Wf)
