"""Rows of different lengths in lists of Arrow, as Parquet, Spark, Ray and pandas have them (extra ``arrow``).

Shapes: N rows, T_n steps of row n, S steps of all together, I input, K features of a step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np


class Flat(NamedTuple):
    """Rows one after the other."""

    X: np.ndarray  # (S, I)
    lengths: np.ndarray  # (N,) of intp

    def rows(self) -> list[np.ndarray]:
        """Views (T_n, I), one for each row."""
        return np.split(self.X, np.cumsum(self.lengths)[:-1]) if len(self.lengths) else []


def rows(columns: Any, input_size: int) -> list[np.ndarray]:
    """Turn columns of lists into the rows that `LSTM.forward_sequences` takes, mostly without a copy.

    Parameters
    ----------
    columns : pyarrow.Array, pyarrow.ChunkedArray, or a sequence of them
        One whose rows are lists of steps, each a list of `input_size` numbers; or a column for each feature,
        whose rows are lists of numbers. Lists may be large, or of a fixed size.
    input_size : int
        Features of a step, I.

    Returns
    -------
    list of numpy.ndarray
        (T_n, I) each.

    Raises
    ------
    ImportError
        If there is no pyarrow.
    ValueError
        If there is a null, or a step has another number of features. The message has the row.
    TypeError
        If a column does not hold such lists.

    Examples
    --------
    >>> import lstm
    >>> from lstm import arrow
    >>> import pyarrow as pa
    >>> column = pa.array([[[1.0, 2.0], [3.0, 4.0]], [], [[5.0, 6.0]]])
    >>> net = lstm.LSTM(2, 5, rng=0)
    >>> h = net.forward_sequences(arrow.rows(column, net.input_size), last=True)
    >>> arrow.lists(h).type
    ListType(list<item: double>)
    """
    given = list(columns) if isinstance(columns, list | tuple) else [columns]
    return flat(given, input_size).rows()


def lists(values: np.ndarray, lengths: np.ndarray | None = None) -> Any:
    """Turn outputs into a column of lists.

    Parameters
    ----------
    values : numpy.ndarray
        (N, K), or with `lengths` (S, K).
    lengths : numpy.ndarray of int, optional
        Steps of each row, (N,), which add up to S.

    Returns
    -------
    pyarrow.ListArray
        For each row a list of K numbers; with `lengths` a list of steps, each such a list.

    Raises
    ------
    ImportError
        If there is no pyarrow.
    ValueError
        If the values do not have these shapes.
    """
    arrow = pyarrow()
    array = np.asarray(values)
    if array.ndim != 2:
        raise ValueError(f"values has shape {array.shape}, but must have two axes")
    column = _nested(arrow, arrow.array(array.reshape(-1)), np.full(len(array), array.shape[1]))
    if lengths is None:
        return column
    if np.sum(lengths) != len(array):
        raise ValueError(f"lengths add up to {np.sum(lengths)}, but values has {len(array)} steps")
    return _nested(arrow, column, np.asarray(lengths))


def _nested(arrow: Any, values: Any, lengths: np.ndarray) -> Any:
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    kind = arrow.ListArray if offsets[-1] < 2**31 else arrow.LargeListArray
    number = arrow.int32() if offsets[-1] < 2**31 else arrow.int64()
    return kind.from_arrays(arrow.array(offsets, number), values)


def flat(columns: Sequence[Any], input_size: int, first_row: int = 0) -> Flat:
    """One column of lists of steps, or I columns of lists of numbers, as one array of all steps.

    Errors count the rows from `first_row` on.
    """
    arrow = pyarrow()
    if len(columns) not in (1, input_size):
        raise ValueError(
            f"there are {len(columns)} columns, but this LSTM takes input_size={input_size}: one for each "
            "feature, or one of lists of steps"
        )
    wanted = 1 if len(columns) > 1 or input_size == 1 else 2
    for column in columns:
        found = depth(column.type)
        if found != wanted and not (found == 2 and len(columns) == 1):
            raise TypeError(f"a column is of {column.type}, but must be of {told(wanted, input_size)}")
    arrays = [_one(arrow, column) for column in columns]
    pairs = [_unlisted(arrow, array, first_row) for array in arrays]
    if len(pairs) == 1 and depth(pairs[0][0].type):
        return _of_steps(arrow, *pairs[0], input_size, first_row)
    lengths = pairs[0][1]
    for number, (_, others) in enumerate(pairs):
        if (wrong := np.flatnonzero(others != lengths)).size:
            row = wrong[0]
            raise ValueError(
                f"row {first_row + row} has {lengths[row]} steps in the first column, but {others[row]} in "
                f"column {number + 1}"
            )
    values = [_numbers(array) for array, _ in pairs]
    return Flat(values[0][:, np.newaxis] if len(values) == 1 else np.stack(values, axis=1), lengths)


def _of_steps(arrow: Any, steps: Any, lengths: np.ndarray, input_size: int, first_row: int) -> Flat:
    """A column's steps (S,), each a list."""
    values, sizes = _unlisted(arrow, steps, None)
    if (wrong := np.flatnonzero(sizes != input_size)).size:
        row = first_row + int(np.searchsorted(np.cumsum(lengths), wrong[0], side="right"))
        raise ValueError(
            f"a step of row {row} has {sizes[wrong[0]]} numbers, but this LSTM takes input_size={input_size}"
        )
    return Flat(_numbers(values).reshape(-1, input_size), lengths)


def _one(arrow: Any, column: Any) -> Any:
    """A column as one array."""
    if not isinstance(column, arrow.ChunkedArray):
        return column
    return (
        column.chunk(0)
        if column.num_chunks == 1
        else arrow.concat_arrays(column.chunks or [arrow.array([], column.type)])
    )


def _unlisted(arrow: Any, array: Any, first_row: int | None) -> tuple[Any, np.ndarray]:
    """What the lists of an array hold, one after the other, and how much each one has (N,)."""
    if array.null_count:
        where = "a row" if first_row is None else "row "
        if first_row is not None:
            where += str(first_row + int(np.flatnonzero(array.is_null().to_numpy(zero_copy_only=False))[0]))
        raise ValueError(f"{where} has a null step" if first_row is None else f"{where} is null")
    if arrow.types.is_fixed_size_list(array.type):
        return array.flatten(), np.full(len(array), array.type.list_size, np.intp)
    return array.flatten(), np.diff(array.offsets.to_numpy()).astype(np.intp)


def _numbers(array: Any) -> np.ndarray:
    if array.null_count:
        raise ValueError("a step has a null instead of a number")
    return np.asarray(array.to_numpy(zero_copy_only=False))


def depth(kind: Any) -> int:
    """How deep a type of Arrow nests lists of numbers, at most 2; 0: it is something else."""
    found = 0
    while found < 2 and is_list(kind):
        kind, found = kind.value_type, found + 1
    types = pyarrow().types
    is_number = types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)
    return found if is_number else 0


def is_list(kind: Any) -> bool:
    """Whether a type of Arrow is one of lists."""
    types = pyarrow().types
    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def told(wanted: int, input_size: int) -> str:
    """What a column must hold whose lists are nested so deep."""
    return "lists of numbers" if wanted == 1 else f"lists of steps, each a list of {input_size} numbers"


def pyarrow() -> Any:
    """The library; ImportError, which says how to get it, if it is not there."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ImportError('lists of Arrow need pyarrow: pip install "lstm-native[arrow]"') from error
    return pyarrow
