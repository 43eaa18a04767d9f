"""The native and the NumPy path side by side: the work behind ``lstm compare``.

    read_input         an .npz file of features and, where it holds them, recorded outputs
    grid, model_cases  random cases
    make_case          a case of one's own, checked
    compare_case       one case: differences, times, bits

`lstm.report` tells the results, for people and for machines.

Shapes: B batch, T time, I input, H hidden, O features of h, L layers, D directions.
"""

from __future__ import annotations

import itertools
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from .. import _kernel
from ..core.checks import cast
from ..core.states import check_state, initial_states, sequence_input, state_shapes
from ..formats import FormatError
from ..formats.numpy_files import read_arrays
from ..model import LSTM
from .text import printable

TOLERANCE = {np.dtype(np.float32): 5e-6, np.dtype(np.float64): 1e-13}
"""Largest difference of two computations in one dtype, relative to the largest value if that is above 1."""

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

SECONDS = 0.3
"""For the timing of one case."""

LARGEST_ISA_WORK = 2_000_000_000
"""Products that each ISA computes for one case at most: 3 seconds of the plain C kernel."""

CHUNKS = (3, 1, 17, 2, 40)
"""Time steps of the chunks that a sequence is cut into, over and over."""

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


class Difference(NamedTuple):
    """How far two arrays are apart at most; each figure is the largest of its kind."""

    absolute: float
    relative: float  # to the largest expected value, if that is above 1
    ulp: float
    tolerance: float  # of `relative`

    @property
    def passed(self) -> bool:
        """Whether the arrays agree."""
        return self.relative <= self.tolerance


@dataclass(frozen=True)
class Comparison:
    """The results of one case."""

    input_size: int
    hidden_size: int
    batch: int
    time: int
    dtype: str
    isa: str
    differences: dict[str, Difference]  # Y, h_n, C_n: native against NumPy
    recorded: dict[str, Difference]  # by entry: native against the file
    native_seconds: float
    numpy_seconds: float
    ways: tuple[str, ...]  # of running whose bits were compared
    different_bits: tuple[str, ...]  # ways of running and ISAs whose bits are not those of the whole sequence
    isa_part: tuple[int, ...]  # batch rows and time steps that the ISAs were compared on
    nan_outputs: int

    @property
    def difference(self) -> Difference:
        """The largest difference between the paths over all outputs."""
        return Difference(*map(max, zip(*self.differences.values(), strict=True)))

    @property
    def ratio(self) -> float:
        """How many times as fast the native path is."""
        return self.numpy_seconds / self.native_seconds

    @property
    def failures(self) -> list[str]:
        """What does not hold, in words."""
        found = [
            f"{name} of the native path differs from NumPy's by {d.relative:.3g}, above {d.tolerance:g}"
            for name, d in self.differences.items()
            if not d.passed
        ]
        found += [
            f"{name} differs from the recorded one by {d.relative:.3g}, above {d.tolerance:g}"
            for name, d in self.recorded.items()
            if not d.passed
        ]
        if self.different_bits:
            found.append(f"other bits by {', '.join(self.different_bits)}")
        return found

    @property
    def passed(self) -> bool:
        """Whether everything holds."""
        return not self.failures


# What is compared


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
        Where the file is no sound .npz file, has no features or none in them, has a thing under
        both of its names, or recorded outputs that are neither float32 nor float64.
    OSError
        Where the file cannot be opened.

    """
    arrays = read_arrays(path)
    file = os.fspath(path)
    given: dict[str, np.ndarray] = {}
    recorded = {}
    for entry, name in ENTRIES.items():
        if entry not in arrays:
            continue
        if name in given:
            both = [other for other in ENTRIES if ENTRIES[other] == name]
            raise FormatError(f"{file}: has both {' and '.join(both)}, which are one thing")
        given[name] = arrays[entry]
        if name not in Outputs._fields:
            continue
        if arrays[entry].dtype.newbyteorder("=") not in TOLERANCE:
            raise FormatError(
                f"{file}: {entry} has dtype {arrays[entry].dtype}, but must be of float32 or float64"
            )
        recorded[entry] = arrays[entry]
    if "X" not in given:
        held = ", ".join(map(printable, arrays)) or "nothing"
        raise FormatError(f"{file}: has no entry 'features' or 'X', only {held}")
    if given["X"].size == 0:
        raise FormatError(f"{file}: features of shape {given['X'].shape} leave nothing to compare")
    unused = [entry for entry in arrays if entry not in ENTRIES]
    return Recording(given["X"], given.get("h0"), given.get("C0"), recorded, unused)


def grid(
    sizes: Iterable[tuple[int, int, int, int]] = GRID, dtypes: Iterable[str] = ("float32", "float64")
) -> Iterator[Case]:
    """Nets of sizes (I, H, B, T) in each dtype with random weights, inputs and states, each time the same."""
    sizes = tuple(sizes)
    for dtype, (input_size, hidden_size, batch, steps) in itertools.product(dtypes, sizes):
        rng = np.random.default_rng([input_size, hidden_size, batch, steps])
        net = LSTM(input_size, hidden_size, dtype=dtype, init="pytorch", rng=rng)
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
        Where a shape does not fit, or the net has another backend.
    TypeError
        Where a dtype is not real.

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


# The comparison


def compare_case(case: Case, *, seconds: float = SECONDS) -> Comparison:
    """Run one case on the native and the NumPy path, and every way that must give the same bits.

    Parameters
    ----------
    case : Case
        From `make_case`, `grid` or `model_cases`.
    seconds : float
        How long the two paths take turns being timed; each is timed once at least.

    Returns
    -------
    Comparison

    """
    net = case.net
    reference = LSTM.from_state_dict(net.state_dict(), **_options(net), dtype=net.dtype, backend="numpy")
    arguments = (case.X, case.h0, case.C0)
    whole, expected = run_whole(case), run_whole(case._replace(net=reference))
    native_times, numpy_times = interleaved_times(
        [lambda: net.forward_sequence(*arguments), lambda: reference.forward_sequence(*arguments)],
        seconds=seconds,
    )
    part = _isa_part(case)
    ways = ways_of(net)
    outputs = whole._asdict()
    return Comparison(
        input_size=net.input_size,
        hidden_size=net.hidden_size,
        batch=case.X.shape[0],
        time=case.X.shape[1],
        dtype=net.dtype.name,
        isa=str(net.core.isa),
        differences={
            name: largest_difference(outputs[name], array) for name, array in expected._asdict().items()
        },
        recorded={
            entry: largest_difference(outputs[ENTRIES[entry]], array)
            for entry, array in case.recorded.items()
        },
        native_seconds=min(native_times),
        numpy_seconds=min(numpy_times),
        ways=tuple(ways),
        different_bits=(
            *(name for name, run in ways.items() if not _same_bits(run(case), whole)),
            *_isas_that_differ(part),
        ),
        isa_part=part.X.shape[:2],
        nan_outputs=sum(int(np.isnan(array).sum()) for array in whole),
    )


def _options(net: LSTM) -> dict[str, Any]:
    """What a state dict does not tell of a net."""
    return {name: getattr(net, name) for name in ("reverse", "clip", "input_forget", "activations")}


def largest_difference(actual: np.ndarray, expected: np.ndarray) -> Difference:
    """The largest difference of `actual` from `expected`, of one shape, each float32 or float64.

    It is infinite where one has a NaN or an infinity and the other not the same. ULP are the
    spacings of the expected values in the coarser of the two dtypes, whose tolerance counts.
    Subnormals count as zero, as in the kernel.
    """
    dtype = min(actual.dtype, expected.dtype, key=lambda d: d.itemsize).newbyteorder("=")
    with np.errstate(all="ignore"):
        a, e = actual.astype(np.float64), expected.astype(np.float64)
        for values in (a, e):
            values[np.abs(values) < np.finfo(dtype).smallest_normal] = 0
        same = (a == e) | (np.isnan(a) & np.isnan(e))
        gaps = np.where(same, 0.0, np.abs(a - e))
        ulps = np.where(same, 0.0, gaps / np.spacing(np.abs(e).astype(dtype)).astype(np.float64))
    # Only a NaN or an infinity on one side yields NaN here.
    absolute, ulp = (float(np.where(np.isnan(v), np.inf, v).max(initial=0)) for v in (gaps, ulps))
    scale = max(1.0, float(np.abs(e[np.isfinite(e)]).max(initial=0)))
    return Difference(absolute, absolute / scale, ulp, TOLERANCE[dtype])


def run_whole(case: Case) -> Outputs:
    """The sequence at once."""
    Y, (h_n, C_n) = case.net.forward_sequence(case.X, case.h0, case.C0, return_state=True)
    return Outputs(Y, h_n, C_n)


def run_single_steps(case: Case) -> Outputs:
    """A call of `forward` for each time step."""
    Y = np.empty((*case.X.shape[:2], case.net.core.architecture.output_size), case.net.dtype)
    h, C = case.h0, case.C0
    for t in range(case.X.shape[1]):
        h, C = case.net.forward(case.X[:, t], h, C)
        Y[:, t] = h[-1]
    return Outputs(Y, h, C)


def run_stream(case: Case) -> Outputs:
    """A `Stream` that takes one time step after the other."""
    Y = np.empty((*case.X.shape[:2], case.net.core.architecture.output_size), case.net.dtype)
    stream = case.net.stream(len(case.X))
    stream.h[...], stream.C[...] = case.h0, case.C0
    for t in range(case.X.shape[1]):
        Y[:, t] = stream.step(np.ascontiguousarray(case.X[:, t]))
    return Outputs(Y, stream.h, stream.C)


def run_chunks(case: Case) -> Outputs:
    """Chunks of uneven length, the states carried over."""
    chunks = []
    h, C = case.h0, case.C0
    start = 0
    lengths = itertools.cycle(CHUNKS)
    while start < case.X.shape[1]:
        end = start + next(lengths)
        Y, (h, C) = case.net.forward_sequence(case.X[:, start:end], h, C, return_state=True)
        chunks.append(Y)
        start = end
    return Outputs(np.concatenate(chunks, axis=1), h, C)


def run_rows(case: Case) -> Outputs:
    """Each batch row alone."""
    rows = []
    for b, X in enumerate(case.X):
        Y, (h, C) = case.net.forward_sequence(X, case.h0[:, b], case.C0[:, b], return_state=True)
        rows.append((Y, h, C))
    Y, h, C = zip(*rows, strict=True)
    return Outputs(np.stack(Y), np.stack(h, axis=1), np.stack(C, axis=1))


WAYS: dict[str, Callable[[Case], Outputs]] = {
    "single steps": run_single_steps,
    "stream": run_stream,
    "chunks": run_chunks,
    "batch rows alone": run_rows,
}
"""Ways of running that must give the bits of the whole sequence at once; of some nets a part of them."""


def ways_of(net: LSTM) -> dict[str, Callable[[Case], Outputs]]:
    """Those of `WAYS` that a net has: one that starts at the end takes a sequence whole."""
    if net.bidirectional or net.reverse:
        return {"batch rows alone": run_rows}
    return WAYS


def _isas_that_differ(case: Case) -> list[str]:
    """The ISAs of this CPU whose bits are not those of the one that the net runs on."""
    whole = run_whole(case)
    isas = [isa for isa in _kernel.SUPPORTED_ISAS if isa != case.net.core.isa]
    nets = {isa: LSTM.from_core(case.net.core.on_isa(isa)) for isa in isas}
    return [isa for isa, net in nets.items() if not _same_bits(run_whole(case._replace(net=net)), whole)]


def _isa_part(case: Case) -> Case:
    """The first batch rows and time steps of a case, LARGEST_ISA_WORK at most."""
    net = case.net.core.architecture
    inputs = sum(net.cell_input_size(k) + net.state_size for k in range(net.cells))
    work = 4 * net.hidden_size * inputs
    rows = min(len(case.X), max(1, LARGEST_ISA_WORK // work))
    steps = max(1, LARGEST_ISA_WORK // (work * rows))
    return case._replace(X=case.X[:rows, :steps], h0=case.h0[:, :rows], C0=case.C0[:, :rows])


def _same_bits(first: Outputs, second: Outputs) -> bool:
    return all(a.tobytes() == b.tobytes() for a, b in zip(first, second, strict=True))


# Times and the machine


def interleaved_times(
    runs: Sequence[Callable[[], object]], *, repeats: int | None = None, seconds: float = math.inf
) -> list[list[float]]:
    """Seconds of each call of each of `runs`, which take turns so that all see the same machine.

    There are `repeats` rounds, or as many as start within `seconds`; one at least.
    """
    times: list[list[float]] = [[] for _ in runs]
    start = time.perf_counter()
    while not times[0] or (len(times[0]) != repeats and time.perf_counter() - start < seconds):
        for run, of_run in zip(runs, times, strict=True):
            before = time.perf_counter()
            run()
            of_run.append(time.perf_counter() - before)
    return times
