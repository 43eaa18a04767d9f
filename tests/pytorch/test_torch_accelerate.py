"""lstm.torch.accelerate and restore: what is swapped, what is left alone, and what stays the same object."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch.nn.utils import parametrizations, prune
from torch_pairs import INPUT, assert_close

import lstm.torch

pytestmark = pytest.mark.filterwarnings(
    "ignore:.torch.jit", "ignore:.*weight_norm. is deprecated", "ignore:.*quantiz.* deprecated"
)


class Own(torch.nn.LSTM):
    """A subclass that computes something else."""

    def forward(self, input: Any, hx: Any = None) -> Any:
        return super().forward(2 * input, hx)


class Model(torch.nn.Module):
    """LSTMs of many kinds."""

    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.LSTM(INPUT, 5, 2, batch_first=True, dropout=0.5)
        self.rest = torch.nn.ModuleList([torch.nn.LSTM(5, 4, batch_first=True), torch.nn.GRU(4, 4)])
        self.again = self.first
        self.normed = torch.nn.utils.weight_norm(torch.nn.LSTM(4, 4, batch_first=True), "weight_hh_l0")
        self.parametrized = parametrizations.weight_norm(torch.nn.LSTM(4, 4), "weight_hh_l0")
        self.pruned = torch.nn.LSTM(4, 4)
        prune.l1_unstructured(self.pruned, "weight_hh_l0", amount=0.5)

    def forward(self, X: Any) -> Any:
        Y = self.rest[0](self.first(X)[0])[0]
        return self.pruned(self.parametrized(self.normed(self.rest[1](Y)[0])[0])[0])[0]


NAMES = ("first", "rest.0", "normed", "parametrized", "pruned")


def test_every_lstm_is_swapped_and_swapped_back() -> None:
    model = Model().eval()
    X = torch.randn(4, 7, INPUT)
    before = model(X)
    before.square().sum().backward()
    gradients = [one.grad.clone() for one in model.parameters()]
    parameters = {name: id(one) for name, one in model.named_parameters()}
    types = {name: type(module) for name, module in model.named_modules()}
    names = list(model.state_dict())

    report = lstm.torch.accelerate(model)
    assert report == (NAMES, {})
    assert str(report).splitlines() == [f"{name}: swapped" for name in NAMES]
    assert all(isinstance(model.get_submodule(name), lstm.torch.LSTM) for name in NAMES)
    model.zero_grad()
    after = model(X)
    after.square().sum().backward()
    assert_close(after, before)
    for one, expected in zip(model.parameters(), gradients, strict=True):
        assert_close(one.grad, expected)
    assert {name: id(one) for name, one in model.named_parameters()} == parameters
    assert list(model.state_dict()) == names
    assert model.again is model.first
    assert lstm.torch.accelerate(model) == ((), {})

    assert lstm.torch.restore(model) == (NAMES, {})
    assert torch.equal(model(X), before)
    parametrized = types.pop("parametrized")
    assert {name: type(model.get_submodule(name)) for name in types} == types
    assert type(model.parametrized).__bases__ == parametrized.__bases__
    assert lstm.torch.restore(model) == ((), {})


def test_the_model_itself() -> None:
    model = torch.nn.LSTM(3, 5)
    assert str(lstm.torch.accelerate(model)) == "the model itself: swapped"
    assert type(model) is lstm.torch.LSTM
    assert str(lstm.torch.restore(model)) == "the model itself: swapped"
    assert type(model) is torch.nn.LSTM
    assert str(lstm.torch.accelerate(torch.nn.Linear(2, 2))) == "the model has no LSTM"


def test_optimizers_and_hooks_stay() -> None:
    model = Model()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    calls: list[str] = []
    model.first.register_forward_pre_hook(lambda *_: calls.append("before"))
    model.first.register_forward_hook(lambda *_: calls.append("after"))
    model.first.register_full_backward_hook(lambda *_: calls.append("backward"))
    model.first.weight_hh_l0.register_hook(lambda grad: calls.append("gradient"))
    model.first.register_buffer("mine", torch.ones(2))
    lstm.torch.accelerate(model)
    before = model.first.weight_hh_l0.detach().clone()
    model(torch.randn(4, 7, INPUT, requires_grad=True)).sum().backward()
    optimizer.step()
    assert sorted(calls) == ["after", "backward", "before", "gradient"]
    assert not torch.equal(model.first.weight_hh_l0, before)
    assert torch.equal(model.first.mine, torch.ones(2))


def test_removing_a_parametrization_and_adding_one() -> None:
    model = Model()
    lstm.torch.accelerate(model)
    torch.nn.utils.parametrize.remove_parametrizations(model.parametrized, "weight_hh_l0")
    assert type(model.parametrized) is lstm.torch.LSTM
    parametrizations.weight_norm(model.first, "weight_hh_l1")
    X = torch.randn(4, 7, INPUT)
    model.eval()
    before = model(X)
    twin = copy.deepcopy(model.first)
    assert torch.equal(twin(X)[0], model.first(X)[0])
    lstm.torch.restore(model)
    assert_close(model(X), before)
    assert isinstance(twin, lstm.torch.LSTM)
    assert not isinstance(model.first, lstm.torch.LSTM)


def replaced_forward() -> Any:
    module = torch.nn.LSTM(3, 5)
    module.forward = lambda *_: None
    return module


def compiled() -> Any:
    module = torch.nn.LSTM(3, 5)
    module.compile(backend="eager")
    return module


def quantized() -> Any:
    model = torch.nn.Sequential(torch.nn.LSTM(3, 5))
    return torch.ao.quantization.quantize_dynamic(model, {torch.nn.LSTM}, dtype=torch.qint8)[0]


LEFT = {
    "subclass": (lambda: Own(3, 5), "it is a Own, a subclass"),
    "half": (lambda: torch.nn.LSTM(3, 5, dtype=torch.float16), "weight_ih_l0 has dtype torch.float16"),
    "cell": (lambda: torch.nn.LSTMCell(3, 5), "it is an nn.LSTMCell"),
    "forward": (replaced_forward, "its forward is replaced"),
    "compiled": (compiled, "it is compiled"),
    "quantized": (quantized, "which is quantized"),
    "quantizable": (lambda: torch.ao.nn.quantizable.LSTM(3, 5), "which is quantiz"),
    "scripted": (lambda: torch.jit.script(torch.nn.LSTM(3, 5)), "it is scripted"),
}


@pytest.mark.parametrize(("make", "why"), LEFT.values(), ids=LEFT)
def test_what_is_left_alone(make: Any, why: str) -> None:
    """With the reason, in a model and by itself; others are swapped all the same."""
    module = make()
    model = torch.nn.ModuleDict({"odd": module, "plain": torch.nn.LSTM(3, 5)})
    kind = type(module)
    report = lstm.torch.accelerate(model)
    assert report.swapped == ("plain",)
    assert list(report.left) == ["odd"]
    assert why in report.left["odd"]
    assert f"odd: left alone, {report.left['odd']}" in str(report)
    assert type(module) is kind


def test_parameters_without_memory() -> None:
    """They may get it on the CPU."""
    assert lstm.torch.accelerate(torch.nn.LSTM(3, 5, device="meta")).swapped == ("",)


def test_what_is_no_model() -> None:
    with pytest.raises(TypeError, match=r"the model is a dict, but must be a torch.nn.Module"):
        lstm.torch.accelerate({})
    with pytest.raises(TypeError, match=r"the model is a Parameter, but"):
        lstm.torch.restore(torch.nn.Parameter(torch.ones(2)))
