"""Streams as C functions: the bits of `Stream.step`, one state for all callers, and no state that crashes."""

from __future__ import annotations

import copy
import ctypes
import gc
import os
import pickle
import threading
import weakref
from typing import Any

import numpy as np
import pytest
from parity import outcome
from support import (
    DTYPES,
    FP_FLAGS,
    FP_FLUSH,
    FP_MASKS,
    FP_UPWARD,
    assert_same_bits,
    misaligned,
    mxcsr,
    needs_mxcsr,
    random_net,
)
from variants import VARIANTS

from lstm import LSTM, Stream, _kernel
from lstm.stream import Native

DONE, BUSY, READ_ONLY, WRONG = 0, 1, 2, 3
STEP = ctypes.CFUNCTYPE(ctypes.c_int, *[ctypes.c_void_p] * 3)
RUN = ctypes.CFUNCTYPE(ctypes.c_int, *[ctypes.c_void_p] * 3, ctypes.c_ssize_t)
FORWARD = [name for name, options in VARIANTS.items() if not {"bidirectional", "reverse"} & set(options)]


def address(array: np.ndarray | None) -> int | None:
    return None if array is None else array.ctypes.data


def step(native: Native, x: np.ndarray | None, y: np.ndarray | None) -> int:
    return int(STEP(native.step)(native.handle, address(x), address(y)))


def run(native: Native, X: np.ndarray | None, Y: np.ndarray | None, time: int | None = None) -> int:
    count = X.shape[-2] if time is None and X is not None else time
    return int(RUN(native.run)(native.handle, address(X), address(Y), count))


def stepped(native: Native, x: np.ndarray) -> np.ndarray:
    """x (..., I) -> y (..., O)."""
    y = np.full((*x.shape[:-1], native.output_size), np.nan, native.dtype)
    assert step(native, x, y) == DONE
    return y


def chunk(native: Native, X: np.ndarray) -> np.ndarray:
    """X (..., T, I) -> Y (..., T, O)."""
    Y = np.full((*X.shape[:-1], native.output_size), np.nan, native.dtype)
    assert run(native, X, Y) == DONE
    return Y


def inputs(stream: Stream, time: int, seed: int = 0) -> np.ndarray:
    """X (T, I) or (B, T, I) at random; h and C are set at random too."""
    rng = np.random.default_rng(seed)
    native = stream.native
    stream.h[...] = rng.uniform(-1, 1, stream.h.shape)
    stream.C[...] = rng.standard_normal(stream.C.shape)
    rows = () if native.batch_size is None else (native.batch_size,)
    return rng.standard_normal((*rows, time, native.input_size)).astype(native.dtype)


def assert_same_as_python(net: LSTM, batch_size: int | None, time: int = 9) -> None:
    """Steps and chunks in turns, native and by methods, are the bits of methods alone."""
    stream, other = net.stream(batch_size), net.stream(batch_size)
    X = inputs(stream, time)
    other.state = stream.state
    native = stream.native
    parts = [stepped(native, X[..., 0, :].copy())[..., np.newaxis, :]]
    parts.append(stream.step(X[..., 1, :])[..., np.newaxis, :])
    parts.append(chunk(native, X[..., 2:5, :].copy()))
    parts.append(stream.run(X[..., 5:6, :]))
    parts.append(stepped(native, X[..., 6, :].copy())[..., np.newaxis, :])
    parts.append(chunk(native, X[..., 7:, :].copy()))
    expected = [other.step(X[..., t, :]) for t in range(time)]
    assert_same_bits(np.concatenate(parts, axis=-2), np.stack(expected, axis=-2))
    assert_same_bits(stream.h, other.h)
    assert_same_bits(stream.C, other.C)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch_size", [None, 1, 3, 97])
@pytest.mark.parametrize(("input_size", "hidden_size"), [(3, 5), (1, 1), (20, 33), (130, 140)])
def test_bits_of_the_methods(input_size: int, hidden_size: int, batch_size: int | None, dtype: Any) -> None:
    assert_same_as_python(random_net(np.random.default_rng(1), input_size, hidden_size, dtype), batch_size)


@pytest.mark.parametrize("batch_size", [None, 3])
@pytest.mark.parametrize("name", FORWARD)
def test_bits_of_variants(name: str, batch_size: int | None) -> None:
    options = {"input_size": 5, "hidden_size": 35, **VARIANTS[name]}
    for dtype in DTYPES:
        assert_same_as_python(LSTM(**options, dtype=dtype, init="pytorch", rng=2), batch_size)


@pytest.mark.parametrize("options", [{}, {"num_layers": 3}, {"proj_size": 7, "peephole": True}])
@pytest.mark.parametrize("precision", ["bfloat16", "float16", "int8"])
def test_bits_of_small_weights(precision: Any, options: dict[str, Any]) -> None:
    net = random_net(np.random.default_rng(3), 6, 40, np.float32, precision=precision, **options)
    for batch_size in (None, 3, 20):
        assert_same_as_python(net, batch_size)


@pytest.mark.parametrize("batch_size", [None, 3, 20])
@pytest.mark.parametrize("layers", [1, 3])
def test_chunks_of_many_steps(layers: int, batch_size: int | None) -> None:
    """More than one of the parts that they are done in, and of unequal length."""
    net = random_net(np.random.default_rng(4), 2, 12, np.float32, num_layers=layers)
    assert_same_as_python(net, batch_size, 1100)


def test_several_threads_do_not_help() -> None:
    """A net that calls from Python split."""
    net = random_net(np.random.default_rng(5), 8, 96, np.float32, num_layers=2)
    found = _kernel.choose_threads(2, True)
    try:
        assert_same_as_python(net, 8, 300)
    finally:
        _kernel.choose_threads(*found)


def test_what_it_says() -> None:
    stream = LSTM(3, 7, proj_size=5, dtype=np.float32, rng=0).stream(4)
    native = stream.native
    assert (native.input_size, native.output_size, native.batch_size) == (3, 5, 4)
    assert native.dtype == np.float32
    assert stream.native.handle == native.handle
    assert f"handle=0x{native.handle:x}" in repr(native)
    assert LSTM(3, 7).stream().native.batch_size is None


@needs_mxcsr
@pytest.mark.parametrize("mode", [FP_MASKS | FP_UPWARD, FP_MASKS | FP_FLAGS, FP_MASKS | FP_FLUSH])
def test_the_threads_mode_changes_no_bit_and_is_left_alone(mode: int) -> None:
    net = random_net(np.random.default_rng(6), 4, 6, np.float32)
    stream, other = net.stream(), net.stream()
    X = inputs(stream, 5) * np.float32(1e-39)  # subnormal
    stream.C[...] *= np.float32(1e-38)
    other.state = stream.state
    native, y, Y = stream.native, np.empty(6, np.float32), np.empty((4, 6), np.float32)
    first = X[0].copy()
    with mxcsr(mode):
        statuses = step(native, first, y), run(native, X[1:], Y)
        after = _kernel.floating_point_mode()
    assert statuses == (DONE, DONE)
    assert after == mode
    assert_same_bits(y, other.step(X[0]))
    assert_same_bits(Y, other.run(X[1:]))


def test_a_step_may_write_over_its_input_and_the_state() -> None:
    net = random_net(np.random.default_rng(7), 6, 6, np.float32)
    stream, other = net.stream(), net.stream()
    x = inputs(stream, 1)[0]
    other.state = stream.state
    expected = other.step(x)
    assert step(stream.native, x, x) == DONE
    assert_same_bits(x, expected)
    expected = other.step(other.h[0])
    assert step(stream.native, stream.h[0], stream.h[0]) == DONE
    assert_same_bits(stream.h[0], expected)


def test_what_does_not_fit_is_refused() -> None:
    stream = random_net(np.random.default_rng(8), 4, 4, np.float64).stream(2)
    X = inputs(stream, 3)
    native, Y = stream.native, np.zeros((2, 3, 4))
    h, C = stream.h.copy(), stream.C.copy()
    x, y = X[:, 0].copy(), Y[:, 0].copy()
    for arrays in [(None, y), (x, None), (None, None), (misaligned(x), y), (x, misaligned(y))]:
        assert step(native, *arrays) == WRONG
    for arrays in [(None, Y), (X, None), (misaligned(X), Y), (X, misaligned(Y)), (X, X), (X.ravel()[1:], X)]:
        assert run(native, *arrays, 3) == WRONG
    for state in (stream.h, stream.C):
        assert run(native, state, Y, 1) == WRONG
        assert run(native, X, state, 1) == WRONG
    for time in (-1, -(2**63), 2**63 - 1, 2**58):
        assert run(native, X, Y, time) == WRONG
    assert STEP(native.step)(None, address(x), address(y)) == WRONG
    assert RUN(native.run)(None, address(X), address(Y), 3) == WRONG
    assert not Y.any()
    assert_same_bits(stream.h, h)
    assert_same_bits(stream.C, C)
    assert run(native, X, Y, 0) == DONE
    assert run(native, None, None, 0) == DONE
    assert_same_bits(stream.h, h)
    assert run(native, X, Y) == DONE  # none of them keeps the guard
    assert Y.all()


def test_a_read_only_state_is_not_written() -> None:
    stream = LSTM(4, 6, rng=0).stream(2)
    x, y = np.ones((2, 4)), np.zeros((2, 6))
    native = stream.native
    assert step(native, x, y) == DONE
    for array in (stream.h, stream.C):
        before, y[...] = array.copy(), 0
        array.flags.writeable = False
        assert step(native, x, y) == READ_ONLY
        assert run(native, x[:, np.newaxis], y, 1) == READ_ONLY
        assert not y.any()
        assert_same_bits(array, before)
        array.flags.writeable = True
        assert step(native, x, y) == DONE


def test_nets_without_native_code_say_so() -> None:
    stream = LSTM(3, 5, backend="numpy").stream()
    with pytest.raises(AttributeError, match="backend='numpy', but C functions need"):
        _ = stream.native
    assert not hasattr(stream, "native")
    assert LSTM(3, 5, num_layers=16).stream().native.handle
    with pytest.raises(AttributeError, match="num_layers is 17, but streams of at most 16"):
        _ = LSTM(3, 5, num_layers=17).stream().native


def test_addresses_are_not_pickled_and_copies_of_streams_have_their_own() -> None:
    stream = LSTM(3, 5, rng=0).stream()
    native = stream.native
    for clone in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="in this process alone"):
            clone(native)
    x = np.ones(3)
    expected = stepped(native, x)
    for other in (copy.copy(stream), pickle.loads(pickle.dumps(stream))):
        assert other.native.handle != native.handle
        h = stream.h.copy()
        stepped(other.native, x)
        assert_same_bits(stream.h, h)
    stream.reset()
    assert_same_bits(stepped(native, x), expected)


def test_it_keeps_alive_all_that_it_needs() -> None:
    def alone() -> tuple[Native, np.ndarray, np.ndarray]:
        net = random_net(np.random.default_rng(9), 40, 90, np.float32, num_layers=2)
        stream = net.stream()
        X = inputs(stream, 3)
        other = net.stream()
        other.state = stream.state
        return stream.native, X, other.run(X)

    native, X, expected = alone()
    gc.collect()
    others = [random_net(np.random.default_rng(k), 40, 90, np.float32, num_layers=2) for k in range(8)]
    assert_same_bits(chunk(native, X), expected)
    assert others


def test_a_handle_holds_as_long_as_the_stream() -> None:
    net = random_net(np.random.default_rng(10), 4, 6, np.float64)
    stream, other = net.stream(), net.stream()
    function, handle = STEP(stream.native.step), stream.native.handle  # of objects that are gone
    gc.collect()
    x, y = np.ones(4), np.empty(6)
    assert function(handle, address(x), address(y)) == DONE
    assert_same_bits(y, other.step(x))


def test_weights_count_from_the_next_step_on() -> None:
    rng = np.random.default_rng(11)
    net, other = (random_net(rng, 5, 20, np.float32, num_layers=2) for _ in range(2))
    stream, expected = net.stream(), net.stream()
    X = inputs(stream, 6)
    expected.state = stream.state
    native = stream.native
    for t in range(0, 6, 2):
        assert_same_bits(stepped(native, X[t]), expected.step(X[t]))
        net.load_state_dict(other.state_dict())
        net.layers[1].bf = np.full((20, 1), float(t))
        assert_same_bits(chunk(native, X[t + 1 : t + 2]), expected.run(X[t + 1 : t + 2]))


def constant_net(size: int, seed: int) -> LSTM:
    """One whose output is the same after every step, whatever x and the state are: two layers."""
    net = random_net(np.random.default_rng(seed), size, size, np.float32, num_layers=2)
    state = net.state_dict()
    for name, array in state.items():
        if name.startswith("weight"):
            array[...] = 0
        else:
            array[size : 2 * size] = -1000  # f = 0
    net.load_state_dict(state)
    return net


def test_weights_set_in_the_middle_of_steps_are_all_old_or_all_new() -> None:
    """Memory of weights that are replaced is neither read after it is freed nor written under a step."""
    size = 160
    nets = [constant_net(size, seed) for seed in (12, 13, 14)]
    states = [net.state_dict() for net in nets]
    x = np.ones(size, np.float32)
    allowed = {net.stream().step(x).tobytes() for net in nets}
    assert len(allowed) == 3
    net = nets[0]
    native = net.stream().native
    stop = threading.Event()
    seen: list[set[bytes]] = []

    def work() -> None:
        function, y = STEP(native.step), np.empty(size, np.float32)
        found = set()
        where = native.handle, address(x), address(y)
        while not stop.is_set():
            for _ in range(50):
                assert function(*where) == DONE
                found.add(y.tobytes())
        seen.append(found)

    thread = threading.Thread(target=work)
    thread.start()
    for k in range(400):
        net.load_state_dict(states[k % 3])
    stop.set()
    thread.join()
    (found,) = seen
    assert len(found) > 1
    assert found <= allowed
    net.load_state_dict(states[1])
    assert stepped(native, x).tobytes() == nets[1].stream().step(x).tobytes()


def set_weights(net: LSTM) -> weakref.ref[np.ndarray]:
    """Set all weights anew; a reference to one array of them."""
    net.load_state_dict(net.state_dict())
    return weakref.ref(net._net.cells[0].bias)  # type: ignore[arg-type]


def test_the_memory_of_replaced_weights_is_freed() -> None:
    """That of all but the last ones and those before, while nobody but C steps the stream."""
    net = random_net(np.random.default_rng(19), 5, 20, np.float32)
    native = net.stream().native
    x = np.ones(5, np.float32)
    weights = []
    for k in range(6):
        if k % 3:
            stepped(native, x)  # every third time none comes between
        weights.append(set_weights(net))
    stepped(native, x)
    assert [one() is None for one in weights] == [True] * 4 + [False] * 2
    weights.append(set_weights(net))
    stepped(native, x)
    assert [one() is None for one in weights] == [True] * 5 + [False] * 2
    del net, native
    gc.collect()
    assert [one() is None for one in weights] == [True] * 7


def test_two_threads_in_one_stream_are_told() -> None:
    net = random_net(np.random.default_rng(15), 512, 768, np.float32)
    stream, X = net.stream(), np.ones((20, 512), np.float32)
    native = stream.native
    stop = threading.Event()

    def work() -> None:
        Y = np.empty((20, 768), np.float32)
        while not stop.is_set():
            run(native, X, Y)

    thread = threading.Thread(target=work)
    thread.start()
    y = np.empty(768, np.float32)
    try:
        found = {step(native, X[0], y) for _ in range(2000)}
        told = {outcome(stream.step, X[0])[0] for _ in range(2000)}
    finally:
        stop.set()
        thread.join()
    assert BUSY in found <= {DONE, BUSY}
    assert "RuntimeError" in told
    assert step(native, X[0], y) == DONE


def test_streams_of_one_net_run_beside_one_another() -> None:
    net = random_net(np.random.default_rng(16), 6, 50, np.float32)
    rows = np.random.default_rng(17).standard_normal((4, 60, 6)).astype(np.float32)
    found: dict[int, np.ndarray] = {}

    def work(row: int) -> None:
        native = net.stream().native
        found[row] = np.stack([stepped(native, x) for x in rows[row]])

    threads = [threading.Thread(target=work, args=(row,)) for row in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for row, Y in enumerate(net.forward_sequence(rows)):
        assert_same_bits(found[row], Y)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # of threads and fork
def test_a_forked_child_goes_on_by_itself() -> None:
    """Also if the parent was in the middle of a step, whose state the child may have in part."""
    net = random_net(np.random.default_rng(18), 256, 512, np.float32)
    stream, x = net.stream(), np.ones(256, np.float32)
    native, y = stream.native, np.empty(512, np.float32)
    stop = threading.Event()

    def work() -> None:
        out = np.empty(512, np.float32)
        while not stop.is_set():
            step(native, x, out)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        for _ in range(5):
            child = os.fork()
            if child == 0:
                status = 1
                try:
                    h = stream.h[0].copy()
                    is_done = step(native, x, y) == DONE and step(native, x, y) == DONE
                    status = 0 if is_done and np.array_equal(y, stream.h[0]) and (y != h).any() else 2
                finally:
                    os._exit(status)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        stop.set()
        thread.join()
    assert step(native, x, y) == DONE
