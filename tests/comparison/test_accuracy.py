"""What a result is held to: NumPy's own error of the same net."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import check_refusal, run, run_json

from lstm import LSTM
from lstm.comparison import accuracy, cases, comparison
from lstm.comparison.report import text_report

F32, F64 = np.dtype(np.float32), np.dtype(np.float64)
# Sizes and standard deviations of weights with which rounding grows beyond any small constant.
TRAINED = {F32: (16, 64, 0.5), F64: (16, 64, 0.8)}


def trained(dtype: Any, scale: float | None = None, **options: Any) -> LSTM:
    """Two layers whose weights are as large as those of many trained nets."""
    inputs, hidden, own = TRAINED[np.dtype(dtype)]
    net = LSTM(inputs, hidden, num_layers=2, dtype=dtype, rng=0, **options)
    rng = np.random.default_rng(1)
    net.load_state_dict(
        {name: rng.standard_normal(a.shape) * (scale or own) for name, a in net.state_dict().items()}
    )
    return net


def gap(actual: Any, expected: Any, dtype: Any = np.float32) -> tuple[float, float]:
    return accuracy.largest_gap(np.array(actual, dtype), np.array(expected, dtype), np.dtype(dtype))


def test_gaps() -> None:
    assert gap([1 + 2.0**-23, 3], [1, 3]) == (2**-23, 2**-23 / 3)
    assert gap([0.5], [0.25]) == (0.25, 0.25)
    assert gap([1, 1024.5], [1, 1024]) == (0.5, 0.5 / 1024)
    assert gap([0, -0.0], [-0.0, 0]) == gap([], []) == (0, 0)
    # Subnormals count as zero, those of the dtype that is asked for.
    assert gap([1e-40, 0], [0, -1e-40]) == gap([1e-310], [0], np.float64) == (0, 0)
    assert gap([1e-40], [0], np.float64)[0] == 1e-40


@pytest.mark.parametrize(
    ("actual", "expected"),
    [
        (np.nan, 1),
        (1, np.nan),
        (np.inf, 1),
        (1, np.inf),
        (np.inf, -np.inf),
        (np.nan, np.inf),
        (np.inf, np.nan),
    ],
)
def test_gaps_of_special_values(actual: float, expected: float) -> None:
    assert gap([0, actual], [0, expected]) == (np.inf, np.inf)
    assert gap([0, actual], [0, actual]) == (0, 0)
    # An infinity on both sides does not excuse the rest.
    assert gap([np.inf, 1], [np.inf, 0.5]) == (0.5, 0.5)
    standard = accuracy.Standard(F32, cases.Outputs(*[np.array([expected])] * 3), dict.fromkeys("Y", 1e30))
    assert not standard.difference("Y", np.array([actual])).passed


@pytest.mark.parametrize(("dtype", "floor", "recorded"), [(F32, 2.0**-20, 5e-6), (F64, 2.0**-49, 1e-13)])
def test_what_is_allowed(dtype: Any, floor: float, recorded: float) -> None:
    """8 times NumPy's own error, and never less than 8 epsilon; of recorded outputs the old constants."""
    zero = np.zeros(3)
    for error in (0.0, floor / 16, floor / 4, 1e-3):
        standard = accuracy.Standard(dtype, cases.Outputs(zero, zero, zero), {"h_n": error})
        allowed = max(8 * error, floor)
        for off, passed in ((allowed * 0.99, True), (allowed * 1.01, False)):
            found = standard.difference("h_n", zero + off)
            assert (found.numpy_error, found.tolerance, found.passed) == (error, allowed, passed)
        assert standard.recorded_difference("h_n", zero, zero).tolerance == max(8 * error, recorded)


@pytest.mark.parametrize("dtype", [F32, F64])
def test_numpy_s_own_error(dtype: Any) -> None:
    """It is that of the rounded net: another one for each dtype, and the same every time."""
    case = next(cases.grid([(5, 17, 7, 23)], [dtype.name]))
    own = accuracy.standard(case, dtype)
    eps = np.finfo(dtype).eps
    assert all(eps / 8 < error < 8 * eps for error in own.numpy_errors.values())
    assert own.numpy_errors == accuracy.standard(case, dtype).numpy_errors
    if dtype == F32:
        wide = LSTM.from_state_dict(case.net.state_dict(), dtype=np.float64, backend="numpy")
        Y = wide.forward_sequence(*(a.astype(np.float64) for a in (case.X, case.h0, case.C0)))
        assert np.array_equal(own.expected.Y, Y)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("dtype", [F32, F64])
@pytest.mark.parametrize("options", [{}, {"bidirectional": True}, {"proj_size": 20}, {"peephole": True}])
def test_trained_nets_pass(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, dtype: Any, options: dict[str, Any]
) -> None:
    path = tmp_path / "net.npz"
    trained(dtype, **options).save(path)
    status, report = run_json(capsys, "compare", path)
    assert status == 0, [case["failures"] for case in report["cases"]]
    if not options:
        errors = [case["difference"]["relative"] for case in report["cases"]]
        assert max(errors) > accuracy.RECORDED_FLOOR[dtype], "a constant would do"


def break_native(monkeypatch: pytest.MonkeyPatch, change: Any) -> None:
    """Let `change` have its way with the outputs of the native path."""
    forward_sequence = LSTM.forward_sequence

    def broken(net: LSTM, *arguments: Any, **options: Any) -> Any:
        result = forward_sequence(net, *arguments, **options)
        if net.backend == "native" and options.get("return_state"):
            return change(net, result, arguments)
        return result

    monkeypatch.setattr(LSTM, "forward_sequence", broken)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("dtype", [F32, F64])
@pytest.mark.parametrize("factor", [1.0, 30.0])
def test_a_kernel_that_is_off_by_a_little(monkeypatch: pytest.MonkeyPatch, dtype: Any, factor: float) -> None:
    """One element off by 30 times NumPy's error fails; off by no more than NumPy's is passes."""
    case = next(cases.model_cases(trained(dtype), [(5, 9)]))
    error = accuracy.standard(case, dtype).numpy_errors["C_n"]

    def change(net: LSTM, result: Any, arguments: Any) -> Any:
        Y, (h_n, C_n) = result
        C_n.flat[-1] += factor * error * np.abs(C_n).max()
        return Y, (h_n, C_n)

    break_native(monkeypatch, change)
    found = comparison.compare_case(case)
    assert [name for name, d in found.differences.items() if not d.passed] == ["C_n"] * (factor > 1)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("dtype", [F32, F64])
def test_a_kernel_of_another_net(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, dtype: Any
) -> None:
    """Gates swapped in the native path: every case fails, and so does a weight that is off by 1 in 1000."""
    path = tmp_path / "net.npz"
    trained(dtype, 0.3).save(path)
    for swapped in (True, False):
        with monkeypatch.context() as patch:

            def change(net: LSTM, result: Any, arguments: Any, swapped: bool = swapped) -> Any:
                state = net.state_dict()
                for name, array in state.items():
                    if swapped:
                        i, f, g, o = np.split(array, 4)
                        state[name] = np.concatenate([f, i, g, o])
                    else:
                        array.flat[0] *= 1.001
                other = LSTM.from_state_dict(state, backend="numpy")
                return other.forward_sequence(*arguments, return_state=True)

            break_native(patch, change)
            status, report = run_json(capsys, "compare", path)
        assert status == 1
        assert not any(case["passed"] for case in report["cases"])


@pytest.mark.usefixtures("quick")
def test_a_net_that_magnifies_rounding_without_bound(capsys: pytest.CaptureFixture[str]) -> None:
    """Its long cases say nothing, and the report says so; its single step still does."""
    net = trained(F32, 1.2)
    found = [comparison.compare_case(case) for case in cases.model_cases(net)]
    assert all(one.passed for one in found)
    assert [one.difference.numpy_error > 0.01 for one in found] == [False, True, False, True]
    notes = [line for line in text_report(found).splitlines() if line.startswith("note: ")]
    assert len(notes) == 2
    assert "T=100 float32: rounding alone moves these outputs by " in notes[0]


@pytest.mark.usefixtures("quick")
def test_what_overflows_in_float32_alone() -> None:
    """A net without bounds: where NumPy's float32 is infinite the native path must be, too."""
    net = LSTM(2, 3, dtype=np.float32, activations=["Relu", "Relu", "Relu"], rng=0)
    net.bf = net.bi = net.bo = np.full(3, 1e6)
    net.bC = np.full(3, 1e6)
    found = comparison.compare_case(cases.make_case(net, np.ones((2, 40, 2), np.float32)))
    assert found.passed, found.failures
    assert not np.isfinite(net.forward_sequence(np.ones((40, 2)))).all()


# Threads


@pytest.mark.usefixtures("quick")
def test_one_thread_of_blas(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    threadpoolctl = pytest.importorskip("threadpoolctl")
    pools = [pool for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"]
    if not pools:
        pytest.skip("threadpoolctl does not know this BLAS")
    monkeypatch.setattr(cases, "GRID", [(2, 3, 1, 4)])
    monkeypatch.setattr(cases, "grid", lambda: cases.model_cases(LSTM(2, 3, rng=0), [(1, 4)]))
    with threadpoolctl.threadpool_limits(2, "blas"):
        for options, threads in (((), 1), (("--blas-threads", "2"), 2), (("--blas-threads", "1"), 1)):
            status, report = run_json(capsys, "compare", *options)
            assert (status, report["blas_threads"]) == (0, threads)
        assert "NumPy's BLAS 1\n" in run(capsys, "compare")[1]
        report = run_json(capsys, "compare", "--blas-threads", "0")[1]
        assert report["blas_threads"] == 2, "left as it is, here and after the calls before"


@pytest.mark.usefixtures("quick")
def test_threads_without_the_extra(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "threadpoolctl", None)
    monkeypatch.setattr(cases, "grid", lambda: cases.model_cases(LSTM(2, 3, rng=0), [(1, 4)]))
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "LSTM_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    status, out, _ = run(capsys, "compare")
    assert status == 0
    assert "NumPy's BLAS may use several" in out
    assert 'pip install "lstm-native[compare]"' in out
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
    assert "NumPy's BLAS as OPENBLAS_NUM_THREADS=1 says" in run(capsys, "compare")[1]
    assert run_json(capsys, "compare")[1]["blas_threads"] is None
    assert run(capsys, "compare", "--blas-threads", "0")[0] == 0
    words = ["--blas-threads", 'pip install "lstm-native[compare]"']
    check_refusal(*run(capsys, "compare", "--blas-threads", "1"), words)


@pytest.mark.parametrize("text", ["-1", "x", "1.5", ""])
def test_no_number_of_threads(capsys: pytest.CaptureFixture[str], text: str) -> None:
    check_refusal(*run(capsys, "compare", f"--blas-threads={text}"), ["--blas-threads"])
