"""The tutorials run, with the output that they show."""

from __future__ import annotations

import importlib
import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
from markdown_pages import run_page
from support import ROOT, assert_same_bits

import lstm
from lstm.__main__ import main

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


def run_commands(page: Path) -> None:
    """Run the commands `lstm` of a page on the files that its Python has left."""
    for block in re.findall(r"```sh\n(.*?)```", page.read_text("utf-8"), re.DOTALL):
        for line in block.splitlines():
            program, *words = shlex.split(line)
            assert program == "lstm"
            assert main(words) == 0
    if page.stem == "million-rows":
        assert_same_bits(np.load("from-shell.npy"), np.load("last.npy"))


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
        run_commands(FOLDER / f"{name}.md")
    finally:
        lstm.set_num_threads(None)


def test_the_smaller_run_goes_through_several_blocks() -> None:
    sizes = [int(size.replace("_", "")) for size in SMALLER["million-rows"].values()]
    assert sizes[0] > 3 * sizes[1]
    assert sizes[0] % sizes[1]
