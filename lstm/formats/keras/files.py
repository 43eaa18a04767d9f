"""The files that Keras saves: the description of their model and where the weights of its LSTMs are.

Keras 3, and Keras 2 in .keras, name weights by places in the model: layers/lstm_1/cell/vars/0. Legacy .h5
files, of either, list them by layer in attributes.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
import zipfile
from collections.abc import Callable, Iterable
from typing import IO, Any

from ..archive import budget, checked_entries, chunks, opened
from ..errors import FormatError
from .description import Cell, LayerConfig, Names, Object, UnsuitableLayer, find_layers
from .hdf5 import File
from .stack import CellWeights, Layer

CONFIG, METADATA, WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
LONGEST_CONFIG = 1 << 19  # bytes; parsed it takes thirty times as much at worst
DEFAULT_FUNCTIONS = ("Sigmoid", "Tanh")
# A cell's kernel in a file of Keras 3, by the layer's place, the direction and the level of a stack.
CELL = re.compile(
    r"(?P<layer>.*?)(?:/(?P<side>forward|backward)_layer)?/cell(?:/cells/(?P<level>\w+))?/vars/0"
)
LEGACY = re.compile(r"(?P<cell>.*/)kernel(?P<number>(?::0)?)")


def unpacked(name: str, file: IO[bytes]) -> tuple[Object, int, IO[bytes]]:
    """The model's description, Keras's version and a file of the weights, from a .keras archive."""
    most = budget(os.fstat(file.fileno()).st_size)
    with opened(name, file, ".keras") as archive:
        used = [entry for entry in archive.infolist() if entry.filename in (CONFIG, METADATA, WEIGHTS)]
        entries = checked_entries(name, used)
        if WEIGHTS not in entries or CONFIG not in entries:
            raise FormatError(f"{name} lacks {CONFIG} or {WEIGHTS}, which a .keras file has")
        description = _json(f"{name}: {CONFIG}", _text(name, archive, entries[CONFIG]))
        metadata: Object = {}
        if METADATA in entries:
            metadata = _json(f"{name}: {METADATA}", _text(name, archive, entries[METADATA]))
        weights = _extracted(name, archive, entries[WEIGHTS], most)
    return description, _version(metadata.get("keras_version")), weights


def _text(name: str, archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    with archive.open(entry) as file:
        content = file.read(LONGEST_CONFIG + 1)
    if len(content) > LONGEST_CONFIG:
        raise FormatError(f"{name}: entry {entry.filename!r} has over {LONGEST_CONFIG} bytes")
    return content


def _extracted(name: str, archive: zipfile.ZipFile, entry: zipfile.ZipInfo, most: int) -> IO[bytes]:
    """An entry of `most` bytes as a file of its own, which has no name and goes when it is closed."""
    if entry.file_size > most:
        raise FormatError(f"{name}: entry {entry.filename!r} claims {entry.file_size} bytes")
    weights = tempfile.TemporaryFile()  # noqa: SIM115, closed by the caller
    try:
        for chunk in chunks(archive, entry):
            most -= weights.write(chunk)
            if most < 0:
                raise FormatError(f"{name}: entry {entry.filename!r} holds more than it claims")
        weights.flush()
    except BaseException:
        weights.close()
        raise
    return weights


def _json(where: str, text: str | bytes) -> Object:
    """A JSON object."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{where} is no JSON: {error}") from error
    if not isinstance(value, dict):
        raise FormatError(f"{where} is no JSON object")
    return value


def _version(keras_version: Any) -> int:
    """2 or 3; 3 if the file does not say."""
    return 2 if isinstance(keras_version, str) and keras_version.startswith("2.") else 3


def legacy_config(name: str, hdf5: File) -> tuple[Object | None, int]:
    """The description of a model that an .h5 file holds, None if it holds weights alone; the version."""
    attributes = hdf5.attributes.get("", {})
    version = _version(attributes.get("keras_version"))
    if "model_config" not in attributes:
        return None, version
    return _json(f"{name}: attribute 'model_config'", str(attributes["model_config"])), version


def layers(hdf5: File, description: Object | None, version: int) -> tuple[list[Layer], dict[Names, Names]]:
    """The LSTM layers of a file, with entries for their weights, and which feeds which."""
    is_legacy = any("weight_names" in own for own in hdf5.attributes.values())
    if description is None:
        return (_legacy_layers if is_legacy else _bare_layers)(hdf5), {}
    configs, feeds = find_layers(description, version)
    locate = _legacy_weights if is_legacy else _weights
    return [_with_weights(hdf5, one, locate) for one in configs], feeds


def _with_weights(
    hdf5: File, config: LayerConfig, locate: Callable[[File, LayerConfig], tuple[CellWeights, ...]]
) -> Layer:
    """A layer with its weights, or with what is wrong with them."""
    if config.problem is not None:
        return Layer(config, ())
    try:
        return Layer(config, locate(hdf5, config))
    except UnsuitableLayer as error:
        return Layer(config._replace(problem=str(error)), ())


def _weights(hdf5: File, config: LayerConfig) -> tuple[CellWeights, ...]:
    """Where Keras 3, and Keras 2 in .keras files, puts a layer's weights."""
    weights = []
    for cell in (cell for level in config.levels for cell in level):
        paths = [f"{cell.group}vars/{k}" for k in range(2 + cell.use_bias)]
        if f"{cell.group}vars/{len(paths)}" in hdf5.entries:
            raise UnsuitableLayer(f"has use_bias={cell.use_bias}, but more weights than that takes")
        for path in paths:
            if path not in hdf5.entries:
                raise UnsuitableLayer(f"lacks its weights {path!r}")
        entries = [hdf5.entries[path] for path in paths]
        weights.append(CellWeights(entries[0], entries[1], entries[2] if cell.use_bias else None))
    return tuple(weights)


def _bare_layers(hdf5: File) -> list[Layer]:
    """The LSTMs among the weights of a Keras 3 file that does not describe its model.

    Shapes and places say which are bidirectional; activations are assumed to be the default ones.
    """
    groups: dict[str, dict[tuple[int, int], CellWeights]] = {}
    for path in hdf5.entries:
        match = CELL.fullmatch(path)
        weights = _cell_weights(hdf5, path, path[:-1] + "1", path[:-1] + "2")
        if match is not None and weights is not None:
            place = (_number(match["level"]), int(match["side"] == "backward"))
            groups.setdefault(match["layer"], {})[place] = weights
    layers = []
    for path, cells in sorted(groups.items(), key=lambda item: _natural(item[0])):
        name = str(hdf5.attributes.get(f"{path}/vars", {}).get("name", path.rpartition("/")[2]))
        layers.append(_bare(name, path, cells))
    return layers


def _legacy_layers(hdf5: File) -> list[Layer]:
    """The LSTMs of a legacy file of weights alone, on the same terms."""
    root = hdf5.attributes.get("", {})
    names = [name for key in _natural_order(root) if key.startswith("layer_names") for name in root[key]]
    layers = []
    for group in names or [path for path, own in hdf5.attributes.items() if "weight_names" in own]:
        # A nested model has one group: layer/cell, of a stack layer/stack/cell, of two directions
        # layer/forward_layer/cell and layer/backward_layer/cell.
        own: dict[str, dict[tuple[int, int], CellWeights]] = {}
        for path, weights in _legacy_cells(hdf5, group):
            parts = path.strip("/").split("/")
            outer = parts[:-1] or parts  # before Keras 2.2 a layer had no cell of its own
            one_side = outer[-1].startswith(("forward_", "backward_"))
            cells = own.setdefault("/".join(outer[:-1] if one_side else outer), {})
            cells[(0, int(outer[-1].startswith("backward_"))) if one_side else (len(cells), 0)] = weights
        for path, cells in own.items():
            name = group if len(own) == 1 else path.rpartition("/")[2]
            layers.append(_bare(name, f"{group}/{path}", cells))
    return layers


def _bare(name: str, path: str, cells: dict[tuple[int, int], CellWeights]) -> Layer:
    """A layer of nothing but weights by (level, side)."""
    sides = 1 + max(side for _, side in cells)
    places = [(level, side) for level in range(len(cells) // sides) for side in range(sides)]
    if sorted(cells) != places:
        return Layer(
            LayerConfig((name,), (), problem=f"has the weights {sorted(cells)} of {places} at {path!r}"), ()
        )
    flat = [
        Cell(_level_name(level), path, cells[level, side].recurrent_kernel.shape[0], False, DEFAULT_FUNCTIONS)
        for level, side in places
    ]
    levels = tuple(tuple(flat[k : k + sides]) for k in range(0, len(flat), sides))
    return Layer(LayerConfig((name,), levels), tuple(cells[place] for place in places))


def _cell_weights(hdf5: File, kernel: str, recurrent: str, bias: str) -> CellWeights | None:
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


def _natural(text: str) -> list[Any]:
    """A key that sorts lstm_2 before lstm_10."""
    parts = re.split(r"([0-9]{1,9})", text)
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts]


def _natural_order(names: Iterable[str]) -> list[str]:
    return sorted(names, key=_natural)


def _legacy_weights(hdf5: File, config: LayerConfig) -> tuple[CellWeights, ...]:
    """The weights of a layer in a legacy file: of a nested model, those with the layer's name in theirs."""
    cells = _legacy_cells(hdf5, f"model_weights/{config.names[0]}")
    if len(config.names) > 1:
        cells = [(path, weights) for path, weights in cells if config.name in path.split("/")]
    expected = [cell for level in config.levels for cell in level]
    if len(cells) != len(expected):
        raise UnsuitableLayer(f"has the weights of {len(cells)} LSTM cells, but {len(expected)} cells")
    for cell, (path, weights) in zip(expected, cells, strict=True):
        if (weights.bias is not None) != cell.use_bias:
            raise UnsuitableLayer(f"has use_bias={cell.use_bias}, which its weights at {path!r} have not")
    return tuple(weights for _, weights in cells)


def _legacy_cells(hdf5: File, group: str) -> list[tuple[str, CellWeights]]:
    """The cells of a legacy layer, in the order of its list of weights, the backward one last."""
    own = hdf5.attributes.get(group, {})
    names = [name for key in _natural_order(own) if key.startswith("weight_names") for name in own[key]]
    cells = []
    for name in names:
        match = LEGACY.fullmatch(f"/{name}")
        if match is None:
            continue
        start, end = f"{group}{match['cell']}", match["number"]
        weights = _cell_weights(
            hdf5, f"{start}kernel{end}", f"{start}recurrent_kernel{end}", f"{start}bias{end}"
        )
        if weights is not None:
            cells.append((match["cell"], weights))
    # The weights that are not trained come last, whichever direction they are of.
    return sorted(cells, key=lambda cell: _is_backward(cell[0]))


def _is_backward(path: str) -> bool:
    return any(part.startswith("backward_") for part in path.split("/"))
