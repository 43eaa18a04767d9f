"""The plan of the package: who may import whom, read from the sources.

Imports within functions and for types alone count as all others do.
"""

from __future__ import annotations

import ast
import itertools
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
from support import ROOT

PACKAGE = ROOT / "lstm"

# From top to bottom; a unit is a folder or a module of the package. What is on a floor may import what is
# further left on it, and all floors below.
FLOORS = (
    ("commands",),
    ("comparison",),
    ("gradient_check", "train", "sklearn", "dask", "torch"),
    ("model", "files"),
    ("stream", "layer", "tape", "plot", "formats", "conversions", "habits", "arrow"),
    ("core",),
    (
        "_version",
        "_kernel",
        "startup",
        "kernel_failure",
        "systems",
        "cpus",
        "threadpools",
        "threads",
        "config",
    ),
)
# They put the units together, and nothing imports them.
FACES = ("__init__", "__main__")
MOST_FLOORS = 7

# What the standard library names with an underscore although it is for all.
PUBLIC = {"_exit", "_asdict", "_replace", "_fields", "_field_defaults", "_make"}

MOST_LINES = {".py": 500, ".pyi": 500, ".pyx": 500, ".pxd": 400, ".pxi": 400, ".c": 500, ".h": 500}
LONGER = {"lstm/model.py": 800}


class Import(NamedTuple):
    """One module's import of another of the package."""

    importer: str
    imported: str
    line: int


def module_files() -> dict[str, Path]:
    """Every module's file by its name within the package; a folder's is that of its __init__.py."""
    files = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        files[".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)] = path
    return files


FILES = module_files()


@cache
def tree_of(module: str) -> ast.Module:
    return ast.parse(FILES[module].read_text(encoding="utf-8"))


def unit(module: str) -> str:
    return module.partition(".")[0]


def absolute(module: str, level: int, name: str | None) -> str | None:
    """The name within the package of what an import statement names; None for other packages."""
    if level == 0:
        top, _, rest = (name or "").partition(".")
        return (rest or "__init__") if top == "lstm" else None
    parts = module.split(".")
    if FILES[module].name != "__init__.py" or module == "__init__":
        parts = parts[:-1]
    parts = parts[: len(parts) - level + 1]
    return ".".join([*parts, *([name] if name else [])]) or "__init__"


def targets(module: str, node: ast.AST) -> Iterator[str]:
    """The modules that one statement or call imports."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            if (target := absolute(module, 0, alias.name)) is not None:
                yield target
    elif isinstance(node, ast.ImportFrom):
        source = absolute(module, node.level, node.module)
        if source is not None:
            for alias in node.names:
                inner = alias.name if source == "__init__" else f"{source}.{alias.name}"
                yield inner if inner in FILES else source
    elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
        first = node.args[0]
        if isinstance(first, ast.Constant) and str(first.value).startswith("."):
            text = str(first.value)
            yield absolute(module, len(text) - len(text.lstrip(".")), text.lstrip(".")) or ""


def imports() -> list[Import]:
    return [
        Import(module, target, node.lineno)  # type: ignore[attr-defined]
        for module in FILES
        for node in ast.walk(tree_of(module))
        for target in targets(module, node)
        if target != module
    ]


IMPORTS = imports()


def place(name: str) -> tuple[int, int]:
    """Floor from the top, and place from the right, of a unit."""
    for number, floor in enumerate(FLOORS):
        if name in floor:
            return number, -floor.index(name)
    raise AssertionError(f"lstm/{name} is on no floor")


def cycles(graph: dict[str, set[str]]) -> list[list[str]]:
    """A cycle through each of the edges that close one, found by depth-first search."""
    found: list[list[str]] = []
    done: set[str] = set()

    def visit(node: str, path: list[str]) -> None:
        if node in path:
            found.append([*path[path.index(node) :], node])
        elif node not in done:
            for other in sorted(graph.get(node, ())):
                visit(other, [*path, node])
            done.add(node)

    for node in sorted(graph):
        visit(node, [])
    return found


def longest_path(graph: dict[str, set[str]]) -> list[str]:
    """The longest path of a graph without cycles."""

    @cache
    def below(node: str) -> tuple[str, ...]:
        return (node, *max((below(other) for other in graph.get(node, ())), key=len, default=()))

    return list(max(map(below, graph), key=len))


def graph_of(pairs: Iterator[tuple[str, str]]) -> dict[str, set[str]]:
    graph: dict[str, set[str]] = {}
    for first, second in pairs:
        graph.setdefault(first, set()).add(second)
    return graph


def test_imports_are_found() -> None:
    """Of every kind: of a module, of a name, from a package, within a function, for types, by a call."""
    found = {(one.importer, one.imported) for one in IMPORTS}
    assert {
        ("model", "core.net"),
        ("core.net", "_kernel"),
        ("files", "formats"),
        ("conversions", "formats.keras.live"),
        ("commands.compare", "comparison.report"),
        ("comparison.report", "model"),
        ("__init__", "kernel_failure"),
        ("__main__", "commands.info"),
    } <= found
    assert len(IMPORTS) > 150


def test_every_module_stands_on_a_floor() -> None:
    for module in FILES:
        assert unit(module) in FACES or place(unit(module))


def test_imports_go_down() -> None:
    upward = [
        f"lstm/{one.importer}:{one.line} imports {one.imported}"
        for one in IMPORTS
        if unit(one.importer) not in FACES
        and unit(one.importer) != unit(one.imported)
        and (unit(one.imported) in FACES or place(unit(one.importer)) >= place(unit(one.imported)))
    ]
    assert not upward, "\n".join(upward)


def test_no_module_imports_itself_in_a_circle() -> None:
    found = cycles(graph_of((one.importer, one.imported) for one in IMPORTS))
    assert not found, "\n".join(" -> ".join(cycle) for cycle in found)


def test_there_are_few_floors() -> None:
    units = graph_of(
        (unit(one.importer), unit(one.imported))
        for one in IMPORTS
        if unit(one.importer) != unit(one.imported) and unit(one.importer) not in FACES
    )
    path = longest_path(units)
    assert 4 < len(path) <= MOST_FLOORS, " -> ".join(path)
    assert len(FLOORS) <= MOST_FLOORS


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name not in PUBLIC


def defined_in(module: str) -> set[str]:
    """Private names that a module gives to its own functions, classes, variables, attributes and slots."""
    names: set[str] = set()
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
            names.add(node.id if isinstance(node, ast.Name) else node.attr)
        elif isinstance(node, ast.Assign) and "__slots__" in ast.unparse(node.targets[0]):
            names |= {one.value for one in ast.walk(node.value) if isinstance(one, ast.Constant)}
    return names


def private_uses(module: str) -> Iterator[tuple[int, str]]:
    """(line, name) of each private name that a module takes of another."""
    own = defined_in(module)
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if is_private(alias.name) and alias.name not in ("_kernel", "_version"):
                    yield node.lineno, alias.name
        elif isinstance(node, ast.Attribute) and is_private(node.attr) and node.attr not in own:
            holder = node.value.id if isinstance(node.value, ast.Name) else ""
            if node.attr != "_kernel" and holder not in ("self", "cls"):
                yield node.lineno, ast.unparse(node)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("getattr", "setattr", "hasattr"):
            name = node.args[1].value if isinstance(node.args[1], ast.Constant) else ""
            if is_private(str(name)) and name not in own:
                yield node.lineno, ast.unparse(node)


@pytest.mark.parametrize("module", FILES)
def test_no_module_uses_private_names_of_another(module: str) -> None:
    found = [f"lstm/{module}:{line}: {name}" for line, name in private_uses(module)]
    assert not found, "\n".join(found)


def test_no_source_is_long() -> None:
    """No file of more than 500 lines but model.py, most of which is docstrings; parts of the kernel: 400."""
    too_long = []
    for path in sorted(itertools.chain(PACKAGE.rglob("*"), (ROOT / "csrc").iterdir())):
        name = path.relative_to(ROOT).as_posix()
        if path.suffix in MOST_LINES and not is_generated(path):
            lines = len(path.read_text(encoding="utf-8").splitlines())
            if lines > LONGER.get(name, MOST_LINES[path.suffix]):
                too_long.append(f"{name} has {lines} lines")
    assert not too_long, "\n".join(too_long)


def is_generated(path: Path) -> bool:
    """Whether it is the C that Cython makes of a .pyx."""
    return path.suffix == ".c" and path.with_suffix(".pyx").exists()


def test_breaks_of_the_plan_are_seen() -> None:
    """The search for cycles and the longest path tell of those there are."""
    graph = {"a": {"b", "c"}, "b": {"c"}, "c": {"d"}}
    assert cycles(graph) == []
    assert longest_path(graph) == ["a", "b", "c", "d"]
    assert cycles({**graph, "d": {"b"}}) == [["b", "c", "d", "b"]]
    assert place("model") < place("stream") < place("core")
    assert place("files") < place("model")
    with pytest.raises(AssertionError, match="on no floor"):
        place("unheard_of")
