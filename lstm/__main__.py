"""The command line: ``lstm`` or ``python -m lstm``.

Exit status: 0; 1 where a comparison fails; 2 for unusable arguments, with one line on stderr.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn, TypeVar

from ._version import __version__

Read = TypeVar("Read")

FAILED = 1
UNUSABLE = 2
INTERRUPTED = 130  # as a shell reports SIGINT
PIPE_CLOSED = 141  # as a shell reports SIGPIPE

COMPARE_HELP = """\
Run the native kernel and the plain-NumPy reference side by side on the same weights.

Without arguments: a grid of sizes with random weights, in float32 and float64.
With MODEL: random inputs for that net. With INPUT too: that input, and the recorded
outputs that it holds are checked.
"""

COMPARE_NOTES = """\
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
              float32 are always held to 5e-6. NaN must stand in the same places.
  ULP         in units of the spacing of floating-point numbers at the expected value.
              Where a value passes through zero this grows although the absolute
              difference stays small.
A closing line says whether single steps by LSTM.forward and by LSTM.stream, chunks,
batch rows alone, and every instruction set of this CPU gave the same bits.

NumPy's matrix products use as many threads as its BLAS takes by default, which can
slow small ones down; OPENBLAS_NUM_THREADS=1 holds the usual BLAS to one.

Exit status: 0; 1 where something differs; 2 for unusable arguments.
The keys of --json are told by: python -m pydoc lstm.compare.json_report
"""


class UnusableError(Exception):
    """Arguments or files that cannot be used; becomes one line on stderr."""


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, without the usage."""

    def error(self, message: str) -> NoReturn:
        """Raise what becomes that line."""
        raise UnusableError(f"{message}; see {self.prog} --help")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command `argv`, by default that of the process, and return its exit status."""
    try:
        try:
            status = _run(argv)
        except UnusableError as error:
            _report_error(str(error))
            status = UNUSABLE
        if sys.stdout is not None:
            sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except OSError as error:
        # Files to read are _read's; what is left is writing to stdout.
        _discard_output()
        if isinstance(error, BrokenPipeError):
            return PIPE_CLOSED
        _report_error(f"the output cannot be written: {error.strerror or error}")
        return UNUSABLE
    return status


def _run(argv: Sequence[str] | None) -> int:
    parser = Parser(prog="lstm", description="LSTMs on CPUs.", allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"lstm {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="command")
    command = commands.add_parser(
        "compare",
        help="the native and the NumPy path side by side",
        description=COMPARE_HELP,
        epilog=COMPARE_NOTES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    command.add_argument("model", nargs="?", metavar="MODEL.npz", help="as LSTM.save writes it")
    command.add_argument("input", nargs="?", metavar="INPUT.npz", help="see below")
    command.add_argument("--json", action="store_true", help="print one JSON document, nothing else")
    try:
        arguments, rest = parser.parse_known_args(argv)
    except SystemExit as stop:  # after --help and --version
        return int(stop.code or 0)
    # The argparse of Python 3.11 takes no second file after an option that follows the first.
    if arguments.input is None and len(rest) == 1 and not rest[0].startswith("-"):
        arguments.input = rest.pop()
    if rest:
        command.error(f"unrecognized arguments: {' '.join(rest)}")
    return _compare(arguments.model, arguments.input, arguments.json)


def _compare(model_file: str | None, input_file: str | None, as_json: bool) -> int:
    import json

    from . import compare, formats

    model = None
    unused: list[str] = []
    cases = compare.grid()
    if model_file is not None:
        net = _read(formats.load, model_file)
        model = (model_file, net)
        cases = compare.model_cases(net)
        if input_file is not None:
            held = _read(compare.read_input, input_file)
            unused = held.unused
            try:
                cases = iter([compare.make_case(net, held.X, held.h0, held.C0, held.recorded)])
            except (ValueError, TypeError, MemoryError) as error:
                raise UnusableError(f"{input_file}: {str(error) or 'not enough memory'}") from error
    comparisons = [compare.compare_case(case) for case in cases]
    if as_json:
        report = compare.json_report(comparisons, model, input_file, unused)
        _write(json.dumps(report, indent=2) + "\n")
    else:
        _write(compare.text_report(comparisons, model, input_file, unused))
    return 0 if all(c.passed for c in comparisons) else FAILED


def _read(read: Callable[[str], Read], path: str) -> Read:
    """The content of a file; UnusableError where it cannot be had."""
    try:
        return read(path)
    except OSError as error:
        raise UnusableError(f"{path}: {error.strerror or error}") from error
    except ValueError as error:
        raise UnusableError(str(error)) from error
    except MemoryError as error:
        raise UnusableError(f"{path}: there is not enough memory for it") from error


def _write(text: str) -> None:
    """Write to stdout, escaping what its encoding lacks."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding), end="")


def _report_error(message: str) -> None:
    """One line on stderr; a message of several lines is advice followed by code."""
    first, *code = [line.strip() for line in message.splitlines()] or [""]
    line = f"lstm: error: {first} {'; '.join(code)}".rstrip()
    if sys.stderr is not None:
        with contextlib.suppress(OSError):
            print("".join(c if c.isprintable() else ascii(c)[1:-1] for c in line), file=sys.stderr)


def _discard_output() -> None:
    """Let what is still buffered go nowhere, so that the interpreter does not trip over it at exit."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        descriptor = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(descriptor, sys.stdout.fileno())
        finally:
            os.close(descriptor)


if __name__ == "__main__":
    sys.exit(main())
