"""Small data that the tests of the estimators share."""

from __future__ import annotations

from typing import Any

import numpy as np

FAST: dict[str, Any] = {"hidden_size": 8, "learning_rate_init": 0.02, "tol": 0.003, "random_state": 0}
SHORT: dict[str, Any] = {"hidden_size": 4, "max_iter": 3, "random_state": 0}  # too short to learn


def ragged(count: int = 40, features: int = 2, seed: int = 0) -> list[np.ndarray]:
    """Rows (T_i, I), features of different means and scales."""
    rng = np.random.default_rng(seed)
    scale, mean = 1 + 3 * np.arange(features), 5 - 4 * np.arange(features)
    return [rng.standard_normal((rng.integers(4, 12), features)) * scale + mean for _ in range(count)]


def padded(rows: list[np.ndarray], fill: float) -> tuple[np.ndarray, np.ndarray]:
    """X (n, T, I), with `fill` past the rows' lengths, and the lengths."""
    lengths = np.array([len(row) for row in rows])
    X = np.full((len(rows), lengths.max(), rows[0].shape[1]), fill)
    for values, row in zip(X, rows, strict=True):
        values[: len(row)] = row
    return X, lengths


def means(rows: list[np.ndarray]) -> np.ndarray:
    """(n,): what is to be predicted of each row."""
    return np.array([100 + 7 * row[:, 0].mean() for row in rows])


def running(rows: list[np.ndarray]) -> list[np.ndarray]:
    """Arrays (T_i,): what is to be predicted of each step."""
    return [np.cumsum(row[:, 0] - 5) for row in rows]


def labels(values: np.ndarray) -> np.ndarray:
    """(n,), of what `means` gives: one of three classes."""
    return np.array(["low", "middle", "high"])[np.digitize(values, [134, 136])]
