"""What the tests of gradients share: calls with all derivatives, and outside answers for them.

Shapes: B batch, T time, I input, H hidden, O features of h, L layers, D directions.
"""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np
from support import assert_close
from variants import Mixture, draw, steps_of

from lstm import LSTM, Gradients

# Central differences of a loss around 1, 2e-6 apart, are off by about 1e-9; gradients are held to them
# relative to the largest one of their array where that is above 1.
STEP = 1e-6
DIFFERENCE_TOLERANCE = 1e-6


class Derivatives(NamedTuple):
    """Gradients of a loss with respect to Y (B, T, K), h_n (L D, B, O) and C_n (L D, B, H)."""

    dY: np.ndarray
    dh_n: np.ndarray
    dC_n: np.ndarray


def random_derivatives(rng: np.random.Generator, net: LSTM, mixture: Mixture) -> Derivatives:
    """All of them random; those of what is not computed are NaN."""
    outputs = mixture.outputs(net)
    dY = rng.standard_normal(outputs["Y"].shape).astype(mixture.dtype)
    for row, places in enumerate(steps_of(mixture)):
        dY[row, np.setdiff1d(np.arange(dY.shape[1]), places)] = np.nan
    return Derivatives(
        dY,
        rng.standard_normal(outputs["h_n"].shape).astype(mixture.dtype),
        rng.standard_normal(outputs["C_n"].shape).astype(mixture.dtype),
    )


def gradients_of(net: LSTM, mixture: Mixture, derivatives: Derivatives, **options: Any) -> Gradients:
    """One pass of a mixture and its backward pass."""
    tape = net.record(mixture.X, mixture.h0, mixture.C0, lengths=mixture.lengths, mask=mixture.mask)
    return tape.backward(*derivatives, **options)


def arrays_of(g: Gradients) -> dict[str, np.ndarray]:
    """Every gradient that was asked for."""
    inputs = {name: getattr(g, name) for name in ("X", "h0", "C0") if getattr(g, name) is not None}
    return {**g, **inputs}


def assert_same_gradients(actual: Gradients, expected: Gradients | dict[str, np.ndarray]) -> None:
    wanted = expected if isinstance(expected, dict) else arrays_of(expected)
    found = arrays_of(actual)
    assert list(found) == list(wanted)
    for name, array in found.items():
        assert_close(array, wanted[name], name)


def mixture_loss(mixture: Mixture, derivatives: Derivatives) -> float:
    """The linear function of the results that has these derivatives, by the NumPy backend's forward pass."""
    outputs = mixture.outputs(mixture.net(backend="numpy"))
    dY = np.nan_to_num(derivatives.dY)
    return float(
        np.vdot(dY, outputs["Y"])
        + np.vdot(derivatives.dh_n, outputs["h_n"])
        + np.vdot(derivatives.dC_n, outputs["C_n"])
    )


def varied(mixture: Mixture, name: str, change: np.ndarray) -> Mixture:
    """The mixture with `change` added to one of its arrays."""
    if name in ("X", "h0", "C0"):
        return mixture._replace(**{name: getattr(mixture, name) + change})
    return mixture._replace(state={**mixture.state, name: mixture.state[name] + change})


def assert_differences(
    rng: np.random.Generator, mixture: Mixture, derivatives: Derivatives, g: Gradients
) -> None:
    """Hold every gradient of a float64 mixture to central differences: of all elements, and of one."""
    for name, gradient in arrays_of(g).items():
        assert np.isfinite(gradient).all(), name
        if gradient.size == 0:
            continue
        one = np.zeros(gradient.shape)
        one.flat[rng.integers(one.size)] = 1
        for direction in (rng.choice([-1.0, 1.0], gradient.shape), one):
            sides = [
                mixture_loss(varied(mixture, name, step * direction), derivatives) for step in (STEP, -STEP)
            ]
            numeric = (sides[0] - sides[1]) / (2 * STEP)
            exact = float(np.vdot(gradient, direction))
            scale = max(1.0, np.abs(gradient).max() * np.sqrt(np.abs(direction).sum()))
            assert abs(numeric - exact) <= DIFFERENCE_TOLERANCE * scale, (name, numeric, exact)


def draw_call(seed: int, dtype: Any = np.float64, **fixed: Any) -> tuple[Mixture, Derivatives]:
    """A random mixture and random derivatives."""
    rng = np.random.default_rng(seed)
    mixture = draw(rng, dtype, **fixed)
    return mixture, random_derivatives(rng, mixture.net(backend="numpy"), mixture)


def torch_gradients(mixture: Mixture, derivatives: Derivatives) -> dict[str, np.ndarray]:
    """What PyTorch's autograd makes of a mixture of what it has, lengths as a packed sequence."""
    import torch

    names = ("input_size", "hidden_size", "num_layers", "bidirectional", "proj_size", "bias")
    leaves = {
        name: torch.tensor(array, requires_grad=True)
        for name, array in (("X", mixture.X), ("h0", mixture.h0), ("C0", mixture.C0))
    }
    module = torch.nn.LSTM(
        **{name: mixture.arguments[name] for name in names}, batch_first=True, dtype=leaves["X"].dtype
    )
    module.load_state_dict({name: torch.from_numpy(array) for name, array in mixture.state.items()})
    rnn = torch.nn.utils.rnn
    X: Any = leaves["X"]
    if mixture.lengths is not None:
        lengths = torch.from_numpy(mixture.lengths)
        X = rnn.pack_padded_sequence(X, lengths, batch_first=True, enforce_sorted=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that projections take PyTorch's slow path
        Y, states = module(X, (leaves["h0"], leaves["C0"]))
    if mixture.lengths is not None:
        Y, _ = rnn.pad_packed_sequence(Y, batch_first=True, total_length=mixture.X.shape[1])
    dY = np.nan_to_num(derivatives.dY)
    torch.autograd.backward(
        [Y, *states], [torch.from_numpy(d) for d in (dY, derivatives.dh_n, derivatives.dC_n)]
    )
    found = {name: parameter.grad for name, parameter in module.named_parameters()}
    found |= {name: leaf.grad for name, leaf in leaves.items()}
    return {name: gradient.numpy() for name, gradient in found.items()}
