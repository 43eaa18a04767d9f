"""lstm.torch.LSTM computes with the weights that its tensors hold at that very call."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.utils import parametrizations, prune
from torch_pairs import INPUT, assert_close, inputs, pair

import lstm.torch
from lstm import LSTM

# PyTorch's own remark about the older form of weight_norm.
pytestmark = pytest.mark.filterwarnings("ignore:.*weight_norm. is deprecated")


def assert_computes_as(ours: Any, theirs: Any, X: Any) -> None:
    """Hold outputs and the gradients of X and all parameters to those of nn.LSTM, in every mode."""
    for module in (theirs, ours):
        module.zero_grad()
    found = []
    for module in (theirs, ours):
        Y = module(X)[0]
        Y.square().sum().backward()
        found.append((Y.detach(), X.grad.clone(), [one.grad for one in module.parameters()]))
        X.grad = None
    assert_close(found[1][0], found[0][0])
    assert_close(found[1][1], found[0][1])
    for one, other in zip(found[1][2], found[0][2], strict=True):
        assert_close(one, other)
    with torch.no_grad():
        assert_close(ours(X)[0], found[0][0])


def without_counters(module: Any) -> None:
    """Ways of changing weights that leave PyTorch's version counters as they are."""
    module.weight_hh_l0.data.mul_(1.5)
    module.bias_ih_l0.detach().numpy()[...] += 1
    module.weight_ih_l0.data = module.weight_ih_l0.data * 2


def fused(module: Any) -> None:
    optimizer = torch.optim.Adam(module.parameters(), lr=0.1, fused=True)
    for one in module.parameters():
        one.grad = torch.ones_like(one)
    optimizer.step()


def swapped(module: Any) -> None:
    module.weight_hh_l0 = torch.nn.Parameter(module.weight_hh_l0.detach() * 2)


def loaded(module: Any) -> None:
    module.load_state_dict({name: one * 2 for name, one in module.state_dict().items()}, assign=True)


CHANGES = {
    "in place": lambda module: torch.nn.init.constant_(module.weight_hh_l0, 0.3),
    "without counters": without_counters,
    "fused Adam": fused,
    "SGD": lambda module: torch.optim.SGD(module.parameters(), lr=0.1).step(),
    "new parameter": swapped,
    "loaded": loaded,
    "weight_norm": lambda module: torch.nn.utils.weight_norm(module, "weight_hh_l0"),
    "parametrized": lambda module: parametrizations.weight_norm(module, "weight_hh_l0"),
    "pruned": lambda module: prune.l1_unstructured(module, "weight_hh_l0", amount=0.5),
    "transposed": lambda module: setattr(
        module.weight_hh_l0, "data", module.weight_hh_l0.detach().T.contiguous().T
    ),
    "shared": lambda module: setattr(module, "bias_hh_l0", module.bias_ih_l0),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_changed_weights(change: Callable[[Any], Any]) -> None:
    theirs, ours = pair()
    X = inputs(theirs)[0]
    assert_computes_as(ours, theirs, X)
    for module in (theirs, ours):
        change(module)
    with torch.no_grad():  # before any call that trains, which forgets the weights of the last one
        assert_close(ours(X)[0], theirs(X)[0])
    assert_computes_as(ours, theirs, X)


@pytest.mark.parametrize("change", ["weight_norm", "parametrized", "pruned"])
def test_training_of_computed_weights(change: str) -> None:
    theirs, ours = pair()
    X = inputs(theirs)[0]
    optimizers = []
    for module in (theirs, ours):
        CHANGES[change](module)
        optimizers.append(torch.optim.SGD(module.parameters(), lr=0.1))
    for _ in range(3):
        assert_computes_as(ours, theirs, X)
        for optimizer in optimizers:
            optimizer.step()
    assert_computes_as(ours, theirs, X)


def test_weights_shared_by_modules() -> None:
    """One layer used twice in a model, and two modules with the same parameters."""
    models = []
    for module in pair():
        other = type(module)(INPUT, 5, dtype=torch.float64)
        for name, one in module.named_parameters():
            setattr(other, name, one)
        models.append((module, other))
    X = inputs(models[0][0])[0]
    found = []
    for module, other in models:
        module.zero_grad()
        loss = module(X)[0].sum() + other(2 * X)[0].square().sum() + module(-X)[0].sum()
        loss.backward()
        found.append([one.grad for one in module.parameters()])
        assert all(one is two for one, two in zip(module.parameters(), other.parameters(), strict=True))
    for one, expected in zip(*reversed(found), strict=True):
        assert_close(one, expected)


def through_pickle(module: Any) -> Any:
    return pickle.loads(pickle.dumps(module))


def through_torch_save(module: Any) -> Any:
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, through_pickle, through_torch_save])
def test_copies(copied: Callable[[Any], Any]) -> None:
    """A copy computes the same, and what is set in one is not seen in the other."""
    _, ours = pair(num_layers=2)
    X = inputs(ours)[0]
    for grad in (False, True):
        with torch.set_grad_enabled(grad):
            Y = ours(X)[0].detach()
            twin = copied(ours)
            assert type(twin) is lstm.torch.LSTM
            assert torch.equal(twin(X)[0], Y)
            if copied is copy.copy:
                continue
            with torch.no_grad():
                twin.weight_hh_l1.add_(1)
            assert torch.equal(ours(X)[0], Y)
            assert not torch.equal(twin(X)[0], Y)


def test_functional_calls() -> None:
    """Other weights for one call, which leaves no trace."""
    _, ours = pair()
    X = inputs(ours)[0]
    others = {name: 2 * one.detach() for name, one in ours.named_parameters()}
    with torch.no_grad():
        before = ours(X)[0]
        changed = torch.func.functional_call(ours, others, (X,))[0]
        assert torch.equal(ours(X)[0], before)
        ours.load_state_dict(others)
        assert torch.equal(ours(X)[0], changed)


@pytest.mark.parametrize("value", [np.nan, -0.0])
def test_weights_of_special_values(value: float) -> None:
    """NaN equals itself and -0 is not 0 where weights are compared with those of the last call."""
    _, ours = pair()
    X = inputs(ours)[0]
    with torch.no_grad():
        ours.weight_ih_l0.zero_()
        ours(X)
        ours.weight_ih_l0.fill_(value)
        net = LSTM.from_torch(ours)
        for _ in range(2):
            found = ours(X.transpose(0, 1).contiguous().transpose(0, 1))[0].transpose(0, 1).numpy()
            expected = net.forward_sequence(X.detach().transpose(0, 1).numpy())
            np.testing.assert_array_equal(found, expected)


def test_constant_weights_are_packed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """In evaluation: packing takes longer than many steps."""
    _, ours = pair()
    X, packed = inputs(ours)[0], []
    pack = lstm.torch.passes.pack
    monkeypatch.setattr(lstm.torch.passes, "pack", lambda *given: packed.append(1) or pack(*given))
    with torch.no_grad():
        for _ in range(3):
            ours(X)
        assert len(packed) == 1
        ours.bias_hh_l0[3] += 1
        ours(X)
        assert len(packed) == 2


def test_state_dicts_both_ways_with_the_package() -> None:
    _, ours = pair(num_layers=2, bidirectional=True)
    net = LSTM.from_torch(ours)
    again = lstm.torch.LSTM(3, 5, 2, bidirectional=True, dtype=torch.float64)
    again.load_state_dict({name: torch.from_numpy(one) for name, one in net.state_dict().items()})
    X = inputs(ours)[0]
    assert_close(again(X)[0], ours(X)[0])
