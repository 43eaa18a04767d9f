"""Passes over arrays, as nn.LSTM's weights come: what the autograd functions and the operators compute.

Nothing here knows PyTorch. Shapes: B batch, T time, I input, H hidden, O features of h, K features of an
output step, L layers, D directions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, cast

import numpy as np

from ..core import gradients
from ..core.architecture import Architecture, check
from ..core.dropout import Rates
from ..core.net import Net
from ..core.recording import Recording
from ..core.state_dict import cell_shapes
from ..core.weights import Parts, Weights

Arrays = Sequence[np.ndarray]


class Layout(NamedTuple):
    """The weights of an nn.LSTM: their names and shapes, cell by cell."""

    architecture: Architecture
    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]

    def cells(self, arrays: Arrays) -> Iterator[Arrays]:
        """The arrays of every one of the L D cells."""
        size = len(arrays) // self.architecture.cells
        return (arrays[first : first + size] for first in range(0, len(arrays), size))


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


def pack(plan: Layout, weights: Arrays) -> Net:
    """A net of weights in the layout's shapes, all of one dtype; it keeps copies of them."""
    architecture, cells = plan.architecture, []
    for arrays in plan.cells(weights):
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
    return Net(Parts(cells, architecture, weights[0].dtype))


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
        net = pack(plan, copies)
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
) -> Recording:
    """X (B, T, I), h0 (L D, B, O), C0 (L D, B, H): a pass whose gradients are wanted.

    `rate` and `kept` (B, T, K), L - 1 times or none, are the dropout between layers.
    """
    drawn = cast(np.random.Generator, Dropout(rate, list(kept)))
    return net.record(X, h0, C0, lengths, None, Rates(between=rate if kept else 0.0), drawn)


class Differentiated(NamedTuple):
    """Gradients of a pass, None for those that were not asked for."""

    X: np.ndarray | None  # (B, T, I)
    h0: np.ndarray  # (L D, B, O)
    C0: np.ndarray  # (L D, B, H)
    weights: list[np.ndarray] | None  # in the layout's shapes, none of which shares memory with another


def backward(
    plan: Layout,
    recording: Recording,
    dY: np.ndarray | None,
    dh_n: np.ndarray | None,
    dC_n: np.ndarray | None,
    inputs: bool,
    weights: bool,
) -> Differentiated:
    """dY (B, T, K), dh_n (L D, B, O), dC_n (L D, B, H), None for zeros: the recording is used up.

    `inputs` asks for the gradient of X, `weights` for those of the weights.
    """
    dh = np.zeros_like(recording.h0) if dh_n is None else np.array(dh_n, order="C")
    dC = np.zeros_like(recording.C0) if dC_n is None else np.array(dC_n, order="C")
    sums = gradients.zero_sums(plan.architecture, recording.dtype, None) if weights else None
    found = gradients.backward(recording, dY, dh, dC, inputs, sums)
    return Differentiated(found.X, dh, dC, None if sums is None else _weight_gradients(plan, sums))


def _weight_gradients(plan: Layout, sums: list[Weights]) -> list[np.ndarray]:
    """Sums of every cell as the layout has them; both biases have the gradient of their sum."""
    found: list[Any] = []
    for one in sums:
        found += [one.input, one.hidden]
        found += [one.bias, one.bias.copy()] if plan.architecture.bias else []
        found += [one.projection] if plan.architecture.proj_size else []
    return [array.reshape(shape) for array, shape in zip(found, plan.shapes, strict=True)]
