"""The LSTM in plain NumPy, to be read beside the equations; the native kernel is held to it.

Notation and equations are those of Christopher Olah, "Understanding LSTM Networks" (2015), after
Hochreiter and Schmidhuber (1997) and Gers et al. (2000)::

    i = σ(W_i·[h, x] + b_i)     f = σ(W_f·[h, x] + b_f)
    g = tanh(W_g·[h, x] + b_g)  o = σ(W_o·[h, x] + b_o)
    C_t = f ⊙ C + i ⊙ g         h_t = o ⊙ tanh(C_t)

Shapes: B batch, T time, I input, H hidden. The four gates stand in the order of `params.GATES`.
"""

from __future__ import annotations

import numpy as np

from .params import Weights


def sigmoid(z: np.ndarray) -> np.ndarray:
    """(...) -> (...). The logistic function; exp may overflow to infinity, whose reciprocal is 0."""
    with np.errstate(all="ignore"):
        return np.asarray(1 / (1 + np.exp(-z)))


def input_products(weights: Weights, X: np.ndarray) -> np.ndarray:
    """X (B, T, I) -> (4, B, T, H): what x and the bias give to every gate, for all steps at once."""
    with np.errstate(all="ignore"):
        # (B, T, I) @ (4, 1, I, H) + (4, 1, 1, H)
        return np.asarray(
            X @ weights.input.transpose(0, 2, 1)[:, np.newaxis] + weights.bias[:, np.newaxis, np.newaxis]
        )


def step(
    weights: Weights, products: np.ndarray, h: np.ndarray, C: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """products (4, B, H), h (B, H), C (B, H) -> h (B, H), C (B, H): one time step."""
    with np.errstate(all="ignore"):
        # (4, B, H) + (B, H) @ (4, H, H)
        z_i, z_f, z_g, z_o = products + h @ weights.hidden.transpose(0, 2, 1)
        i = sigmoid(z_i)
        f = sigmoid(z_f)
        g = np.tanh(z_g)
        o = sigmoid(z_o)
        C = f * C + i * g
        h = o * np.tanh(C)
    return h, C


def forward_sequence(
    weights: Weights, X: np.ndarray, h: np.ndarray, C: np.ndarray, Y: np.ndarray | None
) -> None:
    """X (B, T, I), h (B, H), C (B, H), Y (B, T, H) or None: all time steps.

    `h` and `C` hold the state before the first step and are overwritten with the last one; `Y`, if
    given, is overwritten with h of every step.
    """
    products = input_products(weights, X)
    for t in range(X.shape[1]):
        h[:], C[:] = step(weights, products[:, :, t], h, C)
        if Y is not None:
            Y[:, t] = h
