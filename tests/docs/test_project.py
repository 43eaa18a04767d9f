"""What the project says of itself agrees: versions, extras, the files that visitors of a repository seek."""

from __future__ import annotations

import re
import tomllib

import pytest
from support import ROOT

import lstm

pytestmark = pytest.mark.skipif(not (ROOT / "CITATION.cff").exists(), reason="needs the source tree")


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_one_version_everywhere() -> None:
    found = re.search(r"^version: (\S+)$", read("CITATION.cff"), re.MULTILINE)
    assert found is not None
    assert found[1] == lstm.__version__
    newest = re.search(r"^## (\S+) \(", read("CHANGELOG.md"), re.MULTILINE)
    assert newest is not None
    assert newest[1] == lstm.__version__


def test_extras_that_pages_name_are_there() -> None:
    extras = tomllib.loads(read("pyproject.toml"))["project"]["optional-dependencies"]
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("benchmarks/*.md")]
    named = {
        extra
        for page in pages
        for extra in re.findall(r"(?:lstm-native|\.)\[(\w+)\]\"", page.read_text(encoding="utf-8"))
    }
    assert {"onnx", "test", "docs"} <= named
    assert named <= set(extras)


def test_classifiers_are_true() -> None:
    project = tomllib.loads(read("pyproject.toml"))["project"]
    assert "urls" not in project  # there are none yet
    oldest = project["requires-python"].removeprefix(">=")
    versions = [line.rpartition(" ")[2] for line in project["classifiers"] if re.search(r":: 3\.\d+$", line)]
    assert versions[0] == oldest
    assert project["license"] in read("CITATION.cff")


@pytest.mark.parametrize("name", ["bug", "slow", "wish"])
def test_issue_templates_say_what_they_are_for(name: str) -> None:
    assert re.match(r"---\nname: .+\nabout: .+\n---\n", read(f".github/ISSUE_TEMPLATE/{name}.md"))
