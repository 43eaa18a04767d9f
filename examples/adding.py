"""The adding problem: train with NumPy alone.

    python examples/adding.py [loss.png]

This is the problem of Hochreiter and Schmidhuber (1997). Every step has a random number and a mark. Two steps
are marked, one in each half, and the net is to give the sum of their numbers after the last step. A net that
remembers nothing can only answer 1: an error of 1/6. It takes about 4 seconds; the picture needs the extra
``plot``. docs/training.md explains it.
"""

import sys

import numpy as np

from lstm import LSTM
from lstm.train import Adam, LinearHead, Squared, Trainer

rng = np.random.default_rng(0)
rows, epochs = 6400, 10


def examples(rows, time):
    """X (rows, T, 2) of numbers and marks, and the sums to give, (rows,)."""
    X = np.stack([rng.uniform(0, 1, (rows, time)), np.zeros((rows, time))], axis=2)
    X[np.arange(rows), rng.integers(0, time // 2, rows), 1] = 1
    X[np.arange(rows), rng.integers(time // 2, time, rows), 1] = 1
    return X, (X[:, :, 0] * X[:, :, 1]).sum(axis=1)


net = LSTM(2, 32, dtype=np.float32, rng=0)
head = LinearHead(net, rng=1)
trainer = Trainer(net, head, Squared(), Adam(0.01), clip_norm=1.0, rng=2)
trainer.fit(*examples(rows, 100), epochs=epochs, validation=examples(1000, 100))
net, head = trainer.best
print(f"mean squared error over rows never seen: {trainer.best_loss:.5f}")

X, target = examples(5, 100)
for answer, wanted in zip(head.predict(net, X)[:, 0], target, strict=True):
    print(f"answer {answer:.3f}, wanted {wanted:.3f}")

if len(sys.argv) > 1:
    import matplotlib

    matplotlib.use("Agg")
    import lstm.plot

    losses, _ = lstm.plot.learning(trainer)
    losses.axhline(1 / 6, color="0.5", linestyle="--", label="a net that remembers nothing: 1/6")
    losses.legend(fontsize="small")
    losses.figure.savefig(sys.argv[1], dpi=80)
