"""Copies, pickles and subclasses."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nets import BACKENDS, HIDDEN, INPUT, assert_same_weights, make_net
from support import DTYPES, EACH_ISA, as_backend, assert_same_bits, on_isa, random_case

import lstm
from lstm import LSTM, _kernel

COPIERS: dict[str, Callable[[Any], Any]] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    **{
        f"pickle {protocol}": lambda net, protocol=protocol: pickle.loads(pickle.dumps(net, protocol))
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
    },
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("copier", COPIERS)
def test_copies_have_the_same_bits_and_are_independent(
    copier: str, dtype: type, bias: bool, backend: str
) -> None:
    net = make_net(dtype=dtype, bias=bias, backend=backend)
    X, h0, C0 = random_case(np.random.default_rng(8), 2, 4, INPUT, HIDDEN, dtype)
    outputs = net.forward_sequence(X, h0, C0)
    twin = COPIERS[copier](net)
    assert type(twin) is LSTM
    assert twin is not net
    assert twin.backend == backend
    assert repr(twin) == repr(net)
    assert_same_weights(twin, net)
    assert_same_bits(twin.forward_sequence(X, h0, C0), outputs)
    twin.Wf = np.zeros((HIDDEN, HIDDEN + INPUT))
    assert_same_bits(net.forward_sequence(X, h0, C0), outputs)
    another = COPIERS[copier](net)
    net.Wo = np.zeros((HIDDEN, HIDDEN + INPUT))
    assert_same_bits(another.forward_sequence(X, h0, C0), outputs)


@pytest.mark.parametrize("isa", EACH_ISA)
def test_a_pickle_holds_nothing_of_the_machine(isa: str) -> None:
    """The same bytes whatever ISA the weights were packed for."""
    net = make_net(dtype=np.float32)
    assert pickle.dumps(on_isa(net, isa)) == pickle.dumps(net)
    twin = pickle.loads(pickle.dumps(on_isa(net, isa)))
    assert_same_weights(twin, net)
    assert twin.core.isa == _kernel.DEFAULT_ISA


def test_pickles_of_both_backends_hold_the_same_weights() -> None:
    net = make_net()
    twins = [pickle.loads(pickle.dumps(as_backend(net, backend))) for backend in BACKENDS]
    assert [twin.backend for twin in twins] == list(BACKENDS)
    for twin in twins:
        assert_same_weights(twin, net)


def test_deepcopy_keeps_one_net_one() -> None:
    net = make_net()
    first, second = copy.deepcopy([net, net])
    assert first is second
    assert first is not net


class Named(LSTM):
    """A subclass with attributes of its own."""

    def __init__(self, name: str) -> None:
        super().__init__(INPUT, HIDDEN, rng=9)
        self.name = name

    def forward_sequence(self, X: Any, *args: Any, **options: Any) -> Any:
        return super().forward_sequence(X, *args, **options)


class Slotted(LSTM):
    """A subclass with a slot of its own."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        super().__init__(INPUT, HIDDEN, rng=9)
        self.name = name


@pytest.mark.parametrize("copier", COPIERS)
@pytest.mark.parametrize("subclass", [Named, Slotted])
def test_copies_of_a_subclass(subclass: Callable[[str], Any], copier: str) -> None:
    net = subclass("mine")
    twin = COPIERS[copier](net)
    assert type(twin) is type(net)
    assert_same_weights(twin, net)
    assert twin.name == "mine"


@pytest.mark.parametrize("copier", [name for name in COPIERS if name != "copy"])
def test_copies_of_a_net_that_knows_itself(copier: str) -> None:
    net: Any = Named("mine")
    net.family = [net]
    twin = COPIERS[copier](net)
    assert twin.family[0] is twin
    assert net.family[0] is net


def test_a_subclass(tmp_path: Path) -> None:
    net = Named("mine")
    assert repr(net) == "Named(3, 5, dtype=float64)"
    assert net.forward_sequence(np.ones((2, INPUT))).shape == (2, HIDDEN)
    assert type(Named.from_state_dict(net.state_dict())) is Named
    net.save(tmp_path / "net.npz")
    assert_same_weights(lstm.load(tmp_path / "net.npz"), net)


@pytest.mark.parametrize("backend", BACKENDS)
def test_weights_are_packed_once(backend: str) -> None:
    """Again only when they change."""
    net = make_net(backend=backend)
    stored = net.core.cells
    X, h0, C0 = random_case(np.random.default_rng(10), 2, 4, INPUT, HIDDEN, np.float64)
    net.forward_sequence(X, h0, C0)
    net.forward(X[:, 0], h0, C0)
    _ = net.Wf, net.bo, net.state_dict(), repr(net), pickle.dumps(net)
    assert net.core.cells is stored
    assert copy.copy(net).core.cells is stored
    net.bf = np.ones(HIDDEN)
    assert net.core.cells is not stored
    stored = net.core.cells
    net.load_state_dict(net.state_dict())
    assert net.core.cells is not stored
