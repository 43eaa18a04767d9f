"""How errors name the options of `lstm.load`: as an argument, or as the command line has it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

_on_command_line = ContextVar("_on_command_line", default=False)


@contextlib.contextmanager
def as_on_command_line() -> Iterator[None]:
    """Name options with dashes in the errors of this block."""
    token = _on_command_line.set(True)
    try:
        yield
    finally:
        _on_command_line.reset(token)


def option(name: str, value: object = None) -> str:
    """An option, with a value if one is given: ``external_data=True`` or ``--external-data``."""
    if not _on_command_line.get():
        return f"{name}=" + ("" if value is None else f'"{value}"' if isinstance(value, str) else str(value))
    flag = f"--{name.replace('_', '-')}"
    return flag if value is None or value is True else f"{flag} {value}"
