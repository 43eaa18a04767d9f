"""Keras's description of layers and models, as get_config gives it and its files hold it: the LSTMs in it.

Nothing of Keras is imported and no object is made of a description; it is read as the JSON that it is.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

from ...core.activations import ActivationForm

Object = dict[str, Any]
Names = tuple[str, ...]

# Layers that hand their input on at inference.
PASS = (
    "ActivityRegularization",
    "AlphaDropout",
    "Dropout",
    "GaussianDropout",
    "GaussianNoise",
    "Identity",
    "InputLayer",
    "SpatialDropout1D",
)
PACKAGES = ("keras", "tf_keras", "tensorflow", "builtins")
DEEPEST = 20
LARGEST = sys.float_info.max

# Options of LSTM, RNN and LSTMCell that change nothing of what is computed at inference from given states:
# how training starts and goes, and how Keras runs the layer.
WITHOUT_EFFECT = {
    "activity_regularizer",
    "batch_input_shape",
    "batch_shape",
    "bias_constraint",
    "bias_initializer",
    "bias_regularizer",
    "dropout",
    "dtype",
    "implementation",
    "input_dim",
    "input_length",
    "kernel_constraint",
    "kernel_initializer",
    "kernel_regularizer",
    "name",
    "recurrent_constraint",
    "recurrent_dropout",
    "recurrent_initializer",
    "recurrent_regularizer",
    "return_state",
    "seed",
    "stateful",
    "time_major",
    "trainable",
    "unit_forget_bias",
    "unroll",
    "use_cudnn",
    "zero_output_for_mask",
}
USED = {
    "activation",
    "backward_layer",
    "cell",
    "cells",
    "go_backwards",
    "layer",
    "merge_mode",
    "recurrent_activation",
    "return_sequences",
    "units",
    "use_bias",
}

FUNCTIONS: dict[str, ActivationForm] = {
    "elu": ("Elu", 1.0),
    "hard_sigmoid": ("HardSigmoid", 1 / 6, 0.5),
    "leaky_relu": ("LeakyRelu", 0.2),
    "linear": ("Affine", 1.0, 0.0),
    "relu": "Relu",
    "sigmoid": "Sigmoid",
    "softplus": "Softplus",
    "softsign": "Softsign",
    "tanh": "Tanh",
}
KERAS_2_HARD_SIGMOID: ActivationForm = ("HardSigmoid", 0.2, 0.5)


class Cell(NamedTuple):
    """One LSTM cell of a layer."""

    name: str
    group: str  # where its weights are within those of the model, as Keras 3 names it
    units: int
    use_bias: bool
    functions: tuple[ActivationForm, ActivationForm]  # of the gates; of candidate and output


class LayerConfig(NamedTuple):
    """A layer of LSTM cells: `levels` of one cell each or, of a Bidirectional, one level of two."""

    names: Names  # from the outermost model in; () for a layer that is in none
    levels: tuple[tuple[Cell, ...], ...]
    reverse: bool = False
    sequences: bool = True
    problem: str | None = None  # why it cannot be read

    @property
    def name(self) -> str:
        """The layer's own name."""
        return self.names[-1] if self.names else "lstm"


class UnsuitableLayer(ValueError):
    """A layer that this package cannot compute; the message goes on from the layer's name."""


def find_layers(description: Object, version: int) -> tuple[list[LayerConfig], dict[Names, Names]]:
    """All layers of LSTM cells, and by names which of them takes its input from which other one alone.

    `version` is Keras's: 2 or 3.
    """
    configs: list[LayerConfig] = []
    feeds: dict[Names, Names] = {}
    name = _config(description).get("name")
    layer = _layer(description, (str(name),) if name else (), "", version)
    if layer is not None:
        return [layer], {}
    _search(description, (), "", version, configs, feeds, 0)
    return configs, feeds


def _search(
    model: Object,
    names: Names,
    group: str,
    version: int,
    configs: list[LayerConfig],
    feeds: dict[Names, Names],
    depth: int,
) -> None:
    """Add the LSTMs of a model and of those within it."""
    if depth > DEEPEST:
        raise ValueError(f"its models are nested more than {DEEPEST} deep")
    layers = layers_of(model)
    own = {}
    used: Counter[str] = Counter()
    for layer in layers:
        name = str(layer.get("name") or _config(layer).get("name") or "")
        # The name under which Keras 3 saves it: its class's, and a number from the second on.
        saved = snake_case(str(layer.get("class_name")))
        inner = f"{group}layers/{saved}" + (f"_{used[saved]}" if used[saved] else "")
        used[saved] += 1
        lstm = _layer(layer, (*names, name), inner + "/", version)
        if lstm is not None:
            configs.append(lstm)
            own[name] = lstm
        elif layers_of(layer):
            _search(layer, (*names, name), inner + "/", version, configs, feeds, depth + 1)
    for name in own:
        source = _source(name, *_links(model, layers))
        if source in own:
            feeds[(*names, name)] = (*names, source)


def layers_of(model: Object) -> list[Object]:
    """The descriptions of a model's layers; [] of what is no model."""
    config = model.get("config")
    layers = config.get("layers") if isinstance(config, dict) else config
    if not isinstance(layers, list):
        return []
    return [layer for layer in layers if isinstance(layer, dict) and isinstance(layer.get("class_name"), str)]


def snake_case(name: str) -> str:
    """A class's name as Keras 3 writes it in its files."""
    name = re.sub(r"\W+", "", name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


# The graph of a model


def _links(model: Object, layers: list[Object]) -> tuple[dict[str, str], Counter[str], set[str]]:
    """By name: the layer whose first output is all that a layer takes; how often it is used; who hands on."""
    named = [(str(layer.get("name") or _config(layer).get("name") or ""), layer) for layer in layers]
    passing = {name for name, layer in named if class_of(layer) in PASS}
    if class_of(model) == "Sequential":
        chain = [name for name, _ in named]
        return dict(zip(chain[1:], chain, strict=False)), Counter(chain), passing
    links: dict[str, str] = {}
    config = _config(model)
    uses = Counter(tensor[0] for tensor in _tensors(config.get("output_layers")))
    for name, layer in named:
        taken = list(_tensors(layer.get("inbound_nodes")))
        uses.update(tensor[0] for tensor in taken)
        if len(taken) == 1 and taken[0][1] == 0:
            links[name] = taken[0][0]
    return links, uses, passing


def _tensors(value: Any) -> Iterator[tuple[str, int]]:
    """The (layer, number of its output) of every tensor in a description of calls, as Keras 2 or 3 has it."""
    stack = [value]
    while stack:
        value = stack.pop()
        if isinstance(value, dict):
            history = _config(value).get("keras_history")
            if history is not None:
                stack.append(history)
            else:
                stack += value.values()
        elif isinstance(value, list | tuple):  # a tuple in a live model's description
            if len(value) >= 3 and isinstance(value[0], str) and all(type(v) is int for v in value[1:3]):
                yield value[0], value[2]
                stack += value[3:]
            else:
                stack += value


def _source(name: str, links: dict[str, str], uses: Counter[str], passing: set[str]) -> str:
    """The layer whose output this one takes, past those that hand it on; "" where another uses it too."""
    for _ in range(len(links)):
        name = links.get(name, "")
        if uses[name] != 1:
            return ""
        if name not in passing:
            return name
    return ""


# Layers and cells


def class_of(layer: Any) -> str:
    """The class's name if it is a description of one of Keras itself, else ""."""
    if not isinstance(layer, dict):
        return ""
    name, registered, module = (layer.get(key) for key in ("class_name", "registered_name", "module"))
    if not isinstance(name, str) or registered not in (None, name):
        return ""
    if module is not None and str(module).split(".")[0] not in PACKAGES:
        return ""
    return name


def _config(layer: Any) -> Object:
    config = layer.get("config") if isinstance(layer, dict) else None
    return config if isinstance(config, dict) else {}


def _layer(layer: Object, names: Names, group: str, version: int) -> LayerConfig | None:
    """The LSTM that a layer is; None if it is something else."""
    if not is_lstm(layer):
        return None
    try:
        return _read_layer(layer, names, group, version)
    except UnsuitableLayer as error:
        return LayerConfig(names, (), problem=str(error))


def is_lstm(layer: Any) -> bool:
    """Whether a layer is an LSTM, an RNN of LSTM cells among others, or a Bidirectional of one."""
    if not isinstance(layer, dict):
        return False
    kind, config = class_of(layer), _config(layer)
    if kind == "Bidirectional":
        return class_of(config.get("layer")) != "Bidirectional" and is_lstm(config.get("layer"))
    return kind == "LSTM" or (kind == "RNN" and any(class_of(c) == "LSTMCell" for c in _cells(config)[0]))


def _cells(config: Object) -> tuple[list[Object], bool]:
    """The cells of an RNN, and whether they are a stack."""
    cell = config.get("cell")
    if isinstance(cell, dict) and class_of(cell) == "StackedRNNCells":
        cell = _config(cell).get("cells")
    if isinstance(cell, list):
        return [c for c in cell if isinstance(c, dict)], True
    return ([cell] if isinstance(cell, dict) else []), False


def _read_layer(layer: Object, names: Names, group: str, version: int) -> LayerConfig:
    """The LSTM of a layer that is one; UnsuitableLayer if it is not to be had."""
    config = _config(layer)
    _check_options(config)
    if class_of(layer) != "Bidirectional":
        levels = tuple((cell,) for cell in _read_cells(layer, group, version))
        reverse, sequences = _flag(config, "go_backwards", False), _flag(config, "return_sequences", False)
        return LayerConfig(names, levels, reverse, sequences)
    mode = config.get("merge_mode", "concat")
    if mode != "concat":
        raise UnsuitableLayer(f"has merge_mode {mode!r}, but must put both directions side by side: 'concat'")
    forward = config["layer"]
    backward = config.get("backward_layer") or forward
    sides = []
    for side, which in ((forward, "forward_layer"), (backward, "backward_layer")):
        if not is_lstm(side):
            raise UnsuitableLayer(f"has a {which} that is no LSTM")
        _check_options(_config(side))
        sides.append(_read_cells(side, f"{group}{which}/", version))
    if any(len(cells) > 1 for cells in sides):
        raise UnsuitableLayer("has stacked cells in each direction, which do not see each other's outputs")
    # Keras 2 does not describe a backward layer that it made of the forward one.
    backwards = config.get("backward_layer") is None or _flag(_config(backward), "go_backwards", False)
    if _flag(_config(forward), "go_backwards", False) or not backwards:
        raise UnsuitableLayer("has a forward layer that goes backwards")
    if sides[0][0].units != sides[1][0].units:
        raise UnsuitableLayer(f"has directions of {sides[0][0].units} and {sides[1][0].units} units")
    return LayerConfig(
        names, ((sides[0][0], sides[1][0]),), False, _flag(_config(forward), "return_sequences", False)
    )


def _read_cells(layer: Object, group: str, version: int) -> list[Cell]:
    """The cells of an LSTM or an RNN."""
    config = _config(layer)
    if class_of(layer) == "LSTM":
        return [_read_cell(config, f"{group}cell/", version)]
    cells, is_stack = _cells(config)
    if not cells or any(class_of(cell) != "LSTMCell" for cell in cells):
        kinds = ", ".join(str(cell.get("class_name")) for cell in cells)
        raise UnsuitableLayer(f"has cells of {kinds}, but all must be of LSTMCell")
    for cell in cells:
        _check_options(_config(cell))
    _check_options(_config(config["cell"]))
    if not is_stack:
        return [_read_cell(_config(cells[0]), f"{group}cell/", version)]
    return [
        _read_cell(_config(cell), f"{group}cell/cells/lstm_cell" + (f"_{k}" if k else "") + "/", version)
        for k, cell in enumerate(cells)
    ]


def _read_cell(config: Object, group: str, version: int) -> Cell:
    units = config.get("units")
    if not isinstance(units, int) or isinstance(units, bool) or units < 1:
        raise UnsuitableLayer(f"has units {units!r}, but must have a positive integer")
    functions = (
        function(config.get("recurrent_activation", "sigmoid"), version),
        function(config.get("activation", "tanh"), version),
    )
    return Cell(str(config.get("name", "")), group, units, _flag(config, "use_bias", True), functions)


def _flag(config: Object, name: str, default: bool) -> bool:
    value = config.get(name, default)
    if not isinstance(value, bool):
        raise UnsuitableLayer(f"has {name} {value!r}, but must have True or False")
    return value


def _check_options(config: Object) -> None:
    """UnsuitableLayer if there is an option that is not known, and is on."""
    for name, value in config.items():
        if name not in WITHOUT_EFFECT and name not in USED and value is not None and value is not False:
            raise UnsuitableLayer(f"has the option {name}={value!r:.100}, which is not supported")


def function(value: Any, version: int) -> ActivationForm:
    """An activation as Keras describes it, under the name that the ONNX operator has for it."""
    if value is None:
        return FUNCTIONS["linear"]
    if isinstance(value, str) and value in FUNCTIONS:
        return KERAS_2_HARD_SIGMOID if value == "hard_sigmoid" and version < 3 else FUNCTIONS[value]
    if isinstance(value, dict):
        kind, config = class_of(value), _config(value)
        if kind == "Activation" and isinstance(config.get("activation"), str):
            return function(config["activation"], version)
        if kind == "LeakyReLU":
            return "LeakyRelu", _number(config, "negative_slope", _number(config, "alpha", 0.3))
        if kind == "ELU":
            return "Elu", _number(config, "alpha", 1.0)
        if kind == "ReLU" and config.get("max_value") is None:
            slope, threshold = _number(config, "negative_slope", 0.0), _number(config, "threshold", 0.0)
            if threshold == 0.0:
                return ("LeakyRelu", slope) if slope else "Relu"
            if slope == 0.0:
                return "ThresholdedRelu", threshold
        value = value.get("config") if kind == "function" else kind or value.get("class_name")
    raise UnsuitableLayer(
        f"has the activation {value!r:.100}, but must have one of {', '.join(FUNCTIONS)}, or a LeakyReLU, "
        "ELU or ReLU layer without max_value"
    )


def _number(config: Object, name: str, default: float) -> float:
    value = config.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= LARGEST:
        raise UnsuitableLayer(f"has an activation with {name} {value!r:.100}, but it must be a finite number")
    return float(value)
