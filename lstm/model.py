"""The LSTM class: checks shapes, allocates results, picks the backend.

Shapes: B batch, T time, I input, H hidden, O features of h (proj_size or H), L layers, D directions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Self, overload

import numpy as np
from numpy.typing import ArrayLike

from . import _kernel, habits
from .conversions import Conversions
from .core import dropout as dropouts
from .core import states
from .core.architecture import check
from .core.checks import generator, is_usable, net_dtype, positive_size
from .core.net import Net
from .core.precision import check_precision
from .core.states import States
from .core.summary import html_summary, summary
from .core.trace import Trace
from .core.typing import ActivationForm, ArrayProperty, FloatDType, Floats, Precision
from .core.weights import Parts, initialize
from .layer import Layer
from .stream import Stream
from .tape import Tape, everyday_tape


def _layer_property(name: str, doc: str) -> ArrayProperty:
    """One array of the only layer of a one-layer, one-direction net."""

    def get(net: LSTM) -> np.ndarray:
        return getattr(net._only_layer(name), name)  # type: ignore[no-any-return]

    def set_(net: LSTM, value: ArrayLike) -> None:
        setattr(net._only_layer(name), name, value)

    return ArrayProperty(get, set_, doc=doc)


class LSTM(Conversions):
    """A long short-term memory net.

    ::

        i = σ(W_i·[h, x] + b_i)     f = σ(W_f·[h, x] + b_f)
        g = tanh(W_g·[h, x] + b_g)  o = σ(W_o·[h, x] + b_o)
        C_t = f ⊙ C + i ⊙ g         h_t = o ⊙ tanh(C_t)

    after Hochreiter and Schmidhuber (1997) with the forget gate of Gers et al. (2000), in the
    notation of Olah, "Understanding LSTM Networks" (2015). The variants are those of the ONNX LSTM
    operator and of PyTorch's ``nn.LSTM``.

    Parameters
    ----------
    input_size, hidden_size : int
        Features of x and of C, each at least 1.
    num_layers : int
        Layers; each takes the outputs of the one before.
    bidirectional : bool
        Whether every layer runs in both directions.
    merge : {"concat", "sum", "mean", "mul"}
        How the outputs of the two directions become the layer's: next to one another, or their sum, mean or
        product (Keras's merge_mode).
    reverse : bool
        Whether a net of one direction runs from the last step to the first. Outputs stay at their
        time positions.
    proj_size : int
        Features of h where they are fewer than those of C: h = W_hr (o ⊙ tanh(C)) (Sak et al. 2014).
        0: no projection.
    bias : bool
        Whether there are biases. Without them ``bf`` and the others read as zeros.
    peephole : bool
        Whether i and f also see the C before, and o the new C (Gers and Schmidhuber 2000).
    clip : float, optional
        Bound of every gate's sum before its activation: ±clip (ONNX).
    cell_clip, proj_clip : float, optional
        Bounds of C after its update, and of h after its projection (TensorFlow).
    input_forget : bool
        Whether f = 1 - i; the weights of f are then kept and not used.
    activations : sequence, optional
        Functions of gates, candidate and cell output, by default Sigmoid, Tanh, Tanh. Three serve both
        directions, six give each its own. Names of the ONNX operator in any case: Sigmoid, Tanh, Relu,
        Affine, LeakyRelu, ThresholdedRelu, ScaledTanh, HardSigmoid, Elu, Softsign, Softplus; or tuples
        (name, alpha) and (name, alpha, beta).
    dtype : {float64, float32}
        Of weights, states and outputs. Inputs of any real dtype are cast to it.
    precision : {None, "bfloat16", "float16", "int8"}
        How a float32 net keeps its weights: None in float32. In 16 bits they are rounded once, and all else
        is computed in float32. In int8 they are integers with a scale for every unit and gate; x and h
        become such with one scale for every row and step, so that a row's result depends on nothing but
        that row. Such nets are for inference: `record` raises.
    init : {"glorot", "pytorch", "normal"}
        "glorot": Glorot-uniform input weights, orthogonal recurrent weights, forget bias 1.
        "pytorch": uniform within ``1 / sqrt(hidden_size)``. "normal": standard normal weights,
        zero biases.
    rng : None, int, sequence of int, or numpy.random.Generator
        Seed or source of the random weights (SPEC 7).
    backend : {"native", "numpy"}
        The compiled kernel, or the readable reference of `lstm.core.reference`.

    Attributes
    ----------
    Wf, Wi, WC, Wo : numpy.ndarray
        Of a net of one layer and direction: weights over [h, x], (H, O + I); forget, input,
        candidate and output gate. Assigning sets one; what is read is a read-only copy, so that
        an edit in place raises instead of being lost.
    bf, bi, bC, bo : numpy.ndarray
        Biases, (H, 1).
    layers : tuple of Layer
        The same arrays of every layer and direction, in the order of the states' first axis.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as above.

    Notes
    -----
    A net may be used by several threads at once; the kernel releases the GIL. The native backend
    gives the same bits for a sequence at once, in chunks or by single steps, alone or in a batch,
    on every instruction set.

    Examples
    --------
    >>> import numpy as np
    >>> net = LSTM(3, 5, rng=0)
    >>> h, C = net.forward(np.ones((3, 1)), np.zeros((5, 1)), np.zeros((5, 1)))
    >>> h.shape, C.shape
    ((5, 1), (5, 1))
    >>> net.forward_sequence(np.ones((10, 3))).shape
    (10, 5)

    """

    __slots__ = ()

    @habits.answered
    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        bidirectional: bool = False,
        merge: Literal["concat", "sum", "mean", "mul"] = "concat",
        reverse: bool = False,
        proj_size: int = 0,
        bias: bool = True,
        peephole: bool = False,
        clip: float | None = None,
        cell_clip: float | None = None,
        proj_clip: float | None = None,
        input_forget: bool = False,
        activations: Sequence[ActivationForm] | None = None,
        dtype: FloatDType = np.float64,
        precision: Precision | None = None,
        init: Literal["glorot", "pytorch", "normal"] = "glorot",
        rng: Any = None,
        backend: Literal["native", "numpy"] = "native",
    ) -> None:
        architecture = check(
            input_size,
            hidden_size,
            num_layers=num_layers,
            bidirectional=bidirectional,
            merge=merge,
            reverse=reverse,
            proj_size=proj_size,
            bias=bias,
            peephole=peephole,
            clip=clip,
            cell_clip=cell_clip,
            proj_clip=proj_clip,
            input_forget=input_forget,
            activations=activations,
        )
        real = net_dtype(dtype)
        small = check_precision(precision, real)
        weights = initialize(init, generator(rng), architecture, real)
        self._net = Net(Parts(weights, architecture, real, small), backend)

    @property
    def input_size(self) -> int:
        """Features of the input, I."""
        return self._net.architecture.input_size

    @property
    def hidden_size(self) -> int:
        """Hidden units, H."""
        return self._net.architecture.hidden_size

    @property
    def num_layers(self) -> int:
        """Layers, L."""
        return self._net.architecture.num_layers

    @property
    def bidirectional(self) -> bool:
        """Whether every layer runs in both directions."""
        return self._net.architecture.bidirectional

    @property
    def merge(self) -> str:
        """How the outputs of two directions become one: "concat", "sum", "mean" or "mul"."""
        return self._net.architecture.merge

    @property
    def reverse(self) -> bool:
        """Whether the net runs from the last step to the first."""
        return self._net.architecture.reverse

    @property
    def proj_size(self) -> int:
        """Features of h after the projection; 0 where there is none."""
        return self._net.architecture.proj_size

    @property
    def bias(self) -> bool:
        """Whether the net has biases."""
        return self._net.architecture.bias

    @property
    def peephole(self) -> bool:
        """Whether the gates see C."""
        return self._net.architecture.peephole

    @property
    def clip(self) -> float | None:
        """Bound of the gates' sums, or None."""
        return self._net.architecture.clip

    @property
    def cell_clip(self) -> float | None:
        """Bound of C after its update, or None."""
        return self._net.architecture.cell_clip

    @property
    def proj_clip(self) -> float | None:
        """Bound of h after its projection, or None."""
        return self._net.architecture.proj_clip

    @property
    def input_forget(self) -> bool:
        """Whether f = 1 - i."""
        return self._net.architecture.input_forget

    @property
    def activations(self) -> tuple[ActivationForm, ...] | None:
        """The three activations of every direction; None for the default ones."""
        return self._net.architecture.activation_forms()

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of weights, states and outputs."""
        return self._net.dtype

    @property
    def precision(self) -> str | None:
        """How the weights are kept: "bfloat16", "float16" or "int8"; None: as `dtype` says."""
        return self._net.precision

    @property
    def backend(self) -> str:
        """What computes: "native" or "numpy"."""
        return self._net.backend

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Every layer and direction, in the order of the states' first axis."""
        return tuple(Layer(self._net, cell) for cell in range(self._net.architecture.cells))

    Wf = _layer_property("Wf", "W_f over [h, x]: (H, O + I). Read-only; assign to set it.")
    Wi = _layer_property("Wi", "W_i over [h, x]: (H, O + I). Read-only; assign to set it.")
    WC = _layer_property("WC", "W_g over [h, x]: (H, O + I). Read-only; assign to set it.")
    Wo = _layer_property("Wo", "W_o over [h, x]: (H, O + I). Read-only; assign to set it.")
    bf = _layer_property("bf", "b_f: (H, 1). Read-only; assign (H, 1) or (H,) to set it.")
    bi = _layer_property("bi", "b_i: (H, 1). Read-only; assign (H, 1) or (H,) to set it.")
    bC = _layer_property("bC", "b_g: (H, 1). Read-only; assign (H, 1) or (H,) to set it.")
    bo = _layer_property("bo", "b_o: (H, 1). Read-only; assign (H, 1) or (H,) to set it.")

    def _only_layer(self, name: str) -> Layer:
        """The layer of a one-layer, one-direction net; AttributeError for any other."""
        if (cells := self._net.architecture.cells) > 1:
            raise AttributeError(
                f"this LSTM has {cells} layers and directions, each with its own {name}: "
                f"see net.layers[k].{name}"
            )
        return Layer(self._net, 0)

    @overload
    def forward(self, x: ArrayLike, h_prev: ArrayLike, C_prev: ArrayLike) -> States: ...
    @overload
    def forward(self, x: ArrayLike, h_prev: tuple[ArrayLike, ArrayLike]) -> States: ...
    def forward(
        self,
        x: ArrayLike,
        h_prev: ArrayLike | tuple[ArrayLike, ArrayLike] | None = None,
        C_prev: ArrayLike | None = None,
    ) -> States:
        """Compute one time step.

        Parameters
        ----------
        x : array_like
            (I,), (I, 1) or, for a batch, (B, I).
        h_prev, C_prev : array_like
            (L, O) and (L, H), for a batch (L, B, O) and (L, B, H); of one layer also without the
            first axis, or as a column. As one tuple, (h_prev, C_prev), too.

        Returns
        -------
        h, C : numpy.ndarray
            New arrays in the shapes of `h_prev` and `C_prev`.

        Raises
        ------
        ValueError
            If a shape does not fit, or the net is bidirectional: its second direction starts at the end.
        TypeError
            If a dtype is not real, or a state is not given.

        Examples
        --------
        >>> net = LSTM(3, 5, rng=0)
        >>> h, C = net.forward([1.0, 0.0, 2.0], np.zeros(5), np.zeros(5))
        >>> h.shape
        (5,)

        """
        net = self._net
        if net.architecture.bidirectional:
            raise ValueError(
                "a bidirectional LSTM has no single step: its second direction starts at the end; "
                "use forward_sequence"
            )
        # None for whatever is not an everyday call, errors included.
        result = _kernel.everyday_step(net.cells, x, h_prev, C_prev)
        if result is not None:
            return result
        array, batch, is_column = states.step_input(x, self.input_size)
        if h_prev is None or (C_prev is None and not isinstance(h_prev, list | tuple)):
            habits.refuse_missing_states()
        given = states.step_states(net.architecture, net.dtype, (h_prev, C_prev), batch, is_column)
        net.run(array, given.h, given.C, None)
        return given.returned()

    @overload
    def forward_sequence(
        self,
        X: ArrayLike,
        h0: ArrayLike | None = ...,
        C0: ArrayLike | None = ...,
        *,
        lengths: ArrayLike | None = ...,
        mask: ArrayLike | None = ...,
        return_state: Literal[False] = ...,
        out: np.ndarray | None = ...,
    ) -> Floats: ...
    @overload
    def forward_sequence(
        self,
        X: ArrayLike,
        h0: ArrayLike | None = ...,
        C0: ArrayLike | None = ...,
        *,
        lengths: ArrayLike | None = ...,
        mask: ArrayLike | None = ...,
        return_state: Literal[True],
        out: np.ndarray | None = ...,
    ) -> tuple[Floats, States]: ...
    @overload
    def forward_sequence(
        self,
        X: ArrayLike,
        h0: ArrayLike | None = ...,
        C0: ArrayLike | None = ...,
        *,
        lengths: ArrayLike | None = ...,
        mask: ArrayLike | None = ...,
        return_state: bool,
        out: np.ndarray | None = ...,
    ) -> Floats | tuple[Floats, States]: ...
    def forward_sequence(
        self,
        X: ArrayLike,
        h0: ArrayLike | None = None,
        C0: ArrayLike | None = None,
        *,
        lengths: ArrayLike | None = None,
        mask: ArrayLike | None = None,
        return_state: bool = False,
        out: np.ndarray | None = None,
    ) -> Floats | tuple[Floats, States]:
        """Compute all time steps of a sequence or of a batch of them.

        Parameters
        ----------
        X : array_like
            (T, I) or (B, T, I).
        h0, C0 : array_like, optional
            States before the first step, zeros where not given: (L D, O) and (L D, H), for a batch
            (L D, B, O) and (L D, B, H); for one layer and direction also without the first axis, or
            as a column. As one tuple, (h0, C0), too.
        lengths : array_like of int, optional
            Steps of every row of a batch, (B,), each from 0 to T. What is past a row's length is not read;
            outputs there are zero, the states are those of the row's last step (those given, if there is
            none), and a reverse direction starts at it.
        mask : array_like of bool, optional
            Which steps count, (B, T), for a single sequence (T,). A step that is False is skipped: it is
            not read, its output is zero, and the state goes on unchanged. Together with `lengths`, both hold.
        return_state : bool
            Whether to return the last states too.
        out : numpy.ndarray, optional
            Where the outputs are written: of the net's dtype and the shape of Y. It may overlap
            the inputs.

        Returns
        -------
        Y : numpy.ndarray
            h of every step, (T, D O) or (B, T, D O); `out` itself where that was given.
        (h_n, C_n) : tuple of numpy.ndarray
            With `return_state`: the states after the last step, each in the shape it was given in;
            where neither was given, with the L D axis.

        Raises
        ------
        ValueError
            If a shape or a length does not fit, or `out` cannot be written.
        TypeError
            If a dtype is not real, that of `lengths` not an integer's, that of `mask` not bool, or that of
            `out` not the net's.

        Examples
        --------
        >>> net = LSTM(3, 5, rng=0)
        >>> X = np.ones((8, 20, 3))
        >>> Y, (h, C) = net.forward_sequence(X, return_state=True)
        >>> Y.shape, h.shape
        ((8, 20, 5), (1, 8, 5))

        A sequence in two chunks gives the same bits as at once:

        >>> first, state = net.forward_sequence(X[:, :7], return_state=True)
        >>> second = net.forward_sequence(X[:, 7:], *state)
        >>> np.array_equal(np.concatenate([first, second], axis=1), Y)
        True

        """
        net = self._net
        if lengths is None and mask is None and not net.architecture.bidirectional:
            result = _kernel.everyday_sequence(net.cells, X, h0, C0, out, net.architecture.reverse)
            if result is not None:
                return (result[0], result[1:]) if return_state else result[0]
        array, batch, _ = states.sequence_input(X, self.input_size)
        shape = (*array.shape[:2], net.architecture.output_size)
        rows = states.row_lengths(lengths, batch, array.shape[1])
        steps = states.step_mask(mask, array, batch)
        if out is not None:
            states.check_out(out, shape[1:] if batch is None else shape, net.dtype)
        given = states.initial_states(net.architecture, net.dtype, ("h0", "C0"), (h0, C0), batch)
        direct = out is not None and is_usable(out) and not np.may_share_memory(out, array)
        Y = out.view(np.ndarray) if out is not None and direct else np.empty(shape, net.dtype)
        if batch is None and direct:
            Y = Y[np.newaxis]
        net.run(array, given.h, given.C, Y, rows, steps)
        if out is not None and not direct:
            out[...] = Y.reshape(out.shape)
        Y = out if out is not None else Y[0] if batch is None else Y
        return (Y, given.returned()) if return_state else Y

    @overload
    def forward_sequences(
        self,
        rows: Iterable[ArrayLike],
        h0: ArrayLike | None = ...,
        C0: ArrayLike | None = ...,
        *,
        last: Literal[False] = ...,
        return_state: Literal[False] = ...,
    ) -> list[Floats]: ...
    @overload
    def forward_sequences(
        self,
        rows: Iterable[ArrayLike],
        h0: ArrayLike | None = ...,
        C0: ArrayLike | None = ...,
        *,
        last: Literal[True],
        return_state: Literal[False] = ...,
    ) -> Floats: ...
    @overload
    def forward_sequences(
        self,
        rows: Iterable[ArrayLike],
        h0: ArrayLike | None = ...,
        C0: ArrayLike | None = ...,
        *,
        last: Literal[False] = ...,
        return_state: Literal[True],
    ) -> tuple[list[Floats], States]: ...
    @overload
    def forward_sequences(
        self,
        rows: Iterable[ArrayLike],
        h0: ArrayLike | None = ...,
        C0: ArrayLike | None = ...,
        *,
        last: Literal[True],
        return_state: Literal[True],
    ) -> tuple[Floats, States]: ...
    def forward_sequences(
        self,
        rows: Iterable[ArrayLike],
        h0: ArrayLike | None = None,
        C0: ArrayLike | None = None,
        *,
        last: bool = False,
        return_state: bool = False,
    ) -> list[Floats] | Floats | tuple[list[Floats] | Floats, States]:
        """Compute all time steps of many sequences of different lengths, which nobody has to pad.

        Rows of like lengths run as one batch, and one batch at a time is padded, whatever their order.

        Parameters
        ----------
        rows : list of array_like
            N sequences, (T_n, I) each; T_n may be 0.
        h0, C0 : array_like, optional
            As for `forward_sequence` with a batch of N rows: (L D, N, O) and (L D, N, H).
        last : bool
            Whether to return the last h of every row alone, which takes no memory for all the others.
        return_state : bool
            Whether to return the last states too.

        Returns
        -------
        Ys : list of numpy.ndarray
            h of every step, (T_n, D O) each, in the order of `rows` and with the bits that
            ``forward_sequence(row)`` gives; some may be parts of one array of at most 128 rows. With `last`
            one array (N, D O): h of the last layer after the last step computed, which of a second direction
            and with ``reverse=True`` is the first one; of a row of no steps the h given.
        (h_n, C_n) : tuple of numpy.ndarray
            With `return_state`: the states after the last steps, as `forward_sequence` returns them.

        Raises
        ------
        TypeError, ValueError
            As for `forward_sequence`, before anything is computed; the message has the row's number.

        Examples
        --------
        >>> net = LSTM(3, 5, rng=0)
        >>> rows = [np.ones((4, 3)), np.ones((0, 3)), np.ones((7, 3))]
        >>> [Y.shape for Y in net.forward_sequences(rows)]
        [(4, 5), (0, 5), (7, 5)]
        >>> net.forward_sequences(rows, last=True).shape
        (3, 5)
        """
        net = self._net
        arrays = states.row_inputs(rows, self.input_size)
        given = states.initial_states(net.architecture, net.dtype, ("h0", "C0"), (h0, C0), len(arrays))
        outputs = net.run_rows(arrays, given.h, given.C, last)
        return (outputs, given.returned()) if return_state else outputs

    def trace(
        self,
        X: ArrayLike,
        h0: ArrayLike | None = None,
        C0: ArrayLike | None = None,
        *,
        lengths: ArrayLike | None = None,
        mask: ArrayLike | None = None,
    ) -> Trace:
        """Compute the gates of every step, to look at; `lstm.plot.gates` draws them.

        Parameters
        ----------
        X, h0, C0, lengths, mask : array_like
            As for `forward_sequence`.

        Returns
        -------
        Trace
            A named tuple of i, f, g, o, C and h: (L D, T, H) or (L D, B, T, H) each, O for H in h.
            The values are those that `forward_sequence` computes, bit for bit.

        Raises
        ------
        TypeError, ValueError
            As for `forward_sequence`.

        Examples
        --------
        >>> trace = LSTM(3, 5, rng=0).trace(np.ones((20, 3)))
        >>> trace.f.shape
        (1, 20, 5)
        """
        net = self._net
        array, batch, _ = states.sequence_input(X, self.input_size)
        rows = states.row_lengths(lengths, batch, array.shape[1])
        steps = states.step_mask(mask, array, batch)
        given = states.initial_states(net.architecture, net.dtype, ("h0", "C0"), (h0, C0), batch)
        whole = net.trace(array, given.h, given.C, rows, steps)
        return Trace(*(values[:, 0] for values in whole)) if batch is None else whole

    def record(
        self,
        X: ArrayLike,
        h0: ArrayLike | None = None,
        C0: ArrayLike | None = None,
        *,
        lengths: ArrayLike | None = None,
        mask: ArrayLike | None = None,
        dropout: float = 0.0,
        input_dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        rng: Any = None,
        out: Tape | None = None,
    ) -> Tape:
        """Compute all time steps and keep what the gradients need: the forward pass of training.

        Parameters
        ----------
        X, h0, C0, lengths, mask : array_like
            As for `forward_sequence`.
        dropout : float
            Probability with which an output of a layer is dropped on its way to the next one, at every step
            anew, as nn.LSTM has it.
        input_dropout : float
            Probability with which a feature of X is dropped, the same ones at all steps of a sequence (Gal
            and Ghahramani 2016; the dropout of Keras's LSTM).
        recurrent_dropout : float
            Probability with which a feature of h is dropped on its way to the gates of the next step, the
            same ones at all steps of a sequence and for all gates; those of h0 too. C and the outputs keep
            theirs (Gal and Ghahramani 2016; Keras's recurrent_dropout, which draws for every gate anew).
        rng : None, int, sequence of int, or numpy.random.Generator
            Seed or source of what is dropped (SPEC 7). What is kept is scaled by 1 / (1 - p).
        out : Tape, optional
            Of an earlier call of a net of the same arguments, for as many rows and steps: it is written over
            and returned. The native backend then allocates no memory that grows with T, but for dropout
            between layers and for X of another dtype.

        Returns
        -------
        Tape
            Its `Y`, `h_n` and `C_n` are, without dropout, what `forward_sequence` gives, bit for bit. Its
            `backward` computes the gradients.

        Raises
        ------
        TypeError, ValueError
            As for `forward_sequence`, and if a dropout is not a probability, `dropout` is given for a net of
            one layer, `out` is not a tape that fits, or the net has a `precision`.

        Examples
        --------
        >>> net = LSTM(3, 5, rng=0)
        >>> tape = net.record(np.ones((8, 20, 3)))
        >>> g = tape.backward(dY=tape.Y - 1)  # the loss is half the sum of squares of Y - 1
        >>> g["weight_ih_l0"].shape
        (20, 3)
        """
        net = self._net
        rates = dropouts.rates(net.architecture, dropout, input_dropout, recurrent_dropout)
        is_plain = lengths is None and mask is None and rates is dropouts.NONE
        if is_plain and (rng is None or isinstance(rng, np.random.Generator)):
            tape = everyday_tape(net, X, h0, C0, out)
            if tape is not None:
                return tape
        array, batch, _ = states.sequence_input(X, self.input_size)
        rows = states.row_lengths(lengths, batch, array.shape[1])
        steps = states.step_mask(mask, array, batch)
        given = states.initial_states(net.architecture, net.dtype, ("h0", "C0"), (h0, C0), batch)
        # A new generator takes entropy of the system, which costs as much as a short pass.
        source = generator(rng) if rng is not None or any(rates) else None
        if out is not None and not isinstance(out, Tape):
            raise TypeError(f"out is a {type(out).__name__}, but must be a Tape")
        storage = None if out is None else out.storage_for(net.architecture, net.dtype, array.shape)
        recording = net.record(array, given.h, given.C, rows, steps, rates, source, storage)
        if out is None:
            return Tape(recording, batch, given)
        out.write(recording, batch, given)
        return out

    def stream(self, batch_size: int | None = None) -> Stream:
        """Start a stream: time steps as they arrive, the state carried along from zeros.

        Parameters
        ----------
        batch_size : int, optional
            Rows of every step; None for a stream of single vectors.

        Returns
        -------
        Stream

        Raises
        ------
        ValueError
            If the net runs from the end of a sequence, which a stream does not have.

        Examples
        --------
        >>> stream = LSTM(3, 5, rng=0).stream()
        >>> stream.step([1.0, 0.0, 2.0]).shape
        (5,)
        """
        if self.bidirectional or self.reverse:
            which = "bidirectional=True" if self.bidirectional else "reverse=True"
            raise ValueError(f"an LSTM with {which} starts at the end of a sequence, and a stream has none")
        return Stream(self._net, None if batch_size is None else positive_size("batch_size", batch_size))

    def state_dict(self) -> dict[str, Floats]:
        """Return the weights under PyTorch's names, in its shapes and gate order.

        Returns
        -------
        dict of str to numpy.ndarray
            ``weight_ih_l0`` (4H, I), ``weight_hh_l0`` (4H, O) and, with biases, ``bias_ih_l0``
            (4H,), which holds the one bias the net keeps, and ``bias_hh_l0`` (4H,), zeros; with a
            projection ``weight_hr_l0`` (O, H), with peepholes ``weight_ch_l0`` (3H,), order i, f, o.
            So for every layer ``l{k}`` and, with the ending ``_reverse``, its second direction. New
            arrays of the net's dtype.

        Examples
        --------
        >>> list(LSTM(3, 5).state_dict())
        ['weight_ih_l0', 'weight_hh_l0', 'bias_ih_l0', 'bias_hh_l0']

        """
        return self._net.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Set all weights from arrays under PyTorch's names; the two biases are added.

        Parameters
        ----------
        state : mapping of str to array_like
            As `state_dict` returns it, of this net's sizes; any real dtype.

        Raises
        ------
        ValueError
            If a name is missing or unknown, a shape does not fit, or there are biases for a net
            without or none for a net with them. The net is then unchanged.
        TypeError
            If a dtype is not real.

        Examples
        --------
        >>> net = LSTM(3, 5)
        >>> net.load_state_dict(LSTM(3, 5, rng=1).state_dict())

        """
        self._net.load_state_dict(state)

    # Attributes and slots that a subclass adds are carried along.

    def __getstate__(self) -> tuple[dict[str, Any] | None, dict[str, Any]]:
        return object.__getstate__(self)  # type: ignore[return-value]

    def __copy__(self) -> Self:
        net = type(self).__new__(type(self))
        attributes, slots = self.__getstate__()
        if attributes:
            net.__dict__.update(attributes)
        for name, value in slots.items():
            setattr(net, name, value)
        net._net = self._net.copy()
        return net

    def summary(self) -> None:
        """Print the layers, the shapes of their weights, and how many parameters there are.

        Examples
        --------
        >>> LSTM(3, 5).summary()
        LSTM(3, 5, dtype=float64)
        (T, 3) -> (T, 5), or (B, T, 3) -> (B, T, 5)
        layer  weight_ih  weight_hh  bias   parameters
        l0     (20, 3)    (20, 5)    (20,)  180
        180 parameters, 1,440 bytes
        """
        print(summary(self._net, type(self).__name__))

    if not TYPE_CHECKING:

        def __call__(self, *arguments, **options):
            """Raise TypeError, which says what to write; a type checker sees no call at all."""
            habits.refuse_call()

    def __repr__(self) -> str:
        return self._net.describe(type(self).__name__)

    def _repr_html_(self) -> str:
        return html_summary(self._net, type(self).__name__)
