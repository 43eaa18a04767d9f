"""A picture of what `comparison` found, with matplotlib (extra ``plot``): times, and errors."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from .comparison import Comparison
from .machine import machine
from .text import format_time, printable

TEXT, FAINT, GRID = "#1f2328", "#59636e", "#dfe3e8"
NATIVE, NUMPY, FAILED = "#1f62b0", "#a0a8b2", "#c3282d"

LEAST = 1e-3
"""Share of the allowed error at the left end of the axis: what is less, none too, is drawn there."""

MOST = 1e4
"""The same at the right end."""


class Line(NamedTuple):
    """One case in the chart: its name, and what is drawn of it."""

    name: str
    native: float  # seconds
    numpy: float
    error: float  # of the native path, divided by what is allowed, from LEAST to MOST
    numpy_error: float  # NumPy's own, likewise
    passed: bool


def figure(comparisons: Sequence[Comparison], model: str | None = None) -> Any:
    """Draw one line a case: the times of both paths, and their errors as shares of what is allowed.

    Parameters
    ----------
    comparisons : sequence of Comparison
        At least one.
    model : str, optional
        The name of the model file.

    Returns
    -------
    matplotlib.figure.Figure

    """
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    lines = [_line(c) for c in comparisons]
    layout = ConstrainedLayoutEngine(wspace=0.04, h_pad=0.12, w_pad=0.12)
    drawn = Figure(figsize=(11, 1.9 + 0.3 * len(lines)), layout=layout)
    times, errors = drawn.subplots(1, 2, sharey=True, gridspec_kw={"width_ratios": [3, 2]})
    what = "a grid of sizes" if model is None else printable(model)
    passed = "all agree" if all(line.passed for line in lines) else "NOT ALL AGREE"
    # Names are no formulas, whatever dollar signs they have.
    drawn.suptitle(
        f"Native and NumPy: {what}, {passed}\n{machine()}",
        x=0.012,
        ha="left",
        fontsize="medium",
        color=TEXT,
        parse_math=False,
    )
    for ax in (times, errors):
        _bare(ax)
    _draw_times(times, lines)
    _draw_errors(errors, lines)
    return drawn


def _line(c: Comparison) -> Line:
    sizes = f"I {c.input_size}  H {c.hidden_size}  B {c.batch}  T {c.time}"
    d = c.difference
    error, numpy_error = (min(max(e / d.tolerance, LEAST), MOST) for e in (d.relative, d.numpy_error))
    name = f"{sizes}  {c.precision or c.dtype}"
    return Line(name, c.native_seconds, c.numpy_seconds, error, numpy_error, c.passed)


def _bare(ax: Any) -> None:
    """Axes without a frame, with faint lines upward."""
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0, colors=FAINT, labelsize="small")
    ax.grid(axis="x", color=GRID, linewidth=0.8)
    ax.set_axisbelow(True)
    ax.set_xscale("log")


def _draw_times(ax: Any, lines: Sequence[Line]) -> None:
    """A line from one path's time to the other's, and how many times as fast the native one is."""
    places = range(len(lines))
    native, numpy = [line.native for line in lines], [line.numpy for line in lines]
    ax.hlines(places, native, numpy, color=GRID, linewidth=4)
    ax.plot(numpy, places, "o", color=NUMPY, markersize=7, label="NumPy")
    ax.plot(native, places, "o", color=NATIVE, markersize=7, label="native")
    for place, line in enumerate(lines):
        ax.annotate(
            f"{line.numpy / line.native:.1f} times",
            (max(line.native, line.numpy), place),
            xytext=(9, 0),
            textcoords="offset points",
            va="center",
            fontsize="small",
            color=TEXT,
        )
    ax.set_yticks(list(places), [line.name for line in lines])
    ax.tick_params(axis="y", colors=TEXT)
    ax.set_ylim(len(lines) - 0.5, -0.5)
    low, high = min(*native, *numpy), max(*native, *numpy)
    ends = low / 1.5, high * (high / low) ** 0.2 * 2  # with room for the ratios
    ticks = _ticks(*ends)
    ax.set_xticks(ticks, [re.sub(r"\.0+ ", " ", format_time(tick)) for tick in ticks])
    ax.set_xticks([], minor=True)
    ax.set_xlim(ends)
    _title(ax, "Time of a call")


def _ticks(low: float, high: float) -> list[float]:
    """Powers of ten from `low` to `high`, and if there is only one, or none, their multiples too."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1,), (1, 2, 5), range(1, 10)):
        ticks = [factor * 10.0**power for power in powers for factor in factors]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) > 1:
            break
    return ticks


def _draw_errors(ax: Any, lines: Sequence[Line]) -> None:
    """Errors on a scale on which 1 is what is allowed."""
    places = list(range(len(lines)))
    ax.plot([line.numpy_error for line in lines], places, "o", color=NUMPY, markersize=7, label="NumPy's own")
    ax.scatter(
        [line.error for line in lines],
        places,
        s=46,
        zorder=3,
        color=[NATIVE if line.passed else FAILED for line in lines],
        label="native",
    )
    ax.axvline(1, color=FAILED, linewidth=1.2)
    most = max(max(line.error, line.numpy_error) for line in lines)
    ends = LEAST / 1.5, max(3.0, 2 * most)
    ticks = _ticks(*ends)
    ax.set_xticks(ticks, [f"{tick:g}" if tick > LEAST else f"≤ {LEAST:g}" for tick in ticks])
    ax.set_xticks([], minor=True)
    ax.set_xlim(ends)
    _title(ax, "Error, as a share of what is allowed")


def _title(ax: Any, title: str) -> None:
    """Its title, and the names of the marks to the right of it."""
    ax.set_title(title, loc="left", fontsize="medium", fontweight="bold", color=TEXT, pad=24)
    ax.legend(
        loc="lower left",
        bbox_to_anchor=(-0.01, 1),
        borderaxespad=0.4,
        ncols=2,
        frameon=False,
        fontsize="small",
        labelcolor=FAINT,
        handletextpad=0.1,
        columnspacing=1.0,
        borderpad=0,
    )
