"""Integers of other systems: DynamicQuantizeLSTM of ONNX Runtime and PyTorch's quantized modules."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nets import assert_same_weights
from small_nets import assert_same_integers, foreign, integers, small_net
from support import DATA, assert_same_bits
from variants import make

import lstm
from lstm import LSTM, FormatWarning

IN_ONNX = ["plain", "three layers", "bidirectional", "reverse", "no bias", "peephole", "clip", "coupled"]
IN_ONNX += ["activations", "other gates"]
ONNX_GATES = [0, 2, 3, 1]  # i, o, f, c -> i, f, c, o


@pytest.mark.parametrize("name", IN_ONNX)
def test_onnx_runtime_runs_them(name: str, tmp_path: Path) -> None:
    """It rounds x and h in its own way, so that it is as far off as int8 is."""
    ort = pytest.importorskip("onnxruntime")
    full, mixture = make(name, np.float32, 3)
    options = full.core.architecture.options()
    net = LSTM.from_state_dict(full.state_dict(), precision="int8", backend="numpy", **options)
    net.save(path := tmp_path / "net.onnx")
    session_options = ort.SessionOptions()
    session_options.log_severity_level = 4
    # Else its products saturate on CPUs without VNNI: outputs are off by up to 0.2 then.
    session_options.add_session_config_entry("session.x64quantprecision", "1")
    session = ort.InferenceSession(path, session_options, providers=["CPUExecutionProvider"])
    expected = session.run(None, {"X": mixture.X, "h0": mixture.h0, "C0": mixture.C0})
    Y, (h_n, C_n) = net.forward_sequence(mixture.X, mixture.h0, mixture.C0, return_state=True)
    for found, wanted in zip((Y, h_n, C_n), expected, strict=True):
        assert np.abs(found - wanted).max() < 0.01
    found = lstm.load(path, precision="int8", backend="numpy")
    assert_same_integers(found, net)
    assert_same_weights(found, net)
    assert_same_weights(lstm.load(path), net.quantize(None))


def test_onnx_keeps_integers_from_elsewhere(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    net = foreign()
    net.save(path := tmp_path / "net.onnx")
    assert_same_integers(lstm.load(path, precision="int8", backend="numpy"), net)


@pytest.mark.parametrize("case", ["quantized", "quantized_rows"])
def test_models_of_onnx_runtime_keep_their_integers(case: str) -> None:
    onnx = pytest.importorskip("onnx")
    path = DATA / "onnx" / f"{case}.onnx"
    stored = {one.name: onnx.numpy_helper.to_array(one) for one in onnx.load(path).graph.initializer}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        net = LSTM.from_onnx(path, precision="int8", backend="numpy")
    for direction, matrices in enumerate(integers(net)):
        for name, rows in zip("WR", matrices, strict=True):
            values = stored[f"{name}0_quantized"][direction].T.reshape(4, 4, -1)[ONNX_GATES]
            np.testing.assert_array_equal(rows.values, values)
            scales = np.broadcast_to(stored[f"{name}0_scale"][direction], 16).reshape(4, 4)
            np.testing.assert_array_equal(rows.scales, scales if scales.ndim == 1 else scales[ONNX_GATES])
    assert_same_weights(net.quantize(None), lstm.load(path))


def quantized_model(kind: Any, zero_point: int) -> Any:
    """A model of a DynamicQuantizeLSTM of one scale and one zero point."""
    onnx = pytest.importorskip("onnx")
    rng = np.random.default_rng(0)
    info = np.iinfo(kind)
    arrays: dict[str, np.ndarray] = {}
    for name, depth in (("W", 3), ("R", 5)):
        arrays[name] = rng.integers(info.min, info.max + 1, (1, depth, 20)).astype(kind)
        arrays[name][0, 0, 0] = info.min
        arrays[f"{name}_scale"] = np.array([0.004], np.float32)
        arrays[f"{name}_zero_point"] = np.array([zero_point], kind)
    inputs = ["X", "W", "R", *[""] * 5, "W_scale", "W_zero_point", "R_scale", "R_zero_point"]
    node = onnx.helper.make_node(
        "DynamicQuantizeLSTM", inputs, ["Y"], domain="com.microsoft", hidden_size=5, name="node"
    )
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [node],
        "g",
        [value("X", 1, ["t", "b", 3])],
        [value("Y", 1, ["t", 1, "b", 5])],
        [onnx.numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    return onnx.helper.make_model(graph)


@pytest.mark.parametrize(("kind", "zero_point"), [(np.int8, 0), (np.uint8, 128)])
def test_symmetric_integers_are_kept(kind: Any, zero_point: int) -> None:
    model = quantized_model(kind, zero_point)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        net = LSTM.from_onnx(model, precision="int8", backend="numpy")
    assert integers(net)[0].hidden.values.min() == -128
    assert_same_weights(net.quantize(None), LSTM.from_onnx(model))


@pytest.mark.parametrize(("kind", "zero_point"), [(np.int8, 3), (np.uint8, 100)])
def test_zero_points_are_told(kind: Any, zero_point: int) -> None:
    model = quantized_model(kind, zero_point)
    with pytest.warns(FormatWarning, match="zero points.*: they are quantized again"):
        net = LSTM.from_onnx(model, precision="int8", backend="numpy")
    exact = LSTM.from_onnx(model, backend="numpy")
    assert_same_weights(net, exact.quantize("int8"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        LSTM.from_onnx(model)
        LSTM.from_onnx(model, precision="bfloat16")


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_onnx_has_no_sixteen_bits(precision: Any, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    path = tmp_path / "net.onnx"
    path.write_bytes(b"before")
    with pytest.raises(
        ValueError, match=rf"precision='{precision}'; net.quantize\(None\) has the same values"
    ):
        small_net(precision).save(path)
    assert path.read_bytes() == b"before"


def quantized_module(is_per_row: bool, **options: Any) -> Any:
    torch = pytest.importorskip("torch")
    torch.manual_seed(4)
    module = torch.nn.Sequential(torch.nn.LSTM(3, 5, **options))
    config: Any = {torch.nn.LSTM}
    if is_per_row:
        config = {torch.nn.LSTM: torch.ao.quantization.per_channel_dynamic_qconfig}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.ao.quantization.quantize_dynamic(module, config, dtype=torch.qint8)[0]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.parametrize("is_per_row", [False, True])
@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "bidirectional": True}])
def test_pytorchs_quantized_modules_keep_their_integers(options: Any, is_per_row: bool) -> None:
    module = quantized_module(is_per_row, **options)
    net = LSTM.from_torch(module, precision="int8", backend="numpy")
    assert_same_weights(net.quantize(None), LSTM.from_torch(module, backend="numpy"))
    weights = module.get_weight()
    for cell, matrices in enumerate(integers(net)):
        for kind, rows in zip(("weight_ih", "weight_hh"), matrices, strict=True):
            tensor = weights[kind + net.core.architecture.suffix(cell)]
            np.testing.assert_array_equal(rows.values.reshape(20, -1), tensor.int_repr().numpy())
            assert_same_bits(rows.widen().reshape(20, -1), tensor.dequantize().numpy())
            assert (len(np.unique(rows.scales)) > 1) is is_per_row


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_pytorch_runs_what_is_near(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    module = quantized_module(False)
    net = LSTM.from_torch(module, precision="int8", backend="numpy")
    X = np.random.default_rng(5).standard_normal((9, 1, 3)).astype(np.float32)
    wanted = module(torch.from_numpy(X))[0].numpy()[:, 0]
    assert np.abs(net.forward_sequence(X[:, 0]) - wanted).max() < 0.02


@pytest.mark.parametrize(("scale", "zero_point"), [(0.01, 0), (0.01, 3), (0.002, -100)])
def test_tensors_of_a_quantized_state_dict(scale: float, zero_point: int) -> None:
    torch = pytest.importorskip("torch")
    state = {name: torch.from_numpy(array) for name, array in small_net(None).state_dict().items()}
    for name in ("weight_ih_l0", "weight_hh_l0"):
        state[name] = torch.quantize_per_tensor(state[name], scale, zero_point, torch.qint8)
    if zero_point < 0:  # too far from the middle for integers without one
        with pytest.warns(FormatWarning, match="quantized again"):
            LSTM.from_torch(state, precision="int8", backend="numpy")
        return
    net = LSTM.from_torch(state, precision="int8", backend="numpy")
    assert_same_bits(net.state_dict()["weight_ih_l0"], state["weight_ih_l0"].dequantize().numpy())
    assert (integers(net)[0].input.scales == np.float32(0.01)).all()


@pytest.mark.parametrize("precision", ["bfloat16", "float16", "int8"])
def test_to_torch_is_of_full_weights(precision: Any) -> None:
    pytest.importorskip("torch")
    net = small_net(precision)
    with pytest.raises(ValueError, match=r"net.quantize\(None\).to_torch\(\)"):
        net.to_torch()
    assert_same_weights(LSTM.from_torch(net.quantize(None).to_torch(), backend="numpy"), net.quantize(None))
