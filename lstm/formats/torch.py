"""PyTorch: nn.LSTM, nn.LSTMCell and state dicts of tensors, and back.

PyTorch is imported to make a module only: tensors bring what is needed to read them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..core.precision import Int8Rows
from ..core.state_dict import from_state_dict, to_state_dict
from ..core.weights import Parts
from . import candidates, small_weights

# The arguments of LSTM that nn.LSTM has too, under the same names.
ARGUMENTS = ("input_size", "hidden_size", "num_layers", "bidirectional", "proj_size", "bias")
# Where the modules are that quantize_dynamic makes, and how their packed weights are called in a state dict.
QUANTIZED = ("torch.ao.nn.quantized.dynamic.modules.rnn", "torch.nn.quantized.dynamic.modules.rnn")
PER_ROW = ("torch.per_channel_affine", "torch.per_channel_symmetric")
PACKED = re.compile(r"(^|\.)_(all_weight_values\.|packed_weight_hh)")


def read(source: Any, prefix: str | None) -> Parts:
    """The one LSTM in a module or in a mapping of names to tensors.

    Narrower floats are widened to float32, quantized weights become float32 and keep their integers beside.
    TypeError or ValueError if there is none, or several.
    """
    tensors = source
    if not isinstance(source, Mapping):
        own = getattr(source, "state_dict", None)
        if not callable(own) and not isinstance(own, Mapping):
            raise TypeError(
                f"the source is a {type(source).__name__}, but must be an nn.LSTM, an nn.LSTMCell, a module "
                "that holds one, or a state dict"
            )
        # An ExportedProgram has an attribute where modules have a method.
        tensors = own if isinstance(own, Mapping) else {**own(), **_dequantized(source)}
    shapes = {
        name: tuple(tensor.shape)
        for name, tensor in tensors.items()
        if isinstance(name, str) and hasattr(tensor, "shape")
    }
    try:
        names = candidates.find(shapes, prefix)
    except ValueError as error:
        if any(PACKED.search(name) for name in tensors if isinstance(name, str)):
            raise ValueError(
                f"{error}; its tensors are packed ones of quantize_dynamic, so hand over the module itself"
            ) from error
        inner = [str(name) for name, value in tensors.items() if isinstance(value, Mapping)]
        if not inner or shapes:
            raise
        raise ValueError(
            f"{error}; hand over what it holds under {' or '.join(map(repr, inner[:5]))}"
        ) from error
    state = {name: _array(full, tensors[full]) for name, full in names.items()}
    quantized = {name: tensors[full] for name, full in names.items() if _is_quantized(tensors[full])}
    rows = {name: found for name, one in quantized.items() if (found := _rows(one)) is not None}
    net = from_state_dict(state)
    if not quantized:
        return net
    kept = small_weights.with_rows(net, rows)
    return kept or net._replace(unkept=f"the LSTM: {small_weights.UNKEPT}")


def _is_quantized(tensor: Any) -> bool:
    """Whether a tensor holds integers with scales."""
    return bool(getattr(tensor, "is_quantized", False))


def _rows(tensor: Any) -> Int8Rows | None:
    """The rows (4H, K) that int8 keeps of a quantized tensor, with one scale or one a row; else None."""
    integers = tensor.detach().cpu().int_repr().numpy()
    scheme = str(tensor.qscheme())
    if scheme.startswith("torch.per_tensor_"):
        zeros, scales = (np.full(len(integers), one) for one in (tensor.q_zero_point(), tensor.q_scale()))
    elif scheme in PER_ROW and tensor.q_per_channel_axis() == 0:
        zeros, scales = (
            one.cpu().numpy() for one in (tensor.q_per_channel_zero_points(), tensor.q_per_channel_scales())
        )
    else:
        return None
    return small_weights.rows_of(integers, zeros, scales) if integers.ndim == 2 else None


def _dequantized(module: Any) -> dict[str, Any]:
    """The weights of dynamically quantized LSTMs in a module, which its state dict holds packed."""
    state: dict[str, Any] = {}
    modules = module.named_modules() if callable(getattr(module, "named_modules", None)) else ()
    for prefix, one in modules:
        if type(one).__module__.startswith(QUANTIZED) and hasattr(one, "get_weight"):
            for name, tensor in {**one.get_weight(), **one.get_bias()}.items():
                state[f"{prefix}.{name}" if prefix else name] = tensor
    return state


def _array(name: str, tensor: Any) -> np.ndarray:
    """A tensor, or what is an array already, as an array of NumPy's dtypes, not below float32."""
    if not callable(getattr(tensor, "detach", None)):
        array = np.asarray(tensor)
        if array.dtype.kind != "f" and array.dtype.name != "bfloat16":
            raise TypeError(f"{name} has dtype {array.dtype}, but must have one of floats")
        return array.astype(np.float32) if array.dtype.itemsize < 4 else array
    if getattr(tensor, "is_sparse", False):
        raise TypeError(f"{name} is a sparse tensor; make it a dense one first")
    if getattr(tensor, "is_meta", False):
        raise ValueError(f"{name} is a meta tensor, which has no values")
    dense = tensor.detach().cpu()
    if _is_quantized(dense):
        dense = dense.dequantize()
    if not dense.is_floating_point():
        raise TypeError(f"{name} has dtype {dense.dtype}, but must have one of floats")
    if dense.element_size() < 4:
        dense = dense.float()
    return np.array(dense.numpy())


def to_torch(parts: Parts) -> Any:
    """An nn.LSTM in evaluation mode, batch first, of the net's dtype and weights."""
    if parts.precision is not None:
        raise ValueError(
            f"nn.LSTM keeps its weights in {parts.dtype}, but this one has precision={parts.precision!r}; "
            "net.quantize(None).to_torch() makes one of the values that these have"
        )
    for name, value in parts.architecture.changed_arguments().items():
        if name not in ARGUMENTS:
            raise ValueError(f"PyTorch's LSTM has no {name}, but this one has {name}={value!r}")
    try:
        import torch
    except ImportError as error:
        raise ImportError('to_torch needs PyTorch: pip install "lstm-native[torch]"') from error
    arguments = parts.architecture.arguments()
    module = torch.nn.LSTM(
        **{name: arguments[name] for name in ARGUMENTS},
        batch_first=True,
        dtype=getattr(torch, parts.dtype.name),
    )
    module.load_state_dict({name: torch.from_numpy(array) for name, array in to_state_dict(parts).items()})
    return module.eval()
