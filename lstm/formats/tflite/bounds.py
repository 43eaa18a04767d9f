"""Bounds of a FlatBuffer before the package tflite reads it, which believes every offset and length.

A table starts with the distance back to its list of field offsets; a field that is no number holds the
distance forward to a vector, a text or another table. Distances forward are at least 1, so that no chain of
them is a circle.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from ..errors import FormatError

MOST_TABLES = 100_000
# Writers may let equal texts share their bytes.
MOST_SHARED = 4
LENGTH = struct.Struct("<I")


class Field(NamedTuple):
    """A field of a table that is read: a number of so many bytes, a vector of such, or tables."""

    slot: int
    width: int = 0  # bytes of the number or of an element; 0 of tables
    is_vector: bool = False
    table: str = ""


def number(slot: int, width: int) -> Field:
    """A number in its place in the table."""
    return Field(slot, width)


def vector(slot: int, width: int) -> Field:
    """A vector of numbers, or a text."""
    return Field(slot, width, True)


def table(slot: int, name: str) -> Field:
    """Another table."""
    return Field(slot, 0, False, name)


def tables(slot: int, name: str) -> Field:
    """A vector of tables."""
    return Field(slot, 0, True, name)


# What is read of each table of TensorFlow Lite's schema.
SCHEMA: dict[str, tuple[Field, ...]] = {
    "Model": (tables(1, "OperatorCode"), tables(2, "SubGraph"), tables(4, "Buffer")),
    "OperatorCode": (number(0, 1), vector(1, 1), number(3, 4)),
    "SubGraph": (tables(0, "Tensor"), vector(1, 4), vector(2, 4), tables(3, "Operator")),
    "Tensor": (
        vector(0, 4),
        number(1, 1),
        number(2, 4),
        vector(3, 1),
        table(4, "QuantizationParameters"),
        number(5, 1),
        table(6, "SparsityParameters"),
    ),
    "QuantizationParameters": (vector(2, 4), vector(3, 8), number(5, 4), number(6, 4)),
    "SparsityParameters": (),
    "Operator": (number(0, 4), vector(1, 4), vector(2, 4), number(3, 1), table(4, "Options")),
    "Options": (),  # `numbers_fit` bounds those that are read
    "Buffer": (vector(0, 1), number(1, 8), number(2, 8)),
}


class _Table(NamedTuple):
    """Where a table and its list of field offsets are, and how long both are."""

    position: int
    size: int
    fields: int
    fields_size: int


def check(where: str, content: bytes) -> None:
    """FormatError if something of the model that is read lies outside its bytes."""
    waiting = [("Model", _target(where, content, 0))]
    count = elements = 0
    while waiting:
        name, position = waiting.pop()
        count += 1
        if count > MOST_TABLES:
            raise FormatError(f"{where} has over {MOST_TABLES} tables, and no more are read")
        found = _table(where, content, name, position)
        for field in SCHEMA[name]:
            at = _field(where, content, name, found, field.slot, field.width or 4)
            if at is None or not (field.is_vector or field.table):
                continue
            target = _target(where, content, at)
            if not field.is_vector:
                waiting.append((field.table, target))
                continue
            length = _length(where, content, name, target, field.width or 4)
            if name != "Buffer":  # whose bytes are bounded where they are read
                elements += length
            if field.table:
                count += length
                if count > MOST_TABLES:
                    raise FormatError(f"{where} has over {MOST_TABLES} tables, and no more are read")
                places = range(target + 4, target + 4 + 4 * length, 4)
                waiting += [(field.table, _target(where, content, place)) for place in places]
                count -= length
        if elements > MOST_SHARED * len(content):
            raise FormatError(f"{where} has vectors that share their bytes")


def numbers_fit(where: str, content: bytes, position: int, widths: tuple[int, ...]) -> None:
    """FormatError if a table of options has numbers, of these widths by slot, that lie outside it."""
    found = _table(where, content, "Options", position)
    for slot, width in enumerate(widths):
        _field(where, content, "Options", found, slot, width)


def _target(where: str, content: bytes, place: int) -> int:
    """What the distance at a place leads to."""
    if place + 4 > len(content):
        raise FormatError(f"{where} is cut short: it has {len(content)} bytes")
    (distance,) = LENGTH.unpack_from(content, place)
    if not 0 < distance <= len(content) - place - 4:
        raise FormatError(f"{where} is damaged: the distance {distance} at byte {place} leads out of it")
    return int(place + distance)


def _table(where: str, content: bytes, name: str, position: int) -> _Table:
    """A table whose list of fields lies within the bytes."""
    (back,) = struct.unpack_from("<i", content, position)
    fields = position - back
    if 0 <= fields <= len(content) - 4:
        fields_size, size = struct.unpack_from("<HH", content, fields)
        if 4 <= fields_size <= len(content) - fields and 4 <= size <= len(content) - position:
            return _Table(position, size, fields, fields_size)
    raise FormatError(f"{where} is damaged: its {name} at byte {position} lies outside it")


def _field(where: str, content: bytes, name: str, found: _Table, slot: int, width: int) -> int | None:
    """Where a field is, None if the table has none."""
    place = 4 + 2 * slot
    if place + 2 > found.fields_size:
        return None
    (offset,) = struct.unpack_from("<H", content, found.fields + place)
    if not offset:
        return None
    if not 4 <= offset <= found.size - width:
        raise FormatError(f"{where} is damaged: field {slot} of its {name} lies outside it")
    return int(found.position + offset)


def _length(where: str, content: bytes, name: str, position: int, width: int) -> int:
    """The length of a vector that lies within the bytes."""
    (length,) = LENGTH.unpack_from(content, position)
    if width * length > len(content) - position - 4:
        raise FormatError(f"{where} is damaged: a vector of its {name} claims {length} elements")
    return int(length)
