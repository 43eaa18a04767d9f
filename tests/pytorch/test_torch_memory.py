"""The memory of a training step, which the next one takes over: what a user keeps stays as it is."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch_pairs import OPTIONS, B, assert_close, inputs, pair

import lstm
from lstm import _kernel


@pytest.mark.parametrize("name", OPTIONS)
def test_what_is_kept_stays(name: str) -> None:
    """Outputs, states and gradients of steps that are over, while others run."""
    _, ours = pair(**{**OPTIONS[name], "dropout": 0.0})
    kept: list[tuple[Any, Any]] = []
    waiting: list[tuple[Any, list[Any], list[Any]]] = []
    for step in range(8):
        tensors = inputs(ours, 16, 40)
        Y, (h_n, C_n) = ours(tensors[0], (tensors[1], tensors[2]))
        kept += [(one, one.detach().clone()) for one in (Y, h_n, C_n)]
        if step % 3 == 0:  # goes back later
            loss = (Y * Y).sum() + h_n.sum()
            expected = torch.autograd.grad(loss, tensors, retain_graph=True)
            waiting.append((loss, tensors, [one.clone() for one in expected]))
            continue
        (Y.square().sum() + (h_n * C_n[..., : h_n.shape[-1]]).sum()).backward()
        found = [one.grad for one in (*tensors, *ours.parameters())]
        kept += [(one, one.clone()) for one in found if one is not None]
        ours.zero_grad()
        for one, copy in kept:
            assert torch.equal(one, copy)
    for loss, tensors, expected in waiting:
        for one, copy in zip(torch.autograd.grad(loss, tensors), expected, strict=True):
            assert torch.equal(one, copy)
    for one, copy in kept:
        assert torch.equal(one, copy)


@pytest.mark.parametrize("batch_first", [False, True])
def test_outputs_outlive_everything(batch_first: bool) -> None:
    _, ours = pair(batch_first=batch_first)
    Y = ours(inputs(ours, 16, 40)[0])[0].detach()
    expected = Y.clone()
    del ours
    lstm.release_memory()
    for size in (100, 1000, 10_000, 100_000):
        for _ in range(5):
            _kernel.recycled((size,), torch.zeros(0).numpy().dtype)[...] = float("nan")
    assert torch.equal(Y, expected)


def test_padding_that_changes_has_no_part() -> None:
    """With lengths X is copied: NaN past a row's length reaches no gradient."""
    theirs, ours = pair(batch_first=True)
    X = inputs(theirs)[0].detach()
    lengths = torch.tensor([7, 2, 5, 1])
    expected = []
    for bad in (0.0, float("nan")):
        X[torch.arange(X.shape[1]) >= lengths[:, None]] = bad
        ours.zero_grad()
        ours(X, lengths=lengths)[0].square().sum().backward()
        expected.append([one.grad.clone() for one in ours.parameters()])
    for one, other in zip(*expected, strict=True):
        assert torch.equal(one, other)
    assert X.shape[0] == B


def test_training_takes_the_same_memory_again_and_again() -> None:
    theirs, ours = pair(num_layers=2)
    X = inputs(theirs, 16, 40)[0].detach()
    lstm.release_memory()
    for _ in range(30):
        ours.zero_grad()
        ours(X)[0].sum().backward()
    theirs(X)[0].sum().backward()
    for name, one in theirs.named_parameters():
        assert_close(getattr(ours, name).grad, one.grad, name)
    ours.zero_grad()
    assert 0 < lstm.release_memory() < 5_000_000
