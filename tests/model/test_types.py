"""A user's program under mypy and pyright: what is right passes, what is wrong is seen."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support import ROOT

RIGHT = """
import numpy as np
from numpy.typing import NDArray
from lstm import LSTM

net = LSTM(3, 5, 2, dtype=np.float32, activations=["sigmoid", "Tanh", ("LeakyRelu", 0.1)])
LSTM(3, 5, dtype="float64", activations=net.activations)
LSTM(3, 5, dtype=float)
LSTM(3, 5, dtype=net.dtype)
X = np.ones((4, 3))
Y: NDArray[np.floating] = net.forward_sequence(X)
Y, (h, C) = net.forward_sequence(X, (np.ones((2, 5)), np.ones((2, 5))), return_state=True)
h, C = net.forward(X[0], h, C)
h, C = net.forward(X[0], (h, C))
Ys: list[NDArray[np.floating]] = net.forward_sequences([X, X[:2]])
last, (h, C) = net.forward_sequences([X, X[:2]], last=True, return_state=True)
reveal_type(last)
reveal_type(net.Wf)
reveal_type(net.layers[0].bf)
net.Wf = [[1.0]]
net.layers[0].pf = np.ones(5)
"""
WRONG = {  # by line, what mypy and what pyright says
    'LSTM(3, 5, dtype="float16")': ("arg-type", "reportArgumentType"),
    'LSTM(3, 5, activations=["sigmiod", "tanh", "tanh"])': ("list-item", "reportArgumentType"),
    "LSTM(3, 5, batch_first=True)": ("call-arg", "reportCallIssue"),
    "LSTM(3, 5, 2, True)": ("call-arg", "reportCallIssue"),
    "net(X)": ("operator", "reportCallIssue"),
    "net.forward(X)": ("call-overload", "reportCallIssue"),
    "net.Wf = None": ("assignment", "reportAttributeAccessIssue"),
    "text: str = net.Wf": ("assignment", "reportAssignmentType"),
}


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """The right lines, and after them the wrong ones."""
    path = tmp_path / "program.py"
    path.write_text(RIGHT + "".join(f"{line}\n" for line in WRONG))
    return path


def check(notes: list[str], errors: dict[int, str], which: int) -> None:
    """Hold the types that are revealed, and errors by line, to what is expected of checker `which`."""
    assert len(notes) == 3, (notes, errors)
    assert all("ndarray" in note and "floating" in note for note in notes), notes
    first = RIGHT.count("\n") + 1
    assert min(errors) >= first, errors
    for number, (line, expected) in enumerate(WRONG.items(), first):
        assert expected[which] in errors.get(number, ""), (line, errors.get(number))


def test_a_program_under_mypy(program: Path) -> None:
    pytest.importorskip("mypy")
    folder = program.parent
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file", os.devnull, str(program)]
    command += ["--cache-dir", str(folder / "cache"), "--follow-imports", "silent"]
    environment = {**os.environ, "MYPYPATH": str(ROOT)}
    found = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder, check=False)
    lines = [line for line in found.stdout.splitlines() if line.startswith("program.py")]
    notes = [line for line in lines if "Revealed type" in line]
    check(notes, {int(line.split(":")[1]): line for line in lines if ": error: " in line}, 0)


def test_a_program_under_pyright(program: Path) -> None:
    pytest.importorskip("pyright")
    settings = {"extraPaths": [str(ROOT)], "typeCheckingMode": "strict"}
    settings["reportConstantRedefinition"] = "none"  # one-letter names of arrays are no constants
    (program.parent / "pyrightconfig.json").write_text(json.dumps(settings))
    command = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, "--outputjson", str(program)]
    found = subprocess.run(command, capture_output=True, text=True, cwd=program.parent, check=False)
    said = json.loads(found.stdout)["generalDiagnostics"]
    notes = [one["message"] for one in said if one["severity"] == "information"]
    errors = {
        one["range"]["start"]["line"] + 1: f"{one.get('rule')}: {one['message']}"
        for one in said
        if one["severity"] == "error"
    }
    check(notes, errors, 1)
