"""The code that pages of Markdown show, run as a reader runs it."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# A block of Python, and the block of text right after it, which is what it prints.
BLOCK = re.compile(r"```python\n(.*?)```(?:\s+```text\n(.*?)```)?", re.DOTALL)


def run_page(page: Path, replacements: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Run the blocks one after the other in one namespace and hold what they print to what is shown.

    `replacements` makes sizes smaller that a page has for real; each must be there.
    """
    names: dict[str, Any] = {}
    text = page.read_text("utf-8")
    for old, new in (replacements or {}).items():
        assert old in text, f"{page.name} has no {old!r}"
        text = text.replace(old, new)
    blocks = BLOCK.findall(text)
    assert blocks, f"{page.name} has no Python"
    for code, shown in blocks:
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(code, names)
        if shown:
            assert printed.getvalue() == shown, f"{page.name}, after:\n{code}"
    return names
