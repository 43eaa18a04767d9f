"""Two builds of this package against each other: is the new one as fast as the old?

    python benchmarks/builds.py OLD_PYTHON NEW_PYTHON [--rounds 12] [--cases step,H16] [--limit 1.02]

The arguments are the Pythons of two environments, each with a build installed. Builds take turns, each turn
in a fresh process, so that neither noise of the machine nor one lucky layout of memory favours a build; of
each case the best time of all turns counts. Prints microseconds a call and the ratio new / old. Exit status
1 if a ratio is above the limit. With `--instructions` the counts of valgrind's callgrind instead, which do
not depend on what else the machine does (without AVX-512, which valgrind does not know).
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

HIDDEN_SIZES = (16, 20, 64, 256)
CASES = [
    f"{what}, H {hidden_size}, B {batch}"
    for hidden_size in HIDDEN_SIZES
    for batch in (1, 32)
    for what in ("step", "forward", "forward_sequence")
]
TIME = 50
SECONDS = 0.02  # of one measurement
mark = os.getloadavg  # a function of the C library of the same name, which nothing else calls


def call_of(case: str) -> Callable[[], object]:
    """The call that a case times, in this process's build."""
    import numpy as np

    from lstm import LSTM

    what, hidden_size, batch = case.split(", ")
    H, B = int(hidden_size[2:]), int(batch[2:])
    net = LSTM(H, H, dtype=np.float32, init="pytorch", rng=0)
    rng = np.random.default_rng(1)
    if what == "forward_sequence":
        X = (
            rng.standard_normal((B, TIME, H), np.float32)
            if B > 1
            else rng.standard_normal((TIME, H), np.float32)
        )
        out = np.empty_like(X)
        return lambda: net.forward_sequence(X, out=out)
    x = rng.standard_normal((B, H), np.float32) if B > 1 else rng.standard_normal(H, np.float32)
    if what == "step":
        stream, out = net.stream(B if B > 1 else None), np.empty_like(x)
        return lambda: stream.step(x, out)
    h, C = np.zeros_like(x), np.zeros_like(x)
    return lambda: net.forward(x, h, C)


def best_seconds(call: Callable[[], object]) -> float:
    """The best of a few measurements of one call."""
    loops, spent = 1, 0.0
    while spent < SECONDS / 4:
        loops *= 2
        start = time.perf_counter()
        for _ in range(loops):
            call()
        spent = time.perf_counter() - start
    best = spent / loops
    for _ in range(5):
        start = time.perf_counter()
        for _ in range(loops):
            call()
        best = min(best, (time.perf_counter() - start) / loops)
    return best


def in_fresh_process(python: str, *arguments: str, before: tuple[str, ...] = ()) -> str:
    """What this script prints under another Python, away from the source."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment["LSTM_NUM_THREADS"] = "1"
    command = [*before, python, str(Path(__file__).resolve()), *arguments]
    done = subprocess.run(command, cwd="/", env=environment, capture_output=True, text=True, check=True)
    return done.stdout


def microseconds(python: str, cases: list[str]) -> dict[str, float]:
    """The best microseconds a call of each case in one fresh process."""
    return json.loads(in_fresh_process(python, "--time", json.dumps(cases)))


def counted_calls(case: str) -> int:
    """Calls that are counted: many if one is short, as Python's own part falls after the first ones."""
    return 4 if case.startswith("forward_sequence") else 200


def instructions(python: str, cases: list[str]) -> dict[str, float]:
    """Instructions a call of each case in one process; callgrind writes them at every call of `mark`."""
    with tempfile.TemporaryDirectory() as folder:
        options = (f"--callgrind-out-file={folder}/part", f"--dump-before={mark.__name__}")
        before = ("valgrind", "--tool=callgrind", *options)
        in_fresh_process(python, "--count", json.dumps(cases), before=before)
        totals = []
        for part in range(1, 2 * len(cases) + 1):
            found = re.search(r"^totals: (\d+)", Path(folder, f"part.{part}").read_text(), re.MULTILINE)
            assert found is not None
            totals.append(int(found[1]))
    return {case: total / counted_calls(case) for case, total in zip(cases, totals[1::2], strict=True)}


def count(cases: list[str]) -> None:
    """Be what callgrind looks at: for each case what comes before, a mark, the calls, a mark."""
    for case in cases:
        call = call_of(case)
        call()
        mark()
        for _ in range(counted_calls(case)):
            call()
        mark()


def main() -> int:
    """Compare, or be one of the processes that are compared."""
    if sys.argv[1:2] == ["--time"]:
        print(json.dumps({case: 1e6 * best_seconds(call_of(case)) for case in json.loads(sys.argv[2])}))
        return 0
    if sys.argv[1:2] == ["--count"]:
        count(json.loads(sys.argv[2]))
        return 0
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("old", metavar="OLD_PYTHON")
    parser.add_argument("new", metavar="NEW_PYTHON")
    parser.add_argument("--rounds", type=int, default=12, help="turns of each build (default: %(default)s)")
    parser.add_argument("--cases", default="", help="only cases that hold all of these words, by commas")
    parser.add_argument("--limit", type=float, default=1.02, help="largest ratio (default: %(default)s)")
    parser.add_argument("--instructions", action="store_true", help="count instructions by callgrind")
    options = parser.parse_args()
    words = [word.strip() for word in options.cases.split(",") if word.strip()]
    cases = [case for case in CASES if all(word in case for word in words)]
    measure, unit = (instructions, "instructions") if options.instructions else (microseconds, "µs")
    best: dict[str, dict[str, float]] = {options.old: {}, options.new: {}}
    for turn in range(1 if options.instructions else options.rounds):
        for python in (options.old, options.new)[:: 1 - 2 * (turn % 2)]:
            for case, value in measure(python, cases).items():
                best[python][case] = min(value, best[python].get(case, value))
    print(f"| case | old, {unit} | new, {unit} | new / old |\n| --- | ---: | ---: | ---: |")
    for case in cases:
        old, new = best[options.old][case], best[options.new][case]
        print(f"| {case} | {old:.3f} | {new:.3f} | {new / old:.3f} |")
    return int(any(best[options.new][case] > options.limit * best[options.old][case] for case in cases))


if __name__ == "__main__":
    sys.exit(main())
