"""Malformed ONNX models: protobuf messages of a graph, its nodes and tensors.

Shapes: I input, H hidden, D directions.
"""

from __future__ import annotations

import random
import struct
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from . import Case, Good, arrays
from .mutation import INTEGERS, damaged

FILE = "broken.onnx"
H, I = 4, 3  # noqa: E741
NODE = "'node'"  # what every node here is called


# Making models


def weights(directions: int = 1) -> dict[str, np.ndarray]:
    """W (D, 4H, I), R (D, 4H, H), B (D, 8H), P (D, 3H)."""
    shapes = {"W": (4 * H, I), "R": (4 * H, H), "B": (8 * H,), "P": (3 * H,)}
    return {name: arrays.uniform(k, directions, *s) for k, (name, s) in enumerate(shapes.items())}


def lstm_node(inputs: tuple[str, ...] = ("X", "W", "R", "B", "", "", "", "P"), **attributes: Any) -> Any:
    return helper.make_node("LSTM", inputs, ["Y"], name="node", **{"hidden_size": H, **attributes})


def model(nodes: list[Any], tensors: dict[str, np.ndarray] | None = None, opset: int = 14) -> Any:
    given = weights() if tensors is None else tensors
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, ["t", "b", I])],
        [helper.make_tensor_value_info("Y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in given.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])


def bytes_of(*given: Any, **others: Any) -> bytes:
    content: bytes = model(*given, **others).SerializeToString()
    return content


def good_files() -> Iterator[Good]:
    options = {
        "clip": 0.5,
        "activations": ["Elu", "Tanh", "Affine"],
        "activation_alpha": [0.5, 0.75],
        "input_forget": 1,
        "direction": "reverse",
    }
    yield Good(FILE, bytes_of([lstm_node(**options)]))
    both = {"direction": "bidirectional", "layout": 1}
    yield Good(FILE, bytes_of([lstm_node(**both)], weights(2)))
    yield Good(FILE, _chains())
    yield Good(FILE, _branch())
    yield Good(FILE, _quantized())
    yield Good(FILE, _layers())
    yield Good(FILE, _layers(), {"node": "lstm_1"})
    yield Good(FILE, _typed_data())


def _chains() -> bytes:
    """The chains that exporters leave, and constants as nodes."""
    made = weights()
    W, R, B = made["W"], made["R"], made["B"]
    pieces = {
        "W_turned": np.ascontiguousarray(W[0].T),
        "R_long": np.concatenate([R[0], R[0]]).astype(np.float16),
        "B_input": B[0, : 4 * H],
        "axes": np.array([0]),
        "starts": np.array([4 * H]),
        "ends": np.array([2**63 - 1]),
        "shape": np.array([1, -1]),
    }
    nodes = [
        helper.make_node("Transpose", ["W_turned"], ["W_2d"], perm=[1, 0]),
        helper.make_node("Unsqueeze", ["W_2d", "axes"], ["W"]),
        helper.make_node("Slice", ["R_long", "starts", "ends", "axes"], ["R_wide"]),
        helper.make_node("Cast", ["R_wide"], ["R_2d"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["R_2d", "axes"], ["R"]),
        helper.make_node("Constant", [], ["B_hidden"], value=numpy_helper.from_array(B[0, 4 * H :])),
        helper.make_node("Concat", ["B_input", "B_hidden"], ["B_flat"], axis=0),
        helper.make_node("Reshape", ["B_flat", "shape"], ["B_same"]),
        helper.make_node("Squeeze", ["B_same", "axes"], ["B_1d"]),
        helper.make_node("Unsqueeze", ["B_1d", "axes"], ["B"]),
    ]
    return bytes_of([*nodes, lstm_node(("X", "W", "R", "B"))], pieces)


def _branch() -> bytes:
    """A node in a branch of an If, one of its weights there, the others around it."""
    made = weights()
    inner = helper.make_graph(
        [lstm_node()],
        "then",
        [],
        [helper.make_tensor_value_info("Y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(made.pop("R"), "R")],
    )
    empty = helper.make_graph([helper.make_node("Identity", ["X"], ["Z"])], "else", [], [])
    branch = helper.make_node("If", ["condition"], ["Y"], then_branch=inner, else_branch=empty)
    return bytes_of([branch], {**made, "condition": np.array(True)})


def _quantized() -> bytes:
    rng = np.random.default_rng(3)
    tensors = {"B": weights()["B"]}
    for name, depth in (("W", I), ("R", H)):
        tensors[name] = rng.integers(0, 256, (1, depth, 4 * H)).astype(np.uint8)
        tensors[f"{name}_scale"] = rng.uniform(0.01, 0.02, (1, 4 * H)).astype(np.float32)
        tensors[f"{name}_zero"] = rng.integers(100, 150, (1, 4 * H)).astype(np.uint8)
    return bytes_of([_quantized_node()], tensors)


def _quantized_node() -> Any:
    names = ["X", "W", "R", "B", "", "", "", "", "W_scale", "W_zero", "R_scale", "R_zero"]
    return helper.make_node(
        "DynamicQuantizeLSTM", names, ["Y"], domain="com.microsoft", hidden_size=H, name="node"
    )


def _layers() -> bytes:
    """What this package writes of two layers."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, FILE)
        arrays.net(2, 3, num_layers=2).to_onnx(path)
        return path.read_bytes()


def _typed_data() -> bytes:
    """Values in the fields of their types instead of in raw bytes."""
    made = model([lstm_node()])
    for tensor in made.graph.initializer:
        array = numpy_helper.to_array(tensor)
        kind = TensorProto.FLOAT16 if tensor.name == "W" else TensorProto.FLOAT
        tensor.CopyFrom(helper.make_tensor(tensor.name, kind, array.shape, array.ravel().tolist()))
    content: bytes = made.SerializeToString()
    return content


# Malformed ones


def cases() -> Iterator[Case]:
    yield from _cut_short()
    yield from _tensors()
    yield from _external()
    yield from _attributes()
    yield from _node_cases()
    yield from _cycles()
    yield from _chain_cases()
    yield from _node_sources()
    yield from _bombs()
    yield from _quantized_cases()


def _changed(edit: Callable[[Any], object]) -> bytes:
    """A good model with one change to its graph."""
    made = model([lstm_node()])
    edit(made.graph)
    content: bytes = made.SerializeToString()
    return content


def _tensor(graph: Any, name: str) -> Any:
    return next(tensor for tensor in graph.initializer if tensor.name == name)


def _replaced(name: str, array: np.ndarray) -> bytes:
    return bytes_of([lstm_node()], {**weights(), name: array})


def _cut_short() -> Iterator[Case]:
    """In, at and behind the tag of every field of the graph; what is no model at all."""
    good = bytes_of([lstm_node()])
    points = sorted({0, 1, *(point + k for point in _starts(good) for k in (0, 1, 2)), len(good) - 1})
    # A model that ends at the end of a field is sound but for what it lacks, the LSTM or a weight.
    for point in points[:-1]:
        yield Case(f"cut at {point}", FILE, good[:point])
    for name, content in {
        "a text": b"no model at all",
        "a pickle": b"\x80\x04N.",
        "zeros": bytes(1000),
        "a field without end": b"\x0a" + b"\xff" * 20,
        "groups within groups": b"\x0b" * 10_000,
        "graphs within graphs": _nested(200),
    }.items():
        yield Case(name, FILE, content)


def _starts(content: bytes) -> list[int]:
    """Where the fields of the graph start."""
    outer = fields(content)
    assert outer is not None
    graph = max((value for *_, value in outer if isinstance(value, bytes)), key=len)
    start, points = content.index(graph), []
    inner = fields(graph)
    assert inner is not None
    for number, wire, value in inner:
        points.append(start)
        start += len(encoded([(number, wire, value)]))
    return points


def _nested(depth: int) -> bytes:
    """Graphs of one node, whose attribute is such a graph."""
    graph = b""
    for _ in range(depth):
        attribute = encoded([(1, 2, b"then_branch"), (6, 2, graph), (20, 0, 5)])
        graph = encoded([(1, 2, encoded([(4, 2, b"If"), (5, 2, attribute)]))])
    return encoded([(1, 0, 8), (7, 2, graph)])


def _tensors() -> Iterator[Case]:
    """Each weight of a wrong rank, shape, dtype or size, or missing."""
    for name, array in weights().items():
        words = (NODE, name)
        wrong = {
            "of one axis more": array[np.newaxis],
            "of one axis less": array[0],
            "too short": array[..., :-1] if name != "W" else array[:, :-1],
            "of two directions": np.concatenate([array, array]),
            "of integers": array.astype(np.int32),
            "of complex numbers": array.astype(np.complex64),
            "of text": array.astype(str).astype(object),
            "of truths": array > 0,
            "of no values": array[:0],
            "of no axis": np.float32(1).reshape(()),
        }
        for what, content in wrong.items():
            yield Case(f"{name} {what}", FILE, _replaced(name, content), words)
        edits: dict[str, Callable[[Any], object]] = {
            "missing": lambda g, n=name: g.initializer.remove(_tensor(g, n)),  # type: ignore[misc]
            "of too few bytes": lambda g, n=name: setattr(_tensor(g, n), "raw_data", b"abc"),  # type: ignore[misc]
            "without bytes": lambda g, n=name: _tensor(g, n).ClearField("raw_data"),  # type: ignore[misc]
            "without a dtype": lambda g, n=name: _tensor(g, n).ClearField("data_type"),  # type: ignore[misc]
            "of an unknown dtype": lambda g, n=name: setattr(_tensor(g, n), "data_type", 99),  # type: ignore[misc]
            "of a negative dtype": lambda g, n=name: setattr(_tensor(g, n), "data_type", -1),  # type: ignore[misc]
            "of doubles by halves": lambda g, n=name: setattr(_tensor(g, n), "data_type", 11),  # type: ignore[misc]
            "of length -1": lambda g, n=name: _tensor(g, n).dims.__setitem__(0, -1),  # type: ignore[misc]
            "of length 2**62": lambda g, n=name: _tensor(g, n).dims.__setitem__(0, 2**62),  # type: ignore[misc]
            "of zero times 2**62": lambda g, n=name: _tensor(g, n).dims.extend([0, 2**62]),  # type: ignore[misc]
            "of 100 axes": lambda g, n=name: _tensor(g, n).dims.extend([1] * 100),  # type: ignore[misc]
            "in a segment": lambda g, n=name: _tensor(g, n).segment.CopyFrom(  # type: ignore[misc]
                TensorProto.Segment(begin=0, end=2**40)
            ),
            "in another field": lambda g, n=name: _moved(_tensor(g, n)),  # type: ignore[misc]
        }
        for what, edit in edits.items():
            yield Case(f"{name} {what}", FILE, _changed(edit), words)


def _moved(tensor: Any) -> None:
    """Values of floats in the field of integers."""
    tensor.ClearField("raw_data")
    tensor.int32_data.extend([1, 2, 3])


def _external() -> Iterator[Case]:
    """Data in other files: outside the folder, through links, past its end, not there."""
    data = weights()["W"].tobytes()
    size = str(len(data))
    places: dict[str, dict[str, str]] = {
        "above": {"location": "../secret.bin"},
        "above, by a detour": {"location": "inner/../../secret.bin"},
        "absolute": {"location": "/etc/hostname"},
        "a device": {"location": "/dev/zero"},
        "a link": {"location": "link.bin"},
        "a link above": {"location": "folder/secret.bin"},
        "missing": {"location": "missing.bin"},
        "a folder": {"location": "."},
        "itself": {"location": "broken.onnx"},
        "nowhere": {},
        "an empty name": {"location": ""},
        "a zero in its name": {"location": "W\0.bin"},
        "a web address": {"location": "http://localhost/W.bin"},
        "past the end": {"location": "W.bin", "offset": "4096", "length": size},
        "too long": {"location": "W.bin", "offset": "0", "length": str(2**62)},
        "at a negative offset": {"location": "W.bin", "offset": "-4", "length": size},
        "of negative length": {"location": "W.bin", "offset": "0", "length": "-1"},
        "at NaN": {"location": "W.bin", "offset": "nan", "length": size},
        "too short": {"location": "W.bin", "offset": "0", "length": "4"},
    }
    for what, entries in places.items():
        made = model([lstm_node()])
        tensor = _tensor(made.graph, "W")
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in entries.items():
            tensor.external_data.add(key=key, value=value)
        case = Case(
            f"W in a file {what}",
            f"model/{FILE}",
            made.SerializeToString(),
            ("W",),
            {"external_data": True},
            {"secret.bin": data, "model/W.bin": data},
            {"model/link.bin": "../secret.bin", "model/folder": ".."},
        )
        if what != "itself":  # the model's own bytes are beside the model
            yield case
        yield case._replace(name=f"{case.name}, not asked for", options={})
    allowed = model([lstm_node()])
    tensor = _tensor(allowed.graph, "W")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="W.bin")
    content = allowed.SerializeToString()
    yield Case("W in a file that is not asked for", FILE, content, ("W", "W.bin"), beside={"W.bin": data})


def _attributes() -> Iterator[Case]:
    wrong: dict[str, tuple[Any, ...]] = {
        "hidden_size": (H + 1, 0, -1, 2**62, "4", [4], 4.5),
        "direction": ("sideways", "bidirectional", "", 1, b"\xff", ["forward"]),
        "layout": (2, -1, 0.5, "0"),
        "clip": (0.0, -1.0, float("nan"), float("inf"), "1", [1.0]),
        "input_forget": (2, -1, "1", 0.5),
        "activations": (
            ["Tanh"],
            ["Tanh", "Tanh", "exec"],
            ["Tanh"] * 6,
            "Tanh",
            [b"\xff"] * 3,
            [1, 2, 3],
            1,
        ),
        "activation_alpha": (1.0, "1"),
        "activation_beta": (1.0, "1"),
        "output_sequence": (1,),
        "unheard_of": (1.0, "x"),
    }
    for name, values in wrong.items():
        for value in values:
            yield Case(f"{name}={value!r}", FILE, bytes_of([lstm_node(**{name: value})]), (NODE,))
    elu = {"activations": ["Elu", "Tanh", "Tanh"]}
    for values in ([float("nan")], [float("inf")], [1, 2], "1"):
        content = bytes_of([lstm_node(**elu, activation_alpha=values)])
        yield Case(f"alpha {values!r}", FILE, content, (NODE,))
    for name in ("Affine", "ScaledTanh", "ThresholdedRelu"):
        content = bytes_of([lstm_node(activations=["Sigmoid", name, "Tanh"])])
        yield Case(f"{name} without alpha", FILE, content, (NODE, "without alpha"))
    edits: dict[str, Callable[[Any], object]] = {
        "twice": lambda a: a.node[0].attribute.append(a.node[0].attribute[0]),
        "without a type": lambda a: a.node[0].attribute[0].ClearField("type"),
        "of no name": lambda a: a.node[0].attribute[0].ClearField("name"),
        "of another's": lambda a: setattr(a.node[0].attribute[0], "ref_attr_name", "size"),
        "of two values": lambda a: setattr(a.node[0].attribute[0], "type", 7),
    }
    for what, edit in edits.items():
        yield Case(f"an attribute {what}", FILE, _changed(edit), (NODE,))


def _node_cases() -> Iterator[Case]:
    """Nodes that are none or too many, inputs that are missing, swapped or too many."""
    gru = helper.make_node("GRU", ["X", "W", "R"], ["Y"])
    other = lstm_node()
    other.domain = "org.example"
    for what, nodes in {"no node": [], "a GRU": [gru], "another domain": [other]}.items():
        yield Case(what, FILE, bytes_of(nodes), ("no LSTM",))
    yield Case("two nodes", FILE, bytes_of([lstm_node(), lstm_node()]), ("2 LSTM nodes", "node"))
    for node in ("nobody", 1, -2, ""):
        yield Case(f"no node {node!r}", FILE, bytes_of([lstm_node()]), (NODE,), {"node": node})
    for opset in (0, -1):
        yield Case(f"opset {opset}", FILE, bytes_of([lstm_node()], opset=opset), ("opset ",))
    nothing = model([lstm_node()])
    nothing.ClearField("opset_import")
    yield Case("no opset", FILE, nothing.SerializeToString(), ("opset none",))
    wrong_flag = bytes_of([lstm_node(output_sequence=2)], opset=1)
    yield Case("output_sequence 2", FILE, wrong_flag, (NODE, "output_sequence"))
    yield Case("output_sequence in opset 7", FILE, bytes_of([lstm_node(output_sequence=1)], opset=7), (NODE,))
    yield Case("layout before opset 14", FILE, bytes_of([lstm_node(layout=1)], opset=13), (NODE,))
    inputs: dict[str, tuple[str, ...]] = {
        "no inputs": (),
        "X alone": ("X",),
        "no W": ("X", "", "R"),
        "no R": ("X", "W", ""),
        "swapped": ("X", "R", "W"),
        "B for P": ("X", "W", "R", "P", "", "", "", "B"),
        "too many": ("X", "W", "R", "B", "", "", "", "P", "W"),
        "W from X": ("X", "X", "R"),
        "W from nowhere": ("X", "nobody", "R"),
        "W from itself": ("X", "Y", "R"),
    }
    for what, given in inputs.items():
        yield Case(f"inputs: {what}", FILE, bytes_of([lstm_node(given)]), (NODE,))


def _chain(*steps: tuple[str, list[str], list[str], dict[str, Any]], **more: np.ndarray) -> bytes:
    """W made of W0 by nodes of (operator, inputs, outputs, attributes)."""
    tensors = {**weights(), "W0": weights()["W"], **more}
    del tensors["W"]
    nodes = [helper.make_node(kind, given, made, **options) for kind, given, made, options in steps]
    return bytes_of([*nodes, lstm_node()], tensors)


def _cycles() -> Iterator[Case]:
    """Weights at the end of a circle, and of chains that grow exponentially when followed twice."""
    circle = [("Identity", [f"W{k + 1}"], [f"W{k}"], {}) for k in range(1, 50)]
    circles = {
        "on itself": _chain(("Identity", ["W"], ["W"], {})),
        "of two": _chain(("Identity", ["W1"], ["W"], {}), ("Identity", ["W"], ["W1"], {})),
        "of fifty": _chain(("Identity", ["W1"], ["W"], {}), *circle, ("Identity", ["W"], ["W50"], {})),
        "by two ways": _chain(
            ("Concat", ["W1", "W1"], ["W"], {"axis": 0}), ("Concat", ["W", "W"], ["W1"], {"axis": 0})
        ),
        "of eight ways": _chain(("Concat", ["W"] * 8, ["W"], {"axis": 0})),
        "through axes": _chain(("Unsqueeze", ["W0", "W"], ["W"], {})),
    }
    for what, content in circles.items():
        yield Case(f"a circle {what}", FILE, content, (NODE, "W"))
    long = [("Identity", [f"V{k + 1}"], [f"V{k}"], {}) for k in range(20_000)]
    steps = [("Identity", ["V0"], ["W"], {}), *long, ("Identity", ["W0"], ["V20000"], {})]
    yield Case("a long chain", FILE, _chain(*steps), (NODE,))


def _chain_cases() -> Iterator[Case]:
    """Operators that are used wrongly, or that compute."""
    huge = np.array([2**62])
    steps: dict[str, tuple[Any, ...]] = {
        "computed": (("Add", ["W0", "W0"], ["W"], {}),),
        "of the input": (("Identity", ["X"], ["W"], {}),),
        "by an operator of others": (("Identity", ["W0"], ["W"], {"domain": "org.example"}),),
        "of nothing": (("Identity", [], ["W"], {}),),
        "of an empty name": (("Identity", [""], ["W"], {}),),
        "turned twice on an axis": (("Transpose", ["W0"], ["W"], {"perm": [0, 0, 1]}),),
        "turned on axes there are not": (("Transpose", ["W0"], ["W"], {"perm": [0, 1, 2, 3]}),),
        "turned on text": (("Transpose", ["W0"], ["W"], {"perm": "012"}),),
        "on axis 9": (("Unsqueeze", ["W0"], ["W"], {"axes": [9]}),),
        "on axis 2**62": (("Unsqueeze", ["W0"], ["W"], {"axes": [2**62]}),),
        "on a million axes": (("Unsqueeze", ["W0"], ["W"], {"axes": list(range(100_000))}),),
        "on an axis that is no number": (("Unsqueeze", ["W0"], ["W"], {"axes": "0"}),),
        "squeezed of a length": (("Squeeze", ["W0"], ["W"], {"axes": [1]}),),
        "of shape (5, 5)": (("Reshape", ["W0"], ["W"], {"shape": [5, 5]}),),
        "of shape (-1, -1)": (("Reshape", ["W0"], ["W"], {"shape": [-1, -1]}),),
        "of shape 2**62": (("Reshape", ["W0", "huge"], ["W"], {}),),
        "of no shape": (("Reshape", ["W0"], ["W"], {}),),
        "of a shape of floats": (("Reshape", ["W0", "W0"], ["W"], {}),),
        "joined on no axis": (("Concat", ["W0", "W0"], ["W"], {}),),
        "joined on axis 9": (("Concat", ["W0", "W0"], ["W"], {"axis": 9}),),
        "joined of several ranks": (("Concat", ["W0", "B"], ["W"], {"axis": 0}),),
        "sliced by nothing": (("Slice", ["W0"], ["W"], {}),),
        "sliced by step 0": (("Slice", ["W0", "zero", "one", "zero", "zero"], ["W"], {}),),
        "sliced on axis 9": (("Slice", ["W0"], ["W"], {"starts": [0], "ends": [1], "axes": [9]}),),
        "sliced by more starts than ends": (("Slice", ["W0"], ["W"], {"starts": [0, 0], "ends": [1]}),),
        "sliced by halves": (("Slice", ["W0", "W0", "W0"], ["W"], {}),),
        "cast to integers": (("Cast", ["W0"], ["W"], {"to": TensorProto.INT8}),),
        "cast to nothing": (("Cast", ["W0"], ["W"], {}),),
        "cast to 2**62": (("Cast", ["W0"], ["W"], {"to": 2**62}),),
        "a constant of nothing": (("Constant", [], ["W"], {}),),
        "a constant of text": (("Constant", [], ["W"], {"value": "text"}),),
        "a constant of a number": (("Constant", [], ["W"], {"value_float": 1.0}),),
        "made twice": (("Identity", ["B"], ["W"], {}), ("Identity", ["P"], ["W"], {})),
    }
    numbers = {"huge": huge, "zero": np.array([0]), "one": np.array([1])}
    for what, chain in steps.items():
        words = (NODE, "X" if what == "of the input" else "W")
        yield Case(f"W {what}", FILE, _chain(*chain, **numbers), words)


def _node_sources() -> Iterator[Case]:
    """W made by one node of W0, which cannot be followed, or stands for far too much."""
    cell = helper.make_tensor("values", TensorProto.FLOAT, [1], [1.0])
    place = helper.make_tensor("i", TensorProto.INT64, [1], [0])
    steps: dict[str, tuple[Any, ...]] = {
        "a sparse constant": (
            "Constant",
            [],
            ["W"],
            {"sparse_value": helper.make_sparse_tensor(cell, place, [1, 4 * H, I])},
        ),
        "a constant of a text": ("Constant", [], ["W"], {"value_string": "W"}),
        "a constant of two": ("Constant", [], ["W"], {"value_int": 1, "value_float": 1.0}),
        "expanded to terabytes": ("Expand", ["W0", "tall"], ["W"], {}),
        "filled to terabytes": ("ConstantOfShape", ["large"], ["W"], {}),
        "gathered to terabytes": ("Gather", ["W0", "indices"], ["W"], {}),
        "split into none": ("Split", ["W0"], ["W"], {"num_outputs": 0}),
        "without a scale": ("DequantizeLinear", ["W0"], ["W"], {}),
        "a shape": ("Shape", ["X"], ["W"], {}),
        "with an unknown attribute": ("Identity", ["W0"], ["W"], {"by": 2}),
        "of too many inputs": ("Identity", ["W0", "R"], ["W"], {}),
        "a second output": ("Identity", ["W0"], ["V", "W"], {}),
    }
    tensors = {
        "tall": np.array([2**40, 1, 1, 1]),
        "large": np.array([2**40, 2**22]),
        "indices": np.zeros((2**16, 9), np.int64),
    }
    for what, step in steps.items():
        yield Case(f"W {what}", FILE, _chain(step, **tensors), (NODE, "X" if what == "a shape" else "W"))


def _bombs() -> Iterator[Case]:
    """Little bytes that stand for many."""
    doubling = [("Concat", [f"W{k}"] * 2, [f"W{k + 1}"], {"axis": 0}) for k in range(60)]
    yield Case("W doubled sixty times", FILE, _chain(*doubling, ("Identity", ["W60"], ["W"], {})), (NODE,))
    wide = ("Concat", ["W0"] * 30_000, ["W"], {"axis": 0})
    yield Case("W of thirty thousand", FILE, _chain(wide), (NODE,))
    empty = [("Concat", [f"E{k}"] * 4, [f"E{k + 1}"], {"axis": 0}) for k in range(60)]
    content = _chain(*empty, ("Identity", ["E60"], ["W"], {}), E0=np.zeros((0, 3), np.float32))
    yield Case("nothing doubled sixty times", FILE, content, (NODE,))
    many = {f"A{k}": np.zeros(0, np.float32) for k in range(20_000)}
    yield Case("twenty thousand tensors", FILE, bytes_of([], many), ("no LSTM",))
    yield Case("five thousand nodes", FILE, bytes_of([lstm_node()] * 5_000), ("5000 LSTM nodes",))


def _quantized_cases() -> Iterator[Case]:
    for name in ("W", "R", "W_scale", "W_zero", "R_scale", "R_zero"):
        wrong: dict[str, Callable[[np.ndarray], np.ndarray]] = {
            "of floats" if "scale" not in name else "of text": (
                (lambda a: a.astype(np.float32))
                if "scale" not in name
                else (lambda a: a.astype(str).astype(object))
            ),
            "of one axis less": lambda a: a[0],
            "of another length": lambda a: a[..., :-1],
            "of no values": lambda a: a[:0],
        }
        if "_" in name and "zero" in name:
            del wrong["of floats"]
        for what, edit in wrong.items():
            if what == "of one axis less" and "_" in name:
                continue
            made = model([_quantized_node()], _tensors_of(_quantized()))
            tensor = _tensor(made.graph, name)
            tensor.CopyFrom(numpy_helper.from_array(edit(numpy_helper.to_array(tensor)), name))
            yield Case(f"quantized {name} {what}", FILE, made.SerializeToString(), (NODE,))
        rest = {other: array for other, array in _tensors_of(_quantized()).items() if other != name}
        yield Case(f"quantized without {name}", FILE, bytes_of([_quantized_node()], rest), (NODE, name))


def _tensors_of(content: bytes) -> dict[str, np.ndarray]:
    import onnx

    made = onnx.ModelProto.FromString(content)
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in made.graph.initializer}


# Random edits: protobuf's wire format as (field, wire type, value), all lengths made right again

Fields = list[tuple[int, int, Any]]


def fields(content: bytes) -> Fields | None:
    """The fields of a message; None where the bytes are none."""
    found: Fields = []
    place = 0
    while place < len(content):
        tag, place = _varint(content, place)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            value, place = _varint(content, place)
            found.append((number, wire, value))
        elif wire in (1, 2, 5):
            size = 8 if wire == 1 else 4
            if wire == 2:
                size, place = _varint(content, place)
            found.append((number, wire, content[place : place + size]))
            place += size
        else:
            return None
        if place < 0 or place > len(content) or number == 0:
            return None
    return found


def _varint(content: bytes, place: int) -> tuple[int, int]:
    """An integer and the place behind it, which is negative where it has no end."""
    value = 0
    for shift in range(0, 70, 7):
        if not 0 <= place < len(content):
            break
        byte = content[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place
    return value, -(1 << 62)


def encoded(message: Fields) -> bytes:
    parts = []
    for number, wire, value in message:
        parts.append(_as_varint(number << 3 | wire))
        if wire == 0:
            parts.append(_as_varint(value))
        else:
            parts += [_as_varint(len(value)), value] if wire == 2 else [value]
    return b"".join(parts)


def _as_varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    parts = bytearray()
    while value > 127:
        parts.append(value & 127 | 128)
        value >>= 7
    parts.append(value)
    return bytes(parts)


def edited(rng: random.Random, good: Good) -> bytes:
    """A change to one field of one message, however deep, with all lengths around it right."""
    return _edited(rng, good.content, 0)


def _edited(rng: random.Random, content: bytes, depth: int) -> bytes:
    message = fields(content)
    if not message or depth > 12:
        return damaged(rng, content, content)
    place = rng.randrange(len(message))
    number, wire, value = message[place]
    if wire == 2 and value and rng.random() < 0.8:
        message[place] = number, wire, _edited(rng, value, depth + 1)
        return encoded(message)
    kind = rng.randrange(6)
    if kind == 0:
        del message[place]
    elif kind == 1:
        message.insert(rng.randrange(len(message) + 1), message[place])
    elif kind == 2:
        other = rng.randrange(len(message))
        message[place], message[other] = message[other], message[place]
    elif kind == 3:
        message[place] = rng.choice((number + 1, number - 1 or 1, rng.randint(1, 30))), wire, value
    elif kind == 4:
        message[place] = number, wire, rng.choice(message)[2] if wire == 2 else value
        if not isinstance(message[place][2], type(value)):
            message[place] = number, 0, message[place][2]
    elif wire == 0:
        message[place] = number, wire, rng.choice((*INTEGERS, value + 1, value - 1, value ^ 1))
    elif wire == 2:
        message[place] = (
            number,
            wire,
            rng.choice((b"", b"\xff", b"W", b"R", b"LSTM", b"Tanh", b"../W", bytes(20))),
        )
    else:
        extreme = struct.pack("<d", rng.choice((0.0, -1.0, float("nan"), float("inf"), 1e308, 5e-324)))
        message[place] = number, wire, extreme[-len(value) :]
    return encoded(message)
