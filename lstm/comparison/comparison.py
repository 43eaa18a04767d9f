"""One case on the native and the NumPy path: differences, times, and the ways that must give the same bits.

Shapes: B batch, T time, I input, H hidden, O features of h, L layers, D directions.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from .. import _kernel
from ..core.net import Net
from ..model import LSTM
from . import int8_steps
from .accuracy import RECORDED_FLOOR, Difference, Standard, largest_gap, standard
from .cases import ENTRIES, Case, Outputs

SECONDS = 0.3
"""For the timing of one case."""

LARGEST_ISA_WORK = 2_000_000_000
"""Products that each ISA computes for one case at most: 3 seconds of the generic kernel."""

CHUNKS = (3, 1, 17, 2, 40)
"""Time steps of the chunks that a sequence is cut into, over and over."""


SMALL_MULTIPLE = 2
"""How many times as far as NumPy's result one of small weights may be from a recorded one of full weights."""

INT8_FLOOR = 1 / 127
"""And always by this in int8: what it resolves of the largest h that there is."""


@dataclass(frozen=True)
class Comparison:
    """The results of one case."""

    input_size: int
    hidden_size: int
    batch: int
    time: int
    dtype: str
    precision: str | None  # of small weights
    isa: str
    differences: dict[str, Difference]  # Y, h_n, C_n: native against what it must be; of int8 steps, too
    recorded: dict[str, Difference]  # by entry: native against the file
    native_seconds: float
    numpy_seconds: float
    ways: tuple[str, ...]  # of running whose bits were compared
    different_bits: tuple[str, ...]  # ways of running and ISAs whose bits are not those of the whole sequence
    isa_part: tuple[int, ...]  # batch rows and time steps that the ISAs were compared on
    nan_outputs: int

    @property
    def difference(self) -> Difference:
        """That of the output which is furthest beyond what is allowed, or nearest to it."""
        return max(self.differences.values(), key=lambda d: d.relative / d.tolerance)

    @property
    def ratio(self) -> float:
        """How many times as fast the native path is."""
        return self.numpy_seconds / self.native_seconds

    @property
    def failures(self) -> list[str]:
        """What does not hold, in words."""
        found = [
            f"{name} of the native path is off by {d.relative:.3g}, above the {d.tolerance:.3g} allowed for "
            f"NumPy's own error of {d.numpy_error:.3g}"
            for name, d in self.differences.items()
            if not d.passed
        ]
        found += [
            f"{name} differs from the recorded one by {d.relative:.3g}, above the {d.tolerance:.3g} allowed"
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
    reference = LSTM.from_core(Net(net.core.parts(), "numpy"))
    arguments = (case.X, case.h0, case.C0)
    whole = run_whole(case)
    own = None if net.precision == "int8" else standard(case, net.dtype)
    native_times, numpy_times = interleaved_times(
        [lambda: net.forward_sequence(*arguments), lambda: reference.forward_sequence(*arguments)],
        seconds=seconds,
    )
    part = _isa_part(case)
    ways = ways_of(net)
    return Comparison(
        input_size=net.input_size,
        hidden_size=net.hidden_size,
        batch=case.X.shape[0],
        time=case.X.shape[1],
        dtype=net.dtype.name,
        precision=net.precision,
        isa=str(net.core.isa),
        differences=(
            int8_steps.differences(case, whole)
            if own is None
            else {name: own.difference(name, array) for name, array in whole._asdict().items()}
        ),
        recorded=(
            recorded_differences(case, whole)
            if own is None or net.precision is not None
            else _recorded(case, whole, own)
        ),
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


def _recorded(case: Case, outputs: Outputs, own: Standard) -> dict[str, Difference]:
    """How far the outputs are from the recorded ones, held to the coarser dtype of the two."""
    standards = {own.dtype: own}
    found = {}
    for entry, array in case.recorded.items():
        dtype = min(own.dtype, array.dtype, key=lambda d: d.itemsize).newbyteorder("=")
        if dtype not in standards:
            standards[dtype] = standard(case, dtype)
        name = ENTRIES[entry]
        found[entry] = standards[dtype].recorded_difference(name, getattr(outputs, name), array)
    return found


def recorded_differences(case: Case, outputs: Outputs) -> dict[str, Difference]:
    """How far the outputs of small weights are from those recorded of full ones: as far as NumPy's may be."""
    reference = LSTM.from_core(Net(case.net.core.parts(), "numpy"))
    own = run_whole(case._replace(net=reference))
    found = {}
    for entry, array in case.recorded.items():
        dtype = min(case.net.dtype, array.dtype, key=lambda d: d.itemsize).newbyteorder("=")
        _, error = largest_gap(getattr(own, ENTRIES[entry]), array, dtype)
        floor = INT8_FLOOR if case.net.precision == "int8" else RECORDED_FLOOR[dtype]
        gaps = largest_gap(getattr(outputs, ENTRIES[entry]), array, dtype)
        found[entry] = Difference(*gaps, error, max(SMALL_MULTIPLE * error, floor))
    return found


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
    Ys, hs, Cs = zip(*rows, strict=True)
    return Outputs(np.stack(Ys), np.stack(hs, axis=1), np.stack(Cs, axis=1))


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
