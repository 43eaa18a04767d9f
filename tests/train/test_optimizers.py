"""Optimizers against PyTorch's and by hand, clipping, schedules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from support import assert_same_bits

from lstm.train import SGD, Adam, Optimizer, clip_norm

STEPS = 20
PEERS: dict[str, tuple[Callable[[], Optimizer], str, dict[str, Any]]] = {
    "Adam": (
        lambda: Adam(0.05, beta1=0.8, beta2=0.95, epsilon=1e-6),
        "Adam",
        {"lr": 0.05, "betas": (0.8, 0.95), "eps": 1e-6},
    ),
    "AdamW": (lambda: Adam(0.05, weight_decay=0.1), "AdamW", {"lr": 0.05, "weight_decay": 0.1}),
    "SGD": (lambda: SGD(0.05), "SGD", {"lr": 0.05}),
    "momentum": (lambda: SGD(0.05, momentum=0.7), "SGD", {"lr": 0.05, "momentum": 0.7}),
    "Nesterov": (
        lambda: SGD(0.05, momentum=0.7, nesterov=True),
        "SGD",
        {"lr": 0.05, "momentum": 0.7, "nesterov": True},
    ),
}


@pytest.mark.parametrize("name", PEERS)
def test_steps_are_those_of_pytorch(name: str) -> None:
    torch = pytest.importorskip("torch")
    make, theirs, options = PEERS[name]
    rng = np.random.default_rng(0)
    values = rng.standard_normal(50)
    peer = torch.tensor(values.copy(), requires_grad=True)
    peer_optimizer = getattr(torch.optim, theirs)([peer], **options)
    optimizer = make()
    moments = optimizer.start(values)
    for step in range(STEPS):
        gradient = rng.standard_normal(50)
        peer.grad = torch.tensor(gradient)
        peer_optimizer.step()
        optimizer.update(values, gradient, moments, step)
        np.testing.assert_allclose(values, peer.detach().numpy(), rtol=1e-12, atol=1e-14)


def test_weight_decay_of_sgd_is_apart_from_the_gradient() -> None:
    optimizer, values = SGD(0.5, momentum=0.5, weight_decay=0.1), np.array([2.0])
    moments = optimizer.start(values)
    optimizer.update(values, np.array([1.0]), moments, 0)
    assert values[0] == pytest.approx(2 * (1 - 0.05) - 0.5)
    assert moments[0, 0] == 1


@pytest.mark.parametrize("make", [lambda rate: Adam(rate), lambda rate: SGD(rate)])
def test_a_schedule_gets_the_steps_so_far(make: Callable[[Any], Optimizer]) -> None:
    asked = []

    def rate(step: int) -> float:
        asked.append(step)
        return 0.1 if step < 2 else 0.0

    optimizer, values = make(rate), np.ones(3)
    moments = optimizer.start(values)
    for step in range(4):
        before = values.copy()
        optimizer.update(values, np.ones(3), moments, step)
        assert (values != before).all() == (step < 2)
    assert asked == [0, 1, 2, 3]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nothing_is_widened(dtype: Any) -> None:
    values = np.ones(3, dtype)
    for optimizer in (Adam(lambda step: np.float64(0.1), weight_decay=0.1), SGD(0.1, momentum=0.5)):
        moments = optimizer.start(values)
        optimizer.update(values, np.ones(3, dtype), moments, 0)
        assert values.dtype == moments.dtype == dtype


def test_clipping_scales_what_is_longer() -> None:
    gradient = np.array([3.0, 4.0], np.float32)
    assert clip_norm(gradient, 10) == 5
    assert gradient.tolist() == [3, 4]
    assert clip_norm(gradient, 0.5) == 5
    np.testing.assert_allclose(gradient, [0.3, 0.4], rtol=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Adam(0), "learning_rate is 0"),
        (lambda: Adam(0.1, beta1=1.0), "beta1"),
        (lambda: Adam(0.1, epsilon=0), "epsilon"),
        (lambda: Adam(0.1, weight_decay=-1), "weight_decay"),
        (lambda: SGD(-0.1), "learning_rate"),
        (lambda: SGD(0.1, momentum=1), "momentum"),
        (lambda: SGD(0.1, nesterov=True), "nesterov"),
        (lambda: clip_norm(np.ones(2), 0), "bound"),
        (lambda: Adam(lambda step: -1.0).rate(3), r"learning_rate\(3\) is -1.0"),
        (lambda: Adam(lambda step: float("nan")).rate(3), r"learning_rate\(3\)"),
    ],
)
def test_what_is_wrong_raises(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [0, 1, 37])
def test_adam_is_its_equations_to_the_last_bit(size: int, dtype: Any, decay: float) -> None:
    """Each operation rounded by itself, as NumPy does it; the gradient may be of another dtype."""
    rng = np.random.default_rng(size)
    optimizer, values = Adam(0.05, weight_decay=decay), rng.standard_normal(size).astype(dtype)
    moments = optimizer.start(values)
    expected, mean, square = values.copy(), *moments.copy()
    for step in range(5):
        gradient = rng.standard_normal(size).astype(np.float32)
        optimizer.update(values, gradient, moments, step)
        mean = mean + (gradient.astype(dtype) - mean) * dtype(1 - 0.9)
        square = square + (np.square(gradient.astype(dtype)) - square) * dtype(1 - 0.999)
        root = np.sqrt(square) * dtype(1 / np.sqrt(1 - 0.999 ** (step + 1)))
        change = mean / (root + dtype(1e-8)) * dtype(0.05 / (1 - 0.9 ** (step + 1)))
        expected = expected * dtype(1 - 0.05 * decay) - change
        assert_same_bits(values, expected)
        assert_same_bits(moments, np.stack([mean, square]))


def test_adam_refuses_moments_of_other_weights() -> None:
    with pytest.raises(
        ValueError, match=r"values \(n,\) are \(3,\), gradient \(3,\), moments \(2, n\) \(2, 4\)"
    ):
        Adam().update(np.ones(3), np.ones(3), np.zeros((2, 4)), 0)
