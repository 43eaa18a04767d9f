"""The Python of README.md and of the pages of docs/ runs as shown, with the output that is shown."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from markdown_pages import run_page
from rtneural_models import lstm_layer, model
from support import DATA, ROOT

import lstm

SHORT, LONG = ROOT / "README.md", ROOT / "docs" / "calls.md"
MOST_IN_README = 8
pytestmark = pytest.mark.skipif(not LONG.exists(), reason="needs the source tree")


def test_the_readmes_python_gives_the_output_shown() -> None:
    names = run_page(SHORT)
    assert names["Y"].shape == (10, 5)
    assert names["trainer"].step == 200
    assert run_page(ROOT / "docs" / "index.md")["Y"].shape == (10, 5)


def test_the_readme_shows_the_three_lines() -> None:
    text = SHORT.read_text("utf-8")
    lines = [
        "net = LSTM(3, 5, rng=0) ",
        "h, C = net.forward(x, h_prev, C_prev) ",
        "Y = net.forward_sequence(X) ",
    ]
    places = [text.index(line) for line in lines]
    assert places == sorted(places)


def table_examples(page: Path) -> list[str]:
    """The first code of the second column of every row of a page's tables."""
    text = page.read_text("utf-8") if page.exists() else ""
    return re.findall(r"^\| [^|]* \| `(.*?)`.* \|$", text, re.MULTILINE)


def test_the_tables_have_their_examples() -> None:
    assert len(table_examples(SHORT)) == MOST_IN_README
    assert len(table_examples(LONG)) >= 37


@pytest.mark.parametrize("code", table_examples(SHORT) + table_examples(LONG))
def test_the_tables_run(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    libraries = {
        "safetensors": "safetensors",
        "onnx": "onnx",
        "keras": "h5py",
        "tflite": "tflite",
        "lstm.torch": "torch",
        "lstm.sklearn": "sklearn",
        "lstm.dask": "distributed",
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


@pytest.mark.parametrize(
    ("page", "libraries"),
    [
        ("from-pytorch.md", ["torch", "safetensors"]),
        ("from-onnx.md", ["onnx"]),
        ("from-tflite.md", ["tflite"]),
        ("from-rtneural.md", []),
        ("pytorch-training.md", ["torch"]),
        ("scikit-learn.md", ["sklearn"]),
        ("scale.md", ["pyarrow", "distributed", "dask.dataframe"]),
    ],
)
@pytest.mark.filterwarnings("ignore:The inplace keyword:DeprecationWarning")  # Dask's use of pandas 3.1
def test_pages_run(page: str, libraries: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for library in libraries:
        pytest.importorskip(library)
    shutil.copy(
        DATA / "tflite" / "stacked_keras.tflite", tmp_path / "model.tflite"
    )  # stands for the reader's
    monkeypatch.chdir(tmp_path)
    run_page(ROOT / "docs" / page)
