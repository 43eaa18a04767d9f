"""A stream: time steps as they arrive, the state carried along.

Shapes: B batch, T time, I input, H hidden, O features of h, L layers.
"""

from __future__ import annotations

from typing import Any, NoReturn, final

import numpy as np
from numpy.typing import ArrayLike

from . import _kernel
from .core import states
from .core.checks import real_array
from .core.net import Net
from .core.states import States


@final
class Native:
    """A stream as C functions, which callers in any thread call without the GIL.

    Made by `Stream.native`. Both functions continue the stream's state, with the bits of `Stream.step` and
    `Stream.run`, on the calling thread alone; they allocate nothing. Arrays are contiguous and of the
    net's dtype. The addresses hold for as long as this object or its stream lives.

    They return 0, or why they have done nothing: 1, another thread is in the middle of a step of this
    stream; 2, the state is read-only; 3, a pointer is NULL or not aligned to its numbers, T is negative,
    or X, Y and the state overlap.

    Attributes
    ----------
    step : int
        Address of ``int step(void *stream, const void *x, void *y)``: x (I,) or (B, I), y (O,) or (B, O),
        which may be x.
    run : int
        Address of ``int run(void *stream, const void *X, void *Y, ptrdiff_t T)``: X (T, I) or (B, T, I),
        Y (T, O) or (B, T, O).
    handle : int
        What both take as their `stream`.
    dtype : numpy.dtype
        Of x, y, X and Y.
    input_size, output_size : int
        I and O.
    batch_size : int or None
        B; None for a stream of single vectors.

    Examples
    --------
    >>> import ctypes
    >>> import numpy as np
    >>> from lstm import LSTM
    >>> stream = LSTM(3, 5, rng=0).stream()
    >>> native = stream.native
    >>> step = ctypes.CFUNCTYPE(ctypes.c_int, *[ctypes.c_void_p] * 3)(native.step)
    >>> x, y = np.ones(3), np.empty(5)
    >>> step(native.handle, x.ctypes.data, y.ctypes.data)
    0
    >>> np.array_equal(y, stream.h[-1])
    True
    """

    __slots__ = ("_scratch", "batch_size", "dtype", "handle", "input_size", "output_size", "run", "step")

    def __init__(self, scratch: _kernel.StepScratch, net: Net, batch_size: int | None) -> None:
        addresses = scratch.native()
        if addresses is None:
            layers = net.architecture.num_layers
            raise AttributeError(f"num_layers is {layers}, but streams of at most 16 have C functions")
        self._scratch = scratch  # which the handle points into
        self.step, self.run, self.handle = addresses
        self.dtype = net.dtype
        self.input_size = net.architecture.input_size
        self.output_size = net.architecture.state_size
        self.batch_size = batch_size

    def __reduce__(self) -> NoReturn:
        raise TypeError("the addresses of a stream hold in this process alone; pickle the stream instead")

    def __repr__(self) -> str:
        return f"Native(step=0x{self.step:x}, run=0x{self.run:x}, handle=0x{self.handle:x})"


class Stream:
    """The state of a net over an endless input, one step or chunk at a time.

    Made by `LSTM.stream`. The outputs are the bits that `LSTM.forward_sequence` gives for the whole
    input at once. A stream belongs to one thread at a time; any number of streams, each in a thread
    of its own, may share a net and its weights. Weights that are set on the net count from the next
    step on. Callers without the GIL step it through `native`.

    Attributes
    ----------
    h, C : numpy.ndarray
        The state itself, (L, O) and (L, H), for a batch (L, B, O) and (L, B, H), of the net's dtype:
        writing into it changes what the stream goes on with.

    Examples
    --------
    >>> import numpy as np
    >>> from lstm import LSTM
    >>> net = LSTM(3, 5, rng=0)
    >>> stream = net.stream()
    >>> X = np.ones((10, 3))
    >>> Y = np.stack([stream.step(x) for x in X])
    >>> np.array_equal(Y, net.forward_sequence(X))
    True
    """

    __slots__ = ("_C", "_batch_size", "_everyday_step", "_guard", "_h", "_net", "_scratch", "_state")

    def __init__(self, net: Net, batch_size: int | None) -> None:
        self._net = net
        self._batch_size = batch_size
        rows = 1 if batch_size is None else batch_size
        # h and C in one array, so that one assignment changes both: no signal comes between them.
        size = net.architecture.cells * rows * (net.architecture.state_size + net.architecture.hidden_size)
        self._state = np.zeros(size, net.dtype)
        self._h, self._C = self._parts(self._state)
        self._guard = _kernel.StepScratch(net, self._h, self._C, batch_size is None)
        self._scratch = None if net.isa is None else self._guard
        # Each attribute that a step looks up is counted by all threads in one place without a GIL.
        self._everyday_step = None if net.isa is None else self._guard.step

    def _parts(self, state: np.ndarray) -> States:
        """h (L, B, O) and C (L, B, H) as views of an array that holds one after the other."""
        cells, hidden_size = self._net.architecture.cells, self._net.architecture.hidden_size
        rows = 1 if self._batch_size is None else self._batch_size
        split = cells * rows * self._net.architecture.state_size
        return state[:split].reshape(cells, rows, -1), state[split:].reshape(cells, rows, hidden_size)

    def _store(self, state: np.ndarray | int) -> None:
        """Set h and C, one after the other in `state`; ValueError if the caller has made one read-only."""
        self._check_writable()
        self._state[...] = state

    def _check_writable(self) -> None:
        if not (self._h.flags.writeable and self._C.flags.writeable):
            raise ValueError("the state of this stream is read-only")

    @property
    def h(self) -> np.ndarray:
        """The hidden state, (L, O) or (L, B, O); writable in place."""
        return self._h[:, 0] if self._batch_size is None else self._h

    @property
    def C(self) -> np.ndarray:
        """The cell state, (L, H) or (L, B, H); writable in place."""
        return self._C[:, 0] if self._batch_size is None else self._C

    @property
    def state(self) -> States:
        """A copy of (h, C), to be saved; assigning such a pair restores it.

        Examples
        --------
        >>> import numpy as np
        >>> from lstm import LSTM
        >>> stream = LSTM(3, 5, rng=0).stream()
        >>> y = stream.step(np.ones(3))
        >>> saved = stream.state
        >>> z = stream.step(np.ones(3))
        >>> stream.state = saved
        >>> np.array_equal(stream.step(np.ones(3)), z)
        True
        """
        return self.h.copy(), self.C.copy()

    @state.setter
    def state(self, state: tuple[ArrayLike, ArrayLike]) -> None:
        if not isinstance(state, tuple | list) or len(state) != 2:
            raise TypeError(f"state is {type(state).__name__}, but must be a pair of arrays, h and C")
        names = ("h of the state", "C of the state")
        values = real_array(names[0], state[0]), real_array(names[1], state[1])
        given = states.initial_states(
            self._net.architecture, self._net.dtype, names, values, self._batch_size
        )
        self._store(np.concatenate([given.h.reshape(-1), given.C.reshape(-1)]))

    @property
    def native(self) -> Native:
        """The stream as C functions for callers without the GIL, in Numba, Cython or cffi.

        Raises
        ------
        AttributeError
            If the net computes with NumPy, or has more than 16 layers.
        MemoryError
            If there is no memory for their calls, some hundred kilobytes.
        """
        if self._scratch is None:
            raise AttributeError("the net has backend='numpy', but C functions need backend='native'")
        return Native(self._scratch, self._net, self._batch_size)

    def step(self, x: ArrayLike, out: np.ndarray | None = None) -> np.ndarray:
        """Advance by one time step.

        Parameters
        ----------
        x : array_like
            (I,) or, for a stream of a batch, (B, I).
        out : numpy.ndarray, optional
            Where h is written: of the net's dtype, (O,) or (B, O). With it, and `x` a contiguous
            array of a real dtype or, for (I,), a list or tuple of Python's numbers, no memory is
            allocated.

        Returns
        -------
        numpy.ndarray
            h of the last layer after the step, (O,) or (B, O); `out` itself where that was given.

        Raises
        ------
        ValueError
            If a shape does not fit, or `out` cannot be written; the state is then unchanged.
        TypeError
            If a dtype is not real, or that of `out` is not the net's.
        RuntimeError
            If another thread is in the middle of a step of this stream.
        """
        everyday_step = self._everyday_step
        if everyday_step is not None:
            y = everyday_step(x, out)
            if y is not None:  # None for whatever is not an everyday array, errors included
                return y
        return self._checked_step(x, out)

    def _checked_step(self, x: ArrayLike, out: np.ndarray | None) -> np.ndarray:
        """`step` for any array that is allowed, and its errors for those that are not."""
        net = self._net
        array = states.stream_input("x", x, self._batch_size, net.architecture.input_size)
        size = net.architecture.state_size
        shape = (size,) if self._batch_size is None else (self._batch_size, size)
        if out is not None:
            states.check_out(out, shape, net.dtype)
        y = np.empty(shape, net.dtype) if out is None else out
        self._guard.alone(self._advance, array, None, y)
        return y

    def run(self, X: ArrayLike, out: np.ndarray | None = None) -> np.ndarray:
        """Advance by a chunk of time steps.

        Parameters
        ----------
        X : array_like
            (T, I) or, for a stream of a batch, (B, T, I); where I = 1 also without that axis: (T,) or (B, T).
        out : numpy.ndarray, optional
            Where the outputs are written: of the net's dtype, (T, O) or (B, T, O). With it, and `X` a
            contiguous array of the net's dtype, no memory is allocated that is not kept for the next chunk.

        Returns
        -------
        numpy.ndarray
            h of the last layer at every step, (T, O) or (B, T, O); `out` itself where that was given.

        Raises
        ------
        ValueError
            If a shape does not fit, or `out` cannot be written; the state is then unchanged.
        TypeError
            If a dtype is not real, or that of `out` is not the net's.
        RuntimeError
            If another thread is in the middle of a step of this stream.

        Examples
        --------
        >>> import numpy as np
        >>> from lstm import LSTM
        >>> stream = LSTM(1, 8, rng=0).stream()
        >>> samples, out = np.zeros(64), np.empty((64, 8))
        >>> stream.run(samples, out) is out
        True
        """
        if self._scratch is not None:
            Y = self._scratch.run(X, out)
            if Y is not None:
                return Y
        return self._checked_run(X, out)

    def _checked_run(self, X: ArrayLike, out: np.ndarray | None) -> np.ndarray:
        """`run` for any array that is allowed, and its errors for those that are not."""
        net = self._net
        array = states.stream_input("X", X, self._batch_size, net.architecture.input_size)
        Y = np.empty((*array.shape[:2], net.architecture.state_size), net.dtype)
        shape = Y.shape[1:] if self._batch_size is None else Y.shape
        if out is not None:
            states.check_out(out, shape, net.dtype)
        result = Y.reshape(shape)
        self._guard.alone(self._advance, array, Y, None)
        if out is None:
            return result
        out[...] = result
        return out

    def _advance(self, X: np.ndarray, Y: np.ndarray | None, last: np.ndarray | None) -> None:
        """X (B, T, I); Y (B, T, O) and the last h, (O,) or (B, O), where they are wanted.

        The state is changed only once all is done, and after that nothing takes memory.
        """
        self._check_writable()
        state = self._state.copy()
        h, C = self._parts(state)
        self._net.run(X, h, C, Y)
        if last is not None:
            last[...] = h[-1].reshape(last.shape)
        self._store(state)

    def reset(self, rows: Any = None) -> None:
        """Set the state to zeros, as at the start.

        Parameters
        ----------
        rows : int, sequence of int, slice or bool array, optional
            Rows of the batch whose state is set, by default all: whatever picks rows of an array.

        Raises
        ------
        IndexError
            If there is no such row, or the stream is not one of a batch.
        """
        if rows is None:
            self._store(0)
            return
        if self._batch_size is None:
            raise IndexError(f"rows is {rows!r}, but this stream has no batch")
        picked = np.arange(self._batch_size)[rows]
        self._h[:, picked] = 0
        self._C[:, picked] = 0

    def __getstate__(self) -> tuple[Net, int | None, np.ndarray, np.ndarray]:
        return self._net, self._batch_size, self._h, self._C

    def __setstate__(self, state: tuple[Net, int | None, np.ndarray, np.ndarray]) -> None:
        net, batch_size, h, C = state
        Stream.__init__(self, net, batch_size)
        self._h[...] = h
        self._C[...] = C

    def __repr__(self) -> str:
        return f"{self._net.describe('LSTM')}.stream({'' if self._batch_size is None else self._batch_size})"
