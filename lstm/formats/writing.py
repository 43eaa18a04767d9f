"""Writing a file so that an old one of its name is replaced once the new one is whole."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[str]:
    """Yield the name of a file to write, which then takes the place of `path`, or goes if that fails."""
    name = os.fspath(path)
    partial = f"{name}.{os.getpid()}.{threading.get_ident()}.partial"
    try:
        yield partial
        os.replace(partial, name)
    except BaseException:
        if os.path.exists(partial):
            os.remove(partial)
        raise
