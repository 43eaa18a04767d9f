"""ONNX models: what exporters write, models of nets, nodes by hand, what cannot be read."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx_models import TOLERANCE, H, I, assert_same_net, expected_net, lstm_node, model, weights
from support import DATA, ROOT, assert_close, assert_same_bits
from variants import VARIANTS, draw, make

import lstm
from lstm import LSTM, FormatError
from lstm.formats import onnx as onnx_format

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

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
    with pytest.raises(ValueError, match=r"takes node= and .*initial_states=, so prefix= does not apply"):
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


@pytest.mark.parametrize("opset", [1, 6, 7, 14, 22])
@pytest.mark.parametrize("layout", [0, 1])
def test_a_node_by_hand(opset: int, layout: int) -> None:
    attributes = {"layout": layout} if opset >= 14 else {}
    net = LSTM.from_onnx(model([lstm_node(**attributes)], opset=opset))
    assert_same_net(net, expected_net(weights()))


def test_a_model_of_the_time_before_opsets() -> None:
    """It has none to import, and asks for its outputs."""
    made = model([lstm_node(output_sequence=1)], opset=1)
    made.ir_version = 2
    made.ClearField("opset_import")
    assert_same_net(LSTM.from_onnx(made), expected_net(weights()))


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


BEND = ["HardSigmoid", "LeakyRelu", "ScaledTanh"]
# Activations, alpha and beta of a node that ONNX Runtime runs: one direction or two.
PARAMETERS: dict[str, tuple[list[str] | None, list[float], list[float]]] = {
    "one each": (BEND, [0.25, 0.3, 0.7], [0.4, 0.6]),
    "a beta for every function": (BEND, [0.25, 0.3, 0.7], [0.4, 0.5, 0.6]),
    "one list for all three": (["Sigmoid", "Tanh", "LeakyRelu"], [0.3, 0.1, 0.2], [0.4] * 3),
    "zeros of functions without any": (["Sigmoid", "Elu", "LeakyRelu"], [0.0, 0.4, 0.2], []),
    "defaults of those behind": (["HardSigmoid", "HardSigmoid", "LeakyRelu"], [0.25], [0.4]),
    "none": (["HardSigmoid", "LeakyRelu", "Elu"], [], []),
    "beta alone": (["HardSigmoid", "Tanh", "Tanh"], [], [0.3]),
    "no beta of Affine": (["Sigmoid", "Affine", "ThresholdedRelu"], [0.5, 0.2], []),
    "of no functions": (None, [0.3, 0.2, 0.1], [0.5, 0.4, 0.6]),
    "both directions": ([*BEND, "HardSigmoid", "Tanh", "Elu"], [0.25, 0.3, 0.7, 0.35, 0.6], [0.4, 0.6, 0.45]),
    "six of each": ([*BEND, "HardSigmoid", "Tanh", "Elu"], [0.25, 0.3, 0.7, 0.35, 0.6, 0.9], [0.4] * 6),
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_of_activations(name: str) -> None:
    """They go to the functions that ONNX Runtime gives them to."""
    ort = pytest.importorskip("onnxruntime")
    functions, alpha, beta = PARAMETERS[name]
    both = functions is not None and len(functions) == 6
    given = {"activations": functions, "activation_alpha": alpha, "activation_beta": beta}
    attributes = {key: values for key, values in given.items() if values}
    arrays = {key: 1.5 * array for key, array in weights(7, 1 + both).items() if key != "P"}
    node = lstm_node(["X", "W", "R", "B"], direction="bidirectional" if both else "forward", **attributes)
    made = model([node], arrays, ir_version=8)
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(made.SerializeToString(), options, providers=["CPUExecutionProvider"])
    X = np.random.default_rng(7).standard_normal((3, 6, I)).astype(np.float32)
    (expected,) = session.run(None, {"X": X.swapaxes(0, 1)})
    Y = LSTM.from_onnx(made).forward_sequence(X)
    assert_close(Y, np.concatenate(list(expected.swapaxes(0, 1)), axis=2).swapaxes(0, 1), name, TOLERANCE)


@pytest.mark.parametrize(
    ("function", "attributes", "missing"),
    [
        ("Affine", {"activation_beta": [0.5]}, "alpha"),
        ("ScaledTanh", {"activation_beta": [0.5]}, "alpha"),
        ("ScaledTanh", {"activation_alpha": [0.5]}, "beta"),
        ("ThresholdedRelu", {}, "alpha"),
        ("scaledtanh", {}, "alpha"),
    ],
)
def test_parameters_without_a_default(function: str, attributes: dict[str, Any], missing: str) -> None:
    """ONNX has none that ONNX Runtime follows: the error says which is missing."""
    node = lstm_node(activations=["Sigmoid", function, "Tanh"], **attributes)
    with pytest.raises(FormatError, match=f"without {missing}.*activation_{missing}"):
        LSTM.from_onnx(model([node]))


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
