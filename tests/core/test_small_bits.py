"""Small weights have the same bits on every path: ISAs, sets of instructions, batches, chunks, threads.

Shapes: B batch, T time, I input, H hidden.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from support import EACH_ISA, assert_same_bits, on_isa, random_case, random_net
from team import every_call_shared, threads
from variants import VARIANTS, Mixture, make

from lstm import LSTM, _kernel
from lstm.core.precision import PRECISIONS

BATCHES = (1, 2, 3, 7, 17, 33, 100)
SIZES = ((1, 1), (3, 5), (16, 16), (5, 17), (33, 40), (130, 64), (20, 150), (300, 260), (1800, 66))  # (I, H)


def make_small(name: str, precision: Any, batch: int, time: int = 9) -> tuple[LSTM, Mixture]:
    """A net of a variant with small weights, and what it is called with."""
    net, mixture = make(name, np.float32, batch, time)
    options = net.core.architecture.options()
    return LSTM.from_state_dict(net.state_dict(), precision=precision, **options), mixture


def every_way(net: LSTM, isa: str) -> Iterator[tuple[str, LSTM]]:
    """The net on an ISA, of int8 by each set of instructions."""
    if net.precision != "int8":
        yield isa, on_isa(net, isa)
        return
    for name in _kernel.int8_sets(isa):
        found = on_isa(net, isa)
        for cell in found.core.cells:
            cell.choose_products(name)  # type: ignore[union-attr]
        yield f"{isa}, {name}", found


@pytest.mark.parametrize("isa", EACH_ISA)
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant(name: str, precision: str, isa: str) -> None:
    for batch in BATCHES:
        net, mixture = make_small(name, precision, batch)
        expected = mixture.outputs(on_isa(net, "generic"))
        for way, found in every_way(net, isa):
            for key, array in mixture.outputs(found).items():
                assert_same_bits(array, expected[key], f"{key} of {batch} rows, {way}")


@pytest.mark.parametrize("isa", EACH_ISA)
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("size", SIZES)
def test_every_size(size: tuple[int, int], precision: str, isa: str) -> None:
    """Rows alone, in a batch, in chunks, step by step; 16 bits as the float32 net of the rounded weights."""
    rng = np.random.default_rng(size)
    net = random_net(rng, *size, np.float32, num_layers=2).quantize(precision)  # type: ignore[arg-type]
    X, h, C = random_case(rng, 7, 11, *size, np.float32)
    h, C = np.stack([h, h[::-1]]), np.stack([C, C[::-1]])
    expected = on_isa(net, "generic").forward_sequence(X, h, C)
    if precision != "int8":
        rounded = LSTM.from_state_dict(net.state_dict())  # type: ignore[arg-type]
        assert_same_bits(expected, rounded.forward_sequence(X, h, C), "as float32")
    for way, found in every_way(net, isa):
        assert_same_bits(found.forward_sequence(X, h, C), expected, way)
        for rows in (slice(0, 1), slice(1, 3), slice(3, 7)):
            part = found.forward_sequence(X[rows], h[:, rows], C[:, rows])
            assert_same_bits(part, expected[rows], f"{rows}, {way}")
        row, stream = found.stream(), found.stream(7)
        row.state, stream.state = (h[:, 0], C[:, 0]), (h, C)
        steps = [row.step(X[0, 0]), *row.run(X[0, 1:7]), *row.run(X[0, 7:])]
        assert_same_bits(np.stack(steps), expected[0], f"a stream, {way}")
        chunks = [stream.run(X[:, :4]), stream.step(X[:, 4])[:, np.newaxis], stream.run(X[:, 5:])]
        assert_same_bits(np.concatenate(chunks, axis=1), expected, f"a stream of 7, {way}")


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", VARIANTS)
def test_threads(name: str, precision: str) -> None:
    with every_call_shared():
        for batch, time in ((1, 40), (3, 30), (33, 12)):
            net, mixture = make_small(name, precision, batch, time)
            with threads(1):
                expected = mixture.outputs(net)
            for count in (2, 3, 5):
                with threads(count):
                    found = mixture.outputs(net)
                for key, wanted in expected.items():
                    assert_same_bits(found[key], wanted, f"{key} of {batch} rows, {count} threads")


@pytest.mark.parametrize("isa", EACH_ISA)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_units_of_one_row_are_shared(precision: Any, isa: str) -> None:
    with every_call_shared():
        for hidden_size, time in ((17, 40), (35, 100), (150, 300)):
            rng = np.random.default_rng(hidden_size)
            net = on_isa(random_net(rng, 5, hidden_size, np.float32).quantize(precision), isa)
            case = random_case(rng, 1, time, 5, hidden_size, np.float32)
            with threads(1):
                expected = [net.forward_sequence(*case), *net.trace(*case)]
            for count in (2, 3, 5):
                with threads(count):
                    found = [net.forward_sequence(*case), *net.trace(*case)]
                for one, wanted in zip(found, expected, strict=True):
                    assert_same_bits(one, wanted, f"{hidden_size} units, {count} threads")


@pytest.mark.parametrize("precision", PRECISIONS)
def test_weights_take_less_memory(precision: str) -> None:
    net = LSTM(256, 512, dtype=np.float32, rng=0)
    most = 0.27 if precision == "int8" else 0.51
    full, small = (sum(cell.nbytes for cell in one.core.cells) for one in (net, net.quantize(precision)))  # type: ignore[arg-type,union-attr]
    assert small < most * full


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_kernel_records_nothing_of_small_weights(precision: str) -> None:
    net = LSTM(3, 5, dtype=np.float32, rng=0).quantize(precision)  # type: ignore[arg-type]
    X, h, C = random_case(np.random.default_rng(0), 2, 4, 3, 5, np.float32)
    for more in ({"recurrent": np.ones_like(h)}, {"record": (X, X, X)}):
        before = h.copy()
        with pytest.raises(ValueError, match=f"nothing is recorded of weights in {precision}"):
            _kernel.forward_sequence(net.core.cells[0], X, h, C, None, **more)  # type: ignore[arg-type]
        assert_same_bits(h, before)
