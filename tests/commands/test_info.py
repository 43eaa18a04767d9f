"""`lstm info`: the machine, and every LSTM of a file."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from command_files import (
    ENDINGS,
    LSTM_KEYS,
    OPTIONS,
    PICKED_BY,
    VARIANTS,
    features,
    listed,
    needs,
    net_of,
    run_on,
    same_net,
    saved,
    several,
    spoil,
)
from command_line import check_refusal, run, run_json
from support import DATA, assert_same_bits

import lstm
from lstm.commands import info


def test_the_machine(capsys: pytest.CaptureFixture[str]) -> None:
    status, report = run_json(capsys, "info")
    assert status == 0
    facts = lstm.show_config("dict")
    assert report == {**facts, "cpu": report["cpu"]}
    assert report["cpu"]
    status, out, err = run(capsys, "info")
    assert (status, err) == (0, "")
    assert out.splitlines()[:4] == [
        f"lstm    {lstm.__version__}",
        f"python  {facts['python']}",
        f"numpy   {facts['numpy']}",
        f"isa     {facts['isa']}",
    ]


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_model_is_told(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, variant: str, ending: str
) -> None:
    needs(ending)
    if ending == "onnx" and variant == "projection":
        pytest.skip("ONNX has no projection")
    path = saved(tmp_path, variant, ending)
    net = lstm.load(path)
    status, report = run_json(capsys, "info", path)
    assert status == 0
    assert report.keys() == {"model", "more", "lstms"}
    assert (report["model"], report["more"]) == (str(path), 0)
    found = report["lstms"][0]
    assert found.keys() == {"option", "value", "error", "lstm", "notes"}
    # The states of an .onnx file are inputs of the model.
    assert len(found["notes"]) == 2 * (ending == "onnx")
    assert found["error"] is None
    assert found["option"] is None or ending != "npz"
    told = found["lstm"]
    assert told.keys() == LSTM_KEYS
    for name in OPTIONS[:-1]:
        assert told[name] == getattr(net, name), name
    activations = None if net.activations is None else [listed(a) for a in net.activations]
    assert told["activations"] == activations
    assert (told["dtype"], told["net"]) == ("float32", repr(net))
    assert told["output_size"] == net.forward_sequence(np.zeros((1, 3))).shape[1]
    kept = {name: a.shape for name, a in net.state_dict().items() if not name.startswith("bias_hh")}
    shapes = {
        f"{kind.replace('bias', 'bias_ih')}_{layer['name']}": tuple(shape)
        for layer in told["layers"]
        for kind, shape in layer["shapes"].items()
    }
    assert shapes == kept
    assert told["parameters"] == sum(map(math.prod, kept.values()))
    assert told["parameters"] == sum(layer["parameters"] for layer in told["layers"])
    status, out, err = run(capsys, "info", path)
    assert (status, err) == (0, "")
    assert repr(net) in out.splitlines()
    assert f"{told['parameters']:,} parameters" in out.splitlines()
    assert all(str(shape) in out for shape in kept.values())


@pytest.mark.parametrize("ending", PICKED_BY)
def test_every_lstm_of_a_file_is_told(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, nets = several(tmp_path, ending)
    status, report = run_json(capsys, "info", path)
    assert status == 0
    assert {one["value"] for one in report["lstms"]} == set(nets)
    for one in report["lstms"]:
        assert one["option"] == PICKED_BY[ending]
        net = nets[one["value"]]
        assert (one["lstm"]["input_size"], one["lstm"]["hidden_size"]) == (net.input_size, net.hidden_size)
        status, alone = run_json(capsys, "info", path, f"--{one['option']}", one["value"])
        assert status == 0
        assert alone["lstms"] == [one]
    status, out, _ = run(capsys, "info", path)
    assert out.splitlines()[0] == f"model: {path}, 2 LSTMs"
    for value, net in nets.items():
        assert f"--{PICKED_BY[ending]} {value}\n{net!r}\n" in out
    # In an .onnx file all together come first, here in vain.
    monkeypatch.setattr(info, "LONGEST_LISTING", 1 + (ending == "onnx"))
    status, report = run_json(capsys, "info", path)
    assert (len(report["lstms"]), report["more"]) == (1, 1)
    assert run(capsys, "info", path)[1].splitlines()[-1] == "and 1 more"


@pytest.mark.parametrize("prefix", ["encoder.", "model.rnn."])
def test_the_only_lstm_of_a_larger_npz_model(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, prefix: str
) -> None:
    """It is told with the prefix that `lstm.load` needs; without, the error names the option."""
    net = lstm.LSTM(3, 5, num_layers=2, rng=0)
    path = tmp_path / "model.npz"
    arrays = {f"{prefix}{name}": array for name, array in net.state_dict().items()}
    np.savez(path, **arrays, **{"fc.weight": np.ones((2, 5))})  # type: ignore[arg-type]
    _, report = run_json(capsys, "info", path)
    (one,) = report["lstms"]
    assert (one["option"], one["value"]) == ("prefix", prefix.removesuffix("."))
    same_net(lstm.load(path, prefix=one["value"]), net)
    with pytest.raises(lstm.FormatError, match=r"larger model by prefix=: there are"):
        lstm.load(path)
    check_refusal(*run(capsys, "run", path, "X.npy", "-o", "Y.npy"), ["--prefix"])


def test_a_larger_npz_model_without_an_lstm(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "model.npz"
    np.savez(path, **{"fc.weight": np.ones((2, 5)), "gru.weight_hh_l0": np.ones((15, 5))})  # type: ignore[arg-type]
    check_refusal(*run(capsys, "info", path), ["'fc.weight'", "weight_ih_l0"])


def test_layers_of_one_net_are_told_as_one_and_alone(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    needs("onnx")
    path = saved(tmp_path, "deep", "onnx")
    _, report = run_json(capsys, "info", path)
    whole, *layers = report["lstms"]
    assert (whole["option"], whole["value"], whole["lstm"]["num_layers"]) == (None, None, 3)
    assert [(one["option"], one["value"]) for one in layers] == [("node", f"lstm_{k}") for k in range(3)]
    _, out, _ = run(capsys, "info", path)
    assert out.splitlines()[0] == f"model: {path}, 3 LSTMs, which are the layers of one net"


def test_an_lstm_that_cannot_be_loaded_is_told(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path, _ = several(tmp_path, "onnx")
    spoil(path, "encoder/lstm_0")
    status, report = run_json(capsys, "info", path)
    assert status == 0
    bad, good = report["lstms"]
    assert bad["lstm"] is None
    assert "colour" in bad["error"]
    assert good["lstm"]["hidden_size"] == 2
    status, out, err = run(capsys, "info", path)
    assert (status, err) == (0, "")
    assert "cannot be loaded: " in out
    spoil(path, "decoder/lstm_0")
    check_refusal(*run(capsys, "info", path), ["both.onnx", "colour"])


def test_a_number_is_a_name_first(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Old exporters name outputs by numbers."""
    import_onnx = pytest.importorskip("onnx")
    path, nets = several(tmp_path, "onnx")
    _, report = run_json(capsys, "info", path, "--node", "1")
    assert report["lstms"][0]["lstm"]["hidden_size"] == nets["decoder/lstm_0"].hidden_size
    _, report = run_json(capsys, "info", path, "--node=-2")
    assert report["lstms"][0]["lstm"]["hidden_size"] == nets["encoder/lstm_0"].hidden_size
    model = import_onnx.load(path)
    next(node for node in model.graph.node if node.name == "encoder/lstm_0").name = "1"
    import_onnx.save(model, path)
    _, report = run_json(capsys, "info", path, "--node", "1")
    assert report["lstms"][0]["lstm"]["hidden_size"] == nets["encoder/lstm_0"].hidden_size


def test_notes_on_a_model_with_states(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Of all its nodes, and of one."""
    needs("onnx")
    lstm.LSTM(3, 5, num_layers=2, rng=0).save(tmp_path / "net.onnx")
    notes = ["initial_h is the model's input 'h0'; it is given as --h0"]
    notes += ["initial_c is the model's input 'C0'; it is given as --C0"]
    for options in ([], ["--node", "0"], ["--node", "lstm_1"]):
        status, report = run_json(capsys, "info", tmp_path / "net.onnx", *options)
        assert status == 0
        assert all(one["notes"] == notes for one in report["lstms"])
    assert f"\nnote: {notes[0]}\nnote: {notes[1]}\n" in run(capsys, "info", tmp_path / "net.onnx")[1]


@pytest.mark.usefixtures("quick")
def test_external_data_is_read_where_asked_for(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    net, path = net_of("deep"), saved(tmp_path, "deep", "onnx")
    onnx.save(onnx.load(path), path, save_as_external_data=True, size_threshold=0, location="net.data")
    check_refusal(*run(capsys, "info", path), ["net.onnx", "with --external-data"])
    status, report = run_json(capsys, "info", path, "--external-data")
    assert (status, len(report["lstms"])) == (0, 4)
    _, report = run_json(capsys, "info", path, "--external-data", "--node", "1")
    assert report["lstms"][0]["lstm"]["input_size"] == 5
    X = features(9, 3)
    Y, _ = run_on(capsys, tmp_path, path, X, "--external-data")
    assert_same_bits(Y, net.forward_sequence(X))
    assert run(capsys, "convert", path, tmp_path / "b.npz", "--external-data")[0] == 0
    same_net(lstm.load(tmp_path / "b.npz"), net)
    assert run(capsys, "compare", path, "--external-data")[0] == 0


def test_notes_on_a_tflite_net(capsys: pytest.CaptureFixture[str]) -> None:
    """What a user should know of it is told with it, however it was picked."""
    pytest.importorskip("tflite")
    path = DATA / "tflite" / "int8.tflite"
    for options in ([], ["--node", "0"], ["--node", "lstm"]):
        status, report = run_json(capsys, "info", path, *options)
        assert status == 0
        (note,) = report["lstms"][0]["notes"]
        assert "dequantized exactly" in note
    assert f"\nnote: {note}\n" in run(capsys, "info", path)[1]
