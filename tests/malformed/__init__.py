"""Malformed files of every format, made from good ones by hand and at random.

One module a format: `good_files()` are sound and small, `cases()` are malformed in one way each, and
`edited()` changes a good file at random in the format's own terms, its checksums and lengths right, so that
the damage gets past the parser. `mutation` adds blind damage, and `run` loads what comes of it, in a
process of its own.
"""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

# The module of each format, and the package that its files are made with.
NEEDS = {
    "npz": "numpy",
    "safetensors": "safetensors",
    "onnx": "onnx",
    "hdf5": "h5py",
    "tflite": "tflite",
    "rtneural": "numpy",
}


class Good(NamedTuple):
    """A sound file and the options of `lstm.load` that it is read with."""

    file: str
    content: bytes
    options: dict[str, Any] = {}  # noqa: RUF012


class Case(NamedTuple):
    """A malformed file and what the error must say beside the file's name.

    `file` is its path within a folder of its own, which holds the files of `beside` and the symbolic links
    of `links` (path -> target) too.
    """

    name: str
    file: str
    content: bytes
    words: tuple[str, ...] = ()
    options: dict[str, Any] = {}  # noqa: RUF012
    beside: dict[str, bytes] = {}  # noqa: RUF012
    links: dict[str, str] = {}  # noqa: RUF012

    def write(self, folder: Path) -> Path:
        """Make the case's folder; return the path of the file to load."""
        path = folder / self.file
        for name, content in {self.file: self.content, **self.beside}.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        for name, target in self.links.items():
            (folder / name).symlink_to(target)
        return path


def available() -> list[str]:
    """The formats whose package is installed."""
    return [name for name, package in NEEDS.items() if importlib.util.find_spec(package)]


def module_of(format_name: str) -> ModuleType:
    return importlib.import_module(f".{format_name}_files", __name__)


def cases(format_name: str) -> list[Case]:
    """The malformed files of one format; no two have the same name."""
    made: list[Case] = list(module_of(format_name).cases())
    names = [case.name for case in made]
    assert len(set(names)) == len(names), {name for name in names if names.count(name) > 1}
    return made
