"""Malformed .npz files: zip archives of .npy arrays and of a configuration."""

from __future__ import annotations

import io
import json
import random
import re
import zipfile
from collections.abc import Iterator
from typing import Any

import numpy as np

from lstm.formats import lstm_entry

from . import Case, Good, arrays, small_arrays
from .mutation import INTEGERS, damaged, mutated_json

FILE = "broken.npz"
NUMBER = re.compile(rb"[0-9]+")
PIECES = (
    b"'",
    b"(",
    b")",
    b",",
    b"nan",
    b"-1",
    b"'<f4'",
    b"'>f8'",
    b"'|O'",
    b"'<U3'",
    b"True",
    b"'<f2'",
    b"'|u1'",
)


def npy(array: Any) -> bytes:
    memory = io.BytesIO()
    np.lib.format.write_array(memory, np.asarray(array), allow_pickle=True)
    return memory.getvalue()


def zipped(entries: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w") as archive:
        for name, data in entries.items():
            archive.writestr(zipfile.ZipInfo(name), data, method)
    return memory.getvalue()


def entries_of(net: Any) -> dict[str, bytes]:
    text = lstm_entry.text(net.core.parts())
    return {"lstm.npy": npy(text), **{f"{name}.npy": npy(a) for name, a in net.state_dict().items()}}


def of_small(small: small_arrays.Small) -> bytes:
    arrays_of_file = {f"{name}.npy": npy(array) for name, array in small.arrays.items()}
    return zipped({"lstm.npy": npy(small.entry), **arrays_of_file})


def good_files() -> Iterator[Good]:
    yield Good(FILE, zipped(entries_of(arrays.net())))
    deep = arrays.net(2, 3, "float64", num_layers=2, bidirectional=True, clip=2.0)
    yield Good(FILE, zipped(entries_of(deep), zipfile.ZIP_DEFLATED))
    projected = entries_of(arrays.net(2, 4, proj_size=2, peephole=True, reverse=True))
    yield Good(FILE, zipped(projected, zipfile.ZIP_DEFLATED))
    bare = {f"{name}.npy": npy(array.astype(np.float16)) for name, array in arrays.net().state_dict().items()}
    yield Good(FILE, zipped(bare))
    yield Good(FILE, zipped({"lstm.npy": npy(lstm_entry.text(arrays.net().core.parts()))} | bare))
    for small in small_arrays.good():
        yield Good(FILE, of_small(small))


def cases() -> Iterator[Case]:
    """A few of each kind; test_damaged_npz.py has the rest, entry by entry."""
    entries = entries_of(arrays.net())
    good = zipped(entries)
    points = {match.start() for match in re.finditer(rb"PK\x03\x04|PK\x01\x02|PK\x05\x06|\x93NUMPY", good)}
    for point in sorted(points):
        yield Case(f"cut at {point}", FILE, good[:point])
    for name, data in entries.items():
        key = name.removesuffix(".npy")
        words = (key,)
        wrong = {
            "cut in its header": data[:40],
            "cut in its data": data[:-1],
            "longer than it says": data + b"\0",
            "of no bytes": b"",
            "of objects": npy(np.array([{}])),
            "of complex numbers": npy(np.ones((16, 3), complex)),
            "of rank 5": npy(np.ones((1, 1, 1, 1, 1))),
            "of shape -1": data.replace(b"(16", b"(-1") if b"(16" in data else data.replace(b"()", b"(-1,)"),
            "of NaN for a shape": re.sub(rb"\([^()]*\)", b"nan", data, count=1),
            "of terabytes": re.sub(rb"\([^()]*\)", b"(1099511627776,)", data, count=1),
        }
        for what, content in wrong.items():
            yield Case(f"{key} {what}", FILE, zipped({**entries, name: content}), words)
        rest = {other: content for other, content in entries.items() if other != name}
        if key != "lstm":
            yield Case(f"no {key}", FILE, zipped(rest), words)
        yield Case(f"{key} by bzip2", FILE, zipped(entries, zipfile.ZIP_BZIP2), ("compressed",))
    for small in small_arrays.malformed():
        yield Case(small.name, FILE, of_small(small), small.words)


def edited(rng: random.Random, good: Good) -> bytes:
    """A change to entries, their headers or their data, in an archive whose checksums are right."""
    try:
        with zipfile.ZipFile(io.BytesIO(good.content)) as archive:
            entries = {name: archive.read(name) for name in archive.namelist()}
    except Exception:  # the file was damaged before
        return damaged(rng, good.content, good.content)
    if not entries:
        return good.content
    name = rng.choice(list(entries))
    kind = rng.randrange(8)
    if kind == 0:
        del entries[name]
    elif kind == 1:
        entries[rng.choice((*entries, "weight_hr_l0.npy", "weight_ih_l1.npy", "x.npy", "x"))] = entries[name]
    elif kind == 2:
        entries[name] = damaged(rng, entries[name], good.content)
    elif kind == 3 and "lstm.npy" in entries:
        entries["lstm.npy"] = _edited_configuration(rng, entries["lstm.npy"])
    else:
        entries[name] = _edited_header(rng, entries[name])
    return zipped(entries, rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)))


def _edited_header(rng: random.Random, data: bytes) -> bytes:
    """A number of an .npy array's header changed, or a piece put in, its length kept right."""
    text, rest = data[10:128], data[128:]
    numbers = list(NUMBER.finditer(text))
    if numbers and rng.random() < 0.6:
        first, last = rng.choice(numbers).span()
        new = str(rng.choice((*INTEGERS, 5, 12, 15, 16, 17, 10**30))).encode()
    else:
        first = rng.randrange(len(text) + 1)
        last = first + rng.randrange(4)
        new = rng.choice(PIECES)
    text = text[:first] + new + text[last:]
    return data[:8] + len(text).to_bytes(2, "little") + text + rest


def _edited_configuration(rng: random.Random, data: bytes) -> bytes:
    try:
        text = str(np.load(io.BytesIO(data)))
        return npy(json.dumps(mutated_json(rng, json.loads(text))))
    except Exception:  # the entry was damaged before
        return damaged(rng, data, data)
