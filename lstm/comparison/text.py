"""Times, sizes, tables and names from outside, as text for people."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def format_time(seconds: float) -> str:
    """Three digits and a unit."""
    for unit, factor in (("µs", 1e6), ("ms", 1e3)):
        if seconds * factor < 999.5:
            return f"{seconds * factor:#.3g} {unit}".replace(". ", " ")
    return f"{seconds:.2f} s"


def format_table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of right-aligned columns; the last one is left-aligned."""
    lines = [titles, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)][:-1]
    return [
        "  ".join(
            [*(cell.rjust(width) for cell, width in zip(line, widths, strict=False)), line[-1]]
        ).rstrip()
        for line in lines
    ]


def printable(name: str) -> str:
    """A name from outside without control characters, which could write over the report."""
    return name if name.isprintable() else ascii(name)


def format_bytes(count: int) -> str:
    """Three digits and a unit, powers of 1000."""
    if count < 1000:
        return f"{count} byte{'s' * (count != 1)}"
    for unit, factor in (("kB", 1e3), ("MB", 1e6)):
        if count / factor < 999.5:
            return f"{count / factor:#.3g} {unit}".replace(". ", " ")
    return f"{count / 1e9:.2f} GB"
