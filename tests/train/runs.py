"""Small training runs that the tests share."""

from __future__ import annotations

from typing import Any

import numpy as np
from support import assert_same_bits, random_net

from lstm.train import Adam, LinearHead, Loss, Optimizer, Squared, Trainer

ROWS, TIME, INPUT, HIDDEN = 22, 7, 2, 5


def rows_of(seed: int = 0, rows: int = ROWS) -> dict[str, Any]:
    """X (rows, T, I), y (rows, T, 1), lengths and weights; the target is learnable."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((rows, TIME, INPUT))
    y = np.cumsum(X[..., :1], axis=1) * 0.3
    lengths = rng.integers(1, TIME + 1, rows)
    return {"X": X, "y": y, "lengths": lengths, "sample_weight": rng.uniform(0.5, 2, rows)}


def trainer_of(
    loss: Loss | None = None, optimizer: Optimizer | None = None, dtype: Any = np.float32, **options: Any
) -> Trainer:
    """One of two layers with dropout, on batches that do not divide the rows."""
    net = random_net(np.random.default_rng(1), INPUT, HIDDEN, dtype, num_layers=2)
    head = LinearHead(net, every_step=True, rng=2)
    options = {
        "batch_size": 4,
        "clip_norm": 1.0,
        "dropout": 0.1,
        "recurrent_dropout": 0.1,
        "rng": 3,
        **options,
    }
    return Trainer(net, head, loss or Squared(), optimizer or Adam(0.02, weight_decay=0.01), **options)


def assert_same_run(one: Trainer, other: Trainer) -> None:
    """Hold nets, heads, the best of them and all records of two trainers to one another, bit for bit."""
    for (net, head), (net_2, head_2) in (
        ((one.net, one.head), (other.net, other.head)),
        (one.best, other.best),
    ):
        state = net_2.state_dict()
        for name, array in net.state_dict().items():
            assert_same_bits(array, state[name], name)
        assert_same_bits(head.weight, head_2.weight, "head")
        assert_same_bits(head.bias, head_2.bias, "head")
    for name, a, b in zip(one.history._fields, one.history, other.history, strict=True):
        np.testing.assert_array_equal(a, b, name)
    assert (one.best_loss, one.best_epoch) == (other.best_loss, other.best_epoch)
