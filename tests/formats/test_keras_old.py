"""Files of older Kerases, put together by hand: CuDNNLSTM, defaults of their time, lists with faults."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from keras_models import FOLDER, H, I, archive_of, assert_same_net, other, sequential, write_model, x
from support import assert_close, assert_same_bits

import lstm
from lstm import LSTM, FormatError
from lstm.formats import keras as reader
from lstm.formats.keras import hdf5_child

h5py = pytest.importorskip("h5py")

Weights = dict[str, np.ndarray]


def weights(seed: int, inputs: int = I, units: int = H, biases: int = 1) -> Weights:
    """kernel (I, 4H), recurrent_kernel (H, 4H), bias (4H,) or of CuDNNLSTM (8H,)."""
    rng = np.random.default_rng(seed)
    shapes = {
        "kernel": (inputs, 4 * units),
        "recurrent_kernel": (units, 4 * units),
        "bias": (4 * biases * units,),
    }
    return {name: rng.uniform(-0.7, 0.7, shape).astype(np.float32) for name, shape in shapes.items()}


def write(
    path: Path, layers: dict[str, Weights], version: str | None, model: dict[str, Any] | None = None
) -> Path:
    """A legacy file: of every group's weights by their names in it, and of a model's description."""
    with h5py.File(path, "w") as file:
        if version is not None:
            file.attrs["keras_version"] = version
        if model is not None:
            file.attrs["model_config"] = json.dumps(model)
        root = file.create_group("model_weights") if model is not None else file
        root.attrs["layer_names"] = list(layers)
        for group, named in layers.items():
            own = root.create_group(group)
            own.attrs["weight_names"] = [f"{name}:0" for name in named]
            for name, array in named.items():
                own[f"{name}:0"] = array
    return path


def within(place: str, own: Weights) -> Weights:
    return {f"{place}/{name}": array for name, array in own.items()}


def usual(own: Weights) -> Weights:
    """An LSTM's weights under PyTorch's names, of a CuDNNLSTM's: as Keras 2 takes them over."""
    gates = [np.hsplit(own[name], 4) for name in ("kernel", "recurrent_kernel")]
    kernel = np.hstack([gate.T.reshape(gate.shape, order="F") for gate in gates[0]])
    recurrent = np.hstack([gate.T for gate in gates[1]])
    bias = own["bias"].reshape(2, -1)
    return {
        "weight_ih_l0": kernel.T,
        "weight_hh_l0": recurrent.T,
        "bias_ih_l0": bias[0],
        "bias_hh_l0": bias[1],
    }


def test_cudnn_lstms(tmp_path: Path) -> None:
    """Alone, in both directions, in a stack with a usual LSTM; without a description, too."""
    first, second = weights(0, biases=2), weights(1, H, biases=2)
    X = np.random.default_rng(3).standard_normal((2, 5, I)).astype(np.float32)
    expected = LSTM.from_state_dict(usual(first))
    bare = write(tmp_path / "bare.h5", {"rnn": within("rnn", first)}, "2.1.5")
    assert_same_net(lstm.load(bare), expected)
    config = {"units": H, "return_sequences": True}
    cudnn = [other("CuDNNLSTM", name, **config) for name in ("a", "b")]
    groups = {"a": within("a", first), "b": within("b", second)}
    net = lstm.load(write(tmp_path / "m.h5", groups, "2.2.4-tf", sequential(x, *cudnn)))
    assert net.num_layers == 2
    Y = LSTM.from_state_dict(usual(second)).forward_sequence(expected.forward_sequence(X))
    assert_close(net.forward_sequence(X), Y, "stack", {np.dtype(np.float32): 2e-6})
    plain = other("LSTM", "b", **config, activation="tanh", recurrent_activation="sigmoid")
    groups["b"] = within("b", weights(1, H))
    net = lstm.load(write(tmp_path / "m.h5", groups, "2.2.4", sequential(x, cudnn[0], plain)))
    assert net.num_layers == 2
    assert_same_bits(net.state_dict()["weight_ih_l1"], groups["b"]["b/kernel"].T.copy())
    sides = {"both": {**within("both/forward_c", first), **within("both/backward_c", weights(1, biases=2))}}
    both = other("Bidirectional", "both", layer=other("CuDNNLSTM", "c", **config))
    for model in (None, sequential(x, both)):
        net = lstm.load(write(tmp_path / "m.h5", sides, "2.2.4", model))
        assert net.bidirectional
        assert_same_bits(net.state_dict()["weight_hh_l0"], expected.state_dict()["weight_hh_l0"])
        one = lstm.load(tmp_path / "m.h5", layer="both/backward_c")
        assert one.reverse
        assert_same_bits(one.state_dict()["weight_ih_l0"], net.state_dict()["weight_ih_l0_reverse"])


def test_cudnn_weights_of_a_usual_lstm(tmp_path: Path) -> None:
    """And the other way round: shapes that no such layer has."""
    for kind, biases in (("LSTM", 2), ("CuDNNLSTM", 1)):
        model = sequential(x, other(kind, "a", units=H, recurrent_activation="sigmoid"))
        path = write(tmp_path / "m.h5", {"a": within("a", weights(0, biases=biases))}, "2.2.4", model)
        with pytest.raises(FormatError, match=r"bias \('model_weights/a/a/bias:0'\) has shape|the option"):
            lstm.load(path)


@pytest.mark.parametrize("version", ["2.2.0", "2.2.4-tf", "2.1.6", "1.2.2", None])
def test_weights_alone_of_before_keras_2_3(version: str | None, tmp_path: Path) -> None:
    """The gates' function has no sure default then, and must be said."""
    own = weights(0)
    path = write(tmp_path / "m.h5", {"lstm_1": within("lstm_1", own)}, version)
    with pytest.raises(
        FormatError, match=r"'lstm_1': before Keras 2\.3 .* say which by activations=, such as hard"
    ):
        lstm.load(path)
    hard = lstm.load(path, activations=("hardsigmoid", "tanh", "tanh"))
    X = np.random.default_rng(1).standard_normal((6, I)).astype(np.float32)
    h = C = np.zeros(H)
    expected = []
    for row in X:
        i, f, g, o = np.split(row @ own["kernel"] + h @ own["recurrent_kernel"] + own["bias"], 4)
        i, f, o = (np.clip(0.2 * gate + 0.5, 0, 1) for gate in (i, f, o))
        C = f * C + i * np.tanh(g)
        h = o * np.tanh(C)
        expected.append(h.astype(np.float32))
    assert_close(hard.forward_sequence(X), np.array(expected), "hard_sigmoid", {np.dtype(np.float32): 2e-6})
    assert lstm.load(path, activations=("sigmoid", "tanh", "tanh")).activations is None


def test_later_defaults_are_known(tmp_path: Path) -> None:
    for version in ("2.3.0", "2.3.0-tf", "2.15.0", "3.0.5"):
        path = write(tmp_path / "m.h5", {"a": within("a/lstm_cell", weights(0))}, version)
        assert lstm.load(path).activations is None
    model = sequential(x, other("LSTM", "a", units=H))
    path = write(tmp_path / "m.h5", {"a": within("a", weights(0))}, "2.2.4", model)
    with pytest.raises(FormatError, match="say which by activations=, such as hard"):
        lstm.load(path)


def test_what_a_file_of_weights_does_not_tell(tmp_path: Path) -> None:
    path = FOLDER / "plain.weights.h5"
    plain = lstm.load(path)
    told = lstm.load(path, reverse=True, activations=("tanh", "relu", "tanh"))
    assert (told.reverse, told.activations) == (True, ("Tanh", "Relu", "Tanh"))
    assert_same_bits(told.state_dict()["weight_ih_l0"], plain.state_dict()["weight_ih_l0"])
    both = lstm.load(FOLDER / "bidirectional.weights.h5", layer=0, merge="sum")
    assert both.merge == "sum"
    (note,) = reader.notes(path)
    assert "does not store activations=, reverse=, merge=" in note
    with pytest.raises(FormatError, match="only a bidirectional net has two directions"):
        lstm.load(path, merge="sum")
    for options in ({"activations": 3}, {"reverse": "yes"}, {"merge": 1}):
        with pytest.raises(TypeError):
            lstm.load(path, **options)


def test_what_a_description_tells_is_held_to() -> None:
    for name, options in {
        "plain.keras": {"activations": ("sigmoid", "tanh", "tanh"), "reverse": False, "merge": "concat"},
        "hard_sigmoid.keras": {"activations": (("HardSigmoid", 1 / 6, 0.5), "softsign", "softsign")},
        "backwards.keras": {"reverse": True},
    }.items():
        assert_same_net(lstm.load(FOLDER / name, **options), lstm.load(FOLDER / name))
    for name, wrong in (
        ("plain.keras", {"activations": ("relu", "tanh", "tanh")}),
        ("plain.h5", {"reverse": True}),
        ("bidirectional.keras", {"merge": "sum"}),
        ("backwards.keras", {"reverse": False}),
    ):
        with pytest.raises(FormatError, match=f"stores {next(iter(wrong))}=.*does not apply"):
            lstm.load(FOLDER / name, **wrong)


@pytest.mark.parametrize("described", [True, False])
def test_lists_of_weights_with_faults(described: bool, tmp_path: Path) -> None:
    """Of entries twice, entries that are not there, more entries than an LSTM has, entries of Keras 1."""
    names = [*weights(0)]
    model = sequential(x, other("LSTM", "a", units=H, recurrent_activation="sigmoid")) if described else None
    root = "model_weights/a" if described else "a"
    path = tmp_path / "m.h5"
    for change, message in (
        ([f"a/{name}:0" for name in names] * 2, "has the weights 'a/kernel:0' twice in its list"),
        (
            [f"a/{name}:0" for name in (*names, "norm")],
            "has other weights in its cell too, such as 'a/norm:0'",
        ),
        ([f"a/{name}:0" for name in names[:2]] + ["a/lost/recurrent_kernel:0"], "weights"),
        (["a_W_i:0", "a_U_i:0", "a_b_i:0"], "has the weights of Keras 1"),
    ):
        write(path, {"a": within("a", {**weights(0), "norm": np.ones(4, np.float32)})}, "2.15.0", model)
        with h5py.File(path, "r+") as file:
            file[root].attrs["weight_names"] = change
        with pytest.raises(FormatError, match=message):
            lstm.load(path)


def test_entries_that_a_list_names_and_the_file_lacks(tmp_path: Path) -> None:
    """A layer is not passed over for that."""
    path = write(tmp_path / "m.h5", {n: within(n, weights(0)) for n in ("a", "b")}, "2.15.0")
    with h5py.File(path, "r+") as file:
        del file["b/b/bias:0"]
    with pytest.raises(
        FormatError, match=r"'b' lacks its weights 'b/bias:0'; pick one by layer=: 'a' \(input"
    ):
        lstm.load(path)
    assert lstm.load(path, layer="a").hidden_size == H


def test_weights_of_another_cell(tmp_path: Path) -> None:
    """Layer norms of a cell of one's own, in files that do not describe it."""
    with h5py.File(tmp_path / "m.weights.h5", "w") as file:
        for k, array in enumerate(weights(0).values()):
            file[f"layers/rnn/cell/vars/{k}"] = array
        file["layers/rnn/cell/norm/vars/0"] = np.ones(H, np.float32)
        file["layers/rnn/cell/seed_generator/vars/0"] = np.zeros(2, np.uint32)
    with pytest.raises(FormatError, match="'rnn' has 1 other weights in its cell too"):
        lstm.load(tmp_path / "m.weights.h5")
    with h5py.File(tmp_path / "m.weights.h5", "r+") as file:
        del file["layers/rnn/cell/norm"]
    assert lstm.load(tmp_path / "m.weights.h5").hidden_size == H


def test_weights_that_a_description_does_not_have(tmp_path: Path) -> None:
    """A model of Keras's own class tells all of its layers."""
    path = tmp_path / "m.keras"
    write_model(path, sequential(x, other("LSTM", "a", units=H), other("LSTM", "b", units=H)))
    config = sequential(x, other("LSTM", "a", units=H))
    content = dict.fromkeys(["model.weights.h5"], archive_content(path))
    archive_of(path, {"config.json": json.dumps(config).encode(), **content})
    with pytest.raises(FormatError, match="'lstm_1' is not in the description of the model"):
        lstm.load(path)
    assert lstm.load(path, layer="a").hidden_size == H


def archive_content(path: Path) -> bytes:
    import zipfile

    with zipfile.ZipFile(path) as archive:
        return archive.read("model.weights.h5")


def test_hdf5_under_the_ending_keras(tmp_path: Path) -> None:
    """TensorFlow 2.0 to 2.11 wrote it; and the other way round."""
    path = tmp_path / "m.keras"
    path.write_bytes((FOLDER / "stacked.h5").read_bytes())
    assert_same_net(lstm.load(path), lstm.load(FOLDER / "stacked.h5"))
    assert lstm.tensors(path).keys() == lstm.tensors(FOLDER / "stacked.h5").keys()
    path = tmp_path / "m.h5"
    path.write_bytes((FOLDER / "stacked.keras").read_bytes())
    assert_same_net(lstm.load(path), lstm.load(FOLDER / "stacked.keras"))


@pytest.mark.parametrize("closed", [[0], [1], [0, 1], [0, 1, 2]])
def test_closed_standard_streams(closed: list[int]) -> None:
    """A daemon's files may have the numbers of standard input and output."""
    code = f"""
import os, sys
import lstm
reading, writing = os.pipe()
for number in {closed}:
    os.close(number)
try:
    answer = repr(lstm.load({str(FOLDER / "plain.h5")!r})) + repr(lstm.load({str(FOLDER / "plain.keras")!r}))
except Exception as error:
    answer = repr(error)
os._exit(0 if answer == "LSTM(3, 4, dtype=float32)" * 2 else 1)
"""
    assert subprocess.run([sys.executable, "-c", code], timeout=60, env={**os.environ}).returncode == 0


def without_long_lists(value: Any) -> Any:
    """What is to be left of a JSON value."""
    if isinstance(value, dict):
        return {key: without_long_lists(one) for key, one in value.items()}
    if not isinstance(value, list):
        return value
    inner = [without_long_lists(one) for one in value]
    if all(isinstance(one, str) for one in inner):
        return inner if len(inner) < 64 else []
    return (
        []
        if not any(isinstance(one, dict | str) or one for one in inner if isinstance(one, list | dict | str))
        else inner
    )


def test_what_a_description_is_read_without() -> None:
    """Lists of numbers, of any number of axes, and long ones of texts, whatever is in those."""
    rng = np.random.default_rng(0)
    texts = ['a"[1, 2]', "[", "]", '", "', "\\", '\\"', "[1, 2, 3]", "{", "é\n", ""]

    def made(depth: int) -> Any:
        kind = int(rng.integers(0, 7 if depth else 4))
        if kind == 0:
            return str(rng.choice(texts))
        if kind == 1:
            return [None, 1, True, -2.5e-7][rng.integers(4)]
        if kind == 2:
            return rng.standard_normal((3, 2, int(rng.integers(1, 3)))).tolist()
        if kind == 3:
            return [str(rng.choice(texts)) for _ in range(int(rng.choice([1, 63, 64, 200])))]
        if kind == 4:
            return [{"x": made(depth - 1)} for _ in range(int(rng.integers(1, 4)))]
        return {f"{rng.choice(texts)}{k}": made(depth - 1) for k in range(int(rng.integers(1, 5)))}

    for k in range(300):
        value = made(4)
        for text in (json.dumps(value), json.dumps(value, indent=k % 3, ensure_ascii=False)):
            assert json.loads(hdf5_child.shortened(text)) == without_long_lists(value)
    assert len(hdf5_child.shortened(json.dumps([[0.25] * 50] * 20_000))) == 2


@pytest.mark.parametrize("ending", [".keras", ".h5"])
@pytest.mark.parametrize("what", ["numbers", "texts", "layers"])
def test_long_descriptions(what: str, ending: str, tmp_path: Path) -> None:
    """A matrix that an Embedding starts from, a vocabulary, a model of many layers: over 1 MB each."""
    rng = np.random.default_rng(0)
    value: Any = {
        "numbers": [[f"{number:.9f}" for number in row] for row in rng.standard_normal((1500, 60))],
        "texts": [f'word "{k}" [{k % 7}' for k in range(60_000)],
        "layers": [],
    }[what]
    if what == "numbers":
        value = json.loads(json.dumps(value).replace('"', ""))
    more = [other("Dense", f"d{k}", kernel_initializer=other("Zeros", "z" * 300)) for k in range(3000)]
    layer = other("LSTM", "a", units=H, return_sequences=True)
    first = other("TextVectorization", "t", vocabulary=value)
    model = sequential(x, first, layer, *(more if what == "layers" else []))
    assert len(json.dumps(model)) > 1 << 20
    path = tmp_path / f"m{ending}"
    if ending == ".keras":
        write_model(path, model)
    else:
        write(path, {"a": within("a", weights(0))}, "2.15.0", model)
    assert lstm.load(path).hidden_size == H
