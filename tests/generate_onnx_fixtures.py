"""ONNX models as exporters write them, with the outputs of PyTorch or ONNX Runtime: tests/data/onnx.

    python tests/generate_onnx_fixtures.py

Needs torch, onnx, onnxscript and onnxruntime. recorded.npz holds for every model X (B, T, I), states h0 and
C0 (L D, B, H) where the model takes some, and Y (B, T, D H), h_n, C_n; of PyTorch's nets the state dict too.
The graphs named tf2onnx are put together here as tf2onnx 1.17 leaves Keras's layers, which takes TensorFlow
to run.
"""

from __future__ import annotations

import io
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import torch
from onnx import TensorProto, helper, numpy_helper

FOLDER = Path(__file__).parent / "data" / "onnx"
I, H, B, T = 3, 4, 2, 5  # noqa: E741
OPSETS = {"opset_imports": [helper.make_opsetid("", 15)], "ir_version": 8}

# PyTorch's exporters


class Net(torch.nn.Module):
    """An nn.LSTM whose states are inputs of the model, or zeros."""

    def __init__(self, with_states: bool, **options: Any) -> None:
        super().__init__()
        self.lstm = torch.nn.LSTM(I, H, **options)
        self.with_states = with_states

    def forward(self, X: torch.Tensor, h0: Any = None, C0: Any = None) -> Any:
        return self.lstm(X, (h0, C0) if self.with_states else None)


def by_torchscript(net: Net, given: Any, **options: Any) -> Any:
    """The model of the exporter that traces."""
    file = io.BytesIO()
    names = ["X", "h0", "C0"][: len(given)]
    options = {"opset_version": 17, **options}
    torch.onnx.export(net, given, file, dynamo=False, input_names=names, **options)
    return onnx.load_from_string(file.getvalue())


def by_dynamo(net: Net, given: Any, is_dynamic: bool = False, **options: Any) -> Any:
    """The model of the exporter of torch.export."""
    if is_dynamic:
        batch, time = torch.export.Dim("batch"), torch.export.Dim("time")
        first, second = (batch, time) if net.lstm.batch_first else (time, batch)
        options["dynamic_shapes"] = ({0: first, 1: second},)
    return torch.onnx.export(net, given, dynamo=True, verbose=False, **options).model_proto


TORCH = {
    "torchscript_plain": (by_torchscript, False, {}, {"dynamic_axes": {"X": {0: "time", 1: "batch"}}}),
    "torchscript_stack": (by_torchscript, True, {"num_layers": 2, "bidirectional": True}, {}),
    "torchscript_opset9": (
        by_torchscript,
        False,
        {"num_layers": 2, "batch_first": True, "bias": False, "dropout": 0.5},
        {"opset_version": 9},
    ),
    "torchscript_unfolded": (
        by_torchscript,
        False,
        {"bidirectional": True, "batch_first": True},
        {"do_constant_folding": False},
    ),
    "dynamo_plain": (by_dynamo, False, {}, {}),
    "dynamo_stack": (by_dynamo, True, {"num_layers": 2, "bidirectional": True}, {}),
    "dynamo_open": (
        by_dynamo,
        False,
        {"num_layers": 2, "bidirectional": True, "batch_first": True},
        {"is_dynamic": True},
    ),
    "dynamo_unoptimized": (
        by_dynamo,
        False,
        {"num_layers": 2, "batch_first": True},
        {"is_dynamic": True, "optimize": False},
    ),
}


def of_torch(name: str) -> tuple[Any, dict[str, np.ndarray]]:
    """A model of PyTorch's, and its arrays."""
    exporter, with_states, options, export_options = TORCH[name]
    net = Net(with_states, **options).eval()
    cells = net.lstm.num_layers * (2 if net.lstm.bidirectional else 1)
    X, h0, C0 = torch.randn(B, T, I), torch.rand(cells, B, H) - 0.5, torch.randn(cells, B, H)
    is_first = net.lstm.batch_first
    given = (X if is_first else X.transpose(0, 1).contiguous(), *((h0, C0) if with_states else ()))
    with torch.no_grad():
        Y, (h_n, C_n) = net(*given)
    model = without_paths(exporter(net, given, **export_options))
    arrays = {"X": X, "Y": Y if is_first else Y.transpose(0, 1), "h_n": h_n, "C_n": C_n}
    arrays |= {"h0": h0, "C0": C0} if with_states else {}
    arrays |= {f"state {key}": tensor for key, tensor in net.lstm.state_dict().items()}
    return model, {key: tensor.numpy() for key, tensor in arrays.items()}


def without_paths(model: Any) -> Any:
    """The model without the notes for debugging, which hold paths of this machine."""
    for value in (model, model.graph, *model.graph.node, *model.graph.value_info, *model.graph.initializer):
        value.ClearField("doc_string")
        value.ClearField("metadata_props")
    for value in (*model.graph.input, *model.graph.output):
        value.ClearField("metadata_props")
    return model


# Graphs as tf2onnx leaves them


def layer(k: int, directions: int, width: int) -> dict[str, np.ndarray]:
    """W, R and B of node k, the second half of B zeros."""
    rng = np.random.default_rng(k)
    shapes = {"W": (directions, 4 * H, width), "R": (directions, 4 * H, H), "B": (directions, 4 * H)}
    arrays = {f"{name}{k}": rng.uniform(-0.6, 0.6, shape) for name, shape in shapes.items()}
    arrays[f"B{k}"] = np.concatenate([arrays[f"B{k}"], np.zeros((directions, 4 * H))], axis=1)
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def keras_states(directions: int, k: int) -> list[Any]:
    """Zeros of (D, B, H), from the length of the batch."""
    return [
        helper.make_node("Shape", ["X"], [f"shape{k}"]),
        helper.make_node("Slice", [f"shape{k}", "zero", "one", "zero"], [f"batch{k}"]),
        helper.make_node("Concat", [f"batch{k}", "units"], [f"dims{k}"], axis=0),
        helper.make_node("Expand", ["nothing", f"dims{k}"], [f"fill{k}"]),
        helper.make_node("Unsqueeze", [f"fill{k}", "zero"], [f"zeros{k}"]),
        helper.make_node("Concat", [f"zeros{k}"] * directions, [f"initial{k}"], axis=0),
    ]


def keras_layer(k: int, given: str, directions: int) -> list[Any]:
    """One node: given (T, B, I) to sides{k} (T, D, B, H)."""
    inputs = [given, f"W{k}", f"R{k}", f"B{k}", "", f"initial{k}", f"initial{k}"]
    outputs = [f"sides{k}", f"last_h{k}", f"last_C{k}"]
    return [
        *keras_states(directions, k),
        helper.make_node(
            "LSTM",
            inputs,
            outputs,
            name=f"LSTM__{20 + 3 * k}",
            hidden_size=H,
            direction="bidirectional" if directions == 2 else "forward",
            activations=["Sigmoid", "Tanh", "Tanh"] * directions,
        ),
    ]


def one_direction() -> list[Any]:
    """LSTM(H, return_sequences=True) twice; the transposes between them cancelled."""
    return [
        helper.make_node("Transpose", ["X"], ["turned"], perm=[1, 0, 2]),
        *keras_layer(0, "turned", 1),
        helper.make_node("Squeeze", ["sides0", "one"], ["rows0"]),
        *keras_layer(1, "rows0", 1),
        helper.make_node("Squeeze", ["sides1", "one"], ["rows1"]),
        helper.make_node("Transpose", ["rows1"], ["Y"], perm=[1, 0, 2]),
    ]


def both_directions() -> list[Any]:
    """Bidirectional(LSTM(H, return_sequences=True)) twice; directions cut apart and joined."""
    nodes = []
    given = "X"
    for k in range(2):
        nodes += [
            helper.make_node("Transpose", [given], [f"turned{k}"], perm=[1, 0, 2]),
            *keras_layer(k, f"turned{k}", 2),
        ]
        for side, first, last in (("forward", "zero", "one"), ("backward", "one", "two")):
            nodes += [
                helper.make_node("Slice", [f"sides{k}", first, last, "one"], [f"{side}_side{k}"]),
                helper.make_node("Squeeze", [f"{side}_side{k}", "one"], [f"{side}_rows{k}"]),
                helper.make_node("Transpose", [f"{side}_rows{k}"], [f"{side}{k}"], perm=[1, 0, 2]),
            ]
        joined = "Y" if k else "joined"
        nodes.append(helper.make_node("Concat", [f"forward{k}", f"backward{k}"], [joined], axis=-1))
        given = joined
    return nodes


TF2ONNX = {"tf2onnx_stack": (one_direction, 1), "tf2onnx_bidirectional": (both_directions, 2)}


def of_tf2onnx(name: str) -> tuple[Any, dict[str, np.ndarray]]:
    """A graph by hand, and what ONNX Runtime makes of it."""
    nodes, directions = TF2ONNX[name]
    arrays = {
        "zero": np.array([0]),
        "one": np.array([1]),
        "two": np.array([2]),
        "units": np.array([H]),
        "nothing": np.zeros(1, np.float32),
        **layer(0, directions, I),
        **layer(1, directions, directions * H),
    }
    made = [
        *nodes(),
        *(
            helper.make_node("Concat", [f"last_{what}0", f"last_{what}1"], [f"{what}_n"], axis=0)
            for what in "hC"
        ),
    ]
    return run(model_of(made, arrays, directions, 2))


def model_of(nodes: list[Any], arrays: dict[str, np.ndarray], directions: int, layers: int = 1) -> Any:
    """X (B, T, I) -> Y (B, T, D H), h_n, C_n (L D, B, H)."""
    real = TensorProto.FLOAT
    states = [directions * layers, "batch", H]
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("X", real, ["batch", "time", I])],
        [
            helper.make_tensor_value_info("Y", real, ["batch", "time", directions * H]),
            helper.make_tensor_value_info("h_n", real, states),
            helper.make_tensor_value_info("C_n", real, states),
        ],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    return helper.make_model(graph, **OPSETS)


def run(model: Any) -> tuple[Any, dict[str, np.ndarray]]:
    """The model, and what ONNX Runtime makes of some X."""
    onnx.checker.check_model(model)
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    X = np.random.default_rng(7).standard_normal((B, T, I)).astype(np.float32)
    Y, h_n, C_n = session.run(["Y", "h_n", "C_n"], {"X": X})
    return model, {"X": X, "Y": Y, "h_n": h_n, "C_n": C_n}


# Quantized weights


def plain_node(weights: list[str], **options: Any) -> list[Any]:
    """Both directions of one layer."""
    return [
        helper.make_node("Transpose", ["X"], ["turned"], perm=[1, 0, 2]),
        helper.make_node(
            "LSTM",
            ["turned", *weights],
            ["sides", "h_n", "C_n"],
            name="lstm",
            hidden_size=H,
            direction="bidirectional",
            **options,
        ),
        helper.make_node("Transpose", ["sides"], ["rows"], perm=[2, 0, 1, 3]),
        helper.make_node("Reshape", ["rows", "side_by_side"], ["Y"]),
    ]


def of_quantizer(name: str) -> tuple[Any, dict[str, np.ndarray]]:
    """A DynamicQuantizeLSTM by ONNX Runtime's own tool: with one scale a direction, or one a row."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    arrays = {"side_by_side": np.array([0, 0, -1]), **layer(0, 2, I)}
    kind = QuantType.QInt8 if name.endswith("rows") else QuantType.QUInt8
    with tempfile.TemporaryDirectory() as folder:
        plain, quantized = Path(folder, "plain.onnx"), Path(folder, "quantized.onnx")
        onnx.save(model_of(plain_node(["W0", "R0", "B0"]), arrays, 2), plain)
        quantize_dynamic(plain, quantized, per_channel=name.endswith("rows"), weight_type=kind)
        model = onnx.load(quantized)
    assert any(node.op_type == "DynamicQuantizeLSTM" for node in model.graph.node)
    return run(model)


def of_qdq(name: str) -> tuple[Any, dict[str, np.ndarray]]:
    """DequantizeLinear before W, with a scale for every row of the second axis, and before R, with one."""
    rng = np.random.default_rng(9)
    arrays = {
        "side_by_side": np.array([0, 0, -1]),
        "W": rng.integers(-128, 128, (2, 4 * H, I)).astype(np.int8),
        "W_scale": rng.uniform(0.002, 0.006, 4 * H).astype(np.float32),
        "W_zero": rng.integers(-9, 9, 4 * H).astype(np.int8),
        "R": rng.integers(0, 256, (2, 4 * H, H)).astype(np.uint8),
        "R_scale": np.array(0.004, np.float32),
        "R_zero": np.array(120, np.uint8),
        "B": layer(0, 2, I)["B0"],
    }
    nodes = [
        helper.make_node("DequantizeLinear", ["W", "W_scale", "W_zero"], ["W_real"], axis=1),
        helper.make_node("DequantizeLinear", ["R", "R_scale", "R_zero"], ["R_real"]),
        *plain_node(["W_real", "R_real", "B"]),
    ]
    return run(model_of(nodes, arrays, 2))


CASES = {
    **dict.fromkeys(TORCH, of_torch),
    **dict.fromkeys(TF2ONNX, of_tf2onnx),
    "quantized": of_quantizer,
    "quantized_rows": of_quantizer,
    "qdq": of_qdq,
}


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    torch.manual_seed(0)
    FOLDER.mkdir(exist_ok=True)
    recorded: dict[str, np.ndarray] = {}
    for case, make in CASES.items():
        model, arrays = make(case)
        (FOLDER / f"{case}.onnx").write_bytes(model.SerializeToString(deterministic=True))
        recorded |= {f"{case}/{name}": array for name, array in arrays.items()}
    np.savez_compressed(FOLDER / "recorded.npz", **recorded)
