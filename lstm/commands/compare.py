"""``lstm compare``: the native and the NumPy path side by side."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from .common import (
    Parser,
    UnusableError,
    add_command,
    add_json,
    add_picks,
    add_threads,
    check_ending,
    check_outputs,
    load_net,
    prepare_drawing,
    progress,
    read,
    refuse_options,
    write,
    write_json,
    write_png,
)

if TYPE_CHECKING:
    from ..comparison.comparison import Comparison

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

A row a case: I input, H hidden, B batch, T time, and of the output (every h, the last h,
the last C) that comes closest to what is allowed:
  error       the largest error of the native path, divided by the largest value of the
              output if that is above 1. In float32 it is counted from the outputs of the
              same net in float64, in float64 from those of NumPy.
  NumPy's     NumPy's own error: that of its result, or how far it moves if all weights and
              inputs change by one unit in the last place, whichever is larger
  allowed     8 times that, but at least 9.5e-7 in float32 and 1.8e-15 in float64;
              of recorded outputs at least 5e-6 and 1e-13. NaN must be in the same places.
In int8, every step of every layer is held to NumPy's from the states that the net itself
had before it: a last place of h may tip an integer of the next step. Of recorded outputs
twice what NumPy's small weights are off is allowed, in int8 at least 1/127.
  native and NumPy: the best time of each path, which take turns
  ratio       how many times as fast the native path is
A closing line says whether single steps by LSTM.forward and by LSTM.stream, chunks,
batch rows alone, and every instruction set of this CPU gave the same bits. Of a net
that runs from the end of a sequence only batch rows and instruction sets are compared.

NumPy's BLAS is held to one thread, as the native path has, if threadpoolctl is installed
(pip install "lstm-native[compare]"); without it, it may use several, which can slow small
products down by much.

Exit status: 0; 1 if something differs; 2 for unusable arguments.
The keys of --json are explained by: python -m pydoc lstm.comparison.report.json_report
"""


def add(commands: Any) -> Parser:
    """Add the command to the parser's."""
    parser = add_command(commands, "compare", "the native and the NumPy path side by side", HELP, NOTES)
    parser.add_argument("model", nargs="?", metavar="MODEL", help="a file that lstm.load reads")
    parser.add_argument("input", nargs="?", metavar="INPUT.npz", help="see below")
    add_picks(parser)
    parser.add_argument(
        "--blas-threads",
        type=_threads,
        metavar="N",
        help="threads of NumPy's BLAS, 0 for as many as it likes (default 1)",
    )
    parser.add_argument("--png", metavar="CHART.png", help="draw times and errors (extra plot)")
    add_threads(parser, default=1)
    add_json(parser)
    parser.set_defaults(run=run)
    return parser


@contextlib.contextmanager
def limited_blas(threads: int | None) -> Iterator[None]:
    """Hold NumPy's BLAS to `threads` in this block, or UnusableError; None: to one, if that is possible."""
    from ..comparison import machine

    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(machine.limited_blas(1 if threads is None else threads))
        except ImportError as error:
            if threads is not None:
                raise UnusableError(f"--blas-threads: {error}") from error
        yield


def _threads(text: str) -> int:
    """A number of threads."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no number of threads")
    return int(text)


def run(arguments: argparse.Namespace) -> int:
    """Compare, and print what was found."""
    from ..comparison import cases, comparison, report
    from ..comparison.text import printable

    model = None
    unused: list[str] = []
    chosen = list(cases.grid()) if arguments.model is None else []
    _check_chart(arguments)
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
    with limited_blas(arguments.blas_threads), progress(len(chosen), "cases") as done:
        for case in chosen:
            comparisons.append(comparison.compare_case(case))
            done(1)
        described = comparisons, model, arguments.input, unused
        if arguments.png is not None:
            _draw(comparisons, arguments)
        if arguments.json:
            write_json(report.json_report(*described))
        else:
            chart = "" if arguments.png is None else f"chart: {printable(arguments.png)}\n"
            write(report.text_report(*described) + chart)
    return 0 if all(c.passed for c in comparisons) else FAILED


def _check_chart(arguments: argparse.Namespace) -> None:
    """UnusableError if the chart cannot be drawn, before anything is computed."""
    if arguments.png is not None:
        check_ending("--png", arguments.png, ".png")
        check_outputs([arguments.png], [arguments.model, arguments.input])
        prepare_drawing("--png")


def _draw(comparisons: list[Comparison], arguments: argparse.Namespace) -> None:
    from ..comparison import chart

    write_png(chart.figure(comparisons, arguments.model), arguments.png, dpi=110)
