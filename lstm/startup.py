"""Ctrl-C while the command starts: it ends the process at once.

An exception is a poor way to end an import: it is a traceback of NumPy or of this package, until `main` can
catch it, and the import takes most of the time of a short command. So this module imports next to nothing.
"""

from __future__ import annotations

import os
import sys

INTERRUPTED = 130  # as a shell reports SIGINT


def is_command() -> bool:
    """Whether this process, which imports the package, runs the command: ``lstm`` or ``python -m lstm``."""
    words = getattr(sys, "argv", None)  # which programs that embed Python may leave out
    if not (isinstance(words, list) and 0 < len(words) <= len(sys.orig_argv)):
        return False
    name = sys.orig_argv[-len(words)]
    # While Python looks for the module of -m, that is all that argv[0] says.
    if words[0] == "-m":
        return name in ("lstm", "-mlstm")
    return words[0] == name and os.path.basename(name) in ("lstm", "lstm.exe")


def let_signals_end_command() -> None:
    """If this process runs the command, let Ctrl-C end it, at its start and after its work."""
    if not is_command():
        return
    # `signal` without its enums, whose making is a third of what is left here to Ctrl-C.
    import _signal  # type: ignore[import-not-found]

    # One that is ignored, as nohup does, stays so.
    if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
        try:  # noqa: SIM105, contextlib would have to be imported
            _signal.signal(_signal.SIGINT, end_process)
        except ValueError:  # this is not the main thread
            pass


def let_signals_raise_in_scripts() -> None:
    """Once the package is imported: such a script may be another one. The command takes them again."""
    import _signal

    if _signal.getsignal(_signal.SIGINT) is end_process and sys.argv[0] != "-m":
        _signal.signal(_signal.SIGINT, _signal.default_int_handler)


def end_process(number: int, frame: object) -> None:
    """A signal's handler. Nothing is to be cleared up, so that nothing can print or drop its exception."""
    os._exit(INTERRUPTED)
