"""What `comparison` found, for people and for machines."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .. import _kernel
from ..config import show_config
from .accuracy import Difference
from .comparison import Comparison
from .machine import blas_settings, blas_threads, cpu_name, machine
from .text import format_table, format_time, printable

if TYPE_CHECKING:
    from ..model import LSTM

LARGE_ERROR = 1e-2
"""Relative error of NumPy itself from which on a case says little."""


def text_report(
    comparisons: Sequence[Comparison],
    model: tuple[str, LSTM] | None = None,
    input_file: str | None = None,
    unused: Sequence[str] = (),
) -> str:
    """What was compared and found, as lines of text.

    Parameters
    ----------
    comparisons : sequence of Comparison
        At least one.
    model : tuple of str and LSTM, optional
        The name of a model file and its net.
    input_file : str, optional
        The name of an input file.
    unused : sequence of str
        The entries of that file that were not used.

    Returns
    -------
    str

    """
    lines = [machine(), f"threads: {threads()}"]
    if model is not None:
        lines.append(f"model: {printable(model[0])}, {model[1]!r}")
    if input_file is not None:
        lines.append(f"input: {printable(input_file)}")
    if unused:
        lines.append(f"not used of the input: {', '.join(map(printable, unused))}")
    lines += ["", *_case_table(comparisons), ""]
    for c in comparisons:
        if c.recorded:
            lines += [*_recorded_table(c.recorded), ""]
    lines.append(bits_line(comparisons))
    if nans := sum(c.nan_outputs for c in comparisons):
        lines.append(f"NaN in {nans} native outputs")
    lines += [line for c in comparisons if (line := rounding_line(c))]
    lines += [f"FAILED: {case_name(c)}: {failure}" for c in comparisons for failure in c.failures]
    if all(c.passed for c in comparisons):
        lines.append(f"{len(comparisons)} {'case agrees' if len(comparisons) == 1 else 'cases agree'}")
    return "".join(f"{line}\n" for line in lines)


def _case_table(comparisons: Sequence[Comparison]) -> list[str]:
    titles = [
        "I",
        "H",
        "B",
        "T",
        "dtype",
        "ISA",
        "error",
        "NumPy's",
        "allowed",
        "native",
        "NumPy",
        "ratio",
        "",
    ]
    rows = [
        [
            *map(str, (c.input_size, c.hidden_size, c.batch, c.time)),
            c.precision or c.dtype,
            c.isa,
            f"{c.difference.relative:.2e}",
            f"{c.difference.numpy_error:.2e}",
            f"{c.difference.tolerance:.2e}",
            format_time(c.native_seconds),
            format_time(c.numpy_seconds),
            f"{c.ratio:.1f}",
            "ok" if c.passed else "FAILED",
        ]
        for c in comparisons
    ]
    return format_table(titles, rows)


def _recorded_table(recorded: Mapping[str, Difference]) -> list[str]:
    titles = ["recorded", "difference", "relative", "allowed", ""]
    rows = [
        [
            entry,
            f"{d.absolute:.2e}",
            f"{d.relative:.2e}",
            f"{d.tolerance:.2e}",
            "ok" if d.passed else "FAILED",
        ]
        for entry, d in recorded.items()
    ]
    return format_table(titles, rows)


def threads() -> str:
    """The threads of both paths."""
    known = blas_threads()
    if known is None:
        settings = blas_settings()
        blas = f"as {settings} says" if settings else "may use several"
        blas += ' (pip install "lstm-native[compare]" to hold it to one)'
    else:
        blas = str(known)
    return f"native {show_config('dict')['threads']}, NumPy's BLAS {blas}"


def rounding_line(c: Comparison) -> str | None:
    """A warning if rounding alone changes a case's outputs so much that a wrong result could pass."""
    worst = max(d.numpy_error for d in c.differences.values())
    if worst < LARGE_ERROR:
        return None
    return (
        f"note: {case_name(c)}: rounding alone moves these outputs by {worst:.2g} in {c.dtype}, so this case "
        "cannot tell a wrong result from a right one"
    )


def bits_line(comparisons: Sequence[Comparison]) -> str:
    """Whether every way of running gave the same bits, and which did not."""
    differing = dict.fromkeys(name for c in comparisons for name in c.different_bits)
    if differing:
        return f"other bits than the whole sequence at once: {', '.join(differing)}"
    line = (
        f"same bits: whole sequence, {', '.join(_ways(comparisons))}; on {', '.join(_kernel.SUPPORTED_ISAS)}"
    )
    cut = [c for c in comparisons if c.isa_part != (c.batch, c.time)]
    parts = [f"{c.isa_part[0]} of {c.batch} rows, {c.isa_part[1]} of {c.time} steps" for c in cut]
    return f"{line} (there over {'; '.join(parts)})" if parts else line


def _ways(comparisons: Sequence[Comparison]) -> list[str]:
    """The ways of running that some case was compared in."""
    return list(dict.fromkeys(way for c in comparisons for way in c.ways))


def case_name(c: Comparison) -> str:
    """Its sizes and its dtype."""
    return f"I={c.input_size} H={c.hidden_size} B={c.batch} T={c.time} {c.precision or c.dtype}"


def json_report(
    comparisons: Sequence[Comparison],
    model: tuple[str, LSTM] | None = None,
    input_file: str | None = None,
    unused: Sequence[str] = (),
) -> dict[str, Any]:
    """What was compared and found, as a JSON object; arguments as for `text_report`.

    Returns
    -------
    dict
        ``lstm``, ``python``, ``numpy`` (versions), ``cpu``, ``isa`` (the one in use), ``isas`` (all
        of this CPU), ``threads`` (of the native path), ``blas_threads`` (of NumPy's, null if not known),
        ``model``, ``input`` (file names or null), ``unused_entries`` (of the input), ``ways`` (of
        running whose bits were compared), ``passed``, and ``cases``, a list of objects:

        - ``input_size``, ``hidden_size``, ``batch``, ``time``, ``dtype``, ``precision`` (null: in full),
          ``isa``;
        - ``differences``: for each of Y, h_n, C_n, and of an int8 net its steps, the error of the native
          path: ``absolute``, ``relative`` (to the largest value, if that is above 1), ``numpy_error``
          (NumPy's own, relative), ``tolerance`` (what is allowed of ``relative``); ``difference``: that of
          them which is nearest to what is allowed, or furthest beyond it;
        - ``recorded``: such an object for each checked entry of the input, native against recorded;
        - ``native_seconds``, ``numpy_seconds``: best time of each path; ``ratio``, the second by the
          first;
        - ``different_bits``: ways and ISAs whose bits differ; ``isa_part``: rows and steps that
          the ISAs were compared on;
        - ``nan_outputs``: how many there are; ``passed``; ``failures``, in words.

        A difference that is infinite, as that of a NaN from a number, is null.

    """
    return {
        **show_config("dict"),
        "cpu": cpu_name(),
        "blas_threads": blas_threads(),
        "model": None if model is None else model[0],
        "input": input_file,
        "unused_entries": list(unused),
        "ways": _ways(comparisons),
        "passed": all(c.passed for c in comparisons),
        "cases": [_json_case(c) for c in comparisons],
    }


def _json_case(c: Comparison) -> dict[str, Any]:
    return {
        "input_size": c.input_size,
        "hidden_size": c.hidden_size,
        "batch": c.batch,
        "time": c.time,
        "dtype": c.dtype,
        "precision": c.precision,
        "isa": c.isa,
        "difference": _json_difference(c.difference),
        "differences": {name: _json_difference(d) for name, d in c.differences.items()},
        "recorded": {entry: _json_difference(d) for entry, d in c.recorded.items()},
        "native_seconds": c.native_seconds,
        "numpy_seconds": c.numpy_seconds,
        "ratio": c.ratio,
        "different_bits": list(c.different_bits),
        "isa_part": list(c.isa_part),
        "nan_outputs": c.nan_outputs,
        "passed": c.passed,
        "failures": c.failures,
    }


def _json_difference(difference: Difference) -> dict[str, float | None]:
    return {name: v if math.isfinite(v) else None for name, v in difference._asdict().items()}
