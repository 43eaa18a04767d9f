"""What `lstm run` takes in addition to X: lengths and states before the first step.

Shapes: B batch, N rows of different lengths, S steps of all of them, H hidden, O features of h, L layers,
D directions.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..core.checks import real_array
from ..core.states import initial_states, row_lengths, sequence_input
from ..formats import FormatError
from ..formats.numpy_files import read_arrays
from .common import UnusableError, read
from .npy import Reader

if TYPE_CHECKING:
    from ..model import LSTM


class Lengths(NamedTuple):
    """Steps of every row, checked."""

    padded: np.ndarray | None  # (B,) of X (B, T, I); None: all rows have all steps
    offsets: np.ndarray | None  # (N + 1,): where rows begin and end in X (S, I); None: no such rows


class Initial(NamedTuple):
    """States before the first step, checked."""

    h: np.ndarray | None  # (L D, B, O); None: zeros that are not kept
    C: np.ndarray | None  # (L D, B, H)
    shapes: list[tuple[int, ...]]  # of h_n and C_n as they are written


def read_lengths(net: LSTM, arguments: argparse.Namespace, features: Reader) -> Lengths:
    """Check X, and the lengths or offsets that the arguments name, in the words of the net's own checks."""
    batch = rows_of(net, features)
    path = arguments.lengths if arguments.offsets is None else arguments.offsets
    if path is None:
        return Lengths(None, None)
    array = read(_whole, path)
    try:
        if arguments.offsets is not None:
            if batch is not None:
                raise ValueError(
                    f"offsets are of rows in one array (steps, {net.input_size}), but X has shape "
                    f"{features.shape}"
                )
            return Lengths(None, _checked_offsets(array, features.shape[0]))
        if batch is not None:
            return Lengths(row_lengths(array, batch, features.shape[1]), None)
        return Lengths(None, _offsets_of(array, features.shape[0]))
    except (ValueError, TypeError) as error:
        raise UnusableError(f"{path}: {error}") from error


def rows_of(net: LSTM, features: Reader) -> int | None:
    """B of X, None for a single sequence; UnusableError in the net's own words if it does not fit."""
    try:
        # Takes no memory, whatever its shape.
        X = np.broadcast_to(np.zeros((), features.dtype), features.shape)
        return sequence_input(X, net.input_size).batch
    except (ValueError, TypeError) as error:
        raise UnusableError(f"{features.path}: {error}") from error


def _checked_offsets(offsets: np.ndarray, steps: int) -> np.ndarray:
    """(N + 1,) of intp."""
    array = _integers("offsets", offsets)
    if array.size == 0 or array[0] != 0 or array[-1] != steps or (array[1:] < array[:-1]).any():
        ends = f"go from {array[0]} to {array[-1]}" if array.size else "are none"
        raise ValueError(f"offsets {ends}, but they must rise from 0 to {steps}, the steps of X")
    return array.astype(np.intp)


def _offsets_of(lengths: np.ndarray, steps: int) -> np.ndarray:
    """Lengths (N,) of rows that follow one another -> (N + 1,) of intp."""
    array = _integers("lengths", lengths)
    if array.size and (array.min() < 0 or array.max() > steps):
        raise ValueError(
            f"lengths has values from {array.min()} to {array.max()}, but they must be from 0 to {steps}, "
            "the steps of X"
        )
    offsets = np.zeros(array.size + 1, np.intp)
    # Before the sum of integers could wrap around.
    total = float(array.sum(dtype=np.float64))
    if total < 2**62:
        np.cumsum(array, out=offsets[1:])
        total = int(offsets[-1])
    if total != steps:
        raise ValueError(
            f"lengths add up to {total}, but X is one array of {steps} steps, which are those of all rows"
        )
    return offsets


def _integers(name: str, values: np.ndarray) -> np.ndarray:
    array = real_array(name, values)
    if array.dtype.kind not in "iu" and array.size > 0:
        raise TypeError(f"{name} has dtype {array.dtype}, but must have one of integers")
    if array.ndim != 1:
        raise ValueError(f"{name} has shape {array.shape}, but must have one axis")
    return array


def read_states(net: LSTM, arguments: argparse.Namespace, batch: int | None) -> Initial:
    """The states that the arguments name."""
    files = {name: getattr(arguments, name) for name in ("h0", "C0")}
    arrays = {name: None if path is None else read(_whole, path) for name, path in files.items()}
    if arguments.state_in is not None:
        arrays["h0"], arrays["C0"] = read(_state, arguments.state_in)
        files["h0"] = files["C0"] = arguments.state_in
    if arrays["h0"] is None and arrays["C0"] is None and arguments.state_out is None:
        return Initial(None, None, [])
    try:
        values = arrays["h0"], arrays["C0"]
        states = initial_states(net.core.architecture, net.dtype, ("h0", "C0"), values, batch)
    except (ValueError, TypeError) as error:
        named = " and ".join(dict.fromkeys(files[name] for name in ("h0", "C0") if files[name]))
        raise UnusableError(f"{named}: {error}") from error
    except MemoryError as error:
        raise UnusableError("there is not enough memory for the states of all rows") from error
    return Initial(states.h, states.C, [states.h_shape, states.C_shape])


def _whole(path: str) -> np.ndarray:
    with Reader(path) as file:
        return file.whole()


def _state(path: str) -> tuple[np.ndarray, np.ndarray]:
    """h_n and C_n of an .npz file."""
    arrays = read_arrays(path)
    if set(arrays) != {"h_n", "C_n"}:
        raise FormatError(f"{path} has the entries {', '.join(arrays) or 'none'}, but must have h_n and C_n")
    return arrays["h_n"], arrays["C_n"]
