"""What is asked of tensors before anything is computed, and the messages for what does not fit.

Shapes: B batch, T time, I input, H hidden, O features of h, L layers, D directions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ..core.states import row_lengths
from .passes import Layout

DTYPES = (torch.float32, torch.float64)
# What holds its own numbers: subclasses may be anything, FakeTensor for example, and are traced.
PLAIN = (torch.Tensor, torch.nn.Parameter)


def check_placement(device: Any, dtype: Any) -> None:
    """ValueError or TypeError if a module cannot be made there, or of this dtype."""
    place = torch.get_default_device() if device is None else torch.device(device)
    if place.type not in ("cpu", "meta"):
        raise ValueError(f"device is {str(place)!r}, but lstm.torch.LSTM runs on the CPU alone")
    real = torch.get_default_dtype() if dtype is None else dtype
    if real not in DTYPES:
        raise TypeError(f"dtype is {real!r}, but must be torch.float32 or torch.float64")


def check_tensor(name: str, value: Any) -> None:
    """TypeError if it is no tensor."""
    if not isinstance(value, torch.Tensor):
        raise TypeError(f"{name} is a {type(value).__name__}, but must be a torch.Tensor")


def pair(hx: Any) -> tuple[Any, Any]:
    """h0 and C0; TypeError or ValueError if hx is not a pair of tensors."""
    if not isinstance(hx, tuple | list):
        raise TypeError(f"hx is a {type(hx).__name__}, but must be a tuple of two tensors, h0 and C0")
    if len(hx) != 2:
        raise ValueError(f"hx has {len(hx)} elements, but must have two, h0 and C0")
    h0, C0 = hx
    check_tensor("h0", h0)
    check_tensor("C0", C0)
    return h0, C0


def common_dtype(names: Sequence[str], weights: Sequence[Any]) -> Any:
    """The dtype of all weights; TypeError or ValueError if they are not alike on the CPU."""
    dtype = weights[0].dtype
    if dtype not in DTYPES:
        raise TypeError(
            f"{names[0]} has dtype {dtype}, but lstm.torch.LSTM computes in torch.float32 or torch.float64"
        )
    for name, one in zip(names, weights, strict=True):
        if one.dtype is not dtype:
            raise TypeError(f"{name} has dtype {one.dtype}, but {names[0]} has {dtype}")
        if not one.is_cpu or one.layout is not torch.strided:
            check_place(name, one)
    return dtype


def check_place(name: str, tensor: Any) -> None:
    """ValueError or TypeError if a tensor has no plain memory that the CPU can read."""
    if not tensor.is_cpu:
        raise ValueError(f"{name} is on {tensor.device}, but lstm.torch.LSTM runs on the CPU alone")
    if tensor.layout is not torch.strided:
        raise TypeError(f"{name} has layout {tensor.layout}, but must be a dense tensor")


def check_shapes(plan: Layout, weights: Sequence[Any]) -> None:
    """ValueError if the weights are not in the layout's shapes."""
    for name, shape, one in zip(plan.names, plan.shapes, weights, strict=True):
        if one.shape != shape:
            raise ValueError(f"{name} has shape {tuple(one.shape)}, but must be {shape}")


def check_operand(name: str, tensor: Any, dtype: Any) -> None:
    """TypeError or ValueError if an input is not of the weights' dtype on the CPU."""
    check_place(name, tensor)
    if tensor.dtype is not dtype:
        raise TypeError(f"{name} has dtype {tensor.dtype}, but the parameters have {dtype}")


def check_input(X: Any, input_size: int, dtype: Any) -> None:
    """X (..., I); TypeError or ValueError if it does not fit."""
    check_operand("input", X, dtype)
    if X.shape[-1] != input_size:
        raise ValueError(
            f"input has {X.shape[-1]} features a step, but this LSTM takes input_size={input_size} "
            f"(its shape is {tuple(X.shape)})"
        )


def check_state(name: str, state: Any, shape: tuple[int, ...], dtype: Any) -> None:
    """TypeError or ValueError if a state does not fit."""
    check_operand(name, state, dtype)
    if state.shape != shape:
        raise ValueError(f"{name} has shape {tuple(state.shape)}, but must be {shape}")


def checked_lengths(lengths: Any, batch: int | None, time: int) -> np.ndarray | None:
    """Steps of every row (B,) of intp, None if all have all; TypeError or ValueError for what is none."""
    if isinstance(lengths, torch.Tensor):
        check_place("lengths", lengths)
        lengths = lengths.numpy()
    return row_lengths(lengths, batch, time)


def widened(tensor: Any, dtype: Any) -> Any:
    """A tensor of floats in another dtype; what is none is left as it is."""
    return tensor.to(dtype) if tensor is not None and tensor.is_floating_point() else tensor
