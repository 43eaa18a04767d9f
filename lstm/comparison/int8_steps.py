"""How far a result of an int8 net may be off: every step is held to NumPy's from the same states.

A rounding in the last place of h may tip an integer that h becomes at the next step, so that two right
computations of a sequence part by what int8 resolves. So NumPy computes each step of each layer from the
states that the net itself had before it: the integers are the same then, and what is left is the rounding
of the few operations around them.

Shapes: B batch, T time, I input, H hidden, O features of h, L layers, D directions.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..core import reference
from ..core.architecture import Architecture
from ..core.net import Net
from ..core.trace import Trace
from ..core.weights import Int8Weights
from .accuracy import CHANGED_RUNS, FLOOR, MULTIPLE, Difference, changed, largest_gap
from .cases import Case, Outputs


class Steps(NamedTuple):
    """What NumPy makes of every step of every layer and direction."""

    h: np.ndarray  # (L D, B, T, O)
    C: np.ndarray  # (L D, B, T, H)

    def outputs(self, architecture: Architecture) -> Outputs:
        """What a sequence of these steps results in."""
        ends = [0 if architecture.runs_from_end(k) else -1 for k in range(architecture.cells)]
        return Outputs(
            layer_output(self.h, architecture, architecture.num_layers - 1),
            np.stack([h[:, end] for h, end in zip(self.h, ends, strict=True)]),
            np.stack([C[:, end] for C, end in zip(self.C, ends, strict=True)]),
        )


def differences(case: Case, whole: Outputs) -> dict[str, Difference]:
    """How far the outputs of an int8 net are off, and its steps: h and C of all layers."""
    architecture = case.net.core.architecture
    trace = case.net.trace(case.X, case.h0, case.C0)
    cells = Net(case.net.core.parts(), "numpy").cells
    expected = _steps(case, trace, cells)
    rng = np.random.default_rng(0)
    others = [_steps(case, trace, cells, rng) for _ in range(CHANGED_RUNS)]
    wanted = expected.outputs(architecture)._asdict()
    samples = [other.outputs(architecture)._asdict() for other in others]
    found = {
        name: _difference(array, wanted[name], [sample[name] for sample in samples])
        for name, array in whole._asdict().items()
    }
    both = [
        _difference(array, getattr(expected, name), [getattr(other, name) for other in others])
        for name, array in (("h", trace.h), ("C", trace.C))
    ]
    return {**found, "steps": max(both, key=lambda d: d.relative / d.tolerance)}


def _difference(actual: np.ndarray, expected: np.ndarray, samples: list[np.ndarray]) -> Difference:
    dtype = expected.dtype
    error = max(largest_gap(sample, expected, dtype)[1] for sample in samples)
    tolerance = max(MULTIPLE * error, FLOOR * float(np.finfo(dtype).eps))
    return Difference(*largest_gap(actual, expected, dtype), error, tolerance)


def _steps(
    case: Case, trace: Trace, cells: tuple[object, ...], rng: np.random.Generator | None = None
) -> Steps:
    """Every step from the states of the trace; with `rng`, what is no integer changed in its last place."""
    architecture = case.net.core.architecture
    steps = Steps(np.empty_like(trace.h), np.empty_like(trace.C))
    for k, weights in enumerate(cells):
        assert isinstance(weights, Int8Weights)
        layer = k // architecture.directions
        X = case.X if layer == 0 else layer_output(trace.h, architecture, layer - 1)
        h, C = (
            _before(values[k], first[k], architecture.runs_from_end(k)).reshape(-1, values.shape[-1])
            for values, first in ((trace.h, case.h0), (trace.C, case.C0))
        )
        if rng is not None:
            weights, C = _changed(rng, weights), changed(rng, C)
        products = reference.input_products(weights, X)  # (4, B, T, H)
        products = products.reshape(4, -1, products.shape[-1])
        h, gates = reference.step(weights, products, h, C, architecture.cell_options(k))
        steps.h[k], steps.C[k] = h.reshape(steps.h[k].shape), gates.C.reshape(steps.C[k].shape)
    return steps


def _changed(rng: np.random.Generator, weights: Int8Weights) -> Int8Weights:
    """The weights with all but the integers changed in their last place."""
    inputs, hidden, *rest = weights
    return Int8Weights(
        inputs._replace(scales=changed(rng, inputs.scales)),
        hidden._replace(scales=changed(rng, hidden.scales)),
        *(None if array is None else changed(rng, array) for array in rest),  # type: ignore[arg-type]
    )


def _before(values: np.ndarray, first: np.ndarray, from_end: bool) -> np.ndarray:
    """(B, T, ...) and the state (B, ...) at the start -> (B, T, ...): the states before every step."""
    start = first[:, np.newaxis]
    parts = [values[:, 1:], start] if from_end else [start, values[:, :-1]]
    return np.concatenate(parts, axis=1)


def layer_output(h: np.ndarray, architecture: Architecture, layer: int) -> np.ndarray:
    """H (L D, B, T, O) -> (B, T, D O), or O where directions are merged: what a layer gives."""
    if architecture.directions == 1:
        return np.asarray(h[layer])
    return reference.merge_directions(h[2 * layer], h[2 * layer + 1], architecture.merge)
