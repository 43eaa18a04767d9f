"""Gradients of a recorded pass: from the last layer to the first, through merges, directions and dropout.

Shapes: B batch, T time, I input, H hidden, O features of h, K features of a layer's output, L layers,
D directions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .. import _kernel
from . import dropout, reference_gradients
from .architecture import Architecture
from .packing import PackedWeights, PanelRecord
from .recording import CellPass, Recording
from .reference_gradients import CellRecord, Sums
from .sequence import CellWeights
from .weights import Weights


class InputGradients(NamedTuple):
    """The gradient of X, and how large those of h and C are at every step."""

    X: np.ndarray | None  # (B, T, I)
    norms: np.ndarray  # (2, L D, B, T): Euclidean norms of the gradients of h_t and C_t


class StateGradients(NamedTuple):
    """The gradients of X and of the states before the first step, and how large those of h and C are."""

    X: np.ndarray | None  # (B, T, I)
    h0: np.ndarray  # (L D, B, O)
    C0: np.ndarray  # (L D, B, H)
    norms: np.ndarray  # (2, L D, B, T)


class CellBackward(NamedTuple):
    """What is asked of one of the L D cells.

    `dh` and `dC` hold the gradients of the last state and are overwritten with those of the first one.
    Gradients of the weights are added to `sums`, arrays as in `Weights`, if given; where they have one more
    axis in front, (B, ...), each row's to its own. `norms` is overwritten with the Euclidean norms of the
    gradients of h and C of every step.
    """

    architecture: Architecture
    cell: int
    weights: CellWeights
    kept: CellPass
    dY: np.ndarray | None  # (B, T, O)
    dh: np.ndarray  # (B, O)
    dC: np.ndarray  # (B, H)
    sums: Weights | Sums | None
    norms: np.ndarray  # (2, B, T)


@np.errstate(all="ignore")
def backward(
    recording: Recording,
    dY: np.ndarray | None,
    dh: np.ndarray,
    dC: np.ndarray,
    inputs: bool,
    sums: Sequence[Weights | Sums | None] | None,
    states: bool = True,
) -> InputGradients:
    """dY (B, T, K) or None, dh (L D, B, O), dC (L D, B, H): the gradients of X, states and weights.

    `dh` and `dC` hold the gradients of the last states and are overwritten with those of the first ones.
    Those of the weights are added to `sums`, if given, as in `CellBackward`. That of X is computed if
    `inputs`. Whatever `dY` has at steps that were not computed is not read. Without `states`, layers below
    which nothing is asked for are left out: their part of `dh` and `dC` stays, and their norms are zero.
    """
    architecture, steps = recording.architecture, recording.steps
    if dY is not None and steps is not None:
        dY = gathered(dY, recording)
    batch, time = recording.used_storage().X.shape[:2]
    norms = _kernel.recycled((2, architecture.cells, batch, time), recording.dtype)
    directions = architecture.directions
    asked = [cell for cell, one in enumerate(sums or ()) if one is not None]
    lowest = 0 if inputs or states else min(asked, default=architecture.cells) // directions
    norms[:, : lowest * directions] = 0
    for layer in reversed(range(lowest, architecture.num_layers)):
        cells = range(layer * directions, (layer + 1) * directions)
        asks = [
            CellBackward(
                architecture,
                cell,
                recording.cells[cell],
                recording.cell_pass(cell),
                dY_of_cell,
                dh[cell],
                dC[cell],
                None if sums is None else sums[cell],
                norms[:, cell],
            )
            for cell, dY_of_cell in zip(cells, split(dY, recording, layer), strict=True)
        ]
        d_inputs = backward_cells(asks, inputs or layer > lowest)
        dY = None if d_inputs is None else recording.dropped.of_layer(layer, sum(d_inputs[1:], d_inputs[0]))
    if dY is not None and recording.dropped.input is not None:
        dY = dY * recording.dropped.input[:, np.newaxis]
    if steps is None:
        return InputGradients(dY, norms)
    return InputGradients(
        None if dY is None else scattered(dY, recording),
        scattered(norms[..., np.newaxis], recording)[..., 0],
    )


def backward_everyday(
    recording: Recording,
    dY: Any,
    dh_n: Any,
    dC_n: Any,
    batched: bool,
    inputs: bool,
    sums: Sequence[Weights | Sums | None] | None,
) -> StateGradients | None:
    """What `backward` gives for what fits as it is, by the kernel; None, and nothing done, for all else.

    dY (B, T, O), dh_n (L, B, O) and dC_n (L, B, H), without B if not `batched`, or None, are contiguous
    arrays of the net's dtype, of layers of one direction without lengths, mask and dropout.
    """
    architecture, storage = recording.architecture, recording.storage
    is_whole = recording.lengths is None and recording.steps is None
    if architecture.bidirectional or not is_whole or recording.dropped is not dropout.NOTHING:
        return None
    found = _kernel.everyday_backward(
        recording.cells,
        (storage.X, storage.values, storage.h),
        recording.h0,
        dY,
        dh_n,
        dC_n,
        batched,
        inputs,
        sums,
        architecture.reverse,
    )
    return None if found is None else StateGradients(*found)


def backward_cells(asks: list[CellBackward], inputs: bool) -> list[np.ndarray] | None:
    """dX (B, T, I) of each of some cells, None unless `inputs`; they do not depend on one another.

    This is the one place that chooses what computes gradients.
    """
    dX = [_kernel.recycled(one.kept.X.shape, one.kept.X.dtype) if inputs else None for one in asks]
    native: list[tuple[object, ...]] = []
    for one, of_input in zip(asks, dX, strict=True):
        kept = one.kept
        if isinstance(one.weights, PackedWeights):
            assert isinstance(kept.values, PanelRecord)
            record, sums = tuple(kept.values), None if one.sums is None else tuple(one.sums)
            given = (one.weights, kept.X, kept.h, kept.h0, record, one.dY, one.dh, one.dC, of_input, sums)
            native.append((*given, one.norms, kept.lengths, kept.reverse, kept.recurrent))
            continue
        assert isinstance(kept.values, np.ndarray)
        assert isinstance(one.weights, Weights)
        reference_gradients.backward_sequence(
            one.weights,
            one.architecture.cell_options(one.cell),
            CellRecord(*kept._replace(values=kept.values)),  # type: ignore[arg-type]
            one.dY,
            one.dh,
            one.dC,
            of_input,
            one.sums,
            one.norms,
        )
    _kernel.backward_sequences(native)
    return [of_input for of_input in dX if of_input is not None] if inputs else None


def zero_sums(architecture: Architecture, dtype: np.dtype[np.generic], rows: int | None) -> list[Weights]:
    """Zeros to add the gradients of every cell's weights to; with `rows`, an axis of them is in front."""
    hidden, size = architecture.hidden_size, architecture.state_size

    def zeros(*shape: int) -> np.ndarray:
        return _kernel.recycled(shape if rows is None else (rows, *shape), dtype, True)

    return [
        Weights(
            zeros(4, hidden, architecture.cell_input_size(cell)),
            zeros(4, hidden, size),
            zeros(4, hidden),
            zeros(3, hidden) if architecture.peephole else None,
            zeros(size, hidden) if architecture.proj_size else None,
        )
        for cell in range(architecture.cells)
    ]


def split(dY: np.ndarray | None, recording: Recording, layer: int) -> list[np.ndarray | None]:
    """dY (B, T, K) of a layer -> (B, T, O) of each of its directions: backward through the merge."""
    architecture = recording.architecture
    directions, size = architecture.directions, architecture.state_size
    if dY is None:
        return [None] * directions
    if directions == 1:
        return [dY]
    if architecture.merge == "concat":
        return [dY[..., k * size : (k + 1) * size] for k in range(directions)]
    if architecture.merge == "mean":
        dY = dY * dY.dtype.type(0.5)
    if architecture.merge == "mul":
        forward, backward = (recording.direction_output(2 * layer + k) for k in range(2))
        return [dY * backward, dY * forward]
    return [dY, dY]


def gathered(values: np.ndarray, recording: Recording) -> np.ndarray:
    """(B, T, K) at all steps of X -> (B, T', K) at the steps that a mask left."""
    assert recording.steps is not None
    result = np.zeros((*recording.steps.within.shape, values.shape[-1]), values.dtype)
    result[recording.steps.within] = values[recording.steps.mask]
    return result


def scattered(values: np.ndarray, recording: Recording) -> np.ndarray:
    """(..., B, T', K) at the steps that a mask left -> (..., B, T, K) at all steps, zero at the others."""
    assert recording.steps is not None
    shape = (*values.shape[:-3], *recording.steps.mask.shape, values.shape[-1])
    result = _kernel.recycled(shape, values.dtype)
    recording.steps.scatter(values, result)
    return result
