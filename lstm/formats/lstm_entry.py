"""The configuration that a file holds beside a state dict: a JSON text, the same in every format."""

from __future__ import annotations

import json
from typing import Any, Literal

import numpy as np

from .. import model
from ..core import state_dict as states_of
from . import FormatError

VERSION = 1

REQUIRED = {"input_size": int, "hidden_size": int, "bias": bool, "dtype": str}
# What is left out has its default.
OPTIONAL = {
    "num_layers": int,
    "bidirectional": bool,
    "reverse": bool,
    "proj_size": int,
    "peephole": bool,
    "clip": float,
    "input_forget": bool,
    "activations": list,
}
# What the arrays of a state dict do not tell.
OPTIONS = ("reverse", "clip", "input_forget", "activations")


def describe(net: model.LSTM) -> dict[str, Any]:
    """The configuration of a net, to be written as JSON."""
    options = {
        name: getattr(net, name) for name in OPTIONAL if name in net.core.architecture.changed_arguments()
    }
    return {
        "version": VERSION,
        "input_size": net.input_size,
        "hidden_size": net.hidden_size,
        "bias": net.bias,
        "dtype": net.dtype.name,
        **options,
    }


def parse(where: str, text: str) -> dict[str, Any]:
    """The checked content of a configuration; FormatError, which begins with `where`, for anything else."""
    try:
        config = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{where} is no JSON: {error}") from error
    if not isinstance(config, dict) or config.get("version") != VERSION or config["version"] is True:
        raise FormatError(f"{where} must be an object with version {VERSION}")
    known = {"version", *REQUIRED, *OPTIONAL}
    if unknown := sorted(set(config) - known):
        raise FormatError(f"{where} has {', '.join(unknown)[:100]}, which this version does not know")
    if config.get("dtype") not in ("float32", "float64"):
        raise FormatError(f"{where} has dtype {config.get('dtype')!r:.100}")
    for name, kind in {**REQUIRED, **OPTIONAL}.items():
        if name in config and not _is(config[name], kind):
            raise FormatError(f"{where} has {name} {config[name]!r:.100}, but it must be of {kind.__name__}")
    return config


def _is(value: Any, kind: type) -> bool:
    """Whether a JSON value is of this kind; a bool is no number."""
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))


def build(
    path: str, state: dict[str, np.ndarray], config: dict[str, Any], backend: Literal["native", "numpy"]
) -> model.LSTM:
    """The net of a state dict and a parsed configuration, {} where the file has none."""
    options = {name: config[name] for name in OPTIONS if name in config}
    try:
        _, found, dtype = states_of.from_state_dict(state)
    except (ValueError, TypeError) as error:
        raise FormatError(f"{path}: {error}") from error
    told = {**found._asdict(), "dtype": dtype.name}
    for name, value in told.items():
        if name not in OPTIONS and config.get(name, value) != value:
            raise FormatError(
                f"{path}: its arrays have {name}={value}, but its entry 'lstm' says {config[name]!r:.100}"
            )
    try:
        found.with_options(**options)
    except (ValueError, TypeError, OverflowError) as error:
        raise FormatError(f"{path}: entry 'lstm': {str(error)[:500]}") from error
    return model.LSTM.from_state_dict(state, backend=backend, **options)
