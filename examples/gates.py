"""The gates of a memory: what it forgets, lets in, keeps and shows.

    python examples/gates.py [gates.png]

The net is set by hand to be a memory with a key: it keeps the value that it last saw while the key was
pressed. Unit 0 is that memory; the others have random weights, for comparison. Needs the extra ``plot``.
"""

from __future__ import annotations

import sys

import matplotlib
import numpy as np

import lstm.plot
from lstm import LSTM


def keyed_memory(hidden_size: int) -> LSTM:
    """Input (value, key); unit 0 takes the value in while the key is 1 and keeps it while it is 0."""
    net = LSTM(2, hidden_size, rng=7)
    value, key = hidden_size, hidden_size + 1  # columns of [h, x]
    settings = {"i": ({key: 12.0}, -6.0), "f": ({key: -12.0}, 6.0), "C": ({value: 2.0}, 0.0), "o": ({}, 6.0)}
    for gate, (weights, bias) in settings.items():
        W, b = getattr(net, "W" + gate).copy(), getattr(net, "b" + gate).copy()
        W[0] = 0
        for column, weight in weights.items():
            W[0, column] = weight
        b[0] = bias
        setattr(net, "W" + gate, W)
        setattr(net, "b" + gate, b)
    return net


def main() -> None:
    """Write the picture."""
    path = sys.argv[1] if len(sys.argv) > 1 else "gates.png"
    matplotlib.use("Agg")
    steps = np.arange(80)
    value = np.sin(steps / 6)
    key = (steps % 20 < 3).astype(float)
    X = np.stack([value, key], axis=1)  # (T, 2)
    net = keyed_memory(8)
    axes = lstm.plot.gates(net.trace(X), X)
    axes[0].set_yticks([0, 1], ["value", "key"], fontsize="small")
    axes[0].set_ylabel("")
    axes[0].figure.suptitle("A memory with a key: unit 0 keeps the value it saw at the last key press")
    axes[0].figure.savefig(path, dpi=120)
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
