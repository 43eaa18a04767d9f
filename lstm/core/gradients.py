"""Gradients of a recorded pass: from the last layer to the first, through merges, directions and dropout.

Shapes: B batch, T time, I input, H hidden, O features of h, K features of a layer's output, L layers,
D directions.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .. import _kernel
from . import reference_gradients
from .architecture import Architecture, Options
from .packing import PackedWeights, PanelRecord
from .recording import CellPass, Recording
from .reference_gradients import CellRecord
from .weights import Weights


class InputGradients(NamedTuple):
    """The gradient of X, and how large those of h and C are at every step."""

    X: np.ndarray | None  # (B, T, I)
    norms: np.ndarray  # (2, L D, B, T): Euclidean norms of the gradients of h_t and C_t


@np.errstate(all="ignore")
def backward(
    recording: Recording,
    dY: np.ndarray | None,
    dh: np.ndarray,
    dC: np.ndarray,
    inputs: bool,
    sums: list[Weights] | None,
) -> InputGradients:
    """dY (B, T, K) or None, dh (L D, B, O), dC (L D, B, H): the gradients of X, states and weights.

    `dh` and `dC` hold the gradients of the last states and are overwritten with those of the first ones.
    Those of the weights are added to `sums`, if given, as in `backward_cell`. That of X is computed if
    `inputs`. Whatever `dY` has at steps that were not computed is not read.
    """
    architecture, steps = recording.architecture, recording.steps
    if dY is not None and steps is not None:
        dY = gathered(dY, recording)
    batch, time = recording.used_storage().X.shape[:2]
    norms = np.empty((2, architecture.cells, batch, time), recording.dtype)
    directions = architecture.directions
    for layer in reversed(range(architecture.num_layers)):
        d_input = None
        d_outputs = split(dY, recording, layer)
        for direction in range(directions):
            cell = layer * directions + direction
            dX = backward_cell(
                recording.cells[cell],
                architecture.cell_options(cell),
                recording.cell_pass(cell),
                d_outputs[direction],
                dh[cell],
                dC[cell],
                inputs or layer > 0,
                None if sums is None else sums[cell],
                norms[:, cell],
            )
            d_input = dX if d_input is None or dX is None else d_input + dX
        dY = None if d_input is None else recording.dropped.of_layer(layer, d_input)
    if dY is not None and recording.dropped.input is not None:
        dY = dY * recording.dropped.input[:, np.newaxis]
    if steps is None:
        return InputGradients(dY, norms)
    return InputGradients(
        None if dY is None else scattered(dY, recording),
        scattered(norms[..., np.newaxis], recording)[..., 0],
    )


def backward_cell(
    weights: PackedWeights | Weights,
    options: Options,
    kept: CellPass,
    dY: np.ndarray | None,
    dh: np.ndarray,
    dC: np.ndarray,
    inputs: bool,
    sums: Weights | None,
    norms: np.ndarray,
) -> np.ndarray | None:
    """dY (B, T, O) or None, dh (B, O), dC (B, H) -> dX (B, T, I), None unless `inputs`: one cell.

    `dh` and `dC` hold the gradients of the last state and are overwritten with those of the first one.
    Gradients of the weights are added to `sums`, arrays as in `Weights`, if given; where they have one more
    axis in front, (B, ...), each row's to its own. `norms` (2, B, T) is overwritten with the Euclidean norms
    of the gradients of h and C of every step. This is the one place that chooses what computes them.
    """
    dX = np.empty(kept.X.shape, kept.X.dtype) if inputs else None
    if isinstance(weights, PackedWeights):
        assert isinstance(kept.values, PanelRecord)
        _kernel.backward_sequence(
            weights,
            kept.X,
            kept.h,
            kept.h0,
            tuple(kept.values),  # type: ignore[arg-type]
            dY,
            dh,
            dC,
            dX,
            None if sums is None else tuple(sums),
            norms,
            kept.lengths,
            kept.reverse,
            kept.recurrent,
        )
    else:
        assert isinstance(kept.values, np.ndarray)
        record = CellRecord(*kept._replace(values=kept.values))  # type: ignore[arg-type]
        reference_gradients.backward_sequence(weights, options, record, dY, dh, dC, dX, sums, norms)
    return dX


def zero_sums(architecture: Architecture, dtype: np.dtype[np.generic], rows: int | None) -> list[Weights]:
    """Zeros to add the gradients of every cell's weights to; with `rows`, an axis of them is in front."""
    front = () if rows is None else (rows,)
    hidden, size = architecture.hidden_size, architecture.state_size
    return [
        Weights(
            np.zeros((*front, 4, hidden, architecture.cell_input_size(cell)), dtype),
            np.zeros((*front, 4, hidden, size), dtype),
            np.zeros((*front, 4, hidden), dtype),
            np.zeros((*front, 3, hidden), dtype) if architecture.peephole else None,
            np.zeros((*front, size, hidden), dtype) if architecture.proj_size else None,
        )
        for cell in range(architecture.cells)
    ]


def split(dY: np.ndarray | None, recording: Recording, layer: int) -> list[np.ndarray | None]:
    """dY (B, T, K) of a layer -> (B, T, O) of each of its directions: backward through the merge."""
    architecture = recording.architecture
    directions, size = architecture.directions, architecture.state_size
    if dY is None:
        return [None] * directions
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
    result = np.empty((*values.shape[:-3], *recording.steps.mask.shape, values.shape[-1]), values.dtype)
    recording.steps.scatter(values, result)
    return result
