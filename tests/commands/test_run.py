"""`lstm run`: outputs, states, inputs of every kind, memory, and how it ends."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_files import (
    PICKED_BY,
    VARIANTS,
    features,
    needs,
    net_of,
    on_a_full_disk,
    only,
    put,
    run_on,
    saved,
    several,
    states,
)
from command_line import check_refusal, environment, into_closed_pipe, parse, run, run_json
from run_memory import ROOM, measured, needs_proc, sparse
from support import assert_same_bits, random_net

from lstm.__main__ import main
from lstm.commands import npy
from lstm.formats.numpy_files import read_arrays


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("block", [None, 1, 7, 40, 1000])
def test_the_bits_of_one_call(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, variant: str, dtype: Any, block: int | None
) -> None:
    """A batch of rows of different lengths and a single sequence, with states in and out."""
    net = net_of(variant, dtype)
    model = saved(tmp_path, variant, dtype=dtype)
    options: list[str | Path] = [] if block is None else ["--block", str(block)]
    for X in (features(20, 29, 3), features(29, 3)):
        batch = len(X) if X.ndim == 3 else None
        h0, C0 = states(net, batch)
        given = [*options, "--h0", put(tmp_path / "h0.npy", h0), "--C0", put(tmp_path / "C0.npy", C0)]
        lengths = None
        if batch is not None:
            lengths = np.random.default_rng(1).integers(0, 30, batch)
            lengths[:3] = 0, 29, 1
            given += ["--lengths", put(tmp_path / "n.npy", lengths)]
        Y, report = run_on(capsys, tmp_path, model, X, *given, "--state-out", tmp_path / "S.npz")
        expected, (h_n, C_n) = net.forward_sequence(X, h0, C0, lengths=lengths, return_state=True)
        assert_same_bits(Y, expected)
        found = read_arrays(tmp_path / "S.npz")
        assert_same_bits(found["h_n"], h_n)
        assert_same_bits(found["C_n"], C_n)
        if block is not None and not net.bidirectional:
            assert report["rows"] * report["steps"] <= max(block, 1)
        if net.bidirectional:
            assert report["steps"] == 29
        if block == 1000:
            assert report["blocks"] == 1
        Y, _ = run_on(capsys, tmp_path, model, X, *options)
        assert_same_bits(Y, net.forward_sequence(X))


@pytest.mark.parametrize("form", ["layers", "one layer"])
def test_states_come_in_the_forms_of_the_call(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, form: str
) -> None:
    """One of the two states alone too."""
    net, model = net_of("plain"), saved(tmp_path)
    X = features(4, 9, 3)
    _, C0 = states(net, 4)
    C0 = C0 if form == "layers" else C0[0]
    Y, _ = run_on(
        capsys, tmp_path, model, X, "--C0", put(tmp_path / "C0.npy", C0), "--state-out", tmp_path / "S.npz"
    )
    expected, (h_n, C_n) = net.forward_sequence(X, C0=C0, return_state=True)
    assert_same_bits(Y, expected)
    found = read_arrays(tmp_path / "S.npz")
    assert_same_bits(found["h_n"], h_n)
    assert_same_bits(found["C_n"], C_n)


@pytest.mark.parametrize("variant", ["plain", "deep", "projection"])
def test_one_run_goes_on_where_another_ended(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, variant: str
) -> None:
    net, model, state = net_of(variant), saved(tmp_path, variant), tmp_path / "S.npz"
    X = features(4, 30, 3)
    first, _ = run_on(capsys, tmp_path, model, X[:, :13], "--state-out", state)
    # The file of states is read before it is replaced.
    second, _ = run_on(capsys, tmp_path, model, X[:, 13:], "--state-in", state, "--state-out", state)
    expected, (h_n, C_n) = net.forward_sequence(X, return_state=True)
    assert_same_bits(np.concatenate([first, second], axis=1), expected)
    assert_same_bits(read_arrays(state)["h_n"], h_n)
    assert_same_bits(read_arrays(state)["C_n"], C_n)


@pytest.mark.parametrize("variant", ["plain", "reverse", "bidirectional"])
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "g", ">f4", ">f8", "i1", ">i4", "u2", "u8", "?"])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("block", [3, 50, 10_000])
def test_inputs_of_every_kind(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, variant: str, dtype: str, order: Any, block: int
) -> None:
    net, model = net_of(variant), saved(tmp_path, variant)
    for X in (8 * features(5, 21, 3), 8 * features(21, 3)):
        given = np.asarray(np.abs(X) if dtype[-2:].startswith("u") else X).astype(dtype, order=order)
        Y, report = run_on(capsys, tmp_path, model, given, "--block", str(block))
        assert report["input_dtype"] == str(given.dtype)
        assert_same_bits(Y, net.forward_sequence(given))


def test_columns_of_a_fortran_ordered_file_are_read_in_pieces(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(npy, "SPAN_BYTES", 100)
    net, model = net_of("bidirectional"), saved(tmp_path, "bidirectional")
    X = np.asfortranarray(features(6, 21, 3))
    Y, report = run_on(capsys, tmp_path, model, X, "--block", "50")
    assert report["blocks"] == 3
    assert_same_bits(Y, net.forward_sequence(X))


@pytest.mark.parametrize("shape", [(0, 3), (0, 7, 3), (4, 0, 3), (0, 0, 3)])
@pytest.mark.parametrize("variant", ["plain", "bidirectional", "reverse"])
def test_nothing_to_run(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, shape: tuple[int, ...], variant: str
) -> None:
    net, model = net_of(variant), saved(tmp_path, variant)
    put(tmp_path / "X.npy", np.zeros(shape))
    h0, C0 = states(net, shape[0] if len(shape) == 3 else None)
    status, report = run_json(
        capsys,
        *("run", model, tmp_path / "X.npy", "-o", tmp_path / "Y.npy"),
        *("--h0", put(tmp_path / "h0.npy", h0), "--C0", put(tmp_path / "C0.npy", C0)),
        *("--state-out", tmp_path / "S.npz"),
    )
    assert (status, report["blocks"]) == (0, 0)
    Y = np.load(tmp_path / "Y.npy")
    assert_same_bits(Y, net.forward_sequence(np.zeros(shape)))
    assert_same_bits(read_arrays(tmp_path / "S.npz")["C_n"], C0.astype(np.float32))


def test_rows_without_steps_take_no_time(tmp_path: Path) -> None:
    """There may be more of them than can be gone through."""
    saved(tmp_path)
    sparse(tmp_path / "X.npy", (1 << 58, 0, 3))
    done = subprocess.run(
        [sys.executable, "-m", "lstm", "run", "net.npz", "X.npy", "-o", "Y.npy", "--json"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert parse(done.stdout)["shape"] == [1 << 58, 0, 5]


def test_text_of_a_run(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    model, X = saved(tmp_path), put(tmp_path / "X.npy", features(2, 9, 3))
    status, out, err = run(
        capsys, "run", model, X, "-o", tmp_path / "Y.npy", "--state-out", tmp_path / "S.npz"
    )
    assert (status, err) == (0, "")
    first, second = out.splitlines()
    assert re.fullmatch(rf"{tmp_path}/Y.npy: \(2, 9, 5\) of float32, 1 block in .*s", first)
    assert second == f"{tmp_path}/S.npz: h_n (1, 2, 5), C_n (1, 2, 5)"


@pytest.mark.parametrize("ending", PICKED_BY)
def test_a_picked_net_runs(capsys: pytest.CaptureFixture[str], tmp_path: Path, ending: str) -> None:
    path, nets = several(tmp_path, ending)
    for value, net in nets.items():
        X = features(9, net.input_size)
        Y, _ = run_on(capsys, tmp_path, path, X, f"--{PICKED_BY[ending]}", value)
        assert_same_bits(Y, net.forward_sequence(X))
    arguments = ["run", path, tmp_path / "X.npy", "-o", tmp_path / "Z.npy"]
    check_refusal(*run(capsys, *arguments), ["both", PICKED_BY[ending], *nets])


@needs_proc
@pytest.mark.parametrize("variant", ["plain", "reverse", "batch", "bidirectional"])
def test_files_larger_than_the_memory_allowed(tmp_path: Path, variant: str) -> None:
    """Input and output each are larger than the address space that the process may have."""
    status, _, base, resident_base = measured(tmp_path, "info")
    assert status == 0
    space = base + ROOM
    size = 16 if variant == "bidirectional" else 32
    steps = space // (4 * 32) // 12 * 12 + 12_000
    shape: tuple[int, ...] = (steps, 32)
    if variant in ("batch", "bidirectional"):
        shape = (3 if variant == "batch" else steps // 400, steps // 3 if variant == "batch" else 400, 32)
    options = {"reverse": {"reverse": True}, "bidirectional": {"bidirectional": True}}.get(variant, {})
    net = random_net(np.random.default_rng(1), 32, size, np.float32, **options)
    net.save(tmp_path / "net.npz")
    sparse(tmp_path / "X.npy", shape)
    status, err, _, resident = measured(tmp_path, "run", "net.npz", "X.npy", "-o", "Y.npy", space=space)
    assert (status, err) == (0, "")
    for name in ("X.npy", "Y.npy"):
        assert os.path.getsize(tmp_path / name) > space
    assert resident - resident_base < ROOM
    Y = np.load(tmp_path / "Y.npy", mmap_mode="r")
    assert Y.shape == (*shape[:-1], 32)
    # Steps at both ends; the inputs are all the same.
    ends = net.forward_sequence(np.zeros((400, 32), np.float32))
    if variant == "reverse":
        assert_same_bits(np.asarray(Y[-400:]), ends)
    elif variant == "plain":
        assert_same_bits(np.asarray(Y[:400]), ends)
    else:
        assert_same_bits(np.asarray(Y[-1, :400]), ends)
    only(tmp_path, "X.npy", "Y.npy", "net.npz")


@needs_proc
def test_a_sequence_too_long_for_a_bidirectional_net(tmp_path: Path) -> None:
    _, _, base, _ = measured(tmp_path, "info")
    net = random_net(np.random.default_rng(1), 32, 16, np.float32, bidirectional=True)
    net.save(tmp_path / "net.npz")
    sparse(tmp_path / "X.npy", ((base + ROOM) // 128, 32))
    status, err, _, _ = measured(tmp_path, "run", "net.npz", "X.npy", "-o", "Y.npy", space=base + ROOM)
    check_refusal(status, "", f"{err}\n", ["memory", "bidirectional", "all steps"])
    only(tmp_path, "X.npy", "net.npz")


@needs_proc
def test_a_block_too_large(tmp_path: Path) -> None:
    _, _, base, _ = measured(tmp_path, "info")
    saved(tmp_path)
    sparse(tmp_path / "X.npy", ((base + ROOM) // 12, 3))
    arguments = ["run", "net.npz", "X.npy", "-o", "Y.npy", "--block", str(1 << 40)]
    status, err, _, _ = measured(tmp_path, *arguments, space=base + ROOM)
    check_refusal(status, "", f"{err}\n", ["memory", "smaller --block"])
    only(tmp_path, "X.npy", "net.npz")


# How a run ends


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_run_that_is_stopped_leaves_nothing(tmp_path: Path, number: int, status: int) -> None:
    random_net(np.random.default_rng(1), 16, 64, np.float32).save(tmp_path / "net.npz")
    sparse(tmp_path / "X.npy", (1 << 25, 16))
    (tmp_path / "Y.npy").write_bytes(b"as it was")
    with subprocess.Popen(
        [sys.executable, "-m", "lstm", "run", "net.npz", "X.npy", "-o", "Y.npy", "--block", "1000"],
        cwd=tmp_path,
        env=environment(),
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        for _ in range(3000):
            partial = list(tmp_path.glob("*.partial"))
            if partial and partial[0].stat().st_size > 1_000_000:
                break
            time.sleep(0.01)
        assert partial
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (status, b"", b"")
    only(tmp_path, "X.npy", "Y.npy", "net.npz")
    assert (tmp_path / "Y.npy").read_bytes() == b"as it was"


@pytest.mark.parametrize("target", ["Y.npy", "S.npz", "b.npz", "b.safetensors", "b.onnx"])
def test_a_full_disk(tmp_path: Path, target: str) -> None:
    needs(target.rpartition(".")[2])
    random_net(np.random.default_rng(1), 3, 50, np.float32, num_layers=2).save(tmp_path / "net.npz")
    put(tmp_path / "X.npy", features(3 if target == "S.npz" else 100, 3))
    (tmp_path / target).write_bytes(b"as it was")
    arguments = ["convert", "net.npz", target]
    if target[0] != "b":
        arguments = ["run", "net.npz", "X.npy", "-o", "Y.npy"]
        arguments += ["--state-out", "S.npz"] if target == "S.npz" else []
    done = on_a_full_disk(tmp_path, *arguments)
    check_refusal(done.returncode, done.stdout, done.stderr, [target, "File too large"])
    only(tmp_path, "X.npy", "net.npz", target)
    assert (tmp_path / target).read_bytes() == b"as it was"


@pytest.mark.parametrize(
    "arguments", [["info"], ["info", "net.npz"], ["run", "net.npz", "X.npy", "-o", "Y.npy"]]
)
def test_a_closed_pipe(tmp_path: Path, arguments: list[str]) -> None:
    saved(tmp_path)
    put(tmp_path / "X.npy", features(9, 3))
    assert into_closed_pipe(tmp_path, *arguments) == (141, b"")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize("installed", [False, True])
@pytest.mark.parametrize("arguments", ["run net.npz X.npy -o Y.npy", "compare net.npz"])
def test_progress_is_shown_on_a_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, terminal: bool, installed: bool, arguments: str
) -> None:
    if installed:
        pytest.importorskip("tqdm")
    else:
        monkeypatch.setitem(sys.modules, "tqdm", None)
    monkeypatch.chdir(tmp_path)
    saved(tmp_path)
    put(tmp_path / "X.npy", features(90, 3))
    err = Terminal() if terminal else io.StringIO()
    out = io.StringIO()
    with contextlib.redirect_stderr(err), contextlib.redirect_stdout(out):
        assert main([*shlex.split(arguments), "--json"]) == 0
    assert out.getvalue().startswith("{\n")
    assert ("%" in err.getvalue()) is (terminal and installed)
    assert (err.getvalue() == "") is not (terminal and installed)
    if terminal and installed:
        assert ("steps" if arguments.startswith("run") else "cases") in err.getvalue()
