"""Input, gates, cell state and output over time as heat maps.

Shapes: B batch, T time, I input, H hidden, O features of h, L layers, D directions.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ..core.checks import real_array
from ..core.trace import Trace
from .figures import flat_axes, pyplot


class Panel(NamedTuple):
    """One heat map: its title, its values (T, units), and whether they are those of a gate."""

    title: str
    values: np.ndarray
    is_gate: bool


TITLES = {
    "f": "forget gate f",
    "i": "input gate i",
    "g": "candidate g",
    "o": "output gate o",
    "C": "cell state C",
    "h": "output h",
}
GATES = ("f", "i", "o")


def gates(trace: Trace, X: ArrayLike | None = None, *, layer: int = 0, row: int = 0, axes: Any = None) -> Any:
    """Draw input, gates, cell state and output as heat maps over time.

    Parameters
    ----------
    trace : Trace
        As `LSTM.trace` returns it.
    X : array_like, optional
        The input that was traced, (T, I) or (B, T, I), drawn on top.
    layer : int
        Which of the L D layers and directions.
    row : int
        Which row of a batch.
    axes : sequence of matplotlib.axes.Axes, optional
        Where to draw, one for each heat map: 6, or 7 with `X`. By default a new figure's.

    Returns
    -------
    numpy.ndarray
        The Axes, in the order drawn: the input where given, then f, i, g, o, C and h.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    TypeError, ValueError
        If the trace, a shape or the number of axes does not fit.
    IndexError
        If there is no such layer or row.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("Agg")
    >>> import numpy as np
    >>> import lstm.plot
    >>> X = np.random.default_rng(0).standard_normal((30, 2))
    >>> net = lstm.LSTM(2, 8, rng=0)
    >>> axes = lstm.plot.gates(net.trace(X), X)
    >>> len(axes)
    7
    """
    plt = pyplot()
    panels = _panels(trace, X, layer, row)
    if axes is None:
        height = 0.6 + sum(_height(panel) for panel in panels)
        _, axes = plt.subplots(
            len(panels),
            1,
            sharex=True,
            figsize=(9, height),
            layout="constrained",
            gridspec_kw={"height_ratios": [_height(panel) for panel in panels]},
        )
    axes = flat_axes(axes, len(panels), "heat maps")
    for ax, panel in zip(axes, panels, strict=True):
        _draw(ax, panel)
    axes[-1].set_xlabel("time step")
    return axes


def _panels(trace: Trace, X: ArrayLike | None, layer: int, row: int) -> list[Panel]:
    """What is to be drawn, from top to bottom."""
    if not isinstance(trace, Trace):
        raise TypeError(f"trace is a {type(trace).__name__}, but must be what LSTM.trace returns")
    panels = []
    if X is not None:
        inputs = real_array("X", X)
        if inputs.ndim != trace.h.ndim - 1 or inputs.shape[:-1] != trace.h.shape[1:-1]:
            raise ValueError(
                f"X has shape {inputs.shape}, but the trace is of {trace.h.shape[1:-1]} (rows and) steps"
            )
        panels.append(Panel("input x", inputs if inputs.ndim == 2 else inputs[row], is_gate=False))
    for name, title in TITLES.items():
        values = getattr(trace, name)[layer]
        values = values if values.ndim == 2 else values[row]
        panels.append(Panel(title, values, is_gate=name in GATES))
    if panels[-1].values.shape[0] == 0:
        raise ValueError("the trace has no steps to draw")
    return panels


def _height(panel: Panel) -> float:
    """Inches: more for more units, within what one looks at."""
    return float(np.clip(0.09 * panel.values.shape[1], 0.8, 2.0))


def _draw(ax: Any, panel: Panel) -> None:
    """One heat map of values (T, units): units upward, time to the right, a colour bar beside it."""
    finite = panel.values[np.isfinite(panel.values)]
    bound = float(np.abs(finite).max(initial=0)) or 1.0
    # A gate is open or shut, unless its activation is unbounded; all else has a sign, with white for zero.
    scale: dict[str, Any] = {"cmap": "RdBu_r", "vmin": -bound, "vmax": bound}
    if panel.is_gate and bool(((finite >= 0) & (finite <= 1)).all()):
        scale = {"cmap": "viridis", "vmin": 0, "vmax": 1}
    image = ax.imshow(panel.values.T, aspect="auto", origin="lower", interpolation="nearest", **scale)
    image.set_cmap(image.get_cmap().with_extremes(bad="0.5"))  # NaN is grey, not the white of zero
    ax.set_title(panel.title, loc="left", fontsize="medium")
    ax.set_ylabel("feature" if panel.title == "input x" else "unit")
    ax.yaxis.get_major_locator().set_params(integer=True)
    ax.xaxis.get_major_locator().set_params(integer=True)
    # As wide for low heat maps as for high ones: the aspect is height by width.
    ax.figure.colorbar(image, ax=ax, pad=0.01, aspect=6 * _height(panel))
