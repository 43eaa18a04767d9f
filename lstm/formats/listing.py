"""Every LSTM of a file, each with the option of `lstm.load` that picks it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from . import UNTOLD, format_of


class Pick(NamedTuple):
    """What picks one LSTM of a file."""

    option: str | None  # prefix, node, layer; None for the only one, and for all together
    value: str | int | None = None

    @property
    def options(self) -> dict[str, Any]:
        """As `lstm.load` takes it."""
        return {} if self.option is None else {self.option: self.value}


def picks(path: str | os.PathLike[str], **options: Any) -> list[Pick]:
    """What picks each LSTM of a file, at least one; FormatError if there is none or the file is damaged.

    If several have an order, the net of which they may be the layers comes first. `options` are others of
    `lstm.load`.
    """
    file_format = format_of(path)
    if file_format.picked_by is None:
        return [Pick(None)]
    # Options that do not apply raise when the net is loaded.
    applying = set(file_format.options) - {*UNTOLD, "initial_states"}
    names = file_format.names(path, **{name: options[name] for name in options if name in applying})
    values = _unique(names) if file_format.is_ordered else [own[0] for _, own in names]
    each = [Pick(file_format.picked_by, value) for value in values]
    return [Pick(None), *each] if len(each) != 1 and file_format.is_ordered else each or [Pick(None)]


def pick_value(path: str | os.PathLike[str], option: str, text: str) -> str | int:
    """What `lstm.load` takes for the words of a command: a name or, if no LSTM has it, a number."""
    file_format = format_of(path)
    is_number = text.removeprefix("-").isdecimal()
    if option != file_format.picked_by or not file_format.is_ordered or not is_number:
        return text
    is_name = any(text in own for _, own in file_format.names(path))
    return text if is_name else int(text)


def _unique(names: Sequence[tuple[int, tuple[str, ...]]]) -> list[str | int]:
    """For each the first of its names that no other has, or its number."""
    counts = Counter(name for _, own in names for name in set(own))
    return [next((name for name in own if name and counts[name] == 1), number) for number, own in names]
