"""Nets of small weights, and comparisons of their integers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from nets import make_net
from support import assert_same_bits

from lstm import LSTM, _kernel
from lstm.core.net import Net
from lstm.core.precision import PRECISIONS, Int8Rows
from lstm.core.weights import Int8Matrices, Int8Weights

EACH = pytest.mark.parametrize("precision", PRECISIONS)


def small_net(precision: Any, **options: Any) -> LSTM:
    return make_net(dtype=np.float32, precision=precision, backend="numpy", **options)


def integers(net: LSTM) -> list[Int8Matrices]:
    return [one.matrices for one in net.core.parts().weights if isinstance(one, Int8Weights)]


def assert_same_integers(actual: LSTM, expected: LSTM) -> None:
    for one, other in zip(integers(actual), integers(expected), strict=True):
        for rows, wanted in zip(one, other, strict=True):
            assert_same_bits(rows.values.view(np.uint8), wanted.values.view(np.uint8))
            assert_same_bits(rows.scales, wanted.scales)


def foreign() -> LSTM:
    """A net with integers and scales that quantizing its weights would not give."""
    rng = np.random.default_rng(5)
    full = make_net(dtype=np.float32, num_layers=2)
    parts = full.core.parts()
    weights = [
        Int8Weights(
            *(
                Int8Rows(
                    rng.integers(-64, 64, matrix.shape).astype(np.int8),
                    rng.uniform(0.001, 0.01, matrix.shape[:2]).astype(np.float32),
                )
                for matrix in one[:2]
            ),
            *one[2:],
        )
        for one in parts.weights
    ]
    return LSTM.from_core(Net(parts._replace(weights=weights, precision="int8"), "numpy"))


def packed_of(cell: Any) -> Any:
    """What the kernel keeps of one layer and direction."""
    assert isinstance(cell, _kernel.PackedWeights)
    return cell
