"""How Sphinx builds the documentation: python -m sphinx -W docs site.

Needs the extra ``docs``.
"""

import ast
import os
import re
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parent
sys.path.insert(0, str(HERE / "_tools"))  # the gallery's parts, below

import gallery  # noqa: E402, F401

from lstm import __version__  # noqa: E402

project = "lstm"
author = "the lstm developers"
copyright = "the lstm developers"
version = release = __version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.viewcode",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_tools", "gallery/**.ipynb"]
# Parts of the package that need a library of their own are described where it is installed.
LIBRARIES = {"torch": "torch", "sklearn": "sklearn", "dask": "dask", "arrow": "pyarrow"}
exclude_patterns += [f"api/{page}.rst" for page, library in LIBRARIES.items() if find_spec(library) is None]

default_role = "py:obj"  # a name in single backquotes is a link if it is described
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]
numpydoc_show_class_members = False
viewcode_follow_imported_members = False
autodoc_typehints = "none"  # types of NumPy's arrays would fill a screen; the docstrings have them in words
autodoc_member_order = "bysource"

smartquotes = False

html_theme = "pydata_sphinx_theme"
html_title = "lstm"
html_static_path = ["_static"]
html_css_files = ["lstm.css"]
html_show_sphinx = False
html_copy_source = False
html_show_sourcelink = False
html_sidebars = {"index": [], "start": [], "changelog": []}
html_theme_options = {
    "navbar_align": "left",
    "header_links_before_dropdown": 6,
    "show_prev_next": True,
    "footer_start": ["copyright"],
    "footer_end": [],
    "secondary_sidebar_items": ["page-toc"],
}


def can_run(path: Path) -> bool:
    """Whether all that an example imports is installed; others are shown without their picture."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = {alias.name for node in tree.body if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in tree.body if isinstance(node, ast.ImportFrom) and node.module}
    libraries = {name.partition(".")[0] for name in names}
    return all(find_spec(name) for name in libraries)


RUN = [path.name for path in sorted((ROOT / "examples").glob("*.py")) if can_run(path)]

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    "filename_pattern": "|".join(rf"/{re.escape(name)}$" for name in RUN) or "^$",
    "nested_sections": False,
    "plot_gallery": "True",
    "image_scrapers": ("gallery.written_picture",),
    "reset_modules": ("gallery.prepare",),
    "reset_argv": "gallery.arguments",
    "download_all_examples": False,
    "show_memory": False,
    "show_signature": False,
    "write_computation_times": False,
    "min_reported_time": 1e9,
    "remove_config_comments": True,
}

# Files of the repository that are pages of the site: each has a page here, which says so to those who read
# it as a file, and takes its text.
PAGES = {
    "README.md": "start",
    "benchmarks/README.md": "benchmarks",
    "CHANGELOG.md": "changelog",
    "CONTRIBUTING.md": "contributing",
    "SECURITY.md": "security",
    "examples/speech/README.md": "speech",
}
# The first line of an example's docstring, which becomes the title of its page, and its indented command.
FIRST_LINE = re.compile(r"(\.\. _sphx_glr_gallery_\w+\.py:\n+)([^\n]+?)\.?\n\n(    )?")
LINK = re.compile(r"\]\((?P<path>[^)#\s:]+)(?P<anchor>#[^)\s]*)?\)")


def read_page(app: Any, docname: str, source: list[str]) -> None:
    """Take the text of the file that a page stands for, and point links to files at the pages of the site."""
    file = next((ROOT / name for name, page in PAGES.items() if page == docname), None)
    if file is not None:
        source[0] = file.read_text(encoding="utf-8")
        app.env.note_dependency(str(file))
    if docname == "start":
        both = (HERE / "index.md").read_text(encoding="utf-8")
        images = both[both.index("```{image}") : both.index("One thread,")]
        source[0] = re.sub(r"<picture>.*?</picture>\n", images, source[0], flags=re.DOTALL)
        source[0] = source[0].replace("# lstm\n", "# Start\n", 1)
    folder = (file or HERE / docname).parent

    def replace(match: re.Match[str]) -> str:
        target = Path(os.path.normpath(folder / match["path"]))
        name = target.relative_to(ROOT).as_posix()
        if name in PAGES:
            target = HERE / f"{PAGES[name]}.md"
        elif example := re.fullmatch(r"examples/(\w+)\.py", name):
            target = HERE / "gallery" / f"{example[1]}.rst"
        return f"]({os.path.relpath(target, (HERE / docname).parent)}{match['anchor'] or ''})"

    if docname.startswith("gallery/"):
        source[0] = FIRST_LINE.sub(title_of_example, source[0], count=1)
    if str(app.env.doc2path(docname)).endswith(".md"):
        source[0] = LINK.sub(replace, source[0])


def title_of_example(match: re.Match[str]) -> str:
    """The first lines of an example's page: its label, a title, and code if that comes next."""
    label, title, indent = match.groups(default="")
    return f"{label}{title}\n{'=' * len(title)}\n\n" + ("::\n\n" + indent if indent else "")


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("source-read", read_page)
