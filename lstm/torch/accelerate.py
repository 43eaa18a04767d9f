"""nn.LSTM of a model to `lstm.torch.LSTM` and back, in place."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch.nn.utils import parametrize

from .checks import DTYPES
from .module import LSTM


class Accelerated(NamedTuple):
    """What `accelerate` or `restore` did to a model; as text, a line for each module.

    Attributes
    ----------
    swapped : tuple of str
        Names of the modules that became others, as `torch.nn.Module.named_modules` has them; "" is the model.
    left : dict of str to str
        Names of the LSTMs that stayed as they are, and why.
    """

    swapped: tuple[str, ...]
    left: dict[str, str]

    def __str__(self) -> str:
        lines = [f"{name or 'the model itself'}: swapped" for name in self.swapped]
        lines += [f"{name or 'the model itself'}: left alone, {why}" for name, why in self.left.items()]
        return "\n".join(lines) or "the model has no LSTM"


def accelerate(model: Any) -> Accelerated:
    """Swap every `torch.nn.LSTM` of a model for `lstm.torch.LSTM`, in place.

    A module becomes another by its class alone: parameters, buffers, hooks, names in the state dict and
    whatever an optimizer refers to stay the same objects.

    Parameters
    ----------
    model : torch.nn.Module
        May be an LSTM itself.

    Returns
    -------
    Accelerated
        What was swapped, and what was left alone, and why: print it.

    Raises
    ------
    TypeError
        If the model is not a module.

    Examples
    --------
    >>> import torch, lstm.torch
    >>> model = torch.nn.ModuleDict({"encoder": torch.nn.LSTM(3, 5), "head": torch.nn.Linear(5, 1)})
    >>> print(lstm.torch.accelerate(model))
    encoder: swapped
    >>> type(model["encoder"])
    <class 'lstm.torch.module.LSTM'>
    """
    return _swap(model, torch.nn.LSTM, LSTM)


def restore(model: Any) -> Accelerated:
    """Swap every `lstm.torch.LSTM` of a model for `torch.nn.LSTM`, in place: the way back of `accelerate`.

    Parameters
    ----------
    model : torch.nn.Module
        May be an LSTM itself.

    Returns
    -------
    Accelerated
        What was swapped, and what was left alone, and why.

    Raises
    ------
    TypeError
        If the model is not a module.

    Examples
    --------
    >>> import torch, lstm.torch
    >>> model = lstm.torch.LSTM(3, 5)
    >>> print(lstm.torch.restore(model))
    the model itself: swapped
    >>> type(model)
    <class 'torch.nn.modules.rnn.LSTM'>
    """
    return _swap(model, LSTM, torch.nn.LSTM)


def _swap(model: Any, source: type, target: type) -> Accelerated:
    """Modules of the class `source` become ones of `target`."""
    if not isinstance(model, torch.nn.Module):
        raise TypeError(f"the model is a {type(model).__name__}, but must be a torch.nn.Module")
    swapped: list[str] = []
    left: dict[str, str] = {}
    for name, module in model.named_modules():
        base = parametrize.type_before_parametrizations(module)
        if why := _why_not(module, base, source):
            left[name] = why
        elif base is source:
            module.__class__ = target if type(module) is base else _parametrized(type(module), target)
            swapped.append(name)
    return Accelerated(tuple(swapped), left)


def _parametrized(found: type, target: type) -> type:
    """The class of a parametrized module, which is its own and holds the parametrizations, over another."""
    own = {name: value for name, value in vars(found).items() if name not in ("__dict__", "__weakref__")}
    return type(found.__name__, (target,), own)


def _why_not(module: Any, base: type, source: type) -> str | None:
    """Why an LSTM stays as it is; None if it need not, or is no LSTM."""
    if isinstance(module, torch.jit.ScriptModule):
        return "it is scripted" if getattr(module, "original_name", "") == "LSTM" else None
    if base is not source:
        return _why_not_of_class(base, source)
    if "forward" in vars(module):
        return "its forward is replaced by another function"
    if vars(module).get("_compiled_call_impl") is not None:
        return "it is compiled: swap it first, then compile it"
    for name, one in (*module.named_parameters(recurse=True), *module.named_buffers(recurse=True)):
        if one.device.type not in ("cpu", "meta"):
            return f"{name} is on {one.device}, not on the CPU"
        if one.is_floating_point() and one.dtype not in DTYPES:
            return f"{name} has dtype {one.dtype}, not float32 or float64"
    return None


def _why_not_of_class(base: type, source: type) -> str | None:
    """As `_why_not`, of a module whose class is not the one to swap."""
    if base in (torch.nn.LSTM, LSTM):  # what it is to become
        return None
    if issubclass(base, source):
        return f"it is a {base.__qualname__}, a subclass, which may compute something else"
    if base is torch.nn.LSTMCell:
        return "it is an nn.LSTMCell, which computes one step"
    if base.__name__ == "LSTM" and base.__module__.startswith(("torch.ao.", "torch.nn.quantized")):
        return f"it is a {base.__module__}.LSTM, which is quantized"
    return None
