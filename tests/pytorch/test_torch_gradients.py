"""What autograd asks of lstm.torch.LSTM: which gradients, how often, and what must raise."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.autograd.forward_ad as forward_ad
from team import every_call_shared, threads
from torch.func import functional_call, grad, jacrev, jvp, vmap
from torch_pairs import OPTIONS, B, assert_close, inputs, pair

import lstm.torch
from lstm.core import gradients
from lstm.core.net import Net
from lstm.torch import passes

# Importing forward mode scripts functions of PyTorch's own.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit")


def as_function(module: Any) -> tuple[Callable[..., Any], list[Any]]:
    """The module as a function of X, h0, C0 and its weights, and these."""
    names = [name for name, _ in module.named_parameters()]

    def call(X: Any, h0: Any, C0: Any, *weights: Any) -> tuple[Any, Any, Any]:
        Y, states = functional_call(module, dict(zip(names, weights, strict=True)), (X, (h0, C0)))
        return (Y, *states)

    return call, [
        *inputs(module, 2, 3),
        *(one.detach().clone().requires_grad_() for one in module.parameters()),
    ]


@pytest.mark.parametrize("name", ["plain", "batch first", "all"])
def test_finite_differences(name: str) -> None:
    _, ours = pair(**{**OPTIONS[name], "dropout": 0.0})
    call, tensors = as_function(ours)
    assert torch.autograd.gradcheck(call, tensors)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the package is asked for: "record", "run", or whether gradients of states, X and weights."""
    calls: list[Any] = []
    record, backward, run = passes.record, passes.backward, Net.run

    def recorded(*arguments: Any) -> Any:
        calls.append("record")
        return record(*arguments)

    def differentiated(*arguments: Any) -> Any:
        states, inputs, weights = arguments[-3:]
        calls.append((states, inputs, any(weights)))
        return backward(*arguments)

    def ran(*arguments: Any) -> None:
        calls.append("run")
        run(*arguments)

    monkeypatch.setattr(passes, "record", recorded)
    monkeypatch.setattr(passes, "backward", differentiated)
    monkeypatch.setattr(Net, "run", ran)
    return calls


def test_only_what_is_needed_is_computed(asked: list[Any]) -> None:
    _, ours = pair()
    X, h0, C0 = inputs(ours)
    constants = [one.detach() for one in (X, h0, C0)]
    ours(constants[0])[0].sum().backward()
    ours(X, (h0, C0))[0].sum().backward()
    ours.requires_grad_(False)
    ours(X)[0].sum().backward()
    ours(constants[0], (h0, constants[2]))[0].sum().backward()
    assert asked == [
        *("record", (False, False, True)),
        *("record", (True, True, True)),
        *("record", (False, True, False)),
        *("record", (True, False, False)),
    ]
    assert all(one.grad is not None for one in (X, h0, C0))


def test_nothing_is_kept_where_no_gradient_is_wanted(asked: list[Any]) -> None:
    _, ours = pair()
    X = inputs(ours)[0]
    with torch.no_grad():
        ours(X)
    with torch.inference_mode():
        assert ours(X)[0].is_inference()
    ours.requires_grad_(False)
    assert not ours(X.detach())[0].requires_grad
    assert asked == ["run"] * 3


@pytest.mark.parametrize("name", OPTIONS)
def test_some_weights_frozen(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gradients of the others are PyTorch's, and those of the frozen ones are not computed."""
    options = {**OPTIONS[name], "dropout": 0.0}
    theirs, ours = pair(**options)
    X = inputs(theirs)[0].detach()
    names = [name for name, _ in ours.named_parameters()]
    sums: list[Any] = []
    backward = gradients.backward

    def seen(*arguments: Any) -> Any:
        sums.append(arguments[5])
        return backward(*arguments)

    monkeypatch.setattr(gradients, "backward", seen)
    choices = [{one} for one in names] + [set(names) - {one} for one in names]
    choices += [{one for one in names if "_l0" in one}, {one for one in names if "_hh" in one}]
    for trained in choices:
        for module in (theirs, ours):
            module.zero_grad()
            for one, parameter in module.named_parameters():
                parameter.requires_grad_(one in trained)
            Y, (h_n, C_n) = module(X)
            (Y.square().sum() + h_n.sum() + C_n.square().sum()).backward()
        for one, parameter in theirs.named_parameters():
            found = getattr(ours, one).grad
            if one in trained:
                assert_close(found, parameter.grad, one)
            else:
                assert found is None
        cells = [
            names[first : first + len(names) // len(sums[-1])]
            for first in range(0, len(names), len(names) // len(sums[-1]))
        ]
        for of_cell, asked in zip(cells, sums[-1], strict=True):
            assert (asked is not None) == bool(trained & set(of_cell))
            if asked is not None:
                assert (asked.input is not None) == (of_cell[0] in trained)
                assert (asked.hidden is not None) == (of_cell[1] in trained)


@pytest.mark.parametrize("name", ["bidirectional", "all"])
def test_any_weight_frozen_on_several_threads(name: str) -> None:
    """Directions that ask for other gradients than each other: the bits of one thread."""
    _, ours = pair(**{**OPTIONS[name], "dropout": 0.0})
    X = inputs(ours, rows=16, time=20)[0].detach()
    weights = dict(ours.named_parameters())
    for frozen in weights:
        for one, parameter in weights.items():
            parameter.requires_grad_(one != frozen)
        trained = [parameter for one, parameter in weights.items() if one != frozen]
        found = []
        for count in (1, 2, 3):
            with threads(count), every_call_shared():
                Y, (h_n, C_n) = ours(X)
                loss = Y.square().sum() + h_n.sum() + C_n.square().sum()
                found.append(torch.autograd.grad(loss, trained))
        for other in found[1:]:
            assert all(map(torch.equal, found[0], other)), frozen


def test_no_layer_is_gone_back_through_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Layers below the lowest one that learns are left out."""
    _, ours = pair(num_layers=3)
    X = inputs(ours)[0].detach()
    computed: list[int] = []
    backward_cells = gradients.backward_cells

    def seen(asks: list[Any], *arguments: Any) -> Any:
        computed.append(len(asks))
        return backward_cells(asks, *arguments)

    monkeypatch.setattr(gradients, "backward_cells", seen)
    for lowest, count in (("_l0", 3), ("_l1", 2), ("_l2", 1)):
        for one, parameter in ours.named_parameters():
            parameter.requires_grad_(lowest in one or "_l2" in one)
        computed.clear()
        ours(X)[0].square().sum().backward()
        assert sum(computed) == count


def test_gradients_do_not_share_memory() -> None:
    """Autograd takes the arrays over: scaling one must not scale another."""
    _, ours = pair(num_layers=2, proj_size=2)
    ours(inputs(ours)[0])[0].sum().backward()
    found = [one.grad for one in ours.parameters()]
    assert len({one.untyped_storage().data_ptr() for one in found}) == len(found)


@pytest.mark.parametrize("only", [0, 1, 2])
def test_losses_of_one_output(only: int) -> None:
    theirs, ours = pair(bidirectional=True)
    X, h0, C0 = inputs(theirs)
    found = []
    for module in (theirs, ours):
        Y, states = module(X, (h0, C0))
        loss = (Y, *states)[only].square().sum()
        found.append(torch.autograd.grad(loss, [X, h0, C0, *module.parameters()]))
    for expected, one in zip(*found, strict=True):
        assert_close(one, expected)


def test_a_graph_is_used_twice() -> None:
    """With retain_graph, dropout being what it was; without it PyTorch's own error."""
    _, ours = pair(num_layers=2, dropout=0.5)
    X, h0, C0 = inputs(ours)
    Y, (h_n, _) = ours(X, (h0, C0))
    first = torch.autograd.grad(Y.square().sum(), [X, *ours.parameters()], retain_graph=True)
    of_h = torch.autograd.grad(h_n.sum(), [X, *ours.parameters()], retain_graph=True)
    again = torch.autograd.grad(Y.square().sum(), [X, *ours.parameters()])
    assert all(map(torch.equal, first, again))
    assert not torch.equal(first[0], of_h[0])
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        Y.sum().backward()


@pytest.mark.parametrize("batch_first", [False, True])
def test_tensors_changed_in_place(batch_first: bool) -> None:
    """Y, X, a state or a weight changed between forward and backward: an error, no wrong gradient."""
    _, ours = pair(batch_first=batch_first)
    for k in range(4):
        X, h0, C0 = (one.detach().clone() for one in inputs(ours))
        Y, _ = ours(X, (h0, C0))
        with torch.no_grad():
            (Y, X, h0, ours.weight_hh_l0)[k].add_(1)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            Y.sum().backward()


def test_states_may_be_written_over() -> None:
    """Those that a call gave belong to the caller."""
    theirs, ours = pair(num_layers=2)
    X = inputs(theirs)[0]
    found = []
    for module in (theirs, ours):
        Y, (h_n, C_n) = module(X)
        with torch.no_grad():
            h_n.detach().numpy()[...] = 9
            C_n.detach().numpy()[...] = 9
        found.append(torch.autograd.grad(Y.sum(), [X, *module.parameters()]))
    for expected, one in zip(*found, strict=True):
        assert_close(one, expected)


def test_truncated_backpropagation() -> None:
    theirs, ours = pair(batch_first=True)
    X = inputs(theirs)[0].detach()
    for module in (theirs, ours):
        state = None
        for part in (X[:, :3], X[:, 3:]):
            Y, state = module(part, state)
            Y.square().sum().backward()
            state = tuple(one.detach() for one in state)
    for expected, one in zip(theirs.parameters(), ours.parameters(), strict=True):
        assert_close(one.grad, expected.grad)


def test_checkpoints() -> None:
    from torch.utils.checkpoint import checkpoint

    _, ours = pair(num_layers=2, dropout=0.5)
    X = inputs(ours)[0]
    found = []
    for reentrant in (None, False, True):
        torch.manual_seed(4)
        Y = ours(X)[0] if reentrant is None else checkpoint(ours, X, use_reentrant=reentrant)[0]
        found.append(torch.autograd.grad(Y.square().sum(), [X]) if reentrant is not True else None)
        if reentrant is True:
            X.grad = None
            Y.square().sum().backward()
            found[-1] = (X.grad,)
    assert torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][0], found[2][0])


def test_second_derivatives_raise() -> None:
    """With respect to whatever the first ones depend on, also where the loss has another part."""
    _, ours = pair()
    X, h0, C0 = inputs(ours)
    tensors = [X, h0, C0, *ours.parameters()]
    for k, one in enumerate(tensors):
        Y, _ = ours(X, (h0, C0))
        (first,) = torch.autograd.grad(Y.square().sum(), [tensors[k - 1]], create_graph=True)
        with pytest.raises(NotImplementedError, match="no second derivatives"):
            torch.autograd.grad(first.sum() + Y.sum(), [one])


def test_second_derivatives_of_functions_raise() -> None:
    call, tensors = as_function(pair()[1])

    def loss(X: Any) -> Any:
        return call(X, *tensors[1:])[0].sum()

    with pytest.raises(NotImplementedError, match="no second derivatives"):
        grad(lambda X: grad(loss)(X).sum())(tensors[0].detach())


def test_forward_mode_raises() -> None:
    """Also where nothing else asks for gradients, and through a gradient."""
    _, ours = pair()
    X = inputs(ours)[0].detach()

    def loss(x: Any) -> Any:
        return ours(x)[0].sum()

    with pytest.raises(NotImplementedError, match="forward mode"):
        jvp(loss, (X,), (X,))
    with pytest.raises(NotImplementedError, match="forward mode"):
        jvp(grad(loss), (X,), (X,))
    with (
        torch.no_grad(),
        forward_ad.dual_level(),
        pytest.raises(NotImplementedError, match="forward mode"),
    ):
        ours(forward_ad.make_dual(X, X))
    Y, _ = ours(X.requires_grad_())
    with forward_ad.dual_level(), pytest.raises(NotImplementedError, match="forward mode"):
        torch.autograd.grad(Y, [X], forward_ad.make_dual(torch.ones_like(Y), torch.ones_like(Y)))


def test_functions_of_torch_func() -> None:
    call, tensors = as_function(pair(num_layers=2)[1])
    constants = [one.detach() for one in tensors]

    def loss(*arguments: Any) -> Any:
        Y, h_n, C_n = call(*arguments)
        return Y.square().sum() + h_n.sum() + C_n.sin().sum()

    expected = torch.autograd.grad(loss(*tensors), tensors)
    found = grad(loss, tuple(range(len(tensors))))(*constants)
    for one, other in zip(found, expected, strict=True):
        assert_close(one, other)
    jacobian = jacrev(lambda X: call(X, *constants[1:])[1].flatten())(constants[0])
    h_n = call(*tensors)[1].flatten()
    rows = [torch.autograd.grad(one, [tensors[0]], retain_graph=True)[0] for one in h_n]
    assert_close(jacobian, torch.stack(rows))


def test_gradients_of_every_element() -> None:
    """vmap over a gradient, X and the states per element, the weights shared."""
    call, tensors = as_function(pair()[1])
    constants = [one.detach() for one in tensors]
    many = [torch.stack([one * k for k in (1, 2, 3)], dim=1) for one in constants[:3]]

    def loss(weights: Any, X: Any, h0: Any, C0: Any) -> Any:
        return call(X, h0, C0, *weights)[0].square().sum()

    weights = tuple(constants[3:])
    found = vmap(grad(loss), (None, 1, 1, 1))(weights, *many)
    for k in range(3):
        expected = grad(loss)(weights, *(one[:, k] for one in many))
        for one, other in zip(found, expected, strict=True):
            assert_close(one[k], other)


def test_threads() -> None:
    """Many threads on one module, forward, backward, and with gradients off, give what one gives."""
    _, ours = pair(num_layers=2)
    data = [inputs(ours)[0] for _ in range(8)]
    expected = [torch.autograd.grad(ours(X)[0].square().sum(), [X, *ours.parameters()]) for X in data]
    failures: list[Any] = []

    def work(k: int) -> None:
        for _ in range(10):
            found = torch.autograd.grad(ours(data[k])[0].square().sum(), [data[k], *ours.parameters()])
            with torch.no_grad():
                Y = ours(data[k])[0]
            if not all(map(torch.equal, found, expected[k])) or not torch.equal(Y, ours(data[k])[0]):
                failures.append(k)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(len(data))]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert not failures


def test_a_call_within_a_call() -> None:
    """A hook of the module that calls it again."""
    _, ours = pair()
    X = inputs(ours)[0]
    expected = torch.autograd.grad(ours(X)[0].sum(), [X])[0]
    inner: list[Any] = []

    def hook(module: Any, arguments: Any, output: Any) -> None:
        if not inner:
            inner.append(None)
            inner.append(torch.autograd.grad(module(2 * arguments[0])[0].sum(), [arguments[0]]))

    ours.register_forward_hook(hook)
    assert torch.equal(torch.autograd.grad(ours(X)[0].sum(), [X])[0], expected)
    assert inner[1] is not None


def test_memory_is_given_back() -> None:
    """What a call keeps goes when its outputs do, without the garbage collector."""
    _, ours = pair()
    gc.disable()
    try:
        for goes_back in (False, True):
            Y, states = ours(inputs(ours, B)[0])
            calls = [one for one in gc.get_objects() if type(one) is lstm.torch.module.Call]
            kept = [weakref.ref(recording.h_n) for one in calls for recording in one._recordings]
            assert len(kept) == 1
            if goes_back:
                Y.sum().backward()
            del Y, states, calls
            assert kept[0]() is None
    finally:
        gc.enable()


def test_calls_within_a_vmap_of_other_tensors() -> None:
    theirs, ours = pair()
    X = inputs(theirs)[0].detach()
    found = vmap(lambda factor: factor * ours(X)[0])(torch.tensor([2.0, 3.0], dtype=X.dtype))
    assert_close(found[1], 3 * theirs(X)[0])
