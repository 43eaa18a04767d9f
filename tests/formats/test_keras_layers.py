"""Layers of Keras models described by hand: which are one net, what can be computed, what is refused."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from keras_models import (
    B_,
    A,
    H,
    I,
    StandIn,
    archive_of,
    cell,
    functional,
    loaded,
    lstm_layer,
    other,
    sequential,
    tensor,
    write_model,
    x,
)
from support import assert_same_bits

import lstm
from lstm import LSTM, FormatError

h5py = pytest.importorskip("h5py")


def test_layers_that_are_one_net(tmp_path: Path) -> None:
    """Dropout between them is nothing at inference; a bias that one layer lacks is zero."""
    a, b, c = lstm_layer("a"), lstm_layer("b", use_bias=False), lstm_layer("c", return_sequences=False)
    dropout, noise = other("Dropout", "d"), other("GaussianNoise", "g")
    model = sequential(other("Embedding", "e"), x, a, dropout, noise, b, c, other("Dense", "z"))
    for net in (LSTM.from_keras(StandIn(model)), loaded(tmp_path, model)):
        assert repr(net) == "LSTM(3, 4, num_layers=3, dtype=float32)"
        state = net.state_dict()
        assert not state["bias_ih_l1"].any()
        assert state["bias_ih_l0"].all()
        assert state["bias_ih_l2"].all()
    edges = {"a": [tensor("x")], "d": [tensor("a")], "c": [tensor("d")]}
    for outputs in ([["c", 0, 0]], ["c", 0, 0]):
        assert LSTM.from_keras(StandIn(functional(edges, outputs, x, a, dropout, c))).num_layers == 2
    legacy = functional({}, ["b", 0, 0], x, a, b)
    for layer, source in zip(legacy["config"]["layers"], (None, "x", "a"), strict=True):
        layer["inbound_nodes"] = [[[source, 0, 0, {}]]] if source else []
    assert LSTM.from_keras(StandIn(legacy)).num_layers == 2


def test_layers_in_any_order() -> None:
    """The order is that of the graph, not that of the list."""
    edges = {"a": [tensor("x")], "c": [tensor("a")]}
    a, c = lstm_layer("a"), lstm_layer("c")
    model = StandIn(functional(edges, ["c", 0, 0], x, c, a))
    model.layers[1:] = [StandIn(c, H), StandIn(a, I)]
    net = LSTM.from_keras(model)
    assert_same_bits(net.state_dict()["weight_ih_l0"], model.layers[2].get_weights()[0].T.copy())


CHAIN = {"a": [tensor("x")], "b": [tensor("a")]}
NO_NET: dict[str, tuple[dict[str, Any], str]] = {
    "other units": (sequential(x, A, lstm_layer("b", 5)), "they have 4 and 5 units"),
    "other activations": (sequential(x, A, lstm_layer("b", activation="relu")), "activations"),
    "one direction, then two": (
        sequential(x, A, other("Bidirectional", "b", layer=lstm_layer("i"))),
        "they have 1 and 2 directions",
    ),
    "dense between": (sequential(x, A, other("Dense", "d"), B_), "they do not feed one another alone"),
    "masking between": (sequential(x, A, other("Masking", "d"), B_), "they do not feed one another alone"),
    "first backwards": (sequential(x, lstm_layer("a", go_backwards=True), B_), "'a' has go_backwards"),
    "last backwards": (sequential(x, A, lstm_layer("b", go_backwards=True)), "'b' has go_backwards"),
    "no sequences": (
        sequential(x, lstm_layer("a", return_sequences=False), B_),
        "'a' has no return_sequences",
    ),
    "side by side": (
        functional({"a": [tensor("x")], "b": [tensor("x")]}, [["a", 0, 0], ["b", 0, 0]], x, A, B_),
        "they do not feed one another alone",
    ),
    "the first is an output": (
        functional(CHAIN, [["a", 0, 0], ["b", 0, 0]], x, A, B_),
        "feed one another alone",
    ),
    "the first is used elsewhere": (
        functional({**CHAIN, "z": [tensor("a")]}, ["b", 0, 0], x, A, B_, other("Dense", "z")),
        "feed one another alone",
    ),
    "a state is used": (
        functional({**CHAIN, "b": [tensor("a", 1)]}, ["b", 0, 0], x, A, B_),
        "feed one another",
    ),
    "states are handed on": (
        functional({**CHAIN, "b": [{"s": [tensor("a"), tensor("a", 1)]}]}, ["b", 0, 0], x, A, B_),
        "feed one another alone",
    ),
    "states come from elsewhere": (
        functional({**CHAIN, "b": [[tensor("a"), tensor("s"), tensor("s")]]}, ["b", 0, 0], x, A, B_),
        "feed one another alone",
    ),
    "called twice": (
        functional({**CHAIN, "b": [tensor("a"), tensor("x")]}, ["b", 0, 0], x, A, B_),
        "feed one another alone",
    ),
    "in a circle": (
        functional({"a": [tensor("b")], "b": [tensor("a")]}, ["c", 0, 0], x, A, B_),
        "feed one another alone",
    ),
    "cells of other units": (
        sequential(
            x,
            other(
                "RNN",
                "a",
                cell=other("StackedRNNCells", "s", cells=[cell(name="lstm_cell"), cell(5, name="top")]),
            ),
        ),
        r"a.*'a/lstm_cell' \(input_size=3, hidden_size=4\), 'a/top' \(input_size=4, hidden_size=5\)",
    ),
}


@pytest.mark.parametrize("case", NO_NET)
def test_layers_that_are_no_one_net(case: str) -> None:
    """The error lists them by name and sizes, and they can be had one by one."""
    described, message = NO_NET[case]
    model = StandIn(described)
    if case == "cells of other units":
        assert LSTM.from_keras(model, "a/top").input_size == H
    else:
        message += r".*pick one by layer=: 'a' \(input_size=3, hidden_size=4.*'b' \(input_size="
        assert LSTM.from_keras(model, "a").input_size == I
        assert LSTM.from_keras(model, -1).num_layers == 1
    with pytest.raises(ValueError, match=message):
        LSTM.from_keras(model)


def test_picking(tmp_path: Path) -> None:
    model = sequential(x, A, other("Dense", "d"), B_, lstm_layer("b"))
    source = StandIn(model)
    with pytest.raises(ValueError, match=r"there are 0 LSTM layers 'c'; there are 'a' \(input_size=3, hid"):
        LSTM.from_keras(source, "c")
    with pytest.raises(ValueError, match="there are 2 LSTM layers 'b'"):
        LSTM.from_keras(source, "b")
    for number in (3, -4):
        with pytest.raises(ValueError, match=f"no LSTM layer of number {number}; there are 'a'"):
            LSTM.from_keras(source, number)
    assert LSTM.from_keras(source, 2).input_size == H
    with pytest.raises(FormatError, match=r"model\.keras: there are 0 LSTM layers 'c'; there are 'a'"):
        loaded(tmp_path, model, layer="c")
    assert loaded(tmp_path, model, layer=2).input_size == H


def test_the_shapes_must_fit_the_description(tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    write_model(path, sequential(x, A, lstm_layer("b", 5)))
    with zipfile.ZipFile(path) as archive:
        weights = archive.read("model.weights.h5")
    archive_of(path, {"config.json": json.dumps(sequential(x, A, B_)).encode(), "model.weights.h5": weights})
    message = (
        r"kernel \('layers/lstm_1/cell/vars/0'\) has shape \(4, 20\), but must have \(4, 16\) for units=4"
    )
    for layer in (None, "b"):
        with pytest.raises(FormatError, match=message):
            lstm.load(path, layer=layer)


UNSUITABLE: dict[str, tuple[dict[str, Any], str]] = {
    "merge mode": (other("Bidirectional", "a", merge_mode="max", layer=A), "'a' has merge_mode 'max'"),
    "a list of merges": (other("Bidirectional", "a", merge_mode=["sum"], layer=A), "has merge_mode"),
    "two units": (
        other("Bidirectional", "a", layer=A, backward_layer=lstm_layer("c", 5, go_backwards=True)),
        "'a' has directions of 4 and 5 units",
    ),
    "turned round": (
        other("Bidirectional", "a", layer=lstm_layer("f", go_backwards=True), backward_layer=A),
        "'a' has a forward layer that goes backwards",
    ),
    "both forward": (
        other("Bidirectional", "a", layer=A, backward_layer=A),
        "forward layer that goes backwards",
    ),
    "a GRU backward": (
        other("Bidirectional", "a", layer=A, backward_layer=other("GRU", "g", units=4)),
        "'a' has a backward_layer that is no LSTM",
    ),
    "stacked cells both ways": (
        other(
            "Bidirectional",
            "a",
            layer=other("RNN", "r", cell=other("StackedRNNCells", "s", cells=[cell(), cell()])),
        ),
        "'a' has stacked cells in each direction",
    ),
    "mixed cells": (
        other("RNN", "a", cell=other("StackedRNNCells", "s", cells=[cell(), other("GRUCell", "g", units=4)])),
        "'a' has cells of LSTMCell, GRUCell",
    ),
    "gelu": (lstm_layer(activation="gelu"), "'a' has the activation 'gelu', but must have one of elu"),
    "hard_tanh": (lstm_layer(recurrent_activation="hard_tanh"), "'a' has the activation 'hard_tanh'"),
    "a function": (
        lstm_layer(activation={"module": "builtins", "class_name": "function", "config": "mine"}),
        "'a' has the activation 'mine'",
    ),
    "a lambda": (
        lstm_layer(activation={"class_name": "__lambda__", "config": {}}),
        "activation '__lambda__'",
    ),
    "a bounded ReLU": (lstm_layer(activation=other("ReLU", "r", max_value=6.0)), "activation 'ReLU'"),
    "a ReLU with both": (
        lstm_layer(activation=other("ReLU", "r", negative_slope=0.1, threshold=1.0)),
        "activation 'ReLU'",
    ),
    "an infinite slope": (
        lstm_layer(activation=other("LeakyReLU", "r", negative_slope=float("inf"))),
        "negative_slope inf, but it must be a finite number",
    ),
    "a huge slope": (
        lstm_layer(activation=other("LeakyReLU", "r", negative_slope=10**400)),
        "must be a finite number",
    ),
    "a slope of text": (lstm_layer(activation=other("ELU", "r", alpha="1")), "alpha '1', but it must be"),
    "units of text": (lstm_layer(units="4"), "has units '4', but must have a positive integer"),  # type: ignore[arg-type]
    "no units": (lstm_layer(units=0), "has units 0"),
    "a flag of text": (lstm_layer(go_backwards="yes"), "has go_backwards 'yes', but must have True or False"),
    "an option unheard of": (
        lstm_layer(peepholes=True),
        "has the option peepholes=True, which is not supported",
    ),
    "an option of the cell": (other("RNN", "a", cell=cell(layer_norm=True)), "the option layer_norm=True"),
    "an option of the stack": (
        other("RNN", "a", cell=other("StackedRNNCells", "s", cells=[cell()], reverse_state_order=True)),
        "the option reverse_state_order=True",
    ),
}


@pytest.mark.parametrize("case", UNSUITABLE)
def test_what_cannot_be_computed(case: str) -> None:
    layer, message = UNSUITABLE[case]
    with pytest.raises(ValueError, match=message):
        LSTM.from_keras(StandIn(layer))
    # Beside another one it does not matter until it is the one that is picked.
    model = StandIn(sequential(x, lstm_layer("fine"), layer))
    assert LSTM.from_keras(model, "fine").hidden_size == H
    with pytest.raises(ValueError, match=message):
        LSTM.from_keras(model, "a")
    with pytest.raises(ValueError, match="pick one by layer="):
        LSTM.from_keras(model)


def test_options_without_effect_and_off() -> None:
    layer = lstm_layer(
        dropout=0.5,
        recurrent_dropout=0.5,
        stateful=True,
        unroll=True,
        time_major=False,
        novelty=None,
        other=False,
    )
    assert repr(LSTM.from_keras(StandIn(layer))) == "LSTM(3, 4, dtype=float32)"


FUNCTIONS: dict[str, tuple[Any, Any]] = {
    "None": (None, ("Affine", 1.0, 0.0)),
    "leaky_relu": ("leaky_relu", ("LeakyRelu", 0.2)),
    "LeakyReLU": (other("LeakyReLU", "r"), ("LeakyRelu", 0.3)),
    "LeakyReLU of Keras 2": (other("LeakyReLU", "r", alpha=0.1), ("LeakyRelu", 0.1)),
    "ReLU": (other("ReLU", "r"), "Relu"),
    "ReLU with a slope": (other("ReLU", "r", negative_slope=0.5), ("LeakyRelu", 0.5)),
    "ReLU with a threshold": (other("ReLU", "r", threshold=0.5), ("ThresholdedRelu", 0.5)),
    "Activation": (other("Activation", "r", activation="softsign"), "Softsign"),
}


@pytest.mark.parametrize("case", FUNCTIONS)
def test_activations(case: str) -> None:
    """recurrent_activation is that of the gates, activation that of candidate and output."""
    given, expected = FUNCTIONS[case]
    net = LSTM.from_keras(StandIn(lstm_layer(activation=given)))
    assert net.activations == ("Sigmoid", expected, expected)
    net = LSTM.from_keras(StandIn(lstm_layer(recurrent_activation=given)))
    assert net.activations == (expected, "Tanh", "Tanh")


def test_directions_of_different_activations() -> None:
    back = lstm_layer("c", go_backwards=True, activation="relu", use_bias=False)
    net = LSTM.from_keras(StandIn(other("Bidirectional", "a", layer=A, backward_layer=back)))
    assert net.activations == ("Sigmoid", "Tanh", "Tanh", "Sigmoid", "Relu", "Relu")
    assert not net.state_dict()["bias_ih_l0_reverse"].any()
    assert net.state_dict()["bias_ih_l0"].any()


def test_what_is_no_lstm_of_keras(tmp_path: Path) -> None:
    """A GRU, classes of the user's own, models without an LSTM."""
    for layer in (
        other("GRU", "a", units=4),
        {**A, "registered_name": "mine>LSTM"},
        {**A, "module": "mine.layers"},
        other("Bidirectional", "a", layer=other("GRU", "g", units=4)),
        other("Bidirectional", "a", layer=other("Bidirectional", "b", layer=A)),
        other("RNN", "a", cell=other("GRUCell", "g", units=4)),
    ):
        with pytest.raises(FormatError, match="there is no LSTM layer"):
            loaded(tmp_path, sequential(x, layer))
    for source in (None, 3, np.ones(3), {"units": 4}):
        with pytest.raises(TypeError, match="must be a Keras layer"):
            LSTM.from_keras(source)


def test_weights_that_are_not_there() -> None:
    layer = StandIn(A)
    layer._weights = []
    with pytest.raises(ValueError, match="'a' has no weights yet; build it"):
        LSTM.from_keras(layer)
    layer = StandIn(A)
    layer._weights.pop()
    with pytest.raises(ValueError, match="'a' has 2 weights for 1 LSTM cells"):
        LSTM.from_keras(layer)
    layer = StandIn(A)
    layer._weights[1] = layer._weights[1][:3]
    with pytest.raises(ValueError, match=r"recurrent_kernel has shape \(3, 16\), but must have \(4, 16\)"):
        LSTM.from_keras(layer)


def test_half_precision_weights_are_widened() -> None:
    layer = StandIn(A)
    layer._weights = [w.astype(np.float16) for w in layer._weights]
    net = LSTM.from_keras(layer)
    assert net.dtype == np.float32
    assert_same_bits(net.state_dict()["bias_ih_l0"], layer._weights[2].astype(np.float32))
    assert LSTM.from_keras(layer, dtype=np.float64).dtype == np.float64
