"""The LSTM in NumPy alone, to be read next to the equations; the native kernel is held to it.

Notation and equations are those of Christopher Olah, "Understanding LSTM Networks" (2015), after
Hochreiter and Schmidhuber (1997) and Gers et al. (2000)::

    i = σ(W_i·[h, x] + b_i)     f = σ(W_f·[h, x] + b_f)
    g = tanh(W_g·[h, x] + b_g)  o = σ(W_o·[h, x] + b_o)
    C_t = f ⊙ C + i ⊙ g         h_t = o ⊙ tanh(C_t)

with peepholes (Gers and Schmidhuber 2000) and a projection (Sak et al. 2014) where the weights have them.
The products of int8 weights are those of `reference_int8`; all else is the same.

Shapes: B batch, T time, I input, H hidden, O = features of h. The four gates stand in the order of
`weights.GATES`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from . import activations, reference_int8
from .activations import sigmoid as sigmoid
from .architecture import DEFAULT_OPTIONS, Options
from .precision import bounds_h
from .weights import AnyWeights, Int8Weights


class Gates(NamedTuple):
    """What one step computes on its way: i, f, g, o and C, each (B, H)."""

    i: np.ndarray
    f: np.ndarray
    g: np.ndarray
    o: np.ndarray
    C: np.ndarray


def input_products(weights: AnyWeights, X: np.ndarray) -> np.ndarray:
    """X (B, T, I) -> (4, B, T, H): what x and the bias give to every gate, for all steps at once."""
    if isinstance(weights, Int8Weights):
        return reference_int8.input_products(weights, X)
    with np.errstate(all="ignore"):
        # (B, T, I) @ (4, 1, I, H) + (4, 1, 1, H)
        return np.asarray(
            X @ weights.input.transpose(0, 2, 1)[:, np.newaxis] + weights.bias[:, np.newaxis, np.newaxis]
        )


def add_hidden_products(
    weights: AnyWeights, products: np.ndarray, h: np.ndarray, options: Options
) -> np.ndarray:
    """products (4, B, H), h (B, O) -> z (4, B, H): what h gives to every gate is added."""
    if isinstance(weights, Int8Weights):
        is_bounded = bounds_h(options, weights.projection is not None)
        return reference_int8.add_hidden_products(weights, products, h, is_bounded)
    # (4, B, H) + (B, O) @ (4, O, H)
    return np.asarray(products + h @ weights.hidden.transpose(0, 2, 1))


def bounded(values: np.ndarray, bound: float | None) -> np.ndarray:
    """(B, ...) -> (B, ...) within ±bound; all of them for None."""
    if bound is None:
        return values
    limit = values.dtype.type(bound)
    return np.asarray(np.clip(values, -limit, limit))


def gates(
    weights: AnyWeights,
    products: np.ndarray,
    h: np.ndarray,
    C: np.ndarray,
    options: Options = DEFAULT_OPTIONS,
) -> Gates:
    """products (4, B, H), h (B, O), C (B, H) -> i, f, g, o and the new C, each (B, H)."""
    at_gates, at_candidate, _ = options.activations
    with np.errstate(all="ignore"):
        z_i, z_f, z_g, z_o = add_hidden_products(weights, products, h, options)
        if weights.peephole is not None:
            z_i = z_i + weights.peephole[0] * C
            z_f = z_f + weights.peephole[1] * C
        i = activations.apply(at_gates, bounded(z_i, options.clip))
        f = 1 - i if options.input_forget else activations.apply(at_gates, bounded(z_f, options.clip))
        g = activations.apply(at_candidate, bounded(z_g, options.clip))
        C = bounded(f * C + i * g, options.cell_clip)
        if weights.peephole is not None:
            z_o = z_o + weights.peephole[2] * C
        o = activations.apply(at_gates, bounded(z_o, options.clip))
    return Gates(i, f, g, o, C)


def step(
    weights: AnyWeights,
    products: np.ndarray,
    h: np.ndarray,
    C: np.ndarray,
    options: Options = DEFAULT_OPTIONS,
) -> tuple[np.ndarray, Gates]:
    """products (4, B, H), h (B, O), C (B, H) -> h (B, O) and the gates: one time step."""
    values = gates(weights, products, h, C, options)
    with np.errstate(all="ignore"):
        h = values.o * activations.apply(options.activations[2], values.C)
        if weights.projection is not None:
            h = bounded(h @ weights.projection.T, options.proj_clip)  # (B, H) @ (H, O)
    return h, values


def merge_directions(forward: np.ndarray, backward: np.ndarray, merge: str) -> np.ndarray:
    """(..., O), (..., O) -> (..., O), or (..., 2 O) for "concat": a layer's output of its two directions."""
    with np.errstate(all="ignore"):
        if merge == "sum":
            return np.asarray(forward + backward)
        if merge == "mean":
            return np.asarray((forward + backward) * forward.dtype.type(0.5))
        if merge == "mul":
            return np.asarray(forward * backward)
    return np.concatenate([forward, backward], axis=-1)


def forward_sequence(
    weights: AnyWeights,
    options: Options,
    X: np.ndarray,
    h: np.ndarray,
    C: np.ndarray,
    Y: np.ndarray | None,
    lengths: np.ndarray | None = None,
    reverse: bool = False,
    trace: np.ndarray | None = None,
) -> None:
    """X (B, T, I), h (B, O), C (B, H), Y (B, T, O) or None: all steps of one layer and direction.

    `h` and `C` hold the state before the first step and are overwritten with the last one; `Y`, if
    given, is overwritten with h of every step, and `trace`, (5, B, T, H), with i, f, g, o and C. With
    `reverse` time runs from the end. A row takes part in the steps before its length in `lengths`, (B,);
    past it `Y` is zero.
    """
    time = X.shape[1]
    if lengths is not None:
        within = np.arange(time) < lengths[:, np.newaxis]
        # Whatever stands in the padding takes no part, NaN included.
        X = np.where(within[:, :, np.newaxis], X, X.dtype.type(0))
    products = input_products(weights, X)
    for t in reversed(range(time)) if reverse else range(time):
        rows = slice(None) if lengths is None else within[:, t]
        h[rows], values = step(weights, products[:, rows, t], h[rows], C[rows], options)
        C[rows] = values.C
        if Y is not None:
            Y[:, t] = 0
            Y[rows, t] = h[rows]
        if trace is not None:
            trace[:, rows, t] = values
