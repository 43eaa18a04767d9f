"""One fused LSTM operator: its options, its sizes, and its weights under PyTorch's names.

Shapes: I input, H hidden, O features of h. The gates' tensors are in our order, i, f, c, o.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..archive import LONGEST_SHOWN
from ..errors import FormatError
from ..option_names import option
from .model import Graph, Operator

ONE, TWO = "UNIDIRECTIONAL_SEQUENCE_LSTM", "BIDIRECTIONAL_SEQUENCE_LSTM"
FUSED = (ONE, TWO)
GATES = ("input gate", "forget gate", "cell", "output gate")


class Places(NamedTuple):
    """Where an operator takes what belongs to one direction."""

    weights: int  # the first of 17
    h: int
    C: int

    @property
    def input(self) -> range:
        """The four weights (H, I)."""
        return range(self.weights, self.weights + 4)

    @property
    def hidden(self) -> range:
        """The four weights (H, O)."""
        return range(self.weights + 4, self.weights + 8)

    @property
    def peepholes(self) -> range:
        """The three of i, f, o (H,)."""
        return range(self.weights + 8, self.weights + 11)

    @property
    def biases(self) -> range:
        """The four biases (H,)."""
        return range(self.weights + 11, self.weights + 15)

    @property
    def projection(self) -> int:
        """The matrix (O, H); its bias (O,) follows."""
        return self.weights + 15


PLACES = {ONE: (Places(1, 18, 19),), TWO: (Places(1, 35, 36), Places(18, 37, 38))}
# Inputs that this package lacks, and what they are.
EXTRAS = {
    ONE: (range(20, 24), "layer normalization"),
    TWO: (range(39, 48), "an auxiliary input"),
}
MOST_INPUTS = {ONE: 24, TWO: 48}
# Of candidate and cell output; the gates have the sigmoid. Others the kernels of TensorFlow Lite compute as
# their names do not say.
ACTIVATIONS = {"RELU": "Relu", "TANH": "Tanh"}


class Settings(NamedTuple):
    """What an operator computes apart from its weights' values; layers of one net have the same."""

    directions: int
    time_major: bool
    is_merged: bool  # whether both directions come as one output, side by side
    sizes: tuple[int, int, int]  # I, H, O
    options: tuple[tuple[str, Any], ...]  # of `Architecture`
    peephole: bool

    def differs(self, other: Settings) -> str | None:
        """What a layer above this one has otherwise, None if nothing."""
        H, O = self.sizes[1:]  # noqa: E741
        for what, mine, others in (
            ("the number of directions", self.directions, other.directions),
            ("hidden_size", H, other.sizes[1]),
            ("proj_size", O, other.sizes[2]),
            ("peepholes", self.peephole, other.peephole),
            *((name, value, dict(other.options)[name]) for name, value in self.options),
        ):
            if mine != others:
                return what
        return None


class Site:
    """A fused operator at its place in a graph."""

    def __init__(self, graph: Graph, operator: Operator) -> None:
        self.graph, self.operator = graph, operator
        self.name = graph.tensor(operator.outputs[0]).name if operator.outputs else ""
        self.where = f"{graph.model.where}: {self.name!r:.{LONGEST_SHOWN}}"

    def number(self, place: int) -> int:
        """The tensor at a place of the inputs, -1 for none."""
        return self.operator.inputs[place] if place < len(self.operator.inputs) else -1

    def shape(self, place: int) -> tuple[int, ...]:
        """The shape of a tensor that must be there."""
        if self.number(place) < 0:
            raise FormatError(f"{self.where} lacks its input {place}")
        return self.graph.tensor(self.number(place)).shape

    def settings(self) -> Settings:
        """What it computes; FormatError for what this package does not."""
        kind = self.operator.kind
        if len(self.operator.inputs) > MOST_INPUTS[kind] or not self.operator.outputs:
            raise FormatError(
                f"{self.where} has {len(self.operator.inputs)} inputs and {len(self.operator.outputs)} "
                f"outputs, but a {kind} has at most {MOST_INPUTS[kind]} and at least 1"
            )
        places, what = EXTRAS[kind]
        if any(self.number(place) >= 0 for place in places):
            raise FormatError(f"{self.where} has {what}, which this package does not compute")
        found = self._found_options()
        if kind == ONE and found.DiagonalRecurrentTensors():
            raise FormatError(f"{self.where} has diagonal recurrent weights, but must have whole matrices")
        sizes = self._sizes()
        options = self._options(found, sizes[2] < sizes[1])
        first = PLACES[kind][0]
        return Settings(
            len(PLACES[kind]),
            bool(found.TimeMajor()),
            kind == TWO and bool(found.MergeOutputs()),
            sizes,
            tuple(options.items()),
            any(self.number(place) >= 0 for place in first.peepholes),
        )

    def _sizes(self) -> tuple[int, int, int]:
        """I, H and O of the first direction, held to the shapes and dtypes of X and Y."""
        for number, what in ((self.number(0), "its input"), (self.operator.outputs[0], "its output")):
            if number < 0:
                raise FormatError(f"{self.where} lacks {what}")
            tensor = self.graph.tensor(number)
            if tensor.dtype != "FLOAT32":
                raise FormatError(
                    f"{self.where} computes in integers: {what} is {tensor.dtype}, but must be FLOAT32; "
                    "convert with float weights or dynamic-range quantization"
                )
        first = PLACES[self.operator.kind][0]
        X, matrix, hidden = self.shape(0), self.shape(first.input[1]), self.shape(first.hidden[1])
        if len(X) != 3 or len(matrix) != 2 or len(hidden) != 2 or not all((*matrix, *hidden)):
            raise FormatError(
                f"{self.where} has an input of {X} and weights of the forget gate of {matrix} and {hidden}, "
                "but must have three axes, (hidden_size, input_size) and (hidden_size, size of h)"
            )
        if X[2] != matrix[1]:
            raise FormatError(f"{self.where} has {X[2]} features a step, but weights of {matrix}")
        is_projected = self.number(first.projection) >= 0
        if hidden[1] >= hidden[0] and is_projected:
            raise FormatError(
                f"{self.where} has a projection of {hidden[0]} units to {hidden[1]} features, but this "
                "package computes those to fewer features alone"
            )
        if hidden[1] != hidden[0] and not is_projected:
            raise FormatError(f"{self.where} has recurrent weights of {hidden} and no projection")
        return matrix[1], hidden[0], hidden[1]

    def _found_options(self) -> Any:
        """The operator's options."""
        expected = {ONE: "Unidirectional", TWO: "Bidirectional"}[self.operator.kind] + "SequenceLSTMOptions"
        found = self.operator.options
        if type(found).__name__ != expected:
            raise FormatError(f"{self.where} lacks its {expected}")
        return found

    def _options(self, found: Any, is_projected: bool) -> dict[str, Any]:
        """The options of an `Architecture`."""
        code = found.FusedActivationFunction()
        name = self.graph.model.functions.get(code, f"function {code}")
        if name not in ACTIVATIONS:
            raise FormatError(
                f"{self.where} has the activation {name}, but must have one of {', '.join(ACTIVATIONS)}"
            )
        options: dict[str, Any] = {
            "cell_clip": self._bound("cell_clip", found.CellClip()),
            # Without a projection it is not applied.
            "proj_clip": self._bound("proj_clip", found.ProjClip()) if is_projected else None,
            "input_forget": self._is_coupled(PLACES[self.operator.kind][0]),
            "activations": ("Sigmoid", ACTIVATIONS[name], ACTIVATIONS[name]),
        }
        return options

    def _bound(self, name: str, value: float) -> float | None:
        """A bound; TensorFlow Lite has 0 for none."""
        if math.isnan(value) or value < 0:
            raise FormatError(f"{self.where} has {name} {value}, but it must be 0 or positive")
        return float(value) if 0 < value < math.inf else None

    def _is_coupled(self, places: Places) -> bool:
        """Whether a direction has no weights of the input gate, which is then 1 - f."""
        absent = [self.number(place.start) < 0 for place in (places.input, places.hidden)]
        if absent[0] != absent[1]:
            raise FormatError(f"{self.where} has one of the two weights of the input gate, but not the other")
        return absent[0]

    # Weights

    def is_hybrid(self) -> bool:
        """Whether the operator takes weights of 8 bits, and so rounds x and h as it runs."""
        numbers = [self.number(place) for one in PLACES[self.operator.kind] for place in one.hidden]
        return any(self.graph.tensor(number).dtype == "INT8" for number in numbers if number >= 0)

    def state(self, suffixes: Sequence[str], settings: Settings) -> dict[str, np.ndarray]:
        """The weights of each direction, under PyTorch's names that end in its suffix."""
        state: dict[str, np.ndarray] = {}
        for places, suffix in zip(PLACES[self.operator.kind], suffixes, strict=True):
            state |= self._direction(places, suffix, settings)
        return state

    def _direction(self, places: Places, suffix: str, settings: Settings) -> dict[str, np.ndarray]:
        """weight_ih (4H, I), weight_hh (4H, O), biases (4H,), weight_ch (3H,), weight_hr (O, H)."""
        I, H, O = settings.sizes  # noqa: E741
        options = dict(settings.options)
        if self._is_coupled(places) != (is_coupled := options["input_forget"]):
            raise FormatError(f"{self.where} has the input gate in one direction, but not in the other")
        gates = (
            (f"weight_ih{suffix}", places.input, (H, I)),
            (f"weight_hh{suffix}", places.hidden, (H, O)),
            (f"bias_ih{suffix}", places.biases, (H,)),
        )
        state = {}
        for name, four, shape in gates:
            state[name] = self._gates(four, shape, is_coupled)
        state[f"bias_hh{suffix}"] = np.zeros_like(state[f"bias_ih{suffix}"])
        if any(self.number(place) >= 0 for place in places.peepholes) != settings.peephole:
            raise FormatError(f"{self.where} has peepholes in one direction, but not in the other")
        if settings.peephole:
            state[f"weight_ch{suffix}"] = self._gates(places.peepholes, (H,), is_coupled)
        if O < H:
            state[f"weight_hr{suffix}"] = np.array(self._weights(places.projection, (O, H)))
            bias = places.projection + 1
            if self.number(bias) >= 0 and self._weights(bias, (O,)).any():
                raise FormatError(f"{self.where} has a bias of the projection, which this package lacks")
        elif self.number(places.projection) >= 0:
            raise FormatError(f"{self.where} has a projection in one direction, but not in the other")
        return state

    def _gates(self, places: range, shape: tuple[int, ...], is_coupled: bool) -> np.ndarray:
        """The weights of all gates one below the other.

        The input gate of coupled ones is 1 - f, which is the sigmoid of the forget gate's sum negated.
        """
        arrays = [self._weights(place, shape) for place in (places[1:] if is_coupled else places)]
        return np.concatenate([-arrays[0], *arrays] if is_coupled else arrays)

    def _weights(self, place: int, shape: tuple[int, ...]) -> np.ndarray:
        """A constant of this shape, as float32."""
        number = self.number(place)
        if number < 0:
            raise FormatError(f"{self.where} lacks its input {place}, of shape {shape}")
        graph, stored = self.graph, self._stored(number)
        where = f"{self.where}: input {place}, {graph.tensor(number).name!r:.{LONGEST_SHOWN}},"
        if (maker := graph.maker(stored)) is not None:
            kind = graph.kinds[maker]
            raise FormatError(f"{where} is computed by {kind}, but weights must be constants")
        if stored < 0 or (values := graph.real_values(stored)) is None:
            raise FormatError(f"{where} holds no values, but weights must be constants")
        tensor = graph.tensor(stored)
        if tensor.dtype == "INT8" and stored == number and (len(tensor.scales) != 1 or tensor.zeros.any()):
            raise FormatError(
                f"{where} is INT8 with {len(tensor.scales)} scales and zero points {tensor.zeros[:3]}, but "
                "must have one scale and no zero point"
            )
        if values.dtype not in (np.float32, np.float16):
            raise FormatError(f"{where} is {tensor.dtype}, but must be FLOAT32, FLOAT16 or INT8 with a scale")
        if values.shape != shape:
            raise FormatError(f"{where} has shape {values.shape}, but must have {shape}")
        return values.astype(np.float32, copy=False)

    def _stored(self, number: int) -> int:
        """The tensor that DEQUANTIZE makes this one of, or the tensor itself."""
        maker = self.graph.maker(number)
        if maker is not None:
            operator = self.graph.operator(maker)
            if operator.kind == "DEQUANTIZE" and len(operator.inputs) == 1:
                return operator.inputs[0]
        return number

    # States

    def foreign_states(self) -> str | None:
        """Why its states are not its own alone, None if they are."""
        for name, number in self._states():
            maker = self.graph.maker(number)
            if maker is not None:
                return f"starts from the {name} that {self.graph.kinds[maker]} computes"
            if self.graph.occurrences(number) > 1 and not self.graph.has_data(number):
                return f"keeps its {name} where others take it, too"
        return None

    def check_states(self) -> None:
        """FormatError if it starts from other states than zero and those that a caller gives."""
        if (problem := self.foreign_states()) is not None:
            raise FormatError(
                f"{self.where} {problem}, but a net takes states from its caller: load it with "
                f"{option('initial_states', 'drop')}, and give {option('h0')} and {option('C0')} at every "
                "call"
            )
        for name, number in self._states():
            if not self.graph.has_data(number):
                continue
            values = self.graph.real_values(number)
            if values is not None and np.any(values != 0):
                stored = self.graph.tensor(number).name
                raise FormatError(
                    f"{self.where} has constant {name} {stored!r:.{LONGEST_SHOWN}} that is not zero, which a "
                    f"net takes from its caller: load it with {option('initial_states', 'drop')}, and give "
                    f"{option(f'{name}0')} at every call, as lstm.tensors(path) has it"
                )

    def _states(self) -> list[tuple[str, int]]:
        """Name and tensor of the states of every direction."""
        found = []
        for places in PLACES[self.operator.kind]:
            for name, place in (("h", places.h), ("C", places.C)):
                if self.number(place) < 0:
                    raise FormatError(f"{self.where} lacks its input {place}, the state {name}")
                found.append((name, self.number(place)))
        return found
