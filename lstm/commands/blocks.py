"""Runs a net over an input block by block, with the bits of the whole in one call.

Shapes: B batch, N rows of different lengths, T time, S steps of all rows together, I input, H hidden,
O features of h, L layers, D directions.
"""

from __future__ import annotations

import abc
import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from ..core.ragged import last_outputs
from ..formats import FormatError
from .common import UnusableError

if TYPE_CHECKING:
    from ..core.states import Shape
    from ..model import LSTM

BLOCK_BYTES = 1 << 24
"""Of the inputs and outputs of a block, if no size is asked for."""


def steps_of_block(net: LSTM, itemsize: int, keeps_steps: bool) -> int:
    """How many steps take BLOCK_BYTES, with what is computed of them."""
    width = net.core.architecture.output_size if keeps_steps or net.bidirectional else 0
    return max(1, BLOCK_BYTES // (net.input_size * itemsize + width * net.dtype.itemsize))


class Piece(NamedTuple):
    """A block: some steps of some rows."""

    rows: slice
    steps: slice  # of rows of different lengths: of all of them, one row after the other
    is_last: bool  # whether the rows' last steps are in it


class Outputs(Protocol):
    """Where the outputs go."""

    def write(self, rows: slice, steps: slice, block: np.ndarray) -> None:
        """Take the block (B, T, K) of these rows and steps."""


class Work(abc.ABC):
    """An input, cut up into pieces that are computed one after the other."""

    net: LSTM
    batch: int | None  # rows; None: a single sequence
    lengths: np.ndarray | None  # steps of every row, or where they begin, if they are given
    blocks: int  # how many pieces there are
    rows: int  # of a piece, at most
    steps: int
    source: str  # as errors name it
    keeps_steps: bool  # whether h of every step is wanted, rather than the last one or none
    is_flat: bool  # whether the steps of all rows are one after the other, as one row
    unit: str  # of `total` and `amount`
    total: int

    @property
    @abc.abstractmethod
    def steps_shape(self) -> Shape | None:
        """The shape of h of every step; None if it is not known before all is read."""

    @property
    def last_shape(self) -> Shape:
        """The shape of h of the last step of every row."""
        width = self.net.core.architecture.output_size
        return (width,) if self.batch is None else (self.batch, width)

    @abc.abstractmethod
    def pieces(self) -> Iterator[Piece]:
        """All pieces, in the order of computation."""

    @abc.abstractmethod
    def amount(self, piece: Piece) -> int:
        """How much of the total a piece is."""

    @abc.abstractmethod
    def compute(self, piece: Piece, h: np.ndarray, C: np.ndarray) -> np.ndarray | None:
        """h (L D, B, O) and C (L D, B, H) in and out: the outputs (B, T, K), if they are wanted."""

    @abc.abstractmethod
    def skip(self, piece: Piece) -> None:
        """Pass over a piece that an earlier run has done."""

    @abc.abstractmethod
    def check_end(self) -> None:
        """FormatError if the input does not end behind the last piece."""

    @abc.abstractmethod
    def too_large(self, piece: Piece) -> str:
        """Say what there is not enough memory for, and what helps."""


class States:
    """States that go from block to block: those of all rows if they are given or wanted, else of a block's.

    h (L D, N, O) and C (L D, N, H); None: zeros that are not kept.
    """

    def __init__(self, net: LSTM, h: np.ndarray | None, C: np.ndarray | None) -> None:
        self._net = net
        self.h, self.C = h, C
        self.keeps_all = h is not None
        self._rows: slice | None = None

    def of(self, rows: slice) -> tuple[np.ndarray, np.ndarray]:
        """(L D, B, O) and (L D, B, H) of some rows, to be changed in place."""
        if self.h is None or self.C is None or (not self.keeps_all and self._rows != rows):
            architecture, count = self._net.core.architecture, rows.stop - rows.start
            self.h = np.zeros((architecture.cells, count, architecture.state_size), self._net.dtype)
            self.C = np.zeros((architecture.cells, count, architecture.hidden_size), self._net.dtype)
        self._rows = rows
        return (self.h[:, rows], self.C[:, rows]) if self.keeps_all else (self.h, self.C)

    def go_on(self, rows: slice, h: np.ndarray, C: np.ndarray) -> None:
        """Take the states that an earlier run has left, the last ones of `rows`."""
        self._rows, self.h, self.C = rows, h, C


def run(
    work: Work,
    outputs: Outputs | None,
    states: States,
    done: Callable[[int], object],
    start: int = 0,
    after: Callable[[int, Piece], object] = lambda number, piece: None,
) -> None:
    """Compute and write all pieces but the first `start` ones.

    `after` takes how many are done, and the last of them; `states` become those after the last step.
    """
    net = work.net
    for number, piece in enumerate(work.pieces(), 1):
        with _told(work, piece):
            if number <= start:
                work.skip(piece)
                done(work.amount(piece))
                continue
            h, C = states.of(piece.rows)
            Y = work.compute(piece, h, C)
        if outputs is not None and work.keeps_steps and Y is not None:
            outputs.write(slice(0, 1) if work.is_flat else piece.rows, piece.steps, Y)
        elif outputs is not None and piece.is_last:
            last = last_outputs(net.core.cells, net.core.architecture, h)
            outputs.write(slice(0, 1), piece.rows, last[np.newaxis])
        done(work.amount(piece))
        after(number, piece)
    with _told(work, None):
        work.check_end()


@contextlib.contextmanager
def _told(work: Work, piece: Piece | None) -> Iterator[None]:
    """UnusableError if the input cannot be read, or a piece of it does not fit into memory."""
    try:
        yield
    except MemoryError as error:
        raise UnusableError(
            "there is not enough memory" if piece is None else work.too_large(piece)
        ) from error
    except OSError as error:
        raise UnusableError(f"{work.source}: {error.strerror or error}") from error
    except FormatError as error:
        raise UnusableError(str(error)) from error
