"""Reading and writing nets: one file a format, picked by the ending of the path."""

from __future__ import annotations

import os
from collections.abc import Iterable
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from ..model import LSTM

# The module of this folder that reads and writes files of an ending.
ENDINGS = {
    ".npz": "npz",
    ".safetensors": "safetensors",
    ".onnx": "onnx",
    ".keras": "keras",
    ".h5": "keras",
    ".hdf5": "keras",
}
# Modules that only read: their save tells what can be written.
READ_ONLY = ("keras",)
# The option of load that picks one of several LSTMs, by module.
PICKED_BY = {"safetensors": "prefix", "onnx": "node", "keras": "layer"}


# Characters of an error: a damaged file has names and values of any length.
LONGEST_START, LONGEST_END = 1200, 600


class FormatError(ValueError):
    """A file that cannot be read as what it should be; names the file, the entry and what was expected."""

    def __init__(self, message: str) -> None:
        if len(message) > LONGEST_START + LONGEST_END:
            message = f"{message[:LONGEST_START]} ... {message[-LONGEST_END:]}"
        super().__init__(message)


def load(
    path: str | os.PathLike[str],
    *,
    prefix: str | None = None,
    node: str | int | None = None,
    layer: str | int | None = None,
    external_data: bool = False,
    backend: Literal["native", "numpy"] = "native",
) -> LSTM:
    """Load a net from a file.

    Parameters
    ----------
    path : str or path-like
        A .npz file, as `LSTM.save` writes it, or one that holds a state dict under PyTorch's names
        and nothing else; or a .safetensors file (extra ``safetensors``), in which the LSTM is found
        among other tensors; or an .onnx file (extra ``onnx``); or a .keras, .weights.h5, .h5 or .hdf5
        file of Keras (extra ``keras``, which is h5py alone). Files are not trusted: nothing in them is
        run, no pickle is read. A .weights.h5 file tells neither activations nor directions: its layers
        are taken for usual ones that go forward, or for a Bidirectional that puts both side by side.
    prefix : str, optional
        What stands before the names of the LSTM in a .safetensors file, such as ``"encoder.lstm"``;
        needed where there are several.
    node : str or int, optional
        The LSTM node of an .onnx file, as for `LSTM.from_onnx`; needed where there are several that
        are not the layers of one net.
    layer : str or int, optional
        The LSTM layer of a file of Keras, as for `LSTM.from_keras`; needed where there are several that
        are no stack.
    external_data : bool
        Whether values of an .onnx file may be read from other files in its folder.
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
    given = {"prefix": prefix, "node": node, "layer": layer}
    for name, value in given.items():
        if value is not None and name != picked_by:
            raise ValueError(f"{name} is {value!r}, but {os.fspath(path)} has no such thing to pick by")
    if external_data is not False:
        if not module.__name__.endswith(".onnx"):
            raise ValueError(f"external_data is {external_data!r}, but {os.fspath(path)} is no .onnx file")
        return module.load(path, backend, node, external_data)  # type: ignore[no-any-return]
    if picked_by is None or given[picked_by] is None:
        return module.load(path, backend)  # type: ignore[no-any-return]
    return module.load(path, backend, given[picked_by])  # type: ignore[no-any-return]


def save(net: LSTM, path: str | os.PathLike[str]) -> None:
    """Write `net` in the format that the ending of `path` names."""
    module_of(path, [ending for ending, name in ENDINGS.items() if name not in READ_ONLY]).save(net, path)


def module_of(path: str | os.PathLike[str], listed: Iterable[str] = ENDINGS) -> ModuleType:
    """The module for the ending of `path`; ValueError, which lists these endings, where there is none."""
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
        raise ValueError(f"{name} ends in {ending!r}, but must end in {' or '.join(listed)}")
    return import_module(f".{ENDINGS[ending]}", __name__)
