"""The kernels of int8 of every set of instructions, bit for bit against integers of NumPy.

Shapes: R rows, P panels, K depth, L lanes, G = 4 gates.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from exact_sums import fma
from kernel_twins import Guarded
from support import assert_same_bits

from lstm import _kernel
from lstm.core.precision import LEAST
from lstm.core.weights import GATES

SETS = [(isa, name) for isa in _kernel.SUPPORTED_ISAS for name in _kernel.int8_sets(isa)]
DEPTHS = (1, 3, 4, 5, 15, 16, 17, 127, 128, 129, 513)
MOST_DEPTH = 65_536


def each_tile() -> Iterator[Any]:
    """Parameters of a test: isa, set, rows, panels."""
    for isa, name in SETS:
        most_rows, most_panels, _ = _kernel.int8_sets(isa)[name]
        shapes = [(rows, 1) for rows in range(1, most_rows + 1)]
        shapes += [(1, panels) for panels in range(2, most_panels + 1)]
        for rows, panels in shapes:
            yield pytest.param(isa, name, rows, panels, id=f"{isa}-{name}-{rows}x{panels}")


for_each_tile = pytest.mark.parametrize(("isa", "name", "rows", "panels"), list(each_tile()))
for_each_set = pytest.mark.parametrize(("isa", "name"), SETS)


def room(depth: int, isa: str, name: str) -> int:
    """Bytes of a row of integers."""
    return -(-depth // 16) * 16 * _kernel.int8_sets(isa)[name][2]


def quantized(x: np.ndarray, isa: str, name: str, least: float = 0) -> tuple[np.ndarray, np.float32]:
    """x (K,) -> its integers as the kernels take them, bytes, and its scale."""
    integers = np.full(room(x.size, isa, name), 99, np.uint8)
    return integers, np.float32(_kernel.quantize_row(x, least, integers, isa, name))


def decoded(integers: np.ndarray, isa: str, name: str) -> np.ndarray:
    """The values of stored integers; some sets store them 128 higher."""
    stored = integers.view(np.int16) if _kernel.int8_sets(isa)[name][2] == 2 else integers.view(np.int8)
    zero, _ = quantized(np.zeros(1, np.float32), isa, name)
    return stored ^ zero.view(stored.dtype)[0]


def expected_integers(x: np.ndarray, least: float = 0) -> tuple[np.ndarray, np.float32]:
    """Integers (K,) and the scale by the contract of the numbers."""
    most = max(np.float32(least), np.abs(x).max())
    if not np.isfinite(most):
        return np.zeros(x.size), np.float32(np.nan)
    if most < LEAST:
        return np.zeros(x.size), np.float32(0)
    return np.rint(x * (np.float32(127) / most)), most / np.float32(127)


class Tile:
    """Random arguments of a tile of one shape; some of its integers are the largest there are."""

    def __init__(self, isa: str, rows: int, panels: int, depth: int) -> None:
        rng = np.random.default_rng([rows, panels, depth])
        lanes, groups = _kernel.lanes(isa, "float32"), -(-depth // 4)
        self.x = rng.standard_normal((rows, depth)).astype(np.float32)
        values = rng.integers(-128, 128, (panels, groups * 4, len(GATES), lanes)).astype(np.int8)
        values[:, depth:] = 0
        values[0, :depth, 0, 0] = -128
        self.x[0] = np.where(rng.random(depth) < 0.9, -self.x.max(), self.x[0])
        split = values.reshape(panels, groups, 4, len(GATES), lanes)
        self.weights = np.ascontiguousarray(split.transpose(0, 1, 3, 4, 2))
        self.values = values[:, :depth]
        self.scales = rng.uniform(1e-4, 1e-2, (panels, len(GATES), lanes)).astype(np.float32)
        self.offsets = (-128 * values.sum(axis=1, dtype=np.int32)).astype(np.int32)
        self.start = rng.standard_normal((rows, panels, len(GATES), lanes)).astype(np.float32)

    def sums(self) -> np.ndarray:
        """(R, P, G, L) by the contract."""
        rows = [expected_integers(row) for row in self.x]
        integers = np.stack([values for values, _ in rows])
        totals = np.einsum("rk,pkgl->rpgl", integers.astype(np.int64), self.values.astype(np.int64))
        scales = np.stack([scale for _, scale in rows])[:, None, None, None] * self.scales
        return fma(totals.astype(np.float32), scales, self.start)

    def arguments(self, isa: str, name: str) -> dict[str, Guarded]:
        rows = [quantized(row, isa, name) for row in self.x]
        arrays = {
            "integers": np.stack([integers for integers, _ in rows]),
            "input_scales": np.stack([scale for _, scale in rows]),
        }
        arrays |= {one: getattr(self, one) for one in ("weights", "scales", "offsets", "start")}
        return {key: Guarded(array) for key, array in arrays.items()}


tile_of = functools.cache(Tile)


@pytest.mark.parametrize("depth", DEPTHS)
@for_each_tile
def test_int8_tile(isa: str, name: str, rows: int, panels: int, depth: int) -> None:
    """Arrays one element off a cache line; nothing around the sums is written."""
    tile = tile_of(isa, rows, panels, depth)
    inputs, sums = tile.arguments(isa, name), Guarded(np.full_like(tile.start, np.nan))
    views = {key: guarded.array for key, guarded in inputs.items()}
    _kernel.int8_tile(views.values(), sums.array, isa, name)
    sums.assert_only_written(tile.sums(), "sums")
    for key, guarded in inputs.items():
        guarded.assert_unchanged(key)
    _kernel.int8_tile(views.values(), views["start"], isa, name)
    inputs["start"].assert_only_written(tile.sums(), "sums in place")


@for_each_tile
def test_int8_tile_without_memory_around(isa: str, name: str, rows: int, panels: int) -> None:
    """Arrays of their very size: AddressSanitizer sees what is read past their ends."""
    tile = tile_of(isa, rows, panels, 129)
    exact = {key: guarded.array.copy() for key, guarded in tile.arguments(isa, name).items()}
    sums = np.empty_like(tile.start)
    _kernel.int8_tile(exact.values(), sums, isa, name)
    assert_same_bits(sums, tile.sums())


@for_each_set
def test_largest_sums(isa: str, name: str) -> None:
    """The deepest sums of the largest integers of either sign: nothing saturates, nothing overflows."""
    lanes = _kernel.lanes(isa, "float32")
    weights = np.full((1, MOST_DEPTH // 4, 4, lanes, 4), 127, np.int8)
    weights[:, :, 1] = -128  # integers from elsewhere may be this
    weights[:, :, 2, :, :2] = -127
    ones = np.ones((1, 4, lanes), np.float32)
    offsets = (-128 * weights.sum(axis=(1, 4), dtype=np.int64)).astype(np.int32)
    for sign in (1, -1):
        integers, _ = quantized(np.full(MOST_DEPTH, sign, np.float32), isa, name)
        sums = np.zeros((1, 1, 4, lanes), np.float32)
        scale = np.ones(1, np.float32)
        _kernel.int8_tile((integers[np.newaxis], scale, weights, ones, offsets, sums), sums, isa, name)
        expected = [127 * 127, -128 * 127, 0, 127 * 127]
        exact = np.array(expected, np.float32) * np.float32(sign * MOST_DEPTH) + np.float32(0)
        assert_same_bits(sums[0, 0, :, 0], exact)


@for_each_set
@pytest.mark.parametrize("least", [0.0, 1.0])
def test_integers_of_a_row(isa: str, name: str, least: float) -> None:
    """Every length around a vector; ties go to the even integer, what is past the row is zero."""
    rng = np.random.default_rng(1)
    for depth in (*range(1, 40), 127, 128, 129):
        ties = (rng.integers(-127, 127, depth) + np.float32(0.5)).clip(-126.5, 126.5)
        for values in (rng.standard_normal(depth), 3e38 * rng.uniform(-1, 1, depth), ties, ties / 127):
            values[depth // 2] = 127 if values is ties else values[depth // 2]
            x = Guarded(values.astype(np.float32))
            integers, scale = quantized(x.array, isa, name, least)
            expected, expected_scale = expected_integers(x.array, least)
            found = decoded(integers, isa, name)
            np.testing.assert_array_equal(found[:depth], expected)
            assert not found[depth:].any()
            assert_same_bits(scale, expected_scale)
            x.assert_unchanged("x")


@for_each_set
def test_rows_that_are_no_numbers_or_almost_zero(isa: str, name: str) -> None:
    for depth in (1, 16, 21):
        x = np.full(depth, np.float32(0.5))
        for value in (np.nan, -np.nan, np.inf, -np.inf):
            for place in {0, depth - 1}:
                x[...], x[place] = 0.5, value
                for least in (0.0, 1.0):
                    integers, scale = quantized(x, isa, name, least)
                    assert np.isnan(scale)
                    assert not decoded(integers, isa, name).any()
        for value in (0.0, -0.0, 1e-45, float(np.nextafter(LEAST, np.float32(0)))):
            x[...] = value
            integers, scale = quantized(x, isa, name)
            assert scale == 0
            assert not decoded(integers, isa, name).any()
        x[...] = LEAST
        integers, scale = quantized(x, isa, name)
        assert_same_bits(scale, LEAST / np.float32(127))
        assert (decoded(integers, isa, name)[:depth] == 127).all()


@for_each_set
def test_arguments_of_int8_that_do_not_fit(isa: str, name: str) -> None:
    most_rows, most_panels, _ = _kernel.int8_sets(isa)[name]
    for rows, panels in ((most_rows + 1, 1), (1, most_panels + 1), (2, 2)):
        tile = Tile(isa, rows, panels, 4)
        views = {key: guarded.array for key, guarded in tile.arguments(isa, name).items()}
        with pytest.raises(ValueError, match="there is no tile of"):
            _kernel.int8_tile(views.values(), tile.start.copy(), isa, name)
    with pytest.raises(ValueError, match="integers has 5 bytes, but must have"):
        _kernel.quantize_row(np.ones(3, np.float32), 0, np.zeros(5, np.uint8), isa, name)


def test_sets_of_an_isa() -> None:
    for isa in _kernel.SUPPORTED_ISAS:
        assert _kernel.int8_sets(isa)
        with pytest.raises(ValueError, match="this CPU does not multiply int8 by 'fingers', but by"):
            _kernel.quantize_row(np.ones(3, np.float32), 0, np.zeros(16, np.uint8), isa, "fingers")
    with pytest.raises(ValueError, match="this machine has generic"):
        _kernel.int8_sets("sse9")
