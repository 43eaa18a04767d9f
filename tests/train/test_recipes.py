"""docs/optimizers.md: other libraries' optimizers move the weights, by our gradients."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from support import ROOT, assert_same_bits

from lstm import LSTM
from lstm.train import SGD, LinearHead

PAGE = ROOT / "docs" / "optimizers.md"
pytestmark = pytest.mark.skipif(not PAGE.exists(), reason="needs the source tree")


def blocks() -> dict[str, str]:
    """The page's Python, by what it imports."""
    found = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    return dict(zip(("common", "torch", "optax"), found, strict=True))


@pytest.mark.parametrize("library", ["torch", "optax"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the libraries among themselves
def test_the_recipe_learns(library: str) -> None:
    pytest.importorskip(library)
    names: dict[str, Any] = {}
    exec(blocks()["common"], names)
    before = names["net"].Wf.copy()
    exec(blocks()[library], names)
    losses = names["losses"]
    assert len(losses) == 40
    assert losses[-1] < 0.3 * losses[0]
    net, head, parameters = names["net"], names["head"], names["parameters"]
    assert not np.array_equal(net.Wf, before)
    other = LSTM(2, 16, dtype=np.float32, rng=5)
    copy = type(parameters)(other, LinearHead(other))
    copy.values[...] = parameters.values
    copy.store()
    assert_same_bits(other.Wf, net.Wf)
    assert_same_bits(copy.head.weight, head.weight)


def test_torch_moves_the_same_weights() -> None:
    """A step of its plain gradient descent is one of ours."""
    torch = pytest.importorskip("torch")
    names: dict[str, Any] = {}
    exec(blocks()["common"], names)
    parameters = names["parameters"]
    names["loss_and_gradient"](names["X"], names["y"])
    expected, optimizer = parameters.values.copy(), SGD(0.125)
    optimizer.update(expected, parameters.gradient, optimizer.start(expected), 0)
    values = torch.from_numpy(parameters.values).requires_grad_()
    values.grad = torch.from_numpy(parameters.gradient)
    torch.optim.SGD([values], lr=0.125).step()
    np.testing.assert_allclose(parameters.values, expected, rtol=1e-6)
    assert np.abs(parameters.gradient).max() > 0
