"""Every micro-kernel through its twin in _kernel, bit for bit against the emulation of exact_sums.py.

Shapes: R rows, P panels, K depth, L lanes, G = 4 gates.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from exact_sums import SUM_BLOCK, canonical_sums, fma, hidden_block
from kernel_twins import Guarded, next_state
from support import DTYPES, EACH_ISA, ISAS, assert_same_bits

from lstm import _kernel
from lstm.core.weights import GATES

DEPTHS = (1, 2, 3, 15, 16, 17, 127, 128, 129, 256, 300)


def tiles(isa: str, dtype: Any) -> list[tuple[int, int]]:
    """(rows, panels) of every micro-kernel of one ISA."""
    _, most_rows, most_panels = _kernel.tile_limits(isa, np.dtype(dtype).name)
    return [(rows, 1) for rows in range(1, most_rows + 1)] + [
        (1, panels) for panels in range(2, most_panels + 1)
    ]


def each_tile() -> Iterator[Any]:
    """Parameters of a test: isa, dtype, rows, panels."""
    for isa, dtype in itertools.product(ISAS, DTYPES):
        name = f"{isa}-{np.dtype(dtype).name}"
        if isa in _kernel.SUPPORTED_ISAS:
            for rows, panels in tiles(isa, dtype):
                yield pytest.param(isa, dtype, rows, panels, id=f"{name}-{rows}x{panels}")
        else:
            yield pytest.param(isa, dtype, 0, 0, id=name, marks=pytest.mark.skip(f"{isa} is not run here"))


def for_each_tile(test: Any) -> Any:
    return pytest.mark.parametrize(("isa", "dtype", "rows", "panels"), list(each_tile()))(test)


# ---- exact arithmetic


def rounded(value: Fraction, dtype: Any) -> Any:
    """The number of the dtype nearest to `value`, the even one of two."""
    guess = dtype(float(value))
    near = [np.nextafter(guess, dtype(-np.inf)), guess, np.nextafter(guess, dtype(np.inf))]
    return min(near, key=lambda x: (abs(Fraction(float(x)) - value), int(x.view(f"i{x.itemsize}")) & 1))


@pytest.mark.parametrize("dtype", DTYPES)
def test_emulated_fma_is_exact(dtype: Any) -> None:
    rng = np.random.default_rng(0)
    half = np.finfo(dtype).nmant // 2
    # Products of short fractions are exact: sums with large numbers then tie.
    short = [np.ldexp(rng.integers(-(1 << half), 1 << half, 3000), -half).astype(dtype) for _ in range(2)]
    # Products of long ones are not; with their opposites little but the dropped part is left.
    long = [rng.standard_normal(3000).astype(dtype) for _ in range(2)]
    a, b = (np.concatenate(pair) for pair in zip(short, long, strict=True))
    c = np.ldexp(rng.standard_normal(a.size), rng.integers(-60, 60, a.size)).astype(dtype)
    c[::3] = -(a * b)[::3]
    c[1::3] = np.ldexp(rng.choice([-1.5, -1.0, 1.0, 1.25], c[1::3].size), rng.integers(1, half, c[1::3].size))
    # A product just off one half of c's last bit: what is far below it decides.
    divisor = rng.uniform(1, 2, 3000).astype(dtype)
    many = rng.integers(1 << np.finfo(dtype).nmant, 2 << np.finfo(dtype).nmant, 3000)
    a, b = np.concatenate([a, divisor]), np.concatenate([b, 1 / divisor])
    c = np.concatenate([c, (2 * many).astype(dtype)])
    expected = [
        rounded(Fraction(float(x)) * Fraction(float(y)) + Fraction(float(z)), dtype)
        for x, y, z in zip(a, b, c, strict=True)
    ]
    np.testing.assert_array_equal(fma(a, b, c), np.array(expected))


class Tile:
    """Random arguments of the micro-kernels of one shape, and the sums they have by the contract."""

    def __init__(self, isa: str, dtype: Any, rows: int, panels: int, depth: int) -> None:
        rng = np.random.default_rng([rows, panels, depth])
        lanes = _kernel.lanes(isa, np.dtype(dtype).name)

        def draw(*shape: int) -> np.ndarray:
            return rng.standard_normal(shape).astype(dtype)

        self.input = draw(rows, depth)
        self.weights = draw(panels, depth, len(GATES), lanes) / dtype(np.sqrt(depth))
        self.start = draw(rows, panels, len(GATES), lanes)
        self.cell = draw(rows, panels, lanes)
        self.sums = canonical_sums(self.input, self.weights, self.start)

    def inputs(self) -> dict[str, Guarded]:
        return {name: Guarded(getattr(self, name)) for name in ("input", "weights", "start")}

    def next_state(self, isa: str) -> tuple[np.ndarray, np.ndarray]:
        """cell and hidden (R, P, L) after the step, by the activations of the same ISA."""
        sums = canonical_sums(self.input, self.weights, self.start, hidden_block(self.input.shape[1]))
        return next_state(sums, self.cell, isa)


tile_of = functools.cache(Tile)


def views(arrays: dict[str, Guarded]) -> dict[str, np.ndarray]:
    return {name: guarded.array for name, guarded in arrays.items()}


# ---- the kernels


@pytest.mark.parametrize("depth", DEPTHS)
@for_each_tile
def test_gates_tile(isa: str, dtype: Any, rows: int, panels: int, depth: int) -> None:
    tile = tile_of(isa, dtype, rows, panels, depth)
    inputs, sums = tile.inputs(), Guarded(np.full_like(tile.start, np.nan))
    _kernel.gates_tile(**views(inputs), sums=sums.array, isa=isa)
    sums.assert_only_written(tile.sums, "sums")
    for name, guarded in inputs.items():
        guarded.assert_unchanged(name)


@for_each_tile
def test_gates_tile_in_place(isa: str, dtype: Any, rows: int, panels: int) -> None:
    tile = tile_of(isa, dtype, rows, panels, 129)
    inputs = tile.inputs()
    _kernel.gates_tile(**views(inputs), sums=inputs["start"].array, isa=isa)
    inputs["start"].assert_only_written(tile.sums, "sums")


@for_each_tile
def test_gates_tile_block_by_block(isa: str, dtype: Any, rows: int, panels: int) -> None:
    """The driver splits k at multiples of the block: the same bits as k at once."""
    tile = tile_of(isa, dtype, rows, panels, 300)
    sums = tile.start.copy()
    for k in range(0, 300, SUM_BLOCK):
        block = slice(k, k + SUM_BLOCK)
        input, weights = tile.input[:, block].copy(), tile.weights[:, block].copy()
        _kernel.gates_tile(input, weights, sums, sums, isa)
    assert_same_bits(sums, tile.sums)


@pytest.mark.parametrize("depth", DEPTHS)
@for_each_tile
def test_step_tile(isa: str, dtype: Any, rows: int, panels: int, depth: int) -> None:
    tile = tile_of(isa, dtype, rows, panels, depth)
    inputs, cell, hidden = tile.inputs(), Guarded(tile.cell), Guarded(np.full_like(tile.cell, np.nan))
    _kernel.step_tile(**views(inputs), cell=cell.array, hidden=hidden.array, isa=isa)
    expected_cell, expected_hidden = tile.next_state(isa)
    cell.assert_only_written(expected_cell, "cell")
    hidden.assert_only_written(expected_hidden, "hidden")
    for name, guarded in inputs.items():
        guarded.assert_unchanged(name)


@for_each_tile
def test_step_tile_output_of_any_width(isa: str, dtype: Any, rows: int, panels: int) -> None:
    """The units that the output has are written and nothing past them."""
    tile = tile_of(isa, dtype, rows, panels, 2)
    expected_cell, expected_hidden = tile.next_state(isa)
    for units in range(1, tile.cell[0].size + 1):
        cell, hidden = Guarded(tile.cell), Guarded(np.full_like(tile.cell, np.nan))
        output = Guarded(np.full((rows, units), np.nan, dtype))
        inputs = (tile.input, tile.weights, tile.start)
        _kernel.step_tile(*inputs, cell.array, hidden.array, output.array, isa)
        output.assert_only_written(expected_hidden.reshape(rows, -1)[:, :units], f"output of {units} units")
        hidden.assert_only_written(expected_hidden, "hidden")
        cell.assert_only_written(expected_cell, "cell")


@for_each_tile
def test_tiles_without_memory_around(isa: str, dtype: Any, rows: int, panels: int) -> None:
    """Arrays of their very size: AddressSanitizer sees what is read past their ends."""
    tile = tile_of(isa, dtype, rows, panels, 129)
    sums = np.empty_like(tile.start)
    _kernel.gates_tile(tile.input.copy(), tile.weights.copy(), tile.start.copy(), sums, isa)
    assert_same_bits(sums, tile.sums)
    expected_cell, expected_hidden = tile.next_state(isa)
    for units in (1, tile.cell[0].size):
        cell, hidden, output = tile.cell.copy(), np.empty_like(tile.cell), np.empty((rows, units), dtype)
        inputs = (tile.input.copy(), tile.weights.copy(), tile.start.copy())
        _kernel.step_tile(*inputs, cell, hidden, output, isa)
        assert_same_bits(cell, expected_cell)
        assert_same_bits(hidden, expected_hidden)
        assert_same_bits(output, expected_hidden.reshape(rows, -1)[:, :units])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["sigmoid", "tanh"])
@pytest.mark.parametrize("isa", EACH_ISA)
def test_activations_of_any_length(isa: str, name: str, dtype: Any) -> None:
    """Each number as it is alone, out of place and in place, and nothing written past the last."""
    values = np.random.default_rng(0).standard_normal(35).astype(dtype)
    alone = np.empty_like(values)
    function = getattr(_kernel, name)
    for k in range(values.size):
        function(values[k : k + 1], alone[k : k + 1], isa)
    for count in range(values.size + 1):
        x, y = Guarded(values[:count]), Guarded(np.full(count, np.nan, dtype))
        function(x.array, y.array, isa)
        y.assert_only_written(alone[:count], f"{count} elements")
        x.assert_unchanged("x")
        function(x.array, x.array, isa)
        x.assert_only_written(alone[:count], f"{count} elements in place")
        exact = values[:count].copy()  # no memory around it, for AddressSanitizer
        function(exact, exact, isa)
        assert_same_bits(exact, alone[:count])


# ---- arguments that do not fit


def wrong_arguments(isa: str, dtype: Any) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    """(what is wrong, arguments of step_tile) for each way that a tile's arrays can disagree."""
    lanes, most_rows, most_panels = _kernel.tile_limits(isa, np.dtype(dtype).name)

    def arguments(
        rows: int, panels: int, depth: int, units: int, lanes: int = lanes
    ) -> dict[str, np.ndarray]:
        return {
            "input": np.ones((rows, depth), dtype),
            "weights": np.ones((panels, depth, 4, lanes), dtype),
            "start": np.ones((rows, panels, 4, lanes), dtype),
            "cell": np.ones((rows, panels, lanes), dtype),
            "hidden": np.ones((rows, panels, lanes), dtype),
            "output": np.ones((rows, units), dtype),
        }

    yield "too many rows", arguments(most_rows + 1, 1, 3, 1)
    yield "too many panels", arguments(1, most_panels + 1, 3, 1)
    yield "rows and panels", arguments(2, 2, 3, 1)
    yield "no rows", arguments(0, 1, 3, 1)
    yield "no panels", arguments(1, 0, 3, 1)
    yield "no depth", arguments(1, 1, 0, 1)
    yield "no units", arguments(1, 1, 3, 0)
    yield "too many units", arguments(1, 1, 3, lanes + 1)
    yield "other lanes", arguments(1, 1, 3, 1, lanes + 1)
    good, larger = arguments(2, 1, 3, 1), arguments(1, 2, 4, 1, 2 * lanes)
    for name in good:
        yield f"the shape of {name}", {**good, name: larger[name]}
        other = np.float64 if dtype is np.float32 else np.float32
        yield f"the dtype of {name}", {**good, name: good[name].astype(other)}
        gap = np.ones((*good[name].shape[:-1], 2 * good[name].shape[-1]), dtype)[..., ::2]
        yield f"the strides of {name}", {**good, name: gap}


MISFIT = "has no tile of|has shape|is empty|must be contiguous"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("isa", EACH_ISA)
def test_arguments_that_do_not_fit(isa: str, dtype: Any) -> None:
    for what, arguments in wrong_arguments(isa, dtype):
        before = {name: array.copy() for name, array in arguments.items()}
        with pytest.raises(ValueError, match=MISFIT) as step_error:
            _kernel.step_tile(**arguments, isa=isa)
        if not any(name in what for name in ("units", "cell", "hidden", "output")):
            inputs = {name: arguments[name] for name in ("input", "weights", "start")}
            with pytest.raises(ValueError, match=MISFIT):
                _kernel.gates_tile(**inputs, sums=arguments["start"].copy(), isa=isa)
        for name, array in arguments.items():
            assert_same_bits(array, before[name], f"{name} with {what} wrong: {step_error.value}")


def test_shape_of_sums() -> None:
    tile = tile_of("generic", np.float32, 2, 1, 2)
    sums = np.ones((1, 2, 4, 1), np.float32)
    with pytest.raises(ValueError, match=r"sums has shape \(1, 2, 4, 1\), but must be \(2, 1, 4, 1\)"):
        _kernel.gates_tile(tile.input, tile.weights, tile.start, sums, "generic")
    assert (sums == 1).all()


def test_activations_of_unequal_lengths() -> None:
    x, y = np.ones(3), np.ones(4)
    for function in (_kernel.sigmoid, _kernel.tanh):
        with pytest.raises(ValueError, match="x has 3 elements and y 4"):
            function(x, y)
    assert (y == 1).all()


@pytest.mark.parametrize("isa", ["sse9", "", None])
def test_unknown_isa(isa: Any) -> None:
    tile = tile_of("generic", np.float32, 2, 1, 2)
    with pytest.raises(ValueError, match="this machine has generic"):
        _kernel.gates_tile(tile.input, tile.weights, tile.start, tile.start.copy(), isa)
