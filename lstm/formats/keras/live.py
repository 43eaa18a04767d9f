"""Live layers and models of Keras, which is not imported: they bring what is needed to read them."""

from __future__ import annotations

import re
import sys
from typing import Any

import numpy as np

from ...core.weights import Parts
from .description import find_layers
from .graph import layers_of, name_of
from .layers import PACKAGES, CellWeights, Layer, LayerConfig, Object, Version, class_of, warn
from .picking import check_pick, in_listed_order, pick
from .stack import assemble


def read(source: Any, layer: str | int | None) -> Parts:
    """The net of a layer or of a model's LSTM layers."""
    if not callable(getattr(source, "get_config", None)) or not hasattr(source, "get_weights"):
        raise TypeError(
            f"the source is a {type(source).__name__}, but must be a Keras layer (LSTM, Bidirectional of "
            "one, RNN of LSTM cells) or a model that holds one; lstm.load reads files"
        )
    check_pick(layer)
    found = find_layers(_described(source), _version(source))
    layers = in_listed_order([Layer(one, _split(one)) for one in found.configs])
    picked = pick(layers, found.feeds, layer)
    parts = assemble(picked, lambda arrays: [_widened(array) for array in arrays])
    warn("the model", picked, stacklevel=3)
    return parts


def _version(source: Any) -> Version:
    """The first two numbers of the version of the Keras that made an object."""
    package = sys.modules.get(type(source).__module__.split(".")[0])
    match = re.match(r"([0-9]+)\.([0-9]+)", str(getattr(package, "__version__", "")))
    return (int(match[1]), int(match[2])) if match else (3, 0)


def _described(source: Any, within: tuple[int, ...] = ()) -> Object:
    """What a file would hold for a layer or model, with the objects themselves.

    `within` are the ids of those that hold it, which it may lead back to.
    """
    within = (*within, id(source))
    kind = type(source)
    try:
        config = source.get_config()
    except NotImplementedError:
        config = {}
    config = dict(config) if isinstance(config, dict) else {"layers": config}
    description = {"class_name": kind.__name__, "module": kind.__module__, "config": config, "live": source}
    description["is_recurrent"] = any(
        base.__name__ == "RNN" and base.__module__.split(".")[0] in PACKAGES for base in kind.__mro__
    )
    config.setdefault("name", getattr(source, "name", ""))
    inner = [one for one in _inner(source, class_of(description)) if id(one) not in within]
    if inner:
        described = {name_of(one): one for one in layers_of(description)}
        config["layers"] = [{**described.get(one.name, {}), **_described(one, within)} for one in inner]
    elif hasattr(source, "layer") and "layer" in config and hasattr(source.layer, "get_config"):
        config["layer"] = {**_described(source.layer, within), "name": source.layer.name}
    return description


def _inner(source: Any, keras_class: str) -> list[Any]:
    """The layers of a model, or those that a layer of the user's own class has as attributes."""
    layers = getattr(source, "layers", None)
    if isinstance(layers, list):
        return layers
    if keras_class:
        return []
    found: dict[int, Any] = {}
    for value in vars(source).values():
        contained = value.values() if isinstance(value, dict) else value
        for one in contained if isinstance(value, dict | list | tuple) else (value,):
            if callable(getattr(one, "get_config", None)) and hasattr(one, "get_weights"):
                found[id(one)] = one
    return list(found.values())


def _split(config: LayerConfig) -> tuple[CellWeights, ...]:
    """The weights of a layer by cell: kernel, recurrent kernel and, where there is one, bias."""
    if not config.sides:
        return ()
    arrays = _arrays(config.source)
    if not arrays:
        raise ValueError(f"the layer {config.path!r} has no weights yet; build it, or call it once")
    if len(arrays) != sum(2 + cell.use_bias for cell in config.cells):
        raise ValueError(
            f"the layer {config.path!r} has {len(arrays)} weights for {len(config.cells)} LSTM cells"
        )
    left = iter(arrays)
    return tuple(
        CellWeights(next(left), next(left), next(left) if cell.use_bias else None) for cell in config.cells
    )


def _arrays(source: Any) -> list[Any]:
    """The weights of a layer, one direction after the other even where only one is trained."""
    sides = [getattr(source, f"{side}_layer", None) for side in ("forward", "backward")]
    if any(side is None for side in sides):
        return list(source.get_weights())
    return [array for side in sides if side is not None for array in side.get_weights()]


def _widened(array: Any) -> np.ndarray:
    """Not below float32."""
    array = np.asarray(array)
    is_half = array.dtype.name in ("float16", "bfloat16")
    return np.asarray(array.astype(np.float32) if is_half else array)
