"""Writing a file so that an old one of its name is replaced once the new one is whole."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[str]:
    """Yield the name of a file to write, which then takes the place of `path`, or goes if that fails.

    The file is there already, so that every library meets a path that can be written. An OSError that names
    it names `path` instead.
    """
    name = os.fspath(path)
    partial = f"{name}.{os.getpid()}.{threading.get_ident()}.partial"
    try:
        with open(partial, "wb"):
            pass
        yield partial
        os.replace(partial, name)
    except BaseException as error:
        if os.path.exists(partial):
            os.remove(partial)
        if isinstance(error, OSError) and error.filename == partial:
            raise OSError(error.errno, error.strerror, name) from None
        raise
