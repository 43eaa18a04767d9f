"""Runs a sequence through layers, directions and, if memory asks for it, chunks of time.

Shapes: B batch, T time, I input, H hidden, O features of h, L layers, D directions.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from .. import _kernel
from . import masks, reference
from .architecture import Architecture
from .checks import is_usable, usable_rows
from .packing import PackedWeights
from .weights import AnyWeights

CellWeights: TypeAlias = PackedWeights | AnyWeights
Cells: TypeAlias = tuple[CellWeights, ...]

# Elements of X that are converted at a time where it is not of the net's dtype or oddly laid out, and of
# what one layer gives to the next.
CHUNK_ELEMENTS = 1 << 18


def run(
    cells: Cells,
    architecture: Architecture,
    dtype: np.dtype[Any],
    X: np.ndarray,
    h: np.ndarray,
    C: np.ndarray,
    Y: np.ndarray | None,
    lengths: np.ndarray | None = None,
    mask: np.ndarray | None = None,
) -> None:
    """X (B, T, I) of any real dtype, h (L D, B, O), C (L D, B, H) in and out, Y (B, T, D O) or None.

    `lengths` (B,) of intp: steps of every row, or None. `mask` (B, T) of bool: which steps count, or None.
    Layers of one direction take turns on chunks of time, so that the memory between them does not grow
    with T.
    """
    mask, lengths = masks.joined(mask, lengths)
    if mask is not None:
        masked = masks.gather(X, mask)
        outputs = None if Y is None else np.empty((*masked.X.shape[:2], architecture.output_size), dtype)
        run(cells, architecture, dtype, masked.X, h, C, outputs, masked.lengths)
        if outputs is not None and Y is not None:
            masked.scatter(outputs, Y)
        return
    if architecture.bidirectional:
        _run_both_directions(cells, architecture, dtype, X, h, C, Y, lengths)
        return
    rows, time = X.shape[:2]
    elements = _step_elements(cells, X, dtype)
    if len(cells) > 1:
        elements = max(elements, rows * architecture.state_size)
    for steps in _chunks(time, elements, architecture.reverse):
        features = usable_rows(X[:, steps], dtype)
        rest = None if lengths is None else _rest(lengths, steps)
        outputs = None if Y is None else Y[:, steps]
        if len(cells) > 1 and _kernel.shares(cells, rows, features.shape[1], True):
            _share_layers(cells, architecture, dtype, features, h, C, outputs, rest)
            continue
        for k in range(len(cells)):
            is_last = k + 1 == len(cells)
            given = outputs if is_last else _between(features, architecture, dtype)
            run_cell(cells, architecture, k, features, h[k], C[k], given, rest)
            if given is not None:
                features = given


def _between(X: np.ndarray, architecture: Architecture, dtype: np.dtype[Any]) -> np.ndarray:
    """(B, T, O): what one layer gives to the next."""
    return np.empty((*X.shape[:2], architecture.state_size), dtype)


def _share_layers(
    cells: Cells,
    architecture: Architecture,
    dtype: np.dtype[Any],
    X: np.ndarray,
    h: np.ndarray,
    C: np.ndarray,
    Y: np.ndarray | None,
    lengths: np.ndarray | None,
) -> None:
    """All layers of one direction, by threads that follow one another through time."""
    calls = []
    for k in range(len(cells)):
        given = Y if k + 1 == len(cells) else _between(X, architecture, dtype)
        calls.append(CellCall(k, X, h[k], C[k], given, lengths))
        if given is not None:
            X = given
    _share(cells, architecture, calls, is_chain=True)


def _run_both_directions(
    cells: Cells,
    architecture: Architecture,
    dtype: np.dtype[Any],
    X: np.ndarray,
    h: np.ndarray,
    C: np.ndarray,
    Y: np.ndarray | None,
    lengths: np.ndarray | None,
) -> None:
    """`run` of a bidirectional net, layer by layer: the second layer needs all steps of the first."""
    rows, time = X.shape[:2]
    size = architecture.state_size
    features = X
    for layer in range(architecture.num_layers):
        is_last = layer + 1 == architecture.num_layers
        outputs = Y if is_last else np.empty((rows, time, architecture.output_size), dtype)
        if _kernel.shares(cells[2 * layer : 2 * layer + 2], rows, time, False):
            _share_directions(cells, architecture, dtype, layer, features, h, C, outputs, lengths)
            features = features if outputs is None else outputs
            continue
        ready = _step_elements(cells, features, dtype)
        for direction in range(2):
            k = 2 * layer + direction
            merges = direction == 1 and outputs is not None and architecture.merge != "concat"
            elements = max(ready, rows * size) if merges else ready
            for steps in _chunks(time, elements, direction == 1):
                rest = None if lengths is None else _rest(lengths, steps)
                given = None
                if merges:
                    given = np.empty((rows, steps.stop - steps.start, size), dtype)
                elif outputs is not None:
                    first = direction * size if architecture.merge == "concat" else 0
                    given = outputs[:, steps, first : first + size]
                chunk = usable_rows(features[:, steps], dtype)
                run_cell(cells, architecture, k, chunk, h[k], C[k], given, rest)
                if merges and given is not None and outputs is not None:
                    merge_into(cells[k], outputs[:, steps], given, architecture.merge)
        if outputs is not None:
            features = outputs


def _share_directions(
    cells: Cells,
    architecture: Architecture,
    dtype: np.dtype[Any],
    layer: int,
    X: np.ndarray,
    h: np.ndarray,
    C: np.ndarray,
    Y: np.ndarray | None,
    lengths: np.ndarray | None,
) -> None:
    """Both directions of a layer by threads, one chunk of time from either end at a time.

    A chunk's outputs are merged where the second direction comes to it.
    """
    rows, time, size = *X.shape[:2], architecture.state_size
    merges = Y is not None and architecture.merge != "concat"
    elements = _step_elements(cells, X, dtype)
    chunks = list(_chunks(time, max(elements, rows * size) if merges else elements, False))
    seen = set()
    for pair in zip(range(len(chunks)), reversed(range(len(chunks))), strict=True):
        calls, unmerged = [], []
        for direction, number in enumerate(pair):
            steps, k = chunks[number], 2 * layer + direction
            given = None
            if Y is not None:
                first = direction * size if architecture.merge == "concat" else 0
                given = Y[:, steps, first : first + size]
            if given is not None and merges and number in seen:
                unmerged.append((given, np.empty(given.shape, dtype)))
                given = unmerged[-1][1]
            seen.add(number)
            rest = None if lengths is None else _rest(lengths, steps)
            calls.append(CellCall(k, usable_rows(X[:, steps], dtype), h[k], C[k], given, rest))
        _share(cells, architecture, calls, is_chain=False)
        for outputs, others in unmerged:
            merge_into(cells[2 * layer], outputs, others, architecture.merge)


def merge_into(weights: CellWeights, outputs: np.ndarray, backward: np.ndarray, merge: str) -> None:
    """Outputs (B, T, O) of the forward direction become those of both; backward is (B, T, O) too."""
    if isinstance(weights, PackedWeights):
        _kernel.merge_directions(outputs, backward, merge)
    else:
        outputs[...] = reference.merge_directions(outputs, backward, merge)


def run_cell(
    cells: Cells,
    architecture: Architecture,
    k: int,
    X: np.ndarray,
    h: np.ndarray,
    C: np.ndarray,
    Y: np.ndarray | None,
    lengths: np.ndarray | None = None,
    trace: np.ndarray | None = None,
) -> None:
    """X (B, T, I), h (B, O), C (B, H), Y (B, T, O), trace (5, B, T, H): one of the L D cells."""
    weights = cells[k]
    reverse = architecture.runs_from_end(k)
    if isinstance(weights, PackedWeights):
        _kernel.forward_sequence(weights, X, h, C, Y, lengths, reverse, trace)
    else:
        options = architecture.cell_options(k)
        reference.forward_sequence(weights, options, X, h, C, Y, lengths, reverse, trace)


class CellCall(NamedTuple):
    """What one of the L D cells, number `k`, is asked for; shapes as of `run_cell`."""

    k: int
    X: np.ndarray
    h: np.ndarray
    C: np.ndarray
    Y: np.ndarray | None
    lengths: np.ndarray | None


def _share(cells: Cells, architecture: Architecture, calls: list[CellCall], is_chain: bool) -> None:
    """Run native cells by threads; in a chain each reads what the one before it writes."""
    _kernel.forward_sequences(
        [(cells[one.k], *one[1:], architecture.runs_from_end(one.k), None, None, None) for one in calls],
        is_chain,
    )


def _step_elements(cells: Cells, X: np.ndarray, dtype: np.dtype[Any]) -> int:
    """Elements that a step of X (B, T, I) takes besides the results; 0: all steps can be computed at once.

    NumPy computes the x half of all gates for a whole chunk, which no signal interrupts.
    """
    weights = cells[0]
    if not isinstance(weights, PackedWeights):
        return int(X.shape[0]) * weights.bias.size
    return 0 if _is_ready(X, dtype) else int(X.shape[0] * X.shape[2])


def _is_ready(array: np.ndarray, dtype: np.dtype[Any]) -> bool:
    """Whether the kernel can read it as it is."""
    return array.dtype == dtype and is_usable(array)


def _chunks(time: int, elements: int, reverse: bool) -> Iterator[slice]:
    """Slices of time of CHUNK_ELEMENTS, at `elements` a step, in the order of computation; 0: all at once."""
    chunk = time if elements == 0 else max(1, CHUNK_ELEMENTS // elements)
    firsts = range(0, time, max(1, chunk))
    for first in reversed(firsts) if reverse else firsts:
        yield slice(first, min(first + chunk, time))


def _rest(lengths: np.ndarray, steps: slice) -> np.ndarray:
    """(B,): how many steps of a chunk every row has."""
    return np.asarray(np.clip(lengths - steps.start, 0, steps.stop - steps.start))
