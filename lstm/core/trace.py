"""The values of all gates over time, to look at.

Shapes: B batch, T time, H hidden, O features of h, L layers, D directions.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from . import masks, reference
from .architecture import Architecture
from .checks import usable_rows
from .html_tables import html_table
from .sequence import Cells, run_cell
from .typing import Floats

MEANINGS = {
    "i": "input gate",
    "f": "forget gate",
    "g": "candidate",
    "o": "output gate",
    "C": "cell state",
    "h": "output",
}


class Trace(NamedTuple):
    """What every layer and direction computes at every step: (L D, T, H) or (L D, B, T, H) each.

    Of h the last axis is O. Past a row's length all are zero.
    """

    i: Floats
    f: Floats
    g: Floats
    o: Floats
    C: Floats
    h: Floats

    def __repr__(self) -> str:
        shapes = [f"{name} {values.shape}" for name, values in zip(self._fields, self, strict=True)]
        return f"<trace of {self.h.dtype}: {', '.join(shapes)}>"

    def _repr_html_(self) -> str:
        rows = [[name, MEANINGS[name], str(values.shape)] for name, values in self._asdict().items()]
        return html_table([f"trace of {self.h.dtype}"], ["array", "what it is", "shape"], rows, "")


def trace_cells(
    cells: Cells,
    architecture: Architecture,
    dtype: np.dtype[Any],
    X: np.ndarray,
    h: np.ndarray,
    C: np.ndarray,
    lengths: np.ndarray | None,
    mask: np.ndarray | None = None,
) -> Trace:
    """X (B, T, I) of any real dtype, h (L D, B, O), C (L D, B, H) in and out: (L D, B, T, ...) each.

    `lengths` (B,) of intp and `mask` (B, T) of bool as for `sequence.run`.
    """
    mask, lengths = masks.joined(mask, lengths)
    if mask is not None:
        steps = masks.gather(X, mask)
        gathered = trace_cells(cells, architecture, dtype, steps.X, h, C, steps.lengths)
        whole = [np.empty((len(cells), *mask.shape, part.shape[-1]), dtype) for part in gathered]
        for part, into in zip(gathered, whole, strict=True):
            steps.scatter(part, into)
        return Trace(*whole)
    rows, time = X.shape[:2]
    directions = architecture.directions
    values = np.zeros((len(cells), 5, rows, time, architecture.hidden_size), dtype)
    outputs = np.zeros((len(cells), rows, time, architecture.state_size), dtype)
    features = usable_rows(X, dtype)
    for k in range(len(cells)):
        if k and k % directions == 0:
            features = outputs[k - 1]
            if directions == 2:
                features = reference.merge_directions(outputs[k - 2], features, architecture.merge)
        # Row by row where lengths differ: the bits of a row do not depend on the others.
        parts = [(slice(None), time)]
        if lengths is not None:
            parts = [(slice(row, row + 1), int(length)) for row, length in enumerate(lengths)]
        for row, end in parts:
            run_cell(
                cells,
                architecture,
                k,
                features[row, :end],
                h[k, row],
                C[k, row],
                outputs[k, row, :end],
                trace=values[k, :, row, :end],
            )
    i, f, g, o, cell = values.swapaxes(0, 1)
    return Trace(i, f, g, o, cell, outputs)
