"""docs/training.md and examples/adding.py: the same code, and it runs."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import ROOT

PAGE, SCRIPT = ROOT / "docs" / "training.md", ROOT / "examples" / "adding.py"
pytestmark = pytest.mark.skipif(not (PAGE.exists() and SCRIPT.exists()), reason="needs the source tree")
SIZES = "rows, epochs = 6400, 10"


def blocks() -> list[str]:
    return re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)


def test_the_page_shows_the_example() -> None:
    assert blocks()[0] in SCRIPT.read_text("utf-8")
    assert SIZES in blocks()[0]


def test_the_page_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """All of it, the training for a few steps."""
    pytest.importorskip("matplotlib").use("Agg")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for block in blocks():
        exec(block.replace(SIZES, "rows, epochs = 96, 1"), names)
    losses = names["losses"]
    assert len(losses) == 20
    assert np.mean(losses[-5:]) < losses[0]


def test_the_example_draws_its_curve(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    script, picture = tmp_path / "adding.py", tmp_path / "loss.png"
    script.write_text(SCRIPT.read_text("utf-8").replace(SIZES, "rows, epochs = 96, 2"), "utf-8")
    monkeypatch.setattr(sys, "argv", [str(script), str(picture)])
    runpy.run_path(str(script), run_name="__main__")
    assert picture.read_bytes().startswith(b"\x89PNG")
