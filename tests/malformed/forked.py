"""The process that reads an HDF5 file, forked from one that has imported h5py already.

Starting Python and importing h5py takes a hundred times as long as reading a small file. The forked process
runs the same program under the same limits; test_malformed.py gives a few files to the started one too.
"""

from __future__ import annotations

import os
import signal
import sys
import warnings
from typing import Any

from lstm.formats.keras import hdf5


class Process:
    """What `hdf5` uses of subprocess.Popen."""

    def __init__(self, descriptor: int, size: int) -> None:
        theirs_in, ours_out = os.pipe()
        ours_in, theirs_out = os.pipe()
        self.returncode: int | None = None
        self._pid = os.fork()
        if self._pid == 0:
            _serve(descriptor, size, theirs_in, theirs_out, (ours_in, ours_out))
        os.close(theirs_in)
        os.close(theirs_out)
        self.stdin, self.stdout = os.fdopen(ours_out, "wb"), os.fdopen(ours_in, "rb")

    def kill(self) -> None:
        if self.returncode is None:
            os.kill(self._pid, signal.SIGKILL)

    def poll(self) -> int | None:
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            _, status = os.waitpid(self._pid, 0)
            self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode


def _serve(descriptor: int, size: int, given: int, answers: int, others: tuple[int, ...]) -> None:
    """Run the program on these two pipes; never return."""
    try:
        from lstm.formats.keras import hdf5_child

        for other in others:
            os.close(other)
        os.dup2(given, 0)
        os.dup2(answers, 1)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        sys.stdin, sys.stdout = os.fdopen(0, "r"), os.fdopen(1, "w")
        sys.argv = ["", str(descriptor), str(size)]
        warnings.simplefilter("default")
        hdf5_child.main()
        sys.stdout.flush()
        os._exit(0)
    except BaseException:
        os._exit(1)


def install() -> None:
    """Let it fork from here on."""
    import faulthandler

    import h5py  # noqa: F401

    # The clock that bounds the process is a thread; what is forked does without it.
    warnings.filterwarnings("ignore", ".*use of fork", DeprecationWarning)
    faulthandler.disable()  # a crash of the forked process is told by its status
    keras: Any = hdf5
    keras.start_child = Process
