"""The native kernel against the NumPy path; exit status 1 where it misses a goal.

The NumPy path is that of ``backend="numpy"``: one product of inputs and weights for all time steps and
batch rows, then one of the states a step. Both paths are timed through `LSTM.forward_sequence`, taking turns.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from typing import Any, NamedTuple

# Must be set before NumPy is imported; of those, its wheels' OpenBLAS reads the first.
BLAS_THREADS = (
    "OPENBLAS_NUM_THREADS",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


class Case(NamedTuple):
    """The sizes of a run and how many times as fast as NumPy it must be at least, if that is a goal."""

    input_size: int
    hidden_size: int
    batch: int
    time: int
    goal: float | None = None

    @property
    def name(self) -> str:
        """What --cases calls it."""
        return f"b{self.batch}h{self.hidden_size}" + ("" if self.time > 1 else "t1")


CASES = {
    case.name: case
    for case in (
        Case(16, 16, 1, 100, goal=3),
        Case(32, 32, 1, 100, goal=3),
        Case(64, 64, 1, 100, goal=3),
        Case(128, 128, 1, 100, goal=3),
        Case(256, 256, 1, 100, goal=3),
        Case(512, 512, 1, 50),
        Case(1024, 1024, 1, 20),
        Case(128, 128, 1, 1),
        Case(128, 128, 32, 50, goal=1.5),
        Case(256, 256, 32, 50),
        Case(512, 512, 64, 20),
    )
}


def main() -> int:
    parser = make_parser()
    arguments = parser.parse_args()
    if arguments.blas_threads:
        os.environ.update(dict.fromkeys(BLAS_THREADS, str(arguments.blas_threads)))
    os.environ["LSTM_NUM_THREADS"] = "1"
    from lstm import _kernel, show_config
    from lstm.comparison.machine import cpu_name, machine

    isa = arguments.isa or _kernel.DEFAULT_ISA
    if isa not in _kernel.SUPPORTED_ISAS:
        parser.error(f"argument --isa: this machine has {', '.join(_kernel.SUPPORTED_ISAS)}, not {isa!r}")
    load = os.getloadavg()[0]  # before this program adds to it
    dtypes = ("float32", "float64") if arguments.dtype == "both" else (arguments.dtype,)
    results = [
        run(CASES[name], dtype, isa, arguments.repeats) for dtype in dtypes for name in arguments.cases
    ]
    missed = [result for result in results if result["met"] is False]
    if arguments.json:
        facts = {"cpu": cpu_name(), "blas": blas_version(), "blas_threads": arguments.blas_threads}
        facts |= {
            "load_average": load,
            "isa": isa,
            "repeats": arguments.repeats,
            "met": not missed,
            "cases": results,
        }
        print(json.dumps(show_config("dict") | facts, indent=2))
    else:
        print(machine())
        print(f"native: {isa}, 1 thread; NumPy: {blas_version()}, {blas_threads(arguments.blas_threads)}")
        print(f"medians of {arguments.repeats} interleaved repeats; load average before: {load:.1f}\n")
        print("\n".join(table(results)))
        print(f"\ngoals missed: {len(missed)} of {sum(result['met'] is not None for result in results)}")
    return 1 if missed else 0


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--dtype", choices=("float32", "float64", "both"), default="float32")
    parser.add_argument(
        "--cases", type=case_names, default=list(CASES), help=f"of {','.join(CASES)}; separated by commas"
    )
    parser.add_argument("--repeats", type=positive, default=51, help="of each path (default 51)")
    parser.add_argument("--isa", help="instruction set of the native path (default: the best of this CPU)")
    parser.add_argument(
        "--blas-threads",
        type=count,
        default=1,
        help="threads of NumPy's BLAS (default 1, as the native path has); 0: as many as it takes by itself",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    return parser


def case_names(text: str) -> list[str]:
    names = text.split(",")
    if unknown := [name for name in names if name not in CASES]:
        raise argparse.ArgumentTypeError(f"no case {', '.join(unknown)}; there are {', '.join(CASES)}")
    return names


def count(text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number")
    return int(text)


def positive(text: str) -> int:
    if count(text) == 0:
        raise argparse.ArgumentTypeError("must be at least 1")
    return count(text)


def run(case: Case, dtype: str, isa: str, repeats: int) -> dict[str, Any]:
    """One case on both paths, as an object of the JSON report."""
    from lstm import LSTM
    from lstm.comparison.cases import grid
    from lstm.comparison.comparison import interleaved_times

    sizes = (case.input_size, case.hidden_size, case.batch, case.time)
    net, X, h0, C0, _ = next(grid([sizes], [dtype]))
    native = LSTM.from_core(net.core.on_isa(isa))
    reference = LSTM.from_state_dict(net.state_dict(), dtype=net.dtype, backend="numpy")
    paths = [lambda: native.forward_sequence(X, h0, C0), lambda: reference.forward_sequence(X, h0, C0)]
    interleaved_times(paths, repeats=3)  # caches and the CPU's clock warm up
    native_time, numpy_time = map(statistics.median, interleaved_times(paths, repeats=repeats))
    ratio = numpy_time / native_time
    return {
        "name": case.name,
        **dict(zip(("input_size", "hidden_size", "batch", "time"), sizes, strict=True)),
        "dtype": dtype,
        "isa": native.core.isa,
        "native_seconds": native_time,
        "numpy_seconds": numpy_time,
        "ratio": ratio,
        "goal": case.goal,
        "met": None if case.goal is None else ratio >= case.goal,
    }


def table(results: list[dict[str, Any]]) -> list[str]:
    from lstm.comparison.text import format_table, format_time

    verdicts = {None: "", True: "met", False: "MISSED"}
    titles = ["case", "I", "H", "B", "T", "dtype", "native", "NumPy", "ratio", "goal", ""]
    rows = [
        [
            result["name"],
            *(str(result[key]) for key in ("input_size", "hidden_size", "batch", "time", "dtype")),
            format_time(result["native_seconds"]),
            format_time(result["numpy_seconds"]),
            f"{result['ratio']:.2f}",
            "" if result["goal"] is None else f"{result['goal']:g}",
            verdicts[result["met"]],
        ]
        for result in results
    ]
    return format_table(titles, rows)


def blas_version() -> str:
    """What NumPy says of the BLAS it was built with."""
    import numpy as np

    facts: Any = np.show_config("dicts")
    blas = facts.get("Build Dependencies", {}).get("blas", {})
    return f"{blas.get('name', 'unknown BLAS')} {blas.get('version', '')}".rstrip()


def blas_threads(asked: int) -> str:
    """How many threads NumPy's BLAS has, observed where threadpoolctl is installed."""
    wish = f"{asked} BLAS thread{'s' * (asked > 1)} asked for" if asked else "BLAS threads by its default"
    try:
        from threadpoolctl import threadpool_info
    except ImportError:
        return wish
    found = [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]
    return f"{wish}, {', '.join(map(str, found)) or 'none'} found"


if __name__ == "__main__":
    sys.exit(main())
