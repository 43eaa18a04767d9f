"""A net as an ONNX model of one LSTM node a layer.

Shapes: B batch, T time, I input, H hidden, L layers, D directions.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from ..writing import replacing
from .model import library
from .node import PEEPHOLES

if TYPE_CHECKING:
    from ... import model

ONNX_FROM_OURS = [0, 3, 1, 2]  # i, f, g, o -> i, o, f, c
OPSET = 14
IR_VERSION = 8
LARGEST = (1 << 31) - (1 << 20)  # bytes of weights: what holds an ONNX model may not take 2 GB


def save(net: model.LSTM, path: str | os.PathLike[str]) -> None:
    """Write a model of one LSTM node a layer; an old file is replaced whole.

    X (B, T, I), h0 and C0 (L D, B, H) -> Y (B, T, D H), h_n and C_n (L D, B, H), batch and time open.
    """
    onnx = library()
    if net.proj_size:
        raise ValueError(f"ONNX's LSTM has no projection, but this one has proj_size={net.proj_size}")
    size = sum(array.nbytes for array in net.state_dict().values())
    if size > LARGEST:
        raise ValueError(f"the weights take {size} bytes, but an .onnx file holds less than 2 GB")
    content = _built(onnx, net).SerializeToString()
    with replacing(path) as partial, open(partial, "wb") as file:
        file.write(content)


def _built(onnx: Any, net: model.LSTM) -> Any:
    """The ModelProto of a net."""
    helper = onnx.helper
    layers, directions = net.num_layers, 2 if net.bidirectional else 1
    nodes = [helper.make_node("Transpose", ["X"], ["features_0"], perm=[1, 0, 2])]
    arrays = {"side_by_side": np.array([0, 0, -1])}
    if layers > 1:
        arrays["layers"] = np.full(layers, directions)
        for state in ("h0", "C0"):
            parts = [f"{state}_{k}" for k in range(layers)]
            nodes.append(helper.make_node("Split", [state, "layers"], parts, axis=0))
    for layer in range(layers):
        arrays |= _layer_arrays(net, layer)
        nodes += _layer_nodes(helper, net, layer)
    nodes.append(helper.make_node("Transpose", [f"features_{layers}"], ["Y"], perm=[1, 0, 2]))
    if layers > 1:
        for state in ("h_n", "C_n"):
            parts = [f"{state}_{k}" for k in range(layers)]
            nodes.append(helper.make_node("Concat", parts, [state], axis=0))
    real = helper.np_dtype_to_tensor_dtype(net.dtype)
    state_shape = [layers * directions, "batch", net.hidden_size]
    given = {"X": ["batch", "time", net.input_size], "h0": state_shape, "C0": state_shape}
    results = {"Y": ["batch", "time", directions * net.hidden_size], "h_n": state_shape, "C_n": state_shape}
    graph = helper.make_graph(
        nodes,
        "lstm",
        [helper.make_tensor_value_info(name, real, shape) for name, shape in given.items()],
        [helper.make_tensor_value_info(name, real, shape) for name, shape in results.items()],
        [onnx.numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    opsets = [helper.make_opsetid("", OPSET)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="lstm-native")


def _layer_arrays(net: model.LSTM, layer: int) -> dict[str, np.ndarray]:
    """W (D, 4H, I), R (D, 4H, H), B (D, 8H) and P (D, 3H) of one layer, by the names in the model."""
    state = net.state_dict()
    suffixes = [f"_l{layer}", f"_l{layer}_reverse"][: 2 if net.bidirectional else 1]

    def stacked(kind: str, order: list[int]) -> np.ndarray:
        parts = [state[kind + suffix] for suffix in suffixes]
        return np.stack([p.reshape(len(order), net.hidden_size, -1)[order].reshape(p.shape) for p in parts])

    arrays = {
        f"W_{layer}": stacked("weight_ih", ONNX_FROM_OURS),
        f"R_{layer}": stacked("weight_hh", ONNX_FROM_OURS),
    }
    if net.bias:
        both = [stacked(kind, ONNX_FROM_OURS) for kind in ("bias_ih", "bias_hh")]
        arrays[f"B_{layer}"] = np.concatenate(both, axis=1)
    if net.peephole:
        arrays[f"P_{layer}"] = stacked("weight_ch", PEEPHOLES)
    return arrays


def _layer_nodes(helper: Any, net: model.LSTM, layer: int) -> list[Any]:
    """features_k (T, B, I) -> features_k+1 (T, B, D H), h_n and C_n of one layer."""
    ending = f"_{layer}" if net.num_layers > 1 else ""
    inputs = [f"features_{layer}", f"W_{layer}", f"R_{layer}", f"B_{layer}" if net.bias else "", ""]
    inputs += [f"h0{ending}", f"C0{ending}", *([f"P_{layer}"] if net.peephole else [])]
    direction = "bidirectional" if net.bidirectional else "reverse" if net.reverse else "forward"
    attributes: dict[str, Any] = {"hidden_size": net.hidden_size, "direction": direction}
    if net.clip is not None:
        attributes["clip"] = net.clip
    if net.input_forget:
        attributes["input_forget"] = 1
    if net.activations is not None:
        functions = [a if isinstance(a, tuple) else (a,) for a in net.activations]
        attributes["activations"] = [name for name, *_ in functions]
        for place, which in ((1, "alpha"), (2, "beta")):
            if values := [f[place] for f in functions if len(f) > place]:
                attributes[f"activation_{which}"] = values
    name = f"lstm_{layer}"
    return [
        helper.make_node(
            "LSTM", inputs, [f"sides_{layer}", f"h_n{ending}", f"C_n{ending}"], name=name, **attributes
        ),
        helper.make_node("Transpose", [f"sides_{layer}"], [f"rows_{layer}"], perm=[0, 2, 1, 3]),
        helper.make_node("Reshape", [f"rows_{layer}", "side_by_side"], [f"features_{layer + 1}"]),
    ]
