"""Every page of Markdown: lines that fit a screen, links to files that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support import ROOT

LONGEST_LINE = 110
PAGES = sorted(
    page
    for pattern in (
        "*.md",
        "docs/*.md",
        "docs/tutorials/*.md",
        "benchmarks/*.md",
        "examples/*/*.md",
        ".github/**/*.md",
    )
    for page in ROOT.glob(pattern)
)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_lines_fit(page: Path) -> None:
    """Rows of tables cannot be wrapped."""
    for number, line in enumerate(page.read_text("utf-8").splitlines(), 1):
        assert line.startswith("|") or len(line) <= LONGEST_LINE, f"{page.name}:{number}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)", page.read_text("utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("picture", sorted(ROOT.glob("docs/*.png")), ids=lambda picture: picture.name)
def test_pictures_are_small_and_shown(picture: Path) -> None:
    assert picture.stat().st_size < 200_000
    assert any(f"{picture.name})" in page.read_text("utf-8") for page in PAGES)
