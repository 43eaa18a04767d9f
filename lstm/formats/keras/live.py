"""Live layers and models of Keras, which is not imported: they bring what is needed to read them."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from ...core.weights import Parts
from .description import LayerConfig, Object, find_layers, layers_of
from .stack import CellWeights, Layer, assemble, check_pick, pick


def read(source: Any, layer: str | int | None) -> Parts:
    """The net of a layer or of a model's LSTM layers."""
    if not callable(getattr(source, "get_config", None)) or not hasattr(source, "get_weights"):
        raise TypeError(
            f"the source is a {type(source).__name__}, but must be a Keras layer (LSTM, Bidirectional of "
            "one, RNN of LSTM cells) or a model that holds one; lstm.load reads files"
        )
    check_pick(layer)
    version = _live_version(source)
    configs, feeds = find_layers(_described(source), version)
    layers = [Layer(one, _split(one, _live(source, one).get_weights())) for one in configs]
    picked = pick(layers, feeds, layer)
    return assemble(picked, lambda arrays: [_widened(array) for array in arrays])


def _live_version(source: Any) -> int:
    """2 or 3: the major version of the Keras that made an object."""
    package = sys.modules.get(type(source).__module__.split(".")[0])
    return 2 if str(getattr(package, "__version__", "3")).startswith("2.") else 3


def _described(source: Any) -> Object:
    """What a file would hold for a layer or model; of a model of its own class, the layers alone."""
    kind = {"class_name": type(source).__name__, "module": type(source).__module__}
    layers = getattr(source, "layers", None)
    try:
        config = source.get_config()
    except NotImplementedError:
        config = {}
    if isinstance(layers, list) and not layers_of({"config": config}):
        config = {"layers": [{"name": one.name, **_described(one)} for one in layers]}
    return {**kind, "config": config}


def _live(source: Any, config: LayerConfig) -> Any:
    """The layer object itself."""
    for name in config.names if hasattr(source, "layers") else ():
        source = next(one for one in source.layers if one.name == name)
    return source


def _split(config: LayerConfig, arrays: list[Any]) -> tuple[CellWeights, ...]:
    """The flat list of a layer's weights by cell: kernel, recurrent kernel and, where there is one, bias."""
    cells = [cell for level in config.levels for cell in level]
    if config.problem is not None:
        return ()
    if not arrays:
        raise ValueError(f"the layer {config.name!r} has no weights yet; build it, or call it once")
    if len(arrays) != sum(2 + cell.use_bias for cell in cells):
        raise ValueError(f"the layer {config.name!r} has {len(arrays)} weights for {len(cells)} LSTM cells")
    left = iter(arrays)
    return tuple(CellWeights(next(left), next(left), next(left) if cell.use_bias else None) for cell in cells)


def _widened(array: Any) -> np.ndarray:
    """Not below float32."""
    array = np.asarray(array)
    is_half = array.dtype.name in ("float16", "bfloat16")
    return np.asarray(array.astype(np.float32) if is_half else array)
