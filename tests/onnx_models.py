"""ONNX models made by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support import assert_same_bits

from lstm import LSTM

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

TOLERANCE = {np.dtype(np.float32): 2e-6, np.dtype(np.float64): 1e-12}
H, I = 4, 3  # noqa: E741


def assert_same_net(net: LSTM, other: LSTM) -> None:
    assert repr(net) == repr(other)
    for name, array in net.state_dict().items():
        assert_same_bits(other.state_dict()[name], array, name)


def weights(seed: int = 0, directions: int = 1) -> dict[str, np.ndarray]:
    """Distinct W (D, 4H, I), R (D, 4H, H), B (D, 8H), P (D, 3H)."""
    rng = np.random.default_rng(seed)
    shapes = {"W": (4 * H, I), "R": (4 * H, H), "B": (8 * H,), "P": (3 * H,)}
    return {name: rng.uniform(-1, 1, (directions, *s)).astype(np.float32) for name, s in shapes.items()}


def expected_net(arrays: dict[str, np.ndarray], **options: Any) -> LSTM:
    """The net of ONNX's arrays, gate by gate, through the teaching class's arrays."""
    net = LSTM(I, H, dtype=np.float32, peephole="P" in arrays, bias="B" in arrays, **options)
    (layer,) = net.layers
    for place, gate in enumerate("iofC"):
        rows = slice(place * H, (place + 1) * H)
        setattr(layer, "W" + gate, np.concatenate([arrays["R"][0, rows], arrays["W"][0, rows]], axis=1))
        if "B" in arrays:
            both = arrays["B"][0, rows].astype(np.float64) + arrays["B"][0, 4 * H :][rows]
            setattr(layer, "b" + gate, both)
    if "P" in arrays:
        for place, gate in enumerate("iof"):
            setattr(layer, "p" + gate, arrays["P"][0, place * H : (place + 1) * H])
    return net


def lstm_node(inputs: list[str] | None = None, **attributes: Any) -> Any:
    names = ["X", "W", "R", "B", "", "", "", "P"] if inputs is None else inputs
    return helper.make_node("LSTM", names, ["Y"], name="node", **{"hidden_size": H, **attributes})


def model(
    nodes: list[Any], arrays: dict[str, np.ndarray] | None = None, opset: int = 14, **others: Any
) -> Any:
    tensors = [numpy_helper.from_array(a, n) for n, a in (weights() if arrays is None else arrays).items()]
    inputs = [helper.make_tensor_value_info("X", TensorProto.FLOAT, ["t", "b", I])]
    outputs = [helper.make_tensor_value_info("Y", TensorProto.FLOAT, None)]
    graph = helper.make_graph(nodes, "graph", inputs, outputs, tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], **others)


def chain(*steps: tuple[Any, ...]) -> list[Any]:
    """Nodes from Y to v, each (operator, attributes, further inputs)."""
    nodes, given = [], "Y"
    for k, (operator, attributes, *others) in enumerate(steps):
        made = "v" if k == len(steps) - 1 else f"step{k}"
        nodes.append(helper.make_node(operator, [given, *others], [made], **attributes))
        given = made
    return nodes


def tensor_of(graph: Any, name: str) -> Any:
    return next(tensor for tensor in graph.initializer if tensor.name == name)
