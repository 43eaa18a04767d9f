"""Differences of arrays and times of two paths."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lstm.comparison import cases, comparison
from lstm.comparison.text import format_time
from lstm.core import reference

# Differences


def difference(actual: Any, expected: Any, dtype: Any = np.float32) -> comparison.Difference:
    return comparison.largest_difference(np.array(actual, dtype), np.array(expected, dtype))


def test_difference_in_ulp() -> None:
    one = np.float32(1)
    assert difference([np.nextafter(one, 2, dtype=np.float32)], [one]) == (2**-23, 2**-23, 1, 5e-6)
    assert difference([1 + 3 * 2.0**-52], [1], np.float64) == (3 * 2.0**-52, 3 * 2.0**-52, 3, 1e-13)
    # The spacing is the expected value's; absolute and ULP may be of different elements.
    assert difference([1 - 2.0**-24, 1024.5], [1, 1024]) == (0.5, 0.5 / 1024, 4096, 5e-6)
    assert difference([1 - 2.0**-24], [1]).ulp == 0.5
    assert difference([-1 - 2.0**-23], [-1]).ulp == 1
    assert difference([0, -0.0], [-0.0, 0]) == (0, 0, 0, 5e-6)
    assert difference([], []) == (0, 0, 0, 5e-6)


def test_difference_of_two_dtypes_counts_in_the_coarser() -> None:
    actual, expected = np.array([1 + 2.0**-23]), np.array([1], np.float32)
    for pair in ((actual, expected), (expected, actual)):
        assert comparison.largest_difference(*pair).tolerance == 5e-6
    assert comparison.largest_difference(actual, expected).ulp == 1
    assert comparison.largest_difference(actual, expected.astype(">f4")).ulp == 1


def test_subnormals_count_as_zero() -> None:
    assert difference([1e-40, 0], [0, -1e-40]) == (0, 0, 0, 5e-6)
    assert difference([1e-310], [0], np.float64) == (0, 0, 0, 1e-13)
    smallest = float(np.finfo(np.float32).smallest_normal)
    assert difference([smallest], [0]).absolute == smallest
    assert difference([smallest], [0]).ulp == 2**23


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
def test_difference_of_special_values(actual: float, expected: float) -> None:
    found = difference([0, actual], [0, expected])
    assert found[:3] == (np.inf, np.inf, np.inf)
    assert not found.passed
    assert difference([0, actual], [0, actual]) == (0, 0, 0, 5e-6)
    # An infinity on both sides must not excuse the rest.
    assert not difference([np.inf, 1], [np.inf, 1.0001]).passed


# Times


def test_best_time_of_each_path(monkeypatch: pytest.MonkeyPatch) -> None:
    def timed(runs: Any, *, seconds: float) -> list[list[float]]:
        assert seconds == comparison.SECONDS
        with monkeypatch.context() as patch:
            patch.setattr(reference, "step", None)
            runs[0]()
            with pytest.raises(TypeError):
                runs[1]()
        return [[3.0, 1.0, 2.0], [5.0, 4.0]]

    monkeypatch.setattr(comparison, "interleaved_times", timed)
    found = comparison.compare_case(next(cases.grid([(2, 3, 2, 4)])))
    assert (found.native_seconds, found.numpy_seconds, found.ratio) == (1, 4, 4)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (1.234e-6, "1.23 µs"),
        (99.96e-6, "100 µs"),
        (999.4e-6, "999 µs"),
        (999.6e-6, "1.00 ms"),
        (0.0456, "45.6 ms"),
        (1.5, "1.50 s"),
    ],
)
def test_times(seconds: float, text: str) -> None:
    assert format_time(seconds) == text


def test_turns() -> None:
    calls: list[str] = []
    runs = [lambda: calls.append("a"), lambda: calls.append("b")]
    times = comparison.interleaved_times(runs, repeats=3)
    assert calls == ["a", "b"] * 3
    assert [len(of_run) for of_run in times] == [3, 3]
    assert [len(of_run) for of_run in comparison.interleaved_times(runs, seconds=0)] == [1, 1]
    assert len(comparison.interleaved_times(runs, seconds=0.02)[0]) > 10
