"""One layer and direction of a net, seen as the teaching class's arrays.

Shapes: I input of the layer, H hidden, O features of h.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from .core import weights
from .core.checks import exact_array, real_array
from .core.net import Net
from .core.typing import ArrayProperty, Floats
from .core.weights import Weights


def _matrix_property(gate: str, name: str) -> ArrayProperty:
    """W of one gate over [h, x], (H, O + I)."""

    def get(layer: Layer) -> np.ndarray:
        return weights.gate_matrix(layer._weights(), gate)

    def set_(layer: Layer, value: ArrayLike) -> None:
        shape = (layer.hidden_size, layer.state_size + layer.input_size)
        matrix = exact_array(name, value, shape, layer._net.dtype)
        layer._change(lambda own: weights.with_gate_matrix(own, gate, matrix))

    return ArrayProperty(get, set_, doc=f"W_{gate} over [h, x]: (H, O + I). Read-only; assign to set it.")


def _column(layer: Layer, name: str, value: ArrayLike) -> np.ndarray:
    """`value`, (H, 1) or (H,), as a new (H, 1) array."""
    column = real_array(name, value)
    if column.shape == (layer.hidden_size,):
        column = column[:, np.newaxis]
    return exact_array(name, column, (layer.hidden_size, 1), layer._net.dtype)


def _bias_property(gate: str, name: str) -> ArrayProperty:
    """b of one gate, (H, 1)."""

    def get(layer: Layer) -> np.ndarray:
        return weights.gate_bias(layer._weights(), gate)

    def set_(layer: Layer, value: ArrayLike) -> None:
        if not layer._net.architecture.bias:
            raise ValueError(f"{name} cannot be set: this LSTM was made with bias=False")
        column = _column(layer, name, value)
        layer._change(lambda own: weights.with_gate_bias(own, gate, column))

    return ArrayProperty(get, set_, doc=f"b_{gate}: (H, 1). Read-only; assign (H, 1) or (H,) to set it.")


def _peephole_property(gate: str, name: str) -> ArrayProperty:
    """p of one gate, (H, 1)."""

    def get(layer: Layer) -> np.ndarray:
        return weights.gate_peephole(layer._weights(), gate)

    def set_(layer: Layer, value: ArrayLike) -> None:
        if not layer._net.architecture.peephole:
            raise ValueError(f"{name} cannot be set: this LSTM was made with peephole=False")
        column = _column(layer, name, value)
        layer._change(lambda own: weights.with_gate_peephole(own, gate, column))

    return ArrayProperty(get, set_, doc=f"p_{gate}: (H, 1). Read-only; assign (H, 1) or (H,) to set it.")


class Layer:
    """The weights of one layer and direction of a net; what is set here is set in the net.

    Made by `LSTM.layers`. What is read is a read-only copy, so that an edit in place raises instead of
    being lost.

    Attributes
    ----------
    Wf, Wi, WC, Wo : numpy.ndarray
        Weights over [h, x], (H, O + I); forget, input, candidate and output gate. I is the layer's
        own input: of a second layer, what the first one gives.
    bf, bi, bC, bo : numpy.ndarray
        Biases, (H, 1).
    pf, pi, po : numpy.ndarray
        Peepholes, (H, 1); zeros where the net has none.
    Whr : numpy.ndarray or None
        Projection of the cell's output to h, (O, H); None where the net has none.

    Examples
    --------
    >>> from lstm import LSTM
    >>> net = LSTM(3, 5, num_layers=2, rng=0)
    >>> net.layers[1].Wf.shape
    (5, 10)
    """

    __slots__ = ("_cell", "_net")

    def __init__(self, net: Net, cell: int) -> None:
        self._net = net
        self._cell = cell

    @property
    def input_size(self) -> int:
        """Features of the layer's input, I."""
        return self._net.architecture.cell_input_size(self._cell)

    @property
    def hidden_size(self) -> int:
        """Features of C, H."""
        return self._net.architecture.hidden_size

    @property
    def state_size(self) -> int:
        """Features of h, O."""
        return self._net.architecture.state_size

    Wf = _matrix_property("f", "Wf")
    Wi = _matrix_property("i", "Wi")
    WC = _matrix_property("g", "WC")
    Wo = _matrix_property("o", "Wo")
    bf = _bias_property("f", "bf")
    bi = _bias_property("i", "bi")
    bC = _bias_property("g", "bC")
    bo = _bias_property("o", "bo")
    pf = _peephole_property("f", "pf")
    pi = _peephole_property("i", "pi")
    po = _peephole_property("o", "po")

    @property
    def Whr(self) -> Floats | None:
        """W_hr, the projection: (O, H), or None. Read-only; assign to set it."""
        projection = self._weights().projection
        if projection is not None:
            projection = projection.copy()
            projection.flags.writeable = False
        return projection

    @Whr.setter
    def Whr(self, value: ArrayLike) -> None:
        if not self._net.architecture.proj_size:
            raise ValueError("Whr cannot be set: this LSTM was made with proj_size=0")
        shape = (self.state_size, self.hidden_size)
        projection = exact_array("Whr", value, shape, self._net.dtype)
        self._change(lambda own: own._replace(projection=projection))

    def _weights(self) -> Weights:
        """The weights as NumPy arrays; to be read only."""
        return self._net.cell_weights(self._cell)

    def _change(self, change: Callable[[Weights], Weights]) -> None:
        self._net.change_cell_weights(self._cell, change)

    def __repr__(self) -> str:
        return f"<layer {self._net.architecture.suffix(self._cell)[1:]} of {self._net.describe('LSTM')}>"
