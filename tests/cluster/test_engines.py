"""The recipes of docs/engines.md for Spark and Ray: every row has the bits of one call."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import ROOT, assert_same_bits

RESULTS = {"pyspark": ("by_arrow", "by_pandas"), "ray": ("by_ray",)}


@pytest.mark.filterwarnings("ignore")  # of libraries that are not in the tests' extra
@pytest.mark.parametrize("library", RESULTS)
def test_recipes(library: str, request: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not request.config.getoption("--engines"):
        pytest.skip("needs --engines")
    pytest.importorskip(library)
    pytest.importorskip("pyarrow")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    page = (ROOT / "docs" / "engines.md").read_text("utf-8")
    first, spark, ray = re.split(r"^## ", page, flags=re.MULTILINE)
    names: dict[str, Any] = {"__name__": "recipe"}
    for part in (first, "```python\nimport os\n```", {"pyspark": spark, "ray": ray}[library]):
        for block in re.findall(r"```python\n(.*?)```", part, re.DOTALL):
            exec(block, names)
    expected = names["net"].forward_sequences(names["rows"], last=True)
    for name in RESULTS[library]:
        found = names[name]
        assert [row["id"] for row in found] == list(range(len(expected)))
        assert_same_bits(np.array([row["h"] for row in found], expected.dtype), expected)
