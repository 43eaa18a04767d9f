"""ONNX models: nodes of every kind, models of nets, what cannot be read."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import assert_close, assert_same_bits
from test_variants import VARIANTS, make

import lstm
from lstm import LSTM, FormatError

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

TOLERANCE = {np.dtype(np.float32): 2e-6, np.dtype(np.float64): 1e-12}
NO_PROJECTION = [name for name, options in VARIANTS.items() if "proj_size" not in options]
ONE_LAYER = [name for name in NO_PROJECTION if "num_layers" not in VARIANTS[name]]
H, I = 4, 3  # noqa: E741


def assert_same_net(net: LSTM, other: LSTM) -> None:
    assert repr(net) == repr(other)
    for name, array in net.state_dict().items():
        assert_same_bits(other.state_dict()[name], array, name)


# Models of nets


@pytest.mark.parametrize("name", NO_PROJECTION)
def test_onnx_runtime_gives_the_same(name: str, tmp_path: Path) -> None:
    """What to_onnx writes, for any rows and steps; ONNX Runtime has the operator in float32 only."""
    ort = pytest.importorskip("onnxruntime")
    net, mixture = make(name, np.float32, 3)
    net.to_onnx(tmp_path / "net.onnx")
    onnx.checker.check_model(tmp_path / "net.onnx", full_check=True)
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(tmp_path / "net.onnx", options, providers=["CPUExecutionProvider"])
    for batch, time in ((3, 6), (2, 4)):
        X, h0, C0 = mixture.X[:batch, :time], mixture.h0[:, :batch], mixture.C0[:, :batch]
        expected = session.run(None, {"X": X, "h0": h0, "C0": C0})
        Y, (h_n, C_n) = net.forward_sequence(X, h0, C0, return_state=True)
        for what, found, wanted in zip(("Y", "h_n", "C_n"), (Y, h_n, C_n), expected, strict=True):
            assert_close(found, wanted, what, TOLERANCE)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ONE_LAYER)
def test_there_and_back(name: str, dtype: Any, tmp_path: Path) -> None:
    """Weights bit for bit, options as float32 has them."""
    net, _ = make(name, dtype, 1)
    net.save(tmp_path / "net.onnx")
    for back in (
        lstm.load(tmp_path / "net.onnx"),
        LSTM.from_onnx(tmp_path / "net.onnx", "lstm_0"),
        LSTM.from_onnx(onnx.load(tmp_path / "net.onnx"), 0),
    ):
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
    with pytest.raises(FormatError, match=r"3 LSTM nodes, pick one by node=: 'lstm_0', 'lstm_1', 'lstm_2'"):
        lstm.load(path)
    for k in range(3):
        own = {
            name.replace(f"_l{k}", "_l0"): array
            for name, array in net.state_dict().items()
            if name.endswith(f"_l{k}")
        }
        for node in (k, f"lstm_{k}", f"sides_{k}", k - 3):
            assert_same_net(lstm.load(path, node=node), LSTM.from_state_dict(own))
    for wrong in ("lstm_3", 3, -4, ""):
        with pytest.raises(FormatError, match=r"'lstm_0', 'lstm_1', 'lstm_2'"):
            lstm.load(path, node=wrong)
    with pytest.raises(ValueError, match="prefix is 'a', but"):
        lstm.load(path, prefix="a")


def test_projections_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="proj_size=2"):
        LSTM(3, 5, proj_size=2).to_onnx(tmp_path / "net.onnx")
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
        "hidden_size": [H + 1, 0, -1, "4", [4]],
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
    with pytest.raises(FormatError, match=r"broken\.onnx"):
        lstm.load(path)


def test_mutated_models(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Bytes changed, cut out and doubled at random: a net or a FormatError, nothing else."""
    rng = np.random.default_rng(6)
    good = np.frombuffer(
        model([lstm_node(clip=0.5, activations=["Elu", "Tanh", "Affine"])]).SerializeToString(), np.uint8
    )
    path = tmp_path / "mutated.onnx"
    for _ in range(50_000 if request.config.getoption("--exhaustive") else 2_000):
        content = good.copy()
        places = rng.integers(0, len(good), rng.integers(1, 4))
        content[places] = rng.integers(0, 256, len(places))
        if rng.integers(3) == 0:
            first, last = np.sort(rng.integers(0, len(good), 2))
            content = np.delete(content, slice(first, last)) if rng.integers(2) else content[:last]
        path.write_bytes(content.tobytes())
        with contextlib.suppress(FormatError):
            lstm.load(path)
