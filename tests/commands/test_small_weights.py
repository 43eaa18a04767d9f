"""`lstm convert --precision`, and small weights in what the other commands show."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_files import needs, net_of, saved
from command_line import check_refusal, run, run_json
from nets import assert_same_weights
from small_nets import assert_same_integers

import lstm
from lstm import LSTM
from lstm.core.precision import PRECISIONS

HALVES = ["bfloat16", "float16"]


@pytest.mark.parametrize("ending", ["npz", "safetensors"])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_convert_to_small_weights_and_back(
    precision: Any, ending: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    needs(ending)
    net = net_of("others")
    path, b, c = saved(tmp_path, "others"), tmp_path / f"b.{ending}", tmp_path / "c.npz"
    status, report = run_json(capsys, "convert", path, b, "--precision", precision)
    small = lstm.load(b)
    assert status == 0
    assert (report["source_precision"], report["precision"]) == (None, precision)
    assert (report["net"], report["bytes"]) == (repr(small), b.stat().st_size)
    assert_same_weights(small, net.quantize(precision))
    status, out, err = run(capsys, "convert", path, b, "--precision", precision)
    assert (status, out, err) == (0, f"{b}: {small!r}, rounded from float32\n", "")
    status, out, _ = run(capsys, "convert", b, c, "--precision", "full")
    assert (status, out) == (0, f"{c}: {lstm.load(c)!r}\n")
    assert_same_weights(lstm.load(c), small.quantize(None))
    status, out, _ = run(capsys, "convert", b, c)
    assert (status, out) == (0, f"{c}: {small!r}\n")
    status, out, _ = run(capsys, "convert", b, c, "--dtype", "float64")
    assert (status, lstm.load(c).dtype, lstm.load(c).precision) == (0, np.float64, None)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_convert_refuses(precision: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    wide = saved(tmp_path, dtype=np.float64)
    b = tmp_path / "b.npz"
    check_refusal(
        *run(capsys, "convert", wide, b, "--precision", precision), ["small weights need dtype float32"]
    )
    status, _, _ = run(capsys, "convert", wide, b, "--precision", precision, "--dtype", "float32")
    assert (status, lstm.load(b).precision) == (0, precision)
    check_refusal(*run(capsys, "convert", wide, b, "--precision", "int4"), ["invalid choice: 'int4'"])
    large = LSTM(3, 5, dtype=np.float32, rng=0)
    large.Wf = np.full((5, 8), 7e4)
    large.save(path := tmp_path / "large.npz")
    check_refusal(
        *run(capsys, "convert", path, b, "--precision", "float16"),
        ["weight_ih_l0 holds a value of magnitude"],
    )


def test_convert_to_onnx_and_back(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """As integers; those of the model are kept, which rounds nothing."""
    needs("onnx")
    path, b, c = saved(tmp_path, "reverse"), tmp_path / "b.onnx", tmp_path / "c.npz"
    status, out, _ = run(capsys, "convert", path, b, "--precision", "int8")
    small = net_of("reverse").quantize("int8")
    assert (status, out) == (0, f"{b}: {small!r}, rounded from float32\n")
    status, out, _ = run(capsys, "convert", b, c, "--precision", "int8")
    assert (status, out) == (0, f"{c}: {small!r}\n")
    assert_same_integers(lstm.load(c), small)
    status, report = run_json(capsys, "convert", b, c)
    assert (status, report["precision"]) == (0, None)
    assert_same_weights(lstm.load(c), small.quantize(None))


@pytest.mark.parametrize("precision", HALVES)
def test_onnx_has_no_sixteen_bits(precision: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    needs("onnx")
    b = tmp_path / "b.onnx"
    check_refusal(
        *run(capsys, "convert", saved(tmp_path), b, "--precision", precision), [f"precision='{precision}'"]
    )
    assert not b.exists()


@pytest.mark.parametrize("precision", PRECISIONS)
def test_info_tells_the_precision(precision: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    net = net_of("others").quantize(precision)
    net.save(path := tmp_path / "net.npz")
    status, report = run_json(capsys, "info", path)
    told = report["lstms"][0]["lstm"]
    assert (status, told["precision"], told["net"]) == (0, precision, repr(net))
    assert told["layers"][0]["shapes"]["weight_ih"] == [20, 3]
    status, out, _ = run(capsys, "info", path)
    assert f"precision='{precision}'" in out
