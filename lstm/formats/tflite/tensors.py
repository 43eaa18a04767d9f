"""All constants that a .tflite file stores, whether an LSTM takes them or not."""

from __future__ import annotations

import os
from collections import defaultdict

import numpy as np

from .model import DTYPES, Graph, opened


def tensors(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """The constants of a file by name, integers with a scale as what they stand for.

    Those of graphs after the first come after their number. Texts, sparse tensors and numbers that NumPy
    does not have are left out.
    """
    found: dict[str, np.ndarray] = {}
    counts: defaultdict[str, int] = defaultdict(lambda: 1)
    with opened(path) as model:
        for graph in model.graphs:
            prefix = f"{graph.number}/" if graph.number else ""
            for number in range(graph.tensors):
                if (values := _values(graph, number)) is not None:
                    name = free = prefix + graph.tensor(number).name
                    while free in found:
                        counts[name] += 1
                        free = f"{name}#{counts[name]}"
                    found[free] = values
    return found


def _values(graph: Graph, number: int) -> np.ndarray | None:
    """A copy of the values of a dense constant of numbers."""
    tensor = graph.tensor(number)
    if tensor.dtype not in DTYPES or tensor.is_sparse:
        return None
    values = graph.real_values(number)
    return None if values is None else np.array(values)
