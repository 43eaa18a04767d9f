"""TensorFlow Lite: the fused LSTM operators of a model, as the layers of one net or one by one."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from ...core.state_dict import from_state_dict
from ...core.weights import Parts
from ..archive import LONGEST_SHOWN
from ..errors import FormatError
from ..onnx.initial import check_choice
from .directions import Unit, units
from .model import CUSTOM, Model, opened
from .stack import order
from .tensors import tensors

__all__ = ["names", "notes", "read", "tensors"]

MOST_LISTED = 10
# What may be a recurrent layer, too.
OTHERS = {
    "WHILE": "a While loop",
    "RNN": "a step of a plain RNN",
    "LSTM": "a single step of an LSTM",
    "UNIDIRECTIONAL_SEQUENCE_RNN": "a plain RNN",
    "BIDIRECTIONAL_SEQUENCE_RNN": "a plain RNN",
    "SVDF": "an SVDF",
}
# What the name of a custom operator has that may be one, such as FlexWhile.
CUSTOM_WORDS = ("while", "rnn", "gru", "lstm")
SINGLE_OPERATIONS = {"LOGISTIC", "TANH", "MUL"}


def read(path: str | os.PathLike[str], node: str | int | None = None, initial_states: str = "raise") -> Parts:
    """The net of the fused LSTM operators of a file, or of the one that `node` picks.

    States that others compute, and constant ones, raise, unless `initial_states` is "drop".
    """
    check_choice(initial_states)
    if node is not None and (isinstance(node, bool) or not isinstance(node, int | str)):
        raise TypeError(f"node is {node!r}, but must be a name or a number")
    name = os.fspath(path)
    state, options = _state(name, node, initial_states)
    try:
        return from_state_dict(state, **options)
    except (ValueError, TypeError) as error:
        raise FormatError(f"{name}: {error}") from error


def names(path: str | os.PathLike[str]) -> list[tuple[int, tuple[str, ...]]]:
    """Number and names of the layers of a file: of a bidirectional one also those of its two directions."""
    with opened(path) as model:
        return [(number, _names(unit)) for number, unit in enumerate(_units(model))]


def notes(
    path: str | os.PathLike[str], node: str | int | None = None, initial_states: str = "raise"
) -> list[str]:
    """What a user of the net of a file has to know: how it differs from what TensorFlow Lite computes."""
    with opened(path) as model:
        if not any(site.is_hybrid() for unit in _picked(model, node) for site in unit.sites):
            return []
    return [
        "the weights are of 8 bits, dequantized exactly; TensorFlow Lite also rounds x and h to 8 bits as "
        "it runs, and so its outputs differ a little"
    ]


def _state(
    name: str, node: str | int | None, initial_states: str
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """State dict and options of the net picked; the file's bytes are let go before it is made of them."""
    state: dict[str, np.ndarray] = {}
    with opened(name) as model:
        picked = _picked(model, node)
        if initial_states == "raise":
            for site in (site for unit in picked for site in unit.sites):
                site.check_states()
        for layer, unit in enumerate(picked):
            suffixes = [f"_l{layer}", f"_l{layer}_reverse"][: unit.directions]
            sides = (suffixes[:1], suffixes[1:]) if unit.is_pair else (suffixes,)
            for site, settings, own in zip(unit.sites, unit.settings, sides, strict=True):
                state |= site.state(own, settings)
    first = picked[0]
    return state, {**dict(first.settings[0].options), "reverse": first.is_reversed, "merge": first.merge}


def _units(model: Model) -> list[Unit]:
    """The layers of all graphs; FormatError, with advice, if there are none."""
    found = [unit for graph in model.graphs for unit in units(graph)]
    if found:
        return found
    kinds = _kinds(model)
    if "WHILE" in kinds:
        raise FormatError(
            f"{model.where} has no fused LSTM operator: it computes its LSTM, if it has one, step by step in "
            "a While loop, as all that Keras 3 converts; load the .keras or .h5 file that it was made of, or "
            "convert that with tf_keras (TF_USE_LEGACY_KERAS=1) and a fixed batch size"
        )
    if kinds >= SINGLE_OPERATIONS:
        raise FormatError(
            f"{model.where} has no fused LSTM operator: it computes its LSTM, if it has one, in single "
            "operations, as of unroll=True; load the .keras or .h5 file that it was made of, or convert that "
            "without unroll"
        )
    others = _others(kinds)
    instead = f", but {_words(others)}" if others else ""
    raise FormatError(f"{model.where} has no fused LSTM operator{instead}")


def _kinds(model: Model) -> set[str]:
    """What the operators of all graphs compute."""
    return {kind for graph in model.graphs for kind in graph.kinds}


def _others(kinds: set[str]) -> list[str]:
    """What may be recurrent layers among the kinds of operators."""
    custom = [kind for kind in sorted(kinds) if kind.startswith(CUSTOM)]
    named = [kind for kind in custom if any(word in kind.lower() for word in CUSTOM_WORDS)]
    known = [what for kind, what in OTHERS.items() if kind in kinds]
    return known + [f"the custom operator {kind.removeprefix(CUSTOM).strip()!r}" for kind in named]


def _picked(model: Model, node: str | int | None) -> list[Unit]:
    """The layer asked for, or all of them from the first on; FormatError if that is not clear."""
    found = _units(model)
    if node is not None:
        unit = _named(model, found, node)
        if unit.problem is not None:
            raise unit.problem
        return [unit]
    others = _others(_kinds(model))
    try:
        if others:
            raise FormatError(f"there is {_words(others)}, which may be a recurrent layer, too")
        return found if len(found) == 1 and found[0].problem is None else order(found)
    except FormatError as error:
        if len(found) == 1 and not others:
            raise
        raise FormatError(
            f"{model.where} has {len(found)} LSTMs that are not the layers of one net ({error}); pick one "
            f"by node=: {_listed(found)}"
        ) from error


def _named(model: Model, found: list[Unit], node: str | int) -> Unit:
    """The layer of this number or name, or one direction of a layer by its own name."""
    if isinstance(node, int):
        if not -len(found) <= node < len(found):
            raise FormatError(
                f"{model.where} has {len(found)} LSTMs, so none of number {node}: {_listed(found)}"
            )
        return found[node]
    named = [unit for unit in found if unit.name == node]
    named += [side for unit in found if unit.is_pair for side in _sides(unit) if side.name == node]
    if len(named) != 1:
        raise FormatError(f"{model.where} has {len(named)} LSTMs {node!r}; it has {_listed(found)}")
    return named[0]


def _sides(unit: Unit) -> list[Unit]:
    """The two directions of a layer, each as a layer of its own."""
    return [
        Unit((site,), (settings,), (origin,), None, 0, site.name)
        for site, settings, origin in zip(unit.sites, unit.settings, unit.origins, strict=True)
    ]


def _names(unit: Unit) -> tuple[str, ...]:
    sides = [side.name for side in _sides(unit)] if unit.is_pair else []
    return tuple(dict.fromkeys(name for name in (unit.name, *sides) if name))


def _listed(found: list[Unit]) -> str:
    """The first of many layers by name, with their sizes."""
    described = []
    for number, unit in enumerate(found[:MOST_LISTED]):
        sizes = "cannot be read"
        if unit.problem is None:
            inputs, hidden, _ = unit.settings[0].sizes
            sizes = f"input_size={inputs}, hidden_size={hidden}" + ", bidirectional" * (unit.directions == 2)
        described.append(f"{number}: {unit.name!r:.{LONGEST_SHOWN}} ({sizes})")
    rest = len(found) - MOST_LISTED
    return ", ".join(described) + (f" and {rest} more" if rest > 0 else "")


def _words(parts: list[str]) -> str:
    return " and ".join(dict.fromkeys(parts))
