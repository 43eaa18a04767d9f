"""What a .safetensors file may take: the length of its header, memory, time."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import environment
from support import random_net

import lstm
from lstm import FormatError
from lstm.formats import safetensors as module

pytest.importorskip("safetensors")

NET = random_net(np.random.default_rng(0), 3, 5, np.float32)


def model(more: int, name: str = "layer{}.scale", dtype: str = "F32", size: int = 0) -> bytes:
    """A net's file with so many other tensors of `size` zero values beside it."""
    arrays = {f"lstm.{key}": (array, "F32") for key, array in NET.state_dict().items()}
    arrays |= {
        name.format(k): (np.zeros(size, "u2" if dtype == "BF16" else "f4"), dtype) for k in range(more)
    }
    header: dict[str, Any] = {}
    end = 0
    for key, (array, kind) in arrays.items():
        header[key] = {"dtype": kind, "shape": array.shape, "data_offsets": [end, end + array.nbytes]}
        end += array.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    return struct.pack("<Q", len(text)) + text + b"".join(array.tobytes() for array, _ in arrays.values())


def test_a_header_is_bounded_by_the_size_of_the_file(tmp_path: Path) -> None:
    """The same tensors are read where they hold something. The limit is ours, and not called damage."""
    path = tmp_path / "a.safetensors"
    path.write_bytes(model(10_000))
    for read in (lstm.load, lstm.tensors):
        with pytest.raises(FormatError, match=r"a\.safetensors has a header of [67]\d{5} bytes") as caught:
            read(path)
        assert str(module.LONGEST_HEADER) in str(caught.value)
        assert "damaged" not in str(caught.value)
    path.write_bytes(model(10_000, size=400))
    assert (lstm.load(path).Wf == NET.Wf).all()
    assert len(lstm.tensors(path)) == 10_004
    path.write_bytes(model(7_000))
    assert (lstm.load(path).Wf == NET.Wf).all()


def test_the_header_is_parsed_once_for_all_tensors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """bfloat16, which the library does not give to NumPy, is read by its places in the header."""
    path = tmp_path / "a.safetensors"
    path.write_bytes(model(3_000, dtype="BF16", size=2))
    calls = []
    loads = json.loads
    monkeypatch.setattr(module.json, "loads", lambda text: calls.append(text) or loads(text))
    assert len(lstm.tensors(path)) == 3_004
    assert len(calls) == 1


LIMITED = """
import resource, sys
import lstm, lstm.formats.safetensors
import numpy as np
import safetensors.numpy
what, path, room = sys.argv[1], sys.argv[2], int(sys.argv[3])
net = lstm.LSTM(64, 128, dtype=np.float32)
with open("/proc/self/statm") as file:
    now = int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (now + room, now + room))
try:
    lstm.load(path) if what == "load" else net.save(path)
    print("done")
except MemoryError:
    print("MemoryError")
"""


@pytest.mark.skipif("LSTM_SANITIZE" in os.environ, reason="a sanitizer takes address space of its own")
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc/self/statm")
def test_memory_that_ends_is_a_memory_error(tmp_path: Path) -> None:
    """The library ends the process where it does not get what it asks for; it is not asked then.

    Reading asks for more than a process has left over from its imports. Writing a float32 net asks for
    little, and may be done with no memory beyond that.
    """
    path = tmp_path / "a.safetensors"
    path.write_bytes(model(7_000))
    found = {}
    for what, target in (("load", path), ("save", tmp_path / "b.safetensors")):
        for room in (0, 1 << 19, 1 << 21, 1 << 22, 1 << 24, 1 << 27):
            command = [sys.executable, "-c", LIMITED, what, str(target), str(room)]
            done = subprocess.run(command, env=environment(), capture_output=True, text=True)
            assert done.returncode == 0, (what, room, done.stderr[-300:])
            found[what, room] = done.stdout.strip()
    assert set(found.values()) == {"MemoryError", "done"}
    assert found["load", 0] == found["load", 1 << 22] == "MemoryError"
    assert {found["load", 1 << 27], found["save", 1 << 27]} == {"done"}
