"""Nets from files."""

from __future__ import annotations

import os
from typing import Literal

from . import formats
from .core.net import Net
from .model import LSTM


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
        run, no pickle is read. A .weights.h5 file does not store activations or directions: its layers
        are assumed to be default ones that run forward, or a Bidirectional that puts both side by side.
    prefix : str, optional
        The start of the names of the LSTM in a .safetensors file, such as ``"encoder.lstm"``;
        needed if there are several.
    node : str or int, optional
        The LSTM node of an .onnx file, as for `LSTM.from_onnx`; needed if there are several that
        are not the layers of one net.
    layer : str or int, optional
        The LSTM layer of a file of Keras, as for `LSTM.from_keras`; needed if there are several that
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
        If the file is not what its ending says, is damaged, or its arrays make no LSTM.
    ValueError
        If the ending is none that is known, or an option does not apply to such a file.
    OSError
        If the file cannot be opened.
    ImportError
        If the format needs an extra that is not installed.

    Examples
    --------
    >>> import lstm, os, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "net.npz")
    ...     lstm.LSTM(3, 5).save(path)
    ...     lstm.load(path)
    LSTM(3, 5, dtype=float64)

    """
    picks = {"prefix": prefix, "node": node, "layer": layer}
    options: dict[str, object] = {name: value for name, value in picks.items() if value is not None}
    if external_data is not False:
        options["external_data"] = external_data
    return LSTM.from_core(Net(formats.read(path, **options), backend))
