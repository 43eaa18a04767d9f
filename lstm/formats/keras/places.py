"""Weights as Keras 3, and Keras 2 in .keras files, name them: by their place in the model.

A cell's kernel (I, 4H), recurrent kernel (H, 4H) and bias (4H,) are layers/lstm_1/cell/vars/0, 1 and 2. What
a description does not tell, as that of a class of the user's own, is found by places and shapes.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .hdf5 import NO_FLOATS, Entry, File
from .layers import Cell, CellWeights, Layer, LayerConfig, Side, UnsuitableLayer
from .recurrent import DEFAULT_FUNCTIONS

# A cell's kernel, by the layer's place, the direction and the level of a stack.
KERNEL = re.compile(r"(?P<cell>.+)/vars/0")
CELL = re.compile(
    r"(?P<layer>.+?)(?:/(?P<side>forward|backward)_layer)?(?P<cell>/cell(?:/cells/(?P<level>\w+))?)?"
)
OPTIMIZER = "optimizer/"
# What a layer's weights alone do not tell.
UNTOLD = ("activations", "reverse", "merge")
UNKNOWN = "is not in the description of the model"


def located(hdf5: File, config: LayerConfig) -> Layer:
    """A described layer with its weights, or with what is wrong with them."""
    try:
        weights = tuple(_weights_of(hdf5, cell) for cell in config.cells)
    except UnsuitableLayer as error:
        return Layer(config._replace(problem=str(error)))
    return Layer(config, weights)


def _weights_of(hdf5: File, cell: Cell) -> CellWeights:
    paths = [f"{cell.group}vars/{k}" for k in range(2 + cell.use_bias)]
    if f"{cell.group}vars/{len(paths)}" in hdf5.entries:
        raise UnsuitableLayer(f"has use_bias={cell.use_bias}, but more weights than that takes")
    for path in paths:
        if path not in hdf5.entries:
            raise UnsuitableLayer(f"lacks its weights {path!r}")
    entries = [hdf5.entries[path] for path in paths]
    return CellWeights(entries[0], entries[1], entries[2] if cell.use_bias else None)


def undescribed(
    hdf5: File, described: Iterable[LayerConfig] = (), opaque: Sequence[str] = ("",)
) -> list[Layer]:
    """The recurrent layers among the weights that no described layer has.

    `opaque` are the groups of what a description does not tell all of. Shapes and places say which layers are
    bidirectional; activations are assumed to be the default ones.
    """
    taken = [config.group for config in described]
    counts = _counts(hdf5.entries.values())
    groups: dict[str, dict[tuple[int, int], CellWeights]] = {}
    problems: dict[str, str] = {}
    for path in hdf5.entries:
        match = KERNEL.fullmatch(path)
        if match is None or path.startswith((OPTIMIZER, *taken)):
            continue
        place = CELL.fullmatch(match["cell"])
        if place is None:
            continue
        layer = place["layer"]
        start = path.removesuffix("0")
        weights = cell_weights(hdf5, path, f"{start}1", f"{start}2")
        if weights is not None:
            key = (_number(place["level"]), int(place["side"] == "backward"))
            groups.setdefault(layer, {})[key] = weights
            more = counts[match["cell"]] - sum(
                one is not None and one.problem != NO_FLOATS for one in weights
            )
            if more > 0:
                problems[layer] = f"has {more} other weights in its cell too, and so is no plain LSTM"
        elif _is_recurrent(hdf5, path, f"{start}1", is_cell=place["cell"] is not None):
            shapes = [list(hdf5.entries[one].shape) for one in (path, f"{start}1")]
            problems[layer] = f"has the weights of no LSTM, of shapes {shapes}"
            groups.setdefault(layer, {})
        if layer in groups and not path.startswith(tuple(opaque)):
            problems.setdefault(layer, UNKNOWN)
    return [
        bare(
            _names(hdf5, path),
            path,
            groups[path],
            problems.get(path),
            [_names(hdf5, f"{path}/{side}_layer")[-1] for side in ("forward", "backward")],
        )
        for path in sorted(groups, key=natural)
    ]


def _counts(entries: Iterable[Entry]) -> Counter[str]:
    """How many arrays of floats there are within each group."""
    counts: Counter[str] = Counter()
    for entry in entries:
        if entry.problem != NO_FLOATS:
            parts = entry.path.split("/")
            counts.update("/".join(parts[:k]) for k in range(1, len(parts)))
    return counts


def _is_recurrent(hdf5: File, kernel: str, recurrent: str, is_cell: bool) -> bool:
    """Whether two weights are those of another recurrent layer than an LSTM: (I, N H) and (H, N H)."""
    entries = [hdf5.entries.get(path) for path in (kernel, recurrent)]
    if entries[0] is None or entries[1] is None:
        return False
    shapes = [entry.shape for entry in entries if entry is not None]
    is_gru = all(len(shape) == 2 for shape in shapes) and 3 * shapes[1][0] == shapes[0][1] == shapes[1][1] > 0
    return is_gru or (is_cell and len(shapes[0]) >= 2 and len(shapes[1]) >= 2)


def _names(hdf5: File, group: str) -> tuple[str, ...]:
    """The names of a layer and of those that hold it; those of their places if the file tells no names."""
    parts = group.split("/")
    groups = ["/".join(parts[:k]) for k in range(1, len(parts) + 1)]
    names = [hdf5.attributes.get(f"{one}/vars", {}).get("name") for one in groups]
    if names[-1] is None:
        return tuple(part for part in parts if part != "layers") or (group,)
    return tuple(str(name) for name in names if name is not None)


def bare(
    names: tuple[str, ...],
    path: str,
    cells: Mapping[tuple[int, int], CellWeights],
    problem: str | None = None,
    side_names: Sequence[str] = (),
) -> Layer:
    """A layer of nothing but weights by (level, side)."""
    sides = 1 + max((side for _, side in cells), default=0)
    places = [(level, side) for side in range(sides) for level in range(len(cells) // sides)]
    if sorted(cells) != sorted(places):
        problem = problem or f"has the weights {sorted(cells)} of {sorted(places)} at {path!r}"
    if problem is not None:
        return Layer(LayerConfig(names, problem=problem, is_lstm=bool(cells), group=path))
    flat = [_bare_cell(level, path, cells[level, side]) for level, side in places]
    depth = len(flat) // sides
    called = side_names if len(side_names) == sides else ("forward_layer", "backward_layer")
    made = tuple(Side(tuple(flat[k * depth : (k + 1) * depth]), k == 1, called[k]) for k in range(sides))
    if sides == 2 and depth > 1:
        problem = "has stacked cells in each direction, which do not see each other's outputs"
    elif sides == 2 and flat[0].units != flat[1].units:
        problem = f"has directions of {flat[0].units} and {flat[1].units} units"
    told = 1 if all(cell.is_cudnn for cell in flat) else 0  # CuDNNLSTM has no other functions
    config = LayerConfig(names, made, problem=problem, group=path, untold=UNTOLD[told:])
    return Layer(config, tuple(cells[place] for place in places))


def _bare_cell(level: int, path: str, weights: CellWeights) -> Cell:
    units = weights.recurrent_kernel.shape[0]
    has_bias = weights.bias is not None
    return Cell(_level_name(level), path, units, has_bias, DEFAULT_FUNCTIONS, is_cudnn(weights))


def is_cudnn(weights: CellWeights) -> bool:
    """Whether these are a CuDNNLSTM's, which has two biases in one, (8H,)."""
    return weights.bias is not None and weights.bias.shape == (2 * weights.recurrent_kernel.shape[1],)


def cell_weights(hdf5: File, kernel: str, recurrent: str, bias: str) -> CellWeights | None:
    """The entries of a cell, None if they are none of an LSTM: (I, 4H), (H, 4H) and perhaps (4H,)."""
    entries = [hdf5.entries.get(path) for path in (kernel, recurrent, bias)]
    if entries[0] is None or entries[1] is None or len(entries[0].shape) != 2 or len(entries[1].shape) != 2:
        return None
    units, columns = entries[1].shape
    if not units or columns != 4 * units or entries[0].shape[1] != columns:
        return None
    return CellWeights(*entries)


def _number(level: str | None) -> int:
    """The place of a cell in a stack by its saved name: lstm_cell, lstm_cell_1, ..."""
    digits = re.search(r"_([0-9]{1,6})$", level or "")
    return int(digits[1]) if digits else 0


def _level_name(level: int) -> str:
    return "lstm_cell" + (f"_{level}" if level else "")


def natural(text: str) -> list[Any]:
    """A key that sorts lstm_2 before lstm_10."""
    parts = re.split(r"([0-9]{1,9})", text)
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts]
