"""The linear head and the flat parameters: gradients through net and head against finite differences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support import assert_same_bits, random_net

from lstm.train import CrossEntropy, Huber, LinearHead, Loss, Parameters, Squared
from lstm.train.data import Data
from lstm.train.passes import Batch, LocalPasses

BATCH, TIME, INPUT, HIDDEN, OUTPUTS = 5, 6, 2, 4, 3
NETS: dict[str, dict[str, Any]] = {
    "plain": {},
    "two layers": {"num_layers": 2},
    "reverse": {"reverse": True},
    "concat": {"bidirectional": True, "num_layers": 2},
    "sum": {"bidirectional": True, "merge": "sum"},
    "mean": {"bidirectional": True, "merge": "mean"},
    "mul": {"bidirectional": True, "merge": "mul"},
    "projection and peepholes": {"proj_size": 3, "peephole": True},
    "no bias": {"bias": False, "num_layers": 2},
    "coupled": {"input_forget": True},
}


def case(name: str, loss: Loss, every_step: bool, dtype: Any = np.float64) -> tuple[Parameters, Data]:
    """A net with its head, and rows of which lengths, mask and weights leave something out."""
    rng = np.random.default_rng(5)
    net = random_net(rng, INPUT, HIDDEN, dtype, **NETS[name])
    head = LinearHead(net, OUTPUTS, every_step=every_step, rng=rng)
    head.bias[...] = rng.standard_normal(OUTPUTS)
    mask = rng.random((BATCH, TIME)) < 0.8
    lengths = np.array([TIME, 4, 0, 1, 5])
    mask[:, 0] = True
    shape = (BATCH, TIME) if every_step else (BATCH,)
    y: np.ndarray = rng.standard_normal((*shape, OUTPUTS))
    if isinstance(loss, CrossEntropy):
        y = rng.integers(0, OUTPUTS, shape)
    X = rng.standard_normal((BATCH, TIME, INPUT))
    X[~mask] = np.nan
    weight = rng.uniform(0.5, 2, BATCH)
    return Parameters(net, head), Data.of(net, head, loss, X, y, lengths, mask, weight)


def gradient_of(parameters: Parameters, loss: Loss, data: Data, part_size: int | None = None) -> float:
    rng = np.random.default_rng(0)
    batch = Batch(data, np.arange(data.size), loss, part_size, {}, rng)
    return LocalPasses()(parameters, batch).loss


@pytest.mark.parametrize("every_step", [False, True])
@pytest.mark.parametrize("loss", [Squared(), Huber(0.5), CrossEntropy()], ids=repr)
@pytest.mark.parametrize("name", NETS)
def test_gradients_are_finite_differences(name: str, loss: Loss, every_step: bool) -> None:
    parameters, data = case(name, loss, every_step)
    gradient_of(parameters, loss, data)
    found = parameters.gradient.copy()
    start, step = parameters.values.copy(), 1e-6
    rng = np.random.default_rng(7)
    head = parameters.head.weight.size + OUTPUTS
    picked = np.concatenate(
        [rng.choice(start.size - head, 25, replace=False), start.size - 1 - np.arange(head)]
    )
    for k in picked:
        values = []
        for sign in (1, -1):
            parameters.values[...] = start
            parameters.values[k] += sign * step
            parameters.store()
            values.append(gradient_of(parameters, loss, data))
        assert abs((values[0] - values[1]) / (2 * step) - found[k]) < 1e-7, k
    assert np.abs(found).max() > 0.01


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("every_step", [False, True])
@pytest.mark.parametrize("name", NETS)
def test_parts_of_a_batch_have_the_bits_of_the_whole(name: str, every_step: bool, dtype: Any) -> None:
    loss = Squared()
    parameters, data = case(name, loss, every_step, dtype)
    whole = gradient_of(parameters, loss, data)
    gradient = parameters.gradient.copy()
    for size in (1, 2, 3, 4):
        assert gradient_of(parameters, loss, data, size) == whole
        assert_same_bits(parameters.gradient, gradient, f"parts of {size}")


@pytest.mark.parametrize("every_step", [False, True])
@pytest.mark.parametrize("outputs", [1, 2, 65])
@pytest.mark.parametrize("hidden", [3, 64, 130])
def test_parts_of_larger_heads(hidden: int, outputs: int, every_step: bool) -> None:
    """BLAS takes other kernels for other sizes: each row has to be a product of its own."""
    rng = np.random.default_rng(8)
    batch, time = 33, 40
    net = random_net(rng, 1, hidden, np.float32)
    head = LinearHead(net, outputs, every_step=every_step, rng=rng)
    parameters = Parameters(net, head)
    y = rng.standard_normal((batch, time, outputs) if every_step else (batch, outputs))
    data = Data.of(net, head, Squared(), rng.standard_normal((batch, time, 1)), y)
    whole = gradient_of(parameters, Squared(), data)
    gradient = parameters.gradient.copy()
    for size in (1, 7, 32):
        assert gradient_of(parameters, Squared(), data, size) == whole
        assert_same_bits(parameters.gradient, gradient, f"parts of {size}")


@pytest.mark.parametrize("name", NETS)
def test_parameters_carry_every_weight(name: str) -> None:
    parameters, _ = case(name, Squared(), False)
    net, head = parameters.net, parameters.head
    before = {**net.state_dict(), "weight": head.weight.copy(), "bias": head.bias.copy()}
    parameters.store()
    for key, array in net.state_dict().items():
        assert_same_bits(array, before[key], key)
    parameters.values += 1
    parameters.store()
    for key, array in {**net.state_dict(), "weight": head.weight, "bias": head.bias}.items():
        if "bias_hh" not in key:
            np.testing.assert_array_equal(array, before[key] + 1, key)
    values = parameters.values.copy()
    parameters.values[...] = 0
    parameters.read()
    assert_same_bits(parameters.values, values)


def test_the_last_state_is_that_of_both_directions() -> None:
    rng = np.random.default_rng(9)
    net = random_net(rng, 2, 4, np.float64, bidirectional=True, num_layers=2)
    head = LinearHead(net, 2, rng=rng)
    X = rng.standard_normal((3, 6, 2))
    Y = net.forward_sequence(X)
    last = np.concatenate([Y[:, -1, :4], Y[:, 0, 4:]], axis=1)
    np.testing.assert_allclose(head.predict(net, X), last @ head.weight.T + head.bias, rtol=1e-13)
    np.testing.assert_allclose(head.predict(net, X[0]), head.predict(net, X)[0], rtol=1e-13)


def test_a_head_for_another_net_raises() -> None:
    rng = np.random.default_rng(10)
    net, other = random_net(rng, 2, 4, np.float64), random_net(rng, 2, 5, np.float64)
    with pytest.raises(
        ValueError, match="the head takes 5 features of float64 of 1 directions, but the net is"
    ):
        Parameters(net, LinearHead(other))
    with pytest.raises(ValueError, match=r"head\.bias has shape"):
        LinearHead(net).set(np.ones((1, 4)), np.ones(3))
