"""What to say if the compiled kernel cannot be imported."""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path

from .startup import is_command


def explain(error: Exception) -> None:
    """Raise the ImportError with advice, or return if the error says it itself; end a command in one line."""
    if isinstance(error, ModuleNotFoundError):
        if error.name is None or not error.name.startswith("lstm._kernel"):
            return
        _end_command(_advice())
        raise ImportError(_advice()) from error
    _end_command(str(error))  # LSTM_ISA names none that this machine has


def _end_command(message: str) -> None:
    """End the process if it runs the command."""
    if is_command():
        print(f"lstm: {message}", file=sys.stderr)
        raise SystemExit(2)


def _advice() -> str:
    """What to do where this folder has no compiled kernel."""
    here = Path(__file__).resolve().parent
    for distribution in metadata.distributions(name="lstm-native"):
        installed = Path(str(distribution.locate_file("lstm"))).resolve()
        if installed != here and installed.is_dir():
            return (
                f"the folder {here} hides the installed package, {installed}, and has no compiled kernel: "
                "start Python in another folder, or run `pip install -e .` to work on the source"
            )
    return (
        "lstm's compiled kernel has not been built: run `pip install .`, or `pip install -e .` to "
        "work on the source, in the folder that holds lstm's pyproject.toml"
    )
