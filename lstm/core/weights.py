"""The weights of a net's layers and directions: gate order, initial values, one gate's view.

This is the one place in Python that knows the order of the gates; csrc/lstm_kernels.h holds the same
order as ``GATE_I … GATE_O``.

Shapes: I input, H hidden, O features of h.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from .architecture import Architecture
from .checks import net_dtype
from .interruptible import interruptible
from .precision import Int8Rows, check_precision, quantize_rows, requantize_rows, round_to

GATES = ("i", "f", "g", "o")
"""Order of the gates in every array of four: PyTorch's. ``g`` is the candidate, ``C`` in ``WC``."""


INITS = ("glorot", "pytorch", "normal")


PEEPHOLES = ("i", "f", "o")
"""Order of the gates in every array of three peepholes."""


class Weights(NamedTuple):
    """The weights of one layer and direction as NumPy arrays, gates in the order of `GATES`."""

    input: np.ndarray  # (4, H, I)
    hidden: np.ndarray  # (4, H, O)
    bias: np.ndarray  # (4, H)
    peephole: np.ndarray | None = None  # (3, H), in the order of `PEEPHOLES`
    projection: np.ndarray | None = None  # (O, H)

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return sum(array.nbytes for array in self if array is not None)

    def map(self, function: Callable[[np.ndarray], np.ndarray]) -> Weights:
        """These weights with `function` applied to every array there is."""
        return Weights(*(None if array is None else function(array) for array in self))  # type: ignore[arg-type]

    def take(self, other: Weights) -> None:
        """Overwrite these arrays with those of `other`, of the same shapes."""
        for mine, theirs in zip(self, other, strict=True):
            if mine is not None and theirs is not None:
                mine[...] = theirs


class Int8Matrices(NamedTuple):
    """The two matrices of one layer and direction that int8 keeps as integers."""

    input: Int8Rows  # (4, H, I), scales (4, H)
    hidden: Int8Rows  # (4, H, O), scales (4, H)


class Int8Weights(NamedTuple):
    """The weights of one layer and direction with its matrices as integers, the rest in float32."""

    input: Int8Rows  # (4, H, I), scales (4, H)
    hidden: Int8Rows  # (4, H, O), scales (4, H)
    bias: np.ndarray  # (4, H)
    peephole: np.ndarray | None = None  # (3, H)
    projection: np.ndarray | None = None  # (O, H)

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        rows = self.input.nbytes + self.hidden.nbytes
        return rows + sum(array.nbytes for array in self[2:] if array is not None)

    @property
    def matrices(self) -> Int8Matrices:
        """The integers alone."""
        return Int8Matrices(self.input, self.hidden)

    def map(self, function: Callable[[np.ndarray], np.ndarray]) -> Int8Weights:
        """These weights with `function` applied to every array there is but integers and scales."""
        return self._replace(
            bias=function(self.bias),
            peephole=None if self.peephole is None else function(self.peephole),
            projection=None if self.projection is None else function(self.projection),
        )

    def widen(self) -> Weights:
        """The values of the weights; of the integers in float32."""
        return Weights(self.input.widen(), self.hidden.widen(), self.bias, self.peephole, self.projection)


AnyWeights: TypeAlias = Weights | Int8Weights
"""The weights of one layer and direction as they are kept."""


def full_weights(weights: AnyWeights) -> Weights:
    """The values of weights, integers or not."""
    return weights.widen() if isinstance(weights, Int8Weights) else weights


class Parts(NamedTuple):
    """All that makes a net: what readers of files give and writers take."""

    weights: Sequence[AnyWeights]  # of every layer and direction, in the order of the states' first axis
    architecture: Architecture
    dtype: np.dtype[Any]  # of the net; arrays of other real dtypes are cast to it
    # In which the net keeps its weights, see `core.precision`; weights of another one are brought into it.
    precision: str | None = None
    # Why integers of the source are none that int8 keeps, so that it makes others; empty if there are none.
    unkept: str = ""

    def full_weights(self) -> list[Weights]:
        """The values of all weights, integers or not."""
        return [full_weights(one) for one in self.weights]

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return sum(one.nbytes for one in self.weights)

    def asked(self, dtype: Any, precision: str | None) -> Parts:
        """The same net in another dtype and precision where these are not None; in float64 it has all bits.

        TypeError or ValueError if there is no such dtype or precision.
        """
        real = self.dtype if dtype is None else net_dtype(dtype)
        if precision is None and real == self.dtype:
            precision = self.precision
        return self._replace(dtype=real, precision=check_precision(precision, real))


def narrowed(weights: Weights, precision: str, suffix: str, kept: Int8Matrices | None = None) -> AnyWeights:
    """The weights of one layer and direction, of float32, in one of `PRECISIONS`; 16 bits widened again.

    Rows that have the values of `kept` keep its integers and scales. ValueError, which names the matrix by
    `suffix`, if the precision cannot hold one.
    """
    input_name, hidden_name = f"weight_ih{suffix}", f"weight_hh{suffix}"
    if precision != "int8":
        projection = weights.projection
        return weights._replace(
            input=round_to(input_name, weights.input, precision),
            hidden=round_to(hidden_name, weights.hidden, precision),
            projection=None if projection is None else round_to(f"weight_hr{suffix}", projection, precision),
        )
    if kept is None:
        input_rows = quantize_rows(input_name, weights.input)
        hidden_rows = quantize_rows(hidden_name, weights.hidden)
    else:
        input_rows = requantize_rows(input_name, weights.input, kept.input)
        hidden_rows = requantize_rows(hidden_name, weights.hidden, kept.hidden)
    return Int8Weights(input_rows, hidden_rows, weights.bias, weights.peephole, weights.projection)


def initialize(
    init: str, rng: np.random.Generator, architecture: Architecture, dtype: np.dtype[Any]
) -> list[Weights]:
    """Draw new weights for all layers and directions, in the order of the states' first axis.

    "glorot" is Keras's choice gate by gate: Glorot-uniform input weights, orthogonal recurrent
    weights, a forget bias of 1 (Jozefowicz et al. 2015), zero peepholes. "pytorch" draws all uniformly
    within 1/sqrt(H). "normal" draws standard normal weights and has zero biases.
    """
    return interruptible(partial(_draw, init, rng, architecture, dtype), _check_memory(architecture))


def _draw(
    init: str, rng: np.random.Generator, architecture: Architecture, dtype: np.dtype[Any]
) -> list[Weights]:
    drawn = []
    for cell in range(architecture.cells):
        weights = _initialize_cell(init, rng, architecture, architecture.cell_input_size(cell))
        if not architecture.bias:
            weights = weights._replace(bias=np.zeros_like(weights.bias))
        drawn.append(weights.map(lambda array: array.astype(dtype)))
    return drawn


def _check_memory(architecture: Architecture) -> int:
    """Bytes of all weights in float64; MemoryError before any are drawn if this machine has fewer."""
    hidden, state = architecture.hidden_size, architecture.state_size
    inputs = architecture.directions * (architecture.input_size + state)
    if architecture.num_layers > 1:
        inputs += (architecture.cells - architecture.directions) * (architecture.output_size + state)
    size = 8 * 4 * hidden * inputs
    try:
        np.empty(size, np.uint8)
    except (MemoryError, ValueError, OverflowError) as error:
        raise MemoryError(
            f"the weights of {architecture.cells} layers and directions of hidden_size={hidden} take "
            f"{size} bytes, which this machine does not have"
        ) from error
    return size


def _initialize_cell(
    init: str, rng: np.random.Generator, architecture: Architecture, input_size: int
) -> Weights:
    """One cell's weights in float64."""
    hidden_size, state_size = architecture.hidden_size, architecture.state_size
    shapes = {"input": (4, hidden_size, input_size), "hidden": (4, hidden_size, state_size)}
    bias = np.zeros((4, hidden_size))
    extra: dict[str, tuple[int, ...]] = {}
    if architecture.peephole:
        extra["peephole"] = (3, hidden_size)
    if architecture.proj_size:
        extra["projection"] = (state_size, hidden_size)
    if init == "glorot":
        limit = np.sqrt(6.0 / (input_size + hidden_size))
        input_weights = rng.uniform(-limit, limit, shapes["input"])
        hidden_weights = np.stack([_orthogonal(rng, hidden_size)[:, :state_size] for _ in GATES])
        bias[GATES.index("f")] = 1.0
        others = {name: np.zeros(shape) for name, shape in extra.items()}
        if "projection" in extra:
            limit = np.sqrt(6.0 / (hidden_size + state_size))
            others["projection"] = rng.uniform(-limit, limit, extra["projection"])
    elif init == "pytorch":
        limit = 1.0 / np.sqrt(hidden_size)
        input_weights = rng.uniform(-limit, limit, shapes["input"])
        hidden_weights = rng.uniform(-limit, limit, shapes["hidden"])
        bias = rng.uniform(-limit, limit, bias.shape)
        others = {name: rng.uniform(-limit, limit, shape) for name, shape in extra.items()}
    elif init == "normal":
        input_weights = rng.standard_normal(shapes["input"])
        hidden_weights = rng.standard_normal(shapes["hidden"])
        others = {name: rng.standard_normal(shape) for name, shape in extra.items()}
    else:
        raise ValueError(f"init is {init!r}, but must be one of {', '.join(map(repr, INITS))}")
    return Weights(input_weights, hidden_weights, bias, **others)


def _orthogonal(rng: np.random.Generator, size: int) -> np.ndarray:
    """A (size, size) orthogonal matrix, uniformly distributed (Mezzadri 2007)."""
    q, r = np.linalg.qr(rng.standard_normal((size, size)))
    return np.asarray(q * np.where(np.diagonal(r) < 0, -1.0, 1.0))


def gate_matrix(weights: Weights, gate: str) -> np.ndarray:
    """W of one gate over [h, x]: (H, O + I), read-only."""
    k = GATES.index(gate)
    matrix = np.concatenate([weights.hidden[k], weights.input[k]], axis=1)
    matrix.flags.writeable = False
    return matrix


def with_gate_matrix(weights: Weights, gate: str, matrix: np.ndarray) -> Weights:
    """The weights with one gate's (H, O + I) matrix over [h, x] replaced."""
    k = GATES.index(gate)
    state_size = weights.hidden.shape[2]
    hidden, input_ = weights.hidden.copy(), weights.input.copy()
    hidden[k], input_[k] = matrix[:, :state_size], matrix[:, state_size:]
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


def gate_peephole(weights: Weights, gate: str) -> np.ndarray:
    """The peephole of one gate as a column: (H, 1), read-only; zeros where there is none."""
    column = np.zeros((weights.bias.shape[1], 1), weights.bias.dtype)
    if weights.peephole is not None:
        column[:, 0] = weights.peephole[PEEPHOLES.index(gate)]
    column.flags.writeable = False
    return column


def with_gate_peephole(weights: Weights, gate: str, column: np.ndarray) -> Weights:
    """The weights with one gate's peephole replaced by `column`, (H, 1)."""
    assert weights.peephole is not None
    peephole = weights.peephole.copy()
    peephole[PEEPHOLES.index(gate)] = column[:, 0]
    return weights._replace(peephole=peephole)
