"""PyTorch's and ONNX's own test cases."""

from __future__ import annotations

import importlib.util
import sys
import types
import unittest
from typing import Any

import numpy as np
import pytest
from support import assert_close

from lstm import LSTM
from lstm.formats.onnx.node import GATES_FROM_ONNX, PEEPHOLES_FROM_ONNX


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("backend", ["native", "numpy"])
def test_pytorch_module_inputs(backend: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The samples that PyTorch tests its own nn.LSTM with."""
    torch = pytest.importorskip("torch")
    if importlib.util.find_spec("expecttest") is None:
        # PyTorch's test cases derive from its one class; the samples need nothing of it.
        stand_in = types.ModuleType("expecttest")
        stand_in.TestCase = unittest.TestCase  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "expecttest", stand_in)
    from torch.testing._internal import common_modules as common

    info = next(m for m in common.module_db if m.module_cls is torch.nn.LSTM)
    count = 0
    for sample in info.module_inputs_func(
        info, device="cpu", dtype=torch.float64, requires_grad=False, training=False
    ):
        made, call = sample.constructor_input, sample.forward_input
        module = torch.nn.LSTM(*made.args, **made.kwargs).double().eval()
        with torch.no_grad():
            Y, (h, C) = module(*call.args, **call.kwargs)
        X, *rest = call.args
        h0, C0 = rest[0] if rest else call.kwargs.get("hx") or (None, None)
        batched = X.ndim == 3
        flip = batched and not made.kwargs.get("batch_first", False)
        state = {name: w.numpy() for name, w in module.state_dict().items()}
        net = LSTM.from_state_dict(state, backend=backend)
        found_Y, (found_h, found_C) = net.forward_sequence(
            X.numpy().swapaxes(0, 1) if flip else X.numpy(),
            None if h0 is None else h0.numpy(),
            None if C0 is None else C0.numpy(),
            return_state=True,
        )
        assert_close(found_Y.swapaxes(0, 1) if flip else found_Y, Y.numpy())
        assert_close(found_h, h.numpy())
        assert_close(found_C, C.numpy())
        count += 1
    assert count >= 8


# Of the other operators' cases.
@pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("backend", ["native", "numpy"])
def test_onnx_node_cases(backend: Any) -> None:
    """The LSTM node cases of the ONNX project."""
    onnx = pytest.importorskip("onnx")
    node_cases = pytest.importorskip("onnx.backend.test.case.node")
    cases = [
        case for case in node_cases.collect_testcases("LSTM") if case.model.graph.node[0].op_type == "LSTM"
    ]
    assert len(cases) >= 4
    for case in cases:
        node = case.model.graph.node[0]
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        inputs, outputs = case.data_sets[0]
        given = dict(zip([name for name in node.input if name], inputs, strict=True))
        batch_first = attributes.get("layout", 0) == 1
        direction = attributes.get("direction", b"forward").decode()
        X = given[node.input[0]]
        net = LSTM.from_state_dict(
            onnx_state(node, given),
            reverse=direction == "reverse",
            clip=attributes.get("clip"),
            input_forget=bool(attributes.get("input_forget", 0)),
            backend=backend,
        )
        assert set(attributes) <= {"hidden_size", "layout", "direction", "clip", "input_forget"}
        inputs_of = [given.get(name) for name in [*node.input, *[""] * 8][:8]]
        states = [x if x is None or not batch_first else x.swapaxes(0, 1) for x in inputs_of[5:7]]
        Y, (h, C) = net.forward_sequence(
            X if batch_first else X.swapaxes(0, 1), *states, lengths=inputs_of[4], return_state=True
        )
        for name, array in zip([name for name in node.output if name], outputs, strict=True):
            place = list(node.output).index(name)
            if place == 0:
                batch, time = Y.shape[:2]
                wanted = array.reshape(batch, time, -1)
                if not batch_first:
                    wanted = array.transpose(2, 0, 1, 3).reshape(batch, time, -1)
                assert_close(Y, wanted, case.name)
            else:
                wanted = array.swapaxes(0, 1) if batch_first else array
                assert_close((h, C)[place - 1], wanted, case.name)


def onnx_state(node: Any, given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The state dict of a node from its inputs."""
    W, R, B, _, _, _, P = [given.get(name) for name in [*node.input, *[""] * 8][1:8]]
    assert W is not None
    assert R is not None
    hidden = R.shape[2]
    state = {}
    for direction in range(W.shape[0]):
        suffix = "_l0" + "_reverse" * direction
        for kind, array in (("weight_ih", W), ("weight_hh", R)):
            gates = array[direction].reshape(4, hidden, -1)[GATES_FROM_ONNX]
            state[kind + suffix] = gates.reshape(4 * hidden, -1)
        if B is not None:
            parts = B[direction].reshape(2, 4, hidden)[:, GATES_FROM_ONNX].reshape(2, -1)
            state["bias_ih" + suffix], state["bias_hh" + suffix] = parts
        if P is not None:
            peepholes = P[direction].reshape(3, hidden)[PEEPHOLES_FROM_ONNX]
            state["weight_ch" + suffix] = peepholes.reshape(-1)
    return state
