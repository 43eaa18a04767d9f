"""Native against reference: the same results for every shape, and values of every kind.

Every case is run by the reference and by the kernel on each ISA of this CPU. Results agree within
support.TOLERANCE; exceptions agree in type and message.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parity import BATCH, HIDDEN, INPUT, TIME, assert_parity, flat, variants
from support import DATA, DTYPES, EACH_ISA, assert_close, assert_same_bits, on_isa, random_case, random_net

from lstm import LSTM

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
