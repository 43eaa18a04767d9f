"""What CONTRIBUTING.md names is there: files, folders, environment variables, options of pytest."""

from __future__ import annotations

import re

import pytest
from support import ROOT, TESTS

TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
# Where a name may start: the prose speaks of model.py as of lstm/model.py.
FOLDERS = [ROOT, ROOT / "lstm", ROOT / "lstm/core", ROOT / "lstm/_kernel"]


def named_paths() -> list[str]:
    """What ends as a file or a folder does, in backquotes or links; NAME stands for one of the reader's."""
    words = [word for code in re.findall(r"`([^`]+)`", TEXT) for word in code.split()]
    words += re.findall(r"\]\(([\w./]+)\)", TEXT)
    is_path = re.compile(r"[\w./]*[\w]+(/|\.(py|pyx|pxd|md|sh|c|h))")
    return sorted({word for word in words if is_path.fullmatch(word) and "NAME" not in word})


@pytest.mark.parametrize("path", named_paths())
def test_paths_exist(path: str) -> None:
    assert any((folder / path).exists() for folder in FOLDERS)


def test_paths_are_found() -> None:
    assert {"lstm/core/", "core/net.py", "passes.pxd", "csrc/isas.c", "docs/numbers.md"} < set(named_paths())


def test_variables_and_options_are_known() -> None:
    variables = set(re.findall(r"LSTM_[A-Z]+", TEXT))
    sources = [ROOT / "setup.py", TESTS / "sanitize.sh", *(ROOT / "lstm/_kernel").glob("*.p[yx]*")]
    known = "".join(path.read_text(encoding="utf-8") for path in sources)
    assert {"LSTM_DEBUG", "LSTM_ISA"} <= variables
    assert all(name in known for name in variables)
    options = set(re.findall(r"pytest[^`\n]* (--[a-z]+)", TEXT))
    assert options == {"--exhaustive", "--fuzz"}
    assert all(f'"{name}"' in (TESTS / "conftest.py").read_text(encoding="utf-8") for name in options)
