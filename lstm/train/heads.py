"""The layer behind a net: its outputs, or its last state, to predictions.

Shapes: B batch, T time, O features of h, K features of an output step, P predictions, L layers,
D directions.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import _kernel
from ..core.checks import exact_array, generator, positive_size
from ..model import LSTM
from ..tape import Tape

LANES = {np.dtype(name): _kernel.lanes(_kernel.DEFAULT_ISA, name) for name in ("float32", "float64")}


def _whole_vectors(array: np.ndarray) -> np.ndarray:
    """(R, k, w) -> the same, or a copy with w rounded up to whole vectors: what products read."""
    lanes, width = LANES[array.dtype], array.shape[-1]
    if width % lanes == 0:
        return np.ascontiguousarray(array)
    padded = np.zeros((*array.shape[:-1], -(-width // lanes) * lanes), array.dtype)
    padded[..., :width] = array
    return padded


class LinearHead:
    """A linear layer over the net's last h, or over its output at every step.

    The last h of a bidirectional net is that of both directions, together as its outputs are: the forward one
    after the last step and the backward one after the first.

    Parameters
    ----------
    net : LSTM
        Whose sizes and dtype the head is made for.
    outputs : int
        P, at least 1.
    every_step : bool
        Whether there is a prediction at every step, instead of one after the last step.
    rng : None, int, sequence of int, or numpy.random.Generator
        Seed or source of the weights (SPEC 7), which are uniform within ``1 / sqrt(K)``; biases are 0.

    Attributes
    ----------
    weight, bias : numpy.ndarray
        (P, K) and (P,), of the net's dtype; to be written in place.

    Examples
    --------
    >>> import numpy as np
    >>> from lstm import LSTM
    >>> from lstm.train import LinearHead
    >>> net = LSTM(3, 5, rng=0)
    >>> head = LinearHead(net, 2, rng=0)
    >>> head.predict(net, np.ones((8, 20, 3))).shape
    (8, 2)
    """

    def __init__(self, net: LSTM, outputs: int = 1, *, every_step: bool = False, rng: Any = None) -> None:
        if not isinstance(net, LSTM):
            raise TypeError(f"net is a {type(net).__name__}, but must be an LSTM")
        architecture = net.core.architecture
        outputs = positive_size("outputs", outputs)
        bound = 1 / np.sqrt(architecture.output_size)
        drawn = generator(rng).uniform(-bound, bound, (outputs, architecture.output_size))
        self.weight = drawn.astype(net.dtype)
        self.bias = np.zeros(outputs, net.dtype)
        self.every_step = bool(every_step)
        self._directions, self._merge = architecture.directions, architecture.merge

    @property
    def outputs(self) -> int:
        """Predictions of a step, P."""
        return len(self.bias)

    def check(self, net: LSTM) -> None:
        """ValueError if the head was made for a net of other sizes or dtype."""
        architecture = net.core.architecture
        own = (self.weight.shape[1], self._directions, self._merge, self.weight.dtype)
        if own != (architecture.output_size, architecture.directions, architecture.merge, net.dtype):
            raise ValueError(
                f"the head takes {own[0]} features of {own[3]} of {own[1]} directions, "
                f"but the net is {net!r}: make it by LinearHead(net, ...)"
            )

    def features(self, Y: np.ndarray, h_n: np.ndarray) -> np.ndarray:
        """Y (B, T, K), h_n (L D, B, O) -> (B, T, K) or (B, K): what the head sees.

        A single sequence has no B.
        """
        if self.every_step:
            return Y
        last = h_n[-self._directions :]
        if self._merge == "concat":
            return np.concatenate(last, axis=-1)
        if self._merge == "mul":
            return np.asarray(last[0] * last[1])
        return np.asarray((last[0] + last[1]) * last.dtype.type(0.5 if self._merge == "mean" else 1))

    def forward(self, features: np.ndarray) -> np.ndarray:
        """(B, T, K) -> (B, T, P), or (B, K) -> (B, P); the bits of a row do not depend on the others."""
        rows = features.reshape(1, -1, features.shape[-1])
        sums = np.empty((rows.shape[1], self.outputs), self.bias.dtype)
        sums[...] = self.bias
        _kernel.add_products(rows, _whole_vectors(self.weight.T[np.newaxis]), sums)
        return sums.reshape(*features.shape[:-1], self.outputs)

    def backward(
        self,
        features: np.ndarray,
        derivative: np.ndarray,
        weight_gradient: np.ndarray,
        bias_gradient: np.ndarray,
    ) -> np.ndarray:
        """Go back from the derivative of a loss by the predictions to that by the features.

        Parameters
        ----------
        features, derivative : numpy.ndarray
            (B, T, K) and (B, T, P), or (B, K) and (B, P); a single sequence has no B.
        weight_gradient, bias_gradient : numpy.ndarray
            (P, K) and (P,), contiguous: those of the head's weights are added to them, row after row.

        Returns
        -------
        numpy.ndarray
            (B, T, K) or (B, K).
        """
        time = features.shape[-2] if self.every_step else 1
        rows = derivative.astype(self.weight.dtype, copy=False).reshape(-1, time, self.outputs)
        seen = _whole_vectors(features.reshape(-1, time, features.shape[-1]))
        _kernel.add_products(rows.transpose(0, 2, 1), seen, weight_gradient)
        ones = np.broadcast_to(np.ones(1, rows.dtype), (len(rows), 1, time))
        _kernel.add_products(ones, _whole_vectors(rows), bias_gradient[np.newaxis])
        d_features = np.zeros((len(rows) * time, features.shape[-1]), rows.dtype)
        weights = _whole_vectors(self.weight[np.newaxis])
        _kernel.add_products(rows.reshape(1, -1, self.outputs), weights, d_features)
        return d_features.reshape(features.shape)

    def starts(self, tape: Tape, d_features: np.ndarray) -> dict[str, Any]:
        """What `Tape.backward` starts from, as its arguments: ``dY`` or ``dh_n``.

        Parameters
        ----------
        tape : Tape
            Of the pass.
        d_features : numpy.ndarray
            (B, T, K) or (B, K), as `backward` returns it.
        """
        if self.every_step:
            return {"dY": d_features}
        h_n = tape.h_n
        dh_n = np.zeros_like(h_n)
        last = dh_n[-self._directions :]
        if self._merge == "concat":
            size = h_n.shape[-1]
            for direction in range(self._directions):
                last[direction] = d_features[..., direction * size : (direction + 1) * size]
        elif self._merge == "mul":
            last[0], last[1] = d_features * h_n[-1], d_features * h_n[-2]
        else:
            last[...] = d_features * last.dtype.type(0.5 if self._merge == "mean" else 1)
        return {"dh_n": dh_n}

    def predict(self, net: LSTM, X: Any, *, lengths: Any = None, mask: Any = None) -> np.ndarray:
        """Run net and head.

        Parameters
        ----------
        net : LSTM
            For which the head was made.
        X, lengths, mask : array_like
            As for `LSTM.forward_sequence`.

        Returns
        -------
        numpy.ndarray
            (B, T, P) or (B, P), of the net's dtype; a single sequence has no B.
        """
        self.check(net)
        Y, (h_n, _) = net.forward_sequence(X, lengths=lengths, mask=mask, return_state=True)
        return self.forward(self.features(Y, h_n))

    def set(self, weight: np.ndarray, bias: np.ndarray) -> None:
        """Overwrite the weights, (P, K) and (P,); ValueError if they do not fit."""
        new = exact_array("head.weight", weight, self.weight.shape, self.weight.dtype)
        self.bias[...] = exact_array("head.bias", bias, self.bias.shape, self.bias.dtype)
        self.weight[...] = new

    def copy(self) -> LinearHead:
        """A head of its own with the same weights."""
        other = LinearHead.__new__(LinearHead)
        vars(other).update(vars(self), weight=self.weight.copy(), bias=self.bias.copy())
        return other

    def __repr__(self) -> str:
        return (
            f"<linear head of {self.outputs} outputs {'at every step' if self.every_step else 'at the end'}>"
        )
