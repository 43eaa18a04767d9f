"""A batch of rows of equal length, or a single sequence, from an .npy file, in blocks of rows and steps.

Shapes: B batch, T time, I input, H hidden, O features of h, L layers, D directions.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from .blocks import Piece, Work, steps_of_block

if TYPE_CHECKING:
    from ..core.states import Shape
    from ..model import LSTM
    from .npy import Reader

ROWS = 16
"""Of a block that does not have all steps: so many share the reading of the weights."""


class Batch(Work):
    """X (B, T, I) or (T, I), of which a block has `rows` rows and `steps` steps at most."""

    is_flat = False
    unit = "steps"

    def __init__(
        self, net: LSTM, features: Reader, lengths: np.ndarray | None, block: int | None, keeps_steps: bool
    ) -> None:
        self.net, self.source, self.keeps_steps = net, features.path, keeps_steps
        self._features, self.lengths = features, lengths
        self.batch = features.shape[0] if len(features.shape) == 3 else None
        self._time = features.shape[-2]
        count = self._count
        self.total = count * self._time
        if block is None:
            block = steps_of_block(net, features.dtype.itemsize, keeps_steps)
        needs_all = net.bidirectional or (features.in_order and net.reverse)
        if self._time <= block or needs_all:
            rows, steps = block // max(1, self._time), self._time
        else:
            # In Fortran order the rows of one step are side by side.
            rows = 1 if features.in_order else min(count if features.is_fortran else ROWS, block)
            steps = block // max(1, min(rows, count))
        self.rows, self.steps = max(1, min(rows, count)), max(1, steps)
        self.blocks = -(-count // self.rows) * -(-self._time // self.steps)
        if self._time == 0 and not keeps_steps:
            self.blocks = -(-count // self.rows)  # h is that before the first step

    @property
    def _count(self) -> int:
        return 1 if self.batch is None else self.batch

    @property
    def steps_shape(self) -> Shape:
        """(B, T, D O) or (T, D O)."""
        return (*self._features.shape[:-1], self.net.core.architecture.output_size)

    def pieces(self) -> Iterator[Piece]:
        """Rows after rows, and their steps in the order in which the net takes them."""
        if self.blocks == 0:  # there may be more rows than can be gone through
            return
        for rows in _slices(self._count, self.rows, False):
            steps = list(_slices(self._time, self.steps, self.net.reverse)) or [slice(0, 0)]
            for one in steps:
                yield Piece(rows, one, one is steps[-1])

    def amount(self, piece: Piece) -> int:
        """Steps of all rows."""
        return int((piece.rows.stop - piece.rows.start) * (piece.steps.stop - piece.steps.start))

    def compute(self, piece: Piece, h: np.ndarray, C: np.ndarray) -> np.ndarray | None:
        """h (L D, B, O) and C (L D, B, H) in and out: Y (B, T, D O), if it is wanted."""
        rows, steps = piece.rows, piece.steps
        X = self._features.block(rows, steps)
        left = None if self.lengths is None else self.lengths[rows] - steps.start
        left = None if left is None else np.clip(left, 0, X.shape[1])
        Y = None
        if self.keeps_steps:
            Y = np.empty((*X.shape[:2], self.net.core.architecture.output_size), self.net.dtype)
        self.net.core.run(X, h, C, Y, left)
        return Y

    def skip(self, piece: Piece) -> None:
        """Nothing is to be read."""

    def check_end(self) -> None:
        """FormatError if there is more than the array."""
        self._features.check_end()

    def too_large(self, piece: Piece) -> str:
        """Say what there is not enough memory for, and what helps."""
        what = f"there is not enough memory for {self.rows} rows of {self.steps} steps"
        if self.net.bidirectional and self.rows == 1:
            return f"{what}: a bidirectional net needs all steps of a row at once"
        return f"{what}; a smaller --block needs less"


def _slices(length: int, step: int, from_end: bool) -> Iterator[slice]:
    """Slices of `step` at most, the last one first if `from_end`."""
    firsts = range(0, length, step)
    for first in reversed(firsts) if from_end else firsts:
        yield slice(first, min(first + step, length))
