"""The commands together: files of Keras, comparisons of files, what is imported and what is documented."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_files import (
    ENDINGS,
    OPTIONS,
    PICKED_BY,
    VARIANTS,
    features,
    needs,
    net_of,
    put,
    run_on,
    saved,
    several,
    states,
)
from command_line import check_refusal, command, environment, run, run_json
from support import DATA, ROOT, assert_same_bits

import lstm

# Keras


KERAS = {
    "plain.keras": [],
    "stacked.keras": [],
    "bidirectional.h5": [],
    "plain.weights.h5": [],
    "rnn_stack.h5": [],
    "branches.keras": ["--layer", "elu"],
    "stacked.h5": ["--layer", "1"],
}


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("name", KERAS)
def test_files_of_keras(capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str) -> None:
    """Told, run, converted and compared."""
    needs("keras")
    path, pick = DATA / "keras" / name, KERAS[name]
    layer = {"layer": int(pick[1]) if pick[1].isdecimal() else pick[1]} if pick else {}
    net = lstm.load(path, **layer)
    status, report = run_json(capsys, "info", path, *pick)
    assert status == 0
    assert report["lstms"][0]["lstm"]["num_layers"] == net.num_layers
    X = features(2, 19, net.input_size)
    Y, _ = run_on(capsys, tmp_path, path, X, "--block", "9", *pick)
    assert_same_bits(Y, net.forward_sequence(X))
    for ending in ENDINGS:
        needs(ending)
        status, _, err = run(capsys, "convert", path, tmp_path / f"b.{ending}", *pick)
        assert (status, err) == (0, "")
        assert_same_bits(lstm.load(tmp_path / f"b.{ending}").forward_sequence(X), Y)
    np.savez(tmp_path / "X.npz", X=X, Y=Y)
    status, _ = run_json(capsys, "compare", path, tmp_path / "X.npz", *pick)
    assert status == 0


@pytest.mark.parametrize("name", ["branches.keras", "stacked.h5", "rnn_stack.weights.h5"])
def test_every_layer_of_keras_is_told(capsys: pytest.CaptureFixture[str], name: str) -> None:
    needs("keras")
    path = DATA / "keras" / name
    _, report = run_json(capsys, "info", path)
    told = [one for one in report["lstms"] if one["option"] is not None]
    assert len(told) >= 3
    for one in told:
        assert (one["option"], one["error"]) == ("layer", None)
        net = lstm.load(path, layer=one["value"])
        sizes = (net.input_size, net.hidden_size, net.num_layers)
        assert tuple(one["lstm"][name] for name in OPTIONS[:3]) == sizes


def test_a_layer_that_there_is_not(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    needs("keras")
    path = DATA / "keras" / "branches.keras"
    check_refusal(*run(capsys, "info", path, "--layer", "none"), ["branches.keras", "'none'", "'elu'"])
    check_refusal(*run(capsys, "info", path, "--layer", "99"), ["branches.keras", "99", "'elu'"])
    check_refusal(*run(capsys, "info", path, "--node", "elu"), ["branches.keras", "node"])
    check_refusal(*run(capsys, "convert", path, tmp_path / "b.npz"), ["branches.keras", "layer", "'elu'"])


# compare


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time each path once."""
    from lstm.comparison import comparison

    monkeypatch.setattr(comparison.compare_case, "__kwdefaults__", {"seconds": 0})


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_compare_of_every_variant(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, variant: str, ending: str
) -> None:
    """Against inputs and outputs in a file, in a batch and alone, and random ones."""
    needs(ending)
    if ending == "onnx" and variant == "projection":
        pytest.skip("ONNX has no projection")
    net, path = net_of(variant), saved(tmp_path, variant, ending)
    status, report = run_json(capsys, "compare", path)
    assert status == 0, report["cases"]
    from_end = net.bidirectional or net.reverse
    ways = ["batch rows alone"] if from_end else ["single steps", "stream", "chunks", "batch rows alone"]
    assert report["ways"] == ways
    for X in (features(4, 25, 3), features(25, 3)):
        h0, C0 = states(net, len(X) if X.ndim == 3 else None)
        Y, (h_n, C_n) = net.forward_sequence(X, h0, C0, return_state=True)
        np.savez(tmp_path / "X.npz", X=X, h0=h0, C0=C0, Y=Y, h_n=h_n, C_n=C_n)
        status, report = run_json(capsys, "compare", path, tmp_path / "X.npz")
        assert status == 0
        (case,) = report["cases"]
        assert {name: d["absolute"] for name, d in case["recorded"].items()} == {"Y": 0, "h_n": 0, "C_n": 0}
        assert 0 < case["difference"]["absolute"] < 5e-6
        h_n[-1, ..., 0] += 1e-4
        np.savez(tmp_path / "X.npz", X=X, h0=h0, C0=C0, h_n=h_n)
        status, report = run_json(capsys, "compare", path, tmp_path / "X.npz")
        assert status == 1
        assert report["cases"][0]["failures"][0].startswith("h_n differs from the recorded one")
    status, out, _ = run(capsys, "compare", path)
    assert f"same bits: whole sequence, {', '.join(ways)}; on " in out


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("ending", PICKED_BY)
def test_compare_a_picked_net(capsys: pytest.CaptureFixture[str], tmp_path: Path, ending: str) -> None:
    path, nets = several(tmp_path, ending)
    for value, net in nets.items():
        np.savez(tmp_path / "X.npz", X=(X := features(9, net.input_size)), Y=net.forward_sequence(X))
        pick = [f"--{PICKED_BY[ending]}", value]
        for arguments in ([path, tmp_path / "X.npz", *pick], [path, *pick, tmp_path / "X.npz"]):
            status, report = run_json(capsys, "compare", *arguments)
            assert status == 0
            assert report["cases"][0]["recorded"]["Y"]["absolute"] == 0
    check_refusal(*run(capsys, "compare", path), [PICKED_BY[ending], *nets])


# What is imported, and what is documented


def imported_by(folder: Path, code: str) -> set[str]:
    """The modules that a process has after `code`."""
    code += "\nimport sys\nprint(*sys.modules, file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return set(done.stderr.split())


LIBRARIES = {"h5py", "keras", "matplotlib", "onnx", "safetensors", "torch", "tqdm"}


def test_nothing_is_imported_before_it_is_used(tmp_path: Path) -> None:
    saved(tmp_path)
    assert not imported_by(tmp_path, "import lstm") & {*LIBRARIES, "argparse", "lstm.commands"}
    begin = "from lstm.__main__ import main\n"
    for arguments in (["--help"], ["run", "--help"], ["report", "--help"], ["--version"], ["info"]):
        found = imported_by(tmp_path, f"{begin}main({arguments})")
        assert not found & {
            *LIBRARIES,
            "lstm.comparison.comparison",
            "lstm.comparison.page",
            "lstm.comparison.report",
            "lstm.formats.npz",
            "lstm.formats.numpy_files",
        }, arguments
    put(tmp_path / "X.npy", features(9, 3))
    for words in ("info net.npz", "run net.npz X.npy -o Y.npy", "convert net.npz b.npz"):
        found = imported_by(tmp_path, f"{begin}main({words.split()})")
        assert not found & {*LIBRARIES, "lstm.comparison.comparison", "lstm.comparison.report"}, words


def test_the_keys_are_told(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The page of pydoc that a help names has every key of the document."""
    saved(tmp_path)
    put(tmp_path / "X.npy", features(9, 3))
    np.savez(tmp_path / "data.npz", X=features(20, 9, 3), y=np.arange(20.0))
    model, X = tmp_path / "net.npz", tmp_path / "X.npy"
    for arguments in (
        ["info"],
        ["info", model],
        ["run", model, X, "-o", tmp_path / "Y.npy"],
        ["convert", model, tmp_path / "b.npz"],
        ["compare", model],
        *([["report", model, X, "-o", tmp_path / "report.html"]] if find_spec("matplotlib") else []),
        ["train", tmp_path / "data.npz", "-o", tmp_path / "b.npz", "--epochs", "1"],
    ):
        _, report = run_json(capsys, *arguments)
        _, out, _ = run(capsys, str(arguments[0]), "--help")
        page = re.search(r"python -m pydoc (\S+)", out)
        assert page is not None
        done = subprocess.run(
            [sys.executable, "-m", "pydoc", page[1]], env=environment(), capture_output=True, text=True
        )
        for key in keys_of(report):
            assert re.search(rf"``{key}``", done.stdout), (arguments[0], key)


def keys_of(document: Any) -> Iterator[str]:
    """The keys of a document, but not those that are names of files' entries, outputs and weights."""
    if isinstance(document, list):
        for one in document:
            yield from keys_of(one)
    elif isinstance(document, dict):
        for key, value in document.items():
            yield key
            if key not in ("differences", "recorded", "shapes"):
                yield from keys_of(value)


@pytest.mark.skipif(not (ROOT / "docs").exists(), reason="needs the source tree")
def test_the_page_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every command of docs/command-line.md, after the files that it speaks of have been made."""
    needs("onnx")
    needs("safetensors")
    needs("parquet")
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs" / "command-line.md").read_text("utf-8")
    names: dict[str, object] = {}
    for code in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(code, names)
    lines = [line for block in re.findall(r"```sh\n(.*?)```", page, re.DOTALL) for line in block.splitlines()]
    commands = [shlex.split(line, comments=True) for line in lines if line.startswith("lstm ")]
    assert {words[1] for words in commands} == {"info", "run", "convert", "compare", "report", "train"}
    for words in commands:
        if words[1:] == ["compare"]:
            continue  # the grid, which takes long
        status, out, err = run(capsys, *words[1:])
        assert (status, err) == (0, ""), words
        assert out


def test_both_ways_to_start_it(tmp_path: Path) -> None:
    done = command(tmp_path, "info", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    program = Path(sys.executable).parent / "lstm"
    if program.exists():
        script = subprocess.run(
            [program, "info", "--json"], capture_output=True, text=True, env=environment()
        )
        assert (script.returncode, script.stdout) == (0, done.stdout)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("arguments", ["--help", "--version", "run --help", "info"])
def test_an_output_that_cannot_be_written_is_an_error(arguments: str, unbuffered: str) -> None:
    """Buffered or not: where each write fails, argparse of its own is silent."""
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "lstm", *arguments.split()],
            stdout=full,
            stderr=subprocess.PIPE,
            env=environment(PYTHONUNBUFFERED=unbuffered),
            text=True,
        )
    check_refusal(done.returncode, "", done.stderr, ["cannot be written", "No space left"])
