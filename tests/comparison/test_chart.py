"""benchmarks/chart.py: the README's picture shows what the committed report says."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from support import ROOT, load_script

SCRIPT = ROOT / "benchmarks" / "chart.py"
REPORT = ROOT / "benchmarks" / "results" / "peers-zen4.json"
pytestmark = pytest.mark.skipif(not SCRIPT.exists(), reason="needs the source tree")


@pytest.fixture(scope="module")
def chart() -> ModuleType:
    """The script as a module."""
    return load_script(SCRIPT)


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    """What peers.py wrote."""
    found: dict[str, Any] = json.loads(REPORT.read_text("utf-8"))
    return found


@pytest.mark.parametrize("name", ["light", "dark"])
def test_every_dot_is_a_ratio_of_the_report(chart: ModuleType, report: dict[str, Any], name: str) -> None:
    plt = pytest.importorskip("matplotlib.pyplot")
    figure = chart.draw(report, chart.STYLES[name])
    (ax,) = figure.axes
    dots = {
        (line.get_color(), x) for line in ax.lines if line.get_marker() in "osD" for x in line.get_xdata()
    }
    lines = [line for lines in chart.GROUPS for line in lines]
    expected = {
        (chart.PEERS[peer][1], ratio)
        for line in lines
        for peer, ratio in chart.ratios(chart.case_of(report, line)).items()
    }
    assert len(expected) == 3 * len(lines) - 2  # one case has a projection, which PyTorch alone runs
    assert dots == expected
    assert [label.get_text() for label in ax.get_yticklabels()] == [line.text for line in lines]
    plt.close(figure)


def test_the_smallest_ratio_is_shown(chart: ModuleType, report: dict[str, Any]) -> None:
    shown = [
        min(chart.ratios(chart.case_of(report, line)).values()) for lines in chart.GROUPS for line in lines
    ]
    everything = [row["ratio"] for row in report["rows"]]
    assert min(shown) == pytest.approx(min(everything), abs=1e-9)


@pytest.mark.parametrize("name", ["light", "dark"])
def test_the_committed_pictures_are_of_the_committed_report(chart: ModuleType, name: str) -> None:
    picture = (ROOT / "docs" / f"speed-{name}.svg").read_text("utf-8")
    assert chart.describe(REPORT) in picture


def test_the_script_draws_the_same_again(chart: ModuleType, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib").use("Agg")
    for name in ("one", "two"):
        assert chart.main([str(REPORT), str(tmp_path / name)]) == 0
    for style in chart.STYLES:
        first, second = ((tmp_path / f"{name}-{style}.svg").read_bytes() for name in ("one", "two"))
        assert first == second


def test_a_report_without_a_case_is_refused(chart: ModuleType, report: dict[str, Any]) -> None:
    few = {**report, "rows": report["rows"][:3]}
    with pytest.raises(ValueError, match=r"no case for .*1000 steps"):
        [chart.case_of(few, line) for lines in chart.GROUPS for line in lines]


def test_the_tables_figures_are_the_reports(report: dict[str, Any]) -> None:
    """Our times and the ratios of the table in benchmarks/README.md."""
    page = (ROOT / "benchmarks" / "README.md").read_text("utf-8")
    table = page[page.index("| of three runs |") :].split("\n\n")[0].splitlines()[2:]
    assert len(table) == len(report["rows"])
    for line, row in zip(table, report["rows"], strict=True):
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        np.testing.assert_allclose(float(cells[1]), row["best_us"]["lstm"], rtol=0.02)
        np.testing.assert_allclose(float(cells[6]), row["ratio"], atol=0.0051)
