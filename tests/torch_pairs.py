"""nn.LSTM and `lstm.torch.LSTM` with the same weights, and what both make of the same calls.

Shapes: B batch, T time, I input, H hidden, O features of h, L layers, D directions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

import lstm.torch

# Sizes differ, so that no axis can be taken for another.
INPUT, H, B, T = 3, 5, 4, 7
TOLERANCE = {torch.float32: 5e-6, torch.float64: 1e-12}

OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "batch first": {"batch_first": True},
    "no bias": {"bias": False},
    "projection": {"proj_size": 2},
    "three layers": {"num_layers": 3},
    "bidirectional": {"bidirectional": True, "batch_first": True},
    "all": {"num_layers": 2, "bidirectional": True, "proj_size": 2, "dropout": 0.4},
}


def pair(dtype: Any = torch.float64, **options: Any) -> tuple[torch.nn.LSTM, lstm.torch.LSTM]:
    """PyTorch's module and this package's, of random weights, the same ones."""
    torch.manual_seed(len(options))
    theirs = torch.nn.LSTM(INPUT, H, dtype=dtype, **options)
    ours = lstm.torch.LSTM(INPUT, H, dtype=dtype, **options)
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


def inputs(module: torch.nn.LSTM, rows: int | None = B, time: int = T) -> list[torch.Tensor]:
    """X, h0 and C0 for a module, random, all with gradients; without B if `rows` is None."""
    dtype = module.weight_hh_l0.dtype
    cells = module.num_layers * (2 if module.bidirectional else 1)
    batch = () if rows is None else (rows,)
    shapes = (
        (*((*batch, time) if module.batch_first else (time, *batch)), INPUT),
        (cells, *batch, module.proj_size or H),
        (cells, *batch, H),
    )
    return [torch.randn(shape, dtype=dtype, requires_grad=True) for shape in shapes]


def assert_close(ours: Any, theirs: Any, what: str = "") -> None:
    """Hold a tensor to another of its dtype, relative to the largest value of theirs if that is above 1."""
    assert ours.shape == theirs.shape, what
    assert ours.dtype == theirs.dtype, what
    scale = max(1.0, float(theirs.detach().abs().max())) if theirs.numel() else 1.0
    assert torch.allclose(ours, theirs, rtol=0, atol=scale * TOLERANCE[theirs.dtype]), what


def results(call: Callable[..., Any], tensors: list[Any], module: torch.nn.LSTM) -> dict[str, Any]:
    """What a call returns for tensors, and the gradients of a loss of all of it, weighted at random.

    `call(module, *tensors)` returns Y, h_n and C_n.
    """
    module.zero_grad()
    for one in tensors:
        one.grad = None
    outputs = call(module, *tensors)
    torch.manual_seed(7)
    sum((one * torch.randn(one.shape, dtype=one.dtype)).sum() for one in outputs).backward()
    found = dict(zip(("Y", "h_n", "C_n"), (one.detach() for one in outputs), strict=True))
    found |= {f"gradient of argument {k}": one.grad.clone() for k, one in enumerate(tensors)}
    return found | {f"gradient of {name}": p.grad.clone() for name, p in module.named_parameters()}


def plain_call(module: Any, X: Any, h0: Any, C0: Any) -> tuple[Any, Any, Any]:
    """Y, h_n and C_n; dropout is drawn from the same seed each time."""
    torch.manual_seed(11)
    Y, (h_n, C_n) = module(X, (h0, C0))
    return Y, h_n, C_n


def assert_same_results(call: Callable[..., Any], tensors: list[Any], theirs: Any, ours: Any) -> None:
    """Hold all that ours gives to theirs."""
    expected, found = results(call, tensors, theirs), results(call, tensors, ours)
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        assert_close(found[name], value, name)
