"""The contract of the numbers for gradients: the order of every sum, and the same bits by every way.

Shapes: B batch, T time, I input, H hidden, O features of h, L lanes, P panels, G = 4 gates.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from exact_sums import SUM_BLOCK, fma
from gradient_cases import Derivatives, arrays_of
from support import DTYPES, EACH_ISA, assert_same_bits, on_isa
from variants import VARIANTS, Mixture, make

from lstm import LSTM, Gradients, _kernel
from lstm.core import dropout, gradients
from lstm.core.packing import PanelRecord


def derivatives_of(net: LSTM, mixture: Mixture) -> Derivatives:
    rng = np.random.default_rng(4)
    outputs = mixture.outputs(net)
    return Derivatives(
        *(rng.standard_normal(outputs[name].shape).astype(net.dtype) for name in ("Y", "h_n", "C_n"))
    )


def gradients_of_rows(
    net: LSTM, mixture: Mixture, derivatives: Derivatives, rows: slice, **options: Any
) -> Gradients:
    """Those of some rows of a call."""
    lengths = None if mixture.lengths is None else mixture.lengths[rows]
    tape = net.record(mixture.X[rows], mixture.h0[:, rows], mixture.C0[:, rows], lengths=lengths)
    dY, dh_n, dC_n = derivatives
    return tape.backward(dY[rows], dh_n[:, rows], dC_n[:, rows], **options)


EVERYTHING = slice(None)


def assert_same(found: Gradients, expected: Gradients, what: str = "") -> None:
    for name, array in arrays_of(found).items():
        assert_same_bits(array, arrays_of(expected)[name], f"{what} {name}")
    assert found.norms is not None
    assert expected.norms is not None
    for array, wanted in zip(found.norms, expected.norms, strict=True):
        assert_same_bits(array, wanted, f"{what} norms")


@pytest.mark.parametrize("isa", EACH_ISA)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", VARIANTS)
def test_each_isa(name: str, dtype: Any, isa: str) -> None:
    """Of every variant, with lengths and without, NaN and infinity included."""
    net, mixture = make(name, dtype, 9)
    derivatives = derivatives_of(net, mixture)
    mixture.X[3, 1, 2], mixture.X[6, 0, 1], derivatives.dY[5, 2, 3] = np.nan, np.inf, -np.nan
    for lengths in (mixture.lengths, None):
        call = mixture._replace(lengths=lengths)
        found = gradients_of_rows(on_isa(net, isa), call, derivatives, EVERYTHING)
        generic = gradients_of_rows(on_isa(net, "generic"), call, derivatives, EVERYTHING)
        assert_same(found, generic)
        rows = gradients_of_rows(on_isa(net, isa), call, derivatives, EVERYTHING, per_sample=True)
        assert_same(
            rows, gradients_of_rows(on_isa(net, "generic"), call, derivatives, EVERYTHING, per_sample=True)
        )


SIZES = {
    "small": {"input_size": 5, "hidden_size": 20},
    "one feature": {"input_size": 1, "hidden_size": 16},
    "panels of features": {"input_size": 70, "hidden_size": 130},
    "projection": {"input_size": 9, "hidden_size": 40, "proj_size": 33, "peephole": True, "clip": 0.5},
    "both": {"input_size": 9, "hidden_size": 19, "bidirectional": True, "num_layers": 2, "merge": "mul"},
}


def draw(name: str, dtype: Any, batch: int, time: int, mixed: bool) -> tuple[LSTM, Mixture, Derivatives]:
    rng = np.random.default_rng(1)
    options: dict[str, Any] = SIZES[name]
    net = LSTM(**options, dtype=dtype, init="pytorch", rng=rng)
    cells = len(net.layers)
    mixture = Mixture(
        {},
        dtype,
        rng.standard_normal((batch, time, net.input_size)).astype(dtype),
        rng.standard_normal((cells, batch, net.proj_size or net.hidden_size)).astype(dtype),
        rng.standard_normal((cells, batch, net.hidden_size)).astype(dtype),
        rng.integers(0, time + 1, batch) if mixed else None,
        {},
    )
    return net, mixture, derivatives_of(net, mixture)


@pytest.mark.parametrize("isa", EACH_ISA)
@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("name", SIZES)
def test_a_batch_is_the_ordered_sum_of_its_rows(name: str, mixed: bool, isa: str) -> None:
    """However it is split, by `add_to`, by rows of their own, and a row alone has its own gradients."""
    batch, time = (7, 140) if name == "small" and isa != "generic" else (5, 9)
    net, mixture, derivatives = draw(name, np.float32, batch, time, mixed)
    net = on_isa(net, isa)
    whole = gradients_of_rows(net, mixture, derivatives, EVERYTHING)
    rows = gradients_of_rows(net, mixture, derivatives, EVERYTHING, per_sample=True)
    for sizes in ([1] * batch, [2, batch - 2], [batch - 1, 1]):
        total: Gradients | None = None
        first = 0
        for size in sizes:
            part = slice(first, first + size)
            total = gradients_of_rows(net, mixture, derivatives, part, add_to=total)
            for found, expected in ((total.X, whole.X[part]), (total.h0, whole.h0[:, part])):  # type: ignore[index]
                assert_same_bits(found, expected)  # type: ignore[arg-type]
            if size == 1:
                alone = gradients_of_rows(net, mixture, derivatives, part)
                for key, array in alone.items():
                    assert_same_bits(array, rows[key][first], f"{key} of row {first}")
            first += size
        assert total is not None
        for key, array in total.items():
            assert_same_bits(array, whole[key], f"{key} in parts of {sizes}")
    if time < SUM_BLOCK:  # else a row's blocks are added one after another
        for key, array in rows.items():
            summed = np.zeros_like(whole[key])
            for row in array:
                summed += row
            assert_same_bits(summed, whole[key], f"{key}, sum of rows")


def test_a_tape_written_over_has_the_same_bits() -> None:
    net, mixture, derivatives = draw("both", np.float64, 5, 9, True)
    tape = net.record(mixture.X, mixture.h0, mixture.C0, lengths=mixture.lengths)
    expected = tape.backward(*derivatives)
    net.record(mixture.X + 1, out=tape)
    net.record(mixture.X, mixture.h0, mixture.C0, lengths=mixture.lengths, out=tape)
    assert_same(tape.backward(*derivatives), expected)


def test_chunks_that_begin_at_whole_blocks() -> None:
    """Truncated backpropagation over all chunks is the whole, bit for bit, if the last comes first."""
    net, mixture, (dY, dh_n, dC_n) = draw("small", np.float32, 1, 300, False)
    whole = gradients_of_rows(net, mixture, Derivatives(dY, dh_n, dC_n), EVERYTHING, per_sample=True)
    first = net.record(mixture.X[:, :256], mixture.h0, mixture.C0)
    second = net.record(mixture.X[:, 256:], first.h_n, first.C_n)
    later = second.backward(dY[:, 256:], dh_n, dC_n)
    earlier = first.backward(dY[:, :256], later.h0, later.C0)
    for name in earlier:
        assert_same_bits(earlier[name] + later[name], whole[name][0], name)
    assert_same_bits(earlier.h0, whole.h0)  # type: ignore[arg-type]


def test_subnormals_count_as_zero() -> None:
    net = LSTM(2, 4, dtype=np.float32, rng=0)
    tape = net.record(np.ones((3, 5, 2)))
    tiny = np.full(tape.Y.shape, 1e-40, np.float32)
    g = tape.backward(dY=tiny, dh_n=tiny[:, 0], dC_n=tiny[:, 0])
    assert not any(array.any() for name, array in arrays_of(g).items() if name not in ("h0", "C0"))


# ---- the sums themselves


def exact_sums(rows: np.ndarray, columns: np.ndarray, start: np.ndarray) -> np.ndarray:
    """rows (K, R), columns (K, N), start (R, N): products over K in blocks from zero, added to start."""
    sums = start
    for block in range(0, len(rows), SUM_BLOCK):
        partial = np.zeros_like(start)
        for k in range(block, min(block + SUM_BLOCK, len(rows))):
            partial = fma(rows[k][:, np.newaxis], columns[k], partial)
        sums = sums + partial
    return sums


@pytest.mark.parametrize("isa", EACH_ISA)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("name", ["small", "panels of features", "one feature"])
def test_the_order_of_every_sum(name: str, reverse: bool, dtype: Any, isa: str) -> None:
    """dW and db over rows and ascending steps, dX and dh over gates and units, from the dz of the pass."""
    time = 131 if name == "one feature" else 5
    net, mixture, derivatives = draw(name, dtype, 2, time, False)
    net = on_isa(LSTM.from_state_dict(net.state_dict(), reverse=reverse, dtype=dtype), isa)
    core, hidden = net.core, net.hidden_size
    mixture = mixture._replace(lengths=np.array([time, time - 2]))
    recording = core.record(
        mixture.X, mixture.h0, mixture.C0, mixture.lengths, None, dropout.Rates(), np.random.default_rng(0)
    )
    sums = gradients.zero_sums(core.architecture, core.dtype, None)
    dh = derivatives.dh_n.copy()
    found = gradients.backward(recording, derivatives.dY, dh, derivatives.dC_n.copy(), True, sums)
    values = recording.storage.values[0]
    assert isinstance(values, PanelRecord)
    dz = values.gates.transpose(1, 2, 3, 0, 4).reshape(2, time, 4, -1)[..., :hidden]  # (B, T, 4, H)
    weights = core.cell_weights(0)
    expected = [np.zeros((4 * hidden, size), dtype) for size in (net.input_size, hidden, 1)]
    for row, length in enumerate([time, time - 2]):
        steps = dz[row, :length].reshape(length, 4 * hidden)
        before = np.concatenate([mixture.h0[:, row], recording.Y[row, : length - 1]])
        if reverse:
            before = np.concatenate([recording.Y[row, 1:length], mixture.h0[:, row]])
        columns = (mixture.X[row, :length], before, np.ones((length, 1), dtype))
        expected = [exact_sums(steps, c, total) for c, total in zip(columns, expected, strict=True)]
        dX = np.zeros((length, net.input_size), dtype)
        dh0 = np.zeros((1, hidden), dtype)
        first = length - 1 if reverse else 0
        for gate in range(4):
            dX = exact_sums(np.ascontiguousarray(dz[row, :length, gate].T), weights.input[gate], dX)
            dh0 = exact_sums(dz[row, first, gate][:, np.newaxis], weights.hidden[gate], dh0)
        assert found.X is not None
        assert_same_bits(found.X[row, :length], dX, "dX")
        assert_same_bits(dh[0, row], dh0[0], "dh0")
    for array, wanted in zip((sums[0].input, sums[0].hidden, sums[0].bias), expected, strict=True):
        assert_same_bits(array.reshape(wanted.shape), wanted)


def test_products_of_every_tile() -> None:
    """Each height and width of a product: sizes around those of the tiles, against the plain C ones."""
    for dtype in DTYPES:
        for features in range(1, 67, 3):
            net = LSTM(features, 9, dtype=dtype, init="pytorch", rng=features)
            X = np.random.default_rng(0).standard_normal((1 + features % 13, 3, features)).astype(dtype)
            expected: Gradients | None = None
            for isa in _kernel.SUPPORTED_ISAS:
                tape = on_isa(net, isa).record(X)
                g = tape.backward(dY=tape.Y, dC_n=tape.C_n)
                assert_same(g, expected or g, f"{features} features on {isa}")
                expected = expected or g
