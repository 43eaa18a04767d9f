"""The products of a linear head: the contract's sums to the last bit, on every instruction set."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from exact_sums import SUM_BLOCK, fma
from support import EACH_ISA, assert_same_bits

from lstm import LSTM, _kernel
from lstm.train import LinearHead


def expected(input: np.ndarray, weights: np.ndarray, sums: np.ndarray) -> np.ndarray:
    """sums (n, m) and input (R, n, k) . weights (R, k, m), one r after the other."""
    for left, right in zip(input, weights, strict=True):
        for first in range(0, input.shape[2], SUM_BLOCK):
            partial = np.zeros_like(sums)
            for k in range(first, min(first + SUM_BLOCK, input.shape[2])):
                partial = fma(left[:, k, np.newaxis], right[k], partial)
            sums = sums + partial
    return sums


def whole_vectors(array: np.ndarray, isa: str, fill: float) -> np.ndarray:
    lanes = _kernel.lanes(isa, array.dtype.name)
    width = -(-array.shape[-1] // lanes) * lanes
    padded = np.full((*array.shape[:-1], width), fill, array.dtype)
    padded[..., : array.shape[-1]] = array
    return padded


@pytest.mark.parametrize("isa", EACH_ISA)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "shape", [(1, 1, 1, 1), (1, 14, 300, 5), (3, 13, 129, 64), (4, 2, 1, 70), (2, 25, 7, 17)]
)
def test_sums_are_the_contracts(isa: str, dtype: Any, shape: tuple[int, int, int, int]) -> None:
    """Also of transposed memory; what is past the last column is not looked at."""
    parts, rows, depth, columns = shape
    rng = np.random.default_rng(rows)
    left = rng.standard_normal((parts, depth, rows)).astype(dtype).transpose(0, 2, 1)
    right = rng.standard_normal((parts, depth, columns)).astype(dtype)
    start = rng.standard_normal((rows, columns)).astype(dtype)
    for input in (left, left.copy(), np.broadcast_to(left[:, :1], left.shape)):
        sums = start.copy()
        _kernel.add_products(input, whole_vectors(right, isa, np.nan), sums, isa)
        assert_same_bits(sums, expected(input, right, start))


@pytest.mark.parametrize("isa", EACH_ISA)
def test_nothing_is_written_past_the_sums(isa: str) -> None:
    memory = np.full(3 * 7 + 40, 7.0, np.float32)
    sums = memory[20:41].reshape(3, 7)
    sums[...] = 0
    ones = np.ones((1, 3, 4), np.float32)
    _kernel.add_products(ones, whole_vectors(np.ones((1, 4, 7), np.float32), isa, 1.0), sums, isa)
    assert (sums == 4).all()
    assert (memory[:20] == 7).all()
    assert (memory[41:] == 7).all()


def test_of_nothing_there_is_nothing_to_add() -> None:
    width = _kernel.lanes(_kernel.DEFAULT_ISA, "float64")
    for parts, rows, depth in ((0, 2, 3), (2, 0, 3), (2, 2, 0)):
        sums = np.ones((rows, 1))
        _kernel.add_products(np.ones((parts, rows, depth)), np.ones((parts, depth, width)), sums)
        assert (sums == 1).all()


WRONG = {
    "rows": ((1, 3, 4), (1, 4, 16), (2, 16)),
    "parts": ((2, 2, 4), (1, 4, 16), (2, 16)),
    "depth": ((1, 2, 5), (1, 4, 16), (2, 16)),
    "half a vector": ((1, 2, 4), (1, 4, 17), (2, 16)),
    "too narrow": ((1, 2, 4), (1, 4, 16), (2, 17)),
}


@pytest.mark.parametrize("name", WRONG)
def test_shapes_that_do_not_fit(name: str) -> None:
    arrays = [np.ones(shape, np.float32) for shape in WRONG[name]]
    with pytest.raises(ValueError, match=r"sums \(n, m\) are"):
        _kernel.add_products(*arrays)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("every_step", [False, True])
@pytest.mark.parametrize(("width", "outputs"), [(5, 1), (16, 3), (33, 20), (130, 18)])
def test_a_head_is_these_products(width: int, outputs: int, every_step: bool, dtype: Any) -> None:
    rng = np.random.default_rng(width)
    net = LSTM(2, width, dtype=dtype, rng=0)
    head = LinearHead(net, outputs, every_step=every_step, rng=rng)
    head.bias[...] = rng.standard_normal(outputs)
    shape = (6, 9) if every_step else (6,)
    features = rng.standard_normal((*shape, width)).astype(dtype)
    derivative = rng.standard_normal((*shape, outputs)).astype(dtype)
    F, D = features.reshape(6, -1, width), derivative.reshape(6, -1, outputs)
    flat, start = (
        features.reshape(1, -1, width),
        np.broadcast_to(head.bias, (F.shape[0] * F.shape[1], outputs)),
    )
    assert_same_bits(
        head.forward(features).reshape(-1, outputs), expected(flat, head.weight.T[np.newaxis], start)
    )
    assert_same_bits(head.forward(features[2]), head.forward(features)[2])
    gradients = (
        rng.standard_normal((outputs, width)).astype(dtype),
        rng.standard_normal(outputs).astype(dtype),
    )
    found = [array.copy() for array in gradients]
    back = head.backward(features, derivative, *found)
    assert_same_bits(found[0], expected(D.transpose(0, 2, 1), F, gradients[0]))
    ones = np.ones((6, 1, F.shape[1]), dtype)
    assert_same_bits(found[1], expected(ones, D, gradients[1][np.newaxis])[0])
    zeros = np.zeros(flat.shape[1:], dtype)
    assert_same_bits(
        back.reshape(flat.shape[1:]),
        expected(derivative.reshape(1, -1, outputs), head.weight[np.newaxis], zeros),
    )
