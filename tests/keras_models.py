"""Models of Keras: recorded ones, and descriptions and stand-ins made by hand."""

from __future__ import annotations

import contextlib
import io
import json
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import DATA, assert_close, assert_same_bits

import lstm
from lstm import LSTM
from lstm.formats.keras import description

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


@contextlib.contextmanager
def installed_keras() -> Iterator[Any]:
    """Keras itself on PyTorch; the test is skipped where they are not installed."""
    pytest.importorskip("torch")
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patch.setenv("KERAS_BACKEND", "torch")
        found = pytest.importorskip("keras")
        if found.backend.backend() != "torch":
            pytest.skip("Keras runs on another backend")
        found.utils.set_random_seed(0)
        yield found


def live_case(keras: Any, model: Any, shape: tuple[int, ...] = (2, 6, I)) -> tuple[np.ndarray, np.ndarray]:
    """X (B, T, I) or of another shape, and Keras's outputs for random weights."""
    rng = np.random.default_rng(5)
    X = rng.standard_normal(shape).astype(np.float32)
    model(X)
    model.set_weights([rng.uniform(-0.7, 0.7, w.shape).astype(w.dtype) for w in model.get_weights()])
    return X, keras.ops.convert_to_numpy(model(X))


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


A, B_ = lstm_layer("a"), lstm_layer("b")


def archive_of(path: Path, entries: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path, "w", method) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, content in entries.items():
            archive.writestr(name.rstrip("+"), content)
