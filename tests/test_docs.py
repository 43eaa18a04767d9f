"""The Python in the README runs as it stands."""

from __future__ import annotations

import re

import numpy as np
import pytest
from support import ROOT


@pytest.mark.skipif(not (ROOT / "README.md").exists(), reason="needs the source tree")
def test_the_readmes_python_runs() -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    assert blocks
    for block in blocks:
        names: dict[str, np.ndarray] = {}
        exec(block, names)
        assert names["h"].shape == names["C"].shape == (5, 1)
        assert names["Y"].shape == (10, 5)
