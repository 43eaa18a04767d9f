"""What `LSTM.record` gives: the outputs of a pass, and the gradients of a loss.

Shapes: B batch, T time, I input, H hidden, O features of h, K features of an output step, L layers,
D directions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, NoReturn

import numpy as np
from numpy.typing import ArrayLike

from .core import gradients, states
from .core.architecture import Architecture
from .core.checks import exact_array, real_array, usable_rows
from .core.net import Net
from .core.recording import Recording, Storage, record_everyday
from .core.state_dict import named_arrays
from .core.states import InitialStates
from .core.weights import GATES, PEEPHOLES, Weights


class Norms(NamedTuple):
    """Euclidean norms of the gradients of h_t and C_t, at every step: (L D, T) or (L D, B, T) each."""

    h: np.ndarray
    C: np.ndarray


def _labels(architecture: Architecture) -> list[str]:
    """What pictures call the layers and directions."""
    sides = ["forward", "backward"] if architecture.bidirectional else [""]
    return [f"layer {layer} {side}".rstrip() for layer in range(architecture.num_layers) for side in sides]


class LayerGradients:
    """Gradients of one layer and direction as the teaching class's arrays, of `Layer`'s names and shapes.

    Of a `backward` with ``per_sample`` each has an axis of the batch in front. What is read is a read-only
    copy.

    Attributes
    ----------
    Wf, Wi, WC, Wo : numpy.ndarray
        Of the weights over [h, x], (H, O + I).
    bf, bi, bC, bo : numpy.ndarray or None
        Of the biases, (H, 1); None if the net has none.
    pf, pi, po : numpy.ndarray or None
        Of the peepholes, (H, 1); None if the net has none.
    Whr : numpy.ndarray or None
        Of the projection, (O, H); None if the net has none.

    Examples
    --------
    >>> import numpy as np
    >>> from lstm import LSTM
    >>> tape = LSTM(3, 5, rng=0).record(np.ones((10, 3)))
    >>> tape.backward(tape.Y).layers[0].Wf.shape
    (5, 8)
    """

    __slots__ = ("_has_bias", "_sums")

    def __init__(self, sums: Weights, has_bias: bool) -> None:
        self._sums = sums
        self._has_bias = has_bias

    def _matrix(self, gate: str) -> np.ndarray:
        k = GATES.index(gate)
        return _frozen(
            np.concatenate([self._sums.hidden[..., k, :, :], self._sums.input[..., k, :, :]], axis=-1)
        )

    def _bias(self, gate: str) -> np.ndarray | None:
        if not self._has_bias:
            return None
        return _frozen(self._sums.bias[..., GATES.index(gate), :, np.newaxis].copy())

    def _peephole(self, gate: str) -> np.ndarray | None:
        if self._sums.peephole is None:
            return None
        return _frozen(self._sums.peephole[..., PEEPHOLES.index(gate), :, np.newaxis].copy())

    Wf = property(lambda self: self._matrix("f"), doc="Of W_f: (H, O + I).")
    Wi = property(lambda self: self._matrix("i"), doc="Of W_i: (H, O + I).")
    WC = property(lambda self: self._matrix("g"), doc="Of W_g: (H, O + I).")
    Wo = property(lambda self: self._matrix("o"), doc="Of W_o: (H, O + I).")
    bf = property(lambda self: self._bias("f"), doc="Of b_f: (H, 1), or None.")
    bi = property(lambda self: self._bias("i"), doc="Of b_i: (H, 1), or None.")
    bC = property(lambda self: self._bias("g"), doc="Of b_g: (H, 1), or None.")
    bo = property(lambda self: self._bias("o"), doc="Of b_o: (H, 1), or None.")
    pf = property(lambda self: self._peephole("f"), doc="Of p_f: (H, 1), or None.")
    pi = property(lambda self: self._peephole("i"), doc="Of p_i: (H, 1), or None.")
    po = property(lambda self: self._peephole("o"), doc="Of p_o: (H, 1), or None.")

    @property
    def Whr(self) -> np.ndarray | None:
        """Of W_hr: (O, H), or None."""
        projection = self._sums.projection
        return None if projection is None else _frozen(projection.copy())


def _frozen(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array


class Gradients(Mapping[str, np.ndarray]):
    """Gradients of a loss with respect to the weights, the input and the states before the first step.

    Made by `Tape.backward`. As a mapping it holds those of the weights, under the names and in the shapes of
    `LSTM.state_dict`; it is empty if they were not asked for. The arrays may be changed in place or set, to
    scale or to clip them. As in PyTorch, ``bias_ih`` and ``bias_hh`` both have the gradient of the one bias,
    which is their sum: gradient descent on both moves it twice as far as on `bf`, `bi`, `bC` and `bo` of
    `layers`.

    Attributes
    ----------
    X : numpy.ndarray or None
        Of the input, in its shape; zero at steps that were not computed. None if not asked for.
    h0, C0 : numpy.ndarray or None
        Of the states before the first step, in the shapes in which they were given. None if not asked for.
    layers : tuple of LayerGradients
        Of the weights of every layer and direction as the teaching class's arrays; empty if they were not
        asked for.
    norms : Norms
        How large the gradients of h and C are at every step, which `lstm.plot.gradients` draws.

    Examples
    --------
    >>> import numpy as np
    >>> from lstm import LSTM
    >>> net = LSTM(3, 5, rng=0)
    >>> tape = net.record(np.ones((8, 10, 3)))
    >>> g = tape.backward(dY=tape.Y)  # the loss is half the sum of squares of Y
    >>> {name: array.shape for name, array in g.items()}
    {'weight_ih_l0': (20, 3), 'weight_hh_l0': (20, 5), 'bias_ih_l0': (20,), 'bias_hh_l0': (20,)}
    >>> g.X.shape, g.h0.shape
    ((8, 10, 3), (1, 8, 5))
    >>> net.load_state_dict({name: W - 0.01 * g[name] for name, W in net.state_dict().items()})
    """

    __slots__ = ("C0", "X", "_architecture", "_arrays", "_rows", "_second_biases", "_sums", "h0", "norms")

    def __init__(self, architecture: Architecture, sums: list[Weights], rows: int | None) -> None:
        self.X: np.ndarray | None = None
        self.h0: np.ndarray | None = None
        self.C0: np.ndarray | None = None
        self.norms: Norms | None = None
        self._architecture = architecture
        self._rows = rows  # of `per_sample`, else None
        self._sums = sums  # of every cell; none if the weights' were not asked for
        self._second_biases = [np.zeros(one.bias.shape, one.bias.dtype) for one in sums]
        self._arrays: dict[str, np.ndarray] | None = None

    @property
    def layers(self) -> tuple[LayerGradients, ...]:
        """Those of the weights of every layer and direction, in the order of the states' first axis."""
        return tuple(LayerGradients(sums, self._architecture.bias) for sums in self._sums)

    @property
    def labels(self) -> list[str]:
        """What pictures call the layers and directions, in the order of `layers`."""
        return _labels(self._architecture)

    def _named(self) -> dict[str, np.ndarray]:
        """The arrays under their names, views of `_sums`; made when they are first asked for."""
        if self._arrays is None:
            self._arrays = {}
            for cell, one in enumerate(self._sums):
                self._arrays |= named_arrays(self._architecture, cell, one, self._second_biases[cell])
        return self._arrays

    def __getitem__(self, name: str) -> np.ndarray:
        return self._named()[name]

    def __setitem__(self, name: str, value: ArrayLike) -> None:
        array = self._named()[name]
        if value is not array:  # as it is after ``g[name] *= 0.5``
            array[...] = exact_array(name, value, array.shape, array.dtype)

    def __iter__(self) -> Iterator[str]:
        return iter(self._named())

    def __len__(self) -> int:
        return len(self._named())

    def __repr__(self) -> str:
        others = [name for name in ("X", "h0", "C0") if getattr(self, name) is not None]
        parts = ([f"{len(self)} arrays of weights"] if self else []) + others
        return f"<gradients of {', '.join(parts) or 'nothing'}>"

    # The arrays of the mapping are views of `_sums`: a copy makes its own.

    def __getstate__(self) -> tuple[Any, ...]:
        parts = (self._architecture, self._sums, self._rows, self._second_biases)
        return (*parts, self.X, self.h0, self.C0, self.norms)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        architecture, sums, rows, second_biases, X, h0, C0, norms = state
        Gradients.__init__(self, architecture, [one.map(np.copy) for one in sums], rows)
        for second, values in zip(self._second_biases, second_biases, strict=True):
            second[...] = values
        self.X, self.h0, self.C0, self.norms = X, h0, C0, norms

    def _update_second_biases(self, before: list[np.ndarray]) -> None:
        """What the first biases gained since `before` to the second ones too, which may have been changed.

        Nothing before were zeros.
        """
        for cell, (second, one) in enumerate(zip(self._second_biases, self._sums, strict=True)):
            if not before or np.array_equal(second, before[cell]):
                second[...] = one.bias
                continue
            with np.errstate(all="ignore"):
                second += one.bias - before[cell]


def _forms(recording: Recording, X: np.ndarray) -> tuple[int | None, InitialStates]:
    """The rows of an everyday X (T, I) or (B, T, I), None for (T, I), and the states it began with."""
    h, C = recording.h0, recording.C0
    batch = None if X.ndim == 2 else X.shape[0]
    front = h.shape[:1] if batch is None else h.shape[:2]
    return batch, InitialStates(h, C, (*front, h.shape[2]), (*front, C.shape[2]))


class Tape:
    """The outputs of a pass, and what it takes to compute the gradients of a loss.

    Made by `LSTM.record`. A tape keeps the weights and inputs it ran with: what is set or written afterwards
    does not disturb it. It is used for one `backward`.

    Attributes
    ----------
    Y : numpy.ndarray
        h of every step, as `LSTM.forward_sequence` returns it; read-only, for the gradients depend on it.
    h_n, C_n : numpy.ndarray
        The states after the last step, as `LSTM.forward_sequence` returns them.
    nbytes : int
        Bytes that the tape holds, without the weights, which it shares with the net.
    norms : Norms or None
        After `backward`: how large the gradients of h and C are at every step.

    Examples
    --------
    >>> import numpy as np
    >>> from lstm import LSTM
    >>> net = LSTM(3, 5, rng=0)
    >>> X = np.ones((8, 20, 3))
    >>> tape = net.record(X)
    >>> g = tape.backward(dh_n=2 * tape.h_n)  # the loss is the sum of squares of the last h
    >>> g["weight_hh_l0"].shape
    (20, 5)

    Truncated backpropagation: arrays carry no graph, so that there is nothing to detach.

    >>> first = net.record(X[:, :10])
    >>> second = net.record(X[:, 10:], first.h_n, first.C_n)
    """

    __slots__ = ("_batch", "_given", "_is_used", "_recording", "norms")

    _recording: Recording
    _batch: int | None
    _given: InitialStates
    _is_used: bool
    norms: Norms | None

    def __init__(self, recording: Recording, batch: int | None, given: InitialStates) -> None:
        self.write(recording, batch, given)

    def write(self, recording: Recording, batch: int | None, given: InitialStates) -> None:
        """Hold another recording; `given` has the shapes of its states, `batch` is None for one sequence."""
        self._recording, self._batch, self._given = recording, batch, given
        self._is_used, self.norms = False, None

    def storage_for(
        self, architecture: Architecture, dtype: np.dtype[Any], shape: tuple[int, ...]
    ) -> Storage:
        """The memory to write a pass of X (B, T, I) of this shape over; ValueError if it does not fit.

        The tape is of no use from then on, until it is written.
        """
        own = self._recording
        if (own.architecture, own.dtype) != (architecture, dtype):
            raise ValueError("out is a tape of an LSTM of other sizes, options or dtype")
        if own.storage.X.shape != shape:
            raise ValueError(
                f"out is a tape of {own.storage.X.shape[0]} rows and {own.storage.X.shape[1]} steps, "
                f"but X has {shape[0]} rows and {shape[1]} steps"
            )
        self._is_used = True
        return own.storage

    def write_everyday(self, net: Net, X: Any, h0: Any, C0: Any) -> bool:
        """Write a pass of arrays that fit as they are over this one; False if they, or the net, do not.

        The tape is of no use if the pass ends early.
        """
        own, was_used = self._recording, self._is_used
        if own.architecture != net.architecture or own.dtype != net.dtype:
            return False
        self._is_used = True
        recording = record_everyday(net.cells, net.architecture, net.dtype, X, h0, C0, own.storage)
        if recording is None:
            self._is_used = was_used
            return False
        self.write(recording, *_forms(recording, X))
        return True

    @property
    def Y(self) -> np.ndarray:
        """h of every step, (T, K) or (B, T, K)."""
        Y = self._recording.Y
        return _frozen(Y[0] if self._batch is None else Y[...])

    @property
    def h_n(self) -> np.ndarray:
        """h after the last step, in the shape of h0."""
        return self._recording.h_n.reshape(self._given.h_shape)

    @property
    def C_n(self) -> np.ndarray:
        """C after the last step, in the shape of C0."""
        return self._recording.C_n.reshape(self._given.C_shape)

    @property
    def nbytes(self) -> int:
        """Bytes that the tape holds, without the weights."""
        return self._recording.nbytes

    @property
    def labels(self) -> list[str]:
        """What pictures call the layers and directions, in the order of the states' first axis."""
        return _labels(self._recording.architecture)

    def backward(
        self,
        dY: ArrayLike | None = None,
        dh_n: ArrayLike | None = None,
        dC_n: ArrayLike | None = None,
        *,
        inputs: bool = True,
        weights: bool = True,
        add_to: Gradients | None = None,
        per_sample: bool = False,
    ) -> Gradients:
        """Compute all gradients of a loss from those of the results of the pass.

        Parameters
        ----------
        dY : array_like, optional
            Gradient of Y, of its shape. What it has at steps that were not computed, past a row's length
            or left out by a mask, is not read. By default the loss does not depend on Y: a loss of the last
            states alone needs no array of zeros.
        dh_n, dC_n : array_like, optional
            Gradients of h_n and C_n, in a shape that h0 and C0 may have.
        inputs : bool
            Whether to compute those of X, h0 and C0.
        weights : bool
            Whether to compute those of the weights.
        add_to : Gradients, optional
            Of an earlier call, to which those of the weights are added, and which is returned; its X, h0 and
            C0 become those of this call.
        per_sample : bool
            Whether each row of the batch has gradients of the weights of its own, with an axis (B,) in front.

        Returns
        -------
        Gradients

        Raises
        ------
        RuntimeError
            If the tape has been used. It is also after a `backward` that a signal such as Ctrl-C interrupted,
            which leaves `add_to` as it was.
        ValueError
            If a shape does not fit, none of the three is given, or `add_to` is of other gradients.
        TypeError
            If a dtype is not real, or `add_to` is not a `Gradients`.

        Notes
        -----
        A value that clip, cell_clip or proj_clip cuts passes no gradient; one that is exactly at the bound
        does. The bias is the sum of PyTorch's two, so that each of them has its gradient.

        Examples
        --------
        Gradients of a batch in two parts:

        >>> import numpy as np
        >>> from lstm import LSTM
        >>> net = LSTM(3, 5, rng=0)
        >>> X = np.ones((8, 20, 3))
        >>> tape = net.record(X[:4])
        >>> g = tape.backward(dY=tape.Y)
        >>> tape = net.record(X[4:])
        >>> g = tape.backward(dY=tape.Y, add_to=g)
        """
        recording, is_single = self._recording, self._batch is None
        if self._is_used:
            raise RuntimeError("this tape has been used: record the pass again for another backward")
        if dY is None and dh_n is None and dC_n is None:
            raise ValueError("backward needs a gradient to start from: dY, dh_n or dC_n")
        rows = recording.h0.shape[1] if per_sample else None
        if add_to is None:
            sums = gradients.zero_sums(recording.architecture, recording.dtype, rows) if weights else []
            g, kept = Gradients(recording.architecture, sums, rows), []
        else:
            g = self._checked(add_to, weights, rows)
            kept = [one.map(np.copy) for one in g._sums]
        found = self._computed(g, kept, dY, dh_n, dC_n, inputs, weights)
        g._update_second_biases([before.bias for before in kept])
        dh_norms, dC_norms = found.norms
        self.norms = g.norms = (
            Norms(dh_norms[:, 0], dC_norms[:, 0]) if is_single else Norms(dh_norms, dC_norms)
        )
        g.X = found.X[0] if found.X is not None and is_single else found.X
        g.h0 = found.h0.reshape(self._given.h_shape) if inputs else None
        g.C0 = found.C0.reshape(self._given.C_shape) if inputs else None
        return g

    def _computed(
        self, g: Gradients, kept: list[Weights], dY: Any, dh_n: Any, dC_n: Any, inputs: bool, weights: bool
    ) -> gradients.StateGradients:
        """The gradients; those of the weights are added to `g`, which held `kept`, unless it held zeros.

        The tape is used from the first computation on. If one ends early, since a signal's handler raised or
        there was no memory, `g` is as it was.
        """
        recording, sums = self._recording, g._sums if weights else None
        self._is_used = True
        try:
            batched = self._batch is not None
            found = gradients.backward_everyday(recording, dY, dh_n, dC_n, batched, inputs, sums)
            if found is not None:
                return found
            self._is_used = False  # until the arrays are checked
            outputs = None if dY is None else self._output_gradient(dY)
            names, starts = ("dh_n", "dC_n"), (dh_n, dC_n)
            given = states.initial_states(recording.architecture, recording.dtype, names, starts, self._batch)
            self._is_used = True
            of_input = gradients.backward(recording, outputs, given.h, given.C, inputs, sums)
            return gradients.StateGradients(of_input.X, given.h, given.C, of_input.norms)
        except BaseException:
            for one, before in zip(g._sums, kept, strict=False):
                one.take(before)
            raise

    def _output_gradient(self, dY: ArrayLike) -> np.ndarray:
        """(B, T, K), of the net's dtype."""
        Y = self._recording.Y
        array, shape = real_array("dY", dY), Y.shape[1:] if self._batch is None else Y.shape
        if array.shape != shape:
            raise ValueError(f"dY has shape {array.shape}, but must be {shape}, the shape of Y")
        return usable_rows(array[np.newaxis] if self._batch is None else array, self._recording.dtype)

    def _checked(self, add_to: Any, weights: bool, rows: int | None) -> Gradients:
        """`add_to`, if gradients of this tape can be added to it."""
        if not isinstance(add_to, Gradients):
            raise TypeError(f"add_to is a {type(add_to).__name__}, but must be what an earlier backward gave")
        if not weights:
            raise ValueError("add_to is given, but weights=False: there is nothing to add")
        if not add_to._sums:
            raise ValueError("add_to has no gradients of weights: it was computed with weights=False")
        if add_to._architecture != self._recording.architecture:
            raise ValueError("add_to is of an LSTM of other sizes or options")
        if add_to._sums[0].bias.dtype != self._recording.dtype:
            raise ValueError(
                f"add_to has dtype {add_to._sums[0].bias.dtype}, but the tape {self._recording.dtype}"
            )
        if add_to._rows != rows:
            forms = [
                "one gradient for the whole batch" if n is None else f"gradients of {n} rows"
                for n in (add_to._rows, rows)
            ]
            raise ValueError(f"add_to has {forms[0]}, but this call gives {forms[1]}")
        return add_to

    def __reduce__(self) -> NoReturn:
        raise TypeError("a tape cannot be copied or pickled: it is used once; record the pass again")

    def __repr__(self) -> str:
        state = "used" if self._is_used else "not used yet"
        return f"<tape of Y {self.Y.shape}, {self.nbytes} bytes, {state}>"


def everyday_tape(net: Net, X: Any, h0: Any, C0: Any, out: Any) -> Tape | None:
    """What `LSTM.record` returns for arrays that fit as they are; None for all other calls, errors included.

    X (T, I) or (B, T, I), h0 (L, O) or (L, B, O), C0 (L, H) or (L, B, H), `out` the tape of such a pass, or
    None.
    """
    if out is not None:
        return out if isinstance(out, Tape) and out.write_everyday(net, X, h0, C0) else None
    recording = record_everyday(net.cells, net.architecture, net.dtype, X, h0, C0)
    return None if recording is None else Tape(recording, *_forms(recording, X))
