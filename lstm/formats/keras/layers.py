"""What is known of a recurrent layer of Keras, by a description, the weights of a file, or a live object."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

from ...core.typing import ActivationForm
from ..errors import FormatWarning
from ..option_names import option

Object = dict[str, Any]
Names = tuple[str, ...]
Version = tuple[int, int]
"""Keras's, the first two numbers of it."""

PACKAGES = ("keras", "tf_keras", "tensorflow", "builtins")


class Cell(NamedTuple):
    """One LSTM cell of a layer."""

    name: str
    group: str  # where its weights are within those of the model, as Keras 3 names it
    units: int
    use_bias: bool
    functions: tuple[ActivationForm, ActivationForm]  # of the gates; of candidate and output
    is_cudnn: bool = False  # of a CuDNNLSTM, whose weights are in an order of their own


class Side(NamedTuple):
    """One direction of a layer: its cells, each of which takes the outputs of the one before."""

    cells: tuple[Cell, ...]
    reverse: bool = False
    name: str = ""  # that of its own layer within a Bidirectional


class LayerConfig(NamedTuple):
    """A recurrent layer; an LSTM that can be read has one side or, of a Bidirectional, two."""

    names: Names  # from the outermost model in; () for a layer that is in none
    sides: tuple[Side, ...] = ()
    sequences: bool = True
    merge: str = "concat"
    problem: str | None = None  # why it cannot be read
    is_lstm: bool = True
    group: str = ""  # where its weights are within those of the model
    source: Any = None  # the live layer
    # Options of `lstm.load` that the file does not tell, and why activations must then be said.
    untold: tuple[str, ...] = ()
    must_tell: str | None = None
    is_wrapped: bool = False  # in a TimeDistributed
    alias: str = ""  # another path that it goes by
    gives_sides_apart: bool = False  # merge_mode None
    random: str | None = None  # why the model's outputs are

    @property
    def name(self) -> str:
        """The layer's own name."""
        return self.names[-1] if self.names else "lstm"

    @property
    def path(self) -> str:
        """The name after those of the models and layers that hold it."""
        return "/".join(self.names) or "lstm"

    @property
    def cells(self) -> tuple[Cell, ...]:
        """Those of the first side, then those of the second."""
        return tuple(cell for side in self.sides for cell in side.cells)

    @property
    def levels(self) -> list[tuple[Cell, ...]]:
        """Cells by depth: one of each side; ValueError if the sides differ in depth."""
        return list(zip(*(side.cells for side in self.sides), strict=True))

    @property
    def reverse(self) -> bool:
        """Whether a layer of one direction runs from the last step to the first."""
        return len(self.sides) == 1 and self.sides[0].reverse

    @property
    def notes(self) -> list[str]:
        """What a user must know who puts the layer's net in its place."""
        notes = []
        if self.untold:
            options = ", ".join(option(name) for name in self.untold)
            notes.append(f"the file does not store {options}; what is not said is Keras's default")
        if self.gives_sides_apart:
            notes.append("merge_mode None: Keras gives the directions apart, here they are side by side")
        if self.is_wrapped:
            notes.append("it is in a TimeDistributed: it runs once for each step of another axis")
        if self.random:
            notes.append(f"Keras's outputs are random, since {self.random}; the net has no dropout")
        return notes


class CellWeights(NamedTuple):
    """The weights of a cell: arrays, or entries of a file that are still to be read."""

    kernel: Any
    recurrent_kernel: Any
    bias: Any  # or None


class Layer(NamedTuple):
    """A layer with the weights of its cells, in their order; () if they are not to be had."""

    config: LayerConfig
    weights: tuple[CellWeights, ...] = ()


class UnsuitableLayer(ValueError):
    """A layer that this package cannot compute; the message goes on from the layer's name."""


def warn(start: str, layers: list[Layer], stacklevel: int) -> None:
    """A FormatWarning for each layer whose outputs Keras makes random, beginning with `start`."""
    for layer in layers:
        if layer.config.random:
            warnings.warn(
                f"{start}: what Keras computes for the layer {layer.config.path!r} is random, since "
                f"{layer.config.random}; the net has no dropout",
                FormatWarning,
                stacklevel=stacklevel + 1,
            )


def class_of(layer: Any) -> str:
    """The class's name if it is a description of one of Keras itself, else ""."""
    if not isinstance(layer, dict):
        return ""
    name, registered, module = (layer.get(key) for key in ("class_name", "registered_name", "module"))
    if not isinstance(name, str) or registered not in (None, name) or ">" in name:
        return ""
    if module is not None and str(module).split(".")[0] not in PACKAGES:
        return ""
    return name


def config_of(layer: Any) -> Object:
    """The options in a description; {} if there are none."""
    config = layer.get("config") if isinstance(layer, dict) else None
    return config if isinstance(config, dict) else {}
