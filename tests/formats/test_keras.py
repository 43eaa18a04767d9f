"""Keras's layers, models and files: its outputs, stacks, what cannot be, hostile HDF5."""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import re
import subprocess
import sys
import textwrap
import time
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import DATA, ROOT, assert_close, assert_same_bits

import lstm
from lstm import LSTM, FormatError
from lstm.formats.keras import description, hdf5, hdf5_child

h5py = pytest.importorskip("h5py")

TOLERANCE = {np.dtype(np.float32): 2e-6, np.dtype(np.float64): 1e-12}
FOLDER = DATA / "keras"
H, I = 4, 3  # noqa: E741


def fixtures() -> dict[str, dict[str, np.ndarray]]:
    """Arrays of every recorded case by name."""
    cases: dict[str, dict[str, np.ndarray]] = {}
    for recorded in ("keras3.npz", "keras2.npz"):
        with np.load(FOLDER / recorded) as file:
            for key, array in file.items():
                case, name = key.split("/")
                cases.setdefault(case, {})[name] = array
    return cases


FIXTURES = fixtures()
HALF = FIXTURES.pop("bfloat16")
# A model's file, and the layer of it to pick where a case is one of several.
FILES = [
    (case, path.name, case.partition(" ")[2] or None)
    for case in FIXTURES
    for path in sorted(FOLDER.glob(f"{case.partition(' ')[0]}.*"))
    if not path.name.endswith(".weights.h5")
]


def assert_outputs(net: LSTM, case: dict[str, np.ndarray]) -> None:
    """Hold a net to what Keras gave, in its order of time."""
    Y, (h_n, C_n) = net.forward_sequence(case["X"], case["h0"], case["C0"], return_state=True)
    for name, found in (("Y", Y[:, ::-1] if net.reverse else Y), ("h_n", h_n), ("C_n", C_n)):
        assert_close(found, case[name], name, TOLERANCE)


def assert_same_net(net: LSTM, other: LSTM) -> None:
    assert repr(net) == repr(other)
    for name, array in net.state_dict().items():
        assert_same_bits(other.state_dict()[name], array, name)


# Files of Keras itself


def test_there_are_files_of_every_kind() -> None:
    assert {Path(name).suffix for _, name, _ in FILES} == {".keras", ".h5"}
    assert len(FILES) >= 20


@pytest.mark.parametrize(("case", "name", "layer"), FILES)
def test_recorded_models(case: str, name: str, layer: str | None) -> None:
    net = lstm.load(FOLDER / name, layer=layer)
    assert_outputs(net, FIXTURES[case])
    assert net.dtype == FIXTURES[case]["X"].dtype


def test_the_reference_backend() -> None:
    net = lstm.load(FOLDER / "bidirectional.keras", backend="numpy")
    assert net.backend == "numpy"
    assert_outputs(net, FIXTURES["bidirectional"])


def test_go_backwards_keeps_time_positions() -> None:
    """Keras's first output is that of the last step; ours stands at the last step."""
    case, net = FIXTURES["backwards"], lstm.load(FOLDER / "backwards.keras")
    assert (net.reverse, net.bias) == (True, False)
    Y = net.forward_sequence(case["X"], case["h0"], case["C0"])
    assert_close(Y[:, -1], case["Y"][:, 0], "last step", TOLERANCE)
    assert np.abs(Y - case["Y"]).max() > 0.1


def test_files_of_weights_alone() -> None:
    """A layer at a time, forward and of usual activations; a stack of cells in one layer is one net."""
    assert_outputs(lstm.load(FOLDER / "plain.weights.h5"), FIXTURES["plain"])
    whole = lstm.load(FOLDER / "bidirectional.keras").state_dict()
    for number, name in enumerate(("bidirectional", "bidirectional_1")):
        state = {
            key.replace(f"l{number}", "l0"): array for key, array in whole.items() if f"_l{number}" in key
        }
        for layer in (name, number, number - 2):
            net = lstm.load(FOLDER / "bidirectional.weights.h5", layer=layer)
            assert_same_net(net, LSTM.from_state_dict(state))
    with pytest.raises(
        FormatError, match=r"pick one by layer=: 'bidirectional' \(input_size=3, hidden_size=4, "
    ):
        lstm.load(FOLDER / "bidirectional.weights.h5")
    cells = lstm.load(FOLDER / "rnn_stack.weights.h5")
    assert repr(cells) == "LSTM(3, 4, num_layers=2, dtype=float32)"
    for key, array in lstm.load(FOLDER / "rnn_stack.keras").state_dict().items():
        assert_same_bits(cells.state_dict()[key], array, key)


def test_a_legacy_file_of_weights_alone() -> None:
    whole = lstm.load(FOLDER / "keras2_stacked.keras").state_dict()
    with pytest.raises(FormatError, match=r"'lstm_1' \(input_size=3, hidden_size=4\), 'lstm_2'"):
        lstm.load(FOLDER / "keras2_stacked_weights.h5")
    for number in range(2):
        state = {k.replace(f"l{number}", "l0"): a for k, a in whole.items() if k.endswith(f"_l{number}")}
        net = lstm.load(FOLDER / "keras2_stacked_weights.h5", layer=number)
        assert_same_net(net, LSTM.from_state_dict(state))


def test_legacy_files_of_layers_that_are_not_trained(tmp_path: Path) -> None:
    """Keras lists the weights of a direction that is trained before those of one that is not."""
    path = tmp_path / "m.h5"
    path.write_bytes((FOLDER / "bidirectional.h5").read_bytes())
    with h5py.File(path, "r+") as file:
        for group in file["model_weights"].values():
            names = list(group.attrs["weight_names"])
            if len(names) == 6:
                group.attrs["weight_names"] = names[3:] + names[:3]
    assert_same_net(lstm.load(path), lstm.load(FOLDER / "bidirectional.h5"))


def test_long_lists_of_weights_are_split(tmp_path: Path) -> None:
    """Keras splits a list of names that is too long for an attribute: weight_names0, weight_names1, ..."""
    path = tmp_path / "m.h5"
    path.write_bytes((FOLDER / "rnn_stack.h5").read_bytes())
    with h5py.File(path, "r+") as file:
        group = file["model_weights/rnn_1"] if "rnn_1" in file["model_weights"] else file["model_weights/rnn"]
        names = list(group.attrs["weight_names"])
        del group.attrs["weight_names"]
        for k, name in enumerate(names):
            group.attrs[f"weight_names{k}"] = [name]
    assert_same_net(lstm.load(path), lstm.load(FOLDER / "rnn_stack.h5"))


def test_a_legacy_file_of_weights_of_nested_models(tmp_path: Path) -> None:
    """All layers of a model in a model are in one group, whose names tell them apart."""
    rng = np.random.default_rng(0)
    arrays: dict[str, np.ndarray] = {}
    cells = {
        "lstm/lstm_cell": I,
        "sides/forward_a/lstm_cell": H,
        "sides/backward_a/lstm_cell": H,
        "stack/stacked_rnn_cells/lstm_cell": 2 * H,
        "stack/stacked_rnn_cells/lstm_cell_1": H,
        "old": I,  # before Keras 2.2 a layer had no cell of its own
    }
    for path, features in cells.items():
        for name, shape in (
            ("kernel", (features, 4 * H)),
            ("recurrent_kernel", (H, 4 * H)),
            ("bias", (4 * H,)),
        ):
            arrays[f"{path}/{name}:0"] = rng.uniform(-1, 1, shape).astype(np.float32)
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file.attrs["layer_names"] = ["inner"]
        for name, array in arrays.items():
            file[f"inner/{name}"] = array
        file["inner"].attrs["weight_names"] = list(arrays)
    for layer, kind, path in (
        ("lstm", "3, 4", "lstm/lstm_cell"),
        ("sides", "4, 4, bidirectional=True", "sides/forward_a/lstm_cell"),
        (2, "8, 4, num_layers=2", "stack/stacked_rnn_cells/lstm_cell"),
        ("old", "3, 4", "old"),
    ):
        net = lstm.load(tmp_path / "m.h5", layer=layer)
        assert repr(net) == f"LSTM({kind}, dtype=float32)"
        assert_same_bits(net.state_dict()["weight_ih_l0"], arrays[f"{path}/kernel:0"].T.copy())
    sides = lstm.load(tmp_path / "m.h5", layer="sides").state_dict()
    assert_same_bits(
        sides["weight_hh_l0_reverse"], arrays["sides/backward_a/lstm_cell/recurrent_kernel:0"].T.copy()
    )


def test_bfloat16_is_widened() -> None:
    net = lstm.load(FOLDER / "bfloat16.keras")
    assert net.dtype == np.float32
    state = net.state_dict()
    for key, array in (
        ("weight_ih_l0", HALF["0"].T),
        ("weight_hh_l0", HALF["1"].T),
        ("bias_ih_l0", HALF["2"]),
    ):
        assert_same_bits(state[key], np.ascontiguousarray(array), key)


def test_keras_2_has_another_hard_sigmoid() -> None:
    assert lstm.load(FOLDER / "keras2_stacked.keras").activations[0] == ("HardSigmoid", 0.2, 0.5)
    assert lstm.load(FOLDER / "hard_sigmoid.keras").activations[0] == ("HardSigmoid", 1 / 6, 0.5)


def test_there_and_back(tmp_path: Path) -> None:
    """A net of a Keras file, saved and loaded, is the same net."""
    net = lstm.load(FOLDER / "rnn_stack.h5")
    net.save(tmp_path / "net.npz")
    assert_same_net(lstm.load(tmp_path / "net.npz"), net)


def test_keras_is_not_imported() -> None:
    """Nor is h5py in this process: another one parses."""
    code = (
        "import sys, lstm; lstm.load(sys.argv[1]); "
        "assert not {'keras', 'h5py', 'torch', 'tensorflow', 'jax'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, FOLDER / "stacked.keras"], check=True, timeout=60)


def test_an_onnx_model_of_keras() -> None:
    """Keras's exporter writes one time step in single operations: the error says that there is no LSTM."""
    pytest.importorskip("onnx")
    path = DATA / "onnx" / "keras_export.onnx"
    with pytest.raises(FormatError, match="no LSTM node"):
        lstm.load(path)
    ort = pytest.importorskip("onnxruntime")
    with np.load(path.with_suffix(".npz")) as recorded:
        X, expected = recorded["X"], recorded["Y"]
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    (Y,) = session.run(None, {session.get_inputs()[0].name: X})
    assert (X.shape[1], Y.shape[1]) == (5, 1)
    assert_close(Y, expected[:, :1], "first step", TOLERANCE)


@pytest.mark.parametrize("ending", [".keras", ".h5", ".hdf5", ".weights.h5"])
def test_files_are_not_written(ending: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"must end in \.npz or \.safetensors or \.onnx to be written"):
        LSTM(3, 5).save(tmp_path / f"net{ending}")
    with pytest.raises(ValueError, match=r"must end in \.npz or \.safetensors or \.onnx to be written$"):
        LSTM(3, 5).save(tmp_path / "net.txt")
    assert not list(tmp_path.iterdir())


def test_the_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ImportError, match=r"lstm-native\[keras\]"):
        lstm.load(FOLDER / "plain.keras")


def test_arguments(tmp_path: Path) -> None:
    for wrong in (1.5, True, b"lstm"):
        with pytest.raises(TypeError, match="must be the name of a layer or its number"):
            lstm.load(FOLDER / "plain.keras", layer=wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="backend is 'gpu'") as caught:
        lstm.load(FOLDER / "plain.keras", backend="gpu")  # type: ignore[arg-type]
    assert caught.type is ValueError
    with pytest.raises(ValueError, match=r"takes prefix=.*, so layer= does not apply"):
        lstm.load(tmp_path / "net.npz", layer="a")
    with pytest.raises(ValueError, match="takes layer=, so prefix= does not apply"):
        lstm.load(FOLDER / "plain.keras", prefix="a")
    with pytest.raises(FileNotFoundError):
        lstm.load(tmp_path / "none.h5")
    with pytest.raises(TypeError, match="is a str, but must be a Keras layer"):
        LSTM.from_keras(str(FOLDER / "plain.keras"))


# Models described by hand. Live stand-ins for layers show that Keras itself is not needed either.


def lstm_layer(name: str = "a", units: int = H, **options: Any) -> dict[str, Any]:
    config = {"name": name, "units": units, "return_sequences": True, **options}
    return {"module": "keras.layers", "class_name": "LSTM", "config": config, "registered_name": None}


def cell(units: int = H, **options: Any) -> dict[str, Any]:
    return {"class_name": "LSTMCell", "config": {"units": units, **options}}


def other(kind: str, name: str, **config: Any) -> dict[str, Any]:
    return {"module": "keras.layers", "class_name": kind, "config": {"name": name, **config}}


def sequential(*layers: dict[str, Any]) -> dict[str, Any]:
    return other("Sequential", "model", layers=list(layers))


def tensor(name: str, number: int = 0) -> dict[str, Any]:
    return {"class_name": "__keras_tensor__", "config": {"keras_history": [name, 0, number]}}


def functional(edges: dict[str, list[Any]], outputs: list[Any], *layers: dict[str, Any]) -> dict[str, Any]:
    """A functional model: `edges` are the tensors that each layer is called with, by its name."""
    placed = []
    for layer in layers:
        name = layer["config"]["name"]
        nodes = [{"args": [given], "kwargs": {"mask": None}} for given in edges.get(name, [])]
        placed.append({**layer, "name": name, "inbound_nodes": nodes})
    return other("Functional", "model", layers=placed, input_layers=["x", 0, 0], output_layers=outputs)


def cells_of(layer: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Where a layer's cells are saved, and their configurations."""
    config = layer["config"]
    if layer["class_name"] == "Bidirectional":
        sides = {
            "forward_layer": config["layer"],
            "backward_layer": config.get("backward_layer", config["layer"]),
        }
        return [(f"/{side}{place}", c) for side, inner in sides.items() for place, c in cells_of(inner)]
    if layer["class_name"] == "RNN":
        inner = config["cell"]
        if inner["class_name"] != "StackedRNNCells":
            return [("/cell", inner["config"])]
        stack = inner["config"]["cells"]
        return [
            (f"/cell/cells/lstm_cell{f'_{k}' if k else ''}", one["config"]) for k, one in enumerate(stack)
        ]
    return [("/cell", config)] if layer["class_name"] == "LSTM" else []


def shapes_of(layer: dict[str, Any], features: int) -> list[tuple[str, list[tuple[int, ...]]]]:
    """Where the cells of a layer are saved, and the shapes of their weights; of units that are none, 1."""
    found = []
    width = features
    for place, config in cells_of(layer):
        units = config["units"] if isinstance(config["units"], int) else 1
        shapes = [(width, 4 * units), (units, 4 * units), (4 * units,)]
        found.append((place, shapes[: 2 + config.get("use_bias", True)]))
        width = units if "cells" in place else width
    return found


def width_of(layer: dict[str, Any], features: int) -> int:
    """Features of the outputs of a layer: a cell's units, or those of two directions."""
    units = [shapes[1][0] for _, shapes in shapes_of(layer, features)]
    return (2 if layer["class_name"] == "Bidirectional" else 1) * units[-1] if units else features


class StandIn:
    """What a live layer or model shows of itself."""

    def __new__(cls, described: dict[str, Any], features: int = I) -> Any:
        kind = type(described["class_name"], (cls,), {"__module__": "keras.src.layers"})
        return object.__new__(kind)

    def __init__(self, described: dict[str, Any], features: int = I) -> None:
        self._described = described
        self.name = described["config"]["name"]
        shapes = [shape for _, own in shapes_of(described, features) for shape in own]
        rng = np.random.default_rng(features)
        self._weights = [rng.uniform(-1, 1, shape).astype(np.float32) for shape in shapes]
        if "layers" in described["config"]:
            self.layers = []
            for layer in described["config"]["layers"]:
                self.layers.append(StandIn(layer, features))
                features = width_of(layer, features)

    def get_config(self) -> dict[str, Any]:
        return self._described["config"]  # type: ignore[no-any-return]

    def get_weights(self) -> list[np.ndarray]:
        return self._weights


def write_model(path: Path, model: dict[str, Any], version: str = "3.15.1") -> None:
    """A .keras file of a model with random weights, as Keras lays them out."""
    rng = np.random.default_rng(0)
    memory = io.BytesIO()
    with h5py.File(memory, "w") as file:
        features = I
        used: dict[str, int] = {}
        for layer in model["config"]["layers"]:
            kind = description.snake_case(layer["class_name"])
            used[kind] = used.get(kind, -1) + 1
            group = f"layers/{kind}" + (f"_{used[kind]}" if used[kind] else "")
            for place, shapes in shapes_of(layer, features):
                for k, shape in enumerate(shapes):
                    data = rng.uniform(-0.7, 0.7, shape).astype(np.float32)
                    file.create_dataset(f"{group}{place}/vars/{k}", data=data)
            features = width_of(layer, features)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": version}))
        archive.writestr("config.json", json.dumps(model))
        archive.writestr("model.weights.h5", memory.getvalue())


def loaded(path: Path, model: dict[str, Any], layer: Any = None, **options: Any) -> LSTM:
    write_model(path / "model.keras", model, **options)
    return lstm.load(path / "model.keras", layer=layer)


x = other("InputLayer", "x")


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


A, B_ = lstm_layer("a"), lstm_layer("b")
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
    "merge mode": (other("Bidirectional", "a", merge_mode="sum", layer=A), "'a' has merge_mode 'sum'"),
    "no merge": (other("Bidirectional", "a", merge_mode=None, layer=A), "'a' has merge_mode None"),
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


# Hostile files


def good(path: Path) -> Path:
    with h5py.File(path, "w") as file:
        rng = np.random.default_rng(0)
        for k, shape in enumerate(((I, 4 * H), (H, 4 * H), (4 * H,))):
            file.create_dataset(f"layers/lstm/cell/vars/{k}", data=rng.uniform(-1, 1, shape).astype("f4"))
    return path


KERNEL = "layers/lstm/cell/vars/0"


def replaced(file: Any, **options: Any) -> None:
    """The kernel written with other options."""
    data = file[KERNEL][...]
    del file[KERNEL]
    file.create_dataset(KERNEL, **{"data": data, **options})


def moved(file: Any, link: Any) -> None:
    del file[KERNEL]
    file[KERNEL] = link


def virtual(file: Any) -> None:
    layout = h5py.VirtualLayout((I, 4 * H), "f4")
    layout[...] = h5py.VirtualSource(".", "layers/lstm/cell/vars/1", (H, 4 * H))[:I]
    del file[KERNEL]
    file.create_virtual_dataset(KERNEL, layout)


def unwritten(file: Any, shape: tuple[int, ...], **options: Any) -> None:
    del file[KERNEL]
    file.create_dataset(KERNEL, shape, "f4", **options)


def deep(file: Any) -> None:
    file.create_group("/".join("a" * 60))


def crowded(file: Any) -> None:
    for k in range(hdf5_child.MOST_OBJECTS + 1):
        file["crowd"] if k else file.create_group("crowd")
        file["crowd"][str(k)] = file["layers"]


HOSTILE: dict[str, tuple[Callable[[Any], None], str]] = {
    "soft link": (lambda f: moved(f, h5py.SoftLink("/layers/lstm/cell/vars/1")), "soft or external link"),
    "external link": (lambda f: moved(f, h5py.ExternalLink("/etc/passwd", "/")), "soft or external link"),
    "hard link twice": (lambda f: moved(f, f["layers/lstm/cell/vars/1"]), "appears twice"),
    "circle of groups": (lambda f: f["layers"].__setitem__("again", f["/"]), "appears twice"),
    "external storage": (
        lambda f: replaced(f, data=None, shape=(I, 4 * H), dtype="f4", external=[("data.bin", 0, 192)]),
        "has its data elsewhere",
    ),
    "virtual": (virtual, "has its data elsewhere"),
    "lzf": (lambda f: replaced(f, compression="lzf"), "filtered by other than gzip"),
    "checksum": (lambda f: replaced(f, fletcher32=True), "filtered by other than gzip"),
    "scale and offset": (lambda f: replaced(f, scaleoffset=3), "filtered by other than gzip"),
    "integers": (lambda f: replaced(f, dtype="i4"), "does not hold floats"),
    "complex": (lambda f: replaced(f, data=np.zeros((I, 4 * H), "c8")), "does not hold floats"),
    "long double": (lambda f: replaced(f, dtype=np.longdouble), "does not hold floats"),
    "texts": (
        lambda f: replaced(f, data=None, shape=(I, 4 * H), dtype=h5py.string_dtype()),
        "does not hold floats",
    ),
    "lists": (
        lambda f: replaced(f, data=None, shape=(I, 4 * H), dtype=h5py.vlen_dtype("f4")),
        "not hold floats",
    ),
    "references": (
        lambda f: replaced(f, data=None, shape=(I, 4 * H), dtype=h5py.ref_dtype),
        "not hold floats",
    ),
    "two bytes": (lambda f: replaced(f, data=np.zeros((I, 4 * H), "V2")), "does not hold floats"),
    "nothing": (lambda f: replaced(f, data=h5py.Empty("f4")), "there is no LSTM layer"),
    "rank 3": (lambda f: replaced(f, data=np.zeros((I, 2, 8), "f4")), "there is no LSTM layer"),
    "other shape": (lambda f: replaced(f, data=np.zeros((I, 12), "f4")), "there is no LSTM layer"),
    "never written": (lambda f: unwritten(f, (I, 4 * H)), "which the file does not hold"),
    "terabytes": (lambda f: unwritten(f, (1 << 40, 4 * H)), "which the file does not hold"),
    "terabytes in chunks": (
        lambda f: unwritten(f, (1 << 40, 4 * H), chunks=(8, 8)),
        "which the file does not hold",
    ),
    "a chunk too large": (
        lambda f: replaced(f, chunks=(1 << 18, 16), maxshape=(None, 16), compression="gzip"),
        "does not hold",
    ),
    "a bomb": (
        lambda f: replaced(f, data=np.zeros((1 << 17, 16), "f4"), compression="gzip"),
        "does not hold",
    ),
    "deep": (deep, "more than 50 deep"),
    "crowded": (crowded, "more than 10000 entries"),
    "a name that is a number": (
        lambda f: f["layers"].attrs.__setitem__("name", 3),
        "no text and no list of texts",
    ),
    "a text too long": (
        lambda f: f.attrs.__setitem__("model_config", "{" + " " * (1 << 19)),
        "has over 524288 char",
    ),
    "no JSON": (lambda f: f.attrs.__setitem__("model_config", "{"), "is no JSON"),
    "no object": (lambda f: f.attrs.__setitem__("model_config", "[1]"), "is no JSON object"),
    "nested JSON": (lambda f: f.attrs.__setitem__("model_config", "[" * 100_000), "is no JSON"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_hdf5(case: str, tmp_path: Path) -> None:
    change, message = HOSTILE[case]
    path = good(tmp_path / "m.h5")
    with h5py.File(path, "r+") as file:
        change(file)
    start = time.perf_counter()
    with pytest.raises(FormatError, match=message) as caught:
        lstm.load(path)
    assert str(path) in str(caught.value)
    assert time.perf_counter() - start < 10  # of a busy machine; alone it takes about 0.3 s


def test_compressed_weights(tmp_path: Path) -> None:
    """gzip and shuffle, chunks of which each piece that is read has whole ones."""
    path = good(tmp_path / "m.h5")
    plain = lstm.load(path)
    with h5py.File(path, "r+") as file:
        replaced(file, compression="gzip", shuffle=True, chunks=(2, 5))
    assert_same_net(lstm.load(path), plain)


def test_pieces_of_large_weights(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    kernel = rng.standard_normal((3000, 400)).astype(np.float32)
    path = tmp_path / "m.h5"
    for options in ({}, {"chunks": (700, 130), "compression": "gzip"}, {"dtype": ">f8"}):
        with h5py.File(path, "w") as file:
            file.create_dataset(KERNEL, data=kernel, **options)
            file.create_dataset("layers/lstm/cell/vars/1", data=kernel[:100])
        state = lstm.load(path).state_dict()
        assert np.array_equal(state["weight_ih_l0"], kernel.T)
        assert np.array_equal(state["weight_hh_l0"], kernel[:100].T)
        assert "bias_ih_l0" not in state


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory(tmp_path: Path) -> None:
    """Twice the file and little more, at its peak: the weights as they are read, and packed."""
    path = tmp_path / "m.h5"
    with h5py.File(path, "w") as file:
        for k in range(2):
            file.create_dataset(f"layers/lstm/cell/vars/{k}", data=np.full((1024, 4096), k + 0.5, np.float32))
    code = """
import os, sys, lstm
def peak():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM"))
lstm.LSTM(3, 4)
before = peak()
lstm.load(sys.argv[1])
assert peak() - before < 2 * os.path.getsize(sys.argv[1]) + (16 << 20), peak() - before
"""
    subprocess.run([sys.executable, "-c", code, path], check=True, timeout=60)


def test_weights_that_are_damaged_or_lacking(tmp_path: Path) -> None:
    """In a file with a description, where each one is expected."""
    path = tmp_path / "model.keras"

    def changed(change: Callable[[Any], None]) -> None:
        write_model(path, sequential(x, A))
        with zipfile.ZipFile(path) as archive:
            memory = io.BytesIO(archive.read("model.weights.h5"))
        with h5py.File(memory, "r+") as file:
            change(file)
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("config.json", json.dumps(sequential(x, A)))
            archive.writestr("model.weights.h5", memory.getvalue())
        lstm.load(path)

    changed(lambda file: None)
    for change, message in (
        (lambda f: f.__delitem__(KERNEL), "'a' lacks its weights 'layers/lstm/cell/vars/0'"),
        (
            lambda f: f["layers/lstm/cell/vars"].__setitem__("3", np.ones(3)),
            "has use_bias=True, but more weights",
        ),
        (
            lambda f: replaced(f, data=np.zeros((I, 4, H), "f4")),
            r"has shape \(3, 4, 4\), but must have \(3, 16\)",
        ),
        (lambda f: replaced(f, data=np.zeros((0, 4 * H), "f4")), r"has shape \(0, 16\)"),
        (lambda f: replaced(f, dtype="i4"), "does not hold floats"),
        (lambda f: replaced(f, data=np.float32(1)), r"has shape \(\)"),
    ):
        with pytest.raises(FormatError, match=message):
            changed(change)


def archive_of(path: Path, entries: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path, "w", method) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, content in entries.items():
            archive.writestr(name.rstrip("+"), content)


def test_hostile_archives(tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(FOLDER / "plain.keras") as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    whole = (FOLDER / "plain.keras").read_bytes()
    archive_of(path, entries, zipfile.ZIP_DEFLATED)
    assert_outputs(lstm.load(path), FIXTURES["plain"])
    bomb = bytes(1 << 26)
    for content, message in (
        ({**entries, "config.json": b"{"}, "config.json is no JSON"),
        ({**entries, "config.json": b"[]"}, "config.json is no JSON object"),
        ({**entries, "config.json": b"\xff"}, "config.json is no JSON"),
        ({**entries, "config.json": b" " * (1 << 20)}, "has over 524288 bytes"),
        ({**entries, "metadata.json": b"{"}, "metadata.json is no JSON"),
        ({**entries, "model.weights.h5": bomb}, "claims 67108864 bytes"),
        ({**entries, "model.weights.h5": b"no HDF5"}, "damaged or no HDF5 file"),
        ({**entries, "model.weights.h5": b""}, "damaged or no HDF5 file"),
        ({**entries, "model.weights.h5+": b""}, "'model.weights.h5' appears twice"),
        ({"config.json": entries["config.json"]}, "lacks config.json or model.weights.h5"),
        ({**entries, "config.json": json.dumps(sequential(x, A)).encode()}, "lacks its weights|must have"),
    ):
        archive_of(path, content, zipfile.ZIP_DEFLATED)
        if message == "lacks its weights|must have":
            assert lstm.load(path).hidden_size == H  # the same layer under another name
            continue
        with pytest.raises(FormatError, match=message):
            lstm.load(path)
    archive_of(path, entries, zipfile.ZIP_BZIP2)
    with pytest.raises(FormatError, match="compressed by method 12, but must be deflated"):
        lstm.load(path)
    for length in (0, 10, len(whole) // 2, len(whole) - 5):
        path.write_bytes(whole[:length])
        with pytest.raises(FormatError, match=r"damaged or no \.keras file"):
            lstm.load(path)
    place = whole.index(entries["model.weights.h5"])
    path.write_bytes(whole[: place + 9000] + b"\xaa" + whole[place + 9001 :])
    with pytest.raises(FormatError, match="CRC"):
        lstm.load(path)


def test_nested_models_are_followed_so_far(tmp_path: Path) -> None:
    model = sequential(x, A)
    for _ in range(30):
        model = sequential(model)
    write_model(tmp_path / "m.keras", sequential(x, A))
    with zipfile.ZipFile(tmp_path / "m.keras") as archive:
        weights = archive.read("model.weights.h5")
    archive_of(tmp_path / "m.keras", {"config.json": json.dumps(model).encode(), "model.weights.h5": weights})
    with pytest.raises(FormatError, match="more than 20 deep"):
        lstm.load(tmp_path / "m.keras")


def test_no_config_of_layers(tmp_path: Path) -> None:
    """A model of a class of the user's own does not describe its layers."""
    with zipfile.ZipFile(FOLDER / "plain.keras") as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    entries["config.json"] = json.dumps({"module": None, "class_name": "Mine", "config": {}}).encode()
    archive_of(tmp_path / "m.keras", entries)
    with pytest.raises(FormatError, match="there is no LSTM layer"):
        lstm.load(tmp_path / "m.keras")


# The process that parses


@pytest.mark.parametrize(
    ("does", "message"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", "ended by signal 11"),
        ("signal.setitimer(signal.ITIMER_PROF, 0.1)\nwhile True: pass", "took too long"),
        ("time.sleep(60)", "took too long"),
        ("sys.stdout.buffer.write(bytes(8))", "is damaged"),
        ("sys.stdout.buffer.write(b'\\xff' * 8)", "too many entries"),
        ("answer({})", "is damaged"),
        ("answer([])", "is damaged"),
        ("answer({'datasets': {'a': 3}, 'attributes': {}})", "is damaged"),
        ("answer({'datasets': ALL, 'attributes': {}})\ntime.sleep(60)", "took too long"),
        ("answer({'datasets': ALL, 'attributes': {}})\nos._exit(0)", "ended by signal 0"),
        ("answer({'datasets': ALL, 'attributes': {}})\nsys.stdout.buffer.write(b'\\0')", "cannot be read"),
        ("answer({'datasets': HUGE, 'attributes': {}})\nsys.stdin.read()", "cannot be read"),
    ],
)
def test_whatever_the_parser_does(
    does: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash, a hang or a lie of libhdf5's process is a FormatError here."""
    code = f"""
import json, os, signal, sys, time
ALL = {{f"layers/lstm/cell/vars/{{k}}": [s, "<f4", None] for k, s in enumerate(([3, 16], [4, 16], [16]))}}
HUGE = {{**ALL, "layers/lstm/cell/vars/0": [[1 << 40, 16], "<f4", None]}}
def answer(value):
    text = json.dumps(value).encode()
    sys.stdout.buffer.write(len(text).to_bytes(8, "little") + text)
    sys.stdout.buffer.flush()
{textwrap.dedent(does)}
sys.stdout.buffer.flush()
time.sleep(1)
"""
    (tmp_path / "child.py").write_text(code)
    monkeypatch.setattr(hdf5, "CHILD", tmp_path / "child.py")
    monkeypatch.setattr(hdf5, "SECONDS", 1.0)
    with pytest.raises(FormatError, match=message):
        lstm.load(good(tmp_path / "m.h5"))


def test_the_process_is_bounded(tmp_path: Path) -> None:
    """Memory and CPU time of it: the limits hold in the very process."""
    code = """
import sys, lstm.formats.keras.hdf5_child as child
child.limit(1000)
if sys.argv[1] == "memory":
    try:
        bytes(64 << 20)
    except MemoryError:
        sys.exit(7)
while sys.argv[1] == "time":
    pass
if sys.argv[1] == "file":
    open(sys.argv[2], "wb", 0).write(b"a")
"""
    for what, expected in (("memory", 7), ("time", -27), ("file", -25)):
        found = subprocess.run(
            [sys.executable, "-c", code, what, tmp_path / "a"], timeout=60, stderr=subprocess.PIPE
        )
        assert found.returncode == expected or (what == "file" and found.returncode == 1), what


def test_no_process_and_no_file_is_left(tmp_path: Path) -> None:
    before = set(os.listdir("/proc/self/fd"))
    for _ in range(2):
        lstm.load(FOLDER / "plain.keras")
        with pytest.raises(FormatError):
            lstm.load(FOLDER / "bidirectional.weights.h5")
    assert set(os.listdir("/proc/self/fd")) == before
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_mutated_files(tmp_path: Path) -> None:
    """A net or a FormatError, whatever libhdf5 makes of it."""
    rng = random.Random(0)
    for k, name in enumerate(["plain.weights.h5", "plain.h5", "plain.keras"] * 5):
        content = bytearray((FOLDER / name).read_bytes())
        for _ in range(rng.choice([1, 4, 30])):
            content[rng.choice([rng.randrange(len(content)), rng.randrange(3000)])] = rng.randrange(256)
        path = tmp_path / f"{k}.{name}"
        path.write_bytes(content)
        with contextlib.suppress(FormatError):
            assert isinstance(lstm.load(path), LSTM)


# Keras itself, where it is installed


@pytest.fixture(scope="module")
def keras() -> Iterator[Any]:
    pytest.importorskip("torch")
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patch.setenv("KERAS_BACKEND", "torch")
        found = pytest.importorskip("keras")
        if found.backend.backend() != "torch":
            pytest.skip("Keras runs on another backend")
        found.utils.set_random_seed(0)
        yield found


def live_case(keras: Any, model: Any) -> tuple[np.ndarray, np.ndarray]:
    """X (B, T, I), and Keras's outputs for random weights."""
    rng = np.random.default_rng(5)
    X = rng.standard_normal((2, 6, I)).astype(np.float32)
    model(X)
    model.set_weights([rng.uniform(-0.7, 0.7, w.shape).astype(w.dtype) for w in model.get_weights()])
    return X, keras.ops.convert_to_numpy(model(X))


@pytest.mark.filterwarnings("ignore")
def test_live_layers(keras: Any) -> None:
    L = keras.layers
    many = {"return_sequences": True}
    for layer in (
        L.LSTM(H, **many),
        L.LSTM(H, use_bias=False, unit_forget_bias=False, dropout=0.5, recurrent_dropout=0.5, **many),
        L.LSTM(H, activation=L.LeakyReLU(negative_slope=0.1), recurrent_activation="hard_sigmoid", **many),
        L.LSTM(H, activation=keras.activations.softsign, go_backwards=True, **many),
        L.Bidirectional(L.LSTM(H, **many)),
        L.Bidirectional(
            L.LSTM(H, **many), backward_layer=L.LSTM(H, go_backwards=True, activation="relu", **many)
        ),
        L.Bidirectional(L.RNN(L.LSTMCell(H), **many)),
        L.RNN(L.LSTMCell(H, activation="elu"), **many),
        L.RNN([L.LSTMCell(H), L.LSTMCell(H)], **many),
        L.RNN(L.StackedRNNCells([L.LSTMCell(H), L.LSTMCell(H)]), go_backwards=True, **many),
    ):
        X, expected = live_case(keras, layer)
        net = LSTM.from_keras(layer)
        Y = net.forward_sequence(X)
        assert_close(Y[:, ::-1] if net.reverse else Y, expected, repr(net), TOLERANCE)


@pytest.mark.filterwarnings("ignore")
def test_live_bfloat16_is_widened(keras: Any) -> None:
    layer = keras.layers.LSTM(H, dtype="bfloat16", recurrent_initializer="glorot_uniform")
    layer.build((None, None, I))
    net = LSTM.from_keras(layer)
    assert net.dtype == np.float32
    kernel = np.asarray(layer.get_weights()[0].astype(np.float32))
    assert_same_bits(net.state_dict()["weight_ih_l0"], kernel.T.copy())


@pytest.mark.filterwarnings("ignore")
def test_live_masks_are_lengths(keras: Any) -> None:
    """The last states of padded rows; the second direction starts at the end of each."""
    L = keras.layers
    layer = L.Bidirectional(L.LSTM(H))
    X, _ = live_case(keras, layer)
    lengths = np.array([6, 4])
    mask = np.arange(6) < lengths[:, np.newaxis]
    expected = keras.ops.convert_to_numpy(layer(X, mask=keras.ops.convert_to_tensor(mask)))
    _, (h_n, _) = LSTM.from_keras(layer).forward_sequence(X, lengths=lengths, return_state=True)
    assert_close(np.concatenate(list(h_n), axis=-1), expected, "h_n", TOLERANCE)


@pytest.mark.filterwarnings("ignore")
def test_live_models(keras: Any, tmp_path: Path) -> None:
    """A stack, a model in a model, one of the user's own class; files of them give the same net."""
    L = keras.layers
    many = {"return_sequences": True}
    stack = keras.Sequential(
        [keras.Input((None, I)), L.LSTM(H, **many), L.Dropout(0.5), L.LSTM(H, name="top", **many)]
    )
    X, expected = live_case(keras, stack)
    assert_close(LSTM.from_keras(stack).forward_sequence(X), expected, "stack", TOLERANCE)
    given = keras.Input((None, I))
    between = L.LSTM(H, name="low", **many)(given)
    model = keras.Model(given, L.Dense(2)(L.LSTM(H, name="high", **many)(L.SpatialDropout1D(0.5)(between))))
    live_case(keras, model)
    net = LSTM.from_keras(model)
    assert net.num_layers == 2
    outer = keras.Model(given, keras.Sequential([model])(given))
    assert_same_net(LSTM.from_keras(outer), net)
    both = keras.Model(given, [between, model(given)])
    with pytest.raises(ValueError, match=r"'low' \(input_size=3, hidden_size=4\), 'high'"):
        LSTM.from_keras(both)
    for ending in (".keras", ".h5"):
        outer.save(tmp_path / f"m{ending}")
        assert_same_net(lstm.load(tmp_path / f"m{ending}"), net)
    for layer in ("low", "high", 0):
        assert_same_net(lstm.load(tmp_path / "m.keras", layer=layer), LSTM.from_keras(outer, layer))

    class Mine(keras.Model):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = L.LSTM(H, **many), L.LSTM(H + 1)

        def call(self, X: Any) -> Any:
            return self.second(self.first(X))

    mine = Mine()
    X, expected = live_case(keras, mine)
    with pytest.raises(ValueError, match="pick one by layer="):
        LSTM.from_keras(mine)
    parts = [LSTM.from_keras(mine, number) for number in (0, 1)]
    Y = parts[1].forward_sequence(parts[0].forward_sequence(X))
    assert_close(Y[:, -1], expected, "own class", TOLERANCE)


@pytest.mark.filterwarnings("ignore")
def test_live_refusals(keras: Any) -> None:
    L = keras.layers
    with pytest.raises(ValueError, match="has no weights yet"):
        LSTM.from_keras(L.LSTM(H))

    class Mine(L.LSTM):  # type: ignore[misc]
        pass

    mine = Mine(H)
    mine.build((None, None, I))
    with pytest.raises(ValueError, match="there is no LSTM layer"):
        LSTM.from_keras(mine)
    for layer, message in (
        (L.Bidirectional(L.LSTM(H), merge_mode="ave"), "has merge_mode 'ave'"),
        (L.LSTM(H, activation="gelu"), "has the activation 'gelu'"),
        (L.LSTM(H, activation=lambda x: x), "has the activation"),
    ):
        layer.build((None, None, I))
        with pytest.raises(ValueError, match=message):
            LSTM.from_keras(layer)


@pytest.mark.skipif(not (ROOT / "docs").exists(), reason="needs the source tree")
@pytest.mark.filterwarnings("ignore")
def test_the_page_runs(keras: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    blocks = re.findall(
        r"```python\n(.*?)```", (ROOT / "docs" / "from-keras.md").read_text("utf-8"), re.DOTALL
    )
    assert len(blocks) >= 3
    for block in blocks:
        exec(block, names)
