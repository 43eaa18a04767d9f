"""What the tests share: the tolerance, awkward arrays, random nets, bit comparison.

Shapes: B batch, T time, I input, H hidden.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib.util
import platform
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from lstm import LSTM, _kernel

TESTS = Path(__file__).parent
DATA = TESTS / "data"
ROOT = TESTS.parent
ISAS = _kernel.KNOWN_ISAS
DTYPES = (np.float32, np.float64)

# Every ISA as a parameter of a test, which skips by name those that this CPU does not run.
EACH_ISA = [
    pytest.param(
        isa, marks=pytest.mark.skipif(isa not in _kernel.SUPPORTED_ISAS, reason=f"{isa} is not run here")
    )
    for isa in ISAS
]

# Largest difference between two computations of one net in the same dtype that sum in different
# orders, relative to the largest value of the array where that is above 1.
TOLERANCE = {np.dtype(np.float32): 5e-6, np.dtype(np.float64): 1e-13}


# The same for random mixtures of variants: unbounded activations and peepholes let differences grow.
MIXTURE_TOLERANCE = {np.dtype(np.float32): 2e-5, np.dtype(np.float64): 1e-12}


def assert_close(
    actual: np.ndarray,
    expected: np.ndarray,
    what: str = "",
    tolerance: dict[np.dtype[Any], float] = TOLERANCE,
) -> None:
    """Hold `actual` to `expected` within `tolerance` of its dtype; NaN and infinity must match exactly."""
    assert actual.shape == expected.shape, what
    np.testing.assert_array_equal(np.isnan(actual), np.isnan(expected), what)
    np.testing.assert_array_equal(
        np.where(np.isinf(actual), actual, 0), np.where(np.isinf(expected), expected, 0), what
    )
    finite = np.isfinite(expected)
    if not finite.any():
        return
    a, e = actual[finite].astype(np.float64), expected[finite].astype(np.float64)
    scale = max(1.0, np.abs(e).max())
    worst = np.abs(a - e).max() / scale
    assert worst <= tolerance[actual.dtype], f"{what}: largest difference {worst:.3g}"


def assert_same_bits(actual: np.ndarray, expected: np.ndarray, what: str = "") -> None:
    """Hold every bit of `actual` to `expected`: signs of zeros and NaNs too."""
    assert actual.dtype == expected.dtype, what
    assert actual.shape == expected.shape, what
    unsigned = np.dtype(f"u{actual.dtype.itemsize}")
    a = np.ascontiguousarray(actual).view(unsigned)
    e = np.ascontiguousarray(expected).view(unsigned)
    differing = np.flatnonzero((a != e).ravel())
    assert differing.size == 0, (
        f"{what}: {differing.size} of {a.size} differ, first at flat index {differing[0]}: "
        f"{actual.ravel()[differing[0]]!r} against {expected.ravel()[differing[0]]!r}"
    )


def random_net(
    rng: np.random.Generator, input_size: int, hidden_size: int, dtype: Any, **options: Any
) -> LSTM:
    """A net whose weights and biases are all distinct and sized as in trained nets."""
    return LSTM(input_size, hidden_size, dtype=dtype, init="pytorch", rng=rng, **options)


def random_case(
    rng: np.random.Generator, batch: int, time: int, input_size: int, hidden_size: int, dtype: Any
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """X (B, T, I), h0 (B, H), C0 (B, H): all random, distinct and far from zero."""
    return (
        rng.standard_normal((batch, time, input_size)).astype(dtype),
        rng.uniform(-1, 1, (batch, hidden_size)).astype(dtype),
        rng.standard_normal((batch, hidden_size)).astype(dtype),
    )


def load_script(path: Path) -> ModuleType:
    """A program of the repository as a module; its main does not run."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def peak_of(call: Callable[[], Any]) -> int:
    """Bytes of Python and NumPy memory that one call takes at most."""
    tracemalloc.start()
    try:
        call()
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        call()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


# MXCSR: the flags of exceptions that were, the masks of those that must not trap, and the mode.
FP_FLAGS, FP_MASKS, FP_UPWARD, FP_FLUSH = 0x003F, 0x1F80, 0x4000, 0x8040
needs_mxcsr = pytest.mark.skipif(
    not (sys.platform == "linux" and platform.machine() == "x86_64"), reason="needs MXCSR of x86-64 and glibc"
)


@contextlib.contextmanager
def no_collection() -> Iterator[None]:
    """Keep the garbage collector from running what others hang on it: Hypothesis computes times there."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@contextlib.contextmanager
def mxcsr(value: int) -> Iterator[None]:
    """Run the block with this floating-point control and status of the thread; restore it afterwards."""
    libm = ctypes.CDLL("libm.so.6")
    found, wanted = ctypes.create_string_buffer(32), ctypes.create_string_buffer(32)
    libm.fegetenv(found)
    libm.fegetenv(wanted)
    wanted[28:32] = value.to_bytes(4, "little")  # type: ignore[assignment]
    with no_collection():
        libm.fesetenv(wanted)
        try:
            yield
        finally:
            libm.fesetenv(found)


def as_backend(net: LSTM, backend: str) -> LSTM:
    """The same weights on another backend."""
    return LSTM.from_state_dict(net.state_dict(), dtype=net.dtype, backend=backend)  # type: ignore[arg-type]


def misaligned(array: np.ndarray) -> np.ndarray:
    """The same values at an address that no element of this dtype should have."""
    memory = np.zeros(array.nbytes + 1, np.uint8)
    copy = (
        memory[1:].view(array.dtype)
        if array.itemsize == 1
        else np.frombuffer(memory.data, array.dtype, array.size, offset=1)
    )
    copy = copy.reshape(array.shape)
    copy[...] = array
    return copy


def awkward_arrays(array: np.ndarray) -> Iterator[tuple[str, Any]]:
    """(name, value) of every odd way to hold the values of `array`; each must give what `array` gives."""
    yield "plain", array
    yield "Fortran-ordered", np.asfortranarray(array)
    wide = np.zeros((*array.shape[:-1], 2 * array.shape[-1]), array.dtype)
    wide[..., ::2] = array
    yield "strided on the last axis", wide[..., ::2]
    padded = np.full((*array.shape[:-1], array.shape[-1] + 3), np.nan, array.dtype)
    padded[..., 1:-2] = array
    yield "a slice of wider rows", padded[..., 1:-2]
    tall = np.full((2 * array.shape[0], *array.shape[1:]), np.nan, array.dtype)
    tall[::2] = array
    yield "strided on the first axis", tall[::2]
    yield "reversed on the first axis", array[::-1].copy()[::-1]
    yield "reversed on the last axis", array[..., ::-1].copy()[..., ::-1]
    yield "reversed on all axes", np.flip(np.flip(array).copy())
    yield "byte-swapped", array.astype(array.dtype.newbyteorder("S"))
    yield "misaligned", misaligned(array)
    fields = np.zeros(array.shape, np.dtype([("pad", np.uint8), ("value", array.dtype)]))
    fields["value"] = array
    yield "a field of packed records", fields["value"]
    frozen = array.copy()
    frozen.flags.writeable = False
    yield "read-only", frozen
    yield "nested lists", array.tolist()
    yield "a wider dtype", array.astype(np.longdouble)
    if array.ndim > 1:
        yield "transposed memory", np.moveaxis(np.moveaxis(array, 0, -1).copy(), -1, 0)


def on_isa(net: LSTM, isa: str) -> LSTM:
    """A copy of `net` that runs on another instruction set of this CPU."""
    return type(net).from_core(net.core.on_isa(isa))
