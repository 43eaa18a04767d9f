"""Options of a net that a file may not tell, and the caller of `lstm.load` then says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..core import architecture
from ..core.weights import Parts

UNTOLD = ("activations", "reverse", "merge")


def check_options(options: Mapping[str, Any]) -> None:
    """TypeError or ValueError for a value that no net has."""
    for name, value in options.items():
        architecture.check(1, 1, bidirectional=name != "reverse", **{name: value})


def hold_to(net: Parts, options: Mapping[str, Any]) -> None:
    """ValueError if the caller says other than the file does; it goes on from the file's name."""
    asked = net.architecture.with_options(**options).arguments()
    for name in options:
        if asked[name] != (stored := net.architecture.arguments()[name]):
            raise ValueError(f"stores {name}={stored!r}, so {name}={asked[name]!r} does not apply")
