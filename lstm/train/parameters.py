"""All weights of a net and its head in one array, their gradient in another: what an optimizer works on.

Shapes: N weights.
"""

from __future__ import annotations

import numpy as np

from ..core.gradients import zero_sums
from ..core.weights import Weights
from ..model import LSTM
from ..tape import Gradients
from .heads import LinearHead


class Parameters:
    """The weights of a net and its head as one flat array.

    A cell's two biases of PyTorch are one here, as the net keeps it.

    Parameters
    ----------
    net : LSTM
    head : LinearHead

    Attributes
    ----------
    values, gradient : numpy.ndarray
        (N,), of the net's dtype. `store` gives the values to net and head.
    net_gradients : Gradients
        The net's part of `gradient`, to be given to ``tape.backward(add_to=...)``.
    head_weight_gradient, head_bias_gradient : numpy.ndarray
        The head's part, for `LinearHead.backward`.

    Examples
    --------
    >>> import numpy as np
    >>> from lstm import LSTM
    >>> from lstm.train import LinearHead, Parameters
    >>> net = LSTM(3, 5, rng=0)
    >>> parameters = Parameters(net, LinearHead(net, rng=0))
    >>> parameters.values.shape  # 4 H (I + H + 1) of the net, 5 + 1 of the head
    (186,)
    >>> tape = net.record(np.ones((8, 20, 3)))
    >>> g = tape.backward(tape.Y, add_to=parameters.net_gradients)
    >>> parameters.values -= 0.01 * parameters.gradient
    >>> parameters.store()
    """

    def __init__(self, net: LSTM, head: LinearHead) -> None:
        head.check(net)
        self.net, self.head = net, head
        architecture = net.core.architecture
        shapes = zero_sums(architecture, net.dtype, None)
        kept = [
            array
            for one in shapes
            for name, array in one._asdict().items()
            if array is not None and (architecture.bias or name != "bias")
        ]
        size = sum(array.size for array in kept) + head.weight.size + head.bias.size
        self.values, self.gradient = np.zeros(size, net.dtype), np.zeros(size, net.dtype)
        self._weights, self._head_weight, self._head_bias = self._views(self.values, shapes)
        sums, self.head_weight_gradient, self.head_bias_gradient = self._views(self.gradient, shapes)
        self.net_gradients = Gradients(architecture, sums, None)
        self.read()

    def _views(self, flat: np.ndarray, shapes: list[Weights]) -> tuple[list[Weights], np.ndarray, np.ndarray]:
        """(N,) -> arrays of these shapes within it, one after the other, and the head's two."""
        place = 0

        def view(array: np.ndarray) -> np.ndarray:
            nonlocal place
            place += array.size
            return flat[place - array.size : place].reshape(array.shape)

        if self.net.core.architecture.bias:
            cells = [one.map(view) for one in shapes]
        else:  # zeros, which no optimizer sees
            cells = [one._replace(bias=one.bias[:0]).map(view) for one in shapes]
            zeros = [np.zeros_like(one.bias) for one in shapes]
            cells = [one._replace(bias=bias) for one, bias in zip(cells, zeros, strict=True)]
        return cells, view(self.head.weight), view(self.head.bias)

    def read(self) -> None:
        """Take the values from net and head."""
        for mine, theirs in zip(self._weights, self.net.core.parts().full_weights(), strict=True):
            mine.take(theirs)
        self._head_weight[...], self._head_bias[...] = self.head.weight, self.head.bias

    def store(self) -> None:
        """Give the values to net and head."""
        self.net.core.take(self._weights)
        self.head.weight[...], self.head.bias[...] = self._head_weight, self._head_bias

    # Copies of a view are no views: a copy or a pickle makes them anew.

    def __getstate__(self) -> tuple[LSTM, LinearHead, np.ndarray, np.ndarray]:
        return self.net, self.head, self.values, self.gradient

    def __setstate__(self, state: tuple[LSTM, LinearHead, np.ndarray, np.ndarray]) -> None:
        net, head, values, gradient = state
        Parameters.__init__(self, net, head)
        self.values[...], self.gradient[...] = values, gradient
