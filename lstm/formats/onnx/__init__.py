"""ONNX: an LSTM node of a model, or several that are the layers of one net, as a net."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ...core import state_dict as states_of
from .. import FormatError
from . import node as nodes_of
from . import stack, write
from .constants import Constants
from .model import Found, Model, parse
from .node import Attributes

if TYPE_CHECKING:
    from ... import model as models

MOST_LISTED = 10


def load(
    path: str | os.PathLike[str],
    backend: Literal["native", "numpy"],
    node: str | int | None = None,
    external_data: bool = False,
) -> models.LSTM:
    """The net of a file's LSTM nodes, or of the one that `node` names."""
    from ... import model as models

    return models.LSTM.from_onnx(path, node, external_data=external_data, backend=backend)


def save(net: models.LSTM, path: str | os.PathLike[str]) -> None:
    """Write a model of one LSTM node a layer; an old file is replaced whole."""
    write.save(net, path)


def read(
    source: Any, node: str | int | None, external_data: bool = False
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The state dict of an LSTM node or of a stack of them, and the options that it does not tell."""
    if node is not None and (isinstance(node, bool) or not isinstance(node, int | str)):
        raise TypeError(f"node is {node!r}, but must be a name or a number")
    where, layers, options = _layers(source, node, external_data)
    state: dict[str, np.ndarray] = {}
    for k, arrays in enumerate(layers):
        state |= nodes_of.state_dict(arrays, k)
    try:
        states_of.from_state_dict(state).architecture.with_options(**options)
    except (ValueError, TypeError) as error:
        raise FormatError(f"{where}: {error}") from error
    return state, options


def nodes(source: Any, external_data: bool = False) -> list[dict[str, Any]]:
    """Name, input_size, hidden_size and direction of every LSTM node, None for what is unclear."""
    model = parse(source, external_data)
    return [_described(model, found) for found in model.lstm_nodes()]


def names(source: Any, external_data: bool = False) -> list[tuple[str, ...]]:
    """For every LSTM node its names and its outputs', by which `node` finds it if no other has them."""
    return [_names(found) for found in parse(source, external_data).lstm_nodes()]


def _names(found: Found) -> tuple[str, ...]:
    return tuple(name for name in (found.name, found.node.name, *found.node.output) if name)


def _layers(
    source: Any, node: str | int | None, external_data: bool
) -> tuple[str, list[dict[str, np.ndarray]], dict[str, Any]]:
    """Name, arrays of every layer, and options; the model itself is let go before they are rearranged."""
    model = parse(source, external_data)
    where = model.where
    try:
        picked = _pick(model, model.lstm_nodes(), node)
        layers = []
        for found, said in picked:
            where = f"{model.where}: node {found.name!r}"
            layers.append(nodes_of.arrays(where, found, said, Constants(model, where)))
        return where, layers, picked[0][1].options
    except (FormatError, MemoryError):
        raise
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise FormatError(f"{where}: {error}") from error
    finally:
        model.close()


def _pick(model: Model, found: list[Found], node: str | int | None) -> list[tuple[Found, Attributes]]:
    """The node asked for, or all of them from the first layer on; FormatError where that is not clear."""
    if not found:
        raise FormatError(f"{model.where} has no LSTM node")
    if node is None and len(found) > 1:
        said = [_attributes(model, f) for f in found]
        try:
            ordered = stack.order(model, found, said)
        except FormatError as error:
            raise FormatError(
                f"{model.where} has {len(found)} LSTM nodes that are no layers of one net ({error}); pick "
                f"one by node=: {_listed(model, found)}"
            ) from error
        return [(found[k], said[k]) for k in ordered]
    picked = found[0] if node is None else _named(model, found, node)
    return [(picked, _attributes(model, picked))]


def _attributes(model: Model, found: Found) -> Attributes:
    where = f"{model.where}: node {found.name!r}"
    try:
        return nodes_of.attributes(where, found)
    except FormatError:
        raise
    except (ValueError, TypeError) as error:
        raise FormatError(f"{where}: {error}") from error


def _named(model: Model, found: list[Found], node: str | int) -> Found:
    """The node of this name, of an output of this name, or of this number."""
    if isinstance(node, int):
        if not -len(found) <= node < len(found):
            raise FormatError(
                f"{model.where} has {len(found)} LSTM nodes, so none of number {node}: "
                f"{_listed(model, found)}"
            )
        return found[node]
    named = [f for f in found if node in _names(f)]
    if len(named) != 1:
        raise FormatError(
            f"{model.where} has {len(named)} LSTM nodes {node!r}; it has {_listed(model, found)}"
        )
    return named[0]


def _listed(model: Model, found: list[Found]) -> str:
    """The first of many nodes by name and shape."""
    described = []
    for one in (_described(model, f) for f in found[:MOST_LISTED]):
        name, *rest = one.values()
        sizes = ("?" if value is None else value for value in rest)
        described.append("{!r} (input_size={}, hidden_size={}, {})".format(name, *sizes))
    more = len(found) - MOST_LISTED
    return ", ".join(described) + (f" and {more} more" if more > 0 else "")


def _described(model: Model, found: Found) -> dict[str, Any]:
    """A node's name, sizes and direction, None for what its weights or attributes do not tell."""
    sizes: tuple[int | None, int | None] = None, None
    direction = None
    try:
        direction = nodes_of.attributes("", found).direction
        sizes = nodes_of.sizes("", found, Constants(model, ""))
    except (ValueError, TypeError):  # said by the attempt to load the node
        pass
    return {"name": found.name, "input_size": sizes[0], "hidden_size": sizes[1], "direction": direction}
