"""Times of two paths, and how times and sizes are written."""

from __future__ import annotations

from typing import Any

import pytest

from lstm.comparison import cases, comparison
from lstm.comparison.text import format_bytes, format_time
from lstm.core import reference


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


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (999, "999 bytes"),
        (1000, "1.00 kB"),
        (99_960, "100 kB"),
        (999_600, "1.00 MB"),
        (45_600_000, "45.6 MB"),
        (12_340_000_000, "12.34 GB"),
    ],
)
def test_sizes(count: int, text: str) -> None:
    assert format_bytes(count) == text


def test_turns() -> None:
    calls: list[str] = []
    runs = [lambda: calls.append("a"), lambda: calls.append("b")]
    times = comparison.interleaved_times(runs, repeats=3)
    assert calls == ["a", "b"] * 3
    assert [len(of_run) for of_run in times] == [3, 3]
    assert [len(of_run) for of_run in comparison.interleaved_times(runs, seconds=0)] == [1, 1]
    assert len(comparison.interleaved_times(runs, seconds=0.02)[0]) > 10
