"""The memory of tapes and gradients, which later ones take over: no result may depend on what it held.

Shapes: B batch, T time, I input.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from gradient_cases import arrays_of, draw_call, gradients_of
from support import DTYPES, EACH_ISA, assert_same_bits

import lstm
from lstm import LSTM, _kernel

BACKENDS = ("native", "numpy")


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """Every array that is made holds NaN, but zeros where they are asked for; the arrays."""
    made: list[np.ndarray] = []
    recycled = _kernel.recycled

    def with_nan(shape: tuple[int, ...], dtype: Any, clear: bool = False) -> np.ndarray:
        array = recycled(shape, dtype, clear)
        if not clear:
            array[...] = np.nan
        made.append(array)
        return array

    monkeypatch.setattr(_kernel, "recycled", with_nan)
    return made


def all_of(seed: int, dtype: Any, isa: str | None) -> dict[str, np.ndarray]:
    """What the results and gradients of a random mixture of variants are."""
    mixture, derivatives = draw_call(700 + seed, dtype)
    net = mixture.net(backend="numpy" if isa is None else "native")
    if isa is not None:
        net._net = net._net.on_isa(isa)
    tape = net.record(mixture.X, mixture.h0, mixture.C0, lengths=mixture.lengths, mask=mixture.mask)
    found = {name: getattr(tape, name).copy() for name in ("Y", "h_n", "C_n")}
    found |= arrays_of(tape.backward(*derivatives))
    assert tape.norms is not None
    return found | {"norms h": tape.norms.h, "norms C": tape.norms.C}


@pytest.mark.parametrize("isa", [None, *EACH_ISA])
@pytest.mark.parametrize("seed", range(24))
def test_what_memory_held_has_no_part_in_results(
    seed: int, isa: str | None, request: pytest.FixtureRequest
) -> None:
    expected = all_of(seed, DTYPES[seed % 2], isa)
    written = request.getfixturevalue("written")
    found = all_of(seed, DTYPES[seed % 2], isa)
    assert written
    assert found.keys() == expected.keys()
    for name, array in found.items():
        assert_same_bits(array, expected[name], name)


@pytest.mark.parametrize("backend", BACKENDS)
def test_results_are_nobody_elses(backend: str) -> None:
    """Outputs, states and gradients that are kept stay as they are while tapes come and go."""
    net = LSTM(5, 24, num_layers=2, bidirectional=True, rng=0, backend=backend)  # type: ignore[arg-type]
    rng = np.random.default_rng(0)
    kept: list[tuple[np.ndarray, np.ndarray]] = []
    tapes = []
    for k in range(12):
        X = rng.standard_normal((7, 30, 5))
        tape = net.record(X)
        results = [tape.Y, tape.Y[2:, ::3], tape.h_n, tape.C_n]
        if k % 3 == 0:
            tapes.append((tape, tape.Y.copy()))
        if k % 3 == 1:
            g = tape.backward(dY=tape.Y, dC_n=tape.C_n)
            results += [*g.values(), g.X, g.h0, g.C0, g.norms.h, g.layers[0].Wf]  # type: ignore[list-item, union-attr]
        kept += [(array, array.copy()) for array in results]
        del tape, results
        for array, copy in kept:
            assert_same_bits(array, copy)
    for tape, Y in tapes:
        twin = tape.backward(dY=Y)
        assert all(np.isfinite(array).all() for array in twin.values())
    for array, copy in kept:
        assert_same_bits(array, copy)


def test_two_tapes_at_a_time() -> None:
    """Gradients of tapes that are used in another order than they were made in."""
    mixtures = [draw_call(800 + k, np.float32) for k in range(6)]
    expected = [arrays_of(gradients_of(m.net(), m, d)) for m, d in mixtures]
    expected = [{name: array.copy() for name, array in one.items()} for one in expected]
    for _ in range(2):
        tapes = [m.net().record(m.X, m.h0, m.C0, lengths=m.lengths, mask=m.mask) for m, _ in mixtures]
        for k in (3, 0, 5, 1, 4, 2):
            for name, array in arrays_of(tapes[k].backward(*mixtures[k][1])).items():
                assert_same_bits(array, expected[k][name], name)


def test_training_again_and_again_takes_no_more_memory() -> None:
    net = LSTM(4, 32, rng=0)
    X = np.ones((8, 100, 4))
    lstm.release_memory()
    addresses = set()
    for _ in range(50):
        tape = net.record(X)
        addresses.add(tape.Y.ctypes.data)
        g = tape.backward(dY=tape.Y)
        addresses.add(g.X.ctypes.data)  # type: ignore[union-attr]
    assert len(addresses) <= 10
    bytes_of_two = 2 * (tape.nbytes + 10 * X.nbytes)
    del tape, g
    assert lstm.release_memory() <= bytes_of_two + (2 << 20)


def test_threads_that_train_at_the_same_time() -> None:
    """Each has the gradients that it has alone, while memory goes from thread to thread."""
    nets = [LSTM(3, 16 + 8 * k, rng=k, dtype=np.float32) for k in range(4)]
    X = np.random.default_rng(0).standard_normal((6, 40, 3)).astype(np.float32)

    def gradients(net: LSTM) -> dict[str, np.ndarray]:
        tape = net.record(X)
        return arrays_of(tape.backward(dY=tape.Y))

    expected = [{name: array.copy() for name, array in gradients(net).items()} for net in nets]
    wrong: list[str] = []

    def work(k: int) -> None:
        for _ in range(100):
            for name, array in gradients(nets[k]).items():
                if array.tobytes() != expected[k][name].tobytes():
                    wrong.append(f"{name} of net {k}")

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
