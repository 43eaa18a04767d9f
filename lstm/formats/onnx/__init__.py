"""ONNX: an LSTM node of a model, or several that are the layers of one net."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import numpy as np

from ...core.precision import Int8Rows
from ...core.state_dict import from_state_dict
from ...core.weights import Parts
from .. import small_weights
from ..errors import FormatError
from ..option_names import option
from . import stack, unrolled
from .constants import Constants
from .initial import check_choice, check_layer_states, check_states, state_notes, weight_notes
from .model import ExternalDataError, Model, NodeSite, parse
from .node import Attributes, read_arrays, read_attributes, read_sizes, to_rows, to_state_dict
from .tensors import tensors
from .writer import write

__all__ = ["names", "nodes", "notes", "read", "tensors", "write"]

MOST_LISTED = 10


def read(
    source: Any, node: str | int | None = None, external_data: bool = False, initial_states: str = "raise"
) -> Parts:
    """The net of the LSTM nodes of a model, a path or a ModelProto, or of the one that `node` picks.

    States and lengths of the model that change what it computes raise, unless `initial_states` is "drop".
    """
    check_choice(initial_states)
    if node is not None and (isinstance(node, bool) or not isinstance(node, int | str)):
        raise TypeError(f"node is {node!r}, but must be a name or a number")
    where, layers, options, are_integers = _layers(source, node, external_data, initial_states)
    state: dict[str, np.ndarray] = {}
    rows: dict[str, Int8Rows] = {}
    for k, arrays in enumerate(layers):
        rows |= to_rows(arrays, k)
        state |= to_state_dict(arrays, k)
    try:
        net = from_state_dict(state, **options)
    except (ValueError, TypeError) as error:
        raise FormatError(f"{where}: {error}") from error
    if not are_integers:
        return net
    kept = small_weights.with_rows(net, rows)
    return kept or net._replace(unkept=f"{where}: {small_weights.UNKEPT}")


def notes(
    source: Any, node: str | int | None = None, external_data: bool = False, initial_states: str = "raise"
) -> list[str]:
    """What a net leaves to its caller of the nodes that `read` makes it of, or has in another form."""
    found: dict[str, None] = {}
    with closing(parse(source, external_data)) as model:
        for site, _ in _pick(model, model.lstm_nodes(), node):
            constants = Constants(model, f"{model.where}: node {site.name!r}")
            found |= dict.fromkeys((*weight_notes(site), *state_notes(site, constants)))
    return list(found)


def nodes(source: Any, external_data: bool = False) -> list[dict[str, Any]]:
    """Name, input_size, hidden_size and direction of every LSTM node, None for what is unclear."""
    with closing(parse(source, external_data)) as model:
        return [_described(model, site) for site in model.lstm_nodes()]


def names(source: Any, external_data: bool = False) -> list[tuple[int, tuple[str, ...]]]:
    """For every LSTM node its number, and its names and its outputs' by which it can be picked."""
    with closing(parse(source, external_data)) as model:
        return list(enumerate(_names(site) for site in model.lstm_nodes()))


def _names(site: NodeSite) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for name in (site.name, site.node.name, *site.node.output) if name))


def _layers(
    source: Any, node: str | int | None, external_data: bool, initial_states: str
) -> tuple[str, list[dict[str, np.ndarray]], dict[str, Any], bool]:
    """Name, arrays of every layer, options, and whether all nodes have integers of 8 bits.

    The model itself is let go before the arrays are rearranged.
    """
    model = parse(source, external_data)
    where = model.where
    try:
        picked = _pick(model, model.lstm_nodes(), node)
        layers = []
        for site, attributes in picked:
            where = f"{model.where}: node {site.name!r}"
            constants = Constants(model, where)
            layers.append(read_arrays(where, site, attributes, constants))
            H = layers[-1]["R"].shape[2]
            check_states(where, site, attributes, H, constants, initial_states)
        are_integers = all(site.node.op_type != "LSTM" for site, _ in picked)
        return where, layers, picked[0][1].options, are_integers
    except (FormatError, MemoryError):
        raise
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise FormatError(f"{where}: {error}") from error
    finally:
        model.close()


def _pick(model: Model, sites: list[NodeSite], node: str | int | None) -> list[tuple[NodeSite, Attributes]]:
    """The node asked for, or all of them from the first layer on; FormatError if that is not clear."""
    if not sites:
        raise FormatError(f"{model.where} {unrolled.advice(model)}")
    if node is None and len(sites) > 1:
        attributes = [_attributes(model, site) for site in sites]
        try:
            ordered = stack.order(model, sites, attributes)
            for k in ordered[1:]:
                check_layer_states(sites[k])
        except ExternalDataError:
            raise
        except FormatError as error:
            raise FormatError(
                f"{model.where} has {len(sites)} LSTM nodes that are no layers of one net ({error}); pick "
                f"one by {option('node')}: {_listed(model, sites)}"
            ) from error
        return [(sites[k], attributes[k]) for k in ordered]
    picked = sites[0] if node is None else _named(model, sites, node)
    return [(picked, _attributes(model, picked))]


def _attributes(model: Model, site: NodeSite) -> Attributes:
    where = f"{model.where}: node {site.name!r}"
    try:
        return read_attributes(where, site)
    except FormatError:
        raise
    except (ValueError, TypeError) as error:
        raise FormatError(f"{where}: {error}") from error


def _named(model: Model, sites: list[NodeSite], node: str | int) -> NodeSite:
    """The node of this name, of an output of this name, or of this number."""
    if isinstance(node, int):
        if not -len(sites) <= node < len(sites):
            raise FormatError(
                f"{model.where} has {len(sites)} LSTM nodes, so none of number {node}: "
                f"{_listed(model, sites)}"
            )
        return sites[node]
    named = [site for site in sites if node in _names(site)]
    if len(named) != 1:
        raise FormatError(
            f"{model.where} has {len(named)} LSTM nodes {node!r}; it has {_listed(model, sites)}"
        )
    return named[0]


def _listed(model: Model, sites: list[NodeSite]) -> str:
    """The first of many nodes by name and shape."""
    described = []
    for one in (_described(model, site) for site in sites[:MOST_LISTED]):
        name, *rest = one.values()
        sizes = ("?" if value is None else value for value in rest)
        described.append("{!r} (input_size={}, hidden_size={}, {})".format(name, *sizes))
    more = len(sites) - MOST_LISTED
    return ", ".join(described) + (f" and {more} more" if more > 0 else "")


def _described(model: Model, site: NodeSite) -> dict[str, Any]:
    """A node's name, sizes and direction, None for what its weights or attributes do not give."""
    sizes: tuple[int | None, int | None] = None, None
    direction = None
    try:
        direction = read_attributes("", site).direction
        sizes = read_sizes("", site, Constants(model, ""))
    except (ValueError, TypeError):  # the attempt to load the node raises it again
        pass
    return {"name": site.name, "input_size": sizes[0], "hidden_size": sizes[1], "direction": direction}
