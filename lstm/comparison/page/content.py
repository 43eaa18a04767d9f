"""What a page is made of.

Shapes: B batch, T time, I input.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ...model import LSTM
from ..cases import Case, make_case, model_cases
from ..comparison import Comparison
from ..text import printable

MOST_ROWS, MOST_STEPS = 16, 500
"""Of a sample, what is compared at most; the steps are drawn of its first row."""

RANDOM_STEPS = 100
"""Of the sample where there is none."""


FORMAT_NAMES = {
    "npz": "NumPy’s .npz",
    "safetensors": "safetensors",
    "onnx": "ONNX",
    "keras": "Keras",
    "tflite": "TensorFlow Lite",
    "rtneural": "RTNeural’s JSON",
}
"""By the names of their modules."""


class FileFacts(NamedTuple):
    """What is in a file."""

    name: str
    format: str
    nbytes: int
    others: Sequence[tuple[str, bool]]  # each LSTM that it holds: what picks it, and whether it is this one
    notes: Sequence[str]  # on how the net differs from what the file's own framework computes
    tensors: Sequence[tuple[str, tuple[int, ...]]]  # names and shapes
    unlisted: str = ""  # why the tensors could not be listed


class Sample(NamedTuple):
    """The input whose gates are drawn."""

    X: np.ndarray  # (B, T, I), the part that is looked at
    source: str  # a sentence

    @property
    def steps(self) -> int:
        """T."""
        return int(self.X.shape[1])


class Picture(NamedTuple):
    """The gates of one layer and direction, as PNG for light and for dark pages."""

    name: str
    light: bytes
    dark: bytes


class Content(NamedTuple):
    """All that a page says."""

    file: FileFacts
    net: LSTM
    sample: Sample
    pictures: Sequence[Picture]
    comparisons: Sequence[Comparison]  # the last one is that of the sample
    threads: str  # of both paths while they were compared
    made: str  # when

    @property
    def passed(self) -> bool:
        """Whether the native path and NumPy agree."""
        return all(c.passed for c in self.comparisons)

    @property
    def title(self) -> str:
        """The file's name without its folder."""
        return os.path.basename(self.file.name) or self.file.name


def random_sample(net: LSTM) -> Sample:
    """The sample where none is given, each time the same."""
    X = np.random.default_rng(0).standard_normal((1, RANDOM_STEPS, net.input_size)).astype(net.dtype)
    source = (
        f"No input was given: this is a random one, {RANDOM_STEPS} steps of standard normal numbers (seed 0)."
    )
    return Sample(X, source)


def sample_of(name: str, X: np.ndarray, shape: tuple[int, ...]) -> Sample:
    """X (B, T, I), the part of an array of `shape` in the file `name` that is looked at."""
    batch, steps = (1, shape[0]) if len(shape) == 2 else shape[:2]
    source = f"{printable(os.path.basename(name))}: {steps:,} steps of {shape[-1]:,} features"
    if batch > 1:
        source += f", {batch:,} rows, of which the first one is drawn"
    if steps > X.shape[1]:
        source += f"; only the first {X.shape[1]:,} steps are looked at"
    return Sample(X, f"{source}.")


def cases_of(net: LSTM, sample: Sample) -> list[Case]:
    """Random inputs as `lstm compare` has them, and the sample, from states of zeros."""
    return [*model_cases(net), make_case(net, sample.X)]
