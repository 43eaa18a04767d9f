"""Matrices of weights into the panels of the micro-kernels, through `_kernel.pack_matrix`.

Shapes: G = 4 gates, H hidden, K depth, P panels, L lanes.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from kernel_twins import Guarded
from support import DTYPES, ISAS

from lstm import _kernel
from lstm.core.weights import GATES


@pytest.mark.parametrize(("isa", "dtype"), list(itertools.product(ISAS, DTYPES)))
def test_every_number_has_its_place(isa: str, dtype: Any) -> None:
    """All sizes around whole blocks of rows and columns, and nothing past an end is read or written."""
    if isa not in _kernel.SUPPORTED_ISAS:
        pytest.skip(f"no {isa} here")
    lanes = _kernel.lanes(isa, np.dtype(dtype).name)
    sizes = [*range(1, 2 * lanes + 2), 4 * lanes + 1]
    for hidden, depth in itertools.product(sizes, sizes):
        numbers = np.arange(len(GATES) * hidden * depth, dtype=dtype).reshape(len(GATES), hidden, depth) + 1
        numbers[0, hidden // 2, depth // 2] = np.nan
        panels = -(-hidden // lanes)
        expected = np.zeros((panels, depth, len(GATES), lanes), dtype)
        unit = np.arange(hidden)
        expected[unit // lanes, :, :, unit % lanes] = numbers.transpose(1, 2, 0)
        matrix, packed = Guarded(numbers), Guarded(np.full(expected.shape, 99, dtype))
        _kernel.pack_matrix(matrix.array, packed.array, isa)
        packed.assert_only_written(expected, f"packed of {hidden} x {depth}")
        matrix.assert_unchanged(f"matrix of {hidden} x {depth}")
