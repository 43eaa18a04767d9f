"""Nets from files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Literal

import numpy as np

from . import formats
from .core.net import Net
from .core.typing import ActivationForm, FloatDType, Precision
from .model import LSTM


def load(
    path: str | os.PathLike[str],
    *,
    prefix: str | None = None,
    node: str | int | None = None,
    layer: str | int | None = None,
    external_data: bool = False,
    initial_states: Literal["raise", "drop"] = "raise",
    activations: Sequence[ActivationForm] | None = None,
    reverse: bool | None = None,
    merge: Literal["concat", "sum", "mean", "mul"] | None = None,
    dtype: FloatDType | None = None,
    precision: Precision | None = None,
    backend: Literal["native", "numpy"] = "native",
) -> LSTM:
    """Load a net from a file.

    Parameters
    ----------
    path : str or path-like
        A .npz file, as `LSTM.save` writes it, or one that holds a state dict under PyTorch's names
        and nothing else; or a .safetensors file (extra ``safetensors``), in which the LSTM is found
        among other tensors; or an .onnx file (extra ``onnx``); or a .keras, .weights.h5, .h5 or .hdf5
        file of Keras (extra ``keras``, which is h5py alone); or a .tflite file (extra ``tflite``), of
        whose operators the fused LSTMs are read; or a .json file of RTNeural. Files are not trusted:
        nothing in them is run, no pickle is read. A file of Keras with weights alone does not store
        activations or directions: its layers are assumed to be default ones that run forward, or a
        Bidirectional that puts both side by side; before Keras 2.3 `activations` must be given.
    prefix : str, optional
        The start of the names of the LSTM in a .safetensors or .npz file, such as ``"encoder.lstm"``;
        needed if there are several.
    node : str or int, optional
        The LSTM node of an .onnx file, as for `LSTM.from_onnx`, or of a .tflite file, by its number or
        the name of its output; needed if there are several that are not the layers of one net.
    layer : str or int, optional
        The LSTM layer of a file of Keras, as for `LSTM.from_keras`, or of RTNeural, by its number among
        the LSTMs or its name; needed if there are several that are no stack.
    external_data : bool
        Whether values of an .onnx file may be read from other files in its folder.
    initial_states : {"raise", "drop"}
        What to do with initial states and lengths that an .onnx file has, as for `LSTM.from_onnx`, and
        with initial states of a .tflite file that are not zero or that another operator computes.
    activations, reverse, merge : optional
        As for `LSTM`: what a state dict in an .npz or .safetensors file, or the weights alone of a
        model of Keras, do not tell. A file that stores them raises if they are others.
    dtype, precision : optional
        As for `LSTM`; by default those of the file. With "int8", a file of such integers keeps its own where
        an int8 net can hold them; with "bfloat16" or "float16", one of such weights keeps every bit.
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

    Warns
    -----
    FormatWarning
        If a model of Keras calls the layer with ``training=True``, so that its dropout is always on; with
        precision "int8", if the integers of a file are none that such a net keeps.

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
    untold = {"activations": activations, "reverse": reverse, "merge": merge}
    options: dict[str, object] = {
        name: value for name, value in {**picks, **untold}.items() if value is not None
    }
    if external_data is not False:
        options["external_data"] = external_data
    if initial_states != "raise":
        options["initial_states"] = initial_states
    parts = formats.asked(formats.read(path, **options), dtype, precision)
    return LSTM.from_core(Net(parts, backend))


def tensors(path: str | os.PathLike[str], *, external_data: bool = False) -> dict[str, np.ndarray]:
    """Every array of a file by name: those of the layers around an LSTM, too.

    Parameters
    ----------
    path : str or path-like
        A file of any format that `load` reads; it need not hold an LSTM. Nothing in it is run.
    external_data : bool
        Whether values of an .onnx file may be read from other files in its folder.

    Returns
    -------
    dict of str to ndarray
        Under the names of the file: those of a state dict, those of initializers and constants in an
        .onnx file, the paths of datasets in a file of Keras, the tensors of a .tflite file; in a file of
        RTNeural place and type of the layer and the number of the array, as in ``0.lstm.1``. float16 and
        bfloat16 become float32, and so do the integers with a scale of a .tflite file. Texts, and the
        integers of a file of Keras, are left out.

    Raises
    ------
    FormatError, ValueError, OSError, ImportError
        As for `load`.

    Examples
    --------
    >>> import lstm, numpy as np, os, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "model.npz")
    ...     np.savez(path, dense=np.ones((5, 2)), **lstm.LSTM(3, 5).state_dict())
    ...     arrays = lstm.tensors(path)
    >>> arrays["dense"].shape, arrays["weight_ih_l0"].shape
    ((5, 2), (20, 3))

    """
    options = {} if external_data is False else {"external_data": external_data}
    return formats.tensors(path, **options)
