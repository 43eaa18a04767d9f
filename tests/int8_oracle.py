"""An oracle of int8 nets: every step of a trace again, from the states that the net itself had before it.

A rounding in the last place of h may tip an integer of the next step, so that two right computations of a
whole sequence drift apart by what int8 resolves. From the same states, the integers must be the same.

Shapes: B batch, T time, I input, H hidden, O features of h, K features of x or of h, L layers, D directions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from support import MIXTURE_TOLERANCE, assert_close
from variants import Mixture, merged, oracle_cell, runs_from_end, steps_of

from lstm import LSTM
from lstm.core.weights import Int8Weights

BOUNDED_GATES = ("sigmoid", "hardsigmoid")
BOUNDED_OUTPUTS = ("tanh", "sigmoid", "hardsigmoid", "softsign")


def integers_of(row: np.ndarray, least: float = 0.0) -> tuple[list[int], np.float32]:
    """A row (K,) of float32 -> its integers and their scale, number by number."""
    most = max(np.float32(least), *(np.float32(abs(value)) for value in row))
    if most < 2.0**-119:
        return [0] * len(row), np.float32(0)
    factor = np.float32(127) / most
    return [round(float(np.float32(value * factor))) for value in row], most / np.float32(127)


def sums(integers: list[int], scale: np.float32, matrix: Any) -> np.ndarray:
    """Integers (K,) and a matrix of `Int8Rows`, (4, H, K) -> what they give to every gate, (4H,)."""
    exact = matrix.values.reshape(-1, len(integers)).astype(object) @ np.array(integers, object)
    with np.errstate(under="ignore"):
        return exact.astype(np.float32).astype(np.float64) * (scale * matrix.scales.reshape(-1))


def name_of(function: Any) -> str:
    """The name of an activation as a user gives it."""
    return (function[0] if isinstance(function, tuple) else function).lower()


def is_bounded(arguments: dict[str, Any], functions: Any) -> bool:
    """Whether no |h| of such a net is above 1."""
    gates, _, output = map(name_of, functions or ("Sigmoid", "Tanh", "Tanh"))
    return not arguments["proj_size"] and gates in BOUNDED_GATES and output in BOUNDED_OUTPUTS


def assert_steps(net: LSTM, mixture: Mixture, what: str) -> None:
    """Hold every step of every layer and direction of an int8 net to the oracle."""
    weights = net.core.parts().weights
    trace = net.trace(mixture.X, mixture.h0, mixture.C0, lengths=mixture.lengths, mask=mixture.mask)
    directions = 2 if mixture.arguments["bidirectional"] else 1
    given = mixture.arguments["activations"]
    for k, matrices in enumerate(weights):
        assert isinstance(matrices, Int8Weights)
        layer, direction = divmod(k, directions)
        functions = given and (given * 2)[3 * direction : 3 * direction + 3]
        least = 1.0 if is_bounded(mixture.arguments, functions) else 0.0
        inputs = mixture.X
        if layer:
            inputs = merged(trace.h[k - direction - directions : k - direction], net.merge)
        found: dict[str, list[np.ndarray]] = {name: [] for name in "ifgoCh"}
        wanted: dict[str, list[np.ndarray]] = {name: [] for name in "ifgoCh"}
        for b, places in enumerate(steps_of(mixture)):
            h, C = mixture.h0[k, b], mixture.C0[k, b]
            for t in places[:: -1 if runs_from_end(mixture.arguments, k) else 1]:
                z = sums(*integers_of(inputs[b, t]), matrices.input)
                z += sums(*integers_of(h, least), matrices.hidden)
                suffix = f"_l{layer}" + "_reverse" * direction
                step = oracle_cell(mixture, suffix, functions, [z], h, C, are_sums=True)[0]
                for name, values in step.items():
                    wanted[name].append(values)
                    found[name].append(getattr(trace, name)[k, b, t])
                h, C = trace.h[k, b, t], trace.C[k, b, t]
        for name, rows in wanted.items():
            if rows:
                assert_close(
                    np.stack(found[name]), np.stack(rows), f"{what}, cell {k}: {name}", MIXTURE_TOLERANCE
                )
