"""The error of a file that cannot be read."""

from __future__ import annotations

# Characters of an error: a damaged file has names and values of any length.
LONGEST_START, LONGEST_END = 1200, 600


class FormatError(ValueError):
    """A file that cannot be read as what it should be; names the file, the entry and what was expected."""

    def __init__(self, message: str) -> None:
        if len(message) > LONGEST_START + LONGEST_END:
            message = f"{message[:LONGEST_START]} ... {message[-LONGEST_END:]}"
        super().__init__(message)
