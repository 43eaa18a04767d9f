"""The layout of weights in which the kernel computes: panels of one vector of units and all four gates.

Shapes: I input, H hidden, O features of h, L lanes of a vector, P = ceil(H / L) panels.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Self

import numpy as np

from .. import _kernel
from . import activations
from .architecture import DEFAULT_OPTIONS, Options
from .memory import aligned_zeros
from .weights import Weights

PackedWeights = _kernel.PackedWeights


def pack(weights: Weights, isa: str, options: Options = DEFAULT_OPTIONS) -> PackedWeights:
    """The weights in the layout of the micro-kernels of `isa`: panel, k, gate, lane.

    (4, H, I) becomes (P, I, 4, L), (4, H, O) becomes (P, O, 4, L), (4, H) becomes (P, 4, L), the peepholes'
    (3, H) become (P, 3, L), and the projection's (O, H), four vectors of features a panel,
    (ceil(O / 4 L), H, 4, L); units past H and features past O are zero.
    """
    lanes = _kernel.lanes(isa, weights.bias.dtype.name)
    hidden_size = weights.bias.shape[1]
    peephole = projection = None
    if weights.peephole is not None:
        peephole = _pack_matrix(weights.peephole[:, :, np.newaxis], lanes)[:, 0]
    if weights.projection is not None:
        projection = _pack_projection(weights.projection, lanes)
    return PackedWeights(
        _pack_matrix(weights.input, lanes),
        _pack_matrix(weights.hidden, lanes),
        _pack_matrix(weights.bias[:, :, np.newaxis], lanes)[:, 0],
        hidden_size,
        isa,
        peephole,
        projection,
        _packed_options(options),
    )


def _packed_options(options: Options) -> Any:
    """As PackedWeights takes them."""
    if options == DEFAULT_OPTIONS:
        return None
    functions = tuple((activations.kind(a), a.alpha, a.beta) for a in options.activations)
    return options.clip, options.cell_clip, options.proj_clip, options.input_forget, functions


def unpack(packed: PackedWeights) -> Weights:
    """The inverse of `pack`, as new arrays."""
    hidden_size, projection = packed.hidden_size, None
    peephole = None
    if packed.peephole is not None:
        peephole = _unpack_matrix(packed.peephole[:, np.newaxis], hidden_size)[:, :, 0]
    if packed.projection is not None:
        groups, depth, gates, lanes = packed.projection.shape
        features = packed.projection.transpose(0, 2, 3, 1).reshape(groups * gates * lanes, depth)
        projection = features[: packed.state_size].copy()
    return Weights(
        _unpack_matrix(packed.input, hidden_size),
        _unpack_matrix(packed.hidden, hidden_size),
        _unpack_matrix(packed.bias[:, np.newaxis], hidden_size)[:, :, 0],
        peephole,
        projection,
    )


def _pack_projection(matrix: np.ndarray, lanes: int) -> np.ndarray:
    """(O, H) to (ceil(O / 4 L), H, 4, L)."""
    features, depth = matrix.shape
    groups = -(-features // (4 * lanes))
    padded = np.zeros((groups * 4 * lanes, depth), matrix.dtype)
    padded[:features] = matrix
    packed = aligned_zeros((groups, depth, 4, lanes), matrix.dtype)
    packed[...] = padded.reshape(groups, 4, lanes, depth).transpose(0, 3, 1, 2)
    return packed


def _pack_matrix(matrix: np.ndarray, lanes: int) -> np.ndarray:
    """(G, H, K) to (P, K, G, L)."""
    gates, hidden_size, depth = matrix.shape
    panels = -(-hidden_size // lanes)
    packed = aligned_zeros((panels, depth, gates, lanes), matrix.dtype)
    whole = hidden_size // lanes
    units = matrix[:, : whole * lanes].reshape(gates, whole, lanes, depth)
    packed[:whole] = units.transpose(1, 3, 0, 2)
    if whole < panels:
        rest = matrix[:, whole * lanes :]
        packed[whole, :, :, : rest.shape[1]] = rest.transpose(2, 0, 1)
    return packed


def _unpack_matrix(packed: np.ndarray, hidden_size: int) -> np.ndarray:
    """(P, K, G, L) to (G, H, K)."""
    panels, depth, gates, lanes = packed.shape
    units = packed.transpose(2, 0, 3, 1).reshape(gates, panels * lanes, depth)
    return units[:, :hidden_size].copy()


class PanelRecord(NamedTuple):
    """What the kernel keeps of one layer and direction for its gradients, in its own layout.

    P L is H rounded up to whole vectors.
    """

    gates: np.ndarray  # (P, B, T, 4, L): i, f, g and o, which the backward pass overwrites
    cells: np.ndarray  # (P, B, T + 1, L): C before and after every step
    squashed: np.ndarray  # (P, B, T, L): the activation of C, or how steep those of the gates were

    @classmethod
    def allocate(cls, hidden_size: int, dtype: np.dtype[Any], isa: str, batch: int, time: int) -> Self:
        """Of a pass of B rows and T steps."""
        lanes = _kernel.lanes(isa, dtype.name)
        panels = -(-hidden_size // lanes)
        return cls(
            _kernel.recycled((panels, batch, time, 4, lanes), dtype),
            _kernel.recycled((panels, batch, time + 1, lanes), dtype),
            _kernel.recycled((panels, batch, time, lanes), dtype),
        )

    def first_steps(self, time: int) -> PanelRecord:
        """The same memory for a pass of fewer steps; what it holds is of no use then."""
        return PanelRecord(*map(_shortened, self, (time, time + 1, time)))


def _shortened(array: np.ndarray, time: int) -> np.ndarray:
    """(P, B, T, ...) -> a contiguous (P, B, time, ...) in the same memory."""
    shape = (*array.shape[:2], time, *array.shape[3:])
    return array.reshape(-1)[: int(np.prod(shape))].reshape(shape)
