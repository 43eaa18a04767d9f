"""What the documentation's site is built from: every page is listed, every public name described."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from support import ROOT, load_script

import lstm
import lstm.train

DOCS = ROOT / "docs"
pytestmark = pytest.mark.skipif(not (DOCS / "conf.py").exists(), reason="needs the source tree")


def listed() -> set[str]:
    """Pages that a toctree names, by their paths below docs/."""
    found = set()
    for page in [*DOCS.glob("*.md"), *DOCS.glob("tutorials/*.md")]:
        for block in re.findall(r"```\{toctree\}\n(.*?)```", page.read_text("utf-8"), re.DOTALL):
            names = [line for line in block.splitlines() if line and not line.startswith(":")]
            found |= {(page.parent / name).resolve().relative_to(DOCS).as_posix() for name in names}
    return found


def test_every_page_is_listed() -> None:
    pages = {page.relative_to(DOCS).with_suffix("").as_posix() for page in DOCS.rglob("*.md")}
    pages = {page for page in pages if not page.startswith("gallery/")}
    assert pages - {"index"} <= listed(), "name the new page in docs/howto.md or docs/inside.md"
    assert listed() - {"gallery/index", "api/index"} <= pages


def test_every_public_name_is_described() -> None:
    text = "".join(page.read_text("utf-8") for page in (DOCS / "api").glob("*.rst"))
    described = set(re.findall(r"^\.\. auto\w+:: ([\w.]+)", text, re.MULTILINE))
    described |= {"lstm.LSTM"}  # after currentmodule
    wanted = {f"lstm.{name}" for name in lstm.__all__ if name != "__version__"}
    wanted |= {f"lstm.train.{name}" for name in lstm.train.__all__}
    assert wanted <= described
    # Modules that need a library of their own are read, not imported.
    for module in ("torch", "sklearn", "dask", "plot"):
        text = (ROOT / "lstm" / module / "__init__.py").read_text("utf-8")
        names = re.findall(r'"(\w+)"', text[text.index("__all__") :])
        assert names
        assert {f"lstm.{module}.{name}" for name in names} <= described


def site(folder: Path, index: str) -> Path:
    """A site of two pages."""
    (folder / "_static").mkdir()
    (folder / "_static" / "template.html").write_text('<a href="nowhere.html">')
    (folder / "other.html").write_text('<h1 id="top">Other</h1>')
    (folder / "index.html").write_text(index)
    return folder


def test_broken_links_are_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    links = load_script(DOCS / "_tools" / "links.py")
    good = '<a href="other.html#top">1</a><a href="https://example.org/x">2</a><img src="other.html">'
    folder = site(tmp_path, good)
    assert links.main([str(folder)]) == 0
    assert capsys.readouterr().out == "every link leads somewhere\n"
    links.read.cache_clear()
    (folder / "index.html").write_text('<a href="gone.html"></a><a href="other.html#end"></a><a href="#x">')
    assert links.main([str(folder)]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "index.html: #x has no such anchor",
        "index.html: gone.html is not there",
        "index.html: other.html#end has no such anchor",
    ]
    (tmp_path / "empty").mkdir()
    assert links.broken(tmp_path / "empty") == [f"{tmp_path / 'empty'} has no pages"]


def test_links_of_pages_lead_to_the_sites_pages() -> None:
    """What docs/conf.py makes of links that leave docs/."""
    pytest.importorskip("sphinx_gallery")
    sys.path.insert(0, str(DOCS / "_tools"))
    try:
        conf = load_script(DOCS / "conf.py")
    finally:
        sys.path.remove(str(DOCS / "_tools"))

    class Environment:
        def doc2path(self, docname: str) -> str:
            return f"{docname}.md"

        def note_dependency(self, path: str) -> None:
            pass

    class App:
        env = Environment()

    def read(docname: str, text: str) -> str:
        source = [text]
        conf.read_page(App(), docname, source)
        return source[0]

    text = "[a](../../benchmarks/README.md#training) [b](../threads.md) [c](../../examples/vad.py) [d](x://y)"
    assert read("tutorials/page", text) == (
        "[a](../benchmarks.md#training) [b](../threads.md) [c](../gallery/vad.rst) [d](x://y)"
    )
    start = read("start", "")
    assert "<picture>" not in start
    assert "](calls.md)" in start
    assert "](benchmarks.md)" in start
