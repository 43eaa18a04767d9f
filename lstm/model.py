"""The LSTM class: checks shapes, allocates results, picks the backend.

Shapes: B batch, T time, I input, H hidden.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from typing import Any, Literal, Self, TypeAlias, overload

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from . import _kernel, params, reference
from .checks import cast, check_out, exact_array, is_usable, positive_size, real_array, usable_rows
from .params import PackedWeights, Weights
from .stream import Stream

States: TypeAlias = tuple[np.ndarray, np.ndarray]

BACKENDS = ("native", "numpy")
# Elements of X that are converted at a time where it is not of the net's dtype or oddly laid out.
CONVERTED_ELEMENTS = 1 << 18
DTYPES = (np.dtype(np.float64), np.dtype(np.float32))


def _matrix_property(gate: str, name: str) -> property:
    """W of one gate over [h, x], (H, H + I)."""

    def get(net: LSTM) -> np.ndarray:
        return params.gate_matrix(net._weights(), gate)

    def set_(net: LSTM, value: ArrayLike) -> None:
        shape = (net.hidden_size, net.hidden_size + net.input_size)
        matrix = exact_array(name, value, shape, net.dtype)
        net._store(params.with_gate_matrix(net._weights(), gate, matrix))

    return property(get, set_, doc=f"W_{gate} over [h, x]: (H, H + I). Read-only; assign to set it.")


def _bias_property(gate: str, name: str) -> property:
    """b of one gate, (H, 1)."""

    def get(net: LSTM) -> np.ndarray:
        return params.gate_bias(net._weights(), gate)

    def set_(net: LSTM, value: ArrayLike) -> None:
        if not net.bias:
            raise ValueError(f"{name} cannot be set: this LSTM was made with bias=False")
        column = real_array(name, value)
        if column.shape == (net.hidden_size,):
            column = column[:, np.newaxis]
        column = exact_array(name, column, (net.hidden_size, 1), net.dtype)
        net._store(params.with_gate_bias(net._weights(), gate, column))

    return property(get, set_, doc=f"b_{gate}: (H, 1). Read-only; assign (H, 1) or (H,) to set it.")


class LSTM:
    """A long short-term memory net of one layer and one direction.

    ::

        i = σ(W_i·[h, x] + b_i)     f = σ(W_f·[h, x] + b_f)
        g = tanh(W_g·[h, x] + b_g)  o = σ(W_o·[h, x] + b_o)
        C_t = f ⊙ C + i ⊙ g         h_t = o ⊙ tanh(C_t)

    after Hochreiter and Schmidhuber (1997) with the forget gate of Gers et al. (2000), in the
    notation of Olah, "Understanding LSTM Networks" (2015).

    Parameters
    ----------
    input_size, hidden_size : int
        Features of x and of h, each at least 1.
    bias : bool
        Whether there are biases. Without them ``bf`` and the others read as zeros.
    dtype : {float64, float32}
        Of weights, states and outputs. Inputs of any real dtype are cast to it.
    init : {"glorot", "pytorch", "normal"}
        "glorot": Glorot-uniform input weights, orthogonal recurrent weights, forget bias 1.
        "pytorch": uniform within ``1 / sqrt(hidden_size)``. "normal": standard normal weights,
        zero biases.
    rng : None, int, sequence of int, or numpy.random.Generator
        Seed or source of the random weights (SPEC 7).
    backend : {"native", "numpy"}
        The compiled kernel, or the readable reference of `lstm.reference`.

    Attributes
    ----------
    Wf, Wi, WC, Wo : numpy.ndarray
        Weights over [h, x], (H, H + I); forget, input, candidate and output gate. Assigning sets
        one; what is read is a read-only copy, so that an edit in place raises instead of being lost.
    bf, bi, bC, bo : numpy.ndarray
        Biases, (H, 1).

    Raises
    ------
    TypeError, ValueError
        Where an argument is not as above.

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

    __slots__ = (
        "__weakref__",
        "_backend",
        "_bias",
        "_dtype",
        "_hidden_size",
        "_input_size",
        "_isa",
        "_stored",
    )

    _stored: Weights | PackedWeights

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        bias: bool = True,
        dtype: DTypeLike = np.float64,
        init: Literal["glorot", "pytorch", "normal"] = "glorot",
        rng: Any = None,
        backend: Literal["native", "numpy"] = "native",
    ) -> None:
        self._configure(input_size, hidden_size, bias, dtype, backend)
        weights = params.initialize(init, _generator(rng), self._input_size, self._hidden_size, self._dtype)
        if not bias:
            weights = weights._replace(bias=np.zeros_like(weights.bias))
        self._store(weights)

    def _configure(
        self, input_size: int, hidden_size: int, bias: bool, dtype: DTypeLike, backend: str
    ) -> None:
        self._input_size = positive_size("input_size", input_size)
        self._hidden_size = positive_size("hidden_size", hidden_size)
        if not isinstance(bias, bool | np.bool_):
            raise TypeError(f"bias is {bias!r}, but must be True or False")
        self._bias = bool(bias)
        self._dtype = _dtype(dtype)
        if backend not in BACKENDS:
            raise ValueError(f"backend is {backend!r}, but must be 'native' or 'numpy'")
        self._backend = backend
        self._isa = _kernel.DEFAULT_ISA

    @property
    def input_size(self) -> int:
        """Features of the input, I."""
        return self._input_size

    @property
    def hidden_size(self) -> int:
        """Hidden units, H."""
        return self._hidden_size

    @property
    def bias(self) -> bool:
        """Whether the net has biases."""
        return self._bias

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of weights, states and outputs."""
        return self._dtype

    @property
    def backend(self) -> str:
        """What computes: "native" or "numpy"."""
        return self._backend

    Wf = _matrix_property("f", "Wf")
    Wi = _matrix_property("i", "Wi")
    WC = _matrix_property("g", "WC")
    Wo = _matrix_property("o", "Wo")
    bf = _bias_property("f", "bf")
    bi = _bias_property("i", "bi")
    bC = _bias_property("g", "bC")
    bo = _bias_property("o", "bo")

    # What is stored is never changed in place, only replaced: a call that runs in another thread
    # keeps the weights it started with, and copies of a net share them.

    def _store(self, weights: Weights) -> None:
        """Keep new weights in the form that the backend computes with."""
        self._stored = params.pack(weights, self._isa) if self._backend == "native" else weights

    def _take(self, weights: Weights) -> None:
        """Keep weights from elsewhere: cast to the net's dtype, and not shared with their owner."""
        copy = self._backend != "native"  # packing copies anyway
        self._store(Weights(*(cast(array, self._dtype, copy=copy) for array in weights)))

    def _weights(self) -> Weights:
        """The weights as plain arrays; to be read only."""
        if isinstance(self._stored, PackedWeights):
            return params.unpack(self._stored)
        return self._stored

    def forward(self, x: ArrayLike, h_prev: ArrayLike, C_prev: ArrayLike) -> States:
        """Compute one time step.

        Parameters
        ----------
        x : array_like
            (I,), (I, 1) or, for a batch, (B, I).
        h_prev, C_prev : array_like
            (H,), (H, 1) or (1, H); for a batch (B, H) or (1, B, H).

        Returns
        -------
        h, C : numpy.ndarray
            New arrays in the shapes of `h_prev` and `C_prev`.

        Raises
        ------
        ValueError
            Where a shape does not fit.
        TypeError
            Where a dtype is not real.

        Examples
        --------
        >>> net = LSTM(3, 5, rng=0)
        >>> h, C = net.forward([1.0, 0.0, 2.0], np.zeros(5), np.zeros(5))
        >>> h.shape
        (5,)

        """
        plain = _kernel.forward_plain(self._stored, x, h_prev, C_prev)
        if plain is not None:
            return plain
        array = real_array("x", x)
        if array.shape in ((self._input_size,), (self._input_size, 1)):
            batch = None
            array = array.reshape(1, 1, self._input_size)
        elif array.ndim == 2 and array.shape[1] == self._input_size:
            batch = array.shape[0]
            array = array[:, np.newaxis]
        else:
            raise ValueError(
                f"x has shape {array.shape}, but this LSTM takes ({self._input_size},), "
                f"({self._input_size}, 1) or (batch, {self._input_size})"
            )
        # Of one feature, x of (1, 1) is a column and a batch of one.
        extra = (1, 1, self._hidden_size) if self._input_size == 1 and batch is None else None
        (h, C), (h_shape, C_shape) = self._states(
            batch, extra, h_prev=real_array("h_prev", h_prev), C_prev=real_array("C_prev", C_prev)
        )
        self._run(array, h, C, None)
        return h.reshape(h_shape), C.reshape(C_shape)

    @overload
    def forward_sequence(
        self,
        X: ArrayLike,
        h0: ArrayLike | None = ...,
        C0: ArrayLike | None = ...,
        *,
        return_state: Literal[False] = ...,
        out: np.ndarray | None = ...,
    ) -> np.ndarray: ...
    @overload
    def forward_sequence(
        self,
        X: ArrayLike,
        h0: ArrayLike | None = ...,
        C0: ArrayLike | None = ...,
        *,
        return_state: Literal[True],
        out: np.ndarray | None = ...,
    ) -> tuple[np.ndarray, States]: ...
    @overload
    def forward_sequence(
        self,
        X: ArrayLike,
        h0: ArrayLike | None = ...,
        C0: ArrayLike | None = ...,
        *,
        return_state: bool,
        out: np.ndarray | None = ...,
    ) -> np.ndarray | tuple[np.ndarray, States]: ...
    def forward_sequence(
        self,
        X: ArrayLike,
        h0: ArrayLike | None = None,
        C0: ArrayLike | None = None,
        *,
        return_state: bool = False,
        out: np.ndarray | None = None,
    ) -> np.ndarray | tuple[np.ndarray, States]:
        """Compute all time steps of a sequence or of a batch of them.

        Parameters
        ----------
        X : array_like
            (T, I) or (B, T, I).
        h0, C0 : array_like, optional
            States before the first step, zeros where not given: (H,), (1, H) or (H, 1); for a batch
            (B, H) or (1, B, H).
        return_state : bool
            Whether to return the last states too.
        out : numpy.ndarray, optional
            Where the outputs are written: of the net's dtype and the shape of Y. It may overlap
            the inputs.

        Returns
        -------
        Y : numpy.ndarray
            h of every step, (T, H) or (B, T, H); `out` itself where that was given.
        (h_n, C_n) : tuple of numpy.ndarray
            With `return_state`: the states after the last step, each in the shape it was given in;
            where neither was given, (1, H) or (1, B, H).

        Raises
        ------
        ValueError
            Where a shape does not fit, or `out` cannot be written.
        TypeError
            Where a dtype is not real, or that of `out` is not the net's.

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
        array = real_array("X", X)
        if array.ndim not in (2, 3):
            raise ValueError(
                f"X has shape {array.shape}, but must be (time, {self._input_size}) or "
                f"(batch, time, {self._input_size})"
            )
        if array.shape[-1] != self._input_size:
            raise ValueError(
                f"X has {array.shape[-1]} features a step, but this LSTM takes "
                f"input_size={self._input_size} (X.shape is {array.shape})"
            )
        shape = (*array.shape[:-1], self._hidden_size)
        batch = None if array.ndim == 2 else array.shape[0]
        if batch is None:
            array = array[np.newaxis]
        if out is not None:
            check_out(out, shape, self._dtype)
        (h, C), (h_shape, C_shape) = self._states(batch, None, h0=h0, C0=C0)
        direct = out is not None and is_usable(out) and not np.may_share_memory(out, array)
        Y = out.view(np.ndarray) if out is not None and direct else np.empty(shape, self._dtype)
        self._run(array, h, C, Y.reshape(array.shape[0], array.shape[1], self._hidden_size))
        if out is not None and not direct:
            out[...] = Y
        result = Y if out is None else out
        if return_state:
            return result, (h.reshape(h_shape), C.reshape(C_shape))
        return result

    def stream(self, batch_size: int | None = None) -> Stream:
        """Start a stream: time steps as they arrive, the state carried along from zeros.

        Parameters
        ----------
        batch_size : int, optional
            Rows of every step; None for a stream of single vectors.

        Returns
        -------
        Stream

        Examples
        --------
        >>> stream = LSTM(3, 5, rng=0).stream()
        >>> stream.step([1.0, 0.0, 2.0]).shape
        (5,)
        """
        return Stream(self, None if batch_size is None else positive_size("batch_size", batch_size))

    def _run(self, X: np.ndarray, h: np.ndarray, C: np.ndarray, Y: np.ndarray | None) -> None:
        """X (B, T, I) of any real dtype, h (B, H), C (B, H) in and out, Y (B, T, H) or None.

        What the kernel cannot work on is copied for some steps at a time, so that the memory taken
        does not grow with T.
        """
        stored = self._stored  # of one moment, whatever another thread assigns
        chunk = X.shape[1]
        if X.dtype != self._dtype or not is_usable(X):
            chunk = max(1, CONVERTED_ELEMENTS // max(1, X.shape[0] * X.shape[2]))
        for first in range(0, X.shape[1], max(1, chunk)):
            steps = slice(first, first + chunk)
            inputs = usable_rows(X[:, steps], self._dtype)
            outputs = None if Y is None else Y[:, steps]
            if isinstance(stored, PackedWeights):
                _kernel.forward_sequence(stored, inputs, h, C, outputs)
            else:
                reference.forward_sequence(stored, inputs, h, C, outputs)

    def _states(
        self, batch: int | None, extra: tuple[int, ...] | None, **given: ArrayLike | None
    ) -> tuple[list[np.ndarray], list[tuple[int, ...]]]:
        """New (B, H) arrays of the two states, zeros where None, and the shapes to return them in.

        `extra` is one more shape to allow. A state that is not given comes back in the shape of the
        other one.
        """
        hidden = self._hidden_size
        rows = 1 if batch is None else batch
        allowed: tuple[tuple[int, ...], ...] = ((hidden,), (1, hidden), (hidden, 1))
        if batch is not None:
            allowed = ((batch, hidden), (1, batch, hidden))
        if extra is not None:
            allowed += (extra,)
        arrays = {name: real_array(name, value) for name, value in given.items() if value is not None}
        for name, array in arrays.items():
            if array.shape not in allowed:
                expected = " or ".join(map(str, allowed))
                raise ValueError(f"{name} has shape {array.shape}, but must be {expected}")
        states, shapes = [], []
        default = (1, hidden) if batch is None else (1, batch, hidden)
        for name in given:
            if name in arrays:
                states.append(cast(arrays[name].reshape(rows, hidden), self._dtype))
            else:
                states.append(np.zeros((rows, hidden), self._dtype))
            others = [array.shape for array in arrays.values()]
            shapes.append(arrays[name].shape if name in arrays else (*others, default)[0])
        return states, shapes

    def state_dict(self) -> dict[str, np.ndarray]:
        """Return the weights under PyTorch's names, in its shapes and gate order.

        Returns
        -------
        dict of str to numpy.ndarray
            ``weight_ih_l0`` (4H, I), ``weight_hh_l0`` (4H, H) and, with biases, ``bias_ih_l0``
            (4H,), which holds the one bias the net keeps, and ``bias_hh_l0`` (4H,), zeros. New
            arrays of the net's dtype.

        Examples
        --------
        >>> list(LSTM(3, 5).state_dict())
        ['weight_ih_l0', 'weight_hh_l0', 'bias_ih_l0', 'bias_hh_l0']

        """
        return params.to_state_dict(self._weights(), self._bias)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Set all weights from arrays under PyTorch's names; the two biases are added.

        Parameters
        ----------
        state : mapping of str to array_like
            As `state_dict` returns it, of this net's sizes; any real dtype.

        Raises
        ------
        ValueError
            Where a name is missing or unknown, a shape does not fit, or there are biases for a net
            without or none for a net with them. The net is then unchanged.
        TypeError
            Where a dtype is not real.

        Examples
        --------
        >>> net = LSTM(3, 5)
        >>> net.load_state_dict(LSTM(3, 5, rng=1).state_dict())

        """
        weights, bias, _ = params.from_state_dict(state)
        sizes = (weights.input.shape[2], weights.hidden.shape[2], bias)
        expected = (self._input_size, self._hidden_size, self._bias)
        if sizes != expected:
            names = ("input_size", "hidden_size", "bias")
            got = ", ".join(f"{n}={v}" for n, v in zip(names, sizes, strict=True))
            want = ", ".join(f"{n}={v}" for n, v in zip(names, expected, strict=True))
            raise ValueError(f"the state dict is of an LSTM with {got}, but this one has {want}")
        self._take(weights)

    @classmethod
    def from_state_dict(
        cls,
        state: Mapping[str, Any],
        *,
        dtype: DTypeLike | None = None,
        backend: Literal["native", "numpy"] = "native",
    ) -> Self:
        """Make a net from arrays under PyTorch's names; the sizes follow from their shapes.

        Parameters
        ----------
        state : mapping of str to array_like
            As `state_dict` returns it.
        dtype : {None, float64, float32}
            None: float32 where all arrays are of float32 or float16, else float64.
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
        >>> LSTM.from_state_dict(LSTM(3, 5, dtype=np.float32).state_dict())
        LSTM(3, 5, dtype=float32)

        """
        weights, bias, found = params.from_state_dict(state)
        net = cls.__new__(cls)
        net._configure(
            weights.input.shape[2],
            weights.hidden.shape[2],
            bias,
            found if dtype is None else dtype,
            backend,
        )
        net._take(weights)
        return net

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the net to a .npz file, which `lstm.load` reads; no pickle is in it.

        Parameters
        ----------
        path : str or path-like
            Must end in ``.npz``. A file of that name is replaced once the new one is whole.

        Raises
        ------
        ValueError
            Where the path has another ending.
        OSError
            Where the file cannot be written.

        """
        from . import formats

        formats.save(self, path)

    # Attributes and slots that a subclass adds are carried along; the packed weights belong to one
    # machine's ISA, so that a pickle holds plain ones.

    def __getstate__(self) -> tuple[dict[str, Any] | None, dict[str, Any]]:
        attributes, slots = self._attributes()
        slots["_stored"] = tuple(self._weights())
        del slots["_isa"]
        return attributes, slots

    def __setstate__(self, state: tuple[dict[str, Any] | None, dict[str, Any]]) -> None:
        attributes, slots = state
        slots = {**slots, "_isa": _kernel.DEFAULT_ISA}
        weights = Weights(*slots.pop("_stored"))
        self._set_attributes(attributes, slots)
        self._store(weights)

    def _attributes(self) -> tuple[dict[str, Any] | None, dict[str, Any]]:
        """The instance's __dict__, if it has one, and its slots."""
        state: Any = object.__getstate__(self)
        return state[0], dict(state[1])

    def _set_attributes(self, attributes: dict[str, Any] | None, slots: dict[str, Any]) -> None:
        """The inverse of `_attributes`."""
        if attributes:
            self.__dict__.update(attributes)
        for name, value in slots.items():
            setattr(self, name, value)

    def __copy__(self) -> Self:
        net = type(self).__new__(type(self))
        net._set_attributes(*self._attributes())
        return net

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        net = type(self).__new__(type(self))
        memo[id(self)] = net
        attributes, slots = self._attributes()
        memo[id(self._stored)] = self._stored
        net._set_attributes(*copy.deepcopy((attributes, slots), memo))
        return net

    def _on_isa(self, isa: str) -> Self:
        """A copy of this net that runs on another instruction set of this CPU."""
        net = self.__copy__()
        net._isa = isa
        net._store(self._weights())
        return net

    def __repr__(self) -> str:
        options = [str(self._input_size), str(self._hidden_size)]
        options += [] if self._bias else ["bias=False"]
        options += [f"dtype={self._dtype.name}"]
        options += [] if self._backend == "native" else [f"backend={self._backend!r}"]
        return f"{type(self).__name__}({', '.join(options)})"


def _dtype(value: DTypeLike) -> np.dtype[Any]:
    """float32 or float64; TypeError for anything else."""
    try:
        dtype = np.dtype(value)
    except (TypeError, ValueError, SyntaxError):
        raise TypeError(f"dtype is {value!r}, but must be float64 or float32") from None
    if value is None or dtype not in DTYPES:
        raise TypeError(f"dtype is {value!r}, but must be float64 or float32")
    return dtype


def _generator(rng: Any) -> np.random.Generator:
    """The source of random weights for a seed, a generator or None."""
    try:
        return np.random.default_rng(rng)
    except (TypeError, ValueError) as error:
        raise type(error)(
            f"rng is {rng!r}, but must be a seed or a numpy.random.Generator: {error}"
        ) from error
