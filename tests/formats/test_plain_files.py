"""Only plain files are read: what waits or has no end raises at once, also behind a link."""

from __future__ import annotations

import os
import re
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import numpy as np
import pytest
from command_line import run
from support import ROOT, random_net

import lstm
from lstm.formats import FORMATS, endings
from lstm.formats.listing import picks
from lstm.formats.reading import open_plain

SECONDS = 20.0  # a call that waits for a pipe is ended after them


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


def make_socket(path: Path) -> None:
    os.chdir(path.parent)  # the name of a socket has 107 bytes at most
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(path.name)


def make_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def make_null(path: Path) -> None:
    path.symlink_to(os.devnull)


KINDS: dict[str, Callable[[Path], None]] = {
    "a pipe": make_pipe,
    "a socket": make_socket,
    "a device": make_device,
    "a device, but only plain files": make_null,
    "Is a directory": Path.mkdir,
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder; what is opened in it is left after a while, so that a fault is no endless test."""
    monkeypatch.chdir(tmp_path)

    def stop(number: int, frame: FrameType | None) -> NoReturn:
        raise AssertionError("the file was waited for")

    found = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    yield tmp_path
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, found)


def assert_refused(read: Callable[[Path], Any], path: Path, words: str) -> None:
    """OSError of the path, or the ImportError of an extra, which comes first."""
    with pytest.raises((OSError, ImportError)) as caught:
        read(path)
    if isinstance(caught.value, OSError):
        assert words in str(caught.value)
        assert os.fspath(path) in str(caught.value)


@pytest.mark.parametrize("words", KINDS)
@pytest.mark.parametrize("ending", endings(FORMATS))
def test_what_is_no_plain_file_raises_at_once(ending: str, words: str, folder: Path) -> None:
    path, link = folder / f"a{ending}", folder / f"link{ending}"
    KINDS[words](path)
    link.symlink_to(path)
    readers: list[Callable[[Path], Any]] = [lstm.load, lstm.tensors]
    if any(one.picked_by and ending in one.endings and one.is_ordered for one in FORMATS):
        readers.append(picks)
    for one in (path, link):
        for read in readers:
            assert_refused(read, one, words)


@pytest.mark.parametrize("words", KINDS)
def test_files_of_no_known_ending_are_not_waited_for(words: str, folder: Path) -> None:
    """Their first bytes are looked at, to give advice."""
    for ending in (".txt", ".pt", ""):
        path = folder / f"a{ending}"
        KINDS[words](path)
        with pytest.raises(ValueError, match=re.escape(str(path))):
            lstm.load(path)


@pytest.mark.parametrize("words", KINDS)
@pytest.mark.parametrize("option", ["MODEL", "INPUT.npy", "--lengths", "--h0", "--C0", "--state-in"])
def test_lstm_run_reads_plain_files_alone(
    option: str, words: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    net = random_net(np.random.default_rng(0), 3, 5, np.float32)
    net.save("net.npz")
    np.save("x.npy", np.ones((4, 3)))
    bad = folder / ("bad.npz" if option in ("MODEL", "--state-in") else "bad.npy")
    KINDS[words](bad)
    model, features = (
        bad if option == one else good for one, good in (("MODEL", "net.npz"), ("INPUT.npy", "x.npy"))
    )
    more = [option, bad] if option.startswith("--") else []
    status, _, err = run(capsys, "run", model, features, "-o", "y.npy", *more)
    assert (status, err) == (2, f"lstm: error: {bad}: {err.removeprefix(f'lstm: error: {bad}: ')}")
    assert words in err
    assert not (folder / "y.npy").exists()


def test_a_pipe_with_a_writer_keeps_its_bytes(folder: Path) -> None:
    """A pipe that could be read at once is not opened either: its writer is not met by an early end."""
    path = folder / "a.npz"
    os.mkfifo(path)
    started = threading.Event()

    def write() -> None:
        with open(path, "wb") as file:
            started.set()
            file.write(b"abc")

    thread = threading.Thread(target=write)
    thread.start()
    assert_refused(lstm.load, path, "a pipe")
    assert not started.is_set()
    with open(path, "rb") as file:
        assert file.read() == b"abc"
    thread.join()


def test_a_path_that_leads_elsewhere_by_now(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that becomes a pipe after it was looked at."""
    path, pipe = folder / "a.npz", folder / "pipe"
    path.write_bytes(b"")
    os.mkfifo(pipe)
    look = os.stat

    def look_and_swap(one: Any, **options: Any) -> os.stat_result:
        found = look(one, **options)
        with suppress(FileNotFoundError):
            pipe.rename(path)
        return found

    monkeypatch.setattr(os, "stat", look_and_swap)
    assert_refused(lstm.load, path, "a pipe")


def test_the_package_opens_files_in_one_place() -> None:
    """What reads a file opens it by `open_plain`; others are read-only files of the system, or written."""
    allowed = {"/proc/self/statm", "/proc/cpuinfo"}
    sources = ROOT / "lstm"
    found = {
        f"{path.relative_to(sources)}: {call}"
        for path in sorted(sources.rglob("*.py"))
        for call in re.findall(
            r"(?<![\w.])(?:io\.FileIO|open|np\.load)\((?!\")[^)\n]*", path.read_text(encoding="utf-8")
        )
        if not re.search(r'"(wb|r\+b)"', call) and not any(name in call for name in allowed)
    }
    assert open_plain.__module__ == "lstm.formats.reading"
    assert found == {
        'formats/reading.py: io.FileIO(path, "rb", opener=_open',
        "formats/keras/hdf5_child.py: io.FileIO(descriptor",
    }


def test_plain_files_are_read_through_links(folder: Path) -> None:
    net = random_net(np.random.default_rng(0), 3, 5, np.float32)
    net.save("net.npz")
    Path("link.npz").symlink_to("net.npz")
    assert (lstm.load("link.npz").Wf == net.Wf).all()
    with open("net.npz", "rb") as file:  # as a shell redirects to /dev/stdin
        Path("inner.npz").symlink_to(f"/proc/self/fd/{file.fileno()}")
        assert (lstm.load("inner.npz").Wf == net.Wf).all()
