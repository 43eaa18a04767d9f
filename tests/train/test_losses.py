"""Losses: their values by hand, their derivatives against finite differences, what does not count."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lstm.train import CrossEntropy, Huber, Loss, Quantile, Squared, mean_loss, step_weights

LOSSES = [Squared(), Huber(0.7), Quantile(0.8), Quantile([0.1, 0.5, 0.9]), CrossEntropy()]
BATCH, TIME, OUTPUTS = 4, 5, 3


def case(loss: Loss, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Predictions (..., P), and targets as the loss takes them."""
    rng = np.random.default_rng(1)
    prediction = 2 * rng.standard_normal((*shape, OUTPUTS))
    y: np.ndarray = rng.standard_normal((*shape, OUTPUTS))
    if isinstance(loss, CrossEntropy):
        y = rng.integers(0, OUTPUTS, shape)
    elif isinstance(loss, Quantile) and isinstance(loss.quantiles, list):
        y = y[..., :1]
    return prediction, loss.targets(y, shape, OUTPUTS, np.float64)


@pytest.mark.parametrize("shape", [(BATCH,), (BATCH, TIME)])
@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_derivatives_are_finite_differences(loss: Loss, shape: tuple[int, ...]) -> None:
    prediction, target = case(loss, shape)
    weights = np.random.default_rng(2).uniform(0.2, 3, shape)
    weights[1] = 0
    _, derivative = mean_loss(loss, prediction, target, weights)
    for place in np.ndindex(prediction.shape):
        moved = prediction.copy(), prediction.copy()
        moved[0][place] += 1e-6
        moved[1][place] -= 1e-6
        up, down = (mean_loss(loss, one, target, weights)[0] for one in moved)
        assert abs((up - down) / 2e-6 - derivative[place]) < 1e-8, place
    assert not derivative[1].any()
    assert derivative[0].any()


def test_values_by_hand() -> None:
    prediction, target = np.array([[1.0, 4.0], [0.0, -1.0]]), np.array([[0.0, 1.0], [0.0, 1.0]])
    assert Squared()(prediction, target)[0].tolist() == [5.0, 2.0]
    assert Huber(1)(prediction, target)[0].tolist() == [(0.5 + 2.5) / 2, 1.5 / 2]
    assert Quantile(0.25)(prediction, target)[0].tolist() == [(0.75 + 0.75 * 3) / 2, 0.25 * 2 / 2]
    values = CrossEntropy()(np.log([[0.2, 0.3, 0.5], [1, 1, 2]]), np.array([1, 2]))[0]
    np.testing.assert_allclose(values, -np.log([0.3, 0.5]))


def test_the_mean_is_over_what_counts() -> None:
    rng = np.random.default_rng(3)
    prediction, target = rng.standard_normal((2, BATCH, TIME))
    lengths, sample_weight = np.array([5, 3, 0, 1]), np.array([1.0, 2.0, 3.0, 0.5])
    weights = step_weights((BATCH, TIME), lengths, None, sample_weight, every_step=True)
    left_out = weights == 0
    prediction[left_out], target[left_out] = np.nan, np.inf
    value, derivative = mean_loss(Squared(), prediction[..., np.newaxis], target[..., np.newaxis], weights)
    total = weight = 0.0
    for row in range(BATCH):
        for t in range(lengths[row]):
            total += sample_weight[row] * (prediction[row, t] - target[row, t]) ** 2
            weight += sample_weight[row]
    assert value == pytest.approx(total / weight, rel=1e-14)
    assert np.isfinite(derivative).all()
    assert not derivative[left_out].any()


def test_a_mask_and_lengths_hold_together() -> None:
    mask = np.array([[True, False, True], [False, False, True]])
    weights = step_weights((2, 3), [3, 2], mask, every_step=True)
    assert weights.tolist() == [[1, 0, 1], [0, 0, 0]]
    assert step_weights((2, 3), [3, 2], mask, [2.0, 5.0]).tolist() == [2, 0]
    each = np.array([[1.0, 2, 3], [4, 5, 6]])
    assert step_weights((2, 3), None, mask, each, every_step=True).tolist() == [[1, 0, 3], [0, 0, 6]]


def test_extreme_scores_stay_finite() -> None:
    values, derivative = CrossEntropy()(np.array([[1e4, -1e4], [-1e4, 1e4]]), np.array([0, 0]))
    assert values.tolist() == [0, 2e4]
    assert np.isfinite(derivative).all()


WRONG: dict[str, tuple[Any, type[Exception], str]] = {
    "delta of zero": (lambda: Huber(0), ValueError, "delta is 0, but must be above 0"),
    "delta of NaN": (lambda: Huber(float("nan")), ValueError, "delta"),
    "quantile of one": (lambda: Quantile(1.0), ValueError, "above 0 and below 1"),
    "no quantiles": (lambda: Quantile([]), ValueError, "above 0 and below 1"),
    "a text": (lambda: Squared().targets(["a"], (1,), 1, np.float64), TypeError, "y has dtype"),
    "a shape": (
        lambda: Squared().targets(np.ones((2, 3)), (2,), 2, np.float64),
        ValueError,
        r"y has shape \(2, 3\)",
    ),
    "real classes": (
        lambda: CrossEntropy().targets([0.5], (1,), 2, np.float64),
        TypeError,
        "numbers of classes",
    ),
    "classes' shape": (
        lambda: CrossEntropy().targets([[1]], (1,), 2, np.float64),
        ValueError,
        "a class for each",
    ),
    "too few quantiles": (
        lambda: Quantile([0.1, 0.9]).targets([1.0], (1,), 3, np.float64),
        ValueError,
        "3 outputs, but there are 2 quantiles",
    ),
    "a negative weight": (lambda: step_weights((1, 2), sample_weight=[-1]), ValueError, "at least 0"),
    "weights' shape": (
        lambda: step_weights((2, 2), sample_weight=[1]),
        ValueError,
        "sample_weight has shape",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_raises(name: str) -> None:
    call, error, message = WRONG[name]
    with pytest.raises(error, match=message):
        call()
