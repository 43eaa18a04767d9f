"""The chain of layers of an RTNeural model, and the LSTMs in it.

Shapes: I input, H hidden.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..errors import FormatError
from .bounded_json import Row, array_of, items

LSTM, GRU = "lstm", "gru"
MOST_LISTED = 10
# Layers that compute each step from this one and a few before it.
FEED_FORWARD = {
    "activation",
    "batchnorm",
    "batchnorm2d",
    "conv1d",
    "conv2d",
    "dense",
    "prelu",
    "time-distributed-dense",
}
# What RTNeural's LSTM computes whatever the file says; Keras's default is written as either.
ACTIVATIONS = (None, "", "tanh")


class Layer(NamedTuple):
    """One layer as the file has it."""

    place: int  # among all layers
    kind: str
    name: str
    weights: list[Any]  # `Row`, or lists of such
    description: dict[str, Any]


class Chain:
    """The layers of a file, each of which takes what the one before gives."""

    def __init__(self, where: str, model: dict[str, Any]) -> None:
        self.where, self._model = where, model
        found = model["layers"]
        if isinstance(found, Row) and found.is_empty:
            found = []
        if not isinstance(found, list):
            raise FormatError(f"{where}: 'layers' is no list")
        self.layers = [self._layer(place, one) for place, one in enumerate(found)]
        self.lstms = [one for one in self.layers if one.kind == LSTM]

    def _layer(self, place: int, found: Any) -> Layer:
        where = f"{self.where}: layer {place}"
        if not isinstance(found, dict) or not isinstance(found.get("type"), str):
            raise FormatError(f"{where} is no object with a 'type'")
        name, weights = found.get("name"), found.get("weights", [])
        if isinstance(weights, Row):
            weights = [] if weights.is_empty else [weights]
        if not isinstance(weights, list):
            raise FormatError(f"{where}: 'weights' is no list")
        return Layer(place, found["type"], name if isinstance(name, str) else "", weights, found)

    def left_out(self) -> list[Layer]:
        """The layers that are no LSTM and not without effect."""
        return [one for one in self.layers if one.kind != LSTM and not _is_skipped(one)]

    def state(self, which: str | int | None) -> dict[str, np.ndarray]:
        """The state dict of the LSTM picked, or of all of them as the layers of one net."""
        if not self.lstms:
            others = ", ".join(dict.fromkeys(f"{one.kind!r:.50}" for one in self.layers[:MOST_LISTED]))
            raise FormatError(f"{self.where} has no LSTM layer; its layers are {others or 'none'}")
        picked = self._all() if which is None else [self._picked(which)]
        state: dict[str, np.ndarray] = {}
        for k, layer in enumerate(picked):
            state |= self._arrays(layer, k)
        return state

    def _picked(self, which: str | int) -> Layer:
        """The LSTM of this number among the LSTMs, or of this name."""
        if isinstance(which, int):
            if not -len(self.lstms) <= which < len(self.lstms):
                raise FormatError(f"{self.where} has no LSTM layer of number {which}; {self._listed()}")
            return self.lstms[which]
        named = [one for one in self.lstms if one.name == which and which]
        if len(named) != 1:
            raise FormatError(f"{self.where} has {len(named)} LSTM layers {which!r}; {self._listed()}")
        return named[0]

    def _all(self) -> list[Layer]:
        """All LSTMs, if they are the layers of one net and nothing else is recurrent."""
        for one in self.layers:
            if one.kind == GRU or (one.kind not in (LSTM, *FEED_FORWARD) and one.weights):
                what = "a GRU" if one.kind == GRU else f"{one.kind!r:.50}, which may be recurrent"
                raise FormatError(
                    f"{self.where} has other recurrent layers, layer {one.place} is {what}; pick an LSTM by "
                    f"layer=: {self._listed()}"
                )
        between = self.layers[self.lstms[0].place : self.lstms[-1].place]
        other = next((one for one in between if one.kind != LSTM and not _is_skipped(one)), None)
        units = [self._shapes(one)[1] for one in self.lstms]
        if other is not None or len(set(units)) > 1:
            why = f"{other.kind!r:.50} is between them" if other else "they differ in units"
            raise FormatError(
                f"{self.where} has {len(self.lstms)} LSTM layers that are not one net, since {why}; pick one "
                f"by layer=: {self._listed()}"
            )
        return self.lstms

    def _listed(self) -> str:
        """The LSTMs by number and name, with their places."""
        described = [
            f"{number} ({(repr(one.name[:50]) + ', ') if one.name else ''}layer {one.place} of the file)"
            for number, one in enumerate(self.lstms[:MOST_LISTED])
        ]
        rest = len(self.lstms) - MOST_LISTED
        return "there are " + ", ".join(described) + (f" and {rest} more" if rest > 0 else "")

    # One LSTM

    def _shapes(self, layer: Layer) -> tuple[int, int]:
        """I and H by the number of lists of the two matrices."""
        where = f"{self.where}: layer {layer.place}"
        activation = layer.description.get("activation")
        if activation not in ACTIVATIONS:
            raise FormatError(
                f"{where} is an LSTM with the activation {activation!r:.50}, but RTNeural's have tanh alone"
            )
        if len(layer.weights) not in (2, 3):
            raise FormatError(
                f"{where} has {len(layer.weights)} weights, but an LSTM has a kernel, a recurrent kernel and "
                "perhaps a bias"
            )
        sizes = [len(one) if isinstance(one, list) else 0 for one in layer.weights[:2]]
        for told, size, what in (
            (layer.description.get("shape"), sizes[1], "'shape'"),
            (self._model.get("in_shape") if layer.place == 0 else None, sizes[0], "'in_shape'"),
        ):
            if told is None:
                continue
            try:
                *_, last = items(told)
            except ValueError as error:
                raise FormatError(f"{where}: {what} {error}") from error
            if isinstance(last, bool) or last != size:
                raise FormatError(f"{where}: {what} ends in {last!r:.50}, but the weights are of {size}")
        return sizes[0], sizes[1]

    def _arrays(self, layer: Layer, k: int) -> dict[str, np.ndarray]:
        """weight_ih (4H, I), weight_hh (4H, H) and biases (4H,) of layer k of a net."""
        inputs, units = self._shapes(layer)
        where = f"{self.where}: layer {layer.place}"
        expected = {
            "kernel": (inputs, 4 * units),
            "recurrent kernel": (units, 4 * units),
            "bias": (4 * units,),
        }
        arrays = []
        for (name, shape), value in zip(expected.items(), layer.weights, strict=False):
            arrays.append(array_of(f"{where}: the {name}", value))
            if arrays[-1].shape != shape or not units or not inputs:
                raise FormatError(f"{where}: the {name} has shape {arrays[-1].shape}, but must have {shape}")
        bias = arrays[2] if len(arrays) == 3 else np.zeros(4 * units, arrays[0].dtype)
        return {
            f"weight_ih_l{k}": np.ascontiguousarray(arrays[0].T),
            f"weight_hh_l{k}": np.ascontiguousarray(arrays[1].T),
            f"bias_ih_l{k}": bias,
            f"bias_hh_l{k}": np.zeros_like(bias),
        }


def _is_skipped(layer: Layer) -> bool:
    """Whether a layer does nothing, or RTNeural passes it over: it knows no type for Keras's Dropout."""
    if layer.kind == "activation":
        return layer.description.get("activation") in (None, "")
    return layer.kind not in (LSTM, GRU, *FEED_FORWARD) and not layer.weights
