"""Keras: its LSTM layers, and the files that it saves, read without Keras."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, Any, Literal, NoReturn

import numpy as np

from ...core import state_dict as states_of
from .. import FormatError
from ..npz import _Reader
from . import description as descriptions
from . import files
from .description import Found, Names, Object
from .hdf5 import File
from .stack import Layer, Located, Options, State, assemble, cells_of, pick

if TYPE_CHECKING:
    from ... import model


def save(net: model.LSTM, path: str | os.PathLike[str]) -> NoReturn:
    """Tell what can be written instead."""
    raise ValueError(
        f"{os.fspath(path)}: Keras's files are read, not written; save as .npz, .safetensors or .onnx"
    )


def _check_pick(layer: Any) -> None:
    if not isinstance(layer, str | int | None) or isinstance(layer, bool):
        raise TypeError(f"layer is {layer!r}, but must be the name of a layer or its number")


# Live layers and models


def read(source: Any, layer: str | int | None) -> tuple[State, Options]:
    """The state dict of a layer or of a model's LSTM layers, and the options that it does not tell."""
    if not callable(getattr(source, "get_config", None)) or not hasattr(source, "get_weights"):
        raise TypeError(
            f"the source is a {type(source).__name__}, but must be a Keras layer (LSTM, Bidirectional of "
            "one, RNN of LSTM cells) or a model that holds one; lstm.load reads files"
        )
    _check_pick(layer)
    version = _live_version(source)
    found, feeds = descriptions.find(_described(source), version)
    layers = [Layer(one, _split(one, _live(source, one).get_weights())) for one in found]
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
    if isinstance(layers, list) and not descriptions.layers_of({"config": config}):
        config = {"layers": [{"name": one.name, **_described(one)} for one in layers]}
    return {**kind, "config": config}


def _live(source: Any, found: Found) -> Any:
    """The layer object itself."""
    for name in found.names if hasattr(source, "layers") else ():
        source = next(one for one in source.layers if one.name == name)
    return source


def _split(found: Found, arrays: list[Any]) -> tuple[Located, ...]:
    """The flat list of a layer's weights by cell: kernel, recurrent kernel and, where there is one, bias."""
    cells = [cell for level in found.levels for cell in level]
    if found.problem is not None:
        return ()
    if not arrays:
        raise ValueError(f"the layer {found.name!r} has no weights yet; build it, or call it once")
    if len(arrays) != sum(2 + cell.use_bias for cell in cells):
        raise ValueError(f"the layer {found.name!r} has {len(arrays)} weights for {len(cells)} LSTM cells")
    left = iter(arrays)
    return tuple(Located(next(left), next(left), next(left) if cell.use_bias else None) for cell in cells)


def _widened(array: Any) -> np.ndarray:
    """Not below float32."""
    array = np.asarray(array)
    is_half = array.dtype.name in ("float16", "bfloat16")
    return np.asarray(array.astype(np.float32) if is_half else array)


# Files


def load(
    path: str | os.PathLike[str], backend: Literal["native", "numpy"], layer: str | int | None = None
) -> model.LSTM:
    """The net of a .keras, .h5 or .weights.h5 file."""
    from ... import model

    _check_pick(layer)
    with _opened(path) as (hdf5, layers, feeds):
        state, options = assemble(pick(layers, feeds, layer), hdf5.arrays)
        states_of.from_state_dict(state).architecture.with_options(**options)
    return model.LSTM.from_state_dict(state, **options, backend=backend)


def located(path: str | os.PathLike[str]) -> list[tuple[int, Layer]]:
    """The LSTM layers of a file, each followed by the cells that it stacks, with its number."""
    with _opened(path) as (_, layers, _):
        return [(k, one) for k, layer in enumerate(layers) for one in (layer, *cells_of(layer))]


@contextlib.contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[tuple[File, list[Layer], dict[Names, Names]]]:
    """The HDF5 file, the LSTM layers and which feeds which; FormatError for what goes wrong with them."""
    name = os.fspath(path)
    with contextlib.ExitStack() as stack:
        file: IO[bytes] = stack.enter_context(_Reader(io.FileIO(name)))
        try:
            description, version = None, 3
            if name.lower().endswith(".keras"):
                description, version, file = files.unpacked(name, file)
                stack.enter_context(file)
            hdf5 = stack.enter_context(File(name, file))
            if description is None:
                description, version = files.legacy_config(name, hdf5)
            yield hdf5, *files.layers(hdf5, description, version)
        except FormatError:
            raise
        except (ValueError, TypeError, OverflowError, RecursionError) as error:
            raise FormatError(f"{name}: {error}") from error
