"""The values of constants in an ONNX model: initializers, Constant nodes and the chains that exporters leave.

Nothing of a model is run: the operators of `operators` rearrange weights, and are computed by NumPy.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from ..errors import FormatError
from .model import STANDARD, Definition, ExternalDataError, Model, Scope
from .operators import OPERATORS

LONGEST_CHAIN = 100
MOST_AXES = 32  # those of NumPy 1
# Bytes of all constants together if the file is smaller.
SMALL = 1 << 20
# By ONNX's numbers of data types: what numbers may be stored in.
DTYPES = {
    1: "<f4",
    2: "<u1",
    3: "<i1",
    4: "<u2",
    5: "<i2",
    6: "<i4",
    7: "<i8",
    9: "?",
    10: "<f2",
    11: "<f8",
    16: "<u2",  # bfloat16: the upper half of a float32
}
BFLOAT16, UINT4, INT4 = 16, 21, 22
SCALARS = {
    "value_float": np.float32,
    "value_floats": np.float32,
    "value_int": np.int64,
    "value_ints": np.int64,
}

Place = tuple[Scope, str]


class _Refusal(NamedTuple):
    """Why a name is no constant."""

    kind: type[FormatError]
    arguments: tuple[Any, ...]


class Constants:
    """The values of names of a model that are constants.

    `bound` gives some names a value of its own. What is read, and what is made of it, take no more than
    twice the model's bytes each.
    """

    def __init__(self, model: Model, where: str, bound: Mapping[Place, np.ndarray] | None = None) -> None:
        self._model, self._where = model, where
        self._known: dict[Place, np.ndarray | _Refusal] = dict(bound or {})
        self._pending: set[Place] = set()
        self._computed_bytes = 0
        self._read_bytes = 0
        self._bound_bytes = 8 * sum(
            array.nbytes for array in self._known.values() if isinstance(array, np.ndarray)
        )

    def _left(self, taken: int) -> int:
        """How many bytes there may still be."""
        return max(SMALL, 2 * self._model.size, self._bound_bytes) - taken

    def value(self, scope: Scope, name: str) -> np.ndarray:
        """The array that `name` is in a scope; FormatError if it is no constant."""
        found = scope.find(name)
        if found is None:
            raise FormatError(f"{self._where}: {name!r} is no value of the model")
        place = found[0], name
        if place not in self._known:
            if place in self._pending or len(self._pending) > LONGEST_CHAIN:
                raise FormatError(
                    f"{self._where}: {name!r} is at the end of a chain that is too long or a circle"
                )
            self._pending.add(place)
            try:
                self._known[place] = self._computed(found[0], name, found[1])
            except FormatError as error:
                # Not the error itself: its traceback holds this object, and so the model, in a circle.
                self._known[place] = _Refusal(type(error), error.args)
                raise
            finally:
                self._pending.remove(place)
        known = self._known[place]
        if isinstance(known, _Refusal):
            raise known.kind(*known.arguments)
        return known

    def shape(self, scope: Scope, name: str) -> tuple[int, ...]:
        """The shape of a constant; that of a stored tensor without its values."""
        found = scope.find(name)
        if found is not None and found[1].kind == "tensor":
            return tuple(found[1].what.dims)
        return self.value(scope, name).shape

    def _computed(self, scope: Scope, name: str, definition: Definition) -> np.ndarray:
        if definition.kind == "tensor":
            return self._tensor(name, definition.what)
        if definition.kind == "argument" and scope.caller is not None:
            return self.value(scope.caller, definition.what)
        if definition.kind == "node":
            return self._output(scope, name, definition)
        what = {"sparse": "a sparse tensor", "twice": "defined twice"}.get(
            definition.kind, "no constant of the model"
        )
        raise FormatError(f"{self._where}: {name!r} is {what}, but weights must be dense constants")

    def _output(self, scope: Scope, name: str, definition: Definition) -> np.ndarray:
        """One output of a node."""
        node = scope.nodes[definition.what]
        if (function := scope.function(node)) is not None:
            if definition.output >= len(function.output):
                raise FormatError(f"{self._where}: {name!r} is no output of the function {node.op_type!r}")
            return self.value(scope.called(definition.what), function.output[definition.output])
        is_standard = node.domain in STANDARD
        is_dequantized = node.domain == "com.microsoft" and node.op_type == "DequantizeLinear"
        if is_standard and node.op_type == "Constant":
            return self._constant(scope, name, node)
        if is_standard and node.op_type == "Shape":
            return self._shape_of(scope, node)
        if not (is_standard or is_dequantized) or node.op_type not in OPERATORS:
            full_name = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
            raise FormatError(
                f"{self._where}: {name!r} is computed by {full_name}, but weights must be constants, "
                f"rearranged by no more than {', '.join(OPERATORS)}"
            )
        operator = OPERATORS[node.op_type]
        attributes = scope.attributes(node)
        if unknown := operator.unknown(attributes, scope.opset):
            raise FormatError(
                f"{self._where}: {name!r} is of {node.op_type} with {', '.join(unknown)}, which is not known"
            )
        if len(node.input) > operator.most_inputs:
            raise FormatError(f"{self._where}: {name!r} is of {node.op_type} with {len(node.input)} inputs")
        attributes |= {"outputs": len(node.output), "opset": scope.opset}
        if "value" in attributes:
            attributes["value"] = self._tensor(name, attributes["value"])
        inputs = [self.value(scope, given) if given else None for given in node.input]
        if not inputs or inputs[0] is None:
            raise FormatError(f"{self._where}: {name!r} has no inputs")
        try:
            with np.errstate(all="ignore"):
                results = operator.compute(inputs, attributes, self._left(self._computed_bytes))
            result = results[definition.output] if isinstance(results, list) else results
        except (ValueError, TypeError, IndexError, KeyError, AttributeError, OverflowError) as error:
            raise FormatError(f"{self._where}: {name!r} by {node.op_type}: {error}") from error
        if not isinstance(results, list) and definition.output:
            raise FormatError(f"{self._where}: {name!r} is no output of {node.op_type} that may be weights")
        if result.base is None:  # views take nothing
            self._computed_bytes += result.nbytes
        return result

    def fill(self, scope: Scope, node: Any) -> np.ndarray:
        """The value, (1,), that a ConstantOfShape fills an array with, whatever its shape."""
        value = scope.attributes(node).get("value")
        return np.zeros(1, np.float32) if value is None else self._tensor(node.name, value)

    def _constant(self, scope: Scope, name: str, node: Any) -> np.ndarray:
        """The value of a Constant node, in any of its forms."""
        attributes = scope.attributes(node)
        if len(attributes) != 1:
            raise FormatError(
                f"{self._where}: the constant {name!r} has {len(attributes)} values, but must have one"
            )
        ((form, value),) = attributes.items()
        if form == "value":
            return self._tensor(name, value)
        if form not in SCALARS:
            raise FormatError(
                f"{self._where}: the constant {name!r} is a {form}, but must be dense and of numbers"
            )
        try:
            return np.array(value, SCALARS[form])
        except (ValueError, TypeError, OverflowError) as error:
            raise FormatError(f"{self._where}: the constant {name!r}: {error}") from error

    def _shape_of(self, scope: Scope, node: Any) -> np.ndarray:
        """The shape of a constant, or of what the model declares the shape of."""
        attributes = scope.attributes(node)
        if unknown := sorted(set(attributes) - {"start", "end"}):
            raise FormatError(f"{self._where}: Shape has {', '.join(unknown)}, which is not known")
        given = node.input[0] if node.input else ""
        lengths: list[int | None] | None
        try:
            lengths = list(self.value(scope, given).shape)
        except ExternalDataError:
            raise
        except FormatError:
            found = scope.find(given)
            lengths = found[0].declared(given) if found else None
        if lengths is not None:
            lengths = lengths[attributes.get("start", 0) : attributes.get("end")]
        if lengths is None or None in lengths:
            raise FormatError(f"{self._where}: the shape of {given!r} is not known before the model is run")
        return np.array(lengths, np.int64)

    def _tensor(self, name: str, tensor: Any) -> np.ndarray:
        """The array of a TensorProto, floats not below float32."""
        where = f"{self._where}: {name!r}"
        kind, shape = getattr(tensor, "data_type", None), tuple(getattr(tensor, "dims", ()))
        if kind not in DTYPES and kind not in (UINT4, INT4):
            raise FormatError(f"{where} has data type {kind}, but must be of numbers")
        if len(shape) > MOST_AXES:
            raise FormatError(f"{where} has {len(shape)} axes")
        if any(length < 0 for length in shape):
            raise FormatError(f"{where} has shape {shape}")
        size = int(np.prod(shape, dtype=object))
        width = np.dtype(DTYPES[kind]).itemsize if kind in DTYPES else 1
        if tensor.data_location == tensor.EXTERNAL:
            if kind not in DTYPES:
                raise FormatError(f"{where} has data type {kind} in another file")
            array = self._model.outside(name, tensor, np.dtype(DTYPES[kind]))
            self._count(where, size * width, shape)
            return self._widened(kind, array)
        self._count(where, size * width, shape)
        try:
            if kind == BFLOAT16 and tensor.raw_data:
                array = np.frombuffer(tensor.raw_data, DTYPES[kind]).reshape(shape)
            else:
                array = np.asarray(self._model.library.numpy_helper.to_array(tensor))
        except Exception as error:  # whatever the library meets in a damaged tensor
            raise FormatError(f"{where} is damaged: {error}") from error
        return self._widened(kind, array)

    def _count(self, where: str, size: int, shape: tuple[int, ...]) -> None:
        """Count the bytes of a tensor; FormatError if they are more than there can be."""
        if size > self._left(self._read_bytes):
            raise FormatError(f"{where} claims shape {shape}, and so more bytes than the model has")
        self._read_bytes += size

    @staticmethod
    def _widened(kind: int, array: np.ndarray) -> np.ndarray:
        """float16 and bfloat16 as float32, integers of four bits as those of eight."""
        if kind == BFLOAT16 and array.dtype == np.dtype("<u2"):
            return (array.astype(np.uint32) << 16).view(np.float32)
        if array.dtype == np.float16 or kind == BFLOAT16:
            return array.astype(np.float32)
        if kind in (UINT4, INT4):
            return array.astype(np.uint8 if kind == UINT4 else np.int8)
        return array


def producer(scope: Scope, name: str) -> tuple[Scope, Any, int] | None:
    """The scope, node and output that a name comes from, through calls of functions; None if from nowhere."""
    for _ in range(LONGEST_CHAIN):
        found = scope.find(name)
        if found is None:
            return None
        scope, definition = found
        if definition.kind == "argument" and scope.caller is not None:
            scope, name = scope.caller, definition.what
        elif definition.kind == "node":
            node = scope.nodes[definition.what]
            if (function := scope.function(node)) is None:
                return scope, node, definition.output
            if definition.output >= len(function.output):
                return None
            scope, name = scope.called(definition.what), function.output[definition.output]
        else:
            return None
    return None
