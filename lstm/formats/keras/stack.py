"""From Keras's LSTM layers to a net: which of them are one, and their weights under PyTorch's names.

Shapes: I input, H hidden. Keras has the gates in our order, i, f, c, o, along the columns of kernel (I, 4H),
recurrent_kernel (H, 4H) and bias (4H,).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

from ...core import memory as memories
from ...core.state_dict import from_state_dict
from ...core.weights import Parts
from .description import Cell, LayerConfig, Names, UnsuitableLayer
from .hdf5 import Entry


class CellWeights(NamedTuple):
    """The weights of a cell: arrays, or entries of a file that are still to be read."""

    kernel: Any
    recurrent_kernel: Any
    bias: Any  # or None


class Layer(NamedTuple):
    """A layer of LSTM cells with its weights, cell by cell in the order of its levels."""

    config: LayerConfig
    weights: tuple[CellWeights, ...]


def check_pick(layer: Any) -> None:
    """TypeError for what picks no layer."""
    if not isinstance(layer, str | int | None) or isinstance(layer, bool):
        raise TypeError(f"layer is {layer!r}, but must be the name of a layer or its number")


def pick(layers: list[Layer], feeds: dict[Names, Names], which: str | int | None) -> list[Layer]:
    """The layers of one net in order: the one asked for, or all; ValueError, which lists them, otherwise."""
    if not layers:
        raise ValueError("there is no LSTM layer: no LSTM, Bidirectional of one, or RNN of LSTM cells")
    if which is None:
        try:
            return check(_in_order(layers, feeds))
        except UnsuitableLayer as error:
            if len(layers) == 1 and len(layers[0].config.levels) < 2:
                raise ValueError(f"the layer {layers[0].config.name!r} {error}") from error
            message = f"the LSTM layers cannot be one net: {error}; pick one by layer=: {_listed(layers)}"
            raise ValueError(message) from error
    if isinstance(which, int):
        if not -len(layers) <= which < len(layers):
            raise ValueError(f"there is no LSTM layer of number {which}; there are {_listed(layers)}")
        matching = [layers[which]]
    else:
        matching = [one for one in layers for one in _named(one, which)]
    if len(matching) != 1:
        raise ValueError(f"there are {len(matching)} LSTM layers {which!r}; there are {_listed(layers)}")
    try:
        return check(matching)
    except UnsuitableLayer as error:
        raise ValueError(f"the layer {matching[0].config.name!r} {error}") from error


def _named(layer: Layer, name: str) -> list[Layer]:
    """The layer, or one cell of its stack, where that has this name."""
    if name in (layer.config.name, "/".join(layer.config.names)):
        return [layer]
    return [one for one in cells_of(layer) if name in (one.config.name, "/".join(one.config.names))]


def cells_of(layer: Layer) -> list[Layer]:
    """Every cell of a stack as a layer of its own, named layer/cell."""
    config = layer.config
    if len(config.levels) < 2:
        return []
    cells = []
    for level, weights in zip(config.levels, layer.weights, strict=True):
        names = (*config.names[:-1], f"{config.name}/{level[0].name}")
        cells.append(Layer(config._replace(names=names, levels=(level,)), (weights,)))
    return cells


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


def check(layers: list[Layer]) -> list[Layer]:
    """The layers, if they are one net; UnsuitableLayer if it would not compute what they do."""
    for layer in layers:
        if layer.config.problem is not None:
            start = "" if len(layers) == 1 else f"{layer.config.name!r} "
            raise UnsuitableLayer(f"{start}{layer.config.problem}")
    if len(layers) > 1:
        for layer in layers:
            if layer.config.reverse:
                raise UnsuitableLayer(
                    f"{layer.config.name!r} has go_backwards, which turns its outputs round"
                )
        for layer in layers[:-1]:
            if not layer.config.sequences:
                raise UnsuitableLayer(f"{layer.config.name!r} has no return_sequences")
    levels = [level for layer in layers for level in layer.config.levels]
    have = "has cells with" if len(layers) == 1 else "they have"
    for level in levels[1:]:
        for what, own, first in (
            ("directions", len(level), len(levels[0])),
            ("units", level[0].units, levels[0][0].units),
            ("activations", [c.functions for c in level], [c.functions for c in levels[0]]),
        ):
            if own != first:
                raise UnsuitableLayer(f"{have} {first} and {own} {what}")
    return layers


def _listed(layers: list[Layer]) -> str:
    """The layers by name, with their sizes."""
    described = []
    for layer in [cell for one in layers for cell in cells_of(one) or [one]]:
        name = repr(layer.config.name)
        if layer.weights:
            inputs, units = layer.weights[0].kernel.shape[0], layer.config.levels[0][0].units
            two = ", bidirectional" if len(layer.config.levels[0]) == 2 else ""
            backwards = ", go_backwards" if layer.config.reverse else ""
            name += f" (input_size={inputs}, hidden_size={units}{two}{backwards})"
        described.append(name)
    rest = len(described) - 10
    return ", ".join(described[:10]) + (f" and {rest} more" if rest > 0 else "")


def assemble(layers: list[Layer], fetch: Callable[[list[Any]], Iterable[np.ndarray]]) -> Parts:
    """The net of these layers.

    `fetch` gives the arrays of a list of weights.
    """
    levels = [level for layer in layers for level in layer.config.levels]
    cells = [weights for layer in layers for weights in layer.weights]
    directions = len(levels[0])
    with_bias = any(weights.bias is not None for weights in cells)
    for k, weights in enumerate(cells):
        _check_shapes(levels[k // directions][k % directions], weights, k // directions and directions)
    arrays = iter(fetch([one for weights in cells for one in weights if one is not None]))
    state: dict[str, np.ndarray] = {}
    for k, weights in enumerate(cells):
        suffix = f"_l{k // directions}" + "_reverse" * (k % directions)
        state[f"weight_ih{suffix}"] = _transposed(next(arrays))
        state[f"weight_hh{suffix}"] = _transposed(next(arrays))
        if with_bias:
            zeros = np.zeros(weights.kernel.shape[1], state[f"weight_ih{suffix}"].dtype)
            state[f"bias_ih{suffix}"] = next(arrays) if weights.bias is not None else zeros
            state[f"bias_hh{suffix}"] = np.zeros_like(zeros)
    functions = [
        name for cell in levels[0] for name in (cell.functions[0], cell.functions[1], cell.functions[1])
    ]
    return from_state_dict(state, reverse=layers[0].config.reverse, activations=functions)


def _transposed(matrix: np.ndarray) -> np.ndarray:
    """(K, 4H) to (4H, K) in memory of its own, so that the matrix can go before the next one comes."""
    copy = memories.memory(matrix.nbytes).view(matrix.dtype).reshape(matrix.shape[::-1])
    copy[...] = matrix.T
    return copy


def _check_shapes(cell: Cell, weights: CellWeights, sides_before: int) -> None:
    """(I, 4H), (H, 4H), (4H,); I is that of the `sides_before` directions of the layer before, if any."""
    units = cell.units
    inputs = sides_before * units or (weights.kernel.shape or (0,))[0]
    expected = ((inputs, 4 * units), (units, 4 * units), (4 * units,))
    for name, array, shape in zip(CellWeights._fields, weights, expected, strict=True):
        if array is None:
            continue
        if tuple(array.shape) != shape or not inputs:
            path = f" ({array.path!r})" if isinstance(array, Entry) else ""
            raise ValueError(
                f"{name}{path} has shape {tuple(array.shape)}, but must have {shape} for units={units}"
            )
