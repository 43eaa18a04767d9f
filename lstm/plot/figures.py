"""Where pictures are drawn, and what colours mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .steps import Steps, room_below
from .values import GATES, is_share, largest

WIDTH = 9.0  # inches


def pyplot() -> Any:
    """matplotlib.pyplot."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError('lstm.plot needs matplotlib: pip install "lstm-native[plot]"') from error
    return plt


def new_axes(heights: Sequence[float], steps: Steps) -> Any:
    """Axes of a new figure, one below the other, of so many inches each: (heights,)."""
    above_and_below = 0.25 * len(heights) + 0.5 + room_below(steps, WIDTH - 1)
    _, grid = pyplot().subplots(
        len(heights),
        sharex=True,
        figsize=(WIDTH, sum(heights) + above_and_below),
        layout="constrained",
        gridspec_kw={"height_ratios": heights},
        squeeze=False,
    )
    return grid.ravel()


def flat_axes(axes: Any, count: int, what: str) -> Any:
    """`axes` as an array (count,); ValueError if there are more or fewer than the pictures to draw."""
    flat = np.asarray(axes, dtype=object).ravel()
    if len(flat) != count:
        raise ValueError(f"axes has {len(flat)} Axes, but there are {count} {what} to draw")
    return flat


def colour_scale(name: str, values: np.ndarray) -> dict[str, Any]:
    """Colours of a gate, from 0 to 1, or of what has a sign: white is zero, and both sides reach as far."""
    if name in GATES and is_share(values):
        return {"cmap": "viridis", "vmin": 0.0, "vmax": 1.0}
    bound = float(largest(values))
    return {"cmap": "RdBu_r", "vmin": -bound, "vmax": bound}


def add_colour_bar(ax: Any, mappable: Any, height: float, texts: list[str] | None = None) -> None:
    """A colour bar of `height` inches, with its ends and its middle."""
    bar = ax.figure.colorbar(mappable, ax=ax, pad=0.01, aspect=8 * height)  # as wide whatever the height
    low, high = mappable.get_clim()
    ticks = [low, (low + high) / 2, high]
    texts = texts or [f"{tick:.2g}".replace("-", "−") for tick in ticks]
    bar.set_ticks(ticks, labels=texts, fontsize="small")
    for text, place in zip(bar.ax.get_yticklabels(), ("bottom", "center", "top"), strict=True):
        text.set_verticalalignment(place)  # within the height of the bar
    bar.outline.set(edgecolor="0.7", linewidth=0.6)
    bar.ax.tick_params(length=0)
