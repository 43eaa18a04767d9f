"""Memory that ends, by a limit or within a library, is a MemoryError: never damage, a crash or a hang."""

from __future__ import annotations

import errno
import importlib.util
import json
import mmap
import os
import resource
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
from command_line import environment
from support import DATA, random_net

import lstm
from lstm import FormatError
from lstm.core import memory
from lstm.formats.errors import is_out_of_memory, memory_errors
from lstm.formats.keras import hdf5
from lstm.formats.writing import replacing

limited = pytest.mark.skipif(
    "LSTM_SANITIZE" in os.environ or not Path("/proc/self/statm").exists(),
    reason="needs /proc/self/statm, and no sanitizer, which takes address space of its own",
)
needs_h5py = pytest.mark.skipif(importlib.util.find_spec("h5py") is None, reason="needs h5py")

LIMITED = """
import importlib, resource, sys
import numpy as np
import numpy.random
import lstm
from lstm.formats import format_of
what, path, is_hard, *rooms = sys.argv[1:]
importlib.import_module(f"lstm.formats.{format_of(path).module_name}")
for library in ("onnx.numpy_helper", "safetensors.numpy"):
    try:
        importlib.import_module(library)
    except ImportError:
        pass
for room in map(int, rooms):
    with open("/proc/self/statm") as file:
        now = int(file.read().split()[0]) * resource.getpagesize()
    most = now + (room << 20)
    resource.setrlimit(resource.RLIMIT_AS, (most, most if is_hard == "hard" else resource.RLIM_INFINITY))
    try:
        if what == "make":
            lstm.LSTM(300, 300, dtype=np.float32, init="pytorch")
        else:
            lstm.load(path)
        print("done")
    except MemoryError:
        print("MemoryError")
"""


def outcomes(what: str, path: Path, rooms: list[int], limit: str = "soft") -> list[str]:
    """What comes of it, one after the other, with so many MB of address space left."""
    command = [sys.executable, "-c", LIMITED, what, str(path), limit, *map(str, rooms)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, (rooms, done.stdout, done.stderr[-500:])
    found = done.stdout.split()
    assert set(found) <= {"done", "MemoryError"}
    assert len(found) == len(rooms)
    return found


@limited
@pytest.mark.parametrize("file", ["net.npz", "compressed.npz", "net.safetensors", "net.onnx"])
def test_loading_below_a_limit(file: str, tmp_path: Path) -> None:
    """Wherever the memory ends: in the zip archive, the parser, the arrays, the kernel's layout."""
    path = tmp_path / file
    pytest.importorskip({".npz": "numpy"}.get(path.suffix, path.suffix[1:]))
    net = random_net(np.random.default_rng(0), 200, 300, np.float32)
    np.savez_compressed(path, **net.state_dict()) if file == "compressed.npz" else net.save(path)
    found = outcomes("load", path, [0, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 64])
    assert found[0] == "MemoryError"
    assert found[-1] == "done"


@limited
def test_a_new_net_below_a_limit() -> None:
    assert outcomes("make", Path("none.npz"), [0, 64]) == ["MemoryError", "done"]


@limited
@needs_h5py
def test_keras_below_a_limit() -> None:
    """The process that reads HDF5 works below the limit, or cannot start; it does not lift its limit."""
    path = DATA / "keras" / "plain.keras"
    assert [outcomes("load", path, [room], "hard") for room in (0, 256)] == [["MemoryError"], ["done"]]
    found = outcomes("load", path, [0, 9, 256])
    assert found[0] == "MemoryError"
    assert found[-1] == "done"


@limited
@needs_h5py
def test_the_process_keeps_a_limit_that_is_lower_than_its_own() -> None:
    code = """
import resource, lstm.formats.keras.hdf5_child as child
with open("/proc/self/statm") as file:
    now = int(file.read().split()[0]) * resource.getpagesize()
for room, size in ((32 << 20, 1 << 40), (31 << 20, 1000)):
    most = now + room
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    print(child.limit(size), resource.getrlimit(resource.RLIMIT_AS)[0] < most)
"""
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True)
    assert (done.stdout.split(), done.stderr) == (["True", "False", "False", "True"], "")


ALL = {f"layers/lstm/cell/vars/{k}": [s, "<f4", None] for k, s in enumerate(([3, 16], [4, 16], [16]))}


def file_of(does: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An .h5 file that a process reads which does this."""
    (tmp_path / "child.py").write_text(
        "import json, os, signal, sys, time\n"
        "def answer(value):\n"
        "    text = json.dumps(value).encode()\n"
        "    sys.stdout.buffer.write(len(text).to_bytes(8, 'little') + text)\n"
        "    sys.stdout.buffer.flush()\n" + does
    )
    monkeypatch.setattr(hdf5, "CHILD", tmp_path / "child.py")
    path = tmp_path / "net.weights.h5"
    path.write_bytes(b"not read")
    return path


@needs_h5py
@pytest.mark.parametrize(
    ("does", "error", "words"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", MemoryError, "ended by signal 9, for want of memory"),
        ("answer({'memory': 'no room'})", MemoryError, "there is no memory to read it as HDF5: no room"),
        ("answer({'import': 'E: none'})", ImportError, "read by h5py, which fails with E: none"),
        (
            f"answer({json.dumps({'datasets': ALL, 'attributes': {}}).replace('null', 'None')})\n"
            "sys.stdin.readline()\nsys.stdout.buffer.write(b'\\2')",
            MemoryError,
            "there is no memory to read entry 'layers/lstm/cell/vars/0'",
        ),
        ("sys.exit(3)", ImportError, "ended with status 3"),
        ("os.kill(os.getpid(), signal.SIGABRT)", FormatError, "damaged.*ended by signal 6"),
    ],
)
def test_what_the_process_says_of_memory(
    does: str, error: type[Exception], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(error, match=words):
        lstm.load(file_of(does, tmp_path, monkeypatch))


@needs_h5py
@pytest.mark.parametrize("does", ["os.kill(os.getpid(), signal.SIGABRT)", "sys.exit(1)"])
def test_a_process_that_ends_below_a_low_limit(
    does: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python, NumPy and h5py end in many ways where they get no memory."""
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (200 << 20, resource.RLIM_INFINITY))
    with pytest.raises(MemoryError, match="for want of memory"):
        lstm.load(file_of(does, tmp_path, monkeypatch))


@needs_h5py
def test_no_process_stays_where_no_thread_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[bytes]] = []
    start = hdf5.start_child
    monkeypatch.setattr(hdf5, "start_child", lambda *one: started.append(start(*one)) or started[0])
    monkeypatch.setattr(threading.Timer, "start", refusing(RuntimeError("can't start new thread")))
    with pytest.raises(MemoryError, match="start new thread"):
        lstm.load(file_of("time.sleep(60)", tmp_path, monkeypatch))
    assert started[0].poll() is not None


def refusing(error: BaseException) -> Callable[..., NoReturn]:
    def refuse(*arguments: Any, **options: Any) -> NoReturn:
        raise error

    return refuse


def test_pages_that_the_system_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mmap, "mmap", refusing(OSError(errno.ENOMEM, "Cannot allocate memory")))
    with pytest.raises(MemoryError, match="no memory for"):
        memory.memory(1 << 22)
    with pytest.raises(MemoryError):
        lstm.LSTM(300, 300, init="pytorch")


def test_errors_that_mean_memory() -> None:
    """Those of the libraries, and what came of a MemoryError; a file's own words are no such error."""
    masked = ValueError("Can't close the ZIP file while there is an open writing handle on it.")
    masked.__context__ = MemoryError()
    for error in (
        masked,
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        RuntimeError("can't allocate lock"),
        RuntimeError("can't start new thread"),
        SystemError("<built-in method reduce> returned NULL without setting an exception"),
        zlib.error("Error -4 while decompressing data"),
        ValueError("Error parsing message with type 'onnx.ModelProto': Arena alloc failed"),
        Exception("Error while deserializing header: Cannot allocate memory (os error 12)"),
    ):
        assert is_out_of_memory(error)
        with pytest.raises(MemoryError), memory_errors():
            raise error
    for error in (
        FormatError("entry \"can't allocate lock\" is none of a state dict's"),
        OSError(errno.ENOSPC, "No space left on device"),
        zlib.error("Error -3 while decompressing data: invalid block type"),
        Exception("No such device (os error 19)"),
        Exception("(os error 122)"),
    ):
        assert not is_out_of_memory(error)
        with pytest.raises(type(error)), memory_errors():
            raise error


@pytest.mark.parametrize("fails", ["result", "copy"])
def test_a_stream_is_as_it_was(fails: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing takes memory once the state has changed: the array of the result is there before."""
    net = random_net(np.random.default_rng(0), 3, 5, np.float64, num_layers=2)
    stream = net.stream()
    stream.step([1.0, 2.0, 3.0])
    before = [array.copy() for array in stream.state]
    empty, run = np.empty, type(net.core).run

    def no_result(shape: Any, *arguments: Any) -> np.ndarray:
        if fails == "result":
            raise MemoryError
        return empty(shape, *arguments)

    def changed(core: Any, X: np.ndarray, h: np.ndarray, C: np.ndarray, Y: Any) -> None:
        run(core, X, h, C, Y)
        raise MemoryError

    monkeypatch.setattr("lstm.stream.np.empty", no_result)
    if fails == "copy":
        monkeypatch.setattr(type(net.core), "run", changed)
    # Calls that are not everyday ones; tests/threads/test_thread_manners.py has the kernel without memory.
    with pytest.raises(MemoryError):
        stream.step(np.array([1.0, 2.0, 3.0], np.float16))
    with pytest.raises(MemoryError):
        stream.run([[1.0, 2.0, 3.0]])
    assert all((a == b).all() for a, b in zip(before, stream.state, strict=True))


def test_no_partial_file_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor an open one, when memory ends right after it is made."""
    before = len(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(os.path, "samestat", refusing(MemoryError()))
    with pytest.raises(MemoryError), replacing(tmp_path / "a"):
        raise AssertionError
    assert list(tmp_path.iterdir()) == []
    assert len(os.listdir("/proc/self/fd")) == before


TOLD = """
import ctypes, resource
import numpy as np
import lstm

net, other = (lstm.LSTM(40, 64, rng=seed) for seed in (0, 1))
streams = [net.stream(2000) for _ in range(60)]
natives = [stream.native for stream in streams]
step = ctypes.CFUNCTYPE(ctypes.c_int, *[ctypes.c_void_p] * 3)(natives[0].step)
x, y = np.ones((2000, 40)), np.empty((2000, 64))
expected, state = net.forward_sequence(x[:, np.newaxis])[:, 0], other.state_dict()
size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + (64 << 20), resource.RLIM_INFINITY))
for change in (lambda: net.load_state_dict(state), lambda: setattr(net, "Wf", other.Wf)):
    try:
        change()
    except MemoryError:
        print("MemoryError")
resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
for native in natives:
    assert step(native.handle, x.ctypes.data, y.ctypes.data) == 0
    assert np.array_equal(y, expected)
assert np.array_equal(net.forward_sequence(x[:, np.newaxis])[:, 0], expected)
net.load_state_dict(state)
expected, _ = other.forward(x, expected, streams[0].C[0])
assert step(natives[0].handle, x.ctypes.data, y.ctypes.data) == 0
assert np.array_equal(y, expected)
"""


@limited
def test_weights_of_native_streams_are_set_whole_or_not_at_all() -> None:
    """All of the memory is there before the net has other weights."""
    done = subprocess.run(
        [sys.executable, "-c", TOLD], env=environment(), capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr[-800:]
    assert done.stdout.split() == ["MemoryError"] * 2
