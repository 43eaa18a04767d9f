"""The tutorials run, with the output that they show."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest
from markdown_pages import run_page
from support import ROOT

import lstm

FOLDER = ROOT / "docs" / "tutorials"
pytestmark = pytest.mark.skipif(not FOLDER.exists(), reason="needs the source tree")

# What each needs, and sizes that are smaller here.
LIBRARIES = {
    "olah": ["matplotlib"],
    "service": ["torch", "safetensors"],
    "keras-state": ["keras", "h5py"],
    "audio": [],
    "control": [],
    "million-rows": [],
}
SMALLER = {"million-rows": {"1_000_000": "2_000", "10_000": "300"}}


def test_every_tutorial_is_run() -> None:
    assert {page.stem for page in FOLDER.glob("*.md")} - {"index"} == set(LIBRARIES)


@pytest.mark.filterwarnings("ignore:.*:DeprecationWarning")
@pytest.mark.parametrize("name", LIBRARIES)
def test_the_tutorial_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if "keras" in LIBRARIES[name]:
        monkeypatch.setenv("KERAS_BACKEND", "torch")
        pytest.importorskip("torch")
    for library in LIBRARIES[name]:
        pytest.importorskip(library)
    if "matplotlib" in sys.modules:
        importlib.import_module("matplotlib").use("Agg")
    monkeypatch.chdir(tmp_path)
    try:
        run_page(FOLDER / f"{name}.md", SMALLER.get(name))
    finally:
        lstm.set_num_threads(None)


def test_the_smaller_run_goes_through_several_blocks() -> None:
    sizes = [int(size.replace("_", "")) for size in SMALLER["million-rows"].values()]
    assert sizes[0] > 3 * sizes[1]
    assert sizes[0] % sizes[1]
