"""What a node has for initial states and lengths, which are the caller's in a net.

Shapes: B batch, H hidden, D directions.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..errors import FormatError
from ..option_names import option
from .constants import Constants, Place, producer
from .model import NodeSite
from .node import Attributes, inputs
from .origins import constant, depends_on_constants, depends_on_lstm, origin_of
from .stack import sources

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
    """FormatError for states or lengths that change what the node computes, or that do not fit it.

    Those that do not change it are dropped: zeros, and what the caller of the model gives.
    """
    named = inputs(where, site)
    drop = option("initial_states", "drop")
    for name, argument in STATES.items():
        if name not in named:
            continue
        whole = constant(constants, (site.scope, named[name]))
        if whole is not None:
            _check_shape(where, name, whole.shape, attributes, H)
        if initial_states == "drop":
            continue
        origin = origin_of(site.scope, named[name], constants)
        if origin.kind in ("zero", "input"):
            continue
        if origin.kind == "constant":
            what = f"constant {name} {named[name]!r} that is not zero"
            values = f", from {origin} of lstm.tensors(path)"
        else:
            maker = "another LSTM gives" if origin.kind == "lstm" else "the model computes"
            what, values = f"{name} {named[name]!r} that {maker}", ""
        raise FormatError(
            f"{where} has {what}, which a net takes from its caller: load it with {drop}, and give "
            f"{option(argument)} at every call{values}"
        )
    lengths = named.get("sequence_lens")
    if initial_states == "raise" and lengths and _is_constant(constants, (site.scope, lengths)):
        raise FormatError(
            f"{where} has constant sequence_lens {lengths!r}, which a net takes from its caller: load it "
            f"with {drop}, and give {option('lengths')} at every call, as lstm.tensors(path) has them"
        )


def _is_constant(constants: Constants, place: Place) -> bool:
    """Whether lengths are the same for every input."""
    return constant(constants, place) is not None or depends_on_constants(*place)


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
        origin = origin_of(site.scope, named[name], constants)
        words = {
            "input": "is the model's input",
            "constant": "is a constant and left out,",
            "lstm": "is what another LSTM gives,",
            "computed": "is computed by the model,",
        }
        if origin.kind in words:
            yield f"{name} {words[origin.kind]} {origin}; it is given as {option(argument)}"


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


def _check_shape(where: str, name: str, shape: tuple[int, ...], attributes: Attributes, H: int) -> None:
    """FormatError if states are not (D, B, H), or (B, D, H) in layout 1."""
    D = attributes.directions
    axis = 1 if attributes.layout else 0
    if len(shape) != 3 or shape[axis] != D or shape[2] != H:
        expected = f"(batch, {D}, {H})" if attributes.layout else f"({D}, batch, {H})"
        raise FormatError(f"{where} has {name} of shape {shape}, but must have {expected}")
