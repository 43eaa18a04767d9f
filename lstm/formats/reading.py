"""Opening a file from a stranger: a plain one, and nothing that waits or has no end."""

from __future__ import annotations

import errno
import io
import os
import stat

from .. import systems

WITHOUT_WAITING = systems.flags("O_NONBLOCK", "O_NOCTTY")
# What else a path may lead to, by the type of its inode.
OTHERS = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def open_plain(path: str | os.PathLike[str]) -> io.FileIO:
    """A plain file, or what a link to one leads to, opened for reading.

    OSError, at once, for all else: a pipe would be waited for, and a device may have no end. Every reader of
    this package opens its files here.
    """
    # Opening some devices, or a pipe that someone writes to, does something by itself.
    check_plain(path, os.stat(path), "read")
    return io.FileIO(path, "rb", opener=_open)


def _open(path: str, flags: int) -> int:
    descriptor = os.open(path, flags | WITHOUT_WAITING)
    try:
        check_plain(path, os.fstat(descriptor), "read")  # the path may lead elsewhere by now
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def check_plain(path: str | os.PathLike[str], status: os.stat_result, done: str) -> None:
    """OSError, which says what is `done` with plain files alone, if this is the status of no plain file."""
    kind = stat.S_IFMT(status.st_mode)
    if kind == stat.S_IFDIR:
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
    if kind != stat.S_IFREG:
        what = OTHERS.get(kind, "no plain file")
        raise OSError(errno.EINVAL, f"Is {what}, but only plain files are {done}", os.fspath(path))
