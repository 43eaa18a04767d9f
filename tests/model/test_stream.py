"""Streams: the same bits as the whole sequence, the state in the open, nothing lost on an error."""

from __future__ import annotations

import copy
import pickle
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from support import (
    DTYPES,
    FP_FLAGS,
    FP_FLUSH,
    FP_MASKS,
    FP_UPWARD,
    assert_close,
    assert_same_bits,
    awkward_arrays,
    mxcsr,
    needs_mxcsr,
    peak_of,
    random_case,
    random_net,
)

from lstm import LSTM, Stream, _kernel

SIZES = [(3, 5), (1, 1), (20, 33), (130, 40)]
BATCHES = [None, 1, 2, 7, 97]


def one_row(array: np.ndarray, batch: int | None) -> np.ndarray:
    """(B, ...) for a batch, else its one row (...)."""
    return array[0] if batch is None else array


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize(("input_size", "hidden_size"), SIZES)
def test_steps_and_chunks_give_the_bits_of_the_sequence(
    input_size: int, hidden_size: int, batch: int | None, dtype: Any
) -> None:
    rng = np.random.default_rng(1)
    net = random_net(rng, input_size, hidden_size, dtype)
    X, h0, C0 = random_case(rng, batch or 1, 9, input_size, hidden_size, dtype)
    X, h0, C0 = (one_row(array, batch) for array in (X, h0, C0))
    Y, (h_n, C_n) = net.forward_sequence(X, h0[np.newaxis], C0[np.newaxis], return_state=True)
    stream = net.stream(batch)
    stream.h[...], stream.C[...] = h0, C0
    out = np.empty(Y[..., 0, :].shape, dtype)
    parts = [stream.step(X[..., 0, :])[..., np.newaxis, :]]
    parts.append(stream.run(X[..., 1:4, :]))
    assert stream.step(np.ascontiguousarray(X[..., 4, :]), out) is out
    parts.append(out[..., np.newaxis, :])
    parts.append(stream.run(X[..., 5:5, :]))
    parts += [stream.step(X[..., t, :])[..., np.newaxis, :] for t in range(5, 9)]
    assert_same_bits(np.concatenate(parts, axis=-2), Y)
    assert stream.h.shape == h_n.shape
    assert_same_bits(stream.h, h_n)
    assert_same_bits(stream.C, C_n)


@pytest.mark.parametrize("batch", [None, 3])
def test_the_numpy_backend_streams_too(batch: int | None) -> None:
    rng = np.random.default_rng(2)
    native = random_net(rng, 4, 6, np.float64)
    readable = LSTM.from_state_dict(native.state_dict(), backend="numpy")
    X = one_row(rng.standard_normal((batch or 1, 5, 4)), batch)
    streams = native.stream(batch), readable.stream(batch)
    for t in range(3):
        steps = [stream.step(X[..., t, :]) for stream in streams]
        assert_close(steps[0], steps[1])
    chunks = [stream.run(X[..., 3:, :]) for stream in streams]
    assert_close(chunks[0], chunks[1])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch", [None, 3])
def test_awkward_arrays(batch: int | None, dtype: Any) -> None:
    rng = np.random.default_rng(3)
    net = random_net(rng, 4, 6, dtype)
    x = one_row(rng.standard_normal((batch or 1, 4)).astype(dtype), batch)
    expected = net.stream(batch).step(x)
    for name, value in awkward_arrays(x):
        stream = net.stream(batch)
        assert_same_bits(stream.step(value), expected, name)
        strided = np.zeros((*expected.shape[:-1], 2 * expected.shape[-1]), dtype)[..., ::2]
        stream.reset()
        assert stream.step(value, strided) is strided
        assert_same_bits(strided, expected, name)


def test_out_may_be_the_input_or_the_state() -> None:
    rng = np.random.default_rng(4)
    net = random_net(rng, 6, 6, np.float32)
    x = rng.standard_normal(6).astype(np.float32)
    first = net.stream().step(x)
    second = net.stream()
    second.step(x)
    expected = second.step(first)
    stream = net.stream()
    assert_same_bits(stream.step(x, x), first)
    assert_same_bits(stream.step(stream.h[0], stream.h[0]), expected)


def test_reset_starts_anew() -> None:
    rng = np.random.default_rng(5)
    net = random_net(rng, 4, 6, np.float32)
    stream = net.stream(2)
    x = rng.standard_normal((2, 4)).astype(np.float32)
    first = stream.step(x)
    assert stream.step(x).tobytes() != first.tobytes()
    stream.reset()
    assert not stream.h.any()
    assert not stream.C.any()
    assert_same_bits(stream.step(x), first)


@pytest.mark.parametrize("backend", ["native", "numpy"])
def test_new_weights_count_from_the_next_step(backend: Any) -> None:
    rng = np.random.default_rng(6)
    net = random_net(rng, 4, 6, np.float64, backend=backend)
    other = random_net(rng, 4, 6, np.float64)
    x = rng.standard_normal(4)
    stream = net.stream()
    stream.step(x)
    h, C = stream.h[0].copy(), stream.C[0].copy()
    net.load_state_dict(other.state_dict())
    assert_close(stream.step(x), other.forward(x, h, C)[0])


WRONG: list[tuple[str, Callable[[Stream], Any], type[Exception], str]] = [
    ("features", lambda s: s.step(np.ones(5)), ValueError, r"x has shape \(5,\), .*\(4,\)"),
    ("column", lambda s: s.step(np.ones((4, 1))), ValueError, r"x has shape \(4, 1\)"),
    ("scalar", lambda s: s.step(np.array(1.0)), ValueError, r"x has shape \(\)"),
    ("batch", lambda s: s.step(np.ones((1, 4))), ValueError, r"x has shape \(1, 4\)"),
    ("complex", lambda s: s.step(np.ones(4, complex)), TypeError, "x has dtype complex128"),
    ("text", lambda s: s.step("text"), TypeError, "x has dtype"),
    ("out shape", lambda s: s.step(np.ones(4), np.ones(5)), ValueError, r"out has shape \(5,\)"),
    ("out dtype", lambda s: s.step(np.ones(4), np.ones(6, np.float32)), TypeError, "out has dtype float32"),
    ("out list", lambda s: s.step(np.ones(4), [0.0] * 6), TypeError, "out is a list"),
    (
        "out read-only",
        lambda s: s.step(np.ones(4), np.broadcast_to(np.zeros(1), (6,))),
        ValueError,
        "out is read-only",
    ),
    ("chunk features", lambda s: s.run(np.ones((3, 5))), ValueError, r"X has shape \(3, 5\)"),
    ("chunk rank", lambda s: s.run(np.ones(4)), ValueError, r"X has shape \(4,\)"),
    ("chunk batch", lambda s: s.run(np.ones((1, 3, 4))), ValueError, r"X has shape \(1, 3, 4\)"),
    ("chunk complex", lambda s: s.run(np.ones((3, 4), complex)), TypeError, "X has dtype complex128"),
]


@pytest.mark.parametrize("backend", ["native", "numpy"])
@pytest.mark.parametrize(("call", "error", "message"), [w[1:] for w in WRONG], ids=[w[0] for w in WRONG])
def test_wrong_input_leaves_the_state_alone(
    call: Callable[[Stream], Any], error: type[Exception], message: str, backend: Any
) -> None:
    stream = random_net(np.random.default_rng(7), 4, 6, np.float64, backend=backend).stream()
    stream.run(np.ones((2, 4)))
    h, C = stream.h.copy(), stream.C.copy()
    with pytest.raises(error, match=message):
        call(stream)
    assert_same_bits(stream.h, h)
    assert_same_bits(stream.C, C)


@pytest.mark.parametrize("batch_size", [0, -1, 1.5, "2", True])
def test_wrong_batch_size(batch_size: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="batch_size"):
        LSTM(3, 5).stream(batch_size)


def test_a_step_into_out_allocates_nothing() -> None:
    net = random_net(np.random.default_rng(8), 40, 1280, np.float32)
    stream, x, out = net.stream(), np.ones(40, np.float32), np.empty(1280, np.float32)
    assert peak_of(lambda: stream.step(x, out)) < 512
    assert peak_of(lambda: stream.step(x)) >= out.nbytes


def test_many_streams_share_one_net() -> None:
    rng = np.random.default_rng(9)
    net = random_net(rng, 30, 60, np.float32)
    inputs = rng.standard_normal((8, 200, 30)).astype(np.float32)
    found: dict[int, np.ndarray] = {}

    def work(row: int) -> None:
        stream = net.stream()
        found[row] = np.stack([stream.step(x) for x in inputs[row]])

    threads = [threading.Thread(target=work, args=(row,)) for row in range(len(inputs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for row, Y in enumerate(net.forward_sequence(inputs)):
        assert_same_bits(found[row], Y)


@pytest.mark.parametrize("backend", ["native", "numpy"])
@pytest.mark.parametrize("clone", [copy.copy, copy.deepcopy, lambda s: pickle.loads(pickle.dumps(s))])
def test_copies_go_on_by_themselves(clone: Callable[[Stream], Stream], backend: Any) -> None:
    stream = random_net(np.random.default_rng(10), 4, 6, np.float64, backend=backend).stream(2)
    x = np.random.default_rng(11).standard_normal((2, 4))
    stream.step(x)
    other = clone(stream)
    expected = stream.step(x)
    h = stream.h.copy()
    assert_same_bits(other.step(x), expected)
    other.step(x)
    assert_same_bits(stream.h, h)


def test_a_read_only_state_is_not_written() -> None:
    stream = LSTM(4, 6, rng=0).stream(2)
    stream.step(np.ones((2, 4)))
    stream.h.flags.writeable = False
    h, C = stream.h.copy(), stream.C.copy()
    with pytest.raises(ValueError, match="read-only"):
        stream.step(np.ones((2, 4)))
    assert_same_bits(stream.h, h)
    assert_same_bits(stream.C, C)


@pytest.mark.parametrize("shape", [(), (4,), (3, 4), (2, 4, 1), (2, 5), (0, 4)])
def test_wrong_shapes_for_a_stream_of_a_batch(shape: tuple[int, ...]) -> None:
    stream = LSTM(4, 6, rng=0).stream(2)
    with pytest.raises(ValueError, match=r"x has shape .* takes \(2, 4\)"):
        stream.step(np.ones(shape))


@needs_mxcsr
@pytest.mark.parametrize("mode", [FP_MASKS | FP_UPWARD, FP_MASKS | FP_FLAGS, FP_MASKS | FP_FLUSH])
def test_conversions_do_not_depend_on_the_threads_mode(mode: int) -> None:
    net = random_net(np.random.default_rng(12), 4, 6, np.float32)
    X = np.random.default_rng(13).standard_normal((5, 4)) / 3
    expected = net.forward_sequence(X)
    with mxcsr(mode):
        found = net.forward_sequence(X)
        after = _kernel.floating_point_mode()
    assert_same_bits(found, expected)
    assert after == mode


def test_two_threads_in_one_stream_are_told() -> None:
    net = random_net(np.random.default_rng(14), 512, 1024, np.float32)
    stream, x = net.stream(), np.ones(512, np.float32)
    told = threading.Event()
    others: list[Exception] = []

    def work() -> None:
        for _ in range(2000):
            try:
                stream.step(x)
            except Exception as error:
                if "another thread" in str(error):
                    told.set()
                else:
                    others.append(error)
            if told.is_set():
                return

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert told.is_set()
    assert not others
    assert stream.step(x).shape == (1024,)
