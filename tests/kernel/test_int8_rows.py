"""The kernels of a row alone of int8 weights through their memoryview twin, bit for bit against NumPy.

Shapes: T steps, P panels, K depth, L lanes, G = 4 gates.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from exact_sums import fma
from kernel_twins import Guarded, next_state
from support import assert_same_bits

from lstm import _kernel
from lstm.core.weights import GATES

ROWS = [
    (isa, name)
    for isa in _kernel.SUPPORTED_ISAS
    for name in _kernel.int8_sets(isa)
    if _kernel.has_int8_row(isa, name)
]
# Around the panels of nets of one tile, of more tiles, and of more groups of k than there are places for.
DEPTHS = (1, 3, 4, 5, 15, 16, 17, 32, 33, 48, 49, 63, 64, 65, 79, 80, 81, 96, 97, 128, 129, 255, 401)


def cases() -> Iterator[Any]:
    for isa, name in ROWS:
        for depth in DEPTHS:
            yield pytest.param(isa, name, depth, id=f"{isa}-{name}-{depth}")


class Row:
    """Random arguments of a row of T steps, and its states by the contract."""

    def __init__(self, isa: str, name: str, depth: int, steps: int) -> None:
        rng = np.random.default_rng([depth, steps])
        lanes, groups = _kernel.lanes(isa, "float32"), -(-depth // 4)
        panels = -(-depth // lanes)
        self.isa, self.depth = isa, depth
        values = rng.integers(-128, 128, (panels, groups * 4, len(GATES), lanes)).astype(np.int8)
        values[:, depth:] = 0
        self.values = values[:, :depth]
        self.weights = np.ascontiguousarray(
            values.reshape(panels, groups, 4, len(GATES), lanes).transpose(0, 1, 3, 4, 2)
        )
        scales = rng.uniform(0.5, 1, (panels, len(GATES), lanes)) / 64 / np.sqrt(depth)
        self.scales = scales.astype(np.float32)
        self.offsets = (-128 * values.sum(axis=1, dtype=np.int32)).astype(np.int32)
        self.start = rng.standard_normal((steps, panels, len(GATES), lanes)).astype(np.float32)
        self.cell = rng.standard_normal((panels, lanes)).astype(np.float32)
        self.hidden = rng.uniform(-1, 1, (panels, lanes)).astype(np.float32)
        self.integers = np.full(2 * panels * lanes * _kernel.int8_sets(isa)[name][2], 99, np.uint8)

    def step(self, cell: np.ndarray, hidden: np.ndarray, step: int) -> tuple[np.ndarray, np.ndarray]:
        """C and h (P, L) after a step."""
        h = hidden.ravel()[: self.depth]
        most = np.maximum(np.float32(1), np.abs(h).max())
        finite = np.isfinite(most)
        integers = np.rint(h * (np.float32(127) / most)) if finite else np.zeros(self.depth)
        scale = most / np.float32(127) if finite else np.float32(np.nan)
        totals = np.einsum("k,pkgl->pgl", integers.astype(np.int64), self.values.astype(np.int64))
        sums = fma(totals.astype(np.float32), scale * self.scales, self.start[step])
        cell, hidden = next_state(sums[np.newaxis], cell[np.newaxis], self.isa)
        return cell[0], hidden[0]

    def expected(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Cell (P, L) and hidden (P, L) after the steps, output (T, K)."""
        cell, hidden, outputs = self.cell, self.hidden, []
        for step in range(len(self.start)):
            cell, hidden = self.step(cell, hidden, step)
            outputs.append(hidden.ravel()[: self.depth])
        return cell, hidden, np.stack(outputs)


def assert_row(row: Row, isa: str, name: str, forward: bool, has_output: bool) -> None:
    """The kernel's states and output are those of the contract, and nothing else is written."""
    expected_cell, expected_hidden, expected_output = row.expected()
    inputs = {one: Guarded(getattr(row, one)) for one in ("weights", "scales", "offsets", "start")}
    states = {one: Guarded(getattr(row, one)) for one in ("cell", "hidden", "integers")}
    output = Guarded(np.full_like(expected_output, 7)) if has_output else None
    _kernel.int8_row_steps(
        [guarded.array for guarded in inputs.values()],
        [guarded.array for guarded in states.values()],
        None if output is None else output.array,
        row.depth,
        forward,
        isa,
        name,
    )
    for what, expected in (("cell", expected_cell), ("hidden", expected_hidden)):
        found = states[what].array
        is_number = ~np.isnan(expected.ravel()[: row.depth])
        assert_same_bits(
            found.ravel()[: row.depth][is_number], expected.ravel()[: row.depth][is_number], what
        )
        assert np.isnan(found.ravel()[: row.depth][~is_number]).all()
    for what, guarded in states.items():
        guarded.assert_only_written(guarded.array.copy(), what)
    if output is not None:
        expected_output[np.isnan(expected_output)] = np.nan
        output.assert_only_written(expected_output, "output")
    for what, guarded in inputs.items():
        guarded.assert_unchanged(what)


@pytest.mark.parametrize(("isa", "name", "depth"), list(cases()))
def test_steps_of_a_row(isa: str, name: str, depth: int) -> None:
    """A few steps, from either end, with and without output."""
    for steps, forward in ((1, True), (2, False), (3, True), (4, False), (5, True)):
        assert_row(Row(isa, name, depth, steps), isa, name, forward, has_output=steps != 2)


@pytest.mark.parametrize(("isa", "name"), ROWS)
@pytest.mark.parametrize("depth", [1, 20, 64, 65, 96, 130])
def test_h_before_the_first_step_may_be_any_number(isa: str, name: str, depth: int) -> None:
    """Its scale is that of its largest; of a NaN or an infinity the row becomes NaN."""
    for value in (40.0, np.nan, np.inf, 1e-45):
        for place in {0, depth // 2, depth - 1}:
            row = Row(isa, name, depth, 3)
            row.hidden.ravel()[place] = value
            assert_row(row, isa, name, forward=True, has_output=True)


@pytest.mark.parametrize(("isa", "name"), ROWS)
@pytest.mark.parametrize("depth", [2, 20, 64, 65, 96, 130])
def test_a_unit_that_becomes_nan(isa: str, name: str, depth: int) -> None:
    """The step after it is NaN in every unit, and it alone before: whatever tile it is in, at any step."""
    for steps in (1, 2, 4):
        for place in {0, depth // 2, depth - 1}:
            row = Row(isa, name, depth, steps)
            lanes = row.start.shape[3]
            row.start[steps // 2, place // lanes, 1, place % lanes] = np.nan
            assert_row(row, isa, name, forward=steps != 2, has_output=True)


@pytest.mark.parametrize("isa", _kernel.SUPPORTED_ISAS)
def test_sets_that_have_no_kernel_of_a_row(isa: str) -> None:
    for name in _kernel.int8_sets(isa):
        row = Row(isa, name, 5, 2)
        arrays, states = (row.weights, row.scales, row.offsets, row.start), (row.cell, row.hidden)
        if not _kernel.has_int8_row(isa, name):
            with pytest.raises(ValueError, match="has no kernel of a row"):
                _kernel.int8_row_steps(arrays, (*states, row.integers), None, 5, True, isa, name)
            continue
        with pytest.raises(ValueError, match="integers has 3 bytes, but must have"):
            _kernel.int8_row_steps(arrays, (*states, np.zeros(3, np.uint8)), None, 5, True, isa, name)
