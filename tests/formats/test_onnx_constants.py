"""Weights of an ONNX node that other nodes compute, in graphs, branches and functions."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from onnx_models import H, I, assert_same_net, expected_net, lstm_node, model, weights
from support import assert_same_bits

from lstm import LSTM, FormatError
from lstm.formats import onnx as onnx_format

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402


def standing_for(node: Any, arrays: dict[str, np.ndarray] | None = None, opset: int = 22) -> LSTM:
    """The net of a model in which `node`, or several, make R of other constants."""
    made = node if isinstance(node, list) else [node]
    others = {name: array for name, array in weights().items() if name != "R"}
    return LSTM.from_onnx(model([*made, lstm_node()], {**others, **(arrays or {})}, opset=opset))


FLAT = list(range(4 * H * H))


@pytest.mark.parametrize(
    ("nodes", "arrays", "opset"),
    [
        ([("Constant", [], {"value_floats": [0.5] * 4}), ("Concat", ["0"] * 16, {"axis": 0})], {}, 13),
        ([("Constant", [], {"value_float": 0.5}), ("Expand", ["0", "flat"], {})], {"flat": [64]}, 13),
        (
            [
                ("Constant", [], {"value_ints": [64]}),
                ("Constant", [], {"value_float": 0.5}),
                ("Expand", "10", {}),
            ],
            {},
            13,
        ),
        (
            [("Constant", [], {"value_int": 0}), ("Gather", ["x", "0"], {})],
            {"x": [[0.5] * 64, [0.25] * 64]},
            13,
        ),
        ([("ConstantOfShape", ["n"], {"value": [0.5]})], {"n": [64]}, 9),
        ([("Split", ["x"], {"axis": 1, "split": [1, 2]})], {"x": [[0.5, 1, 1]] * 64}, 9),
        ([("Split", ["x", "n"], {"axis": 1})], {"x": [[0.5, 1, 1]] * 64, "n": [1, 2]}, 13),
        ([("Split", ["x"], {"axis": 0, "num_outputs": 2})], {"x": [0.5] * 64 + [1] * 63}, 18),
        ([("Split", ["x"], {"axis": 0})], {"x": [0.5] * 64 + [1] * 64}, 9),
        (
            [("Shape", ["x"], {"start": 1}), ("Mul", ["0", "0"], {}), ("Slice", ["y", "z", "1"], {})],
            {"x": [[1.0] * 8], "y": [0.5] * 70, "z": [0]},
            15,
        ),
        ([("Dropout", ["x"], {})], {"x": [0.5] * 64}, 13),
        ([("DequantizeLinear", ["x", "s", "z"], {})], {"x": [7] * 64, "s": 0.125, "z": 3}, 13),
        ([("DequantizeLinear", ["x", "s"], {"axis": 0})], {"x": [2] * 64, "s": [0.25] * 64}, 13),
        (
            [("DequantizeLinear", ["x", "s", "z"], {"axis": 0, "block_size": 32})],
            {"x": [4] * 64, "s": [0.25, 0.125], "z": [2, 0]},
            21,
        ),
    ],
)
def test_constants(nodes: list[Any], arrays: dict[str, Any], opset: int) -> None:
    """R of 64 halves, made in many ways: the net of the same R that is stored."""
    stored = {}
    for name, values in arrays.items():
        array = np.array(values)
        kind = {"x": np.int8, "z": np.int8} if nodes[0][0] == "DequantizeLinear" else {}
        stored[name] = array.astype(kind.get(name, np.float32 if array.dtype.kind == "f" else array.dtype))
    made = []
    for k, (operator, inputs, attributes) in enumerate(nodes):
        outputs = [str(k), "rest"] if operator == "Split" else [str(k)]
        given = {
            n: numpy_helper.from_array(np.float32(v)) if n == "value" else v for n, v in attributes.items()
        }
        made.append(helper.make_node(operator, list(inputs), outputs, **given))
    stored["whole"] = np.array([1, 4 * H, H])
    made.append(helper.make_node("Reshape", [str(len(nodes) - 1), "whole"], ["R"]))
    halves = {**weights(), "R": np.full((1, 4 * H, H), 0.5, np.float32)}
    assert_same_net(standing_for(made, stored, opset), expected_net(halves))


OLD = [
    ("Concat", "ab", {}, range(1, 4)),
    ("Concat", "ab", {"axis": 1}, range(1, 8)),
    ("Cast", "w", {"to": "FLOAT"}, range(1, 8)),
    ("Cast", "w", {"to": TensorProto.FLOAT}, range(1, 8)),
    ("Dropout", "R0", {"is_test": 1, "ratio": 0.5}, range(1, 7)),
    ("Dropout", "R0", {"ratio": 0.5}, range(7, 8)),
    ("Identity", "R0", {"consumed_inputs": [0]}, range(1, 6)),
]


@pytest.mark.parametrize(("operator", "inputs", "attributes", "opsets"), OLD)
def test_operators_of_old_opsets(
    operator: str, inputs: str, attributes: dict[str, Any], opsets: range
) -> None:
    """As they were up to opset 6, and what they no longer take raises."""
    R = weights()["R"]
    arrays = {"a": R[:, :5], "b": R[:, 5:], "w": R.astype(np.float64), "R0": R}
    names = list(inputs) if inputs != "R0" else ["R0"]
    made = helper.make_node(operator, names, ["R"], **attributes)
    for opset in range(1, 8):
        if opset in opsets:
            assert_same_net(standing_for(made, arrays, opset), expected_net(weights()))
        else:
            with pytest.raises(FormatError, match=f"(by|of) {operator}"):
                standing_for(made, arrays, opset)


def test_shapes_that_are_declared() -> None:
    """A length that is only known of an input's declaration, as unoptimized exports cut weights by."""
    arrays = {"long": np.concatenate([weights()["R"], weights(1)["R"]], axis=2), "zero": np.array([0])}
    nodes = [
        helper.make_node("Shape", ["state"], ["units"], start=2),
        helper.make_node("Constant", [], ["axis"], value_ints=[2]),
        helper.make_node("Slice", ["long", "zero", "units", "axis"], ["R"]),
        lstm_node(),
    ]
    others = {name: array for name, array in weights().items() if name != "R"}
    made = model(nodes, {**others, **arrays}, opset=15)
    made.graph.input.append(helper.make_tensor_value_info("state", TensorProto.FLOAT, [1, "batch", H]))
    assert_same_net(LSTM.from_onnx(made), expected_net(weights()))
    made.graph.input[-1].type.tensor_type.shape.dim[2].dim_param = "open"
    with pytest.raises(FormatError, match="the shape of 'state' is not known"):
        LSTM.from_onnx(made)


def test_inner_names_hide_outer_ones() -> None:
    """What a body of a loop is given is no constant, whatever has its name outside."""
    body = helper.make_graph(
        [lstm_node()], "body", [helper.make_tensor_value_info("R", TensorProto.FLOAT, None)], []
    )
    with pytest.raises(FormatError, match="'R' is no constant"):
        LSTM.from_onnx(model([helper.make_node("Loop", ["", "", "X"], ["Z"], body=body)], weights()))
    with pytest.raises(FormatError, match="'R' is defined twice"):
        standing_for([helper.make_node("Identity", ["W"], ["R"])] * 2)


def function_model(calls: int = 1, **changes: Any) -> Any:
    """A model whose LSTM is in a function: clip by the call, R turned in another function, W and B given."""
    nodes = [
        helper.make_node("turn", ["R_turned"], ["R"], domain="own"),
        helper.make_node("Constant", [], ["P"], value=numpy_helper.from_array(weights()["P"])),
        lstm_node(["X", "W", "R", "B", "", "", "", "P"], activations=["Sigmoid", "Tanh", "Elu"]),
        helper.make_node("Squeeze", ["Y", "one"], ["rows"]),
        helper.make_node("Constant", [], ["one"], value_ints=[1]),
    ]
    clip = helper.make_attribute("clip", 0.0)
    clip.ClearField("f")
    clip.ref_attr_name = "bound"
    nodes[2].attribute.append(clip)
    turn = [helper.make_node("Transpose", ["a"], ["b"], perm=[0, 2, 1])]
    opsets = [helper.make_opsetid("", 14), helper.make_opsetid("own", 1)]
    functions = [
        helper.make_function("own", "turn", ["a"], ["b"], turn, opsets),
        helper.make_function("own", "layer", ["X", "W", "R_turned", "B"], ["rows"], nodes, opsets, ["bound"]),
    ]
    arrays = weights()
    arrays |= {"R_turned": arrays.pop("R").swapaxes(1, 2).copy(), "V": weights(1)["R"]}
    del arrays["P"]
    made = [
        helper.make_node(
            "layer", [f"v{k}" if k else "X", "V" if k else "W", "R_turned", "B"], [f"v{k + 1}"], domain="own",
            name=f"call_{k}", bound=0.5,
        )
        for k in range(calls)
    ]  # fmt: skip
    whole = model([*made, helper.make_node("Identity", [f"v{calls}"], ["Y"])], arrays, functions=functions)
    whole.opset_import.append(helper.make_opsetid("own", 1))
    return whole


def test_a_node_in_a_function() -> None:
    net = LSTM.from_onnx(function_model())
    expected = expected_net(weights(), clip=0.5, activations=["Sigmoid", "Tanh", "Elu"])
    assert_same_net(net, expected)
    assert onnx_format.nodes(function_model()) == [
        {"name": "call_0/node", "input_size": I, "hidden_size": H, "direction": "forward"}
    ]


def test_a_stack_of_calls() -> None:
    """One function called for every layer: nodes of the same name, told apart by the calls."""
    whole = function_model(3)
    net = LSTM.from_onnx(whole)
    assert net.num_layers == 3
    for k in range(3):
        one = LSTM.from_onnx(whole, f"call_{k}/node")
        for name, array in one.state_dict().items():
            assert_same_bits(net.state_dict()[name.replace("_l0", f"_l{k}")], array, name)
    assert [names[0] for _, names in onnx_format.names(whole)] == [f"call_{k}/node" for k in range(3)]


def test_functions_that_never_end() -> None:
    """A function that calls itself, and forty that call each the next one twice."""
    whole = function_model()
    whole.functions[1].node.append(helper.make_node("layer", [], ["a"], domain="own"))
    with pytest.raises(FormatError, match="'layer' calls itself"):
        LSTM.from_onnx(whole)
    whole = function_model()
    opsets = whole.functions[0].opset_import
    for k in range(40):
        inner = [helper.make_node(f"f{k + 1}" if k < 39 else "layer", [], [o], domain="own") for o in "ab"]
        whole.functions.append(helper.make_function("own", f"f{k}", [], ["a"], inner, opsets))
    whole.graph.node.append(helper.make_node("f0", [], ["z"], domain="own"))
    began = time.process_time()
    with pytest.raises(FormatError, match="too many calls"):
        LSTM.from_onnx(whole)
    assert time.process_time() - began < 1
    whole = function_model()
    whole.functions[0].node[0].CopyFrom(helper.make_node("turn", ["a"], ["b"], domain="own"))
    with pytest.raises(FormatError, match="too long or a circle"):
        LSTM.from_onnx(whole)


def test_graphs_in_graphs() -> None:
    """Branches ten deep are followed; a hundred deep, as a ModelProto may hold, are refused."""
    for depth, is_good in ((10, True), (100, False)):
        made = model([], weights())
        graph = made.graph
        for _ in range(depth):
            node = graph.node.add(op_type="If", output=["Z"])
            graph = node.attribute.add(name="then_branch", type=onnx.AttributeProto.GRAPH).g
        graph.node.append(lstm_node())
        if is_good:
            assert_same_net(LSTM.from_onnx(made), expected_net(weights()))
        else:
            with pytest.raises(FormatError, match="one in the other"):
                LSTM.from_onnx(made)
