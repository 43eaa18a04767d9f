"""A system without POSIX: the package as Windows meets it, as far as this machine can play that."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from support import DATA

# Runs in a process of its own, before which nothing of this has been imported.
WITHOUT_POSIX = r"""
import json, importlib, mmap, os, pkgutil, signal, sys
from pathlib import Path

import numpy as np

posix = ("fcntl", "resource", "pwd", "grp", "termios")
adapted = ("torch", "sklearn", "pyarrow", "dask", "distributed")  # whose own needs of a system are not ours
for module in posix + adapted:
    sys.modules[module] = None
for name in ("O_CLOEXEC", "O_NONBLOCK", "O_NOCTTY", "O_NOFOLLOW", "O_DIRECTORY", "fchown", "fchmod", "fork",
             "register_at_fork", "sched_getaffinity"):
    delattr(os, name)
for name in ("SIGHUP", "SIGKILL", "SIGPROF", "setitimer", "ITIMER_PROF"):
    delattr(signal, name)
for name in dir(mmap):
    if name.startswith(("MADV_", "MAP_", "PROT_")):
        delattr(mmap, name)
def refused(path):
    is_open = any(os.path.realpath(f"/proc/self/fd/{number}") == os.path.realpath(path)
                  for number in os.listdir("/proc/self/fd"))
    if is_open:
        raise PermissionError(13, "The process cannot access the file because it is being used", str(path))
def replace(old, new, found=os.replace):
    refused(old), refused(new)
    found(old, new)
def remove(path, found=os.remove):
    refused(path)
    found(path)
def open_file(path, flags, mode=0o777, found=os.open):
    if os.path.isdir(path):
        raise PermissionError(13, "Permission denied", str(path))
    return found(path, flags, mode)
os.replace, os.remove, os.open = replace, remove, open_file

import lstm
from lstm.formats.writing import replacing

imported = []
for module in pkgutil.walk_packages(lstm.__path__, "lstm."):
    try:
        importlib.import_module(module.name)
    except ImportError as error:
        assert "lstm-native[" in str(error), error  # an adapter whose library is not there
    imported.append(module.name)
assert len(imported) > 50, imported

net = lstm.LSTM(3, 5, rng=0)
large = lstm.LSTM(3, 300, rng=1)
X = np.random.default_rng(2).standard_normal((2, 7, 3))
folder = Path(sys.argv[1])
path = folder / "net.npz"
for written in (large, net):  # the second takes the place of the first
    written.save(path)
    assert np.array_equal(lstm.load(path).forward_sequence(X), written.forward_sequence(X))
held = path.read_bytes()
try:
    with replacing(path) as partial:
        Path(partial).write_bytes(b"half")
        raise KeyError
except KeyError:
    assert path.read_bytes() == held
assert os.listdir(folder) == ["net.npz"], os.listdir(folder)

from lstm.__main__ import main

np.save(folder / "X.npy", X[0])
status = main(["run", str(path), str(folder / "X.npy"), "-o", str(folder / "Y.npy")])
assert status == 0 and np.array_equal(np.load(folder / "Y.npy"), net.forward_sequence(X[0]))
try:
    lstm.load(sys.argv[-1])
except ImportError as error:
    print(json.dumps(str(error)))
"""


def test_without_posix_all_works_but_hdf5_which_says_what_else_does(tmp_path: Path) -> None:
    """Every module imports; files are replaced where what is open can be neither renamed nor removed."""
    pytest.importorskip("h5py")
    call = [sys.executable, "-c", WITHOUT_POSIX, tmp_path, DATA / "keras" / "plain.keras"]
    done = subprocess.run([str(word) for word in call], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert "pass it to LSTM.from_keras" in told
