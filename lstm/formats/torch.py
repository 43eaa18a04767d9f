"""PyTorch: nn.LSTM, nn.LSTMCell and state dicts of tensors, and back.

PyTorch is imported to make a module only: tensors bring what is needed to read them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from . import candidates

if TYPE_CHECKING:
    from ..model import LSTM

# What nn.LSTM cannot compute, and the value at which a net does without it.
LACKING = {"reverse": False, "peephole": False, "clip": None, "input_forget": False, "activations": None}


def state_dict(source: Any, prefix: str | None) -> dict[str, np.ndarray]:
    """The state dict of the one LSTM in a module or in a mapping of names to tensors, as NumPy arrays.

    Narrower floats are widened to float32. TypeError or ValueError where there is none, or several.
    """
    tensors = source
    if not isinstance(source, Mapping):
        if not callable(getattr(source, "state_dict", None)):
            raise TypeError(
                f"the source is a {type(source).__name__}, but must be an nn.LSTM, an nn.LSTMCell, a module "
                "that holds one, or a state dict"
            )
        tensors = source.state_dict()
    shapes = {
        name: tuple(tensor.shape)
        for name, tensor in tensors.items()
        if isinstance(name, str) and hasattr(tensor, "shape")
    }
    try:
        names = candidates.find(shapes, prefix)
    except ValueError as error:
        inner = [str(name) for name, value in tensors.items() if isinstance(value, Mapping)]
        if not inner or shapes:
            raise
        raise ValueError(
            f"{error}; hand over what it holds under {' or '.join(map(repr, inner[:5]))}"
        ) from error
    return {name: _array(full, tensors[full]) for name, full in names.items()}


def _array(name: str, tensor: Any) -> np.ndarray:
    """A tensor, or what is an array already, as an array of NumPy's dtypes, not below float32."""
    if not callable(getattr(tensor, "detach", None)):
        array = np.asarray(tensor)
        if array.dtype.kind != "f" and array.dtype.name != "bfloat16":
            raise TypeError(f"{name} has dtype {array.dtype}, but must have one of floats")
        return array.astype(np.float32) if array.dtype.itemsize < 4 else array
    if getattr(tensor, "is_quantized", False) or getattr(tensor, "is_sparse", False):
        raise TypeError(f"{name} is a quantized or sparse tensor; make it a dense one of floats first")
    if getattr(tensor, "is_meta", False):
        raise ValueError(f"{name} is a meta tensor, which has no values")
    dense = tensor.detach().cpu()
    if not dense.is_floating_point():
        raise TypeError(f"{name} has dtype {dense.dtype}, but must have one of floats")
    if dense.element_size() < 4:
        dense = dense.float()
    return np.array(dense.numpy())


def to_torch(net: LSTM) -> Any:
    """An nn.LSTM in evaluation mode, batch first, of the net's dtype and weights."""
    for name, value in LACKING.items():
        if getattr(net, name) != value:
            raise ValueError(f"PyTorch's LSTM has no {name}, but this one has {name}={getattr(net, name)!r}")
    try:
        import torch
    except ImportError as error:
        raise ImportError('to_torch needs PyTorch: pip install "lstm-native[torch]"') from error
    module = torch.nn.LSTM(
        net.input_size,
        net.hidden_size,
        num_layers=net.num_layers,
        bidirectional=net.bidirectional,
        proj_size=net.proj_size,
        bias=net.bias,
        batch_first=True,
        dtype=getattr(torch, net.dtype.name),
    )
    module.load_state_dict({name: torch.from_numpy(array) for name, array in net.state_dict().items()})
    return module.eval()
