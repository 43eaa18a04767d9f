"""Where the cycles of a time step go, next to the machine's limits.

    taskset -c 1 python benchmarks/anatomy.py

A row a case of peers.py, in cycles a time step of one core: what forward_sequence takes; the x half, the h
half and the cell update, each by the driver with the other parts left out (step_parts.pyx, which is compiled
from the source of the kernel, so needs Cython and a C compiler); what is left to caches that the parts share;
and the two limits of roofline.c, all multiply-adds at the peak and reading the recurrent weights. The parts
are measured apart, so that they can overlap in the whole: "rest" may be below 0.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import sys
import tempfile
import time
from pathlib import Path
from types import ModuleType

import numpy as np
import peers

from lstm import LSTM, _kernel

ROOT = Path(__file__).parent.parent


def compiled(folder: str) -> ModuleType:
    """The module of step_parts.pyx, built as setup.py builds the kernel."""
    import setuptools  # noqa: F401, I001  which brings distutils
    from Cython.Build import cythonize
    from distutils.core import run_setup

    logging.disable(logging.INFO)  # the compiler's commands
    os.chdir(ROOT)
    distribution = run_setup("setup.py", stop_after="init")
    (extension,) = distribution.ext_modules
    extension.name = "step_parts"
    extension.sources[0] = "benchmarks/step_parts.pyx"
    distribution.ext_modules = cythonize([extension], build_dir=folder, include_path=["."], quiet=True)
    build = distribution.get_command_obj("build_ext")
    build.build_lib = build.build_temp = folder
    build.ensure_finalized()
    build.run()
    spec = importlib.util.spec_from_file_location("step_parts", build.get_ext_fullpath("step_parts"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def net_and_inputs(case: peers.Case) -> tuple[LSTM, np.ndarray]:
    """The net of a case and its X (B, T, I)."""
    net = LSTM(case.input_size, case.hidden_size, dtype=np.float32, init="pytorch", rng=0)
    return net, np.random.default_rng(1).standard_normal((case.batch, case.time, case.input_size), np.float32)


def parts(module: ModuleType, case: peers.Case) -> dict[str, float]:
    """Nanoseconds a step of each part; an error if the module does not compute what the package does."""
    net, X = net_and_inputs(case)
    h, C = np.zeros((2, case.batch, case.hidden_size), np.float32)
    Y = np.empty((case.batch, case.time, case.hidden_size), np.float32)
    measured: dict[str, float] = module.measure(net.core.cells[0], X, h, C, Y, np.empty_like(Y))
    expected, (h_n, C_n) = net.forward_sequence(X, return_state=True)
    for ours, theirs in ((Y, expected), (h, h_n[0]), (C, C_n[0])):
        if ours.tobytes() != theirs.tobytes():
            raise RuntimeError(f"{case.label}: step_parts.pyx computes other bits than the package installed")
    return measured


def whole(case: peers.Case) -> float:
    """Best nanoseconds a time step of forward_sequence."""
    net, X = net_and_inputs(case)
    out = np.empty((case.batch, case.time, case.hidden_size), np.float32)
    best = float("inf")
    for _ in range(60):
        start = time.perf_counter()
        net.forward_sequence(X, out=out)
        best = min(best, time.perf_counter() - start)
    return best / case.time * 1e9


def main() -> int:
    """Print the table."""
    cases = [case for case in peers.CASES if not case.is_step and case.label.count(" ") == 3]
    limits = peers.measure_limits()
    print("| case I, H, B, T | cycles | x half | h half | cell | rest | FMA limit | reading limit |")
    print("| --- |" + " ---: |" * 7)
    with tempfile.TemporaryDirectory() as folder:
        module = compiled(folder)
        for case in cases:
            found = parts(module, case)
            total = whole(case)
            flops = 8 * case.hidden_size * (case.input_size + case.hidden_size) * case.batch
            weights = 16 * case.hidden_size**2
            level = min(size for size in limits["read_gbytes"] if size >= weights)
            columns = (
                total,
                found["x_half"],
                found["h_half"],
                found["step"] - found["h_half"],
                total - found["x_half"] - found["step"],
                flops / limits["gflops_float32"],
                weights / limits["read_gbytes"][level],
            )
            cells = " | ".join(f"{nanoseconds * found['gigahertz']:.0f}" for nanoseconds in columns)
            print(f"| {case.label} | {cells} |", flush=True)
    print(f"\n{_kernel.DEFAULT_ISA}, {found['gigahertz']:.2f} GHz")
    return 0


if __name__ == "__main__":
    sys.exit(main())
