"""The same bits from any number of threads, whoever else has them, and in forked children.

Shapes: B batch, T time, I input, H hidden, O features of h.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from support import DTYPES, EACH_ISA, assert_same_bits, on_isa, random_case, random_net
from team import check_in_forks, every_call_shared, threads
from variants import VARIANTS, draw, make

import lstm
from lstm import LSTM, _kernel

COUNTS = (2, 3, 5, 8)  # more than there are CPUs, too
SHAPES = ((1, 40), (3, 30), (9, 17), (33, 12), (200, 3))  # (B, T)


@pytest.fixture(autouse=True)
def shared() -> Iterator[None]:
    """Let small calls be split, too."""
    with every_call_shared():
        yield


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant(name: str, dtype: Any) -> None:
    for batch, time in SHAPES:
        net, mixture = make(name, dtype, batch, time)
        with threads(1):
            expected = mixture.outputs(net)
            trace = net.trace(mixture.X, mixture.h0, mixture.C0)
        for count in COUNTS:
            with threads(count):
                found = mixture.outputs(net)
                found_trace = net.trace(mixture.X, mixture.h0, mixture.C0)
            for key, wanted in expected.items():
                assert_same_bits(found[key], wanted, f"{key} of {batch} rows, {count} threads")
            for key in trace._fields:
                assert_same_bits(getattr(found_trace, key), getattr(trace, key), f"{key}, {count} threads")


@pytest.mark.parametrize("isa", EACH_ISA)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["plain", "reverse", "peephole", "more activations", "clipped cell"])
def test_the_units_of_one_row(name: str, dtype: Any, isa: str) -> None:
    """From one panel a thread on, over several blocks of steps."""
    for hidden_size, time in ((17, 40), (35, 100), (150, 600)):
        rng = np.random.default_rng(hidden_size)
        net = LSTM(5, hidden_size, **VARIANTS[name], dtype=dtype, init="pytorch", rng=rng)
        net = on_isa(net, isa)
        X, h, C = random_case(rng, 1, time, 5, hidden_size, dtype)

        def outputs(net: LSTM = net, case: Any = (X, h, C)) -> list[np.ndarray]:
            Y, state = net.forward_sequence(*case, return_state=True)
            return [Y, *state, *net.trace(*case)]

        with threads(1):
            expected = outputs()
        for count in COUNTS:
            with threads(count):
                for found, wanted in zip(outputs(), expected, strict=True):
                    assert_same_bits(found, wanted, f"{hidden_size} units, {count} threads")


@pytest.mark.parametrize("is_wish", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_layers_of_one_row(dtype: Any, is_wish: bool) -> None:
    """Layers follow one another or, if the user has set the number, take turns and share their units."""
    net = LSTM(5, 70, num_layers=3, dtype=dtype, init="pytorch", rng=0)
    rng = np.random.default_rng(1)
    for time in (40, 333, 700):
        X = rng.standard_normal((time, 5)).astype(dtype)
        h, C = (rng.standard_normal((3, 70)).astype(dtype) for _ in range(2))
        with threads(1):
            expected, states = net.forward_sequence(X, h, C, return_state=True)
        for count in COUNTS:
            found = _kernel.choose_threads(count, is_wish)
            try:
                Y, (h_n, C_n) = net.forward_sequence(X, h, C, return_state=True)
                stream = net.stream()
                stream.state = h, C
                run = stream.run(X)
            finally:
                _kernel.choose_threads(*found)
            for one, wanted in ((Y, expected), (h_n, states[0]), (C_n, states[1]), (run, expected)):
                assert_same_bits(one, wanted, f"{time} steps, {count} threads")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("arguments", [{"num_layers": 2}, {"bidirectional": True}])
def test_wide_inputs(arguments: dict[str, Any], dtype: Any) -> None:
    """In parts of time, whose blocks of steps are near-equal, and of rows."""
    net = LSTM(1100, 72, **arguments, dtype=dtype, init="pytorch", rng=0)
    for batch, time in ((8, 60), (8, 97), (15, 151), (2, 301)):
        X = np.random.default_rng(time).standard_normal((batch, time, 1100)).astype(dtype)
        with threads(1):
            expected = net.forward_sequence(X)
            steps = net.stream(batch).run(X) if "num_layers" in arguments else expected
        assert_same_bits(steps, expected)
        for count in COUNTS:
            with threads(count):
                assert_same_bits(net.forward_sequence(X), expected, f"{X.shape}, {count} threads")


@pytest.mark.parametrize("dtype", DTYPES)
def test_mixtures_of_variants(dtype: Any, mixtures: int) -> None:
    """Masks, NaN, infinity and lengths of every kind among them."""
    for seed in range(mixtures):
        rng = np.random.default_rng([seed, 14])
        mixture = draw(rng, dtype)
        net = mixture.net()
        with threads(1):
            expected = mixture.outputs(net)
        count = int(rng.choice(COUNTS))
        with threads(count):
            found = mixture.outputs(net)
        for key, wanted in expected.items():
            assert_same_bits(found[key], wanted, f"{key} of mixture {seed}, {count} threads")


@pytest.mark.parametrize("arguments", [{}, {"num_layers": 3}, {"bidirectional": True, "merge": "mean"}])
def test_input_that_is_converted_in_chunks(
    arguments: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chunks of time, from both ends at once in a layer of two directions."""
    rng = np.random.default_rng(0)
    net = LSTM(5, 33, **arguments, dtype=np.float32, init="pytorch", rng=0)
    X = rng.standard_normal((3, 50, 5))  # float64
    lengths = np.array([50, 7, 31])
    with threads(1):
        expected = net.forward_sequence(X, lengths=lengths)
    monkeypatch.setattr("lstm.core.sequence.CHUNK_ELEMENTS", 700)
    for count in COUNTS:
        with threads(count):
            assert_same_bits(net.forward_sequence(X, lengths=lengths), expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_steps_and_streams(dtype: Any) -> None:
    rng = np.random.default_rng(0)
    net = random_net(rng, 5, 49, dtype)
    X, h, C = random_case(rng, 50, 6, 5, 49, dtype)

    def outputs() -> list[np.ndarray]:
        stream = net.stream(50)
        return [*net.forward(X[:, 0].copy(), h, C), stream.run(X[:, :4]), stream.step(X[:, 4]), stream.C]

    with threads(1):
        expected = outputs()
    for count in COUNTS:
        with threads(count):
            for found, wanted in zip(outputs(), expected, strict=True):
                assert_same_bits(found, wanted)


def test_chains_that_do_not_fit_raise() -> None:
    net = LSTM(4, 4, num_layers=2, rng=0)
    X, Y, states = np.zeros((2, 3, 4)), np.zeros((2, 3, 4)), np.zeros((4, 2, 4))
    first = (net.core.cells[0], X, states[0], states[1], Y, None, False, None, None, None)
    second = (net.core.cells[1], Y[:, :2], states[2], states[3], None, None, False, None, None, None)
    with pytest.raises(ValueError, match="the same rows, steps and lengths"):
        _kernel.forward_sequences([first, second], True)
    third = (net.core.cells[1], Y, states[2], states[3], None, np.array([1, 2]), False, None, None, None)
    with pytest.raises(ValueError, match="the same rows, steps and lengths"):
        _kernel.forward_sequences([first, third], True)
    assert not Y.any()
    _kernel.forward_sequences([])


def test_many_python_threads_share_one_pool() -> None:
    """Who finds the threads busy goes on alone."""
    rng = np.random.default_rng(0)
    net = LSTM(5, 49, num_layers=2, dtype=np.float32, init="pytorch", rng=rng)
    inputs = [rng.standard_normal((batch, 40, 5)).astype(np.float32) for batch in range(1, 17)]
    with threads(1):
        expected = [net.forward_sequence(X) for X in inputs]
    begun = threading.Barrier(16)

    def run(number: int) -> None:
        begun.wait()
        for _ in range(100):
            assert_same_bits(net.forward_sequence(inputs[number]), expected[number])

    with threads(3), ThreadPoolExecutor(16) as pool:
        for done in [pool.submit(run, number) for number in range(16)]:
            done.result()


# ---- forks

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
# What is tested here is a fork beside other threads.
beside_threads = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@needs_fork
@beside_threads
def test_forks_during_and_after_calls(request: pytest.FixtureRequest) -> None:
    net = LSTM(5, 49, num_layers=2, dtype=np.float32, init="pytorch", rng=0)
    X = np.random.default_rng(0).standard_normal((20, 60, 5)).astype(np.float32)
    with threads(1):
        expected = net.forward_sequence(X)

    def check() -> None:
        for _ in range(2):
            assert_same_bits(net.forward_sequence(X), expected)

    with threads(3):
        check_in_forks(check, 500 if request.config.getoption("--exhaustive") else 25)


FORK_IN_A_HANDLER = """
import os, signal, sys
import numpy as np
from lstm import LSTM, _kernel, set_num_threads

_kernel.share_grains(100, True)
rows, layers = map(int, sys.argv[1:])
net = LSTM(5, 160, num_layers=layers, dtype=np.float32, init="pytorch", rng=0)
X = np.random.default_rng(0).standard_normal((rows, 20_000, 5)).astype(np.float32)
set_num_threads(1)
expected = net.forward_sequence(X)
set_num_threads(2)
children = []

def fork(*_):
    child = os.fork()
    children.append(child)
    if child == 0:
        signal.alarm(50)

signal.signal(signal.SIGVTALRM, fork)
signal.setitimer(signal.ITIMER_VIRTUAL, 0.06)
try:
    same = np.array_equal(net.forward_sequence(X), expected)
except RuntimeError as error:
    assert children == [0] and "forked" in str(error), error
    same = np.array_equal(net.forward_sequence(X), expected)  # by threads of its own
if children == [0]:
    os._exit(0 if same else 1)
assert same and len(children) == 1
sys.exit(os.waitpid(children[0], 0)[1])
"""


@needs_fork
@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs timers")
@pytest.mark.parametrize(("rows", "layers"), [("2", "2"), ("1", "1")])
def test_a_fork_by_a_handler_in_the_middle_of_a_call(rows: str, layers: str) -> None:
    """The parent goes on; the child's call raises if its threads are gone, and the next one works."""
    words = [sys.executable, "-W", "ignore", "-c", FORK_IN_A_HANDLER, rows, layers]
    done = subprocess.run(words, capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stderr) == (0, "")


def test_threads_are_at_work() -> None:
    """Or all of these tests would be of one thread."""
    script = """
import os, threading, numpy as np
from lstm import LSTM, _kernel, set_num_threads
_kernel.share_grains(100, True)
X = np.zeros((50, 100, 5), np.float32)
net = LSTM(5, 49, dtype=np.float32, rng=0)
def count():
    return len(os.listdir("/proc/self/task"))
before = count()
set_num_threads(1)
net.forward_sequence(X)
assert count() == before
set_num_threads(4)
assert count() == before
for _ in range(3):
    net.forward_sequence(X)
    assert count() == before + 3
"""
    if not os.path.exists("/proc/self/task"):
        pytest.skip("needs /proc")
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
    assert lstm.get_num_threads() >= 1
