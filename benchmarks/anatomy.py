"""Where the cycles of a time step go, beside the machine's limits.

    taskset -c 1 python benchmarks/anatomy.py

A row a case of peers.py, in cycles a time step of one core: what forward_sequence takes; the x half, the h
half and the cell update by the micro-kernels alone (anatomy.c); what is left to the driver and to caches
that the parts share; and the two limits of roofline.c, all multiply-adds at the peak and reading the
recurrent weights. The parts are measured apart, so that they can overlap in the whole: "rest" may be below 0.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import peers

from lstm import LSTM, _kernel

ROOT = Path(__file__).parent.parent
TILE_BYTES = 32 * 1024  # as in lstm/_kernel/kernel.pyx


def compiled(folder: str) -> str:
    """The program of anatomy.c."""
    program = str(Path(folder) / "anatomy")
    sources = [str(path) for path in sorted(ROOT.glob("csrc/*.c"))]
    flags = ["-std=gnu11", "-O3", "-ffp-contract=off", "-fno-math-errno", f"-I{ROOT / 'csrc'}"]
    subprocess.run(
        ["cc", *flags, str(Path(__file__).with_name("anatomy.c")), *sources, "-lm", "-o", program], check=True
    )
    return program


def row_panels(hidden_size: int) -> int:
    """Most panels of a tile of one row, as the driver chooses it in float32."""
    lanes, _, panel_tile = _kernel.tile_limits(_kernel.DEFAULT_ISA, "float32")
    return min(panel_tile, max(64 // (4 * lanes), TILE_BYTES // (16 * lanes * hidden_size)))


def whole(case: peers.Case) -> float:
    """Best nanoseconds a time step of forward_sequence."""
    net = LSTM(case.input_size, case.hidden_size, dtype=np.float32, init="pytorch", rng=0)
    X = np.random.default_rng(1).standard_normal((case.batch, case.time, case.input_size), np.float32)
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
        program = compiled(folder)
        for case in cases:
            sizes = (case.input_size, case.hidden_size, case.batch, row_panels(case.hidden_size))
            found: dict[str, Any] = json.loads(
                subprocess.run([program, *map(str, sizes)], check=True, capture_output=True, text=True).stdout
            )
            total = whole(case)
            flops = 8 * case.hidden_size * (case.input_size + case.hidden_size) * case.batch
            weights = 16 * case.hidden_size**2
            level = min(size for size in limits["read_gbytes"] if size >= weights)
            parts = (
                total,
                found["x_half"],
                found["h_half"],
                found["step"] - found["h_half"],
                total - found["x_half"] - found["step"],
                flops / limits["gflops_float32"],
                weights / limits["read_gbytes"][level],
            )
            cells = " | ".join(f"{nanoseconds * found['gigahertz']:.0f}" for nanoseconds in parts)
            print(f"| {case.label} | {cells} |", flush=True)
    print(f"\n{found['isa']}, {found['gigahertz']:.2f} GHz")
    return 0


if __name__ == "__main__":
    sys.exit(main())
