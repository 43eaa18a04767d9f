"""What surrounds a call: masked arrays in lists, sizes no machine has, a wrong LSTM_ISA, threads and errors.

Shapes: B batch, T time, I input, H hidden, L layers.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import assert_same_bits

import lstm
from lstm import LSTM
from lstm.core import sequence

PACKAGE = Path(lstm.__file__).parent


def test_masked_arrays_in_lists_raise() -> None:
    row = np.ma.MaskedArray([1.0, 2.0, 3.0], [False, True, False])
    net = LSTM(3, 5, rng=0)
    for X in ([row, row], (row, [1.0, 2.0, 3.0]), [[1.0, np.ma.masked, 3.0]], [[row], [row]]):
        with pytest.raises(TypeError, match="X holds masked arrays, whose masks would be lost"):
            net.forward_sequence(X)
    with pytest.raises(TypeError, match="masked"):
        net.forward_sequence(np.ma.MaskedArray(np.ones((2, 3))))


@pytest.mark.skipif(
    "LSTM_SANITIZE" in os.environ, reason="a sanitizer ends the process that asks for too much memory"
)
@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"num_layers": 1 << 62}, ValueError),
        ({"num_layers": 1_000_001}, ValueError),
        ({"num_layers": 1_000_000, "hidden_size": 5_000}, MemoryError),
        ({"hidden_size": 1 << 40}, MemoryError),
        ({"hidden_size": 1 << 62}, MemoryError),
        ({"input_size": 1 << 62}, MemoryError),
        ({"hidden_size": 1 << 40, "num_layers": 2, "bidirectional": True}, MemoryError),
    ],
)
def test_sizes_that_no_machine_has_raise_before_anything_is_drawn(
    arguments: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error, match=r"num_layers is|hidden_size=\d+ take \d+ bytes"):
        LSTM(**{"input_size": 3, "hidden_size": 5, **arguments})


@pytest.mark.parametrize("words", [["-m", "lstm", "info"], ["-m", "lstm"]])
def test_a_command_with_a_wrong_isa_ends_in_one_line(words: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, *words],
        env={**os.environ, "LSTM_ISA": "nonsense"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("lstm: the environment variable LSTM_ISA is 'nonsense'")


def test_a_source_folder_that_hides_the_installed_package(tmp_path: Path) -> None:
    """The error names both, and what to do; without an installed one it says how to build."""
    for folder in ("source", "installed"):
        ignored = shutil.ignore_patterns("*.so", "__pycache__", "*.c")
        shutil.copytree(PACKAGE, tmp_path / folder / "lstm", ignore=ignored)
    record = tmp_path / "installed" / "lstm_native-0.1.0.dist-info"
    script = "import sys; sys.path[:] = sys.argv[1:] + sys.path; import lstm"

    def message(*folders: Path) -> str:
        words = [sys.executable, "-I", "-c", script, *map(str, folders)]
        done = subprocess.run(words, cwd=tmp_path / "source", capture_output=True, text=True, check=False)
        assert done.returncode == 1
        return done.stderr.splitlines()[-1]

    record.mkdir()
    (record / "METADATA").write_text("Metadata-Version: 2.1\nName: lstm-native\nVersion: 0.1.0\n")
    hidden = message(tmp_path / "source", tmp_path / "installed")
    assert hidden.startswith("ImportError: the folder")
    assert f"{tmp_path / 'source' / 'lstm'} hides the installed package, " in hidden
    assert "start Python in another folder" in hidden


def test_threads_that_set_weights_of_one_net_lose_nothing() -> None:
    net = LSTM(3, 64, num_layers=2, dtype=np.float32, rng=0)
    names = ("Wf", "Wi", "WC", "Wo", "bf", "bi", "bC", "bo")
    rng = np.random.default_rng(1)
    rounds = 20
    for _ in range(rounds):
        wanted = {
            (k, name): rng.standard_normal(getattr(net.layers[k], name).shape).astype(np.float32)
            for k in range(2)
            for name in names
        }
        start = threading.Barrier(len(wanted))

        def set_one(k: int, name: str, value: np.ndarray, start: threading.Barrier = start) -> None:
            start.wait()
            setattr(net.layers[k], name, value)

        threads = [threading.Thread(target=set_one, args=(*key, value)) for key, value in wanted.items()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for (k, name), value in wanted.items():
            assert_same_bits(getattr(net.layers[k], name), value, name)


@pytest.mark.parametrize("backend", ["native", "numpy"])
def test_a_stream_is_unchanged_by_an_error_in_its_last_layer(
    backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = LSTM(3, 5, num_layers=3, rng=0, backend=backend)  # type: ignore[arg-type]
    stream = net.stream(2)
    X = np.random.default_rng(0).standard_normal((2, 7, 3))
    stream.run(X)
    before = stream.state
    run_cell = sequence.run_cell

    def failing(cells: Any, architecture: Any, k: int, *others: Any, **named: Any) -> None:
        run_cell(cells, architecture, k, *others, **named)
        if k == 2:
            raise MemoryError

    monkeypatch.setattr(sequence, "run_cell", failing)
    with pytest.raises(MemoryError):
        stream.run(X[:, :, ::-1])  # unlike everyday calls, these go from layer to layer in Python
    with pytest.raises(MemoryError):
        stream.step(X[:, 0].astype(np.float16))
    monkeypatch.undo()
    for found, wanted in zip(stream.state, before, strict=True):
        assert_same_bits(found, wanted)
