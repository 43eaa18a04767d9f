"""LSTM nodes that are the layers of one net: between them, directions are put side by side and no more.

That is proven by sending a number for every element of the outputs through the nodes between.

Shapes: B batch, T time, H hidden, D directions. Y is (T, D, B, H), or (B, T, D, H) if layout is 1.
"""

from __future__ import annotations

import itertools
from collections.abc import Container, Sequence

import numpy as np

from ..errors import FormatError
from .constants import LONGEST_CHAIN, Constants, Place, producer
from .model import STANDARD, ExternalDataError, Model, NodeSite, Scope, is_lstm
from .node import Attributes, read_sizes
from .operators import OPERATORS

# Pairs of T and B that no arrangement but the right one suits both of.
SIZES = ((3, 2), (2, 5))
LARGEST = 1 << 21  # elements; float32 has a number for each


def order(model: Model, sites: Sequence[NodeSite], attributes: Sequence[Attributes]) -> list[int]:
    """The nodes' numbers from the first layer to the last; FormatError, with why, if they are none."""
    below = _below(sites)
    first = [k for k, k_below in enumerate(below) if k_below is None]
    ordered = first[:1]
    while len(first) == 1 and below.count(ordered[-1]) == 1:
        ordered.append(below.index(ordered[-1]))
    if len(ordered) != len(sites) or len(first) != 1:
        raise FormatError("they do not take each other's outputs, one after the other")
    for k, above in itertools.pairwise(ordered):
        pair = (sites[k], attributes[k]), (sites[above], attributes[above])
        _check_alike(*pair)
        _check_arrangement(model, *pair)
    return ordered


def _below(sites: Sequence[NodeSite]) -> list[int | None]:
    """For each node the number of the one whose outputs it takes; FormatError if it takes several."""
    outputs = {
        (site.scope, site.node.output[0]): k
        for k, site in enumerate(sites)
        if site.node.output and site.node.output[0]
    }
    below: list[int | None] = []
    for site in sites:
        reached = set(map(outputs.get, sources(site.scope, site.node.input[0] if site.node.input else "")))
        taken = reached - {None}
        if len(taken) > 1 or (taken and None in reached):
            raise FormatError(f"{site.name!r} takes more than the outputs of one of them")
        below.append(taken.pop() if taken else None)
    return below


def sources(scope: Scope, name: str, ends: Container[str] = ("ConstantOfShape",)) -> set[Place]:
    """The sources of a value, back through the operators that rearrange to outputs of LSTMs and all else.

    The outputs of `ends` are sources, too.
    """
    sources: set[Place] = set()
    seen: set[Place] = set()
    waiting = [(scope, name)]
    while waiting:
        place = waiting.pop()
        origin = producer(*place)
        if place in seen or len(seen) > LONGEST_CHAIN:
            continue
        seen.add(place)
        if origin is None:
            sources.add(place)
            continue
        scope, node, output = origin
        if is_lstm(node):
            sources.add((scope, node.output[0] if output == 0 else ""))
        elif node.domain in STANDARD and node.op_type in OPERATORS and node.op_type not in ends:
            data = node.input if node.op_type == "Concat" else node.input[:1]
            waiting += [(scope, one) for one in data]
        else:
            sources.add((scope, node.output[output]))
    return sources


Layer = tuple[NodeSite, Attributes]


def _check_alike(lower: Layer, upper: Layer) -> None:
    """FormatError if two nodes differ in what the layers of a net have in common."""
    (site, attributes), (above, attributes_above) = lower, upper
    for what, one, other in (
        ("direction", attributes.direction, attributes_above.direction),
        *((name, value, attributes_above.options[name]) for name, value in attributes.options.items()),
        *((name, _has(site, place), _has(above, place)) for name, place in (("biases", 3), ("peepholes", 7))),
        ("sequence_lens", _lengths(site), _lengths(above)),
    ):
        if one != other:
            raise FormatError(f"{site.name!r} and {above.name!r} differ in {what}")


def _has(site: NodeSite, place: int) -> bool:
    return len(site.node.input) > place and bool(site.node.input[place])


def _lengths(site: NodeSite) -> Place | None:
    """Where the lengths of a node's rows come from."""
    if not _has(site, 4):
        return None
    origin = producer(site.scope, site.node.input[4])
    return (origin[0], origin[1].output[origin[2]]) if origin else (site.scope, site.node.input[4])


def _check_arrangement(model: Model, lower: Layer, upper: Layer) -> None:
    """FormatError if the outputs of one node come to the next other than side by side."""
    (site, attributes), (above, attributes_above) = lower, upper
    where = f"from {site.name!r} to {above.name!r}"
    constants = Constants(model, where)
    H, other = (read_sizes(where, one, constants)[1] for one in (site, above))
    if other != H:
        raise FormatError(f"{site.name!r} and {above.name!r} differ in hidden_size")
    layouts = attributes.layout, attributes_above.layout
    D = attributes.directions
    if all(_is_side_by_side(model, site, above, (*size, D, H), layouts) for size in SIZES):
        return
    # A model of fixed T and B has them in its reshapes.
    for size in _fixed_sizes(above, constants):
        if _is_side_by_side(model, site, above, (*size, D, H), layouts):
            return
    raise FormatError(f"{above.name!r} takes the outputs of {site.name!r} in another arrangement")


def _is_side_by_side(
    model: Model,
    site: NodeSite,
    above: NodeSite,
    size: tuple[int, int, int, int],
    layouts: tuple[int, int],
) -> bool:
    """Whether X of `above` is Y of `site` with its directions side by side, for one T, B, D, H."""
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
    constants = Constants(model, "", {(site.scope, site.node.output[0]): Y})
    try:
        X = constants.value(above.scope, above.node.input[0])
    except ExternalDataError:
        raise
    except FormatError:
        return False
    if X.ndim == 3 and not layouts[1]:
        X = X.transpose(1, 0, 2)
    return np.array_equal(X, expected)


def _fixed_sizes(above: NodeSite, constants: Constants) -> set[tuple[int, int]]:
    """T and B as the reshapes before a node have them, in both orders."""
    fixed: set[tuple[int, int]] = set()
    scope, name = above.scope, above.node.input[0]
    for _ in range(LONGEST_CHAIN):
        origin = producer(scope, name)
        if origin is None or is_lstm(origin[1]) or not origin[1].input:
            break
        scope, node, _ = origin
        if node.op_type == "Reshape" and len(node.input) > 1:
            try:
                target = constants.value(scope, node.input[1])
            except ExternalDataError:
                raise
            except FormatError:
                target = np.zeros(0, np.int64)
            if target.shape in ((3,), (4,)) and target.dtype.kind == "i" and (target[:2] > 0).all():
                first, second = (int(n) for n in target[:2])
                fixed |= {(first, second), (second, first)}
        name = node.input[0]
    return fixed
