"""Hostile files of Keras, and the process that parses them."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import textwrap
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from keras_models import (
    FIXTURES,
    FOLDER,
    A,
    H,
    I,
    archive_of,
    assert_outputs,
    assert_same_net,
    sequential,
    write_model,
    x,
)
from malformed.run import cpu_seconds

import lstm
from lstm import FormatError
from lstm.formats.keras import hdf5, hdf5_child

h5py = pytest.importorskip("h5py")


# Hostile files


def good(path: Path) -> Path:
    with h5py.File(path, "w") as file:
        rng = np.random.default_rng(0)
        for k, shape in enumerate(((I, 4 * H), (H, 4 * H), (4 * H,))):
            file.create_dataset(f"layers/lstm/cell/vars/{k}", data=rng.uniform(-1, 1, shape).astype("f4"))
    return path


KERNEL = "layers/lstm/cell/vars/0"


def replaced(file: Any, **options: Any) -> None:
    """The kernel written with other options."""
    data = file[KERNEL][...]
    del file[KERNEL]
    file.create_dataset(KERNEL, **{"data": data, **options})


def moved(file: Any, link: Any) -> None:
    del file[KERNEL]
    file[KERNEL] = link


def virtual(file: Any) -> None:
    layout = h5py.VirtualLayout((I, 4 * H), "f4")
    layout[...] = h5py.VirtualSource(".", "layers/lstm/cell/vars/1", (H, 4 * H))[:I]
    del file[KERNEL]
    file.create_virtual_dataset(KERNEL, layout)


def unwritten(file: Any, shape: tuple[int, ...], **options: Any) -> None:
    del file[KERNEL]
    file.create_dataset(KERNEL, shape, "f4", **options)


def deep(file: Any) -> None:
    file.create_group("/".join("a" * 60))


def crowded(file: Any) -> None:
    for k in range(hdf5_child.MOST_OBJECTS + 1):
        file["crowd"] if k else file.create_group("crowd")
        file["crowd"][str(k)] = file["layers"]


HOSTILE: dict[str, tuple[Callable[[Any], None], str]] = {
    "soft link": (lambda f: moved(f, h5py.SoftLink("/layers/lstm/cell/vars/1")), "soft or external link"),
    "external link": (lambda f: moved(f, h5py.ExternalLink("/etc/passwd", "/")), "soft or external link"),
    "hard link twice": (lambda f: moved(f, f["layers/lstm/cell/vars/1"]), "appears twice"),
    "circle of groups": (lambda f: f["layers"].__setitem__("again", f["/"]), "appears twice"),
    "external storage": (
        lambda f: replaced(f, data=None, shape=(I, 4 * H), dtype="f4", external=[("data.bin", 0, 192)]),
        "has its data elsewhere",
    ),
    "virtual": (virtual, "has its data elsewhere"),
    "lzf": (lambda f: replaced(f, compression="lzf"), "filtered by other than gzip"),
    "checksum": (lambda f: replaced(f, fletcher32=True), "filtered by other than gzip"),
    "scale and offset": (lambda f: replaced(f, scaleoffset=3), "filtered by other than gzip"),
    "integers": (lambda f: replaced(f, dtype="i4"), "does not hold floats"),
    "complex": (lambda f: replaced(f, data=np.zeros((I, 4 * H), "c8")), "does not hold floats"),
    "long double": (lambda f: replaced(f, dtype=np.longdouble), "does not hold floats"),
    "texts": (
        lambda f: replaced(f, data=None, shape=(I, 4 * H), dtype=h5py.string_dtype()),
        "does not hold floats",
    ),
    "lists": (
        lambda f: replaced(f, data=None, shape=(I, 4 * H), dtype=h5py.vlen_dtype("f4")),
        "not hold floats",
    ),
    "references": (
        lambda f: replaced(f, data=None, shape=(I, 4 * H), dtype=h5py.ref_dtype),
        "not hold floats",
    ),
    "two bytes": (lambda f: replaced(f, data=np.zeros((I, 4 * H), "V2")), "does not hold floats"),
    "nothing": (lambda f: replaced(f, data=h5py.Empty("f4")), "there is no LSTM layer"),
    "rank 3": (lambda f: replaced(f, data=np.zeros((I, 2, 8), "f4")), "there is no LSTM layer"),
    "other shape": (lambda f: replaced(f, data=np.zeros((I, 12), "f4")), "there is no LSTM layer"),
    "never written": (lambda f: unwritten(f, (I, 4 * H)), "which the file does not hold"),
    "terabytes": (lambda f: unwritten(f, (1 << 40, 4 * H)), "which the file does not hold"),
    "terabytes in chunks": (
        lambda f: unwritten(f, (1 << 40, 4 * H), chunks=(8, 8)),
        "which the file does not hold",
    ),
    "a chunk too large": (
        lambda f: replaced(f, chunks=(1 << 18, 16), maxshape=(None, 16), compression="gzip"),
        "does not hold",
    ),
    "a bomb": (
        lambda f: replaced(f, data=np.zeros((1 << 17, 16), "f4"), compression="gzip"),
        "does not hold",
    ),
    "deep": (deep, "more than 50 deep"),
    "crowded": (crowded, "10009 entries, too many for a file of"),
    "a name that is a number": (
        lambda f: f["layers"].attrs.__setitem__("name", 3),
        "no text and no list of texts",
    ),
    "objects without end": (
        lambda f: f.attrs.__setitem__("model_config", "[" + "{}," * (1 << 18) + "{}]"),
        "describes more than is parsed for a file of",
    ),
    "no JSON": (lambda f: f.attrs.__setitem__("model_config", "{"), "is no JSON"),
    "no object": (lambda f: f.attrs.__setitem__("model_config", "[1]"), "is no JSON object"),
    "nested JSON": (lambda f: f.attrs.__setitem__("model_config", "[" * 100_000), "is no JSON"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_hdf5(case: str, tmp_path: Path) -> None:
    change, message = HOSTILE[case]
    path = good(tmp_path / "m.h5")
    with h5py.File(path, "r+") as file:
        change(file)
    start = cpu_seconds()
    with pytest.raises(FormatError, match=message) as caught:
        lstm.load(path)
    assert str(path) in str(caught.value)
    assert cpu_seconds() - start < 2  # with the process that parses, whose start takes most of it


def test_compressed_weights(tmp_path: Path) -> None:
    """gzip and shuffle, chunks of which each piece that is read has whole ones."""
    path = good(tmp_path / "m.h5")
    plain = lstm.load(path)
    with h5py.File(path, "r+") as file:
        replaced(file, compression="gzip", shuffle=True, chunks=(2, 5))
    assert_same_net(lstm.load(path), plain)


def test_pieces_of_large_weights(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    kernel = rng.standard_normal((3000, 400)).astype(np.float32)
    path = tmp_path / "m.h5"
    for options in ({}, {"chunks": (700, 130), "compression": "gzip"}, {"dtype": ">f8"}):
        with h5py.File(path, "w") as file:
            file.create_dataset(KERNEL, data=kernel, **options)
            file.create_dataset("layers/lstm/cell/vars/1", data=kernel[:100])
        state = lstm.load(path).state_dict()
        assert np.array_equal(state["weight_ih_l0"], kernel.T)
        assert np.array_equal(state["weight_hh_l0"], kernel[:100].T)
        assert "bias_ih_l0" not in state


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory(tmp_path: Path) -> None:
    """Twice the file and little more, at its peak: the weights as they are read, and packed."""
    path = tmp_path / "m.h5"
    with h5py.File(path, "w") as file:
        for k in range(2):
            file.create_dataset(f"layers/lstm/cell/vars/{k}", data=np.full((1024, 4096), k + 0.5, np.float32))
    code = """
import os, sys, lstm
def peak():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM"))
lstm.LSTM(3, 4)
before = peak()
lstm.load(sys.argv[1])
assert peak() - before < 2 * os.path.getsize(sys.argv[1]) + (16 << 20), peak() - before
"""
    subprocess.run([sys.executable, "-c", code, path], check=True, timeout=60)


def test_weights_that_are_damaged_or_lacking(tmp_path: Path) -> None:
    """In a file with a description, where each one is expected."""
    path = tmp_path / "model.keras"

    def changed(change: Callable[[Any], None]) -> None:
        write_model(path, sequential(x, A))
        with zipfile.ZipFile(path) as archive:
            memory = io.BytesIO(archive.read("model.weights.h5"))
        with h5py.File(memory, "r+") as file:
            change(file)
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("config.json", json.dumps(sequential(x, A)))
            archive.writestr("model.weights.h5", memory.getvalue())
        lstm.load(path)

    changed(lambda file: None)
    for change, message in (
        (lambda f: f.__delitem__(KERNEL), "'a' lacks its weights 'layers/lstm/cell/vars/0'"),
        (
            lambda f: f["layers/lstm/cell/vars"].__setitem__("3", np.ones(3)),
            "has use_bias=True, but more weights",
        ),
        (
            lambda f: replaced(f, data=np.zeros((I, 4, H), "f4")),
            r"has shape \(3, 4, 4\), but must have \(3, 16\)",
        ),
        (lambda f: replaced(f, data=np.zeros((0, 4 * H), "f4")), r"has shape \(0, 16\)"),
        (lambda f: replaced(f, dtype="i4"), "does not hold floats"),
        (lambda f: replaced(f, data=np.float32(1)), r"has shape \(\)"),
    ):
        with pytest.raises(FormatError, match=message):
            changed(change)


def test_hostile_archives(tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(FOLDER / "plain.keras") as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    whole = (FOLDER / "plain.keras").read_bytes()
    archive_of(path, entries, zipfile.ZIP_DEFLATED)
    assert_outputs(lstm.load(path), FIXTURES["plain"])
    bomb = bytes(1 << 26)
    for content, message in (
        ({**entries, "config.json": b"{"}, "config.json is no JSON"),
        ({**entries, "config.json": b"[]"}, "config.json is no JSON object"),
        ({**entries, "config.json": b"\xff"}, "config.json is no JSON"),
        ({**entries, "config.json": b" " * ((1 << 20) + 1)}, "has over 1048576 bytes"),
        ({**entries, "metadata.json": b"{"}, "metadata.json is no JSON"),
        ({**entries, "model.weights.h5": bomb}, "claims 67108864 bytes"),
        ({**entries, "model.weights.h5": b"no HDF5"}, "damaged or no HDF5 file"),
        ({**entries, "model.weights.h5": b""}, "damaged or no HDF5 file"),
        ({**entries, "model.weights.h5+": b""}, "'model.weights.h5' appears twice"),
        ({"config.json": entries["config.json"]}, "lacks config.json or model.weights.h5"),
        ({**entries, "config.json": json.dumps(sequential(x, A)).encode()}, "lacks its weights|must have"),
    ):
        archive_of(path, content, zipfile.ZIP_DEFLATED)
        if message == "lacks its weights|must have":
            assert lstm.load(path).hidden_size == H  # the same layer under another name
            continue
        with pytest.raises(FormatError, match=message):
            lstm.load(path)
    archive_of(path, entries, zipfile.ZIP_BZIP2)
    with pytest.raises(FormatError, match="compressed by method 12, but must be deflated"):
        lstm.load(path)
    for length in (0, 10, len(whole) // 2, len(whole) - 5):
        path.write_bytes(whole[:length])
        with pytest.raises(FormatError, match=r"damaged or no \.keras file"):
            lstm.load(path)
    place = whole.index(entries["model.weights.h5"])
    path.write_bytes(whole[: place + 9000] + b"\xaa" + whole[place + 9001 :])
    with pytest.raises(FormatError, match="CRC"):
        lstm.load(path)


def test_nested_models_are_followed_so_far(tmp_path: Path) -> None:
    model = sequential(x, A)
    for _ in range(30):
        model = sequential(model)
    write_model(tmp_path / "m.keras", sequential(x, A))
    with zipfile.ZipFile(tmp_path / "m.keras") as archive:
        weights = archive.read("model.weights.h5")
    archive_of(tmp_path / "m.keras", {"config.json": json.dumps(model).encode(), "model.weights.h5": weights})
    with pytest.raises(FormatError, match="more than 20 deep"):
        lstm.load(tmp_path / "m.keras")


def test_no_config_of_layers(tmp_path: Path) -> None:
    """A model of a class of the user's own does not describe its layers, which its weights show."""
    with zipfile.ZipFile(FOLDER / "plain.keras") as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    entries["config.json"] = json.dumps({"module": None, "class_name": "Mine", "config": {}}).encode()
    archive_of(tmp_path / "m.keras", entries)
    assert_outputs(lstm.load(tmp_path / "m.keras"), FIXTURES["plain"])


# The process that parses


@pytest.mark.parametrize(
    ("does", "message"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", "ended by signal 11"),
        ("signal.setitimer(signal.ITIMER_PROF, 0.1)\nwhile True: pass", "took too long"),
        ("time.sleep(60)", "took too long"),
        ("sys.stdout.buffer.write(bytes(8))", "is damaged"),
        ("sys.stdout.buffer.write(b'\\xff' * 8)", "too many entries"),
        ("answer({})", "is damaged"),
        ("answer([])", "is damaged"),
        ("answer({'datasets': {'a': 3}, 'attributes': {}})", "is damaged"),
        ("answer({'datasets': ALL, 'attributes': {}})\ntime.sleep(60)", "took too long"),
        ("answer({'datasets': ALL, 'attributes': {}})\nos._exit(0)", "ended by signal 0"),
        ("answer({'datasets': ALL, 'attributes': {}})\nsys.stdout.buffer.write(b'\\0')", "cannot be read"),
        ("answer({'datasets': HUGE, 'attributes': {}})\nsys.stdin.read()", "cannot be read"),
    ],
)
def test_whatever_the_parser_does(
    does: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash, a hang or a lie of libhdf5's process is a FormatError here."""
    code = f"""
import json, os, signal, sys, time
ALL = {{f"layers/lstm/cell/vars/{{k}}": [s, "<f4", None] for k, s in enumerate(([3, 16], [4, 16], [16]))}}
HUGE = {{**ALL, "layers/lstm/cell/vars/0": [[1 << 40, 16], "<f4", None]}}
def answer(value):
    text = json.dumps(value).encode()
    sys.stdout.buffer.write(len(text).to_bytes(8, "little") + text)
    sys.stdout.buffer.flush()
{textwrap.dedent(does)}
sys.stdout.buffer.flush()
time.sleep(1)
"""
    (tmp_path / "child.py").write_text(code)
    monkeypatch.setattr(hdf5, "CHILD", tmp_path / "child.py")
    monkeypatch.setattr(hdf5, "SECONDS", 1.0)
    with pytest.raises(FormatError, match=message):
        lstm.load(good(tmp_path / "m.h5"))


def test_the_process_is_bounded(tmp_path: Path) -> None:
    """Memory and CPU time of it: the limits hold in the very process."""
    code = """
import sys, lstm.formats.keras.hdf5_child as child
child.limit(1000)
if sys.argv[1] == "memory":
    try:
        bytes(64 << 20)
    except MemoryError:
        sys.exit(7)
while sys.argv[1] == "time":
    pass
if sys.argv[1] == "file":
    open(sys.argv[2], "wb", 0).write(b"a")
"""
    for what, expected in (("memory", 7), ("time", -27), ("file", -25)):
        found = subprocess.run(
            [sys.executable, "-c", code, what, tmp_path / "a"], timeout=60, stderr=subprocess.PIPE
        )
        assert found.returncode == expected or (what == "file" and found.returncode == 1), what


def children_of_this_process() -> set[str]:
    """Those of other tests, such as the workers of a cluster, may live on."""
    return {
        child for path in Path("/proc/self/task").glob("*/children") for child in path.read_text().split()
    }


def test_no_process_and_no_file_is_left(tmp_path: Path) -> None:
    before = set(os.listdir("/proc/self/fd"))
    children = children_of_this_process()
    for _ in range(2):
        lstm.load(FOLDER / "plain.keras")
        with pytest.raises(FormatError):
            lstm.load(FOLDER / "bidirectional.weights.h5")
    assert set(os.listdir("/proc/self/fd")) == before
    assert children_of_this_process() == children
