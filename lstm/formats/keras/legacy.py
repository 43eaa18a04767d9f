"""Weights in the .h5 files of Keras 2, which Keras 3 writes too: by layer, with a list of their names.

The group of a layer of the outermost model has them all, those of models and layers within it too, under
names such as inner/lstm_1/lstm_cell/kernel (Keras 3), lstm_1/lstm_cell/kernel:0 or lstm_1/kernel:0 (Keras 2).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, NamedTuple

from .description import Description
from .hdf5 import File
from .layers import CellWeights, Layer, LayerConfig, UnsuitableLayer, Version
from .places import UNKNOWN, bare, cell_weights, is_cudnn, natural
from .recurrent import OLD_DEFAULT, SIGMOID_IS_DEFAULT

KERNEL = re.compile(r"(?P<cell>(?:.*/)?)recurrent_kernel(?P<number>(?::0)?)")
KERAS_1 = re.compile(r"(?P<cell>.*[/_])U_i(?::0)?")


class Found(NamedTuple):
    """A recurrent cell in the list of a layer's weights."""

    path: str  # of its weights, without their own names
    weights: CellWeights | None
    problem: str | None = None


def _lists(own: dict[str, Any], what: str) -> list[str]:
    """A list of names; a long one is split over weight_names0, weight_names1, ..."""
    keys = sorted((key for key in own if key.startswith(what)), key=natural)
    return [str(name) for key in keys for name in own[key]]


def cells(hdf5: File, group: str) -> list[Found]:
    """The recurrent cells of a group in the order of its list; UnsuitableLayer if that names one twice."""
    names = _lists(hdf5.attributes.get(group, {}), "weight_names")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UnsuitableLayer(
            f"has the weights {twice!r} twice in its list, so that some are not in the file"
        )
    found = [one for name in names if (one := _cell(hdf5, group, names, name)) is not None]
    # The weights that are not trained come last, whichever direction they are of.
    return sorted(found, key=lambda cell: _is_backward(cell.path))


def _cell(hdf5: File, group: str, names: list[str], name: str) -> Found | None:
    """The cell that a name in the list is the recurrent kernel of."""
    if (old := KERAS_1.fullmatch(name)) is not None:
        problem = "has the weights of Keras 1, one for each gate; load and save them by Keras 2"
        return Found(f"/{old['cell'].strip('_/')}/", None, problem)
    match = KERNEL.fullmatch(name)
    if match is None:
        return None
    path, end = match["cell"], match["number"]
    own = [f"{path}{kind}{end}" for kind in ("kernel", "recurrent_kernel", "bias")]
    lacking = [one for one in own if one in names and f"{group}/{one}" not in hdf5.entries]
    if lacking:
        return Found(f"/{path}", None, f"lacks its weights {lacking[0]!r}")
    weights = cell_weights(hdf5, *(f"{group}/{one}" for one in own))
    if weights is None:
        shapes = [
            list(hdf5.entries[f"{group}/{one}"].shape) for one in own if f"{group}/{one}" in hdf5.entries
        ]
        return Found(f"/{path}", None, f"has the weights of no LSTM, of shapes {shapes}")
    others = [one for one in names if path and one.startswith(path) and one not in own]
    if others:
        problem = f"has other weights in its cell too, such as {others[0]!r}, and so is no plain LSTM"
        return Found(f"/{path}", None, problem)
    return Found(f"/{path}", weights)


def _is_backward(path: str) -> bool:
    return any(part.startswith("backward_") for part in path.split("/"))


def described_layers(hdf5: File, description: Description, version: Version) -> list[Layer]:
    """The layers of a description with their weights, then the recurrent ones that it does not tell."""
    configs = description.configs
    opaque = {names[:1] for names, _ in description.opaque}
    root = "model_weights"
    names = _lists(hdf5.attributes.get(root, {}), "layer_names")
    layers = {}
    rest = []
    for name in dict.fromkeys([*(config.names[0] for config in configs if config.names), *names]):
        own = [config for config in configs if config.names[:1] == (name,)]
        try:
            found = cells(hdf5, f"{root}/{name}")
        except UnsuitableLayer as error:
            layers.update({config.names: Layer(config._replace(problem=str(error))) for config in own})
            continue
        taken = {config.names: _cells_of(config, found, own) for config in own}
        for config in own:
            layers[config.names] = _located(config, taken)
        used = {cell.path for some in taken.values() for cell in some}
        others = [cell for cell in found if cell.path not in used]
        is_unnamed = "" in description.names and name not in description.names
        if not (is_unnamed or opaque & {(), (name,)}):
            others = [cell._replace(weights=None, problem=UNKNOWN) for cell in others]
        rest += _bare_layers(name, others)
    if version < SIGMOID_IS_DEFAULT:
        rest = [_with_old_default(layer) for layer in rest]
    return [*(layers.get(config.names, Layer(config)) for config in configs), *rest]


def _cells_of(config: LayerConfig, found: list[Found], own: list[LayerConfig]) -> list[Found]:
    """The cells of a layer among those of its outermost layer: the ones with its names in their path."""
    inner = config.names[1:]
    if not inner:
        return found
    for start in range(len(inner)):
        wanted = f"/{'/'.join(inner[start:])}/"
        named = [cell for cell in found if wanted in cell.path]
        if named:
            return named
    # Keras 2 leaves the name of what a TimeDistributed wraps out.
    return found if len(own) == 1 else []


def _located(config: LayerConfig, taken: dict[tuple[str, ...], list[Found]]) -> Layer:
    """A described layer with its weights, or with what is wrong with them."""
    if not config.sides:
        return Layer(config)
    found = taken[config.names]
    shared = {cell.path for names, some in taken.items() if names != config.names for cell in some}
    problem = None
    if len(found) != len(config.cells):
        problem = f"has the weights of {len(found)} LSTM cells, but {len(config.cells)} cells"
    elif any(cell.path in shared for cell in found):
        problem = "has weights that are another layer's too by their names"
    for cell, one in zip(config.cells, found, strict=False):
        if one.weights is None:
            problem = problem or one.problem
        elif (one.weights.bias is not None) != cell.use_bias and not cell.is_cudnn:
            problem = problem or f"has use_bias={cell.use_bias}, which its weights at {one.path!r} have not"
    if problem is not None:
        return Layer(config._replace(problem=problem))
    return Layer(config, tuple(one.weights for one in found if one.weights is not None))


def bare_layers(hdf5: File, version: Version | None) -> list[Layer]:
    """The recurrent layers of a file of weights alone, on the terms of Keras 3's, but for older defaults."""
    names = _lists(hdf5.attributes.get("", {}), "layer_names")
    layers = []
    for group in names or [path for path, own in hdf5.attributes.items() if _lists(own, "weight_names")]:
        try:
            layers += _bare_layers(group, cells(hdf5, group))
        except UnsuitableLayer as error:
            layers.append(Layer(LayerConfig((group,), problem=str(error), group=group)))
    if version is not None and version >= SIGMOID_IS_DEFAULT:
        return layers
    return [_with_old_default(layer) for layer in layers]


def _with_old_default(layer: Layer) -> Layer:
    must_tell = OLD_DEFAULT if "activations" in layer.config.untold else None
    return layer._replace(config=layer.config._replace(must_tell=must_tell))


def _bare_layers(group: str, found: Iterable[Found]) -> list[Layer]:
    """The layers that these cells are of; a nested model has one group.

    It has layer/cell, of a stack layer/stack/cell, of two directions layer/forward_layer/cell and
    layer/backward_layer/cell.
    """
    own: dict[str, dict[tuple[int, int], CellWeights]] = {}
    sides: dict[str, list[str]] = {}
    problems: dict[str, str | None] = {}
    for path, weights, problem in found:
        parts = path.strip("/").split("/")
        # A CuDNNLSTM, and before Keras 2.2 every layer, has no cell of its own.
        is_cell = len(parts) > 1 and not _is_side(parts[-1]) and (weights is None or not is_cudnn(weights))
        outer = parts[:-1] if is_cell else parts
        one_side = _is_side(outer[-1])
        place = "/".join(outer[:-1] if one_side else outer)
        placed = own.setdefault(place, {})
        names = sides.setdefault(place, [])
        if one_side and outer[-1] not in names:
            names.append(outer[-1])
        side = max(0, len(names) - 1)
        if weights is None:
            problems[place] = problem
        else:
            placed[sum(key[1] == side for key in placed), side] = weights
    layers = []
    for place, some in own.items():
        layers.append(bare(_names(group, place), f"{group}/{place}", some, problems.get(place), sides[place]))
    return layers


def _names(group: str, place: str) -> tuple[str, ...]:
    """The names of a layer: its group's, and what a path within it adds."""
    parts = [part for part in place.split("/") if part and not part.startswith("stacked_rnn_cells")]
    if group in parts:
        return tuple(parts[parts.index(group) :])
    return (group, *parts)


def _is_side(name: str) -> bool:
    return name.startswith(("forward_", "backward_"))
