"""The same bits whichever way a net is run: by steps or chunks, alone or in a batch, on every ISA.

Each result is held to one whole call on the default ISA.

Shapes: B batch, T time, I input, H hidden.
"""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from support import (
    DTYPES,
    EACH_ISA,
    FP_FLAGS,
    FP_FLUSH,
    FP_MASKS,
    FP_UPWARD,
    TESTS,
    assert_same_bits,
    mxcsr,
    needs_mxcsr,
    on_isa,
    random_case,
    random_net,
)

from lstm import LSTM, Stream, _kernel


class Result(NamedTuple):
    """Y (B, T, H), h and C (B, H) after the last step."""

    Y: np.ndarray
    h: np.ndarray
    C: np.ndarray


Way = Callable[[LSTM, np.ndarray, np.ndarray, np.ndarray], Result]


class Shape(NamedTuple):
    B: int
    T: int
    I: int  # noqa: E741
    H: int

    def __str__(self) -> str:
        return "x".join(map(str, self))


def shapes(dtype: Any) -> list[Shape]:
    """Shapes around the edges of tiles and blocks."""
    hidden = {1, 2}
    for isa in _kernel.SUPPORTED_ISAS:
        lanes, _, panels = _kernel.tile_limits(isa, np.dtype(dtype).name)
        for edge in (lanes, 2 * lanes, lanes * panels, 2 * lanes * panels):
            hidden |= {edge - 1, edge, edge + 1}
    hidden.discard(0)
    # Depths around the blocks of the sum; batches around the row tiles, the rows from which x products are
    # done step by step (16) and those of one pass (96).
    depths = [1, 2, 3, 127, 128, 129, 257]
    batches = [1, 2, 3, 5, 6, 7, 12, 13, 16, 17, 31, 32, 95, 96, 97, 200]
    found = [Shape(1, 3, depths[k % len(depths)], H) for k, H in enumerate(sorted(hidden))]
    found += [Shape(2 + k % 6, 2, depths[(k + 3) % len(depths)], H) for k, H in enumerate(sorted(hidden))]
    found += [Shape(1, 3, 3, H) for H in (127, 128, 129, 257)]
    found += [Shape(7, 2, 3, H) for H in (127, 128, 129, 257)]
    found += [Shape(B, 2 + B % 2, 5, 17) for B in batches]
    found += [Shape(B, T, 3, 5) for B in (0, 1, 3) for T in (0, 1, 2, 3)]
    # Several blocks of time: the sums of one take up to SUMS_BYTES, 16 bytes a unit, row and step at least.
    found += [Shape(1, 4200, 2, 5), Shape(3, 1900, 129, 3), Shape(15, 400, 2, 5)]
    # Wide inputs (wide_inputs.pxd): tails of one vector and of two, none, several blocks of time.
    found += [Shape(3, 44, 1100, 50), Shape(5, 28, 1030, 72), Shape(4, 40, 1100, 64)]
    found += [Shape(1, 130, 1024, 50), Shape(15, 44, 260, 72)]
    # Few rows, but so many units that a block of time is one step.
    found += [Shape(15, 2, 3, 560 if dtype is np.float32 else 280)]
    return found


CASES = [
    pytest.param(dtype, shape, id=f"{np.dtype(dtype).name}-{shape}")
    for dtype in DTYPES
    for shape in shapes(dtype)
]


@functools.cache
def net_of(dtype: Any, shape: Shape, isa: str) -> LSTM:
    return on_isa(random_net(np.random.default_rng(shape), shape.I, shape.H, dtype), isa)


@functools.cache
def case_of(dtype: Any, shape: Shape) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    arrays = random_case(np.random.default_rng(shape), *shape, dtype)
    for array in arrays:
        array.flags.writeable = False
    return arrays


@functools.cache
def whole_result(dtype: Any, shape: Shape) -> Result:
    return whole(net_of(dtype, shape, _kernel.DEFAULT_ISA), *case_of(dtype, shape))


def assert_same(result: Result, expected: Result, what: str = "") -> None:
    for name, array in result._asdict().items():
        assert_same_bits(array, getattr(expected, name), f"{name} {what}")


# ---- ways to run a net


def whole(net: LSTM, X: np.ndarray, h: np.ndarray, C: np.ndarray) -> Result:
    Y, (h, C) = net.forward_sequence(X, h, C, return_state=True)
    return Result(Y, h, C)


def single_steps(net: LSTM, X: np.ndarray, h: np.ndarray, C: np.ndarray) -> Result:
    Y = np.empty((*X.shape[:2], net.hidden_size), X.dtype)
    for t in range(X.shape[1]):
        h, C = net.forward(X[:, t], h, C)
        Y[:, t] = h
    return Result(Y, h, C)


def chunks(net: LSTM, X: np.ndarray, h: np.ndarray, C: np.ndarray) -> Result:
    rng = np.random.default_rng(X.shape)
    outputs = [np.empty((X.shape[0], 0, net.hidden_size), X.dtype)]
    ends = np.sort(rng.integers(0, X.shape[1] + 1, 4))
    for chunk in np.split(X, ends, axis=1):  # one may be empty
        Y, h, C = whole(net, chunk, h, C)
        outputs.append(Y)
    return Result(np.concatenate(outputs, axis=1), h, C)


def joined(parts: list[Result], like: Result) -> Result:
    return Result(
        *(np.concatenate([empty[:0], *arrays]) for empty, *arrays in zip(like, *parts, strict=True))
    )


def rows_alone(net: LSTM, X: np.ndarray, h: np.ndarray, C: np.ndarray) -> Result:
    parts = []
    for x, *state in zip(X, h, C, strict=True):
        Y, (h_n, C_n) = net.forward_sequence(x, *state, return_state=True)
        parts.append(Result(Y[None], h_n[None], C_n[None]))
    return joined(parts, Result(np.empty((0, X.shape[1], net.hidden_size), X.dtype), h, C))


def steps_of_columns(net: LSTM, X: np.ndarray, h: np.ndarray, C: np.ndarray) -> Result:
    """Each row alone, x (I, 1) and the states (H, 1)."""
    Y = np.empty((*X.shape[:2], net.hidden_size), X.dtype)
    h, C = h.copy(), C.copy()
    for b, row in enumerate(X):
        column, cell = h[b, :, np.newaxis], C[b, :, np.newaxis]
        for t, x in enumerate(row):
            column, cell = net.forward(x[:, np.newaxis], column, cell)
            Y[b, t] = column[:, 0]
        h[b], C[b] = column[:, 0], cell[:, 0]
    return Result(Y, h, C)


def stream_of(net: LSTM, h: np.ndarray, C: np.ndarray) -> Stream:
    stream = net.stream(len(h))
    stream.h[...], stream.C[...] = h, C
    return stream


def stream_by_steps(net: LSTM, X: np.ndarray, h: np.ndarray, C: np.ndarray) -> Result:
    stream = stream_of(net, h, C)
    Y = np.empty((*X.shape[:2], net.hidden_size), X.dtype)
    for t in range(X.shape[1]):
        if t % 2:
            Y[:, t] = stream.step(X[:, t])
        else:  # contiguous arrays take another way than others
            stream.step(X[:, t].copy(), out=Y[:, t])
    return Result(Y, stream.h[0], stream.C[0])


def stream_by_steps_and_chunks(net: LSTM, X: np.ndarray, h: np.ndarray, C: np.ndarray) -> Result:
    stream = stream_of(net, h, C)
    first = [stream.step(X[:, t].copy())[:, np.newaxis] for t in range(min(2, X.shape[1]))]
    Y = np.concatenate([*first, stream.run(X[:, 2:])], axis=1)
    return Result(Y, stream.h[0], stream.C[0])


def stream_of_each_row(net: LSTM, X: np.ndarray, h: np.ndarray, C: np.ndarray) -> Result:
    Y = np.empty((*X.shape[:2], net.hidden_size), X.dtype)
    h, C = h.copy(), C.copy()
    for b, row in enumerate(X):
        stream = net.stream()
        stream.h[...], stream.C[...] = h[b], C[b]
        for t, x in enumerate(row):
            assert stream.step(x, out=Y[b, t]) is not None
        h[b], C[b] = stream.h[0], stream.C[0]
    return Result(Y, h, C)


def batch_in_two(net: LSTM, X: np.ndarray, h: np.ndarray, C: np.ndarray) -> Result:
    cut = (2 * X.shape[0] + 2) // 3
    parts = [whole(net, X[rows], h[rows], C[rows]) for rows in (slice(cut), slice(cut, None))]
    return joined(parts, parts[0])


def batch_permuted(net: LSTM, X: np.ndarray, h: np.ndarray, C: np.ndarray) -> Result:
    order = np.random.default_rng(X.shape).permutation(X.shape[0])
    return Result(*(array[np.argsort(order)] for array in whole(net, X[order], h[order], C[order])))


def time_outermost(net: LSTM, X: np.ndarray, h: np.ndarray, C: np.ndarray) -> Result:
    out = np.empty((X.shape[1], X.shape[0], net.hidden_size), X.dtype).transpose(1, 0, 2)
    Y, state = net.forward_sequence(
        X.transpose(1, 0, 2).copy().transpose(1, 0, 2), h, C, return_state=True, out=out
    )
    assert Y is out
    return Result(Y, *state)


def every_axis_reversed(net: LSTM, X: np.ndarray, h: np.ndarray, C: np.ndarray) -> Result:
    return whole(net, *(np.flip(np.flip(array).copy()) for array in (X, h, C)))


def inside_wider_arrays(net: LSTM, X: np.ndarray, h: np.ndarray, C: np.ndarray) -> Result:
    """Input and output have gaps on every axis; those of the output must stay as they are."""
    batch, time, _ = X.shape
    wide = np.full((2 * batch, 3 * time, net.input_size + 3), np.nan, X.dtype)
    wide[::2, 1::3, 1:-2] = X
    memory = np.full((2 * batch, 3 * time, net.hidden_size + 3), np.nan, X.dtype)
    out, before = memory[1::2, ::3, 2:-1], memory.copy()
    Y, state = net.forward_sequence(wide[::2, 1::3, 1:-2], h, C, return_state=True, out=out)
    assert Y is out
    result = Result(Y.copy(), *state)
    out[...] = np.nan
    assert_same_bits(memory, before, "around out")
    return result


def every_second_feature(net: LSTM, X: np.ndarray, h: np.ndarray, C: np.ndarray) -> Result:
    wide = np.repeat(X, 2, axis=2)
    out = np.empty((*X.shape[:2], 2 * net.hidden_size), X.dtype)[..., ::2]
    Y, state = net.forward_sequence(wide[..., ::2], h, C, return_state=True, out=out)
    return Result(Y, *state)


WAYS: dict[str, Way] = {
    way.__name__: way
    for way in (
        whole,
        single_steps,
        chunks,
        rows_alone,
        steps_of_columns,
        stream_by_steps,
        stream_by_steps_and_chunks,
        stream_of_each_row,
        batch_in_two,
        batch_permuted,
        time_outermost,
        every_axis_reversed,
        inside_wider_arrays,
        every_second_feature,
    )
}


def can_run(way: str, shape: Shape) -> bool:
    """Whether a way can take this shape: a stream has rows."""
    return shape.B > 0 or not way.startswith("stream_by")


@pytest.mark.parametrize(
    ("way", "dtype", "shape"),
    [
        pytest.param(way, *case.values, id=f"{name}-{case.id}")
        for name, way in WAYS.items()
        for case in CASES
        if can_run(name, case.values[1])
    ],
)
@pytest.mark.parametrize("isa", EACH_ISA)
def test_every_way_of_running(isa: str, way: Way, dtype: Any, shape: Shape) -> None:
    result = way(net_of(dtype, shape, isa), *case_of(dtype, shape))
    assert_same(result, whole_result(dtype, shape))


@pytest.mark.parametrize(("dtype", "shape"), CASES)
@pytest.mark.parametrize("isa", EACH_ISA)
def test_states_without_outputs(isa: str, dtype: Any, shape: Shape) -> None:
    X, h, C = (array.copy() for array in case_of(dtype, shape))
    _kernel.forward_sequence(net_of(dtype, shape, isa).core.cells[0], X, h, C, None)
    expected = whole_result(dtype, shape)
    assert_same_bits(h, expected.h)
    assert_same_bits(C, expected.C)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("isa", EACH_ISA)
def test_one_row_repeated(isa: str, dtype: Any) -> None:
    """An input with strides of zero: every row of the batch is the same memory."""
    net = net_of(dtype, Shape(1, 4, 5, 17), isa)
    X, h, C = case_of(dtype, Shape(1, 4, 5, 17))
    alone = whole(net, X, h, C)
    many = [np.broadcast_to(array, (101, *array.shape[1:])) for array in (X, h, C)]
    assert_same(whole(net, *many), Result(*(np.repeat(array, 101, axis=0) for array in alone)))


# ---- NaN and infinity

NANS = {
    np.float32: {"NaN": 0x7FC00000, "-NaN": 0xFFC00000, "signalling": 0x7F800001, "payload": 0xFFDABCDE},
    np.float64: {
        "NaN": 0x7FF8000000000000,
        "-NaN": 0xFFF8000000000000,
        "signalling": 0x7FF0000000000001,
        "payload": 0xFFFABCDEF0123456,
    },
}
POISONS = [
    pytest.param(
        dtype, np.array(bits, f"u{np.dtype(dtype).itemsize}").view(dtype), id=f"{np.dtype(dtype).name}-{name}"
    )
    for dtype in DTYPES
    for name, bits in NANS[dtype].items()
] + [
    pytest.param(dtype, np.array(sign * np.inf, dtype), id=f"{np.dtype(dtype).name}-{sign}inf")
    for dtype in DTYPES
    for sign in (1, -1)
]


def poisoned(where: str, row: int, value: np.ndarray, case: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
    """The arrays of a case, with one number of one row replaced: of X at step 1."""
    X, h, C = (array.copy() for array in case)
    {"X": X[:, 1], "h0": h, "C0": C}[where][row, 1] = value
    return X, h, C


@pytest.mark.parametrize(("dtype", "value"), POISONS)
@pytest.mark.parametrize("where", ["X", "h0", "C0"])
@pytest.mark.parametrize("isa", EACH_ISA)
def test_nan_or_infinity_in_one_row(isa: str, where: str, dtype: Any, value: np.ndarray) -> None:
    shape = Shape(13, 4, 5, 17)
    for row in (0, 4, 12):
        case = poisoned(where, row, value, case_of(dtype, shape))
        result = whole(net_of(dtype, shape, isa), *case)
        others = np.arange(shape.B) != row
        assert_same(
            Result(*(array[others] for array in result)),
            Result(*(array[others] for array in whole_result(dtype, shape))),
            f"other than row {row}",
        )
        generic = net_of(dtype, shape, "generic")
        assert_same(result, whole(generic, *case), "on generic")
        for way in (rows_alone, single_steps, stream_by_steps, batch_permuted):
            assert_same(result, way(net_of(dtype, shape, isa), *case), way.__name__)
        # From the step after it reached one unit, NaN is in all of them; infinity saturates the gates.
        assert np.isnan(result.Y[row, 2:]).all() == np.isnan(value)
        assert np.isnan(result.Y[row]).any() == np.isnan(value)


@pytest.mark.parametrize(("dtype", "value"), POISONS)
@pytest.mark.parametrize("name", ["weight_ih_l0", "weight_hh_l0", "bias_ih_l0"])
def test_nan_or_infinity_in_a_weight(name: str, dtype: Any, value: np.ndarray) -> None:
    shape = Shape(7, 4, 5, 17)
    state = net_of(dtype, shape, "generic").state_dict()
    state[name].ravel()[3] = value
    with np.errstate(invalid="ignore"):  # the two biases are added, one of them signalling
        net = LSTM.from_state_dict(state)
    results = [whole(on_isa(net, isa), *case_of(dtype, shape)) for isa in _kernel.SUPPORTED_ISAS]
    for result in results:
        assert_same(result, results[0])
    assert_same(single_steps(net, *case_of(dtype, shape)), results[0])


# ---- subnormal numbers


def amplified(place: str, numbers: np.ndarray, dtype: Any) -> tuple[LSTM, tuple[np.ndarray, ...]]:
    """A net and a case that are zero but for `numbers` in one place and large factors for them.

    The factors lift a subnormal far into the normal range, where it would be seen.
    """
    rng = np.random.default_rng(0)
    shape = Shape(7, 3, 5, 17)
    large = np.ldexp(1.0, np.finfo(dtype).nmant + 20)
    arrays = {
        "X": np.zeros((shape.B, shape.T, shape.I)),
        "h0": np.zeros((shape.B, shape.H)),
        "C0": np.zeros((shape.B, shape.H)),
        "weight_ih_l0": np.zeros((4 * shape.H, shape.I)),
        "weight_hh_l0": np.zeros((4 * shape.H, shape.H)),
        "bias_ih_l0": np.zeros(4 * shape.H),
        "bias_hh_l0": np.zeros(4 * shape.H),
    }
    factor = {"X": "weight_ih_l0", "h0": "weight_hh_l0", "weight_ih_l0": "X", "weight_hh_l0": "h0"}.get(place)
    if factor is not None:
        arrays[factor] = large * rng.uniform(0.5, 1, arrays[factor].shape)
    arrays = {name: array.astype(dtype) for name, array in arrays.items()}
    arrays[place] = np.resize(numbers, arrays[place].shape)
    net = LSTM.from_state_dict({name: array for name, array in arrays.items() if "_l0" in name})
    return net, (arrays["X"], arrays["h0"], arrays["C0"])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("place", ["X", "h0", "C0", "weight_ih_l0", "weight_hh_l0", "bias_ih_l0"])
@pytest.mark.parametrize("isa", EACH_ISA)
def test_subnormals_count_as_zero(isa: str, place: str, dtype: Any) -> None:
    limits = np.finfo(dtype)
    unsigned = np.dtype(f"u{np.dtype(dtype).itemsize}")
    largest = int(limits.smallest_normal.view(unsigned)) - 1
    bits = np.random.default_rng(1).integers(1, largest, 200, unsigned, endpoint=True)
    subnormal = np.concatenate([bits, [unsigned.type(largest), unsigned.type(1)]]).view(dtype)
    subnormal[::3] *= -1
    net, case = amplified(place, subnormal, dtype)
    zero_net, zero_case = amplified(place, np.copysign(0, subnormal).astype(dtype), dtype)
    result = whole(on_isa(net, isa), *case)
    assert_same(result, whole(on_isa(zero_net, isa), *zero_case))
    assert not result.Y.any()
    # The smallest normal number is none of them.
    if place not in ("C0", "bias_ih_l0"):
        net, case = amplified(place, np.array([limits.smallest_normal]), dtype)
        assert whole(on_isa(net, isa), *case).Y[:, 0].all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("isa", EACH_ISA)
def test_decaying_state_becomes_zero(isa: str, dtype: Any) -> None:
    """With gates of one half and nothing coming in, C is halved exactly until it would be subnormal."""
    hidden_size = 17
    last_power = -int(np.finfo(dtype).minexp)
    state = {name: np.zeros_like(w) for name, w in LSTM(3, hidden_size, dtype=dtype).state_dict().items()}
    net = on_isa(LSTM.from_state_dict(state), isa)
    X, h = np.ones((5, 1, 3), dtype), np.ones((5, hidden_size), dtype)
    C = np.ones((5, hidden_size), dtype)
    C[:, ::2] = -1
    sign = C.copy()
    for t in range(1, last_power + 4):
        _, h, C = whole(net, X, h, C)
        np.testing.assert_array_equal(C, sign * dtype(2.0**-t if t <= last_power else 0), f"step {t}")
        if t >= 30:  # tanh(C) is C, and h half of it
            np.testing.assert_array_equal(h, sign * dtype(2.0 ** -(t + 1) if t < last_power else 0))


# ---- the thread's floating-point mode

MODES = {
    "downward": FP_MASKS | 0x2000,
    "upward": FP_MASKS | FP_UPWARD,
    "toward zero": FP_MASKS | 0x6000,
    "flags set": FP_MASKS | FP_FLAGS,
    "flush": FP_MASKS | FP_FLUSH,
    "upward, flush, flags": FP_MASKS | FP_UPWARD | FP_FLUSH | FP_FLAGS,
}


@needs_mxcsr
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("isa", EACH_ISA)
def test_bits_do_not_depend_on_the_mode(isa: str, dtype: Any, mode: str) -> None:
    for shape in (Shape(1, 3, 5, 17), Shape(7, 3, 129, 16), Shape(17, 3, 5, 17)):
        net, case = net_of(dtype, shape, isa), case_of(dtype, shape)
        with mxcsr(MODES[mode]):
            result, steps = whole(net, *case), single_steps(net, *case)
        assert_same(result, whole_result(dtype, shape))
        assert_same(steps, whole_result(dtype, shape), "by single steps")


def run_script(script: str, **environment: str) -> str:
    """What a new Python prints that runs `script` in the folder of the support modules."""
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        cwd=TESTS,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, f"exit status {done.returncode}: {done.stderr}"
    return done.stdout


@needs_mxcsr
def test_no_trap_in_the_kernel() -> None:
    """A caller who lets floating-point exceptions trap gets none from the kernel."""
    script = """
import numpy as np
from support import mxcsr
from lstm import LSTM
for dtype in (np.float32, np.float64):
    net = LSTM(3, 17, dtype=dtype, rng=0)
    X = np.full((7, 3, 3), np.inf, dtype)
    X[0] = np.array(1, f"u{X.itemsize}").view(dtype)
    X[1].view(f"u{X.itemsize}")[:] = np.array(np.inf, dtype).view(f"u{X.itemsize}") + 1
    with mxcsr(0x1000):  # all trap but the inexact result, which Python itself may have
        Y = net.forward_sequence(X)
    assert np.isnan(Y[1:]).all()
print("no trap")
"""
    assert run_script(script) == "no trap\n"


def test_software_fma() -> None:
    """Where the CPU has no fused multiply-add, the C library computes it for "generic": the same bits."""
    script = """
import hashlib
import numpy as np
from support import on_isa, random_case, random_net
for dtype in (np.float32, np.float64):
    rng = np.random.default_rng(0)
    net = on_isa(random_net(rng, 131, 17, dtype), "generic")
    case = random_case(rng, 3, 20, 131, 17, dtype)
    Y, state = net.forward_sequence(*case, return_state=True)
    print(hashlib.sha256(b"".join(a.tobytes() for a in (Y, *state))).hexdigest())
"""
    without_fma = run_script(script, GLIBC_TUNABLES="glibc.cpu.hwcaps=-FMA,-FMA4,-AVX2,-AVX512F")
    assert without_fma == run_script(script)
