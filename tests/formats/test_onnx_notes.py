"""What is told of an ONNX node beside its net: integers as weights, states, lengths."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx_models import H, model, weights
from support import DATA

from lstm.formats import onnx as onnx_format

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper  # noqa: E402


def noted(
    state: list[Any], arrays: dict[str, np.ndarray], inputs: tuple[str, ...] = (), **options: Any
) -> list[str]:
    """The notes on a node whose lengths, h and c are named so, made by the nodes `state`."""
    node = helper.make_node(
        "LSTM", ["X", "W", "R", "B", "lengths", "h", "c"], ["Y"], name="node", hidden_size=H
    )
    made = model([*state, node], {**weights(), **arrays})
    for name in inputs:
        made.graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    return onnx_format.notes(made, initial_states="drop", **options)


ZERO, ONE = np.zeros((1, 2, H), np.float32), np.ones((1, 2, H), np.float32)
LENGTHS = np.array([2, 1], np.int32)
EXPANDED = [helper.make_node("Expand", ["start", "shape"], ["h"])]


@pytest.mark.parametrize(
    ("state", "arrays", "inputs", "expected"),
    [
        ([], {"h": ZERO, "c": ZERO}, (), ["sequence_lens is computed by the model, 'lengths'"]),
        ([], {"h": ZERO, "c": ZERO}, ("lengths",), ["sequence_lens is the model's input 'lengths'"]),
        (
            [],
            {"h": ONE, "c": ZERO, "lengths": LENGTHS},
            (),
            ["initial_h is a constant and left out, 'h'", "sequence_lens is a constant and left out,"],
        ),
        (
            EXPANDED,
            {"start": ONE[:, :1], "c": ZERO},
            ("shape", "lengths"),
            ["initial_h is a constant and left out, 'start'", "sequence_lens is the model's input"],
        ),
        (
            EXPANDED,
            {"start": ZERO[:, :1], "c": ZERO},
            ("shape", "lengths"),
            ["sequence_lens is the model's input"],
        ),
        (
            [helper.make_node("Relu", ["X"], ["h"])],
            {"c": ONE},
            ("lengths",),
            ["initial_h is computed by the model, 'h'", "initial_c is a constant and", "sequence_lens is"],
        ),
    ],
)  # fmt: skip
def test_states_and_lengths(
    state: list[Any], arrays: dict[str, np.ndarray], inputs: tuple[str, ...], expected: list[str]
) -> None:
    """Zeros are no news, whatever batch they are expanded to; all else is named, with its argument."""
    notes = noted(state, arrays, inputs)
    assert [note[: len(start)] for note, start in zip(notes, expected, strict=True)] == expected
    arguments = {"initial_h": "h0=", "initial_c": "C0=", "sequence_lens": "lengths="}
    assert all(note.endswith(f"; it is given as {arguments[note.split()[0]]}") for note in notes)


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("quantized", "8 bits (DynamicQuantizeLSTM)"),
        ("quantized_rows", "8 bits (DynamicQuantizeLSTM)"),
        ("qdq", "(DequantizeLinear)"),
    ],
)
def test_integers(case: str, words: str) -> None:
    (note,) = onnx_format.notes(DATA / "onnx" / f"{case}.onnx")
    assert words in note
    assert "loaded as float32" in note


@pytest.mark.parametrize("case", ["torchscript_plain", "tf2onnx_stack", "dynamo_open", "torchscript_opset9"])
def test_nothing_to_note(case: str) -> None:
    """What exporters write for states that nobody gave."""
    assert onnx_format.notes(DATA / "onnx" / f"{case}.onnx") == []
