"""Masks: steps that are skipped, against the same net over the steps that are left.

Shapes: B batch, T time, I input, H hidden, L layers, D directions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support import DTYPES, assert_same_bits, awkward_arrays

from lstm import LSTM

NETS: dict[str, dict[str, Any]] = {
    "default": {},
    "stack": {"num_layers": 2, "proj_size": 4},
    "reverse": {"reverse": True},
    "bidirectional": {"bidirectional": True, "num_layers": 2},
    "sum": {"bidirectional": True, "merge": "sum", "peephole": True},
}
BATCH, TIME, SIZE = 6, 9, 5


def make(name: str, backend: str, dtype: Any = np.float64) -> tuple[LSTM, tuple[np.ndarray, ...], np.ndarray]:
    """A net, X (B, T, I), h0, C0, and a mask (B, T) with holes, padding at both ends, and an empty row."""
    rng = np.random.default_rng(list(NETS).index(name))
    net = LSTM(3, SIZE, **NETS[name], dtype=dtype, init="pytorch", rng=rng, backend=backend)  # type: ignore[arg-type]
    cells = len(net.layers)
    X = rng.standard_normal((BATCH, TIME, 3)).astype(dtype)
    h0 = rng.uniform(-1, 1, (cells, BATCH, net.proj_size or SIZE)).astype(dtype)
    C0 = rng.standard_normal((cells, BATCH, SIZE)).astype(dtype)
    mask = rng.integers(0, 3, (BATCH, TIME)) > 0
    mask[0], mask[1] = False, True
    mask[2] = np.arange(TIME) >= 4  # what Keras's pad_sequences makes by default
    mask[3] = np.arange(TIME) < 4
    X[~mask] = np.nan
    return net, (X, h0, C0), mask


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("backend", ["native", "numpy"])
@pytest.mark.parametrize("name", NETS)
def test_skipped_steps_are_as_if_they_were_not_there(name: str, backend: str, dtype: Any) -> None:
    """Outputs are zero at skipped steps, and else those of the row without them; so are the states."""
    net, (X, h0, C0), mask = make(name, backend, dtype)
    out = np.full((BATCH, TIME, net.forward_sequence(X[:1]).shape[-1]), 7, dtype)
    Y, (h_n, C_n) = net.forward_sequence(X, h0, C0, mask=mask, return_state=True, out=out)
    assert Y is out
    for b, row in enumerate(mask):
        arguments = X[b : b + 1, row], h0[:, b : b + 1], C0[:, b : b + 1]
        expected, (h, C) = net.forward_sequence(*arguments, return_state=True)
        same = assert_same_bits if backend == "native" else np.testing.assert_allclose
        tolerance = {} if backend == "native" else {"rtol": 0, "atol": 1e-6 if dtype is np.float32 else 1e-15}
        same(Y[b, row], expected[0], **tolerance)
        same(h_n[:, b], h[:, 0], **tolerance)
        same(C_n[:, b], C[:, 0], **tolerance)
        assert not Y[b, ~row].any()
    assert_same_bits(h_n[:, 0], h0[:, 0])


@pytest.mark.parametrize("backend", ["native", "numpy"])
def test_a_mask_that_is_lengths(backend: str) -> None:
    """Padding at the end alone gives the bits of lengths; together with lengths both hold."""
    net, (X, h0, C0), mask = make("bidirectional", backend)
    X = np.nan_to_num(X, nan=0.5)
    lengths = np.array([0, 9, 3, 4, 1, 8])
    rows = np.arange(TIME) < lengths[:, np.newaxis]
    expected = net.forward_sequence(X, h0, C0, lengths=lengths)
    assert_same_bits(net.forward_sequence(X, h0, C0, mask=rows), expected)
    both = net.forward_sequence(X, h0, C0, mask=mask & rows)
    assert_same_bits(net.forward_sequence(X, h0, C0, mask=mask, lengths=lengths), both)
    assert np.any(both != expected)
    everything = np.ones((BATCH, TIME), bool)
    assert_same_bits(net.forward_sequence(X, h0, C0, mask=everything), net.forward_sequence(X, h0, C0))
    assert not net.forward_sequence(X, h0, C0, mask=~everything).any()


@pytest.mark.parametrize("backend", ["native", "numpy"])
@pytest.mark.parametrize("name", NETS)
def test_a_trace_skips_too(name: str, backend: str) -> None:
    net, (X, h0, C0), mask = make(name, backend)
    trace = net.trace(X, h0, C0, mask=mask)
    for b, row in enumerate(mask):
        expected = net.trace(X[b, row], h0[:, b], C0[:, b])
        for values, wanted in zip(trace, expected, strict=True):
            np.testing.assert_allclose(values[:, b, row], wanted, rtol=0, atol=1e-15)
            assert not values[:, b, ~row].any()


def test_a_single_sequence_and_awkward_masks() -> None:
    net, (X, h0, C0), mask = make("stack", "native")
    expected = net.forward_sequence(X, h0, C0, mask=mask)
    single = net.forward_sequence(X[4], h0[:, 4], C0[:, 4], mask=mask[4])
    assert_same_bits(single, expected[4])
    for what, array in awkward_arrays(mask):
        if np.asarray(array).dtype == np.bool_:
            assert_same_bits(net.forward_sequence(X, h0, C0, mask=array), expected, what)
    assert_same_bits(net.forward_sequence(X, h0, C0, mask=mask.tolist()), expected)
    assert net.forward_sequence(np.ones((0, 6, 3)), mask=np.ones((0, 6), bool)).shape == (0, 6, 4)
    assert net.forward_sequence(np.ones((2, 0, 3)), mask=np.ones((2, 0), bool)).shape == (2, 0, 4)


WRONG_MASKS: dict[str, tuple[Any, type[Exception], str]] = {
    "of integers": (np.ones((BATCH, TIME), int), TypeError, "mask has dtype int64, but must be of bool"),
    "turned": (np.ones((TIME, BATCH), bool), ValueError, r"mask has shape \(9, 6\), but must be \(6, 9\)"),
    "of one row": (np.ones(TIME, bool), ValueError, r"mask has shape \(9,\), but must be \(6, 9\)"),
    "with features": (np.ones((BATCH, TIME, 1), bool), ValueError, "mask has shape"),
    "of text": ("yes", TypeError, "mask has dtype"),
}


@pytest.mark.parametrize("name", WRONG_MASKS)
def test_wrong_masks(name: str) -> None:
    mask, error, match = WRONG_MASKS[name]
    net, (X, h0, C0), _ = make("default", "native")
    out = np.full((BATCH, TIME, SIZE), 7.0)
    with pytest.raises(error, match=match):
        net.forward_sequence(X, h0, C0, mask=mask, out=out)
    assert (out == 7).all()
    with pytest.raises(error, match=match):
        net.trace(X, h0, C0, mask=mask)
