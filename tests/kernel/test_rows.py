"""The kernels of a row alone through their twin in _kernel, bit for bit against an emulation in NumPy.

Shapes: T steps, P panels, K depth, L lanes, G = 4 gates.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from exact_sums import SHORT_SUM, canonical_sums, hidden_block
from kernel_twins import Guarded, next_state
from support import DTYPES, ISAS, assert_same_bits

from lstm import _kernel
from lstm.core.weights import GATES


def depths(isa: str, dtype: Any) -> Iterator[tuple[bool, int]]:
    """(whether it is the kernel of one tile, units) around every edge."""
    name = np.dtype(dtype).name
    lanes = _kernel.lanes(isa, name)
    net_panels, has_row_steps = _kernel.row_limits(isa, name)
    for depth in range(1, net_panels * lanes + 1):
        yield True, depth
    if has_row_steps:
        for panels in (3, 4, 5, 8):
            for units in (1, lanes - 1, lanes):
                depth = (panels - 1) * lanes + units
                if depth > SHORT_SUM:  # fewer are done tile after tile
                    yield False, depth
        for depth in (127, 128, 129, 257):
            yield False, depth


def cases() -> Iterator[Any]:
    for isa, dtype in itertools.product(ISAS, DTYPES):
        name = f"{isa}-{np.dtype(dtype).name}"
        if isa not in _kernel.SUPPORTED_ISAS:
            yield pytest.param(isa, dtype, True, 1, id=name, marks=pytest.mark.skip(f"no {isa} here"))
            continue
        for is_net, depth in depths(isa, dtype):
            yield pytest.param(isa, dtype, is_net, depth, id=f"{name}-{'net' if is_net else 'tiles'}-{depth}")


class Row:
    """Random arguments of a row of T steps, and its states by the contract."""

    def __init__(self, isa: str, dtype: Any, depth: int, steps: int, takes_x: bool) -> None:
        rng = np.random.default_rng([depth, steps])
        lanes = _kernel.lanes(isa, np.dtype(dtype).name)
        panels = -(-depth // lanes)

        def draw(*shape: int) -> np.ndarray:
            return rng.standard_normal(shape).astype(dtype)

        self.isa, self.depth = isa, depth
        self.weights = draw(panels, depth, len(GATES), lanes) * dtype(2 / np.sqrt(depth))
        self.start = draw(steps, panels, len(GATES), lanes)
        self.cell, self.hidden = draw(panels, lanes), draw(2, panels, lanes)
        self.x = draw(steps) if takes_x else None
        self.x_weights = draw(panels, len(GATES), lanes) if takes_x else None
        self.hidden[1] = np.nan

    def expected(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Cell (P, L) and hidden (P, L) after the steps, output (T, K)."""
        cell, hidden, outputs = self.cell[np.newaxis], self.hidden[:1], []
        for step in range(len(self.start)):
            start = self.start[step : step + 1]
            if self.x is not None and self.x_weights is not None:
                start = start + self.x[step] * self.x_weights
            units = hidden.reshape(1, -1)[:, : self.depth]
            sums = canonical_sums(units, self.weights, start, hidden_block(self.depth))
            cell, hidden = next_state(sums, cell, self.isa)
            outputs.append(hidden.reshape(-1)[: self.depth])
        return cell[0], hidden[0], np.stack(outputs)

    def arguments(self) -> dict[str, Any]:
        names = ("weights", "start", "x", "x_weights")
        return {name: None if (array := getattr(self, name)) is None else Guarded(array) for name in names}


def views(arrays: dict[str, Any]) -> dict[str, Any]:
    return {name: None if guarded is None else guarded.array for name, guarded in arrays.items()}


@pytest.mark.parametrize(("isa", "dtype", "is_net", "depth"), list(cases()))
def test_steps_of_a_row(isa: str, dtype: Any, is_net: bool, depth: int) -> None:
    """A few steps, from either end; with and without output and, of one tile, x."""
    for steps, forward in ((1, True), (2, False), (3, True), (3, False), *[(8, True), (9, False)] * is_net):
        takes_x = is_net and forward
        row = Row(isa, dtype, depth, steps, takes_x)
        expected_cell, expected_hidden, expected_output = row.expected()
        inputs, cell, hidden = row.arguments(), Guarded(row.cell), Guarded(row.hidden)
        output = None if steps == 2 else Guarded(np.full((steps, depth), np.nan, dtype))
        _kernel.row_steps(
            is_net,
            cell=cell.array,
            hidden=hidden.array,
            output=None if output is None else output.array,
            forward=forward,
            isa=isa,
            **views(inputs),
        )
        what = f"of {steps} steps"
        # What is past the units is any number.
        for name, found, expected in (
            ("cell", cell.array, expected_cell),
            ("hidden", hidden.array[0 if is_net else steps % 2], expected_hidden),
        ):
            assert_same_bits(found.ravel()[:depth], expected.ravel()[:depth], f"{name} {what}")
        cell.assert_only_written(cell.array.copy(), f"cell {what}")
        hidden.assert_only_written(hidden.array.copy(), f"hidden {what}")
        if is_net:
            assert_same_bits(hidden.array[1], row.hidden[1], f"hidden {what}")
        if output is not None:
            output.assert_only_written(expected_output, f"output {what}")
        for name, guarded in inputs.items():
            if guarded is not None:
                guarded.assert_unchanged(name)


@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_that_have_a_kernel(dtype: Any) -> None:
    """Or the steps above would be of none."""
    for isa in set(_kernel.SUPPORTED_ISAS) & {"avx2", "avx512"}:
        net_panels, has_row_steps = _kernel.row_limits(isa, np.dtype(dtype).name)
        assert net_panels > 0, isa
        assert has_row_steps, isa


@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_that_have_no_kernel(dtype: Any) -> None:
    row = Row("generic", dtype, 4, 2, False)
    with pytest.raises(ValueError, match="generic has no kernel of a row of 4 panels"):
        _kernel.row_steps(True, row.weights, row.start, row.cell, row.hidden, isa="generic")
    with pytest.raises(ValueError, match="generic has no kernel of a row of 4 panels"):
        _kernel.row_steps(False, row.weights, row.start, row.cell, row.hidden, isa="generic")


@pytest.mark.skipif("avx2" not in _kernel.SUPPORTED_ISAS, reason="needs AVX2")
@pytest.mark.parametrize("dtype", DTYPES)
def test_arrays_of_a_row_that_do_not_fit(dtype: Any) -> None:
    row = Row("avx2", dtype, 3, 2, True)
    good = {"weights": row.weights, "start": row.start, "cell": row.cell, "hidden": row.hidden}
    good |= {"output": np.zeros((2, 3), dtype), "x": row.x, "x_weights": row.x_weights}
    for name, array in good.items():
        if name != "start":  # its first axis says how many steps there are
            wrong = {**good, name: np.zeros((*array.shape[:-1], array.shape[-1] + 1), dtype)}
            with pytest.raises(ValueError, match=f"{name} has shape"):
                _kernel.row_steps(True, **wrong, isa="avx2")
    with pytest.raises(ValueError, match="start has shape"):
        _kernel.row_steps(True, **{**good, "start": row.start[:, :, :3]}, isa="avx2")
    with pytest.raises(ValueError, match="x and x_weights are given together"):
        _kernel.row_steps(True, **{**good, "x": None}, isa="avx2")
