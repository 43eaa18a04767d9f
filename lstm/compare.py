"""The native and the NumPy path side by side: the work behind ``lstm compare``.

    read_input                an .npz file of features and, where it holds them, recorded outputs
    grid, model_cases         random cases
    make_case                 a case of one's own, checked
    compare_case              one case: differences, times, bits
    text_report, json_report  the results, for people and for machines

Shapes: B batch, T time, I input, H hidden.
"""

from __future__ import annotations

import itertools
import math
import os
import platform
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from . import _kernel
from .config import show_config
from .formats import FormatError
from .formats.npz import read_arrays
from .model import LSTM

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

    Y: np.ndarray  # (B, T, H)
    h_n: np.ndarray  # (B, H)
    C_n: np.ndarray  # (B, H)


class Case(NamedTuple):
    """What is compared; all arrays but the recorded ones are of the net's dtype."""

    net: LSTM  # of the native backend
    X: np.ndarray  # (B, T, I)
    h0: np.ndarray  # (B, H)
    C0: np.ndarray  # (B, H)
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
        held = ", ".join(map(_printable, arrays)) or "nothing"
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
    """X (B, T, I), h0 (B, H), C0 (B, H): all distinct and h0 within ±1, as every h is."""
    return Case(
        net,
        rng.standard_normal((batch, steps, net.input_size)).astype(net.dtype),
        rng.uniform(-1, 1, (batch, net.hidden_size)).astype(net.dtype),
        rng.standard_normal((batch, net.hidden_size)).astype(net.dtype),
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
    # The net's own checks, in its own words.
    shape = net.forward_sequence(X, h0, C0).shape
    array = _cast(X, net).reshape(-1, *np.shape(X)[-2:])
    states = (len(array), net.hidden_size)
    h, C = (
        np.zeros(states, net.dtype) if state is None else _cast(state, net).reshape(states)
        for state in (h0, C0)
    )
    outputs = {}
    for entry, output in (recorded or {}).items():
        _check_recorded(entry, output, shape)
        outputs[entry] = output.reshape((*array.shape[:2], -1) if ENTRIES[entry] == "Y" else states)
    return Case(net, array, h, C, outputs)


def _cast(value: ArrayLike, net: LSTM) -> np.ndarray:
    """A contiguous array of the net's dtype; what is too large for it becomes infinite, as in the net."""
    with np.errstate(over="ignore"):
        return np.asarray(value).astype(net.dtype, order="C")


def _check_recorded(entry: str, array: np.ndarray, shape: tuple[int, ...]) -> None:
    """ValueError where a recorded output is not shaped as the net's own, whose Y has `shape`."""
    batch, hidden_size = shape[:-2], shape[-1]
    allowed: tuple[tuple[int, ...], ...] = ((*batch, hidden_size), (1, *batch, hidden_size))
    if ENTRIES[entry] == "Y":
        allowed = (shape,)
    elif not batch:
        allowed += ((hidden_size, 1),)
    if array.shape not in allowed:
        expected = " or ".join(map(str, allowed))
        raise ValueError(f"{entry} has shape {array.shape}, but must be {expected}")


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
    reference = LSTM.from_state_dict(net.state_dict(), dtype=net.dtype, backend="numpy")
    arguments = (case.X, case.h0, case.C0)
    whole, expected = run_whole(case), run_whole(case._replace(net=reference))
    native_times, numpy_times = interleaved_times(
        [lambda: net.forward_sequence(*arguments), lambda: reference.forward_sequence(*arguments)],
        seconds=seconds,
    )
    part = _isa_part(case)
    outputs = whole._asdict()
    return Comparison(
        input_size=net.input_size,
        hidden_size=net.hidden_size,
        batch=case.X.shape[0],
        time=case.X.shape[1],
        dtype=net.dtype.name,
        isa=net._isa,
        differences={
            name: largest_difference(outputs[name], array) for name, array in expected._asdict().items()
        },
        recorded={
            entry: largest_difference(outputs[ENTRIES[entry]], array)
            for entry, array in case.recorded.items()
        },
        native_seconds=min(native_times),
        numpy_seconds=min(numpy_times),
        different_bits=(*_ways_that_differ(case, whole), *_isas_that_differ(part)),
        isa_part=part.X.shape[:2],
        nan_outputs=sum(int(np.isnan(array).sum()) for array in whole),
    )


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
    Y = np.empty((*case.X.shape[:2], case.net.hidden_size), case.net.dtype)
    h, C = case.h0, case.C0
    for t in range(case.X.shape[1]):
        h, C = case.net.forward(case.X[:, t], h, C)
        Y[:, t] = h
    return Outputs(Y, h, C)


def run_stream(case: Case) -> Outputs:
    """A `Stream` that takes one time step after the other."""
    Y = np.empty((*case.X.shape[:2], case.net.hidden_size), case.net.dtype)
    stream = case.net.stream(len(case.X))
    stream.h[...], stream.C[...] = case.h0, case.C0
    for t in range(case.X.shape[1]):
        Y[:, t] = stream.step(np.ascontiguousarray(case.X[:, t]))
    return Outputs(Y, stream.h[0], stream.C[0])


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
    for X, h0, C0 in zip(case.X, case.h0, case.C0, strict=True):
        Y, (h, C) = case.net.forward_sequence(X, h0, C0, return_state=True)
        rows.append((Y, h, C))
    return Outputs(*map(np.stack, zip(*rows, strict=True)))


WAYS: dict[str, Callable[[Case], Outputs]] = {
    "single steps": run_single_steps,
    "stream": run_stream,
    "chunks": run_chunks,
    "batch rows alone": run_rows,
}
"""Ways of running that must give the bits of the whole sequence at once."""


def _ways_that_differ(case: Case, whole: Outputs) -> list[str]:
    """The names of `WAYS` whose bits are not those of `whole`."""
    return [name for name, run in WAYS.items() if not _same_bits(run(case), whole)]


def _isas_that_differ(case: Case) -> list[str]:
    """The ISAs of this CPU whose bits are not those of the one that the net runs on."""
    whole = run_whole(case)
    isas = [isa for isa in _kernel.SUPPORTED_ISAS if isa != case.net._isa]
    nets = {isa: case.net._on_isa(isa) for isa in isas}
    return [isa for isa, net in nets.items() if not _same_bits(run_whole(case._replace(net=net)), whole)]


def _isa_part(case: Case) -> Case:
    """The first batch rows and time steps of a case, LARGEST_ISA_WORK at most."""
    work = 4 * case.net.hidden_size * (case.net.input_size + case.net.hidden_size)
    rows = min(len(case.X), max(1, LARGEST_ISA_WORK // work))
    steps = max(1, LARGEST_ISA_WORK // (work * rows))
    return case._replace(X=case.X[:rows, :steps], h0=case.h0[:rows], C0=case.C0[:rows])


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


def cpu_name() -> str:
    """The CPU's name as the system tells it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            for line in file:
                if match := re.match(r"model name\s*:\s*(.*\S)", line):
                    return match[1]
    except OSError:
        pass  # Not every system has this file.
    return platform.processor() or platform.machine() or "unknown CPU"


def machine() -> str:
    """What the figures belong to, in one line."""
    facts = show_config("dict")
    cpu = f"{cpu_name()} ({os.cpu_count()} CPUs)"
    return f"lstm {facts['lstm']}, Python {facts['python']}, NumPy {facts['numpy']}, {cpu}"


def blas_threads() -> str:
    """The environment variables that set the threads of NumPy's BLAS, or "default"."""
    names = [name for name in sorted(os.environ) if re.search(r"_(NUM|MAXIMUM)_THREADS$", name)]
    return " ".join(f"{name}={_printable(os.environ[name])}" for name in names) or "default"


# Reports


def format_time(seconds: float) -> str:
    """Three digits and a unit."""
    for unit, factor in (("µs", 1e6), ("ms", 1e3)):
        if seconds * factor < 999.5:
            return f"{seconds * factor:#.3g} {unit}".replace(". ", " ")
    return f"{seconds:.2f} s"


def format_table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of right-aligned columns; the last one is left-aligned."""
    lines = [titles, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)][:-1]
    return [
        "  ".join(
            [*(cell.rjust(width) for cell, width in zip(line, widths, strict=False)), line[-1]]
        ).rstrip()
        for line in lines
    ]


def text_report(
    comparisons: Sequence[Comparison],
    model: tuple[str, LSTM] | None = None,
    input_file: str | None = None,
    unused: Sequence[str] = (),
) -> str:
    """What was compared and found, as lines of text.

    Parameters
    ----------
    comparisons : sequence of Comparison
        At least one.
    model : tuple of str and LSTM, optional
        The name of a model file and its net.
    input_file : str, optional
        The name of an input file.
    unused : sequence of str
        The entries of that file that were not used.

    Returns
    -------
    str

    """
    lines = [machine(), f"threads: native {show_config('dict')['threads']}, NumPy's BLAS {blas_threads()}"]
    if model is not None:
        lines.append(f"model: {_printable(model[0])}, {model[1]!r}")
    if input_file is not None:
        lines.append(f"input: {_printable(input_file)}")
    if unused:
        lines.append(f"not used of the input: {', '.join(map(_printable, unused))}")
    lines += ["", *_case_table(comparisons), ""]
    for c in comparisons:
        if c.recorded:
            lines += [*_recorded_table(c.recorded), ""]
    lines.append(_bits_line(comparisons))
    if nans := sum(c.nan_outputs for c in comparisons):
        lines.append(f"NaN in {nans} native outputs")
    lines += [f"FAILED: {_name(c)}: {failure}" for c in comparisons for failure in c.failures]
    if all(c.passed for c in comparisons):
        lines.append(f"{len(comparisons)} {'case agrees' if len(comparisons) == 1 else 'cases agree'}")
    return "".join(f"{line}\n" for line in lines)


def _case_table(comparisons: Sequence[Comparison]) -> list[str]:
    titles = [
        "I",
        "H",
        "B",
        "T",
        "dtype",
        "ISA",
        "difference",
        "relative",
        "ULP",
        "native",
        "NumPy",
        "ratio",
        "",
    ]
    rows = [
        [
            *map(str, (c.input_size, c.hidden_size, c.batch, c.time)),
            c.dtype,
            c.isa,
            f"{c.difference.absolute:.2e}",
            f"{c.difference.relative:.2e}",
            f"{c.difference.ulp:.3g}",
            format_time(c.native_seconds),
            format_time(c.numpy_seconds),
            f"{c.ratio:.1f}",
            "ok" if c.passed else "FAILED",
        ]
        for c in comparisons
    ]
    return format_table(titles, rows)


def _recorded_table(recorded: Mapping[str, Difference]) -> list[str]:
    titles = ["recorded", "difference", "relative", "ULP", "allowed", ""]
    rows = [
        [
            entry,
            f"{d.absolute:.2e}",
            f"{d.relative:.2e}",
            f"{d.ulp:.3g}",
            f"{d.tolerance:g}",
            "ok" if d.passed else "FAILED",
        ]
        for entry, d in recorded.items()
    ]
    return format_table(titles, rows)


def _bits_line(comparisons: Sequence[Comparison]) -> str:
    """Whether every way of running gave the same bits, and which did not."""
    differing = dict.fromkeys(name for c in comparisons for name in c.different_bits)
    if differing:
        return f"other bits than the whole sequence at once: {', '.join(differing)}"
    line = f"same bits: whole sequence, {', '.join(WAYS)}; on {', '.join(_kernel.SUPPORTED_ISAS)}"
    cut = [c for c in comparisons if c.isa_part != (c.batch, c.time)]
    parts = [f"{c.isa_part[0]} of {c.batch} rows, {c.isa_part[1]} of {c.time} steps" for c in cut]
    return f"{line} (there over {'; '.join(parts)})" if parts else line


def _name(c: Comparison) -> str:
    return f"I={c.input_size} H={c.hidden_size} B={c.batch} T={c.time} {c.dtype}"


def json_report(
    comparisons: Sequence[Comparison],
    model: tuple[str, LSTM] | None = None,
    input_file: str | None = None,
    unused: Sequence[str] = (),
) -> dict[str, Any]:
    """What was compared and found, as a JSON object; arguments as for `text_report`.

    Returns
    -------
    dict
        ``lstm``, ``python``, ``numpy`` (versions), ``cpu``, ``isa`` (the one in use), ``isas`` (all
        of this CPU), ``threads`` (of the native path), ``blas_threads`` (of NumPy's, in words),
        ``model``, ``input`` (file names or null), ``unused_entries`` (of the input), ``ways`` (of
        running whose bits were compared), ``passed``, and ``cases``, a list of objects:

        - ``input_size``, ``hidden_size``, ``batch``, ``time``, ``dtype``, ``isa``;
        - ``difference``: ``absolute``, ``relative``, ``ulp``, ``tolerance``, over all outputs,
          native against NumPy, and ``differences``: such an object for each of Y, h_n, C_n;
        - ``recorded``: such an object for each checked entry of the input;
        - ``native_seconds``, ``numpy_seconds``: best time of each path; ``ratio``, the second by the
          first;
        - ``different_bits``: ways and ISAs whose bits differ; ``isa_part``: rows and steps that
          the ISAs were compared on;
        - ``nan_outputs``: how many there are; ``passed``; ``failures``, in words.

        A difference that is infinite, as that of a NaN from a number, is null.

    """
    return {
        **show_config("dict"),
        "cpu": cpu_name(),
        "blas_threads": blas_threads(),
        "model": None if model is None else model[0],
        "input": input_file,
        "unused_entries": list(unused),
        "ways": list(WAYS),
        "passed": all(c.passed for c in comparisons),
        "cases": [_json_case(c) for c in comparisons],
    }


def _json_case(c: Comparison) -> dict[str, Any]:
    return {
        "input_size": c.input_size,
        "hidden_size": c.hidden_size,
        "batch": c.batch,
        "time": c.time,
        "dtype": c.dtype,
        "isa": c.isa,
        "difference": _json_difference(c.difference),
        "differences": {name: _json_difference(d) for name, d in c.differences.items()},
        "recorded": {entry: _json_difference(d) for entry, d in c.recorded.items()},
        "native_seconds": c.native_seconds,
        "numpy_seconds": c.numpy_seconds,
        "ratio": c.ratio,
        "different_bits": list(c.different_bits),
        "isa_part": list(c.isa_part),
        "nan_outputs": c.nan_outputs,
        "passed": c.passed,
        "failures": c.failures,
    }


def _json_difference(difference: Difference) -> dict[str, float | None]:
    return {name: v if math.isfinite(v) else None for name, v in difference._asdict().items()}


def _printable(name: str) -> str:
    """A name from outside without control characters, which could write over the report."""
    return name if name.isprintable() else ascii(name)
