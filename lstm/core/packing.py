"""The layout of weights in which the kernel computes: panels of one vector of units and all four gates.

Shapes: I input, H hidden, O features of h, L lanes of a vector, P = ceil(H / L) panels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Self

import numpy as np

from .. import _kernel
from . import activations
from .architecture import DEFAULT_OPTIONS, Options
from .memory import aligned_zeros
from .precision import Int8Rows, bounds_h, narrow, widen
from .weights import GATES, Int8Weights, Weights

PackedWeights = _kernel.PackedWeights
Allocate = Callable[[tuple[int, ...], np.dtype[Any]], np.ndarray]


INT8_GROUP = 4
"""k of int8 weights that lie side by side; csrc/small_weights.h has the same number."""


def pack(
    weights: Weights | Int8Weights,
    isa: str,
    options: Options = DEFAULT_OPTIONS,
    precision: str | None = None,
    allocate: Allocate = aligned_zeros,
) -> PackedWeights:
    """The weights in the layout of the micro-kernels of `isa`: panel, k, gate, lane.

    (4, H, I) becomes (P, I, 4, L), (4, H, O) becomes (P, O, 4, L), (4, H) becomes (P, 4, L), the peepholes'
    (3, H) become (P, 3, L), and the projection's (O, H), four vectors of features a panel,
    (ceil(O / 4 L), H, 4, L); units past H and features past O are zero. A 16-bit `precision` keeps the
    weights of gates and of the projection in it, exactly if they have been rounded to it. `allocate` makes
    the arrays of full floats.
    """
    lanes = _kernel.lanes(isa, _kernel.DTYPES[weights.bias.itemsize == 8])

    def panels(matrix: np.ndarray) -> np.ndarray:
        return _pack_matrix(matrix, lanes, isa, allocate)

    def vector(matrix: np.ndarray) -> np.ndarray:
        return panels(matrix[:, :, np.newaxis])[:, 0]

    scales: tuple[np.ndarray | None, np.ndarray | None] = None, None
    if isinstance(weights, Int8Weights):
        precision, half = "int8", None
        inputs, hidden = (_pack_integers(rows.values, lanes) for rows in weights.matrices)
        scales = vector(weights.input.scales), vector(weights.hidden.scales)
        shapes = weights.input.values.shape, weights.hidden.values.shape
    else:
        half = precision
        both = weights.input, weights.hidden
        inputs, hidden = (_paired(panels(_narrowed(one, half)), half) for one in both)
        shapes = weights.input.shape, weights.hidden.shape
    peephole = projection = None
    if weights.peephole is not None:
        peephole = vector(weights.peephole)
    if weights.projection is not None:
        projection = _paired(_pack_projection(_narrowed(weights.projection, half), lanes, allocate), half)
    return PackedWeights(
        inputs,
        hidden,
        vector(weights.bias),
        (shapes[0][2], shapes[1][1], shapes[1][2]),
        isa,
        peephole,
        projection,
        _packed_options(options),
        precision,
        scales,
        bounds_h(options, weights.projection is not None),
    )


def _narrowed(matrix: np.ndarray, precision: str | None) -> np.ndarray:
    """The matrix in 16 bits, or as it is."""
    return matrix if precision is None else narrow("the weights", matrix, precision)


def _paired(packed: np.ndarray, precision: str | None) -> np.ndarray:
    """(P, K, 4, L) -> (P, K, 2, L, 2) of bfloat16: two gates in each word."""
    if precision != "bfloat16":
        return packed
    panels, depth, gates, lanes = packed.shape
    paired = aligned_zeros((panels, depth, gates // 2, lanes, 2), packed.dtype)
    paired[...] = packed.reshape(panels, depth, gates // 2, 2, lanes).swapaxes(3, 4)
    return paired


def _widened(packed: np.ndarray, precision: str | None) -> np.ndarray:
    """What `_narrowed` and `_paired` have made of (P, K, 4, L), as float32 or float64 again."""
    if precision is None:
        return packed
    if precision == "bfloat16":
        panels, depth, _, lanes, _ = packed.shape
        packed = packed.swapaxes(3, 4).reshape(panels, depth, len(GATES), lanes)
    return widen(packed, precision)


def _pack_integers(values: np.ndarray, lanes: int) -> np.ndarray:
    """(4, H, K) of int8 to (P, ceil(K / 4), 4, L, 4), zeros past H and past K."""
    gates, hidden_size, depth = values.shape
    panels, groups = -(-hidden_size // lanes), -(-depth // INT8_GROUP)
    padded = np.zeros((gates, panels * lanes, groups * INT8_GROUP), values.dtype)
    padded[:, :hidden_size, :depth] = values
    packed = aligned_zeros((panels, groups, gates, lanes, INT8_GROUP), values.dtype)
    packed[...] = padded.reshape(gates, panels, lanes, groups, INT8_GROUP).transpose(1, 3, 0, 2, 4)
    return packed


def _unpack_integers(packed: np.ndarray, hidden_size: int, depth: int) -> np.ndarray:
    """(P, ceil(K / 4), 4, L, 4) of int8 to (4, H, K)."""
    panels, groups, gates, lanes, group = packed.shape
    padded = packed.transpose(2, 0, 3, 1, 4).reshape(gates, panels * lanes, groups * group)
    return padded[:, :hidden_size, :depth].copy()


def _packed_options(options: Options) -> Any:
    """As PackedWeights takes them."""
    if options == DEFAULT_OPTIONS:
        return None
    functions = tuple((activations.kind(a), a.alpha, a.beta) for a in options.activations)
    return options.clip, options.cell_clip, options.proj_clip, options.input_forget, functions


def unpack(packed: PackedWeights) -> Weights | Int8Weights:
    """The inverse of `pack`, as new arrays; of 16 bits their values as float32."""
    hidden_size, precision = packed.hidden_size, packed.precision
    half = None if precision == "int8" else precision
    bias = _unpack_vector(packed.bias, hidden_size)
    peephole = projection = None
    if packed.peephole is not None:
        peephole = _unpack_vector(packed.peephole, hidden_size)
    if packed.projection is not None:
        wide = _widened(packed.projection, half)
        groups, depth, gates, lanes = wide.shape
        features = wide.transpose(0, 2, 3, 1).reshape(groups * gates * lanes, depth)
        projection = features[: packed.state_size].copy()
    if packed.input_scales is None or packed.hidden_scales is None:
        both = (packed.input, packed.hidden)
        inputs, hidden = (_unpack_matrix(_widened(matrix, half), hidden_size) for matrix in both)
        return Weights(inputs, hidden, bias, peephole, projection)
    input_rows = Int8Rows(
        _unpack_integers(packed.input, hidden_size, packed.input_size),
        _unpack_vector(packed.input_scales, hidden_size),
    )
    hidden_rows = Int8Rows(
        _unpack_integers(packed.hidden, hidden_size, packed.state_size),
        _unpack_vector(packed.hidden_scales, hidden_size),
    )
    return Int8Weights(input_rows, hidden_rows, bias, peephole, projection)


def _unpack_vector(packed: np.ndarray, hidden_size: int) -> np.ndarray:
    """(P, G, L) to (G, H)."""
    return _unpack_matrix(packed[:, np.newaxis], hidden_size)[:, :, 0]


def _pack_projection(matrix: np.ndarray, lanes: int, allocate: Allocate) -> np.ndarray:
    """(O, H) to (ceil(O / 4 L), H, 4, L)."""
    features, depth = matrix.shape
    groups = -(-features // (4 * lanes))
    padded = np.zeros((groups * 4 * lanes, depth), matrix.dtype)
    padded[:features] = matrix
    packed = _allocator(matrix, allocate)((groups, depth, 4, lanes), matrix.dtype)
    packed[...] = padded.reshape(groups, 4, lanes, depth).transpose(0, 3, 1, 2)
    return packed


def _allocator(matrix: np.ndarray, allocate: Allocate) -> Allocate:
    """`allocate` for full floats, which alone it need know."""
    return allocate if matrix.dtype.kind == "f" and matrix.itemsize >= 4 else aligned_zeros


def _pack_matrix(matrix: np.ndarray, lanes: int, isa: str, allocate: Allocate) -> np.ndarray:
    """(G, H, K) to (P, K, G, L)."""
    gates, hidden_size, depth = matrix.shape
    panels = -(-hidden_size // lanes)
    packed = _allocator(matrix, allocate)((panels, depth, gates, lanes), matrix.dtype)
    if matrix.dtype.kind == "f" and matrix.itemsize >= 4:
        if not (matrix.flags.c_contiguous and matrix.flags.aligned):
            matrix = np.require(matrix, requirements=["C", "A"])
        _kernel.pack_matrix(matrix, packed, isa)
        return packed
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
    def allocate(cls, weights: PackedWeights, batch: int, time: int) -> Self:
        """Of a pass of B rows and T steps."""
        return cls(*weights.new_record(batch, time))

    def first_steps(self, time: int) -> PanelRecord:
        """The same memory for a pass of fewer steps; what it holds is of no use then."""
        return PanelRecord(*map(_shortened, self, (time, time + 1, time)))


def _shortened(array: np.ndarray, time: int) -> np.ndarray:
    """(P, B, T, ...) -> a contiguous (P, B, time, ...) in the same memory."""
    shape = (*array.shape[:2], time, *array.shape[3:])
    return array.reshape(-1)[: int(np.prod(shape))].reshape(shape)
