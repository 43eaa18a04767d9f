"""A net in words: its layers, the shapes of their weights, and their sizes."""

from __future__ import annotations

import math
from typing import NamedTuple

from .html_tables import html_table
from .net import Net
from .precision import kept_bytes
from .state_dict import cell_shapes


class Summary(NamedTuple):
    """What is said of a net; a parameter is what is kept, of two biases one."""

    call: str  # that makes such a net
    shapes: str  # of its input and its output
    titles: list[str]
    rows: list[list[str]]  # one for each layer and direction
    parameters: int
    nbytes: int  # that they take

    @property
    def size(self) -> str:
        """How large the net is."""
        return f"{self.parameters:,} parameters, {self.nbytes:,} bytes"


def summarize(net: Net, name: str) -> Summary:
    """The summary of a net of the class `name`."""
    architecture = net.architecture
    titles: list[str] = []
    rows = []
    total = size = 0
    for cell in range(architecture.cells):
        suffix = architecture.suffix(cell)
        shapes = {
            kind.removesuffix(suffix).replace("bias_ih", "bias"): shape
            for kind, shape in cell_shapes(architecture, cell).items()
            if not kind.startswith("bias_hh")
        }
        count = sum(map(math.prod, shapes.values()))
        size += sum(kept_bytes(kind, shape, net.dtype, net.precision) for kind, shape in shapes.items())
        total += count
        titles = titles or ["layer", *shapes, "parameters"]
        rows.append([suffix[1:], *map(str, shapes.values()), f"{count:,}"])
    inputs, outputs = architecture.input_size, architecture.output_size
    arrow = f"(T, {inputs}) -> (T, {outputs}), or (B, T, {inputs}) -> (B, T, {outputs})"
    return Summary(net.describe(name), arrow, titles, rows, total, size)


def summary(net: Net, name: str) -> str:
    """Lines of text on a net of the class `name`."""
    found = summarize(net, name)
    table = [found.titles, *found.rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) for row in table]
    return "\n".join([found.call, found.shapes, *(line.rstrip() for line in lines), found.size])


def html_summary(net: Net, name: str) -> str:
    """The same as a table for notebooks."""
    found = summarize(net, name)
    return html_table([found.call, found.shapes], found.titles, found.rows, found.size)
