"""What is built and packed is found, not listed: a new file of any kind is in, with nothing to remember."""

from __future__ import annotations

import json
import platform
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from support import ROOT

from lstm._kernel import kernel

pytest.importorskip("Cython")

NEW_FILES = {
    "lstm/_kernel/new_part.pxd": "cdef inline int nothing() noexcept nogil:\n    return 0\n",
    "lstm/_kernel/new_stub.pyi": "",
    "lstm/new_package/__init__.py": "",
    "lstm/new_package/deeper/__init__.py": "",
    "lstm/new_package/deeper/module.py": "",
    "csrc/new_source.c": "typedef int nothing;\n",
    "csrc/new_header.h": "",
}
# All that is installed beside the compiled module; what builds it is in the sdist alone.
INSTALLED = (".py", ".pyi", "py.typed")
EXTENSION = """
import json
import setuptools
from distutils.core import run_setup

extension, = run_setup("setup.py", stop_after="init").ext_modules
print(json.dumps([extension.sources, extension.depends]))
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the source with new files in it."""
    root = tmp_path_factory.mktemp("source")
    ignored = shutil.ignore_patterns("*.so", "__pycache__", "kernel.c")
    for folder in ("lstm", "csrc"):
        shutil.copytree(ROOT / folder, root / folder, ignore=ignored)
    for name in ("setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "CHANGELOG.md", "LICENSE"):
        shutil.copy(ROOT / name, root / name)
    for name, text in NEW_FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def run(source: Path, *arguments: str) -> str:
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def files(folder: Path, top: str) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in (folder / top).rglob("*") if path.is_file()}


def test_sdist_has_every_file(source: Path) -> None:
    expected = files(source, "lstm") | files(source, "csrc")
    assert set(NEW_FILES) < expected
    (source / "lstm/_kernel/kernel.c").write_text("")  # as a build leaves it
    run(source, "setup.py", "-q", "sdist", "--formats=tar")
    (source / "lstm/_kernel/kernel.c").unlink()
    (archive,) = (source / "dist").glob("*.tar")
    with tarfile.open(archive) as tar:
        names = {name.partition("/")[2] for name in tar.getnames() if not tar.getmember(name).isdir()}
    assert {name for name in names if name.startswith(("lstm/", "csrc/"))} == expected
    assert {"setup.py", "pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE"} < names


def test_wheel_has_what_runs_and_nothing_else(source: Path, tmp_path: Path) -> None:
    run(source, "setup.py", "-q", "build_py", "--build-lib", str(tmp_path))
    installed = {name for name in files(source, "lstm") if name.endswith(INSTALLED)}
    assert files(tmp_path, "") == installed
    assert {name for name in NEW_FILES if name.startswith("lstm/") and name.endswith(INSTALLED)} < installed


def test_extension_depends_on_every_file(source: Path) -> None:
    sources, depends = json.loads(run(source, "-c", EXTENSION))
    native = files(source, "csrc")
    assert set(sources) == {"lstm/_kernel/kernel.pyx"} | {name for name in native if name.endswith(".c")}
    headers = {name for name in native if name.endswith(".h")}
    assert set(depends) == headers | {
        name for name in files(source, "lstm") if name.endswith((".pxd", ".pxi"))
    }


def test_import_without_a_build(source: Path) -> None:
    """The source without its compiled module says what to do."""
    command = [sys.executable, "-c", "import lstm"]
    done = subprocess.run(
        command, cwd=source, env={"PYTHONPATH": "."}, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "ImportError: lstm's compiled kernel has not been built: run `pip install .`" in done.stderr


def is_known_glibc() -> bool:
    """Whether the C library is glibc, and none that may ask for itself in more functions than we know of."""
    name, number = platform.libc_ver()
    return name == "glibc" and tuple(map(int, number.split(".")[:2])) <= (2, 36)


@pytest.mark.skipif(not is_known_glibc(), reason="of glibc up to 2.36")
def test_a_module_built_here_runs_with_glibc_2_17() -> None:
    found = re.findall(rb"GLIBC_(\d+)\.(\d+)", Path(kernel.__file__).read_bytes())
    assert found
    assert max((int(major), int(minor)) for major, minor in found) <= (2, 17)
