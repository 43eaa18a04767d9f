"""What `lstm compare` holds nets of small weights to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import run, run_json
from support import random_net

from lstm import LSTM
from lstm.comparison import cases, comparison, int8_steps

OPTIONS: list[dict[str, Any]] = [
    {},
    {"num_layers": 2, "bidirectional": True, "merge": "sum"},
    {"num_layers": 2, "reverse": True, "proj_size": 9, "peephole": True},
]


def net_of(precision: Any, backend: Any = "native", **options: Any) -> LSTM:
    rng = np.random.default_rng(3)
    return random_net(rng, 7, 33, np.float32, precision=precision, backend=backend, **options)


def int8_case(**options: Any) -> cases.Case:
    return next(cases.model_cases(net_of("int8", "numpy", **options), [(3, 11)]))


@pytest.mark.parametrize("options", OPTIONS)
def test_steps_of_int8_are_those_of_the_sequence(options: dict[str, Any]) -> None:
    """What NumPy makes of each step alone has the bits that it has in a sequence."""
    case = int8_case(**options)
    whole = comparison.run_whole(case)
    found = int8_steps.differences(case, whole)
    assert found.keys() == {"Y", "h_n", "C_n", "steps"}
    for one in found.values():
        # BLAS rounds the products of a projection otherwise in a batch.
        assert one.absolute <= (1e-7 if "proj_size" in options else 0)
        assert one.passed
        assert 1e-8 < one.numpy_error < 1e-6  # of the operations around the integers


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize(("name", "place"), [("Y", (1, 4, 2)), ("h_n", (0, 2, 5)), ("C_n", (0, 1, 3))])
def test_a_wrong_result_of_int8_fails(name: str, place: tuple[int, ...], options: dict[str, Any]) -> None:
    """One element off by 1e-5, a hundredth of what int8 is off itself."""
    case = int8_case(**options)
    whole = comparison.run_whole(case)
    getattr(whole, name)[place] += 1e-5
    found = int8_steps.differences(case, whole)
    assert [key for key, one in found.items() if not one.passed] == [name]


def test_a_wrong_step_of_a_lower_layer_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    case = int8_case(num_layers=3)
    whole = comparison.run_whole(case)
    trace = LSTM.trace

    def wrong(net: LSTM, *arguments: Any) -> Any:
        found = trace(net, *arguments)
        found.C[1, 2, 10, 4] += 1e-4
        return found

    monkeypatch.setattr(LSTM, "trace", wrong)
    assert not int8_steps.differences(case, whole)["steps"].passed


@pytest.mark.parametrize("options", OPTIONS)
def test_compare_holds_the_steps_of_int8(
    options: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(comparison, "SECONDS", 0)
    net_of("int8", **options).save(path := tmp_path / "net.npz")
    status, report = run_json(capsys, "compare", path)
    assert (status, report["passed"]) == (0, True)
    for case in report["cases"]:
        assert case["precision"] == "int8"
        assert case["differences"].keys() == {"Y", "h_n", "C_n", "steps"}
        assert 0 < case["difference"]["relative"] < 1e-6
        assert case["different_bits"] == []


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_compare_holds_sixteen_bits_to_float64(
    precision: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparison, "SECONDS", 0)
    net = net_of(precision)
    net.save(path := tmp_path / "net.npz")
    status, report = run_json(capsys, "compare", path)
    assert (status, report["passed"]) == (0, True)
    for case in report["cases"]:
        assert (case["dtype"], case["precision"]) == ("float32", precision)
        assert 0 < case["difference"]["relative"] < 1e-6
    status, out, _ = run(capsys, "compare", path)
    assert (status, out.count(f" {precision} ")) == (0, len(report["cases"]))


@pytest.mark.parametrize("precision", ["bfloat16", "float16", "int8"])
def test_recorded_outputs_of_full_weights(
    precision: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """As far off as NumPy's small weights are; another net is not excused."""
    full = net_of(None)
    X = np.random.default_rng(4).standard_normal((3, 20, 7)).astype(np.float32)
    Y = full.forward_sequence(X)
    np.savez(recorded := tmp_path / "recorded.npz", X=X, Y=Y)
    full.quantize(precision).save(path := tmp_path / "net.npz")
    status, report = run_json(capsys, "compare", path, recorded)
    found = report["cases"][0]["recorded"]["Y"]
    assert status == 0
    assert 1e-6 < found["relative"] < found["tolerance"] < 2e-2
    # Other weights are off by more, and NumPy's are, too: the figure tells, not the verdict.
    other = full.quantize(precision)
    other.Wf = np.asarray(other.Wf) * 1.5
    case = cases.make_case(other, X, recorded={"Y": Y})
    assert comparison.recorded_differences(case, comparison.run_whole(case))["Y"].relative > 1e-2
