"""The ONNX operators that exporters leave between stored weights and an LSTM, by NumPy.

They rearrange and widen; sums and products are of a few integers, as in the shapes of reshapes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import numpy as np

Inputs: TypeAlias = list[Any]  # arrays, None for an input left out
Attributes: TypeAlias = dict[str, Any]
Results: TypeAlias = "np.ndarray | list[np.ndarray]"

# Integers in one sum or product.
MOST_INTEGERS = 64
# What may be cast to, by the names that stand for numbers in old opsets.
CAST_NAMES = {"FLOAT": 1, "INT32": 6, "INT64": 7, "DOUBLE": 11}
# Axes, or parts of a split.
LONGEST_LIST = 1000


def _allow(limit: int, shape: Any, dtype: Any) -> None:
    """ValueError if an array to be made is larger than all that may be."""
    size = int(np.prod(tuple(shape), dtype=object)) * np.dtype(dtype).itemsize
    if size > limit:
        raise ValueError(f"it would take {size} bytes, more than the model has")


def _integers(values: Any) -> list[int]:
    """Axes, lengths or places."""
    array = np.asarray(values)
    if array.size > LONGEST_LIST:
        raise ValueError(f"it is given {array.size} axes, lengths or places")
    if array.ndim > 1 or array.dtype.kind not in "iu":
        raise ValueError(f"it is given {array.dtype} of shape {array.shape} but must have integers")
    return [int(n) for n in array.reshape(-1)]


def _given(inputs: Inputs, place: int) -> Any:
    return inputs[place] if len(inputs) > place else None


def _axes(inputs: Inputs, attributes: Attributes) -> tuple[int, ...] | None:
    """Axes as an attribute, up to opset 12, or as an input."""
    given = attributes.get("axes", _given(inputs, 1))
    return None if given is None else tuple(_integers(given))


def _identity(inputs: Inputs, attributes: Attributes, limit: int) -> np.ndarray:
    return np.asarray(inputs[0])


def _dropout(inputs: Inputs, attributes: Attributes, limit: int) -> np.ndarray:
    """In test mode, which opset 7 to 11 always are; before, is_test says so, and later an input."""
    training = _given(inputs, 2)
    is_training = 0 < attributes["opset"] < 7 and not attributes.get("is_test")
    if is_training or (training is not None and np.any(training)):
        raise ValueError("it is in training mode")
    return np.asarray(inputs[0])


def _unsqueeze(inputs: Inputs, attributes: Attributes, limit: int) -> np.ndarray:
    axes = _axes(inputs, attributes)
    return np.expand_dims(inputs[0], () if axes is None else axes)


def _squeeze(inputs: Inputs, attributes: Attributes, limit: int) -> np.ndarray:
    return np.asarray(np.squeeze(inputs[0], _axes(inputs, attributes)))


def _transpose(inputs: Inputs, attributes: Attributes, limit: int) -> np.ndarray:
    return np.asarray(np.transpose(inputs[0], attributes.get("perm")))


def _reshape(inputs: Inputs, attributes: Attributes, limit: int) -> np.ndarray:
    shape = _integers(attributes["shape"] if "shape" in attributes else inputs[1])
    if not attributes.get("allowzero"):
        shape = [inputs[0].shape[axis] if n == 0 else n for axis, n in enumerate(shape)]
    return np.asarray(np.reshape(inputs[0], shape))


def _concat(inputs: Inputs, attributes: Attributes, limit: int) -> np.ndarray:
    """Along an axis that is 1 if left out, up to opset 3."""
    _allow(limit, (sum(a.size for a in inputs),), inputs[0].dtype)
    if "axis" not in attributes and attributes["opset"] > 3:
        raise ValueError("it has no axis")
    return np.concatenate(inputs, axis=int(attributes.get("axis", 1)))


def _split(inputs: Inputs, attributes: Attributes, limit: int) -> list[np.ndarray]:
    """Into parts of given lengths, or into as many equal ones as there are outputs, the last one shorter."""
    axis = int(attributes.get("axis", 0))
    length = inputs[0].shape[axis]
    lengths = attributes.get("split", _given(inputs, 1))
    if lengths is None:
        parts = int(attributes["num_outputs"] if "num_outputs" in attributes else attributes["outputs"])
        if parts < 1 or parts > length:
            raise ValueError(f"it makes {parts} parts of {length}")
        size = -(-length // parts)
        lengths = [size] * (parts - 1) + [length - size * (parts - 1)]
    lengths = _integers(lengths)
    if min(lengths, default=-1) < 0 or sum(lengths) != length:
        raise ValueError(f"it makes parts of {lengths[:8]} of {length}")
    return [np.asarray(part) for part in np.split(inputs[0], np.cumsum(lengths)[:-1], axis)]


def _slice(inputs: Inputs, attributes: Attributes, limit: int) -> np.ndarray:
    """Starts, ends, axes and steps as attributes, up to opset 9, or as inputs."""
    if "starts" in attributes:
        starts, ends, axes, steps = attributes["starts"], attributes["ends"], attributes.get("axes"), None
    else:
        starts, ends, axes, steps = [*inputs[1:5], None, None, None, None][:4]
    starts, ends = _integers(starts), _integers(ends)
    axes = range(len(starts)) if axes is None else _integers(axes)
    steps = [1] * len(starts) if steps is None else _integers(steps)
    picked = [slice(None)] * inputs[0].ndim
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        # An end at the smallest integer means past the first element of a slice that goes back.
        last = None if step < 0 and end < -inputs[0].shape[axis] else end
        picked[axis] = slice(start, last, step)
    return np.asarray(inputs[0][tuple(picked)])


def _gather(inputs: Inputs, attributes: Attributes, limit: int) -> np.ndarray:
    data, places = inputs[0], np.asarray(inputs[1])
    axis = int(attributes.get("axis", 0))
    if places.dtype.kind not in "iu":
        raise ValueError(f"it is given {places.dtype} but must have integers")
    _allow(limit, (data.size // max(data.shape[axis], 1), *places.shape), data.dtype)
    return np.asarray(np.take(data, places, axis))


def _expand(inputs: Inputs, attributes: Attributes, limit: int) -> np.ndarray:
    shape = np.broadcast_shapes(inputs[0].shape, tuple(_integers(inputs[1])))
    _allow(limit, shape, inputs[0].dtype)
    return np.broadcast_to(inputs[0], shape).copy()


def _tile(inputs: Inputs, attributes: Attributes, limit: int) -> np.ndarray:
    repeats = _integers(inputs[1])
    if len(repeats) != inputs[0].ndim or min(repeats, default=1) < 0:
        raise ValueError(f"it repeats an array of {inputs[0].ndim} axes {repeats[:8]} times")
    _allow(limit, (inputs[0].size, *repeats), inputs[0].dtype)
    return np.tile(inputs[0], repeats)


def _constant_of_shape(inputs: Inputs, attributes: Attributes, limit: int) -> np.ndarray:
    shape, value = _integers(inputs[0]), attributes.get("value", np.zeros(1, np.float32))
    _allow(limit, shape, value.dtype)
    return np.full(shape, value.reshape(1)[0], value.dtype)


def _cast(inputs: Inputs, attributes: Attributes, limit: int) -> np.ndarray:
    """Floats to float32 or float64, integers to wider ones; anything else may round."""
    to = attributes["to"]
    if isinstance(to, bytes):  # up to opset 5
        to = CAST_NAMES.get(to.decode("ascii", "replace"), to)
    kinds = {1: np.float32, 11: np.float64} if inputs[0].dtype.kind == "f" else {6: np.int32, 7: np.int64}
    if to not in kinds:
        raise ValueError(f"a cast of {inputs[0].dtype} to data type {to!r} may round")
    _allow(2 * limit, inputs[0].shape, kinds[to])
    return np.asarray(inputs[0]).astype(kinds[to])


def _arithmetic(ufunc: Callable[..., Any]) -> Function:
    def compute(inputs: Inputs, attributes: Attributes, limit: int) -> np.ndarray:
        if any(a.dtype.kind not in "iu" or a.size > MOST_INTEGERS for a in inputs[:2]):
            raise ValueError("it computes more than a few integers of a shape")
        return np.asarray(ufunc(inputs[0], inputs[1]))

    return compute


def _dequantize(inputs: Inputs, attributes: Attributes, limit: int) -> np.ndarray:
    """(x - zero point) * scale: of each one in all, one a place along an axis, or one a block there."""
    values, scale, zero = inputs[0], inputs[1], _given(inputs, 2)
    if values.dtype.kind not in "iu" or scale.dtype not in (np.float32, np.float64):
        raise ValueError(f"it is given {values.dtype} and scales of {scale.dtype}")
    if zero is not None and zero.shape != scale.shape:
        raise ValueError(f"it has zero points of shape {zero.shape} for scales of {scale.shape}")
    _allow(limit, values.shape, values.dtype)  # widening counts as what is widened
    zero = np.zeros(scale.shape, np.int32) if zero is None else zero.astype(np.int32)
    axis, block = int(attributes.get("axis", 1)), int(attributes.get("block_size", 0))
    scale, zero = (_along(part, values.shape, axis, block) for part in (scale, zero))
    return np.asarray((values.astype(np.int32) - zero).astype(scale.dtype) * scale)


def _along(part: np.ndarray, shape: tuple[int, ...], axis: int, block: int) -> np.ndarray:
    """Scales or zero points in a shape that goes with values of `shape`."""
    if part.size == 1 and part.ndim < 2 and not block:
        return part.reshape(())
    length = shape[axis]
    if block:
        blocks = list(shape)
        blocks[axis] = -(-length // block)
        if block < 1 or part.shape != tuple(blocks):
            raise ValueError(f"it has blocks of {block} and scales of shape {part.shape} for {shape}")
        places = np.arange(length) // block
        return np.take(part, places, axis)
    if part.shape != (length,):
        raise ValueError(f"it has scales of shape {part.shape} for axis {axis} of {shape}")
    along = [1] * len(shape)
    along[axis] = length
    return part.reshape(along)


# The last opset that has an attribute: what a runtime may overwrite, whether shapes may differ, test mode.
LAST_OPSETS = {"consumed_inputs": 5, "broadcast": 6, "is_test": 6}

Function: TypeAlias = Callable[[Inputs, Attributes, int], Results]


class Operator(NamedTuple):
    """How an operator is computed, given the bytes that there may be; what attributes and inputs it has.

    Among the attributes `compute` also finds "outputs", their number, and "opset", 0 if it is not known.
    """

    compute: Function
    attributes: frozenset[str]
    most_inputs: float

    def unknown(self, attributes: Attributes, opset: int) -> list[str]:
        """The attributes that the operator does not have in this opset."""
        return sorted(
            name
            for name in attributes
            if name not in self.attributes or opset > LAST_OPSETS.get(name, math.inf)
        )


def _operator(compute: Function, most_inputs: float, *attributes: str) -> Operator:
    return Operator(compute, frozenset((*attributes, "consumed_inputs")), most_inputs)


OPERATORS: dict[str, Operator] = {
    "Identity": _operator(_identity, 1),
    "Dropout": _operator(_dropout, 3, "ratio", "seed", "is_test"),
    "Unsqueeze": _operator(_unsqueeze, 2, "axes"),
    "Squeeze": _operator(_squeeze, 2, "axes"),
    "Transpose": _operator(_transpose, 1, "perm"),
    "Reshape": _operator(_reshape, 2, "shape", "allowzero"),
    "Concat": _operator(_concat, math.inf, "axis"),
    "Split": _operator(_split, 2, "axis", "split", "num_outputs"),
    "Slice": _operator(_slice, 5, "starts", "ends", "axes"),
    "Gather": _operator(_gather, 2, "axis"),
    "Expand": _operator(_expand, 2),
    "Tile": _operator(_tile, 2),
    "ConstantOfShape": _operator(_constant_of_shape, 1, "value"),
    "Cast": _operator(_cast, 1, "to", "saturate"),
    "Add": _operator(_arithmetic(np.add), 2, "broadcast"),
    "Sub": _operator(_arithmetic(np.subtract), 2, "broadcast"),
    "Mul": _operator(_arithmetic(np.multiply), 2, "broadcast"),
    "DequantizeLinear": _operator(_dequantize, 3, "axis", "block_size"),
}
