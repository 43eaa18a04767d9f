"""The same bits of every variant: on each ISA, row by row, step by step; and traces.

Shapes: B batch, T time, I input, H hidden, O features of h, L layers, D directions.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from support import DTYPES, EACH_ISA, MIXTURE_TOLERANCE, assert_close, assert_same_bits, on_isa
from variants import VARIANTS, Mixture, assert_nearly_same, fill_in, make, merged, oracle_trace

from lstm import LSTM

ONE_DIRECTION = [
    name for name, options in VARIANTS.items() if not {"bidirectional", "reverse"} & set(options)
]
BATCHES = (1, 2, 3, 7, 17, 33, 100)


def assert_one_nan(array: np.ndarray, what: str) -> None:
    """Every NaN is the positive quiet one without a payload."""
    nans = array[np.isnan(array)]
    assert_same_bits(nans, np.full_like(nans, np.nan), what)
    assert not np.signbit(nans).any(), what


@pytest.mark.parametrize("isa", EACH_ISA)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", VARIANTS)
def test_nan_and_infinity_in_some_rows(name: str, dtype: Any, isa: str) -> None:
    """They stay in their rows, have the same bits on every path, and reach what they reach in NumPy."""
    net, mixture = make(name, dtype, 20)
    clean = mixture.outputs(net)
    poisons = {3: np.nan, 8: -np.nan, 11: np.inf, 18: -np.inf}
    for row, value in poisons.items():
        mixture.X[row, 1, 2] = value
    mixture.C0[-1, 6, 3] = mixture.h0[0, 13, 1] = np.nan
    others = [row for row in range(20) if row not in (*poisons, 6, 13)]
    readable = mixture.net(backend="numpy")
    for lengths in (mixture.lengths, None):
        call = mixture._replace(lengths=lengths)
        found, generic = call.outputs(on_isa(net, isa)), call.outputs(on_isa(net, "generic"))
        with np.errstate(all="ignore"):
            in_numpy = call.outputs(readable)
        for key, array in found.items():
            assert_same_bits(array, generic[key], key)
            np.testing.assert_array_equal(np.isnan(array), np.isnan(in_numpy[key]), key)
            moved = array if key == "Y" else array.swapaxes(0, 1)
            lasting = [row for row in range(20) if lengths is None or lengths[row] > 0]
            assert_one_nan(moved[lasting], key)
            if lengths is not None:
                before = clean[key] if key == "Y" else clean[key].swapaxes(0, 1)
                assert_same_bits(moved[others], before[others], key)
        trace = on_isa(net, isa).trace(mixture.X, mixture.h0, mixture.C0, lengths=lengths)
        for field, array in trace._asdict().items():
            assert_one_nan(array, field)
        for row in (3, 8, 11):
            one = slice(row, row + 1)
            alone = Mixture(
                call.arguments,
                dtype,
                call.X[one],
                call.h0[:, one],
                call.C0[:, one],
                None if lengths is None else lengths[one],
                call.state,
            ).outputs(on_isa(net, isa))
            assert_same_bits(alone["Y"][0], found["Y"][row])
            assert_same_bits(alone["C_n"][:, 0], found["C_n"][:, row])


def rows_alone(net: LSTM, mixture: Mixture) -> Iterator[tuple[int, np.ndarray, np.ndarray, np.ndarray]]:
    """(row, Y, h_n, C_n) of every row by itself, cut to its length."""
    assert mixture.lengths is not None
    for row, length in enumerate(mixture.lengths):
        Y, (h, C) = net.forward_sequence(
            mixture.X[row : row + 1, :length],
            mixture.h0[:, row : row + 1],
            mixture.C0[:, row : row + 1],
            return_state=True,
        )
        yield row, Y[0], h[:, 0], C[:, 0]


@pytest.mark.parametrize("isa", EACH_ISA)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", VARIANTS)
def test_the_same_bits_on_every_path(name: str, dtype: Any, isa: str) -> None:
    """In batches of any size with lengths, rows alone, `out` given, and on the plain-C path."""
    plain_c, _ = make(name, dtype, 1)
    for batch in BATCHES:
        net, mixture = make(name, dtype, batch)
        assert mixture.lengths is not None
        net = on_isa(net, isa)
        for row, length in enumerate(mixture.lengths):
            mixture.X[row, length:] = [np.nan, np.inf, 3e38][row % 3]
        found = mixture.outputs(net)
        for key, array in mixture.outputs(on_isa(plain_c, "generic")).items():
            assert_same_bits(found[key], array, f"{batch} rows, {key}")
        out = np.full_like(found["Y"], 7)
        given_out = net.forward_sequence(mixture.X, mixture.h0, mixture.C0, lengths=mixture.lengths, out=out)
        assert given_out is out
        assert_same_bits(out, found["Y"])
        for row, Y, h, C in rows_alone(net, mixture):
            assert_same_bits(found["Y"][row, : len(Y)], Y, f"row {row} of {batch}")
            assert not found["Y"][row, len(Y) :].any()
            assert_same_bits(found["h_n"][:, row], h, f"row {row} of {batch}")
            assert_same_bits(found["C_n"][:, row], C, f"row {row} of {batch}")


@pytest.mark.parametrize("isa", EACH_ISA)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch", [1, 3, 20])
@pytest.mark.parametrize("name", ONE_DIRECTION)
def test_the_same_bits_step_by_step(name: str, batch: int, dtype: Any, isa: str) -> None:
    """A sequence at once, by forward, by a stream's steps and chunks, and in chunks of forward_sequence."""
    net, mixture = make(name, dtype, batch)
    net = on_isa(net, isa)
    X, h0, C0 = mixture.X, mixture.h0, mixture.C0
    Y, (h_n, C_n) = net.forward_sequence(X, h0, C0, return_state=True)
    h, C = h0, C0
    stepped, chunked = net.stream(batch), net.stream(batch)
    stepped.state = chunked.state = (h0, C0)
    for t in range(X.shape[1]):
        h, C = net.forward(np.ascontiguousarray(X[:, t]), h, C)
        assert_same_bits(h[-1], Y[:, t], f"forward, step {t}")
        out = np.empty_like(Y[:, t])
        assert stepped.step(np.ascontiguousarray(X[:, t]), out) is out
        assert_same_bits(out, Y[:, t], f"stream, step {t}")
    assert_same_bits(np.concatenate([chunked.run(X[:, :2]), chunked.run(X[:, 2:])], axis=1), Y)
    for found in ((h, C), stepped.state, chunked.state):
        assert_same_bits(found[0], h_n)
        assert_same_bits(found[1], C_n)


@pytest.mark.parametrize("backend", ["native", "numpy"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", VARIANTS)
def test_a_trace_is_what_is_computed(name: str, dtype: Any, backend: str) -> None:
    """h and C of the trace are those of forward_sequence, and all six arrays are the oracle's."""
    _, mixture = make(name, dtype, 5)
    mixture = fill_in(mixture)
    assert mixture.lengths is not None
    net = mixture.net(backend=backend)
    for lengths in (None, mixture.lengths):
        call = mixture._replace(lengths=lengths)
        found = call.outputs(net)
        trace = net.trace(mixture.X, mixture.h0, mixture.C0, lengths=lengths)
        for field, values in oracle_trace(call).items():
            assert_close(getattr(trace, field), values, field, MIXTURE_TOLERANCE)
        sides = 2 if net.bidirectional else 1
        same = assert_same_bits if backend == "native" or lengths is None else assert_nearly_same
        same(merged(trace.h[-sides:], net.merge), found["Y"])
        for k in range(len(net.layers)):
            backward = net.reverse or k % sides == 1
            for row, length in enumerate([6] * 5 if lengths is None else lengths):
                last = 0 if backward else length - 1
                same(trace.C[k, row, last] if length else mixture.C0[k, row], found["C_n"][k, row])
                same(trace.h[k, row, last] if length else mixture.h0[k, row], found["h_n"][k, row])
                assert not any(values[k, row, length:].any() for values in trace)
        single = net.trace(mixture.X[0], mixture.h0[:, 0], mixture.C0[:, 0])
        assert [values.ndim for values in single] == [3] * 6


@pytest.mark.parametrize("isa", EACH_ISA)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", VARIANTS)
def test_a_trace_has_the_same_bits_on_every_isa(name: str, dtype: Any, isa: str) -> None:
    """In one pass of rows and in several, with a block of time and step by step."""
    for batch in (1, 20, 100):
        net, mixture = make(name, dtype, batch)
        call = mixture.X, mixture.h0, mixture.C0
        expected = on_isa(net, "generic").trace(*call)
        for field, values in on_isa(net, isa).trace(*call)._asdict().items():
            assert_same_bits(values, getattr(expected, field), f"{batch} rows, {field}")
        alone = net.trace(mixture.X[-1:], mixture.h0[:, -1:], mixture.C0[:, -1:])
        for field, values in alone._asdict().items():
            assert_same_bits(values[:, 0], getattr(expected, field)[:, -1], f"last of {batch} rows, {field}")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch", [1, 3, 6])
@pytest.mark.parametrize("hidden", [2, 4, 8, 16, 20])
@pytest.mark.parametrize("isa", EACH_ISA)
def test_nets_of_one_tile(isa: str, hidden: int, batch: int, dtype: Any) -> None:
    """Nets small enough for a tile to do many time steps: all gates, with lengths and without."""
    rng = np.random.default_rng(hidden)
    options: dict[str, Any] = {"bidirectional": True, "peephole": True, "init": "pytorch"}
    net = on_isa(LSTM(3, hidden, **options, rng=rng, dtype=dtype), isa)
    plain = LSTM.from_state_dict(net.state_dict(), backend="numpy")
    X = rng.standard_normal((batch, 9, 3)).astype(dtype)
    h0, C0 = (rng.uniform(-1, 1, (2, batch, hidden)).astype(dtype) for _ in range(2))
    for lengths in (None, rng.permutation(9)[:batch]):
        expected = plain.trace(X, h0, C0, lengths=lengths)
        for field, values in net.trace(X, h0, C0, lengths=lengths)._asdict().items():
            assert_close(values, getattr(expected, field), field, MIXTURE_TOLERANCE)
        found = net.forward_sequence(X, h0, C0, lengths=lengths, return_state=True)
        wanted = plain.forward_sequence(X, h0, C0, lengths=lengths, return_state=True)
        for one, other in zip((found[0], *found[1]), (wanted[0], *wanted[1]), strict=True):
            assert_close(one, other, "outputs", MIXTURE_TOLERANCE)


@pytest.mark.parametrize("backend", ["native", "numpy"])
@pytest.mark.parametrize("name", VARIANTS)
def test_length_zero_carries_the_state(name: str, backend: str) -> None:
    _, mixture = make(name, np.float32, 4)
    mixture.h0[0, 1, 0] = np.frombuffer(b"\x01\x00\xc0\x7f", np.float32)[0]  # a NaN with a payload
    found = mixture._replace(lengths=np.zeros(4, int)).outputs(mixture.net(backend=backend))
    assert not found["Y"].any()
    assert_same_bits(found["h_n"], mixture.h0)
    assert_same_bits(found["C_n"], mixture.C0)
