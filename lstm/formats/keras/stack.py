"""From Keras's LSTM layers to a net: their weights under PyTorch's names.

Shapes: I input, H hidden. Keras has the gates in our order, i, f, c, o, along the columns of kernel (I, 4H),
recurrent_kernel (H, 4H) and bias (4H,). CuDNNLSTM has the values of each gate in another order, and two
biases in one, (8H,).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from ...core import memory as memories
from ...core.state_dict import from_state_dict
from ...core.weights import Parts
from ..option_names import option
from ..untold import hold_to
from .hdf5 import Entry
from .layers import Cell, CellWeights, Layer


def assemble(
    layers: list[Layer],
    fetch: Callable[[list[Any]], Iterable[np.ndarray]],
    options: Mapping[str, Any] | None = None,
) -> Parts:
    """The net of these layers.

    `fetch` gives the arrays of a list of weights; `options` are what the caller says of activations,
    directions and merge. ValueError if the layers are others, or if an option is not told and must be.
    """
    options = dict(options or {})
    for layer in layers:
        if layer.config.must_tell is not None and "activations" not in options:
            what = layer.config.must_tell.format(option=option("activations"))
            raise ValueError(f"the layer {layer.config.path!r}: {what}")
    config = layers[0].config
    levels = [level for layer in layers for level in layer.config.levels]
    cells = [weights for layer in layers for weights in _by_level(layer)]
    directions = len(levels[0])
    units = levels[0][0].units
    outputs = units * (directions if config.merge == "concat" else 1)
    for k, weights in enumerate(cells):
        _check_shapes(levels[k // directions][k % directions], weights, outputs if k >= directions else None)
    state = _state(cells, levels, fetch)
    told: dict[str, Any] = {"merge": config.merge, "reverse": config.reverse}
    told["activations"] = [
        name for cell in levels[0] for name in (cell.functions[0], *2 * [cell.functions[1]])
    ]
    untold = {name for layer in layers for name in layer.config.untold}
    said = {name: options.pop(name) for name in untold & options.keys()}
    net = from_state_dict(state, **{**told, **said})
    hold_to(net, options)
    return net


def _by_level(layer: Layer) -> list[CellWeights]:
    """The weights of a layer, those of a level side by side."""
    depth = len(layer.config.levels)
    return [weights for level in range(depth) for weights in layer.weights[level::depth]]


def _state(
    cells: list[CellWeights],
    levels: list[tuple[Cell, ...]],
    fetch: Callable[[list[Any]], Iterable[np.ndarray]],
) -> dict[str, np.ndarray]:
    """The weights of the cells, level by level, under PyTorch's names."""
    directions = len(levels[0])
    with_bias = any(weights.bias is not None for weights in cells)
    arrays = iter(fetch([one for weights in cells for one in weights if one is not None]))
    state: dict[str, np.ndarray] = {}
    for k, weights in enumerate(cells):
        suffix = f"_l{k // directions}" + "_reverse" * (k % directions)
        cell = levels[k // directions][k % directions]
        state[f"weight_ih{suffix}"] = (_cudnn_kernel if cell.is_cudnn else _transposed)(next(arrays))
        state[f"weight_hh{suffix}"] = (_cudnn_recurrent if cell.is_cudnn else _transposed)(next(arrays))
        if with_bias:
            zeros = np.zeros(4 * cell.units, state[f"weight_ih{suffix}"].dtype)
            bias = next(arrays) if weights.bias is not None else zeros
            state[f"bias_ih{suffix}"] = bias[: 4 * cell.units]
            state[f"bias_hh{suffix}"] = bias[4 * cell.units :] if cell.is_cudnn else np.zeros_like(zeros)
    return state


def _transposed(matrix: np.ndarray) -> np.ndarray:
    """(K, 4H) to (4H, K) in memory of its own, so that the matrix can go before the next one comes."""
    copy = memories.memory(matrix.nbytes).view(matrix.dtype).reshape(matrix.shape[::-1])
    copy[...] = matrix.T
    return copy


def _cudnn_kernel(kernel: np.ndarray) -> np.ndarray:
    """(I, 4H) of CuDNNLSTM to (4H, I): the values of a gate in C order are those of its (H, I)."""
    inputs, columns = kernel.shape
    units = columns // 4
    copy = memories.memory(kernel.nbytes).view(kernel.dtype).reshape(columns, inputs)
    for start in range(0, columns, units):
        copy[start : start + units] = kernel[:, start : start + units].reshape(units, inputs)
    return copy


def _cudnn_recurrent(kernel: np.ndarray) -> np.ndarray:
    """(H, 4H) of CuDNNLSTM to (4H, H): each gate's (H, H) is that of PyTorch."""
    units, columns = kernel.shape
    copy = memories.memory(kernel.nbytes).view(kernel.dtype).reshape(columns, units)
    for start in range(0, columns, units):
        copy[start : start + units] = kernel[:, start : start + units]
    return copy


def _check_shapes(cell: Cell, weights: CellWeights, expected_inputs: int | None) -> None:
    """(I, 4H), (H, 4H), (4H,), or (8H,) of CuDNNLSTM; I is the width of the level before, if there is one."""
    units = cell.units
    inputs = expected_inputs or (weights.kernel.shape or (0,))[0]
    expected = ((inputs, 4 * units), (units, 4 * units), ((8 if cell.is_cudnn else 4) * units,))
    for name, array, shape in zip(CellWeights._fields, weights, expected, strict=True):
        if array is None:
            continue
        if tuple(array.shape) != shape or not inputs:
            path = f" ({array.path!r})" if isinstance(array, Entry) else ""
            raise ValueError(
                f"{name}{path} has shape {tuple(array.shape)}, but must have {shape} for units={units}"
            )
