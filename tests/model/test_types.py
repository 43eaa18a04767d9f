"""A user's program under mypy: what is right passes, what is wrong is seen."""

from __future__ import annotations

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
WRONG = {
    'LSTM(3, 5, dtype="float16")': "arg-type",
    'LSTM(3, 5, activations=["sigmiod", "tanh", "tanh"])': "list-item",
    "LSTM(3, 5, batch_first=True)": "call-arg",
    "LSTM(3, 5, 2, True)": "call-arg",
    "net(X)": "operator",
    "net.forward(X)": "call-overload",
    "net.Wf = None": "assignment",
    "text: str = net.Wf": "assignment",
}


def test_a_program_under_mypy(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    program = tmp_path / "program.py"
    program.write_text(RIGHT + "".join(f"{line}\n" for line in WRONG))
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file", os.devnull, str(program)]
    command += ["--cache-dir", str(tmp_path / "cache"), "--follow-imports", "silent"]
    environment = {**os.environ, "MYPYPATH": str(ROOT)}
    found = subprocess.run(
        command, capture_output=True, text=True, env=environment, cwd=tmp_path, check=False
    )
    lines = [line for line in found.stdout.splitlines() if line.startswith("program.py")]
    notes = [line for line in lines if "Revealed type" in line]
    assert len(notes) == 3, found.stdout + found.stderr
    assert all("ndarray" in line and "floating" in line for line in notes), notes
    errors = {int(line.split(":")[1]): line for line in lines if ": error: " in line}
    first = RIGHT.count("\n") + 1
    assert min(errors) >= first, errors
    for number, (line, code) in enumerate(WRONG.items(), first):
        assert f"[{code}]" in errors.get(number, ""), (line, errors.get(number))
