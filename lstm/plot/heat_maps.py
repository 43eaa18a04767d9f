"""Input, gates, cell state and output over time as heat maps.

Shapes: B batch, T time, I input, H hidden, O features of h, L layers, D directions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ..core.checks import real_array
from ..core.trace import Trace
from .figures import add_colour_bar, colour_scale, flat_axes, new_axes, pyplot
from .steps import Steps, label_steps, read_steps
from .values import TITLES, by_memory, largest, of_row, time_constants, unit_numbers

NAMED = 14  # up to so many rows have their numbers written beside them


class Rows(NamedTuple):
    """The rows of a heat map from bottom to top: what they are, and their numbers (rows,).

    `memory` (rows,) are the time constants of units that are sorted by them.
    """

    what: str
    numbers: np.ndarray
    memory: np.ndarray | None = None


class Panel(NamedTuple):
    """One heat map: its title, its values (T, rows), its colours, and what its rows are.

    With `bounds`, their largest magnitudes (rows,), each row has a colour scale of its own.
    """

    title: str
    values: np.ndarray
    colours: dict[str, Any]
    rows: Rows
    bounds: np.ndarray | None = None

    @property
    def height(self) -> float:
        """Inches: more for more rows, within what one looks at."""
        return float(np.clip(0.12 * self.values.shape[1], 0.7, 1.7))


def gates(
    trace: Trace,
    X: ArrayLike | None = None,
    *,
    show: str | Sequence[str] = "figoCh",
    units: Sequence[int] | np.ndarray | None = None,
    order: str | None = "memory",
    scale: str = "unit",
    labels: Any = None,
    layer: int = 0,
    row: int = 0,
    axes: Any = None,
) -> Any:
    """Draw input, gates, cell state and output as heat maps over time.

    Units are sorted by how long they remember, in all heat maps alike: at the bottom those that forget at
    once, at the top those that keep.

    Parameters
    ----------
    trace : Trace
        As `LSTM.trace` returns it.
    X : array_like, optional
        The input that was traced, (T, I) or (B, T, I), drawn on top.
    show : str or sequence of str
        Which heat maps, of "f", "i", "g", "o", "C" and "h", from top to bottom.
    units : sequence of int, optional
        Numbers of the units to draw. By default all.
    order : {"memory", None}
        "memory" sorts the units by `time_constants`, -1 / log(mean of f over time). None leaves them as they
        are numbered, or as `units` has them, upward.
    scale : {"unit", "shared"}
        Whether each unit of C and h, and each feature of X, has a colour scale of its own, which ends at its
        largest magnitude, or all of a heat map share one. Gates reach from 0 to 1.
    labels : str, or sequence of str, numbers or dates, optional
        What is written below the steps, one for each: characters, words, times. As many as can be read are
        shown. Numbers and dates at even distances become the axis itself.
    layer : int
        Which of the L D layers and directions.
    row : int
        Which row of a batch.
    axes : sequence of matplotlib.axes.Axes, optional
        Where to draw, one for each heat map: 6, or 7 with `X`. By default a new figure's.

    Returns
    -------
    numpy.ndarray
        The Axes, in the order drawn: the input where given, then f, i, g, o, C and h, or those of `show`.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    TypeError, ValueError
        If the trace, a shape, an option, or the number of labels or axes does not fit.
    IndexError
        If there is no such layer, row or unit.

    Notes
    -----
    Of a net with a projection h has features instead of units: all are drawn, as they are numbered. NaN is
    grey.

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

    The forget gate and the cell state, with times in seconds:

    >>> f, C = lstm.plot.gates(net.trace(X), show="fC", labels=np.arange(30) * 0.01)
    """
    pyplot()  # or the error that names the extra
    if scale not in ("unit", "shared"):
        raise ValueError(f'scale is {scale!r}, but must be "unit" or "shared"')
    names = shown_names(show)
    values = [of_row(trace, name, layer, row) for name in names]
    steps = read_steps(labels, len(values[0]))
    rows = unit_rows(trace, units, order, layer, row)
    panels = [] if X is None else [input_panel(trace, X, row, scale)]
    hidden = trace.f.shape[-1]
    panels += [gate_panel(name, one, hidden, rows, scale) for name, one in zip(names, values, strict=True)]
    if axes is None:
        axes = new_axes([panel.height for panel in panels], steps)
    axes = flat_axes(axes, len(panels), "heat maps")
    for ax, panel in zip(axes, panels, strict=True):
        draw_panel(ax, panel, steps)
    axes[-1].set_xlabel(steps.name)
    _note_the_order(axes, panels)
    return axes


def _note_the_order(axes: Any, panels: list[Panel]) -> None:
    """Above the first heat map of sorted units: how they are."""
    for ax, panel in zip(axes, panels, strict=True):
        if panel.rows.memory is not None and len(panel.rows.numbers) > 1:
            note = "units sorted by memory, the longest on top"
            ax.set_title(note, loc="right", fontsize="small", color="0.4")
            return


def shown_names(show: str | Sequence[str]) -> list[str]:
    """Names of the heat maps to draw."""
    names = list(show)
    if not names or any(name not in TITLES for name in names):
        raise ValueError(f"show is {show!r}, but must name some of {', '.join(TITLES)}")
    return names


def unit_rows(trace: Trace, units: Any, order: str | None, layer: int, row: int) -> Rows:
    """The units to draw."""
    if order not in ("memory", None):
        raise ValueError(f'order is {order!r}, but must be "memory" or None; units= takes numbers of units')
    numbers = unit_numbers(units, trace.f.shape[-1])
    if order is None:
        return Rows("unit", numbers)
    memory = time_constants(trace, layer=layer, row=row)[numbers]
    places = by_memory(memory)
    return Rows("unit", numbers[places], memory[places])


def input_panel(trace: Trace, X: ArrayLike, row: int, scale: str) -> Panel:
    """The heat map of the row of X that was traced; ValueError if that was of another shape."""
    inputs = real_array("X", X)
    if inputs.ndim != trace.h.ndim - 1 or inputs.shape[:-1] != trace.h.shape[1:-1]:
        raise ValueError(
            f"X has shape {inputs.shape}, but the trace is of {trace.h.shape[1:-1]} (rows and) steps"
        )
    values = (inputs if inputs.ndim == 2 else inputs[row]).astype(np.float64)
    return signed_panel("input x", values, Rows("feature", np.arange(values.shape[1])), scale)


def gate_panel(name: str, values: np.ndarray, hidden_size: int, units: Rows, scale: str) -> Panel:
    """The heat map of a gate, of g, C or h: values of all units (T, H), or (T, O) of a projected h."""
    if values.shape[1] != hidden_size:
        return signed_panel(
            f"{TITLES[name]}, projected", values, Rows("feature", np.arange(values.shape[1])), scale
        )
    values = values[:, units.numbers]
    if name in "Ch":
        return signed_panel(TITLES[name], values, units, scale)
    return Panel(TITLES[name], values, colour_scale(name, values), units)


def signed_panel(title: str, values: np.ndarray, rows: Rows, scale: str) -> Panel:
    """The heat map of values (T, rows) with each row on its own scale, or all on one."""
    colours = colour_scale("", values)
    if scale == "shared" or len(rows.numbers) < 2:
        return Panel(title, values, colours, rows)
    colours = colours | {"vmin": -1.0, "vmax": 1.0}
    return Panel(
        f"{title}, each {rows.what} on its own scale", values, colours, rows, largest(values, axis=0)
    )


def draw_panel(ax: Any, panel: Panel, steps: Steps) -> None:
    """One heat map: rows upward, time to the right, a colour bar beside it."""
    values = panel.values if panel.bounds is None else panel.values / panel.bounds
    # Of more values than pixels matplotlib draws means if it may choose: of values, since the mean of red and
    # blue is white.
    room = ax.get_window_extent()
    has_room = values.shape[0] <= room.width and values.shape[1] <= room.height
    image = ax.imshow(
        values.T,
        aspect="auto",
        origin="lower",
        extent=(*steps.edges, -0.5, values.shape[1] - 0.5),
        interpolation="nearest" if has_room else None,
        interpolation_stage="data",
        **panel.colours,
    )
    image.set_cmap(image.get_cmap().with_extremes(bad="0.5"))  # NaN is grey, not the white of zero
    ax.set_title(panel.title, loc="left", fontsize="medium")
    label_rows(ax, panel.rows)
    label_steps(ax, steps)
    add_colour_bar(ax, image, panel.height, None if panel.bounds is None else ["−max", "0", "max"])
    for spine in ax.spines.values():
        spine.set(color="0.7", linewidth=0.6)
    image.set_mouseover(False)  # it would tell the scaled value
    ax.format_coord = lambda x, y: describe(panel, steps, x, y)


def describe(panel: Panel, steps: Steps, x: float, y: float) -> str:
    """What an interactive window says of the place below the pointer."""
    step, row = steps.at(x), int(np.clip(round(y), 0, panel.values.shape[1] - 1))
    value = panel.values[step, row]
    return f"step {step}, {panel.rows.what} {panel.rows.numbers[row]}: {value:.3g}"


def label_rows(ax: Any, rows: Rows) -> None:
    """Numbers of the rows; of many units that are sorted by memory, how long they remember."""
    count = len(rows.numbers)
    ax.set_ylabel(rows.what)
    ax.tick_params(axis="y", length=2, labelsize="small")
    if count <= NAMED:
        ax.set_yticks(range(count), [str(number) for number in rows.numbers], fontsize=7)
    elif rows.memory is not None:
        ax.set_ylabel("memory (steps)")
        ticks = memory_ticks(rows.memory)
        ax.set_yticks(list(ticks), list(ticks.values()))
    else:
        ax.yaxis.get_major_locator().set_params(integer=True)
        ax.yaxis.set_major_formatter(lambda y, _: number_at(rows, y))


def number_at(rows: Rows, y: float) -> str:
    """The number of the row whose middle is at `y`."""
    row = round(y)
    return str(rows.numbers[row]) if 0 <= row < len(rows.numbers) else ""


def memory_ticks(memory: np.ndarray) -> dict[float, str]:
    """Heights above which units remember longer than a round number of steps; `memory` (units,) is sorted.

    Powers of ten, three times them if there is room, and if none lies between two units the memory of the
    lowest, the middle and the highest one.
    """
    memory = np.nan_to_num(memory, nan=-1, posinf=np.inf)
    powers = 10.0 ** np.arange(9)
    ticks: dict[float, str] = {}
    for candidates in (powers, 3 * powers):
        for steps in candidates if len(ticks) < 3 else ():
            height = float(np.searchsorted(memory, steps)) - 0.5
            near_another = any(abs(height - other) < len(memory) / 8 for other in ticks)
            if 0 < height < len(memory) - 1 and not near_another:
                ticks[height] = f"{steps:g}"
    if len(ticks) < 2:
        rows = (0, len(memory) // 2, len(memory) - 1)
        ticks = {row: f"{memory[row]:.2g}" if memory[row] >= 0 else "unknown" for row in rows}
    return ticks
