"""A parsed .tflite model: its graphs, their operators, and the values of constant tensors."""

from __future__ import annotations

import contextlib
import math
import os
import struct
from array import array
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from ..archive import LONGEST_SHOWN, SMALL
from ..errors import FormatError
from ..reading import open_plain
from . import bounds

IDENTIFIER = b"TFL3"
CUSTOM = "CUSTOM"  # an operator that is known by its name alone, which follows here
MOST_AXES = 32
MOST_NUMBERS = 200_000  # of tensors, at all operators
# What an operator's options hold: numbers of so many bytes, by slot.
OPTIONS = {
    "UnidirectionalSequenceLSTMOptions": (1, 4, 4, 1, 1, 1),
    "BidirectionalSequenceLSTMOptions": (1, 4, 4, 1, 1, 1),
    "ConcatenationOptions": (4, 1),
    "AddOptions": (1,),
    "MulOptions": (1,),
    "DivOptions": (1,),
    "StridedSliceOptions": (4, 4, 4, 4, 4, 1),
}
DTYPES = {
    "FLOAT32": "<f4",
    "FLOAT16": "<f2",
    "FLOAT64": "<f8",
    "INT8": "i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "UINT8": "u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
    "BOOL": "?",
}


def library() -> Any:
    """The package tflite; ImportError that names the extra."""
    try:
        import tflite
    except ImportError as error:
        raise ImportError('.tflite files need tflite: pip install "lstm-native[tflite]"') from error
    return tflite


class Tensor(NamedTuple):
    """What a graph says of one of its tensors."""

    name: str
    shape: tuple[int, ...]
    dtype: str  # TensorFlow Lite's name of it, such as FLOAT32
    buffer: int
    is_variable: bool
    is_sparse: bool
    scales: np.ndarray  # (1,), one for each slice along `axis`, or (0,)
    zeros: np.ndarray  # of the same length
    axis: int


class Operator(NamedTuple):
    """One operator: what it computes, and the numbers of its tensors, -1 for one that is left out."""

    kind: str  # TensorFlow Lite's name of it, such as ADD
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Any  # the object of the package tflite, None if there is none


class Users:
    """Which operators have each tensor among their inputs, or among their outputs.

    In two arrays: lists of Python would take twenty times what the file does.
    """

    def __init__(self, numbers: array[int], lengths: array[int]) -> None:
        tensors = np.array(numbers, np.int32)
        order = np.argsort(tensors, kind="stable")
        self.tensors = tensors[order]
        self._operators = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)[order]

    def of(self, number: int) -> list[int]:
        """The indices of the operators in order, one as often as it has the tensor."""
        first, last = np.searchsorted(self.tensors, [number, number + 1])
        indices: list[int] = self._operators[first:last].tolist()
        return indices


class Graph:
    """One graph of a model, with what computes and what takes each of its tensors."""

    def __init__(self, model: Model, number: int, graph: Any) -> None:
        self.model, self.number, self._graph = model, number, graph
        self.tensors: int = graph.TensorsLength()
        self._inputs = frozenset(self._numbers(graph.InputsAsNumpy()).tolist())
        self._outputs = Counter(self._numbers(graph.OutputsAsNumpy()).tolist())
        self.kinds: list[str] = []  # of its operators
        sides = [(array("i"), array("i")), (array("i"), array("i"))]
        for k in range(graph.OperatorsLength()):
            found = graph.Operators(k)
            self.kinds.append(self._kind(found))
            for (numbers, lengths), own in zip(
                sides, (found.InputsAsNumpy(), found.OutputsAsNumpy()), strict=True
            ):
                checked = self._numbers(own)
                numbers.extend(checked.tolist())
                lengths.append(len(checked))
        self._takers, self._makers = (Users(*side) for side in sides)
        made = self._makers.tensors[self._makers.tensors >= 0]
        if (made[1:] == made[:-1]).any() or not self._inputs.isdisjoint(made.tolist()):
            raise FormatError(f"{model.where}: a tensor is computed twice, or is an input and computed")

    def operator(self, index: int) -> Operator:
        """The operator of an index."""
        found = self._graph.Operators(index)
        inputs, outputs = (
            () if isinstance(own, int) else tuple(own.tolist())
            for own in (found.InputsAsNumpy(), found.OutputsAsNumpy())
        )
        return Operator(self.kinds[index], inputs, outputs, self.model.options(found))

    def maker(self, number: int) -> int | None:
        """The index of the operator that computes a tensor, None for one that none does."""
        return next(iter(self._makers.of(number)), None) if number >= 0 else None

    def takers(self, number: int) -> list[int]:
        """The indices of the operators that take a tensor."""
        return sorted(set(self._takers.of(number)))

    def occurrences(self, number: int) -> int:
        """How often a tensor is among the inputs of operators."""
        return len(self._takers.of(number))

    def uses(self, number: int) -> int:
        """How many operators take a tensor, and outputs of the graph are it."""
        return len(self.takers(number)) + self._outputs[number]

    def is_input(self, number: int) -> bool:
        """Whether a tensor is an input of the graph."""
        return number in self._inputs

    def _numbers(self, found: Any) -> np.ndarray:
        """Numbers of tensors, -1 for none; the package has 0 for a vector that is not there."""
        numbers = np.zeros(0, np.int32) if isinstance(found, int) else found
        self.model.count(len(numbers))
        if len(numbers) and not -1 <= numbers.min() <= numbers.max() < self.tensors:
            raise FormatError(
                f"{self.model.where}: there are {self.tensors} tensors, but numbers from {numbers.min()} to "
                f"{numbers.max()} of them"
            )
        return numbers

    def _kind(self, found: Any) -> str:
        """What an operator computes."""
        codes: list[str] = self.model.codes
        number: int = found.OpcodeIndex()
        if number >= len(codes):
            raise FormatError(
                f"{self.model.where}: there are {len(codes)} kinds of operators, so none of number {number}"
            )
        return codes[number]

    def tensor(self, number: int) -> Tensor:
        """What is said of a tensor of this number, whose values may be anything."""
        found = self._graph.Tensors(number)
        where = f"{self.model.where}: tensor {number}"
        name = (found.Name() or b"").decode("utf-8", "backslashreplace")
        shape = found.ShapeAsNumpy()
        lengths = () if isinstance(shape, int) else tuple(shape.tolist())
        if len(lengths) > MOST_AXES or any(length < 0 for length in lengths):
            raise FormatError(f"{where} has shape {str(lengths)[:LONGEST_SHOWN]}")
        scales, zeros, axis = np.zeros(0, np.float32), np.zeros(0, np.int64), 0
        if (quantization := found.Quantization()) is not None and quantization.ScaleLength():
            scales, axis = quantization.ScaleAsNumpy(), quantization.QuantizedDimension()
            zeros = np.zeros(len(scales), np.int64)
            if quantization.ZeroPointLength():
                zeros = quantization.ZeroPointAsNumpy()
            if len(zeros) != len(scales):
                raise FormatError(f"{where} has {len(scales)} scales, but {len(zeros)} zero points")
        dtype = self.model.dtypes.get(found.Type(), f"type {found.Type()}")
        is_variable, is_sparse = bool(found.IsVariable()), found.Sparsity() is not None
        return Tensor(name, lengths, dtype, found.Buffer(), is_variable, is_sparse, scales, zeros, axis)

    def values(self, number: int) -> np.ndarray | None:
        """The stored values of a tensor, read-only and as they are stored; None if it is no constant."""
        tensor = self.tensor(number)
        where = f"{self.model.where}: tensor {tensor.name!r:.{LONGEST_SHOWN}}"
        data = self.model.data(where, tensor.buffer)
        if not len(data):
            return None
        if tensor.dtype not in DTYPES or tensor.is_sparse:
            what = "sparse" if tensor.is_sparse else f"of {tensor.dtype}"
            raise FormatError(f"{where} is {what}, but must be dense and of {', '.join(DTYPES)}")
        dtype = np.dtype(DTYPES[tensor.dtype])
        if math.prod(tensor.shape) * dtype.itemsize != len(data):
            raise FormatError(
                f"{where} has shape {str(tensor.shape)[:LONGEST_SHOWN]} of {tensor.dtype}, but {len(data)} "
                "bytes"
            )
        self.model.spend(where, len(data))
        return np.frombuffer(data, dtype).reshape(tensor.shape)

    def real_values(self, number: int) -> np.ndarray | None:
        """The same, integers with a scale as the float32 that they stand for."""
        values, tensor = self.values(number), self.tensor(number)
        if values is None or not len(tensor.scales) or values.dtype.kind not in "iu":
            return values
        shape = [1] * values.ndim
        if len(tensor.scales) > 1:
            if not 0 <= tensor.axis < values.ndim or values.shape[tensor.axis] != len(tensor.scales):
                raise FormatError(
                    f"{self.model.where}: tensor {tensor.name!r:.{LONGEST_SHOWN}} of shape {tensor.shape} "
                    f"has {len(tensor.scales)} scales along axis {tensor.axis}"
                )
            shape[tensor.axis] = len(tensor.scales)
        scales, zeros = tensor.scales.reshape(shape), tensor.zeros.reshape(shape)
        with np.errstate(all="ignore"):
            # Zero points of the usual 0 leave 8 bits as they are; any others are subtracted exactly.
            whole = values if not zeros.any() else values.astype(np.float64) - zeros
            return np.asarray(np.multiply(whole, scales, dtype=np.float32))

    def has_data(self, number: int) -> bool:
        """Whether a tensor's buffer holds any bytes."""
        tensor = self.tensor(number)
        return bool(len(self.model.data(f"{self.model.where}: tensor {number}", tensor.buffer)))


class Model:
    """A model's graphs. All that its package reads of the bytes is bounded first."""

    def __init__(self, where: str, content: bytes) -> None:
        if content[4:8] != IDENTIFIER:
            raise FormatError(f"{where} is no .tflite file: it does not have {IDENTIFIER.decode()} at byte 4")
        bounds.check(where, content)
        self.where, self._content = where, content
        self._library = tflite = library()
        self._model = tflite.Model.GetRootAs(content, 0)
        self._left = max(SMALL, 2 * len(content))
        self._numbers_left = MOST_NUMBERS
        kinds = _names(tflite.BuiltinOperator)
        self.dtypes = _names(tflite.TensorType)
        self.functions = _names(tflite.ActivationFunctionType)
        self._option_names = _names(tflite.BuiltinOptions)
        self.codes: list[str] = []
        for k in range(self._model.OperatorCodesLength()):
            code = self._model.OperatorCodes(k)
            number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
            kind = kinds.get(number, f"operator {number}")
            if kind == CUSTOM:
                kind += f" {(code.CustomCode() or b'').decode('utf-8', 'backslashreplace'):.{LONGEST_SHOWN}}"
            self.codes.append(kind)
        self.graphs = [Graph(self, k, self._model.Subgraphs(k)) for k in range(self._model.SubgraphsLength())]

    def options(self, operator: Any) -> Any:
        """An operator's options if they are of a kind that is read here, else None."""
        name = self._option_names.get(operator.BuiltinOptionsType())
        table = operator.BuiltinOptions()
        if name not in OPTIONS or table is None:
            return None
        bounds.numbers_fit(self.where, self._content, table.Pos, OPTIONS[name])
        options = getattr(self._library, name)()
        options.Init(table.Bytes, table.Pos)
        return options

    def data(self, where: str, number: int) -> memoryview:
        """The bytes of a buffer."""
        if number >= self._model.BuffersLength():
            raise FormatError(
                f"{where} has buffer {number}, but there are {self._model.BuffersLength()} of them"
            )
        buffer = self._model.Buffers(number)
        if buffer.DataLength():
            return memoryview(buffer.DataAsNumpy())
        # Models of over 2 GB have the bytes behind the tables.
        first, size = buffer.Offset(), buffer.Size()
        if first <= 1 or not size:
            return memoryview(b"")
        if first + size > len(self._content):
            raise FormatError(f"{where} has {size} bytes at byte {first}, which the file does not hold")
        return memoryview(self._content)[first : first + size]

    def count(self, numbers: int) -> None:
        """FormatError if the operators of all graphs have more tensors than are read."""
        self._numbers_left -= numbers
        if self._numbers_left < 0:
            raise FormatError(f"{self.where} has operators of over {MOST_NUMBERS} tensors together")

    def spend(self, where: str, size: int) -> None:
        """FormatError if all tensors that are read take more than the file holds, sharing its bytes."""
        self._left -= size
        if self._left < 0:
            raise FormatError(f"{where} shares its bytes with others, which together are over twice the file")


@contextlib.contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[Model]:
    """The model of a file; FormatError if it is none, or for damage that is met in this block."""
    library()
    name = os.fspath(path)
    with open_plain(name) as file:
        content = file.readall()
    model = None
    try:
        model = Model(name, content)
        del content
        yield model
    except (FormatError, MemoryError):
        raise
    except ERRORS as error:
        raise FormatError(f"{name} is damaged: {error}") from error
    finally:
        if model is not None:
            model.graphs.clear()  # which have the model, so that the bytes would stay


# What damage makes of the bounded reads of a package that expects none.
ERRORS = (ValueError, TypeError, AttributeError, LookupError, OverflowError, struct.error)


def _names(enumeration: Any) -> dict[int, str]:
    """The names of an enumeration's numbers."""
    return {value: name for name, value in vars(enumeration).items() if isinstance(value, int)}
