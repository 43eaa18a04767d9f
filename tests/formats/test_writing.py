"""How a file takes the place of an old one: its mode, links, the disk, what killed runs leave, errors."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import util
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
from command_line import environment, run

import lstm
from lstm import LSTM
from lstm.formats import WRITTEN, endings
from lstm.formats.writing import replacing

PACKAGES = {".safetensors": "safetensors", ".onnx": "onnx"}
ENDINGS = [
    pytest.param(
        ending,
        marks=pytest.mark.skipif(
            util.find_spec(PACKAGES.get(ending, "numpy")) is None, reason=f"needs {PACKAGES.get(ending)}"
        ),
    )
    for ending in endings(WRITTEN)
]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def put(path: Path, content: bytes) -> None:
    with replacing(path) as partial:
        Path(partial).write_bytes(content)


def refusing(number: int) -> Any:
    def refuse(*arguments: Any) -> NoReturn:
        raise OSError(number, os.strerror(number))

    return refuse


@contextmanager
def umask(value: int) -> Iterator[None]:
    found = os.umask(value)
    try:
        yield
    finally:
        os.umask(found)


# Every writer


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_net_is_saved_into_a_private_file_through_a_link(ending: str, tmp_path: Path) -> None:
    """The mode stays, the link too; a new file has what the umask leaves, as those of any program."""
    net = LSTM(3, 5, dtype=np.float32, rng=0)
    path, link = tmp_path / "folder" / f"net{ending}", tmp_path / f"link{ending}"
    path.parent.mkdir()
    link.symlink_to(path)
    with umask(0o022):
        net.save(link)
        assert mode(path) == 0o644
        for private in (0o600, 0o640, 0o666):
            path.chmod(private)
            net.save(link)
            assert mode(path) == private
    assert link.is_symlink()
    assert (lstm.load(path).Wf == net.Wf).all()
    assert [one.name for one in path.parent.iterdir()] == [path.name]
    assert sorted(one.name for one in tmp_path.iterdir()) == sorted(["folder", link.name])


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_name_of_255_bytes(ending: str, tmp_path: Path) -> None:
    net = LSTM(3, 5, dtype=np.float32, rng=0)
    path = tmp_path / ("n" * (255 - len(ending)) + ending)
    for _ in range(2):
        net.save(path)
    assert (lstm.load(path).Wf == net.Wf).all()
    longer = tmp_path / ("n" * (256 - len(ending)) + ending)
    with pytest.raises(OSError, match="too long") as caught:
        net.save(longer)
    assert (caught.value.errno, caught.value.filename) == (errno.ENAMETOOLONG, str(longer))
    assert list(tmp_path.iterdir()) == [path]


def test_lstm_run_keeps_mode_and_link(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    LSTM(3, 5, rng=0).save(tmp_path / "net.npz")
    np.save(tmp_path / "X.npy", np.ones((4, 3)))
    outputs = [tmp_path / name for name in ("Y.npy", "S.npz")]
    for output in outputs:
        output.with_stem("real").write_bytes(b"old")
        output.with_stem("real").chmod(0o600)
        output.symlink_to(output.with_stem("real"))
    files = [str(tmp_path / "net.npz"), str(tmp_path / "X.npy")]
    assert run(capsys, "run", *files, "-o", outputs[0], "--state-out", outputs[1])[0] == 0
    assert np.load(outputs[0].with_stem("real")).shape == (4, 5)
    assert all(one.is_symlink() and mode(one) == 0o600 for one in outputs)


# Links, and what is no file


def test_a_link_to_nothing_becomes_one_to_the_file(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("folder/file")
    with pytest.raises(FileNotFoundError) as caught:
        put(tmp_path / "link", b"new")
    assert caught.value.filename == str(tmp_path / "link")
    (tmp_path / "folder").mkdir()
    put(tmp_path / "link", b"new")
    assert (tmp_path / "folder" / "file").read_bytes() == b"new"
    assert os.readlink(tmp_path / "link") == "folder/file"


def test_links_in_a_circle(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError, match="symbolic links") as caught:
        put(tmp_path / "a", b"new")
    assert caught.value.filename == str(tmp_path / "a")


@pytest.mark.parametrize("target", [os.devnull, "/dev/full", "pipe", "folder"])
def test_what_is_no_plain_file_is_not_replaced(target: str, tmp_path: Path) -> None:
    """Least of all a device by a file of its name."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    before = os.stat(tmp_path / target)
    (tmp_path / "link").symlink_to(target)
    for name in ("link", target):
        path = tmp_path / name
        with pytest.raises(OSError, match=r"only plain files are written|Is a directory") as caught:
            put(path, b"new")
        assert caught.value.filename == str(path)
    assert os.path.samestat(os.stat(tmp_path / target), before)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["folder", "link", "pipe"]


def test_a_file_that_must_not_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `open` has it, although its folder would let it be replaced. Root may write it."""
    path = tmp_path / "a"
    path.write_bytes(b"old")
    path.chmod(0o444)
    if os.geteuid() == 0:
        monkeypatch.setattr(os, "access", lambda *arguments, **options: False)
    with pytest.raises(PermissionError) as caught:
        put(path, b"new")
    assert caught.value.filename == str(path)
    assert (path.read_bytes(), list(tmp_path.iterdir())) == (b"old", [path])


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, for files of others")
def test_the_owner_is_kept_or_the_group_loses_its_rights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")
    os.chown(path, 12, 34)
    path.chmod(0o664)
    put(path, b"new")
    assert (path.stat().st_uid, path.stat().st_gid, mode(path)) == (12, 34, 0o664)
    monkeypatch.setattr(os, "fchown", refusing(errno.EPERM))
    put(path, b"newer")
    assert (path.stat().st_gid, mode(path)) == (os.getegid(), 0o604)


# The disk


def test_a_file_is_on_the_disk_before_it_replaces_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, done = tmp_path / "a", []
    path.write_bytes(b"old")
    sync, replace = os.fsync, os.replace

    def synced(descriptor: int) -> None:
        status = os.fstat(descriptor)
        is_folder = stat.S_ISDIR(status.st_mode)
        content = "" if is_folder else os.pread(descriptor, 10, 0).decode()
        done.append(("fsync", os.path.samestat(status, tmp_path.stat()), content, mode(path)))
        sync(descriptor)

    def replaced(first: str, second: str) -> None:
        done.append(("replace", os.path.samefile(first, path), Path(first).read_text(), mode(Path(first))))
        replace(first, second)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", replaced)
    path.chmod(0o640)
    put(path, b"new")
    assert done == [
        ("fsync", False, "new", 0o640),
        ("replace", False, "new", 0o640),
        ("fsync", True, "", 0o640),
    ]
    assert path.read_bytes() == b"new"


def test_a_disk_that_fails_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some systems find out so late that a disk is full; others cannot be asked."""
    path = tmp_path / "a"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", refusing(errno.ENOSPC))
    with pytest.raises(OSError, match="No space left") as caught:
        put(path, b"new")
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(path))
    assert (path.read_bytes(), list(tmp_path.iterdir())) == (b"old", [path])
    monkeypatch.setattr(os, "fsync", refusing(errno.EINVAL))
    put(path, b"new")
    assert path.read_bytes() == b"new"


# What is left of killed runs


def kill_while_writing(path: Path) -> None:
    code = (
        "import os, signal, sys\n"
        "from lstm.formats.writing import replacing\n"
        "with replacing(sys.argv[1]) as partial:\n"
        "    open(partial, 'wb').write(b'half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code, path], env=environment())
    assert ended.returncode == -9


def test_what_a_killed_run_left_is_removed_by_the_next_one(tmp_path: Path) -> None:
    """Of the same path, be it through a link; that of another path may be of a run that will go on."""
    path, other = tmp_path / "a", tmp_path / "b"
    path.write_bytes(b"old")
    for _ in range(2):
        kill_while_writing(path)
        assert path.read_bytes() == b"old"
    kill_while_writing(other)
    left = {one.name for one in tmp_path.iterdir()} - {"a"}
    assert len(left) == 2  # the second run has removed what the first left
    (tmp_path / "link").symlink_to(path)
    put(tmp_path / "link", b"new")
    assert path.read_bytes() == b"new"
    assert len(list(tmp_path.glob("*.partial"))) == 1
    put(other, b"new")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["a", "b", "link"]


def test_a_file_that_is_still_written_is_not_removed(tmp_path: Path) -> None:
    """Not by another thread or process that writes the same path; the last one to end is there."""
    path = tmp_path / "a"
    with replacing(path) as first:
        Path(first).write_bytes(b"first")
        kill_while_writing(path)
        assert len(list(tmp_path.iterdir())) == 2
        with replacing(path) as second:
            assert sorted(tmp_path.iterdir()) == sorted([Path(first), Path(second)])
            Path(second).write_bytes(b"second")
        assert path.read_bytes() == b"second"
    assert path.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are written as elsewhere; nobody knows which of the others is left."""
    path = tmp_path / "a"
    kill_while_writing(path)
    monkeypatch.setattr(fcntl, "flock", refusing(errno.ENOLCK))
    put(path, b"new")
    assert path.read_bytes() == b"new"
    assert len(list(tmp_path.iterdir())) == 2


def test_a_new_file_that_was_taken_for_one_that_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between its making and its locking another run may remove it: there is another one then."""
    lock, path, removed = fcntl.flock, tmp_path / "a", []

    def remove_first(descriptor: int, how: int) -> None:
        if not removed:
            removed.extend(tmp_path.iterdir())
            removed[0].unlink()
        lock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", remove_first)
    put(path, b"new")
    assert (path.read_bytes(), len(removed)) == (b"new", 1)


# Errors


def test_errors_name_the_path_as_it_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And never the partial file, of which nothing stays."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to("real")
    for name in ("a", "./a", "link"):
        for error in (
            lambda partial: OSError(errno.ENOSPC, "full"),
            lambda partial: OSError(errno.ENOSPC, "full", partial),
            lambda partial: OSError(f"cannot write {partial}: full"),
        ):
            with pytest.raises(OSError, match="full") as caught, replacing(name) as partial:
                raise error(partial)
            assert "partial" not in str(caught.value)
            assert name in str(caught.value)
    with pytest.raises(OSError, match="elsewhere") as caught, replacing("a"):
        raise OSError(errno.EIO, "fault", "elsewhere")
    assert caught.value.filename == "elsewhere"
    with pytest.raises(KeyError), replacing("a"):
        raise KeyError
    assert [one.name for one in tmp_path.iterdir()] == ["link"]
