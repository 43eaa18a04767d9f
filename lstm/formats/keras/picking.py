"""Which recurrent layers of a model are one net, and picking one of them by name, path or number."""

from __future__ import annotations

from typing import Any

from ..option_names import option
from .layers import Layer, LayerConfig, Names, UnsuitableLayer

LONGEST_PROBLEM = 100  # characters, in a list
NONE = "there is no LSTM layer: no LSTM, Bidirectional of one, or RNN of LSTM cells"


def check_pick(layer: Any) -> None:
    """TypeError for what picks no layer."""
    if not isinstance(layer, str | int | None) or isinstance(layer, bool):
        raise TypeError(f"layer is {layer!r}, but must be the name of a layer or its number")


def in_listed_order(layers: list[Layer]) -> list[Layer]:
    """The LSTMs, whose numbers pick them, before what else is recurrent."""
    return sorted(layers, key=lambda layer: not layer.config.is_lstm)


def pick(layers: list[Layer], feeds: dict[Names, Names], which: str | int | None) -> list[Layer]:
    """The layers of one net in order: the one asked for, or all; ValueError, which lists them, otherwise."""
    count = sum(layer.config.is_lstm for layer in layers)
    if not count and not (layers and isinstance(which, str)):
        raise ValueError(NONE + (f"; there are {_listed(layers)}" if layers else ""))
    if which is None:
        return _all(layers, feeds)
    if isinstance(which, int):
        if not -count <= which < len(layers):
            raise ValueError(f"there is no LSTM layer of number {which}; there are {_listed(layers)}")
        matching = [layers[which if which >= 0 else count + which]]
    else:
        matching = _named(layers, which)
    if len(matching) != 1:
        raise ValueError(f"there are {len(matching)} LSTM layers {which!r}; there are {_listed(layers)}")
    return _alone(matching[0])


def _all(layers: list[Layer], feeds: dict[Names, Names]) -> list[Layer]:
    """All layers as one net."""
    if len(layers) == 1:
        return _alone(layers[0])
    try:
        _check_problems(layers)
        return check(_in_order(layers, feeds))
    except UnsuitableLayer as error:
        raise ValueError(
            f"the LSTM layers cannot be one net: {error}; pick one by {option('layer')}: {_listed(layers)}"
        ) from error


def _alone(layer: Layer) -> list[Layer]:
    """A net of one layer."""
    try:
        _check_problems([layer])
        return check([layer])
    except UnsuitableLayer as error:
        parts = parts_of(layer)
        rest = f"; pick one of its parts by {option('layer')}: {_listed(parts)}" if parts else ""
        raise ValueError(f"the layer {layer.config.path!r} {error}{rest}") from error


def _named(layers: list[Layer], name: str) -> list[Layer]:
    """The layers of this path; else of this name or end of a path; else what such a layer holds or has."""
    exact = [layer for layer in layers if layer.config.path == name]
    if exact:
        return exact
    named = [layer for layer in layers if _goes_by(layer.config, name)]
    held = named or [one for one in layers if f"/{name}/" in f"/{one.config.path}"]
    if held:
        return held
    parts = [part for layer in layers for part in parts_of(layer)]
    return _named(parts, name) if parts else []


def _goes_by(config: LayerConfig, name: str) -> bool:
    """Whether a layer may be called so: by its path, its place in the file, or an end of its path."""
    paths = (config.path, config.alias, config.group.strip("/"))
    return name != "" and (name in paths or any(path.endswith(f"/{name}") for path in paths))


def names_of(config: LayerConfig) -> tuple[str, ...]:
    """What picks a layer, the best first."""
    return tuple(dict.fromkeys((config.path, config.group.strip("/"), config.name)))


def shown(layers: list[Layer]) -> list[Layer]:
    """The layers with the parts that are listed beside them: cells of a stack, sides that are no one net."""
    return [one for layer in layers for one in (layer, *_shown_parts(layer))]


def _shown_parts(layer: Layer) -> list[Layer]:
    """The parts of a layer that are worth a place in a list."""
    if len(layer.config.sides) == 2 and layer.config.problem is None:
        return []
    return [one for part in parts_of(layer) for one in (part, *_shown_parts(part))]


def parts_of(layer: Layer) -> list[Layer]:
    """Every side of two, or every cell of a stack, as a layer of its own."""
    config = layer.config
    if not layer.weights or len(config.cells) < 2:
        return []
    parts = []
    weights = iter(layer.weights)
    for side in config.sides:
        own = tuple(next(weights) for _ in side.cells)
        if len(config.sides) == 1:
            for cell, one in zip(side.cells, own, strict=True):
                parts.append(_part(config, cell.name, "", (side._replace(cells=(cell,)),), (one,)))
        else:
            alias = f"{config.path}/{('forward', 'backward')[len(parts)]}_layer"
            parts.append(_part(config, side.name, alias, (side,), own))
    return parts


def _part(
    config: LayerConfig, name: str, alias: str, sides: tuple[Any, ...], weights: tuple[Any, ...]
) -> Layer:
    """A layer that is part of another one."""
    own = config._replace(names=(*config.names, name), sides=sides, group="", alias=alias)
    own = own._replace(merge="concat", problem=None, gives_sides_apart=False)
    return Layer(own, weights)


def _in_order(layers: list[Layer], feeds: dict[Names, Names]) -> list[Layer]:
    """The layers from the first of a stack to its last; UnsuitableLayer if they are no stack."""
    by_names = {layer.config.names: layer for layer in layers}
    first = [layer for layer in layers if layer.config.names not in feeds]
    if len(first) != 1 or len(by_names) != len(layers):
        raise UnsuitableLayer("they do not feed one another alone")
    follows = {source: taker for taker, source in feeds.items()}
    ordered = [first[0]]
    while (names := follows.pop(ordered[-1].config.names, None)) is not None:
        ordered.append(by_names[names])
    if len(ordered) != len(layers):
        raise UnsuitableLayer("they do not feed one another alone")
    return ordered


def _check_problems(layers: list[Layer]) -> None:
    """UnsuitableLayer if one of the layers cannot be read."""
    for layer in layers:
        if layer.config.problem is not None:
            start = "" if len(layers) == 1 else f"{layer.config.path!r} "
            raise UnsuitableLayer(f"{start}{layer.config.problem}")


def check(layers: list[Layer]) -> list[Layer]:
    """The layers, if they are one net; UnsuitableLayer if it would not compute what they do."""
    if len(layers) > 1:
        for layer in layers:
            if layer.config.reverse:
                raise UnsuitableLayer(
                    f"{layer.config.path!r} has go_backwards, which turns its outputs round"
                )
        for layer in layers[:-1]:
            if not layer.config.sequences:
                raise UnsuitableLayer(f"{layer.config.path!r} has no return_sequences")
            if layer.config.gives_sides_apart:
                raise UnsuitableLayer(f"{layer.config.path!r} gives its directions apart, merge_mode None")
    levels = [(level, layer.config) for layer in layers for level in layer.config.levels]
    have = "has cells with" if len(layers) == 1 else "they have"
    first, config = levels[0]
    for level, its in levels[1:]:
        for what, own, other in (
            ("directions", len(level), len(first)),
            ("units", level[0].units, first[0].units),
            ("merges of directions", its.merge, config.merge),
            ("activations", [c.functions for c in level], [c.functions for c in first]),
        ):
            if own != other:
                raise UnsuitableLayer(f"{have} {other} and {own} {what}")
    return layers


def _listed(layers: list[Layer]) -> str:
    """The layers by path, with their sizes or what is wrong with them."""
    described = [_described(one) for layer in layers for one in (_shown_parts(layer) or [layer])]
    rest = len(described) - 10
    return ", ".join(described[:10]) + (f" and {rest} more" if rest > 0 else "")


def _described(layer: Layer) -> str:
    config = layer.config
    if config.problem is not None or not layer.weights:
        return f"{config.path!r} (cannot be read: it {config.problem or '':.{LONGEST_PROBLEM}})"
    inputs, units = layer.weights[0].kernel.shape[0], config.cells[0].units
    two = ", bidirectional" if len(config.sides) == 2 else ""
    backwards = ", go_backwards" if config.reverse else ""
    return f"{config.path!r} (input_size={inputs}, hidden_size={units}{two}{backwards})"
