"""`lstm compare` and benchmarks/bench.py: what they find, what they print, what they refuse."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import check_refusal, command, environment, into_closed_pipe, parse, run, run_json
from support import ROOT, assert_same_bits, random_net

import lstm
from lstm import LSTM, _kernel
from lstm.__main__ import main
from lstm.comparison import cases, comparison
from lstm.comparison.machine import cpu_name
from lstm.comparison.report import text_report
from lstm.core import reference
from lstm.stream import Stream

SPEECH_NET = ROOT / "examples" / "speech" / "lstm.npz"
SPEECH = ROOT / "examples" / "speech" / "speech.npz"

TITLES = ["I", "H", "B", "T", "dtype", "ISA", "error", "NumPy's", "allowed", "native", "NumPy", "ratio"]
DIFFERENCE_KEYS = {"absolute", "relative", "numpy_error", "tolerance"}
CASE_KEYS = {
    "input_size",
    "hidden_size",
    "batch",
    "time",
    "dtype",
    "precision",
    "isa",
    "difference",
    "differences",
    "recorded",
    "native_seconds",
    "numpy_seconds",
    "ratio",
    "different_bits",
    "isa_part",
    "nan_outputs",
    "passed",
    "failures",
}
REPORT_KEYS = {
    "lstm",
    "python",
    "numpy",
    "cpu",
    "isa",
    "isas",
    "threads",
    "blas_threads",
    "model",
    "input",
    "unused_entries",
    "ways",
    "passed",
    "cases",
}

Arrays = dict[str, np.ndarray]


class Files:
    """A small net, its file, and input files for it."""

    def __init__(self, folder: Path) -> None:
        rng = np.random.default_rng(5)
        self.folder = folder
        self.net = random_net(rng, 3, 5, np.float32)
        self.model = folder / "net.npz"
        self.net.save(self.model)
        self.features = rng.standard_normal((25, 3)).astype(np.float32)
        self.h0 = rng.uniform(-1, 1, 5).astype(np.float32)
        self.c0 = rng.standard_normal(5).astype(np.float32)

    def outputs(self) -> Arrays:
        Y, (h_n, C_n) = self.net.forward_sequence(self.features, self.h0, self.c0, return_state=True)
        return {"hidden": Y, "h_n": h_n, "c_n": C_n}

    def entries(self) -> Arrays:
        return {"features": self.features, "h0": self.h0, "c0": self.c0, **self.outputs()}

    def input(self, **changes: Any) -> Path:
        """An input file of all entries, with some replaced, added, or left out where None."""
        path = self.folder / "input.npz"
        entries = {**self.entries(), **changes}
        np.savez(path, **{k: v for k, v in entries.items() if v is not None})
        return path


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


# The speech example


def test_speech_agrees(tmp_path: Path) -> None:
    done = command(tmp_path, "compare", SPEECH_NET, SPEECH)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    lines = done.stdout.splitlines()
    assert f"NumPy {np.__version__}" in lines[0]
    assert cpu_name() in lines[0]
    assert "not used of the input: speech_probability" in lines
    titles = next(k for k, line in enumerate(lines) if line.split() == TITLES)
    assert re.fullmatch(
        rf"128 +128 +1 +480 +float32 +{_kernel.DEFAULT_ISA}"
        r"( +\d\.\d\de-\d\d){3}( +[\d.]+ (µs|ms|s)){2} +[\d.]+ +ok",
        lines[titles + 1].strip(),
    )
    for entry in ("hidden", "h_n", "c_n"):
        assert any(re.fullmatch(rf" *{entry}( +\d\.\d\de-\d\d){{3}}  ok", line) for line in lines), entry
    assert (
        "same bits: whole sequence, single steps, stream, chunks, batch rows alone; "
        f"on {', '.join(_kernel.SUPPORTED_ISAS)}" in lines
    )
    assert lines[-1] == "1 case agrees"


def test_speech_figures(tmp_path: Path) -> None:
    done = command(tmp_path, "compare", SPEECH_NET, SPEECH, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    report = parse(done.stdout)
    assert report.keys() == REPORT_KEYS
    assert report["model"] == str(SPEECH_NET)
    assert report["input"] == str(SPEECH)
    assert report["unused_entries"] == ["speech_probability"]
    assert report["isas"] == list(_kernel.SUPPORTED_ISAS)
    (case,) = report["cases"]
    assert case.keys() == CASE_KEYS
    assert case["differences"].keys() == {"Y", "h_n", "C_n"}
    assert all(d.keys() == DIFFERENCE_KEYS for d in (case["difference"], *case["differences"].values()))
    assert case["isa_part"] == [1, 480]
    assert case["native_seconds"] > 0
    assert case["ratio"] == pytest.approx(case["numpy_seconds"] / case["native_seconds"])
    assert case["recorded"].keys() == {"hidden", "h_n", "c_n"}
    with np.load(SPEECH, allow_pickle=False) as recorded:
        Y, (h_n, C_n) = lstm.load(SPEECH_NET).forward_sequence(recorded["features"], return_state=True)
        for entry, output in (("hidden", Y), ("h_n", h_n[0]), ("c_n", C_n[0])):
            expected = recorded[entry].astype(np.float64)
            largest = np.abs(output - expected).max()
            found = case["recorded"][entry]
            assert found["absolute"] == pytest.approx(largest)
            assert found["relative"] == pytest.approx(largest / max(1, np.abs(expected).max()))
            # Of another program: not the same bits, yet within the tolerance.
            assert 0 < found["relative"] <= 5e-6 <= found["tolerance"] <= 2e-5


# What agrees


def test_grid(tmp_path: Path) -> None:
    done = command(tmp_path, "compare")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert max(map(len, done.stdout.splitlines()[2:])) <= 100
    rows = [line.split() for line in done.stdout.splitlines() if line.endswith("  ok")]
    sizes = [tuple(map(int, row[:4])) for row in rows]
    assert sizes == [*cases.GRID] * 2
    assert [row[4] for row in rows] == ["float32"] * len(cases.GRID) + ["float64"] * len(cases.GRID)
    assert done.stdout.endswith(f"{len(rows)} cases agree\n")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_functions_without_command_line(dtype: str) -> None:
    compared = list(cases.grid([(1, 1, 1, 1), (5, 17, 7, 23), (130, 40, 3, 4)], [dtype]))
    for case in compared:
        found = comparison.compare_case(case, seconds=0)
        assert found.passed, found.failures
        assert (found.batch, found.time, found.dtype) == (*case.X.shape[:2], dtype)
        assert not np.array_equal(case.h0, case.C0)
        if case.net.hidden_size > 1:
            # Two computations, not one compared with itself.
            assert 0 < found.difference.relative <= {"float32": 2e-6, "float64": 4e-15}[dtype]
            assert found.difference.numpy_error > 0
    again = next(cases.grid([(5, 17, 7, 23)], [dtype]))
    assert_same_bits(again.X, compared[1].X)
    assert_same_bits(again.net.Wf, compared[1].net.Wf)


def test_paths_keep_the_net_dtype(monkeypatch: pytest.MonkeyPatch) -> None:
    """The NumPy path is timed in the net's dtype; what it is held to is float64."""
    seen = []
    step = reference.step

    def spy(weights: Any, products: np.ndarray, *states: np.ndarray) -> Any:
        seen.append((weights.hidden.dtype, products.dtype))
        return step(weights, products, *states)

    monkeypatch.setattr(reference, "step", spy)
    comparison.compare_case(next(cases.grid([(2, 3, 2, 4)], ["float32"])), seconds=0)
    kinds = [(np.dtype(dtype), np.dtype(dtype)) for dtype in (np.float32, np.float64)]
    assert set(seen) == set(kinds)
    assert seen[-1] == kinds[0]


@pytest.mark.usefixtures("quick")
def test_model_alone(capsys: pytest.CaptureFixture[str], files: Files) -> None:
    status, report = run_json(capsys, "compare", files.model)
    assert status == 0
    assert report["passed"] is True
    assert report["input"] is None
    assert [(c["batch"], c["time"]) for c in report["cases"]] == list(cases.MODEL_SHAPES)
    assert all(c["recorded"] == {} and c["passed"] for c in report["cases"])
    status, out, _ = run(capsys, "compare", files.model)
    assert f"model: {files.model}, LSTM(3, 5, dtype=float32)" in out.splitlines()


BATCH_OF_2 = np.arange(2, dtype=np.float32)[:, np.newaxis]


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    "names",
    [
        ("features", "h0", "c0", "hidden", "h_n", "c_n"),
        ("X", "h0", "C0", "Y", "h_n", "C_n"),
    ],
)
@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize("layers", [False, True])
def test_every_entry_is_used(
    capsys: pytest.CaptureFixture[str], files: Files, names: tuple[str, ...], batched: bool, layers: bool
) -> None:
    """Outputs recorded from the same net are met to the bit, in both names and all shapes."""
    X, h0, C0 = files.features, files.h0, files.c0
    if batched:
        X, h0, C0 = np.stack([X, -X]), h0 - BATCH_OF_2, C0 + BATCH_OF_2
    if layers:
        h0, C0 = h0[np.newaxis], C0[np.newaxis]
    Y, (h_n, C_n) = files.net.forward_sequence(X, h0, C0, return_state=True)
    path = files.folder / "other.npz"
    np.savez(path, **dict(zip(names, (X, h0, C0, Y, h_n, C_n), strict=True)))  # type: ignore[arg-type]
    status, report = run_json(capsys, "compare", files.model, path)
    assert status == 0
    assert report["unused_entries"] == []
    (case,) = report["cases"]
    assert (case["batch"], case["time"]) == (2 if batched else 1, 25)
    assert case["recorded"].keys() == set(names[3:])
    assert all(d["absolute"] == 0 for d in case["recorded"].values())


@pytest.mark.usefixtures("quick")
def test_states_are_zero_where_the_input_has_none(capsys: pytest.CaptureFixture[str], files: Files) -> None:
    Y = files.net.forward_sequence(files.features)
    path = files.input(h0=None, c0=None, hidden=Y, h_n=None, c_n=None)
    status, report = run_json(capsys, "compare", files.model, path)
    assert status == 0
    assert report["cases"][0]["recorded"]["hidden"]["absolute"] == 0


@pytest.mark.usefixtures("quick")
def test_option_between_the_files(capsys: pytest.CaptureFixture[str], files: Files) -> None:
    status, out, _ = run(capsys, "compare", files.model, "--json", files.input())
    assert status == 0
    assert parse(out)["input"] == str(files.folder / "input.npz")


@pytest.mark.usefixtures("quick")
def test_unused_entries_cannot_write_over_the_report(
    capsys: pytest.CaptureFixture[str], files: Files
) -> None:
    path = files.input(**{"a\x1b[2Jb\nc": np.zeros(1), "words": np.array(["x"])})
    status, out, _ = run(capsys, "compare", files.model, path)
    assert status == 0
    assert r"not used of the input: 'a\x1b[2Jb\nc', words" in out.splitlines()
    assert "\x1b" not in out


# What differs


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("entry", ["hidden", "h_n", "c_n"])
@pytest.mark.parametrize(("error", "status"), [(4e-6, 0), (6e-6, 1)])
def test_recorded_tolerance(
    capsys: pytest.CaptureFixture[str], files: Files, entry: str, error: float, status: int
) -> None:
    """One element off, in float64 so that the error is what it says."""
    array = files.outputs()[entry].astype(np.float64)
    array.flat[array.size // 2] += error
    path = files.input(**{entry: array})
    found, report = run_json(capsys, "compare", files.model, path)
    assert found == status
    assert report["passed"] is (status == 0)
    (case,) = report["cases"]
    assert case["recorded"][entry]["absolute"] == pytest.approx(error)
    found, out, err = run(capsys, "compare", files.model, path)
    assert (found, err) == (status, "")
    failures = [line for line in out.splitlines() if line.startswith("FAILED: ")]
    assert len(failures) == status
    assert all(f"float32: {entry} differs from the recorded one by 6e-06" in line for line in failures)
    assert ("agree" in out.splitlines()[-1]) is (status == 0)
    assert (re.search(rf"{entry} .* FAILED\n", out) is not None) is (status == 1)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(("error", "status"), [(4e-4, 0), (6e-4, 1)])
def test_states_are_held_relative_to_their_largest(
    capsys: pytest.CaptureFixture[str], files: Files, error: float, status: int
) -> None:
    """A cell state of about 100, which closed input gates and open forget gates keep."""
    net = files.net
    net.bf, net.bi = np.full(5, 50), np.full(5, -50)
    net.save(files.model)
    C0 = np.array([100, 1, 2, 3, 4], np.float32)
    C_n = C0.astype(np.float64)
    C_n[1] += error
    path = files.input(c0=C0, c_n=C_n, hidden=None, h_n=None)
    found, report = run_json(capsys, "compare", files.model, path)
    assert found == status
    assert report["cases"][0]["recorded"]["c_n"]["relative"] == pytest.approx(error / 100)


@pytest.mark.usefixtures("quick")
def test_float32_recording_of_a_float64_net(capsys: pytest.CaptureFixture[str], files: Files) -> None:
    """Rounded outputs are held to float32's tolerance, outputs in float64 to float64's."""
    LSTM.from_state_dict(files.net.state_dict(), dtype=np.float64).save(files.model)
    status, report = run_json(capsys, "compare", files.model, files.input())
    assert status == 0
    (case,) = report["cases"]
    assert case["recorded"]["hidden"]["tolerance"] == 5e-6
    assert case["recorded"]["hidden"]["absolute"] > 1e-10
    assert case["difference"]["tolerance"] < 1e-13
    wide = {name: array.astype(np.float64) for name, array in files.outputs().items()}
    status, report = run_json(capsys, "compare", files.model, files.input(**wide))
    assert status == 1
    assert report["cases"][0]["recorded"]["hidden"]["tolerance"] == 1e-13


@pytest.mark.usefixtures("quick")
def test_swapped_states_are_seen(capsys: pytest.CaptureFixture[str], files: Files) -> None:
    status, _ = run_json(capsys, "compare", files.model, files.input(h0=files.c0, c0=files.h0))
    assert status == 1


@pytest.mark.usefixtures("quick")
def test_wrong_kernel(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, files: Files
) -> None:
    """The two paths disagree: here by swapped input and forget gates."""
    step = reference.step
    monkeypatch.setattr(
        reference,
        "step",
        lambda w, products, h, C, options: step(
            w._replace(hidden=w.hidden[[1, 0, 2, 3]]), products[[1, 0, 2, 3]], h, C, options
        ),
    )
    status, out, err = run(capsys, "compare", files.model)
    assert (status, err) == (1, "")
    assert out.count("FAILED: I=3 H=5") == 3 * len(cases.MODEL_SHAPES)
    assert "agree" not in out


@pytest.mark.usefixtures("quick")
def test_one_case_of_many_fails(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, files: Files
) -> None:
    forward_sequence = reference.forward_sequence

    def broken(weights: Any, options: Any, X: np.ndarray, *others: Any) -> None:
        forward_sequence(weights, options, X + 0.1 if X.shape[0] == 5 else X, *others)

    monkeypatch.setattr(reference, "forward_sequence", broken)
    status, report = run_json(capsys, "compare", files.model)
    assert status == 1
    assert report["passed"] is False
    assert [c["passed"] for c in report["cases"]] == [batch != 5 for batch, _ in cases.MODEL_SHAPES]
    _, out, _ = run(capsys, "compare", files.model)
    assert "agree" not in out


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("output", ["Y", "h_n", "C_n"])
@pytest.mark.parametrize("wrong", [1e-5, np.nan, np.inf])
def test_each_output_is_compared(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    files: Files,
    output: str,
    wrong: float,
) -> None:
    forward_sequence = reference.forward_sequence

    def broken(
        weights: Any, options: Any, X: np.ndarray, h: np.ndarray, C: np.ndarray, Y: np.ndarray, *others: Any
    ) -> None:
        forward_sequence(weights, options, X, h, C, Y, *others)
        {"Y": Y, "h_n": h, "C_n": C}[output].flat[-1] += wrong

    monkeypatch.setattr(reference, "forward_sequence", broken)
    status, report = run_json(capsys, "compare", files.model, files.input())
    assert status == 1
    (case,) = report["cases"]
    assert len(case["failures"]) == 1
    assert case["failures"][0].startswith(f"{output} of the native path is off by ")
    for name, figures in case["differences"].items():
        is_off = figures["relative"] is None or figures["relative"] > figures["tolerance"]
        assert is_off is (name == output)
    assert (case["differences"][output]["absolute"] is None) is (not np.isfinite(wrong))


@pytest.mark.usefixtures("quick")
def test_nan_must_stand_in_the_same_places(capsys: pytest.CaptureFixture[str], files: Files) -> None:
    features = files.features.copy()
    features[20] = np.nan
    Y, (h_n, C_n) = files.net.forward_sequence(features, files.h0, files.c0, return_state=True)
    good = {"features": features, "hidden": Y, "h_n": h_n, "c_n": C_n}
    status, report = run_json(capsys, "compare", files.model, files.input(**good))
    assert status == 0
    assert report["cases"][0]["nan_outputs"] == 5 * (5 + 2)
    _, out, _ = run(capsys, "compare", files.model, files.folder / "input.npz")
    assert "NaN in 35 native outputs" in out.splitlines()
    for place in (0, 24):  # a NaN too many, one too few
        other = Y.copy()
        other[place] = np.nan if place == 0 else 0
        status, report = run_json(capsys, "compare", files.model, files.input(**{**good, "hidden": other}))
        assert status == 1
        assert report["cases"][0]["recorded"]["hidden"]["absolute"] is None


@pytest.mark.usefixtures("quick")
def test_values_too_large_are_infinite_as_in_the_net(
    capsys: pytest.CaptureFixture[str], files: Files
) -> None:
    features = files.features.astype(np.float64)
    features[0, 0] = -1e300
    C0 = np.array([1e300, 1, 2, 3, 4])
    Y, (h_n, C_n) = files.net.forward_sequence(features, files.h0, C0, return_state=True)
    path = files.input(features=features, c0=C0, hidden=Y, h_n=h_n, c_n=C_n)
    status, report = run_json(capsys, "compare", files.model, path)
    assert status == 0
    assert all(d["absolute"] == 0 for d in report["cases"][0]["recorded"].values())


def flip_last_bit(array: np.ndarray) -> np.ndarray:
    changed = np.ascontiguousarray(array).copy()
    changed.view(np.uint8).flat[0] ^= 1
    return changed


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("position", [0, 1])
def test_bits_of_single_steps(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, files: Files, position: int
) -> None:
    forward = LSTM.forward

    def broken(net: LSTM, x: Any, h: Any, C: Any) -> tuple[np.ndarray, np.ndarray]:
        states = list(forward(net, x, h, C))
        states[position] = flip_last_bit(states[position])
        return states[0], states[1]

    monkeypatch.setattr(LSTM, "forward", broken)
    status, report = run_json(capsys, "compare", files.model, files.input())
    assert status == 1
    assert report["cases"][0]["different_bits"] == ["single steps"]
    assert report["cases"][0]["failures"] == ["other bits by single steps"]
    _, out, _ = run(capsys, "compare", files.model, files.folder / "input.npz")
    assert "other bits than the whole sequence at once: single steps" in out.splitlines()


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("state", [None, "h", "C"])
def test_bits_of_a_stream(monkeypatch: pytest.MonkeyPatch, state: str | None) -> None:
    step = Stream.step

    def broken(stream: Stream, x: Any) -> np.ndarray:
        y = step(stream, x)
        if state is None:
            return flip_last_bit(y)
        getattr(stream, state)[...] = flip_last_bit(getattr(stream, state))
        return y

    case = next(cases.grid([(3, 5, 2, 25)], ["float32"]))
    monkeypatch.setattr(Stream, "step", broken)
    assert comparison.compare_case(case).different_bits == ("stream",)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("way", "when"),
    [
        ("chunks", lambda net, X: X.ndim == 3 and X.shape[1] < 25),
        ("batch rows alone", lambda net, X: X.ndim == 2),
        (_kernel.SUPPORTED_ISAS[0], lambda net, X: net.core.isa == _kernel.SUPPORTED_ISAS[0]),
    ],
)
@pytest.mark.parametrize("output", ["Y", "h_n", "C_n"])
def test_bits_of_every_way(
    monkeypatch: pytest.MonkeyPatch, way: str, when: Callable[[LSTM, np.ndarray], bool], output: str
) -> None:
    """A bit that one way of running changes is traced to that way."""
    if way == _kernel.DEFAULT_ISA:
        pytest.skip(f"{way} is what all is compared with")
    case = next(cases.grid([(3, 5, 2, 25)], ["float64"]))
    assert comparison.compare_case(case).different_bits == ()
    forward_sequence = LSTM.forward_sequence

    def broken(net: LSTM, X: Any, *args: Any, **options: Any) -> Any:
        result = forward_sequence(net, X, *args, **options)
        if not options or not when(net, X):
            return result
        Y, (h, C) = result
        outputs = {"Y": Y, "h_n": h, "C_n": C}
        outputs[output] = flip_last_bit(outputs[output])
        return outputs["Y"], (outputs["h_n"], outputs["C_n"])

    monkeypatch.setattr(LSTM, "forward_sequence", broken)
    assert comparison.compare_case(case).different_bits == (way,)


def test_large_case_is_cut_for_the_isas(monkeypatch: pytest.MonkeyPatch) -> None:
    case = next(cases.grid([(3, 5, 4, 9)], ["float32"]))
    work = 4 * 5 * (3 + 5)
    for budget, part in ((work * 36, (4, 9)), (work * 35, (4, 8)), (work * 3, (3, 1)), (1, (1, 1))):
        monkeypatch.setattr(comparison, "LARGEST_ISA_WORK", budget)
        found = comparison.compare_case(case, seconds=0)
        assert found.isa_part == part
        assert found.passed
        note = f"(there over {part[0]} of 4 rows, {part[1]} of 9 steps)"
        assert (note in text_report([found])) is (part != (4, 9))


# What is refused


def truncated(files: Files) -> Path:
    path = files.input()
    path.write_bytes(path.read_bytes()[:-100])
    return path


def missing_weights(files: Files) -> Path:
    path = files.folder / "part.npz"
    np.savez(path, weight_ih_l0=files.net.state_dict()["weight_ih_l0"])
    return path


def directory(files: Files) -> Path:
    path = files.folder / "folder.npz"
    path.mkdir()
    return path


def text_file(files: Files) -> Path:
    path = files.folder / "words.npz"
    path.write_text("no archive\n")
    return path


def pickled(files: Files) -> Path:
    return files.input(features=np.array([Files], dtype=object))


# Arguments after "compare", made from Files, and words that the message has.
UNUSABLE: dict[str, tuple[Callable[[Files], list[Any]], list[str]]] = {
    "unknown option": (lambda f: ["--unknown"], ["--unknown"]),
    "abbreviated option": (lambda f: ["--js"], ["--js"]),
    "option with a value": (lambda f: ["--json=yes"], ["--json"]),
    "three files": (lambda f: [f.model, f.input(), "third.npz"], ["third.npz"]),
    "several lines": (lambda f: [f.model, f.input(), "third\nline"], ["third"]),
    "no model": (lambda f: ["none.npz"], ["none.npz", "No such file"]),
    "no input": (lambda f: [f.model, "none.npz"], ["none.npz", "No such file"]),
    "input before model": (lambda f: [f.input(), f.model], ["input.npz", "features"]),
    "directory as model": (lambda f: [directory(f)], ["folder.npz", "directory"]),
    "directory as input": (lambda f: [f.model, directory(f)], ["folder.npz", "directory"]),
    "unknown ending": (lambda f: ["net.xyz"], ["net.xyz", ".npz"]),
    "PyTorch pickle": (lambda f: ["net.pt"], ["net.pt", "weights_only=True); net ="]),
    "text as model": (lambda f: [text_file(f)], ["words.npz"]),
    "text as input": (lambda f: [f.model, text_file(f)], ["words.npz"]),
    "model without entries": (lambda f: [missing_weights(f)], ["part.npz", "weight_hh_l0"]),
    "truncated input": (lambda f: [f.model, truncated(f)], ["input.npz"]),
    "pickle": (lambda f: [f.model, pickled(f)], ["input.npz", "features", "O"]),
    "no features": (lambda f: [f.model, f.input(features=None)], ["features", "h0, c0, hidden, h_n, c_n"]),
    "two names": (lambda f: [f.model, f.input(C0=f.c0)], ["c0", "C0"]),
    "feature count": (
        lambda f: [f.model, f.input(features=np.zeros((25, 4)))],
        ["input.npz", "4 features", "input_size=3"],
    ),
    "scalar features": (lambda f: [f.model, f.input(features=np.float32(1))], ["input.npz", "shape ()"]),
    "complex features": (lambda f: [f.model, f.input(features=f.features + 0j)], ["features", "c"]),
    "text features": (lambda f: [f.model, f.input(features=np.array([["a"] * 3]))], ["input.npz", "U1"]),
    "empty features": (lambda f: [f.model, f.input(features=np.zeros((0, 3)))], ["(0, 3)"]),
    "h0 shape": (lambda f: [f.model, f.input(h0=np.zeros(4))], ["input.npz", "h0", "(4,)"]),
    "c0 shape": (lambda f: [f.model, f.input(c0=np.zeros((2, 5)))], ["input.npz", "C0", "(2, 5)"]),
    "hidden shape": (lambda f: [f.model, f.input(hidden=np.zeros((5, 25)))], ["hidden", "(25, 5)"]),
    "state as hidden": (lambda f: [f.model, f.input(hidden=f.c0)], ["hidden", "(5,), but must be (25, 5)"]),
    "h_n shape": (lambda f: [f.model, f.input(h_n=np.zeros(6))], ["h_n", "(6,)"]),
    "c_n shape": (lambda f: [f.model, f.input(c_n=np.zeros((25, 5)))], ["c_n", "(25, 5)"]),
    "recorded dtype": (lambda f: [f.model, f.input(h_n=np.zeros(5, np.float16))], ["h_n", "float16"]),
    "recorded text": (lambda f: [f.model, f.input(c_n=np.array(["a"] * 5))], ["c_n", "U1"]),
}


@pytest.mark.parametrize("case", UNUSABLE)
def test_unusable(capsys: pytest.CaptureFixture[str], files: Files, case: str) -> None:
    make, words = UNUSABLE[case]
    check_refusal(*run(capsys, "compare", *make(files)), words)


@pytest.mark.parametrize("case", ["unknown option", "no model", "pickle", "PyTorch pickle"])
def test_unusable_as_a_process(files: Files, case: str) -> None:
    make, words = UNUSABLE[case]
    done = command(files.folder, "compare", *make(files))
    check_refusal(done.returncode, done.stdout, done.stderr, words)


@pytest.mark.parametrize("arguments", [[], ["unknown"], ["--unknown"], ["--vers"]])
def test_no_command(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    check_refusal(*run(capsys, *arguments), ["COMMAND"])


def test_memory_that_there_is_not(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, files: Files
) -> None:
    def no_memory(*_: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(cases, "read_input", no_memory)
    check_refusal(*run(capsys, "compare", files.model, files.input()), ["input.npz", "memory"])


def test_a_defect_is_no_unusable_argument(monkeypatch: pytest.MonkeyPatch, files: Files) -> None:
    """An error within the comparison itself is not blamed on the arguments."""

    def defect(*_: Any) -> None:
        raise ValueError("a defect")

    monkeypatch.setattr(reference, "step", defect)
    with pytest.raises(ValueError, match="a defect"):
        main(["compare", str(files.model), str(files.input())])


def test_net_of_the_numpy_backend() -> None:
    with pytest.raises(ValueError, match="backend 'numpy'"):
        cases.make_case(LSTM(2, 3, backend="numpy"), np.zeros((4, 2)))


# How the process ends and writes


def test_version_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "--version") == (0, f"lstm {lstm.__version__}\n", "")
    for arguments in (["--help"], ["compare", "--help"]):
        status, out, err = run(capsys, *arguments)
        assert (status, err) == (0, "")
        assert "compare" in out
    assert "lstm-native[compare]" in out
    assert "ULP" not in out


def test_interrupted(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, files: Files
) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(comparison, "compare_case", interrupt)
    assert run(capsys, "compare", files.model) == (130, "", "")


@pytest.mark.parametrize("arguments", [["net.npz", "input.npz"], ["--help"]])
def test_closed_pipe(files: Files, arguments: list[str]) -> None:
    files.input()
    assert into_closed_pipe(files.folder, "compare", *arguments) == (141, b"")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="/dev/full is not here")
def test_full_disk(files: Files) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-W", "error", "-m", "lstm", "compare", files.model, files.input()],
            cwd=files.folder,
            env=environment(),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    check_refusal(done.returncode, "", done.stderr, ["cannot be written"])


def test_ascii_output(files: Files) -> None:
    done = command(
        files.folder, "compare", files.model, files.input(), PYTHONIOENCODING="ascii", PYTHONUTF8="0"
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert r"\xb5s" in done.stdout
