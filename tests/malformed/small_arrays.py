"""Arrays of nets of small weights, good and malformed, for the formats that hold state dicts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from lstm.formats import lstm_entry, small_weights

from . import arrays


class Small(NamedTuple):
    """What a file holds: arrays, bfloat16 as uint16, the entry, and what the error must say."""

    name: str
    arrays: dict[str, np.ndarray]
    entry: str
    words: tuple[str, ...] = ()


def good() -> Iterator[Small]:
    for precision in ("int8", "float16", "bfloat16"):
        net = arrays.net(2, 4, "float32", num_layers=2, proj_size=3, precision=precision)
        parts = net.core.parts()
        yield Small(precision, small_weights.arrays(parts), lstm_entry.text(parts))


def malformed() -> Iterator[Small]:
    """Each wrong in one way."""
    for _, held, entry, _ in good():
        precision = json.loads(entry)["precision"]
        for name, array in held.items():
            for other in ("float32", "float64", "float16", "int8", "uint8", "int16", "uint16"):
                if np.dtype(other) != array.dtype:
                    changed = {**held, name: np.ones(array.shape, other)}
                    yield Small(f"{precision}: {name} of {other}", changed, entry, (name,))
        for value in ("int4", "INT8", "", 8, None, ["int8"], "float32", True):
            text = json.dumps({**json.loads(entry), "precision": value})
            yield Small(f"{precision} becomes {value!r}", held, text, ("precision",))
        text = json.dumps({**json.loads(entry), "dtype": "float64"})
        yield Small(f"{precision} of float64", held, text, ("float64",))
        others = {"int8", "float16", "bfloat16"} - {precision}
        for other in sorted(others):
            text = json.dumps({**json.loads(entry), "precision": other})
            yield Small(f"{precision} said to be {other}", held, text, ("must have",))
    yield from _malformed_scales()


def _malformed_scales() -> Iterator[Small]:
    _, held, entry, _ = next(good())
    for name in [name for name in held if name.endswith("_scale")]:
        scales = held[name]
        wrong = {
            "NaN": np.nan,
            "infinite": np.inf,
            "negative": -1e-3,
            "negative infinity": -np.inf,
            "nearly infinite": 3e38,
        }
        for what, value in wrong.items():
            changed = scales.copy()
            changed[5] = value
            yield Small(f"{name} is {what}", {**held, name: changed}, entry, (name,))
        shapes = {
            "short": scales[:-1],
            "long": np.append(scales, np.float32(1)),
            "single": scales[:1],
            "in a column": scales[:, np.newaxis],
            "a number": scales[0],
        }
        for what, changed in shapes.items():
            yield Small(f"{name} {what}", {**held, name: np.asarray(changed)}, entry, (name,))
        rest = {other: array for other, array in held.items() if other != name}
        yield Small(f"no {name}", rest, entry, (name,))
        matrix = name.removesuffix("_scale")
        rest = {other: array for other, array in held.items() if other != matrix}
        yield Small(f"no {matrix} for its scales", rest, entry)
    plain = json.dumps({key: value for key, value in json.loads(entry).items() if key != "precision"})
    yield Small("integers and scales of no precision", held, plain)
    _, floats, entry, _ = list(good())[1]
    extra = {**floats, "weight_ih_l0_scale": np.ones(16, np.float32)}
    yield Small("scales of float16", extra, entry, ("weight_ih_l0_scale",))
