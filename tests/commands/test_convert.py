"""`lstm convert`: every format into every other, and what cannot be carried over."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_files import (
    ENDINGS,
    PICKED_BY,
    VARIANTS,
    features,
    needs,
    net_of,
    only,
    same_net,
    saved,
    several,
)
from command_line import check_refusal, run, run_json
from rtneural_models import dense, lstm_layer, model
from support import DATA, assert_same_bits, random_net

import lstm
from lstm import LSTM
from lstm.__main__ import main
from lstm.core.state_dict import from_state_dict, to_state_dict
from lstm.core.weights import Parts

CONVERT_KEYS = {"source", "target", "source_dtype", "dtype", "source_precision", "precision", "net", "bytes"}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("source", ENDINGS)
@pytest.mark.parametrize("target", ENDINGS)
def test_every_format_into_every_other(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, variant: str, source: str, target: str
) -> None:
    needs(source)
    needs(target)
    if "onnx" in (source, target) and variant == "projection":
        pytest.skip("ONNX has no projection")
    for dtype in (np.float32, np.float64):
        net = net_of(variant, dtype)
        path = saved(tmp_path, variant, source, dtype)
        b = tmp_path / f"b.{target}"
        status, report = run_json(capsys, "convert", path, b)
        assert status == 0
        assert report == {
            "source": str(path),
            "target": str(b),
            "source_dtype": net.dtype.name,
            "dtype": net.dtype.name,
            "source_precision": None,
            "precision": None,
            "net": repr(lstm.load(path)),
            "bytes": b.stat().st_size,
        }
        assert report.keys() == CONVERT_KEYS
        same_net(lstm.load(b), net)
        status, out, err = run(capsys, "convert", path, b)
        assert (status, out, err) == (0, f"{b}: {net!r}\n", "")
    only(tmp_path, path.name, b.name)


@pytest.mark.parametrize("variant", ["others", "reverse"])
def test_convert_to_another_dtype(capsys: pytest.CaptureFixture[str], tmp_path: Path, variant: str) -> None:
    net = net_of(variant, np.float64)
    path = saved(tmp_path, variant, dtype=np.float64)
    status, out, _ = run(capsys, "convert", path, tmp_path / "b.npz", "--dtype", "float32")
    b = lstm.load(tmp_path / "b.npz")
    assert (status, out) == (0, f"{tmp_path}/b.npz: {b!r}, rounded from float64\n")
    assert repr(b) == repr(net).replace("float64", "float32")
    for name, array in net.state_dict().items():
        assert_same_bits(b.state_dict()[name], array.astype(np.float32))
    status, report = run_json(capsys, "convert", tmp_path / "b.npz", tmp_path / "c.npz", "--dtype", "float64")
    assert (report["source_dtype"], report["dtype"]) == ("float32", "float64")
    for name, array in b.state_dict().items():
        assert_same_bits(lstm.load(tmp_path / "c.npz").state_dict()[name], array.astype(np.float64))


@pytest.mark.parametrize("ending", PICKED_BY)
def test_convert_a_picked_net(capsys: pytest.CaptureFixture[str], tmp_path: Path, ending: str) -> None:
    path, nets = several(tmp_path, ending)
    for value, net in nets.items():
        status, _, _ = run(capsys, "convert", path, tmp_path / "b.npz", f"--{PICKED_BY[ending]}", value)
        assert status == 0
        same_net(lstm.load(tmp_path / "b.npz"), net)
    check_refusal(*run(capsys, "convert", path, tmp_path / "c.npz"), [PICKED_BY[ending], *nets])
    check_refusal(
        *run(capsys, "convert", path, tmp_path / "c.npz", f"--{PICKED_BY[ending]}", "none"), ["'none'"]
    )
    only(tmp_path, path.name, "b.npz")


def too_large(net: LSTM) -> None:
    net.bo = np.array([0, 0, 1e300, 0, 0])


# Options of a net in float64, what is done to it, options of the command, and words of the message.
LOST: dict[str, tuple[dict[str, Any], Callable[[LSTM], None] | None, list[str], list[str]]] = {
    "a projection": ({"proj_size": 2}, None, [], ["proj_size", "proj_size=2"]),
    "a clip that float32 does not have": ({"clip": 0.1}, None, [], ["b.onnx", "clip=0.1"]),
    "an alpha that float32 does not have": (
        {"activations": ["Sigmoid", ("LeakyRelu", 0.1), "Tanh"]},
        None,
        [],
        ["b.onnx", "LeakyRelu", "0.1"],
    ),
    "a weight too large": ({}, too_large, ["--dtype", "float32"], ["bias_ih_l0", "float32"]),
}


@pytest.mark.parametrize("case", LOST)
def test_what_cannot_be_carried_over(capsys: pytest.CaptureFixture[str], tmp_path: Path, case: str) -> None:
    needs("onnx")
    options, change, arguments, words = LOST[case]
    net = random_net(np.random.default_rng(0), 3, 5, np.float64, **options)
    if change is not None:
        change(net)
    net.save(tmp_path / "net.npz")
    (tmp_path / "b.onnx").write_bytes(b"as it was")
    check_refusal(*run(capsys, "convert", tmp_path / "net.npz", tmp_path / "b.onnx", *arguments), words)
    assert (tmp_path / "b.onnx").read_bytes() == b"as it was"
    only(tmp_path, "b.onnx", "net.npz")


def test_in_float32_such_a_clip_is_carried_over(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Both numbers are one in the dtype that the net computes in."""
    needs("onnx")
    net = random_net(np.random.default_rng(0), 3, 5, np.float32, clip=0.1)
    net.save(tmp_path / "net.npz")
    status, _, _ = run(capsys, "convert", tmp_path / "net.npz", tmp_path / "b.onnx")
    assert status == 0
    X = 10 * features(20, 3)
    assert_same_bits(lstm.load(tmp_path / "b.onnx").forward_sequence(X), net.forward_sequence(X))


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_writer_that_loses_something_is_noticed(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    """What was written is read back: a wrong weight does not take the place of B."""
    needs(ending)
    from importlib import import_module

    module = import_module(f"lstm.formats.{ending}")
    write = module.write

    def wrong(parts: Parts, path: str) -> None:
        state = to_state_dict(parts)
        state["weight_hh_l0"][3, 4] = np.nextafter(state["weight_hh_l0"][3, 4], np.float32(9))
        write(from_state_dict(state), path)

    monkeypatch.setattr(module, "write", wrong)
    arguments = ["convert", saved_bare(tmp_path), tmp_path / f"b.{ending}"]
    check_refusal(*run(capsys, *arguments), [f"b.{ending}", "weights"])
    only(tmp_path, "a.npz")


def saved_bare(folder: Path) -> Path:
    np.savez(folder / "a.npz", **net_of("plain").state_dict())  # type: ignore[arg-type]
    return folder / "a.npz"


# What a file does not tell


@pytest.mark.parametrize("ending", ["npz", "safetensors"])
def test_what_a_state_dict_does_not_tell(
    ending: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    needs(ending)
    net = LSTM(3, 5, reverse=True, activations=("hardsigmoid", ("leakyrelu", 0.1), "tanh"), rng=0)
    bare, told = tmp_path / f"bare.{ending}", tmp_path / "told.npz"
    if ending == "npz":
        np.savez(bare, **net.state_dict())  # type: ignore[arg-type]
    else:
        pytest.importorskip("safetensors.numpy").save_file(net.state_dict(), bare)
    options = ["--reverse", "--activations", "hardsigmoid,leakyrelu:0.1,tanh"]
    assert main(["convert", str(bare), str(told), *options]) == 0
    same_net(lstm.load(told), net)
    assert main(["info", str(bare), *options]) == 0
    assert "hardsigmoid" in capsys.readouterr().out.lower()
    for wrong in (["--merge", "sum"], ["--activations", "tanh"], ["--activations", "a:b,tanh,tanh"]):
        assert main(["info", str(bare), *wrong]) != 0


@pytest.mark.parametrize("name", ["two_pairs.tflite", "chain.json"])
def test_formats_that_are_only_read(capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str) -> None:
    """They are run and converted as all others are, and none is written."""
    path = DATA / "tflite" / name
    if name.endswith(".json"):
        path = tmp_path / name
        layers = [lstm_layer(LSTM(3, 5, dtype=np.float32, rng=0)), dense()]
        path.write_text(json.dumps(model(*layers)))
    else:
        pytest.importorskip("tflite")
    X = np.random.default_rng(0).standard_normal((2, 9, 3)).astype(np.float32)
    np.save(tmp_path / "X.npy", X)
    expected = lstm.load(path).forward_sequence(X)
    assert run(capsys, "run", path, tmp_path / "X.npy", "-o", tmp_path / "Y.npy")[0] == 0
    assert_same_bits(np.load(tmp_path / "Y.npy"), expected)
    assert run(capsys, "convert", path, tmp_path / "net.npz")[0] == 0
    assert_same_bits(lstm.load(tmp_path / "net.npz").forward_sequence(X), expected)
    refused = run(capsys, "convert", tmp_path / "net.npz", tmp_path / f"other{path.suffix}")
    check_refusal(*refused, [f"ends in '{path.suffix}'", "to be written"])
