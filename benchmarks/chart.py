"""Draw how long the peers take compared with this package, from what peers.py wrote with --json.

    python benchmarks/peers.py --json peers.json
    python benchmarks/chart.py peers.json docs/speed

writes docs/speed-light.svg and docs/speed-dark.svg, the same chart for pages of either colour. Needs the
extra ``plot``. A peer's dot is its best time divided by ours, on a logarithmic scale.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np


class Line(NamedTuple):
    """One line of the chart: its text and the case of peers.py that it shows."""

    text: str
    input_size: int
    hidden_size: int
    batch: int
    time: int
    proj_size: int = 0
    mixed_lengths: bool = False


# In groups, from where a call costs most to where the arithmetic does; the smallest ratio is one of them.
GROUPS = [
    [
        Line("one step, H 16", 1, 16, 1, 1),
        Line("one step, H 128", 40, 128, 1, 1),
        Line("one step, H 512", 128, 512, 1, 1),
    ],
    [
        Line("1000 steps, H 20", 1, 20, 1, 1000),
        Line("100 steps, H 64", 16, 64, 1, 100),
        Line("100 steps, H 128", 40, 128, 1, 100),
        Line("50 steps, H 512, projection", 128, 512, 1, 50, proj_size=128),
    ],
    [
        Line("batch of 32, mixed lengths, H 256", 128, 256, 32, 100, mixed_lengths=True),
        Line("batch of 32, H 128", 64, 128, 32, 100),
        Line("batch of 8, I 4096, H 100", 4096, 100, 8, 20),
    ],
]
VARIANT = {"num_layers": 1, "bidirectional": False, "proj_size": 0, "peephole": False, "mixed_lengths": False}


class Style(NamedTuple):
    """Colours of a chart: text, lesser text and lines, ours."""

    text: str
    faint: str
    grid: str
    ours: str


STYLES = {
    "light": Style("#1f2328", "#59636e", "#d9dee3", "#1f62b0"),
    "dark": Style("#e6edf3", "#9aa4af", "#343b44", "#6cb0ff"),
}
# A peer's name, colour that shows on both, and mark: they differ in shape too.
PEERS = {
    "onnxruntime": ("ONNX Runtime", "#8b949e", "o"),
    "openvino": ("OpenVINO", "#a371f7", "s"),
    "pytorch": ("PyTorch", "#e8804a", "D"),
}
TICKS = [1, 2, 5, 10, 20, 50, 100, 300]


def case_of(report: dict[str, Any], line: Line) -> dict[str, Any]:
    """The row of the report that a line shows."""
    wanted = {**VARIANT, **{k: v for k, v in line._asdict().items() if k != "text"}}
    for row in report["rows"]:
        if all(row[name] == value for name, value in wanted.items()):
            found: dict[str, Any] = row
            return found
    raise ValueError(f"the report has no case for {line}: run peers.py without --cases")


def ratios(row: dict[str, Any]) -> dict[str, float]:
    """Best time of each peer that ran, divided by ours."""
    best = row["best_us"]
    return {name: best[name] / best["lstm"] for name in PEERS if name in best}


def draw(report: dict[str, Any], style: Style) -> Any:
    """The chart as a figure of matplotlib."""
    import matplotlib.pyplot as plt

    figure, ax = plt.subplots(figsize=(8.4, 3.6), layout="constrained")
    lines = [(place + 0.35 * group, line) for group, place, line in _places()]
    largest = 1.0
    for y, line in lines:
        shown = ratios(case_of(report, line))
        _draw_line(ax, y, shown, style)
        largest = max(largest, *shown.values())
    ax.axvline(1, color=style.ours, linewidth=2, zorder=2)
    top, bottom = -0.75, lines[-1][0] + 0.6
    ax.text(1, top, "lstm", color=style.ours, ha="center", va="bottom")
    ax.text(
        1.006, top, "nearest", transform=ax.get_yaxis_transform(), color=style.ours, va="bottom", fontsize=9
    )
    ax.set_xscale("log")
    ax.set_xlim(0.9, largest * 1.25)
    ticks = [tick for tick in TICKS if tick <= largest * 1.2]
    ax.set_xticks(ticks, [f"{tick}×" for tick in ticks], color=style.faint)
    ax.minorticks_off()
    ax.set_yticks([y for y, _ in lines], [line.text for _, line in lines], color=style.text)
    ax.set_ylim(bottom, top)
    ax.tick_params(length=0)
    ax.grid(axis="x", color=style.grid, linewidth=0.8)
    ax.set_axisbelow(True)
    ax.spines[:].set_visible(False)
    ax.set_xlabel("time of others / time of lstm: further right is slower", color=style.faint)
    for name, color, mark in PEERS.values():
        ax.plot([], [], mark, color=color, label=name)
    ax.legend(
        loc="lower right", bbox_to_anchor=(1, 1), ncols=len(PEERS), frameon=False, labelcolor=style.text
    )
    return figure


def _places() -> list[tuple[int, int, Line]]:
    """(group, place from the top, line) of every line."""
    flat = [(group, line) for group, lines in enumerate(GROUPS) for line in lines]
    return [(group, place, line) for place, (group, line) in enumerate(flat)]


def _draw_line(ax: Any, y: float, shown: dict[str, float], style: Style) -> None:
    """The peers' dots, a bar from us to the nearest, and its ratio."""
    nearest = min(shown.values())
    ax.plot([1, nearest], [y, y], color=style.ours, alpha=0.35, linewidth=7, solid_capstyle="butt", zorder=1)
    for name, value in shown.items():
        _, color, mark = PEERS[name]
        ax.plot(value, y, mark, color=color, markersize=6.5, zorder=3)
    text = f"{nearest:.0f}×" if nearest >= 10 else f"{nearest:.1f}×" if nearest >= 2 else f"{nearest:.2f}×"
    ax.text(1.006, y, text, transform=ax.get_yaxis_transform(), color=style.ours, va="center", fontsize=9)


def describe(path: Path) -> str:
    """What a picture says of where it comes from: the report's name and a digest of its bytes."""
    return f"{path.name} sha256 {hashlib.sha256(path.read_bytes()).hexdigest()}"


def main(arguments: list[str]) -> int:
    """Draw both pictures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("report", type=Path, help="what peers.py --json wrote")
    parser.add_argument("target", help="start of the pictures' paths")
    chosen = parser.parse_args(arguments)
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    report = json.loads(chosen.report.read_text(encoding="utf-8"))
    # The same bytes for the same report: no date, and names within the file that do not change.
    plt.rcParams.update({"svg.hashsalt": "lstm", "font.family": "DejaVu Sans", "font.size": 10})
    for name, style in STYLES.items():
        figure = draw(report, style)
        path = f"{chosen.target}-{name}.svg"
        metadata = {"Date": None, "Description": describe(chosen.report)}
        figure.savefig(path, transparent=True, metadata=metadata)
        plt.close(figure)
        print(f"wrote {path}")
    slowest = min(min(ratios(row).values(), default=np.inf) for row in report["rows"])
    print(f"smallest ratio of all {len(report['rows'])} cases: {slowest:.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
