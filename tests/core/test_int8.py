"""Int8 nets: the arithmetic against an oracle, the error against float64, and a row that is its own.

Shapes: B batch, T time, I input, H hidden.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from int8_oracle import assert_steps
from support import assert_same_bits, random_case, random_net
from variants import VARIANTS, draw, fill_in, make

from lstm import LSTM

BACKENDS = ["native", "numpy"]


def small(net: LSTM, precision: Any, backend: Any) -> LSTM:
    """The net in another precision, on a backend."""
    options = net.core.architecture.options()
    return LSTM.from_state_dict(net.state_dict(), precision=precision, backend=backend, **options)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", VARIANTS)
def test_every_step_of_every_variant(name: str, backend: str) -> None:
    net, mixture = make(name, np.float32, 3)
    assert_steps(small(net, "int8", backend), fill_in(mixture), name)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("seed", range(12))
def test_every_step_of_mixtures(seed: int, backend: str) -> None:
    mixture = draw(np.random.default_rng(seed), np.float32)
    net = small(mixture.net(), "int8", backend)
    assert_steps(net, fill_in(mixture), f"mixture {seed}")


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("precision", "most"), [("int8", 1e-3), ("bfloat16", 2e-4), ("float16", 2.5e-5)])
def test_how_far_from_float64(precision: str, most: float, backend: str) -> None:
    rng = np.random.default_rng(0)
    net = random_net(rng, 128, 256, np.float32)
    X = rng.standard_normal((1, 100, 128)).astype(np.float32)
    exact = LSTM.from_state_dict(net.state_dict(), dtype=np.float64).forward_sequence(X)
    error = small(net, precision, backend).forward_sequence(X) - exact
    rms = float(np.sqrt(np.square(error).mean()))
    assert most / 10 < rms <= most


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("options", [{}, {"peephole": True, "num_layers": 2}, {"activations": ["Tanh"] * 3}])
def test_a_row_is_its_own(options: dict[str, Any], backend: str) -> None:
    rng = np.random.default_rng(1)
    net = small(random_net(rng, 9, 37, np.float32, **options), "int8", backend)
    X, h, C = random_case(rng, 5, 23, 9, 37, np.float32)
    X[1:] *= 30  # one scale for all rows would change the first
    h, C = (np.stack([state] * net.num_layers) for state in (h, C))
    whole, last = net.forward_sequence(X, h, C, return_state=True)
    for b, row in enumerate(X):
        alone = net.forward_sequence(row, h[:, b], C[:, b])
        assert_same_bits(alone, whole[b], f"row {b} alone")
    chunks, state = [], (h, C)
    for steps in (slice(0, 1), slice(1, 8), slice(8, 23)):
        Y, state = net.forward_sequence(X[:, steps], *state, return_state=True)
        chunks.append(Y)
    assert_same_bits(np.concatenate(chunks, axis=1), whole, "chunks")
    for given, wanted in zip(state, last, strict=True):
        assert_same_bits(given, wanted, "the last state")
    stream = net.stream(5)
    stream.state = (h, C)
    steps_alone = np.stack([stream.step(X[:, t]) for t in range(23)], axis=1)
    assert_same_bits(steps_alone, whole, "a stream")
    many = net.forward_sequences([*X], h, C)
    assert_same_bits(np.stack(many), whole, "forward_sequences")


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_row_with_what_is_no_number(value: float, backend: str) -> None:
    rng = np.random.default_rng(2)
    net = small(random_net(rng, 6, 20, np.float32), "int8", backend)
    X, h, C = random_case(rng, 3, 7, 6, 20, np.float32)
    clean = net.forward_sequence(X, h, C)
    X[1, 4, 2] = value
    Y = net.forward_sequence(X, h, C)
    assert np.isnan(Y[1, 4:]).all()
    Y[1, 4:] = clean[1, 4:]
    assert_same_bits(Y, clean, "all others")


@pytest.mark.parametrize("backend", BACKENDS)
def test_one_unit_that_is_no_number_makes_the_row_such(backend: str) -> None:
    rng = np.random.default_rng(3)
    net = small(random_net(rng, 6, 20, np.float32), "int8", backend)
    X, h, C = random_case(rng, 3, 4, 6, 20, np.float32)
    C[1, 7] = np.nan
    Y = net.forward_sequence(X, h, C)
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(Y[1, 0])), [7])
    assert np.isnan(Y[1, 1:]).all()
    assert not np.isnan(Y[[0, 2]]).any()


@pytest.mark.parametrize("backend", BACKENDS)
def test_states_beyond_1_have_a_scale_of_their_own(backend: str) -> None:
    net, mixture = make("plain", np.float32, 3)
    mixture = fill_in(mixture)
    mixture.h0[0, 0] *= 40
    assert_steps(small(net, "int8", backend), mixture, "h0 beyond 1")


@pytest.mark.parametrize("backend", BACKENDS)
def test_rows_of_next_to_nothing(backend: str) -> None:
    net, mixture = make("plain", np.float32, 4)
    mixture = fill_in(mixture)
    mixture.X[1] = 0
    mixture.X[2] *= np.float32(2.0**-121)
    mixture.X[3] *= np.float32(2.0**120)
    assert_steps(small(net, "int8", backend), mixture, "x of all sizes")


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_sixteen_bits_compute_as_the_rounded_net(precision: str, backend: str) -> None:
    rng = np.random.default_rng(4)
    net = random_net(rng, 9, 37, np.float32, num_layers=2, proj_size=11)
    X = rng.standard_normal((4, 12, 9)).astype(np.float32)
    narrow = small(net, precision, backend)
    rounded = LSTM.from_state_dict(narrow.state_dict(), backend=backend)  # type: ignore[arg-type]
    assert_same_bits(narrow.forward_sequence(X), rounded.forward_sequence(X))
    assert not np.array_equal(rounded.state_dict()["weight_hr_l0"], net.state_dict()["weight_hr_l0"])
    assert_same_bits(rounded.state_dict()["bias_ih_l1"], net.state_dict()["bias_ih_l1"])
