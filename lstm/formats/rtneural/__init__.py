"""RTNeural: its .json files, in which a model's layers and weights are as Keras has them, or PyTorch.

Shapes: I input, H hidden. The gates are in our order, i, f, c, o, along the columns of Keras's kernel
(I, 4H), recurrent kernel (H, 4H) and bias (4H,).
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from ...core.state_dict import from_state_dict
from ...core.weights import Parts
from .. import candidates
from ..errors import FormatError
from ..option_names import option
from ..reading import open_plain
from .bounded_json import array_of, parse
from .layers import MOST_LISTED, Chain

__all__ = ["names", "notes", "read", "tensors"]

STATE_DICT = "state_dict"


def read(path: str | os.PathLike[str], layer: str | int | None = None) -> Parts:
    """The net of the LSTM layers of a file, or of the one that `layer` picks."""
    if not isinstance(layer, str | int | None) or isinstance(layer, bool):
        raise TypeError(f"layer is {layer!r}, but must be the name of a layer or its number")
    name = os.fspath(path)
    try:
        return from_state_dict(_state(name, layer))
    except FormatError:
        raise
    except (ValueError, TypeError) as error:
        raise FormatError(f"{name}: {error}") from error


def names(path: str | os.PathLike[str]) -> list[tuple[int, tuple[str, ...]]]:
    """Number and name of every LSTM layer of a file; most have no name."""
    name, model = _model(path)
    if isinstance(model, Chain):
        return [(number, (one.name,) if one.name else ()) for number, one in enumerate(model.lstms)]
    prefixes = candidates.prefixes({key: one.shape for key, one in _arrays(name, model).items()})
    return [(number, (prefix.removesuffix("."),)) for number, prefix in enumerate(prefixes)]


def notes(path: str | os.PathLike[str], layer: str | int | None = None) -> list[str]:
    """What else there is in a file besides the LSTM."""
    _, model = _model(path)
    if not isinstance(model, Chain):
        return []
    left = [f"{one.kind} (layer {one.place})" for one in model.left_out()]
    return [f"other layers are left out: {', '.join(left)}"] if left else []


def tensors(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Every array of a file by the layer's place, its type and the array's number, or by PyTorch's name."""
    name, model = _model(path)
    if not isinstance(model, Chain):
        return _arrays(name, model)
    return {
        f"{one.place}.{one.kind}.{k}": array_of(f"{name}: weights {k} of layer {one.place}", value)
        for one in model.layers
        for k, value in enumerate(one.weights)
    }


def _model(path: str | os.PathLike[str]) -> tuple[str, Chain | dict[str, Any]]:
    """The layers of a file, or the arrays of a state dict by name."""
    name = os.fspath(path)
    with open_plain(name) as file:
        content = file.readall()
    value = parse(name, content)
    if isinstance(value, dict) and "layers" in value:
        return name, Chain(name, value)
    state = value.get(STATE_DICT, value) if isinstance(value, dict) else None
    if not isinstance(state, dict) or not any(candidates.FIRST in key for key in state):
        raise FormatError(
            f"{name} is no model of RTNeural: it has neither 'layers' nor a state dict with "
            f"{candidates.FIRST}"
        )
    return name, state


def _arrays(name: str, state: dict[str, Any]) -> dict[str, np.ndarray]:
    """The arrays of a state dict."""
    return {key: array_of(f"{name}: {key!r:.100}", value) for key, value in state.items()}


def _state(name: str, layer: str | int | None) -> dict[str, np.ndarray]:
    """The state dict of the net picked; the text is let go before the net is made of it."""
    _, model = _model(name)
    if isinstance(model, Chain):
        return model.state(layer)
    arrays = _arrays(name, model)
    shapes = {key: one.shape for key, one in arrays.items()}
    prefixes = [prefix.removesuffix(".") for prefix in candidates.prefixes(shapes)]
    beyond = isinstance(layer, int) and not -len(prefixes) <= layer < len(prefixes)
    if beyond or (layer is None and len(prefixes) > 1):
        listed = ", ".join(f"{prefix!r:.100}" for prefix in prefixes[:MOST_LISTED])
        raise FormatError(f"{name} has {len(prefixes)} LSTMs, pick one by {option('layer')}: {listed}")
    prefix = prefixes[layer] if isinstance(layer, int) else layer
    try:
        found = candidates.find(shapes, prefix)
    except ValueError as error:
        raise FormatError(f"{name}: {error}") from error
    return {own: arrays[full] for own, full in found.items()}
