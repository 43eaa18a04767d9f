"""The errors of files: one that cannot be read, memory that has ended; the warning of one that does more."""

from __future__ import annotations

import contextlib
import errno
import re
from collections.abc import Iterator

# Characters of an error: a damaged file has names and values of any length.
LONGEST_START, LONGEST_END = 1200, 600


class FormatError(ValueError):
    """A file that cannot be read as what it should be; names the file, the entry and what was expected."""

    def __init__(self, message: str) -> None:
        if len(message) > LONGEST_START + LONGEST_END:
            message = f"{message[:LONGEST_START]} ... {message[-LONGEST_END:]}"
        super().__init__(message)


class FormatWarning(UserWarning):
    """What a model does besides what the loaded net computes, such as dropout that is always on."""


# What a library says in its own kind of error where it gets no memory.
NO_MEMORY = re.compile(r"can't (?:allocate|start new thread)|Arena alloc failed|Error -4 while|os error 12\b")


@contextlib.contextmanager
def memory_errors() -> Iterator[None]:
    """Raise MemoryError in place of another error of this block that means it; the file is not damaged."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise MemoryError(str(error)) from error
        raise


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether an error, or the one that it came of, says that there is no memory left.

    NumPy's reductions raise SystemError then, and zipfile ValueError while it closes what it could not write.
    """
    while error is not None:
        if isinstance(error, MemoryError | SystemError):
            return True
        if isinstance(error, OSError) and error.errno == errno.ENOMEM:
            return True
        if not isinstance(error, FormatError) and NO_MEMORY.search(str(error)) is not None:
            return True
        error = error.__cause__ or error.__context__
    return False
