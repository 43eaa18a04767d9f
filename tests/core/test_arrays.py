"""Arrays of every kind, memory and dtype, and those that `out` may be: the reference and the kernel alike."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from parity import BATCH, HIDDEN, INPUT, TIME, Labelled, assert_same_as_plain, flat, out_arrays, variants
from support import DTYPES, assert_close, assert_same_bits, random_case, random_net

from lstm import LSTM


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
@pytest.mark.parametrize("shift", [0, 1, -1, 40, -40, 120])
@pytest.mark.parametrize(("batch", "time", "units"), [*OVERLAPS, (None, 300, 40), (None, 6, 6)])
@pytest.mark.parametrize("reverse", [False, True])
def test_contiguous_out_may_overlap_the_input(
    reverse: bool, batch: int | None, time: int, units: int, shift: int, dtype: type
) -> None:
    """X and out are contiguous and the states as they are returned: the arrays of everyday calls."""
    rng = np.random.default_rng(8)
    net = random_net(rng, units, units, dtype, reverse=reverse)
    X, h0, C0 = random_case(rng, batch or 1, time, units, units, dtype)
    X, h0, C0 = (X[0], h0, C0) if batch is None else (X, h0[np.newaxis], C0[np.newaxis])
    for name, variant in variants(net):
        for states in ((), (h0, C0)):
            wanted = variant.forward_sequence(X, *states)
            memory = np.zeros(X.size + 160, dtype)
            source, out = (memory[k : k + X.size].reshape(X.shape) for k in (40, 40 + shift))
            source[...] = X
            assert variant.forward_sequence(source, *states, out=out) is out
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
