"""Streams: the same bits as the whole sequence, the state in the open, nothing lost on an error."""

from __future__ import annotations

import copy
import pickle
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from parity import BATCH, HIDDEN, INPUT, TIME, assert_same_as_plain, bits, flat, out_arrays, outcome, variants
from support import (
    DTYPES,
    FP_FLAGS,
    FP_FLUSH,
    FP_MASKS,
    FP_UPWARD,
    as_backend,
    assert_close,
    assert_same_bits,
    awkward_arrays,
    mxcsr,
    needs_mxcsr,
    peak_of,
    random_case,
    random_net,
)
from variants import assert_nearly_same, make

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


def streamed(net: LSTM, batch_size: int | None, X: np.ndarray, h: np.ndarray, C: np.ndarray) -> Any:
    """Y by two steps, a chunk of none, a chunk and a step of a batch of rows or of one; then the states."""
    stream = net.stream(batch_size)
    stream.h[...], stream.C[...] = h, C
    time = X.shape[-2]
    Y = [stream.step(X[..., t, :])[..., np.newaxis, :] for t in (0, 1)]
    Y += [stream.run(X[..., :0, :]), stream.run(X[..., 2 : time - 1, :])]
    out = np.full(Y[0][..., 0, :].shape, np.nan, net.dtype)
    assert stream.step(X[..., -1, :], out=out) is out
    return np.concatenate([*Y, out[..., np.newaxis, :]], axis=-2), stream.h, stream.C


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch_size", [None, 1, 2, 7, 17])
@pytest.mark.parametrize(("input_size", "hidden_size"), [(1, 1), (3, 18), (5, 33)])
def test_streams(input_size: int, hidden_size: int, batch_size: int | None, dtype: type) -> None:
    """A stream on either backend gives what the whole sequence gives at once."""
    rng = np.random.default_rng(40)
    net = random_net(rng, input_size, hidden_size, dtype)
    X, h0, C0 = random_case(rng, batch_size or 1, TIME, input_size, hidden_size, dtype)
    if batch_size is None:
        X, h0, C0 = X[0], h0[0], C0[0]
    for name, variant in variants(net):
        found = flat(streamed(variant, batch_size, X, h0, C0))
        whole = flat(variant.forward_sequence(X, h0[np.newaxis], C0[np.newaxis], return_state=True))
        for actual, expected in zip(found, whole, strict=True):
            if name == "numpy":
                assert_close(actual, expected, name)
            else:
                assert_same_bits(actual, expected, name)
        assert_close(found[0], as_backend(net, "numpy").forward_sequence(X, h0, C0), name)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batched", [True, False])
def test_awkward_arrays_for_streams(batched: bool, dtype: type) -> None:
    rng = np.random.default_rng(41)
    net = random_net(rng, INPUT, 18, dtype)
    X = random_case(rng, BATCH, TIME, INPUT, 18, dtype)[0]
    if not batched:
        X = X[0]

    def step(net: LSTM, value: Any) -> Any:
        stream = net.stream(BATCH if batched else None)
        return stream.step(value), stream.h, stream.C

    assert_same_as_plain(step, net, X[..., 0, :].copy())
    assert_same_as_plain(lambda net, value: net.stream(BATCH if batched else None).run(value), net, X)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batched", [True, False])
def test_out_of_a_stream(batched: bool, dtype: type) -> None:
    rng = np.random.default_rng(42)
    net = random_net(rng, 17, 17, dtype)
    x = random_case(rng, BATCH, 1, 17, 17, dtype)[0][:, 0]
    if not batched:
        x = x[0]
    for _, variant in variants(net):
        wanted = variant.stream(BATCH if batched else None).step(x)
        for name, make_out in out_arrays(wanted.shape, dtype):
            if not batched and name == "strided on the first axis":
                continue
            out = make_out()
            stream = variant.stream(BATCH if batched else None)
            assert stream.step(x, out=out) is out
            assert_same_bits(out.copy(), wanted, name)
            assert_same_bits(stream.h.reshape(wanted.shape), wanted, name)
        memory = x.copy()
        variant.stream(BATCH if batched else None).step(memory, out=memory)
        assert_same_bits(memory, wanted, "out is x")


WRONG_STEPS: list[tuple[int | None, str, Any, dict[str, Any]]] = [
    *((None, "step", np.ones(shape), {}) for shape in ((), (0,), (INPUT + 1,), (INPUT, 1), (1, INPUT))),
    *((2, "step", np.ones(shape), {}) for shape in ((INPUT,), (1, INPUT), (3, INPUT), (2, INPUT + 1))),
    *((None, "run", np.ones(shape), {}) for shape in ((INPUT,), (4, INPUT + 1), (1, 4, INPUT))),
    *((2, "run", np.ones(shape), {}) for shape in ((4, INPUT), (1, 4, INPUT), (3, 4, INPUT), (2, 4, 1))),
    *((None, method, wrong, {}) for method in ("step", "run") for wrong in (None, "text", [[1.0], 2.0])),
    (None, "step", np.ones(INPUT, complex), {}),
    (2, "run", np.full((2, 4, INPUT), "1"), {}),
    (None, "step", np.ma.ones(INPUT), {}),
    (None, "step", np.ones(INPUT), {"out": np.ones(HIDDEN + 1)}),
    (None, "step", np.ones(INPUT), {"out": np.ones((1, HIDDEN))}),
    (None, "step", np.ones(INPUT), {"out": np.ones(HIDDEN, np.float32)}),
    (None, "step", np.ones(INPUT), {"out": np.broadcast_to(1.0, HIDDEN)}),
    (None, "step", np.ones(INPUT), {"out": [0.0] * HIDDEN}),
    (2, "step", np.ones((2, INPUT)), {"out": np.ones(HIDDEN)}),
]


@pytest.mark.parametrize(("batch_size", "method", "value", "options"), WRONG_STEPS)
def test_wrong_input_of_a_stream(
    batch_size: int | None, method: str, value: Any, options: dict[str, Any]
) -> None:
    """The same exception on both backends; the state and `out` are as before."""
    net = random_net(np.random.default_rng(43), INPUT, HIDDEN, np.float64)
    before = bits(options.get("out"))
    outcomes = set()
    for _, variant in variants(net):
        stream = variant.stream(batch_size)
        stream.h[...], stream.C[...] = 0.25, 0.5
        outcomes.add(outcome(getattr(stream, method), value, **options))
        assert (stream.h == 0.25).all()
        assert (stream.C == 0.5).all()
        assert bits(options.get("out")) == before
    ((kind, message),) = outcomes
    assert kind in ("ValueError", "TypeError"), message
    assert ("out" if options else "x" if method == "step" else "X") in message


def test_new_weights_count_from_the_next_step_on() -> None:
    rng = np.random.default_rng(44)
    net = random_net(rng, INPUT, HIDDEN, np.float64)
    other = random_net(rng, INPUT, HIDDEN, np.float64)
    X = random_case(rng, 1, 2, INPUT, HIDDEN, np.float64)[0][0]
    for _, variant in variants(net):
        stream = variant.stream()
        h, C = variant.forward(X[0], np.zeros(HIDDEN), np.zeros(HIDDEN))
        assert_same_bits(stream.step(X[0]), h)
        variant.load_state_dict(other.state_dict())
        assert_same_bits(stream.step(X[1]), variant.forward(X[1], h, C)[0])


def test_a_stream_starts_again_after_reset() -> None:
    rng = np.random.default_rng(45)
    net = random_net(rng, INPUT, HIDDEN, np.float64)
    X = random_case(rng, 2, TIME, INPUT, HIDDEN, np.float64)[0]
    for _, variant in variants(net):
        stream = variant.stream(2)
        first = stream.run(X)
        assert not np.array_equal(stream.run(X), first)
        stream.reset()
        assert not stream.h.any()
        assert not stream.C.any()
        assert_same_bits(stream.run(X), first)


@pytest.mark.parametrize("backend", ["native", "numpy"])
def test_steps_of_layers_from_awkward_arrays(backend: Any) -> None:
    """What comes out is h of the last layer, by whichever way the step is done."""
    _, mixture = make("one-direction mixture", np.float64, 4)
    net = mixture.net(backend=backend)
    x, state = mixture.X[:, 0].copy(), (mixture.h0, mixture.C0)
    Y, (h_n, C_n) = net.forward_sequence(mixture.X[:, :1], *state, return_state=True)
    same = assert_same_bits if backend == "native" else assert_nearly_same
    for what, array in awkward_arrays(x):
        stream = net.stream(4)
        stream.state = state
        same(stream.step(array), Y[:, 0])
        assert_same_bits(stream.step(x, np.empty((9, 4)).T), net.forward(x, h_n, C_n)[0][-1], what)
        h, C = net.forward(array, *state)
        same(h, h_n)
        same(C, C_n)


@pytest.mark.parametrize("backend", ["native", "numpy"])
def test_a_saved_state_stays_as_it_was(backend: Any) -> None:
    _, mixture = make("one-direction mixture", np.float32, 4)
    stream = mixture.net(backend=backend).stream(4)
    stream.run(mixture.X[:, :2])
    saved = stream.state
    kept = [array.copy() for array in saved]
    first = stream.run(mixture.X[:, 2:])
    for array, before in zip(saved, kept, strict=True):
        assert_same_bits(array, before)
    stream.state = saved
    for array in saved:
        array += 1
    assert_same_bits(stream.run(mixture.X[:, 2:]), first)


@pytest.mark.parametrize("backend", ["native", "numpy"])
def test_rows_of_a_stream_are_reset(backend: str) -> None:
    _, mixture = make("one-direction mixture", np.float32, 4)
    net = mixture.net(backend=backend)
    stream = net.stream(4)
    stream.run(mixture.X)
    h, C = stream.state
    for rows, picked in ((2, [2]), ([0, 3], [0, 3]), (np.array([False, True, False, False]), [1])):
        stream.state = (h, C)
        stream.reset(rows)
        for found, before in ((stream.h, h), (stream.C, C)):
            assert not found[:, picked].any()
            others = [row for row in range(4) if row not in picked]
            assert_same_bits(found[:, others], before[:, others])
    with pytest.raises(IndexError):
        stream.reset(4)
    with pytest.raises(IndexError, match="no batch"):
        net.stream().reset(0)
    stream.reset()
    assert not stream.h.any()
    assert not stream.C.any()


@pytest.mark.parametrize("backend", ["native", "numpy"])
def test_a_stream_goes_on_from_what_forward_gave(backend: str) -> None:
    """States as `forward` returns them for a single row, (H,) and (H, 1), are states of a stream too."""
    net = LSTM(3, 5, rng=0, backend=backend)  # type: ignore[arg-type]
    rng = np.random.default_rng(1)
    x, h, C = rng.standard_normal(3), rng.standard_normal(5), rng.standard_normal(5)
    for shape in ((-1,), (-1, 1)):
        stream = net.stream()
        stream.state = net.forward(x.reshape(shape), h.reshape(shape), C.reshape(shape))
        h_1, C_1 = net.forward(x, h, C)
        assert_same_bits(stream.step(2 * x), net.forward(2 * x, h_1, C_1)[0])


@pytest.mark.parametrize("backend", ["native", "numpy"])
def test_a_wrong_state_changes_nothing(backend: str) -> None:
    _, mixture = make("one-direction mixture", np.float64, 4)
    stream = mixture.net(backend=backend).stream(4)
    stream.run(mixture.X)
    h, C = stream.state
    for wrong, error in (
        ((h + 1, C[:, :3]), ValueError),
        ((C, h), ValueError),
        ((h + 1, C.astype(complex)), TypeError),
        (h, TypeError),
        (None, TypeError),
    ):
        with pytest.raises(error):
            stream.state = wrong
        assert_same_bits(stream.h, h)
        assert_same_bits(stream.C, C)
    again = pickle.loads(pickle.dumps(stream))
    assert_same_bits(again.run(mixture.X), stream.run(mixture.X))


def test_threads_with_a_stream_each() -> None:
    """Several threads, one net and its weights once, one stream each: what each gives alone."""
    _, mixture = make("one-direction mixture", np.float32, 6, time=200)
    net = mixture.net()
    results: dict[int, np.ndarray] = {}

    def work(row: int) -> None:
        stream = net.stream()
        results[row] = np.stack([stream.step(x) for x in mixture.X[row]])

    threads = [threading.Thread(target=work, args=(row,)) for row in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for row in range(6):
        assert_same_bits(results[row], net.forward_sequence(mixture.X[row]))
