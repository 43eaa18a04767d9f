"""What runs here: ISA, versions, threads; the memory that is kept between calls."""

from __future__ import annotations

import platform
import sys
from typing import Any, Literal, overload

import numpy as np

from . import _kernel
from ._version import __version__
from .threads import get_num_threads


@overload
def show_config(mode: Literal["text"] = ...) -> None: ...
@overload
def show_config(mode: Literal["dict"]) -> dict[str, Any]: ...
def show_config(mode: Literal["text", "dict"] = "text") -> dict[str, Any] | None:
    """Print which instruction set the kernel runs on, which there are, and how many threads.

    The environment variable ``LSTM_ISA``, read when lstm is imported, forces one.

    Parameters
    ----------
    mode : {"text", "dict"}
        "text" prints; "dict" returns the same facts.

    Returns
    -------
    dict or None
        With "dict": ``lstm``, ``python``, ``numpy`` (versions), ``isa`` (the one in use),
        ``isas`` (those this CPU runs, slowest first), ``threads`` (of a call, at most).

    Raises
    ------
    ValueError
        If `mode` is neither.

    Examples
    --------
    >>> import lstm
    >>> sorted(lstm.show_config("dict"))
    ['isa', 'isas', 'lstm', 'numpy', 'python', 'threads']

    """
    facts = {
        "lstm": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "isa": _kernel.DEFAULT_ISA,
        "isas": list(_kernel.SUPPORTED_ISAS),
        "threads": get_num_threads(),
    }
    if mode == "dict":
        return facts
    if mode != "text":
        raise ValueError(f"mode is {mode!r}, but must be 'text' or 'dict'")
    lines = {**facts, "isas": ", ".join(_kernel.SUPPORTED_ISAS)}
    sys.stdout.write("".join(f"{name:8}{value}\n" for name, value in lines.items()))
    return None


def release_memory() -> int:
    """Free the memory that is kept for the next call.

    Each thread that has run a net of the native backend keeps at most 2 MiB of scratch memory. Of the arrays
    of training, tapes and gradients, all threads together keep at most 64 MiB that nothing refers to any
    more. Both save mapping it anew at every call. It is freed in a forked child and by this function, scratch
    memory also when its thread ends; calls that are at work in other threads keep theirs. Streams keep memory
    of their own.

    Returns
    -------
    int
        Bytes that were freed.

    Examples
    --------
    >>> import lstm
    >>> Y = lstm.LSTM(3, 5, rng=0).forward_sequence([[1.0, 0.0, 2.0]])
    >>> lstm.release_memory() > 0
    True
    >>> lstm.release_memory()
    0

    """
    return _kernel.release_scratch() + _kernel.release_blocks()
