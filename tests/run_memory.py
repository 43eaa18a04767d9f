"""How much memory a run of the command line takes, in a process of its own."""

from __future__ import annotations

import math
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from command_line import environment


def sparse(path: Path, shape: tuple[int, ...]) -> Path:
    """A file of zeros, float32, that takes no room on the disk."""
    with open(path, "wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        file.truncate(file.tell() + 4 * math.prod(shape))
    return path


MEASURED = """
import sys
from lstm.__main__ import main
status = main(sys.argv[1:])
with open("/proc/self/status") as file:
    peaks = dict(line.split(":") for line in file if line.startswith("Vm"))
print(peaks["VmPeak"].split()[0], peaks["VmHWM"].split()[0], file=sys.stderr)
sys.exit(status)
"""


def measured(folder: Path, *arguments: str, space: int | None = None) -> tuple[int, str, int, int]:
    """Exit status, stderr, and the peaks of address space and resident memory in bytes."""

    def limit() -> None:
        if space is not None:
            resource.setrlimit(resource.RLIMIT_AS, (space, space))

    done = subprocess.run(
        [sys.executable, "-c", MEASURED, *arguments],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        preexec_fn=limit,
    )
    *lines, last = done.stderr.splitlines()
    peak, resident = (1024 * int(number) for number in last.split())
    return done.returncode, "\n".join(lines), peak, resident


needs_proc = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux's /proc")
ROOM = 48 << 20
"""What a run may take beyond a process that has only been started."""
