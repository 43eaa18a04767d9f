"""What Windows has not of POSIX, and what applies there instead: the one place that knows.

A system has the modules `fcntl` and `resource`, or it has neither.
"""

from __future__ import annotations

import errno
import os
import signal
import threading

try:
    import fcntl
    import resource
except ImportError:  # on Windows and in WebAssembly
    IS_POSIX = False
else:
    IS_POSIX = True

# What file systems say that cannot lock a file, or wait until it is on the disk.
UNABLE = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK)


def flags(*names: str) -> int:
    """These flags of os.open together; one that this system lacks counts for nothing."""
    value = 0
    for name in names:
        value |= getattr(os, name, 0)
    return value


# Bytes as they are, which only Windows has to be told, in a descriptor that started programs do not get.
OPEN = flags("O_CLOEXEC", "O_BINARY")


def lock(descriptor: int) -> bool | None:
    """Lock an open file until it is closed; False if another process has, None where there are no locks."""
    if not IS_POSIX:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in UNABLE:
            raise
        return None
    return True


def duplicate(descriptor: int) -> int:
    """A second number of an open file, none of the three that standard streams have."""
    return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 3)


def memory_limit() -> int | None:
    """The bytes that this process and those that it starts may have each; None if there is no limit."""
    if not IS_POSIX:
        return None
    limits = [resource.getrlimit(kind)[0] for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA)]
    return min((limit for limit in limits if limit != resource.RLIM_INFINITY), default=None)


def ending_signals() -> list[signal.Signals]:
    """What asks a process to end: by a program, and by the terminal that goes."""
    return [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


def send_signal(number: int) -> None:
    """Send a signal to the main thread, from another one."""
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(threading.main_thread().ident or 0, number)
    else:
        signal.raise_signal(number)
