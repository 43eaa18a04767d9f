"""What a described layer computes, if it is an LSTM of Keras's own; why not, if it is recurrent and is none.

Nothing of Keras is imported and no object is made of a description; it is read as the JSON that it is.
"""

from __future__ import annotations

import sys
from typing import Any

from ...core.typing import ActivationForm
from .layers import Cell, LayerConfig, Names, Object, Side, UnsuitableLayer, Version, class_of, config_of

LARGEST = sys.float_info.max
# Before it, the gates' function was hard_sigmoid where nothing else was said.
SIGMOID_IS_DEFAULT: Version = (2, 3)
OLD_DEFAULT = (
    "before Keras 2.3 an LSTM's recurrent activation was hard_sigmoid by default, and the file does not tell "
    "it; say which by {option}, such as hardsigmoid, tanh, tanh for that default, or sigmoid, tanh, tanh"
)

LSTMS = ("CuDNNLSTM", "LSTM", "LSTMCell")
OTHERS = (
    *("CuDNNGRU", "GRU", "GRUCell", "RNN", "SimpleRNN", "SimpleRNNCell", "StackedRNNCells"),
    *("ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D", "ConvRNN1D", "ConvRNN2D", "ConvRNN3D"),
)
MERGES = {"concat": "concat", "sum": "sum", "ave": "mean", "mul": "mul", None: "concat"}

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
DEFAULT_FUNCTIONS: tuple[ActivationForm, ActivationForm] = ("Sigmoid", "Tanh")


def is_recurrent(layer: Object) -> bool:
    """Whether a layer runs over time, or is a cell of one that does; of another class by its options."""
    kind, config = class_of(layer), config_of(layer)
    if kind in (*LSTMS, *OTHERS, "Bidirectional"):
        return True
    return bool(
        isinstance(config.get("cell"), dict)
        or {"go_backwards", "merge_mode", "recurrent_activation"} & config.keys()
        or config.keys() >= {"units", "return_sequences"}
        or layer.get("is_recurrent")
    )


def is_lstm(layer: Any) -> bool:
    """Whether a layer is an LSTM, an RNN of LSTM cells among others, or a Bidirectional of one."""
    if not isinstance(layer, dict):
        return False
    kind, config = class_of(layer), config_of(layer)
    if kind == "Bidirectional":
        return class_of(config.get("layer")) != "Bidirectional" and is_lstm(config.get("layer"))
    return kind in LSTMS or (kind == "RNN" and any(class_of(c) == "LSTMCell" for c in _cells(config)[0]))


def read_layer(layer: Object, names: Names, group: str, version: Version) -> LayerConfig:
    """A recurrent layer, with what is wrong with it if it cannot be read."""
    source = layer.get("live")
    if not is_lstm(layer):
        return LayerConfig(names, problem=_other(layer), is_lstm=False, group=group, source=source)
    try:
        config = _read_both(layer, names, group, version) or _read_one(layer, names, group, version)
    except UnsuitableLayer as error:
        return LayerConfig(names, problem=str(error), group=group, source=source)
    if version < SIGMOID_IS_DEFAULT and _lacks_functions(layer):
        config = config._replace(untold=("activations",), must_tell=OLD_DEFAULT)
    return config._replace(group=group, source=source)


def _other(layer: Object) -> str:
    """What a recurrent layer is that is no LSTM; goes on from its name."""
    config = config_of(layer)
    kind = class_of(layer)
    if kind == "Bidirectional":
        inner = config.get("layer")
        return f"is a Bidirectional of {_called(inner) if isinstance(inner, dict) else 'nothing'}"
    if kind == "RNN":
        return f"is an RNN of {', '.join(map(_called, _cells(config)[0])) or 'no cells'}"
    if kind in OTHERS:
        return f"is a {kind}, which is no LSTM"
    return f"is of the class {_called(layer)}, which is none of Keras's own"


def _called(layer: Object) -> str:
    """The name of a layer's class."""
    return f"{layer.get('registered_name') or layer.get('class_name')}"[:100]


def _cells(config: Object) -> tuple[list[Object], bool]:
    """The cells of an RNN, and whether they are a stack."""
    cell = config.get("cell")
    if isinstance(cell, dict) and class_of(cell) == "StackedRNNCells":
        cell = config_of(cell).get("cells")
    if isinstance(cell, list):
        return [c for c in cell if isinstance(c, dict)], True
    return ([cell] if isinstance(cell, dict) else []), False


def drops(layer: Object) -> bool:
    """Whether a recurrent layer has dropout, in itself or in what it wraps."""
    config = config_of(layer)
    if any(config.get(name) not in (None, 0, False) for name in ("dropout", "recurrent_dropout")):
        return True
    inner = [config.get("layer"), config.get("backward_layer"), *_cells(config)[0]]
    return any(isinstance(one, dict) and drops(one) for one in inner)


def _lacks_functions(layer: Object) -> bool:
    """Whether a description leaves the gates' function to the default of some cell."""
    config = config_of(layer)
    kind = class_of(layer)
    if kind == "Bidirectional":
        sides = (config.get("layer"), config.get("backward_layer"))
        return any(isinstance(side, dict) and _lacks_functions(side) for side in sides)
    if kind == "RNN":
        return any(_lacks_functions(cell) for cell in _cells(config)[0])
    return kind != "CuDNNLSTM" and "recurrent_activation" not in config


def _read_one(layer: Object, names: Names, group: str, version: Version) -> LayerConfig:
    """A layer of one direction; UnsuitableLayer if it is not to be had."""
    config = config_of(layer)
    _check_options(config)
    side = Side(tuple(_read_cells(layer, group, version)), _flag(config, "go_backwards", False))
    return LayerConfig(names, (side,), _flag(config, "return_sequences", False))


def _read_both(layer: Object, names: Names, group: str, version: Version) -> LayerConfig | None:
    """A Bidirectional; None of another class. What its sides are together may be no net, each of them is."""
    if class_of(layer) != "Bidirectional":
        return None
    config = config_of(layer)
    _check_options(config)
    mode = config.get("merge_mode", "concat")
    if not isinstance(mode, str | None) or mode not in MERGES:
        raise UnsuitableLayer(f"has merge_mode {mode!r:.100}, but must have one of {[*MERGES]}")
    sides = []
    for which, inner in (("forward", config["layer"]), ("backward", config.get("backward_layer"))):
        described = inner or config["layer"]
        if not is_lstm(described):
            raise UnsuitableLayer(f"has a {which}_layer that is no LSTM")
        options = config_of(described)
        _check_options(options)
        # Keras 2 does not describe a backward layer that it made of the forward one.
        reverse = _flag(options, "go_backwards", False) if inner else True
        cells = _read_cells(described, f"{group}{which}_layer/", version)
        sides.append(Side(tuple(cells), reverse, _side_name(options, which, inner is not None)))
    return LayerConfig(
        names,
        tuple(sides),
        _flag(config_of(config["layer"]), "return_sequences", False),
        MERGES[mode],
        _problem_of_both(*sides),
        gives_sides_apart=mode is None,
    )


def _side_name(config: Object, which: str, is_own: bool) -> str:
    """The name of a layer within a Bidirectional, which gives it one unless it is the caller's own."""
    name = str(config.get("name", "lstm"))
    if which == "backward" and is_own:
        return name
    return f"{which}_{name.removeprefix(f'{which}_')}"


def _problem_of_both(forward: Side, backward: Side) -> str | None:
    """Why two sides are no net of this package."""
    if len(forward.cells) > 1 or len(backward.cells) > 1:
        return "has stacked cells in each direction, which do not see each other's outputs"
    if forward.reverse or not backward.reverse:
        return "has a forward layer that goes backwards"
    units = forward.cells[0].units, backward.cells[0].units
    return f"has directions of {units[0]} and {units[1]} units" if units[0] != units[1] else None


def _read_cells(layer: Object, group: str, version: Version) -> list[Cell]:
    """The cells of an LSTM or an RNN."""
    config = config_of(layer)
    kind = class_of(layer)
    if kind in LSTMS:
        only = _read_cell(config, group if kind != "LSTM" else f"{group}cell/", version)
        return [only._replace(is_cudnn=kind == "CuDNNLSTM")]
    cells, is_stack = _cells(config)
    if not cells or any(class_of(cell) != "LSTMCell" for cell in cells):
        kinds = ", ".join(map(_called, cells))
        raise UnsuitableLayer(f"has cells of {kinds}, but all must be of LSTMCell")
    for cell in cells:
        _check_options(config_of(cell))
    _check_options(config_of(config["cell"]))
    if not is_stack:
        return [_read_cell(config_of(cells[0]), f"{group}cell/", version)]
    return [
        _read_cell(config_of(cell), f"{group}cell/cells/lstm_cell" + (f"_{k}" if k else "") + "/", version)
        for k, cell in enumerate(cells)
    ]


def _read_cell(config: Object, group: str, version: Version) -> Cell:
    units = config.get("units")
    if not isinstance(units, int) or isinstance(units, bool) or units < 1:
        raise UnsuitableLayer(f"has units {units!r:.100}, but must have a positive integer")
    functions = (
        function(config.get("recurrent_activation", "sigmoid"), version),
        function(config.get("activation", "tanh"), version),
    )
    return Cell(str(config.get("name", "")), group, units, _flag(config, "use_bias", True), functions)


def _flag(config: Object, name: str, default: bool) -> bool:
    value = config.get(name, default)
    if not isinstance(value, bool):
        raise UnsuitableLayer(f"has {name} {value!r:.100}, but must have True or False")
    return value


def _check_options(config: Object) -> None:
    """UnsuitableLayer if there is an option that is not known, and is on."""
    for name, value in config.items():
        if name not in WITHOUT_EFFECT and name not in USED and value is not None and value is not False:
            raise UnsuitableLayer(f"has the option {name}={value!r:.100}, which is not supported")


def function(value: Any, version: Version) -> ActivationForm:
    """An activation as Keras describes it, under the name that the ONNX operator has for it."""
    if value is None:
        return FUNCTIONS["linear"]
    if isinstance(value, str) and value in FUNCTIONS:
        return KERAS_2_HARD_SIGMOID if value == "hard_sigmoid" and version < (3, 0) else FUNCTIONS[value]
    if isinstance(value, dict):
        kind, config = class_of(value), config_of(value)
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
