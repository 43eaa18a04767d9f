"""Models of RTNeural as its exporter for Keras writes them: the JSON of a chain of layers.

Shapes: I input, H hidden.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lstm import LSTM


def lstm_layer(net: LSTM, layer: int = 0, **more: Any) -> dict[str, Any]:
    """One layer of a net: kernel (I, 4H), recurrent kernel (H, 4H), bias (4H,)."""
    state = net.state_dict()
    weights = [state[f"weight_{kind}_l{layer}"].T.tolist() for kind in ("ih", "hh")]
    if net.bias:
        weights.append(state[f"bias_ih_l{layer}"].tolist())
    shape = [None, None, net.hidden_size]
    return {"type": "lstm", "activation": "tanh", "shape": shape, "weights": weights, **more}


def other_layer(kind: str, *shapes: tuple[int, ...], **more: Any) -> dict[str, Any]:
    """A layer of another type, of random weights of these shapes."""
    rng = np.random.default_rng(len(kind))
    weights = [rng.uniform(-1, 1, shape).astype(np.float32).tolist() for shape in shapes]
    return {"type": kind, "activation": "", "shape": [None, None, 1], "weights": weights, **more}


def model(*layers: dict[str, Any], inputs: int = 3) -> dict[str, Any]:
    return {"in_shape": [None, None, inputs], "layers": list(layers)}


def dense(inputs: int = 5) -> dict[str, Any]:
    return other_layer("dense", (inputs, 1), (1,))
