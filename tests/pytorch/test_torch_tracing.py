"""lstm.torch.LSTM in what traces a model: compile, export, the operators' own checks."""

from __future__ import annotations

import io
from typing import Any

import pytest
import torch
from torch_pairs import INPUT, assert_close, inputs, pair

import lstm.torch

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit", "ignore::torch.jit.TracerWarning")


@pytest.mark.parametrize("dropped", [False, True])
@pytest.mark.parametrize("trained", [False, True])
def test_operators(trained: bool, dropped: bool) -> None:
    """PyTorch's own tests of an operator: schema, fake tensors, autograd, tracing with dynamic shapes."""
    _, ours = pair(num_layers=2, bidirectional=True, proj_size=2, batch_first=True)
    X, h0, C0 = (one if trained else one.detach() for one in inputs(ours))
    weights = [one if trained else one.detach() for one in ours.parameters()]
    kept = [torch.rand(*X.shape[:2], 4) > 0.3] if dropped else []
    lengths = torch.tensor([7, 3, 1, 0]) if dropped else None
    given = (X, h0, C0, weights, lengths, kept, 0.3, 2, True, True)
    torch.library.opcheck(torch.ops.lstm_native.sequence.default, given)
    if not trained:
        gradients = [torch.randn_like(one) for one in torch.ops.lstm_native.sequence(*given)]
        for options in ((True, True), (False, True), (True, False)):
            torch.library.opcheck(
                torch.ops.lstm_native.sequence_backward.default, (*gradients, *given, *options)
            )


def test_operators_check_what_they_are_given() -> None:
    _, ours = pair(batch_first=True)
    X, h0, C0 = inputs(ours)
    weights = [one.detach() for one in ours.parameters()]
    rest = ([], 0.0, 1, False, True)
    with pytest.raises(ValueError, match="lengths has values"):
        torch.ops.lstm_native.sequence(X, h0, C0, weights, torch.tensor([9, 1, 1, 1]), *rest)
    weights[0] = weights[0].T
    with pytest.raises(ValueError, match="weight_ih_l0 has shape"):
        torch.ops.lstm_native.sequence(X, h0, C0, weights, None, *rest)


def test_second_derivatives_of_operators_raise() -> None:
    _, ours = pair(batch_first=True)
    X, h0, C0 = inputs(ours)
    given = (X, h0, C0, list(ours.parameters()), None, [], 0.0, 1, False, True)
    Y = torch.ops.lstm_native.sequence(*given)[0]
    (first,) = torch.autograd.grad(Y.square().sum(), [X], create_graph=True)
    with pytest.raises(NotImplementedError, match="no second derivatives"):
        torch.autograd.grad(first.sum(), [ours.weight_hh_l0])


class Model(torch.nn.Module):
    """An LSTM within a model."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.rnn = lstm.torch.LSTM(INPUT, 5, **options)
        self.head = torch.nn.Linear(10 if options.get("bidirectional") else 5, 2)

    def forward(self, X: Any, hx: Any = None) -> Any:
        Y, (h_n, C_n) = self.rnn(torch.relu(X), hx)
        return self.head(Y).sum(-1) + h_n.sum() + C_n.sum()


def assert_compiles(model: Any, **options: Any) -> None:
    """Hold a compiled model to itself: outputs and gradients, for several shapes, in training and not."""
    torch._dynamo.reset()
    torch.manual_seed(0)
    compiled = torch.compile(model, **options)
    for shape in ((6, 4, INPUT), (9, 2, INPUT), (3, 5, INPUT), (8, INPUT)):
        X = torch.randn(shape, requires_grad=True)
        batch = shape[1:-1]
        hx = tuple(torch.randn(2, *batch, 5, requires_grad=True) for _ in range(2))
        for state in (None, hx):
            found = []
            for one in (model, compiled):
                output = one(X, state)
                tensors = [X, *model.parameters(), *(state or ())]
                found.append([output, *torch.autograd.grad(output.square().sum(), tensors)])
            for expected, value in zip(*found, strict=True):
                assert_close(value, expected)
    with torch.no_grad():
        assert_close(compiled(X), model(X))


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_compiled_models(backend: str) -> None:
    """As with nn.LSTM, torch.compile leaves the module out of its graphs, and runs it as it is."""
    assert_compiles(Model(bidirectional=True), backend=backend)


def test_compiled_in_one_graph() -> None:
    """With Dynamo's switch for LSTMs: no graph break at all."""
    with torch._dynamo.config.patch(allow_rnn=True):
        assert_compiles(Model(bidirectional=True), backend="aot_eager", fullgraph=True)


def test_compiled_by_inductor(exhaustive: bool) -> None:
    with torch._dynamo.config.patch(allow_rnn=True):
        assert_compiles(Model(bidirectional=True), fullgraph=True)
    assert_compiles(Model(bidirectional=True))


def test_compiled_with_dropout() -> None:
    """Between the layers of a graph too, in training mode alone."""
    torch._dynamo.reset()
    with torch._dynamo.config.patch(allow_rnn=True):
        model = Model(num_layers=2, dropout=0.5)
        compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
        X = torch.randn(6, 4, INPUT)
        assert not torch.equal(compiled(X), compiled(X))
        compiled(X).sum().backward()
        assert model.rnn.weight_hh_l0.grad.abs().sum() > 0
        model.eval()
        assert torch.equal(compiled(X), model(X))


@pytest.mark.parametrize("strict", [False, True])
def test_exported_models(strict: bool) -> None:
    """One graph for every batch and time; it goes through a file."""
    model = Model(bidirectional=True).eval()
    shapes = ({0: torch.export.Dim("time"), 1: torch.export.Dim("batch")},)
    program = torch.export.export(model, (torch.randn(7, 2, INPUT),), dynamic_shapes=shapes, strict=strict)
    assert any("lstm_native.sequence" in str(node.target) for node in program.graph.nodes)
    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    again = torch.export.load(file).module()
    for shape in ((7, 2, INPUT), (3, 5, INPUT)):
        X = torch.randn(shape)
        assert_close(again(X), model(X))


def test_traced_models() -> None:
    """By torch.jit.trace."""
    model = Model(bidirectional=True).eval()
    traced = torch.jit.trace(model, (torch.randn(7, 2, INPUT),))
    X = torch.randn(7, 2, INPUT)
    assert_close(traced(X), model(X))


def test_fake_tensors() -> None:
    """Shapes without values: nothing is computed."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        ours = lstm.torch.LSTM(INPUT, 5, 2, bidirectional=True)
        Y, (h_n, C_n) = ours(torch.empty(7, 4, INPUT))
    assert (Y.shape, h_n.shape, C_n.shape) == ((7, 4, 10), (4, 4, 5), (4, 4, 5))
