"""The forms that X may have, and y at every step, as arrays padded to one length.

Shapes: n rows, T steps, T_i steps of row i, I input, P outputs.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Self

import numpy as np
from sklearn.utils.validation import check_array, validate_data

from ..core import states

DTYPES = [np.float64, np.float32]  # of X; whatever is neither becomes the first


class Sequences(NamedTuple):
    """Checked rows."""

    X: np.ndarray  # (n, T, I) of float64 or float32, zero past a row's length
    lengths: np.ndarray | None  # (n,) of intp, at least 1; None if all are T
    is_list: bool  # whether X was a list of rows, so that outputs at every step are one too

    @property
    def size(self) -> int:
        """Rows, n."""
        return len(self.X)

    @property
    def counts(self) -> np.ndarray:
        """(n, T) of bool: the steps that there are."""
        n, time = self.X.shape[:2]
        if self.lengths is None:
            return np.ones((n, time), bool)
        return np.asarray(np.arange(time) < self.lengths[:, np.newaxis])

    def rows(self) -> list[np.ndarray]:
        """Views (T_i, I)."""
        return self.split(self.X)

    def split(self, values: np.ndarray) -> list[np.ndarray]:
        """(n, T, ...) -> n views (T_i, ...)."""
        if self.lengths is None:
            return list(values)
        return [row[:length] for row, length in zip(values, self.lengths.tolist(), strict=True)]

    def join(self, rows: list[np.ndarray]) -> np.ndarray:
        """n arrays (T_i, ...) -> (n, T, ...), zero past a row's length."""
        if self.lengths is None:
            return np.stack(rows)
        joined = np.zeros((*self.X.shape[:2], *rows[0].shape[1:]), rows[0].dtype)
        for row, values in zip(joined, rows, strict=True):
            row[: len(values)] = values
        return joined

    def take(self, which: np.ndarray) -> Self:
        """A copy of some rows, by their numbers."""
        lengths = None if self.lengths is None else self.lengths[which]
        return self._replace(X=self.X[which], lengths=lengths)


def sequences(estimator: Any, X: Any, lengths: Any, *, reset: bool) -> Sequences:
    """X in any of its forms; with `reset` the estimator learns how many features it has, and their names.

    Raises
    ------
    ValueError, TypeError
        As scikit-learn does, or if `lengths` (n,) are not of 1 to T steps, or X is a list that has its own.
    """
    if is_list_of_rows(X):
        if lengths is not None:
            raise ValueError("lengths is given, but X is a list of rows, which have their own")
        found = _padded([_row(estimator, number, row) for number, row in enumerate(X)])
        if reset:
            estimator._had_table = False
        _learn_features(estimator, found.X, reset)
        return found
    array = _array(estimator, X)
    is_table = array.ndim == 2 and (reset or estimator._had_table)
    if is_table:  # its columns are steps, and scikit-learn's features, which have names and a fixed number
        array = validate_data(estimator, X, reset=reset, dtype=DTYPES)
    array = array[..., np.newaxis] if array.ndim == 2 else array
    if reset:
        estimator._had_table = is_table
    if not is_table:
        _learn_features(estimator, array, reset)
    if lengths is None and not reset and estimator.has_lengths_:
        # scikit-learn's tools slice it for fit, and leave it out of predict and score, without a word.
        raise ValueError(
            f"{type(estimator).__name__} was fitted with lengths, but X is an array without them: "
            "give lengths= here too, by metadata routing if scikit-learn makes the call, "
            "or pass X as a list of arrays"
        )
    steps = states.row_lengths(lengths, *array.shape[:2])
    if steps is not None and steps.min() < 1:
        raise ValueError(f"lengths[{steps.argmin()}] is 0, but every row must have a step")
    return Sequences(array, steps, is_list=False)


def is_list_of_rows(value: Any) -> bool:
    """Whether this is a list of arrays (T_i, I), or of arrays (T_i,) of different lengths."""
    if isinstance(value, np.ndarray) and not (value.ndim == 1 and value.dtype == object):
        return False
    if not isinstance(value, list | tuple | np.ndarray) or len(value) == 0:
        return False
    axes = {len(getattr(row, "shape", ())) for row in value}
    return axes == {2} or (axes == {1} and len({len(row) for row in value}) > 1)


def _array(estimator: Any, X: Any) -> np.ndarray:
    """(n, T, I) or (n, T)."""
    try:
        array = check_array(X, allow_nd=True, dtype=DTYPES, estimator=estimator, input_name="X")
    except ValueError as error:
        if "setting an array element with a sequence" not in str(error):
            raise
        raise ValueError(
            f"X is a {type(X).__name__} of sequences: pass a list of (T, I) arrays, such as list(frame['x'])"
        ) from error
    if array.ndim > 3 or 0 in array.shape:
        raise ValueError(f"X has shape {array.shape}, but must be (rows, time, features) or (rows, time)")
    return np.asarray(array)


def _row(estimator: Any, number: int, row: Any) -> np.ndarray:
    """(T_i, I) of a list."""
    if len(row.shape) == 1:
        row = np.asarray(row)[:, np.newaxis]
    try:
        return np.asarray(check_array(row, dtype=DTYPES, estimator=estimator, input_name=f"X[{number}]"))
    except ValueError as error:
        if f"X[{number}]" in str(error):
            raise
        raise ValueError(f"X[{number}]: {error}") from error


def _padded(rows: list[np.ndarray]) -> Sequences:
    """Rows (T_i, I); ValueError unless all have as many features."""
    size = rows[0].shape[1]
    for number, row in enumerate(rows):
        if row.shape[1] != size:
            raise ValueError(f"X[{number}] has {row.shape[1]} features a step, but X[0] has {size}")
    lengths = np.array([len(row) for row in rows], np.intp)
    dtype = np.float32 if all(row.dtype == np.float32 for row in rows) else np.float64
    X = np.zeros((len(rows), lengths.max(), size), dtype)
    for values, row in zip(X, rows, strict=True):
        values[: len(row)] = row
    return Sequences(X, None if lengths.min() == lengths.max() else lengths, is_list=True)


def _learn_features(estimator: Any, X: np.ndarray, reset: bool) -> None:
    """Note the features of X (n, T, I), or raise a ValueError if they are others than before."""
    size = X.shape[2]
    if reset:
        estimator.__dict__.pop("feature_names_in_", None)
        estimator.n_features_in_ = size
    elif size != estimator.net_.input_size:
        raise ValueError(
            f"X has {size} features, but {type(estimator).__name__} is expecting "
            f"{estimator.net_.input_size} features as input"
        )


def step_values(y: Any, given: Sequences) -> list[np.ndarray]:
    """y (n, T), (n, T, P) or a list of (T_i,) or (T_i, P), of any dtype: n arrays (T_i,) or (T_i, P)."""
    if y is None:
        raise ValueError("y must be passed, a value for each step, but the target y is None")
    time = given.X.shape[1]
    lengths = [time] * given.size if given.lengths is None else given.lengths.tolist()
    rows = [np.asarray(row) for row in y]
    if len(rows) != given.size:
        raise ValueError(f"y has {len(rows)} rows, but X has {given.size}")
    if not given.is_list and all(row.ndim and len(row) == time for row in rows):
        rows = [row[:length] for row, length in zip(rows, lengths, strict=True)]
    for number, (row, length) in enumerate(zip(rows, lengths, strict=True)):
        if row.ndim not in (1, 2) or row.shape != (length, *rows[0].shape[1:]):
            wanted = (
                f"({length},) or ({length}, outputs)" if not number else str((length, *rows[0].shape[1:]))
            )
            raise ValueError(f"y[{number}] has shape {row.shape}, but with sequence_output must be {wanted}")
    return rows
