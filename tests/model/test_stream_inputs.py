"""What a stream takes: numbers of any kind, chunks into `out`, samples without an axis of features.

Shapes: B batch, T time, I input, H hidden, L layers.
"""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
from support import DTYPES, assert_same_bits, needs_mxcsr

from lstm import LSTM, Stream, _kernel

INPUT, HIDDEN, BATCH, TIME = 5, 18, 3, 7
FLOATS = ["float64", "float32", "float16", "longdouble"]
INTEGERS = ["int64", "int32", "int16", "int8", "uint64", "uint32", "uint16", "uint8"]


def net_of(dtype: Any, layers: int = 1, input_size: int = INPUT, backend: Any = "native") -> LSTM:
    return LSTM(input_size, HIDDEN, num_layers=layers, dtype=dtype, rng=0, backend=backend)


def numbers(kind: str, *shape: int) -> np.ndarray:
    """Random numbers of one dtype, of floats with what overflows, is subnormal and is none."""
    rng = np.random.default_rng(1)
    if np.dtype(kind).kind == "f":
        values = rng.standard_normal(shape).astype(kind)
        values.flat[:5] = [np.inf, np.finfo(kind).tiny / 2, -0.0, np.finfo(kind).max, 2049]
        return values
    if kind == "bool":
        return rng.integers(0, 2, shape).astype(kind)
    limits = np.iinfo(kind)
    values = rng.integers(limits.min // 2, limits.max // 2, shape, kind)
    values.flat[:2] = [limits.min, limits.max]
    return values


def state_bits(stream: Stream) -> tuple[bytes, bytes]:
    return stream.h.tobytes(), stream.C.tobytes()


@pytest.mark.parametrize("batch", [None, BATCH])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", [*FLOATS, *INTEGERS, "bool"])
@pytest.mark.filterwarnings("error")
def test_steps_of_any_numbers(kind: str, dtype: Any, batch: int | None) -> None:
    """The bits of the checked path, which NumPy converts for: of the same numbers with strides."""
    x = numbers(kind, *(() if batch is None else (batch,)), INPUT)
    apart = np.stack([x, x], axis=-1)[..., 0]
    assert not apart.flags.c_contiguous
    streams = [net_of(dtype).stream(batch) for _ in range(2)]
    for stream in streams:
        stream.h[...], stream.C[...] = 0.25, -0.5
    assert_same_bits(streams[0].step(x), streams[1].step(apart))
    assert state_bits(streams[0]) == state_bits(streams[1])


LISTS: list[Any] = [
    [1.0, -2.5, 3e40, 1e-42, float("nan")],
    [1, 2, -3, 1 << 53, (1 << 53) + 1],
    [1, 0.1, 16777217, -0.0, 1 << 60],
    [True, False, 1, 2, 3],
    [np.float32(0.1), np.float64(0.1), 1, 2.5, np.int8(3)],
    (0.5, 1, 2, 3, 1 << 63),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("x", LISTS)
def test_steps_of_lists(x: Any, dtype: Any) -> None:
    streams = [net_of(dtype).stream() for _ in range(2)]
    assert_same_bits(streams[0].step(x), streams[1].step(np.asarray(x)))
    assert state_bits(streams[0]) == state_bits(streams[1])


@pytest.mark.parametrize(
    "x",
    [[], [1.0] * 4, [1.0] * 6, [1.0, 2.0, 3.0, 4.0, "5"], [1.0, 2.0, 3.0, 4.0, None], [1, 2, 3, 4, 1 << 64]],
)
def test_wrong_lists(x: Any) -> None:
    stream = net_of(np.float32).stream()
    before = state_bits(stream)
    with pytest.raises((ValueError, TypeError), match="x "):
        stream.step(x)
    assert state_bits(stream) == before


@needs_mxcsr
def test_conversion_leaves_the_floating_point_mode() -> None:
    stream, out = net_of(np.float32).stream(), np.empty(HIDDEN, np.float32)
    for x in (numbers("float64", INPUT), [1e300, 1e-300, 0.1, 1, 2]):
        before = _kernel.floating_point_mode()
        stream.step(x, out)
        assert _kernel.floating_point_mode() == before


@pytest.mark.parametrize("backend", ["native", "numpy"])
@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("batch", [None, BATCH])
def test_chunks_into_out(batch: int | None, layers: int, backend: str) -> None:
    net = net_of(np.float32, layers, backend=backend)
    shape = (*(() if batch is None else (batch,)), TIME, INPUT)
    X = np.random.default_rng(2).standard_normal(shape, np.float32)
    expected = net.stream(batch).run(X)
    whole = (*shape[:-1], HIDDEN)
    strided = np.zeros((*shape[:-1], 2 * HIDDEN), np.float32)[..., ::2]
    for out in (np.zeros(whole, np.float32), strided):
        stream = net.stream(batch)
        assert stream.run(X, out) is out
        assert_same_bits(np.ascontiguousarray(out), expected)
        assert_same_bits(stream.h[-1], expected[..., -1, :])


def test_a_chunk_over_its_input() -> None:
    net = LSTM(HIDDEN, HIDDEN, dtype=np.float32, rng=0)
    X = np.random.default_rng(3).standard_normal((TIME, HIDDEN), np.float32)
    expected = net.stream().run(X)
    net.stream().run(X, X)
    assert_same_bits(X, expected)


@pytest.mark.parametrize("backend", ["native", "numpy"])
@pytest.mark.parametrize("batch", [None, BATCH])
def test_samples_without_an_axis_of_features(batch: int | None, backend: str) -> None:
    net = net_of(np.float32, input_size=1, backend=backend)
    shape = (*(() if batch is None else (batch,)), TIME)
    X = np.random.default_rng(4).standard_normal(shape, np.float32)
    expected = net.stream(batch).run(X[..., np.newaxis])
    assert_same_bits(net.stream(batch).run(X), expected)
    assert_same_bits(net.stream(batch).run(X.astype(np.float64)), expected)
    assert_same_bits(net.stream(batch).run(X[..., :0]), expected[..., :0, :])
    wrong = np.ones((*shape, 2), np.float32)
    with pytest.raises(ValueError, match=r"this stream takes \((3, )?time, 1\) or \((3, time|time,)\)"):
        net.stream(batch).run(wrong)
    if batch is None:
        with pytest.raises(ValueError, match="X has shape"):
            net.stream().run(np.float32(1))


@pytest.mark.parametrize("backend", ["native", "numpy"])
def test_samples_need_one_feature_a_step(backend: str) -> None:
    with pytest.raises(ValueError, match=r"X has shape \(5,\), but this stream takes \(time, 5\)"):
        net_of(np.float32, backend=backend).stream().run(np.ones(INPUT, np.float32))


@pytest.mark.parametrize("backend", ["native", "numpy"])
@pytest.mark.parametrize(
    "out", [np.ones((TIME, 1)), np.ones((TIME, HIDDEN), np.float64), [0.0], np.ones((1, TIME, HIDDEN))]
)
def test_a_wrong_out_changes_nothing(out: Any, backend: str) -> None:
    stream = net_of(np.float32, backend=backend).stream()
    stream.h[...], stream.C[...] = 0.25, 0.5
    before = state_bits(stream)
    with pytest.raises((ValueError, TypeError), match="out "):
        stream.run(np.ones((TIME, INPUT), np.float32), out)
    assert state_bits(stream) == before


@pytest.mark.parametrize("layers", [1, 2])
def test_chunks_allocate_nothing(layers: int) -> None:
    stream = net_of(np.float32, layers, input_size=1).stream()
    X, out = np.ones(64, np.float32), np.empty((64, HIDDEN), np.float32)
    stream.run(X, out)
    tracemalloc.start()
    for _ in range(100):
        stream.run(X, out)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 2000


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("batch", [None, BATCH])
def test_sequences_of_layers(batch: int | None, reverse: bool, dtype: Any) -> None:
    """The short way of contiguous arrays, the checked way of others, and layer by layer: the same bits."""
    net = LSTM(INPUT, HIDDEN, num_layers=3, reverse=reverse, dtype=dtype, rng=0)
    rng = np.random.default_rng(5)
    rows = () if batch is None else (batch,)
    X = rng.standard_normal((*rows, TIME, INPUT)).astype(dtype)
    states = [rng.standard_normal((3, *rows, HIDDEN)).astype(dtype) for _ in range(2)]
    short = _kernel.everyday_sequence(net.core.cells, X, *states, None, reverse)
    assert short is not None
    Y, (h, C) = net.forward_sequence(np.stack([X, X], axis=-1)[..., 0], *states, return_state=True)
    for found, expected in zip(short, (Y, h, C), strict=True):
        assert_same_bits(found, expected)


def test_long_sequences_of_layers_are_left_to_the_checked_path() -> None:
    cells = LSTM(1, 8, num_layers=2, dtype=np.float32, rng=0).core.cells
    X = np.zeros((1 << 15, 1), np.float32)
    assert _kernel.everyday_sequence(cells, X, None, None, None, False) is None
    assert _kernel.everyday_sequence(cells[:1], X, None, None, None, False) is not None
