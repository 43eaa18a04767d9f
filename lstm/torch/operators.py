"""A call as operators of PyTorch, for what traces a model: torch.compile, torch.export, torch.jit.trace.

A traced graph holds tensors alone, so that the backward operator runs the pass again before it goes back.

Shapes: B batch, T time, I input, H hidden, O features of h, K features of an output step, L layers,
D directions. X is (B, T, I), h0 (L D, B, O), C0 (L D, B, H); `kept` are masks (B, T, K) of bool between
layers, L - 1 of them or none, and `rate` is their dropout.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from . import checks, passes
from .call import BATCH_FIRST, Call
from .function import NO_SECOND

_GIVEN = (
    "Tensor X, Tensor h0, Tensor C0, Tensor[] weights, Tensor? lengths, Tensor[] kept, float rate, "
    "int num_layers, bool bidirectional, bool bias"
)


class _Given(NamedTuple):
    """The arguments of both operators."""

    X: Any
    h0: Any
    C0: Any
    weights: list[Any]
    lengths: Any
    kept: list[Any]
    rate: float
    num_layers: int
    bidirectional: bool
    bias: bool

    def call(self) -> Call:
        """The call of these arguments; ValueError if they do not fit."""
        width, size = self.weights[1].shape
        hidden_size = width // 4
        plan = passes.layout(
            self.X.shape[2],
            hidden_size,
            self.num_layers,
            self.bidirectional,
            0 if size == hidden_size else size,
            self.bias,
        )
        checks.check_shapes(plan, self.weights)
        lengths = checks.checked_lengths(self.lengths, *self.X.shape[:2])
        return Call(plan, BATCH_FIRST, lengths, self.rate, [one.numpy() for one in self.kept], False, None)


def _sequence(*arguments: Any) -> tuple[Any, Any, Any]:
    """Y (B, T, K), h_n (L D, B, O), C_n (L D, B, H)."""
    given = _Given(*arguments)
    return given.call().forward(given.X, given.h0, given.C0, given.weights)


def _sequence_backward(dY: Any, dh_n: Any, dC_n: Any, *arguments: Any) -> list[Any]:
    """The gradients of h0 and C0, then, if `inputs`, of X, then, if `trained`, of the weights."""
    *most, inputs, trained = arguments
    given = _Given(*most)
    needed = inputs, True, True, *[trained] * len(given.weights)
    tensors = [given.X, given.h0, given.C0, *given.weights]
    dX, dh0, dC0, *rest = given.call().backward(needed, (dY, dh_n, dC_n), tensors)
    return [dh0, dC0, *([dX] if inputs else []), *(rest if trained else [])]


def _fake_sequence(*arguments: Any) -> tuple[Any, Any, Any]:
    """Tensors without values, of the shapes that `_sequence` gives."""
    given = _Given(*arguments)
    size = given.h0.shape[2] * (2 if given.bidirectional else 1)
    Y = given.X.new_empty((*given.X.shape[:2], size))
    return Y, given.X.new_empty(given.h0.shape), given.X.new_empty(given.C0.shape)


def _fake_sequence_backward(dY: Any, dh_n: Any, dC_n: Any, *arguments: Any) -> list[Any]:
    """Tensors without values, of the shapes that `_sequence_backward` gives."""
    *most, inputs, trained = arguments
    given = _Given(*most)
    originals = [given.h0, given.C0, *([given.X] if inputs else []), *(given.weights if trained else [])]
    return [one.new_empty(one.shape) for one in originals]


def _save(ctx: Any, inputs: Any, output: Any) -> None:
    given = _Given(*inputs)
    ctx.options = given[6:]
    ctx.weights = len(given.weights)
    ctx.save_for_backward(given.X, given.h0, given.C0, given.lengths, *given.weights, *given.kept)


def _differentiate(ctx: Any, dY: Any, dh_n: Any, dC_n: Any) -> tuple[Any, ...]:
    X, h0, C0, lengths, *rest = ctx.saved_tensors
    weights, kept = rest[: ctx.weights], rest[ctx.weights :]
    inputs, trained = ctx.needs_input_grad[0], any(ctx.needs_input_grad[3])
    given = _Given(X, h0, C0, weights, lengths, kept, *ctx.options)
    dh0, dC0, *found = torch.ops.lstm_native.sequence_backward(dY, dh_n, dC_n, *given, inputs, trained)
    dX = found.pop(0) if inputs else None
    others = None, [None] * len(kept), None, None, None, None  # lengths, masks, options
    return dX, dh0, dC0, found if trained else [None] * len(weights), *others


def _refuse(ctx: Any, *gradients: Any) -> Any:
    raise NotImplementedError(NO_SECOND)


def _register() -> Any:
    """Make both operators known to PyTorch, in torch.ops.lstm_native; the forward one."""
    sequence = torch.library.custom_op(
        "lstm_native::sequence", _sequence, mutates_args=(), schema=f"({_GIVEN}) -> (Tensor, Tensor, Tensor)"
    )
    backward = torch.library.custom_op(
        "lstm_native::sequence_backward",
        _sequence_backward,
        mutates_args=(),
        schema=f"(Tensor dY, Tensor dh_n, Tensor dC_n, {_GIVEN}, bool inputs, bool trained) -> Tensor[]",
    )
    sequence.register_fake(_fake_sequence)
    backward.register_fake(_fake_sequence_backward)
    sequence.register_autograd(_differentiate, setup_context=_save)
    backward.register_autograd(_refuse, setup_context=lambda ctx, inputs, output: None)
    return torch.ops.lstm_native.sequence


sequence = _register()
