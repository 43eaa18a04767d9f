"""Files from and to `Parts`, all that makes a net: one record a format, picked by the ending of the path."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable
from functools import partial
from importlib import import_module
from typing import Any, NamedTuple, TypeVar

import numpy as np

from ..core.interruptible import interruptible
from ..core.weights import Parts
from . import pickles
from .errors import FormatError, FormatWarning, memory_errors
from .untold import UNTOLD
from .writing import replacing

__all__ = [
    "FORMATS",
    "ONNX",
    "UNTOLD",
    "WRITTEN",
    "Format",
    "FormatError",
    "FormatWarning",
    "asked",
    "endings",
    "format_of",
    "read",
    "save",
    "tensors",
    "written_format_of",
]


Read = TypeVar("Read")


class Format(NamedTuple):
    """A format of files.

    Its module, which is imported when it is first used, has `read(path, **options)`, which gives `Parts`;
    `tensors(path, **options)`, which gives every array by name; if `is_written`, `write(parts, path)`; if
    a file may hold several LSTMs, `names(path, **options)`: for each of them its number and the names by
    which it can be picked; and if it `has_notes`, `notes(path, **options)`: sentences on the net that `read`
    gives.
    """

    module_name: str  # in this package
    endings: tuple[str, ...]
    is_written: bool = False
    picked_by: str | None = None  # the option that picks one of several LSTMs
    pick_help: str = ""
    # Whether the LSTMs have an order: numbers pick them too, and together they may be the layers of one net.
    is_ordered: bool = False
    other_options: tuple[str, ...] = ()
    has_notes: bool = False
    # A warning names the caller's line, which a thread does not know. Such a module hears signals itself.
    warns: bool = False

    @property
    def options(self) -> tuple[str, ...]:
        """The options of `lstm.load` that apply to this format."""
        return (*([self.picked_by] if self.picked_by else []), *self.other_options)

    def read(self, path: str | os.PathLike[str], **options: Any) -> Parts:
        """The net of a file; FormatError if it holds none."""
        with memory_errors():
            parts: Parts
            if self.warns:
                parts = self._module().read(path, **options)
            else:
                parts = self._interruptible(path, partial(self._module().read, path, **options))
        return parts

    def write(self, parts: Parts, path: str | os.PathLike[str]) -> None:
        """Write a net to a file; what is there already is lost."""
        with memory_errors():
            interruptible(partial(self._module().write, parts, path), parts.nbytes)

    def save(self, parts: Parts, path: str | os.PathLike[str]) -> None:
        """Write a net to a file, which takes the place of an older one once it is whole."""
        with memory_errors(), replacing(path) as new:
            self.write(parts, new)

    def names(self, path: str | os.PathLike[str], **options: Any) -> list[tuple[int, tuple[str, ...]]]:
        """Number and names of every LSTM of a file; one may have none, and several the same."""
        with memory_errors():
            names: list[tuple[int, tuple[str, ...]]] = self._module().names(path, **options)
        return names

    def notes(self, path: str | os.PathLike[str], **options: Any) -> list[str]:
        """What a user should know of the net that `read` gives."""
        notes: list[str] = self._module().notes(path, **options) if self.has_notes else []
        return notes

    def tensors(self, path: str | os.PathLike[str], **options: Any) -> dict[str, np.ndarray]:
        """Every array of a file by name, floats not below float32."""
        with memory_errors():
            read = partial(self._module().tensors, path, **options)
            arrays: dict[str, np.ndarray] = self._interruptible(path, read)
            return {
                name: array.astype(np.float32) if array.dtype == np.float16 else array
                for name, array in arrays.items()
            }

    def _interruptible(self, path: str | os.PathLike[str], read: Callable[[], Read]) -> Read:
        """What `read` makes of the file; signals are heard meanwhile."""
        try:
            size = os.stat(path).st_size
        except OSError:  # that `read` raises with its own words
            size = 0
        return interruptible(read, size)

    def _module(self) -> Any:
        return import_module(f".{self.module_name}", __name__)


ONNX = Format(
    "onnx",
    (".onnx",),
    is_written=True,
    picked_by="node",
    pick_help="its node in an .onnx file: the name, the name of an output, or the number",
    is_ordered=True,
    other_options=("external_data", "initial_states"),
    has_notes=True,
)
FORMATS = (
    Format(
        "npz",
        (".npz",),
        is_written=True,
        picked_by="prefix",
        pick_help="the start of its names in an .npz file of a larger model",
        other_options=UNTOLD,
        has_notes=True,
    ),
    Format(
        "safetensors",
        (".safetensors",),
        is_written=True,
        picked_by="prefix",
        pick_help="the same in a .safetensors file",
        other_options=UNTOLD,
    ),
    ONNX,
    Format(
        "keras",
        (".keras", ".h5", ".hdf5"),
        picked_by="layer",
        pick_help="its layer in a file of Keras: the name, that after its models' names, or the number",
        is_ordered=True,
        other_options=UNTOLD,
        has_notes=True,
        warns=True,
    ),
    Format(
        "tflite",
        (".tflite",),
        picked_by="node",
        pick_help="its operator in a .tflite file: the name of its output, or the number",
        is_ordered=True,
        other_options=("initial_states",),
        has_notes=True,
    ),
    Format(
        "rtneural",
        (".json",),
        picked_by="layer",
        pick_help="its layer in an RTNeural file: the number, or the name if there is one",
        is_ordered=True,
        has_notes=True,
    ),
)


WRITTEN = tuple(one for one in FORMATS if one.is_written)


def endings(formats: Iterable[Format]) -> list[str]:
    """The endings of these formats."""
    return [ending for one in formats for ending in one.endings]


def format_of(path: str | os.PathLike[str]) -> Format:
    """The format that the ending of `path` names; ValueError, which lists the endings, if there is none."""
    ending = _ending(path)
    found = next((one for one in FORMATS if ending in one.endings), None)
    if found is None:
        if (advice := pickles.advice(path)) is not None:
            raise ValueError(advice)
        raise ValueError(f"{path} ends in {ending!r}, but must end in {' or '.join(endings(FORMATS))}")
    return found


def written_format_of(path: str | os.PathLike[str]) -> Format:
    """The same of a file to be written."""
    ending = _ending(path)
    found = next((one for one in WRITTEN if ending in one.endings), None)
    if found is None:
        if (advice := pickles.writing_advice(path)) is not None:
            raise ValueError(advice)
        listed = " or ".join(endings(WRITTEN))
        raise ValueError(f"{path} ends in {ending!r}, but must end in {listed} to be written")
    return found


def _ending(path: str | os.PathLike[str]) -> str:
    name = os.fspath(path)
    if not isinstance(name, str):
        raise TypeError(f"path is {path!r}, but must be a str or a path-like object of one")
    return os.path.splitext(name)[1].lower()


def read(path: str | os.PathLike[str], **options: Any) -> Parts:
    """The net of a file; `options` are those of `lstm.load`, ValueError for one that does not apply."""
    return _format_with(path, options).read(path, **options)


def asked(parts: Parts, dtype: Any, precision: str | None) -> Parts:
    """The net in the dtype and precision that a caller asks for, if any: see `Parts.asked`.

    A FormatWarning says if the source has integers of 8 bits that an int8 net does not keep.
    """
    found = parts.asked(dtype, precision)
    if found.precision == "int8" and found.unkept:
        warnings.warn(f"{found.unkept}: they are quantized again", FormatWarning, stacklevel=3)
    return found


def tensors(path: str | os.PathLike[str], **options: Any) -> dict[str, np.ndarray]:
    """Every array of a file by name; `options` are those of `lstm.tensors`."""
    return _format_with(path, options).tensors(path, **options)


def _format_with(path: str | os.PathLike[str], options: Iterable[str]) -> Format:
    """The format of a file; ValueError if one of these options does not apply to it."""
    file_format = format_of(path)
    for name in options:
        if name not in file_format.options:
            options_it_takes = "= and ".join(file_format.options)
            why = f"takes {options_it_takes}=" if options_it_takes else "holds a single LSTM"
            raise ValueError(f"{os.fspath(path)} {why}, so {name}= does not apply")
    return file_format


def save(parts: Parts, path: str | os.PathLike[str]) -> None:
    """Write a net in the format that the ending of `path` names."""
    written_format_of(path).save(parts, path)
