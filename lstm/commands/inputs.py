"""What `lstm run` takes in addition to X: lengths and states before the first step.

Shapes: B batch, H hidden, O features of h, L layers, D directions.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..core.states import initial_states, row_lengths, sequence_input
from ..formats import FormatError
from ..formats.numpy_files import read_arrays
from .common import UnusableError, read
from .npy import Reader

if TYPE_CHECKING:
    from ..model import LSTM


class Inputs(NamedTuple):
    """Lengths and states, checked."""

    lengths: np.ndarray | None  # (B,)
    h: np.ndarray | None  # (L D, B, O); None: zeros that are not kept
    C: np.ndarray | None  # (L D, B, H)
    state_shapes: list[tuple[int, ...]]  # of h_n and C_n as they are written


def read_inputs(net: LSTM, arguments: argparse.Namespace, features: Reader) -> Inputs:
    """The files that the arguments name, checked by the net's own checks, in its own words."""
    files = {name: getattr(arguments, name) for name in ("lengths", "h0", "C0")}
    arrays = {name: None if path is None else read(_whole, path) for name, path in files.items()}
    if arguments.state_in is not None:
        arrays["h0"], arrays["C0"] = read(_state, arguments.state_in)
        files["h0"] = files["C0"] = arguments.state_in
    try:
        # Takes no memory, whatever its shape.
        X = np.broadcast_to(np.zeros((), features.dtype), features.shape)
        batch = sequence_input(X, net.input_size).batch
    except (ValueError, TypeError) as error:
        raise UnusableError(f"{arguments.features}: {error}") from error
    steps = features.shape[-2]
    try:
        lengths = row_lengths(arrays["lengths"], batch, steps)
    except (ValueError, TypeError) as error:
        raise UnusableError(f"{files['lengths']}: {error}") from error
    if arrays["h0"] is None and arrays["C0"] is None and arguments.state_out is None:
        return Inputs(lengths, None, None, [])
    try:
        values = arrays["h0"], arrays["C0"]
        states = initial_states(net.core.architecture, net.dtype, ("h0", "C0"), values, batch)
    except (ValueError, TypeError) as error:
        named = " and ".join(dict.fromkeys(files[name] for name in ("h0", "C0") if files[name]))
        raise UnusableError(f"{named}: {error}") from error
    except MemoryError as error:
        raise UnusableError("there is not enough memory for the states of all rows") from error
    return Inputs(lengths, states.h, states.C, [states.h_shape, states.C_shape])


def _whole(path: str) -> np.ndarray:
    with Reader(path) as file:
        return file.whole()


def _state(path: str) -> tuple[np.ndarray, np.ndarray]:
    """h_n and C_n of an .npz file."""
    arrays = read_arrays(path)
    if set(arrays) != {"h_n", "C_n"}:
        raise FormatError(f"{path} has the entries {', '.join(arrays) or 'none'}, but must have h_n and C_n")
    return arrays["h_n"], arrays["C_n"]
