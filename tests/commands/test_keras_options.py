"""What a file of Keras does not tell, warnings and layers that cannot be read, on the command line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from command_files import features, same_net
from command_line import check_refusal, run, run_json
from keras_models import B_, A, H, I, cell, functional, other, sequential, tensor, write_model, x

import lstm

h5py = pytest.importorskip("h5py")


def old_file(path: Path) -> Path:
    """Weights alone of Keras 2.2."""
    rng = np.random.default_rng(0)
    shapes = {"kernel": (I, 4 * H), "recurrent_kernel": (H, 4 * H), "bias": (4 * H,)}
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"], file.attrs["layer_names"] = "2.2.4", ["lstm_1"]
        file.create_group("lstm_1").attrs["weight_names"] = [f"{name}:0" for name in shapes]
        for name, shape in shapes.items():
            file[f"lstm_1/{name}:0"] = rng.uniform(-1, 1, shape).astype(np.float32)
    return path


def test_activations_and_directions_are_said(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = old_file(tmp_path / "old.h5")
    for command in (["info", path], ["convert", path, tmp_path / "b.npz"]):
        check_refusal(*run(capsys, *command), ["old.h5", "'lstm_1'", "hard_sigmoid", "--activations"])
    options = ["--activations", "hardsigmoid,tanh,tanh", "--reverse"]
    assert run(capsys, "convert", path, tmp_path / "b.npz", *options)[0] == 0
    net = lstm.load(path, activations=["hardsigmoid", "tanh", "tanh"], reverse=True)
    same_net(lstm.load(tmp_path / "b.npz"), net)
    status, report = run_json(capsys, "info", path, *options)
    assert status == 0
    assert report["lstms"][0]["lstm"]["reverse"] is True
    assert "does not store --activations, --reverse, --merge" in report["lstms"][0]["notes"][0]


def test_layers_that_cannot_be_read_are_told(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "m.keras"
    write_model(path, sequential(x, A, other("GRU", "gru", units=H)))
    status, out, err = run(capsys, "info", path)
    assert (status, err) == (0, "")
    assert out.splitlines()[0] == f"model: {path}, 1 LSTM, and 1 that cannot be loaded"
    assert "--layer gru\ncannot be loaded: " in out
    check_refusal(
        *run(capsys, "convert", path, tmp_path / "b.npz"), ["'gru' is a GRU", "pick one by --layer"]
    )
    check_refusal(*run(capsys, "info", path, "--layer", "gru"), ["'gru' is a GRU"])


def test_dropout_that_is_always_on(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """One line on stderr; a note where the net is told."""
    path = tmp_path / "m.keras"
    layer = {**A, "config": {**A["config"], "dropout": 0.5}}
    model = functional({"a": [tensor("x")]}, ["a", 0, 0], x, layer)
    model["config"]["layers"][1]["inbound_nodes"][0]["kwargs"]["training"] = True
    write_model(path, model)
    np.save(tmp_path / "X.npy", features(6, I))
    status, out, err = run(capsys, "run", path, tmp_path / "X.npy", "-o", tmp_path / "Y.npy")
    assert status == 0
    assert "Y.npy" in out
    assert len(err.splitlines()) == 1
    assert err.startswith(f"lstm: warning: {path}: what Keras computes for the layer 'a' is random")
    status, out, err = run(capsys, "info", path)
    assert (status, err) == (0, "")
    assert "note: Keras's outputs are random" in out


def test_parts_of_layers_are_picked(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "m.keras"
    both = other("Bidirectional", "both", layer=A, merge_mode=None)
    stack = other("RNN", "stack", cell=other("StackedRNNCells", "s", cells=[cell(name="c"), cell(name="d")]))
    write_model(path, sequential(x, both, other("Dense", "z"), B_, stack))
    for name, size in (("both", I), ("both/backward_a", I), ("stack/d", H), ("b", 2 * H), ("1", 2 * H)):
        status, report = run_json(capsys, "info", path, "--layer", name)
        assert status == 0
        assert report["lstms"][0]["lstm"]["input_size"] == size
    _, report = run_json(capsys, "info", path, "--layer", "both")
    assert "merge_mode None" in report["lstms"][0]["notes"][0]
    _, report = run_json(capsys, "info", path)
    assert [one["value"] for one in report["lstms"]] == ["both", "b", "stack", "stack/c", "stack/d"]
