"""A net over Dask arrays, whose chunks of time hand on the state.

Shapes: B batch, T time, I input, H hidden, O features of h, K outputs, L layers, D directions.
"""

from __future__ import annotations

import math
from typing import Any

import dask.array as da
import numpy as np
from dask import delayed

from ..core import states
from ..core.ragged import last_outputs
from ..model import LSTM


def forward_sequence(
    net: LSTM,
    X: Any,
    h0: Any = None,
    C0: Any = None,
    *,
    lengths: Any = None,
    last: bool = False,
    return_state: bool = False,
) -> Any:
    """Compute all time steps of a batch of sequences in a Dask array, when the result is asked for.

    The bits are those of ``net.forward_sequence`` on one machine, for any chunks.

    Parameters
    ----------
    net : LSTM
        It goes to each worker once. What is set on it later changes nothing here.
    X : dask.array.Array
        (B, T, I) or (T, I), of any real dtype. Chunks along B are computed side by side. Chunks along T hand
        on the state, one after the other; a bidirectional net needs all of T in one chunk. Chunks along I
        are joined.
    h0, C0 : array_like or dask.array.Array, optional
        As for `LSTM.forward_sequence`, with the axis L D: (L D, B, O) and (L D, B, H).
    lengths : array_like or dask.array.Array of int, optional
        Steps of every row, (B,).
    last : bool
        Whether to give the last h of every row alone, as `LSTM.forward_sequences` does.
    return_state : bool
        Whether to give the last states too.

    Returns
    -------
    Y : dask.array.Array
        (B, T, K) or (T, K), in the chunks of X; with `last` (B, K) or (K,).
    (h_n, C_n) : tuple of dask.array.Array
        With `return_state`: (L D, B, O) and (L D, B, H), or without B.

    Raises
    ------
    TypeError, ValueError
        If a shape or dtype does not fit, chunks are of unknown size, or those of time do not go with the net.
        What only the values tell, such as a length beyond T in a Dask array, raises where it is computed.

    Examples
    --------
    >>> import dask.array as da
    >>> import lstm.dask
    >>> net = lstm.LSTM(3, 5, rng=0)
    >>> X = da.random.default_rng(0).standard_normal((1000, 50, 3), chunks=(250, 25, 3))
    >>> Y = lstm.dask.forward_sequence(net, X)
    >>> Y.chunks[:2] == X.chunks[:2]
    True
    >>> lstm.dask.forward_sequence(net, X, last=True).compute().shape
    (1000, 5)
    """
    X = _checked_input(net, X)
    is_single = X.ndim == 2
    if is_single:
        X = X[np.newaxis]
    X = X.rechunk({2: -1})
    rows, times = X.chunks[:2]
    if len(times) > 1 and net.bidirectional:
        raise ValueError(
            f"X has {len(times)} chunks along time, but a bidirectional LSTM needs all steps of a row at "
            f"once: X.rechunk({{{0 if is_single else 1}: -1}})"
        )
    given = None
    if h0 is not None or C0 is not None:
        batch, sizes = None if is_single else X.shape[0], (net.core.architecture.state_size, net.hidden_size)
        given = [
            _rows_first(name, value, net, size, batch, rows)
            for name, value, size in zip(("h0", "C0"), (h0, C0), sizes, strict=True)
        ]
    left = _checked_lengths(lengths, is_single, X, rows)
    Y, after = _run(net, X, given, left, last, return_state)
    Y = Y[0] if is_single else Y
    if not return_state:
        return Y
    h, C = (da.moveaxis(state, 0, 1) for state in after)
    return Y, ((h[:, 0], C[:, 0]) if is_single else (h, C))


def _run(
    net: LSTM,
    X: da.Array,
    given: list[da.Array] | None,
    lengths: da.Array | None,
    last: bool,
    return_state: bool,
) -> tuple[da.Array, list[da.Array]]:
    """X (B, T, I), lengths (B,) -> Y (B, T, K) or (B, K), and the states if they are wanted.

    States are h (B, L D, O) and C (B, L D, H); those that nobody needs are no tasks.
    """
    # A task of its own, so that it travels once to each worker, and is there again if a worker is lost.
    shared = delayed(LSTM.from_core(net.core.copy()))
    ends = np.cumsum(X.chunks[1]).tolist() or [0]
    pieces = [slice(start, stop) for start, stop in zip([0, *ends[:-1]], ends, strict=True)]
    outputs, states_now = {}, given or []
    for number, steps in enumerate(reversed(pieces) if net.reverse else pieces, 1):
        part = X[:, steps]
        left = [] if lengths is None else [da.clip(lengths - steps.start, 0, part.shape[1])]
        goes_on = return_state or number < len(pieces)
        taken = ["(t,i)", *["(l,o)", "(l,p)"][: len(states_now)], *["()"] * len(left)]
        made = ["(k)" if last else "(t,k)", *["(l,o)", "(l,p)"] * goes_on]
        found = da.apply_gufunc(
            _piece,
            f"{','.join(taken)}->{','.join(made)}",
            *(part, *states_now, *left),
            output_dtypes=[net.dtype] * len(made) if goes_on else net.dtype,
            output_sizes=_sizes(net),
            shared=shared,
            has_states=bool(states_now),
            last=last,
            goes_on=goes_on,
        )
        outputs[steps.start], *states_now = found if goes_on else [found]
        Y = outputs[steps.start]
    if not last:
        Y = da.concatenate([outputs[start] for start in sorted(outputs)], axis=1)
    return Y, states_now


def _sizes(net: LSTM) -> dict[str, int]:
    """Of what a chunk gives."""
    architecture = net.core.architecture
    return {
        "k": architecture.output_size,
        "l": architecture.cells,
        "o": architecture.state_size,
        "p": architecture.hidden_size,
    }


def _piece(
    X: np.ndarray, *others: np.ndarray, shared: LSTM, has_states: bool, last: bool, goes_on: bool
) -> np.ndarray | tuple[np.ndarray, np.ndarray, np.ndarray]:
    """X (B, T, I) of a chunk and, if they are there, h (B, L D, O), C (B, L D, H) and lengths (B,)."""
    core = shared.core
    h, C = states.zero_states(core.architecture, len(X), core.dtype)
    if has_states:
        h, C = (np.array(state.swapaxes(0, 1), core.dtype, order="C") for state in others[:2])
    lengths = others[-1].astype(np.intp) if len(others) % 2 else None
    Y = None if last else np.empty((*X.shape[:2], core.architecture.output_size), core.dtype)
    core.run(X, h, C, Y, lengths)
    if Y is None:
        Y = last_outputs(core.cells, core.architecture, h)
    return (Y, h.swapaxes(0, 1), C.swapaxes(0, 1)) if goes_on else Y


def _checked_input(net: LSTM, X: Any) -> da.Array:
    if not isinstance(X, da.Array):
        raise TypeError(
            f"X is a {type(X).__name__}, but must be a dask.array.Array; else net.forward_sequence(X)"
        )
    if any(math.isnan(size) for size in X.shape):
        raise ValueError(f"X has shape {X.shape}, whose chunks are of unknown size: X.compute_chunk_sizes()")
    # Takes no memory, whatever its shape.
    states.sequence_input(np.broadcast_to(np.zeros((), X.dtype), X.shape), net.input_size)
    return X


def _rows_first(
    name: str, value: Any, net: LSTM, size: int, batch: int | None, rows: tuple[int, ...]
) -> da.Array:
    """A state (L D, B, size), or None, as (B, L D, size) in the chunks of the rows."""
    cells, dtype = net.core.architecture.cells, net.dtype
    if value is None:
        return da.zeros((sum(rows), cells, size), chunks=(rows, -1, -1), dtype=dtype)
    if not isinstance(value, da.Array):
        value = da.from_array(np.asarray(value), chunks=-1)
    allowed = states.state_shapes(cells, batch, size)
    states.check_state(name, np.broadcast_to(np.zeros((), value.dtype), value.shape), allowed)
    whole = value.reshape((cells, sum(rows), size)) if value.ndim < 3 else value
    return da.moveaxis(whole, 0, 1).rechunk((rows, -1, -1))


def _checked_lengths(lengths: Any, is_single: bool, X: da.Array, rows: tuple[int, ...]) -> da.Array | None:
    """(B,) in the chunks of the rows; values of a Dask array are looked at where they are computed."""
    if lengths is None:
        return None
    batch, time = None if is_single else X.shape[0], X.shape[1]
    if isinstance(lengths, da.Array):
        states.row_lengths(np.broadcast_to(np.zeros((), lengths.dtype), lengths.shape), batch, time)
        return lengths.rechunk((rows,)).map_blocks(_checked_values, time=time, dtype=np.intp)
    states.row_lengths(lengths, batch, time)
    return da.from_array(np.asarray(lengths, np.intp), chunks=(rows,))


def _checked_values(lengths: np.ndarray, time: int) -> np.ndarray:
    states.row_lengths(lengths, len(lengths), time)
    return lengths.astype(np.intp)
