"""`lstm.dask.forward_frame`: partitions of rows of different lengths, with the bits of one machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import assert_same_bits, random_net

dd = pytest.importorskip("dask.dataframe")
pd = pytest.importorskip("pandas")
pa = pytest.importorskip("pyarrow")
pytest.importorskip("distributed")

import dask  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402

import lstm.dask  # noqa: E402

LENGTHS = (3, 0, 9, 1, 40, 3, 3, 2, 0, 9)
ROWS = [np.random.default_rng(n).standard_normal((length, 3)) for n, length in enumerate(LENGTHS)]
LISTS = pa.list_(pa.list_(pa.float64()))
FORMS = ("lists of Arrow", "arrays", "nested arrays", "a column a feature", "lists of features")


def frame_of(form: str) -> tuple[Any, list[str]]:
    """The rows in a frame of pandas whose index is no count, and the columns that have them."""
    index = pd.Index([3 * n + 1 for n in range(len(ROWS))], name="at")
    if form == "lists of Arrow":
        cells = {"x": pd.Series([row.tolist() for row in ROWS], dtype=pd.ArrowDtype(LISTS), index=index)}
    elif form == "arrays":
        cells = {"x": pd.Series(ROWS, index=index)}
    elif form == "nested arrays":
        cells = {"x": pd.Series([list(row) for row in ROWS], index=index)}
    elif form == "a column a feature":
        cells = {name: pd.Series([row[:, k] for row in ROWS], index=index) for k, name in enumerate("abc")}
    else:
        kind = pd.ArrowDtype(LISTS.value_type)
        cells = {
            name: pd.Series([row[:, k].tolist() for row in ROWS], dtype=kind, index=index)
            for k, name in enumerate("abc")
        }
    return pd.DataFrame({"other": pd.Series(range(len(ROWS)), index=index), **cells}), list(cells)


def check(net: Any, found: Any, last: bool) -> None:
    outputs = net.forward_sequences(ROWS)
    ends = net.forward_sequences(ROWS, last=True)
    if last:
        assert list(found.columns) == [f"h{k}" for k in range(ends.shape[1])]
        assert_same_bits(found.to_numpy(), ends)
        return
    for cell, expected in zip(found["h"], outputs, strict=True):
        assert_same_bits(np.array(cell, net.dtype).reshape(expected.shape), expected)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("last", [False, True])
def test_partitions_have_the_bits_of_one_machine(form: str, last: bool) -> None:
    net = random_net(np.random.default_rng(0), 3, 5, np.float32, bidirectional=True)
    frame, columns = frame_of(form)
    for partitions in (1, 3):
        with dask.config.set({"dataframe.convert-string": False}):
            parts = dd.from_pandas(frame, npartitions=partitions)
            result = lstm.dask.forward_frame(
                net, parts, columns if len(columns) > 1 else columns[0], last=last
            )
            found = result.compute(scheduler="sync")
        assert found.index.equals(frame.index)
        assert found.dtypes.to_dict() == result.dtypes.to_dict()
        check(net, found, last)


def test_parquet_on_workers(client: Any, tmp_path: Path) -> None:
    """Read by the workers, and written by them."""
    net = random_net(np.random.default_rng(0), 3, 5, np.float32)
    table = pa.table({"x": pa.array([row.tolist() for row in ROWS], LISTS)})
    for number in range(2):
        pq.write_table(table.slice(5 * number, 5), tmp_path / f"{number}.parquet")
    for options in ({}, {"dtype_backend": "pyarrow"}):
        frame = dd.read_parquet(tmp_path / "*.parquet", **options)
        lstm.dask.forward_frame(net, frame, "x", last=True).to_parquet(tmp_path / "h")
        check(net, pq.read_table(tmp_path / "h").to_pandas(), True)


def test_an_empty_partition() -> None:
    net = random_net(np.random.default_rng(0), 3, 5, np.float32)
    frame, _ = frame_of("lists of Arrow")
    parts = dd.from_pandas(frame, npartitions=3)
    parts = parts[parts["other"] > 5]
    for last in (False, True):
        found = lstm.dask.forward_frame(net, parts, "x", last=last).compute(scheduler="sync")
        assert list(found.index) == list(frame.index[6:])


def test_wrong_frames() -> None:
    net = random_net(np.random.default_rng(0), 3, 5, np.float32)
    frame, _ = frame_of("arrays")
    with pytest.raises(TypeError, match=r"must be a dask\.dataframe\.DataFrame"):
        lstm.dask.forward_frame(net, frame, "x")
    parts = dd.from_pandas(frame, npartitions=1)
    with pytest.raises(ValueError, match="no column 'y', but 'other', 'x'"):
        lstm.dask.forward_frame(net, parts, ["x", "y"])
    with pytest.raises(ValueError, match=r"'x' is text.*convert-string"):
        lstm.dask.forward_frame(net, parts, "x")
    steps = pd.Series([[[1.0, 2.0]]], dtype=pd.ArrowDtype(LISTS))
    short = dd.from_pandas(pd.DataFrame({"x": steps}), npartitions=1)
    with pytest.raises(ValueError, match="a step of row 0 has 2 numbers"):
        lstm.dask.forward_frame(net, short, "x").compute(scheduler="sync")
