"""Passes over arrays, as nn.LSTM's weights come: what the autograd functions and the operators compute.

Nothing here knows PyTorch. Shapes: B batch, T time, I input, H hidden, O features of h, K features of an
output step, L layers, D directions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np

from .. import _kernel
from ..core import gradients
from ..core.architecture import Architecture, check
from ..core.checks import usable_rows
from ..core.dropout import Rates
from ..core.memory import aligned_zeros
from ..core.net import Net
from ..core.packing import Allocate
from ..core.recording import Recording, Storage, record_everyday
from ..core.reference_gradients import Sums
from ..core.state_dict import cell_shapes
from ..core.weights import Parts, Weights

Arrays = Sequence[np.ndarray]
Value = TypeVar("Value")


class Layout(NamedTuple):
    """The weights of an nn.LSTM: their names and shapes, cell by cell."""

    architecture: Architecture
    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]

    def of_cells(self, values: Sequence[Value]) -> Iterator[Sequence[Value]]:
        """What there is for each weight, by the L D cells."""
        size = len(values) // self.architecture.cells
        return (values[first : first + size] for first in range(0, len(values), size))


@lru_cache(maxsize=256)
def layout(
    input_size: int, hidden_size: int, num_layers: int, bidirectional: bool, proj_size: int, bias: bool
) -> Layout:
    """The layout of an nn.LSTM of these arguments."""
    architecture = check(
        input_size,
        hidden_size,
        num_layers=num_layers,
        bidirectional=bidirectional,
        proj_size=proj_size,
        bias=bias,
    )
    shapes: dict[str, tuple[int, ...]] = {}
    for cell in range(architecture.cells):
        shapes |= cell_shapes(architecture, cell)
    return Layout(architecture, tuple(shapes), tuple(shapes.values()))


def pack(plan: Layout, weights: Arrays, allocate: Allocate = _kernel.recycled) -> Net:
    """A net of weights in the layout's shapes, all of one dtype; it keeps copies of them."""
    architecture, cells = plan.architecture, []
    for arrays in plan.of_cells(weights):
        input_weights, hidden_weights, *rest = arrays
        shape = (4, architecture.hidden_size)
        bias = rest[0] + rest[1] if architecture.bias else np.zeros(shape, input_weights.dtype)
        cells.append(
            Weights(
                input_weights.reshape(*shape, -1),
                hidden_weights.reshape(*shape, -1),
                bias.reshape(shape),
                None,
                rest[-1] if architecture.proj_size else None,
            )
        )
    return Net(Parts(cells, architecture, weights[0].dtype), allocate=allocate)


class Packed:
    """A net and the weights it was made of, to be used again for the same weights.

    The values are compared, all of them: PyTorch's version counters miss fused optimizers and whatever writes
    through ``.data`` or another view of the memory.
    """

    __slots__ = ("_made",)

    def __init__(self) -> None:
        self._made: tuple[Layout, list[np.ndarray], Net] | None = None

    def net(self, plan: Layout, weights: Arrays) -> Net:
        """The net of these weights. Threads may call at the same time."""
        made = self._made
        if made is not None and made[0] is plan and all(map(_same_bits, made[1], weights)):
            return made[2]
        copies = [np.array(array, order="C") for array in weights]
        net = pack(plan, copies, aligned_zeros)
        self._made = plan, copies, net
        return net


def _same_bits(copy: np.ndarray, array: np.ndarray) -> bool:
    """Whether two arrays of one shape have the same dtype and bits; NaN equals NaN, and 0 is not -0."""
    if copy.dtype != array.dtype or not array.flags.c_contiguous:
        return copy.dtype == array.dtype and copy.tobytes() == array.tobytes()
    integers = np.int32 if copy.itemsize == 4 else np.int64
    return bool((copy.view(integers) == array.view(integers)).all())


class Dropout(NamedTuple):
    """What is dropped between layers: the rate, and the masks (B, T, K) of bool of what is kept."""

    rate: float
    kept: list[np.ndarray]

    def random(self, shape: tuple[int, ...]) -> np.ndarray:
        """The next mask, for the generator's numbers: what is kept is at least the rate, and False is not."""
        mask = self.kept.pop(0)
        assert mask.shape == shape
        return mask


def record(
    net: Net,
    X: np.ndarray,
    h0: np.ndarray,
    C0: np.ndarray,
    lengths: np.ndarray | None,
    rate: float,
    kept: Arrays,
    time_first: bool = False,
) -> Recording:
    """X (B, T, I), h0 (L D, B, O), C0 (L D, B, H): a pass whose gradients are wanted.

    `rate` and `kept` (B, T, K), L - 1 times or none, are the dropout between layers. Unless there are
    `lengths`, X is read where it is, also by the backward pass; with `time_first` the outputs are (T, B, ...)
    in memory.
    """
    given = usable_rows(X, net.dtype) if lengths is None else None
    if given is not None and not kept:
        found = record_everyday(net.cells, net.architecture, net.dtype, given, h0, C0, copies=False)
        if found is not None:
            return found
    drawn = cast(np.random.Generator, Dropout(rate, list(kept)))
    batch, time = X.shape[:2]
    storage = Storage.allocate(net.cells, net.architecture, net.dtype, batch, time, given, time_first)
    return net.record(
        X if given is None else given,
        h0,
        C0,
        lengths,
        None,
        Rates(between=rate if kept else 0.0),
        drawn,
        storage,
    )


class Differentiated(NamedTuple):
    """Gradients of a pass, None for those that were not asked for; h0's and C0's are of no use then."""

    X: np.ndarray | None  # (B, T, I)
    h0: np.ndarray  # (L D, B, O)
    C0: np.ndarray  # (L D, B, H)
    weights: list[np.ndarray | None]  # in the layout's shapes, none of which shares memory with another


def backward(
    plan: Layout,
    recording: Recording,
    dY: np.ndarray | None,
    dh_n: np.ndarray | None,
    dC_n: np.ndarray | None,
    states: bool,
    inputs: bool,
    weights: Sequence[bool],
) -> Differentiated:
    """dY (B, T, K), dh_n (L D, B, O), dC_n (L D, B, H), None for zeros: the recording is used up.

    `states` asks for the gradients of h0 and C0, `inputs` for that of X, `weights` for those of single
    weights in their layout.
    """
    sums = [
        _zero_sums(shapes, needed, plan.architecture, recording.dtype)
        for shapes, needed in zip(plan.of_cells(plan.shapes), plan.of_cells(weights), strict=True)
    ]
    if inputs or states or sums[0] is not None:  # else layers may be left out
        found = gradients.backward_everyday(recording, dY, dh_n, dC_n, True, inputs, sums)
        if found is not None:
            return Differentiated(found.X, found.h0, found.C0, _weight_gradients(plan, sums, weights))
    dh = np.zeros_like(recording.h0) if dh_n is None else np.array(dh_n, order="C")
    dC = np.zeros_like(recording.C0) if dC_n is None else np.array(dC_n, order="C")
    dX = gradients.backward(recording, dY, dh, dC, inputs, sums, states).X
    return Differentiated(dX, dh, dC, _weight_gradients(plan, sums, weights))


def _zero_sums(
    shapes: Sequence[tuple[int, ...]],
    needed: Sequence[bool],
    architecture: Architecture,
    dtype: np.dtype[Any],
) -> Sums | None:
    """Zeros of one cell to add the gradients of what is needed to; None if nothing is."""
    if not any(needed):
        return None

    def zeros(k: int, *shape: int) -> np.ndarray | None:
        return _kernel.recycled(shape or shapes[k], dtype, True) if needed[k] else None

    hidden = architecture.hidden_size
    return Sums(
        zeros(0, 4, hidden, shapes[0][1]),
        zeros(1, 4, hidden, shapes[1][1]),
        _kernel.recycled((4, hidden), dtype, True),
        None,
        zeros(-1) if architecture.proj_size else None,
    )


def _weight_gradients(
    plan: Layout, sums: Sequence[Sums | None], needed: Sequence[bool]
) -> list[np.ndarray | None]:
    """Sums of every cell as the layout has them; both biases have the gradient of their sum."""
    found: list[Any] = []
    for one in sums:
        if one is None:
            found += [None] * (len(plan.shapes) // plan.architecture.cells)
            continue
        found += [one.input, one.hidden]
        found += [one.bias, one.bias.copy()] if plan.architecture.bias else []
        found += [one.projection] if plan.architecture.proj_size else []
    return [
        array.reshape(shape) if is_needed else None
        for array, shape, is_needed in zip(found, plan.shapes, needed, strict=True)
    ]
