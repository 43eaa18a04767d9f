"""sigmoid and tanh of the micro-kernels: error, order, specials, the same bits on every ISA.

A subnormal counts as zero, as an argument and as a result. The error of a result is counted in ULP of the
exact value: the spacing of the dtype's numbers at the exact value, which is not rounded first.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
from support import DTYPES, EACH_ISA, assert_same_bits

from lstm import _kernel

NAMES = ("sigmoid", "tanh")

# The largest error in ULP, rounded up: of float32 what --exhaustive finds, of float64 what 2e8 random
# arguments gave, most of them where it is large.
MOST_ULP = {
    ("sigmoid", np.float32): 1.70,
    ("tanh", np.float32): 1.31,
    ("sigmoid", np.float64): 1.73,
    ("tanh", np.float64): 1.33,
}

# Where the computation changes its course: the split of tanh, ends of clamps, odd multiples of
# ln(2) / 2, at which the exponent of exp steps, and the last arguments whose results differ from the limit.
# And where the largest errors are: of tanh near 0.5625, of sigmoid near 1.1.
HALF_STEPS = [k * np.log(2) / 2 for k in range(1, 106, 2)]
LARGEST_ERRORS = {np.float32: [0.56544083, 1.1046847], np.float64: [0.5633241108054305, 1.098654013176572]}
ENDS = {
    np.float32: [0.5625, 1.0, 9.01, 9.05, 16.6, 17.3, 30.0, 87.33655, 87.9, 88.72, 104.0],
    np.float64: [0.5625, 1.0, 18.7, 19.06, 19.25, 36.7, 37.4, 60.0, 708.3964185322641, 709.0, 745.2],
}

# The type in which the exact values are computed, of at least 11 bits more than the dtype.
WIDER: dict[Any, Any] = {np.float32: np.float64, np.float64: np.longdouble}
needs_longdouble = pytest.mark.skipif(
    np.finfo(np.longdouble).nmant < 63, reason="long double is no wider than double here"
)
EACH_DTYPE = [np.float32, pytest.param(np.float64, marks=needs_longdouble)]


def computed(name: str, x: np.ndarray, isa: str) -> np.ndarray:
    y = np.full_like(x, np.nan)
    getattr(_kernel, name)(x, y, isa)
    return y


def exact(name: str, x: np.ndarray) -> np.ndarray:
    wide = x.astype(WIDER[x.dtype.type])
    if name == "tanh":
        return np.tanh(wide)
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(-wide))


def errors(y: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Error of each y in ULP. A zero may stand for any number up to the smallest normal one."""
    limits = np.finfo(y.dtype)
    size = np.abs(expected)
    difference = np.where(y == 0, np.maximum(size - limits.smallest_normal, 0), np.abs(y - expected))
    _, exponent = np.frexp(np.maximum(size, limits.smallest_normal))
    return np.ldexp(difference, limits.nmant + 1 - exponent)


def numbers(first: int, last: int, step: int, dtype: Any) -> np.ndarray:
    """Every `step`-th number in order of value. Number 0 is +0, 1 the smallest subnormal, -1 its negative."""
    place = np.arange(first, last, step, np.int64)
    bits = np.dtype(dtype).itemsize * 8
    sign = np.where(place < 0, np.uint64(1 << (bits - 1)), np.uint64(0))
    return (np.abs(place).astype(np.uint64) | sign).astype(f"u{bits // 8}").view(dtype)


def place_of(x: float, dtype: Any) -> int:
    """The number of a positive x, as `numbers` counts."""
    return int(np.array(x, dtype).view(f"i{np.dtype(dtype).itemsize}"))


@functools.cache
def sample(dtype: Any) -> np.ndarray:
    """Numbers from -inf to inf in order: spread over the whole line, and all those around the turns."""
    end = place_of(np.inf, dtype)
    count, around = (2 * end // 997, 2000) if dtype is np.float32 else (400_000, 500)
    parts = [numbers(-end, end + 1, 2 * end // count, dtype)]
    if dtype is np.float64:  # half the bit patterns are of numbers whose results are trivial
        parts += [np.linspace(-45, 45, 600_001), np.linspace(-760, -40, 100_001)]
    limits = np.finfo(dtype)
    turns = [0.0, limits.smallest_normal, limits.eps, limits.max, *HALF_STEPS]
    turns += LARGEST_ERRORS[dtype] + ENDS[dtype]
    for turn in turns:
        middle = place_of(turn, dtype)
        low, high = middle - around, min(middle + around, end + 1)
        parts += [numbers(low, high, 1, dtype), numbers(1 - high, 1 - low, 1, dtype)]
    return np.unique(np.concatenate(parts))


@functools.cache
def exact_sample(name: str, dtype: Any) -> np.ndarray:
    return exact(name, sample(dtype))


@pytest.mark.parametrize("dtype", EACH_DTYPE)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("isa", EACH_ISA)
def test_error(isa: str, name: str, dtype: Any) -> None:
    x = sample(dtype)
    error = errors(computed(name, x, isa), exact_sample(name, dtype))
    worst = error.argmax()
    print(f"{name} {x.dtype} {isa}: {error[worst]:.4f} ULP at {x[worst]!r}")
    assert error[worst] <= MOST_ULP[name, dtype], f"at {x[worst]!r}"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("isa", EACH_ISA)
def test_rises_with_its_argument(isa: str, name: str, dtype: Any) -> None:
    x = sample(dtype)
    y = computed(name, x, isa)
    falls = np.flatnonzero(~(y[1:] >= y[:-1]))
    assert falls.size == 0, f"{falls.size} times, first at {x[falls[0]]!r}"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("isa", EACH_ISA)
def test_no_result_is_subnormal(isa: str, name: str, dtype: Any) -> None:
    y = computed(name, sample(dtype), isa)
    assert not ((y != 0) & (np.abs(y) < np.finfo(dtype).smallest_normal)).any()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("isa", EACH_ISA)
def test_exact_values(isa: str, dtype: Any) -> None:
    tiny = np.finfo(dtype).smallest_subnormal
    x = np.array([-np.inf, -tiny, -0.0, 0.0, tiny, np.inf], dtype)
    assert_same_bits(computed("sigmoid", x, isa), np.array([0.0, 0.5, 0.5, 0.5, 0.5, 1.0], dtype))
    assert_same_bits(computed("tanh", x, isa), np.array([-1.0, -0.0, -0.0, 0.0, 0.0, 1.0], dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("isa", EACH_ISA)
def test_nan_gives_nan(isa: str, name: str, dtype: Any) -> None:
    past_inf = place_of(np.inf, dtype) + 1
    count = (1 << np.finfo(dtype).nmant) - 1
    first = np.concatenate(
        [
            numbers(past_inf, past_inf + 100, 1, dtype),
            numbers(past_inf, past_inf + count, count // 999, dtype),
        ]
    )
    x = np.concatenate([first, np.negative(first)])
    assert np.isnan(x).all()
    assert np.isnan(computed(name, x, isa)).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("isa", EACH_ISA)
def test_same_bits_on_every_isa(isa: str, name: str, dtype: Any) -> None:
    x = sample(dtype)
    assert_same_bits(computed(name, x, isa), computed(name, x, "generic"))


@pytest.mark.usefixtures("exhaustive")
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("isa", EACH_ISA)
def test_every_float32(isa: str, name: str) -> None:
    """Error, order and range over the whole line; of NaNs, that they stay."""
    smallest = np.finfo(np.float32).smallest_normal
    end, chunk = place_of(np.inf, np.float32), 1 << 16  # a chunk's arrays stay in the cache
    largest, worst, count, falls, subnormal, before = 0.0, np.float32(0), 0, 0, 0, np.float32(-np.inf)
    for first in range(-end, end + 1, chunk):
        x = numbers(first, min(first + chunk, end + 1), 1, np.float32)
        y = computed(name, x, isa)
        error = errors(y, exact(name, x))
        k = error.argmax()
        if error[k] > largest:
            largest, worst = error[k], x[k]
        falls += np.count_nonzero(~(y[1:] >= y[:-1])) + int(not y[0] >= before)
        subnormal += np.count_nonzero((y != 0) & (np.abs(y) < smallest))
        before = y[-1]
        count += x.size
    nans_end = 1 << 31
    for first in range(end + 1, nans_end, chunk):
        x = numbers(first, min(first + chunk, nans_end), 1, np.float32)
        assert np.isnan(computed(name, x, isa)).all()
        assert np.isnan(computed(name, np.negative(x), isa)).all()
        count += 2 * x.size
    assert count + 1 == 1 << 32  # -0 is in test_exact_values
    print(f"{name} {isa}: {largest:.4f} ULP at {float(worst).hex()} ({worst!r}), {falls} falls")
    assert largest <= MOST_ULP[name, np.float32], f"at {worst!r}"
    assert falls == 0
    assert subnormal == 0
