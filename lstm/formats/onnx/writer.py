"""A net as an ONNX model of one LSTM node a layer, of int8 weights ONNX Runtime's DynamicQuantizeLSTM.

Shapes: B batch, T time, I input, H hidden, L layers, D directions.
"""

from __future__ import annotations

import io
import os
from typing import Any

import numpy as np

from ...core.checks import cast
from ...core.precision import Int8Rows
from ...core.weights import Parts
from .model import library
from .node import GATES_TO_ONNX, INPUTS, PEEPHOLES_TO_ONNX, QUANTIZED_INPUTS

OPSET = 14
IR_VERSION = 8
QUANTIZED_DOMAIN = "com.microsoft"
LACKING = ("proj_size", "merge", "cell_clip", "proj_clip")
LARGEST = (1 << 31) - (1 << 20)  # bytes of weights: what holds an ONNX model may not take 2 GB


def write(parts: Parts, path: str | os.PathLike[str]) -> None:
    """Write a model of one node a layer.

    X (B, T, I), h0 and C0 (L D, B, H) -> Y (B, T, D H), h_n and C_n (L D, B, H), batch and time open.
    """
    onnx = library()
    architecture = parts.architecture
    for name, value in architecture.changed_arguments().items():
        if name in LACKING:
            raise ValueError(f"ONNX's LSTM has no {name}, but this one has {name}={value!r}")
    if parts.precision not in (None, "int8"):
        raise ValueError(
            f"ONNX Runtime has no LSTM of {parts.precision}, but this one has precision={parts.precision!r}; "
            "net.quantize(None) has the same values in float32"
        )
    arrays: dict[str, np.ndarray] = {}
    for layer in range(architecture.num_layers):
        arrays |= _layer_arrays(parts, layer)
    size = sum(array.nbytes for array in arrays.values())
    if size > LARGEST:
        raise ValueError(f"the weights take {size} bytes, but an .onnx file holds less than 2 GB")
    model = _built(onnx, parts)
    with open(path, "wb") as file:
        _write_model(file, onnx, model, arrays)


def _write_model(file: io.BufferedWriter, onnx: Any, model: Any, weights: dict[str, np.ndarray]) -> None:
    """Write a ModelProto whose graph has these arrays as initializers, too.

    Array by array, from where it is: the library copies each three times, and no signal is heard meanwhile,
    0.5 s for 128 MB (Intel Xeon).
    """
    heads = []
    for name, array in weights.items():
        kind = onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
        tensor = onnx.TensorProto(name=name, dims=array.shape, data_type=kind).SerializeToString()
        values = _key(onnx.TensorProto.RAW_DATA_FIELD_NUMBER, array.nbytes)
        size = len(tensor) + len(values) + array.nbytes
        heads.append(_key(onnx.GraphProto.INITIALIZER_FIELD_NUMBER, size) + tensor + values)
    graph = model.graph.SerializeToString()
    model.ClearField("graph")
    size = len(graph) + sum(map(len, heads)) + sum(array.nbytes for array in weights.values())
    file.write(model.SerializeToString())
    file.write(_key(onnx.ModelProto.GRAPH_FIELD_NUMBER, size) + graph)
    for head, array in zip(heads, weights.values(), strict=True):
        file.write(head)
        file.write(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).data)


def _key(field: int, size: int) -> bytes:
    """What stands before `size` bytes of a protobuf field: its number, its wire type 2, and the size."""
    found = bytearray()
    for value in (field << 3 | 2, size):
        while value > 0x7F:
            found.append(value & 0x7F | 0x80)
            value >>= 7
        found.append(value)
    return bytes(found)


def _built(onnx: Any, parts: Parts) -> Any:
    """The ModelProto of a net without its weights."""
    helper = onnx.helper
    architecture = parts.architecture
    layers, directions = architecture.num_layers, architecture.directions
    hidden_size = architecture.hidden_size
    nodes = [helper.make_node("Transpose", ["X"], ["features_0"], perm=[1, 0, 2])]
    arrays = {"side_by_side": np.array([0, 0, -1])}
    if layers > 1:
        arrays["layers"] = np.full(layers, directions)
        for state in ("h0", "C0"):
            each = [f"{state}_{k}" for k in range(layers)]
            nodes.append(helper.make_node("Split", [state, "layers"], each, axis=0))
    for layer in range(layers):
        nodes += _layer_nodes(helper, parts, layer)
    nodes.append(helper.make_node("Transpose", [f"features_{layers}"], ["Y"], perm=[1, 0, 2]))
    if layers > 1:
        for state in ("h_n", "C_n"):
            each = [f"{state}_{k}" for k in range(layers)]
            nodes.append(helper.make_node("Concat", each, [state], axis=0))
    real = helper.np_dtype_to_tensor_dtype(parts.dtype)
    state_shape = [layers * directions, "batch", hidden_size]
    inputs = {"X": ["batch", "time", architecture.input_size], "h0": state_shape, "C0": state_shape}
    outputs = {"Y": ["batch", "time", directions * hidden_size], "h_n": state_shape, "C_n": state_shape}
    graph = helper.make_graph(
        nodes,
        "lstm",
        [helper.make_tensor_value_info(name, real, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, real, shape) for name, shape in outputs.items()],
        [onnx.numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    opsets = [helper.make_opsetid("", OPSET)]
    if parts.precision is not None:
        opsets.append(helper.make_opsetid(QUANTIZED_DOMAIN, 1))
    return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="lstm-native")


def _layer_arrays(parts: Parts, layer: int) -> dict[str, np.ndarray]:
    """W (D, 4H, I), R (D, 4H, H), B (D, 8H) and P (D, 3H) of one layer, by the names in the model."""
    D, H = parts.architecture.directions, parts.architecture.hidden_size
    sides = [
        weights.map(lambda array: cast(array, parts.dtype, copy=False))
        for weights in parts.weights[layer * D : (layer + 1) * D]
    ]
    arrays: dict[str, np.ndarray] = {}
    for name, place in (("W", 0), ("R", 1)):
        arrays |= _matrices(name, layer, [one[place] for one in sides])
    if parts.architecture.bias:
        bias = np.stack([one.bias[GATES_TO_ONNX].reshape(4 * H) for one in sides])
        arrays[f"B_{layer}"] = np.concatenate([bias, np.zeros_like(bias)], axis=1)
    if parts.architecture.peephole:
        peepholes = [one.peephole[PEEPHOLES_TO_ONNX] for one in sides if one.peephole is not None]
        arrays[f"P_{layer}"] = np.stack(peepholes).reshape(D, 3 * H)
    return arrays


def _matrices(name: str, layer: int, sides: list[Any]) -> dict[str, np.ndarray]:
    """W or R of one layer: (D, 4H, K), of integers (D, K, 4H) with scales and zero points, (D, 4H)."""
    if not isinstance(sides[0], Int8Rows):
        stacked = np.stack([one[GATES_TO_ONNX] for one in sides])
        return {f"{name}_{layer}": stacked.reshape(len(sides), -1, stacked.shape[-1])}
    values = np.stack([one.values[GATES_TO_ONNX] for one in sides])
    scales = np.stack([one.scales[GATES_TO_ONNX].reshape(-1) for one in sides])
    turned = values.reshape(len(sides), -1, values.shape[-1]).swapaxes(1, 2)
    return {
        f"{name}_{layer}": np.ascontiguousarray(turned),
        f"{name}_scale_{layer}": scales,
        f"{name}_zero_point_{layer}": np.zeros(scales.shape, np.int8),
    }


def _layer_nodes(helper: Any, parts: Parts, layer: int) -> list[Any]:
    """features_k (T, B, I) -> features_k+1 (T, B, D H), h_n and C_n of one layer."""
    architecture = parts.architecture
    ending = f"_{layer}" if architecture.num_layers > 1 else ""
    inputs = [f"features_{layer}", f"W_{layer}", f"R_{layer}", f"B_{layer}" if architecture.bias else "", ""]
    inputs += [f"h0{ending}", f"C0{ending}"]
    operator, domain = "LSTM", ""
    if parts.precision is not None:
        operator, domain = "DynamicQuantizeLSTM", QUANTIZED_DOMAIN
        inputs += [f"P_{layer}" if architecture.peephole else ""]
        inputs += [f"{name}_{layer}" for name in QUANTIZED_INPUTS[len(INPUTS) :]]
    elif architecture.peephole:
        inputs += [f"P_{layer}"]
    direction = (
        "bidirectional" if architecture.bidirectional else "reverse" if architecture.reverse else "forward"
    )
    attributes: dict[str, Any] = {"hidden_size": architecture.hidden_size, "direction": direction}
    if architecture.clip is not None:
        attributes["clip"] = architecture.clip
    if architecture.input_forget:
        attributes["input_forget"] = 1
    if (forms := architecture.activation_forms()) is not None:
        functions = [form if isinstance(form, tuple) else (form,) for form in forms]
        attributes["activations"] = [name for name, *_ in functions]
        for place, which in ((1, "alpha"), (2, "beta")):
            if values := [f[place] for f in functions if len(f) > place]:
                attributes[f"activation_{which}"] = values
    name = f"lstm_{layer}"
    return [
        helper.make_node(
            operator,
            inputs,
            [f"sides_{layer}", f"h_n{ending}", f"C_n{ending}"],
            name=name,
            domain=domain,
            **attributes,
        ),
        helper.make_node("Transpose", [f"sides_{layer}"], [f"rows_{layer}"], perm=[0, 2, 1, 3]),
        helper.make_node("Reshape", [f"rows_{layer}", "side_by_side"], [f"features_{layer + 1}"]),
    ]
