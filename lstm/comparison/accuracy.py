"""How far a result may be off: NumPy's own error of the same net is the measure.

A trained net may magnify a rounding from step to step, so no constant fits all nets. What rounding does to a
net is seen from NumPy's path: how far its result in float32 is from that in float64, and how far it moves if
every weight and input changes by one unit in its last place. `int8_steps` has the rule for int8 nets.

Shapes: B batch, T time, I input, H hidden, O features of h, L layers, D directions.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..core.checks import cast
from ..core.net import Net
from ..core.weights import Parts
from ..model import LSTM
from .cases import Case, Outputs

MULTIPLE = 8
"""How many times NumPy's own error a result may be off.

Of 4800 right results (800 random nets of up to 4 layers, weights of standard deviation 0.1 to 1.2, 1 to 100
steps, float32 and float64) none was off by more than 2.8 times it, 582 by more than `RECORDED_FLOOR`.
"""

FLOOR = 8
"""And always by this many times the dtype's epsilon: where NumPy is right by luck, others need not be."""

RECORDED_FLOOR = {np.dtype(np.float32): 5e-6, np.dtype(np.float64): 1e-13}
"""The same for outputs of another program, whose sigmoid and tanh may be approximations."""

CHANGED_RUNS = 3
"""Runs of NumPy with weights and inputs that differ in the last place. One alone may be near by chance."""


class Difference(NamedTuple):
    """How far two arrays are apart at most; each figure is the largest of its kind."""

    absolute: float
    relative: float  # to the largest expected value, if that is above 1
    numpy_error: float  # NumPy's own, relative in the same way
    tolerance: float  # of `relative`

    @property
    def passed(self) -> bool:
        """Whether the arrays agree."""
        return self.relative <= self.tolerance


class Standard(NamedTuple):
    """What a case is held to in one dtype."""

    dtype: np.dtype[Any]
    expected: Outputs
    numpy_errors: dict[str, float]  # by name of an output, relative

    def difference(self, name: str, actual: np.ndarray) -> Difference:
        """How far an output is from the expected one."""
        error = self.numpy_errors[name]
        tolerance = max(MULTIPLE * error, FLOOR * float(np.finfo(self.dtype).eps))
        absolute, relative = largest_gap(actual, getattr(self.expected, name), self.dtype)
        return Difference(absolute, relative, error, tolerance)

    def recorded_difference(self, name: str, actual: np.ndarray, recorded: np.ndarray) -> Difference:
        """How far an output is from one that another program recorded."""
        error = self.numpy_errors[name]
        tolerance = max(MULTIPLE * error, RECORDED_FLOOR[self.dtype])
        return Difference(*largest_gap(actual, recorded, self.dtype), error, tolerance)


def standard(case: Case, dtype: np.dtype[Any]) -> Standard:
    """What the net of a case must give in `dtype`, and NumPy's own error.

    A float32 net is held to its outputs in float64, except where NumPy's float32 overflows; a float64 net,
    for which there is nothing wider, to those of NumPy.
    """
    net = rounded_net(case.net.core.parts(), dtype)
    inputs = [cast(array, dtype) for array in (case.X, case.h0, case.C0)]
    result = _run(net, *inputs)
    expected = result
    if dtype != np.float64:
        wide = rounded_net(net, np.dtype(np.float64))
        exact = _run(wide, *(array.astype(np.float64) for array in inputs))
        expected = Outputs(
            *(np.where(np.isfinite(own), other, own) for own, other in zip(result, exact, strict=True))
        )
    rng = np.random.default_rng(0)
    samples = [result]
    for _ in range(CHANGED_RUNS):
        other = net._replace(weights=[one.map(lambda a: changed(rng, a)) for one in net.weights])
        samples.append(_run(other, *(changed(rng, array) for array in inputs)))
    errors = {
        name: max(_finite_gap(getattr(sample, name), array, dtype) for sample in samples)
        for name, array in expected._asdict().items()
    }
    return Standard(dtype, expected, errors)


def rounded_net(parts: Parts, dtype: np.dtype[Any]) -> Parts:
    """The same net with weights of `dtype`; those of 16 bits are the values that they have."""
    weights = [one.map(lambda array: cast(array, dtype)) for one in parts.full_weights()]
    return parts._replace(weights=weights, dtype=dtype, precision=None)


def _run(parts: Parts, X: np.ndarray, h0: np.ndarray, C0: np.ndarray) -> Outputs:
    """X (B, T, I), h0 (L D, B, O), C0 (L D, B, H) -> what NumPy makes of them."""
    net = LSTM.from_core(Net(parts, "numpy"))
    Y, (h_n, C_n) = net.forward_sequence(X, h0, C0, return_state=True)
    return Outputs(Y, h_n, C_n)


def changed(rng: np.random.Generator, array: np.ndarray) -> np.ndarray:
    """(...) -> (...): every number up or down by its last place, half of them each way."""
    with np.errstate(all="ignore"):
        ends = np.where(rng.integers(0, 2, array.shape, np.int8) > 0, np.inf, -np.inf).astype(array.dtype)
        # A zero stays: a pruned weight is none, and a padded feature.
        return np.where(np.isfinite(array) & (array != 0), np.nextafter(array, ends), array)


def largest_gap(actual: np.ndarray, expected: np.ndarray, dtype: np.dtype[Any]) -> tuple[float, float]:
    """The largest difference of two arrays of one shape: absolute, and relative to the largest value.

    It is infinite where one has a NaN or an infinity and the other not the same. Subnormals of `dtype`
    count as zero, as in the kernel.
    """
    with np.errstate(all="ignore"):
        a, e = actual.astype(np.float64), expected.astype(np.float64)
        for values in (a, e):
            values[np.abs(values) < np.finfo(dtype).smallest_normal] = 0
        gaps = np.where((a == e) | (np.isnan(a) & np.isnan(e)), 0.0, np.abs(a - e))
    # Only a NaN or an infinity on one side yields NaN here.
    absolute = float(np.where(np.isnan(gaps), np.inf, gaps).max(initial=0))
    scale = max(1.0, float(np.abs(e[np.isfinite(e)]).max(initial=0)))
    return absolute, absolute / scale


def _finite_gap(actual: np.ndarray, expected: np.ndarray, dtype: np.dtype[Any]) -> float:
    """The largest relative difference where both are finite."""
    both = np.isfinite(actual) & np.isfinite(expected)
    return largest_gap(np.where(both, actual, expected), expected, dtype)[1]
