"""A net over a file, block by block, with the bits of the whole in one call.

Shapes: B batch, T time, I input, H hidden, O features of h, L layers, D directions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..formats import FormatError
from .common import UnusableError

if TYPE_CHECKING:
    from ..model import LSTM
    from .inputs import Inputs
    from .npy import Reader, Writer

BLOCK_BYTES = 1 << 24
"""Of the inputs and outputs of a block, if no size is asked for."""

ROWS = 16
"""Of a block that does not have all steps: so many share the reading of the weights."""


class Plan(NamedTuple):
    """How the work is cut up."""

    shape: tuple[int, ...]  # of Y
    batch: int
    time: int
    rows: int  # of a block, at most
    steps: int

    @property
    def blocks(self) -> int:
        """How many there are."""
        return -(-self.batch // self.rows) * -(-self.time // self.steps)

    @property
    def steps_in_all(self) -> int:
        """Of all rows together."""
        return self.batch * self.time


def plan(net: LSTM, features: Reader, block: int | None) -> Plan:
    """Blocks of `block` steps of all rows together; None: as many as take BLOCK_BYTES."""
    batch, time, size = features.shape if len(features.shape) == 3 else (1, *features.shape)
    output_size = net.core.architecture.output_size
    if block is None:
        step = size * features.dtype.itemsize + output_size * net.dtype.itemsize
        block = max(1, BLOCK_BYTES // step)
    if time <= block or net.bidirectional:
        rows, steps = block // max(1, time), time
    else:
        # In Fortran order the rows of one step are side by side.
        rows = min(batch if features.is_fortran else ROWS, block)
        steps = block // max(1, min(rows, batch))
    rows = max(1, min(rows, batch))
    return Plan((*features.shape[:-1], output_size), batch, time, rows, max(1, steps))


def run(
    net: LSTM, features: Reader, output: Writer, inputs: Inputs, plan: Plan, done: Callable[[int], object]
) -> None:
    """Read, compute and write every block; the states of `inputs` become those after the last step."""
    if plan.steps_in_all == 0:
        return
    sizes = (net.core.architecture.state_size, net.hidden_size)
    for rows in _slices(plan.batch, plan.rows, False):
        count = rows.stop - rows.start
        h, C = (
            np.zeros((net.core.architecture.cells, count, size), net.dtype)
            if state is None
            else state[:, rows]
            for state, size in zip((inputs.h, inputs.C), sizes, strict=True)
        )
        for steps in _slices(plan.time, plan.steps, net.reverse):
            length = steps.stop - steps.start
            try:
                X = _read(features, rows, steps)
                left = None if inputs.lengths is None else inputs.lengths[rows] - steps.start
                left = None if left is None else np.clip(left, 0, length)
                Y, (h, C) = net.forward_sequence(X, h, C, lengths=left, return_state=True)
            except MemoryError as error:
                raise UnusableError(_too_large(net, plan)) from error
            output.write(rows, steps, Y)
            done(count * length)
        if inputs.h is not None and inputs.C is not None:
            inputs.h[:, rows], inputs.C[:, rows] = h, C


def _read(features: Reader, rows: slice, steps: slice) -> np.ndarray:
    """The inputs of a block, (B, T, I)."""
    try:
        return features.block(rows, steps)
    except OSError as error:
        raise UnusableError(f"{features.path}: {error.strerror or error}") from error
    except FormatError as error:
        raise UnusableError(str(error)) from error


def _slices(length: int, step: int, from_end: bool) -> Iterator[slice]:
    """Slices of `step` at most, the last one first if `from_end`."""
    firsts = range(0, length, step)
    for first in reversed(firsts) if from_end else firsts:
        yield slice(first, min(first + step, length))


def _too_large(net: LSTM, plan: Plan) -> str:
    """Why a block does not fit into memory, and what helps."""
    what = f"there is not enough memory for {plan.rows} rows of {plan.steps} steps"
    if net.bidirectional and plan.rows == 1:
        return f"{what}: a bidirectional net needs all steps of a row at once"
    return f"{what}; a smaller --block needs less"
