"""ONNX models: what exporters write, nodes of every kind, models of nets, what cannot be read."""

from __future__ import annotations

import os
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import DATA, ROOT, assert_close, assert_same_bits
from variants import VARIANTS, draw, make

import lstm
from lstm import LSTM, FormatError
from lstm.formats import onnx as onnx_format

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

TOLERANCE = {np.dtype(np.float32): 2e-6, np.dtype(np.float64): 1e-12}
LACKING: dict[str, Any] = {"proj_size": 2, "merge": "sum", "cell_clip": 1.0}
IN_ONNX = [name for name, options in VARIANTS.items() if not LACKING.keys() & options.keys()]
BOTH: dict[str, Any] = {
    "num_layers": 3,
    "bidirectional": True,
    "proj_size": 0,
    "merge": "concat",
    "cell_clip": None,
    "mask": None,
    "peephole": False,
    "bias": True,
    "clip": None,
    "input_forget": False,
    "activations": None,
    "lengths": None,
}
H, I = 4, 3  # noqa: E741


def assert_same_net(net: LSTM, other: LSTM) -> None:
    assert repr(net) == repr(other)
    for name, array in net.state_dict().items():
        assert_same_bits(other.state_dict()[name], array, name)


# What exporters write


def recorded() -> dict[str, dict[str, np.ndarray]]:
    """Arrays by name of every model in tests/data/onnx that generate_onnx_fixtures.py wrote."""
    cases: dict[str, dict[str, np.ndarray]] = {}
    with np.load(DATA / "onnx" / "recorded.npz") as file:
        for key, array in file.items():
            case, name = key.split("/")
            cases.setdefault(case, {})[name] = array
    return cases


RECORDED = recorded()
QUANTIZED = [name for name in RECORDED if name.startswith("quantized")]


@pytest.mark.parametrize("backend", ["native", "numpy"])
@pytest.mark.parametrize("case", [name for name in RECORDED if name not in QUANTIZED])
def test_exported_models(case: str, backend: str) -> None:
    """The framework's own outputs; of PyTorch's nets the weights bit for bit, stacks as one net."""
    arrays = RECORDED[case]
    net = lstm.load(DATA / "onnx" / f"{case}.onnx", backend=backend)  # type: ignore[arg-type]
    states = arrays.get("h0"), arrays.get("C0")
    Y, (h_n, C_n) = net.forward_sequence(arrays["X"], *states, return_state=True)
    for name, found in (("Y", Y), ("h_n", h_n), ("C_n", C_n)):
        assert_close(found, arrays[name], name, TOLERANCE)
    if state := {name.removeprefix("state "): a for name, a in arrays.items() if name.startswith("state ")}:
        assert_same_net(net, LSTM.from_torch(state, backend=backend))  # type: ignore[arg-type]


def as_eight_bits(values: np.ndarray) -> np.ndarray:
    """What ONNX Runtime makes of activations before it multiplies them by quantized weights."""
    low, high = min(values.min(), 0), max(values.max(), 0)
    scale = np.float32((high - low) / 255) or np.float32(1)
    zero = np.rint(-low / scale)
    return np.asarray((np.clip(np.rint(values / scale) + zero, 0, 255) - zero) * scale, np.float32)


def with_rounded_activations(net: LSTM, X: np.ndarray) -> np.ndarray:
    """Y of a bidirectional net whose products see x, all at once, and h, row by row, in eight bits."""
    state, x = net.state_dict(), as_eight_bits(X)
    sides = []
    for suffix, way in (("_l0", 1), ("_l0_reverse", -1)):
        W, R = state[f"weight_ih{suffix}"], state[f"weight_hh{suffix}"]
        C = h = np.zeros((len(X), net.hidden_size), np.float32)
        steps = []
        for x_t in x.swapaxes(0, 1)[::way]:
            sums = x_t @ W.T + np.stack([as_eight_bits(row) for row in h]) @ R.T + state[f"bias_ih{suffix}"]
            i, f, g, o = np.split(sums, 4, axis=1)
            C = C / (1 + np.exp(-f)) + np.tanh(g) / (1 + np.exp(-i))
            h = np.tanh(C) / (1 + np.exp(-o))
            steps.append(h)
        sides.append(np.stack(steps[::way], axis=1))
    return np.concatenate(sides, axis=2)


@pytest.mark.parametrize("case", QUANTIZED)
def test_quantized_models(case: str) -> None:
    """Weights stand for what ONNX Runtime takes them for; its rounding of activations explains the rest."""
    arrays = RECORDED[case]
    net = lstm.load(DATA / "onnx" / f"{case}.onnx")
    assert_close(with_rounded_activations(net, arrays["X"]), arrays["Y"], case, TOLERANCE)
    assert np.abs(net.forward_sequence(arrays["X"]) - arrays["Y"]).max() < 4e-3
    (described,) = onnx_format.nodes(DATA / "onnx" / f"{case}.onnx")
    assert list(described.values())[1:] == [3, 4, "bidirectional"]


SILERO = ROOT / "examples" / "speech" / "silero_vad_16k_sequence.onnx"


@pytest.mark.skipif(not SILERO.exists(), reason="needs the source tree")
def test_the_speech_model() -> None:
    net = LSTM.from_onnx(SILERO)
    with np.load(SILERO.parent / "speech.npz") as speech:
        hidden, (h_n, C_n) = net.forward_sequence(speech["features"], return_state=True)
        for name, found in (("hidden", hidden), ("h_n", h_n[0]), ("c_n", C_n[0])):
            assert_close(found, speech[name], name, TOLERANCE)


# Models of nets


@pytest.mark.parametrize("name", [*IN_ONNX, "both"])
def test_onnx_runtime_gives_the_same(name: str, tmp_path: Path) -> None:
    """What to_onnx writes, for any rows and steps; ONNX Runtime has the operator in float32 only."""
    ort = pytest.importorskip("onnxruntime")
    if name == "both":
        mixture = draw(np.random.default_rng(8), np.float32, **BOTH)
        net = mixture.net()
    else:
        net, mixture = make(name, np.float32, 3)
    net.to_onnx(tmp_path / "net.onnx")
    onnx.checker.check_model(tmp_path / "net.onnx", full_check=True)
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(tmp_path / "net.onnx", options, providers=["CPUExecutionProvider"])
    for batch, steps in ((3, 6), (2, 4)):
        X, h0, C0 = mixture.X[:batch, :steps], mixture.h0[:, :batch], mixture.C0[:, :batch]
        expected = session.run(None, {"X": X, "h0": h0, "C0": C0})
        Y, (h_n, C_n) = net.forward_sequence(X, h0, C0, return_state=True)
        for what, found, wanted in zip(("Y", "h_n", "C_n"), (Y, h_n, C_n), expected, strict=True):
            assert_close(found, wanted, what, TOLERANCE)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", [*IN_ONNX, "both"])
def test_there_and_back(name: str, dtype: Any, tmp_path: Path) -> None:
    """Weights bit for bit, several layers as one net; options as float32 has them."""
    if name == "both":
        net = draw(np.random.default_rng(8), dtype, **BOTH).net()
    else:
        net, _ = make(name, dtype, 1)
    net.save(tmp_path / "net.onnx")
    for back in (lstm.load(tmp_path / "net.onnx"), LSTM.from_onnx(onnx.load(tmp_path / "net.onnx"))):
        assert (back.num_layers, back.dtype) == (net.num_layers, net.dtype)
        for key, array in net.state_dict().items():
            assert_same_bits(back.state_dict()[key], array, key)
        assert (back.reverse, back.bidirectional, back.input_forget) == (
            net.reverse,
            net.bidirectional,
            net.input_forget,
        )
        assert (back.clip is None) == (net.clip is None)
        assert back.clip is None or back.clip == np.float32(net.clip)
        assert str(back.activations)[:9] == str(net.activations)[:9]


def test_layers_are_picked(tmp_path: Path) -> None:
    net, _ = make("three layers", np.float32, 1)
    path = tmp_path / "net.onnx"
    net.to_onnx(path)
    for k in range(3):
        own = {
            name.replace(f"_l{k}", "_l0"): array
            for name, array in net.state_dict().items()
            if name.endswith(f"_l{k}")
        }
        for node in (k, f"lstm_{k}", f"sides_{k}", k - 3):
            assert_same_net(lstm.load(path, node=node), LSTM.from_state_dict(own))
    for wrong in ("lstm_3", 3, -4, ""):
        with pytest.raises(
            FormatError, match=r"'lstm_0' \(input_size=5, hidden_size=35, forward\), 'lstm_1'"
        ):
            lstm.load(path, node=wrong)
    for odd in (True, 1.0, ("lstm_0",)):
        with pytest.raises(TypeError, match="node is"):
            LSTM.from_onnx(path, odd)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="takes node= and external_data=, so prefix= does not apply"):
        lstm.load(path, prefix="a")


def test_projections_are_not_written(tmp_path: Path) -> None:
    for name, value in LACKING.items():
        with pytest.raises(ValueError, match=f"ONNX's LSTM has no {name}"):
            LSTM(3, 5, bidirectional=True, **{name: value}).to_onnx(tmp_path / "net.onnx")
    assert not list(tmp_path.iterdir())


def test_the_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r"lstm-native\[onnx\]"):
        LSTM.from_onnx(tmp_path / "net.onnx")
    with pytest.raises(ImportError, match=r"lstm-native\[onnx\]"):
        LSTM(3, 5).to_onnx(tmp_path / "net.onnx")


# Nodes by hand


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


@pytest.mark.parametrize("opset", [7, 14, 22])
@pytest.mark.parametrize("layout", [0, 1])
def test_a_node_by_hand(opset: int, layout: int) -> None:
    attributes = {"layout": layout} if opset >= 14 else {}
    net = LSTM.from_onnx(model([lstm_node(**attributes)], opset=opset))
    assert_same_net(net, expected_net(weights()))


def test_options_of_a_node() -> None:
    node = lstm_node(
        clip=0.5,
        input_forget=1,
        direction="reverse",
        activations=["hardsigmoid", "Affine", "ELU"],
        activation_alpha=[0.25, 0.5, 0.75],
        activation_beta=[0.125],
    )
    net = LSTM.from_onnx(model([node]))
    assert (net.clip, net.input_forget, net.reverse) == (0.5, True, True)
    assert net.activations == (("HardSigmoid", 0.25, 0.125), ("Affine", 0.5, 0.0), ("Elu", 0.75))


def test_chains_of_exporters() -> None:
    """Split, turned, squeezed, joined and cast weights; constants as nodes; the old and the new operators."""
    arrays = weights()
    W, R, B = arrays["W"], arrays["R"], arrays["B"]
    pieces = {
        "W_turned": np.ascontiguousarray(W[0].T),
        "R_long": np.concatenate([R[0], R[0]]).astype(np.float64),
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
        helper.make_node("Identity", ["B_same"], ["B"]),
        lstm_node(["X", "W", "R", "B"]),
    ]
    del arrays["P"]
    assert_same_net(LSTM.from_onnx(model(nodes, pieces)), expected_net(arrays))
    old = {"W_2d": W[0], "R": R, "B_long": np.concatenate([B, B], axis=1)}
    nodes = [
        helper.make_node("Unsqueeze", ["W_2d"], ["W"], axes=[0]),
        helper.make_node("Slice", ["B_long"], ["B"], starts=[0], ends=[8 * H], axes=[1]),
        lstm_node(["X", "W", "R", "B"]),
    ]
    assert_same_net(LSTM.from_onnx(model(nodes, old, opset=9)), expected_net(arrays))


def test_a_node_in_a_branch() -> None:
    """Its weights are seen in the graphs around it."""
    arrays = weights()
    inner = helper.make_graph(
        [lstm_node()],
        "then",
        [],
        [helper.make_tensor_value_info("Y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(arrays.pop("R"), "R")],
    )
    empty = helper.make_graph([helper.make_node("Identity", ["X"], ["Z"])], "else", [], [])
    branch = helper.make_node("If", ["condition"], ["Y"], then_branch=inner, else_branch=empty)
    arrays["condition"] = np.array(True)
    assert_same_net(LSTM.from_onnx(model([branch], arrays)), expected_net(weights()))


@pytest.mark.parametrize("kind", ["float16", "bfloat16", "float64"])
def test_other_floats(kind: str) -> None:
    made = model([lstm_node()])
    for tensor in made.graph.initializer:
        array = numpy_helper.to_array(tensor)
        dtype = (
            helper.np_dtype_to_tensor_dtype(np.dtype(kind)) if kind != "bfloat16" else TensorProto.BFLOAT16
        )
        if kind == "bfloat16":
            raw = (array.view(np.uint32) >> 16).astype("<u2").tobytes()
            tensor.CopyFrom(helper.make_tensor(tensor.name, dtype, array.shape, raw, raw=True))
        else:
            tensor.CopyFrom(numpy_helper.from_array(array.astype(kind), tensor.name))
    net = LSTM.from_onnx(made)
    assert net.dtype == (np.float64 if kind == "float64" else np.float32)
    np.testing.assert_allclose(net.Wf, expected_net(weights()).Wf, rtol=2e-2 if kind == "bfloat16" else 2e-3)


def test_a_quantized_node() -> None:
    """DynamicQuantizeLSTM: what its integers, scales and zero points stand for."""
    rng = np.random.default_rng(3)
    arrays: dict[str, np.ndarray] = {"B": weights()["B"]}
    real = {}
    for name, depth in (("W", I), ("R", H)):
        values = rng.integers(0, 256, (1, depth, 4 * H)).astype(np.uint8)
        scale = rng.uniform(0.01, 0.02, (1, 4 * H)).astype(np.float32)
        zero = rng.integers(100, 150, (1, 4 * H)).astype(np.uint8)
        arrays |= {name: values, f"{name}_scale": scale, f"{name}_zero": zero}
        wide = values.astype(np.float32) - zero.astype(np.float32)[:, np.newaxis]
        real[name] = (wide * scale[:, np.newaxis]).swapaxes(1, 2)
    names = ["X", "W", "R", "B", "", "", "", "", "W_scale", "W_zero", "R_scale", "R_zero"]
    node = helper.make_node(
        "DynamicQuantizeLSTM", names, ["Y"], domain="com.microsoft", hidden_size=H, name="node"
    )
    assert_same_net(LSTM.from_onnx(model([node], arrays)), expected_net({**real, "B": arrays["B"]}))


# Constants and scopes


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


# Several nodes


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


def chain(*steps: tuple[Any, ...]) -> list[Any]:
    """Nodes from Y to v, each (operator, attributes, further inputs)."""
    nodes, given = [], "Y"
    for k, (operator, attributes, *others) in enumerate(steps):
        made = "v" if k == len(steps) - 1 else f"step{k}"
        nodes.append(helper.make_node(operator, [given, *others], [made], **attributes))
        given = made
    return nodes


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
    assert LSTM.from_onnx(whole, "node0").input_size == I


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


# External data


def outside(folder: Path, **entries: str) -> Path:
    """A model in `folder` whose W is in weights.bin beside it, 8 bytes in, as `entries` tell."""
    made = model([lstm_node()])
    W = tensor_of(made.graph, "W")
    (folder / "weights.bin").write_bytes(bytes(8) + W.raw_data + bytes(4))
    values = {"location": "weights.bin", "offset": "8", "length": str(len(W.raw_data)), **entries}
    W.ClearField("raw_data")
    W.data_location = TensorProto.EXTERNAL
    for key, value in values.items():
        if value:
            W.external_data.add(key=key, value=value)
    path = folder / "model.onnx"
    path.write_bytes(made.SerializeToString())
    return path


def test_external_data(tmp_path: Path) -> None:
    """Read where it is asked for, and from a path; onnx's own files too."""
    path = outside(tmp_path)
    for load in (lstm.load, LSTM.from_onnx):
        with pytest.raises(FormatError, match=r"'W' is in another file, 'weights\.bin'.*external_data=True"):
            load(path)
        assert_same_net(load(path, external_data=True), expected_net(weights()))
    net = LSTM(30, 40, num_layers=2, dtype=np.float32, rng=0)
    net.to_onnx(tmp_path / "net.onnx")
    big = onnx.load(tmp_path / "net.onnx")
    onnx.save(big, tmp_path / "split.onnx", save_as_external_data=True, location="split.data")
    assert (tmp_path / "split.data").stat().st_size > 40_000
    assert_same_net(lstm.load(tmp_path / "split.onnx", external_data=True), net)
    os.symlink(tmp_path / "weights.bin", tmp_path / "link.bin")
    assert_same_net(
        lstm.load(outside(tmp_path, location="link.bin"), external_data=True), expected_net(weights())
    )
    with pytest.raises(ValueError, match="lies in no folder"):
        LSTM.from_onnx(big, external_data=True)
    with pytest.raises(TypeError, match="the source is a bytes, but must be a path"):
        LSTM.from_onnx(big.SerializeToString())
    with pytest.raises(TypeError, match="external_data is 1"):
        LSTM.from_onnx(path, external_data=1)  # type: ignore[arg-type]
    LSTM(3, 5).save(tmp_path / "net.npz")
    with pytest.raises(ValueError, match=r"net\.npz takes prefix=.*, so external_data= does not apply"):
        lstm.load(tmp_path / "net.npz", external_data=True)


def test_external_data_of_a_checksum(tmp_path: Path) -> None:
    import hashlib

    path = outside(tmp_path, checksum="0" * 40)
    with pytest.raises(FormatError, match="another checksum"):
        lstm.load(path, external_data=True)
    digest = hashlib.sha1((tmp_path / "weights.bin").read_bytes()).hexdigest()
    assert_same_net(
        lstm.load(outside(tmp_path, checksum=digest), external_data=True), expected_net(weights())
    )


def test_external_data_that_claims_terabytes(tmp_path: Path) -> None:
    path = outside(tmp_path)
    made = onnx.load(path, load_external_data=False)
    W = tensor_of(made.graph, "W")
    W.dims[1] = 2**40
    next(entry for entry in W.external_data if entry.key == "length").value = str(2**40 * 3 * 4)
    path.write_bytes(made.SerializeToString())
    with pytest.raises(FormatError, match="a file of 204 bytes"):
        lstm.load(path, external_data=True)
    with pytest.raises(FormatError, match=r"188 bytes at 8 of 'weights\.bin'.*must have 192"):
        lstm.load(outside(tmp_path, length="188"), external_data=True)


def test_the_same_bytes_many_times(tmp_path: Path) -> None:
    """Tensors that share the bytes of a file do not multiply the memory that it takes."""
    size = 4 << 20
    (tmp_path / "weights.bin").write_bytes(bytes(size))
    others = {name: array for name, array in weights().items() if name != "W"}
    names = [f"W{k}" for k in range(20)]
    made = model([helper.make_node("Concat", names, ["W"], axis=0), lstm_node()], others)
    for name in names:
        tensor = made.graph.initializer.add(name=name, dims=[size // 4], data_type=TensorProto.FLOAT)
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="weights.bin")
    path = tmp_path / "model.onnx"
    path.write_bytes(made.SerializeToString())
    tracemalloc.start()
    with pytest.raises(FormatError, match="more bytes than the model has"):
        lstm.load(path, external_data=True)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * size + (16 << 20)


@pytest.mark.parametrize(
    "entries",
    [
        {"location": name}
        for name in (
            "../weights.bin",
            "./weights.bin", "/dev/zero", ".", "..", "sub/w.bin", "sub\\w.bin", "gone.bin", "C:w",
            "a\0b", "out.bin", "sub", "pipe", "circle.bin", "x" * 3000,
        )
    ]
    + [{"location": "", "key": "value"}]
    + [{"offset": text} for text in ("-1", "9999", "13", "1e1", "9" * 19, "x", "\u0661")]
    + [{"length": text} for text in ("0", "-192", "188", "196", str(2**62), "many")]
    + [{"basepath": "/"}],
)  # fmt: skip
def test_external_data_elsewhere(entries: dict[str, str], tmp_path: Path) -> None:
    """Only regular files next to the model, only bytes that are there, as many as the shape takes."""
    folder = tmp_path / "folder"
    (folder / "sub").mkdir(parents=True)
    (tmp_path / "weights.bin").write_bytes(bytes(4096))
    (folder / "sub" / "w.bin").write_bytes(bytes(4096))
    os.symlink(tmp_path / "weights.bin", folder / "out.bin")
    os.symlink("circle.bin", folder / "circle.bin")
    os.mkfifo(folder / "pipe")
    path = outside(folder, **entries)
    with pytest.raises(FormatError, match=r"model\.onnx"):
        lstm.load(path, external_data=True)


# What cannot be read


def change(edit: Callable[[Any], Any]) -> bytes:
    """A good model with one change."""
    made = model([lstm_node()])
    edit(made.graph)
    return made.SerializeToString()


def tensor_of(graph: Any, name: str) -> Any:
    return next(tensor for tensor in graph.initializer if tensor.name == name)


def attribute(name: str, value: Any) -> bytes:
    return model([lstm_node(**{name: value})]).SerializeToString()


def replaced(name: str, array: np.ndarray) -> bytes:
    return model([lstm_node()], {**weights(), name: array}).SerializeToString()


def sparse_tensor() -> Any:
    values = helper.make_tensor("values", TensorProto.FLOAT, [1], [1.0])
    return helper.make_sparse_tensor(values, helper.make_tensor("i", TensorProto.INT64, [1], [0]), [1, 16, 3])


def twice_hidden_size() -> Any:
    node = lstm_node()
    node.attribute.append(helper.make_attribute("hidden_size", H))
    return model([node])


def broken_models() -> dict[str, bytes]:
    """Models made from a good one, each wrong in one way."""
    good = model([lstm_node()]).SerializeToString()
    files = {f"cut at {k}": good[:k] for k in range(1, len(good), len(good) // 12)}
    files |= {"empty": b"", "text": b"no model at all", "a pickle": b"\x80\x04N."}
    for name, array in weights().items():
        files |= {
            f"{name} of rank {array.ndim + 1}": replaced(name, array[np.newaxis]),
            f"{name} of rank {array.ndim - 1}": replaced(name, array[0]),
            f"{name} too short": replaced(name, array[..., :-1] if name != "W" else array[:, :-1]),
            f"{name} too many": replaced(name, np.concatenate([array, array])),
            f"{name} of integers": replaced(name, array.astype(np.int32)),
            f"{name} of text": replaced(name, array.astype(str).astype(object)),
            f"{name} empty": replaced(name, array[:0]),
            f"{name} missing": change(lambda g, n=name: g.initializer.remove(tensor_of(g, n))),
            f"{name} of too few bytes": change(
                lambda g, n=name: setattr(tensor_of(g, n), "raw_data", b"abc")
            ),
            f"{name} negative": change(lambda g, n=name: tensor_of(g, n).dims.__setitem__(0, -1)),
            f"{name} huge": change(lambda g, n=name: tensor_of(g, n).dims.__setitem__(0, 2**62)),
            f"{name} of an unknown dtype": change(
                lambda g, n=name: setattr(tensor_of(g, n), "data_type", 99)
            ),
            f"{name} in another file": change(lambda g, n=name: setattr(tensor_of(g, n), "data_location", 1)),
        }
    wrong: dict[str, list[Any]] = {
        "hidden_size": [H + 1, 0, -1, "4", [4], 4.0],
        "direction": ["sideways", "", 1, b"\xff"],
        "layout": [2, -1],
        "clip": [0.0, -1.0, float("nan"), float("inf"), "1"],
        "input_forget": [2, -1, "1"],
        "activations": [["Tanh"], ["Tanh", "Tanh", "exec"], ["Tanh"] * 6, "Tanh", [b"\xff"] * 3],
        "activation_alpha": [[1.0]],
        "output_sequence": [1],
        "unheard_of": [1.0],
    }
    for name, values in wrong.items():
        files |= {f"{name}={value!r}": attribute(name, value) for value in values}
    alpha = {"activations": ["Elu", "Tanh", "Tanh"]}
    files["alphas too many"] = model([lstm_node(**alpha, activation_alpha=[1.0, 2.0])]).SerializeToString()
    files["alpha of text"] = model([lstm_node(**alpha, activation_alpha="1")]).SerializeToString()
    files["alpha NaN"] = model([lstm_node(**alpha, activation_alpha=[float("nan")])]).SerializeToString()
    chains = {
        "a circle": [("Identity", ["W2"], ["W"], {}), ("Identity", ["W"], ["W2"], {})],
        "computed weights": [("Add", ["W0", "W0"], ["W"], {})],
        "weights from the input": [("Identity", ["X"], ["W"], {})],
        "a wrong turn": [("Transpose", ["W0"], ["W"], {"perm": [0, 0, 1]})],
        "a wrong axis": [("Unsqueeze", ["W0"], ["W"], {"axes": [9]})],
        "a wrong shape": [("Reshape", ["W0"], ["W"], {"shape": [5, 5]})],
        "no axis": [("Concat", ["W0", "W0"], ["W"], {})],
        "a cast to integers": [("Cast", ["W0"], ["W"], {"to": TensorProto.INT8})],
        "nothing": [("Identity", [], ["W"], {})],
    }
    for name, chain in chains.items():
        arrays = {**weights(), "W0": weights()["W"]}
        del arrays["W"]
        nodes = [helper.make_node(kind, given, made, **options) for kind, given, made, options in chain]
        files[name] = model([*nodes, lstm_node()], arrays).SerializeToString()
    for name, (node, more) in {
        "sparse": (helper.make_node("Constant", [], ["W"], sparse_value=sparse_tensor()), {}),
        "text": (helper.make_node("Constant", [], ["W"], value_string="W"), {}),
        "a constant of nothing": (helper.make_node("Constant", [], ["W"]), {}),
        "a constant of two": (helper.make_node("Constant", [], ["W"], value_int=1, value_float=1.0), {}),
        "terabytes": (helper.make_node("Expand", ["W0", "n"], ["W"]), {"n": np.array([2**40, 1, 1, 1])}),
        "terabytes of one": (
            helper.make_node("ConstantOfShape", ["n"], ["W"]),
            {"n": np.array([2**40, 2**22])},
        ),
        "gathered terabytes": (
            helper.make_node("Gather", ["W0", "n"], ["W"]),
            {"n": np.zeros((2**16, 9), np.int64)},
        ),
        "joined a million times": (helper.make_node("Concat", ["W0"] * 100_000, ["W"], axis=0), {}),
        "cut into parts that are none": (helper.make_node("Split", ["W0"], ["W"], num_outputs=0), {}),
        "an unknown domain": (helper.make_node("Identity", ["W0"], ["W"], domain="own"), {}),
        "no scale": (helper.make_node("DequantizeLinear", ["W0"], ["W"]), {}),
        "a name of nothing": (helper.make_node("Identity", ["nothing"], ["W"]), {}),
        "a shape": (helper.make_node("Shape", ["X"], ["W"]), {}),
        "an unknown attribute of a rearrangement": (helper.make_node("Identity", ["W0"], ["W"], by=2), {}),
        "too many inputs of a rearrangement": (helper.make_node("Identity", ["W0", "R"], ["W"]), {}),
        "a second output": (helper.make_node("Identity", ["W0"], ["V", "W"]), {}),
    }.items():
        arrays = {**weights(), "W0": weights()["W"], **more}
        del arrays["W"]
        files[name] = model([node, lstm_node()], arrays).SerializeToString()
    files["opset 6"] = model([lstm_node()], opset=6).SerializeToString()
    files["layout before opset 14"] = model([lstm_node(layout=1)], opset=13).SerializeToString()
    files["an attribute twice"] = twice_hidden_size().SerializeToString()
    files["a reference outside a function"] = change(
        lambda g: setattr(g.node[0].attribute[0], "ref_attr_name", "a")
    )
    files["an attribute without a type"] = change(lambda g: g.node[0].attribute[0].ClearField("type"))
    tied = [helper.make_node("Concat", [f"E{k}", f"E{k}"], [f"E{k + 1}"], axis=0) for k in range(90)]
    arrays = {**weights(), "E0": np.zeros((0, 4 * H, I), np.float32)}
    files["ninety empty doublings"] = model([*tied, lstm_node(["X", "E90", "R"])], arrays).SerializeToString()
    doubling = [helper.make_node("Concat", [f"W{k}", f"W{k}"], [f"W{k + 1}"], axis=0) for k in range(60)]
    arrays = {**weights(), "W0": weights()["W"]}
    files["a doubling bomb"] = model([*doubling, lstm_node(["X", "W60", "R"])], arrays).SerializeToString()
    files["no node"] = model([]).SerializeToString()
    files["two nodes"] = model([lstm_node(), lstm_node()]).SerializeToString()
    files["a GRU"] = model([helper.make_node("GRU", ["X", "W", "R"], ["Y"])]).SerializeToString()
    files["no W"] = model([lstm_node(["X"])]).SerializeToString()
    files["inputs too many"] = model(
        [lstm_node(["X", "W", "R", "B", "", "", "", "P", "W"])]
    ).SerializeToString()
    files["both directions"] = attribute("direction", "bidirectional")
    return files


BROKEN = broken_models()


def test_there_are_many() -> None:
    assert len(BROKEN) >= 100
    LSTM.from_onnx(model([lstm_node()]))


@pytest.mark.parametrize("name", BROKEN)
def test_broken_models(name: str, tmp_path: Path) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(BROKEN[name])
    tracemalloc.start()
    began = time.process_time()
    try:
        with pytest.raises(FormatError, match=r"broken\.onnx"):
            lstm.load(path)
        seconds, (_, peak) = time.process_time() - began, tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert seconds < 1
    assert peak < 2 * len(BROKEN[name]) + (16 << 20)
