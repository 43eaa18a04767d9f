"""LSTM nodes that are the layers of one net: between them, directions are put side by side and no more.

That is proven by sending a number for every element of the outputs through the nodes between.

Shapes: B batch, T time, H hidden, D directions. Y is (T, D, B, H), or (B, T, D, H) where layout is 1.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from .. import FormatError
from . import node as nodes_of
from .constants import LONGEST_CHAIN, Constants, Place, producer
from .model import STANDARD, Found, Model, Scope, is_lstm
from .node import Attributes
from .operators import OPERATORS

# Pairs of T and B that no arrangement but the right one suits both of.
SIZES = ((3, 2), (2, 5))
LARGEST = 1 << 21  # elements; float32 has a number for each


def order(model: Model, found: Sequence[Found], said: Sequence[Attributes]) -> list[int]:
    """The nodes' numbers from the first layer to the last; FormatError, with why, where they are no such."""
    below = _below(found)
    first = [k for k, k_below in enumerate(below) if k_below is None]
    ordered = first[:1]
    while len(first) == 1 and below.count(ordered[-1]) == 1:
        ordered.append(below.index(ordered[-1]))
    if len(ordered) != len(found) or len(first) != 1:
        raise FormatError("they do not take each other's outputs, one after the other")
    for k, above in itertools.pairwise(ordered):
        _hold_alike(found[k], found[above], said[k], said[above])
        _hold_plain(model, found[k], found[above], said[k], said[above])
    return ordered


def _below(found: Sequence[Found]) -> list[int | None]:
    """For each node the number of the one whose outputs it takes; FormatError where it takes several."""
    outputs = {
        (f.scope, f.node.output[0]): k for k, f in enumerate(found) if f.node.output and f.node.output[0]
    }
    below: list[int | None] = []
    for f in found:
        reached = set(map(outputs.get, _sources(f.scope, f.node.input[0] if f.node.input else "")))
        taken = reached - {None}
        if len(taken) > 1 or (taken and None in reached):
            raise FormatError(f"{f.name!r} takes more than the outputs of one of them")
        below.append(taken.pop() if taken else None)
    return below


def _sources(scope: Scope, name: str) -> set[Place]:
    """What a value is made of, back through the operators that rearrange to outputs of LSTMs and all else."""
    sources: set[Place] = set()
    seen: set[Place] = set()
    waiting = [(scope, name)]
    while waiting:
        place = waiting.pop()
        made = producer(*place)
        if place in seen or len(seen) > LONGEST_CHAIN:
            continue
        seen.add(place)
        if made is None:
            sources.add(place)
            continue
        scope, node, output = made
        if is_lstm(node):
            sources.add((scope, node.output[0] if output == 0 else ""))
        elif node.domain in STANDARD and node.op_type in OPERATORS:
            data = node.input if node.op_type == "Concat" else node.input[:1]
            waiting += [(scope, given) for given in data]
        else:
            sources.add((scope, node.output[output]))
    return sources


def _hold_alike(f: Found, above: Found, said: Attributes, said_above: Attributes) -> None:
    """FormatError where two nodes differ in what the layers of a net have in common."""
    for what, one, other in (
        ("direction", said.direction, said_above.direction),
        *((name, value, said_above.options[name]) for name, value in said.options.items()),
        *((name, _has(f, place), _has(above, place)) for name, place in (("biases", 3), ("peepholes", 7))),
        ("sequence_lens", _lengths(f), _lengths(above)),
    ):
        if one != other:
            raise FormatError(f"{f.name!r} and {above.name!r} differ in {what}")


def _has(f: Found, place: int) -> bool:
    return len(f.node.input) > place and bool(f.node.input[place])


def _lengths(f: Found) -> Place | None:
    """Where the lengths of a node's rows come from."""
    if not _has(f, 4):
        return None
    made = producer(f.scope, f.node.input[4])
    return (made[0], made[1].output[made[2]]) if made else (f.scope, f.node.input[4])


def _hold_plain(model: Model, f: Found, above: Found, said: Attributes, said_above: Attributes) -> None:
    """FormatError where the outputs of one node come to the next other than side by side."""
    where = f"from {f.name!r} to {above.name!r}"
    constants = Constants(model, where)
    H, other = (nodes_of.sizes(where, one, constants)[1] for one in (f, above))
    if other != H:
        raise FormatError(f"{f.name!r} and {above.name!r} differ in hidden_size")
    layouts = said.layout, said_above.layout
    if all(_is_plain(model, f, above, (*size, said.directions, H), layouts) for size in SIZES):
        return
    # A model of fixed T and B has them in its reshapes.
    for size in _fixed_sizes(above, constants):
        if _is_plain(model, f, above, (*size, said.directions, H), layouts):
            return
    raise FormatError(f"{above.name!r} takes the outputs of {f.name!r} in another arrangement")


def _is_plain(
    model: Model, f: Found, above: Found, size: tuple[int, int, int, int], layouts: tuple[int, int]
) -> bool:
    """Whether X of `above` is Y of `f` with its directions side by side, for one T, B, D, H."""
    T, B, D, H = size
    if T * B * D * H > LARGEST:
        return False
    labels = np.arange(T * D * B * H, dtype=np.float32)
    if layouts[0]:
        Y = labels.reshape(B, T, D, H)
        expected = Y.reshape(B, T, D * H)
    else:
        Y = labels.reshape(T, D, B, H)
        expected = Y.transpose(2, 0, 1, 3).reshape(B, T, D * H)
    constants = Constants(model, "", {(f.scope, f.node.output[0]): Y})
    try:
        X = constants.value(above.scope, above.node.input[0])
    except FormatError:
        return False
    if X.ndim == 3 and not layouts[1]:
        X = X.transpose(1, 0, 2)
    return np.array_equal(X, expected)


def _fixed_sizes(above: Found, constants: Constants) -> set[tuple[int, int]]:
    """T and B as the reshapes before a node have them, in both orders."""
    fixed: set[tuple[int, int]] = set()
    scope, name = above.scope, above.node.input[0]
    for _ in range(LONGEST_CHAIN):
        made = producer(scope, name)
        if made is None or is_lstm(made[1]) or not made[1].input:
            break
        scope, node, _ = made
        if node.op_type == "Reshape" and len(node.input) > 1:
            try:
                target = constants.value(scope, node.input[1])
            except FormatError:
                target = np.zeros(0, np.int64)
            if target.shape in ((3,), (4,)) and target.dtype.kind == "i" and (target[:2] > 0).all():
                first, second = (int(n) for n in target[:2])
                fixed |= {(first, second), (second, first)}
        name = node.input[0]
    return fixed
