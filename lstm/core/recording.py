"""A forward pass that keeps what the backward pass needs.

Shapes: B batch, T time, I input, H hidden, O features of h, K features of a layer's output, L layers,
D directions. With a mask, T is that of the longest row of the steps that count.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Self

import numpy as np

from .. import _kernel
from . import dropout, masks
from .architecture import Architecture
from .checks import cast
from .packing import PackedWeights, PanelRecord
from .sequence import Cells, merge_into, run_cell


class Storage(NamedTuple):
    """The large arrays of a recording; a later one may be written over them.

    Steps that a mask leaves out are not stored: the first ones of every array are used.
    """

    X: np.ndarray  # (B, T, I)
    values: list[np.ndarray | PanelRecord]  # of every cell: i, f, g, o and C, (5, B, T, H), or the kernel's
    h: np.ndarray  # (L, B, T, D O)
    merged: np.ndarray | None  # (L, B, T, O): outputs of the layers, if they are not h itself
    scattered: np.ndarray | None  # (B, T, K): the last layer's outputs at the steps of a mask

    @classmethod
    def allocate(
        cls,
        cells: Cells,
        architecture: Architecture,
        dtype: np.dtype[Any],
        batch: int,
        time: int,
        X: np.ndarray | None = None,
        time_first: bool = False,
    ) -> Self:
        """Storage of a pass of X (B, T, I) without a mask.

        An `X` that is given stays where it is, and is not to change. With `time_first` outputs are
        (L, T, B, D O) in memory.
        """
        layers, size, hidden = architecture.num_layers, architecture.state_size, architecture.hidden_size
        merges = architecture.merge != "concat"
        width = architecture.directions * size
        return cls(
            _kernel.recycled((batch, time, architecture.input_size), dtype) if X is None else X,
            [
                PanelRecord.allocate(weights, batch, time)
                if isinstance(weights, PackedWeights)
                else _kernel.recycled((5, batch, time, hidden), dtype)
                for weights in cells
            ],
            _kernel.recycled((layers, time, batch, width), dtype).swapaxes(1, 2)
            if time_first
            else _kernel.recycled((layers, batch, time, width), dtype),
            _kernel.recycled((layers, batch, time, size), dtype) if merges else None,
            None,
        )

    def fits(self, cells: Cells) -> bool:
        """Whether its layout is that in which these cells compute."""
        for weights, values in zip(cells, self.values, strict=True):
            if isinstance(weights, PackedWeights) != isinstance(values, PanelRecord):
                return False
            if isinstance(values, PanelRecord) and isinstance(weights, PackedWeights):
                return bool(values.cells.shape[-1] == weights.bias.shape[-1])
        return True

    def first_steps(self, time: int) -> Storage:
        """The same memory up to a time; the outputs at the steps of a mask stay whole."""
        return Storage(
            self.X[:, :time],
            [
                values.first_steps(time) if isinstance(values, PanelRecord) else values[..., :time, :]
                for values in self.values
            ],
            self.h[..., :time, :],
            None if self.merged is None else self.merged[..., :time, :],
            self.scattered,
        )

    @property
    def nbytes(self) -> int:
        """Bytes that the arrays take."""
        arrays = [self.X, self.h, self.merged, self.scattered]
        for values in self.values:
            arrays += values if isinstance(values, PanelRecord) else [values]
        return sum(array.nbytes for array in arrays if array is not None)


class CellPass(NamedTuple):
    """What one layer and direction keeps of its forward pass. Past a row's length h is zero."""

    X: np.ndarray  # (B, T, I)
    values: np.ndarray | PanelRecord  # i, f, g, o and C, (5, B, T, H), or the kernel's
    h: np.ndarray  # (B, T, O)
    h0: np.ndarray  # (B, O)
    C0: np.ndarray  # (B, H)
    lengths: np.ndarray | None  # (B,) of intp
    reverse: bool
    recurrent: np.ndarray | None  # (B, O): factors of h on its way to the next step, 0 for what is dropped


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
        h = self.used_storage().h
        directions, size = self.architecture.directions, self.architecture.state_size
        if directions == 1:
            return h[cell, ...]
        layer, direction = divmod(cell, directions)
        return h[layer, ..., direction * size : (direction + 1) * size]

    def cell_pass(self, cell: int) -> CellPass:
        """What one of the L D cells keeps."""
        recurrent = self.dropped.recurrent
        return CellPass(
            self.layer_input(cell // self.architecture.directions),
            self.used_storage().values[cell],
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
    rng: np.random.Generator | None,
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
    if storage is None or not storage.fits(cells):
        storage = Storage.allocate(cells, architecture, dtype, batch, time)
    if steps is not None and storage.scattered is None:
        scattered = _kernel.recycled((batch, time, architecture.output_size), dtype)
        storage = storage._replace(scattered=scattered)
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


def record_everyday(
    cells: Cells,
    architecture: Architecture,
    dtype: np.dtype[Any],
    X: Any,
    h0: Any,
    C0: Any,
    storage: Storage | None = None,
    copies: bool = True,
) -> Recording | None:
    """What `record` gives without lengths, mask and dropout for what fits as it is; None for all else.

    X (T, I) or (B, T, I) and states, (L, O) or (L, B, O), or None for zeros, are contiguous arrays of
    `dtype`, for the kernel and layers of one direction. Storage of another shape does not fit either. Without
    `copies` X (B, T, I) is read where it is, also by the backward pass.
    """
    if architecture.bidirectional or (storage is not None and not storage.fits(cells)):
        return None
    kept = None if storage is None else (storage.X, storage.values, storage.h)
    made = _kernel.everyday_record(cells, X, h0, C0, architecture.reverse, kept, copies)
    if made is None:
        return None
    (own_X, values, h), first_h, first_C, h_n, C_n = made
    if storage is None:
        storage = Storage(own_X, [PanelRecord(*one) for one in values], h, None, None)
    return Recording(
        cells, architecture, dtype, storage, first_h, first_C, h_n, C_n, None, None, dropout.NOTHING
    )


def _store_input(recording: Recording, X: np.ndarray) -> None:
    """X (B, T, I) into the storage, without what is dropped; what is past a row's length is not read.

    Unless it is the storage's own.
    """
    stored = recording.used_storage().X
    if stored is X:
        return
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
    cells = range(layer * directions, (layer + 1) * directions)
    _kernel.forward_sequences(
        [_native_call(recording, cell) for cell in cells if _is_native(recording, cell)]
    )
    for cell in cells:
        if not _is_native(recording, cell):
            _run_reference_cell(recording, cell)
    if used.merged is not None:
        used.merged[layer] = recording.direction_output(2 * layer)
        last = 2 * layer + 1
        merge_into(
            recording.cells[last], used.merged[layer], recording.direction_output(last), architecture.merge
        )


def _is_native(recording: Recording, cell: int) -> bool:
    return isinstance(recording.cells[cell], PackedWeights)


def _native_call(recording: Recording, cell: int) -> tuple[Any, ...]:
    """What the kernel is asked for one of the L D cells over all steps, into the storage."""
    kept = recording.cell_pass(cell)
    states = (recording.h_n[cell], recording.C_n[cell])
    record = tuple(kept.values)
    given = (recording.cells[cell], kept.X, *states, kept.h, kept.lengths, kept.reverse)
    return (*given, None, record, kept.recurrent)


def _run_reference_cell(recording: Recording, cell: int) -> None:
    """One of the NumPy backend's cells over all steps, into the storage."""
    kept = recording.cell_pass(cell)
    h, C = recording.h_n[cell], recording.C_n[cell]
    assert isinstance(kept.values, np.ndarray)
    if kept.lengths is not None:
        kept.values[...] = 0
        kept.h[...] = 0
    if kept.recurrent is not None:
        _run_masked_steps(recording, cell, kept.recurrent)
        return
    run_cell(
        recording.cells,
        recording.architecture,
        cell,
        kept.X,
        h,
        C,
        kept.h,
        kept.lengths,
        kept.values,
    )


def _run_masked_steps(recording: Recording, cell: int, recurrent: np.ndarray) -> None:
    """One of the NumPy backend's cells step by step, so that h can be masked (B, O) between the steps."""
    kept = recording.cell_pass(cell)
    assert isinstance(kept.values, np.ndarray)
    batch, time = kept.X.shape[:2]
    lengths = np.full(batch, time) if kept.lengths is None else kept.lengths
    for t in reversed(range(time)) if kept.reverse else range(time):
        rows = np.flatnonzero(lengths > t)
        h = recording.h_n[cell, rows] * recurrent[rows]
        C = recording.C_n[cell, rows]
        gates = np.empty((5, len(rows), 1, C.shape[1]), C.dtype)
        run_cell(
            recording.cells,
            recording.architecture,
            cell,
            kept.X[rows, t : t + 1],
            h,
            C,
            None,
            None,
            gates,
        )
        recording.h_n[cell, rows], recording.C_n[cell, rows] = h, C
        kept.h[rows, t], kept.values[:, rows, t] = h, gates[:, :, 0]
