"""Sequences in chunks of time: the bits of the whole, and memory that does not grow with time.

Shapes: B batch, T time, I input, H hidden, O features of h, L layers, D directions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from parity import flat
from support import assert_close, assert_same_bits, peak_of, random_net

from lstm import LSTM
from lstm.core import sequence

DIRECTIONS: dict[str, dict[str, Any]] = {
    "forward": {},
    "reverse": {"reverse": True},
    "bidirectional": {"bidirectional": True},
    "merged": {"bidirectional": True, "merge": "sum"},
}


@pytest.mark.parametrize("elements", [1, 200, 700])  # a step, 5 and 20 steps of 7 rows of 5 features
@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("backend", ["native", "numpy"])
def test_chunks_give_the_bits_of_the_whole(
    backend: str, direction: str, layers: int, elements: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """X that must be converted is cut into chunks, which follow one another as the net runs."""
    rng = np.random.default_rng(1)
    net = random_net(rng, 5, 6, np.float32, num_layers=layers, backend=backend, **DIRECTIONS[direction])
    cells = len(net.layers)
    X = rng.standard_normal((7, 41, 5)).astype(np.float32)
    states = [rng.uniform(-1, 1, (cells, 7, 6)).astype(np.float32) for _ in range(2)]
    same = assert_same_bits if backend == "native" else assert_close
    calls: list[int] = []
    run_cell = sequence.run_cell

    def counted(*arguments: Any) -> None:
        calls.append(1)
        run_cell(*arguments)

    for lengths in (None, np.array([41, 0, 40, 1, 20, 21, 7])):
        monkeypatch.undo()
        expected = flat(net.forward_sequence(X, *states, lengths=lengths, return_state=True))
        monkeypatch.setattr(sequence, "CHUNK_ELEMENTS", elements)
        monkeypatch.setattr(sequence, "run_cell", counted)
        calls.clear()
        found = flat(net.forward_sequence(X.astype(np.float64), *states, lengths=lengths, return_state=True))
        assert len(calls) > 2 * layers
        for name, actual, whole in zip(("Y", "h_n", "C_n"), found, expected, strict=True):
            same(actual, whole, name)


@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_memory_between_layers_does_not_grow_with_time(direction: str) -> None:
    net = LSTM(1, 4, rng=0, num_layers=3, **DIRECTIONS[direction])
    X, out = np.zeros((200_000, 1)), np.empty((200_000, 4))
    assert peak_of(lambda: net.forward_sequence(X, out=out)) < out.nbytes


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_memory_of_a_conversion_does_not_grow_with_time(direction: str, layers: int) -> None:
    """X (T, I) of another dtype is converted in pieces; two bidirectional layers hold the first's output."""
    net = LSTM(8, 1, rng=0, dtype=np.float32, num_layers=layers, **DIRECTIONS[direction])
    X = np.zeros((200_000, 8))
    out = np.empty((200_000, net.core.architecture.output_size), np.float32)
    between = out.nbytes if net.bidirectional and layers > 1 else 0
    assert peak_of(lambda: net.forward_sequence(X, out=out)) < between + X.nbytes // 4
