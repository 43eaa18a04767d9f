"""Weights of the good files: small, random and distinct, so that structure is most of a file."""

from __future__ import annotations

import numpy as np

from lstm import LSTM


def net(input_size: int = 3, hidden_size: int = 4, dtype: str = "float32", **options: object) -> LSTM:
    return LSTM(input_size, hidden_size, dtype=dtype, init="pytorch", rng=7, **options)  # type: ignore[arg-type]


def uniform(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)
