"""One call of the module: tensors in and out, and the recording that waits for its backward pass.

Shapes: B batch, T time, I input, H hidden, O features of h, K features of an output step, L layers,
D directions. X and Y are (B, T, ...), (T, B, ...) or, of one sequence, (T, ...), as the call's form says.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ..core.checks import usable_rows
from ..core.net import Net
from ..core.recording import Recording
from . import passes
from .passes import Layout, Packed

BATCH_FIRST, TIME_FIRST, SINGLE = "batch first", "time first", "single"


class Call:
    """What a call is told besides its tensors, and its recording.

    Parameters
    ----------
    plan : Layout
    form : {BATCH_FIRST, TIME_FIRST, SINGLE}
    lengths : numpy.ndarray or None
        Steps of every row, (B,) of intp.
    rate : float
        Dropout between layers.
    kept : list of numpy.ndarray
        Its masks (B, T, K) of bool, L - 1 of them or none.
    keeps : bool
        Whether gradients may be asked for.
    packed : Packed or None
        Where the net of weights is that are not trained; None if they are.
    """

    __slots__ = ("_recordings", "form", "has_begun", "keeps", "kept", "lengths", "packed", "plan", "rate")

    def __init__(
        self,
        plan: Layout,
        form: str,
        lengths: np.ndarray | None,
        rate: float,
        kept: list[np.ndarray],
        keeps: bool,
        packed: Packed | None,
    ) -> None:
        self.plan, self.form, self.lengths = plan, form, lengths
        self.rate, self.kept = rate, kept
        self.keeps, self.packed = keeps, packed
        self.has_begun = False
        self._recordings: list[Recording] = []

    @property
    def shares_outputs(self) -> bool:
        """Whether Y may be memory of the recording."""
        return self.keeps

    def without_recording(self) -> Call:
        """The same call for other tensors."""
        return Call(self.plan, self.form, self.lengths, self.rate, self.kept, self.keeps, self.packed)

    def forward(self, X: Any, h0: Any, C0: Any, weights: Sequence[Any]) -> tuple[Any, Any, Any]:
        """X, h0 and C0 or None, and the weights in their layout -> Y, h_n, C_n, all of them contiguous."""
        if self.keeps or self.kept:
            recording = self._record(X, h0, C0, weights)
            if self.keeps:
                self._recordings.append(recording)
            Y = np.ascontiguousarray(self._as_given(recording.Y))
            h, C = recording.h_n, recording.C_n
        else:
            array = self._rows_first(X.numpy())
            net = self._net(weights)
            h, C = self._states(array, h0, C0)
            Y = np.empty((*X.shape[:-1], self.plan.architecture.output_size), array.dtype)
            net.run(array, h, C, self._rows_first(Y), self.lengths)
        return torch.from_numpy(Y), self._state_as_given(h), self._state_as_given(C)

    def backward(
        self, needed: Sequence[bool], outputs: tuple[Any, Any, Any], tensors: Sequence[Any]
    ) -> tuple[Any, ...]:
        """The gradients of X, h0, C0 and the weights, None where not needed, from those of Y, h_n and C_n.

        `tensors` are X, h0, C0 and the weights of the forward pass: the first backward pass uses up the
        recording, and others make it again.
        """
        X, h0, C0, *weights = tensors
        try:
            recording = self._recordings.pop()
        except IndexError:
            recording = self._record(X, h0, C0, weights)
        dY, dh_n, dC_n = outputs
        found = passes.backward(
            self.plan,
            recording,
            None if dY is None else usable_rows(self._rows_first(dY.numpy()), recording.dtype),
            None if dh_n is None else self._states_first(dh_n.numpy()),
            None if dC_n is None else self._states_first(dC_n.numpy()),
            any(needed[1:3]),
            needed[0],
            needed[3:],
        )
        return (
            None if found.X is None else torch.from_numpy(self._as_given(found.X)),
            self._state_as_given(found.h0) if needed[1] else None,
            self._state_as_given(found.C0) if needed[2] else None,
            *(None if array is None else torch.from_numpy(array) for array in found.weights),
        )

    def _record(self, X: Any, h0: Any, C0: Any, weights: Sequence[Any]) -> Recording:
        """A pass whose gradients are wanted."""
        array = self._rows_first(X.numpy())
        h, C = self._states(array, h0, C0)
        return passes.record(
            self._net(weights),
            array,
            h,
            C,
            self.lengths,
            self.rate,
            self.kept,
            self.form == TIME_FIRST,
        )

    def _net(self, weights: Sequence[Any]) -> Net:
        arrays = [one.numpy() for one in weights]
        return passes.pack(self.plan, arrays) if self.packed is None else self.packed.net(self.plan, arrays)

    def _states(self, X: np.ndarray, *given: Any) -> list[np.ndarray]:
        """X (B, T, I): new arrays (L D, B, O) and (L D, B, H) of the first states, zeros for None."""
        architecture = self.plan.architecture
        sizes = architecture.state_size, architecture.hidden_size
        return [
            np.zeros((architecture.cells, X.shape[0], size), X.dtype)
            if one is None
            else np.array(self._states_first(one.numpy()), order="C")
            for size, one in zip(sizes, given, strict=True)
        ]

    def _rows_first(self, array: np.ndarray) -> np.ndarray:
        """X, Y or a gradient of them in the form of the call -> a view (B, T, ...)."""
        if self.form == TIME_FIRST:
            return array.swapaxes(0, 1)
        return array if self.form == BATCH_FIRST else array[np.newaxis]

    def _as_given(self, array: np.ndarray) -> np.ndarray:
        """(B, T, ...) -> a view in the form of the call."""
        if self.form == TIME_FIRST:
            return array.swapaxes(0, 1)
        return array if self.form == BATCH_FIRST else array[0]

    def _states_first(self, state: np.ndarray) -> np.ndarray:
        """A state in the form of the call -> a view (L D, B, ...)."""
        return state[:, np.newaxis] if self.form == SINGLE else state

    def _state_as_given(self, state: np.ndarray) -> Any:
        """A state (L D, B, ...) -> a tensor in the form of the call."""
        return torch.from_numpy(state[:, 0] if self.form == SINGLE else state)
