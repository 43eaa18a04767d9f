"""Rows of different lengths at once: the bits of every row alone, little memory, errors that name the row.

Shapes: N rows, T_n steps of row n, I input, H hidden, O features of h, L layers, D directions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support import DTYPES, assert_same_bits, awkward_arrays, peak_of
from variants import VARIANTS, make

from lstm import LSTM
from lstm.core import ragged

# No order, doubles, none, and one longer than a batch of the sizes below.
LENGTHS = (3, 0, 9, 1, 40, 3, 3, 2, 0, 9, 12, 3)


# Backend, rows and elements of a batch at most, rows of one length that are a batch. NumPy takes row by row.
BATCHES = {
    "native": ("native", 128, 1 << 18, 16),
    "native, three rows": ("native", 3, 1 << 18, 2),
    "native, small": ("native", 128, 300, 3),
    "numpy": ("numpy", 128, 1 << 18, 16),
}


def case(name: str, backend: str, dtype: Any) -> tuple[LSTM, list[np.ndarray], np.ndarray, np.ndarray]:
    """A net, rows (T_n, I), h0 (L D, N, O), C0 (L D, N, H)."""
    _, mixture = make(name, dtype, len(LENGTHS), max(LENGTHS))
    rows = [X[:length] for X, length in zip(mixture.X, LENGTHS, strict=True)]
    return mixture.net(dtype=dtype, backend=backend), rows, mixture.h0, mixture.C0


def merged(net: LSTM, h: np.ndarray) -> np.ndarray:
    """(L D, O) -> (D O,): the last layer's h."""
    if not net.bidirectional:
        return h[-1]
    one, other = h[-2:]
    return {  # type: ignore[no-any-return]
        "concat": lambda: np.concatenate([one, other]),
        "sum": lambda: one + other,
        "mean": lambda: (one + other) * h.dtype.type(0.5),
        "mul": lambda: one * other,
    }[net.merge]()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batches", BATCHES)
@pytest.mark.parametrize("name", VARIANTS)
def test_every_row_has_the_bits_it_has_alone(
    name: str, batches: str, dtype: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend, most_rows, most_elements, enough_equal = BATCHES[batches]
    monkeypatch.setattr(ragged, "MOST_ROWS", most_rows)
    monkeypatch.setattr(ragged, "MOST_ELEMENTS", most_elements)
    monkeypatch.setattr(ragged, "ENOUGH_EQUAL", enough_equal)
    net, rows, h0, C0 = case(name, backend, dtype)
    before = [row.copy() for row in rows]
    Ys, (h_n, C_n) = net.forward_sequences(rows, h0, C0, return_state=True)
    last, (h_last, C_last) = net.forward_sequences(rows, h0, C0, last=True, return_state=True)
    assert len(Ys) == len(rows)
    for n, row in enumerate(rows):
        Y, (h, C) = net.forward_sequence(row, h0[:, n], C0[:, n], return_state=True)
        assert_same_bits(Ys[n], Y)
        assert_same_bits(h_n[:, n], h)
        assert_same_bits(C_n[:, n], C)
        assert_same_bits(last[n], merged(net, h))
        assert_same_bits(row, before[n])
    assert_same_bits(h_last, h_n)
    assert_same_bits(C_last, C_n)
    for one, other in zip(net.forward_sequences(rows), rows, strict=True):
        assert_same_bits(one, net.forward_sequence(other))
    assert_same_bits(net.forward_sequences(rows, last=True)[1], np.zeros(last.shape[1], dtype))


@pytest.mark.parametrize("backend", ["native", "numpy"])
def test_rows_of_any_dtype_and_layout(backend: str) -> None:
    """Every row may be held otherwise; the results are new memory of the net's dtype."""
    net, rows, _, _ = case("plain", backend, np.float32)
    held = [value for _, value in awkward_arrays(rows[4])]
    held += [np.round(rows[4] * 9).astype(np.int8), rows[4] > 0, rows[4].astype(np.float64) * 1e300]
    for given in (held, tuple(held), iter(held), {n: row for n, row in enumerate(held)}.values()):
        Ys = net.forward_sequences(given)
        for Y, row in zip(Ys, held, strict=True):
            assert_same_bits(Y, net.forward_sequence(row))
            assert Y.dtype == np.float32
            assert not any(np.shares_memory(Y, one) for one in held if isinstance(one, np.ndarray))
    batch = np.stack([rows[4], rows[4][::-1]])
    for Y, row in zip(net.forward_sequences(batch), batch, strict=True):
        assert_same_bits(Y, net.forward_sequence(row))
    objects = np.empty(2, object)
    objects[:] = [rows[0], rows[2]]
    assert_same_bits(net.forward_sequences(objects)[1], net.forward_sequence(rows[2]))


@pytest.mark.parametrize("backend", ["native", "numpy"])
def test_no_rows(backend: str) -> None:
    net = LSTM(3, 5, bidirectional=True, rng=0, backend=backend)  # type: ignore[arg-type]
    assert net.forward_sequences([]) == []
    last, (h, C) = net.forward_sequences([], last=True, return_state=True)
    assert (last.shape, h.shape, C.shape) == ((0, 10), (2, 0, 5), (2, 0, 5))


def test_memory_is_bounded_by_a_batch() -> None:
    """One long row among many short ones costs no padding, and `last` no outputs."""
    net = LSTM(4, 32, dtype=np.float32, rng=0)
    rows = [np.ones((50, 4), np.float32)] * 2000 + [np.ones((200_000, 4), np.float32)]
    assert peak_of(lambda: net.forward_sequences(rows, last=True)) < 4e6
    results = sum(row.shape[0] for row in rows) * 32 * 4
    assert peak_of(lambda: net.forward_sequences(rows)) < results + 6e6


ROW = np.ones((4, 3))
WRONG_ROWS: dict[str, tuple[Any, type[Exception], str]] = {
    "features": ([ROW, ROW, np.ones((4, 2))], ValueError, r"rows\[2\] has 2 features a step.*input_size=3"),
    "no axis of time": ([ROW, np.ones(3)], ValueError, r"rows\[1\] has shape \(3,\).*\(time, 3\)"),
    "a batch": ([ROW, np.ones((1, 4, 3))], ValueError, r"rows\[1\] has shape \(1, 4, 3\)"),
    "text": ([ROW, np.full((4, 3), "a")], TypeError, r"rows\[1\] has dtype <U1"),
    "complex": ([ROW * 1j], TypeError, r"rows\[0\] has dtype complex128"),
    "masked": ([ROW, np.ma.masked_less(ROW, 2)], TypeError, r"rows\[1\] is a masked array"),
    "ragged": ([ROW, [[1, 2, 3], [1, 2]]], ValueError, r"rows\[1\] is not a regular array"),
    "None": ([ROW, None], TypeError, r"rows\[1\] has dtype object"),
    "one sequence": (ROW, ValueError, r"rows has shape \(4, 3\).*forward_sequence"),
    "one list": ([[1.0, 2.0, 3.0]], ValueError, r"rows\[0\] has shape \(3,\)"),
    "a number": (3.0, TypeError, "rows is a float"),
    "a word": ("rows", TypeError, "rows is a str"),
    "a dict": ({"a": ROW}, TypeError, "rows is a dict"),
    "all masked": (np.ma.ones((2, 4, 3)), TypeError, "rows is a masked array"),
}


@pytest.mark.parametrize("backend", ["native", "numpy"])
@pytest.mark.parametrize("name", WRONG_ROWS)
def test_wrong_rows(name: str, backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of the row is told, before anything is computed."""
    rows, error, words = WRONG_ROWS[name]
    net = LSTM(3, 5, rng=0, backend=backend)  # type: ignore[arg-type]
    monkeypatch.setattr(ragged, "run", None)
    with pytest.raises(error, match=words):
        net.forward_sequences(rows)


def test_states_of_wrong_shapes() -> None:
    net = LSTM(3, 5, rng=0)
    with pytest.raises(ValueError, match=r"h0 has shape \(5,\), but must be \(2, 5\) or \(1, 2, 5\)"):
        net.forward_sequences([ROW, ROW[:2]], np.ones(5))
    _, (h, C) = net.forward_sequences([ROW, ROW[:2]], C0=np.ones((2, 5)), return_state=True)
    assert h.shape == C.shape == (2, 5)


@pytest.mark.parametrize("backend", ["native", "numpy"])
@pytest.mark.parametrize("method", ["forward_sequence", "trace", "record"])
def test_rows_given_as_a_sequence(method: str, backend: str) -> None:
    """Where a batch is expected, rows of different lengths get told what takes them."""
    net = LSTM(3, 5, rng=0, backend=backend)  # type: ignore[arg-type]
    objects = np.empty(2, object)
    objects[:] = [ROW, ROW[:2]]
    lists = [ROW.tolist(), ROW[:2].tolist()]
    for rows in ([ROW, ROW[:2]], (ROW, ROW[:2]), objects, lists):
        with pytest.raises(ValueError, match=r"from 2 to 4 steps.*forward_sequences\(X\)"):
            getattr(net, method)(rows)
    for others in ([[1.0, 2.0, 3.0], [1.0, 2.0]], [ROW, np.ones((4, 2))], [ROW, 3.0]):
        with pytest.raises(ValueError, match="X is not a regular array"):
            getattr(net, method)(others)
