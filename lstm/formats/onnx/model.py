"""A parsed ONNX model: its scopes of names, the LSTM nodes in them, and its tensors' bytes.

A scope is one graph (the model's own, or one within a node, such as a branch of an If) or one call of a
function that the model brings along.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import stat
from collections.abc import Iterator
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from ..errors import FormatError, is_out_of_memory
from ..option_names import option
from ..reading import open_plain

# Graphs within nodes and calls of functions, one in the other; the parser stops at some 30 graphs itself.
DEEPEST = 50
# Nodes within calls, a call counted for a hundred: functions that call each other twice make 2^n of them.
MOST_CALLED_NODES = 100_000
FIRST_IR_WITH_OPSETS = 3
CHUNK = 1 << 20
LARGEST = (1 << 31) - 1  # bytes that the parser takes

Key: TypeAlias = tuple[str, str, str]
STANDARD = ("", "ai.onnx")


def library() -> Any:
    """The package onnx; ImportError that names the extra."""
    try:
        import onnx
        import onnx.helper
        import onnx.numpy_helper
    except ImportError as error:
        raise ImportError('ONNX models need onnx: pip install "lstm-native[onnx]"') from error
    return onnx


class ExternalDataError(FormatError):
    """A value is in another file, which the caller does not let be read."""


class Definition(NamedTuple):
    """What defines a name: a tensor, an output of a node, a caller's value, or nothing that is known."""

    kind: str  # "tensor", "sparse", "node", "argument", "input", "twice"
    what: Any = None  # TensorProto; index of the node; name of the caller's value
    output: int = 0


class Scope:
    """The names of one graph or of one call of a function.

    `outer` is the graph around this one, whose names are seen too; `caller` the scope that calls the
    function, and `call` the node by which.
    """

    def __init__(
        self,
        model: Model,
        body: Any,
        outer: Scope | None = None,
        caller: Scope | None = None,
        call: Any = None,
    ) -> None:
        self.model, self.body, self.outer, self.caller = model, body, outer, caller
        self.nodes = list(body.node)
        self.opset: int = outer.opset if outer else _opset(model, body if call is not None else model.proto)
        # Attributes of the call; None if there is none.
        self.given: dict[str, Any] | None = outer.given if outer else None
        self.definitions: dict[str, Definition] = {}
        if call is not None and caller is not None:
            self.given = {a.name: a for a in body.attribute_proto} | dict(caller.attribute_protos(call))
            for place, name in enumerate(body.input):
                given = call.input[place] if place < len(call.input) else ""
                self.definitions[name] = Definition("argument", given) if given else Definition("input")
        else:
            self.definitions.update((value.name, Definition("input")) for value in body.input)
            self._tensors(body)
        for index, node in enumerate(self.nodes):
            for place, name in enumerate(node.output):
                if name:
                    is_new = name not in self.definitions
                    self.definitions[name] = (
                        Definition("node", index, place) if is_new else Definition("twice")
                    )

    def _tensors(self, graph: Any) -> None:
        """Initializers; one may be the default of an input."""
        for tensor in graph.initializer:
            is_new = self.definitions.get(tensor.name, Definition("input")).kind == "input"
            self.definitions[tensor.name] = Definition("tensor", tensor) if is_new else Definition("twice")
        for sparse in graph.sparse_initializer:
            self.definitions[sparse.values.name] = Definition("sparse")

    def find(self, name: str) -> tuple[Scope, Definition] | None:
        """The definition of `name` and the scope that it is in; None if it is unknown."""
        scope: Scope | None = self
        while scope is not None:
            if name in scope.definitions:
                return scope, scope.definitions[name]
            scope = scope.outer
        return None

    def function(self, node: Any) -> Any:
        """The model's own function that a node calls; None for an operator."""
        return self.model.functions.get(_key(node.domain, node.op_type, node))

    def called(self, index: int) -> Scope:
        """The scope of the call that is the node of this index."""
        calls = self.model.calls
        if (self, index) not in calls:
            node = self.nodes[index]
            calls[self, index] = Scope(self.model, self.function(node), caller=self, call=node)
        return calls[self, index]

    def attribute_protos(self, node: Any) -> Iterator[tuple[str, Any]]:
        """A node's attributes by name, those that refer to one of the call replaced by it."""
        seen = set()
        for attribute in node.attribute:
            if attribute.name in seen:
                raise FormatError(
                    f"{self.model.where}: {named(node)!r} has two attributes {attribute.name!r}"
                )
            seen.add(attribute.name)
            if not attribute.ref_attr_name:
                yield attribute.name, attribute
            elif self.given is None:
                raise FormatError(
                    f"{self.model.where}: {named(node)!r} has {attribute.name!r} of a call, but is in none"
                )
            elif (given := self.given.get(attribute.ref_attr_name)) is not None:
                yield attribute.name, given

    def attributes(self, node: Any) -> dict[str, Any]:
        """The values of a node's attributes."""
        value_of = self.model.library.helper.get_attribute_value
        try:
            return {name: value_of(attribute) for name, attribute in self.attribute_protos(node)}
        except FormatError:
            raise
        except ValueError as error:
            raise FormatError(f"{self.model.where}: {named(node)!r}: {error}") from error

    def declared(self, name: str) -> list[int | None] | None:
        """The lengths of a value's axes as the graph declares them, None for those that it leaves open."""
        if isinstance(self.body, self.model.library.GraphProto):
            for values in (self.body.value_info, self.body.input, self.body.output):
                for value in values:
                    if value.name == name and value.type.tensor_type.HasField("shape"):
                        dims = value.type.tensor_type.shape.dim
                        return [d.dim_value if d.HasField("dim_value") else None for d in dims]
        return None


class NodeSite(NamedTuple):
    """An LSTM node, the scope that it is in, and its name, after those of the calls around it."""

    node: Any
    scope: Scope
    name: str


def named(node: Any) -> str:
    """A node's name or, where it has none, that of its first output."""
    return str(node.name or next((name for name in node.output if name), "") or node.op_type)


def is_lstm(node: Any) -> bool:
    """Whether a node is an LSTM, of floats or quantized."""
    return (node.op_type == "LSTM" and node.domain in STANDARD) or (
        node.op_type == "DynamicQuantizeLSTM" and node.domain == "com.microsoft"
    )


def _key(domain: str, name: str, proto: Any) -> Key:
    """By what a function is called; `overload` is of newer versions of onnx."""
    return "" if domain in STANDARD else domain, name, str(getattr(proto, "overload", ""))


def _opset(model: Model, proto: Any) -> int:
    """The version of the standard operators that a model or a function is made for, 0 if it has none."""
    versions = [entry.version for entry in proto.opset_import if entry.domain in STANDARD]
    if not versions and model.proto.ir_version < FIRST_IR_WITH_OPSETS:
        return 1
    return int(versions[-1]) if versions else 0


class Model:
    """A ModelProto, and the folder in whose files its tensors' values may be, None for none.

    `size` counts the bytes of the file and of the files next to it that were read.
    """

    def __init__(self, where: str, proto: Any, size: int, folder: str | None, is_file: bool = True) -> None:
        self.library, self.where, self.proto, self.size, self.folder = library(), where, proto, size, folder
        self.is_file = is_file
        self.functions: dict[Key, Any] = {}
        for function in proto.functions:
            key = _key(function.domain, function.name, function)
            if key in self.functions:
                raise FormatError(f"{where} has two functions {function.name!r} of {function.domain!r}")
            self.functions[key] = function
        self.calls: dict[tuple[Scope, int], Scope] = {}
        self._called_nodes = 0
        self._files: dict[str, tuple[str, int]] = {}
        self.scope = Scope(self, proto.graph)

    def close(self) -> None:
        """Let go of all that the parser holds, which scopes and model hold in a circle."""
        self.calls.clear()
        self.functions.clear()
        del self.scope, self.proto

    def lstm_nodes(self) -> list[NodeSite]:
        """All LSTM nodes in the order of the graph, with those of inner graphs and of calls."""
        sites: list[NodeSite] = []
        self._collect(sites, self._functions_with_lstm(), self.scope, "", 0, ())
        return sites

    def _collect(
        self,
        sites: list[NodeSite],
        wanted: set[Key],
        scope: Scope,
        prefix: str,
        depth: int,
        calls: tuple[Key, ...],
    ) -> None:
        """Add the LSTM nodes of a scope, `depth` deep and within `calls`, to those of `sites`."""
        if depth > DEEPEST:
            raise FormatError(f"{self.where} has over {DEEPEST} graphs or calls one in the other")
        if calls:
            self._called_nodes += 100 + len(scope.nodes)
        if self._called_nodes > MOST_CALLED_NODES:
            raise FormatError(f"{self.where} makes too many calls of its functions")
        for index, node in enumerate(scope.nodes):
            key = _key(node.domain, node.op_type, node)
            if key in self.functions:
                if key in calls:
                    raise FormatError(f"{self.where}: its function {key[1]!r} calls itself")
                if key in wanted:
                    inner = f"{prefix}{named(node)}/"
                    self._collect(sites, wanted, scope.called(index), inner, depth + 1, (*calls, key))
                continue
            if is_lstm(node):
                sites.append(NodeSite(node, scope, prefix + named(node)))
            for graph in inner_graphs(node):
                self._collect(sites, wanted, Scope(self, graph, outer=scope), prefix, depth + 1, calls)

    def _functions_with_lstm(self) -> set[Key]:
        """The functions in which there is an LSTM node, or a call of such a one."""
        callers: dict[Key, list[Key]] = {}
        wanted: list[Key] = []
        for key, function in self.functions.items():
            for node in self._all_nodes(function):
                callers.setdefault(_key(node.domain, node.op_type, node), []).append(key)
                if is_lstm(node):
                    wanted.append(key)
        reached = set(wanted)
        while wanted:
            for caller in callers.get(wanted.pop(), []):
                if caller not in reached:
                    reached.add(caller)
                    wanted.append(caller)
        return reached

    def _all_nodes(self, body: Any, depth: int = 0) -> Iterator[Any]:
        """The nodes of a body and of the graphs within it."""
        if depth > DEEPEST:
            raise FormatError(f"{self.where} has over {DEEPEST} graphs one in the other")
        for node in body.node:
            yield node
            for graph in inner_graphs(node):
                yield from self._all_nodes(graph, depth + 1)

    def outside(self, name: str, tensor: Any, dtype: np.dtype[Any]) -> np.ndarray:
        """The values of a tensor that are in a file next to the model's."""
        where = f"{self.where}: {name!r}"
        entries = {entry.key: entry.value for entry in tensor.external_data}
        location = entries.pop("location", "")
        if self.folder is None:
            advice = (
                f"which is read only from the model's folder and with {option('external_data', True)}"
                if self.is_file
                else "to which a ModelProto does not lead; give the path and external_data=True instead"
            )
            raise ExternalDataError(f"{where} is in another file, {location[:80]!r}, {advice}")
        path, size = self._beside(where, location)
        if "checksum" in entries:
            _check(where, path, entries.pop("checksum"))
        shape = tuple(tensor.dims)
        wanted = int(np.prod(shape, dtype=object)) * dtype.itemsize
        offset = _number(where, "offset", entries.pop("offset", "0"))
        length = _number(where, "length", entries.pop("length", str(wanted)))
        if entries:
            raise FormatError(f"{where} has external data with {', '.join(sorted(entries))[:80]}")
        if length != wanted or offset + length > size:
            raise FormatError(
                f"{where} has {length} bytes at {offset} of {location!r}, a file of {size} bytes, but must "
                f"have {wanted} for shape {shape}"
            )
        with io.BufferedReader(open_plain(path)) as file:  # unlike a raw one it reads over 2 GB at once
            file.seek(offset)
            values = file.read(length)
        if len(values) != length:
            raise FormatError(f"{where}: {location!r} was cut short")
        return np.frombuffer(values, dtype).reshape(shape)

    def _beside(self, where: str, location: str) -> tuple[str, int]:
        """Path and size of a regular file in the model's folder; FormatError for anything else."""
        if location in self._files:
            return self._files[location]
        if location in ("", ".", "..") or set(location) & set("/\\:\0"):
            raise FormatError(
                f"{where} is in {location[:80]!r}, but must be the name of a file next to the model's"
            )
        folder = os.path.realpath(self.folder or "")
        path = os.path.realpath(os.path.join(folder, location))
        try:
            if os.path.dirname(path) != folder:
                raise FormatError(f"{where} is in {location!r}, a link out of the model's folder")
            status = os.stat(path)
            if not stat.S_ISREG(status.st_mode):
                raise FormatError(f"{where} is in {location!r}, which is no regular file")
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL):
                raise
            raise FormatError(
                f"{where} is in {location[:80]!r}, which is not in the model's folder"
            ) from error
        self.size += status.st_size
        self._files[location] = path, status.st_size
        return self._files[location]


def inner_graphs(node: Any) -> Iterator[Any]:
    """The graphs in a node's attributes."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def _number(where: str, name: str, text: str) -> int:
    """A number of bytes."""
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise FormatError(f"{where} has external data with {name} {text[:40]!r}, but must have a number")
    return int(text)


def _check(where: str, path: str, checksum: str) -> None:
    """FormatError if a file is not that of its SHA-1."""
    digest = hashlib.sha1(usedforsecurity=False)
    with open_plain(path) as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    if digest.hexdigest() != checksum.lower():
        raise FormatError(f"{where}: the file of its values has another checksum")


def parse(source: Any, external_data: bool) -> Model:
    """The model of a path or of a ModelProto; FormatError if it is none."""
    onnx = library()
    if not isinstance(external_data, bool):
        raise TypeError(f"external_data is {external_data!r}, but must be True or False")
    if isinstance(source, onnx.ModelProto):
        if external_data:
            raise ValueError(
                "external_data is True, but a ModelProto lies in no folder; give the path instead"
            )
        return _checked(Model("the model", source, source.ByteSize(), None, is_file=False))
    name = os.fspath(source)
    if not isinstance(name, str):
        raise TypeError(f"the source is a {type(source).__name__}, but must be a path or an onnx.ModelProto")
    proto = onnx.ModelProto()
    with open_plain(name) as file:
        size = os.fstat(file.fileno()).st_size
        if size > LARGEST:
            raise FormatError(f"{name} has {size} bytes, but an .onnx file has less than 2 GB")
        content = file.read()
    try:
        proto.ParseFromString(content)
    except Exception as error:  # the parser's own
        if is_out_of_memory(error):
            raise MemoryError(f"{name}: {error}") from error
        raise FormatError(f"{name} is damaged or no .onnx file: {error}") from error
    folder = os.path.dirname(os.path.abspath(name)) if external_data else None
    return _checked(Model(name, proto, len(content), folder))


def _checked(model: Model) -> Model:
    """FormatError for a model that does not say which version its standard operators have."""
    opset = model.scope.opset
    if model.proto.graph.node and opset < 1:
        model.close()
        raise FormatError(
            f"{model.where} has opset {opset or 'none'} of the standard operators, but must have "
            "1 or later in its opset_import"
        )
    return model
