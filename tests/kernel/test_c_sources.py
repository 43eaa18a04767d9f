"""The C sources: standard C free of warnings under every compiler here, names and constants as promised."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from support import DTYPES, ROOT

from lstm import _kernel
from lstm.core.weights import GATES

CSRC = ROOT / "csrc"
SOURCES = sorted(CSRC.glob("*.c"))
HEADER = CSRC / "lstm_kernels.h"
KERNEL_NAME = re.compile(r"lstm_(f32|f64)_(gates|step|product)_(\d+)x(\d+)__([a-z0-9]+)")
DTYPE_NAMES = {np.float32: "f32", np.float64: "f64"}


def installed(*names: str) -> list[object]:
    """Programs as parameters of a test, which skips by name those that are not installed."""
    return [
        pytest.param(name, marks=pytest.mark.skipif(shutil.which(name) is None, reason=f"no {name} here"))
        for name in names
    ]


def compiled(compiler: str, source: Path, target: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [compiler, "-std=c11", *options, "-I", str(CSRC), "-c", str(source), "-o", str(target)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_sources_are_found() -> None:
    assert {path.name for path in SOURCES} >= {"isas.c", "fp_mode.c", "kernels_generic.c"}


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
@pytest.mark.parametrize("compiler", installed("gcc", "clang", "aarch64-linux-gnu-gcc"))
def test_no_warnings(compiler: str, source: Path, tmp_path: Path) -> None:
    warnings = ("-Wall", "-Wextra", "-Wconversion", "-Wpedantic", "-Werror")
    result = compiled(compiler, source, tmp_path / "object.o", "-O3", "-ffp-contract=off", *warnings)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("compiler", installed("gcc", "clang"))
def test_fast_math_is_refused(compiler: str, tmp_path: Path) -> None:
    for source in SOURCES:
        result = compiled(compiler, source, tmp_path / "object.o", "-ffast-math")
        assert result.returncode != 0, source.name
        assert "build it without -ffast-math" in result.stderr


def kernel_names(isa: str, tmp_path: Path) -> set[str]:
    """The symbols that begin as the kernels of one ISA do."""
    target = tmp_path / f"{isa}.o"
    result = compiled("gcc", CSRC / f"kernels_{isa}.c", target, "-O0")
    assert result.returncode == 0, result.stderr
    symbols = subprocess.run(["nm", str(target)], capture_output=True, text=True, check=True).stdout.split()
    return {name.split(".")[0] for name in symbols if re.match("lstm_(f32|f64)_(gates|step|product)", name)}


needs_tools = pytest.mark.skipif(
    shutil.which("gcc") is None or shutil.which("nm") is None, reason="needs gcc and nm"
)


@needs_tools
@pytest.mark.parametrize("isa", _kernel.KNOWN_ISAS)
def test_kernel_names(isa: str, tmp_path: Path) -> None:
    """lstm_<dtype>_<gates|step|product>_<rows>x<units>__<isa>, for every tile in the table and no other."""
    names = kernel_names(isa, tmp_path)
    assert names
    for name in names:
        parts = KERNEL_NAME.fullmatch(name)
        assert parts is not None, name
        assert parts[5] == isa
    if isa in _kernel.SUPPORTED_ISAS:
        expected = set()
        for dtype in DTYPES:
            lanes, rows, panels = _kernel.tile_limits(isa, np.dtype(dtype).name)
            tiles = [(r, 1) for r in range(1, rows + 1)] + [(1, p) for p in range(2, panels + 1)]
            expected |= {
                f"lstm_{DTYPE_NAMES[dtype]}_{what}_{r}x{p * lanes}__{isa}"
                for what in ("gates", "step")
                for r, p in tiles
            }
        assert {name for name in names if "_product_" not in name} == expected


def test_gate_order() -> None:
    found = re.search(r"enum \{ (GATE_.*?), GATE_COUNT \};", HEADER.read_text())
    assert found is not None
    assert found[1].split(", ") == [f"GATE_{gate.upper()}" for gate in GATES]


def test_sum_block() -> None:
    """Part of the contract of the numbers, as test_tiles.py has it too."""
    assert re.search(r"\bLSTM_SUM_BLOCK = 128,", HEADER.read_text())


def test_isas_are_those_of_the_sources() -> None:
    """Each kernels_<isa>.c has a table, and no ISA of another name is built in."""
    names = {path.stem.removeprefix("kernels_") for path in SOURCES if path.stem.startswith("kernels_")}
    assert set(_kernel.KNOWN_ISAS) <= names
    for name in names:
        source = " ".join((CSRC / f"kernels_{name}.c").read_text().split())
        assert f'lstm_isa_{name} = {{"{name}", is_supported, ' in source
