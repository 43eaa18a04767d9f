"""Runs rows of different lengths in batches of like lengths, of which one at a time is padded.

Shapes: N rows, B of them in a batch, T_n steps of row n, T the most of a batch, I input, H hidden,
O features of h, L layers, D directions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from . import sequence
from .architecture import Architecture
from .checks import cast
from .packing import PackedWeights

# Rows of a batch at most, and elements that X and the outputs of one of several rows take at most.
MOST_ROWS = 128
MOST_ELEMENTS = 1 << 18
# Rows of one length that are worth a batch of their own, whose outputs need no copy.
ENOUGH_EQUAL = 16


def run(
    cells: sequence.Cells,
    architecture: Architecture,
    dtype: np.dtype[Any],
    rows: Sequence[np.ndarray],
    h: np.ndarray,
    C: np.ndarray,
    keeps_outputs: bool,
) -> list[np.ndarray]:
    """Rows (T_n, I) of any real dtype, h (L D, N, O), C (L D, N, H) in and out: N outputs (T_n, D O).

    No outputs if they are not kept. A row has the bits that it has alone: NumPy's products round otherwise
    in a batch, so that its backend takes row by row.
    """
    outputs: list[np.ndarray] = [np.empty((0, 0), dtype)] * len(rows) if keeps_outputs else []
    lengths = np.array([row.shape[0] for row in rows], np.intp)
    order = np.argsort(-lengths, kind="stable")
    most_rows = MOST_ROWS if isinstance(cells[0], PackedWeights) else 1
    width = architecture.input_size
    if keeps_outputs or architecture.bidirectional:
        width += architecture.output_size
    batches = [order[batch] for batch in _batches(lengths[order], width, most_rows)]
    # One memory for all batches of several rows, so that the system need not give new pages for each.
    most = max(
        (len(numbers) * int(lengths[numbers[0]]) for numbers in batches if len(numbers) > 1), default=0
    )
    X_memory = np.empty((most, architecture.input_size), dtype)
    Y_memory = np.empty((most if keeps_outputs else 0, architecture.output_size), dtype)
    for numbers in batches:
        steps = lengths[numbers]
        X = _batch_of([rows[n] for n in numbers], X_memory)
        equal = bool(steps[0] == steps[-1])
        Y = None
        if keeps_outputs:
            shape = (*X.shape[:2], architecture.output_size)
            Y = np.empty(shape, dtype) if equal else Y_memory[: shape[0] * shape[1]].reshape(shape)
        h_batch, C_batch = h.take(numbers, axis=1), C.take(numbers, axis=1)
        sequence.run(cells, architecture, dtype, X, h_batch, C_batch, Y, None if equal else steps)
        h[:, numbers], C[:, numbers] = h_batch, C_batch
        if Y is not None:
            for b, n in enumerate(numbers):
                outputs[n] = Y[b] if equal else Y[b, : lengths[n]].copy()
    return outputs


def last_outputs(cells: sequence.Cells, architecture: Architecture, h: np.ndarray) -> np.ndarray:
    """H (L D, N, O) after the last step: (N, D O), the last layer's directions merged."""
    if not architecture.bidirectional:
        return np.array(h[-1])
    if architecture.merge == "concat":
        return np.concatenate([h[-2], h[-1]], axis=-1)
    outputs = h[-2][np.newaxis].copy()
    sequence.merge_into(cells[-1], outputs, h[-1][np.newaxis], architecture.merge)
    return np.asarray(outputs[0])


def _batches(lengths: np.ndarray, width: int, most_rows: int) -> Iterator[slice]:
    """Slices of rows whose lengths (N,) fall; of `width` elements a step."""
    first = 0
    while first < len(lengths):
        fitting = MOST_ELEMENTS // max(1, int(lengths[first]) * width)
        stop = min(first + max(1, min(most_rows, fitting)), len(lengths))
        equal = int((lengths[first:stop] == lengths[first]).sum())
        if equal >= ENOUGH_EQUAL:
            stop = first + equal
        yield slice(first, stop)
        first = stop


def _batch_of(rows: list[np.ndarray], memory: np.ndarray) -> np.ndarray:
    """Rows (T_n, I), the longest first, as one X (B, T, I) in `memory`, not written past a row's length.

    Of a single row it is a view, of any dtype.
    """
    if len(rows) == 1:
        return rows[0][np.newaxis]
    B, T = len(rows), rows[0].shape[0]
    X = memory[: B * T].reshape(B, T, memory.shape[1])
    for b, row in enumerate(rows):
        X[b, : row.shape[0]] = row if row.dtype == X.dtype else cast(row, X.dtype)
    return X
