"""What sphinx-gallery needs to run the examples as a reader does: arguments, and the pictures they write."""

from __future__ import annotations

import builtins
import os
import shutil
import sys
from pathlib import Path
from typing import Any

os.environ["TQDM_DISABLE"] = "1"  # read when tqdm is imported: a bar is for a terminal

from sphinx_gallery import gen_gallery
from sphinx_gallery.scrapers import figure_rst

PICTURE = Path(__file__).parents[2] / "examples" / "picture.png"

# The folders in examples/ hold data, though they have a README.
gen_gallery.get_subsections = lambda *arguments, **options: []


def leave(status: int | None = 0) -> None:
    """In place of `sys.exit`, by which an example would end the build, and with status 0 in silence."""
    if status:
        raise RuntimeError(f"the example ended with status {status}")


def prepare(gallery_conf: dict[str, Any], path: str) -> None:
    """Before each example: no picture, the name of the file, which the gallery does not set, and no exit."""
    PICTURE.unlink(missing_ok=True)
    builtins.__file__ = path  # type: ignore[attr-defined]
    sys.exit = leave  # type: ignore[assignment]


def arguments(gallery_conf: dict[str, Any], script_vars: dict[str, Any]) -> list[str]:
    """The command line of an example, which runs in its folder: where it writes its picture."""
    source = Path(script_vars["src_file"]).read_text(encoding="utf-8")
    return ["--png", PICTURE.name] if '"--png"' in source else [PICTURE.name]


def written_picture(block: Any, block_vars: dict[str, Any], gallery_conf: dict[str, Any]) -> str:
    """The picture that the example wrote, as reStructuredText."""
    if not PICTURE.exists():
        return ""
    path = next(block_vars["image_path_iterator"])
    shutil.move(PICTURE, path)
    title = Path(block_vars["src_file"]).read_text(encoding="utf-8").splitlines()[0].strip('".')
    return str(figure_rst([path], gallery_conf["src_dir"], fig_titles=title))
