"""One LSTM node of an ONNX model: its attributes, its weights, and the state dict of them.

This is the one place that knows ONNX's order of gates and peepholes. The biases of input and recurrence are
one after the other.

Shapes: I input, H hidden, D directions.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ...core import activations, weights
from ...core.precision import Int8Rows
from .. import small_weights
from ..errors import FormatError
from .constants import Constants
from .model import NodeSite

GATES = ("i", "o", "f", "g")
PEEPHOLES = ("i", "o", "f")
# Gate by gate of one order, its place in the other.
GATES_FROM_ONNX = [GATES.index(gate) for gate in weights.GATES]
GATES_TO_ONNX = [weights.GATES.index(gate) for gate in GATES]
PEEPHOLES_FROM_ONNX = [PEEPHOLES.index(gate) for gate in weights.PEEPHOLES]
PEEPHOLES_TO_ONNX = [weights.PEEPHOLES.index(gate) for gate in PEEPHOLES]
# Names, and ONNX's numbers of their types.
FLOAT, INT, STRING, FLOATS, STRINGS = 1, 2, 3, 6, 8
ATTRIBUTES = {
    "activation_alpha": FLOATS,
    "activation_beta": FLOATS,
    "activations": STRINGS,
    "clip": FLOAT,
    "direction": STRING,
    "hidden_size": INT,
    "input_forget": INT,
    "layout": INT,
    "output_sequence": INT,
}
# Parameters that have no default: ONNX has no operators Affine and ScaledTanh to take one from, and ONNX
# Runtime takes 0 for these and for the threshold, which is 1 in ONNX.
WITHOUT_DEFAULT = {"Affine": ("alpha",), "ScaledTanh": ("alpha", "beta"), "ThresholdedRelu": ("alpha",)}
LAYOUT_SINCE = 14
OUTPUT_SEQUENCE_UNTIL = 6  # whether Y is asked for, which changes nothing else
INPUTS = ("X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P")
QUANTIZED_INPUTS = (*INPUTS, "W_scale", "W_zero_point", "R_scale", "R_zero_point")
DIRECTIONS = {"forward": 1, "reverse": 1, "bidirectional": 2}


class Attributes(NamedTuple):
    """The attributes of a node; `options` are those of `core.architecture.OPTIONS`."""

    direction: str
    layout: int
    hidden_size: Any  # None if the node does not give it
    options: dict[str, Any]

    @property
    def directions(self) -> int:
        """D."""
        return DIRECTIONS[self.direction]


def inputs(where: str, site: NodeSite) -> dict[str, str]:
    """The names of a node's inputs, by what they are for the operator."""
    names = INPUTS if site.node.op_type == "LSTM" else QUANTIZED_INPUTS
    if len(site.node.input) > len(names):
        raise FormatError(f"{where} has {len(site.node.input)} inputs, but the operator has {len(names)}")
    return {name: given for name, given in zip(names, site.node.input, strict=False) if given}


def read_attributes(where: str, site: NodeSite) -> Attributes:
    """The checked attributes of a node."""
    types = {name: proto.type for name, proto in site.scope.attribute_protos(site.node)}
    is_plain = site.node.op_type == "LSTM"
    has_layout = is_plain and site.scope.opset >= LAYOUT_SINCE
    has_output_sequence = is_plain and site.scope.opset <= OUTPUT_SEQUENCE_UNTIL
    sometimes = {"layout": has_layout, "output_sequence": has_output_sequence}
    known = {name for name in ATTRIBUTES if sometimes.get(name, True)}
    if unknown := sorted(set(types) - known):
        raise FormatError(
            f"{where} has {', '.join(unknown)}, which {site.node.op_type} of opset {site.scope.opset} "
            "does not know"
        )
    for name, kind in types.items():
        if kind != ATTRIBUTES[name]:
            raise FormatError(
                f"{where} has {name} of attribute type {kind}, but must have {ATTRIBUTES[name]}"
            )
    given = site.scope.attributes(site.node)
    direction = _text(where, "direction", given.get("direction", "forward")).lower()
    if direction not in DIRECTIONS:
        raise FormatError(
            f"{where} has direction {direction!r}, but must have one of {', '.join(DIRECTIONS)}"
        )
    for name in ("layout", "input_forget", "output_sequence"):
        if given.get(name, 0) not in (0, 1):
            raise FormatError(f"{where} has {name} {given[name]!r}, but must have 0 or 1")
    options = {
        "reverse": direction == "reverse",
        "clip": given.get("clip"),
        "input_forget": bool(given.get("input_forget", 0)),
        "activations": _activations(where, given, DIRECTIONS[direction]),
    }
    return Attributes(direction, int(given.get("layout", 0)), given.get("hidden_size"), options)


def _text(where: str, name: str, value: Any) -> str:
    """An attribute that is a text."""
    try:
        return value.decode() if isinstance(value, bytes) else str(value)
    except UnicodeDecodeError as error:
        raise FormatError(f"{where} has {name} {value!r}, which is no text") from error


def _activations(where: str, given: dict[str, Any], directions: int) -> list[Any] | None:
    """Names with their parameters, which are in lists of their own.

    As in ONNX Runtime, each value goes to the next function that takes one, in both directions, and values
    left over to none.
    """
    if "activations" not in given:
        return None
    names = [_text(where, "activations", name) for name in given["activations"]]
    if len(names) != 3 * directions:
        raise FormatError(f"{where} has {len(names)} activations, but must have {3 * directions}")
    left = {which: list(given.get(f"activation_{which}", [])) for which in ("alpha", "beta")}
    parsed = []
    for name in names:
        spelled = activations.canonical(name).name
        definition = activations.ACTIVATIONS[spelled]
        parameters = {}
        for which, default in (("alpha", definition.alpha), ("beta", definition.beta)):
            if default is None:
                continue
            if left[which]:
                parameters[which] = float(left[which].pop(0))
            elif which in WITHOUT_DEFAULT.get(spelled, ()):
                raise FormatError(
                    f"{where} has the activation {spelled} without {which}, for which ONNX and ONNX Runtime "
                    f"have no common default; write it into the node's activation_{which} (ONNX Runtime "
                    "takes 0)"
                )
        parsed.append(activations.form_of(activations.canonical(spelled, **parameters)))
    return parsed


def read_sizes(where: str, site: NodeSite, constants: Constants) -> tuple[int, int]:
    """I and H by the shapes of the weights, unchecked; FormatError if they have none."""
    given = inputs(where, site)
    shapes = [constants.shape(site.scope, given.get(name, "")) for name in ("W", "R")]
    if any(len(shape) != 3 for shape in shapes):
        raise FormatError(f"{where} has W and R of shapes {shapes[0]} and {shapes[1]}")
    depth = 2 if site.node.op_type == "LSTM" else 1  # DynamicQuantizeLSTM has them turned
    return shapes[0][depth], shapes[1][depth]


def read_arrays(
    where: str, site: NodeSite, attributes: Attributes, constants: Constants
) -> dict[str, np.ndarray]:
    """W (D, 4H, I), R (D, 4H, H) and, where the node has them, B (D, 8H), P (D, 3H): checked, of floats.

    Of a quantized node, the integers that an int8 net keeps are in W_int8 and R_int8, and W_scales and
    R_scales (D, 4H).
    """
    read = {
        name: constants.value(site.scope, given)
        for name, given in inputs(where, site).items()
        if name not in ("X", "sequence_lens", "initial_h", "initial_c")
    }
    if site.node.op_type != "LSTM":
        read = _dequantized(where, read)
    for name in ("W", "R"):
        if name not in read:
            raise FormatError(f"{where} lacks {name}")
    H = read["R"].shape[2] if read["R"].ndim == 3 else 0
    I = read["W"].shape[2] if read["W"].ndim == 3 else 0  # noqa: E741
    expected = {
        "W": (attributes.directions, 4 * H, I),
        "R": (attributes.directions, 4 * H, H),
        "B": (attributes.directions, 8 * H),
        "P": (attributes.directions, 3 * H),
    }
    for name in expected.keys() & read.keys():
        array = read[name]
        if array.dtype not in (np.float32, np.float64):
            raise FormatError(f"{where} has {name} of {array.dtype}, but must have floats")
        if array.shape != expected[name] or 0 in array.shape:
            raise FormatError(
                f"{where} has {name} of shape {array.shape}, but must have {expected[name]} for W of "
                f"{read['W'].shape} and R of {read['R'].shape}"
            )
    if attributes.hidden_size is not None and attributes.hidden_size != H:
        raise FormatError(
            f"{where} has hidden_size {attributes.hidden_size!r}, but R of shape {read['R'].shape}"
        )
    return read


def _dequantized(where: str, read: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """W and R of a DynamicQuantizeLSTM, (D, K, 4H) of integers, as (D, 4H, K) of float32."""
    floats = {name: array for name, array in read.items() if name in ("B", "P")}
    for name in ("W", "R"):
        values, scale, zero = (read.get(part) for part in (name, f"{name}_scale", f"{name}_zero_point"))
        if values is None or scale is None or zero is None:
            raise FormatError(f"{where} lacks {name}, {name}_scale or {name}_zero_point")
        shape = values.shape
        if len(shape) != 3 or values.dtype.name not in ("int8", "uint8"):
            raise FormatError(
                f"{where} has {name} of {values.dtype} {shape}, but must have (D, K, 4H) of 8 bits"
            )
        for what, array, kinds in (
            ("scale", scale, ("float32",)),
            ("zero_point", zero, (values.dtype.name,)),
        ):
            if array.shape not in ((shape[0],), (shape[0], shape[2])) or array.dtype.name not in kinds:
                raise FormatError(
                    f"{where} has {name}_{what} of {array.dtype} {array.shape}, but must have {kinds[0]} of "
                    f"{shape[:1]} or {(shape[0], shape[2])}"
                )
        turned = values.swapaxes(1, 2)  # (D, 4H, K)
        zeros, scales = (
            np.broadcast_to(one.reshape(shape[0], -1), turned.shape[:2]).astype(np.float32)
            for one in (zero, scale)
        )
        with np.errstate(all="ignore"):
            floats[name] = (turned.astype(np.float32) - zeros[..., np.newaxis]) * scales[..., np.newaxis]
        if (rows := small_weights.rows_of(turned, zeros, scales)) is not None:
            floats[f"{name}_int8"], floats[f"{name}_scales"] = rows
    return floats


def to_rows(read: dict[str, np.ndarray], layer: int) -> dict[str, Int8Rows]:
    """PyTorch's names for the integers that `read_arrays` gives of one node, rows of (4H, K)."""
    found = {}
    D, _, H = read["R"].shape
    for kind, name in (("weight_ih", "W"), ("weight_hh", "R")):
        if f"{name}_int8" not in read:
            continue
        values, scales = (
            array.reshape(D, 4, H, -1)[:, GATES_FROM_ONNX].reshape(D, 4 * H, -1)
            for array in (read.pop(f"{name}_int8"), read.pop(f"{name}_scales"))
        )
        for direction, suffix in enumerate([f"_l{layer}", f"_l{layer}_reverse"][:D]):
            found[kind + suffix] = Int8Rows(values[direction], scales[direction, :, 0])
    return found


def to_state_dict(read: dict[str, np.ndarray], layer: int) -> dict[str, np.ndarray]:
    """PyTorch's names for what `read_arrays` gives of one node, which are taken out one by one."""
    state = {}
    D, _, H = read["R"].shape
    suffixes = [f"_l{layer}", f"_l{layer}_reverse"][:D]
    for kind, name in (("weight_ih", "W"), ("weight_hh", "R")):
        for array, suffix in zip(read.pop(name), suffixes, strict=True):
            state[kind + suffix] = array.reshape(4, H, -1)[GATES_FROM_ONNX].reshape(4 * H, -1)
    for array, suffix in zip(read.pop("B", ()), suffixes, strict=False):
        biases = array.reshape(2, 4, H)[:, GATES_FROM_ONNX].reshape(2, -1)
        state["bias_ih" + suffix], state["bias_hh" + suffix] = biases
    for array, suffix in zip(read.pop("P", ()), suffixes, strict=False):
        state["weight_ch" + suffix] = array.reshape(3, H)[PEEPHOLES_FROM_ONNX].reshape(-1)
    return state
