"""The machine that figures belong to: its CPU and the threads of NumPy's BLAS."""

from __future__ import annotations

import os
import platform
import re

from ..config import show_config
from .text import printable


def cpu_name() -> str:
    """The CPU's name as the system tells it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            for line in file:
                if match := re.match(r"model name\s*:\s*(.*\S)", line):
                    return match[1]
    except OSError:
        pass  # Not every system has this file.
    return platform.processor() or platform.machine() or "unknown CPU"


def machine() -> str:
    """What the figures belong to, in one line."""
    facts = show_config("dict")
    cpu = f"{cpu_name()} ({os.cpu_count()} CPUs)"
    return f"lstm {facts['lstm']}, Python {facts['python']}, NumPy {facts['numpy']}, {cpu}"


def blas_threads() -> str:
    """The environment variables that set the threads of NumPy's BLAS, or "default"."""
    names = [name for name in sorted(os.environ) if re.search(r"_(NUM|MAXIMUM)_THREADS$", name)]
    return " ".join(f"{name}={printable(os.environ[name])}" for name in names) or "default"
