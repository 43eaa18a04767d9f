"""The values of constants in an ONNX graph: initializers, Constant nodes and the chains that exporters leave.

Nothing of a model is run: the operators below rearrange weights, and are computed here by NumPy.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from . import FormatError

LONGEST_CHAIN = 100


class Constants:
    """What the names of a graph stand for where that is a constant; the graphs around it are seen too.

    `graphs` from the outermost to the one looked from. Arrays of more than `budget` bytes raise.
    """

    def __init__(self, library: Any, graphs: list[Any], where: str, budget: int) -> None:
        self._library = library
        self._where = where
        self._budget = budget
        self._initializers: dict[str, Any] = {}
        self._nodes: dict[str, Any] = {}
        for graph in graphs:  # an inner name hides an outer one
            for tensor in graph.initializer:
                self._initializers[tensor.name] = tensor
                self._nodes.pop(tensor.name, None)
            for node in graph.node:
                for name in node.output:
                    self._nodes[name] = node
                    self._initializers.pop(name, None)

    def value(self, name: str, depth: int = 0) -> np.ndarray:
        """The array that `name` stands for; FormatError where it is no constant."""
        if depth > LONGEST_CHAIN:
            raise FormatError(
                f"{self._where}: {name!r} is at the end of a chain that is too long or a circle"
            )
        if name in self._initializers:
            return self._tensor(name, self._initializers[name])
        node = self._nodes.get(name)
        if node is None:
            raise FormatError(f"{self._where}: {name!r} is no constant of the model, but weights must be")
        attributes = {a.name: self._library.helper.get_attribute_value(a) for a in node.attribute}
        if node.op_type == "Constant":
            if "value" not in attributes:
                raise FormatError(f"{self._where}: the constant {name!r} has no dense value")
            return self._tensor(name, attributes["value"])
        compute = OPERATORS.get(node.op_type) if node.domain in ("", "ai.onnx") else None
        if compute is None:
            raise FormatError(
                f"{self._where}: {name!r} is computed by {node.op_type}, but weights must be constants, "
                f"rearranged by no more than {', '.join(OPERATORS)}"
            )
        inputs = [None if not i else self.value(i, depth + 1) for i in node.input]
        if not inputs or inputs[0] is None:
            raise FormatError(f"{self._where}: {name!r} is made of nothing")
        try:
            result = np.asarray(compute(inputs, attributes))
        except (ValueError, TypeError, IndexError, KeyError, OverflowError) as error:
            raise FormatError(f"{self._where}: {name!r} by {node.op_type}: {error}") from error
        return self._bounded(name, result)

    def _tensor(self, name: str, tensor: Any) -> np.ndarray:
        """The array of a TensorProto, not below float32."""
        if tensor.data_location == tensor.EXTERNAL:
            raise FormatError(f"{self._where}: {name!r} is in another file, which is not read")
        if any(length < 0 for length in tensor.dims):
            raise FormatError(f"{self._where}: {name!r} has shape {tuple(tensor.dims)}")
        size = 1
        for length in tensor.dims:
            size *= length
        if size > self._budget:
            raise FormatError(f"{self._where}: {name!r} claims shape {tuple(tensor.dims)}")
        try:
            array = np.asarray(self._library.numpy_helper.to_array(tensor))
        except Exception as error:  # whatever the library meets in a damaged tensor
            raise FormatError(f"{self._where}: {name!r} is damaged: {error}") from error
        if array.dtype == np.float16 or array.dtype.name == "bfloat16":
            array = array.astype(np.float32)
        return self._bounded(name, array)

    def _bounded(self, name: str, array: np.ndarray) -> np.ndarray:
        if array.nbytes > self._budget:
            raise FormatError(f"{self._where}: {name!r} takes {array.nbytes} bytes, more than the file has")
        return array


Inputs = list[Any]
Attributes = dict[str, Any]


def _axes(inputs: Inputs, attributes: Attributes) -> tuple[int, ...] | None:
    """Axes as an attribute, up to opset 12, or as an input."""
    if "axes" in attributes:
        return tuple(int(axis) for axis in attributes["axes"])
    if len(inputs) > 1 and inputs[1] is not None:
        return tuple(int(axis) for axis in inputs[1])
    return None


def _unsqueeze(inputs: Inputs, attributes: Attributes) -> np.ndarray:
    axes = _axes(inputs, attributes)
    return np.expand_dims(inputs[0], () if axes is None else axes)


def _squeeze(inputs: Inputs, attributes: Attributes) -> np.ndarray:
    return np.asarray(np.squeeze(inputs[0], _axes(inputs, attributes)))


def _transpose(inputs: Inputs, attributes: Attributes) -> np.ndarray:
    return np.asarray(np.transpose(inputs[0], attributes.get("perm")))


def _reshape(inputs: Inputs, attributes: Attributes) -> np.ndarray:
    shape = [int(n) for n in (attributes["shape"] if "shape" in attributes else inputs[1])]
    if not attributes.get("allowzero"):
        shape = [inputs[0].shape[axis] if n == 0 else n for axis, n in enumerate(shape)]
    return np.asarray(np.reshape(inputs[0], shape))


def _concat(inputs: Inputs, attributes: Attributes) -> np.ndarray:
    return np.concatenate(inputs, axis=int(attributes["axis"]))


def _slice(inputs: Inputs, attributes: Attributes) -> np.ndarray:
    """Starts, ends, axes and steps as attributes, up to opset 9, or as inputs."""
    if "starts" in attributes:
        starts, ends, axes, steps = attributes["starts"], attributes["ends"], attributes.get("axes"), None
    else:
        starts, ends, axes, steps = [*inputs[1:5], None, None, None, None][:4]
    axes = range(len(starts)) if axes is None else axes
    steps = [1] * len(starts) if steps is None else steps
    picked = [slice(None)] * inputs[0].ndim
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        # An end at the smallest integer means past the first element of a slice that goes back.
        last = None if int(step) < 0 and int(end) < -inputs[0].shape[int(axis)] else int(end)
        picked[int(axis)] = slice(int(start), last, int(step))
    return np.asarray(inputs[0][tuple(picked)])


def _cast(inputs: Inputs, attributes: Attributes) -> np.ndarray:
    """To float32 or float64; anything else would round, and is none of what exporters do to weights."""
    kinds = {1: np.float32, 11: np.float64}
    if int(attributes["to"]) not in kinds:
        raise ValueError(f"a cast to data type {attributes['to']} is none to float or double")
    return np.asarray(inputs[0]).astype(kinds[int(attributes["to"])])


OPERATORS: dict[str, Callable[[Inputs, Attributes], np.ndarray]] = {
    "Identity": lambda inputs, attributes: np.asarray(inputs[0]),
    "Unsqueeze": _unsqueeze,
    "Squeeze": _squeeze,
    "Transpose": _transpose,
    "Reshape": _reshape,
    "Concat": _concat,
    "Slice": _slice,
    "Cast": _cast,
}
