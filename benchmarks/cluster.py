"""Rows of different lengths on one worker process of Dask and on two: how much faster are two?

    python benchmarks/cluster.py [--rows 200000] [--files 40] [--rounds 5] [--collect] [--json FILE]

The rows are lists in Parquet files, of 20 to 200 steps; the workers read them, run a net of I 4, H 32 in
float32, and write the last h of each row to Parquet files, or with --collect send them here. Clusters of one
and of two processes take turns, each new and warmed up by a file a process, on all cores that this process
may use. The results must be equal to the last bit. docs/scale.md has the figures. It needs lstm-native[dask]
and dask[dataframe].
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import dask
import dask.dataframe as dd
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from distributed import Client, LocalCluster

import lstm.dask
from lstm import LSTM
from lstm.comparison.machine import cpu_name

INPUT_SIZE, HIDDEN_SIZE = 4, 32
SHORTEST, LONGEST = 20, 200
PROCESSES = (1, 2)


def write_rows(folder: Path, rows: int, files: int) -> None:
    """So many rows, (T_n, 4) each, as lists in so many files."""
    rng = np.random.default_rng(0)
    for number in range(files):
        lengths = rng.integers(SHORTEST, LONGEST + 1, rows * (number + 1) // files - rows * number // files)
        steps = pa.FixedSizeListArray.from_arrays(
            pa.array(rng.standard_normal(int(lengths.sum()) * INPUT_SIZE, np.float32)), INPUT_SIZE
        )
        lists = pa.ListArray.from_arrays(pa.array(np.append(0, lengths.cumsum()), pa.int32()), steps)
        pq.write_table(pa.table({"x": lists}), folder / f"rows-{number:04}.parquet")


def run(net: LSTM, files: list[Path], target: Path | None) -> Any:
    """The last h of the rows of the files, (N, 32), or nothing if the workers write it to a folder."""
    frame = dd.read_parquet([str(path) for path in files], dtype_backend="pyarrow")
    result = lstm.dask.forward_frame(net, frame, "x", last=True)
    if target is None:
        return result.compute().to_numpy()
    result.to_parquet(str(target))
    return None


def timed(net: LSTM, files: list[Path], processes: int, target: Path | None) -> tuple[dict[str, float], Any]:
    """Seconds that a new cluster of so many processes takes, CPU seconds of these and of all else; the h."""
    cluster = LocalCluster(n_workers=processes, threads_per_worker=1, processes=True, dashboard_address=None)
    with cluster, Client(cluster) as client:
        run(net, files[:processes], None)  # imports, and the net
        workers = sum(client.run(time.process_time).values())
        here = time.process_time()
        start = time.perf_counter()
        h = run(net, files, target)
        seconds = time.perf_counter() - start
        here = time.process_time() - here
        workers = sum(client.run(time.process_time).values()) - workers
    if target is not None:
        h = dd.read_parquet(str(target)).compute(scheduler="sync").to_numpy()
        shutil.rmtree(target)
    return {"seconds": seconds, "workers": workers, "here": here}, h


def main() -> None:
    """Parse the command line, run, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--files", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=5, help="turns of each cluster (default: 5)")
    parser.add_argument("--collect", action="store_true", help="send the results here")
    parser.add_argument("--json", help="write all figures to FILE", metavar="FILE")
    arguments = parser.parse_args()
    net = LSTM(INPUT_SIZE, HIDDEN_SIZE, dtype="float32", rng=0)
    figures: dict[int, list[dict[str, float]]] = {processes: [] for processes in PROCESSES}
    expected = None
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_rows(folder, arguments.rows, arguments.files)
        files = sorted(folder.glob("*.parquet"))
        target = None if arguments.collect else folder / "h"
        for _ in range(arguments.rounds):
            for processes in PROCESSES:
                figure, h = timed(net, files, processes, target)
                expected = h if expected is None else expected
                if not np.array_equal(h, expected):
                    raise RuntimeError(f"{processes} processes have other bits")
                figures[processes].append(figure)
                cpu = f"{figure['workers']:.2f} s of CPU in the workers, {figure['here']:.2f} s here"
                print(f"{processes} processes: {figure['seconds']:.2f} s, {cpu}", flush=True)
    times = {processes: [figure["seconds"] for figure in figures[processes]] for processes in PROCESSES}
    ratios = [one / two for one, two in zip(times[1], times[2], strict=True)]
    print(f"\n{cpu_name()}, dask {dask.__version__}, {arguments.rows} rows in {arguments.files} files")
    print(f"two processes: {min(times[1]) / min(times[2]):.2f} times as fast, of best times")
    print(f"               {statistics.median(ratios):.2f} times, the middle of the turns'")
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump({"cpu": cpu_name(), "rows": arguments.rows, "figures": figures}, file, indent=1)


if __name__ == "__main__":
    main()
