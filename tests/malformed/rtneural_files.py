"""Malformed files of RTNeural: JSON texts, and what a chain of layers in them may say.

Shapes: I input, H hidden.
"""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from typing import Any

from rtneural_models import dense, lstm_layer, model, other_layer

from . import Case, Good, arrays
from .mutation import damaged, mutated_text

FILE = "broken.json"
I, H = 3, 4  # noqa: E741


def text(value: Any, indent: int | None = None) -> bytes:
    return json.dumps(value, indent=indent).encode()


def plain() -> dict[str, Any]:
    return model(lstm_layer(arrays.net(I, H)), dense(H))


def layers() -> dict[str, Any]:
    net = arrays.net(I, H, num_layers=2)
    return model(lstm_layer(net), other_layer("unknown"), lstm_layer(net, 1))


def state(prefix: str = "rec.") -> dict[str, Any]:
    return {prefix + name: array.tolist() for name, array in arrays.net(2, 3).state_dict().items()}


def good_files() -> Iterator[Good]:
    yield Good(FILE, text(plain()))
    yield Good(FILE, text(plain(), 4))
    yield Good(FILE, text(layers()))
    yield Good(
        FILE, text(model(lstm_layer(arrays.net(I, H), name="a"), other_layer("gru", (1,)))), {"layer": "a"}
    )
    yield Good(FILE, text({"model_data": {"unit_type": "LSTM"}, "state_dict": state()}))


def cases() -> Iterator[Case]:
    yield from _texts()
    yield from _models()
    yield from _layers()
    yield from _arrays()
    yield from _state_dicts()


def _texts() -> Iterator[Case]:
    """What is no JSON, or is too much of it."""
    good = text(plain())
    for point in sorted({0, 1, 10, *range(20, len(good), len(good) // 12), len(good) - 1}):
        yield Case(f"cut at {point}", FILE, good[:point])
    for name, content in {
        "two values": good + good,
        "a trailing comma": good[:-1] + b",}",
        "no JSON": b"no file",
        "zeros": bytes(3000),
        "not UTF-8": good.replace(b"tanh", b"\xff\xfe"),
        "UTF-16": good.decode().encode("utf-16"),
        "a name twice": good[:-1] + b', "layers": []}',
        "a string without an end": b'{"layers": "' + b"x" * 300_000,
        "backslashes": b'{"layers": "' + b"\\" * 300_001,
        "quotes": b'{"layers": "' + b'\\"' * 300_000,
        "a long string": b'{"layers": "' + b"x" * 300_000 + b'"}',
        "many empty lists": b'{"layers": [' + b"[]," * 300_000 + b"[]]}",
        "many numbers": b'{"layers": ' + b"[" + b"1," * 300_000 + b"1]}",
        "many objects": b'{"layers": [' + b"{}," * 90_000 + b"{}]}",
        "nested lists": b'{"layers": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        "nested lists of numbers": b'{"layers": ' + b"[" * 100_000 + b"1" + b"]" * 100_000 + b"}",
        "nested objects": b'{"a":' * 60_000 + b"1" + b"}" * 60_000,
        "space": b" " * 300_000,
        "a number of 5000 digits": good.replace(
            b'"in_shape": [null, null, 3]', b'"in_shape": ' + b"9" * 5000
        ),
    }.items():
        yield Case(name, FILE, content)
    for number in (
        "NaN",
        "Infinity",
        "-Infinity",
        "1e999",
        "-1e999",
        "1.",
        ".5",
        "01",
        "+1",
        "1e",
        "0x1",
        "1_0",
        "-",
    ):
        first = text(plain()).index(b'"weights": [[[') + len(b'"weights": [[[')
        end = good.index(b",", first)
        yield Case(f"a weight of {number}", FILE, good[:first] + number.encode() + good[end:])


VALUES: tuple[Any, ...] = (None, True, 1, -1, 0.5, "", "lstm", {}, {"a": 1}, [[]], [None], ["x"], [[1], 2])


def _models() -> Iterator[Case]:
    """What is no model."""
    for value in (*VALUES, [], [1]):
        yield Case(f"the model is {value!r}", FILE, text(value), ("RTNeural",))
        if not isinstance(value, list) or value:
            yield Case(f"'layers' is {value!r}", FILE, text({**plain(), "layers": value}))
        if value is not None:
            yield Case(f"'in_shape' is {value!r}", FILE, text({**plain(), "in_shape": value}))
    yield Case("no layers", FILE, text(model()), ("no LSTM",))
    yield Case("no LSTM", FILE, text(model(dense())), ("no LSTM", "dense"))
    yield Case("no layer of the name", FILE, text(plain()), ("'b'",), {"layer": "b"})
    yield Case("no layer of the number", FILE, text(plain()), ("number 3",), {"layer": 3})
    many = [lstm_layer(arrays.net(1, 1)), dense(1)] * 200
    yield Case("two hundred LSTMs", FILE, text(model(*many, inputs=1)), ("layer=", "190 more"))


def _with(**changes: Any) -> bytes:
    made = plain()
    made["layers"][0] |= changes
    return text(made)


def _layers() -> Iterator[Case]:
    """Fields of a layer."""
    for value in VALUES:
        if value != "lstm":
            yield Case(f"type {value!r}", FILE, _with(type=value))
        if value not in (None, ""):
            yield Case(f"activation {value!r}", FILE, _with(activation=value))
        if value is not None:
            yield Case(f"shape {value!r}", FILE, _with(shape=value))
        yield Case(f"weights {value!r}", FILE, _with(weights=value))
    for name in ("type", "weights"):
        made = plain()
        del made["layers"][0][name]
        yield Case(f"no {name}", FILE, text(made))
    yield Case("a shape of nothing", FILE, _with(shape=[]))


def _arrays() -> Iterator[Case]:
    """Each of an LSTM's arrays of wrong lengths, depths and values."""
    good = plain()["layers"][0]["weights"]
    for k, array in enumerate(good):
        wrong: list[Any] = [
            *VALUES,
            [],
            array[:-1],
            [*array, array[-1]],
            [array],
            [[[array]]],
            array[0],
            array * 2,
        ]
        if k < 2:
            wrong += [
                [row[:-1] for row in array],
                [row[:-4] for row in array],
                [*array[:-1], array[-1][:-1]],
                [*array[:-1], [array[-1]]],
                [*array[:-1], None],
                [*array[:-1], [*array[-1][:-1], None]],
                [*array[:-1], [*array[-1][:-1], "1"]],
                [[] for _ in array],
            ]
        for n, value in enumerate(wrong):
            weights = copy.deepcopy(good)
            weights[k] = value
            yield Case(f"array {k}, {n}: {str(value)[:30]}", FILE, _with(weights=weights))
    yield Case("one array", FILE, _with(weights=good[:1]))
    yield Case("four arrays", FILE, _with(weights=[*good, good[2]]))


def _state_dicts() -> Iterator[Case]:
    """Of PyTorch: names that are missing, and arrays that do not fit."""
    good = state()
    for name, array in good.items():
        rest = {other: value for other, value in good.items() if other != name}
        if not name.endswith("weight_hh_l0"):
            yield Case(f"no {name}", FILE, text(rest), (name.removeprefix("rec."),))
        wrong: list[Any] = [*VALUES, [], array[:-1], [array], array[0]]
        for n, value in enumerate(wrong):
            yield Case(f"{name}, {n}: {str(value)[:30]}", FILE, text({**good, name: value}))
    two = {**good, **state("b.")}
    yield Case("two LSTMs", FILE, text(two), ("layer=", "'rec'", "'b'"))
    yield Case("none of the prefix", FILE, text(two), ("'c'",), {"layer": "c"})


def edited(rng: random.Random, good: Good) -> bytes:
    """A change to a value of the JSON or, where it is none, to its characters; or blind damage."""
    if rng.random() < 0.1:
        return damaged(rng, good.content, good.content)
    return mutated_text(rng, good.content)
