"""Pictures of the gates, with matplotlib (extra ``plot``)."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator

from ... import plot
from ...core.trace import Trace
from ...model import LSTM
from .content import Picture, Sample
from .style import DARK, LIGHT

DPI = 150
MOST_PICTURES = 4
"""Layers and directions that are drawn: from the first one on."""


def number_of(net: LSTM) -> int:
    """How many pictures there are of a net."""
    return min(MOST_PICTURES, net.core.architecture.cells)


def pictures(net: LSTM, sample: Sample) -> Iterator[Picture]:
    """The gates of the first row of a sample, one picture for each layer and direction."""
    X = sample.X[0]
    trace = net.trace(X)
    for cell in range(number_of(net)):
        name = net.core.architecture.suffix(cell).lstrip("_")
        light = _png(trace, X, cell, "default", LIGHT["card"])
        yield Picture(name, light, _png(trace, X, cell, "dark_background", DARK["card"]))


def _png(trace: Trace, X: object, cell: int, style: str, background: str) -> bytes:
    """X (T, I) and its gates as a file."""
    import matplotlib.pyplot as plt

    file = io.BytesIO()
    with plt.style.context(["default", style]), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        figure = plot.gates(trace, X, layer=cell)[0].figure  # type: ignore[arg-type]
        try:
            figure.savefig(file, format="png", dpi=DPI, facecolor=background)
        finally:
            plt.close(figure)
    return _with_palette(file)


def _with_palette(file: io.BytesIO) -> bytes:
    """A picture in 256 colours, which takes a third of the space."""
    from PIL import Image  # which matplotlib needs

    smaller = io.BytesIO()
    with Image.open(file) as image:
        # Not median cut, which would take the rare colours away from both ends of a scale.
        small = image.convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
        small.save(smaller, "PNG", optimize=True)
    return smaller.getvalue()
