"""Train an LSTM on the adding problem (Hochreiter and Schmidhuber 1997) with NumPy alone.

    python examples/adding.py [loss.png]

Every step has a random number and a mark. Two steps are marked, one in each half, and the net is to give the
sum of their numbers after the last step. A net that remembers nothing can only answer 1: an error of 1/6. It
takes about 15 seconds; the picture needs the extra ``plot``. docs/training.md explains it.
"""

import sys

import numpy as np

from lstm import LSTM

rng = np.random.default_rng(0)
steps = 600


def batch(rows, time):
    """X (B, T, 2) of numbers and marks, and the sums to give, (B,)."""
    X = np.stack([rng.uniform(0, 1, (rows, time)), np.zeros((rows, time))], axis=2)
    X[np.arange(rows), rng.integers(0, time // 2, rows), 1] = 1
    X[np.arange(rows), rng.integers(time // 2, time, rows), 1] = 1
    return X, (X[:, :, 0] * X[:, :, 1]).sum(axis=1)


net = LSTM(2, 32, rng=0)
weights = {**net.state_dict(), "head": rng.normal(0, 0.1, 32), "offset": np.zeros(1)}
moments = {name: (np.zeros_like(w), np.zeros_like(w)) for name, w in weights.items()}
losses = []
for step in range(1, steps + 1):
    X, target = batch(32, 50)
    tape = net.record(X)
    h = tape.h_n[0]  # (B, H)
    error = h @ weights["head"] + weights["offset"] - target
    losses.append((error**2).mean())
    derivative = 2 * error / len(error)  # of the loss, by answer
    g = tape.backward(dh_n=np.outer(derivative, weights["head"]), inputs=False)
    gradients = {**g, "head": derivative @ h, "offset": derivative.sum(keepdims=True)}
    norm = np.sqrt(sum(np.vdot(a, a) for a in gradients.values()))
    for name, w in weights.items():  # Adam (Kingma and Ba 2015), the gradient's norm clipped to 1
        gradient, (m, v) = gradients[name] / max(1, norm), moments[name]
        m += 0.1 * (gradient - m)
        v += 0.001 * (gradient**2 - v)
        w -= 0.01 * m / (1 - 0.9**step) / (np.sqrt(v / (1 - 0.999**step)) + 1e-8)
    net.load_state_dict({name: weights[name] for name in g})
print(f"mean squared error of the last 20 steps: {np.mean(losses[-20:]):.4f}")

if len(sys.argv) > 1:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    _, ax = plt.subplots(figsize=(7, 3), layout="constrained")
    ax.semilogy(losses, linewidth=0.8)
    ax.axhline(1 / 6, color="0.5", linestyle="--", label="a net that remembers nothing: 1/6")
    ax.set_xlabel("training step")
    ax.set_ylabel("mean squared error")
    ax.legend()
    ax.figure.savefig(sys.argv[1], dpi=80)
