"""Nets from state dicts, frameworks and files, and back: what `LSTM` has of these, in a class below it."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

from .core.net import Net
from .core.state_dict import from_state_dict
from .core.typing import ActivationForm, FloatDType, Precision
from .core.weights import Parts


class Conversions:
    """A net around its engine, as other libraries know it; `LSTM` adds what it computes."""

    __slots__ = ("__weakref__", "_net")

    _net: Net

    @classmethod
    def from_core(cls, core: Net) -> Self:
        """Make an LSTM around an engine, which is then the LSTM's own.

        Parameters
        ----------
        core : lstm.core.net.Net
            As readers of files make it, or the `core` of another LSTM, by its `copy`.

        Returns
        -------
        LSTM
        """
        net = cls.__new__(cls)
        net._net = core
        return net

    @property
    def core(self) -> Net:
        """The engine under this class, for the parts of this package that are built upon it."""
        return self._net

    @classmethod
    def from_state_dict(
        cls,
        state: Mapping[str, Any],
        *,
        merge: Literal["concat", "sum", "mean", "mul"] = "concat",
        reverse: bool = False,
        clip: float | None = None,
        cell_clip: float | None = None,
        proj_clip: float | None = None,
        input_forget: bool = False,
        activations: Sequence[ActivationForm] | None = None,
        dtype: FloatDType | None = None,
        precision: Precision | None = None,
        backend: Literal["native", "numpy"] = "native",
    ) -> Self:
        """Make a net from arrays under PyTorch's names; the sizes follow from names and shapes.

        Parameters
        ----------
        state : mapping of str to array_like
            As `state_dict` returns it.
        merge, reverse, clip, cell_clip, proj_clip, input_forget, activations
            As for the class: what the arrays do not tell.
        dtype : {None, float64, float32}
            None: float32 where all arrays are of float32 or float16, else float64.
        precision : {None, "bfloat16", "float16", "int8"}
            As for the class, for a net of float32.
        backend : {"native", "numpy"}
            As for the class.

        Returns
        -------
        LSTM

        Raises
        ------
        ValueError, TypeError
            As for `load_state_dict`.

        Examples
        --------
        >>> import numpy as np
        >>> from lstm import LSTM
        >>> LSTM.from_state_dict(LSTM(3, 5, dtype=np.float32).state_dict())
        LSTM(3, 5, dtype=float32)

        """
        parts = from_state_dict(
            state,
            merge=merge,
            reverse=reverse,
            clip=clip,
            cell_clip=cell_clip,
            proj_clip=proj_clip,
            input_forget=input_forget,
            activations=activations,
        )
        return cls._from_parts(parts, dtype, precision, backend)

    @classmethod
    def _from_parts(
        cls, parts: Parts, dtype: FloatDType | None, precision: Precision | None, backend: str
    ) -> Self:
        """A net of these parts, of another dtype and precision if they are given."""
        from . import formats

        return cls.from_core(Net(formats.asked(parts, dtype, precision), backend))

    @classmethod
    def from_torch(
        cls,
        source: Any,
        prefix: str | None = None,
        *,
        dtype: FloatDType | None = None,
        precision: Precision | None = None,
        backend: Literal["native", "numpy"] = "native",
    ) -> Self:
        """Make a net from PyTorch's weights.

        Parameters
        ----------
        source : torch.nn.LSTM, torch.nn.LSTMCell, another module, or a state dict
            Tensors, on any device, or arrays; bfloat16 and float16 are widened to float32. Other
            weights of a larger model are left alone. Dropout takes no part in inference.
        prefix : str, optional
            The start of the names of the LSTM in a larger model, such as ``"encoder.lstm"``;
            needed if there are several.
        dtype, precision, backend
            As for `from_state_dict`.

        Returns
        -------
        LSTM

        Raises
        ------
        TypeError, ValueError
            If there is no LSTM in the source, or several and no prefix: the message lists them.

        Examples
        --------
        >>> import torch  # doctest: +SKIP
        >>> module = torch.nn.LSTM(3, 5, num_layers=2)  # doctest: +SKIP
        >>> LSTM.from_torch(module)  # doctest: +SKIP
        LSTM(3, 5, num_layers=2, dtype=float32)
        """
        from .formats import torch

        return cls._from_parts(torch.read(source, prefix), dtype, precision, backend)

    @classmethod
    def from_onnx(
        cls,
        source: Any,
        node: str | int | None = None,
        *,
        external_data: bool = False,
        initial_states: Literal["raise", "drop"] = "raise",
        dtype: FloatDType | None = None,
        precision: Precision | None = None,
        backend: Literal["native", "numpy"] = "native",
    ) -> Self:
        """Make a net from the LSTM nodes of an ONNX model (extra ``onnx``).

        Parameters
        ----------
        source : str, path-like, or onnx.ModelProto
            A model, in which the node may be among others, within branches and within functions.
            Its weights are initializers or constants, rearranged at most; float16 and bfloat16 are
            widened to float32, quantized ones dequantized. Initial states and lengths are taken from
            the calls of the net; X is (B, T, I) always. Several nodes of which each takes the outputs of
            the one before, the directions side by side and nothing else between, and none of which
            starts from another one's states, are the layers of one net.
        node : str or int, optional
            The node's name, the name of one of its outputs, or its number: one node of several.
            Needed if they are not the layers of one net.
        external_data : bool
            Whether weights may be read from other files: regular ones in the folder of the model.
        initial_states : {"raise", "drop"}
            What to do with initial states that are neither zero nor inputs of the model (constants,
            computed ones, those of another LSTM), and with constant lengths: raise, or leave them to
            the calls of the net; `lstm.tensors` gives the constants.
        dtype, precision, backend
            As for `from_state_dict`.

        Returns
        -------
        LSTM

        Raises
        ------
        FormatError
            If there is no such node, or several that are no layers of one net and none is picked
            (the message lists them), the model is damaged, or the node has what the operator does not
            know.
        TypeError, ValueError
            If an argument is not as above.
        OSError
            If the file cannot be opened.
        ImportError
            If onnx is not installed.

        Examples
        --------
        >>> LSTM(3, 5, num_layers=2).to_onnx("net.onnx")  # doctest: +SKIP
        >>> LSTM.from_onnx("net.onnx")  # doctest: +SKIP
        LSTM(3, 5, num_layers=2, dtype=float64)
        >>> LSTM.from_onnx("net.onnx", node="lstm_1")  # doctest: +SKIP
        LSTM(5, 5, dtype=float64)
        """
        from .formats import onnx

        return cls._from_parts(
            onnx.read(source, node, external_data, initial_states), dtype, precision, backend
        )

    @classmethod
    def from_keras(
        cls,
        source: Any,
        layer: str | int | None = None,
        *,
        dtype: FloatDType | None = None,
        precision: Precision | None = None,
        backend: Literal["native", "numpy"] = "native",
    ) -> Self:
        """Make a net from a Keras layer, or from the LSTM layers of a Keras model.

        Parameters
        ----------
        source : keras.layers.LSTM, Bidirectional, RNN, or keras.Model
            An LSTM, an RNN of LSTM cells, a Bidirectional of one, or a model that holds one of them
            or a stack that is one net: layers of equal units, activations and merge, each fed by the
            one before alone, with nothing but dropout between them. Other layers of the model are left
            alone, masks among them: see `mask` of `forward_sequence`. Dropout takes no part in
            inference; whether a layer returns sequences or states, or keeps them, is for the calls of
            the net. float16 and bfloat16 are widened to float32.
        layer : str or int, optional
            The name of a layer, its path (``"encoder/lstm_1"``), or its number among the LSTM layers;
            needed if they are no stack, or if the model has other recurrent layers. A TimeDistributed
            stands for the layer in it, ``"bidirectional/forward_lstm"`` for one direction.
        dtype, precision, backend
            As for `from_state_dict`.

        Returns
        -------
        LSTM

        Raises
        ------
        TypeError
            If the source is no Keras layer or model.
        ValueError
            If there is no LSTM layer, several that are no stack and none is picked (the message
            lists them), the layer has no weights yet, or it computes what this class cannot, as a
            subclass or an activation that the ONNX operator does not have.

        Warns
        -----
        FormatWarning
            If the model calls the layer with ``training=True``, so that its dropout is always on.

        Notes
        -----
        A layer with ``go_backwards`` becomes a net with ``reverse=True``, whose outputs stay at their
        time positions; Keras has them in the order in which they are computed: ``Y[:, ::-1]``.

        Examples
        --------
        >>> import keras  # doctest: +SKIP
        >>> model = keras.Sequential([keras.Input((None, 3)), keras.layers.LSTM(5)])  # doctest: +SKIP
        >>> LSTM.from_keras(model)  # doctest: +SKIP
        LSTM(3, 5, dtype=float32)
        """
        from .formats.keras import live

        return cls._from_parts(live.read(source, layer), dtype, precision, backend)

    def quantize(self, precision: Precision | None) -> Self:
        """Make a net of these weights that keeps them in another precision; this one stays as it is.

        Parameters
        ----------
        precision : {"bfloat16", "float16", "int8", None}
            As for the class. None: float32 again, with the values that the weights have now.

        Returns
        -------
        LSTM

        Raises
        ------
        ValueError
            If the net is of float64, or has a weight that the precision cannot hold: NaN or infinity in
            int8, one beyond 65504 in float16.
        TypeError
            If `precision` is no text.

        Examples
        --------
        >>> import numpy as np
        >>> from lstm import LSTM
        >>> net = LSTM(40, 128, dtype=np.float32, rng=0)
        >>> small = net.quantize("int8")
        >>> small
        LSTM(40, 128, dtype=float32, precision='int8')
        >>> X = np.random.default_rng(1).standard_normal((100, 40), dtype=np.float32)
        >>> bool(np.abs(small.forward_sequence(X) - net.forward_sequence(X)).max() < 0.02)
        True
        """
        net = copy.copy(self)
        net._net = self._net.quantized(precision)
        return net

    def to_onnx(self, path: str | os.PathLike[str]) -> None:
        """Write the net as an ONNX model of one LSTM node a layer (extra ``onnx``).

        Parameters
        ----------
        path : str or path-like
            A file of that name is replaced once the new one is whole. The model takes X (B, T, I), h0
            and C0 (L D, B, H) and gives Y (B, T, D H), h_n and C_n, with batch and time open. ONNX
            Runtime runs those of float32 only.

        Raises
        ------
        ValueError
            If the net has a projection, which ONNX's LSTM lacks, or takes 2 GB and more, which a
            file of ONNX cannot.
        OSError
            If the file cannot be written.
        ImportError
            If onnx is not installed.
        """
        from . import formats

        formats.ONNX.save(self._net.parts(), path)

    def to_torch(self) -> Any:
        """Make a torch.nn.LSTM of these weights, in evaluation mode and batch first (extra ``torch``).

        Returns
        -------
        torch.nn.LSTM

        Raises
        ------
        ValueError
            If the net has what PyTorch's lacks: reverse, peephole, clip, input_forget, activations.
        ImportError
            If PyTorch is not installed.
        """
        from .formats import torch

        return torch.to_torch(self._net.parts())

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the net to a file, which `lstm.load` reads; no pickle is in it.

        Parameters
        ----------
        path : str or path-like
            Ends in ``.npz`` or, with the extra of that name, in ``.safetensors``, which PyTorch's
            ``load_state_dict`` takes too, or in ``.onnx``, as `to_onnx` writes it. A file of that name
            is replaced once the new one is whole and on the disk; its mode is kept, and a link to it.

        Raises
        ------
        ValueError
            If the path has another ending, or the net has what an .onnx file cannot hold: see `to_onnx`.
        OSError
            If the file cannot be written, or is none, such as a device.
        ImportError
            If the extra of the format is not installed.

        """
        from . import formats

        formats.save(self._net.parts(), path)
