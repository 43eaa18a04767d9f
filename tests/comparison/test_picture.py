"""The picture of `lstm compare --png`: what it shows, when it is refused."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import check_refusal, run, run_json
from support import random_net

from lstm.comparison import cases, comparison
from lstm.comparison.accuracy import Difference
from lstm.comparison.comparison import Comparison

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time each path once."""
    monkeypatch.setattr(comparison.compare_case, "__kwdefaults__", {"seconds": 0})


def saved(folder: Path, name: str = "net.npz") -> Path:
    random_net(np.random.default_rng(5), 3, 5, np.float32).save(folder / name)
    return folder / name


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# What it shows


def compared(**changes: Any) -> Comparison:
    case = next(cases.grid([(3, 5, 2, 4)], ["float32"]))
    return dataclasses.replace(comparison.compare_case(case, seconds=0), **changes)


def drawn(*comparisons: Comparison, model: str | None = None) -> Any:
    pytest.importorskip("matplotlib")
    from lstm.comparison.chart import figure

    picture = figure(comparisons, model)
    picture.canvas.draw()
    return picture


def dots(ax: Any, label: str) -> list[float]:
    """Places on the x axis of the marks of this name."""
    for line in ax.get_lines():
        if line.get_label() == label:
            return [float(x) for x in line.get_xdata()]
    (marks,) = [marks for marks in ax.collections if marks.get_label() == label]
    return [float(x) for x, _ in marks.get_offsets()]


def test_times_and_errors_are_drawn() -> None:
    difference = Difference(2e-7, 2e-7, 1e-7, 8e-7)
    first = compared(native_seconds=2e-5, numpy_seconds=3e-4, differences={"Y": difference})
    slow = compared(native_seconds=5e-3, numpy_seconds=1e-3, differences={"Y": difference})
    times, errors = drawn(first, slow).axes
    assert dots(times, "native") == [2e-5, 5e-3]
    assert dots(times, "NumPy") == [3e-4, 1e-3]
    assert [text.get_text() for text in times.texts] == ["15.0 times", "0.2 times"]
    assert [text.get_text() for text in times.get_yticklabels()] == ["I 3  H 5  B 2  T 4  float32"] * 2
    assert dots(errors, "native") == pytest.approx([0.25, 0.25])
    assert dots(errors, "NumPy's own") == pytest.approx([0.125, 0.125])
    for ax in (times, errors):
        assert len([text for text in ax.get_xticklabels() if text.get_text()]) >= 2
    assert "10 µs" not in (texts := [text.get_text() for text in times.get_xticklabels()])
    assert "100 µs" in texts


def test_a_case_that_fails_stands_out() -> None:
    far = {"Y": Difference(1.0, 1.0, 1e-7, 8e-7)}
    endless = {"Y": Difference(np.inf, np.inf, 1e-7, 8e-7)}
    exact = {"Y": Difference(0.0, 0.0, 0.0, 8e-7)}
    picture = drawn(*(compared(differences=d) for d in (far, endless, exact)))
    errors = picture.axes[1]
    assert dots(errors, "native") == [1e4, 1e4, 1e-3]
    (marks,) = errors.collections
    colours = [tuple(colour) for colour in marks.get_facecolors()]
    assert colours[0] == colours[1] != colours[2]
    assert "NOT ALL AGREE" in picture.get_suptitle()
    assert "all agree" in drawn(compared()).get_suptitle()


@pytest.mark.parametrize("low", [1.1e-6, 2e-5, 9e-4, 0.3])
def test_an_axis_has_at_least_two_marks(low: float) -> None:
    times = drawn(compared(native_seconds=low, numpy_seconds=1.2 * low)).axes[0]
    left, right = times.get_xlim()
    texts = [text.get_text() for text in times.get_xticklabels()]
    assert len(texts) >= 2
    assert all(left <= tick <= right for tick in times.get_xticks())
    assert not any(".0" in text for text in texts)


# What the command does with it


def test_it_is_written(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    picture = tmp_path / "chart.png"
    picture.write_bytes(b"an older one")
    picture.chmod(0o640)
    status, out, err = run(capsys, "compare", saved(tmp_path), "--png", picture)
    assert (status, err) == (0, "")
    assert out.endswith(f"4 cases agree\nchart: {picture}\n")
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.stat().st_mode & 0o777 == 0o640
    assert names(tmp_path) == ["chart.png", "net.npz"]
    status, report = run_json(capsys, "compare", tmp_path / "net.npz", "--png", picture)
    assert status == 0
    assert len(report["cases"]) == 4


def test_names_are_no_formulas(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Letters that its font lacks are no reason to warn."""
    pytest.importorskip("matplotlib")
    model = saved(tmp_path, r"$\frac$ 网络.npz")
    status, _, err = run(capsys, "compare", model, "--png", tmp_path / "chart.png")
    assert (status, err) == (0, "")


def test_a_failed_comparison_is_drawn_too(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(Comparison, "failures", property(lambda _: ["it is wrong"]))
    status, out, _ = run(capsys, "compare", saved(tmp_path), "--png", tmp_path / "chart.png")
    assert status == 1
    assert "it is wrong" in out
    assert (tmp_path / "chart.png").exists()


def test_without_matplotlib(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Said before anything is computed, or learned."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setattr(comparison, "compare_case", lambda case: pytest.fail("it was compared"))
    monkeypatch.setattr("lstm.train.Trainer.fit", lambda *_, **__: pytest.fail("it was trained"))
    words = ["--png", 'pip install "lstm-native[plot]"']
    check_refusal(*run(capsys, "compare", saved(tmp_path), "--png", tmp_path / "chart.png"), words)
    np.savez(tmp_path / "data.npz", X=np.ones((12, 4, 1)), y=np.ones(12))
    train = ("train", tmp_path / "data.npz", "-o", tmp_path / "trained.npz", "--png", tmp_path / "curve.png")
    check_refusal(*run(capsys, *train), words)
    assert names(tmp_path) == ["data.npz", "net.npz"]


def test_paths_that_are_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(comparison, "compare_case", lambda case: pytest.fail("it was compared"))
    model = saved(tmp_path)
    check_refusal(*run(capsys, "compare", model, "--png", tmp_path / "c.svg"), ["--png", "c.svg", ".png"])
    (tmp_path / "folder.png").mkdir()
    check_refusal(*run(capsys, "compare", model, "--png", tmp_path / "folder.png"), ["Is a directory"])
    (tmp_path / "link.png").symlink_to(model)
    words = ["link.png", "would take the place of", "net.npz"]
    check_refusal(*run(capsys, "compare", model, "--png", tmp_path / "link.png"), words)


def test_a_picture_that_cannot_be_written(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    picture = tmp_path / "absent" / "chart.png"
    status, out, err = run(capsys, "compare", saved(tmp_path), "--png", picture)
    check_refusal(status, out, err, [str(picture), "No such file"])
