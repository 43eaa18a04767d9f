"""The engine: a net's architecture, its weights as a backend computes with them, and what it computes.

Shapes: B batch, T time, I input, H hidden, O features of h, L layers, D directions.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Self

import numpy as np

from .. import _kernel
from .._kernel import Edition
from . import dropout, ragged, recording, sequence
from .architecture import Architecture
from .checks import cast
from .interruptible import interruptible
from .memory import aligned_zeros
from .packing import Allocate, PackedWeights, pack, unpack
from .precision import check_depths, check_gradients_exist, check_precision
from .state_dict import fitting_weights, to_state_dict
from .trace import Trace, trace_cells
from .weights import AnyWeights, Int8Matrices, Int8Weights, Parts, Weights, full_weights, narrowed

BACKENDS = ("native", "numpy")

_setting_weights = threading.Lock()


def _forget_lock() -> None:
    """Let a forked child set weights, whatever another thread of its parent was doing."""
    global _setting_weights
    _setting_weights = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_lock)


def _size(stored: sequence.CellWeights) -> int:
    """Bytes of the two large arrays of one layer and direction."""
    return int(stored.input.nbytes + stored.hidden.nbytes)


class Net:
    """What a net is and computes, without arguments to check or shapes to guess.

    Parameters
    ----------
    parts : Parts
        Weights of any real dtype, which are cast to the net's and not shared with their owner.
    backend : {"native", "numpy"}
        The compiled kernel, or the readable reference of `lstm.core.reference`.
    allocate : callable
        Makes the arrays of the kernel's weights: `memory.aligned_zeros`, or `_kernel.recycled` if they are to
        be replaced soon.

    Attributes
    ----------
    architecture : Architecture
    dtype : numpy.dtype
        Of weights, states and outputs: float32 or float64.
    precision : str or None
        In which the weights are kept: one of `lstm.core.precision.PRECISIONS`, or None: in `dtype`.
    isa : str or None
        The instruction set that the weights are packed for; None for the NumPy backend.
    cells : tuple
        The weights of the L D layers and directions: `PackedWeights`, or `Weights` and `Int8Weights` for the
        NumPy backend.
        What is stored is never changed in place, only replaced: a call that runs in another thread keeps
        the weights it started with, and copies of a net share them.
    """

    __slots__ = ("__weakref__", "architecture", "cells", "dtype", "edition", "isa", "precision")

    architecture: Architecture
    cells: sequence.Cells
    dtype: np.dtype[Any]
    edition: Edition
    isa: str | None
    precision: str | None

    def __init__(self, parts: Parts, backend: str = "native", allocate: Allocate = aligned_zeros) -> None:
        if backend not in BACKENDS:
            raise ValueError(f"backend is {backend!r}, but must be 'native' or 'numpy'")
        self.architecture = parts.architecture
        self.dtype = parts.dtype
        self.precision = check_precision(parts.precision, parts.dtype)
        check_depths(self.precision, self.architecture)
        self.edition = Edition()
        self.isa = _kernel.DEFAULT_ISA if backend == "native" else None
        self.take(parts.weights, allocate)

    @property
    def backend(self) -> str:
        """What computes: "native" or "numpy"."""
        return "numpy" if self.isa is None else "native"

    def take(self, weights: Sequence[AnyWeights], allocate: Allocate = _kernel.recycled) -> None:
        """Keep weights from elsewhere: cast to the net's dtype, and not shared with their owner.

        Integers are kept, and shared, by a net of int8.
        """
        copy = self.isa is None  # packing copies anyway
        self._store(weights, allocate, copy)

    def _store(self, weights: Sequence[AnyWeights], allocate: Allocate, copy: bool = False) -> None:
        def stored() -> sequence.Cells:
            own = weights if self.precision == "int8" else [full_weights(one) for one in weights]
            own = [one.map(lambda array: cast(array, self.dtype, copy=copy)) for one in own]
            return tuple(self._stored(cell, one, allocate) for cell, one in enumerate(own))

        cells = interruptible(stored, sum(one.nbytes for one in weights))
        with _setting_weights:
            self._put(cells)

    def _put(self, cells: sequence.Cells) -> None:
        """Store cells and tell the streams; all that can fail comes first."""
        prepared = self.edition.prepare(cells)
        self.cells = cells
        self.edition.advance(prepared)

    def _stored(
        self, cell: int, weights: AnyWeights, allocate: Allocate, kept: Int8Matrices | None = None
    ) -> sequence.CellWeights:
        """One layer and direction's weights in the form that the backend computes with.

        In int8, rows that have the values of `kept` keep its integers.
        """
        if self.precision is not None and isinstance(weights, Weights):
            weights = narrowed(weights, self.precision, self.architecture.suffix(cell), kept)
        if self.isa is None:
            return weights
        return pack(weights, self.isa, self.architecture.cell_options(cell), self.precision, allocate)

    def change_cell_weights(self, cell: int, change: Callable[[Weights], Weights]) -> None:
        """Keep what `change` makes of the weights of one layer and direction, of the net's dtype.

        Threads that change weights of one net take turns, so that no change is lost.
        """
        with _setting_weights:
            cells = list(self.cells)

            def changed() -> sequence.CellWeights:
                kept = self._kept(cell)
                integers = kept.matrices if isinstance(kept, Int8Weights) else None
                return self._stored(cell, change(self.cell_weights(cell)), _kernel.recycled, integers)

            cells[cell] = interruptible(changed, _size(cells[cell]))
            self._put(tuple(cells))

    def cell_weights(self, cell: int) -> Weights:
        """One layer and direction's weights as NumPy arrays; to be read only."""
        return full_weights(self._kept(cell))

    def _kept(self, cell: int) -> AnyWeights:
        """One layer and direction's weights, integers where it keeps them; to be read only."""
        stored = self.cells[cell]
        if not isinstance(stored, PackedWeights):
            return stored
        return interruptible(partial(unpack, stored), _size(stored))

    def parts(self) -> Parts:
        """What the net is made of; the arrays are to be read only."""
        kept = [self._kept(cell) for cell in range(len(self.cells))]
        return Parts(kept, self.architecture, self.dtype, self.precision)

    def state_dict(self) -> dict[str, np.ndarray]:
        """The weights under PyTorch's names, as new arrays."""
        parts = self.parts()
        return interruptible(partial(to_state_dict, parts), parts.nbytes)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Set all weights from arrays under PyTorch's names; ValueError if they do not fit."""
        self.take(fitting_weights(state, self.architecture))

    def run(
        self,
        X: np.ndarray,
        h: np.ndarray,
        C: np.ndarray,
        Y: np.ndarray | None,
        lengths: np.ndarray | None = None,
        mask: np.ndarray | None = None,
    ) -> None:
        """X (B, T, I) of any real dtype, h (L D, B, O), C (L D, B, H) in and out, Y (B, T, D O) or None.

        `lengths` (B,) of intp and `mask` (B, T) of bool: which steps count, or None.
        """
        sequence.run(self.cells, self.architecture, self.dtype, X, h, C, Y, lengths, mask)

    def run_rows(
        self,
        rows: Sequence[np.ndarray],
        h: np.ndarray,
        C: np.ndarray,
        last: bool,
    ) -> list[np.ndarray] | np.ndarray:
        """Rows (T_n, I) of any real dtype, h (L D, N, O), C (L D, N, H) in and out: N of (T_n, D O).

        With `last` (N, D O) instead: h after the last step of every row.
        """
        cells = self.cells  # other threads may replace them meanwhile
        outputs = ragged.run(cells, self.architecture, self.dtype, rows, h, C, not last)
        return ragged.last_outputs(cells, self.architecture, h) if last else outputs

    def trace(
        self,
        X: np.ndarray,
        h: np.ndarray,
        C: np.ndarray,
        lengths: np.ndarray | None = None,
        mask: np.ndarray | None = None,
    ) -> Trace:
        """X (B, T, I) of any real dtype, h (L D, B, O), C (L D, B, H) in and out: (L D, B, T, ...) each."""
        return trace_cells(self.cells, self.architecture, self.dtype, X, h, C, lengths, mask)

    def record(
        self,
        X: np.ndarray,
        h0: np.ndarray,
        C0: np.ndarray,
        lengths: np.ndarray | None,
        mask: np.ndarray | None,
        rates: dropout.Rates,
        rng: np.random.Generator | None,
        storage: recording.Storage | None = None,
    ) -> recording.Recording:
        """X (B, T, I) of any real dtype, h0 (L D, B, O), C0 (L D, B, H): a pass whose gradients are wanted.

        The states are kept. `storage` of an earlier recording of such an X is written over. ValueError for
        a net of small weights.
        """
        check_gradients_exist(self.precision, self.dtype)
        return recording.record(
            self.cells, self.architecture, self.dtype, X, h0, C0, lengths, mask, rates, rng, storage
        )

    def copy(self) -> Self:
        """A net of its own that shares the weights until either one's are set."""
        net = type(self).__new__(type(self))
        net.architecture, net.dtype, net.isa, net.cells = self.architecture, self.dtype, self.isa, self.cells
        net.precision = self.precision
        net.edition = Edition()
        return net

    def quantized(self, precision: str | None) -> Net:
        """A net of these weights in another precision, None for that of `dtype`."""
        return Net(self.parts()._replace(precision=precision), self.backend)

    def on_isa(self, isa: str) -> Self:
        """A copy of this net that runs on another instruction set of this CPU."""
        net = self.copy()
        net.isa = isa
        net._store(self.parts().weights, aligned_zeros)
        return net

    def __copy__(self) -> Self:
        return self.copy()

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self.copy()

    # Packed weights belong to one machine's ISA, so that a pickle holds NumPy arrays.

    def __getstate__(self) -> dict[str, Any]:
        return {
            "architecture": self.architecture._asdict(),
            "dtype": self.dtype,
            "backend": self.backend,
            "precision": self.precision,
            "weights": [tuple(weights) for weights in self.parts().weights],
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        precision = state.get("precision")  # which older pickles lack
        kind = Int8Weights if precision == "int8" else Weights
        weights = [kind(*arrays) for arrays in state["weights"]]
        architecture = Architecture(**state["architecture"])
        Net.__init__(self, Parts(weights, architecture, state["dtype"], precision), state["backend"])

    def describe(self, name: str) -> str:
        """The call of the class `name` that makes such a net."""
        sizes = [str(self.architecture.input_size), str(self.architecture.hidden_size)]
        options = [f"{key}={value!r}" for key, value in self.architecture.changed_arguments().items()]
        options += [f"dtype={self.dtype.name}"]
        options += [f"precision={self.precision!r}"] if self.precision is not None else []
        options += [] if self.isa is not None else [f"backend={self.backend!r}"]
        return f"{name}({', '.join(sizes + options)})"

    def __repr__(self) -> str:
        return self.describe(type(self).__name__)
