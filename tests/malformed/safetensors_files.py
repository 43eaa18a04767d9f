"""Malformed .safetensors files: 8 bytes of the header's length, the header in JSON, the tensors' bytes."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np

from lstm.formats import lstm_entry

from . import Case, Good, arrays, small_arrays
from .mutation import damaged, mutated_json, mutated_text

Tensors = dict[str, tuple[str, Any, bytes]]  # dtype, shape, bytes
FILE = "broken.safetensors"
CODES = {"float64": "F64", "float32": "F32", "float16": "F16", "int8": "I8", "uint8": "U8", "int16": "I16"}
CODES["uint16"] = "BF16"  # what NumPy has for it


def written(tensors: Tensors, metadata: Any = None) -> bytes:
    """A file of these tensors one after the other, whatever they claim."""
    header: dict[str, Any] = {} if metadata is None else {"__metadata__": metadata}
    data = b""
    for name, (dtype, shape, values) in tensors.items():
        offsets = [len(data), len(data) + len(values)]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": offsets}
        data += values
    return headed(json.dumps(header).encode(), data)


def headed(header: bytes, data: bytes, length: int | None = None) -> bytes:
    return struct.pack("<Q", len(header) if length is None else length) + header + data


def parts(content: bytes) -> tuple[bytes, bytes]:
    """Header and data of a good file."""
    end = 8 + int.from_bytes(content[:8], "little")
    return content[8:end], content[end:]


def tensors_of(state: dict[str, np.ndarray], prefix: str = "") -> Tensors:
    return {
        prefix + name: (CODES[array.dtype.name], list(array.shape), array.tobytes())
        for name, array in state.items()
    }


def narrowed(state: dict[str, np.ndarray]) -> Tensors:
    """bfloat16: the upper halves of float32."""
    return {
        name: ("BF16", list(a.shape), (a.view(np.uint32) >> 16).astype("<u2").tobytes())
        for name, a in state.items()
    }


def described(net: Any) -> dict[str, str]:
    return {"lstm": lstm_entry.text(net.core.parts())}


def of_small(small: small_arrays.Small) -> bytes:
    return written(tensors_of(small.arrays), {"lstm": small.entry})


def good_files() -> Iterator[Good]:
    plain = arrays.net()
    yield Good(FILE, written(tensors_of(plain.state_dict()), described(plain)))
    large = arrays.net(2, 3, "float64", num_layers=2, bidirectional=True, peephole=True, clip=2.0)
    yield Good(FILE, written(tensors_of(large.state_dict()), described(large)))
    halves = {name: array.astype(np.float16) for name, array in plain.state_dict().items()}
    among = {"head.weight": ("I64", [2, 1], bytes(16)), **tensors_of(halves, "encoder.lstm.")}
    yield Good(FILE, written(among), {"prefix": "encoder.lstm"})
    projected = arrays.net(2, 4, proj_size=2, activations=["Elu", "Tanh", ("Affine", 0.5, 0.25)])
    yield Good(FILE, written(narrowed(projected.state_dict()), described(projected)))
    cell = {name.removesuffix("_l0"): array for name, array in plain.state_dict().items()}
    yield Good(FILE, written(tensors_of(cell)))
    for small in small_arrays.good():
        yield Good(FILE, of_small(small))


NET = arrays.net()
TENSORS = tensors_of(NET.state_dict())


def cases() -> Iterator[Case]:
    yield from _cut_short()
    yield from _headers()
    yield from _tensors()
    yield from _places()
    yield from _choices()
    yield from _configurations()
    for small in small_arrays.malformed():
        yield Case(small.name, FILE, of_small(small), small.words)


def _cut_short() -> Iterator[Case]:
    """At and beside every boundary: of the length, the header, each tensor."""
    good = written(TENSORS, described(NET))
    header, _ = parts(good)
    start = 8 + len(header)
    ends = [start + entry["data_offsets"][1] for entry in json.loads(header).values() if "dtype" in entry]
    points = {0, 1, 7, 8, 9, 8 + len(header) // 2, start - 1, start, start + 1}
    points |= {point for end in ends for point in (end - 1, end, end + 1)}
    for point in sorted(points):
        if point < len(good):
            yield Case(f"cut at {point}", FILE, good[:point])
    yield Case("a byte too many", FILE, good + b"\0")


def _headers() -> Iterator[Case]:
    header, data = parts(written(TENSORS))
    size = len(header)
    for length in (0, 1, size - 1, size + 1, size + len(data) + 1, 100_000_001, 2**31, 2**63, 2**64 - 1):
        yield Case(f"header of length {length}", FILE, headed(header, data, length))
    texts = (
        "",
        "{",
        "[]",
        "null",
        "NaN",
        "1",
        '"',
        '{"a": NaN}',
        '{"a": 1}',
        '{"a": {}}',
        "\xff",
        "\0",
        "{}",
    )
    for text in texts:
        yield Case(f"header {text!r}", FILE, headed(text.encode("latin-1"), data))
    yield Case("header of many brackets", FILE, headed(b"[" * 100_000, data))
    yield Case("header of many objects", FILE, headed(b'{"a":' * 100_000, data))
    yield Case("header of spaces", FILE, headed(b" " * 100_000, data))
    twice = header[:-1] + b"," + header[1:]
    yield Case("every entry twice, a byte too many", FILE, headed(twice, data + b"\0"))
    for metadata in ([], 1, {"a": 1}, {"a": None}, {"a": {"b": "c"}}):
        yield Case(f"metadata {metadata}", FILE, written(TENSORS, metadata))


def _tensors() -> Iterator[Case]:
    """Each tensor of a wrong shape, dtype or size, or missing."""
    for name, (dtype, shape, values) in TENSORS.items():
        wrong: list[Any] = [[], [0], [-1, 3], [2**62, 4], [2**64, 1], [2**32, 2**32], [1.5], ["4"], None, "x"]
        wrong += [[*shape, 1], [1] * 70 + shape, [float("nan")], [True, *shape]]
        if len(shape) == 2:
            wrong += [shape[::-1], [shape[0] * shape[1]], shape[:-1], [0, *shape[1:]]]
        for other in wrong:
            short = str(other)[:30]
            yield Case(f"{name} of shape {short}", FILE, written({**TENSORS, name: (dtype, other, values)}))
        for code in ("F64", "BOOL", "F8_E4M3", "F4", "Q4", "", "f32", None, 1, float("nan")):
            yield Case(f"{name} of dtype {code!r}", FILE, written({**TENSORS, name: (code, shape, values)}))
        for code in ("I32", "U32"):
            content = written({**TENSORS, name: (code, shape, values)})
            yield Case(f"{name} of {code}, right in size", FILE, content, (name, code))
        for what, content in (("short", values[:-4]), ("long", values + bytes(4)), ("empty", b"")):
            yield Case(f"{name} too {what}", FILE, written({**TENSORS, name: (dtype, shape, content)}))
        rest = {other: tensor for other, tensor in TENSORS.items() if other != name}
        yield Case(f"no {name}", FILE, written(rest), ("LSTM",) if name == "weight_hh_l0" else (name,))
        more = [shape[0] + 4, *shape[1:]]
        content = written({**TENSORS, name: (dtype, more, values + bytes(16 * int(np.prod(shape[1:]))))})
        yield Case(f"{name} of more rows", FILE, content)


def _places() -> Iterator[Case]:
    """Tensors that overlap, leave a hole, go backward, or lie past the end."""
    header, data = parts(written(TENSORS))
    size = len(data)
    for name in ("weight_ih_l0", "bias_hh_l0"):
        first, last = json.loads(header)[name]["data_offsets"]
        wrong: list[Any] = [
            [0, 0],
            [last, first],
            [first, last + 4],
            [first + 4, last + 4],
            [first - 4, last - 4],
            [first, 2**63],
            [first, 2**64],
            [2**64 - 4, 2**64 - 1],
            [size, size + last - first],
            [first],
            [first, last, last],
            ["0", "4"],
            [0.0, 4.0],
            [float("nan"), last],
            None,
            {},
        ]
        for offsets in wrong:
            entries = json.loads(header)
            entries[name]["data_offsets"] = offsets
            content = headed(json.dumps(entries).encode(), data)
            yield Case(f"{name} at {offsets}", FILE, content)
        for key in ("dtype", "shape", "data_offsets"):
            entries = json.loads(header)
            del entries[name][key]
            yield Case(f"{name} without {key}", FILE, headed(json.dumps(entries).encode(), data))
    same = json.loads(header)
    same["bias_hh_l0"]["data_offsets"] = same["bias_ih_l0"]["data_offsets"]
    yield Case("two biases in one place", FILE, headed(json.dumps(same).encode(), data))


def _choices() -> Iterator[Case]:
    """No LSTM, or several."""
    yield Case("no tensors", FILE, written({}), ("no LSTM",))
    yield Case("other tensors", FILE, written({"a": ("F32", [1], bytes(4))}), ("no LSTM",))
    gru = {
        name: ("F32", [n * 3, *s[1:]], bytes(4 * 3 * n * int(np.prod(s[1:]))))
        for name, (_, s, _) in TENSORS.items()
        if (n := s[0] // 4)
    }
    yield Case("a GRU", FILE, written(gru), ("no LSTM",))
    two = {f"{side}.{name}": tensor for side in "ab" for name, tensor in TENSORS.items()}
    yield Case("two LSTMs", FILE, written(two), ("several", "'a.'", "'b.'"))
    yield Case("none of the prefix", FILE, written(two), ("'c'", "'a.'", "'b.'"), {"prefix": "c"})
    many = {f"{k}.weight_hh_l0": ("F32", [4, 1], bytes(16)) for k in range(2000)}
    yield Case("two thousand LSTMs", FILE, written(many), ("several",))
    gap = {name.replace("_l0", f"_l{k}"): tensor for k in (0, 2) for name, tensor in TENSORS.items()}
    yield Case("a layer that lacks", FILE, written(gap), ("l1",))
    far = {**TENSORS, **{name.replace("_l0", "_l999999"): tensor for name, tensor in TENSORS.items()}}
    yield Case("a layer far off", FILE, written(far), ("_l1",))
    back = {**TENSORS, "weight_hh_l0_reverse": TENSORS["weight_hh_l0"]}
    yield Case("half a reverse direction", FILE, written(back), ("_reverse",))


def _configurations() -> Iterator[Case]:
    """The metadata that this package writes, or none."""
    for text in (
        "",
        "{",
        "[]",
        "{}",
        "NaN",
        "1",
        "[" * 9000,
        "x" * 10_001,
        '{"version": 2}',
        '{"version": 1}',
    ):
        yield Case(
            f"configuration {text[:14]!r} of {len(text)}", FILE, written(TENSORS, {"lstm": text}), ("'lstm'",)
        )
    right = lstm_entry.describe(NET.core.parts())
    changes: dict[str, tuple[Any, ...]] = {
        "version": (0, None, "1", [1], True),
        "input_size": (4, -3, 0, "3", 1.5, None, float("nan"), 2**70),
        "hidden_size": (5, {"a": 1}),
        "dtype": ("float16", "float64", "object", None, ["float32"]),
        "bias": (False, None, 1),
        "num_layers": (2, 0, "1", 2**70),
        "bidirectional": (True, 0),
        "proj_size": (2, -1, 0.5),
        "peephole": (True,),
        "reverse": (1, "no"),
        "clip": (0, -1, "1", float("nan"), float("inf"), True, 10**400),
        "input_forget": (1,),
        "activations": (
            "Tanh",
            [],
            ["Tanh"],
            ["Tanh", "Tanh", "exec"],
            [[], [], []],
            [1, 2, 3],
            {"a": 1},
            [["Elu", "x"], "Tanh", "Tanh"],
            [["Elu", 10**400], "Tanh", "Tanh"],
            [["Elu", float("nan")], "Tanh", "Tanh"],
            [["Elu", 1, 2, 3], "Tanh", "Tanh"],
        ),
        "unheard_of": (1,),
    }
    for name, values in changes.items():
        for value in values:
            text = json.dumps({**right, name: value})
            yield Case(f"{name}={str(value)[:30]}", FILE, written(TENSORS, {"lstm": text}), ("lstm",))


def edited(rng: random.Random, good: Good) -> bytes:
    """A change to the header with its length right, to the configuration within it, or to the data."""
    header, data = parts(good.content)
    kind = rng.randrange(4)
    if kind == 0:
        return headed(header, damaged(rng, data, data), None)
    if kind == 1:
        with_config = _edited_configuration(rng, header)
        if with_config is not None:
            return headed(with_config, data)
    return headed(mutated_text(rng, header), data)


def _edited_configuration(rng: random.Random, header: bytes) -> bytes | None:
    """The header with a change to the JSON text in its metadata; None where it has none."""
    try:
        entries = json.loads(header)
        text = entries["__metadata__"]["lstm"]
        entries["__metadata__"]["lstm"] = json.dumps(mutated_json(rng, json.loads(text)))
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return json.dumps(entries).encode()
