"""What `lstm run`, `info` and `convert` refuse: one line on stderr, exit status 2, and no file written."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_files import BROKEN, features, needs, only, put, saved
from command_line import check_refusal, command, run
from support import DATA

from lstm import FormatError
from lstm.__main__ import main
from lstm.commands import npy
from lstm.core.net import Net


@pytest.mark.parametrize("case", BROKEN)
def test_broken_inputs(capsys: pytest.CaptureFixture[str], tmp_path: Path, case: str) -> None:
    model = saved(tmp_path)
    (tmp_path / "X.npy").write_bytes(BROKEN[case])
    (tmp_path / "Y.npy").write_bytes(b"as it was")
    check_refusal(
        *run(capsys, "run", model, tmp_path / "X.npy", "-o", tmp_path / "Y.npy"), [str(tmp_path / "X.npy")]
    )
    for option in ("lengths", "h0", "C0"):
        put(tmp_path / "good.npy", features(2, 3, 3))
        arguments = ["run", model, tmp_path / "good.npy", "-o", tmp_path / "Y.npy"]
        check_refusal(*run(capsys, *arguments, f"--{option}", tmp_path / "X.npy"), [str(tmp_path / "X.npy")])
    assert (tmp_path / "Y.npy").read_bytes() == b"as it was"
    only(tmp_path, "X.npy", "Y.npy", "good.npy", "net.npz")


class Files:
    """What the refusals are made from: a net (3, 5), X (2, 9, 3), and a folder for more."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.model = saved(folder)
        self.X = put(folder / "X.npy", features(2, 9, 3))
        self.Y = folder / "Y.npy"
        self.Y.write_bytes(b"as it was")

    def put(self, name: str, array: np.ndarray) -> Path:
        return put(self.folder / name, array)

    def npz(self, **arrays: np.ndarray) -> Path:
        np.savez(self.folder / "S.npz", **arrays)  # type: ignore[arg-type]
        return self.folder / "S.npz"

    def with_net(self, variant: str, ending: str = "npz") -> Path:
        return saved(self.folder, variant, ending)

    def link(self, name: str, target: Path) -> Path:
        (self.folder / name).symlink_to(target)
        return self.folder / name

    def folder_named(self, name: str) -> Path:
        (self.folder / name).mkdir()
        return self.folder / name

    def run(self, *options: Any, X: Path | None = None, model: Path | None = None) -> list[Any]:
        return ["run", model or self.model, X or self.X, "-o", self.Y, *options]


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


# Arguments made from Files, and words that the message has.
REFUSED: dict[str, tuple[Callable[[Files], list[Any]], list[str]]] = {
    "no output": (lambda f: ["run", f.model, f.X], ["-o", "--state-out", "lstm run --help"]),
    "last of nothing": (
        lambda f: ["run", f.model, f.X, "--last", "--state-out", "S.npz"],
        ["--last", "-o", "not given"],
    ),
    "lengths and offsets": (
        lambda f: f.run("--lengths", "n.npy", "--offsets", "o.npy"),
        ["--lengths", "--offsets", "one of them"],
    ),
    "offsets of a batch": (
        lambda f: f.run("--offsets", f.put("o.npy", np.array([0, 2]))),
        ["o.npy", "(steps, 3)", "(2, 9, 3)"],
    ),
    "offsets that fall": (
        lambda f: f.run(
            "--offsets", f.put("o.npy", np.array([0, 5, 4, 9])), X=f.put("a.npy", features(9, 3))
        ),
        ["o.npy", "rise from 0 to 9"],
    ),
    "offsets that end early": (
        lambda f: f.run("--offsets", f.put("o.npy", np.array([0, 5])), X=f.put("a.npy", features(9, 3))),
        ["o.npy", "from 0 to 5", "rise from 0 to 9"],
    ),
    "offsets of floats": (
        lambda f: f.run("--offsets", f.put("o.npy", np.zeros(1)), X=f.put("a.npy", features(0, 3))),
        ["o.npy", "float64"],
    ),
    "lengths whose sum wraps around": (
        lambda f: f.run("--lengths", f.put("n.npy", np.full(2, 2**63)), X=f.put("a.npy", features(9, 3))),
        ["n.npy", "from 0 to 9"],
    ),
    "columns of an array": (lambda f: f.run("--columns", "x"), ["--columns", "X.npy", ".parquet"]),
    "json and outputs in one": (
        lambda f: ["run", f.model, f.X, "-o", "-", "--json"],
        ["--json", "stdout"],
    ),
    "resume of a pipe": (lambda f: f.run("--resume", X=Path("-")), ["--resume", "stdin"]),
    "resume without outputs": (
        lambda f: ["run", f.model, f.X, "--state-out", "S.npz", "--resume"],
        ["--resume", ".npy"],
    ),
    "an array as a table": (
        lambda f: ["run", f.model, f.X, "-o", "Y.parquet"],
        ["Y.parquet", "must end in .npy"],
    ),
    "steps of a table as an array": (
        lambda f: f.run(X=Path("x.parquet")),
        ["x.parquet", "--last", ".parquet"],
    ),
    "lengths of a table": (
        lambda f: f.run("--lengths", "n.npy", X=Path("x.parquet")),
        ["--lengths", "x.parquet"],
    ),
    "no input": (lambda f: ["run", f.model, "-o", f.Y], ["INPUT"]),
    "three files": (lambda f: f.run("more.npy"), ["more.npy"]),
    "output of another ending": (lambda f: ["run", f.model, f.X, "-o", "Y.txt"], ["Y.txt", ".npy"]),
    "state of another ending": (lambda f: f.run("--state-out", "S.npy"), ["--state-out", "S.npy", ".npz"]),
    "block of nothing": (lambda f: f.run("--block", "0"), ["--block", "'0'"]),
    "block of words": (lambda f: f.run("--block", "many"), ["--block", "'many'"]),
    "missing model": (lambda f: f.run(model=Path("none.npz")), ["none.npz", "No such file"]),
    "missing input": (lambda f: f.run(X=Path("none.npy")), ["none.npy", "No such file"]),
    "missing lengths": (lambda f: f.run("--lengths", "none.npy"), ["none.npy", "No such file"]),
    "missing state": (lambda f: f.run("--state-in", "none.npz"), ["none.npz", "No such file"]),
    "folder as input": (lambda f: f.run(X=f.folder_named("in.npy")), ["in.npy", "directory"]),
    "folder as output": (
        lambda f: ["run", f.model, f.X, "-o", f.folder_named("out.npy")],
        ["out.npy", "directory"],
    ),
    "folder that is not there": (
        lambda f: ["run", f.model, f.X, "-o", f.folder / "none" / "Y.npy"],
        ["none/Y.npy", "No such file"],
    ),
    "input as output": (lambda f: ["run", f.model, f.X, "-o", f.X], ["X.npy", "place of"]),
    "input as output by a link": (
        lambda f: ["run", f.model, f.X, "-o", f.link("other.npy", f.X)],
        ["other.npy", "X.npy"],
    ),
    "model as state": (lambda f: f.run("--state-out", f.model), ["net.npz", "place of"]),
    "lengths as output": (
        lambda f: ["run", f.model, f.X, "--lengths", f.put("n.npy", np.ones(2)), "-o", f.folder / "n.npy"],
        ["n.npy"],
    ),
    "states twice": (lambda f: f.run("--state-in", "S.npz", "--h0", "h.npy"), ["--state-in", "--h0"]),
    "features": (lambda f: f.run(X=f.put("a.npy", features(9, 4))), ["a.npy", "4 features", "input_size=3"]),
    "dimensions": (lambda f: f.run(X=f.put("a.npy", features(3))), ["a.npy", "shape (3,)"]),
    "no dimensions": (lambda f: f.run(X=f.put("a.npy", np.float32(1))), ["a.npy", "shape ()"]),
    "complex": (lambda f: f.run(X=f.put("a.npy", features(9, 3) + 0j)), ["a.npy", "c16"]),
    "text": (lambda f: f.run(X=f.put("a.npy", np.array([["a"] * 3]))), ["a.npy", "U1"]),
    "lengths of a sequence": (
        lambda f: f.run("--lengths", f.put("n.npy", np.array([1])), X=f.put("a.npy", features(9, 3))),
        ["n.npy", "add up to 1", "9 steps"],
    ),
    "lengths too many": (lambda f: f.run("--lengths", f.put("n.npy", np.ones(3, int))), ["n.npy", "(3,)"]),
    "lengths too long": (lambda f: f.run("--lengths", f.put("n.npy", np.array([1, 10]))), ["n.npy", "10"]),
    "lengths of floats": (lambda f: f.run("--lengths", f.put("n.npy", np.ones(2))), ["n.npy", "float64"]),
    "h0 shape": (
        lambda f: f.run("--h0", f.put("h.npy", features(2, 4))),
        ["h.npy", "h0", "(2, 4)", "(2, 5)"],
    ),
    "C0 shape": (lambda f: f.run("--C0", f.put("h.npy", features(5, 2))), ["h.npy", "C0", "(5, 2)"]),
    "state without C_n": (lambda f: f.run("--state-in", f.npz(h_n=features(2, 5))), ["S.npz", "C_n"]),
    "state of another net": (
        lambda f: f.run("--state-in", f.npz(h_n=features(2, 5), C_n=features(2, 6))),
        ["S.npz", "C0", "(2, 6)"],
    ),
    "node of an .npz file": (lambda f: f.run("--node", "x"), ["node", "net.npz"]),
    "external data of an .npz file": (lambda f: f.run("--external-data"), ["external_data", "net.npz"]),
    "external data of nothing": (lambda f: ["info", "--external-data"], ["--external-data", "MODEL"]),
    "info of external data of an .npz file": (
        lambda f: ["info", f.model, "--external-data"],
        ["external_data", "net.npz"],
    ),
    "pick without a model": (lambda f: ["info", "--node", "x"], ["--node", "MODEL"]),
    "pick for the grid": (lambda f: ["compare", "--prefix", "x"], ["--prefix", "MODEL"]),
    "info of nothing": (lambda f: ["info", "none.npz"], ["none.npz", "No such file"]),
    "info of an unknown ending": (lambda f: ["info", "net.xyz"], ["net.xyz", ".npz"]),
    "info of a pickle": (lambda f: ["info", "net.pt"], ["net.pt", "weights_only=True"]),
    "info of two": (lambda f: ["info", f.model, "two.npz"], ["two.npz"]),
    "info of text": (lambda f: ["info", f.X.rename(f.folder / "x.npz")], ["x.npz"]),
    "convert to nothing": (lambda f: ["convert", f.model], ["B"]),
    "convert to an unknown ending": (lambda f: ["convert", f.model, "b.xyz"], ["b.xyz", ".safetensors"]),
    "convert to no ending": (lambda f: ["convert", f.model, "npz"], ["npz", ".safetensors"]),
    "convert to a pickle": (lambda f: ["convert", f.model, "b.pt"], ["b.pt", ".safetensors"]),
    "convert to Keras": (lambda f: ["convert", f.model, "b.keras"], ["b.keras", ".safetensors"]),
    "convert to itself": (lambda f: ["convert", f.model, f.model], ["net.npz", "place of"]),
    "convert nothing": (lambda f: ["convert", "none.npz", f.folder / "b.npz"], ["none.npz", "No such file"]),
    "convert to a folder": (lambda f: ["convert", f.model, f.folder_named("b.npz")], ["b.npz", "directory"]),
    "convert to a folder that is not there": (
        lambda f: ["convert", f.model, f.folder / "none" / "b.npz"],
        ["none/b.npz", "No such file"],
    ),
    "convert to another dtype": (
        lambda f: ["convert", f.model, f.folder / "b.npz", "--dtype", "float16"],
        ["float16"],
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(capsys: pytest.CaptureFixture[str], files: Files, case: str) -> None:
    make, words = REFUSED[case]
    arguments = make(files)
    before = sorted(os.listdir(files.folder))
    check_refusal(*run(capsys, *arguments), words)
    assert sorted(os.listdir(files.folder)) == before
    assert files.Y.read_bytes() == b"as it was"


@pytest.mark.parametrize("case", ["no output", "missing model", "input as output", "convert to itself"])
def test_refused_as_a_process(files: Files, case: str) -> None:
    make, words = REFUSED[case]
    done = command(files.folder, *make(files))
    check_refusal(done.returncode, done.stdout, done.stderr, words)


@pytest.mark.parametrize(
    ("ending", "library", "extra"),
    [("safetensors", "safetensors", "safetensors"), ("onnx", "onnx", "onnx"), ("keras", "h5py", "keras")],
)
def test_a_missing_extra_is_named(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    ending: str,
    library: str,
    extra: str,
) -> None:
    needs(ending)
    path = DATA / "keras" / "plain.keras" if ending == "keras" else saved(tmp_path, ending=ending)
    monkeypatch.setitem(sys.modules, library, None)
    words = [f'pip install "lstm-native[{extra}]"']
    check_refusal(*run(capsys, "info", path), words)
    check_refusal(*run(capsys, "convert", path, tmp_path / "b.npz"), words)
    if ending != "keras":
        check_refusal(*run(capsys, "convert", saved(tmp_path), tmp_path / f"b.{ending}"), words)
    assert not list(tmp_path.glob("b.*"))


def test_a_file_cut_short_while_it_is_read(tmp_path: Path) -> None:
    path = put(tmp_path / "X.npy", features(50, 3))
    with npy.Reader(path) as file:
        os.truncate(path, 1000)
        file.block(slice(0, 1), slice(0, 20))
        with pytest.raises(FormatError, match="cut short"):
            file.block(slice(0, 1), slice(20, 50))


def test_a_defect_is_no_unusable_argument(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], files: Files
) -> None:
    def defect(*_: Any, **__: Any) -> None:
        raise ValueError("a defect")

    monkeypatch.setattr(Net, "run", defect)
    with pytest.raises(ValueError, match="a defect"):
        main(list(map(str, files.run())))
    assert files.Y.read_bytes() == b"as it was"
    only(files.folder, "X.npy", "Y.npy", "net.npz")
