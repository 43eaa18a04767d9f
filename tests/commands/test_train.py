"""`lstm train`: what it writes, how it goes on, and what it refuses."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_files import only
from command_line import check_refusal, environment, run, run_json
from support import assert_same_bits

import lstm
from lstm import LSTM, FormatError
from lstm.train import Adam, LinearHead, Squared, Trainer, load, save


def data(folder: Path, name: str = "data.npz", **changes: Any) -> Path:
    """X (40, 8, 2) and y (40,): the mean of the first feature; with lengths."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((40, 8, 2))
    arrays = {"X": X, "y": X[..., 0].mean(axis=1), **changes}
    np.savez(folder / name, **{key: value for key, value in arrays.items() if value is not None})
    return folder / name


SMALL = ("--hidden", "6", "--batch-size", "8", "--learning-rate", "0.02")


def test_it_learns_and_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "net.npz"
    status, report = run_json(capsys, "train", data(tmp_path), "-o", output, "--epochs", "25", *SMALL)
    assert status == 0
    assert (report["loss"], report["epochs"], report["steps"]) == ("Squared", 25, 25 * 5)
    assert report["best_loss"] == min(report["validation_loss"]) < 0.03 < report["validation_loss"][0]
    only(tmp_path, "data.npz", "net.npz")
    net, head = load(output)
    assert repr(net) == report["net"] == repr(lstm.load(output)) == "LSTM(2, 6, dtype=float32)"
    with np.load(tmp_path / "data.npz") as file:
        X, y = file["X"][9::10], file["y"][9::10]
    # Of the best net, over the rows that were kept apart.
    assert np.square(head.predict(net, X)[:, 0] - y).mean() == pytest.approx(report["best_loss"], rel=1e-5)


def test_it_is_what_the_trainer_does(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, output = data(tmp_path), tmp_path / "net.npz"
    arguments = ("--validation", "0", "--epochs", "3", "--seed", "7", "--dtype", "float64", "--layers", "2")
    status, out, err = run(capsys, "train", path, "-o", output, *arguments, *SMALL)
    assert (status, err) == (0, "")
    assert "net.npz: LSTM(2, 6, num_layers=2, dtype=float64) with 1 outputs, loss 0." in out
    with np.load(path) as file:
        X, y = file["X"], file["y"]
    net = LSTM(2, 6, num_layers=2, rng=[7, 0])
    head = LinearHead(net, rng=[7, 1])
    trainer = Trainer(net, head, Squared(), Adam(0.02), batch_size=8, clip_norm=1.0, rng=[7, 2])
    trainer.fit(X, y, epochs=3, progress=False)
    for name, array in trainer.best[0].state_dict().items():
        assert_same_bits(lstm.load(output).state_dict()[name], array, name)
    assert_same_bits(load(output)[1].weight, trainer.best[1].weight)


@pytest.mark.parametrize(
    ("y", "options", "expected"),
    [
        (np.arange(40) % 3, (), (3, False, "CrossEntropy")),
        (np.arange(320).reshape(40, 8) % 3, (), (3, True, "CrossEntropy")),
        (np.ones((40, 4)), (), (4, False, "Squared")),
        (np.ones((40, 8)), ("--every-step",), (1, True, "Squared")),
        (np.ones((40, 8, 2)), (), (2, True, "Squared")),
    ],
)
def test_the_task_is_told_by_y(
    y: Any, options: Any, expected: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = data(tmp_path, y=y, lengths=np.arange(40) % 8 + 1)
    arguments = ("--epochs", "1", "--bidirectional", *options, *SMALL)
    status, report = run_json(capsys, "train", path, "-o", tmp_path / "net.npz", *arguments)
    assert status == 0
    assert (report["outputs"], report["every_step"], report["loss"]) == expected
    assert load(tmp_path / "net.npz")[1].every_step == expected[1]


def test_stopped_and_resumed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = data(tmp_path)
    whole, output, checkpoint = tmp_path / "whole.npz", tmp_path / "net.npz", tmp_path / "run.npz"
    assert run(capsys, "train", path, "-o", whole, "--epochs", "5", *SMALL)[0] == 0
    start = ("train", path, "-o", output, "--epochs")
    assert run(capsys, *start, "2", "--checkpoint", checkpoint, *SMALL)[0] == 0
    assert run(capsys, *start, "5", "--resume", checkpoint)[0] == 0
    assert output.read_bytes() == whole.read_bytes()
    check_refusal(*run(capsys, *start, "6", "--resume", checkpoint, "--hidden", "9"), ["--hidden", "its own"])


def test_threads_change_speed_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fit, seen = Trainer.fit, []

    def spied(self: Trainer, *arguments: Any, **options: Any) -> Trainer:
        seen.append(lstm.get_num_threads())
        return fit(self, *arguments, **options)

    monkeypatch.setattr(Trainer, "fit", spied)
    before, path = lstm.get_num_threads(), data(tmp_path)
    for count in (1, 3):
        words = ("-o", tmp_path / f"{count}.npz", "--epochs", "2", "--threads", count, *SMALL)
        assert run(capsys, "train", path, *words)[0] == 0
    assert (tmp_path / "1.npz").read_bytes() == (tmp_path / "3.npz").read_bytes()
    assert seen == [1, 3]
    assert lstm.get_num_threads() == before


def test_ctrl_c_writes_the_best(tmp_path: Path) -> None:
    path, checkpoint = data(tmp_path), tmp_path / "run.npz"
    words = ["train", path, "-o", "net.npz", "--epochs", "1000000", "--checkpoint", checkpoint, *SMALL]
    child = subprocess.Popen(
        [sys.executable, "-m", "lstm", *map(str, words)],
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not checkpoint.exists() and child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    child.send_signal(signal.SIGINT)
    try:
        out, err = child.communicate(timeout=60)
    finally:
        child.kill()  # if it did not hear the signal
    assert child.returncode == 130, err
    assert "stopped by Ctrl-C after" in err
    assert "net.npz: LSTM(2, 6" in out
    only(tmp_path, "data.npz", "net.npz", "run.npz")
    load(tmp_path / "net.npz")


def test_the_curve_is_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    picture = tmp_path / "curve.png"
    arguments = ("-o", tmp_path / "net.npz", "--epochs", "2", "--png", picture, *SMALL)
    assert run(capsys, "train", data(tmp_path), *arguments)[0] == 0
    assert picture.read_bytes().startswith(b"\x89PNG")


WRONG: dict[str, tuple[dict[str, Any], tuple[str, ...], list[str]]] = {
    "no y": ({"y": None}, (), ["data.npz", "'y'"]),
    "an unknown array": ({"z": np.ones(40)}, (), ["z", "known"]),
    "other rows": ({"y": np.ones(39)}, (), ["y has shape (39,)", "as many rows"]),
    "no steps": ({"X": np.ones(40)}, (), ["X has shape (40,)"]),
    "NaN": ({"y": np.full(40, np.nan)}, (), ["data.npz", "not finite"]),
    "one class": ({"y": np.zeros(40, int)}, (), ["one class"]),
    "a class below zero": ({"y": np.arange(40) - 2}, (), ["classes from -2"]),
    "text": ({"y": np.full(40, "a")}, (), ["dtype"]),
    "a batch of none": ({}, ("--batch-size", "0"), ["--batch-size", "at least 1"]),
    "a rate below zero": ({}, ("--learning-rate", "-1"), ["--learning-rate"]),
    "a fraction above": ({}, ("--validation", "0.9"), ["--validation", "0 to 0.5"]),
    "an ending": ({}, ("--checkpoint", "run.pkl"), ["--checkpoint", ".npz"]),
    "no run": ({}, ("--resume", "absent.npz"), ["absent.npz", "No such file"]),
    "divergence": ({"X": 1e30 * np.ones((40, 8, 2)), "y": 1e300 * np.ones(40)}, (), ["not finite"]),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_refused(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    changes, arguments, words = WRONG[name]
    path = data(tmp_path, **changes)
    check_refusal(*run(capsys, "train", path, "-o", tmp_path / "net.npz", *arguments), words)
    only(tmp_path, "data.npz")


def test_a_file_of_net_and_head(tmp_path: Path) -> None:
    path = tmp_path / "net.npz"
    net = LSTM(3, 5, bidirectional=True, merge="mul", peephole=True, rng=0)
    head = LinearHead(net, 4, every_step=True, rng=1)
    head.bias[...] = [1, 2, 3, 4]
    save(net, head, path)
    read_net, read_head = load(path)
    assert repr(read_net) == repr(net)
    X = np.random.default_rng(2).standard_normal((2, 7, 3))
    assert_same_bits(read_head.predict(read_net, X), head.predict(net, X))
    net.save(path)
    with pytest.raises(
        FormatError, match=r"net\.npz lacks head\.weight, .*: it holds a net without its head"
    ):
        load(path)
    with pytest.raises(ValueError, match=r"must end in \.npz"):
        save(net, head, tmp_path / "net.onnx")


@pytest.mark.parametrize("entry", ["head.weight", "head.bias", "head.every_step"])
@pytest.mark.parametrize("value", [np.ones(3), np.array("a"), np.ones((0, 5)), np.array(2)], ids=repr)
def test_a_damaged_head_raises(entry: str, value: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "net.npz"
    net = LSTM(3, 5, rng=0)
    save(net, LinearHead(net, 2, rng=1), path)
    with np.load(path, allow_pickle=False) as file:
        arrays = {**file, entry: value}
    np.savez(path, **arrays)  # type: ignore[arg-type]
    with pytest.raises(FormatError, match=r"net\.npz"):
        load(path)


def test_info_says_that_the_head_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net = LSTM(2, 6, rng=0)
    save(net, LinearHead(net, rng=0), tmp_path / "net.npz")
    status, report = run_json(capsys, "info", tmp_path / "net.npz")
    assert status == 0
    assert "head.weight" in report["lstms"][0]["notes"][0]
    net.save(tmp_path / "alone.npz")
    assert run_json(capsys, "info", tmp_path / "alone.npz")[1]["lstms"][0]["notes"] == []
