"""Every LSTM of a file, each with the option of `lstm.load` that picks it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from . import PICKED_BY, FormatError, load, module_of

if TYPE_CHECKING:
    from ..model import LSTM


class Pick(NamedTuple):
    """One LSTM of a file."""

    option: str | None  # prefix, node, layer; None for the only one, and for all together
    value: str | int | None
    load: Callable[[], LSTM]  # FormatError where it is no LSTM that there is here


def lstms(path: str | os.PathLike[str], **options: Any) -> list[Pick]:
    """Every LSTM of a file, at least one; FormatError where there is none or the file is damaged.

    Of several nodes or layers the net of which they may be the layers comes first. `options` are others
    of `lstm.load`.
    """
    kind = module_of(path).__name__.rpartition(".")[2]
    values = VALUES[kind](path, **(options if kind == "onnx" else {})) if kind in VALUES else []
    whole = Pick(None, None, partial(load, path, **options))
    if not values:
        return [whole]
    option = PICKED_BY[kind]
    picks = [Pick(option, value, partial(load, path, **{option: value}, **options)) for value in values]
    return [whole, *picks] if len(picks) > 1 and kind != "safetensors" else picks


def named(path: str | os.PathLike[str], option: str, text: str) -> str | int:
    """What `lstm.load` takes for what is told in words: a name or, where nothing has it, a number."""
    names = NAMES.get((option, module_of(path).__name__.rpartition(".")[2]))
    if names is None or not text.removeprefix("-").isdecimal() or text in names(path):
        return text
    return int(text)


def _prefixes(path: str | os.PathLike[str]) -> list[str]:
    """Of the LSTMs of a .safetensors file."""
    from . import candidates, safetensors

    library = safetensors._library()
    with open(path, "rb"):  # for the usual OSError where it cannot be
        pass
    try:
        with library.safe_open(os.fspath(path), "numpy") as file:
            shapes = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
    except Exception as error:  # the library's own, and for some damage others
        raise FormatError(f"{os.fspath(path)} is damaged or no .safetensors file: {error}") from error
    return sorted(prefix.removesuffix(".") for prefix in candidates._prefixes(shapes))


def _nodes(path: str | os.PathLike[str], external_data: bool = False) -> list[str | int]:
    """Of an ONNX model: their names or, where another has the same, their numbers."""
    from . import onnx

    names = onnx.names(path, external_data)
    return _unique([one[:1] for one in names], list(range(len(names))))


def _names_of_nodes(path: str | os.PathLike[str]) -> set[str]:
    """All names that nodes of an ONNX model can be picked by."""
    from . import onnx

    return {name for names in onnx.names(path) for name in names}


def _layers(path: str | os.PathLike[str]) -> list[str | int]:
    """Of a file of Keras: the names of layers and of the cells of stacks, or numbers."""
    from . import keras

    found = keras.located(path)
    names = [(layer.found.name, "/".join(layer.found.names)) for _, layer in found]
    return _unique(names, [number for number, _ in found])


def _names_of_layers(path: str | os.PathLike[str]) -> set[str]:
    """All names that layers of a file of Keras can be picked by."""
    from . import keras

    return {name for _, one in keras.located(path) for name in (one.found.name, "/".join(one.found.names))}


def _unique(names: Sequence[tuple[str, ...]], numbers: list[int]) -> list[str | int]:
    """For each the first of its names that no other has, or its number."""
    counts = Counter(name for own in names for name in set(own))
    return [
        next((name for name in own if name and counts[name] == 1), number)
        for own, number in zip(names, numbers, strict=True)
    ]


VALUES: dict[str, Callable[..., list[Any]]] = {"safetensors": _prefixes, "onnx": _nodes, "keras": _layers}
NAMES = {("node", "onnx"): _names_of_nodes, ("layer", "keras"): _names_of_layers}
