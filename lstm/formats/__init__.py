"""Reading and writing nets: one file a format, picked by the ending of the path."""

from __future__ import annotations

import os
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from ..model import LSTM

# The module of this folder that reads and writes files of an ending.
ENDINGS = {".npz": "npz", ".safetensors": "safetensors", ".onnx": "onnx"}
# The option of load that picks one of several LSTMs, by module.
PICKED_BY = {"safetensors": "prefix", "onnx": "node"}


class FormatError(ValueError):
    """A file that cannot be read as what it should be; names the file, the entry and what was expected."""


def load(
    path: str | os.PathLike[str],
    *,
    prefix: str | None = None,
    node: str | int | None = None,
    backend: Literal["native", "numpy"] = "native",
) -> LSTM:
    """Load a net from a file.

    Parameters
    ----------
    path : str or path-like
        A .npz file, as `LSTM.save` writes it, or one that holds a state dict under PyTorch's names
        and nothing else; or a .safetensors file (extra ``safetensors``), in which the LSTM is found
        among other tensors; or an .onnx file (extra ``onnx``). Files are not trusted: nothing in them
        is run, no pickle is read.
    prefix : str, optional
        What stands before the names of the LSTM in a .safetensors file, such as ``"encoder.lstm"``;
        needed where there are several.
    node : str or int, optional
        The LSTM node of an .onnx file, as for `LSTM.from_onnx`; needed where there are several.
    backend : {"native", "numpy"}
        As for `LSTM`.

    Returns
    -------
    LSTM

    Raises
    ------
    FormatError
        Where the file is not what its ending says, is damaged, or its arrays make no LSTM.
    ValueError
        Where the ending is none that is known.
    OSError
        Where the file cannot be opened.
    ImportError
        Where the format needs an extra that is not installed.

    Examples
    --------
    >>> import lstm, os, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "net.npz")
    ...     lstm.LSTM(3, 5).save(path)
    ...     lstm.load(path)
    LSTM(3, 5, dtype=float64)

    """
    module = module_of(path)
    picked_by = PICKED_BY.get(module.__name__.rpartition(".")[2])
    given = {"prefix": prefix, "node": node}
    for name, value in given.items():
        if value is not None and name != picked_by:
            raise ValueError(f"{name} is {value!r}, but {os.fspath(path)} has no such thing to pick by")
    if picked_by is None or given[picked_by] is None:
        return module.load(path, backend)  # type: ignore[no-any-return]
    return module.load(path, backend, given[picked_by])  # type: ignore[no-any-return]


def save(net: LSTM, path: str | os.PathLike[str]) -> None:
    """Write `net` in the format that the ending of `path` names."""
    module_of(path).save(net, path)


def module_of(path: str | os.PathLike[str]) -> ModuleType:
    """The module for the ending of `path`; ValueError where there is none."""
    name = os.fspath(path)
    if not isinstance(name, str):
        raise TypeError(f"path is {path!r}, but must be a str or a path-like object of one")
    ending = os.path.splitext(name)[1].lower()
    if ending in (".pt", ".pth"):
        raise ValueError(
            f"{name} is a PyTorch pickle, which can run code when it is read; with PyTorch, use\n"
            f"    state = torch.load({name!r}, weights_only=True)\n"
            "    net = lstm.LSTM.from_torch(state)"
        )
    if ending not in ENDINGS:
        raise ValueError(f"{name} ends in {ending!r}, but must end in {' or '.join(ENDINGS)}")
    return import_module(f".{ENDINGS[ending]}", __name__)
