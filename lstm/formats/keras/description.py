"""Keras's description of layers and models, as get_config gives it and its files hold it: what is recurrent.

Nothing of Keras is imported and no object is made of a description; it is read as the JSON that it is.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from .graph import graph_of, layers_of, name_of, source_of
from .layers import LayerConfig, Names, Object, Version, class_of, config_of
from .recurrent import drops, is_recurrent, read_layer

DEEPEST = 20
MODELS = ("Functional", "Model", "Sequential")


class Description(NamedTuple):
    """The recurrent layers of a model."""

    configs: list[LayerConfig]
    feeds: dict[Names, Names]  # by names: which of them takes its input from which other one alone
    # Names and group of every layer that may hold others untold, as those of the user's own classes do.
    opaque: list[tuple[Names, str]]
    names: set[str]  # of the outermost model's layers; "" is in it if one has none


class _Place(NamedTuple):
    """Where a description is within that of the whole model."""

    names: Names
    group: str  # that its weights are in
    training: bool  # whether it is called with training=True
    is_wrapped: bool = False  # by a TimeDistributed
    depth: int = 0

    def inner(self, name: str, group: str, training: bool = False, is_wrapped: bool = False) -> _Place:
        """That of a layer within it; ValueError if it is too deep."""
        if self.depth == DEEPEST:
            raise ValueError(f"its models are nested more than {DEEPEST} deep")
        training, is_wrapped = self.training or training, self.is_wrapped or is_wrapped
        return _Place((*self.names, name), self.group + group, training, is_wrapped, self.depth + 1)


def find_layers(description: Object, version: Version) -> Description:
    """All recurrent layers of a model, or one that is in none, and how they feed one another."""
    found = Description([], {}, [], {name_of(layer) for layer in layers_of(description)})
    name = name_of(description)
    is_model = bool(layers_of(description))
    _search(description, _Place((name,) if name and not is_model else (), "", False), version, found)
    return found


def _search(layer: Object, place: _Place, version: Version, found: Description) -> LayerConfig | None:
    """Add what is recurrent in a layer or model; return the layer if it is that itself."""
    if is_recurrent(layer):
        config = read_layer(layer, place.names, place.group, version)
        random = (
            ["it has dropout and is called with training=True"] if place.training and drops(layer) else []
        )
        config = _with_random(config._replace(is_wrapped=place.is_wrapped), random)
        found.configs.append(config)
        return config
    is_model = bool(layers_of(layer))
    is_described = class_of(layer) in MODELS or (is_model and class_of(layer))
    if isinstance(layer.get("class_name"), str) and not is_described:
        found.opaque.append((place.names, place.group))
    if is_model:
        _search_model(layer, place, version, found)
        return None
    is_wrapped = class_of(layer) == "TimeDistributed"
    for group, inner in _held(layer):
        name = name_of(inner) or group.strip("/")
        _search(inner, place.inner(name, group, is_wrapped=is_wrapped), version, found)
    return None


def _search_model(model: Object, place: _Place, version: Version, found: Description) -> None:
    """Add what is recurrent in a model, and which of its own layers feed one another."""
    graph = graph_of(model, place.training)
    own: dict[str, int] = {}
    for group, layer in _saved(layers_of(model)):
        name = name_of(layer)
        inner = place.inner(name or group, f"layers/{group}/", name in graph.training)
        if _search(layer, inner, version, found) is not None:
            own[name] = len(found.configs) - 1
    for name, number in own.items():
        source, random = source_of(graph, name)
        if source in own:
            found.feeds[(*place.names, name)] = (*place.names, source)
            found.configs[number] = _with_random(found.configs[number], random)


def _with_random(config: LayerConfig, calls: list[str]) -> LayerConfig:
    """The layer with more of what makes its outputs random."""
    if not calls:
        return config
    return config._replace(random=" and ".join([*([config.random] if config.random else []), *calls]))


def _held(layer: Object) -> Iterator[tuple[str, Object]]:
    """The descriptions that the options of a layer hold, as a wrapper's do, each with its group."""
    for key, value in config_of(layer).items():
        if isinstance(value, dict) and isinstance(value.get("class_name"), str):
            yield f"{key}/", value
        elif isinstance(value, list):
            inner = [one for one in value if isinstance(one, dict) and isinstance(one.get("class_name"), str)]
            yield from ((f"{key}/{group}/", one) for group, one in _saved(inner))


def _saved(layers: list[Object]) -> Iterator[tuple[str, Object]]:
    """Layers with the names under which Keras 3 saves them: the class's, and a number from the second on."""
    used: Counter[str] = Counter()
    for layer in layers:
        name = snake_case(str(layer["class_name"]).rpartition(">")[2])
        yield name + (f"_{used[name]}" if used[name] else ""), layer
        used[name] += 1


def snake_case(name: str) -> str:
    """A class's name as Keras 3 writes it in its files."""
    name = re.sub(r"\W+", "", name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()
