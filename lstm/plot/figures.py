"""Where pictures are drawn."""

from __future__ import annotations

from typing import Any

import numpy as np


def pyplot() -> Any:
    """matplotlib.pyplot."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError('lstm.plot needs matplotlib: pip install "lstm-native[plot]"') from error
    return plt


def flat_axes(axes: Any, count: int, what: str) -> Any:
    """`axes` as an array (count,); ValueError if there are more or fewer than the pictures to draw."""
    flat = np.asarray(axes, dtype=object).ravel()
    if len(flat) != count:
        raise ValueError(f"axes has {len(flat)} Axes, but there are {count} {what} to draw")
    return flat
