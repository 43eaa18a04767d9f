"""The paths that CONTRIBUTING.md names are there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_paths_exist() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    quoted = set(re.findall(r"`((?:lstm|csrc|tests|docs)/[\w./]*)`", text)) | set(
        re.findall(r"\]\(([\w./]+)\)", text)
    )
    assert len(quoted) > 15
    missing = [path for path in sorted(quoted) if "NAME" not in path and not (ROOT / path).exists()]
    assert not missing
