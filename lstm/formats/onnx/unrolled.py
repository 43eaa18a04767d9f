"""A model without an LSTM node: what is there of an LSTM that its exporter took apart, and its weights.

    h = o * tanh(c),  c = f * c + i * g

is found in products, sums, Sigmoid and Tanh of any graph, as a cell or the body of a loop has them, or a
loop whose steps were written out.
"""

from __future__ import annotations

import itertools
from typing import Any

from ...core.state_dict import NAME
from .. import candidates
from .constants import producer
from .model import STANDARD, Model, Scope
from .tensors import scopes, stored

GATES = ("Sigmoid", "HardSigmoid")
# Between two operations of a step: what rearranges, rounds or bounds.
PASSED = (
    *("Identity", "Reshape", "Squeeze", "Unsqueeze", "Transpose", "Split", "Slice", "Gather", "Cast"),
    *("Clip", "Dropout", "Expand"),
)
MOST_PASSED = 20
MOST_LISTED = 10


def advice(model: Model) -> str:
    """What to do with a model that has no LSTM node; it goes on from the model's name."""
    shapes, is_outside = {}, False
    for name, scope, inner in stored(model):
        tensor = scope.definitions[inner].what
        if hasattr(tensor, "dims"):
            shapes[name] = tuple(tensor.dims)
            is_outside |= tensor.data_location == tensor.EXTERNAL
    arrays = f"lstm.tensors(path{', external_data=True' if is_outside else ''})"
    ways = [_way(shapes, prefix, arrays) for prefix in candidates.prefixes(shapes)]
    steps = sum(_is_step(scope, node) for _, scope in scopes(model) for node in scope.nodes)
    text = "has no LSTM node"
    if steps:
        text += (
            f", but an LSTM as single operations (Sigmoid, Tanh, products and sums of {steps} "
            f"step{'s' * (steps > 1)}), which are not read"
        )
    if ways:
        more = f" and {len(ways) - MOST_LISTED} more" if len(ways) > MOST_LISTED else ""
        weights = "its weights are" if steps else "weights of an LSTM are"
        return f"{text}; {weights} there under PyTorch's names: {' or '.join(ways[:MOST_LISTED])}{more}"
    if steps:
        return f"{text}; its weights are in {arrays}, under other names and in the exporter's order of gates"
    return text


def _way(shapes: dict[str, tuple[int, ...]], prefix: str, arrays: str) -> str:
    """The call that makes the net of the tensors of this prefix."""
    own = [
        name
        for name in shapes
        if name.startswith(prefix)
        and (NAME.fullmatch(name[len(prefix) :]) or name[len(prefix) :] in candidates.CELL_NAMES)
    ]
    try:
        candidates.find(shapes, prefix)
    except ValueError:  # constants of the graph next to them
        return f"LSTM.from_torch({{name: {arrays}[name] for name in {own!r}}})"
    return f"LSTM.from_torch({arrays}, prefix={prefix.removesuffix('.')!r})"


def _is_step(scope: Scope, node: Any) -> bool:
    """Whether a node gives h = o * tanh(f * c + i * g)."""
    for gate, other in _factors((scope, node)):
        if _origin(*gate, GATES) and (tanh := _origin(*other, ("Tanh",))) is not None:
            cell = _origin(tanh[0], tanh[1].input[0] if tanh[1].input else "", ("Add", "Sum"))
            if cell is not None and _is_cell_sum(*cell):
                return True
    return False


def _is_cell_sum(scope: Scope, node: Any) -> bool:
    """Whether a sum is f * c + i * g."""
    terms = [_origin(scope, name, ("Mul",)) for name in node.input]
    if len(terms) != 2:
        return False
    return any(
        any(_origin(*gate, GATES) and _origin(*other, ("Tanh",)) for gate, other in _factors(new))
        and any(_origin(*gate, GATES) for gate, _ in _factors(kept))
        for new, kept in itertools.permutations(terms)
    )


def _factors(place: tuple[Scope, Any] | None) -> list[tuple[tuple[Scope, str], tuple[Scope, str]]]:
    """The two inputs of a product, in both orders; none of anything else."""
    if place is None or place[1].op_type != "Mul" or len(place[1].input) != 2:
        return []
    first, second = ((place[0], name) for name in place[1].input)
    return [(first, second), (second, first)]


def _origin(scope: Scope, name: str, operators: tuple[str, ...]) -> tuple[Scope, Any] | None:
    """The node of these operators that a value comes from, through those in `PASSED`; None for another."""
    for _ in range(MOST_PASSED):
        origin = producer(scope, name)
        if origin is None or origin[1].domain not in STANDARD:
            return None
        scope, node, _ = origin
        if node.op_type in operators:
            return scope, node
        if node.op_type not in PASSED or not node.input:
            return None
        name = node.input[0]
    return None
