"""All constants that an ONNX model stores, whether an LSTM takes them or not."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..errors import FormatError
from .constants import Constants
from .model import DEEPEST, STANDARD, Model, Scope, inner_graphs, named, parse

TEXT = 8  # ONNX's number of this data type


def tensors(path: str | os.PathLike[str], external_data: bool = False) -> dict[str, np.ndarray]:
    """The initializers and Constant nodes of a model by name, texts left out.

    Those of an inner graph or a function come after the name of its node or its own.
    """
    model = parse(path, external_data)
    constants = Constants(model, model.where)
    found: dict[str, np.ndarray] = {}
    try:
        for name, scope, inner in stored(model):
            found[name] = constants.value(scope, inner)
    except (FormatError, MemoryError):
        raise
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise FormatError(f"{model.where}: {error}") from error
    finally:
        model.close()
    return found


def stored(model: Model) -> Iterator[tuple[str, Scope, str]]:
    """What stands for stored numbers: a name that no other has, the scope, and the name in it."""
    taken: set[str] = set()
    for prefix, scope in scopes(model):
        for name in _stored(scope):
            taken.add(free := _free(taken, prefix + name))
            yield free, scope, name


def scopes(model: Model) -> Iterator[tuple[str, Scope]]:
    """Every graph and function, each with what the names of its constants start with."""
    yield from _with_inner("", model.scope, 0)
    for function in model.proto.functions:
        scope = Scope(model, function, caller=model.scope, call=model.library.NodeProto())
        yield from _with_inner(f"{function.name}/", scope, 0)


def _with_inner(prefix: str, scope: Scope, depth: int) -> Iterator[tuple[str, Scope]]:
    """A scope and the graphs within its nodes."""
    if depth > DEEPEST:
        raise FormatError(f"{scope.model.where} has over {DEEPEST} graphs one in the other")
    yield prefix, scope
    for node in scope.nodes:
        for graph in inner_graphs(node):
            inner = Scope(scope.model, graph, outer=scope)
            yield from _with_inner(f"{prefix}{named(node)}/", inner, depth + 1)


def _stored(scope: Scope) -> Iterator[str]:
    """The names of a scope that stand for stored numbers."""
    for name, definition in scope.definitions.items():
        if definition.kind == "tensor":
            if definition.what.data_type != TEXT:
                yield name
        elif definition.kind == "node" and _holds_numbers(scope, scope.nodes[definition.what]):
            yield name


def _holds_numbers(scope: Scope, node: Any) -> bool:
    """Whether a node is a Constant of dense numbers that no caller gives."""
    if node.op_type != "Constant" or node.domain not in STANDARD:
        return False
    forms = dict(scope.attribute_protos(node))
    if "value" in forms:
        return bool(forms["value"].t.data_type != TEXT)
    return bool(forms.keys() & {"value_float", "value_floats", "value_int", "value_ints"})


def _free(found: set[str], name: str) -> str:
    """The name itself or, if it is taken, one with a number."""
    number, free = 1, name
    while free in found:
        number += 1
        free = f"{name}#{number}"
    return free
