"""ONNX: an LSTM node of a model, and a model of a net.

Shapes: B batch, T time, I input, H hidden, L layers, D directions. ONNX has the gates in the order i, o,
f, c; the biases of input and recurrence one after the other; the peepholes in the order i, o, f.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from .. import activations, params
from . import FormatError
from .onnx_constants import Constants
from .writing import replacing

if TYPE_CHECKING:
    from .. import model

OURS_FROM_ONNX = [0, 2, 3, 1]  # i, o, f, c -> i, f, g, o
ONNX_FROM_OURS = [0, 3, 1, 2]
PEEPHOLES = [0, 2, 1]  # i, o, f <-> i, f, o
ATTRIBUTES = {
    "activation_alpha",
    "activation_beta",
    "activations",
    "clip",
    "direction",
    "hidden_size",
    "input_forget",
    "layout",
}
INPUTS = ("X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P")
QUANTIZED_INPUTS = (*INPUTS, "W_scale", "W_zero_point", "R_scale", "R_zero_point")
DIRECTIONS = {"forward": 1, "reverse": 1, "bidirectional": 2}
# Of all constants together beyond the file's own size.
SMALL = 1 << 20
OPSET = 14
IR_VERSION = 8


class Found(NamedTuple):
    """An LSTM node, and the graphs that it stands in from the outermost on."""

    node: Any
    graphs: list[Any]


def _library() -> Any:
    try:
        import onnx
        import onnx.helper
        import onnx.numpy_helper
    except ImportError as error:
        raise ImportError('ONNX models need onnx: pip install "lstm-native[onnx]"') from error
    return onnx


def load(
    path: str | os.PathLike[str], backend: Literal["native", "numpy"], node: str | int | None = None
) -> model.LSTM:
    """The net of a file's only LSTM node, or of the one that `node` names."""
    from .. import model

    return model.LSTM.from_onnx(path, node, backend=backend)


def read(source: Any, node: str | int | None) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The state dict of an LSTM node and the options that it does not tell; FormatError where damaged."""
    library = _library()
    where, proto, size = _model(library, source)
    try:
        found = _pick(where, _lstm_nodes(proto.graph, []), node)
        where = f"{where}: node {_name(found.node)!r}"
        return _net(library, where, found, max(SMALL, 2 * size))
    except (FormatError, MemoryError, LookupError):
        raise
    except (ValueError, TypeError, AttributeError, OverflowError) as error:
        raise FormatError(f"{where}: {error}") from error


def _model(library: Any, source: Any) -> tuple[str, Any, int]:
    """What the source is called, its ModelProto and its size in bytes."""
    if isinstance(source, library.ModelProto):
        return "the model", source, source.ByteSize()
    name = os.fspath(source)
    with open(name, "rb") as file:
        content = file.read()
    proto = library.ModelProto()
    try:
        proto.ParseFromString(content)
    except Exception as error:  # the parser's own
        raise FormatError(f"{name} is damaged or no .onnx file: {error}") from error
    return name, proto, len(content)


def _lstm_nodes(graph: Any, around: list[Any]) -> list[Found]:
    """The LSTM nodes of a graph and of those within it, such as the branches of an If."""
    graphs = [*around, graph]
    found = []
    for node in graph.node:
        if (node.op_type, node.domain) in (
            ("LSTM", ""),
            ("LSTM", "ai.onnx"),
            ("DynamicQuantizeLSTM", "com.microsoft"),
        ):
            found.append(Found(node, graphs))
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                found += _lstm_nodes(inner, graphs) if len(inner.node) else []
    return found


def _name(node: Any) -> str:
    """A node's name or, where it has none, that of its first output."""
    return str(node.name or next((name for name in node.output if name), ""))


def _pick(where: str, found: list[Found], node: str | int | None) -> Found:
    """The node asked for; ValueError or IndexError that lists them where that is not clear."""
    if not found:
        raise FormatError(f"{where} has no LSTM node")
    listed = ", ".join(repr(_name(f.node)) for f in found[:10]) + (" and more" if len(found) > 10 else "")
    if node is None:
        if len(found) > 1:
            raise FormatError(f"{where} has {len(found)} LSTM nodes, pick one by node=: {listed}")
        return found[0]
    if isinstance(node, int) and not isinstance(node, bool):
        if not -len(found) <= node < len(found):
            raise FormatError(f"{where} has {len(found)} LSTM nodes, so none of number {node}: {listed}")
        return found[node]
    named = [f for f in found if node in (f.node.name, *f.node.output) and node]
    if len(named) != 1:
        raise FormatError(f"{where} has {len(named)} LSTM nodes {node!r}; it has {listed}")
    return named[0]


def _net(library: Any, where: str, found: Found, budget: int) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """State dict and options of a node."""
    node = found.node
    attributes = {a.name: library.helper.get_attribute_value(a) for a in node.attribute}
    if unknown := sorted(set(attributes) - ATTRIBUTES):
        raise FormatError(f"{where} has {', '.join(unknown)}, which the operator does not know")
    direction = _text(where, "direction", attributes.get("direction", "forward")).lower()
    if direction not in DIRECTIONS:
        raise FormatError(
            f"{where} has direction {direction!r}, but must have one of {', '.join(DIRECTIONS)}"
        )
    if attributes.get("layout", 0) not in (0, 1):
        raise FormatError(f"{where} has layout {attributes['layout']!r}, but must have 0 or 1")
    names = INPUTS if node.op_type == "LSTM" else QUANTIZED_INPUTS
    if len(node.input) > len(names):
        raise FormatError(f"{where} has {len(node.input)} inputs, but the operator has {len(names)}")
    constants = Constants(library, found.graphs, where, budget)
    arrays = {
        name: constants.value(given)
        for name, given in zip(names, node.input, strict=False)
        if given and name not in ("X", "sequence_lens", "initial_h", "initial_c")
    }
    if node.op_type != "LSTM":
        arrays = _dequantized(where, arrays)
    state = _state_dict(where, arrays, DIRECTIONS[direction], attributes.get("hidden_size"))
    options = {
        "reverse": direction == "reverse",
        "clip": attributes.get("clip"),
        "input_forget": bool(attributes.get("input_forget", 0)),
        "activations": _activations(where, attributes, DIRECTIONS[direction]),
    }
    if attributes.get("input_forget", 0) not in (0, 1):
        raise FormatError(f"{where} has input_forget {attributes['input_forget']!r}, but must have 0 or 1")
    params.from_state_dict(state)[1].with_options(**options)
    return state, options


def _text(where: str, name: str, value: Any) -> str:
    """An attribute that is a text."""
    try:
        return value.decode() if isinstance(value, bytes) else str(value)
    except UnicodeDecodeError as error:
        raise FormatError(f"{where} has {name} {value!r}, which is no text") from error


def _activations(where: str, attributes: dict[str, Any], directions: int) -> list[Any] | None:
    """Names and parameters, which stand in lists of their own, one for each function that has such a one."""
    if "activations" not in attributes:
        if {"activation_alpha", "activation_beta"} & set(attributes):
            raise FormatError(f"{where} has parameters of activations, but no activations")
        return None
    names = [_text(where, "activations", name) for name in attributes["activations"]]
    if len(names) != 3 * directions:
        raise FormatError(f"{where} has {len(names)} activations, but must have {3 * directions}")
    left = {which: list(attributes.get(f"activation_{which}", [])) for which in ("alpha", "beta")}
    parsed = []
    for name in names:
        usual = activations.canonical(name)
        definition = activations.ACTIVATIONS[usual.name]
        parameters = {}
        for which, default in (("alpha", definition.alpha), ("beta", definition.beta)):
            if default is not None and left[which]:
                parameters[which] = float(left[which].pop(0))
        parsed.append(activations.plain(activations.canonical(name, **parameters)))
    for which, values in left.items():
        if values:
            raise FormatError(
                f"{where} has {len(values)} more of activation_{which} than its activations take"
            )
    return parsed


def _dequantized(where: str, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """W and R of a DynamicQuantizeLSTM, (D, K, 4H) of integers, as (D, 4H, K) of float32."""
    plain = {name: array for name, array in arrays.items() if name in ("B", "P")}
    for name in ("W", "R"):
        values, scale, zero = (arrays.get(part) for part in (name, f"{name}_scale", f"{name}_zero_point"))
        if values is None or scale is None or zero is None:
            raise FormatError(f"{where} lacks {name}, {name}_scale or {name}_zero_point")
        shape = values.shape
        if len(shape) != 3 or values.dtype.name not in ("int8", "uint8"):
            raise FormatError(
                f"{where} has {name} of {values.dtype} {shape}, but must have (D, K, 4H) of 8 bits"
            )
        for what, array in (("scale", scale), ("zero_point", zero)):
            if array.shape not in ((shape[0],), (shape[0], shape[2])):
                raise FormatError(f"{where} has {name}_{what} of shape {array.shape} for {name} of {shape}")
        zero = zero.reshape(shape[0], 1, -1).astype(np.float32)
        scale = scale.reshape(shape[0], 1, -1).astype(np.float32)
        plain[name] = ((values.astype(np.float32) - zero) * scale).swapaxes(1, 2)
    return plain


def _state_dict(
    where: str, arrays: dict[str, np.ndarray], directions: int, hidden_size: Any
) -> dict[str, np.ndarray]:
    """PyTorch's names of W (D, 4H, I), R (D, 4H, H), B (D, 8H), P (D, 3H)."""
    for name in ("W", "R"):
        if name not in arrays:
            raise FormatError(f"{where} lacks {name}")
    H = arrays["R"].shape[2] if arrays["R"].ndim == 3 else 0
    I = arrays["W"].shape[2] if arrays["W"].ndim == 3 else 0  # noqa: E741
    expected = {
        "W": (directions, 4 * H, I),
        "R": (directions, 4 * H, H),
        "B": (directions, 8 * H),
        "P": (directions, 3 * H),
    }
    for name, array in arrays.items():
        if array.dtype not in (np.float32, np.float64):
            raise FormatError(f"{where} has {name} of {array.dtype}, but must have floats")
        if array.shape != expected[name] or 0 in array.shape:
            raise FormatError(
                f"{where} has {name} of shape {array.shape}, but must have {expected[name]} for W of "
                f"{arrays['W'].shape} and R of {arrays['R'].shape}"
            )
    if hidden_size is not None and hidden_size != H:
        raise FormatError(f"{where} has hidden_size {hidden_size!r}, but R of shape {arrays['R'].shape}")
    state = {}
    for direction in range(directions):
        suffix = "_l0" + "_reverse" * direction
        for kind, name in (("weight_ih", "W"), ("weight_hh", "R")):
            gates = arrays[name][direction].reshape(4, H, -1)[OURS_FROM_ONNX]
            state[kind + suffix] = gates.reshape(4 * H, -1)
        if "B" in arrays:
            biases = arrays["B"][direction].reshape(2, 4, H)[:, OURS_FROM_ONNX].reshape(2, -1)
            state["bias_ih" + suffix], state["bias_hh" + suffix] = biases
        if "P" in arrays:
            state["weight_ch" + suffix] = arrays["P"][direction].reshape(3, H)[PEEPHOLES].reshape(-1)
    return state


def save(net: model.LSTM, path: str | os.PathLike[str]) -> None:
    """Write a model of one LSTM node a layer; an old file is replaced whole.

    X (B, T, I), h0 and C0 (L D, B, H) -> Y (B, T, D H), h_n and C_n (L D, B, H), batch and time open.
    """
    library = _library()
    if net.proj_size:
        raise ValueError(f"ONNX's LSTM has no projection, but this one has proj_size={net.proj_size}")
    content = _built(library, net).SerializeToString()
    with replacing(path) as partial, open(partial, "wb") as file:
        file.write(content)


def _built(library: Any, net: model.LSTM) -> Any:
    """The ModelProto of a net."""
    helper = library.helper
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
        [library.numpy_helper.from_array(array, name) for name, array in arrays.items()],
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
