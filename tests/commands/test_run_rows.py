"""`lstm run` of rows of different lengths, of last steps alone, from and to pipes.

Shapes: N rows, T_n steps of row n, S steps of all together, I input, H hidden, O features of h.
"""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_files import VARIANTS, features, net_of, only, put, saved, states
from command_line import check_refusal, environment, into_closed_pipe, run, run_json
from run_memory import ROOM, measured, needs_proc, sparse
from support import assert_same_bits

from lstm import LSTM
from lstm.formats.numpy_files import read_arrays

LENGTHS = np.array([3, 0, 9, 1, 40, 3, 3, 2, 0, 9, 12, 3])
BLOCKS = ([], ["--block", "1"], ["--block", "7"], ["--block", "41"])


def rows_of(X: np.ndarray) -> list[np.ndarray]:
    return np.split(X, np.cumsum(LENGTHS)[:-1])


def flat(folder: Path, dtype: Any = np.float32, order: Any = "C") -> tuple[Path, list[np.ndarray]]:
    """X.npy (S, I), and its rows."""
    X = np.asarray(8 * features(int(LENGTHS.sum()), 3)).astype(dtype, order=order)
    return put(folder / "X.npy", X), rows_of(X)


def lasts(net: LSTM, h: np.ndarray) -> np.ndarray:
    """H (L D, N, O) -> (N, D O): the last layer's."""
    return np.concatenate(h[-2:], axis=-1) if net.bidirectional else h[-1]


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("order", ["C", "F"])
def test_rows_have_the_bits_they_have_alone(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, variant: str, block: list[str], order: str
) -> None:
    net, model = net_of(variant), saved(tmp_path, variant)
    X, rows = flat(tmp_path, np.float64, order)
    h0, C0 = states(net, len(rows))
    given = ["--h0", put(tmp_path / "h0.npy", h0), "--C0", put(tmp_path / "C0.npy", C0)]
    expected = [
        net.forward_sequence(row, h0[:, n], C0[:, n], return_state=True) for n, row in enumerate(rows)
    ]
    h_n = np.stack([h for _, (h, _) in expected], axis=1)
    offsets = np.concatenate([[0], np.cumsum(LENGTHS)])
    for how in (
        ["--lengths", put(tmp_path / "n.npy", LENGTHS.astype(np.uint8))],
        ["--offsets", put(tmp_path / "o.npy", offsets)],
    ):
        options = [*how, *given, *block, "--state-out", tmp_path / "S.npz"]
        status, report = run_json(capsys, "run", model, X, "-o", tmp_path / "Y.npy", *options)
        assert status == 0
        assert report["shape"] == [LENGTHS.sum(), net.core.architecture.output_size]
        assert_same_bits(np.load(tmp_path / "Y.npy"), np.concatenate([Y for Y, _ in expected]))
        found = read_arrays(tmp_path / "S.npz")
        assert_same_bits(found["h_n"], h_n)
        assert_same_bits(found["C_n"], np.stack([C for _, (_, C) in expected], axis=1))
        if block and not net.bidirectional:
            assert report["steps"] <= int(block[1])
        status, report = run_json(capsys, "run", model, X, "-o", tmp_path / "H.npy", "--last", *options[:-2])
        assert status == 0
        assert_same_bits(np.load(tmp_path / "H.npy"), lasts(net, h_n))
        run_json(capsys, "run", model, X, "-o", tmp_path / "H.npy", "--last", *how, *block)
        assert_same_bits(np.load(tmp_path / "H.npy"), net.forward_sequences(rows, last=True))


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("block", BLOCKS)
def test_last_steps_of_a_batch_and_of_a_sequence(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, variant: str, block: list[str]
) -> None:
    """With lengths, and with states alone to be written."""
    net, model = net_of(variant), saved(tmp_path, variant)
    X = features(20, 29, 3)
    lengths = np.random.default_rng(1).integers(0, 30, 20)
    h0, C0 = states(net, 20)
    options: list[Any] = ["--lengths", put(tmp_path / "n.npy", lengths), *block]
    options += ["--h0", put(tmp_path / "h0.npy", h0), "--C0", put(tmp_path / "C0.npy", C0)]
    put(tmp_path / "X.npy", X)
    _, (h_n, C_n) = net.forward_sequence(X, h0, C0, lengths=lengths, return_state=True)
    run_json(capsys, "run", model, tmp_path / "X.npy", "-o", tmp_path / "H.npy", "--last", *options)
    assert_same_bits(np.load(tmp_path / "H.npy"), lasts(net, h_n))
    status, report = run_json(
        capsys, "run", model, tmp_path / "X.npy", "--state-out", tmp_path / "S.npz", *options
    )
    assert (status, report["output"], report["shape"]) == (0, None, None)
    found = read_arrays(tmp_path / "S.npz")
    assert_same_bits(found["h_n"], h_n)
    assert_same_bits(found["C_n"], C_n)
    put(tmp_path / "X.npy", X[0])
    status, report = run_json(
        capsys, "run", model, tmp_path / "X.npy", "-o", tmp_path / "H.npy", "--last", *block
    )
    last = np.load(tmp_path / "H.npy")
    assert report["shape"] == list(last.shape)
    assert_same_bits(last, net.forward_sequences([X[0]], last=True)[0])


@pytest.mark.parametrize("variant", ["plain", "bidirectional"])
def test_last_of_no_steps_is_the_state_before(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, variant: str
) -> None:
    net, model = net_of(variant), saved(tmp_path, variant)
    h0, _ = states(net, 4)
    arguments = ["-o", tmp_path / "H.npy", "--last", "--h0", put(tmp_path / "h0.npy", h0)]
    status, _ = run_json(
        capsys, "run", model, put(tmp_path / "X.npy", np.zeros((4, 0, 3))), *arguments, "--block", "2"
    )
    assert status == 0
    assert_same_bits(np.load(tmp_path / "H.npy"), lasts(net, h0.astype(np.float32)))
    zeros = ["--lengths", put(tmp_path / "n.npy", np.zeros(4, int))]
    run_json(capsys, "run", model, put(tmp_path / "X.npy", np.zeros((0, 3))), *arguments, *zeros)
    assert_same_bits(np.load(tmp_path / "H.npy"), lasts(net, h0.astype(np.float32)))
    none = ["--lengths", put(tmp_path / "n.npy", np.zeros(0, int)), "-o", tmp_path / "H.npy", "--last"]
    run_json(capsys, "run", model, tmp_path / "X.npy", *none)
    assert np.load(tmp_path / "H.npy").shape == (0, 10 if net.bidirectional else 5)


def piped(folder: Path, given: bytes, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "lstm", "run", "net.npz", *arguments],
        cwd=folder,
        env=environment(),
        input=given,
        capture_output=True,
        timeout=100,
    )


def npy_bytes(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


@pytest.mark.parametrize("variant", ["plain", "reverse", "bidirectional"])
def test_pipes(tmp_path: Path, variant: str) -> None:
    """Batches, sequences, rows of different lengths, in blocks smaller than a row."""
    net = net_of(variant)
    saved(tmp_path, variant)
    put(tmp_path / "n.npy", LENGTHS)
    for X, options in ((features(9, 50, 3), []), (features(900, 3), []), (features(0, 3), [])):
        done = piped(tmp_path, npy_bytes(X), "-", "-o", "-", "--block", "40", *options)
        assert (done.returncode, done.stderr) == (0, b"")
        assert_same_bits(np.load(io.BytesIO(done.stdout)), net.forward_sequence(X))
    X = features(int(LENGTHS.sum()), 3)
    arguments = ["-", "-o", "-", "--lengths", "n.npy", "--block", "11", "--state-out", "S.npz"]
    done = piped(tmp_path, npy_bytes(X), *arguments)
    expected = net.forward_sequences(rows_of(X))
    assert_same_bits(np.load(io.BytesIO(done.stdout)), np.concatenate(expected))
    done = piped(tmp_path, npy_bytes(X), *arguments, "--last")
    assert_same_bits(np.load(io.BytesIO(done.stdout)), net.forward_sequences(rows_of(X), last=True))
    only(tmp_path, "S.npz", "n.npy", "net.npz")


def test_what_comes_from_a_pipe_is_checked(tmp_path: Path) -> None:
    saved(tmp_path)
    X = features(5, 40, 3)
    whole = npy_bytes(X)
    for given, words in (
        (b"", ["stdin", ".npy"]),
        (whole[:-1], ["stdin", "cut short"]),
        (whole[:300], ["stdin", "cut short"]),
        (whole + b"\0", ["stdin", "more than"]),
        (npy_bytes(np.asfortranarray(X)), ["stdin", "Fortran"]),
        (npy_bytes(X[..., :2]), ["stdin", "2 features"]),
    ):
        done = piped(tmp_path, given, "-", "-o", "Y.npy")
        check_refusal(done.returncode, done.stdout.decode(), done.stderr.decode(), words)
        only(tmp_path, "net.npz")


def test_outputs_to_a_closed_pipe(tmp_path: Path) -> None:
    saved(tmp_path)
    put(tmp_path / "X.npy", features(5000, 3))
    assert into_closed_pipe(tmp_path, "run", "net.npz", "X.npy", "-o", "-", "--block", "9", after=100) == (
        141,
        b"",
    )


def test_unbuffered_outputs(tmp_path: Path) -> None:
    """Then stdout takes less than it is given."""
    saved(tmp_path)
    X = features(100_000, 3)
    put(tmp_path / "X.npy", X)
    done = subprocess.run(
        [sys.executable, "-u", "-m", "lstm", "run", "net.npz", "X.npy", "-o", "-"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
    )
    assert_same_bits(np.load(io.BytesIO(done.stdout)), net_of("plain").forward_sequence(X))


def test_text_of_a_run(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    model = saved(tmp_path)
    X, _ = flat(tmp_path)
    n = put(tmp_path / "n.npy", LENGTHS)
    status, out, err = run(
        capsys, "run", model, X, "--lengths", n, "--last", "-o", tmp_path / "H.npy", "--block", "7"
    )
    assert (status, err) == (0, "")
    assert out.startswith(f"{tmp_path}/H.npy: (12, 5) of float32, 17 blocks in ")
    status, out, _ = run(capsys, "run", model, X, "--state-out", tmp_path / "S.npz")
    first, second = out.splitlines()
    assert first.startswith("1 block in ")
    assert second == f"{tmp_path}/S.npz: h_n (1, 5), C_n (1, 5)"


@needs_proc
def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    """One row of a tenth of all steps among short ones: none is held whole."""
    _, _, base, resident_base = measured(tmp_path, "info")
    saved(tmp_path)
    steps = (base + ROOM) // 12 // 100 * 100
    sparse(tmp_path / "X.npy", (steps, 3))
    lengths = np.full(steps // 100 * 9 // 10, 100)
    put(tmp_path / "n.npy", np.append(lengths, steps - lengths.sum()))
    arguments = ["run", "net.npz", "X.npy", "--lengths", "n.npy", "-o", "H.npy", "--last"]
    status, err, _, resident = measured(tmp_path, *arguments, space=base + ROOM)
    assert (status, err) == (0, "")
    assert resident - resident_base < ROOM
    h = np.load(tmp_path / "H.npy")
    net = net_of("plain")
    assert_same_bits(h[0], net.forward_sequence(np.zeros((100, 3)))[-1])
    assert_same_bits(h[-1], net.forward_sequence(np.zeros((4000, 3)))[-1])  # it has settled
