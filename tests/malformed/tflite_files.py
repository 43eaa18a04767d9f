"""Malformed models of TensorFlow Lite: tables of a FlatBuffer, and what a graph of them may say.

Shapes: B batch, T time, I input, H hidden.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Iterator
from typing import Any

import tflite
from tflite_models import Writer, random_weights

from . import Case, Good
from .mutation import INTEGERS, damaged

FILE = "broken.tflite"
B, T, I, H = 2, 4, 3, 4  # noqa: E741
Build = Callable[[Writer], Any]


# Making models


def of(build: Build) -> bytes:
    w = Writer()
    found = build(w)
    return w.content(*([found] if isinstance(found, int) else found))


def plain(w: Writer, kind: str = "float32", **options: Any) -> int:
    return w.lstm("lstm", w.input("x", (B, T, I)), random_weights(1, I, H), kind, **options)


def full(w: Writer) -> int:
    weights = random_weights(2, I, H, P=2, peephole=True)
    x = w.swap(w.input("x", (B, T, I)))
    return w.lstm("lstm", x, weights, TimeMajor=True, CellClip=2.0, ProjClip=1.0)


def both(w: Writer) -> int:
    return w.both("lstm", w.input("x", (B, T, I)), [random_weights(k, I, H) for k in (3, 4)])


def pair(w: Writer) -> int:
    x = w.input("x", (B, T, I))
    forward = w.lstm("forward", x, random_weights(5, I, H))
    backward = w.reverse(w.lstm("backward", w.reverse(x, 1), random_weights(6, I, H)), 1)
    return w.operator("CONCATENATION", [forward, backward], "merged", (B, T, 2 * H), Axis=2)


def stacked(w: Writer) -> int:
    return w.lstm("upper", plain(w), random_weights(7, H, H, coupled=True))


def layers(w: Writer) -> int:
    return w.lstm("upper", plain(w), random_weights(8, H, H))


def good_files() -> Iterator[Good]:
    yield Good(FILE, of(plain))
    yield Good(FILE, of(full))
    yield Good(FILE, of(both))
    yield Good(FILE, of(pair))
    yield Good(FILE, of(layers))
    yield Good(FILE, of(stacked), {"node": "upper"})
    yield Good(FILE, of(lambda w: plain(w, "int8")))
    yield Good(FILE, of(lambda w: plain(w, "float16")))


# Places within a file


def places(content: bytes) -> dict[str, int]:
    """Where the model's tables and the fields that lead to them are, of the first of each kind."""
    model = tflite.Model.GetRootAs(content, 0)
    graph = model.Subgraphs(0)
    operator = next(
        graph.Operators(k) for k in range(graph.OperatorsLength()) if graph.Operators(k).InputsLength() > 20
    )
    found = {
        "model": model._tab,
        "graph": graph._tab,
        "operator": operator._tab,
        "options": operator.BuiltinOptions(),
        "tensor": graph.Tensors(operator.Inputs(2))._tab,
        "buffer": model.Buffers(graph.Tensors(operator.Inputs(2)).Buffer())._tab,
        "code": model.OperatorCodes(operator.OpcodeIndex())._tab,
    }
    return {name: table.Pos for name, table in found.items()}


def field(content: bytes, position: int, slot: int) -> int:
    """Where a field of the table at a position is."""
    fields = position - struct.unpack_from("<i", content, position)[0]
    (offset,) = struct.unpack_from("<H", content, fields + 4 + 2 * slot)
    assert offset
    return position + int(offset)


def changed(content: bytes, place: int, value: int, width: int = 4) -> bytes:
    """The file with an integer at a place overwritten."""
    return content[:place] + (value % (1 << 8 * width)).to_bytes(width, "little") + content[place + width :]


# Fields that lead elsewhere or count something, by table.
DISTANCES = {
    "model": (1, 2, 4),
    "graph": (0, 1, 2, 3),
    "operator": (1, 2, 4),
    "tensor": (0, 3),
    "buffer": (0,),
}
NUMBERS = {"operator": ((0, 4), (3, 1)), "tensor": ((1, 1), (2, 4)), "code": ((3, 4),)}


def cases() -> Iterator[Case]:
    yield from _cut_short()
    yield from _distances()
    yield from _vectors()
    yield from _numbers()
    yield from _operators()
    yield from _graphs()


def _cut_short() -> Iterator[Case]:
    """At every table and within the header, and what is no model."""
    good = of(plain)
    points = {0, 1, 4, 7, 8, 9, 12, len(good) // 4, len(good) // 2, len(good) - 1}
    points |= {place + k for place in places(good).values() for k in (0, 2, 4, 8)}
    for point in sorted(points):
        if point < len(good):
            yield Case(f"cut at {point}", FILE, good[:point])
    yield Case("another identifier", FILE, good[:4] + b"TFL2" + good[8:], ("TFL3",))
    for name, content in {"text": b"no file", "zeros": bytes(5000), "ones": b"\xff" * 5000}.items():
        yield Case(name, FILE, content, ("TFL3",))
    yield Case("nothing but the identifier", FILE, b"\x08\0\0\0TFL3")
    yield Case("a root beyond the end", FILE, changed(good, 0, 1 << 31))
    yield Case("a root at itself", FILE, changed(good, 0, 0))


def _distances() -> Iterator[Case]:
    """Every field that leads to a table, a vector or a text, and the lists of fields."""
    good = of(plain)
    for name, position in places(good).items():
        for back in (0, 1, -1, 1 << 20, -(1 << 20), 1 << 30, -(1 << 31)):
            yield Case(f"fields of the {name} {back} back", FILE, changed(good, position, back))
        fields = position - struct.unpack_from("<i", good, position)[0]
        for size in (0, 2, 0xFFFF):
            yield Case(f"{size} bytes of fields of the {name}", FILE, changed(good, fields, size, 2))
        if name != "buffer":  # of one field
            yield Case(f"the {name} of 4 bytes", FILE, changed(good, fields + 2, 4, 2))
        for slot in DISTANCES.get(name, ()):
            place = field(good, position, slot)
            for distance in (0, 1 << 20, 1 << 31, (1 << 32) - 1, len(good) - place):
                yield Case(
                    f"field {slot} of the {name} leads {distance} on", FILE, changed(good, place, distance)
                )


def _vectors() -> Iterator[Case]:
    """Lengths of vectors: of tables, numbers, texts and bytes."""
    good = of(plain)
    for name, slots in DISTANCES.items():
        for slot in slots:
            if (name, slot) == ("operator", 4):
                continue
            place = field(good, places(good)[name], slot)
            place += struct.unpack_from("<I", good, place)[0]
            for length in (1 << 16, 1 << 30, 1 << 31, (1 << 32) - 1):
                yield Case(
                    f"{length} elements in field {slot} of the {name}", FILE, changed(good, place, length)
                )
            if (name, slot) not in (("tensor", 3), ("model", 4), ("graph", 1), ("graph", 2), ("tensor", 0)):
                yield Case(f"no elements in field {slot} of the {name}", FILE, changed(good, place, 0))
    wide = bytearray(of(plain))
    position = places(bytes(wide))["graph"]
    place = field(bytes(wide), position, 3)
    start = place + struct.unpack_from("<I", wide, place)[0]
    # A vector of tables at the end, all of which are one operator.
    count = 300_000
    table = places(bytes(wide))["operator"]
    if len(wide) % 4:
        wide += bytes(4 - len(wide) % 4)
    end = len(wide)
    struct.pack_into("<I", wide, place, end - place)
    wide += struct.pack("<I", count)
    wide += b"".join(struct.pack("<I", (table - (end + 4 + 4 * k)) % (1 << 32)) for k in range(count))
    assert start
    yield Case("tables before the vector of them", FILE, bytes(wide))


def _numbers() -> Iterator[Case]:
    """Numbers of tensors, buffers, kinds and types that there are none of."""
    w = Writer()
    good = w.content(plain(w), force_defaults=True)
    for name, slots in NUMBERS.items():
        for slot, width in slots:
            place = field(good, places(good)[name], slot)
            for value in (126, 127, 255, 1 << 16, 1 << 31, (1 << 32) - 1):
                # A code below 127 or above 2^31 gives way to the older field of it.
                if value < 1 << 8 * width and (name != "code" or 127 <= value < 1 << 31):
                    yield Case(
                        f"field {slot} of the {name} is {value}", FILE, changed(good, place, value, width)
                    )
    place = field(good, places(good)["operator"], 1)
    place += struct.unpack_from("<I", good, place)[0] + 4
    for number in (-2, 1000, -(1 << 31), (1 << 31) - 1):
        for k in (0, 2, 6, 13, 18):
            yield Case(f"input {k} is tensor {number}", FILE, changed(good, place + 4 * k, number))


def _edited(edit: Callable[[Writer], None], build: Build = plain) -> bytes:
    w = Writer()
    found = build(w)
    edit(w)
    return w.content(found)


def _operators() -> Iterator[Case]:
    """Inputs of the fused operator: left out, of other shapes, types and values."""
    for place in (*range(1, 9), *range(12, 16), 18, 19):

        def without(w: Writer, place: int = place) -> None:
            w.operators[0][1][place] = -1

        yield Case(f"no input {place}", FILE, _edited(without), ("lstm",))
    for place in (*range(1, 9), *range(12, 16)):
        for shape in ((), (0,), (1,), (H,), (H, I, 1), (I, H), (1 << 30, 1 << 30), (-1, I), (1,) * 40):

            def shaped(w: Writer, place: int = place, shape: tuple[int, ...] = shape) -> None:
                w.tensors[w.operators[0][1][place]]["shape"] = list(shape)

            if not (place >= 12 and shape == (H,)):
                yield Case(f"input {place} of shape {str(shape)[:40]}", FILE, _edited(shaped))
        for dtype in ("float16", "float64", "int8", "int16", "int32", "uint8", "bool", "string"):

            def typed(w: Writer, place: int = place, dtype: str = dtype) -> None:
                w.tensors[w.operators[0][1][place]]["dtype"] = dtype

            yield Case(f"input {place} of {dtype}", FILE, _edited(typed))
    for scales, zeros in (
        ([], []),
        ([1.0, 2.0], [0, 0]),
        ([1.0], [0, 0]),
        ([1.0], [5]),
        ([1.0] * H, [0] * H),
    ):

        def scaled(w: Writer, scales: list[float] = scales, zeros: list[int] = zeros) -> None:
            w.tensors[w.operators[0][1][3]].update(scales=scales, zeros=zeros)

        yield Case(f"scales {scales}, zero points {zeros}", FILE, _edited(scaled, lambda w: plain(w, "int8")))
    yield Case("more inputs than there are", FILE, _edited(lambda w: w.operators[0][1].extend([0] * 9)))
    yield Case("no outputs", FILE, _edited(lambda w: w.operators[0][2].clear()))
    yield Case("no inputs", FILE, _edited(lambda w: w.operators[0][1].clear()))
    yield Case("no options", FILE, of(lambda w: plain(w, has_options=False)), ("Options",))
    for name, value in (("CellClip", -1.0), ("CellClip", float("nan")), ("FusedActivationFunction", 77)):
        yield Case(f"{name} {value}", FILE, of(lambda w, n=name, v=value: plain(w, **{n: v})), ("lstm",))


def _graphs() -> Iterator[Case]:
    """Operators that feed themselves or each other, and tensors that are computed twice."""

    def circle(w: Writer) -> None:
        w.operators[0][1][0] = w.operators[0][2][0]

    def of_each_other(w: Writer) -> None:
        w.operators[0][1][0] = w.operators[1][2][0]

    def twice(w: Writer) -> None:
        w.operators[1][2][0] = w.operators[0][2][0]

    yield Case("an operator of its own output", FILE, _edited(circle, layers))
    yield Case("two operators of each other's outputs", FILE, _edited(of_each_other, layers))
    yield Case("an output of two operators", FILE, _edited(twice, layers), ("computed twice",))
    yield Case("an output that is an input", FILE, _edited(lambda w: w.inputs.append(w.operators[0][2][0])))
    yield Case("no operators", FILE, _edited(lambda w: w.operators.clear()), ("no fused LSTM",))
    yield Case("two layers that are no net", FILE, of(stacked), ("node=", "'upper'"))
    yield Case("none of the name", FILE, of(layers), ("'other'", "'upper'"), {"node": "other"})

    def loop(w: Writer) -> int:
        y = w.input("x", (B, T, I))
        for _ in range(2000):
            y = w.reverse(y, 1)
        for k in range(100):
            w.lstm(f"lstm {k}", y, random_weights(1, I, H))
        return y

    def of_many_tensors(w: Writer) -> int:
        x = w.input("x", (B, T, I))
        return w.operator("TANH", [x] * 500_000, "y", (B, T, I))

    def too_many(w: Writer) -> int:
        y = plain(w)
        kind, inputs, _, options = w.operators[0]
        for _ in range(1000):
            w.operators.append((kind, inputs, [w.tensor("y", (B, T, H))], dict(options)))
        return y

    yield Case("an operator of half a million tensors", FILE, of(of_many_tensors), ("tensors together",))
    yield Case("a thousand and one LSTM operators", FILE, of(too_many), ("over 1000 LSTM operators",))
    yield Case("a hundred operators behind two thousand others", FILE, of(loop), ("100 LSTMs",))


# Random ones


def edited(rng: random.Random, good: Good) -> bytes:
    """An integer of a table, a length or a distance overwritten where one is, else blind damage."""
    content = good.content
    try:
        known = list(_all_places(content))
    except Exception:  # of a file that is damaged already
        known = []
    if not known or rng.random() < 0.1:
        return damaged(rng, content, content)
    place, width = rng.choice(known)
    old = int.from_bytes(content[place : place + width], "little")
    value = rng.choice(
        (
            rng.choice(INTEGERS),
            old + rng.choice((-4, -1, 1, 4)),
            rng.randrange(30),
            rng.randrange(len(content)),
        )
    )
    return changed(content, place, value, width)


def _all_places(content: bytes) -> Iterator[tuple[int, int]]:
    """Place and width of numbers and distances of the operators, their kinds and the tensors."""
    model = tflite.Model.GetRootAs(content, 0)
    graph = model.Subgraphs(0)
    tables = [model._tab, graph._tab]
    for k in range(min(8, graph.OperatorsLength())):
        operator = graph.Operators(k)
        tables += [operator._tab, operator.BuiltinOptions()]
        first = operator._tab.Vector(operator._tab.Offset(6))
        yield from ((first + 4 * n, 4) for n in range(-1, min(48, operator.InputsLength())))
    tables += [graph.Tensors(k)._tab for k in range(min(60, graph.TensorsLength()))]
    tables += [model.OperatorCodes(k)._tab for k in range(min(8, model.OperatorCodesLength()))]
    tables += [model.Buffers(k)._tab for k in range(min(60, model.BuffersLength()))]
    for table in tables:
        yield table.Pos, 4
        fields = table.Pos - struct.unpack_from("<i", content, table.Pos)[0]
        size, whole = struct.unpack_from("<HH", content, fields)
        yield from ((place, 2) for place in range(fields, fields + min(size, 40), 2))
        for place in range(table.Pos + 4, table.Pos + min(whole, 60), 4):
            yield from ((place, 1), (place, 4))
