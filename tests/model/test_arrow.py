"""Rows of different lengths from and to Arrow's lists."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from support import assert_same_bits

from lstm import arrow

pa = pytest.importorskip("pyarrow")

ROWS = [np.random.default_rng(n).standard_normal((length, 2)) for n, length in enumerate((3, 0, 5, 1))]
COLUMN = pa.array([row.tolist() for row in ROWS], pa.list_(pa.list_(pa.float64())))
FEATURES = [pa.array([row[:, k].tolist() for row in ROWS], pa.large_list(pa.float64())) for k in range(2)]


def check(found: list[np.ndarray], expected: list[np.ndarray]) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert_same_bits(one, other)


def test_rows_of_columns_whole_sliced_and_in_chunks() -> None:
    check(arrow.rows(COLUMN, 2), ROWS)
    check(arrow.rows(COLUMN[1:3], 2), ROWS[1:3])
    check(arrow.rows(pa.chunked_array([COLUMN[1:], COLUMN]), 2), [*ROWS[1:], *ROWS])
    check(arrow.rows(pa.chunked_array([], COLUMN.type), 2), [])
    check(arrow.rows(FEATURES, 2), ROWS)
    check(arrow.rows([column[1:] for column in FEATURES], 2), ROWS[1:])
    check(arrow.rows(FEATURES[1], 1), [row[:, 1:] for row in ROWS])
    fixed = COLUMN.cast(pa.list_(pa.list_(pa.float64(), 2)))
    check(arrow.rows(fixed, 2), ROWS)
    check(arrow.rows(fixed[2:], 2), ROWS[2:])
    batch = np.stack([ROWS[2], ROWS[2] + 1])
    check(arrow.rows(pa.array(batch.tolist(), pa.list_(pa.list_(pa.float64(), 2), 5))[1:], 2), [batch[1]])


def test_rows_are_no_copies() -> None:
    values = np.arange(12, dtype=np.float32)
    column = pa.ListArray.from_arrays([0, 1, 3], pa.FixedSizeListArray.from_arrays(pa.array(values), 4))
    first, second = arrow.rows(column, 4)
    assert np.shares_memory(first, values)
    check([first, second], [values[:4].reshape(1, 4), values[4:].reshape(2, 4)])


def test_outputs_become_lists() -> None:
    values = np.arange(8, dtype=np.float32).reshape(4, 2)
    assert arrow.lists(values).equals(pa.array(values.tolist(), pa.list_(pa.float32())))
    nested = arrow.lists(values, np.array([3, 0, 1]))
    check(arrow.rows(nested, 2), [values[:3], values[:0], values[3:]])
    with pytest.raises(ValueError, match="add up to 3, but values has 4 steps"):
        arrow.lists(values, np.array([3]))
    with pytest.raises(ValueError, match=r"shape \(4,\)"):
        arrow.lists(values[:, 0])


def test_wrong_columns() -> None:
    with pytest.raises(TypeError, match=r"of list<item: double>, but must be of lists of steps"):
        arrow.rows(FEATURES[0].cast(pa.list_(pa.float64())), 2)
    with pytest.raises(ValueError, match=r"there are 2 columns, but .* input_size=3"):
        arrow.rows(FEATURES, 3)
    with pytest.raises(ValueError, match="a step of row 2 has 1 numbers"):
        arrow.rows(pa.array([[[1.0, 2.0]], [], [[1.0]]]), 2)
    with pytest.raises(ValueError, match="row 1 is null"):
        arrow.rows(pa.array([[[1.0, 2.0]], None]), 2)


def test_without_pyarrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"lstm-native\[arrow\]"):
        arrow.rows(COLUMN, 2)
