"""Several ONNX nodes: which are the layers of one net."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx_models import H, I, chain, model, weights
from support import assert_same_bits

from lstm import LSTM, FormatError

onnx = pytest.importorskip("onnx")
from onnx import helper, numpy_helper  # noqa: E402


def two_nodes(
    between: list[Any],
    first: dict[str, Any] | None = None,
    second: dict[str, Any] | None = None,
    width: int = 2 * H,
) -> Any:
    """Two bidirectional nodes, `between` leading from Y (T, D, B, H) to v."""
    arrays = {f"{name}{k}": a for k in (0, 1) for name, a in weights(k, 2).items() if name in ("W", "R", "B")}
    arrays["W1"] = np.random.default_rng(5).uniform(-1, 1, (2, 4 * H, width)).astype(np.float32)
    arrays |= {"side": np.array([0, 0, -1]), "fixed": np.array([5, 2, 2 * H]), "one": np.array([1])}
    options = {"hidden_size": H, "direction": "bidirectional"}
    attributes = [{**options, **(given or {})} for given in (first, second)]
    lengths = [given.pop("lengths", "") for given in attributes]
    has_bias = [given.pop("bias", True) for given in attributes]
    nodes = [
        helper.make_node(
            "LSTM", ["v" if k else "X", f"W{k}", f"R{k}", f"B{k}" if has_bias[k] else "", lengths[k]],
            ["Z" if k else "Y"], name=f"node{k}", **attributes[k],
        )
        for k in (0, 1)
    ]  # fmt: skip
    return model([nodes[0], *between, nodes[1]], arrays, opset=15)


TURNED = {"perm": [0, 2, 1, 3]}
SIDE_BY_SIDE = chain(("Transpose", TURNED), ("Reshape", {}, "side"))


@pytest.mark.parametrize(
    ("between", "layouts"),
    [
        (SIDE_BY_SIDE, (0, 0)),
        (chain(("Identity", {}), ("Dropout", {}), ("Transpose", TURNED), ("Reshape", {}, "side")), (0, 0)),
        (chain(("Transpose", TURNED), ("Reshape", {}, "fixed")), (0, 0)),
        (chain(("Reshape", {}, "side")), (1, 1)),
        (chain(("Transpose", {"perm": [2, 0, 1, 3]}), ("Reshape", {}, "side")), (0, 1)),
        (
            [
                helper.make_node("Split", ["Y"], ["a4", "b4"], axis=1),
                helper.make_node("Squeeze", ["a4", "one"], ["a"]),
                helper.make_node("Squeeze", ["b4", "one"], ["b"]),
                helper.make_node("Concat", ["a", "b"], ["v"], axis=2),
            ],
            (0, 0),
        ),
    ],
)  # fmt: skip
def test_what_is_a_stack(between: list[Any], layouts: tuple[int, int]) -> None:
    whole = two_nodes(between, *({"layout": layout} for layout in layouts))
    net = LSTM.from_onnx(whole)
    assert net.num_layers == 2
    for k in range(2):
        for name, array in LSTM.from_onnx(whole, k).state_dict().items():
            assert_same_bits(net.state_dict()[name.replace("_l0", f"_l{k}")], array, name)


NO_STACKS = {
    "directions one after the other": (two_nodes(chain(("Reshape", {}, "side"))), "another arrangement"),
    "time and batch swapped": (
        two_nodes(chain(("Transpose", {"perm": [2, 0, 1, 3]}), ("Reshape", {}, "side"))),
        "another arrangement",
    ),
    "backward before forward": (
        two_nodes(
            [
                helper.make_node("Split", ["Y"], ["a4", "b4"], axis=1),
                helper.make_node("Squeeze", ["a4", "one"], ["a"]),
                helper.make_node("Squeeze", ["b4", "one"], ["b"]),
                helper.make_node("Concat", ["b", "a"], ["v"], axis=2),
            ]
        ),
        "another arrangement",
    ),
    "a sum between": (
        two_nodes(
            [
                *chain(("Transpose", TURNED), ("Reshape", {}, "side"))[:1],
                helper.make_node("Reshape", ["step0", "side"], ["rows"]),
                helper.make_node("Add", ["rows", "rows"], ["v"]),
            ]
        ),
        "do not take each other's outputs|another arrangement",
    ),
    "the input beside it": (
        two_nodes(
            [
                *chain(("Transpose", TURNED), ("Reshape", {}, "side"))[:1],
                helper.make_node("Reshape", ["step0", "side"], ["rows"]),
                helper.make_node("Concat", ["rows", "X"], ["v"], axis=2),
            ],
            width=2 * H + I,
        ),
        "more than the outputs of one",
    ),
    "not the outputs": (two_nodes([helper.make_node("Identity", ["X"], ["v"])], width=I), "do not take"),
    "a circle": (two_nodes([helper.make_node("Identity", ["Z"], ["v"])]), "do not take|another arrangement"),
    "an unknown operator": (
        two_nodes([helper.make_node("Identity", ["Y"], ["v"], domain="x")]),
        "do not take",
    ),
    "other directions": (two_nodes(SIDE_BY_SIDE, {}, {"direction": "reverse"}), "differ in direction"),
    "other activations": (
        two_nodes(SIDE_BY_SIDE, {}, {"activations": ["Sigmoid", "Tanh", "Relu"] * 2}),
        "differ in activations",
    ),
    "another clip": (two_nodes(SIDE_BY_SIDE, {"clip": 1.0}, {"clip": 2.0}), "differ in clip"),
    "coupled gates": (two_nodes(SIDE_BY_SIDE, {"input_forget": 1}), "differ in input_forget"),
    "biases of one": (two_nodes(SIDE_BY_SIDE, {}, {"bias": False}), "differ in biases"),
    "lengths of one": (two_nodes(SIDE_BY_SIDE, {"lengths": "one"}), "differ in sequence_lens"),
    "in training": (
        two_nodes([*SIDE_BY_SIDE[:1], helper.make_node("Reshape", ["step0", "side"], ["w"]),
                   helper.make_node("Constant", [], ["yes"], value_int=1),
                   helper.make_node("Dropout", ["w", "", "yes"], ["v"])]),
        "another arrangement",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NO_STACKS)
def test_what_is_no_stack(name: str) -> None:
    """The error says why, and lists the nodes by name and shape; each can be had by itself."""
    whole, why = NO_STACKS[name]
    with pytest.raises(FormatError, match=why) as caught:
        LSTM.from_onnx(whole)
    assert "2 LSTM nodes" in str(caught.value)
    assert "pick one by node=: 'node0' (input_size=3, hidden_size=4, bidirectional), 'node1' (" in str(
        caught.value
    )
    assert LSTM.from_onnx(whole, "node0", initial_states="drop").input_size == I


def test_every_layer_is_checked() -> None:
    whole = two_nodes(SIDE_BY_SIDE, {}, {"hidden_size": H + 1})
    with pytest.raises(FormatError, match="node 'node1' has hidden_size 5, but R of shape"):
        LSTM.from_onnx(whole)


def test_layers_of_other_sizes_are_no_stack() -> None:
    whole = two_nodes(SIDE_BY_SIDE, {}, {"hidden_size": H + 1})
    for tensor in whole.graph.initializer:
        if tensor.name in ("W1", "R1", "B1"):
            array = numpy_helper.to_array(tensor)
            rows = [(0, 0)] * array.ndim
            rows[1] = (0, 8 if tensor.name == "B1" else 4)
            if tensor.name == "R1":
                rows[2] = (0, 1)
            tensor.CopyFrom(numpy_helper.from_array(np.pad(array, rows), tensor.name))
    with pytest.raises(FormatError, match=r"differ in hidden_size.*hidden_size=5"):
        LSTM.from_onnx(whole)


@pytest.mark.parametrize("source", ["h_n0", "C_n0"])
def test_a_layer_that_starts_from_another_one_s_states(source: str) -> None:
    """An encoder and a decoder are no layers of one net, also through operators in between."""
    arrays = {f"{name}{k}": array for k in range(2) for name, array in weights().items()}
    nodes = [
        helper.make_node(
            "LSTM", ["X", "W0", "R0", "B0"], ["Y0", "h_n0", "C_n0"], name="encoder", hidden_size=H
        ),
        helper.make_node("Squeeze", ["Y0", "axes"], ["X1"]),
        helper.make_node("Mul", [source, "half"], ["state"]),
        helper.make_node(
            "LSTM", ["X1", "W1", "R1", "B1", "", "state"], ["Y1"], name="decoder", hidden_size=H
        ),
    ]
    extra = {
        "axes": np.array([1]),
        "half": np.array(0.5, np.float32),
        "W1": np.ones((1, 4 * H, H), np.float32),
    }
    whole = model(nodes, {**arrays, **extra})
    with pytest.raises(FormatError, match="'decoder' takes its initial_h from another LSTM"):
        LSTM.from_onnx(whole)
    assert LSTM.from_onnx(whole, "encoder").hidden_size == H
    with pytest.raises(FormatError, match="has initial_h 'state' that another LSTM gives"):
        LSTM.from_onnx(whole, "decoder")
    assert LSTM.from_onnx(whole, "decoder", initial_states="drop").hidden_size == H


STATES = np.random.default_rng(5).uniform(-1, 1, (1, 2, H)).astype(np.float32)


@pytest.mark.parametrize("name", ["initial_h", "initial_c", "sequence_lens"])
@pytest.mark.parametrize("expanded", [False, True])
def test_constants_that_a_net_takes_from_its_caller(name: str, expanded: bool) -> None:
    """They raise unless they are dropped; zeros are dropped in any case."""
    place = {"sequence_lens": 4, "initial_h": 5, "initial_c": 6}[name]
    values = np.array([3, 2], np.int32) if name == "sequence_lens" else STATES
    if expanded and name == "sequence_lens":
        pytest.skip("lengths are not expanded")

    def made(array: np.ndarray) -> Any:
        inputs = ["X", "W", "R", "B", "", "", ""]
        inputs[place] = "state"
        nodes = [helper.make_node("LSTM", inputs, ["Y"], name="node", hidden_size=H)]
        arrays = {**weights(), "given" if expanded else "state": array[:, :1] if expanded else array}
        if expanded:  # to a batch that the model is told when it runs
            nodes = [
                helper.make_node("Shape", ["X"], ["shape"]),
                helper.make_node("Slice", ["shape", "one", "two"], ["batch"]),
                helper.make_node("Concat", ["one", "batch", "last"], ["target"], axis=0),
                helper.make_node("Expand", ["given", "target"], ["state"]),
                *nodes,
            ]
            arrays |= {"one": np.array([1]), "two": np.array([2]), "last": np.array([H])}
        return model(nodes, arrays)

    with pytest.raises(FormatError, match=f"constant {name} 'state'") as caught:
        LSTM.from_onnx(made(values))
    assert 'initial_states="drop"' in str(caught.value)
    net = LSTM.from_onnx(made(values), initial_states="drop")
    if name != "sequence_lens":
        assert repr(LSTM.from_onnx(made(np.zeros_like(values)))) == repr(net)
    for wrong, error in ((None, TypeError), ("keep", ValueError)):
        with pytest.raises(error, match="initial_states is"):
            LSTM.from_onnx(made(values), initial_states=wrong)  # type: ignore[arg-type]


def node_of(operator: str, inputs: str, **attributes: Any) -> Any:
    return helper.make_node(operator, inputs.split(), ["state"], **attributes)


SOME, NOTHING = STATES[:, :1], np.zeros((1, 1, H), np.float32)
# The node that makes the state of a constant `given` (1, 1, H), of X or of an input; and further constants.
MADE: dict[str, tuple[Any, dict[str, np.ndarray]]] = {
    "repeated": (node_of("Tile", "given repeats"), {"repeats": np.array([1, 2, 1])}),
    "repeated to a batch of the call": (node_of("Tile", "given batch"), {}),
    "added to zeros": (node_of("Add", "zeros given"), {"zeros": np.zeros((1, 2, H), np.float32)}),
    "multiplied": (node_of("Mul", "ones given"), {"ones": np.ones((1, 2, H), np.float32)}),
    "through a layer": (node_of("MatMul", "given square"), {"square": np.eye(H, dtype=np.float32)}),
    "bounded": (node_of("Tanh", "given"), {}),
    "chosen": (node_of("Where", "yes given zeros"), {"yes": np.array(True), "zeros": NOTHING}),
    "beside zeros": (node_of("Concat", "zeros given", axis=1), {"zeros": NOTHING}),
    "of another model": (node_of("Gather", "given places", axis=1), {"places": np.array([0, 0])}),
}


@pytest.mark.parametrize("name", MADE)
def test_states_that_the_model_makes_of_constants(name: str) -> None:
    """Whatever operators they come through: zeros stay zeros, anything else is asked for."""
    node, constants = MADE[name]
    lstm_node = helper.make_node("LSTM", ["X", "W", "R", "B", "", "state"], ["Y"], name="node", hidden_size=H)

    def made(given: np.ndarray) -> Any:
        whole = model([node, lstm_node], {**weights(), "given": given, **constants})
        whole.graph.input.append(helper.make_tensor_value_info("batch", onnx.TensorProto.INT64, [3]))
        return whole

    with pytest.raises(FormatError, match=r"constant initial_h 'state' .*'given'.* of lstm\.tensors\(path\)"):
        LSTM.from_onnx(made(SOME))
    assert repr(LSTM.from_onnx(made(NOTHING))) == repr(LSTM.from_onnx(made(SOME), initial_states="drop"))


def test_states_that_the_model_computes() -> None:
    """Of its inputs, by more than moves; an input itself, however turned and cut, is the caller's."""
    lstm_node = helper.make_node("LSTM", ["X", "W", "R", "B", "", "state"], ["Y"], name="node", hidden_size=H)
    cut = {"one": np.array([1]), "two": np.array([2]), "zero": np.array([0])}
    for nodes, is_computed in (
        ([node_of("Tanh", "given")], True),
        ([node_of("ReduceSum", "X")], True),
        ([node_of("RandomNormal", "", shape=[1, 2, H])], True),
        ([node_of("Cast", "given", to=1)], False),
        ([node_of("Transpose", "given", perm=[1, 0, 2])], False),
        ([node_of("Slice", "given one two zero")], False),
        ([node_of("Concat", "given given", axis=1)], False),
        ([node_of("Split", "given", axis=0)], False),
    ):
        whole = model([*nodes, lstm_node], {**weights(), **cut})
        whole.graph.input.append(helper.make_tensor_value_info("given", onnx.TensorProto.FLOAT, None))
        if is_computed:
            with pytest.raises(FormatError, match="initial_h 'state' that the model computes") as caught:
                LSTM.from_onnx(whole)
            assert 'initial_states="drop", and give h0= at every call' in str(caught.value)
            assert LSTM.from_onnx(whole, initial_states="drop").hidden_size == H
        else:
            assert LSTM.from_onnx(whole).hidden_size == H


def test_lengths_that_the_model_makes_of_constants() -> None:
    lstm_node = helper.make_node("LSTM", ["X", "W", "R", "B", "state"], ["Y"], name="node", hidden_size=H)
    made = node_of("Add", "given given")
    given = {"given": np.array([1.5, 1.0], np.float32)}
    with pytest.raises(FormatError, match="has constant sequence_lens 'state'"):
        LSTM.from_onnx(model([made, lstm_node], {**weights(), **given}))


@pytest.mark.parametrize("shape", [(1, 2, H + 1), (2, 2, H), (2, H)])
def test_constant_states_that_do_not_fit_the_node(shape: tuple[int, ...]) -> None:
    node = helper.make_node("LSTM", ["X", "W", "R", "B", "", "state"], ["Y"], name="node", hidden_size=H)
    with pytest.raises(FormatError, match="has initial_h of shape"):
        LSTM.from_onnx(model([node], {**weights(), "state": np.zeros(shape, np.float32)}))
