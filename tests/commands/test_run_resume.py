"""`lstm run --resume`: a run that was killed goes on behind its last whole blocks, with the same bits."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_files import features, net_of, only, put, saved, states
from command_line import check_refusal, environment, run, run_json
from support import assert_same_bits, random_net

from lstm.__main__ import main
from lstm.commands import resuming
from lstm.commands.batches import Batch
from lstm.commands.rows import Rows
from lstm.formats.numpy_files import read_arrays

LEFT = ("Y.npy.resume", "Y.npy.resume.npz")


class KilledError(BaseException):
    """Stands for the end of the process."""


def end_before(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """Let runs write a record after every block, and end before block number `count`."""

    def ending(compute: Callable[..., Any]) -> Callable[..., Any]:
        done = 0

        def compute_or_end(*arguments: Any) -> Any:
            nonlocal done
            done += 1
            if done > count:
                raise KilledError
            return compute(*arguments)

        return compute_or_end

    monkeypatch.setattr(resuming, "SECONDS", 0)
    monkeypatch.setattr(resuming, "REST", 0)
    for kind in (Batch, Rows):
        monkeypatch.setattr(kind, "compute", ending(kind.compute))


CASES: dict[str, list[str]] = {
    "steps": [],
    "last": ["--last"],
    "states": ["--h0", "h0.npy", "--C0", "C0.npy", "--state-out", "S.npz"],
    "last and states": ["--last", "--h0", "h0.npy", "--C0", "C0.npy", "--state-out", "S.npz"],
}


@pytest.mark.parametrize("variant", ["plain", "deep", "reverse", "bidirectional", "projection"])
@pytest.mark.parametrize("kind", ["batch", "rows"])
@pytest.mark.parametrize("case", CASES)
def test_a_run_goes_on(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    variant: str,
    kind: str,
    case: str,
) -> None:
    """Ended twice; the outputs are those of a run that was not."""
    net = net_of(variant)
    saved(tmp_path, variant)
    monkeypatch.chdir(tmp_path)
    lengths = np.array([4, 0, 30, 7, 21, 9])
    for name, state in zip(("h0", "C0"), states(net, 6), strict=True):
        put(tmp_path / f"{name}.npy", state)
    put(tmp_path / "n.npy", lengths)
    put(tmp_path / "X.npy", features(6, 30, 3) if kind == "batch" else features(int(lengths.sum()), 3))
    arguments = ["run", "net.npz", "X.npy", "--lengths", "n.npy", *CASES[case], "--block", "8"]
    before = sorted([*os.listdir(tmp_path), "Y.npy", *(["S.npz"] if "--state-out" in arguments else [])])
    assert main([*arguments, "-o", "Y.npy"]) == 0
    expected = (tmp_path / "Y.npy").read_bytes()
    state = read_arrays("S.npz") if "--state-out" in arguments else {}
    (tmp_path / "Y.npy").write_bytes(b"as it was")
    for count in (2, 1):
        with monkeypatch.context() as patch:
            end_before(patch, count)
            with pytest.raises(KilledError):
                main([*arguments, "-o", "Y.npy", "--resume"])
        assert (tmp_path / "Y.npy").read_bytes() == b"as it was"
        only(tmp_path, *before, *LEFT)
    capsys.readouterr()
    status, report = run_json(capsys, *arguments, "-o", "Y.npy", "--resume")
    assert (status, report["resumed"]) == (0, 3)
    assert report["blocks"] > 3
    assert (tmp_path / "Y.npy").read_bytes() == expected
    for name, array in state.items():
        assert_same_bits(read_arrays("S.npz")[name], array)
    only(tmp_path, *before)


EAGER = """
import sys
from lstm.__main__ import main
from lstm.commands import resuming
resuming.SECONDS = resuming.REST = 0
sys.exit(main(sys.argv[1:]))
"""
RUN = ["run", "net.npz", "X.npy", "-o", "Y.npy", "--resume", "--block", "8"]


def test_killed_by_a_signal(tmp_path: Path) -> None:
    """As a process, by SIGKILL, whenever it comes."""
    net = random_net(np.random.default_rng(1), 8, 64, np.float32)
    net.save(tmp_path / "net.npz")
    X = features(60, 4000, 8).astype(np.float32)
    put(tmp_path / "X.npy", X)
    command = [sys.executable, "-c", EAGER, *RUN[:-1], "1000"]
    with subprocess.Popen(command, cwd=tmp_path, env=environment(), stdout=subprocess.PIPE) as process:
        for _ in range(6000):
            if (tmp_path / LEFT[1]).exists() or process.poll() is not None:
                break
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait(60)
    assert process.returncode == -signal.SIGKILL
    # Beside these a record that was being written, which the next run removes.
    left = [name for name in os.listdir(tmp_path) if not name.endswith(".partial")]
    assert sorted(left) == sorted(["X.npy", "net.npz", *LEFT])
    done = subprocess.run(
        [*command, "--json"], cwd=tmp_path, env=environment(), capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert '"resumed": 0' not in done.stdout
    assert_same_bits(np.load(tmp_path / "Y.npy"), net.forward_sequence(X))
    only(tmp_path, "X.npy", "Y.npy", "net.npz")


@pytest.fixture
def left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what a run has left that was killed."""
    saved(tmp_path)
    put(tmp_path / "X.npy", features(4, 30, 3))
    monkeypatch.chdir(tmp_path)
    with monkeypatch.context() as patch:
        end_before(patch, 2)
        with pytest.raises(KilledError):
            main(RUN)
    return tmp_path


def touch_input(folder: Path) -> None:
    put(folder / "X.npy", features(4, 30, 3, seed=1))


def another_net(folder: Path) -> None:
    random_net(np.random.default_rng(9), 3, 5, np.float32).save(folder / "net.npz")


def cut_output(folder: Path) -> None:
    os.truncate(folder / LEFT[0], 100)


def spoil_record(folder: Path) -> None:
    (folder / LEFT[1]).write_bytes(b"no record")


OTHERS: dict[str, tuple[Callable[[Path], Any], list[str], list[str]]] = {
    "another input": (touch_input, [], ["another model, input"]),
    "another model": (another_net, [], ["another model, input"]),
    "another block": (lambda folder: None, ["--block", "40"], ["option"]),
    "another kind": (lambda folder: None, ["--last"], ["option"]),
    "other states": (lambda folder: None, ["--state-out", "S.npz"], ["state"]),
    "outputs cut": (cut_output, [], ["100 bytes"]),
    "a damaged record": (spoil_record, [], ["no record"]),
}


@pytest.mark.parametrize("case", OTHERS)
def test_what_another_run_has_left_is_refused(
    capsys: pytest.CaptureFixture[str], left: Path, case: str
) -> None:
    """And goes on to be there, until it is removed."""
    change, options, words = OTHERS[case]
    change(left)
    before = sorted(os.listdir(left))
    check_refusal(*run(capsys, *RUN, *options), [LEFT[1], "remove", *words])
    only(left, *before)
    (left / LEFT[1]).unlink()
    assert run_json(capsys, *RUN, *options)[1]["resumed"] == 0
    assert not any((left / name).exists() for name in LEFT)


def test_two_runs_at_once(capsys: pytest.CaptureFixture[str], left: Path) -> None:
    import fcntl

    with open(left / LEFT[0], "r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        check_refusal(*run(capsys, *RUN), ["Y.npy", "another run"])
    assert run_json(capsys, *RUN)[1]["resumed"] == 2
    assert_same_bits(np.load("Y.npy"), net_of("plain").forward_sequence(np.load("X.npy")))


def test_a_whole_run_leaves_nothing(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """An older output's mode is kept; a link stays."""
    model = saved(tmp_path)
    X = features(4, 9, 3)
    put(tmp_path / "X.npy", X)
    (tmp_path / "real.npy").write_bytes(b"old")
    os.chmod(tmp_path / "real.npy", 0o640)
    (tmp_path / "Y.npy").symlink_to("real.npy")
    status, report = run_json(capsys, "run", model, tmp_path / "X.npy", "-o", tmp_path / "Y.npy", "--resume")
    assert (status, report["resumed"]) == (0, 0)
    assert (tmp_path / "Y.npy").is_symlink()
    assert os.stat(tmp_path / "real.npy").st_mode & 0o777 == 0o640
    assert_same_bits(np.load(tmp_path / "Y.npy"), net_of("plain").forward_sequence(X))
    only(tmp_path, "X.npy", "Y.npy", "net.npz", "real.npy")
