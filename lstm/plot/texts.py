"""A text in the colours of one unit.

Shapes: T time, H hidden.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..core.trace import Trace
from .figures import add_colour_bar, colour_scale, flat_axes, pyplot
from .steps import CHARACTER, visible
from .values import TITLES, of_unit


class Place(NamedTuple):
    """Where a token is written: its line and the columns from `start` to `end`."""

    line: int
    start: int
    end: int


def text(
    trace: Trace,
    unit: int,
    text: str | Sequence[str],
    *,
    show: str = "C",
    columns: int = 80,
    layer: int = 0,
    row: int = 0,
    axes: Any = None,
) -> Any:
    """Write a text in the colours of one unit: what it does at every character, or word.

    Parameters
    ----------
    trace : Trace
        As `LSTM.trace` returns it.
    unit : int
        Which of the H units.
    text : str or sequence of str
        What the net read, one character or token for each step. A line break ends a line.
    show : {"C", "h", "f", "i", "g", "o"}
        What the colours are: of a gate from 0 to 1, else from minus its largest magnitude to that.
    columns : int
        Longer lines are broken, between words if there are any.
    layer : int
        Which of the L D layers and directions.
    row : int
        Which row of a batch.
    axes : matplotlib.axes.Axes, optional
        Where to draw. By default a new figure's.

    Returns
    -------
    matplotlib.axes.Axes
        The Axes. NaN is grey.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    TypeError, ValueError
        If the trace, the number of characters or an option does not fit.
    IndexError
        If there is no such unit, layer or row.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("Agg")
    >>> import numpy as np
    >>> import lstm.plot
    >>> text = "From fairest creatures we desire increase,"
    >>> X = np.eye(128)[[ord(character) for character in text]]
    >>> ax = lstm.plot.text(lstm.LSTM(128, 8, rng=0).trace(X), 3, text)
    >>> ax.get_title(loc="left")
    'cell state C of unit 3'
    """
    plt = pyplot()
    if show not in TITLES:
        raise ValueError(f"show is {show!r}, but must be one of {', '.join(TITLES)}")
    number, lines = of_unit(trace, unit, layer, row)
    if show not in lines:
        raise ValueError("h of a net with a projection has features instead of units; show another value")
    if not isinstance(columns, int) or columns < 1:
        raise ValueError(f"columns is {columns!r}, but must be a positive integer")
    tokens = checked_tokens(text, len(lines[show]))
    places = layout(tokens, columns)
    if axes is None:
        _, axes = plt.subplots(figsize=_size(places), layout="constrained")
    (ax,) = flat_axes(axes, 1, "picture")
    mappable = _mappable(lines[show], colour_scale(show, lines[show]))
    add_colour_bar(ax, mappable, ax.get_window_extent().height / ax.figure.dpi)
    write(ax, tokens, places, mappable.to_rgba(mappable.get_array()))
    ax.set_title(f"{TITLES[show]} of unit {number}", loc="left", fontsize="medium")
    return ax


def checked_tokens(text: Any, steps: int) -> list[str]:
    """What is written, (T,)."""
    tokens = list(text) if isinstance(text, str | Sequence | np.ndarray) else [text]
    for token in tokens:
        if not isinstance(token, str):
            raise TypeError(f"text has {token!r}, but must be a str or a sequence of str")
    if len(tokens) != steps:
        raise ValueError(f"text has {len(tokens)} characters or tokens, but the trace has {steps} steps")
    return tokens


def layout(tokens: list[str], columns: int) -> list[Place]:
    """Where each token goes, (T,): lines end at line breaks, and before a word that does not fit."""
    widths = [min(max(1, len(token)), columns) for token in tokens]
    places = []
    line = column = 0
    for k, (token, width, room) in enumerate(zip(tokens, widths, word_ends(tokens, widths), strict=True)):
        begins_word = k == 0 or tokens[k - 1][-1:].isspace()
        if column + (room if begins_word and room <= columns else width) > columns:
            line, column = line + 1, 0
        places.append(Place(line, column, column + width))
        column += width
        if token.endswith("\n"):
            line, column = line + 1, 0
    return places


def word_ends(tokens: list[str], widths: list[int]) -> list[int]:
    """Columns from each token to the end of its word, (T,), which ends with white space."""
    rest = list(widths)
    for k in reversed(range(len(tokens) - 1)):
        if not tokens[k][-1:].isspace():
            rest[k] += rest[k + 1]
    return rest


def _size(places: list[Place]) -> tuple[float, float]:
    """Inches of a figure for characters of about 10 points."""
    columns = max(place.end for place in places)
    return 0.8 + 0.088 * max(columns, 30), 0.5 + 0.18 * (places[-1].line + 1)


def _mappable(values: np.ndarray, scale: dict[str, Any]) -> Any:
    """What gives values (T,) their colours: matplotlib's ScalarMappable; NaN is grey."""
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    colours = colormaps[scale["cmap"]].with_extremes(bad="0.5")
    mappable = ScalarMappable(Normalize(scale["vmin"], scale["vmax"]), colours)
    mappable.set_array(np.ma.masked_invalid(values))
    return mappable


def write(ax: Any, tokens: list[str], places: list[Place], colours: np.ndarray) -> None:
    """Tokens at their places on their colours (T, 4): in black, or in white where that is dark."""
    lines, columns = places[-1].line + 1, max(place.end for place in places)
    cells = np.zeros((lines, columns, 4))  # where there is no text there is no colour
    for place, colour in zip(places, colours, strict=True):
        cells[place.line, place.start : place.end] = colour
    ax.imshow(cells, aspect="auto", extent=(0, columns, lines, 0), interpolation="nearest")
    ax.set_axis_off()
    width = 72 * ax.get_window_extent().width / ax.figure.dpi / columns
    style = {"family": "monospace", "fontsize": min(10.0, 0.92 * width / CHARACTER), "parse_math": False}
    style |= {"horizontalalignment": "center", "verticalalignment": "baseline"}
    style |= {"in_layout": False}  # they are within the cells: to ask each one for its size takes seconds
    is_dark = colours[:, :3] @ [0.299, 0.587, 0.114] < 0.5
    for token, place, dark in zip(tokens, places, is_dark, strict=True):
        if shown := visible(token).strip():
            room = place.end - place.start
            shown = shown if len(shown) <= room else shown[: room - 1] + "…"
            middle = (place.start + place.end) / 2
            ax.text(middle, place.line + 0.72, shown, color="white" if dark else "black", **style)
