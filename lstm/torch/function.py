"""A call as an autograd function, for models that run as they are written.

As its shapes see `lstm.torch.call`.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch.autograd import forward_ad

from .call import Call

NO_SECOND = (
    "lstm.torch has no second derivatives; PyTorch's own LSTM has: lstm.torch.restore(model) puts it back"
)
NO_FORWARD_MODE = "lstm.torch has no derivatives in forward mode (torch.func.jvp, jacfwd); use reverse mode"


def _each(function: Any, info: Any, in_dims: Any, call: Call, arguments: Any) -> tuple[Any, Any]:
    """The results of a function over every element of a vmap, stacked, and their dims."""
    results = []
    for k in range(info.batch_size):
        ones = [
            one if dim is None else one.select(dim, k) for dim, one in zip(in_dims, arguments, strict=True)
        ]
        results.append(function.apply(call.without_recording(), *ones))
    dims = tuple(None if first is None else 0 for first in results[0])
    stacked = (None if one[0] is None else torch.stack(one) for one in zip(*results, strict=True))
    return tuple(stacked), dims


def _save(ctx: Any, call: Call, tensors: Any, output: Any) -> None:
    """Keep what the backward pass takes."""
    ctx.call = call
    ctx.set_materialize_grads(False)
    # What is saved must not be changed in place before the backward pass: PyTorch raises if it was.
    ctx.save_for_backward(*tensors, output[0] if call.shares_outputs else None)


def _is_plain(gradient: Any) -> bool:
    """Whether it is None or numbers alone: no tensor of torch.func, and none with a tangent."""
    if gradient is None:
        return True
    try:
        gradient.data_ptr()
    except (RuntimeError, NotImplementedError):
        return False
    return forward_ad.unpack_dual(gradient).tangent is None


def sequence(call: Call, *tensors: Any) -> Any:
    """X, h0 and C0 or None, and the weights in their layout, one by one -> Y, h_n, C_n."""
    try:
        return Everyday.apply(call, *tensors)
    except RuntimeError:
        if call.has_begun:
            raise
    # torch.func is at work, for which PyTorch refuses `Everyday` before it begins.
    return Sequence.apply(call, *tensors)


class Sequence(torch.autograd.Function):  # type: ignore[misc]
    """What `sequence` is to torch.func."""

    @staticmethod
    def forward(*arguments: Any) -> tuple[Any, Any, Any]:
        """Run the pass."""
        call, X, h0, C0, *weights = arguments
        outputs: tuple[Any, Any, Any] = call.forward(X, h0, C0, weights)
        return outputs

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Keep what the backward pass takes."""
        call, *tensors = inputs
        _save(ctx, call, tensors, output)

    @staticmethod
    def backward(ctx: Any, dY: Any, dh_n: Any, dC_n: Any) -> tuple[Any, ...]:
        """The gradients that are needed."""
        *tensors, _ = ctx.saved_tensors
        return (None, *Backward.apply(ctx.call, ctx.needs_input_grad[1:], dY, dh_n, dC_n, *tensors))

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        """Raise: what is not defined would be zero."""
        raise NotImplementedError(NO_FORWARD_MODE)

    @staticmethod
    def vmap(info: Any, in_dims: Any, call: Call, *tensors: Any) -> tuple[Any, Any]:
        """One element after the other."""
        return _each(Sequence, info, in_dims[1:], call, tensors)


class Everyday(Sequence):
    """What `sequence` is otherwise: it saves PyTorch half of its work for a call, some 20 µs."""

    @staticmethod
    def forward(ctx: Any, call: Call, *tensors: Any) -> tuple[Any, Any, Any]:
        """Run the pass."""
        call.has_begun = True
        X, h0, C0, *weights = tensors
        outputs: tuple[Any, Any, Any] = call.forward(X, h0, C0, weights)
        _save(ctx, call, tensors, outputs)
        return outputs

    setup_context = torch.autograd.Function.setup_context

    @staticmethod
    def backward(ctx: Any, dY: Any, dh_n: Any, dC_n: Any) -> tuple[Any, ...]:
        """The gradients that are needed."""
        if torch.is_grad_enabled() or not all(map(_is_plain, (dY, dh_n, dC_n))):
            return Sequence.backward(ctx, dY, dh_n, dC_n)  # which can be differentiated, if only to raise
        *tensors, _ = ctx.saved_tensors
        return (None, *ctx.call.backward(ctx.needs_input_grad[1:], (dY, dh_n, dC_n), tensors))


class Backward(torch.autograd.Function):  # type: ignore[misc]
    """A `Call`, which gradients are needed, those of the outputs, the forward pass's tensors -> gradients.

    They cannot be differentiated again. All tensors that they depend on are arguments, so that a second
    derivative raises instead of being zero.
    """

    @staticmethod
    def forward(*arguments: Any) -> tuple[Any, ...]:
        """Go back."""
        call, needed, dY, dh_n, dC_n, *tensors = arguments
        gradients: tuple[Any, ...] = call.backward(needed, (dY, dh_n, dC_n), tensors)
        return gradients

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Nothing is kept: see `backward`."""

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        """Raise: there are no second derivatives."""
        raise NotImplementedError(NO_SECOND)

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        """Raise: what is not defined would be zero."""
        raise NotImplementedError(NO_FORWARD_MODE)

    @staticmethod
    def vmap(info: Any, in_dims: Any, call: Call, *arguments: Any) -> tuple[Any, Any]:
        """One element after the other."""
        # The flags of what is needed have no dim each, but one for all of them.
        return _each(Backward, info, (None, *in_dims[2:]), call, arguments)


# PyTorch asks for the signature at every call. It is made once: with names in it, a call took 10 µs longer.
for function in (Sequence, Backward):
    setattr(function.forward, "__signature__", inspect.signature(function.forward))  # noqa: B010
