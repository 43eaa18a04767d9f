"""Backpropagation through time in NumPy alone, to be read next to the equations.

The forward pass of one step, with all variants (`reference` has the default equations)::

    z_k = W_k·[h_{t-1}, x] + b_k        for each gate k of i, f, g, o
    z_i += p_i ⊙ C_{t-1}    z_f += p_f ⊙ C_{t-1}    z_o += p_o ⊙ C_t        peepholes
    i = σ(z_i)   f = σ(z_f)   g = tanh(z_g)   o = σ(z_o)        coupled gates: f = 1 − i
    C_t = f ⊙ C_{t-1} + i ⊙ g
    q = tanh(C_t)   m = o ⊙ q   h_t = m        with a projection: h_t = W_hr·m

The backward pass is the chain rule, from the last step to the first. Write dv for the gradient of the loss
with respect to v. What reaches h_t and C_t from the steps after t is called dh and dC; at the last step they
are the gradients of the last state. Then::

    dh  = dh + dY_t
    dm  = dh                            with a projection: dm = W_hrᵀ·dh,   dW_hr += dh·mᵀ
    dz_o = dm ⊙ q ⊙ σ'(z_o)
    dC  = dC + dm ⊙ o ⊙ tanh'(C_t) + p_o ⊙ dz_o
    dz_i = dC ⊙ g ⊙ σ'(z_i)             coupled gates: dz_i = dC ⊙ (g − C_{t-1}) ⊙ σ'(z_i),  dz_f = 0
    dz_f = dC ⊙ C_{t-1} ⊙ σ'(z_f)
    dz_g = dC ⊙ i ⊙ tanh'(z_g)

and the step before gets::

    dC_{t-1} = dC ⊙ f + p_i ⊙ dz_i + p_f ⊙ dz_f
    dh_{t-1} = Σ_k W_hkᵀ·dz_k           W_hk are the columns of W_k that h_{t-1} meets, W_xk those of x

The weights serve every step, so that their derivatives are sums over all of them::

    dW_hk += dz_k·h_{t-1}ᵀ    dW_xk += dz_k·x_tᵀ    db_k += dz_k    dx_t = Σ_k W_xkᵀ·dz_k
    dp_i += dz_i ⊙ C_{t-1}    dp_f += dz_f ⊙ C_{t-1}    dp_o += dz_o ⊙ C_t

The derivatives of the activations follow from their values: σ' = σ (1 − σ), tanh' = 1 − tanh². A bound (clip,
cell_clip, proj_clip) lets a derivative through if the value was within it, and gives 0 if it was cut.
With dropout of the recurrent connections, h_{t-1} above is the masked one, and dh_{t-1} is masked likewise.

Shapes: B batch, T time, I input, H hidden, O features of h. Gates are in the order of `weights.GATES`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from . import activations, reference
from .architecture import Options
from .weights import Weights


class CellRecord(NamedTuple):
    """What one layer and direction keeps of its forward pass. Past a row's length all are zero."""

    X: np.ndarray  # (B, T, I)
    gates: np.ndarray  # (5, B, T, H): i, f, g, o and C of every step
    h: np.ndarray  # (B, T, O)
    h0: np.ndarray  # (B, O)
    C0: np.ndarray  # (B, H)
    lengths: np.ndarray | None  # (B,) of intp
    reverse: bool
    recurrent: np.ndarray | None  # (B, O): factors of h on its way to the next step, 0 for what is dropped


class Sums(NamedTuple):
    """Gradients of one cell's weights, as `Weights` but None for those that are not asked for."""

    input: np.ndarray | None  # (4, H, I)
    hidden: np.ndarray | None  # (4, H, O)
    bias: np.ndarray  # (4, H)
    peephole: np.ndarray | None  # (3, H)
    projection: np.ndarray | None  # (O, H)


class StepValues(NamedTuple):
    """What the backward pass of one step reads, each (B, H); C_prev is that of the step before."""

    i: np.ndarray
    f: np.ndarray
    g: np.ndarray
    o: np.ndarray
    C: np.ndarray
    C_prev: np.ndarray


def backward_sequence(
    weights: Weights,
    options: Options,
    record: CellRecord,
    dY: np.ndarray | None,
    dh: np.ndarray,
    dC: np.ndarray,
    dX: np.ndarray | None,
    sums: Weights | Sums | None,
    norms: np.ndarray,
) -> None:
    """dY (B, T, O) or None, dh (B, O), dC (B, H), dX (B, T, I) or None: all steps of one layer and direction.

    `dh` and `dC` hold the gradients of the last state and are overwritten with those of the first one.
    `dX`, if given, is overwritten with that of X. Those of the weights are added to `sums`, if given, arrays
    as in `weights`; with one more axis in front, (B, ...), each row's are added to its own. `norms`, (2, B,
    T), is overwritten with the Euclidean norms of dh and dC of every step.
    """
    time = record.X.shape[1]
    with np.errstate(all="ignore"):
        h_prev = previous(record.h, record.h0, record)
        if record.recurrent is not None:
            h_prev = h_prev * record.recurrent[:, np.newaxis]
        C_prev = previous(record.gates[4], record.C0, record)
        z = pre_activations(weights, record, h_prev, C_prev) if needs_pre_activations(options) else None
        dz = np.zeros_like(record.gates[:4])  # (4, B, T, H)
        dh_of_steps = None if weights.projection is None else np.zeros_like(record.h)
        norms[...] = 0
        within = within_lengths(record)
        for t in range(time) if record.reverse else reversed(range(time)):
            rows = slice(None) if record.lengths is None else within[:, t]
            if dY is not None:
                dh[rows] += dY[rows, t]
            dh_t = dh[rows]
            i, f, g, o, C = record.gates[:, rows, t]
            values = StepValues(i, f, g, o, C, C_prev[rows, t])
            if dh_of_steps is not None:
                dh_t = through_projection_bound(weights, options, values, dh_t)
                dh_of_steps[rows, t] = dh_t
            z_t = None if z is None else z[:, rows, t]
            dz_t, dC_t, dC_before = backward_step(weights, options, values, z_t, dh_t, dC[rows])
            dz[:, rows, t] = dz_t
            norms[0, rows, t] = np.linalg.norm(dh[rows], axis=-1)
            norms[1, rows, t] = np.linalg.norm(dC_t, axis=-1)
            dC[rows] = dC_before
            dh_before = (dz_t @ weights.hidden).sum(axis=0)  # (4, B, H) @ (4, H, O)
            if record.recurrent is not None:
                dh_before = dh_before * record.recurrent[rows]
            dh[rows] = dh_before
        if dX is not None:
            dX[...] = (dz @ weights.input[:, np.newaxis]).sum(axis=0)  # (4, B, T, H) @ (4, 1, H, I)
        if sums is not None:
            add_weight_gradients(sums, options, record, dz, h_prev, C_prev, dh_of_steps)


def backward_step(
    weights: Weights,
    options: Options,
    values: StepValues,
    z: np.ndarray | None,
    dh: np.ndarray,
    dC: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """z (4, B, H) or None, dh (B, O), dC (B, H) -> dz (4, B, H), dC of this step and of the one before."""
    i, f, g, o, C, C_prev = values
    at_gates, at_candidate, at_output = options.activations
    z_i, z_f, z_g, z_o = (None,) * 4 if z is None else z

    def through(activation: activations.Activation, z: np.ndarray | None, y: np.ndarray) -> np.ndarray:
        slope = activations.derivative(activation, z, y)
        return slope if z is None else through_bound(slope, z, options.clip)

    q = activations.apply(at_output, C)
    dm = dh if weights.projection is None else dh @ weights.projection  # (B, O) @ (O, H)
    dz_o = dm * q * through(at_gates, z_o, o)
    dC = dC + dm * o * activations.derivative(at_output, C, q)
    if weights.peephole is not None:
        dC = dC + weights.peephole[2] * dz_o
    dC_t = dC
    dC = through_bound(dC, f * C_prev + i * g, options.cell_clip)
    if options.input_forget:
        dz_i = dC * (g - C_prev) * through(at_gates, z_i, i)
        dz_f = np.zeros_like(dz_i)
    else:
        dz_i = dC * g * through(at_gates, z_i, i)
        dz_f = dC * C_prev * through(at_gates, z_f, f)
    dz_g = dC * i * through(at_candidate, z_g, g)
    dC_before = dC * f
    if weights.peephole is not None:
        dC_before = dC_before + weights.peephole[0] * dz_i + weights.peephole[1] * dz_f
    return np.stack([dz_i, dz_f, dz_g, dz_o]), dC_t, dC_before


def add_weight_gradients(
    sums: Weights | Sums,
    options: Options,
    record: CellRecord,
    dz: np.ndarray,
    h_prev: np.ndarray,
    C_prev: np.ndarray,
    dh: np.ndarray | None,
) -> None:
    """dz (4, B, T, H), h_prev (B, T, O), C_prev (B, T, H), dh (B, T, O): sums over steps, added to `sums`.

    Where `sums` has an axis of rows in front, each row's are added to its own; else all rows' are.
    """
    X, C, o = record.X, record.gates[4], record.gates[3]
    if sums.bias.ndim == 2:  # all rows as one sequence
        dz, X, h_prev, C_prev, C, o = (
            array.reshape(*array.shape[:-3], 1, -1, array.shape[-1])
            for array in (dz, X, h_prev, C_prev, C, o)
        )
        dh = None if dh is None else dh.reshape(1, -1, dh.shape[-1])

    def add(total: np.ndarray, parts: np.ndarray) -> None:
        """Parts (B, ...), of which B is 1 if the total has no axis of rows."""
        total += parts if total.ndim == parts.ndim else parts[0]

    dz_by_row = dz.swapaxes(0, 1)  # (B, 4, T, H)
    if sums.input is not None:
        add(sums.input, dz_by_row.swapaxes(2, 3) @ X[:, np.newaxis])  # (B, 4, H, T) @ (B, 1, T, I)
    if sums.hidden is not None:
        add(sums.hidden, dz_by_row.swapaxes(2, 3) @ h_prev[:, np.newaxis])  # (B, 4, H, T) @ (B, 1, T, O)
    add(sums.bias, dz_by_row.sum(axis=2))
    if sums.peephole is not None:
        products = [dz[0] * C_prev, dz[1] * C_prev, dz[3] * C]  # (B, T, H) each
        add(sums.peephole, np.stack([product.sum(axis=1) for product in products], axis=1))
    if sums.projection is not None and dh is not None:
        m = o * activations.apply(options.activations[2], C)
        add(sums.projection, dh.swapaxes(1, 2) @ m)  # (B, O, T) @ (B, T, H)


def through_bound(derivative: np.ndarray, value: np.ndarray, bound: float | None) -> np.ndarray:
    """(B, ...), (B, ...) -> (B, ...): the gradient before a bound; 0 if the value was cut."""
    if bound is None:
        return derivative
    return np.where(np.abs(value) > bound, derivative.dtype.type(0), derivative)


def through_projection_bound(
    weights: Weights, options: Options, values: StepValues, dh: np.ndarray
) -> np.ndarray:
    """Gradient of h, (B, O) -> (B, O): of the projection before `proj_clip` bounds it."""
    assert weights.projection is not None
    if options.proj_clip is None:
        return dh
    m = values.o * activations.apply(options.activations[2], values.C)
    return through_bound(dh, m @ weights.projection.T, options.proj_clip)


def within_lengths(record: CellRecord) -> np.ndarray:
    """(B, T) of bool: the steps before every row's length."""
    batch, time = record.X.shape[:2]
    lengths = np.full(batch, time) if record.lengths is None else record.lengths
    return np.asarray(np.arange(time) < lengths[:, np.newaxis])


def previous(values: np.ndarray, initial: np.ndarray, record: CellRecord) -> np.ndarray:
    """Values (B, T, K) of every step, initial (B, K) -> (B, T, K): those of the step computed before.

    Past a row's length they are zero.
    """
    batch, time = values.shape[:2]
    before = np.zeros_like(values)
    if record.reverse:
        lengths = np.full(batch, time) if record.lengths is None else record.lengths
        before[:, :-1] = values[:, 1:]
        starting = lengths > 0
        before[starting, lengths[starting] - 1] = initial[starting]
    else:
        before[:, :1] = initial[:, np.newaxis]
        before[:, 1:] = values[:, :-1]
        before[~within_lengths(record)] = 0
    return before


def needs_pre_activations(options: Options) -> bool:
    """Whether the values of the gates do not tell the derivatives."""
    at_gates, at_candidate, _ = options.activations
    told = activations.value_tells_derivative(at_gates) and activations.value_tells_derivative(at_candidate)
    return options.clip is not None or not told


def pre_activations(
    weights: Weights, record: CellRecord, h_prev: np.ndarray, C_prev: np.ndarray
) -> np.ndarray:
    """h_prev (B, T, O), C_prev (B, T, H) -> z (4, B, T, H): computed again, for no tape keeps them."""
    # (4, B, T, H) + (B, T, O) @ (4, 1, O, H)
    z = (
        reference.input_products(weights, record.X)
        + h_prev @ weights.hidden.transpose(0, 2, 1)[:, np.newaxis]
    )
    if weights.peephole is not None:
        z[0] += weights.peephole[0] * C_prev
        z[1] += weights.peephole[1] * C_prev
        z[3] += weights.peephole[2] * record.gates[4]
    return np.asarray(z)
