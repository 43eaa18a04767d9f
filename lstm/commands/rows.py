"""Rows of different lengths from one .npy file of all their steps, in blocks of whole rows.

Shapes: N rows, T_n steps of row n, S steps of all together, I input, H hidden, O features of h, L layers,
D directions.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from .blocks import Piece, Work, steps_of_block

if TYPE_CHECKING:
    from ..core.states import Shape
    from ..model import LSTM
    from .npy import Reader


class Rows(Work):
    """X (S, I), row after row; row n is from step offsets[n] to offsets[n + 1], (N + 1,).

    A row that is longer than a block is one of pieces, if the net runs in one direction.
    """

    is_flat = True
    unit = "rows"

    def __init__(
        self, net: LSTM, features: Reader, offsets: np.ndarray, block: int | None, keeps_steps: bool
    ) -> None:
        self.net, self.source, self.keeps_steps = net, features.path, keeps_steps
        self._features = features
        self.lengths = self._offsets = offsets
        self.batch = self.total = len(offsets) - 1
        self._block = block or steps_of_block(net, features.dtype.itemsize, keeps_steps)
        self._cuts_rows = not (net.bidirectional or (features.in_order and net.reverse))
        pieces = list(self.pieces())
        self.blocks = len(pieces)
        self.rows = max((one.rows.stop - one.rows.start for one in pieces), default=0)
        self.steps = max((one.steps.stop - one.steps.start for one in pieces), default=0)

    @property
    def steps_shape(self) -> Shape:
        """(S, D O)."""
        return (self._features.shape[0], self.net.core.architecture.output_size)

    def pieces(self) -> Iterator[Piece]:
        """As many rows as fit into a block, or a row in pieces, in the order in which the net takes them."""
        first = 0
        while first < self.total:
            start = int(self._offsets[first])
            stop = int(np.searchsorted(self._offsets, start + self._block, side="right")) - 1
            if stop > first:
                yield Piece(slice(first, stop), slice(start, int(self._offsets[stop])), True)
            else:
                stop = first + 1
                yield from self._pieces_of(first, start, int(self._offsets[stop]))
            first = stop

    def _pieces_of(self, row: int, start: int, end: int) -> Iterator[Piece]:
        """The pieces of one row, which is longer than a block."""
        firsts = range(start, end, self._block if self._cuts_rows else end - start)
        for first in reversed(firsts) if self.net.reverse else firsts:
            stop = min(first + firsts.step, end)
            is_last = first == start if self.net.reverse else stop == end
            yield Piece(slice(row, row + 1), slice(first, stop), is_last)

    def amount(self, piece: Piece) -> int:
        """Rows."""
        return int(piece.rows.stop - piece.rows.start) if piece.is_last else 0

    def compute(self, piece: Piece, h: np.ndarray, C: np.ndarray) -> np.ndarray | None:
        """h (L D, B, O) and C (L D, B, H) in and out: Y (1, S, D O) of the piece, if it is wanted."""
        X = self._features.block(slice(0, 1), piece.steps)[0]
        inner = self._offsets[piece.rows.start + 1 : piece.rows.stop] - piece.steps.start
        return run_rows(self.net, X, inner, h, C, self.keeps_steps)

    def skip(self, piece: Piece) -> None:
        """Nothing is to be read."""

    def check_end(self) -> None:
        """FormatError if there is more than the array."""
        self._features.check_end()

    def too_large(self, piece: Piece) -> str:
        """Say what there is not enough memory for, and what helps."""
        count, steps = piece.rows.stop - piece.rows.start, piece.steps.stop - piece.steps.start
        what = f"there is not enough memory for {count} rows of {steps} steps together"
        if count == 1 and not self._cuts_rows:
            return f"{what}: all steps of a row are needed at once"
        return f"{what}; a smaller --block needs less"


def run_rows(
    net: LSTM, X: np.ndarray, inner: np.ndarray, h: np.ndarray, C: np.ndarray, keeps_steps: bool
) -> np.ndarray | None:
    """X (S, I) of N rows, of which all but the first begin at the steps `inner` (N - 1,).

    H (L D, N, O) and C (L D, N, H) in and out. Returns Y (1, S, D O), if it is wanted.
    """
    bounds = [0, *inner.tolist(), len(X)]
    rows = [X[first:stop] for first, stop in itertools.pairwise(bounds)]
    outputs = net.core.run_rows(rows, h, C, not keeps_steps)
    return np.concatenate(outputs)[np.newaxis] if keeps_steps else None
