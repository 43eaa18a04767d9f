"""Which layers of fused operators are one net: each takes what the one before gives, and no other does."""

from __future__ import annotations

from ..errors import FormatError
from .directions import Unit


def order(units: list[Unit]) -> list[Unit]:
    """The layers from the first to the last; FormatError if they are not those of one net."""
    for unit in units:
        if unit.problem is not None:
            raise unit.problem
        if unit.sites[0].graph is not units[0].sites[0].graph:
            raise FormatError("they are in several graphs")
        for site in unit.sites:
            if (problem := site.foreign_states()) is not None:
                raise FormatError(f"{site.name!r} {problem}")
    by_output = {unit.output: unit for unit in units if unit.output is not None}
    above: dict[int, Unit] = {}
    first = []
    for unit in units:
        lower = by_output.get(unit.origins[0].tensor)
        if lower is None:
            first.append(unit)
        else:
            _check_link(lower, unit)
            above[id(lower)] = unit
    ordered = first[:1]
    while ordered and (upper := above.pop(id(ordered[-1]), None)) is not None:
        ordered.append(upper)
    if len(first) != 1 or len(ordered) != len(units):
        raise FormatError("they do not feed one another alone")
    return ordered


def _check_link(lower: Unit, upper: Unit) -> None:
    """FormatError if one layer does not go on from another as the layer above of a net does."""
    names = f"{lower.name!r} and {upper.name!r}"
    if lower.directions != upper.directions:
        raise FormatError(f"{names} differ in the number of directions")
    if lower.merge != upper.merge:
        raise FormatError(f"{names} differ in how their directions are merged")
    if (what := lower.settings[0].differs(upper.settings[0])) is not None:
        raise FormatError(f"{names} differ in {what}")
    if upper.is_reversed:
        raise FormatError(f"{upper.name!r} takes the output of {lower.name!r} from the end")
    if any(one.time_axis != lower.time_axis for one in upper.origins):
        raise FormatError(f"{upper.name!r} takes the time of {lower.name!r} for the batch")
    takers: dict[int, set[int]] = {}
    for one in upper.origins:
        for number, taker in one.path:
            takers.setdefault(number, set()).add(taker)
    graph = upper.sites[0].graph
    for number, own in takers.items():
        if graph.uses(number) != len(own):
            raise FormatError(f"others than {upper.name!r} take the output of {lower.name!r}, too")
