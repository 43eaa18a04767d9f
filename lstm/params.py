"""The weights of one layer and direction: initial values, names, and the kernel's packed layout.

This is the one place in Python that knows the order of the gates; csrc/lstm_kernels.h holds the same
order as ``GATE_I … GATE_O``.

Shapes: I input, H hidden, L lanes of a vector, P = ceil(H / L) panels.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from . import _kernel
from .checks import real_array

GATES = ("i", "f", "g", "o")
"""Order of the gates in every array of four: PyTorch's. ``g`` is the candidate, ``C`` in ``WC``."""

INITS = ("glorot", "pytorch", "normal")

CACHE_LINE = 64


class Weights(NamedTuple):
    """One layer's weights as plain arrays, gates in the order of `GATES`."""

    input: np.ndarray  # (4, H, I)
    hidden: np.ndarray  # (4, H, H)
    bias: np.ndarray  # (4, H)


PackedWeights = _kernel.PackedWeights


def initialize(
    init: str, rng: np.random.Generator, input_size: int, hidden_size: int, dtype: np.dtype[Any]
) -> Weights:
    """Draw new weights: (4, H, I), (4, H, H), (4, H).

    "glorot" is Keras's choice gate by gate: Glorot-uniform input weights, orthogonal recurrent
    weights, a forget bias of 1 (Jozefowicz et al. 2015). "pytorch" draws all uniformly within
    1/sqrt(H). "normal" draws standard normal weights and has zero biases.
    """
    input_shape = (4, hidden_size, input_size)
    hidden_shape = (4, hidden_size, hidden_size)
    bias = np.zeros((4, hidden_size))
    if init == "glorot":
        limit = np.sqrt(6.0 / (input_size + hidden_size))
        input_weights = rng.uniform(-limit, limit, input_shape)
        hidden_weights = np.stack([_orthogonal(rng, hidden_size) for _ in GATES])
        bias[GATES.index("f")] = 1.0
    elif init == "pytorch":
        limit = 1.0 / np.sqrt(hidden_size)
        input_weights = rng.uniform(-limit, limit, input_shape)
        hidden_weights = rng.uniform(-limit, limit, hidden_shape)
        bias = rng.uniform(-limit, limit, bias.shape)
    elif init == "normal":
        input_weights = rng.standard_normal(input_shape)
        hidden_weights = rng.standard_normal(hidden_shape)
    else:
        raise ValueError(f"init is {init!r}, but must be one of {', '.join(map(repr, INITS))}")
    return Weights(*(w.astype(dtype) for w in (input_weights, hidden_weights, bias)))


def _orthogonal(rng: np.random.Generator, size: int) -> np.ndarray:
    """A (size, size) orthogonal matrix, uniformly distributed (Mezzadri 2007)."""
    q, r = np.linalg.qr(rng.standard_normal((size, size)))
    return np.asarray(q * np.where(np.diagonal(r) < 0, -1.0, 1.0))


def gate_matrix(weights: Weights, gate: str) -> np.ndarray:
    """W of one gate over [h, x]: (H, H + I), read-only."""
    k = GATES.index(gate)
    matrix = np.concatenate([weights.hidden[k], weights.input[k]], axis=1)
    matrix.flags.writeable = False
    return matrix


def with_gate_matrix(weights: Weights, gate: str, matrix: np.ndarray) -> Weights:
    """The weights with one gate's (H, H + I) matrix over [h, x] replaced."""
    k = GATES.index(gate)
    hidden_size = weights.bias.shape[1]
    hidden, input_ = weights.hidden.copy(), weights.input.copy()
    hidden[k], input_[k] = matrix[:, :hidden_size], matrix[:, hidden_size:]
    return weights._replace(hidden=hidden, input=input_)


def gate_bias(weights: Weights, gate: str) -> np.ndarray:
    """The bias of one gate as a column: (H, 1), read-only."""
    column: np.ndarray = weights.bias[GATES.index(gate)].reshape(-1, 1).copy()
    column.flags.writeable = False
    return column


def with_gate_bias(weights: Weights, gate: str, column: np.ndarray) -> Weights:
    """The weights with one gate's bias replaced by `column`, (H, 1)."""
    bias = weights.bias.copy()
    bias[GATES.index(gate)] = column[:, 0]
    return weights._replace(bias=bias)


def to_state_dict(weights: Weights, bias: bool) -> dict[str, np.ndarray]:
    """PyTorch's names and shapes: (4H, I), (4H, H) and, with `bias`, twice (4H,)."""
    rows = weights.bias.size
    state: dict[str, np.ndarray] = {
        "weight_ih_l0": weights.input.reshape(rows, -1).copy(),
        "weight_hh_l0": weights.hidden.reshape(rows, -1).copy(),
    }
    if bias:
        state["bias_ih_l0"] = weights.bias.reshape(rows).copy()
        state["bias_hh_l0"] = np.zeros_like(state["bias_ih_l0"])
    return state


def from_state_dict(state: Mapping[str, Any]) -> tuple[Weights, bool, np.dtype[Any]]:
    """The weights of a state dict, whether it has biases, and the dtype for a net of them.

    That is float32 where all arrays are of float32 or float16, else float64. ValueError or TypeError is
    raised if it is no state dict. The two biases are added in float64, which rounds a sum of float32
    only when it is cast. A zero `bias_hh` leaves `bias_ih` as it is, signs
    of zeros included, so that saving and loading gives the same bits.
    """
    if not isinstance(state, Mapping):
        raise TypeError(f"the state dict is a {type(state).__name__}, but must map names to arrays")
    needed = ("weight_ih_l0", "weight_hh_l0")
    optional = ("bias_ih_l0", "bias_hh_l0")
    missing = [name for name in needed if name not in state]
    has_bias = any(name in state for name in optional)
    if has_bias:
        missing += [name for name in optional if name not in state]
    unexpected = [str(name) for name in state if name not in needed + optional]
    if missing or unexpected:
        problems = [f"lacks {', '.join(missing)}"] if missing else []
        problems += [f"has {', '.join(unexpected)}"] if unexpected else []
        raise ValueError(
            f"the state dict {' and '.join(problems)}; a one-layer LSTM has "
            f"{', '.join(needed)} and, with biases, {', '.join(optional)}"
        )
    arrays = {name: real_array(name, state[name]) for name in (*needed, *optional) if name in state}
    is_single = all(array.dtype in (np.float32, np.float16) for array in arrays.values())
    input_weights, hidden_weights = arrays["weight_ih_l0"], arrays["weight_hh_l0"]
    hidden_size = hidden_weights.shape[1] if hidden_weights.ndim == 2 else 0
    if hidden_size == 0 or hidden_weights.shape[0] != 4 * hidden_size:
        raise ValueError(
            f"weight_hh_l0 has shape {hidden_weights.shape}, but must be (4 * hidden_size, hidden_size)"
        )
    rows = 4 * hidden_size
    if input_weights.ndim != 2 or input_weights.shape[0] != rows or input_weights.shape[1] == 0:
        raise ValueError(
            f"weight_ih_l0 has shape {input_weights.shape}, but must be ({rows}, input_size) "
            f"to fit weight_hh_l0 of {hidden_weights.shape}"
        )
    for name in optional:
        if name in arrays and arrays[name].shape != (rows,):
            raise ValueError(f"{name} has shape {arrays[name].shape}, but must be ({rows},)")
    if has_bias:
        first, second = (arrays[name].astype(np.float64, copy=False) for name in optional)
        with np.errstate(all="ignore"):
            bias = np.where(second == 0, first, first + second)
    else:
        bias = np.zeros(rows, input_weights.dtype)
    return (
        Weights(
            input_weights.reshape(4, hidden_size, -1),
            hidden_weights.reshape(4, hidden_size, hidden_size),
            bias.reshape(4, hidden_size),
        ),
        has_bias,
        np.dtype(np.float32 if is_single else np.float64),
    )


def pack(weights: Weights, isa: str) -> PackedWeights:
    """The weights in the layout of the micro-kernels of `isa`: panel, k, gate, lane.

    (4, H, I) becomes (P, I, 4, L), (4, H, H) becomes (P, H, 4, L), (4, H) becomes (P, 4, L); units
    past H are zero.
    """
    lanes = _kernel.lanes(isa, weights.bias.dtype.name)
    return PackedWeights(
        _pack_matrix(weights.input, lanes),
        _pack_matrix(weights.hidden, lanes),
        _pack_matrix(weights.bias[:, :, np.newaxis], lanes)[:, 0],
        weights.bias.shape[1],
        isa,
    )


def unpack(packed: PackedWeights) -> Weights:
    """The inverse of `pack`, as new arrays."""
    return Weights(
        _unpack_matrix(packed.input, packed.hidden_size),
        _unpack_matrix(packed.hidden, packed.hidden_size),
        _unpack_matrix(packed.bias[:, np.newaxis], packed.hidden_size)[:, :, 0],
    )


def _pack_matrix(matrix: np.ndarray, lanes: int) -> np.ndarray:
    """(4, H, K) to (P, K, 4, L)."""
    _, hidden_size, depth = matrix.shape
    panels = -(-hidden_size // lanes)
    packed = _aligned_zeros((panels, depth, 4, lanes), matrix.dtype)
    whole = hidden_size // lanes
    units = matrix[:, : whole * lanes].reshape(4, whole, lanes, depth)
    packed[:whole] = units.transpose(1, 3, 0, 2)
    if whole < panels:
        rest = matrix[:, whole * lanes :]
        packed[whole, :, :, : rest.shape[1]] = rest.transpose(2, 0, 1)
    return packed


def _unpack_matrix(packed: np.ndarray, hidden_size: int) -> np.ndarray:
    """(P, K, 4, L) to (4, H, K)."""
    panels, depth, gates, lanes = packed.shape
    units = packed.transpose(2, 0, 3, 1).reshape(gates, panels * lanes, depth)
    return units[:, :hidden_size].copy()


def _aligned_zeros(shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
    """Zeros that start on a cache line, so that no vector of weights straddles two."""
    size = int(np.prod(shape)) * dtype.itemsize
    buffer = np.zeros(size + CACHE_LINE, np.uint8)
    offset = -buffer.ctypes.data % CACHE_LINE
    return buffer[offset : offset + size].view(dtype).reshape(shape)
