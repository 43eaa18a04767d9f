"""ONNX models whose exporter wrote an LSTM as single operations: what is said of them."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import check_refusal, run
from onnx_models import H, I, assert_same_net, model

import lstm
from lstm import LSTM, FormatError
from lstm.formats import onnx as onnx_format

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

Order = Callable[[str, str], list[str]]


def cell_weights(prefix: str = "cell.") -> dict[str, np.ndarray]:
    rng = np.random.default_rng(2)
    shapes = {"weight_ih": (4 * H, I), "weight_hh": (4 * H, H), "bias_ih": (4 * H,), "bias_hh": (4 * H,)}
    return {prefix + name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def step(
    t: int, x: str, states: tuple[str, str], prefix: str = "cell.", order: Order | None = None
) -> list[Any]:
    """One step of a cell, from x, h and c to h{t} and c{t}; `order` is that of the factors of a product."""
    order = order or (lambda a, b: [a, b])
    h, c = states
    gates = [f"{gate}{t}" for gate in "ifgo"]
    node = helper.make_node
    return [
        node("Gemm", [x, f"{prefix}weight_ih", f"{prefix}bias_ih"], [f"zx{t}"], transB=1),
        node("Gemm", [h, f"{prefix}weight_hh", f"{prefix}bias_hh"], [f"zh{t}"], transB=1),
        node("Add", [f"zx{t}", f"zh{t}"], [f"z{t}"]),
        node("Split", [f"z{t}"], gates, axis=1),
        *(node("Tanh" if k == 2 else "Sigmoid", [gate], [f"s{gate}"]) for k, gate in enumerate(gates)),
        node("Mul", order(f"sf{t}", c), [f"kept{t}"]),
        node("Mul", order(f"si{t}", f"sg{t}"), [f"new{t}"]),
        node("Add", order(f"kept{t}", f"new{t}"), [f"c{t}"]),
        node("Tanh", [f"c{t}"], [f"tc{t}"]),
        node("Mul", order(f"so{t}", f"tc{t}"), [f"h{t}"]),
    ]


def unrolled(steps: int, prefix: str = "cell.", order: Order | None = None, **arrays: np.ndarray) -> Any:
    nodes = []
    for t in range(steps):
        nodes.append(helper.make_node("Gather", ["X", f"t{t}"], [f"x{t}"], axis=0))
        states = (f"h{t - 1}", f"c{t - 1}") if t else ("zero", "zero")
        nodes += step(t, f"x{t}", states, prefix, order)
    numbers = {f"t{t}": np.array(t) for t in range(steps)}
    return model(nodes, {**cell_weights(prefix), "zero": np.zeros((2, H), np.float32), **numbers, **arrays})


def advised(message: str, path: Path) -> LSTM:
    """The net of the call that an error advises."""
    match = re.search(r"LSTM\.from_torch\(.*\)$", message)
    assert match is not None, message
    net = eval(match[0], {"LSTM": LSTM, "lstm": lstm, "path": path})
    assert isinstance(net, LSTM)
    return net


@pytest.mark.parametrize("order", [None, lambda a, b: [b, a]])
@pytest.mark.parametrize("prefix", ["cell.", "model.fwd.cell.", ""])
def test_the_advice_gives_the_net(
    prefix: str, order: Order | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also of a bare cell, whose names do not tell it from the constants of the graph."""
    path = tmp_path / "model.onnx"
    made = unrolled(3, prefix, order)
    path.write_bytes(made.SerializeToString())
    with pytest.raises(FormatError, match=r"has no LSTM node, but an LSTM as single operations.* of 3 steps"):
        lstm.load(path)
    with pytest.raises(FormatError) as caught:
        LSTM.from_onnx(made)
    net = advised(str(caught.value), path)
    assert_same_net(net, LSTM.from_torch(cell_weights("")))
    for command in (["info"], ["run", "-o", tmp_path / "Y.npy"]):
        arguments = [command[0], path, *([path] if command[0] == "run" else []), *command[1:]]
        check_refusal(*run(capsys, *arguments), ["an LSTM as single operations", "LSTM.from_torch("])


def test_onnx_runtime_agrees_with_the_net_advised(tmp_path: Path) -> None:
    ort = pytest.importorskip("onnxruntime")
    path = tmp_path / "model.onnx"
    made = unrolled(3)
    made.graph.output[0].name = "h2"
    made.ir_version = 8
    path.write_bytes(made.SerializeToString())
    X = np.random.default_rng(3).standard_normal((3, 2, I)).astype(np.float32)
    (expected,) = ort.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"X": X})
    net = LSTM.from_torch(lstm.tensors(path), prefix="cell")
    np.testing.assert_allclose(net.forward_sequence(X.swapaxes(0, 1))[:, -1], expected, atol=2e-6)


def test_several_cells_and_weights_in_other_files(tmp_path: Path) -> None:
    made = unrolled(2, **cell_weights("upper.cell."))  # type: ignore[arg-type]
    path = tmp_path / "model.onnx"
    onnx.save(made, path, save_as_external_data=True, location="rest.bin", size_threshold=0)
    arrays = r"lstm\.tensors\(path, external_data=True\)"
    calls = (
        rf"LSTM\.from_torch\({arrays}, prefix='cell'\) or LSTM\.from_torch\({arrays}, prefix='upper\.cell'\)"
    )
    with pytest.raises(FormatError, match=calls) as caught:
        lstm.load(path)
    assert_same_net(advised(str(caught.value).rsplit(" or ")[0], path), LSTM.from_torch(cell_weights("")))


def test_weights_alone() -> None:
    """Of an LSTM in operators that are not known."""
    made = model([helper.make_node("LSTM", ["X"], ["Y"], domain="x")], cell_weights())
    with pytest.raises(FormatError, match=r"has no LSTM node; weights of an LSTM are there .*prefix='cell'"):
        LSTM.from_onnx(made)


def test_other_names() -> None:
    """As of a loop's body: weights that were renamed are those of the model all the same."""
    body = helper.make_graph(
        step(0, "x", ("h", "c"), "W/"),
        "body",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("n", "go", "h", "c")],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("h0", "c0")],
        [numpy_helper.from_array(a, name.replace("weight", "m")) for name, a in cell_weights("W/").items()],
    )
    loop = model([helper.make_node("Loop", ["", "", "X"], ["Y"], body=body)], {})
    with pytest.raises(FormatError, match=r"of 1 step\).*are in lstm\.tensors\(path\), under other names"):
        LSTM.from_onnx(loop)
    assert onnx_format.names(loop) == []


def test_what_is_no_lstm() -> None:
    """A GRU's step, and every operation of an LSTM's exchanged for another."""
    node = helper.make_node
    gru = [
        node("Sigmoid", ["X"], ["z"]),
        node("Tanh", ["X"], ["n"]),
        node("Sub", ["one", "z"], ["rest"]),
        node("Mul", ["rest", "n"], ["new"]),
        node("Mul", ["z", "X"], ["kept"]),
        node("Add", ["new", "kept"], ["h"]),
    ]
    with pytest.raises(FormatError, match=r"has no LSTM node$"):
        LSTM.from_onnx(model(gru, {"one": np.ones(1, np.float32)}))
    bare = [one for one in step(0, "X", ("h", "c")) if one.op_type != "Gemm"]
    arrays = {"h": np.zeros((2, H), np.float32), "zx0": np.zeros(1), "zh0": np.zeros(1)}
    with pytest.raises(FormatError, match="1 step"):
        LSTM.from_onnx(model(bare, arrays))
    for place in range(2, len(bare)):
        changed = [type(one).FromString(one.SerializeToString()) for one in bare]
        changed[place].op_type = "Relu"
        with pytest.raises(FormatError, match=r"has no LSTM node$"):
            LSTM.from_onnx(model(changed, arrays))
