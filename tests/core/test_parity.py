"""Native against reference: the same results and the same exceptions, for every input there may be.

Every case is run by the reference and by the kernel on each ISA of this CPU. Results agree within
support.TOLERANCE; exceptions agree in type and message.
"""

from __future__ import annotations

import datetime
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import (
    DATA,
    DTYPES,
    EACH_ISA,
    as_backend,
    assert_close,
    assert_same_bits,
    awkward_arrays,
    misaligned,
    on_isa,
    random_case,
    random_net,
)

from lstm import LSTM, _kernel

Outcome = tuple[str, Any]


def variants(net: LSTM) -> Iterator[tuple[str, LSTM]]:
    """The same weights on the reference, first, and on every ISA of this CPU."""
    yield "numpy", as_backend(net, "numpy")
    for isa in _kernel.SUPPORTED_ISAS:
        yield isa, on_isa(net, isa)


def flat(result: Any) -> list[np.ndarray]:
    """The arrays of a result, which may be nested tuples of them."""
    if isinstance(result, tuple):
        return [array for part in result for array in flat(part)]
    return [result]


def bits(value: Any) -> bytes | None:
    """The memory of an array, to see whether a call has changed it; None for what is no array."""
    return np.asarray(value).tobytes() if isinstance(value, np.ndarray) else None


def outcome(call: Callable[..., Any], *args: Any, **options: Any) -> Outcome:
    """("result", arrays) or (type of the exception, message); the inputs are unchanged either way."""
    inputs = [*args, *(value for name, value in options.items() if name != "out")]
    before = [bits(value) for value in inputs]
    try:
        found: Outcome = "result", flat(call(*args, **options))
    except Exception as error:
        found = type(error).__name__, str(error)
    assert [bits(value) for value in inputs] == before, "an input was modified"
    return found


def assert_parity(
    net: LSTM, method: str, *args: Any, make_out: Callable[[], Any] | None = None, **options: Any
) -> Outcome:
    """Hold each ISA's outcome to the reference's, and to one another's bits; return the reference's."""
    outcomes = {}
    for name, variant in variants(net):
        if make_out is not None:
            options["out"] = make_out()
        outcomes[name] = outcome(getattr(variant, method), *args, **options)
    expected = outcomes.pop("numpy")
    first, *_ = outcomes.values()
    for name, found in outcomes.items():
        if expected[0] != "result" or found[0] != "result":
            assert found == expected, name
            continue
        for actual, wanted, first_native in zip(found[1], expected[1], first[1], strict=True):
            assert actual.dtype == net.dtype
            assert_close(actual, wanted, f"{name} against the reference")
            assert_same_bits(actual, first_native, f"{name} against {_kernel.SUPPORTED_ISAS[0]}")
    return expected


def assert_error(
    net: LSTM, error: type[Exception], words: str, method: str, *args: Any, **options: Any
) -> None:
    """Both backends raise `error` with a message that holds each of `words`, between bars."""
    kind, message = assert_parity(net, method, *args, **options)
    assert kind == error.__name__, message
    for word in words.split("|"):
        assert word in message, message


# Results


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("batch", "time", "input_size", "hidden_size"),
    [
        (2, 3, 1, 1),
        (1, 1, 3, 5),
        (3, 2, 4, 7),
        (5, 4, 5, 8),
        (6, 3, 16, 9),
        (7, 5, 2, 15),
        (1, 9, 17, 16),
        (8, 2, 15, 17),
        (12, 3, 3, 31),
        (13, 2, 33, 32),
        (15, 20, 3, 33),
        (16, 3, 3, 33),
        (17, 3, 129, 20),
        (2, 3, 128, 127),
        (3, 2, 257, 129),
        (97, 2, 3, 18),
        (1, 700, 2, 17),
    ],
)
def test_sequences_around_the_tile_edges(
    batch: int, time: int, input_size: int, hidden_size: int, bias: bool, dtype: type
) -> None:
    rng = np.random.default_rng(batch * 1000 + hidden_size)
    net = random_net(rng, input_size, hidden_size, dtype, bias=bias)
    X, h0, C0 = random_case(rng, batch, time, input_size, hidden_size, dtype)
    found, arrays = assert_parity(net, "forward_sequence", X, h0, C0, return_state=True)
    assert found == "result"
    assert [a.shape for a in arrays] == [(batch, time, hidden_size), h0.shape, C0.shape]


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    batch=st.none() | st.integers(0, 20),
    time=st.integers(0, 12),
    input_size=st.integers(1, 40),
    hidden_size=st.integers(1, 50),
    dtype=st.sampled_from(DTYPES),
    bias=st.booleans(),
    given_states=st.sampled_from([(True, True), (True, False), (False, True), (False, False)]),
    return_state=st.booleans(),
)
def test_sequences_of_random_shapes(
    seed: int,
    batch: int | None,
    time: int,
    input_size: int,
    hidden_size: int,
    dtype: type,
    bias: bool,
    given_states: tuple[bool, bool],
    return_state: bool,
) -> None:
    rng = np.random.default_rng(seed)
    net = random_net(rng, input_size, hidden_size, dtype, bias=bias)
    X, h0, C0 = random_case(rng, 1 if batch is None else batch, time, input_size, hidden_size, dtype)
    if batch is None:
        X, h0, C0 = X[0], h0[0], C0[0]
    states = [state if wanted else None for state, wanted in zip((h0, C0), given_states, strict=True)]
    found, arrays = assert_parity(net, "forward_sequence", X, *states, return_state=return_state)
    assert found == "result"
    assert len(arrays) == (3 if return_state else 1)
    assert arrays[0].shape == (*X.shape[:-1], hidden_size)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    batch=st.integers(0, 20),
    input_size=st.integers(1, 40),
    hidden_size=st.integers(1, 50),
    dtype=st.sampled_from(DTYPES),
)
def test_single_steps_of_random_shapes(
    seed: int, batch: int, input_size: int, hidden_size: int, dtype: type
) -> None:
    rng = np.random.default_rng(seed)
    net = random_net(rng, input_size, hidden_size, dtype)
    X, h, C = random_case(rng, batch, 1, input_size, hidden_size, dtype)
    found, arrays = assert_parity(net, "forward", X[:, 0], h, C)
    assert found == "result"
    assert [a.shape for a in arrays] == [h.shape, C.shape]


@pytest.mark.parametrize("isa", EACH_ISA)
@pytest.mark.parametrize("case", [f"case{number}" for number in range(10)])
def test_native_equals_recorded_pytorch(case: str, isa: str) -> None:
    with np.load(DATA / "oracles.npz", allow_pickle=False) as archive:
        arrays = {k.split("/")[1]: archive[k] for k in archive.files if k.startswith(f"{case}/")}
    net = on_isa(LSTM.from_state_dict({k: a for k, a in arrays.items() if "_l0" in k}), isa)
    assert net.dtype == arrays["X"].dtype
    Y, (h_n, C_n) = net.forward_sequence(arrays["X"], arrays["h0"], arrays["C0"], return_state=True)
    h, C = net.forward(arrays["x"], arrays["h_prev"], arrays["C_prev"])
    for name, array in {"Y": Y, "h_n": h_n, "C_n": C_n, "h": h, "C": C}.items():
        assert_close(array, arrays[name], f"{case} {name}")


# State shapes

HIDDEN, INPUT, BATCH, TIME = 5, 3, 4, 6
SEQUENCE_STATES = [
    *((False, shape) for shape in ((HIDDEN,), (1, HIDDEN), (HIDDEN, 1))),
    *((True, shape) for shape in ((BATCH, HIDDEN), (1, BATCH, HIDDEN))),
]


@pytest.mark.parametrize("given_states", [(True, True), (True, False), (False, True)])
@pytest.mark.parametrize(("batched", "shape"), SEQUENCE_STATES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_states_come_back_in_the_shape_they_were_given_in(
    batched: bool, shape: tuple[int, ...], given_states: tuple[bool, bool], dtype: type
) -> None:
    """All shapes of a state mean the same, and one that is not given is zero and comes as the other does."""
    rng = np.random.default_rng(1)
    net = random_net(rng, INPUT, HIDDEN, dtype)
    X, h0, C0 = random_case(rng, BATCH if batched else 1, TIME, INPUT, HIDDEN, dtype)
    plain = [s if g else np.zeros_like(s) for s, g in zip((h0, C0), given_states, strict=True)]
    states = [s.reshape(shape) if g else None for s, g in zip((h0, C0), given_states, strict=True)]
    _, wanted = assert_parity(net, "forward_sequence", X, *plain, return_state=True)
    found, arrays = assert_parity(net, "forward_sequence", X if batched else X[0], *states, return_state=True)
    assert found == "result"
    Y, h, C = arrays
    assert h.shape == C.shape == shape
    assert_close(Y.reshape(wanted[0].shape), wanted[0])
    assert_close(h.reshape(wanted[1].shape), wanted[1])
    assert_close(C.reshape(wanted[2].shape), wanted[2])


@pytest.mark.parametrize(("batched", "shape"), [(False, (1, HIDDEN)), (True, (1, BATCH, HIDDEN))])
def test_without_states_they_come_with_the_layer_axis(batched: bool, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(2)
    net = random_net(rng, INPUT, HIDDEN, np.float64)
    X = random_case(rng, BATCH, TIME, INPUT, HIDDEN, np.float64)[0]
    zeros = np.zeros(shape)
    X = X if batched else X[0]
    found, (Y, h, C) = assert_parity(net, "forward_sequence", X, return_state=True)
    assert found == "result"
    assert h.shape == C.shape == shape
    _, wanted = assert_parity(net, "forward_sequence", X, zeros, zeros, return_state=True)
    for actual, expected in zip((Y, h, C), wanted, strict=True):
        assert_same_bits(actual, expected)


def test_each_state_keeps_its_own_shape() -> None:
    rng = np.random.default_rng(3)
    net = random_net(rng, INPUT, HIDDEN, np.float64)
    X, h0, C0 = random_case(rng, BATCH, TIME, INPUT, HIDDEN, np.float64)
    _, (_, h, C) = assert_parity(net, "forward_sequence", X, h0[None], C0, return_state=True)
    assert (h.shape, C.shape) == ((1, BATCH, HIDDEN), (BATCH, HIDDEN))
    _, (_, h, C) = assert_parity(net, "forward_sequence", X[0], h0[0, :, None], C0[0], return_state=True)
    assert (h.shape, C.shape) == ((HIDDEN, 1), (HIDDEN,))
    _, (h, C) = assert_parity(net, "forward", X[0, 0], h0[:1], C0[0, :, None])
    assert (h.shape, C.shape) == ((1, HIDDEN), (HIDDEN, 1))


@pytest.mark.parametrize("x_shape", [(INPUT,), (INPUT, 1), (1, INPUT)])
@pytest.mark.parametrize("state_shape", [(HIDDEN,), (HIDDEN, 1), (1, HIDDEN), (1, 1, HIDDEN)])
def test_one_step_in_every_shape(x_shape: tuple[int, ...], state_shape: tuple[int, ...]) -> None:
    """The state shapes of one step follow from x: a batch of one is a batch."""
    rng = np.random.default_rng(4)
    net = random_net(rng, INPUT, HIDDEN, np.float64)
    X, h, C = random_case(rng, 1, 1, INPUT, HIDDEN, np.float64)
    found, arrays = assert_parity(
        net, "forward", X.reshape(x_shape), h.reshape(state_shape), C.reshape(state_shape)
    )
    is_batch = x_shape == (1, INPUT)
    allowed = [(1, HIDDEN), (1, 1, HIDDEN)] if is_batch else [(HIDDEN,), (HIDDEN, 1), (1, HIDDEN)]
    if state_shape in allowed:
        assert found == "result"
        _, wanted = assert_parity(net, "forward", X[:, 0], h, C)
        assert [a.shape for a in arrays] == [state_shape] * 2
        assert_close(arrays[0].reshape(h.shape), wanted[0])
        assert_close(arrays[1].reshape(h.shape), wanted[1])
    else:
        assert found == "ValueError"


@pytest.mark.parametrize("state_shape", [(HIDDEN,), (HIDDEN, 1), (1, HIDDEN), (1, 1, HIDDEN)])
@pytest.mark.parametrize("x_shape", [(1,), (1, 1)])
def test_one_step_of_one_feature(x_shape: tuple[int, ...], state_shape: tuple[int, ...]) -> None:
    """x of (1, 1) is a column and a batch of one: states of both are taken."""
    rng = np.random.default_rng(5)
    net = random_net(rng, 1, HIDDEN, np.float64)
    _, h, C = random_case(rng, 1, 1, 1, HIDDEN, np.float64)
    found, arrays = assert_parity(
        net, "forward", np.full(x_shape, 0.7), h.reshape(state_shape), C.reshape(state_shape)
    )
    assert found == "result"
    assert [a.shape for a in arrays] == [state_shape] * 2


# Streams


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
        for name, make in out_arrays(wanted.shape, dtype):
            if not batched and name == "strided on the first axis":
                continue
            out = make()
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
        assert_same_bits(stream.run(X), first)


# `out`


def out_arrays(shape: tuple[int, ...], dtype: type) -> Iterator[tuple[str, Callable[[], np.ndarray]]]:
    """(name, maker) of every odd place for outputs, filled with NaN."""

    def filled(*size: int) -> np.ndarray:
        return np.full(size, np.nan, dtype)

    *rows, units = shape
    yield "contiguous", lambda: filled(*shape)
    yield "Fortran-ordered", lambda: np.asfortranarray(filled(*shape))
    yield "strided on the last axis", lambda: filled(*rows, 2 * units)[..., ::2]
    yield "a slice of wider rows", lambda: filled(*rows, units + 3)[..., 1:-2]
    yield "strided on the first axis", lambda: filled(2 * rows[0], *shape[1:])[::2]
    yield "reversed on all axes", lambda: np.flip(filled(*shape))
    yield "reversed on the first axis", lambda: filled(*shape)[::-1]
    yield "misaligned", lambda: misaligned(filled(*shape))
    yield "a field of packed records", lambda: np.zeros(shape, [("pad", "u1"), ("value", dtype)])["value"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batched", [True, False])
def test_out_holds_the_outputs(batched: bool, dtype: type) -> None:
    rng = np.random.default_rng(6)
    net = random_net(rng, INPUT, 17, dtype)
    X, h0, C0 = random_case(rng, BATCH, TIME, INPUT, 17, dtype)
    if not batched:
        X, h0, C0 = X[0], h0[0], C0[0]
    for _, variant in variants(net):
        wanted, states = variant.forward_sequence(X, h0, C0, return_state=True)
        for name, make in out_arrays(wanted.shape, dtype):
            out = make()
            Y, found_states = variant.forward_sequence(X, h0, C0, return_state=True, out=out)
            assert Y is out
            assert_same_bits(out.copy(), wanted, name)
            for found, state in zip(found_states, states, strict=True):
                assert_same_bits(found, state, name)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", [name for name, _ in out_arrays((2, 2, 2), np.float32)])
def test_nothing_beside_out_is_written(name: str, dtype: type) -> None:
    rng = np.random.default_rng(7)
    net = random_net(rng, INPUT, 17, dtype)
    X = random_case(rng, 2, TIME, INPUT, 17, dtype)[0]
    for _, variant in variants(net):
        out = dict(out_arrays((2, TIME, 17), dtype))[name]()
        memory = out
        while isinstance(memory.base, np.ndarray):
            memory = memory.base
        hole = np.full(out.shape, 123, dtype)
        out[...] = hole
        before = memory.tobytes()
        variant.forward_sequence(X, out=out)
        assert not np.array_equal(out, hole)
        out[...] = hole
        assert memory.tobytes() == before


# One panel of units and several; a block of steps, single steps, several blocks.
OVERLAPS = [(4, 6, 6), (1, 1, 40), (20, 6, 40), (2, 300, 40)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shift", [0, 1, -1, 3])
@pytest.mark.parametrize(("batch", "time", "units"), OVERLAPS)
def test_out_may_overlap_the_input(batch: int, time: int, units: int, shift: int, dtype: type) -> None:
    """Where I is H, X itself or memory some steps before or behind it can take the outputs."""
    rng = np.random.default_rng(8)
    net = random_net(rng, units, units, dtype)
    X, h0, C0 = random_case(rng, batch, time, units, units, dtype)
    for name, variant in variants(net):
        wanted = variant.forward_sequence(X, h0, C0)
        memory = np.zeros((batch, time + 6, units), dtype)
        source, out = memory[:, 3 : 3 + time], memory[:, 3 + shift : 3 + shift + time]
        source[...] = X
        assert variant.forward_sequence(source, h0, C0, out=out) is out
        assert_same_bits(out.copy(), wanted, name)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("size", "units"), [(6, 6), (20, 40)])
def test_out_may_overlap_the_input_across_rows(size: int, units: int, dtype: type) -> None:
    """The outputs lie on the inputs transposed: every row of a batch meets every other."""
    rng = np.random.default_rng(9)
    net = random_net(rng, units, units, dtype)
    X, h0, C0 = random_case(rng, size, size, units, units, dtype)
    for name, variant in variants(net):
        wanted = variant.forward_sequence(X, h0, C0)
        memory = X.copy()
        variant.forward_sequence(memory, h0, C0, out=memory.transpose(1, 0, 2))
        assert_same_bits(memory.transpose(1, 0, 2).copy(), wanted, name)


@pytest.mark.parametrize("which", ["h0", "C0"])
def test_out_may_overlap_the_states(which: str) -> None:
    rng = np.random.default_rng(10)
    net = random_net(rng, INPUT, HIDDEN, np.float32)
    X, h0, C0 = random_case(rng, BATCH, TIME, INPUT, HIDDEN, np.float32)
    for name, variant in variants(net):
        wanted = variant.forward_sequence(X, h0, C0, return_state=True)
        out = np.zeros((BATCH, TIME, HIDDEN), np.float32)
        states = {"h0": h0, "C0": C0}
        out[:, 1] = states[which]
        states[which] = out[:, 1]
        found = variant.forward_sequence(X, **states, return_state=True, out=out)
        for actual, expected in zip(flat(found), flat(wanted), strict=True):
            assert_same_bits(actual, expected, name)


# Awkward arrays


def assert_same_as_plain(call: Callable[[LSTM, Any], Any], net: LSTM, array: np.ndarray) -> None:
    """Every odd way to hold `array` gives what `array` gives, on native to the bit, and is left alone."""
    for backend, variant in variants(net):
        wanted = flat(call(variant, array))
        for name, value in awkward_arrays(array):
            before = bits(value)
            found = flat(call(variant, value))
            assert bits(value) == before, f"{name} was modified"
            for actual, expected in zip(found, wanted, strict=True):
                if backend == "numpy":
                    assert_close(actual, expected, f"{backend}, {name}")
                else:
                    assert_same_bits(actual, expected, f"{backend}, {name}")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batched", [True, False])
@pytest.mark.parametrize("which", ["X", "h0", "C0"])
def test_awkward_arrays_for_sequences(which: str, batched: bool, dtype: type) -> None:
    rng = np.random.default_rng(11)
    net = random_net(rng, INPUT, 18, dtype)
    X, h0, C0 = random_case(rng, BATCH, TIME, INPUT, 18, dtype)
    if not batched:
        X, h0, C0 = X[0], h0[0], C0[0]
    plain = {"X": X, "h0": h0, "C0": C0}
    assert_same_as_plain(
        lambda net, value: net.forward_sequence(**{**plain, which: value}, return_state=True),
        net,
        plain[which],
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batched", [True, False])
@pytest.mark.parametrize("which", ["x", "h_prev", "C_prev"])
def test_awkward_arrays_for_single_steps(which: str, batched: bool, dtype: type) -> None:
    rng = np.random.default_rng(12)
    net = random_net(rng, INPUT, 18, dtype)
    X, h, C = random_case(rng, BATCH, 1, INPUT, 18, dtype)
    plain = {"x": X[:, 0], "h_prev": h, "C_prev": C}
    if not batched:
        plain = {name: array[0][:, None] for name, array in plain.items()}
    assert_same_as_plain(lambda net, value: net.forward(**{**plain, which: value}), net, plain[which])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("which", ["weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"])
def test_awkward_arrays_for_a_state_dict(which: str, dtype: type) -> None:
    rng = np.random.default_rng(13)
    net = random_net(rng, INPUT, 18, dtype)
    X, h0, C0 = random_case(rng, BATCH, TIME, INPUT, 18, dtype)
    state = {**net.state_dict(), "bias_hh_l0": rng.standard_normal(4 * 18).astype(dtype)}

    def results(net: LSTM, value: Any) -> Any:
        loaded = LSTM.from_state_dict({**state, which: value}, dtype=dtype, backend=net.backend)  # type: ignore[arg-type]
        net.load_state_dict({**state, which: value})
        for name, weights in net.state_dict().items():
            assert_same_bits(weights, loaded.state_dict()[name])
        return net.forward_sequence(X, h0, C0)

    assert_same_as_plain(results, net, state[which])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("which", ["Wf", "Wi", "WC", "Wo", "bf", "bi", "bC", "bo"])
def test_awkward_arrays_for_the_eight_arrays(which: str, dtype: type) -> None:
    rng = np.random.default_rng(14)
    net = random_net(rng, INPUT, 18, dtype)
    X, h0, C0 = random_case(rng, BATCH, TIME, INPUT, 18, dtype)

    def results(net: LSTM, value: Any) -> Any:
        setattr(net, which, value)
        return getattr(net, which), net.forward_sequence(X, h0, C0)

    assert_same_as_plain(results, net, rng.standard_normal(getattr(net, which).shape).astype(dtype))


@pytest.mark.parametrize("stride", [1, 13, -3])
def test_an_axis_of_one_with_an_odd_stride(stride: int) -> None:
    """A stride that is never walked may be anything, even no multiple of the elements' size."""
    rng = np.random.default_rng(46)
    net = random_net(rng, INPUT, HIDDEN, np.float64)
    X, h0, C0 = random_case(rng, 1, TIME, INPUT, HIDDEN, np.float64)

    def odd(array: np.ndarray) -> np.ndarray:
        """The same values in every second row of memory: NumPy corrects the strides of contiguous arrays."""
        memory = np.zeros((array.shape[1], 2, array.shape[2]))
        memory[:, 0] = array[0]
        return np.lib.stride_tricks.as_strided(memory, array.shape, (stride, *memory.strides[::2]))

    for name, variant in variants(net):
        wanted = variant.forward_sequence(X, h0, C0)
        assert odd(X).strides[0] == stride
        assert_same_bits(variant.forward_sequence(odd(X), h0, C0), wanted, name)
        out = odd(wanted * np.nan)
        assert variant.forward_sequence(X, h0, C0, out=out) is out
        assert_same_bits(out.copy(), wanted, name)


class Labelled(np.ndarray):
    """An ndarray with a name of its own, as other packages make them."""


class ArrayLike:
    """What only has __array__."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.array, dtype)


@pytest.mark.parametrize("kind", ["subclass", "matrix", "memmap", "__array__", "broadcast", "memoryview"])
@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
def test_other_kinds_of_arrays(kind: str, tmp_path: Any) -> None:
    """Results are plain arrays, whatever the inputs are."""
    rng = np.random.default_rng(15)
    net = random_net(rng, INPUT, HIDDEN, np.float64)
    X, h0, C0 = (array[0] for array in random_case(rng, 1, TIME, INPUT, HIDDEN, np.float64))
    if kind == "broadcast":
        X = np.repeat(X[:1], TIME, axis=0)

    def convert(array: np.ndarray) -> Any:
        if kind == "subclass":
            return array.view(Labelled)
        if kind == "matrix":
            return np.matrix(array)
        if kind == "memmap":
            path = tmp_path / f"{len(list(tmp_path.iterdir()))}"
            array.tofile(path)
            return np.memmap(path, array.dtype, "r", shape=array.shape)
        if kind == "broadcast":
            return np.broadcast_to(array[:1], array.shape) if array.ndim == 2 else array
        return ArrayLike(array) if kind == "__array__" else memoryview(array)

    for name, variant in variants(net):
        wanted = flat(variant.forward_sequence(X, h0, C0, return_state=True))
        found = flat(variant.forward_sequence(convert(X), convert(h0), convert(C0), return_state=True))
        for actual, expected in zip(found, wanted, strict=True):
            assert type(actual) is np.ndarray
            assert_close(actual.reshape(expected.shape), expected, name)
            if name != "numpy":
                assert_same_bits(actual.reshape(expected.shape), expected, name)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "kind", [np.bool_, np.int8, np.uint8, np.int16, np.uint32, np.int64, np.float16, np.float32, np.float64]
)
def test_any_real_dtype_is_cast(kind: type, dtype: type) -> None:
    rng = np.random.default_rng(16)
    net = random_net(rng, INPUT, HIDDEN, dtype)
    X, h0, C0 = (
        (a * 2).astype(kind) for a in map(np.abs, random_case(rng, BATCH, TIME, INPUT, HIDDEN, dtype))
    )
    for name, variant in variants(net):
        wanted = flat(variant.forward_sequence(*(a.astype(dtype) for a in (X, h0, C0)), return_state=True))
        found = flat(variant.forward_sequence(X, h0, C0, return_state=True))
        for actual, expected in zip(found, wanted, strict=True):
            assert_same_bits(actual, expected, name)
        step = flat(variant.forward(X[:, 0].tolist(), h0.tolist(), C0.tolist()))
        for actual, expected in zip(step, flat(variant.forward(X[:, 0], h0, C0)), strict=True):
            assert_same_bits(actual, expected, name)


# Empty


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("return_state", [True, False])
@pytest.mark.parametrize("shape", [(0, INPUT), (0, TIME, INPUT), (BATCH, 0, INPUT), (0, 0, INPUT)])
def test_nothing_to_compute_is_no_error(shape: tuple[int, ...], return_state: bool, dtype: type) -> None:
    """T = 0 and B = 0: empty outputs, and the states as they were given."""
    rng = np.random.default_rng(17)
    net = random_net(rng, INPUT, HIDDEN, dtype)
    state_shape = (*shape[:-2], HIDDEN)
    h0, C0 = rng.standard_normal((2, *state_shape)).astype(dtype)
    found, arrays = assert_parity(
        net, "forward_sequence", np.zeros(shape, dtype), h0, C0, return_state=return_state
    )
    assert found == "result"
    assert arrays[0].shape == (*shape[:-1], HIDDEN)
    for actual, given_state in zip(arrays[1:], (h0, C0), strict=return_state):
        assert_same_bits(actual, given_state)
        assert not np.shares_memory(actual, given_state)
    out = np.empty((*shape[:-1], HIDDEN), dtype)
    for _, variant in variants(net):
        assert variant.forward_sequence(np.zeros(shape, dtype), out=out) is out


def test_a_batch_of_none_steps() -> None:
    net = random_net(np.random.default_rng(18), INPUT, HIDDEN, np.float64)
    nothing = np.zeros((0, HIDDEN))
    found, arrays = assert_parity(net, "forward", np.zeros((0, INPUT)), nothing, nothing)
    assert (found, [a.shape for a in arrays]) == ("result", [(0, HIDDEN)] * 2)


# NaN, infinity, huge and tiny values


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30, -1e30])
@pytest.mark.parametrize("which", ["X", "h0", "C0"])
@pytest.mark.parametrize("init", ["pytorch", "normal"])
def test_special_values_propagate_alike(init: str, which: str, value: float, dtype: type) -> None:
    """One special value in one place; the sums have one special term, so that their order is no matter."""
    rng = np.random.default_rng(19)
    net = LSTM(INPUT, 18, dtype=dtype, init=init, rng=rng)  # type: ignore[arg-type]
    arrays = dict(zip(("X", "h0", "C0"), random_case(rng, BATCH, TIME, INPUT, 18, dtype), strict=True))
    arrays[which][1, ..., 2] = value
    found, (Y, h, C) = assert_parity(net, "forward_sequence", **arrays, return_state=True)
    assert found == "result"
    others = [0, 2, 3]
    assert np.isfinite(Y[others]).all()
    assert np.isfinite(C[others]).all()
    if np.isnan(value):
        assert np.isnan(Y[1]).any()
    elif which != "C0" or np.isfinite(value):
        # Infinity times a weight is infinity, whose sigmoid and tanh are finite.
        assert np.isfinite(Y[1]).all()
        assert np.isfinite(h).all()
    else:
        assert np.isinf(C[1]).any() or np.isnan(C[1]).any()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sign", [1, -1])
def test_large_inputs_saturate(sign: int, dtype: type) -> None:
    """No exp overflows to NaN: every size of pre-activation, up to the largest number there is."""
    net = LSTM(1, 1, dtype=dtype)
    largest = np.finfo(dtype).max
    exponents = np.linspace(-3, np.log10(largest) - 1e-3, 400)
    X = (sign * 10**exponents).astype(dtype)
    X = np.append(X, sign * largest)[:, np.newaxis, np.newaxis]
    one = np.ones((1, 2), dtype)
    states = np.full((X.shape[0], 1), 0.5, dtype)
    for name in ("Wf", "Wi", "WC", "Wo"):
        setattr(net, name, one * (0, 1))
    found, (Y, _, C) = assert_parity(net, "forward_sequence", X, states, states, return_state=True)
    assert found == "result"
    assert np.isfinite(Y).all()
    assert np.isfinite(C).all()
    # All gates open: C = 0.5 + 1; all closed: C = 0.
    assert C[-1] == (1.5 if sign > 0 else 0)


@pytest.mark.parametrize("dtype", DTYPES)
def test_subnormals_are_near_zero_on_both(dtype: type) -> None:
    rng = np.random.default_rng(20)
    net = random_net(rng, INPUT, 18, dtype)
    tiny = np.finfo(dtype).smallest_subnormal
    X, h0, C0 = (np.sign(a) * 7 * tiny for a in random_case(rng, BATCH, TIME, INPUT, 18, dtype))
    found, arrays = assert_parity(net, "forward_sequence", X, h0, C0, return_state=True)
    assert found == "result"
    _, zeros = assert_parity(net, "forward_sequence", X * 0, h0 * 0, C0 * 0, return_state=True)
    for actual, expected in zip(arrays, zeros, strict=True):
        assert_close(actual, expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_decaying_state_ends_in_zero_on_native(dtype: type) -> None:
    """Without input and bias all gates are a half: C halves at each step, and no subnormal is left of it."""
    net = LSTM(1, HIDDEN, dtype=dtype, bias=False, rng=21)
    net.WC = np.zeros((HIDDEN, HIDDEN + 1))
    net.Wf = np.zeros((HIDDEN, HIDDEN + 1))
    for _, variant in list(variants(net))[1:]:
        _, (_, C) = variant.forward_sequence(np.zeros((1200, 1)), C0=np.ones(HIDDEN), return_state=True)
        assert_same_bits(C, np.zeros(HIDDEN, dtype))


@pytest.mark.parametrize("backend", ["native", "numpy"])
@pytest.mark.parametrize("which", ["X", "h0", "C0"])
def test_values_too_large_for_float32_become_infinite(which: str, backend: str) -> None:
    """Casting warns of nothing: what is past float32 is infinity there, and its gates saturate."""
    rng = np.random.default_rng(22)
    net = random_net(rng, INPUT, HIDDEN, np.float32, backend=backend)
    arrays = dict(zip(("X", "h0", "C0"), random_case(rng, BATCH, TIME, INPUT, HIDDEN, float), strict=True))
    arrays[which][0, ..., 0] = 1e300
    infinite = {name: array.copy() for name, array in arrays.items()}
    infinite[which][0, ..., 0] = np.inf
    for actual, expected in zip(
        flat(net.forward_sequence(**arrays, return_state=True)),
        flat(net.forward_sequence(**infinite, return_state=True)),
        strict=True,
    ):
        assert_same_bits(actual, expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_callers_errstate_does_not_matter(dtype: type) -> None:
    """np.errstate(all="raise") is for the caller's own arithmetic, on both backends."""
    rng = np.random.default_rng(23)
    net = random_net(rng, INPUT, HIDDEN, dtype)
    X, h0, C0 = random_case(rng, BATCH, TIME, INPUT, HIDDEN, np.float64)
    X[0], X[1], C0[2], X[3, :, 0] = 1e30, -1e4, 1e-42, np.inf
    wanted = assert_parity(net, "forward_sequence", X, h0, C0)
    with np.errstate(all="raise"):
        found = assert_parity(net, "forward_sequence", X, h0, C0)
    assert found[0] == wanted[0] == "result", found
    assert_close(found[1][0], wanted[1][0])


# Wrong input

WRONG_DTYPES: dict[str, Any] = {
    "complex": np.ones((TIME, INPUT), complex),
    "object": np.ones((TIME, INPUT), object),
    "text": np.full((TIME, INPUT), "1.0"),
    "bytes": np.full((TIME, INPUT), b"1"),
    "datetime": np.full((TIME, INPUT), np.datetime64("2020-01-01")),
    "timedelta": np.full((TIME, INPUT), np.timedelta64(1, "s")),
    "records": np.zeros((TIME, INPUT), [("value", float)]),
    "None": None,
    "a string": "some text",
    "a set": {1.0, 2.0},
    "a dict": {"X": 1.0},
    "a function": len,
    "a date": datetime.date(2020, 1, 1),
    "masked": np.ma.masked_less(np.arange(TIME * INPUT, dtype=float).reshape(TIME, INPUT), 3),
    "masked, none of it": np.ma.array(np.ones((TIME, INPUT))),
    "np.ma.masked": np.ma.masked,
    "huge integers": [[10**400] * INPUT] * TIME,
    "list with None": [[None] * INPUT] * TIME,
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("which", "kind"),
    [
        (which, kind)
        for which in ("X", "h0", "C0", "x", "h_prev", "C_prev")
        for kind in WRONG_DTYPES
        if not (kind == "None" and which in ("h0", "C0"))  # where None means zeros
    ],
)
def test_wrong_dtypes(which: str, kind: str, dtype: type) -> None:
    net = random_net(np.random.default_rng(24), INPUT, HIDDEN, dtype)
    if which in ("X", "h0", "C0"):
        arrays = {"X": np.ones((TIME, INPUT)), "h0": np.ones(HIDDEN), "C0": np.ones(HIDDEN)}
        method = "forward_sequence"
    else:
        arrays = {"x": np.ones(INPUT), "h_prev": np.ones(HIDDEN), "C_prev": np.ones(HIDDEN)}
        method = "forward"
    arrays[which] = WRONG_DTYPES[kind]
    assert_error(net, TypeError, which, method, **arrays)


@pytest.mark.parametrize("which", ["X", "h0", "C0"])
@pytest.mark.parametrize("value", [[[1.0, 2.0], [3.0]], [[1.0], 2.0]])
def test_ragged_lists(value: Any, which: str) -> None:
    net = random_net(np.random.default_rng(25), INPUT, HIDDEN, np.float64)
    arrays = {"X": np.ones((TIME, INPUT)), which: value}
    assert_error(net, ValueError, which, "forward_sequence", **arrays)


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((), "X|()"),
        ((INPUT,), f"X|({INPUT},)"),
        ((0,), "X|(0,)"),
        ((1, 1, TIME, INPUT), f"X|(1, 1, {TIME}, {INPUT})"),
        ((10, 4), f"X has 4 features a step, but this LSTM takes input_size={INPUT} (X.shape is (10, 4))"),
        ((10, 0), "X has 0 features a step"),
        ((INPUT, TIME), f"X has {TIME} features a step"),
        ((BATCH, TIME, INPUT + 1), f"X has {INPUT + 1} features a step"),
        ((BATCH, INPUT, TIME), f"X has {TIME} features a step"),
    ],
)
def test_wrong_shapes_of_a_sequence(shape: tuple[int, ...], words: str) -> None:
    net = random_net(np.random.default_rng(26), INPUT, HIDDEN, np.float64)
    assert_error(net, ValueError, words, "forward_sequence", np.ones(shape))


@pytest.mark.parametrize(
    "shape", [(), (0,), (INPUT + 1,), (INPUT, 2), (2, 2), (INPUT, INPUT + 1), (1, 2, INPUT)]
)
def test_wrong_shapes_of_a_step(shape: tuple[int, ...]) -> None:
    net = random_net(np.random.default_rng(27), INPUT, HIDDEN, np.float64)
    state = np.ones(HIDDEN)
    assert_error(net, ValueError, f"x has shape {shape}|({INPUT},)", "forward", np.ones(shape), state, state)


WRONG_STATES = {
    False: [(), (0,), (HIDDEN + 1,), (HIDDEN, 2), (2, HIDDEN), (1, 1, HIDDEN), (1, HIDDEN, 1), (INPUT,)],
    True: [
        (),
        (HIDDEN,),
        (1, HIDDEN),
        (HIDDEN, BATCH),
        (BATCH + 1, HIDDEN),
        (BATCH, 1, HIDDEN),
        (2, BATCH, HIDDEN),
        (1, 1, BATCH, HIDDEN),
        (BATCH, HIDDEN + 1),
    ],
}


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize(
    ("batched", "shape"), [(batched, shape) for batched, shapes in WRONG_STATES.items() for shape in shapes]
)
def test_wrong_shapes_of_a_state(batched: bool, shape: tuple[int, ...], which: int) -> None:
    net = random_net(np.random.default_rng(28), INPUT, HIDDEN, np.float64)
    rows = (BATCH,) if batched else ()
    right, wrong = np.ones((*rows, HIDDEN)), np.ones(shape)
    states = [right, right]
    states[which] = wrong
    words = f"has shape {shape}|but must be|{right.shape}"
    name = ("h0", "C0")[which]
    assert_error(
        net, ValueError, f"{name} {words}", "forward_sequence", np.ones((*rows, TIME, INPUT)), *states
    )
    name = ("h_prev", "C_prev")[which]
    assert_error(net, ValueError, f"{name} {words}", "forward", np.ones((*rows, INPUT)), *states)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda dtype: np.zeros((BATCH, TIME, HIDDEN + 1), dtype), ValueError, "out has shape"),
        (lambda dtype: np.zeros((TIME, HIDDEN), dtype), ValueError, "out has shape"),
        (lambda dtype: np.zeros((1, BATCH, TIME, HIDDEN), dtype), ValueError, "out has shape"),
        (lambda dtype: np.zeros((TIME, BATCH, HIDDEN), dtype), ValueError, "out has shape"),
        (lambda dtype: np.zeros((BATCH, TIME, HIDDEN), np.float16), TypeError, "out has dtype float16"),
        (lambda dtype: np.zeros((BATCH, TIME, HIDDEN), complex), TypeError, "out has dtype complex128"),
        (lambda dtype: np.zeros((BATCH, TIME, HIDDEN), object), TypeError, "out has dtype object"),
        (
            lambda dtype: np.zeros((BATCH, TIME, HIDDEN), np.dtype(dtype).newbyteorder("S")),
            TypeError,
            "out has dtype",
        ),
        (
            lambda dtype: np.zeros((BATCH, TIME, HIDDEN), DTYPES[dtype is np.float32]),
            TypeError,
            "out has dtype",
        ),
        (lambda dtype: np.broadcast_to(dtype(0), (BATCH, TIME, HIDDEN)), ValueError, "out|read-only"),
        (lambda dtype: [[[0.0] * HIDDEN] * TIME] * BATCH, TypeError, "out is a list|numpy.ndarray"),
        (lambda dtype: memoryview(np.zeros((BATCH, TIME, HIDDEN), dtype)), TypeError, "out is a memoryview"),
        (lambda dtype: dtype(0), TypeError, "out is a float"),
    ],
)
def test_wrong_out(make: Callable[[type], Any], error: type[Exception], words: str, dtype: type) -> None:
    rng = np.random.default_rng(29)
    net = random_net(rng, INPUT, HIDDEN, dtype)
    X, h0, C0 = random_case(rng, BATCH, TIME, INPUT, HIDDEN, dtype)
    assert_error(net, error, words, "forward_sequence", X, h0, C0, make_out=lambda: make(dtype))


@pytest.mark.parametrize(
    "subclass", [Labelled, np.matrix, np.ma.masked_all_like], ids=["subclass", "matrix", "masked"]
)
@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
def test_out_of_a_subclass_is_the_same_on_both(subclass: Callable[[np.ndarray], Any]) -> None:
    """Refused by both or filled by both: a mask must not hide on one what the other shows."""
    rng = np.random.default_rng(30)
    net = random_net(rng, INPUT, HIDDEN, np.float64)
    X = random_case(rng, 1, TIME, INPUT, HIDDEN, np.float64)[0][0]
    outcomes = []
    for _, variant in variants(net):
        out = np.full((TIME, HIDDEN), np.nan)
        out = out.view(Labelled) if subclass is Labelled else subclass(out)
        kind, value = outcome(variant.forward_sequence, X, out=out)
        outcomes.append((kind, np.ma.getmaskarray(value[0]).any() if kind == "result" else value))
    assert len(set(outcomes)) == 1, outcomes
    assert outcomes[0][0] in ("result", "TypeError"), outcomes


@pytest.mark.parametrize("backend", ["native", "numpy"])
def test_a_call_that_raises_changes_nothing(backend: str) -> None:
    """Everything is checked before anything is written: `out` and the net are as before."""
    rng = np.random.default_rng(31)
    net = random_net(rng, INPUT, HIDDEN, np.float64, backend=backend)
    X, h0, C0 = random_case(rng, BATCH, TIME, INPUT, HIDDEN, np.float64)
    out = np.full((BATCH, TIME, HIDDEN), 7.0)
    weights = {name: array.tobytes() for name, array in net.state_dict().items()}
    stored = net.core.cells
    for arguments in (
        {"X": X, "h0": h0[1:], "C0": C0},
        {"X": X, "h0": h0, "C0": C0 * 1j},
        {"X": X.astype(str), "h0": h0, "C0": C0},
        {"X": X[:, 1:], "h0": h0, "C0": C0},
    ):
        kind, _ = outcome(net.forward_sequence, **arguments, out=out)
        assert kind in ("ValueError", "TypeError")
        assert (out == 7).all()
    assert net.core.cells is stored
    assert {name: array.tobytes() for name, array in net.state_dict().items()} == weights


def test_results_are_new_memory() -> None:
    """Nothing returned is a view of an input or of the net, so that changing it changes nothing else."""
    rng = np.random.default_rng(32)
    net = random_net(rng, HIDDEN, HIDDEN, np.float64)
    X, h0, C0 = random_case(rng, BATCH, TIME, HIDDEN, HIDDEN, np.float64)
    for _, variant in variants(net):
        wanted = [a.copy() for a in flat(variant.forward_sequence(X, h0, C0, return_state=True))]
        results = flat(variant.forward_sequence(X, h0, C0, return_state=True))
        results += flat(variant.forward(X[:, 0], h0, C0))
        for number, result in enumerate(results):
            for other in (X, h0, C0, *results[:number]):
                assert not np.shares_memory(result, other)
            result[...] = np.nan
        for actual, expected in zip(
            flat(variant.forward_sequence(X, h0, C0, return_state=True)), wanted, strict=True
        ):
            assert_same_bits(actual, expected)


def test_no_warning_comes_from_any_of_the_special_values() -> None:
    rng = np.random.default_rng(33)
    net = random_net(rng, INPUT, HIDDEN, np.float32)
    values = np.array([0, -0.0, 1e-45, 1e38, -1e38, np.inf, -np.inf, np.nan], np.float32)
    X = rng.choice(values, (20, 10, INPUT))
    h0, C0 = rng.choice(values, (2, 20, HIDDEN))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _, variant in variants(net):
            variant.forward_sequence(X, h0, C0, return_state=True)
            variant.forward(X[:, 0], h0, C0)
