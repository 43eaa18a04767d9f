"""Streams in threads of their own on one net whose weights are set meanwhile, with or without a GIL.

Shapes: T time, I input, H hidden.
"""

from __future__ import annotations

import copy
import threading

import numpy as np
from support import assert_same_bits, random_net

from lstm import LSTM

INPUT_SIZE, HIDDEN_SIZE = 3, 5


def test_a_stream_goes_on_with_the_weights_that_were_set() -> None:
    """By every way of setting them, and by none that concerns another net."""
    rng = np.random.default_rng(0)
    net, other = (
        random_net(rng, INPUT_SIZE, HIDDEN_SIZE, np.float32),
        random_net(rng, INPUT_SIZE, HIDDEN_SIZE, np.float32),
    )
    stream, x = net.stream(), rng.standard_normal(INPUT_SIZE).astype(np.float32)
    twin = copy.copy(net)
    steps = [stream.step(x)]
    for change in ("nothing", "one gate", "all", "a copy"):
        expected = net if change in ("nothing", "a copy") else None
        if change == "one gate":
            net.Wf = rng.standard_normal((HIDDEN_SIZE, HIDDEN_SIZE + INPUT_SIZE))
        elif change == "all":
            net.load_state_dict(other.state_dict())
        elif change == "a copy":
            twin.load_state_dict(other.state_dict())
        state = stream.state
        steps.append(stream.step(x))
        fresh = (expected or net).stream()
        fresh.state = state
        assert_same_bits(steps[-1], fresh.step(x), change)


def test_threads_step_while_another_one_sets_weights() -> None:
    """Every step is one of the weights before or after a change, never of a mixture."""
    rng = np.random.default_rng(1)
    first, second = (random_net(rng, INPUT_SIZE, HIDDEN_SIZE, np.float64).state_dict() for _ in range(2))
    x, net = rng.standard_normal(INPUT_SIZE), LSTM(INPUT_SIZE, HIDDEN_SIZE, rng=0)
    allowed = set()
    for state in (first, second):
        net.load_state_dict(state)
        allowed.add(net.stream().step(x).tobytes())
    is_over = threading.Event()
    found: list[set[bytes]] = [set(), set()]

    def step(number: int) -> None:
        stream, out = net.stream(), np.empty(HIDDEN_SIZE)
        while not is_over.is_set():
            for _ in range(50):
                stream.reset()
                found[number].add(stream.step(x, out).tobytes())

    threads = [threading.Thread(target=step, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    turn = 0
    while turn < 400 or (len(found[0] | found[1]) < 2 and turn < 100_000):
        net.load_state_dict((first, second)[turn % 2])
        turn += 1
    is_over.set()
    for thread in threads:
        thread.join()
    assert found[0] | found[1] <= allowed
    assert len(found[0] | found[1]) == 2
