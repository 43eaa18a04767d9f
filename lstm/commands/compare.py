"""``lstm compare``: the native and the NumPy path side by side."""

from __future__ import annotations

import argparse
from typing import Any

from .common import (
    Parser,
    UnusableError,
    add_command,
    add_json,
    add_picks,
    load_net,
    progress,
    read,
    refuse_options,
    write,
    write_json,
)

FAILED = 1

HELP = """\
Run the native kernel and the NumPy reference side by side on the same weights.

Without arguments: a grid of sizes with random weights, in float32 and float64.
With MODEL: random inputs for that net. With INPUT too: that input, and the recorded
outputs that it holds are checked.
"""

NOTES = """\
INPUT.npz holds
  features or X          (T, I) or (B, T, I)
  h0, c0 or C0           optional: states before the first step
  hidden or Y, h_n,      optional: outputs to be checked, float32 or float64
  c_n or C_n

A row a case: I input, H hidden, B batch, T time; the largest difference between the
paths over all outputs (every h, the last h and the last C); the best time of each
path, which take turns; ratio: how many times as fast the native path is.
  difference  absolute
  relative    the same, divided by the largest value of the output if that is above 1.
              Allowed are 5e-6 in float32 and 1e-13 in float64; recorded outputs of
              float32 are always held to 5e-6. NaN must be in the same places.
  ULP         in units of the spacing of floating-point numbers at the expected value.
              If a value passes through zero this grows although the absolute
              difference stays small.
A closing line says whether single steps by LSTM.forward and by LSTM.stream, chunks,
batch rows alone, and every instruction set of this CPU gave the same bits. Of a net
that runs from the end of a sequence only batch rows and instruction sets are compared.

NumPy's matrix products use as many threads as its BLAS takes by default, which can
slow small ones down; OPENBLAS_NUM_THREADS=1 holds OpenBLAS to one.

Exit status: 0; 1 if something differs; 2 for unusable arguments.
The keys of --json are explained by: python -m pydoc lstm.comparison.report.json_report
"""


def add(commands: Any) -> Parser:
    """Add the command to the parser's."""
    parser = add_command(commands, "compare", "the native and the NumPy path side by side", HELP, NOTES)
    parser.add_argument("model", nargs="?", metavar="MODEL", help="a file that lstm.load reads")
    parser.add_argument("input", nargs="?", metavar="INPUT.npz", help="see below")
    add_picks(parser)
    add_json(parser)
    parser.set_defaults(run=run)
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Compare, and print what was found."""
    from ..comparison import cases, comparison, report

    model = None
    unused: list[str] = []
    chosen = list(cases.grid()) if arguments.model is None else []
    if arguments.model is None:
        refuse_options(arguments)
    if arguments.model is not None:
        net = load_net(arguments.model, arguments)
        model = (arguments.model, net)
        if arguments.input is None:
            chosen = list(cases.model_cases(net))
        else:
            recording = read(cases.read_input, arguments.input)
            unused = recording.unused
            try:
                chosen = [cases.make_case(net, recording.X, recording.h0, recording.C0, recording.recorded)]
            except (ValueError, TypeError, MemoryError) as error:
                raise UnusableError(f"{arguments.input}: {str(error) or 'not enough memory'}") from error
    comparisons = []
    with progress(len(chosen), "cases") as done:
        for case in chosen:
            comparisons.append(comparison.compare_case(case))
            done(1)
    if arguments.json:
        write_json(report.json_report(comparisons, model, arguments.input, unused))
    else:
        write(report.text_report(comparisons, model, arguments.input, unused))
    return 0 if all(c.passed for c in comparisons) else FAILED
