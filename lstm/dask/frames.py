"""A net over the partitions of a Dask frame whose cells are rows of different lengths.

Shapes: N rows, T_n steps of row n, I input, K outputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from dask import delayed

from .. import arrow
from ..model import LSTM


def forward_frame(net: LSTM, frame: Any, columns: str | Sequence[str], *, last: bool = False) -> Any:
    """Compute the rows that a frame has in its cells, when the result is asked for.

    The bits are those of ``net.forward_sequences`` on one machine, for any partitions. The net goes to each
    worker once; what is set on it later changes nothing here.

    Parameters
    ----------
    net : LSTM
        Whose input_size is that of the steps.
    frame : dask.dataframe.DataFrame
        Whose cells are the rows.
    columns : str or sequence of str
        A column whose cells are rows: lists of steps of Arrow, as Parquet has them, or arrays (T_n, I). Or a
        column for each feature, whose cells are lists of numbers or arrays (T_n,).
    last : bool
        Whether to give the last h of every row alone.

    Returns
    -------
    dask.dataframe.DataFrame
        With the index and the partitions of `frame`. With `last` K columns of numbers, ``h0``, ``h1`` and so
        on; else a column ``h`` of Arrow's lists, of T_n steps, each a list of K numbers.

    Raises
    ------
    ImportError
        If dask.dataframe or pyarrow are not there.
    TypeError
        If `frame` is no Dask frame.
    ValueError
        If it lacks a column, or Dask has turned the arrays of one into text. Cells that do not fit raise
        where they are computed.

    Examples
    --------
    >>> import dask.dataframe as dd
    >>> import pandas as pd
    >>> import pyarrow as pa
    >>> import lstm.dask
    >>> net = lstm.LSTM(2, 5, rng=0)
    >>> lists = pd.ArrowDtype(pa.list_(pa.list_(pa.float64())))
    >>> x = pd.Series([[[1.0, 2.0], [3.0, 4.0]], [], [[5.0, 6.0]]], dtype=lists)
    >>> frame = dd.from_pandas(pd.DataFrame({"x": x}), npartitions=2)
    >>> lstm.dask.forward_frame(net, frame, "x", last=True).compute().shape
    (3, 5)
    >>> lstm.dask.forward_frame(net, frame, "x").compute()["h"].list.len().tolist()
    [2, 0, 1]
    """
    try:
        import dask.dataframe as dd
        import pandas as pd
        from dask.dataframe.utils import make_meta
    except ImportError as error:
        raise ImportError(
            'frames need dask.dataframe: pip install "lstm-native[dask]" "dask[dataframe]"'
        ) from error
    arrow.pyarrow()
    if not isinstance(frame, dd.DataFrame):
        raise TypeError(f"frame is a {type(frame).__name__}, but must be a dask.dataframe.DataFrame")
    names = [columns] if isinstance(columns, str) else list(columns)
    if missing := [name for name in names if name not in frame.columns]:
        raise ValueError(f"frame has no column {missing[0]!r}, but {', '.join(map(repr, frame.columns))}")
    for name in names:
        if isinstance(frame.dtypes[name], pd.StringDtype):
            raise ValueError(
                f"column {name!r} is text, which Dask makes of arrays in cells of pandas; use lists of Arrow "
                "(pandas.ArrowDtype), or first dask.config.set({'dataframe.convert-string': False})"
            )
    meta = _partition(make_meta(frame[names]), net, last)
    # A task of its own, so that it travels once to each worker, and is there again if a worker is lost.
    shared = delayed(LSTM.from_core(net.core.copy()))
    return frame[names].map_partitions(_partition, shared, last, meta=meta)


def _partition(frame: Any, net: LSTM, last: bool) -> Any:
    """A pandas frame with the rows' columns alone -> one with the column h."""
    import pandas as pd

    rows = _rows(net, [frame.iloc[:, k] for k in range(frame.shape[1])])
    if last:
        h = net.forward_sequences(rows, last=True)
        return pd.DataFrame(h, frame.index, [f"h{k}" for k in range(h.shape[1])], copy=False)
    outputs = net.forward_sequences(rows)
    none = np.empty((0, net.core.architecture.output_size), net.dtype)
    column = arrow.lists(np.concatenate([none, *outputs]), np.array([len(row) for row in rows], np.intp))
    return pd.DataFrame({"h": pd.arrays.ArrowExtensionArray(column)}, index=frame.index)


def _rows(net: LSTM, columns: list[Any]) -> list[Any]:
    """Pandas columns -> rows (T_n, I)."""
    first = columns[0]
    if first.dtype == object:
        is_array = all(isinstance(cell, np.ndarray) and cell.ndim == 2 for cell in first.head(1))
        if len(columns) == 1 and len(first) and is_array:
            return list(first)
        if not any(map(np.size, first)):  # from which Arrow infers no numbers
            return [np.empty((0, net.input_size))] * len(first)
    lists = arrow.pyarrow()
    return arrow.rows([lists.array(column) for column in columns], net.input_size)
