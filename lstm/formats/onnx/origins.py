"""Where a value comes from that a node starts with: zeros, an input, constants, or a computation.

Nothing is run: what is constant is read, and operators are followed back to what they take.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from ..errors import FormatError
from .constants import Constants, Place, producer
from .model import STANDARD, ExternalDataError, Scope, inner_graphs, is_lstm

MOST_PLACES = 10_000  # that a value may depend on, to be told of what
DEEPEST = 100
MOST_NAMES = 3
# They change the places of what they are given first and nothing else.
MOVES = frozenset(
    (
        *("Identity", "Dropout", "Unsqueeze", "Squeeze", "Transpose", "Reshape", "Flatten", "Split", "Slice"),
        *("Gather", "Expand", "Tile", "Cast", "Concat"),
    )
)
ONE_SOURCE = MOVES - {"Concat", "Gather"}
ALL_INPUTS = frozenset(("Concat", "Add", "Sub", "Sum", "Max", "Min"))  # zero if all inputs are
ONE_INPUT = frozenset(("Mul", "MatMul"))  # zero if one input is
KEEP_ZERO = frozenset(("Tanh", "Relu", "Neg", "Abs", "Div", "Sqrt", "Sign", *MOVES))  # zero if the first is
SHAPES = frozenset(("Shape", "Size"))  # the same for any values


class Origin(NamedTuple):
    """What a value is: its kind, and the names by which the model has what it is made of."""

    kind: str  # "zero", "input", "constant", "lstm", "computed"
    names: tuple[str, ...]

    def __str__(self) -> str:
        return ", ".join(map(repr, self.names[:MOST_NAMES]))


def origin_of(scope: Scope, name: str, constants: Constants) -> Origin:
    """What a value is made of; one from inputs by more than moves, or of unknown making, is "computed".

    "constant" is whatever depends on no input of the model, its shapes left aside.
    """
    if _is_zero((scope, name), constants, {}, 0):
        return Origin("zero", (name,))
    if (source := _moved(scope, name)) is not None:
        return Origin("input", (source,))
    leaves = list(_leaves(scope, name, data_alone=True))
    kinds = {kind for kind, _ in leaves}
    if "lstm" in kinds:
        return Origin("lstm", tuple(place[1] for kind, place in leaves if kind == "lstm"))
    if kinds <= {"constant", "shape"}:
        values = {place: constant(constants, place) for kind, place in leaves if kind == "constant"}
        floats = [
            place[1] for place, value in values.items() if value is not None and value.dtype.kind == "f"
        ]
        return Origin("constant", tuple(floats) or (name,))
    return Origin("computed", (name,))


def depends_on_lstm(scope: Scope, name: str) -> bool:
    """Whether a value is computed from what an LSTM gives, by whatever operators."""
    return any(kind in ("lstm", "many") for kind, _ in _leaves(scope, name))


def depends_on_constants(scope: Scope, name: str) -> bool:
    """Whether a value is made of constants alone, shapes not among them."""
    return {kind for kind, _ in _leaves(scope, name)} == {"constant"}


def _leaves(scope: Scope, name: str, data_alone: bool = False) -> Iterator[tuple[str, Place]]:
    """What a value depends on, by kind and place, each once; "many" after too many.

    With `data_alone` the shapes, axes and repeats that moves are given do not count.
    """
    seen: set[Place] = set()
    waiting = [(scope, name)]
    while waiting:
        place = waiting.pop()
        if place in seen or not place[1]:
            continue
        if len(seen) > MOST_PLACES:
            yield "many", place
            return
        seen.add(place)
        origin = producer(*place)
        if origin is None:
            yield _outermost(*place)
        elif is_lstm(origin[1]):
            yield "lstm", place
        elif origin[1].op_type in SHAPES:
            yield "shape", place
        else:
            is_move = data_alone and origin[1].op_type in ONE_SOURCE and origin[1].domain in STANDARD
            waiting += [(origin[0], one) for one in origin[1].input[: 1 if is_move else None]]
            if origin[1].op_type == "Constant" and origin[1].domain in STANDARD:
                yield "constant", place
            elif not origin[1].input or any(inner_graphs(origin[1])):
                yield "made", place


def _outermost(scope: Scope, name: str) -> tuple[str, Place]:
    """The kind of what no node makes, and where it is: a constant, an input, or nothing that is known."""
    for _ in range(DEEPEST):
        found = scope.find(name)
        if found is None:
            break
        scope, definition = found
        if definition.kind != "argument" or scope.caller is None:
            kind = {"tensor": "constant", "input": "input"}.get(definition.kind, "unknown")
            return kind, (scope, name)
        scope, name = scope.caller, definition.what
    return "unknown", (scope, name)


def _moved(scope: Scope, name: str) -> str | None:
    """The input of the model that a value is, but for its shape and order; None for anything else."""
    seen: set[Place] = set()
    waiting, inputs = [(scope, name)], []
    while waiting:
        place = waiting.pop()
        if place in seen:
            continue
        seen.add(place)
        origin = producer(*place)
        if origin is None:
            kind, leaf = _outermost(*place)
            inputs.append(leaf[1])
            if kind != "input":
                return None
        elif origin[1].domain in STANDARD and origin[1].op_type in MOVES and len(seen) < MOST_PLACES:
            data = origin[1].input if origin[1].op_type == "Concat" else origin[1].input[:1]
            waiting += [(origin[0], one) for one in data]
        else:
            return None
    return inputs[-1] if inputs else None


def _is_zero(place: Place, constants: Constants, known: dict[Place, bool], depth: int) -> bool:
    """Whether a value is zero everywhere, as far as that is seen."""
    if place in known or depth > DEEPEST or len(known) > MOST_PLACES:
        return known.get(place, False)
    known[place] = False  # on a circle
    value = constant(constants, place)
    known[place] = not np.any(value) if value is not None else _gives_zero(place, constants, known, depth)
    return known[place]


def _gives_zero(place: Place, constants: Constants, known: dict[Place, bool], depth: int) -> bool:
    """The same of what a node gives."""
    origin = producer(*place)
    if origin is None or origin[1].domain not in STANDARD:
        return False
    scope, node, _ = origin
    if node.op_type == "ConstantOfShape":
        return not np.any(constants.fill(scope, node))

    def inputs(names: Any) -> Iterator[bool]:
        return (_is_zero((scope, name), constants, known, depth + 1) for name in names if name)

    if node.op_type in ALL_INPUTS:
        return all(inputs(node.input))
    if node.op_type in ONE_INPUT:
        return any(inputs(node.input))
    if node.op_type == "Where":
        return all(inputs(node.input[1:3]))
    return node.op_type in KEEP_ZERO and any(inputs(node.input[:1]))


def constant(constants: Constants, place: Place) -> np.ndarray | None:
    """The value of a constant, None for what is none."""
    try:
        return constants.value(*place)
    except ExternalDataError:
        raise
    except FormatError:
        return None
