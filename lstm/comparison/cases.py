"""The cases of ``lstm compare``: nets with inputs, states and the outputs that they are held to.

    grid, model_cases  random cases
    read_input         an .npz file of features and, if it has them, recorded outputs
    make_case          a case of one's own, checked

Shapes: B batch, T time, I input, H hidden, O features of h, L layers, D directions.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ..core.checks import cast
from ..core.states import check_state, initial_states, sequence_input, state_shapes
from ..formats import FormatError
from ..formats.numpy_files import read_arrays
from ..model import LSTM
from .text import printable

DTYPES = ("float32", "float64")
"""Of the nets, and of outputs that a file holds."""

GRID = (
    (1, 16, 1, 100),
    (16, 64, 1, 100),
    (40, 128, 1, 100),
    (128, 256, 1, 50),
    (256, 512, 1, 10),
    (7, 33, 5, 9),
    (16, 64, 16, 50),
    (64, 128, 32, 50),
)
"""I, H, B, T of the cases without a model: from one feature to weights past L2, odd sizes, batches."""

MODEL_SHAPES = ((1, 1), (1, 100), (5, 9), (16, 50))
"""B, T of the random inputs for a given model."""

ENTRIES = {
    "features": "X",
    "X": "X",
    "h0": "h0",
    "c0": "C0",
    "C0": "C0",
    "hidden": "Y",
    "Y": "Y",
    "h_n": "h_n",
    "c_n": "C_n",
    "C_n": "C_n",
}
"""The entries of an input file, and what they are in the terms of `LSTM.forward_sequence`."""


class Outputs(NamedTuple):
    """Everything that a sequence results in."""

    Y: np.ndarray  # (B, T, D O)
    h_n: np.ndarray  # (L D, B, O)
    C_n: np.ndarray  # (L D, B, H)


class Case(NamedTuple):
    """What is compared; all arrays but the recorded ones are of the net's dtype."""

    net: LSTM  # of the native backend
    X: np.ndarray  # (B, T, I)
    h0: np.ndarray  # (L D, B, O)
    C0: np.ndarray  # (L D, B, H)
    recorded: Mapping[str, np.ndarray]  # by entry of an input file: what Y, h_n or C_n must be


class Recording(NamedTuple):
    """The content of an input file."""

    X: np.ndarray
    h0: np.ndarray | None
    C0: np.ndarray | None
    recorded: dict[str, np.ndarray]  # by entry
    unused: list[str]  # entries


def read_input(path: str | os.PathLike[str]) -> Recording:
    """Read an input file of ``lstm compare``; no pickle is read.

    Parameters
    ----------
    path : str or path-like
        An .npz file with ``features`` (or ``X``), (T, I) or (B, T, I); optionally the states
        before the first step, ``h0`` and ``c0`` (or ``C0``), and outputs to be checked: ``hidden``
        (or ``Y``), ``h_n``, ``c_n`` (or ``C_n``). Other entries are listed as unused.

    Returns
    -------
    Recording

    Raises
    ------
    FormatError
        If the file is no sound .npz file, has no features or none in them, has a thing under
        both of its names, or recorded outputs that are neither float32 nor float64.
    OSError
        If the file cannot be opened.

    """
    arrays = read_arrays(path)
    file = os.fspath(path)
    inputs: dict[str, np.ndarray] = {}
    recorded = {}
    for entry, name in ENTRIES.items():
        if entry not in arrays:
            continue
        if name in inputs:
            both = [other for other in ENTRIES if ENTRIES[other] == name]
            raise FormatError(f"{file}: has both {' and '.join(both)}, which are one thing")
        inputs[name] = arrays[entry]
        if name not in Outputs._fields:
            continue
        if arrays[entry].dtype.name not in DTYPES:
            raise FormatError(
                f"{file}: {entry} has dtype {arrays[entry].dtype}, but must be of float32 or float64"
            )
        recorded[entry] = arrays[entry]
    if "X" not in inputs:
        names = ", ".join(map(printable, arrays)) or "nothing"
        raise FormatError(f"{file}: has no entry 'features' or 'X', only {names}")
    if inputs["X"].size == 0:
        raise FormatError(f"{file}: features of shape {inputs['X'].shape} leave nothing to compare")
    unused = [entry for entry in arrays if entry not in ENTRIES]
    return Recording(inputs["X"], inputs.get("h0"), inputs.get("C0"), recorded, unused)


def grid(sizes: Iterable[tuple[int, int, int, int]] = GRID, dtypes: Iterable[str] = DTYPES) -> Iterator[Case]:
    """Nets of sizes (I, H, B, T) in each dtype with random weights, inputs and states, each time the same."""
    sizes = tuple(sizes)
    for dtype, (input_size, hidden_size, batch, steps) in itertools.product(dtypes, sizes):
        rng = np.random.default_rng([input_size, hidden_size, batch, steps])
        net = LSTM(input_size, hidden_size, dtype=np.dtype(dtype), init="pytorch", rng=rng)
        yield _random_case(net, batch, steps, rng)


def model_cases(net: LSTM, shapes: Iterable[tuple[int, int]] = MODEL_SHAPES) -> Iterator[Case]:
    """Random inputs and states of shapes (B, T) for `net`, each time the same."""
    for batch, steps in shapes:
        yield _random_case(net, batch, steps, np.random.default_rng([batch, steps]))


def _random_case(net: LSTM, batch: int, steps: int, rng: np.random.Generator) -> Case:
    """X (B, T, I), h0 (L D, B, O), C0 (L D, B, H): all distinct and h0 within ±1, as every h is."""
    cells, size = net.core.architecture.cells, net.core.architecture.state_size
    return Case(
        net,
        rng.standard_normal((batch, steps, net.input_size)).astype(net.dtype),
        rng.uniform(-1, 1, (cells, batch, size)).astype(net.dtype),
        rng.standard_normal((cells, batch, net.hidden_size)).astype(net.dtype),
        {},
    )


def make_case(
    net: LSTM,
    X: ArrayLike,
    h0: ArrayLike | None = None,
    C0: ArrayLike | None = None,
    recorded: Mapping[str, np.ndarray] | None = None,
) -> Case:
    """Check that arguments fit one another, and bring them into the shapes of a batch.

    Parameters
    ----------
    net : LSTM
        Of the native backend.
    X, h0, C0 : array_like
        As `LSTM.forward_sequence` takes them.
    recorded : mapping of str to numpy.ndarray, optional
        Outputs to hold the native path to, by entry of an input file: ``hidden`` or ``Y`` in the
        shape of Y, ``h_n`` and ``c_n`` or ``C_n`` in any shape of the states.

    Returns
    -------
    Case

    Raises
    ------
    ValueError
        If a shape does not fit, or the net has another backend.
    TypeError
        If a dtype is not real.

    """
    if net.backend != "native":
        raise ValueError(f"net has backend {net.backend!r}, but must have 'native'")
    array, batch, _ = sequence_input(X, net.input_size)
    h, C, _, _ = initial_states(net.core.architecture, net.dtype, ("h0", "C0"), (h0, C0), batch)
    shape = (*np.shape(X)[:-1], net.core.architecture.output_size)
    outputs = {}
    for entry, output in (recorded or {}).items():
        _check_recorded(net, entry, output, shape)
        whole = {"Y": (*array.shape[:2], -1), "h_n": h.shape, "C_n": C.shape}[ENTRIES[entry]]
        outputs[entry] = output.reshape(whole)
    return Case(net, cast(array, net.dtype), h, C, outputs)


def _check_recorded(net: LSTM, entry: str, array: np.ndarray, shape: tuple[int, ...]) -> None:
    """ValueError where a recorded output is not shaped as the net's own, whose Y has `shape`."""
    batch = shape[0] if len(shape) == 3 else None
    size = net.core.architecture.state_size if ENTRIES[entry] == "h_n" else net.hidden_size
    allowed = [shape] if ENTRIES[entry] == "Y" else state_shapes(net.core.architecture.cells, batch, size)
    check_state(entry, array, allowed)
