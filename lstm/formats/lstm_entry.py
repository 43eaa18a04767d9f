"""The entry ``lstm`` that a file holds next to a state dict: what its arrays do not say, as a JSON text.

It is the same in every format that has one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..core.architecture import OPTIONS, Architecture
from ..core.precision import PRECISIONS, Int8Rows, check_depths
from ..core.state_dict import from_state_dict
from ..core.weights import Parts
from . import small_weights
from .errors import FormatError
from .untold import hold_to

ENTRY = "lstm"
VERSION = 1
LONGEST = 10_000  # characters

# How JSON writes a field of an Architecture, by the type of its default; None is that of a bound.
JSON_TYPES: dict[type, type] = {int: int, bool: bool, str: str, tuple: list, type(None): float}
FIELDS: dict[str, type] = {
    **{name: JSON_TYPES[type(Architecture._field_defaults.get(name, 0))] for name in Architecture._fields},
    "dtype": str,
    "precision": str,
}


def describe(parts: Parts) -> dict[str, Any]:
    """The content of the entry of a net; what is left out has its default."""
    architecture = parts.architecture
    return {
        "version": VERSION,
        "input_size": architecture.input_size,
        "hidden_size": architecture.hidden_size,
        "bias": architecture.bias,
        "dtype": parts.dtype.name,
        **({} if parts.precision is None else {"precision": parts.precision}),
        **architecture.changed_arguments(),
    }


def text(parts: Parts) -> str:
    """The entry of a net, to be written."""
    return json.dumps(describe(parts))


def parse(where: str, text: str) -> dict[str, Any]:
    """The checked content of an entry; FormatError, which begins with `where`, for anything else."""
    if len(text) > LONGEST:
        raise FormatError(f"{where} has over {LONGEST} characters")
    try:
        entry = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{where} is no JSON: {error}") from error
    if not isinstance(entry, dict) or entry.get("version") != VERSION or entry["version"] is True:
        raise FormatError(f"{where} must be an object with version {VERSION}")
    if unknown := sorted(set(entry) - {"version", *FIELDS}):
        raise FormatError(f"{where} has {', '.join(unknown)[:100]}, which this version does not know")
    if entry.get("dtype") not in ("float32", "float64"):
        raise FormatError(f"{where} has dtype {entry.get('dtype')!r:.100}")
    if "precision" in entry and (entry["precision"] not in PRECISIONS or entry["dtype"] != "float32"):
        raise FormatError(f"{where} has precision {entry['precision']!r:.100} of {entry['dtype']}")
    for name, kind in FIELDS.items():
        if name in entry and not _is(entry[name], kind):
            raise FormatError(f"{where} has {name} {entry[name]!r:.100}, but it must be of {kind.__name__}")
    return entry


def _is(value: Any, kind: type) -> bool:
    """Whether a JSON value is of this type; a bool is no number."""
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))


def parts(
    path: str,
    state: Mapping[str, np.ndarray],
    entry: dict[str, Any],
    options: Mapping[str, Any] | None = None,
) -> Parts:
    """The net of what a file holds as `small_weights.arrays` makes it, and of its parsed entry, {} if none.

    `options` are what the caller says of a file that does not tell; FormatError if the entry says otherwise.
    """
    if options and not entry:
        try:
            return from_state_dict(state, **options)
        except ValueError as error:
            raise FormatError(f"{path}: {error}") from error
    rows: dict[str, Int8Rows] = {}
    if (precision := entry.get("precision")) is not None:
        state, rows = small_weights.widened(path, state, precision)
    net = _with_entry(path, state, entry)
    try:
        check_depths(precision, net.architecture)
    except ValueError as error:
        raise FormatError(f"{path}: {error}") from error
    net = (small_weights.with_rows(net, rows) or net)._replace(precision=precision)
    try:
        hold_to(net, options or {})
    except ValueError as error:
        raise FormatError(f"{path} {error}") from error
    return net


def _with_entry(path: str, state: Mapping[str, np.ndarray], entry: dict[str, Any]) -> Parts:
    """The net of a state dict and of a parsed entry."""
    # The shapes of a second layer depend on it.
    merge = {"merge": entry["merge"]} if "merge" in entry else {}
    try:
        net = from_state_dict(state, **merge)
    except (ValueError, TypeError) as error:
        raise FormatError(f"{path}: {error}") from error
    for name, value in {**net.architecture.arguments(), "dtype": net.dtype.name}.items():
        if name not in OPTIONS and entry.get(name, value) != value:
            raise FormatError(
                f"{path}: its arrays have {name}={value}, but its entry {ENTRY!r} says {entry[name]!r:.100}"
            )
    try:
        options = {name: entry[name] for name in OPTIONS if name in entry}
        return net._replace(architecture=net.architecture.with_options(**options))
    except (ValueError, TypeError, OverflowError) as error:
        raise FormatError(f"{path}: entry {ENTRY!r}: {str(error)[:500]}") from error
