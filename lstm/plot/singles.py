"""One unit over time: its gates and states as lines.

Shapes: B batch, T time, I input, H hidden, O features of h, L layers, D directions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..core.trace import Trace
from .figures import flat_axes, new_axes, pyplot
from .heat_maps import draw_panel, input_panel
from .steps import Steps, label_steps, read_steps
from .values import GATES, TITLES, is_share, of_unit

# Told apart by those who do not see red and green as others do (Okabe and Ito 2008).
COLOURS = {"f": "#0072b2", "i": "#e69f00", "o": "#009e73", "g": "0.6", "C": "#000000", "h": "#d55e00"}
FEATURES = ("0.3", "#cc79a7", "#56b4e9", "#8c6d31")  # more features than these are a heat map
COLOURS |= {f"x{feature}": colour for feature, colour in enumerate(FEATURES)}


def unit(
    trace: Trace,
    unit: int,
    X: ArrayLike | None = None,
    *,
    labels: Any = None,
    layer: int = 0,
    row: int = 0,
    axes: Any = None,
) -> Any:
    """Draw what one unit does over time: its gates, its cell state, and what goes in and out, as lines.

    `text` shows a unit over a long text.

    Parameters
    ----------
    trace : Trace
        As `LSTM.trace` returns it.
    unit : int
        Which of the H units.
    X : array_like, optional
        The input that was traced, (T, I) or (B, T, I), drawn on top: lines, or a heat map of many features.
    labels : str, or sequence of str, numbers or dates, optional
        What is written below the steps, as for `gates`.
    layer : int
        Which of the L D layers and directions.
    row : int
        Which row of a batch.
    axes : sequence of matplotlib.axes.Axes, optional
        Where to draw: 3, or 4 with `X`. By default a new figure's.

    Returns
    -------
    numpy.ndarray
        The Axes: the input where given, f, i and o, then C, then g and h. Of a net with a projection, whose
        h has no units, the last one has g alone. NaN leaves a gap.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    TypeError, ValueError
        If the trace, a shape, or the number of labels or axes does not fit.
    IndexError
        If there is no such unit, layer or row.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("Agg")
    >>> import numpy as np
    >>> import lstm.plot
    >>> X = np.random.default_rng(0).standard_normal((30, 2))
    >>> trace = lstm.LSTM(2, 8, rng=0).trace(X)
    >>> longest = np.argmax(lstm.plot.time_constants(trace))
    >>> axes = lstm.plot.unit(trace, longest, X, labels=np.arange(30) * 0.01)
    >>> len(axes)
    4
    """
    pyplot()  # or the error that names the extra
    number, lines = of_unit(trace, unit, layer, row)
    steps = read_steps(labels, len(lines["f"]))
    heights = [1.0] * (X is not None) + [1.2, 1.0, 1.0]
    if axes is None:
        axes = new_axes(heights, steps)
    axes = flat_axes(axes, len(heights), "pictures")
    if X is not None:
        _draw_input(axes[0], trace, X, row, steps)
    last = "candidate g and output h" if "h" in lines else TITLES["g"]
    titles = (f"gates of unit {number}", TITLES["C"], last)
    for ax, title, names in zip(axes[-3:], titles, ("fio", "C", "gh"), strict=True):
        drawn = {name: lines[name] for name in names if name in lines}
        _draw_lines(ax, title, drawn, steps)
    axes[-1].set_xlabel(steps.name)
    return axes


def _draw_input(ax: Any, trace: Trace, X: ArrayLike, row: int, steps: Steps) -> None:
    """X over time: a line for each feature, or a heat map of many."""
    panel = input_panel(trace, X, row, "unit")
    features = panel.values.shape[1]
    if features > len(FEATURES):
        draw_panel(ax, panel, steps)
        return
    names = [f"x{feature}" for feature in range(features)]
    _draw_lines(ax, "input x", dict(zip(names, panel.values.T, strict=True)), steps)


def _draw_lines(ax: Any, title: str, lines: dict[str, np.ndarray], steps: Steps) -> None:
    """Lines (T,) by their names; a few steps have a mark each."""
    marker = "." if len(steps.places) <= 100 else ""
    for place, (name, values) in enumerate(lines.items()):
        # The first is the thinnest and on top, so that lines can be seen where they are the same.
        style = {"linewidth": 1.2 + 0.7 * place, "zorder": 3 - 0.1 * place}
        ax.plot(steps.places, values, color=COLOURS[name], marker=marker, label=name, **style)
    is_signed = not all(is_share(values) for values in lines.values())
    if set(lines) <= set(GATES) and not is_signed:
        ax.set_ylim(-0.04, 1.04)
    if is_signed:
        ax.axhline(0, color="0.7", linewidth=0.6, zorder=0)
    ax.set_title(title, loc="left", fontsize="medium")
    if len(lines) > 1:
        ax.legend(
            loc="upper left", bbox_to_anchor=(1, 1.05), frameon=False, fontsize="small", handlelength=1.2
        )
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    ax.tick_params(axis="y", labelsize="small")
    label_steps(ax, steps)
