"""What tests of micro-kernels share: the cell update, and arrays that see what is written around them.

Shapes: R rows, P panels, L lanes, G = 4 gates.
"""

from __future__ import annotations

import numpy as np
from exact_sums import fma
from support import assert_same_bits

from lstm import _kernel
from lstm.core.weights import GATES


def next_state(sums: np.ndarray, cell: np.ndarray, isa: str) -> tuple[np.ndarray, np.ndarray]:
    """sums (R, P, G, L), C (R, P, L) -> C and h (R, P, L) after the step, by the activations of an ISA."""

    def mapped(name: str, z: np.ndarray) -> np.ndarray:
        x, y = z.ravel(), np.empty(z.size, z.dtype)
        getattr(_kernel, name)(x, y, isa)
        return y.reshape(z.shape)

    i, f, g, o = (sums[:, :, GATES.index(gate)] for gate in "ifgo")
    cell = fma(mapped("sigmoid", f), cell, mapped("sigmoid", i) * mapped("tanh", g))
    return cell, mapped("sigmoid", o) * mapped("tanh", cell)


class Guarded:
    """An array in the middle of memory that must stay as it is, one element off a cache line."""

    MARGIN = 129  # elements, more than a tile's panels have units

    def __init__(self, values: np.ndarray) -> None:
        elements = values.size + 2 * self.MARGIN
        memory = np.zeros(elements * values.itemsize + 64, np.uint8)
        first = -memory.ctypes.data % 64
        self.memory = memory[first : first + elements * values.itemsize].view(values.dtype)
        self.memory[...] = np.nan if values.dtype.kind == "f" else 99
        self.array = self.memory[self.MARGIN : -self.MARGIN].reshape(values.shape)
        self.array[...] = values
        self.before = self.memory.copy()

    def assert_only_written(self, expected: np.ndarray, what: str) -> None:
        """Hold the array to `expected` and the memory around it to what it was."""
        assert_same_bits(self.array, expected, what)
        assert_same_bits(self.memory[: self.MARGIN], self.before[: self.MARGIN], f"before {what}")
        assert_same_bits(self.memory[-self.MARGIN :], self.before[-self.MARGIN :], f"after {what}")

    def assert_unchanged(self, what: str) -> None:
        assert_same_bits(self.memory, self.before, what)
