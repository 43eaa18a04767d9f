"""`lstm run` from and to Parquet files with columns of lists."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_files import features, net_of, only, saved, states
from command_line import check_refusal, run, run_json
from support import assert_same_bits, random_net

from lstm.formats.numpy_files import read_arrays

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

LENGTHS = (3, 0, 9, 1, 40, 3, 3, 2, 0, 9, 12, 3)
ROWS = [features(length, 3, seed=n).astype(np.float32) for n, length in enumerate(LENGTHS)]
NUMBERS = pa.float32()
KINDS = {
    "lists": pa.list_(pa.list_(NUMBERS)),
    "large lists": pa.large_list(pa.large_list(NUMBERS)),
    "lists of fixed size": pa.list_(pa.list_(NUMBERS, 3)),
    "doubles": pa.list_(pa.list_(pa.float64())),
}


def table_of(rows: list[np.ndarray], kind: Any) -> Any:
    """Rows (T_n, I) in a column x, with others next to it."""
    x = pa.array([row.tolist() for row in rows], kind)
    return pa.table({"id": pa.array(range(len(rows))), "x": x, "name": pa.array(["a"] * len(rows))})


def put_rows(folder: Path, kind: Any = KINDS["lists"], rows: list[np.ndarray] = ROWS, group: int = 5) -> Path:
    path = folder / "x.parquet"
    pq.write_table(table_of(rows, kind), path, row_group_size=group)
    return path


@pytest.mark.parametrize("variant", ["plain", "reverse", "bidirectional"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("block", [[], ["--block", "1"], ["--block", "20"]])
def test_rows_of_a_table(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, variant: str, kind: str, block: list[str]
) -> None:
    """All steps, last steps and states; row groups and blocks end at other rows."""
    net, model = net_of(variant), saved(tmp_path, variant)
    x = put_rows(tmp_path, KINDS[kind])
    h0, C0 = states(net, len(ROWS))
    np.savez(tmp_path / "S.npz", h_n=h0, C_n=C0)
    Ys, (h_n, C_n) = net.forward_sequences(ROWS, h0, C0, return_state=True)
    last = net.forward_sequences(ROWS, h0, C0, last=True)
    options = ["--state-in", tmp_path / "S.npz", *block]
    status, report = run_json(
        capsys, "run", model, x, "-o", tmp_path / "Y.parquet", "--state-out", tmp_path / "T.npz", *options
    )
    assert (status, report["input_shape"], report["shape"]) == (0, None, None)
    assert report["input_dtype"] == ("double" if kind == "doubles" else "float")
    table = pq.read_table(tmp_path / "Y.parquet")
    assert table.schema.field("h").type == pa.list_(pa.list_(NUMBERS))
    for found, Y in zip(table.column("h").to_pylist(), Ys, strict=True):
        assert_same_bits(np.array(found, np.float32).reshape(Y.shape), Y)
    found = read_arrays(tmp_path / "T.npz")
    assert_same_bits(found["h_n"], h_n)
    assert_same_bits(found["C_n"], C_n)
    run_json(capsys, "run", model, x, "-o", tmp_path / "H.parquet", "--last", *options)
    assert_same_bits(
        np.array(pq.read_table(tmp_path / "H.parquet").column("h").to_pylist(), np.float32), last
    )
    status, report = run_json(capsys, "run", model, x, "-o", tmp_path / "H.npy", "--last", *options)
    assert report["shape"] == list(last.shape)
    assert_same_bits(np.load(tmp_path / "H.npy"), last)


def test_a_column_for_every_feature(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """In the order in which they are named; of a net of one feature a column of lists of numbers."""
    net, model = net_of("plain"), saved(tmp_path)
    columns = {name: [row[:, k].tolist() for row in ROWS] for k, name in enumerate("zab")}
    pq.write_table(pa.table({**columns, "id": range(len(ROWS))}), tmp_path / "x.parquet")
    arguments = ["run", model, tmp_path / "x.parquet", "-o", tmp_path / "H.npy", "--last"]
    assert run_json(capsys, *arguments, "--columns", "z,a,b")[0] == 0
    assert_same_bits(np.load(tmp_path / "H.npy"), net.forward_sequences(ROWS, last=True))
    single = random_net(np.random.default_rng(1), 1, 4, np.float32)
    single.save(tmp_path / "net.npz")
    assert run_json(capsys, *arguments, "--columns", "a")[0] == 0
    rows = [row[:, 1:2] for row in ROWS]
    assert_same_bits(np.load(tmp_path / "H.npy"), single.forward_sequences(rows, last=True))


def test_no_rows(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    model = saved(tmp_path)
    put_rows(tmp_path, rows=[])
    arguments = ["run", model, tmp_path / "x.parquet", "-o"]
    assert run_json(capsys, *arguments, tmp_path / "H.npy", "--last")[0] == 0
    assert np.load(tmp_path / "H.npy").shape == (0, 5)
    assert run_json(capsys, *arguments, tmp_path / "Y.parquet")[0] == 0
    assert pq.read_table(tmp_path / "Y.parquet").num_rows == 0


def columns_of(**columns: Any) -> Any:
    return pa.table(columns)


STEPS = [[[1.0, 2.0, 3.0]], [[4.0, 5.0, 6.0]]]
REFUSED: dict[str, tuple[Any, str | None, list[str]]] = {
    "no lists": (columns_of(a=[1.0, 2.0]), None, ["no columns of lists", "--columns"]),
    "several lists": (columns_of(a=STEPS, b=STEPS), None, ["a, b", "--columns"]),
    "no such column": (columns_of(a=STEPS), "b", ["no column 'b'", "'a'"]),
    "numbers": (columns_of(a=[1.0, 2.0], b=STEPS), "a", ["'a' is of double", "lists of steps"]),
    "lists of text": (columns_of(a=[[["a", "b", "c"]]]), "a", ["'a'", "string"]),
    "flat lists": (columns_of(a=[[1.0, 2.0, 3.0]]), "a", ["'a'", "each a list of 3 numbers"]),
    "two of three features": (columns_of(a=[[1.0]], b=[[1.0]]), "a,b", ["names 2", "input_size=3"]),
    "steps of another size": (
        columns_of(a=[*STEPS, [], [[1.0, 2.0, 3.0], [1.0, 2.0]]]),
        None,
        ["x.parquet, a: ", "row 3 has 2 numbers", "input_size=3"],
    ),
    "features of other lengths": (
        columns_of(a=[[1.0], [1.0]], b=[[1.0], [1.0, 2.0]], c=[[1.0], [1.0]]),
        "a,b,c",
        ["row 1 has 1 steps in the first column, but 2 in column 2"],
    ),
    "a null row": (columns_of(a=[*STEPS, None]), None, ["row 2 is null"]),
    "a null step": (columns_of(a=[[[1.0, 2.0, 3.0], None]]), None, ["a null step"]),
    "a null number": (columns_of(a=[[[1.0, None, 3.0]]]), None, ["a null instead of a number"]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path, case: str) -> None:
    table, columns, words = REFUSED[case]
    model = saved(tmp_path)
    pq.write_table(table, tmp_path / "x.parquet")
    options = [] if columns is None else ["--columns", columns]
    for output in (["Y.parquet"], ["H.npy", "--last"]):
        arguments = ["run", model, tmp_path / "x.parquet", "-o", tmp_path / output[0], *output[1:], *options]
        check_refusal(*run(capsys, *arguments), words)
    only(tmp_path, "net.npz", "x.parquet")


def test_damaged_files(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Cut short, or some bytes are others: one line, whatever pyarrow says."""
    model, x = saved(tmp_path), put_rows(tmp_path)
    whole = x.read_bytes()
    arguments = ["run", model, x, "-o", tmp_path / "H.npy", "--last"]
    for damaged in (b"", b"PAR1", whole[:-1], whole[: len(whole) // 2], b"\0" * 1000):
        x.write_bytes(damaged)
        check_refusal(*run(capsys, *arguments), ["x.parquet", "no Parquet file"])
    for place in range(4, 300, 7):
        x.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        status, out, err = run(capsys, *arguments)
        if status:
            check_refusal(status, out, err, ["x.parquet"])


def test_without_pyarrow(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    model, x = saved(tmp_path), put_rows(tmp_path)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    check_refusal(
        *run(capsys, "run", model, x, "-o", tmp_path / "H.npy", "--last"), ["pyarrow", "lstm-native[arrow]"]
    )
