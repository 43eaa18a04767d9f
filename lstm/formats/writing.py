"""Writing a file so that it replaces an old one of its name once it is whole, and on the disk."""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import secrets
import stat
import zlib
from collections.abc import Iterator

from .. import systems
from ..core.interruptible import LONG, interruptible
from .reading import check_plain

NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | systems.OPEN
LEFT = os.O_RDWR | systems.OPEN | systems.flags("O_NOFOLLOW", "O_NONBLOCK")
LEFT_TO_RESUME = os.O_RDWR | os.O_CREAT | systems.OPEN | systems.flags("O_NOFOLLOW")
FOLDER = systems.OPEN | systems.flags("O_DIRECTORY")


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[str]:
    """Yield the name of a file to write, which then takes the place of `path`, or goes if that fails.

    A link stays, and what it leads to is replaced. An old file's mode is kept and, where that is allowed, its
    owner. What a killed run has left of this path is removed. The file to write is there already, so that
    every library meets a path that can be written; it must be written in place. An OSError about it is about
    `path` instead.
    """
    name = os.fspath(path)
    partial = target = os.path.realpath(name)
    descriptor = None
    held = contextlib.ExitStack()  # closes the new file
    try:
        old = _old_status(target)
        _remove_left(target)
        try:
            while descriptor is None:
                partial = _partial_name(target)
                # Locked for as long as it is written.
                descriptor = os.open(partial, NEW, 0o666 if old is None else 0o600)
                held.callback(os.close, descriptor)
                if not _is_locked(descriptor, partial, otherwise=True):
                    # Another run has taken it for one that was left, and removed it.
                    held.close()
                    descriptor = None
            yield partial
            _put(descriptor, partial, target, old, held)
        except BaseException:
            if descriptor is not None:
                _let_go(held)
                with contextlib.suppress(FileNotFoundError):
                    os.remove(partial)
            raise
        finally:
            held.close()
        _sync_folder(os.path.dirname(target))
    except OSError as error:
        if error.errno is None:
            raise OSError(str(error).replace(partial, name)) from None
        about = str(error.filename or target)
        if about != target and _start(target) not in about:
            raise
        raise OSError(error.errno, error.strerror, name) from None


def _let_go(held: contextlib.ExitStack) -> None:
    """Close a file that is about to be renamed or removed, on a system that allows neither of open ones."""
    if not systems.IS_POSIX:
        held.close()


@contextlib.contextmanager
def continuing(path: str | os.PathLike[str]) -> Iterator[str]:
    """As `replacing`, but the file to write has one name for all runs, and stays if this one fails.

    So that a later run goes on with it, whatever has ended this one. BlockingIOError if another run is at it.
    """
    target = os.path.realpath(path)
    old, partial = _old_status(target), f"{target}.resume"
    held = contextlib.ExitStack()  # closes the new file
    descriptor = os.open(partial, LEFT_TO_RESUME, 0o666)
    held.callback(os.close, descriptor)
    try:
        check_plain(partial, os.fstat(descriptor), "written")
        if not _is_locked(descriptor, partial, otherwise=True):
            raise BlockingIOError(errno.EWOULDBLOCK, "another run is writing it", partial)
        yield partial
        _put(descriptor, partial, target, old, held)
    finally:
        held.close()
    _sync_folder(os.path.dirname(target))


def _put(
    descriptor: int, partial: str, target: str, old: os.stat_result | None, held: contextlib.ExitStack
) -> None:
    """Put a written file, which `held` closes, into the place of `target`, as the old one's heir."""
    if old is not None:
        _take_over(descriptor, old)
    _sync(descriptor)
    _let_go(held)
    os.replace(partial, target)


def _old_status(target: str) -> os.stat_result | None:
    """The status of the file to be replaced, None if there is none; OSError if that must not be."""
    try:
        status = os.stat(target)
    except FileNotFoundError:
        return None
    check_plain(target, status, "written")
    if not os.access(target, os.W_OK, effective_ids=os.access in os.supports_effective_ids):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), target)
    return status


def _start(target: str) -> str:
    """How the names of files start that would become `target`; short, whatever the length of its own."""
    return f".lstm-{zlib.crc32(os.fsencode(os.path.basename(target))):08x}-"


def _partial_name(target: str) -> str:
    """A new name next to `target`."""
    return os.path.join(os.path.dirname(target), f"{_start(target)}{secrets.token_hex(4)}.partial")


def _remove_left(target: str) -> None:
    """Remove what runs that were killed have left of `target`: their locks have ended with them."""
    folder, start = os.path.dirname(target), _start(target)
    try:
        left = [name for name in os.listdir(folder) if name.startswith(start) and name.endswith(".partial")]
    except OSError:
        return
    for partial in (os.path.join(folder, name) for name in left):
        with contextlib.suppress(OSError):
            descriptor = os.open(partial, LEFT)
            try:
                if _is_locked(descriptor, partial, otherwise=False):
                    os.remove(partial)
            finally:
                os.close(descriptor)


def _is_locked(descriptor: int, path: str, otherwise: bool) -> bool:
    """Lock an open file; whether that is done and `path` still names it; `otherwise` without locks."""
    is_locked = systems.lock(descriptor)
    if is_locked is None:
        return otherwise
    try:
        return is_locked and os.path.samestat(os.fstat(descriptor), os.stat(path, follow_symlinks=False))
    except FileNotFoundError:
        return False


def _take_over(descriptor: int, old: os.stat_result) -> None:
    """Give an open file owner and mode of the old one; where its group cannot be kept, no rights for it.

    On a system without owners the folder decides about the new file.
    """
    if not systems.IS_POSIX:
        return
    with contextlib.suppress(OSError):
        os.fchown(descriptor, old.st_uid, old.st_gid)
    mode = stat.S_IMODE(old.st_mode)
    if os.fstat(descriptor).st_gid != old.st_gid:
        mode &= ~stat.S_IRWXG
    os.fchmod(descriptor, mode)


def _sync(descriptor: int) -> None:
    """Wait until a file or folder is on the disk."""
    try:
        interruptible(functools.partial(os.fsync, descriptor), LONG)
    except OSError as error:
        if error.errno not in systems.UNABLE:
            raise


def _sync_folder(folder: str) -> None:
    try:
        descriptor = os.open(folder, os.O_RDONLY | FOLDER)
    except PermissionError:  # files can be made in a folder that cannot be read; Windows opens none
        return
    try:
        _sync(descriptor)
    finally:
        os.close(descriptor)
