"""The examples of training run, in a short form, say what they found and draw it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support import ROOT

import lstm

FOLDER = ROOT / "examples"
pytestmark = pytest.mark.skipif(not (FOLDER / "characters.py").exists(), reason="needs the source tree")


def run(name: str, *options: str, picture: Path) -> str:
    """What an example says; its picture is a picture with something in it."""
    pytest.importorskip("matplotlib")
    from matplotlib import image

    paths = [str(Path(lstm.__file__).parent.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    done = subprocess.run(
        [sys.executable, str(FOLDER / name), str(picture), *options],
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=300,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths), "PYTHONIOENCODING": "utf-8"},
    )
    assert done.returncode == 0, done.stderr
    pixels = image.imread(picture)[..., :3]
    assert min(pixels.shape[:2]) >= 400
    assert 0.02 < (pixels < 0.9).any(axis=-1).mean() < 0.7
    return done.stdout


def numbers(text: str) -> list[float]:
    return [float(number) for number in re.findall(r"-?\d+\.\d+", text)]


def test_characters(tmp_path: Path) -> None:
    told = run("characters.py", "--epochs", "3", picture=tmp_path / "characters.png")
    *counted, of_net = numbers(told.partition("it writes:")[0])
    assert len(counted) == 5
    assert min(counted) == counted[2]
    assert of_net < counted[0]  # it has begun to learn
    assert len(told.partition("it writes:")[2]) > 400


def test_forecast(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    pytest.importorskip("statsmodels")
    told = run("forecast.py", "--epochs", "20", picture=tmp_path / "forecast.png")
    table = np.array([numbers(line) for line in told.splitlines()[2:]])
    assert table.shape == (5, 4)
    last, year_before, ridge, one, mean = table[:, 0]
    assert ridge < year_before < last
    assert mean < one * 1.05
    assert one < 0.6 * last


def test_activity(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    told = run("activity.py", "--rows", "120", picture=tmp_path / "activity.png")
    assert told.startswith("120 recordings of 20 persons")
    of_net, _ = numbers(told.splitlines()[1])
    assert of_net > 0.5
