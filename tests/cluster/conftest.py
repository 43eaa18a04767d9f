"""A cluster of two worker processes on this machine, for the tests of a file."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest
from support import ROOT


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    distributed = pytest.importorskip("distributed")
    sys.path.append(str(ROOT))  # the workers', too: what tests send them is found in these modules
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0"
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client
