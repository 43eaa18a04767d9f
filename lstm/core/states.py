"""The one rule of the shapes of x, X, states, lengths and out, and the messages for what does not fit.

Shapes: B batch, T time, I input, H hidden, O features of h, L layers, D directions.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from .architecture import Architecture
from .checks import cast, real_array
from .typing import Floats

Shape: TypeAlias = tuple[int, ...]
States: TypeAlias = tuple[Floats, Floats]


class Input(NamedTuple):
    """x or X as the core computes with it."""

    array: np.ndarray  # (B, T, I), of any real dtype
    batch: int | None  # B, or None for a single row
    is_column: bool = False  # (1, 1) for one feature: a column, or a batch of one


def step_input(x: ArrayLike, size: int) -> Input:
    """x (I,), (I, 1) or (B, I) of one time step."""
    array = real_array("x", x)
    if array.shape in ((size,), (size, 1)):
        return Input(array.reshape(1, 1, size), None, is_column=size == 1)
    if array.ndim == 2 and array.shape[1] == size:
        return Input(array[:, np.newaxis], array.shape[0])
    hint = "; for the steps of a sequence write net.forward_sequence(X)" if array.ndim == 3 else ""
    raise ValueError(
        f"x has shape {array.shape}, but this LSTM takes ({size},), ({size}, 1) or (batch, {size}){hint}"
    )


def sequence_input(X: ArrayLike, size: int) -> Input:
    """X (T, I) or (B, T, I)."""
    if type(X).__name__ == "PackedSequence" and hasattr(X, "batch_sizes"):
        raise TypeError(
            "X is a PackedSequence, but must be an array; use X, lengths = "
            "torch.nn.utils.rnn.pad_packed_sequence(packed, batch_first=True), then lengths=lengths"
        )
    check_regular(X)
    array = real_array("X", X)
    if array.ndim not in (2, 3):
        raise ValueError(
            f"X has shape {array.shape}, but must be (time, {size}) or (batch, time, {size})"
            f"{_with_its_feature(X, array.ndim, size)}"
        )
    if array.shape[-1] != size:
        raise ValueError(
            f"X has {array.shape[-1]} features a step, but this LSTM takes "
            f"input_size={size} (X.shape is {array.shape}){_with_its_feature(X, array.ndim, size)}"
        )
    return Input(array[np.newaxis], None) if array.ndim == 2 else Input(array, array.shape[0])


def _with_its_feature(X: Any, ndim: int, size: int) -> str:
    """What to write for X of one feature a step that has no axis of it."""
    if size != 1 or ndim not in (1, 2):
        return ""
    if ndim == 1:
        return f"; write {'X.to_frame()' if hasattr(X, 'to_frame') else 'np.reshape(X, (-1, 1))'}"
    return "; for rows of one feature a step write X[..., np.newaxis]"


def check_regular(X: Any) -> None:
    """ValueError if X is rows (T_n, I) of different lengths; other checks find the rest."""
    is_object = isinstance(X, np.ndarray) and X.dtype == np.object_ and X.ndim == 1
    if not (is_object or isinstance(X, list | tuple)):
        return
    try:
        lengths = {len(row) for row in X}
        is_ragged = len(lengths) > 1 and all(np.ndim(row) == 2 for row in X)
    except (TypeError, ValueError, RuntimeError):  # no rows, or ragged ones
        return
    if is_ragged or (is_object and lengths):
        raise ValueError(
            f"X is rows of different lengths, from {min(lengths)} to {max(lengths)} steps, but must be one "
            "array; use net.forward_sequences(X), or pad the rows and give lengths="
        )


def row_inputs(rows: Any, size: int) -> list[np.ndarray]:
    """Rows (T_n, I), of any real dtype each."""
    if isinstance(rows, str | bytes | dict | set | frozenset) or not isinstance(rows, Iterable):
        raise TypeError(f"rows is a {type(rows).__name__}, but must be a list of arrays (time, {size})")
    if isinstance(rows, np.ma.MaskedArray):
        raise TypeError("rows is a masked array, whose mask would be lost; fill it first")
    if isinstance(rows, np.ndarray) and rows.dtype != np.object_ and rows.ndim == 2:
        raise ValueError(
            f"rows has shape {rows.shape}, but must be a list of arrays (time, {size}); for a single "
            "sequence use forward_sequence"
        )
    return [
        row
        if type(row) is np.ndarray and row.dtype.kind == "f" and row.ndim == 2 and row.shape[1] == size
        else _row_input(f"rows[{number}]", row, size)
        for number, row in enumerate(rows)
    ]


def _row_input(name: str, row: Any, size: int) -> np.ndarray:
    """A row (T_n, I) of any real dtype."""
    array = real_array(name, row)
    if array.ndim != 2:
        raise ValueError(f"{name} has shape {array.shape}, but must be (time, {size})")
    if array.shape[1] != size:
        raise ValueError(
            f"{name} has {array.shape[1]} features a step, but this LSTM takes "
            f"input_size={size} ({name}.shape is {array.shape})"
        )
    return array


def stream_input(name: str, value: ArrayLike, batch: int | None, size: int) -> np.ndarray:
    """(B, T, I) from x (I,) or X (T, I), for a stream of a batch (B, I) or (B, T, I); `name` is x or X.

    X of one feature a step may lack the axis of features.
    """
    array = real_array(name, value)
    rows = () if batch is None else (batch,)
    is_chunk = name == "X"
    features = () if is_chunk and size == 1 and array.ndim == len(rows) + 1 else (size,)
    time = array.shape[len(rows) : len(rows) + 1] if is_chunk else ()
    if array.shape != (*rows, *time, *features) or len(time) != is_chunk:
        wanted = ", ".join([*map(str, rows), *(["time"] if is_chunk else [])])
        forms = [", ".join(filter(None, [wanted, str(size)]))] + [wanted] * (is_chunk and size == 1)
        expected = " or ".join(f"({form}{'' if ',' in form else ','})" for form in forms)
        raise ValueError(f"{name} has shape {array.shape}, but this stream takes {expected}")
    return array.reshape(1 if batch is None else batch, *(time or (1,)), size)


def state_shapes(cells: int, batch: int | None, size: int, is_column: bool = False) -> list[Shape]:
    """The shapes that a state of `size` features may have; the same form at the same place for any size."""
    if batch is not None:
        return [(batch, size), (1, batch, size)] if cells == 1 else [(cells, batch, size)]
    shapes: list[Shape] = [(size,), (1, size), (size, 1)] if cells == 1 else [(cells, size)]
    return [*shapes, (cells, 1, size)] if is_column else shapes


def check_state(name: str, value: ArrayLike, allowed: Sequence[Shape]) -> np.ndarray:
    """A state of one of the `allowed` shapes, of any real dtype."""
    array = real_array(name, value)
    if array.shape not in allowed:
        raise ValueError(f"{name} has shape {array.shape}, but must be {' or '.join(map(str, allowed))}")
    return array


def zero_states(architecture: Architecture, rows: int, dtype: np.dtype[Any]) -> States:
    """H (L D, B, O) and C (L D, B, H) before the first step."""
    cells = architecture.cells
    return (
        np.zeros((cells, rows, architecture.state_size), dtype),
        np.zeros((cells, rows, architecture.hidden_size), dtype),
    )


class InitialStates(NamedTuple):
    """States before the first step, as the core computes with them, and the shapes to return them in."""

    h: np.ndarray  # (L D, B, O), new
    C: np.ndarray  # (L D, B, H), new
    h_shape: Shape
    C_shape: Shape

    def returned(self) -> States:
        """The states, which the core has overwritten with the last ones, in the caller's shapes."""
        return self.h.reshape(self.h_shape), self.C.reshape(self.C_shape)


def initial_states(
    architecture: Architecture,
    dtype: np.dtype[Any],
    names: tuple[str, str],
    values: tuple[Any, Any],
    batch: int | None,
    is_column: bool = False,
) -> InitialStates:
    """h and C of a call, zeros for None, cast to `dtype`.

    A state that is not given comes back in the form of the other one; with the L D axis if neither is.
    `is_column`: states of a batch of one are allowed too. Both may stand in the first value, as one tuple.
    """
    cells, rows = architecture.cells, 1 if batch is None else batch
    if values[0] is None and values[1] is None:
        h, C = zero_states(architecture, rows, dtype)
        front = (cells,) if batch is None else (cells, rows)
        return InitialStates(h, C, (*front, h.shape[2]), (*front, C.shape[2]))
    sizes = (architecture.state_size, architecture.hidden_size)
    allowed = [state_shapes(cells, batch, size, is_column) for size in sizes]
    values = _unpaired(values, allowed[0])
    checked = [
        None if value is None else check_state(name, value, shapes)
        for name, value, shapes in zip(names, values, allowed, strict=True)
    ]
    forms = [s.index(array.shape) for s, array in zip(allowed, checked, strict=True) if array is not None]
    arrays, returned = [], []
    for array, size, shapes in zip(checked, sizes, allowed, strict=True):
        if array is not None:
            arrays.append(cast(array.reshape(cells, rows, size), dtype))
            returned.append(array.shape)
            continue
        arrays.append(np.zeros((cells, rows, size), dtype))
        default = (cells, size) if batch is None else (cells, rows, size)
        returned.append(shapes[forms[0]] if forms else default)
    return InitialStates(arrays[0], arrays[1], returned[0], returned[1])


def step_states(
    architecture: Architecture,
    dtype: np.dtype[Any],
    values: tuple[Any, Any],
    batch: int | None,
    is_column: bool,
) -> InitialStates:
    """h and C of a call of one step."""
    if values[1] is None:
        h_allowed = state_shapes(architecture.cells, batch, architecture.state_size, is_column)
        values = _unpaired(values, h_allowed)
    # None is no array: a step takes both states.
    previous = real_array("h_prev", values[0]), real_array("C_prev", values[1])
    try:
        return initial_states(architecture, dtype, ("h_prev", "C_prev"), previous, batch, is_column)
    except ValueError as error:
        if batch is None or previous[0].ndim == 3:
            raise
        raise ValueError(
            f"{error}: x of two axes is a batch of {batch} rows, a step of each; for the steps of a sequence "
            "write net.forward_sequence(X)"
        ) from None


def _unpaired(values: tuple[Any, Any], h_allowed: Sequence[Shape]) -> tuple[Any, Any]:
    """h and C, also of (h, C) in place of h; what has the shape of an h is one."""
    first, second = values
    if second is not None or not isinstance(first, list | tuple) or len(first) != 2:
        return values
    try:
        if np.shape(first) in h_allowed:
            return values
    except (TypeError, ValueError, RuntimeError):
        pass
    return first[0], first[1]


def row_lengths(lengths: ArrayLike | None, batch: int | None, time: int) -> np.ndarray | None:
    """Steps of every row, (B,) of intp; None if all rows have all steps."""
    if lengths is None:
        return None
    array = real_array("lengths", lengths)
    if array.dtype.kind not in "iu" and array.size > 0:
        raise TypeError(f"lengths has dtype {array.dtype}, but must have one of integers")
    if batch is None:
        raise ValueError("lengths is given, but X is a single sequence; it goes with X of (batch, time, ...)")
    if array.shape != (batch,):
        raise ValueError(f"lengths has shape {array.shape}, but must be {(batch,)}")
    if batch and not (int(array.min()) >= 0 and int(array.max()) <= time):
        raise ValueError(
            f"lengths has values from {array.min()} to {array.max()}, but they must be from 0 to {time}, "
            "the steps of X"
        )
    rows = array.astype(np.intp)
    return None if bool((rows == time).all()) else rows


def step_mask(mask: ArrayLike | None, X: np.ndarray, batch: int | None) -> np.ndarray | None:
    """Which steps of X (B, T, I) count, (B, T) of bool, from a mask (B, T), for a single sequence (T,).

    None if there is no mask.
    """
    if mask is None:
        return None
    array = real_array("mask", mask)
    if array.dtype != np.bool_:
        raise TypeError(f"mask has dtype {array.dtype}, but must be of bool")
    expected = X.shape[:2] if batch is not None else X.shape[1:2]
    if array.shape != expected:
        raise ValueError(f"mask has shape {array.shape}, but must be {expected}, the steps of X")
    return array.reshape(X.shape[:2])


def check_out(out: Any, shape: Shape, dtype: np.dtype[Any]) -> None:
    """Raise if results of this shape and dtype cannot be written into `out`."""
    if not isinstance(out, np.ndarray):
        raise TypeError(f"out is a {type(out).__name__}, but must be a numpy.ndarray")
    if out.dtype != dtype:
        raise TypeError(f"out has dtype {out.dtype}, but must have the net's, {dtype}")
    if out.shape != shape:
        raise ValueError(f"out has shape {out.shape}, but must be {shape}")
    if isinstance(out, np.ma.MaskedArray):
        raise TypeError("out is a masked array, whose mask would hide results; give its data")
    if not out.flags.writeable:
        raise ValueError("out is read-only")
