"""The same bits of gradients from any number of threads, and how a backward pass of several of them ends.

Shapes: B batch, T time, I input, H hidden.
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
from gradient_cases import Derivatives, draw_call, random_derivatives
from support import DTYPES, EACH_ISA, assert_same_bits, on_isa
from team import check_in_forks, every_call_shared, threads
from variants import VARIANTS, Mixture, make

from lstm import LSTM, Gradients, _kernel

COUNTS = range(2, 9)  # more than there are CPUs, too
SHAPES = ((1, 140), (9, 17), (50, 6))  # (B, T)
# Panels of features and of units, also none that are whole; few features, which are summed otherwise.
SIZES = ((1, 16), (5, 20), (70, 130), (130, 70), (9, 300))  # (I, H)


@pytest.fixture(autouse=True)
def shared() -> Iterator[None]:
    """Let small calls be split, too."""
    with every_call_shared():
        yield


def arrays_of(g: Gradients) -> dict[str, np.ndarray]:
    """All that a backward pass computes."""
    assert g.norms is not None
    found = {**dict(g), "X": g.X, "h0": g.h0, "C0": g.C0, "norms of h": g.norms.h, "norms of C": g.norms.C}
    return {name: array for name, array in found.items() if array is not None}


def gradients_of(net: LSTM, mixture: Mixture, derivatives: Derivatives) -> dict[str, np.ndarray]:
    """By every way of asking for them."""
    rng = np.random.default_rng(5)
    found: dict[str, np.ndarray] = {}
    total: Gradients | None = None
    for name, record, backward in (
        ("plain", {}, {}),
        ("rows", {"dropout": 0.2 if net.num_layers > 1 else 0, "input_dropout": 0.2}, {"per_sample": True}),
        ("weights alone", {"recurrent_dropout": 0.3}, {"inputs": False}),
        ("states alone", {}, {"weights": False}),
    ):
        tape = net.record(
            mixture.X, mixture.h0, mixture.C0, lengths=mixture.lengths, mask=mixture.mask, rng=rng, **record
        )
        found[f"{name}: Y"] = tape.Y.copy()
        if name == "weights alone":
            backward["add_to"] = total
        g = tape.backward(*derivatives, **backward)
        total = total or g
        found |= {f"{name}: {key}": array.copy() for key, array in arrays_of(g).items()}
    return found


def assert_same_on_threads(
    net: LSTM, mixture: Mixture, derivatives: Derivatives, what: str, counts: Any = COUNTS
) -> None:
    with threads(1):
        expected = gradients_of(net, mixture, derivatives)
    for count in counts:
        with threads(count):
            found = gradients_of(net, mixture, derivatives)
        for key, wanted in expected.items():
            assert_same_bits(found[key], wanted, f"{what}, {count} threads, {key}")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant(name: str, dtype: Any) -> None:
    """Rows of different lengths, in the caller's order and in another one."""
    for batch, time in SHAPES:
        net, mixture = make(name, dtype, batch, time)
        derivatives = random_derivatives(np.random.default_rng(3), net, mixture)
        assert_same_on_threads(net, mixture, derivatives, f"{batch} rows")
        whole = mixture._replace(lengths=None)
        derivatives = random_derivatives(np.random.default_rng(4), net, whole)
        assert_same_on_threads(net, whole, derivatives, f"{batch} rows of all steps", (2, 7))


@pytest.mark.parametrize("dtype", DTYPES)
def test_mixtures_of_variants(dtype: Any, mixtures: int) -> None:
    """Masks, NaN, infinity and lengths of every kind among them."""
    for seed in range(mixtures):
        mixture, derivatives = draw_call(seed, dtype)
        count = int(np.random.default_rng(seed).choice(COUNTS))
        assert_same_on_threads(mixture.net(), mixture, derivatives, f"mixture {seed}", [count])


@pytest.mark.parametrize("isa", EACH_ISA)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sizes", SIZES)
def test_panels_of_features_and_units(sizes: tuple[int, int], dtype: Any, isa: str) -> None:
    rng = np.random.default_rng(0)
    for options in ({}, {"bidirectional": True, "proj_size": 15}):
        net = LSTM(*sizes, **options, dtype=dtype, init="pytorch", rng=0)
        net = on_isa(net, isa)
        for batch, time in ((1, 60), (13, 5)):
            X = rng.standard_normal((batch, time, sizes[0])).astype(dtype)
            states = [
                np.zeros((len(net.layers), batch, size), dtype)
                for size in (net.proj_size or sizes[1], sizes[1])
            ]
            mixture = Mixture({}, dtype, X, states[0] + 0.3, states[1] - 0.7, None, {})
            derivatives = random_derivatives(rng, net, mixture)
            assert_same_on_threads(net, mixture, derivatives, f"{batch} rows", (2, 5))


def training_case(rows: int = 20) -> tuple[LSTM, np.ndarray, np.ndarray]:
    """A net of two layers, X (B, T, I) and dY (B, T, H)."""
    rng = np.random.default_rng(0)
    net = LSTM(5, 49, num_layers=2, dtype=np.float32, init="pytorch", rng=rng)
    X = rng.standard_normal((rows, 40, 5)).astype(np.float32)
    return net, X, rng.standard_normal((rows, 40, 49)).astype(np.float32)


def test_many_python_threads_train_at_the_same_time() -> None:
    """Who finds the threads busy goes on alone."""
    cases = [training_case(rows) for rows in range(1, 17)]
    with threads(1):
        expected = [arrays_of(net.record(X).backward(dY)) for net, X, dY in cases]
    begun = threading.Barrier(16)

    def run(number: int) -> None:
        net, X, dY = cases[number]
        begun.wait()
        for _ in range(30):
            for key, array in arrays_of(net.record(X).backward(dY)).items():
                assert_same_bits(array, expected[number][key], key)

    with threads(3), ThreadPoolExecutor(16) as pool:
        for done in [pool.submit(run, number) for number in range(16)]:
            done.result()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_forks_during_and_after_backward_passes(request: pytest.FixtureRequest) -> None:
    net, X, dY = training_case()
    with threads(1):
        expected = arrays_of(net.record(X).backward(dY))

    def check() -> None:
        for _ in range(2):
            for key, array in arrays_of(net.record(X).backward(dY)).items():
                assert_same_bits(array, expected[key], key)

    with threads(3):
        check_in_forks(check, 500 if request.config.getoption("--exhaustive") else 25)


class Alarm(Exception):
    """What the handler raises."""


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs timers")
@pytest.mark.parametrize("options", [{}, {"bidirectional": True}])
@pytest.mark.parametrize("rows", [1, 9])
def test_a_signal_ends_a_backward_pass(rows: int, options: dict[str, Any]) -> None:
    """By the calling thread, whose floating-point mode stays; `add_to` is as before."""

    def alarm(*_: Any) -> None:
        raise Alarm

    net = LSTM(4, 100, **options, dtype=np.float32, init="pytorch", rng=0)
    X = np.random.default_rng(0).standard_normal((rows, 20_000, 4)).astype(np.float32)
    tape = net.record(X[:, :20])
    g = tape.backward(tape.Y)
    before = {name: array.copy() for name, array in g.items()}
    tape = net.record(X)
    dY = tape.Y.copy()
    found = signal.signal(signal.SIGPROF, alarm)
    mode = _kernel.floating_point_mode()
    try:
        with threads(3):
            signal.setitimer(signal.ITIMER_PROF, 0.03)
            with pytest.raises(Alarm):
                tape.backward(dY, add_to=g)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, found)
    assert _kernel.floating_point_mode() == mode
    for name, array in g.items():
        assert_same_bits(array, before[name], name)
    with threads(1):
        expected = arrays_of(net.record(X[:, :50]).backward(dY[:, :50]))
    with threads(3):
        for key, array in arrays_of(net.record(X[:, :50]).backward(dY[:, :50])).items():
            assert_same_bits(array, expected[key], key)


@pytest.mark.parametrize("rows", ["1", "9"])
def test_threads_are_at_work(rows: str) -> None:
    """Or all of these tests would be of one thread."""
    script = """
import os, sys, numpy as np
from lstm import LSTM, _kernel, set_num_threads
_kernel.share_grains(100, True)
X = np.ones((int(sys.argv[1]), 100, 5), np.float32)
net = LSTM(5, 49, dtype=np.float32, rng=0)
def count():
    return len(os.listdir("/proc/self/task"))
before = count()
for inputs, weights in ((True, True), (False, True), (True, False)):
    set_num_threads(1)
    tape = net.record(X)
    set_num_threads(4)
    tape.backward(tape.Y, inputs=inputs, weights=weights)
    assert count() == before + 3
"""
    if not os.path.exists("/proc/self/task"):
        pytest.skip("needs /proc")
    subprocess.run([sys.executable, "-c", script, rows], check=True, timeout=60)
