"""Layers, directions, projections, peepholes, lengths and options: outputs, bits, errors.

Against an oracle of its own, against PyTorch and ONNX Runtime where they are installed, and native against
NumPy on every ISA.

Shapes: B batch, T time, I input, H hidden, O features of h, L layers, D directions.
"""

from __future__ import annotations

import copy
import importlib.util
import json
import pickle
import sys
import threading
import types
import unittest
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import variant_peers
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from support import (
    DATA,
    DTYPES,
    EACH_ISA,
    ISAS,
    MIXTURE_TOLERANCE,
    assert_close,
    assert_same_bits,
    awkward_arrays,
    misaligned,
    on_isa,
    peak_of,
)
from variants import FUNCTIONS, OPTIONS, VARIANTS, Mixture, draw, make, merged, oracle, oracle_trace

import lstm
from lstm import LSTM, _kernel
from lstm.formats.onnx.node import GATES_FROM_ONNX, PEEPHOLES_FROM_ONNX

ONE_DIRECTION = [
    name for name, options in VARIANTS.items() if not {"bidirectional", "reverse"} & set(options)
]
BATCHES = (1, 2, 3, 7, 17, 33, 100)


def assert_outputs_close(actual: dict[str, np.ndarray], expected: dict[str, np.ndarray], what: str) -> None:
    for name, array in expected.items():
        assert_close(actual[name], array, f"{what} {name}", MIXTURE_TOLERANCE)


def is_tame(outputs: dict[str, np.ndarray]) -> bool:
    """Whether nothing has grown without bound, as unbounded activations may."""
    return all(np.isfinite(array).all() and np.abs(array).max(initial=0) < 100 for array in outputs.values())


def each_mixture(count: int, test: Callable[[np.random.Generator, Any], None]) -> None:
    """Run `test` on `count` examples of a generator and a dtype, the same ones at every run."""

    @settings(max_examples=count, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(st.integers(0, 2**32 - 1), st.sampled_from(DTYPES))
    def run(seed: int, dtype: Any) -> None:
        test(np.random.default_rng(seed), dtype)

    run()


def nets_of(mixture: Mixture) -> Iterator[tuple[str, LSTM]]:
    """The net of a mixture in NumPy and on every ISA of this CPU."""
    yield "NumPy", mixture.net(backend="numpy")
    native = mixture.net()
    for isa in _kernel.SUPPORTED_ISAS:
        yield isa, on_isa(native, isa)


# Outputs


def test_mixtures_against_the_oracle(mixtures: int) -> None:
    """Both backends, and the native one on every ISA of this CPU, which give the same bits."""

    def test(rng: np.random.Generator, dtype: Any) -> None:
        mixture = draw(rng, dtype)
        expected = oracle(mixture)
        assume(is_tame(expected))
        outputs = {where: mixture.outputs(net) for where, net in nets_of(mixture)}
        for where, found in outputs.items():
            assert_outputs_close(found, expected, where)
            assert_outputs_close(found, outputs["NumPy"], where)
            if where != "NumPy":
                for name, array in found.items():
                    assert_same_bits(array, outputs["generic"][name], f"{where} {name}")

    each_mixture(4 * mixtures, test)


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_each_variant_matters(name: str, dtype: Any) -> None:
    """Each option changes the outputs, on both backends, and the oracle agrees with them."""
    _, mixture = make(name, dtype, 4)
    expected = oracle(fill_in(mixture))
    for backend in ("native", "numpy"):
        assert_outputs_close(mixture.outputs(mixture.net(backend=backend)), expected, backend)
    for option in OPTIONS:
        if option in VARIANTS[name]:
            other = {key: value for key, value in mixture.arguments.items() if key != option}
            if option == "merge":  # of the same size as before, for the next layer's weights
                other[option] = "mean" if mixture.arguments[option] == "sum" else "sum"
            without = mixture._replace(arguments=other)
            Y = without.outputs(without.net())["Y"]
            assert np.abs(Y - expected["Y"]).max() > 1e-3, option


def fill_in(mixture: Mixture) -> Mixture:
    """The mixture with every argument that the oracle looks at."""
    defaults: dict[str, Any] = {"num_layers": 1, "bidirectional": False, "reverse": False, "proj_size": 0}
    defaults |= {"clip": None, "input_forget": False, "activations": None}
    return mixture._replace(arguments={**defaults, **mixture.arguments})


def test_mixtures_against_pytorch(mixtures: int) -> None:
    """Layers, directions, projections, biases, packed sequences."""
    pytest.importorskip("torch")

    def test(rng: np.random.Generator, dtype: Any) -> None:
        mixture = variant_peers.for_pytorch(rng, dtype)
        expected = variant_peers.pytorch_outputs(mixture)
        for where, net in nets_of(mixture):
            assert_outputs_close(mixture.outputs(net), expected, where)

    each_mixture(2 * mixtures, test)


def test_mixtures_against_onnx_runtime(mixtures: int) -> None:
    """Peepholes, clip, coupled gates, activations, directions and lengths of the operator, in float32."""
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")

    def test(rng: np.random.Generator, _: Any) -> None:
        mixture = variant_peers.for_onnx_runtime(rng)
        assume(is_tame(oracle(mixture)))
        expected = variant_peers.onnx_outputs(mixture)
        for where, net in nets_of(mixture):
            assert_outputs_close(mixture.outputs(net), expected, where)

    each_mixture(2 * mixtures, test)


def recorded() -> dict[str, dict[str, np.ndarray]]:
    """Arrays of every recorded case by name."""
    cases: dict[str, dict[str, np.ndarray]] = {}
    with np.load(DATA / "variants.npz") as file:
        for key, array in file.items():
            case, name = key.split("/")
            cases.setdefault(case, {})[name] = array
    return cases


RECORDED = recorded()


def test_every_option_is_recorded() -> None:
    """With lengths and without, and each function of the operator."""
    arguments = [json.loads(str(case["arguments"])) for case in RECORDED.values()]
    for name in ("bidirectional", "reverse", "proj_size", "bias", "peephole", "clip", "input_forget"):
        assert {bool(one[name]) for one in arguments} == {True, False}, name
    assert {one["num_layers"] for one in arguments} == {1, 2, 3}
    functions = [f for one in arguments for f in one["activations"] or []]
    assert {(f if isinstance(f, str) else f[0]).lower() for f in functions} == set(map(str.lower, FUNCTIONS))
    for peer in ("pytorch", "onnxruntime"):
        cases = [case for name, case in RECORDED.items() if name.startswith(peer)]
        assert {"lengths" in case for case in cases} == {True, False}


@pytest.mark.parametrize("backend", ["native", "numpy"])
@pytest.mark.parametrize("case", RECORDED)
def test_recorded_outputs_of_peers(case: str, backend: str) -> None:
    """What PyTorch and ONNX Runtime gave, made by generate_variant_oracles.py."""
    mixture, expected = variant_peers.replayed(RECORDED[case])
    assert_outputs_close(mixture.outputs(mixture.net(backend=backend)), expected, case)


# Activations

FUNCTION_CASES: list[Any] = [
    "Sigmoid",
    "Tanh",
    "Relu",
    ("Affine", 0.7, -0.4),
    ("LeakyRelu", 0.3),
    ("ThresholdedRelu", 0.75),
    ("ThresholdedRelu", -0.75),
    ("ScaledTanh", 0.9, 1.3),
    ("HardSigmoid", 0.3, 0.4),
    ("Elu", 0.8),
    "Softsign",
    "Softplus",
]
FUNCTION_NAMES = [str(case) for case in FUNCTION_CASES]


def arguments_of_functions(dtype: Any) -> np.ndarray:
    """(n,): of every size and sign, dense where the functions bend, and what is special; no subnormals."""
    rng = np.random.default_rng(0)
    limits = np.finfo(dtype)
    spread = np.exp(rng.uniform(np.log(limits.smallest_normal) + 3, 6, 3000))
    special = [0.0, 0.75, 1.0, np.inf, limits.max, limits.smallest_normal, 1e30, 88.0, 705.0]
    values = np.concatenate([spread, np.linspace(0, 8, 2000), np.linspace(0, 100, 500), special]).astype(
        dtype
    )
    near = np.concatenate([np.nextafter(dtype(0.75), dtype([0, 1])), dtype([np.nan])])
    return np.concatenate([values, -values, near, -near])


def through_a_net(function: Any, place: str, values: np.ndarray, **options: Any) -> np.ndarray:
    """(n,) -> (n,): `function` as a net of one unit and n rows computes it in one of its places."""
    constant = ("Affine", 0.0, 1.0)  # a gate that is open
    usual = {"gates": "Sigmoid", "candidate": "Tanh", "cell output": "Tanh"}
    if place == "cell output":
        usual["gates"] = constant  # type: ignore[assignment]
    functions = {**usual, place: function}
    state = {name: np.zeros_like(w) for name, w in LSTM(1, 1, dtype=values.dtype).state_dict().items()}
    isa = options.pop("isa", None)
    if place != "cell output":
        state["weight_ih_l0"][:] = 1
    net = LSTM.from_state_dict(state, activations=list(functions.values()), **options)
    net = net if isa is None else on_isa(net, isa)
    n, dtype = len(values), values.dtype
    X = np.zeros((n, 1, 1), dtype) if place == "cell output" else values.reshape(n, 1, 1)
    C0 = values.reshape(1, n, 1) if place == "cell output" else np.zeros((1, n, 1), dtype)
    trace = net.trace(X, np.zeros((1, n, 1), dtype), C0)
    if place == "gates":
        for other in (trace.f, trace.o):
            assert_same_bits(other, trace.i)
    found = {"gates": trace.i, "candidate": trace.g, "cell output": trace.h}[place]
    return found[0, :, 0, 0]


@np.errstate(all="ignore")
def true_values(function: Any, values: np.ndarray) -> np.ndarray:
    """(n,) -> (n,): the function in long double, its parameters as the net's dtype holds them."""
    name, *parameters = function if isinstance(function, tuple) else (function,)
    a, b, *_ = (*(np.longdouble(values.dtype.type(p)) for p in parameters), 0, 0)
    z = values.astype(np.longdouble)
    exp_of_minus_size = np.exp(-np.abs(z))
    by_name = {
        "Sigmoid": lambda: 1 / (1 + np.exp(-z)),
        "Tanh": lambda: np.tanh(z),
        "Relu": lambda: np.maximum(z, 0),
        "Affine": lambda: a * z + b,
        "LeakyRelu": lambda: np.where(z < 0, a * z, z),
        "ThresholdedRelu": lambda: np.where(z <= a, 0, z),
        "ScaledTanh": lambda: a * np.tanh(b * z),
        "HardSigmoid": lambda: np.clip(a * z + b, 0, 1),
        "Elu": lambda: np.where(z < 0, a * np.expm1(z), z),
        "Softsign": lambda: np.where(np.isinf(z), np.sign(z), z / (1 + np.abs(z))),
        "Softplus": lambda: np.maximum(z, 0) + np.log1p(exp_of_minus_size),
    }
    return by_name[name]()


@pytest.mark.parametrize("isa", EACH_ISA)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("place", ["gates", "candidate", "cell output"])
@pytest.mark.parametrize("function", FUNCTION_CASES, ids=FUNCTION_NAMES)
def test_each_function_in_each_place(function: Any, place: str, dtype: Any, isa: str) -> None:
    """Within 3 ULP, infinities as the function has them, NaN of NaN alone, the same bits on every ISA."""
    values = arguments_of_functions(dtype)
    found = through_a_net(function, place, values, isa=isa)
    assert_same_bits(found, through_a_net(function, place, values, isa="generic"))
    expected = true_values(function, values)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(values))
    with np.errstate(over="ignore"):
        rounded = expected.astype(dtype)
    finite = np.isfinite(rounded)
    np.testing.assert_array_equal(found[~finite & ~np.isnan(values)], rounded[~finite & ~np.isnan(values)])
    limits = np.finfo(dtype)
    error = np.abs(found[finite].astype(np.longdouble) - expected[finite])
    allowed = 3 * np.spacing(np.clip(np.abs(rounded[finite]), limits.smallest_normal, limits.max / 2))
    # What is too small counts as zero.
    allowed = np.where(
        np.abs(expected[finite]) < 2 * limits.smallest_normal, 2 * limits.smallest_normal, allowed
    )
    worst = np.argmax(error / allowed)
    assert error[worst] <= allowed[worst], (values[finite][worst], found[finite][worst])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("place", ["gates", "candidate", "cell output"])
@pytest.mark.parametrize("function", FUNCTION_CASES, ids=FUNCTION_NAMES)
def test_each_function_in_numpy(function: Any, place: str, dtype: Any) -> None:
    values = arguments_of_functions(dtype)
    values = values[~(np.abs(values) > 1e4) | np.isinf(values)]
    found = through_a_net(function, place, values, backend="numpy")
    assert_close(found, true_values(function, values).astype(dtype))


# The same bits


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
        same = assert_same_bits if backend == "native" or lengths is None else close
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


def close(actual: np.ndarray, expected: np.ndarray) -> None:
    """As assert_same_bits is called."""
    assert_close(actual, expected)


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


def test_many_steps_in_many_chunks() -> None:
    """Layers take turns on chunks of time, forward and backward, whatever X must be converted from."""
    for options in ({"reverse": True}, {}, {"bidirectional": True}):
        net = LSTM(3, 6, num_layers=2, rng=3, init="pytorch", **options)  # type: ignore[arg-type]
        X = np.random.default_rng(4).standard_normal((2, 100_000, 3)).astype(np.float32)
        lengths = np.array([99_999, 12_345])
        Y = net.forward_sequence(X, lengths=lengths)
        Z = net.forward_sequence(X[1, :12_345].astype(np.float64))
        assert_same_bits(Y[1, :12_345], Z)
        assert not Y[1, 12_345:].any()


@pytest.mark.parametrize("options", [{"num_layers": 3}, {"num_layers": 3, "reverse": True}])
def test_memory_between_layers_does_not_grow_with_time(options: dict[str, Any]) -> None:
    net = LSTM(1, 4, rng=0, **options)
    X = np.zeros((200_000, 1))
    out = np.empty((200_000, 4))
    assert peak_of(lambda: net.forward_sequence(X, out=out)) < out.nbytes
    with_conversion = LSTM(8, 1, bidirectional=True, rng=0, dtype=np.float32)
    wide, narrow = np.zeros((200_000, 8)), np.empty((200_000, 2), np.float32)
    assert peak_of(lambda: with_conversion.forward_sequence(wide, out=narrow)) < wide.nbytes // 4


# Arrays and arguments


@pytest.mark.parametrize("backend", ["native", "numpy"])
@pytest.mark.parametrize("name", ["one-direction mixture", "two-direction mixture", "reversed mixture"])
def test_awkward_arrays(name: str, backend: str) -> None:
    _, mixture = make(name, np.float64, 5)
    net = mixture.net(backend=backend)
    expected = mixture.outputs(net)
    for field in ("X", "h0", "C0"):
        for what, array in awkward_arrays(getattr(mixture, field)):
            found = mixture._replace(**{field: array}).outputs(net)
            for key, values in expected.items():
                assert_same_bits(found[key], values, f"{field} {what}: {key}")


WRONG_ARGUMENTS: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "no layers": ({"num_layers": 0}, ValueError, "num_layers is 0"),
    "half a layer": ({"num_layers": 1.5}, TypeError, "num_layers is 1.5"),
    "a flag that is none": ({"bidirectional": 1}, TypeError, "bidirectional is 1"),
    "reverse text": ({"reverse": "yes"}, TypeError, "reverse is 'yes'"),
    "both and reverse": ({"bidirectional": True, "reverse": True}, ValueError, "reverse is True"),
    "a projection too large": ({"proj_size": 5}, ValueError, "proj_size is 5"),
    "a negative projection": ({"proj_size": -1}, ValueError, "proj_size is -1"),
    "a projection of True": ({"proj_size": True}, TypeError, "proj_size is True"),
    "no number to clip at": ({"clip": "1"}, TypeError, "clip is '1'"),
    "clip at zero": ({"clip": 0}, ValueError, "clip is 0"),
    "clip at NaN": ({"clip": np.nan}, ValueError, "clip is nan"),
    "clip at infinity": ({"clip": np.inf}, ValueError, "clip is inf"),
    "clip past every float": ({"clip": 10**400}, ValueError, "clip is an integer that no float can hold"),
    "an unknown merge": ({"bidirectional": True, "merge": "max"}, ValueError, "merge is 'max'"),
    "no merge": ({"bidirectional": True, "merge": None}, TypeError, "merge is None"),
    "nothing to merge": ({"merge": "sum"}, ValueError, "merge is 'sum', but only a bidirectional net"),
    "a negative cell_clip": ({"cell_clip": -1.0}, ValueError, "cell_clip is -1.0"),
    "no number for cell_clip": ({"cell_clip": True}, TypeError, "cell_clip is True"),
    "proj_clip at zero": ({"proj_size": 2, "proj_clip": 0}, ValueError, "proj_clip is 0"),
    "proj_clip of nothing": (
        {"proj_clip": 1.0},
        ValueError,
        "proj_clip is 1.0, but the net has no projection",
    ),
    "too few activations": ({"activations": ["Tanh"]}, ValueError, "activations has 1"),
    "four for two directions": (
        {"bidirectional": True, "activations": ["Tanh"] * 4},
        ValueError,
        "activations has 4 entries, but must have 3 or 6",
    ),
    "activations as text": ({"activations": "Tanh"}, TypeError, "activations is 'Tanh'"),
    "an unknown activation": ({"activations": ["Tanh", "Gelu", "Tanh"]}, ValueError, "'Gelu'"),
    "a parameter too many": ({"activations": [("Tanh", 1.0), "Tanh", "Tanh"]}, ValueError, "no alpha"),
    "a beta too many": ({"activations": [("Elu", 1.0, 2.0), "Tanh", "Tanh"]}, ValueError, "no beta"),
    "a parameter of text": ({"activations": [("Elu", "1"), "Tanh", "Tanh"]}, TypeError, "alpha"),
    "a parameter of NaN": ({"activations": [("Elu", np.nan), "Tanh", "Tanh"]}, ValueError, "alpha"),
    "a parameter past every float": (
        {"activations": [("Elu", 10**400), "Tanh", "Tanh"]},
        ValueError,
        "alpha of the activation Elu is an integer that no float can hold",
    ),
    "a function": ({"activations": [np.tanh, "Tanh", "Tanh"]}, TypeError, "an activation is"),
}


@pytest.mark.parametrize("name", WRONG_ARGUMENTS)
def test_wrong_arguments(name: str) -> None:
    arguments, error, match = WRONG_ARGUMENTS[name]
    with pytest.raises(error, match=match):
        LSTM(3, 5, **arguments)


WRONG_LENGTHS: dict[str, tuple[Any, type[Exception], str]] = {
    "too many": ([1, 2, 3, 4, 5], ValueError, r"lengths has shape \(5,\), but must be \(4,\)"),
    "one number": (3, ValueError, "lengths has shape"),
    "a column": (np.ones((4, 1), int), ValueError, "lengths has shape"),
    "negative": ([1, 2, -1, 3], ValueError, "from -1 to 3, but they must be from 0 to 6"),
    "past the end": ([1, 2, 7, 3], ValueError, "from 1 to 7"),
    "floating-point": ([1.0, 2.0, 3.0, 4.0], TypeError, "lengths has dtype float64"),
    "bool": ([True, False, True, True], TypeError, "lengths has dtype bool"),
    "text": (["1", "2", "3", "4"], TypeError, "lengths has dtype"),
    "huge": (np.array([2**64 - 1, 1, 1, 1], np.uint64), ValueError, "18446744073709551615"),
}


@pytest.mark.parametrize("backend", ["native", "numpy"])
@pytest.mark.parametrize("name", WRONG_LENGTHS)
def test_wrong_lengths(name: str, backend: str) -> None:
    lengths, error, match = WRONG_LENGTHS[name]
    _, mixture = make("two-direction mixture", np.float64, 4)
    net = mixture.net(backend=backend)
    out = np.full((4, 6, 10), 7.0)
    with pytest.raises(error, match=match):
        net.forward_sequence(mixture.X, lengths=lengths, out=out)
    assert (out == 7).all()
    with pytest.raises(error, match=match):
        net.trace(mixture.X, lengths=lengths)
    with pytest.raises(ValueError, match="single sequence"):
        net.forward_sequence(mixture.X[0], lengths=[6])


def test_lengths_of_any_integers() -> None:
    net, mixture = make("plain", np.float32, 4)
    lengths = np.array([3, 0, 6, 2])
    expected = net.forward_sequence(mixture.X, lengths=lengths)
    for dtype in (np.int8, np.uint8, np.int32, np.uint64, ">i4"):
        assert_same_bits(net.forward_sequence(mixture.X, lengths=lengths.astype(dtype)), expected)
    for odd in (np.repeat(lengths, 3)[::3], lengths[::-1].copy()[::-1], misaligned(lengths)):
        assert_same_bits(net.forward_sequence(mixture.X, lengths=odd), expected)
    assert_same_bits(net.forward_sequence(mixture.X, lengths=[3, 0, 6, 2]), expected)
    assert net.forward_sequence(np.ones((0, 6, 5)), lengths=[]).shape == (0, 6, 35)
    assert net.forward_sequence(np.ones((2, 0, 5)), lengths=[0, 0]).shape == (2, 0, 35)


@pytest.mark.parametrize("backend", ["native", "numpy"])
def test_state_shapes(backend: str) -> None:
    """(L D, O) and (L D, B, O) for h, H for C; a state that is not given comes in the form of the other."""
    net = LSTM(3, 6, num_layers=2, bidirectional=True, proj_size=4, rng=0, backend=backend)  # type: ignore[arg-type]
    X = np.random.default_rng(1).standard_normal((5, 7, 3))
    h0, C0 = np.ones((4, 5, 4)), np.ones((4, 5, 6))
    Y, (h, C) = net.forward_sequence(X, h0, C0, return_state=True)
    assert (Y.shape, h.shape, C.shape) == ((5, 7, 8), (4, 5, 4), (4, 5, 6))
    Y, (h, C) = net.forward_sequence(X[0], h0[:, 0], return_state=True)
    assert (Y.shape, h.shape, C.shape) == ((7, 8), (4, 4), (4, 6))
    for wrong in (h0[:2], h0[:, :4], h0[0], C0, h0[:, 0]):
        with pytest.raises(ValueError, match=r"h0 has shape .* but must be \(4, 5, 4\)"):
            net.forward_sequence(X, wrong)
    with pytest.raises(ValueError, match=r"C0 has shape .* but must be \(4, 5, 6\)"):
        net.forward_sequence(X, C0=h0)
    one = LSTM(3, 6, proj_size=4, rng=0, backend=backend)  # type: ignore[arg-type]
    for form, (h_shape, C_shape) in {
        (4,): ((4,), (6,)),
        (1, 4): ((1, 4), (1, 6)),
        (4, 1): ((4, 1), (6, 1)),
    }.items():
        _, (h, C) = one.forward_sequence(X[0], np.ones(form), return_state=True)
        assert (h.shape, C.shape) == (h_shape, C_shape)


@pytest.mark.parametrize("backend", ["native", "numpy"])
def test_what_runs_from_the_end_has_no_stream(backend: str) -> None:
    for options in ({"bidirectional": True}, {"reverse": True}):
        net = LSTM(3, 5, backend=backend, **options)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="starts at the end"):
            net.stream()
    both = LSTM(3, 5, bidirectional=True, backend=backend)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="bidirectional"):
        both.forward(np.ones(3), np.zeros((2, 5)), np.zeros((2, 5)))


# Weights


@pytest.mark.parametrize("backend", ["native", "numpy"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", VARIANTS)
def test_weights_come_and_go(name: str, dtype: Any, backend: str, tmp_path: Any) -> None:
    """State dicts, pickles, copies and files give the same bits."""
    _, mixture = make(name, dtype, 3)
    net = mixture.net(backend=backend)
    assert repr(eval(repr(net), {"LSTM": LSTM, "float32": "float32", "float64": "float64"})) == repr(net)
    expected = mixture.outputs(net)
    net.save(tmp_path / "net.npz")
    loaded = LSTM(**{"input_size": 5, "hidden_size": 35, **mixture.arguments}, dtype=dtype, backend=backend)
    loaded.load_state_dict(net.state_dict())
    others = {
        "pickle": pickle.loads(pickle.dumps(net)),
        "copy": copy.copy(net),
        "deepcopy": copy.deepcopy(net),
        "file": lstm.load(tmp_path / "net.npz", backend=backend),  # type: ignore[arg-type]
        "load_state_dict": loaded,
    }
    for how, other in others.items():
        assert repr(other) == repr(net), how
        for key, array in net.state_dict().items():
            assert_same_bits(other.state_dict()[key], array, f"{how} {key}")
        for key, array in mixture.outputs(other).items():
            assert_same_bits(array, expected[key], f"{how} {key}")


@pytest.mark.parametrize("backend", ["native", "numpy"])
def test_layers_show_and_set_the_weights(backend: str) -> None:
    """Each array of each layer is that of the state dict, and setting one sets it alone."""
    net = LSTM(
        3,
        6,
        num_layers=2,
        bidirectional=True,
        proj_size=4,
        peephole=True,
        init="pytorch",
        rng=1,
        backend=backend,  # type: ignore[arg-type]
    )
    assert len(net.layers) == 4
    gates = {"i": 0, "f": 1, "C": 2, "o": 3}
    for k, layer in enumerate(net.layers):
        suffix = f"_l{k // 2}" + "_reverse" * (k % 2)
        for gate, place in gates.items():
            rows = slice(6 * place, 6 * place + 6)
            state = net.state_dict()
            W = np.concatenate([state["weight_hh" + suffix][rows], state["weight_ih" + suffix][rows]], axis=1)
            assert_same_bits(getattr(layer, "W" + gate), W)
            assert_same_bits(getattr(layer, "b" + gate)[:, 0], state["bias_ih" + suffix][rows])
            setattr(layer, "W" + gate, W + 1)
            setattr(layer, "b" + gate, np.arange(6.0))
            state["weight_hh" + suffix][rows] = W[:, :4] + 1
            state["weight_ih" + suffix][rows] = W[:, 4:] + 1
            state["bias_ih" + suffix][rows] = np.arange(6.0)
            for key, array in net.state_dict().items():
                assert_same_bits(array, state[key], key)
        for place, gate in enumerate("ifo"):
            p = getattr(layer, "p" + gate)
            assert_same_bits(p[:, 0], net.state_dict()["weight_ch" + suffix][6 * place : 6 * place + 6])
            setattr(layer, "p" + gate, p - 2)
            assert_same_bits(getattr(layer, "p" + gate), p - 2)
            with pytest.raises(ValueError, match="read-only"):
                p[0] = 1
        assert layer.Whr is not None
        assert_same_bits(layer.Whr, net.state_dict()["weight_hr" + suffix])
        layer.Whr = layer.Whr * 3
        assert_same_bits(layer.Whr, net.state_dict()["weight_hr" + suffix])
    with pytest.raises(AttributeError, match=r"net\.layers\[k\]\.Wf"):
        _ = net.Wf
    plain = LSTM(3, 6, rng=0)
    with pytest.raises(ValueError, match="peephole=False"):
        plain.layers[0].pi = np.ones(6)
    with pytest.raises(ValueError, match="proj_size=0"):
        plain.layers[0].Whr = np.ones((3, 6))
    assert plain.layers[0].Whr is None
    assert not plain.layers[0].pf.any()


def test_load_state_dict_of_another_net() -> None:
    net = LSTM(3, 6, num_layers=2, rng=0)
    before = {name: array.tobytes() for name, array in net.state_dict().items()}
    others = (
        LSTM(3, 6, num_layers=3),
        LSTM(3, 6, num_layers=2, bidirectional=True),
        LSTM(3, 6, num_layers=2, proj_size=2),
        LSTM(3, 6, num_layers=2, peephole=True),
    )
    for other in others:
        with pytest.raises(ValueError, match="the state dict is of an LSTM with"):
            net.load_state_dict(other.state_dict())
    state = net.state_dict()
    del state["weight_hh_l1"]
    with pytest.raises(ValueError, match="lacks weight_hh_l1"):
        net.load_state_dict(state)
    with pytest.raises(ValueError, match="weight_ih_l999999"):
        net.load_state_dict({**net.state_dict(), "weight_ih_l999999": np.ones(3)})
    assert {name: array.tobytes() for name, array in net.state_dict().items()} == before


def test_the_names_stand_in_pytorchs_order() -> None:
    """As `list(torch.nn.LSTM(3, 5, 2, bidirectional=True, proj_size=2).state_dict())`; peepholes last."""
    endings = ("_l0", "_l0_reverse", "_l1", "_l1_reverse")
    kinds = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr", "weight_ch")
    net = LSTM(3, 5, num_layers=2, bidirectional=True, proj_size=2, peephole=True)
    assert list(net.state_dict()) == [kind + ending for ending in endings for kind in kinds]
    shapes = [array.shape for array in net.state_dict().values()]
    assert shapes[:6] == [(20, 3), (20, 2), (20,), (20,), (2, 5), (15,)]
    assert shapes[12:18] == [(20, 4), (20, 2), (20,), (20,), (2, 5), (15,)]
    without = LSTM(3, 5, num_layers=2, bias=False)
    assert list(without.state_dict()) == ["weight_ih_l0", "weight_hh_l0", "weight_ih_l1", "weight_hh_l1"]


@pytest.mark.parametrize("backend", ["native", "numpy"])
def test_what_is_given_and_taken_is_copied(backend: Any) -> None:
    """Of state dicts and of the arrays of layers: to write into them changes nothing in the net."""
    net = LSTM(3, 6, num_layers=2, proj_size=4, peephole=True, init="pytorch", rng=1, backend=backend)
    layer = net.layers[1]
    own = {"Whr": layer.Whr + 0, "pf": layer.pf + 0, "Wf": layer.Wf + 0, "bo": layer.bo + 0}
    for name, array in own.items():
        setattr(layer, name, array)
    expected = {name: array.copy() for name, array in net.state_dict().items()}
    for array in (*net.state_dict().values(), *own.values()):
        array += 1
    for name, array in net.state_dict().items():
        assert_same_bits(array, expected[name], name)
    for name, wrong in {"Whr": (6, 4), "pf": (4,), "Wf": (6, 9), "bo": (1, 6)}.items():
        with pytest.raises(ValueError, match=f"{name} has shape"):
            setattr(layer, name, np.ones(wrong))
    for name, array in net.state_dict().items():
        assert_same_bits(array, expected[name], name)
    assert repr(layer).startswith("<layer l1 of LSTM(3, 6, num_layers=2")
    assert (layer.input_size, layer.hidden_size, layer.state_size) == (4, 6, 4)


def test_initial_projections_and_peepholes() -> None:
    """Glorot: a Glorot-uniform projection, zero peepholes; the others draw both as they draw the rest."""

    def made(init: str) -> LSTM:
        return LSTM(3, 60, num_layers=2, proj_size=40, peephole=True, init=init, rng=0)  # type: ignore[arg-type]

    limits = {"glorot": np.sqrt(6 / 100), "pytorch": 1 / np.sqrt(60)}
    for init in ("glorot", "pytorch", "normal"):
        layers = made(init).layers
        peepholes = np.stack([getattr(layer, name) for layer in layers for name in ("pi", "pf", "po")])
        projections = np.stack([layer.Whr for layer in layers if layer.Whr is not None])
        assert projections.shape == (2, 40, 60)
        drawn = [projections.ravel()] if init == "glorot" else [projections.ravel(), peepholes.ravel()]
        assert peepholes.any() == (init != "glorot")
        for values in drawn:
            assert np.unique(values).size == values.size
            if init == "normal":
                assert abs(values.std() - 1) < 0.15
            else:
                assert 0.95 * limits[init] < np.abs(values).max() <= limits[init]
    hidden = made("glorot").layers[1].Wi[:, :40]  # 40 columns of an orthogonal matrix
    assert_close(hidden.T @ hidden, np.eye(40))


def test_options_as_they_are_shown() -> None:
    six = ["Sigmoid", "Tanh", "Tanh", "Sigmoid", "Tanh", ("elu", 0.5)]
    net = LSTM(3, 5, bidirectional=True, activations=six)
    assert net.activations == (*six[:5], ("Elu", 0.5))
    assert LSTM(3, 5, bidirectional=True, activations=["sigmoid", "TANH", "tanh"] * 2).activations is None
    for clip in (2, np.float32(2), np.int8(2)):
        assert repr(LSTM(3, 5, clip=clip)) == "LSTM(3, 5, clip=2.0, dtype=float64)"


# Streams


@pytest.mark.parametrize("backend", ["native", "numpy"])
def test_steps_of_layers_from_awkward_arrays(backend: Any) -> None:
    """What comes out is h of the last layer, by whichever way the step is done."""
    _, mixture = make("one-direction mixture", np.float64, 4)
    net = mixture.net(backend=backend)
    x, state = mixture.X[:, 0].copy(), (mixture.h0, mixture.C0)
    Y, (h_n, C_n) = net.forward_sequence(mixture.X[:, :1], *state, return_state=True)
    same = assert_same_bits if backend == "native" else close
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


# Others' own cases


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("backend", ["native", "numpy"])
def test_pytorch_module_inputs(backend: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The samples that PyTorch tests its own nn.LSTM with."""
    torch = pytest.importorskip("torch")
    if importlib.util.find_spec("expecttest") is None:
        # PyTorch's test cases derive from its one class; the samples need nothing of it.
        stand_in = types.ModuleType("expecttest")
        stand_in.TestCase = unittest.TestCase  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "expecttest", stand_in)
    from torch.testing._internal import common_modules as common

    info = next(m for m in common.module_db if m.module_cls is torch.nn.LSTM)
    count = 0
    for sample in info.module_inputs_func(
        info, device="cpu", dtype=torch.float64, requires_grad=False, training=False
    ):
        made, call = sample.constructor_input, sample.forward_input
        module = torch.nn.LSTM(*made.args, **made.kwargs).double().eval()
        with torch.no_grad():
            Y, (h, C) = module(*call.args, **call.kwargs)
        X, *rest = call.args
        h0, C0 = rest[0] if rest else call.kwargs.get("hx") or (None, None)
        batched = X.ndim == 3
        flip = batched and not made.kwargs.get("batch_first", False)
        state = {name: w.numpy() for name, w in module.state_dict().items()}
        net = LSTM.from_state_dict(state, backend=backend)
        found_Y, (found_h, found_C) = net.forward_sequence(
            X.numpy().swapaxes(0, 1) if flip else X.numpy(),
            None if h0 is None else h0.numpy(),
            None if C0 is None else C0.numpy(),
            return_state=True,
        )
        assert_close(found_Y.swapaxes(0, 1) if flip else found_Y, Y.numpy())
        assert_close(found_h, h.numpy())
        assert_close(found_C, C.numpy())
        count += 1
    assert count >= 8


# Of the other operators' cases.
@pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("backend", ["native", "numpy"])
def test_onnx_node_cases(backend: Any) -> None:
    """The LSTM node cases of the ONNX project."""
    onnx = pytest.importorskip("onnx")
    node_cases = pytest.importorskip("onnx.backend.test.case.node")
    cases = [
        case for case in node_cases.collect_testcases("LSTM") if case.model.graph.node[0].op_type == "LSTM"
    ]
    assert len(cases) >= 4
    for case in cases:
        node = case.model.graph.node[0]
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        inputs, outputs = case.data_sets[0]
        given = dict(zip([name for name in node.input if name], inputs, strict=True))
        batch_first = attributes.get("layout", 0) == 1
        direction = attributes.get("direction", b"forward").decode()
        X = given[node.input[0]]
        net = LSTM.from_state_dict(
            onnx_state(node, given),
            reverse=direction == "reverse",
            clip=attributes.get("clip"),
            input_forget=bool(attributes.get("input_forget", 0)),
            backend=backend,
        )
        assert set(attributes) <= {"hidden_size", "layout", "direction", "clip", "input_forget"}
        inputs_of = [given.get(name) for name in [*node.input, *[""] * 8][:8]]
        states = [x if x is None or not batch_first else x.swapaxes(0, 1) for x in inputs_of[5:7]]
        Y, (h, C) = net.forward_sequence(
            X if batch_first else X.swapaxes(0, 1), *states, lengths=inputs_of[4], return_state=True
        )
        for name, array in zip([name for name in node.output if name], outputs, strict=True):
            place = list(node.output).index(name)
            if place == 0:
                batch, time = Y.shape[:2]
                wanted = array.reshape(batch, time, -1)
                if not batch_first:
                    wanted = array.transpose(2, 0, 1, 3).reshape(batch, time, -1)
                assert_close(Y, wanted, case.name)
            else:
                wanted = array.swapaxes(0, 1) if batch_first else array
                assert_close((h, C)[place - 1], wanted, case.name)


def onnx_state(node: Any, given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The state dict of a node from its inputs."""
    W, R, B, _, _, _, P = [given.get(name) for name in [*node.input, *[""] * 8][1:8]]
    assert W is not None
    assert R is not None
    hidden = R.shape[2]
    state = {}
    for direction in range(W.shape[0]):
        suffix = "_l0" + "_reverse" * direction
        for kind, array in (("weight_ih", W), ("weight_hh", R)):
            gates = array[direction].reshape(4, hidden, -1)[GATES_FROM_ONNX]
            state[kind + suffix] = gates.reshape(4 * hidden, -1)
        if B is not None:
            parts = B[direction].reshape(2, 4, hidden)[:, GATES_FROM_ONNX].reshape(2, -1)
            state["bias_ih" + suffix], state["bias_hh" + suffix] = parts
        if P is not None:
            peepholes = P[direction].reshape(3, hidden)[PEEPHOLES_FROM_ONNX]
            state["weight_ch" + suffix] = peepholes.reshape(-1)
    return state


def test_every_isa_is_tried() -> None:
    assert set(_kernel.SUPPORTED_ISAS) <= set(ISAS)
