"""Models of Keras with its own outputs, for tests that run without it: tests/data/keras/.

    KERAS_BACKEND=torch python tests/generate_keras_fixtures.py
    TF_USE_LEGACY_KERAS=1 python tests/generate_keras_fixtures.py keras2

The first needs Keras 3 with PyTorch and onnx, and makes all but the files keras2_*, and besides
tests/data/onnx/keras_export.*; the second needs TensorFlow and tf_keras. Every case: the model as .keras and
some as .h5 and .weights.h5; inputs X (B, T, I), states (L D, B, H), and what Keras gave, in its order of
time.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

DATA = Path(__file__).parent / "data"
B, T, I, H = 3, 5, 3, 4  # noqa: E741
ALL = (".keras", ".h5", ".weights.h5")


def cases(keras: Any) -> dict[str, tuple[Any, tuple[str, ...]]]:
    """Models by name, and the endings they are saved under."""
    L = keras.layers

    def model(*layers: Any, name: str | None = None) -> Any:
        return keras.Sequential([keras.Input((None, I)), *layers], name=name)

    many = {"return_sequences": True}
    cells = [L.LSTMCell(H, name="lower"), L.LSTMCell(H, name="upper")]
    inner = model(L.LSTM(H, name="inner_lstm", **many), name="inner")
    outer = keras.Input((None, I))
    return {
        "plain": (model(L.LSTM(H, **many)), ALL),
        "stacked": (
            model(L.LSTM(H, **many), L.Dropout(0.3), L.LSTM(H, **many), L.LSTM(H, name="top"), L.Dense(2)),
            ALL[:2],
        ),
        "bidirectional": (model(L.Bidirectional(L.LSTM(H, **many)), L.Bidirectional(L.LSTM(H))), ALL),
        "rnn_cell": (model(L.RNN(L.LSTMCell(H, dropout=0.1, recurrent_dropout=0.2))), ALL[:1]),
        "rnn_stack": (model(L.RNN(cells, go_backwards=True, **many)), ALL),
        "backwards": (model(L.LSTM(H, go_backwards=True, use_bias=False, **many)), ALL[:1]),
        "hard_sigmoid": (
            model(L.LSTM(H, recurrent_activation="hard_sigmoid", activation="softsign")),
            ALL[:1],
        ),
        "nested": (keras.Model(outer, inner(outer)), ALL[:2]),
        "double": (model(L.LSTM(H, dtype="float64")), ALL[:1]),
    }


def keras2_cases(keras: Any) -> dict[str, tuple[Any, tuple[str, ...]]]:
    L = keras.layers
    x = keras.Input((None, I))
    sides = L.Bidirectional(L.LSTM(H, return_sequences=True))(x)
    both = keras.Model(x, L.Bidirectional(L.RNN(L.LSTMCell(H)))(L.Dropout(0.1)(sides)))
    hard = {"recurrent_activation": "hard_sigmoid", "return_sequences": True}
    stacked = keras.Sequential([keras.Input((None, I)), L.LSTM(H, **hard), L.LSTM(H, **hard), L.Dense(2)])
    return {"keras2_bidirectional": (both, (".h5",)), "keras2_stacked": (stacked, (".keras",))}


def branches(keras: Any) -> Any:
    """One model of an LSTM for every activation, each to be picked by name."""
    L = keras.layers
    functions = {
        "relu": ("relu", "sigmoid"),
        "linear": ("linear", "hard_sigmoid"),
        "elu": ("elu", "softsign"),
        "softplus": ("softplus", "tanh"),
        "leaky_relu": ("leaky_relu", "sigmoid"),
        "leaky_layer": (L.LeakyReLU(negative_slope=0.1), "sigmoid"),
        "threshold_layer": (L.ReLU(threshold=0.25), "sigmoid"),
        "elu_layer": (L.ELU(alpha=0.5), "sigmoid"),
    }
    x = keras.Input((None, I))
    outputs = [
        L.LSTM(H, activation=f, recurrent_activation=r, return_sequences=True, name=name)(x)
        for name, (f, r) in functions.items()
    ]
    return keras.Model(x, outputs)


def recurrent(model: Any) -> Iterator[Any]:
    """The recurrent layers of a model and of those in it."""
    for layer in model.layers:
        if hasattr(layer, "layers"):
            yield from recurrent(layer)
        elif hasattr(layer, "go_backwards") or hasattr(layer, "forward_layer"):
            yield layer


def randomize(model: Any, rng: np.random.Generator) -> None:
    model.set_weights([rng.uniform(-0.7, 0.7, w.shape).astype(w.dtype) for w in model.get_weights()])


def record(keras: Any, layers: list[Any], rng: np.random.Generator) -> dict[str, np.ndarray]:
    """X, h0, C0 and Keras's outputs of all layers, one after another."""
    tensor = keras.ops.convert_to_tensor if hasattr(keras, "ops") else keras.backend.constant
    dtype = layers[0].get_weights()[0].dtype
    X = rng.standard_normal((B, T, I)).astype(dtype)
    arrays: dict[str, list[np.ndarray]] = {name: [] for name in ("h0", "C0", "h_n", "C_n")}
    Y: Any = tensor(X, dtype=X.dtype.name)
    for layer in layers:
        layer.return_state = layer.return_sequences = True
        for side in ("forward_layer", "backward_layer"):
            if hasattr(layer, side):
                getattr(layer, side).return_state = getattr(layer, side).return_sequences = True
        stack = getattr(getattr(layer, "cell", None), "cells", None)
        count = len(stack) if stack is not None else 2 if hasattr(layer, "forward_layer") else 1
        given = [rng.uniform(-1, 1, (B, H)).astype(dtype) for _ in range(2 * count)]
        tensors = [tensor(state, dtype=dtype.name) for state in given]
        pairs = [tensors[k : k + 2] for k in range(0, 2 * count, 2)]
        Y, *states = layer(Y, initial_state=pairs if stack is not None else tensors)
        if stack is not None:
            states = [state for pair in states for state in pair]
        for k, name in enumerate(("h0", "C0")):
            arrays[name] += given[k::2]
        for k, name in enumerate(("h_n", "C_n")):
            arrays[name] += [plain(state) for state in states[k::2]]
    return {"X": X, "Y": plain(Y), **{name: np.stack(values) for name, values in arrays.items()}}


def plain(tensor: Any) -> np.ndarray:
    return np.array(tensor.detach().numpy() if hasattr(tensor, "detach") else tensor)


def save(model: Any, name: str, endings: tuple[str, ...]) -> None:
    for ending in endings:
        path = DATA / "keras" / f"{name}{ending}"
        if ending == ".weights.h5":
            model.save_weights(path)
        else:
            model.save(path)


def main() -> None:
    rng = np.random.default_rng(0)
    recorded: dict[str, np.ndarray] = {}
    if sys.argv[1:] == ["keras2"]:
        import tf_keras as keras

        made = keras2_cases(keras)
    else:
        import keras

        keras.utils.set_random_seed(0)
        made = cases(keras)
    for name, (model, endings) in made.items():
        randomize(model, rng)
        save(model, name, endings)
        found = record(keras, list(recurrent(model)), rng)
        recorded.update({f"{name}/{key}": array for key, array in found.items()})
    if sys.argv[1:] == ["keras2"]:
        made["keras2_stacked"][0].save_weights(DATA / "keras" / "keras2_stacked_weights.h5")
        np.savez_compressed(DATA / "keras" / "keras2.npz", **recorded)
        return
    model = branches(keras)
    randomize(model, rng)
    save(model, "branches", (".keras",))
    for layer in recurrent(model):
        found = record(keras, [layer], rng)
        recorded.update({f"branches {layer.name}/{key}": array for key, array in found.items()})
    half = keras.Sequential(
        [
            keras.Input((None, I)),
            keras.layers.LSTM(H, dtype="bfloat16", recurrent_initializer="glorot_uniform"),
        ]
    )
    save(half, "bfloat16", (".keras",))
    for k, weight in enumerate(half.get_weights()):
        recorded[f"bfloat16/{k}"] = weight.astype(np.float32)
    np.savez_compressed(DATA / "keras" / "keras3.npz", **recorded)
    export(keras, rng)


def export(keras: Any, rng: np.random.Generator) -> None:
    """What model.export writes as ONNX, with one input and Keras's outputs."""
    L = keras.layers
    model = keras.Sequential(
        [keras.Input((None, I)), L.LSTM(H, return_sequences=True), L.LSTM(H, return_sequences=True)]
    )
    randomize(model, rng)
    X = rng.standard_normal((B, T, I)).astype(np.float32)
    Y = plain(model(X))
    model.export(DATA / "onnx" / "keras_export.onnx", format="onnx", verbose=False)
    np.savez_compressed(DATA / "onnx" / "keras_export.npz", X=X, Y=Y)


if __name__ == "__main__":
    main()
