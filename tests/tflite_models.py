"""Models of TensorFlow Lite, written by the package tflite: operators in a row, tensors by name.

Shapes: B batch, T time, I input, H hidden, O features of h.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flatbuffers
import numpy as np
import tflite

ONE, TWO = "UNIDIRECTIONAL_SEQUENCE_LSTM", "BIDIRECTIONAL_SEQUENCE_LSTM"
TYPES = {
    "float32": tflite.TensorType.FLOAT32,
    "float16": tflite.TensorType.FLOAT16,
    "float64": tflite.TensorType.FLOAT64,
    "int8": tflite.TensorType.INT8,
    "int16": tflite.TensorType.INT16,
    "int32": tflite.TensorType.INT32,
    "uint8": tflite.TensorType.UINT8,
    "bool": tflite.TensorType.BOOL,
    "string": tflite.TensorType.STRING,
}
# The options of each operator that has some: their table's name in the package.
OPTIONS = {
    ONE: "UnidirectionalSequenceLSTMOptions",
    TWO: "BidirectionalSequenceLSTMOptions",
    "CONCATENATION": "ConcatenationOptions",
    "ADD": "AddOptions",
    "MUL": "MulOptions",
    "DIV": "DivOptions",
    "STRIDED_SLICE": "StridedSliceOptions",
    "REVERSE_V2": "ReverseV2Options",
    "TRANSPOSE": "TransposeOptions",
    "DEQUANTIZE": "DequantizeOptions",
    "WHILE": "WhileOptions",
}
DEFAULTS = {ONE: {"FusedActivationFunction": tflite.ActivationFunctionType.TANH}}
DEFAULTS[TWO] = {**DEFAULTS[ONE], "MergeOutputs": True, "TimeMajor": False}


class Writer:
    """One graph that is written. Tensors are numbers, as operators take them."""

    def __init__(self) -> None:
        self.tensors: list[dict[str, Any]] = []
        self.buffers: list[bytes] = [b""]
        self.operators: list[tuple[str, list[int], list[int], dict[str, Any]]] = []
        self.inputs: list[int] = []
        self.outputs: list[int] = []

    def tensor(self, name: str, shape: Sequence[int], dtype: str = "float32", **more: Any) -> int:
        """A tensor without values; `more` may be variable=, scales=, zeros=, axis=, buffer=."""
        self.tensors.append({"name": name, "shape": list(shape), "dtype": dtype, "buffer": 0, **more})
        return len(self.tensors) - 1

    def input(self, name: str, shape: Sequence[int], dtype: str = "float32") -> int:
        self.inputs.append(self.tensor(name, shape, dtype))
        return self.inputs[-1]

    def constant(self, name: str, values: Any, **more: Any) -> int:
        array = np.asarray(values)
        self.buffers.append(array.tobytes())
        more = {"buffer": len(self.buffers) - 1, **more}
        return self.tensor(name, array.shape, array.dtype.name, **more)

    def weights(self, name: str, values: np.ndarray | None, kind: str) -> int:
        """Constant weights, stored as float32, float16 (before a DEQUANTIZE) or int8; -1 for None."""
        if values is None:
            return -1
        if kind == "int8" and values.ndim == 2:
            scale = np.float32(np.abs(values).max() / 127)
            rounded = np.clip(np.round(values / scale), -127, 127).astype(np.int8)
            return self.constant(name, rounded, scales=[scale], zeros=[0])
        if kind == "float16":
            half = self.constant(f"{name}/half", values.astype(np.float16))
            return self.operator("DEQUANTIZE", [half], name, values.shape)
        return self.constant(name, values.astype(np.float32))

    def operator(
        self, kind: str, inputs: Sequence[int], name: str, shape: Sequence[int], **options: Any
    ) -> int:
        """An operator of one output, which is returned."""
        output = self.tensor(name, shape)
        self.operators.append((kind, list(inputs), [output], {**DEFAULTS.get(kind, {}), **options}))
        return output

    # What converters write around an LSTM

    def reverse(self, number: int, axis: int) -> int:
        axes = self.constant("axis", np.array([axis], np.int32))
        tensor = self.tensors[number]
        return self.operator("REVERSE_V2", [number, axes], tensor["name"] + "/reversed", tensor["shape"])

    def swap(self, number: int) -> int:
        order = self.constant("order", np.array([1, 0, 2], np.int32))
        first, second, features = self.tensors[number]["shape"]
        name = self.tensors[number]["name"] + "/swapped"
        return self.operator("TRANSPOSE", [number, order], name, (second, first, features))

    def last(self, number: int, axis: int = 1) -> int:
        shape = list(self.tensors[number]["shape"])
        begin, end, strides = np.zeros(3, np.int32), np.zeros(3, np.int32), np.ones(3, np.int32)
        begin[axis] = -1
        given = [self.constant(name, one) for name, one in zip("bes", (begin, end, strides), strict=True)]
        others = sum(1 << k for k in range(3) if k != axis)
        masks = {"BeginMask": others, "EndMask": others | 1 << axis, "ShrinkAxisMask": 1 << axis}
        name = self.tensors[number]["name"] + "/last"
        del shape[axis]
        return self.operator("STRIDED_SLICE", [number, *given], name, shape, **masks)

    def lstm(
        self, name: str, x: int, weights: dict[str, np.ndarray], kind: str = "float32", **options: Any
    ) -> int:
        """A fused operator of the weights that `random_weights` gives; Y (B, T, O)."""
        first, second, _ = self.tensors[x]["shape"]
        B = second if options.get("TimeMajor") else first
        H, O = weights["h_f"].shape  # noqa: E741
        places = [x, *self.lstm_weights(name, weights, kind)]
        places += [
            self.tensor(f"{name}/h", (B, O), variable=True),
            self.tensor(f"{name}/c", (B, H), variable=True),
        ]
        return self.operator(ONE, [*places, -1, -1, -1, -1], name, (first, second, O), **options)

    def lstm_weights(self, name: str, weights: dict[str, np.ndarray], kind: str) -> list[int]:
        """The 17 tensors of one direction."""
        return [self.weights(f"{name}/{key}", weights.get(key), kind) for key in KEYS]

    def both(self, name: str, x: int, sides: Sequence[dict[str, np.ndarray]], **options: Any) -> int:
        """A BIDIRECTIONAL_SEQUENCE_LSTM of one output."""
        first, second, _ = self.tensors[x]["shape"]
        B = second if options.get("TimeMajor") else first
        H, O = sides[0]["h_f"].shape  # noqa: E741
        places = [x]
        for side, weights in enumerate(sides):
            places += self.lstm_weights(f"{name}/{side}", weights, "float32")
        for side in range(2):
            places.append(self.tensor(f"{name}/{side}/h", (B, O), variable=True))
            places.append(self.tensor(f"{name}/{side}/c", (B, H), variable=True))
        return self.operator(TWO, places + [-1] * 9, name, (first, second, 2 * O), **options)

    # Writing

    def content(self, *outputs: int, force_defaults: bool = False) -> bytes:
        """The file, with these outputs of the graph; numbers that are the default are left out or not."""
        b = flatbuffers.Builder(0)
        b.ForceDefaults(force_defaults)
        kinds = list(dict.fromkeys(kind for kind, *_ in self.operators))
        codes = [self._code(b, kind) for kind in kinds]
        operators = [self._operator(b, kinds, *one) for one in self.operators]
        tensors = [self._tensor(b, one) for one in self.tensors]
        tables = [offsets(b, tensors), numbers(b, self.inputs), numbers(b, outputs), offsets(b, operators)]
        tflite.SubGraphStart(b)
        for add, table in zip(("Tensors", "Inputs", "Outputs", "Operators"), tables, strict=True):
            getattr(tflite, f"SubGraphAdd{add}")(b, table)
        graphs = offsets(b, [tflite.SubGraphEnd(b)])
        buffers = offsets(b, [self._buffer(b, one) for one in self.buffers])
        given = offsets(b, codes)
        tflite.ModelStart(b)
        tflite.ModelAddVersion(b, 3)
        tflite.ModelAddOperatorCodes(b, given)
        tflite.ModelAddSubgraphs(b, graphs)
        tflite.ModelAddBuffers(b, buffers)
        b.Finish(tflite.ModelEnd(b), b"TFL3")
        return bytes(b.Output())

    def _code(self, b: Any, kind: str) -> int:
        kind, _, name = kind.partition(" ")
        number, custom = getattr(tflite.BuiltinOperator, kind), b.CreateString(name) if name else None
        tflite.OperatorCodeStart(b)
        if custom is not None:
            tflite.OperatorCodeAddCustomCode(b, custom)
        tflite.OperatorCodeAddDeprecatedBuiltinCode(b, min(number, 127))
        tflite.OperatorCodeAddBuiltinCode(b, number)
        tflite.OperatorCodeAddVersion(b, {"DEQUANTIZE": 2}.get(kind, 1))
        end: int = tflite.OperatorCodeEnd(b)
        return end

    def _operator(
        self,
        b: Any,
        kinds: list[str],
        kind: str,
        inputs: list[int],
        outputs: list[int],
        options: dict[str, Any],
    ) -> int:
        table = OPTIONS.get(kind)
        given = None
        if table is not None and options.pop("has_options", True):
            getattr(tflite, f"{table}Start")(b)
            for name, value in options.items():
                getattr(tflite, f"{table}Add{name}")(b, value)
            given = getattr(tflite, f"{table}End")(b)
        places = numbers(b, inputs), numbers(b, outputs)
        tflite.OperatorStart(b)
        tflite.OperatorAddOpcodeIndex(b, kinds.index(kind))
        tflite.OperatorAddInputs(b, places[0])
        tflite.OperatorAddOutputs(b, places[1])
        if given is not None:
            tflite.OperatorAddBuiltinOptionsType(b, getattr(tflite.BuiltinOptions, str(table)))
            tflite.OperatorAddBuiltinOptions(b, given)
        end: int = tflite.OperatorEnd(b)
        return end

    def _tensor(self, b: Any, tensor: dict[str, Any]) -> int:
        name, shape = b.CreateString(tensor["name"]), numbers(b, tensor["shape"])
        quantization = None
        if "scales" in tensor:
            scales = b.CreateNumpyVector(np.array(tensor["scales"], np.float32))
            zeros = b.CreateNumpyVector(np.array(tensor.get("zeros", []), np.int64))
            tflite.QuantizationParametersStart(b)
            tflite.QuantizationParametersAddScale(b, scales)
            tflite.QuantizationParametersAddZeroPoint(b, zeros)
            tflite.QuantizationParametersAddQuantizedDimension(b, tensor.get("axis", 0))
            quantization = tflite.QuantizationParametersEnd(b)
        tflite.TensorStart(b)
        tflite.TensorAddShape(b, shape)
        tflite.TensorAddType(b, TYPES.get(tensor["dtype"], 0))
        tflite.TensorAddBuffer(b, tensor["buffer"])
        tflite.TensorAddName(b, name)
        if quantization is not None:
            tflite.TensorAddQuantization(b, quantization)
        tflite.TensorAddIsVariable(b, tensor.get("variable", False))
        end: int = tflite.TensorEnd(b)
        return end

    def _buffer(self, b: Any, data: bytes) -> int:
        vector = b.CreateByteVector(data) if data else None
        tflite.BufferStart(b)
        if vector is not None:
            tflite.BufferAddData(b, vector)
        end: int = tflite.BufferEnd(b)
        return end


def numbers(b: Any, values: Sequence[int]) -> int:
    """A vector of int32."""
    end: int = b.CreateNumpyVector(np.array(values, np.int32))
    return end


def offsets(b: Any, tables: Sequence[int]) -> int:
    """A vector of tables."""
    b.StartVector(4, len(tables), 4)
    for one in reversed(tables):
        b.PrependUOffsetTRelative(one)
    end: int = b.EndVector()
    return end


# The 17 tensors of one direction, in their order.
KEYS = (
    *("x_i", "x_f", "x_c", "x_o", "h_i", "h_f", "h_c", "h_o", "p_i", "p_f", "p_o"),
    *("b_i", "b_f", "b_c", "b_o", "projection", "projection_bias"),
)


def random_weights(
    seed: int, inputs: int = 3, H: int = 5, P: int = 0, peephole: bool = False, coupled: bool = False
) -> dict[str, np.ndarray]:
    """Weights of one direction by their names: random, and distinct."""
    rng = np.random.default_rng(seed)
    shapes: dict[str, tuple[int, ...]] = {f"x_{gate}": (H, inputs) for gate in "ifco"}
    shapes |= {f"h_{gate}": (H, P or H) for gate in "ifco"} | {f"b_{gate}": (H,) for gate in "ifco"}
    shapes |= {f"p_{gate}": (H,) for gate in "ifo"} if peephole else {}
    shapes |= {"projection": (P, H)} if P else {}
    drawn = {name: rng.uniform(-0.9, 0.9, shape).astype(np.float32) for name, shape in shapes.items()}
    return {name: array for name, array in drawn.items() if not (coupled and name.endswith("_i"))}
