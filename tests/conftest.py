"""Options of the test run."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--exhaustive",
        action="store_true",
        help="run sigmoid and tanh over all 2^32 float32 values on every ISA, and ten times as many random "
        "mixtures of variants (several minutes)",
    )
    parser.addoption(
        "--fuzz",
        nargs="?",
        type=int,
        const=1_000_000,
        default=2_000 if "LSTM_SANITIZE" in os.environ else 10_000,
        metavar="COUNT",
        help="read so many random mutations of good files, 1,000,000 where no count is given (hours), 10,000 "
        "without this option, 2,000 under the sanitizers; write --fuzz=COUNT, or --fuzz at the end",
    )
    parser.addoption(
        "--engines",
        action="store_true",
        help="run the recipes for Spark and Ray on this machine, if they are installed (a minute each)",
    )
    parser.addoption("--write-passed", type=Path, metavar="FILE", help="write the names of tests that pass")
    parser.addoption(
        "--skip-passed",
        type=Path,
        metavar="FILE",
        help="leave out what passed in a run with --write-passed, for another one with more libraries",
    )


class Passed:
    """Writes the names of the tests that passed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.names: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Skipped ones have not passed."""
        if report.when == "call" and report.passed:
            self.names.append(report.nodeid)

    def pytest_sessionfinish(self) -> None:
        """After the last test."""
        self.path.write_text(json.dumps(self.names))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what an earlier run has passed."""
    path = config.getoption("--skip-passed")
    if path is None:
        return
    passed = set(json.loads(path.read_text()))
    config.hook.pytest_deselected(items=[item for item in items if item.nodeid in passed])
    items[:] = [item for item in items if item.nodeid not in passed]


def pytest_configure(config: pytest.Config) -> None:
    """Hear the signals that tests send; nohup, and a shell's background, have them ignored."""
    if (path := config.getoption("--write-passed")) is not None:
        config.pluginmanager.register(Passed(path))
    for name in ("SIGINT", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is not None and signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if name == "SIGINT" else signal.SIG_DFL)


@pytest.fixture(autouse=True)
def no_figures_stay_open() -> Iterator[None]:
    """Close those of matplotlib, which warns of more than 20."""
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")


@pytest.fixture
def exhaustive(request: pytest.FixtureRequest) -> bool:
    """Whether --exhaustive was given; skips the test where it was not."""
    if not request.config.getoption("--exhaustive"):
        pytest.skip("needs --exhaustive")
    return True


@pytest.fixture
def mixtures(request: pytest.FixtureRequest) -> int:
    """How many random mixtures a test of them draws."""
    return 500 if request.config.getoption("--exhaustive") else 50


@pytest.fixture
def fuzz(request: pytest.FixtureRequest) -> int:
    """How many random mutations of files are read, of all formats together."""
    return int(request.config.getoption("--fuzz"))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time no path of a comparison: say that each took some milliseconds."""
    from lstm.comparison import comparison

    monkeypatch.setattr(
        comparison, "interleaved_times", lambda runs, **_: [[1e-3 * (k + 1)] for k in range(len(runs))]
    )
