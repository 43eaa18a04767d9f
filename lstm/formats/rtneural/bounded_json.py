"""JSON from strangers: lists of numbers stay text until they are asked for, and the rest is small.

json.loads makes eight to twenty times the file of it: 32 bytes of each number, 64 of each list.
"""

from __future__ import annotations

import json
import re
from array import array
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from ..errors import FormatError

LONGEST_REST = 1 << 18  # bytes without the numbers; parsed they take thirty times as much at worst
LONGEST_ROW = 1 << 20  # bytes of one list of numbers
DEEPEST = 4  # axes of an array
BYTE_ORDER_MARK = b"\xef\xbb\xbf"

SPACE = rb"[ \t\n\r]*+"
NUMBER = rb"-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE][-+]?[0-9]++)?"
# What a text of JSON is cut into: strings, lists of nothing but numbers, space, and numbers that are none.
PIECE = re.compile(
    rb'(?P<string>"(?:[^"\\]++|\\.)*+"?)|(?P<numbers>\[[-+0-9.eE, \t\n\r]*+\])|(?P<space>[ \t\n\r]{2,}+)'
    rb"|(?P<none>NaN|Infinity)",
    re.DOTALL,
)
NUMBERS = re.compile(
    rb"\[%(space)b(?:%(number)b%(space)b(?:,%(space)b%(number)b%(space)b)*+)?\]"
    % {b"space": SPACE, b"number": NUMBER}
)


class Source(NamedTuple):
    """A text of JSON, and where each list of numbers in it begins and ends."""

    where: str
    content: bytes
    first: array[int]
    last: array[int]


class Row:
    """A list of numbers at its place in the text."""

    __slots__ = ("_number", "_source")

    def __init__(self, source: Source, number: int) -> None:
        self._source, self._number = source, number

    @property
    def is_empty(self) -> bool:
        """Whether it holds none."""
        return not self._text()[1:-1].strip()

    def _text(self) -> bytes:
        """With its brackets, and no longer than that is read."""
        first, last = self._source.first[self._number], self._source.last[self._number]
        if last - first > LONGEST_ROW:
            raise FormatError(f"{self._source.where} has a list of numbers of over {LONGEST_ROW} bytes")
        return self._source.content[first:last]

    def values(self) -> np.ndarray:
        """(n,) float64; FormatError for what is no finite number."""
        where, place = self._source.where, self._source.first[self._number]
        text = self._text()
        if NUMBERS.fullmatch(text) is None:
            raise FormatError(f"{where} is no JSON: the list at byte {place} is not of numbers")
        if self.is_empty:
            return np.zeros(0)
        values = np.fromstring(text[1:-1].decode("ascii"), np.float64, sep=",")
        if len(values) != text.count(b",") + 1 or not np.isfinite(values).all():
            raise FormatError(f"{where} has a number in the list at byte {place} that is not finite")
        return values


def parse(where: str, content: bytes) -> Any:
    """The value of a JSON text, in which every list of nothing but numbers is a `Row`."""
    source = Source(where, content, array("q"), array("q"))
    rest = _rest(source)
    rows = (Row(source, number) for number in range(len(source.first)))
    try:
        # What calls for a constant goes from the text's start to its end.
        return json.loads(
            rest.decode("utf-8"), parse_constant=lambda _: next(rows), object_pairs_hook=_object
        )
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{where} is no JSON: {error}") from error


def _rest(source: Source) -> bytearray:
    """The text with NaN, which JSON has not, for each list of numbers; fills in where these are."""
    where, content = source.where, source.content
    rest = bytearray()
    last = len(BYTE_ORDER_MARK) if content.startswith(BYTE_ORDER_MARK) else 0
    for match in PIECE.finditer(content, last):
        first, end = match.span()
        if match.lastgroup == "none":
            raise FormatError(f"{where} is no JSON: it has {match[0].decode()} at byte {first}")
        if match.lastgroup == "string":
            first = end  # is left in place
        _add(source, rest, last, first)
        last = end
        if match.lastgroup == "numbers":
            source.first.append(first)
            source.last.append(end)
            rest += b"NaN"
        elif match.lastgroup == "space":
            rest += b" "
    _add(source, rest, last, len(content))
    return rest


def _add(source: Source, rest: bytearray, first: int, last: int) -> None:
    """Add a piece of the text to the rest, if that stays small."""
    if len(rest) + last - first > LONGEST_REST:
        raise FormatError(f"{source.where} has over {LONGEST_REST} bytes besides its lists of numbers")
    rest += source.content[first:last]


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object, in which no name is there twice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("an object has a name twice")
    return found


def array_of(where: str, value: Any) -> np.ndarray:
    """The array that lists in lists are: float32 if all their numbers are, else float64."""
    rows, shape = _rows(where, value)
    found = np.zeros((len(rows), 0), np.float32)
    for k, row in enumerate(rows):
        values = row.values()
        if k == 0:
            found = np.zeros((len(rows), len(values)), np.float32)
        if len(values) != found.shape[1]:
            raise FormatError(
                f"{where} has lists of {found.shape[1]} and of {len(values)} numbers in one array"
            )
        with np.errstate(all="ignore"):
            is_single = found.dtype == np.float32 and (values.astype(np.float32) == values).all()
        if not is_single and found.dtype == np.float32:
            found = found.astype(np.float64)
        found[k] = values
    return found.reshape(*shape, -1) if rows else found.reshape(shape)


def _rows(where: str, value: Any) -> tuple[list[Row], tuple[int, ...]]:
    """The lists of numbers in lists in order, and the lengths of the lists around them."""
    level: list[Any] = [value]
    shape: list[int] = []
    while not all(isinstance(one, Row) for one in level):
        if not all(isinstance(one, list) for one in level) or len(shape) == DEEPEST - 1:
            raise FormatError(f"{where} is not of numbers, in lists of one depth and at most {DEEPEST} deep")
        lengths = {len(one) for one in level}
        if len(lengths) > 1:
            raise FormatError(f"{where} has lists of {min(lengths)} and of {max(lengths)} lists in one array")
        shape += lengths
        level = [inner for one in level for inner in one]
    return level, tuple(shape)


def items(value: Any) -> Iterator[Any]:
    """The elements of a list, the numbers of one that is a `Row`; ValueError if it is none."""
    if isinstance(value, Row):
        return iter(value.values().tolist())
    if isinstance(value, list):
        return iter(value)
    raise ValueError(f"is {value!r:.100}, but must be a list")
