"""docs/native.md: its code runs, section by section, each with the libraries that it needs."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from markdown_pages import run_page
from support import ROOT

PAGE = ROOT / "docs" / "native.md"
pytestmark = pytest.mark.skipif(not PAGE.exists(), reason="needs the source tree")


def section(title: str, folder: Path) -> Path:
    """A page of one section of the page."""
    sections = re.split(r"^## ", PAGE.read_text("utf-8"), flags=re.MULTILINE)
    (text,) = (text for text in sections if text.startswith(f"{title}\n"))
    page = folder / f"{title}.md"
    page.write_text(text, "utf-8")
    return page


def test_what_needs_no_library_runs(tmp_path: Path) -> None:
    text = PAGE.read_text("utf-8")
    page = tmp_path / "start.md"
    page.write_text(text[: text.index("## cffi")], "utf-8")
    run_page(page)


@pytest.mark.parametrize(("title", "library"), [("cffi", "cffi"), ("Numba", "numba")])
def test_libraries_call_it(title: str, library: str, tmp_path: Path) -> None:
    pytest.importorskip(library)
    run_page(section(title, tmp_path))


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler here")
def test_cython_calls_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("Cython")
    pytest.importorskip("setuptools")
    page = section("Cython", tmp_path)
    (code,) = re.findall(r"```cython\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
    (tmp_path / "steps.pyx").write_text(code, "utf-8")
    command = [sys.executable, "-m", "Cython.Build.Cythonize", "-i", "-q", "steps.pyx"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    monkeypatch.syspath_prepend(tmp_path)
    run_page(page)
    monkeypatch.delitem(sys.modules, "steps")
