"""What a node has for initial states and lengths, which are the caller's in a net.

Shapes: B batch, H hidden, D directions.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..errors import FormatError
from ..option_names import option
from .constants import Constants, Place, producer
from .model import ExternalDataError, NodeSite, Scope
from .node import Attributes, inputs
from .stack import depends_on_lstm, sources

CHOICES = ("raise", "drop")
STATES = {"initial_h": "h0", "initial_c": "C0"}


def check_choice(initial_states: Any) -> None:
    """TypeError or ValueError if it is none of `CHOICES`."""
    if not isinstance(initial_states, str):
        raise TypeError(f"initial_states is {initial_states!r}, but must be 'raise' or 'drop'")
    if initial_states not in CHOICES:
        raise ValueError(f"initial_states is {initial_states!r}, but must be 'raise' or 'drop'")


def check_states(
    where: str, site: NodeSite, attributes: Attributes, H: int, constants: Constants, initial_states: str
) -> None:
    """FormatError for constant states or lengths that change what the node computes, or that do not fit it.

    Those that do not change it are dropped: zeros, and what the caller of the model gives.
    """
    named = inputs(where, site)
    for name, argument in STATES.items():
        if name not in named:
            continue
        whole = _constant(constants, (site.scope, named[name]))
        if whole is not None:
            _check_shape(where, name, whole.shape, attributes, H)
        if initial_states == "raise" and _is_not_zero(site.scope, named[name], whole, constants):
            raise FormatError(
                f"{where} has constant {name} {named[name]!r} that is not zero, which a net takes from its "
                f"caller: load it with {option('initial_states', 'drop')}, and give {option(argument)} at "
                "every call, as lstm.tensors(path) has it"
            )
    lengths = named.get("sequence_lens")
    if initial_states == "raise" and lengths and _constant(constants, (site.scope, lengths)) is not None:
        raise FormatError(
            f"{where} has constant sequence_lens {lengths!r}, which a net takes from its caller: load it "
            f"with {option('initial_states', 'drop')}, and give {option('lengths')} at every call, as "
            "lstm.tensors(path) has them"
        )


def check_layer_states(above: NodeSite) -> None:
    """FormatError if a node starts from what another LSTM computes: it is no upper layer of a net then."""
    for place, name in ((5, "initial_h"), (6, "initial_c")):
        if len(above.node.input) > place and depends_on_lstm(above.scope, above.node.input[place]):
            raise FormatError(f"{above.name!r} takes its {name} from another LSTM")


def state_notes(site: NodeSite, constants: Constants) -> Iterator[str]:
    """What the model gives a node for states and lengths, if they are not zeros or left out."""
    named = inputs(f"node {site.name!r}", site)
    for name, argument in {**STATES, "sequence_lens": "lengths"}.items():
        if name not in named:
            continue
        for place, value in _sources(site.scope, named[name], constants):
            if value is not None and (name == "sequence_lens" or np.any(value)):
                yield f"{name} is a constant, {place[1]!r}, and left out; it is given as {option(argument)}"
            elif value is None:
                found = place[0].find(place[1])
                is_input = found is not None and found[1].kind == "input"
                what = "the model's input" if is_input else "computed by the model,"
                yield f"{name} is {what} {place[1]!r}; it is given as {option(argument)}"


def weight_notes(site: NodeSite) -> Iterator[str]:
    """How the weights of a node are stored, if not as floats."""
    if site.node.op_type != "LSTM":
        yield (
            f"the weights are integers of 8 bits ({site.node.op_type}) and loaded as float32; ONNX Runtime "
            "rounds x and h to 8 bits, too, and this net does not"
        )
        return
    named = inputs(f"node {site.name!r}", site)
    for name in ("W", "R"):
        for scope, source in sources(site.scope, named.get(name, ""), {"DequantizeLinear"}):
            origin = producer(scope, source)
            if origin is not None and origin[1].op_type == "DequantizeLinear":
                yield "the weights are integers (DequantizeLinear) and loaded as float32"
                return


def _constant(constants: Constants, place: Place) -> np.ndarray | None:
    """The value of a constant, None for what is none."""
    try:
        return constants.value(*place)
    except ExternalDataError:
        raise
    except FormatError:
        return None


def _check_shape(where: str, name: str, shape: tuple[int, ...], attributes: Attributes, H: int) -> None:
    """FormatError if states are not (D, B, H), or (B, D, H) in layout 1."""
    D = attributes.directions
    axis = 1 if attributes.layout else 0
    if len(shape) != 3 or shape[axis] != D or shape[2] != H:
        expected = f"(batch, {D}, {H})" if attributes.layout else f"({D}, batch, {H})"
        raise FormatError(f"{where} has {name} of shape {shape}, but must have {expected}")


def _is_not_zero(scope: Scope, name: str, whole: np.ndarray | None, constants: Constants) -> bool:
    """Whether a value is a constant that is not zero, if need be expanded to a batch not known here."""
    if whole is not None:
        return bool(np.any(whole))
    return any(value is not None and bool(np.any(value)) for _, value in _sources(scope, name, constants))


def _sources(scope: Scope, name: str, constants: Constants) -> Iterator[tuple[Place, np.ndarray | None]]:
    """Where a value comes from, through what rearranges it, with the values of constants."""
    for place in sources(scope, name):
        origin = producer(*place)
        if origin is not None and origin[1].op_type == "ConstantOfShape":
            yield place, constants.fill(origin[0], origin[1])
        else:
            yield place, _constant(constants, place)
