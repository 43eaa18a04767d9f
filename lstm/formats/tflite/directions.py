"""What feeds a fused operator, and two of them as the two directions of one layer.

A converter writes a bidirectional layer as two operators: one takes the input, the other the input that
REVERSE_V2 has turned round in time; their outputs, the second turned back, are merged.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from ..errors import FormatError
from .model import Graph, Operator
from .node import FUSED, ONE, Settings, Site

LONGEST_CHAIN = 20
KEPT = ("REVERSE_V2", "STRIDED_SLICE", "TRANSPOSE")  # operators that rearrange
MERGES = {"CONCATENATION": "concat", "ADD": "sum", "MUL": "mul"}
MOST_SITES = 1000
MOST_VALUES = 8  # of a constant that says how an operator rearranges


class Origin(NamedTuple):
    """A tensor from which an operator's input comes, turned round in time or not."""

    tensor: int
    is_reversed: bool
    time_axis: int  # of the tensor
    path: tuple[tuple[int, int], ...]  # each tensor on the way, and the index of the operator that takes it


class Reach(NamedTuple):
    """What has become of an operator's output."""

    site: int  # the number of the fused operator
    is_reversed: bool
    time_axis: int
    is_last: bool  # the last step alone


class Unit(NamedTuple):
    """One layer: a fused operator, or two that are its directions."""

    sites: tuple[Site, ...]
    settings: tuple[Settings, ...]
    origins: tuple[Origin, ...]
    output: int | None  # the tensor of all its steps
    time_axis: int  # of that
    name: str
    merge: str = "concat"
    problem: FormatError | None = None  # why it cannot be read; then it has no settings

    @property
    def is_pair(self) -> bool:
        """Whether it is of two operators."""
        return len(self.sites) == 2

    @property
    def directions(self) -> int:
        """D."""
        return 2 if self.is_pair else self.settings[0].directions

    @property
    def is_reversed(self) -> bool:
        """Whether it runs from the end of what feeds it."""
        return not self.is_pair and self.origins[0].is_reversed


def origin(graph: Graph, index: int, site: Site, settings: Settings) -> Origin:
    """What feeds the operator of this index, past those that turn time round or swap it with the batch."""
    number, axis, is_reversed = site.number(0), 0 if settings.time_major else 1, False
    path = [(number, index)]
    for _ in range(LONGEST_CHAIN):
        at = graph.maker(number)
        if at is None or graph.kinds[at] not in KEPT:
            break
        maker = graph.operator(at)
        if not maker.inputs or maker.inputs[0] < 0:
            break
        if _swaps(graph, maker):
            axis = 1 - axis
        elif settings.directions == 1 and _reverses(graph, maker, axis):
            is_reversed = not is_reversed
        else:
            break
        number = maker.inputs[0]
        path.append((number, at))
    return Origin(number, is_reversed, axis, tuple(path))


def units(graph: Graph) -> list[Unit]:
    """The layers that the fused operators of a graph are, in the order of the first of each."""
    sites: list[Site] = []
    settings: list[Settings] = []
    origins: list[Origin] = []
    found: dict[int, Unit] = {}  # by the index of an operator
    for index, kind in enumerate(graph.kinds):
        if kind not in FUSED:
            continue
        if len(sites) + len(found) == MOST_SITES:
            raise FormatError(
                f"{graph.model.where} has over {MOST_SITES} LSTM operators, and no more are read"
            )
        site = Site(graph, graph.operator(index))
        try:
            own = site.settings()
        except FormatError as error:
            found[index] = Unit((site,), (), (), None, 0, site.name, problem=error)
            continue
        sites.append(site)
        settings.append(own)
        origins.append(origin(graph, index, site, own))
    pairs = _pairs(graph, sites, settings, origins)
    for (fw, bw), (output, axis, merge) in pairs.items():
        both = (fw, bw)
        found[min(origins[k].path[0][1] for k in both)] = Unit(
            tuple(sites[k] for k in both),
            tuple(settings[k] for k in both),
            tuple(origins[k] for k in both),
            None if axis is None else output,
            axis or 0,
            graph.tensor(output).name,
            merge,
        )
    halves = {k for pair in pairs for k in pair}
    for k, (site, own) in enumerate(zip(sites, settings, strict=True)):
        if k not in halves:
            whole = site.operator.outputs[0] if own.directions == 1 or own.is_merged else None
            index, axis = origins[k].path[0][1], 0 if own.time_major else 1
            found[index] = Unit((site,), (own,), (origins[k],), whole, axis, site.name)
    return [found[index] for index in sorted(found)]


Merge = tuple[int, int | None, str]  # the tensor, its axis of time (None: of the last step), and how


def _pairs(
    graph: Graph, sites: list[Site], settings: list[Settings], origins: list[Origin]
) -> dict[tuple[int, int], Merge]:
    """By the operators that run forward and backward: what merges them, of pairs that are one layer."""
    merges = defaultdict(list)
    reached = _reached(graph, sites, settings)
    for operator in (graph.operator(k) for k, kind in enumerate(graph.kinds) if kind in MERGES):
        for pair, merge in _merge(graph, operator, reached, origins):
            first, second = (settings[k] for k in pair)
            if first.differs(second) is None and first.sizes == second.sizes:
                merges[pair].append(merge)
    pairs = {}
    for pair, several in merges.items():
        whole = [one for one in several if one[1] is not None]
        if len(whole) == 1 or (not whole and len(several) == 1):
            pairs[pair] = (whole or several)[0]
    # An operator that is half of two layers is none.
    halves = Counter(k for pair in pairs for k in pair)
    return {pair: merge for pair, merge in pairs.items() if all(halves[k] == 1 for k in pair)}


def _reached(graph: Graph, sites: list[Site], settings: list[Settings]) -> dict[int, Reach]:
    """By tensor: which operator's output it is, past those that keep its values."""
    reached = {
        site.operator.outputs[0]: Reach(k, False, 0 if own.time_major else 1, False)
        for k, (site, own) in enumerate(zip(sites, settings, strict=True))
        if site.operator.kind == ONE
    }
    waiting = list(reached)
    while waiting:
        number = waiting.pop()
        before = reached[number]
        for taker in (graph.operator(at) for at in graph.takers(number) if graph.kinds[at] in KEPT):
            if not taker.inputs or taker.inputs[0] != number or len(taker.outputs) != 1:
                continue
            if before.is_last:
                continue
            if _swaps(graph, taker):
                after = before._replace(time_axis=1 - before.time_axis)
            elif _reverses(graph, taker, before.time_axis):
                after = before._replace(is_reversed=not before.is_reversed)
            elif _takes_last(graph, taker, before.time_axis):
                after = before._replace(is_last=True)
            else:
                continue
            if taker.outputs[0] not in reached:
                reached[taker.outputs[0]] = after
                waiting.append(taker.outputs[0])
    return reached


def _merge(
    graph: Graph, operator: Operator, reached: dict[int, Reach], origins: list[Origin]
) -> Iterator[tuple[tuple[int, int], Merge]]:
    """The forward and the backward operator that this one merges, and how."""
    if len(operator.inputs) != 2 or len(operator.outputs) != 1:
        return
    if not all(number in reached for number in operator.inputs):
        return
    sides = [reached[number] for number in operator.inputs]
    first, second = (origins[side.site] for side in sides)
    if (first.tensor, first.time_axis) != (second.tensor, second.time_axis):
        return
    if first.is_reversed == second.is_reversed or operator.options is None:
        return
    if graph.model.functions.get(operator.options.FusedActivationFunction()) != "NONE":
        return
    merge = MERGES[operator.kind]
    forward, backward = (sides[1], sides[0]) if first.is_reversed else (sides[0], sides[1])
    if merge == "concat":
        rank = len(graph.tensor(operator.inputs[0]).shape)
        if first.is_reversed or operator.options.Axis() not in (-1, rank - 1):
            return
    pair, output = (forward.site, backward.site), operator.outputs[0]
    if merge == "sum" and (half := _halved(graph, output)) is not None:
        merge, output = "mean", half
    if forward.is_last and backward.is_last:
        if not forward.is_reversed and not backward.is_reversed:
            yield pair, (output, None, merge)
        return
    if forward.time_axis != backward.time_axis or forward.is_last or backward.is_last:
        return
    if not forward.is_reversed and backward.is_reversed:
        yield pair, (output, forward.time_axis, merge)


def _halved(graph: Graph, number: int) -> int | None:
    """The tensor that is half of this one, if nothing else takes this one."""
    takers = graph.takers(number)
    if graph.uses(number) != 1 or len(takers) != 1:
        return None
    taker = graph.operator(takers[0])
    if taker.kind not in ("MUL", "DIV") or len(taker.inputs) != 2 or len(taker.outputs) != 1:
        return None
    if taker.options is None or graph.model.functions.get(taker.options.FusedActivationFunction()) != "NONE":
        return None
    if taker.kind == "DIV" and taker.inputs[0] != number:
        return None
    factor = _constant(graph, taker.inputs[1 if taker.inputs[0] == number else 0])
    expected = 0.5 if taker.kind == "MUL" else 2.0
    if factor is None or factor.size != 1 or factor.ndim > 3 or factor.item() != expected:
        return None
    return taker.outputs[0]


# Operators that keep values


def _constant(graph: Graph, number: int) -> np.ndarray | None:
    """The values of a small constant, None for what is none."""
    if number < 0 or graph.maker(number) is not None or graph.is_input(number):
        return None
    is_small = math.prod(graph.tensor(number).shape) <= MOST_VALUES
    return graph.values(number) if is_small else None


def _swaps(graph: Graph, operator: Operator) -> bool:
    """Whether it is a transpose of batch and time."""
    if operator.kind != "TRANSPOSE" or len(operator.inputs) != 2:
        return False
    order = _constant(graph, operator.inputs[1])
    return order is not None and order.tolist() == [1, 0, 2]


def _reverses(graph: Graph, operator: Operator, axis: int) -> bool:
    """Whether it turns this axis round, of three, and no other."""
    if operator.kind != "REVERSE_V2" or len(operator.inputs) != 2:
        return False
    axes = _constant(graph, operator.inputs[1])
    return axes is not None and axes.reshape(-1).tolist() in ([axis], [axis - 3])


def _takes_last(graph: Graph, operator: Operator, axis: int) -> bool:
    """Whether it takes the last step along this axis of time, which goes, and all of the others."""
    if operator.kind != "STRIDED_SLICE" or len(operator.inputs) != 4 or operator.options is None:
        return False
    shape = graph.tensor(operator.inputs[0]).shape
    given = [_constant(graph, number) for number in operator.inputs[1:]]
    values = [one.tolist() for one in given if one is not None and one.shape == (3,)]
    if len(shape) != 3 or len(values) != 3:
        return False
    begin, end, strides = values
    options = operator.options
    if options.ShrinkAxisMask() != 1 << axis or options.EllipsisMask() or options.NewAxisMask():
        return False
    if options.BeginMask() >> axis & 1 or begin[axis] not in (-1, shape[axis] - 1) or strides[axis] != 1:
        return False
    for other in {0, 1, 2} - {axis}:
        is_whole = options.BeginMask() >> other & 1 or begin[other] == 0
        is_whole = is_whole and (options.EndMask() >> other & 1 or end[other] >= shape[other])
        if not is_whole or strides[other] != 1:
            return False
    return True
