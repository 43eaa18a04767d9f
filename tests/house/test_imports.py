"""The plan of the house: who may import whom, read from the sources, imports for types included."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import lstm

PACKAGE = Path(lstm.__file__).parent

# From the top floor to the lowest; imports go down this list only, or stay on a floor.
FLOORS: tuple[tuple[str, ...], ...] = (
    ("__main__", "commands"),
    ("comparison",),
    ("files", "gradient_check"),
    ("model",),
    ("conversions", "stream", "layer", "tape", "plot", "formats", "config", "kernel_failure"),
    ("core",),
    ("_kernel", "_version"),
)
MOST_FLOORS = 7
LARGEST_FILE, LARGEST_MODEL, LARGEST_PART = 500, 800, 400


def sources() -> dict[str, Path]:
    """Every module of the package, without ``lstm.``; a package is its __init__."""
    paths = [path for path in PACKAGE.rglob("*.py") if "__pycache__" not in path.parts]
    named = {}
    for path in sorted(paths):
        parts = list(path.relative_to(PACKAGE).with_suffix("").parts)
        if parts[-1] == "__init__":
            parts.pop()
        named[".".join(parts)] = path
    return named


def floor_of(module: str) -> int:
    """The number of a module's floor, 0 at the top."""
    for number, rooms in enumerate(FLOORS):
        if any(module == room or module.startswith(f"{room}.") for room in rooms):
            return number
    raise AssertionError(f"lstm.{module} has no floor")


def package_of(module: str, path: Path) -> str:
    """The package that a module's relative imports start from."""
    return module if path.name == "__init__.py" else module.rpartition(".")[0]


def imports(module: str, path: Path) -> Iterator[str]:
    """Modules of the package that a module imports, wherever it does."""
    known = sources()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (a.name.removeprefix("lstm.") for a in node.names if a.name.startswith("lstm."))
        elif isinstance(node, ast.ImportFrom) and node.level:
            base = package_of(module, path).split(".") if package_of(module, path) else []
            base = base[: len(base) - node.level + 1]
            target = ".".join([*base, *(node.module.split(".") if node.module else [])])
            for alias in node.names:
                inner = f"{target}.{alias.name}".lstrip(".")
                yield inner if inner in known or inner == "_kernel" else target


@cache
def graph() -> dict[str, frozenset[str]]:
    """Module to the modules that it imports; the root, which gathers the public names, is left out."""
    return {
        module: frozenset(one for one in imports(module, path) if one != module)
        for module, path in sources().items()
        if module
    }


def test_imports_never_go_up() -> None:
    upward = [
        f"{module} imports {target}"
        for module, targets in graph().items()
        for target in targets
        if floor_of(target) < floor_of(module)
    ]
    assert not upward


def test_core_and_formats_know_no_face() -> None:
    """What a net is and computes knows no class LSTM, no file and no framework, not even for types."""
    for module, targets in graph().items():
        if module.startswith("core"):
            assert all(one.startswith(("core", "_kernel")) for one in targets), (module, targets)
        if module.startswith("formats"):
            assert all(one.startswith(("formats", "core", "_kernel")) for one in targets), (module, targets)


def test_no_circles() -> None:
    """No module reaches itself through others."""

    def reach(module: str) -> set[str]:
        seen: set[str] = set()
        waiting = [*graph().get(module, ())]
        while waiting:
            one = waiting.pop()
            if one not in seen:
                seen.add(one)
                waiting += graph().get(one, ())
        return seen

    circles = sorted(module for module in graph() if module in reach(module))
    assert not circles


def test_few_floors() -> None:
    assert len(FLOORS) <= MOST_FLOORS


def private_names(path: Path) -> Iterator[str]:
    """Names with an underscore that belong to another module: imported, or of an object that is not self."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    own = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and is_own(node)}
    own |= {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            yield from (a.name for a in node.names if is_private(a.name) and a.name != "_kernel")
        elif isinstance(node, ast.Attribute) and is_private(node.attr) and node.attr not in own:
            yield ast.unparse(node)


def is_own(node: ast.Attribute) -> bool:
    """Whether an attribute is one of self or cls."""
    return isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


# Public for all their underscores: of named tuples.
ALLOWED = ("_replace", "_asdict", "_fields", "_field_defaults", "_make")


def test_no_private_names_of_others() -> None:
    used = [
        f"{module}: {name}"
        for module, path in sources().items()
        for name in private_names(path)
        if not name.endswith(ALLOWED)
    ]
    assert not used


def test_files_fit_a_head() -> None:
    """At most 500 lines, of model.py 800, of a part of the kernel 400."""
    for path in PACKAGE.rglob("*.py*"):
        if path.suffix not in (".py", ".pyx", ".pxd", ".pyi") or "__pycache__" in path.parts:
            continue
        most = {"model.py": LARGEST_MODEL}.get(path.name, LARGEST_FILE)
        most = LARGEST_PART if path.suffix == ".pxd" else most
        assert len(path.read_text(encoding="utf-8").splitlines()) <= most, path.name
