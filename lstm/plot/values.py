"""What is drawn: the values of one layer and row of a trace, and how long its units remember.

Shapes: T time, H hidden, O features of h.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core.trace import MEANINGS, Trace

TITLES = {name: f"{MEANINGS[name]} {name}" for name in "figoCh"}
GATES = ("f", "i", "o")


def time_constants(trace: Trace, *, layer: int = 0, row: int = 0) -> np.ndarray:
    """How long each unit remembers, in steps: -1 / log(mean of f over time).

    At every step a unit keeps the share f of its cell state. If f varies at random, a share of mean(f) ** n
    of what it stored is left after n steps on average; that is 1/e after as many steps as this says.

    Parameters
    ----------
    trace : Trace
        As `LSTM.trace` returns it.
    layer : int
        Which of the L D layers and directions.
    row : int
        Which row of a batch. Steps past its length do not count.

    Returns
    -------
    numpy.ndarray
        (H,) of float64: 0 for a unit that forgets everything at every step, infinite for one that never
        forgets. Steps whose f is NaN do not count; if there is no other, the result is NaN.

    Raises
    ------
    TypeError
        If `trace` is no trace.
    IndexError
        If there is no such layer or row.

    Examples
    --------
    >>> import numpy as np
    >>> from lstm import LSTM
    >>> import lstm.plot
    >>> net = LSTM(2, 3)
    >>> net.Wf, net.bf = np.zeros((3, 5)), [-2, 2, 4]
    >>> lstm.plot.time_constants(net.trace(np.ones((10, 2)))).round(1)
    array([ 0.5,  7.9, 55.1])
    """
    parts = {name: of_row(trace, name, layer, row) for name in TITLES}
    computed = np.any([(part != 0).any(axis=1) for part in parts.values()], axis=0)
    f = parts["f"][computed].astype(np.float64)
    known = ~np.isnan(f)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.where(known, f, 0).sum(axis=0) / known.sum(axis=0)
        return np.asarray(np.abs(1 / np.log(np.clip(mean, 0, 1))))  # of zeros without a sign


def by_memory(constants: np.ndarray) -> np.ndarray:
    """Places of time constants (units,), the shortest first; one that is NaN comes before all."""
    return np.argsort(np.nan_to_num(constants, nan=-1, posinf=np.inf), kind="stable")


def of_row(trace: Trace, name: str, layer: int, row: int) -> np.ndarray:
    """(T, H) or, of h, (T, O) of one layer and row."""
    if not isinstance(trace, Trace):
        raise TypeError(f"trace is a {type(trace).__name__}, but must be what LSTM.trace returns")
    values = getattr(trace, name)
    values = values if values.ndim == 4 else values[:, np.newaxis]
    layer = index("layer", layer, len(values), "layers and directions")
    row = index("row", row, values.shape[1], "rows")
    if values.shape[2] == 0:
        raise ValueError("the trace has no steps to draw")
    return np.asarray(values[layer, row])


def index(name: str, value: Any, count: int, things: str) -> int:
    """`value` as an index from 0 on; IndexError that says how many `things` the trace has."""
    if isinstance(value, bool | np.bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} is {value!r}, but must be an integer")
    number = operator.index(value)
    if not -count <= number < count:
        raise IndexError(f"{name} is {number}, but the trace has {count} {things}")
    return number % count


def of_unit(trace: Trace, unit: int, layer: int, row: int) -> tuple[int, dict[str, np.ndarray]]:
    """Number of a unit, from 0 on, and its f, i, g, o, C and, without a projection, h: (T,) each."""
    values = {name: of_row(trace, name, layer, row) for name in TITLES}
    hidden = values["f"].shape[1]
    number = index("unit", unit, hidden, "units")
    return number, {name: part[:, number] for name, part in values.items() if part.shape[1] == hidden}


def unit_numbers(units: Any, hidden_size: int) -> np.ndarray:
    """Numbers of the units that are asked for, or of all."""
    if units is None:
        return np.arange(hidden_size)
    if isinstance(units, str) or not isinstance(units, Sequence | np.ndarray):
        raise TypeError(f"units is {units!r}, but must be a sequence of numbers of units")
    if len(units) == 0:
        raise ValueError("units is empty: there is nothing to draw")
    return np.array([index(f"units[{k}]", one, hidden_size, "units") for k, one in enumerate(units)])


def is_share(values: np.ndarray) -> bool:
    """Whether all that is finite is from 0 to 1, as gates are unless their activation is unbounded."""
    finite = values[np.isfinite(values)]
    return bool(((finite >= 0) & (finite <= 1)).all())


def largest(values: np.ndarray, axis: int | None = None) -> np.ndarray:
    """The largest magnitude of what is finite; 1 if there is none above zero."""
    bound = np.abs(values).max(axis=axis, initial=0, where=np.isfinite(values))
    return np.where(bound > 0, bound, 1)
