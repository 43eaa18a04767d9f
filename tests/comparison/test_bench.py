"""benchmarks/bench.py, which compares in the same way."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from command_line import environment, parse
from support import ROOT

from lstm import _kernel
from lstm.comparison.machine import cpu_name

# benchmarks/bench.py


def bench(folder: Path, *arguments: str, goal: float = 3) -> subprocess.CompletedProcess[str]:
    """bench.py whose first case has another goal."""
    program = f"""
import os, sys
sys.path.insert(0, {str(ROOT / "benchmarks")!r})
import bench
assert "numpy" not in sys.modules  # would take no notice of the number of threads
bench.CASES["b1h16"] = bench.CASES["b1h16"]._replace(goal={goal})
status = bench.main()
assert "--blas-threads" not in sys.argv or os.environ["OPENBLAS_NUM_THREADS"] == "2"
sys.exit(status)
"""
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        encoding="utf-8",
    )


@pytest.mark.parametrize(("goal", "status"), [(1e-6, 0), (1e6, 1)])
def test_bench(tmp_path: Path, goal: float, status: int) -> None:
    arguments = ["--cases", "b1h16,b1h128t1", "--repeats", "2", "--isa", _kernel.SUPPORTED_ISAS[0]]
    done = bench(tmp_path, *arguments, "--dtype", "both", "--json", goal=goal)
    assert (done.returncode, done.stderr) == (status, "")
    report = parse(done.stdout)
    assert report["met"] is (status == 0)
    assert report["isa"] == _kernel.SUPPORTED_ISAS[0]
    assert report["blas_threads"] == 1
    assert report["load_average"] >= 0
    assert {c["isa"] for c in report["cases"]} == {_kernel.SUPPORTED_ISAS[0]}
    assert [(c["name"], c["dtype"], c["met"]) for c in report["cases"]] == [
        (name, dtype, met)
        for dtype in ("float32", "float64")
        for name, met in (("b1h16", status == 0), ("b1h128t1", None))
    ]
    done = bench(tmp_path, *arguments, "--blas-threads", "2", goal=goal)
    assert (done.returncode, done.stderr) == (status, "")
    assert cpu_name() in done.stdout
    assert "2 BLAS threads asked for" in done.stdout
    assert ("MISSED" in done.stdout) is (status == 1)
    assert done.stdout.endswith(f"goals missed: {status} of 1\n")


def test_bench_refuses(tmp_path: Path) -> None:
    for arguments in (["--isa", "unknown"], ["--cases", "unknown"], ["--repeats", "0"]):
        done = bench(tmp_path, *arguments)
        assert (done.returncode, done.stdout) == (2, "")
