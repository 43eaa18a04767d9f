"""Random damage: to bytes, blindly, and to JSON values; and the mutation of a good file that a seed names."""

from __future__ import annotations

import copy
import json
import random
from functools import cache
from typing import Any

from . import Good, module_of

# What sizes, offsets, counts and codes are overwritten by.
INTEGERS = (
    *(0, 1, 2, 3, 4, 7, 8, 16, 64, 127, 128, 255, 256, 1000, 0x7FFF, 0xFFFF, 1 << 20, 0x7FFFFFFF, 0x80000000),
    *(
        0xFFFFFFFF,
        1 << 32,
        1 << 40,
        1 << 53,
        1 << 62,
        (1 << 63) - 1,
        1 << 63,
        (1 << 64) - 1,
        -1,
        -2,
        -(1 << 63),
    ),
)
VALUES: tuple[Any, ...] = (
    *INTEGERS,
    *(None, True, False, 0.5, -0.0, 1e308, float("nan"), float("inf"), 1 << 64, 10**30, 10**400),
    *(
        "",
        "0",
        "x",
        "\0",
        "\ud800",
        "é" * 300,
        "a/b",
        "../..",
        "NaN",
        "float32",
        "F16",
        "tanh",
        "Tanh",
        "LSTM",
    ),
    *([], {}, [[]], [0], [1, 1], {"": 0}, [None] * 70, ["a"]),
)


@cache
def good_files(format_name: str) -> tuple[Good, ...]:
    return tuple(module_of(format_name).good_files())


def mutated(format_name: str, seed: int) -> Good:
    """The mutation of a good file that a seed stands for: an edit in the format's terms, or blind damage."""
    rng = random.Random(seed)
    good = rng.choice(good_files(format_name))
    edit = module_of(format_name).edited
    content = good.content
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        if rng.random() < 0.6:
            content = edit(rng, good._replace(content=content))
        else:
            others = [other.content for other in good_files(format_name)]
            content = damaged(rng, content, rng.choice(others))
    return good._replace(content=content)


def damaged(rng: random.Random, content: bytes, other: bytes) -> bytes:
    """One piece of blind damage, `other` being a file to splice with."""
    if not content:
        return other
    first = rng.randrange(len(content))
    last = min(len(content), first + int(2 ** rng.uniform(0, 12)))
    kind = rng.randrange(8)
    if kind == 0:  # bits flipped
        changed = bytearray(content)
        for _ in range(rng.randint(1, 8)):
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
        return bytes(changed)
    if kind in (1, 2):  # an integer overwritten
        value = integer(rng, rng.choice((1, 2, 4, 8)))
        return content[:first] + value + content[first + len(value) :]
    if kind == 3:
        return content[:first] + rng.randbytes(min(8, last - first)) + content[last:]
    if kind == 4:  # cut short
        return content[:first]
    if kind == 5:  # a piece lost
        return content[:first] + content[last:]
    if kind == 6:  # a piece repeated
        return content[:last] + content[first:]
    return content[:first] + other[rng.choice((first, rng.randrange(len(other)))) :]


def integer(rng: random.Random, width: int) -> bytes:
    """An extreme integer of so many bytes, of either order."""
    value = rng.choice(INTEGERS) % (1 << 8 * width)
    return value.to_bytes(width, rng.choice(("little", "little", "big")))  # type: ignore[arg-type]


def mutated_json(rng: random.Random, value: Any) -> Any:
    """A copy of a JSON value in which one place is changed, lost, repeated or swapped for another."""
    value = copy.deepcopy(value)
    places = list(_places(value))
    if not places:
        return rng.choice(VALUES)
    container, key = rng.choice(places)
    old = container[key]
    kind = rng.randrange(6)
    if kind == 0:
        del container[key]
    elif kind == 1 and isinstance(container, dict):
        container[rng.choice([k for _, k in places if isinstance(k, str)] + ["", "x", "\ud800"])] = old
    elif kind == 2:
        other, place = rng.choice(places)
        container[key] = copy.deepcopy(other[place])
    elif kind == 3:
        container[key] = [old] * rng.choice((1, 2, 3))
    elif kind == 4 and isinstance(old, int | float) and not isinstance(old, bool):
        change = rng.choice((-1, 1, 4, -4, 0.5))
        container[key] = old + (change if abs(old) < 1e300 else 1)  # of an integer that no float can hold
    else:
        container[key] = copy.deepcopy(rng.choice(VALUES))
    return value


def _places(value: Any) -> Any:
    """(container, key) of every value within a JSON value."""
    items: Any = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    for key, inner in list(items):
        yield value, key
        yield from _places(inner)


def mutated_text(rng: random.Random, text: bytes) -> bytes:
    """A JSON text with a change to its value, or to its characters where it is none."""
    try:
        value = json.loads(text)
        if rng.random() < 0.9:
            return json.dumps(mutated_json(rng, value)).encode()
    except (ValueError, RecursionError):
        pass
    place = rng.randrange(len(text) + 1)
    piece = rng.choice(
        (b"NaN", b"{", b"[", b'"', b"[" * 3000, b"\xff", b"\0", b",", b":", b"-", b"1e999", b"9" * 5000)
    )
    return text[:place] + piece + text[place + rng.randrange(3) :]
