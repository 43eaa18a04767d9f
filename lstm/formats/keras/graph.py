"""The graph of a described model: which layer takes whose output, and what is called with training=True."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

from .layers import Object, class_of, config_of

# Layers that hand their input on at inference, and the option that says how much they change in training.
PASS = {
    "ActivityRegularization": None,
    "AlphaDropout": "rate",
    "Dropout": "rate",
    "GaussianDropout": "rate",
    "GaussianNoise": "stddev",
    "Identity": None,
    "InputLayer": None,
    "SpatialDropout1D": "rate",
}


class Graph(NamedTuple):
    """What a model's description says of the calls of its layers, all by name."""

    links: dict[str, str]  # the layer whose first output is all that a layer takes
    uses: Counter[str]
    passing: dict[str, bool]  # those that hand on their input, and whether they change it nevertheless
    training: set[str]  # called with training=True


def layers_of(model: Object) -> list[Object]:
    """The descriptions of a model's layers; [] of what is no model."""
    config = model.get("config")
    layers = config.get("layers") if isinstance(config, dict) else config
    if not isinstance(layers, list):
        return []
    return [layer for layer in layers if isinstance(layer, dict) and isinstance(layer.get("class_name"), str)]


def name_of(layer: Object) -> str:
    """The name of a layer within its model."""
    return str(layer.get("name") or config_of(layer).get("name") or "")


def graph_of(model: Object, training: bool) -> Graph:
    """The graph of a model, which may itself be called with training=True."""
    named = [(name_of(layer), layer) for layer in layers_of(model)]
    called = {name for name, layer in named if training or _trains(layer.get("inbound_nodes"))}
    passing = {
        name: name in called and bool(config_of(layer).get(PASS[class_of(layer)] or ""))
        for name, layer in named
        if class_of(layer) in PASS
    }
    if class_of(model) == "Sequential":
        chain = [name for name, _ in named]
        return Graph(dict(zip(chain[1:], chain, strict=False)), Counter(chain), passing, called)
    links: dict[str, str] = {}
    uses = Counter(tensor[0] for tensor in _tensors(config_of(model).get("output_layers")))
    for name, layer in named:
        taken = list(_tensors(layer.get("inbound_nodes")))
        uses.update(tensor[0] for tensor in taken)
        if len(taken) == 1 and taken[0][1] == 0:
            links[name] = taken[0][0]
    return Graph(links, uses, passing, called)


def source_of(graph: Graph, name: str) -> tuple[str, list[str]]:
    """The layer whose output this one takes, "" if another uses it too; what it is randomly changed by."""
    random: list[str] = []
    for _ in range(len(graph.links)):
        name = graph.links.get(name, "")
        if graph.uses[name] != 1:
            return "", []
        if name not in graph.passing:
            return name, random
        random += [f"{name!r} before it is called with training=True"] * graph.passing[name]
    return "", []


def _tensors(value: Any) -> Iterator[tuple[str, int]]:
    """The (layer, number of its output) of every tensor in a description of calls, as Keras 2 or 3 has it."""
    stack = [value]
    while stack:
        value = stack.pop()
        if isinstance(value, dict):
            history = config_of(value).get("keras_history")
            if history is not None:
                stack.append(history)
            else:
                stack += value.values()
        elif isinstance(value, list | tuple):  # a tuple in a live model's description
            if len(value) >= 3 and isinstance(value[0], str) and all(type(v) is int for v in value[1:3]):
                yield value[0], value[2]
                stack += value[3:]
            else:
                stack += value


def _trains(value: Any) -> bool:
    """Whether a description of calls has one with training=True."""
    stack = [value]
    while stack:
        value = stack.pop()
        if isinstance(value, dict):
            if value.get("training") is True:
                return True
            stack += value.values()
        elif isinstance(value, list | tuple):
            stack += value
    return False
