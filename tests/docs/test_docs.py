"""The Python in the README runs as it stands: its block, and the examples of its table."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from rtneural_models import lstm_layer, model
from support import DATA, ROOT

import lstm


@pytest.mark.skipif(not (ROOT / "README.md").exists(), reason="needs the source tree")
def test_the_readmes_python_runs() -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    assert blocks
    for block in blocks:
        names: dict[str, np.ndarray] = {}
        exec(block, names)
        assert names["h"].shape == names["C"].shape == (5, 1)
        assert names["Y"].shape == (10, 5)


def table_examples() -> list[str]:
    """The first code of the second column of every row of the README's table."""
    path = ROOT / "README.md"
    text = path.read_text("utf-8") if path.exists() else ""
    rows = re.findall(r"^\| [^|]* \| `(.*?)`.* \|$", text, re.MULTILINE)
    return rows


@pytest.mark.skipif(not (ROOT / "README.md").exists(), reason="needs the source tree")
def test_the_table_has_its_examples() -> None:
    assert len(table_examples()) >= 20


@pytest.mark.parametrize("code", table_examples())
def test_the_readmes_table_runs(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    libraries = {
        "safetensors": "safetensors",
        "onnx": "onnx",
        "keras": "h5py",
        "tflite": "tflite",
        "lstm.torch": "torch",
    }
    for word, library in libraries.items():
        if word in code:
            pytest.importorskip(library)
    if "plot" in code:
        pytest.importorskip("matplotlib").use("Agg")
    shutil.copy(DATA / "keras" / "stacked.keras", tmp_path / "m.keras")  # stands for a model of the reader's
    shutil.copy(DATA / "tflite" / "stacked_keras.tflite", tmp_path / "m.tflite")
    (tmp_path / "m.json").write_text(json.dumps(model(lstm_layer(lstm.LSTM(3, 5)))))
    monkeypatch.chdir(tmp_path)
    names = {"np": np, "LSTM": lstm.LSTM, "net": lstm.LSTM(3, 5), "X": np.ones((10, 3))}
    exec(code, names)


@pytest.mark.skipif(not (ROOT / "docs").exists(), reason="needs the source tree")
@pytest.mark.parametrize(
    ("page", "libraries"),
    [
        ("from-pytorch.md", ["torch", "safetensors"]),
        ("from-onnx.md", ["onnx"]),
        ("from-tflite.md", ["tflite"]),
        ("from-rtneural.md", []),
        ("pytorch-training.md", ["torch"]),
    ],
)
def test_pages_run(page: str, libraries: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for library in libraries:
        pytest.importorskip(library)
    shutil.copy(
        DATA / "tflite" / "stacked_keras.tflite", tmp_path / "model.tflite"
    )  # stands for the reader's
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / page).read_text("utf-8"), re.DOTALL)
    assert len(blocks) >= 2
    for block in blocks:
        exec(block, names)
