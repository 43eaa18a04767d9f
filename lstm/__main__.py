"""The command line: ``lstm`` or ``python -m lstm``.

Exit status: 0; 1 if a comparison fails; 2 for unusable arguments, with one line on stderr.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence

from ._version import __version__
from .commands import compare, convert, info, report, run, train
from .commands.common import Parser, UnusableError, tell
from .commands.interrupts import raised
from .startup import INTERRUPTED
from .threads import using_threads

UNUSABLE = 2
PIPE_CLOSED = 141  # as a shell reports SIGPIPE


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command `argv`, by default that of the process, and return its exit status."""
    try:
        try:
            status = _run(argv)
        except UnusableError as error:
            tell("error", str(error))
            status = UNUSABLE
        if sys.stdout is not None:
            sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except OSError as error:
        # Files to read and to write are the commands'; what is left is writing to stdout.
        _discard_output()
        if isinstance(error, BrokenPipeError):
            return PIPE_CLOSED
        tell("error", f"the output cannot be written: {error.strerror or error}")
        return UNUSABLE
    return status


def _run(argv: Sequence[str] | None) -> int:
    parser = Parser(prog="lstm", description="LSTMs on CPUs.", allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"lstm {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="command")
    parsers = {command.__name__.rpartition(".")[2]: command.add(commands) for command in COMMANDS}
    try:
        arguments, rest = parser.parse_known_args(argv)
    except SystemExit as stop:  # after --help and --version
        return int(stop.code or 0)
    # The argparse of Python 3.11 takes no second optional file after an option that follows the first.
    if getattr(arguments, "input", "") is None and len(rest) == 1 and not rest[0].startswith("-"):
        arguments.input = rest.pop()
    if rest:
        parsers[arguments.command].error(f"unrecognized arguments: {' '.join(rest)}")
    with contextlib.ExitStack() as stack:
        stack.enter_context(raised())
        if getattr(arguments, "threads", None) is not None:
            stack.enter_context(using_threads(arguments.threads))
        status: int = arguments.run(arguments)
    return status


COMMANDS = (info, run, convert, compare, report, train)


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
