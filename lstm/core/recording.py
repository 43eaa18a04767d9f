"""A forward pass that keeps what the backward pass needs.

Shapes: B batch, T time, I input, H hidden, O features of h, K features of a layer's output, L layers,
D directions. With a mask, T is that of the longest row of the steps that count.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Self

import numpy as np

from . import dropout, masks
from .architecture import Architecture
from .checks import cast
from .packing import PackedWeights
from .reference_gradients import CellRecord
from .sequence import Cells, merge_into, run_cell


class Storage(NamedTuple):
    """The large arrays of a recording; a later one may be written over them.

    Steps that a mask leaves out are not stored: the first ones of every array are used.
    """

    X: np.ndarray  # (B, T, I)
    gates: np.ndarray  # (L D, 5, B, T, H): i, f, g, o and C
    h: np.ndarray  # (L, B, T, D O)
    merged: np.ndarray | None  # (L, B, T, O): outputs of the layers, if they are not h itself
    scattered: np.ndarray | None  # (B, T, K): the last layer's outputs at the steps of a mask

    @classmethod
    def allocate(cls, architecture: Architecture, dtype: np.dtype[Any], batch: int, time: int) -> Self:
        """Storage of a pass of X (B, T, I) without a mask."""
        layers, size = architecture.num_layers, architecture.state_size
        merges = architecture.merge != "concat"
        return cls(
            np.empty((batch, time, architecture.input_size), dtype),
            np.empty((architecture.cells, 5, batch, time, architecture.hidden_size), dtype),
            np.empty((layers, batch, time, architecture.directions * size), dtype),
            np.empty((layers, batch, time, size), dtype) if merges else None,
            None,
        )

    def first_steps(self, time: int) -> Storage:
        """The same arrays up to a time; the outputs at the steps of a mask stay whole."""
        return Storage(
            self.X[:, :time],
            self.gates[..., :time, :],
            self.h[..., :time, :],
            None if self.merged is None else self.merged[..., :time, :],
            self.scattered,
        )

    @property
    def nbytes(self) -> int:
        """Bytes that the arrays take."""
        return sum(array.nbytes for array in self if array is not None)


class Recording(NamedTuple):
    """All that the backward pass needs of a forward pass."""

    cells: Cells  # the weights it ran with
    architecture: Architecture
    dtype: np.dtype[Any]
    storage: Storage
    h0: np.ndarray  # (L D, B, O)
    C0: np.ndarray  # (L D, B, H)
    h_n: np.ndarray  # (L D, B, O)
    C_n: np.ndarray  # (L D, B, H)
    lengths: np.ndarray | None  # (B,) of intp
    steps: masks.MaskedSteps | None  # where the recorded steps belong, if a mask left some out
    dropped: dropout.Masks

    @property
    def Y(self) -> np.ndarray:
        """(B, T, K): the outputs, at all steps of X."""
        return self.layer_output(-1) if self.steps is None else _whole(self.storage.scattered)

    def used_storage(self) -> Storage:
        """The storage up to the longest row."""
        return self.storage if self.steps is None else self.storage.first_steps(self.steps.X.shape[1])

    def layer_output(self, layer: int) -> np.ndarray:
        """(B, T, K)."""
        used = self.used_storage()
        outputs: np.ndarray = (used.h if used.merged is None else used.merged)[layer]
        return outputs

    def layer_input(self, layer: int) -> np.ndarray:
        """(B, T, I) or (B, T, K), after dropout."""
        if layer == 0:
            return self.used_storage().X
        return self.dropped.of_layer(layer, self.layer_output(layer - 1))

    def direction_output(self, cell: int) -> np.ndarray:
        """(B, T, O) of one of the L D cells."""
        layer, direction = divmod(cell, self.architecture.directions)
        size = self.architecture.state_size
        return self.used_storage().h[layer, ..., direction * size : (direction + 1) * size]

    def cell_record(self, cell: int) -> CellRecord:
        """What one of the L D cells keeps."""
        recurrent = self.dropped.recurrent
        return CellRecord(
            self.layer_input(cell // self.architecture.directions),
            self.used_storage().gates[cell],
            self.direction_output(cell),
            self.h0[cell],
            self.C0[cell],
            self.lengths,
            self.architecture.runs_from_end(cell),
            None if recurrent is None else recurrent[cell],
        )

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays, without the weights, which are the net's."""
        states = (self.h0, self.C0, self.h_n, self.C_n)
        return self.storage.nbytes + self.dropped.nbytes + sum(state.nbytes for state in states)


def _whole(array: np.ndarray | None) -> np.ndarray:
    assert array is not None
    return array


@np.errstate(all="ignore")
def record(
    cells: Cells,
    architecture: Architecture,
    dtype: np.dtype[Any],
    X: np.ndarray,
    h0: np.ndarray,
    C0: np.ndarray,
    lengths: np.ndarray | None,
    mask: np.ndarray | None,
    rates: dropout.Rates,
    rng: np.random.Generator,
    storage: Storage | None = None,
) -> Recording:
    """X (B, T, I) of any real dtype, h0 (L D, B, O), C0 (L D, B, H): run all layers, keep what they compute.

    `lengths` (B,) of intp, `mask` (B, T) of bool as for `sequence.run`. `storage` of an earlier recording of
    such an X is written over.
    """
    batch, time = X.shape[:2]
    mask, lengths = masks.joined(mask, lengths)
    steps = None if mask is None else masks.gather(X, mask)
    if steps is not None:
        X, lengths = steps.X, steps.lengths
    storage = storage or Storage.allocate(architecture, dtype, batch, time)
    if steps is not None and storage.scattered is None:
        storage = storage._replace(scattered=np.empty((batch, time, architecture.output_size), dtype))
    dropped = dropout.draw(rates, rng, architecture, dtype, batch, X.shape[1])
    recording = Recording(
        cells, architecture, dtype, storage, h0, C0, h0.copy(), C0.copy(), lengths, steps, dropped
    )
    _store_input(recording, X)
    for layer in range(architecture.num_layers):
        _run_layer(recording, layer)
    if steps is not None:
        steps.scatter(recording.layer_output(-1), _whole(storage.scattered))
    return recording


def _store_input(recording: Recording, X: np.ndarray) -> None:
    """X (B, T, I) into the storage, without what is dropped; what is past a row's length is not read."""
    stored = recording.used_storage().X
    stored[...] = cast(X, recording.dtype, copy=False)
    if recording.lengths is not None:
        within = np.arange(X.shape[1]) < recording.lengths[:, np.newaxis]
        stored[~within] = 0
    if recording.dropped.input is not None:
        stored *= recording.dropped.input[:, np.newaxis]


def _run_layer(recording: Recording, layer: int) -> None:
    """All directions of a layer, and what they give together."""
    architecture, used = recording.architecture, recording.used_storage()
    directions = architecture.directions
    for cell in range(layer * directions, (layer + 1) * directions):
        _run_recorded_cell(recording, cell)
    if used.merged is not None:
        used.merged[layer] = recording.direction_output(2 * layer)
        last = 2 * layer + 1
        merge_into(
            recording.cells[last], used.merged[layer], recording.direction_output(last), architecture.merge
        )


def _run_recorded_cell(recording: Recording, cell: int) -> None:
    """One of the L D cells over all steps, into the storage."""
    record = recording.cell_record(cell)
    h, C = recording.h_n[cell], recording.C_n[cell]
    if record.lengths is not None:
        record.gates[...] = 0
        record.h[...] = 0
    if record.recurrent is not None:
        _run_masked_steps(recording, cell, record)
        return
    parts, lengths = [(slice(None), record.X.shape[1])], record.lengths
    if lengths is not None and isinstance(recording.cells[cell], PackedWeights):
        # Row by row: the kernel traces rows of one length. The bits of a row do not depend on the others.
        parts = [(slice(row, row + 1), int(length)) for row, length in enumerate(lengths)]
        lengths = None
    for rows, end in parts:
        run_cell(
            recording.cells,
            recording.architecture,
            cell,
            record.X[rows, :end],
            h[rows],
            C[rows],
            record.h[rows, :end],
            lengths,
            record.gates[:, rows, :end],
        )


def _run_masked_steps(recording: Recording, cell: int, record: CellRecord) -> None:
    """One of the L D cells step by step, so that h can be masked between the steps."""
    assert record.recurrent is not None
    batch, time = record.X.shape[:2]
    lengths = np.full(batch, time) if record.lengths is None else record.lengths
    for t in reversed(range(time)) if record.reverse else range(time):
        rows = np.flatnonzero(lengths > t)
        h = recording.h_n[cell, rows] * record.recurrent[rows]
        C = recording.C_n[cell, rows]
        gates = np.empty((5, len(rows), 1, C.shape[1]), C.dtype)
        run_cell(
            recording.cells,
            recording.architecture,
            cell,
            record.X[rows, t : t + 1],
            h,
            C,
            None,
            None,
            gates,
        )
        recording.h_n[cell, rows], recording.C_n[cell, rows] = h, C
        record.h[rows, t], record.gates[:, rows, t] = h, gates[:, :, 0]
