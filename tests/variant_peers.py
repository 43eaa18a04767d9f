"""What PyTorch and ONNX Runtime make of the mixtures of variants.py, live or recorded.

Shapes: B batch, T time, I input, H hidden, L layers, D directions.
"""

from __future__ import annotations

import json
import warnings
from typing import Any

import numpy as np
from variants import Mixture, draw

from lstm.core import activations
from lstm.formats.onnx.node import GATES_TO_ONNX, PEEPHOLES_TO_ONNX

# What PyTorch lacks.
WITHOUT_TENSORFLOW = {"merge": "concat", "cell_clip": None, "proj_clip": None, "mask": None}
WITHOUT = {
    "reverse": False,
    "peephole": False,
    "clip": None,
    "input_forget": False,
    "activations": None,
    **WITHOUT_TENSORFLOW,
}


def with_rows_of_some_length(mixture: Mixture) -> Mixture:
    """The mixture without rows of length 0, which PyTorch refuses and ONNX Runtime gives zero states."""
    X = np.where(np.isfinite(mixture.X) & (np.abs(mixture.X) < 100), mixture.X, mixture.dtype(0))
    lengths = None if mixture.lengths is None else np.maximum(mixture.lengths, 1)
    return mixture._replace(X=X, lengths=lengths)


def for_pytorch(rng: np.random.Generator, dtype: Any, **fixed: Any) -> Mixture:
    """A mixture of what PyTorch has."""
    return with_rows_of_some_length(draw(rng, dtype, **WITHOUT, **fixed))


def for_onnx_runtime(rng: np.random.Generator, **fixed: Any) -> Mixture:
    """A mixture of what one LSTM node has, in float32."""
    return with_rows_of_some_length(
        draw(rng, np.float32, num_layers=1, proj_size=0, **WITHOUT_TENSORFLOW, **fixed)
    )


def pytorch_outputs(mixture: Mixture) -> dict[str, np.ndarray]:
    """What nn.LSTM makes of a mixture, lengths as a packed sequence."""
    import torch

    names = ("input_size", "hidden_size", "num_layers", "bidirectional", "proj_size", "bias")
    X: Any = torch.from_numpy(mixture.X)
    module = torch.nn.LSTM(
        **{name: mixture.arguments[name] for name in names}, batch_first=True, dtype=X.dtype
    )
    module.load_state_dict({name: torch.from_numpy(array) for name, array in mixture.state.items()})
    states = torch.from_numpy(mixture.h0), torch.from_numpy(mixture.C0)
    rnn = torch.nn.utils.rnn
    if mixture.lengths is not None:
        lengths = torch.from_numpy(mixture.lengths)
        X = rnn.pack_padded_sequence(X, lengths, batch_first=True, enforce_sorted=False)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that projections take PyTorch's slow path
        Y, (h_n, C_n) = module(X, states)
        if mixture.lengths is not None:
            Y, _ = rnn.pad_packed_sequence(Y, batch_first=True, total_length=mixture.X.shape[1])
    return {"Y": Y.numpy(), "h_n": h_n.numpy(), "C_n": C_n.numpy()}


def onnx_outputs(mixture: Mixture) -> dict[str, np.ndarray]:
    """What ONNX Runtime makes of a mixture of one layer without a projection."""
    import onnx
    import onnxruntime as ort

    arguments = mixture.arguments
    hidden = arguments["hidden_size"]
    suffixes = ["_l0", "_l0_reverse"] if arguments["bidirectional"] else ["_l0"]

    def stacked(kind: str, order: list[int]) -> np.ndarray:
        parts = [mixture.state[kind + suffix] for suffix in suffixes]
        return np.stack([part.reshape(len(order), hidden, -1)[order].reshape(part.shape) for part in parts])

    feed = {
        "X": np.ascontiguousarray(mixture.X.swapaxes(0, 1)),
        "W": stacked("weight_ih", GATES_TO_ONNX),
        "R": stacked("weight_hh", GATES_TO_ONNX),
        "h0": mixture.h0,
        "C0": mixture.C0,
    }
    inputs = ["X", "W", "R", "", "", "h0", "C0", ""]
    if arguments["bias"]:
        feed["B"] = np.concatenate(
            [stacked("bias_ih", GATES_TO_ONNX), stacked("bias_hh", GATES_TO_ONNX)], axis=1
        )
        inputs[3] = "B"
    if mixture.lengths is not None:
        feed["lengths"] = mixture.lengths.astype(np.int32)
        inputs[4] = "lengths"
    if arguments["peephole"]:
        feed["P"] = stacked("weight_ch", PEEPHOLES_TO_ONNX)
        inputs[7] = "P"
    attributes = onnx_attributes(arguments)
    node = onnx.helper.make_node("LSTM", inputs, ["Y", "h_n", "C_n"], hidden_size=hidden, **attributes)
    value_infos = [
        onnx.helper.make_tensor_value_info(
            name, onnx.helper.np_dtype_to_tensor_dtype(array.dtype), array.shape
        )
        for name, array in feed.items()
    ]
    results = [onnx.helper.make_tensor_value_info(name, 1, None) for name in ("Y", "h_n", "C_n")]
    graph = onnx.helper.make_graph([node], "lstm", value_infos, results)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 14)], ir_version=8)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    Y, h_n, C_n = session.run(None, feed)
    time, directions, batch, _ = Y.shape
    return {
        "Y": Y.transpose(2, 0, 1, 3).reshape(batch, time, directions * hidden),
        "h_n": h_n,
        "C_n": C_n,
    }


def onnx_attributes(arguments: dict[str, Any]) -> dict[str, Any]:
    """The options of a net as attributes of the operator."""
    attributes: dict[str, Any] = {"input_forget": int(arguments["input_forget"])}
    if arguments["bidirectional"] or arguments["reverse"]:
        attributes["direction"] = "bidirectional" if arguments["bidirectional"] else "reverse"
    if arguments["clip"] is not None:
        attributes["clip"] = arguments["clip"]
    if arguments["activations"] is not None:
        parsed = activations.parse(arguments["activations"], 2 if arguments["bidirectional"] else 1)
        attributes["activations"] = [a.name for a in parsed]
        definitions = [activations.ACTIVATIONS[a.name] for a in parsed]
        for which in ("alpha", "beta"):
            values = [
                getattr(a, which)
                for a, definition in zip(parsed, definitions, strict=True)
                if getattr(definition, which) is not None
            ]
            if values:
                attributes[f"activation_{which}"] = values
    return attributes


def recordable(mixture: Mixture, outputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A mixture and its outputs as plain arrays."""
    arrays = {"X": mixture.X, "h0": mixture.h0, "C0": mixture.C0}
    if mixture.lengths is not None:
        arrays["lengths"] = mixture.lengths
    return {
        "arguments": np.array(json.dumps(mixture.arguments)),
        **arrays,
        **mixture.state,
        **{f"expected {name}": array for name, array in outputs.items()},
    }


def replayed(case: dict[str, np.ndarray]) -> tuple[Mixture, dict[str, np.ndarray]]:
    """The inverse of `recordable`."""
    mixture = Mixture(
        json.loads(str(case["arguments"])),
        case["X"].dtype.type,
        case["X"],
        case["h0"],
        case["C0"],
        case.get("lengths"),
        {name: array for name, array in case.items() if name.startswith(("weight", "bias"))},
    )
    prefix = "expected "
    return mixture, {name.removeprefix(prefix): a for name, a in case.items() if name.startswith(prefix)}
