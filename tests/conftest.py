"""Options of the test run."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--exhaustive",
        action="store_true",
        help="run sigmoid and tanh over all 2^32 float32 values on every ISA, and ten times as many random "
        "mixtures of variants (several minutes)",
    )


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
