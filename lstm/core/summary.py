"""A net in words: its layers, the shapes of their weights, and their sizes."""

from __future__ import annotations

import math

from .net import Net
from .precision import kept_bytes
from .state_dict import cell_shapes


def summary(net: Net, name: str) -> str:
    """Lines of text on a net of the class `name`; a parameter is what is kept, of two biases one."""
    architecture = net.architecture
    table: list[list[str]] = []
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
        table = table or [["layer", *shapes, "parameters"]]
        table.append([suffix[1:], *map(str, shapes.values()), f"{count:,}"])
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) for row in table]
    inputs, outputs = architecture.input_size, architecture.output_size
    return "\n".join(
        [
            net.describe(name),
            f"(T, {inputs}) -> (T, {outputs}), or (B, T, {inputs}) -> (B, T, {outputs})",
            *(line.rstrip() for line in lines),
            f"{total:,} parameters, {size:,} bytes",
        ]
    )
