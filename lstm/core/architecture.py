"""What a net is made of, apart from its weights: sizes, layers, directions and the variant of the equations.

`Architecture` is the one list of sizes and options; whoever needs their names takes them from here.

Sizes: I input, H hidden, O = proj_size or H, L layers, D directions.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from . import activations
from .activations import DEFAULT_ACTIVATIONS, Activation
from .checks import finite_number, positive_size
from .typing import ActivationForm

MERGES = ("concat", "sum", "mean", "mul")
"""How the two directions of a layer become its output: Keras's merge_mode."""

OPTIONS = ("merge", "reverse", "clip", "cell_clip", "proj_clip", "input_forget", "activations")
"""Fields of an `Architecture` that the arrays of a state dict do not tell."""


class Options(NamedTuple):
    """How one layer and direction differs from the default equations."""

    clip: float | None = None
    cell_clip: float | None = None
    proj_clip: float | None = None
    input_forget: bool = False
    activations: tuple[Activation, ...] = DEFAULT_ACTIVATIONS  # gates, candidate, cell output


DEFAULT_OPTIONS = Options()


class Architecture(NamedTuple):
    """The checked sizes and options of a net, under the names of the arguments of `LSTM`."""

    input_size: int
    hidden_size: int
    num_layers: int = 1
    bidirectional: bool = False
    merge: str = "concat"
    reverse: bool = False
    proj_size: int = 0
    bias: bool = True
    peephole: bool = False
    clip: float | None = None
    cell_clip: float | None = None
    proj_clip: float | None = None
    input_forget: bool = False
    activations: tuple[Activation, ...] = DEFAULT_ACTIVATIONS  # three a direction

    @property
    def directions(self) -> int:
        """D."""
        return 2 if self.bidirectional else 1

    @property
    def cells(self) -> int:
        """L D: layers times directions."""
        return self.num_layers * self.directions

    @property
    def state_size(self) -> int:
        """O: features of h."""
        return self.proj_size or self.hidden_size

    @property
    def output_size(self) -> int:
        """D O: features of an output step; O if the directions are merged into one another."""
        return self.state_size * (self.directions if self.merge == "concat" else 1)

    def cell_input_size(self, cell: int) -> int:
        """Features that one of the L D cells takes."""
        return self.input_size if cell < self.directions else self.output_size

    def cell_options(self, cell: int) -> Options:
        """The variant that one of the L D cells computes."""
        first = 3 * (cell % self.directions)
        functions = self.activations[first : first + 3]
        return Options(self.clip, self.cell_clip, self.proj_clip, self.input_forget, functions)

    def runs_from_end(self, cell: int) -> bool:
        """Whether one of the L D cells runs from the last step to the first."""
        return self.reverse or cell % self.directions == 1

    def suffix(self, cell: int) -> str:
        """What PyTorch's names of one of the L D cells end in."""
        return f"_l{cell // self.directions}" + ("_reverse" if cell % self.directions else "")

    def arguments(self) -> dict[str, Any]:
        """All sizes and options as `LSTM` takes them: `check` gives this architecture back."""
        return {**self._asdict(), "activations": self.activation_forms()}

    def options(self) -> dict[str, Any]:
        """The arguments of `OPTIONS`: what a state dict does not tell."""
        arguments = self.arguments()
        return {name: arguments[name] for name in OPTIONS}

    def with_options(self, **options: Any) -> Architecture:
        """The same sizes with other `OPTIONS`; TypeError or ValueError for wrong ones."""
        if unknown := options.keys() - set(OPTIONS):
            raise TypeError(f"{', '.join(sorted(unknown))}: no such option; there are {', '.join(OPTIONS)}")
        return check(**{**self.arguments(), **options})

    def changed_arguments(self) -> dict[str, Any]:
        """The arguments that differ from the defaults, without the two sizes that have none."""
        default = Architecture(self.input_size, self.hidden_size).arguments()
        return {name: value for name, value in self.arguments().items() if value != default[name]}

    def differing_sizes(self, other: Architecture) -> list[str]:
        """Names of the fields that the arrays of a state dict tell and in which `other` differs."""
        mine, others = self._asdict(), other._asdict()
        return [name for name in self._fields if name not in OPTIONS and mine[name] != others[name]]

    def activation_forms(self) -> tuple[ActivationForm, ...] | None:
        """The activations as users write them; None for the default ones."""
        if self.activations == DEFAULT_ACTIVATIONS * self.directions:
            return None
        return tuple(activations.form_of(a) for a in self.activations)


def check(input_size: Any, hidden_size: Any, **arguments: Any) -> Architecture:
    """The architecture of these arguments, defaults for those left out.

    TypeError or ValueError, which name the argument, what it is and what was expected, if there is none.
    """
    given: dict[str, Any] = {**Architecture._field_defaults, "activations": None, **arguments}
    if unknown := given.keys() - set(Architecture._fields):
        raise TypeError(f"an LSTM has no argument {', '.join(sorted(unknown))}")
    flags = {name: _flag(name, given[name]) for name in FLAGS}
    if flags["bidirectional"] and flags["reverse"]:
        raise ValueError("reverse is True, but a bidirectional net has both directions already")
    merge = _merge(given["merge"], flags["bidirectional"])
    hidden = positive_size("hidden_size", hidden_size)
    projection = _projection(given["proj_size"], hidden)
    if given["proj_clip"] is not None and not projection:
        raise ValueError(f"proj_clip is {given['proj_clip']!r}, but the net has no projection (proj_size=0)")
    return Architecture(
        input_size=positive_size("input_size", input_size),
        hidden_size=hidden,
        num_layers=_layers(given["num_layers"]),
        proj_size=projection,
        merge=merge,
        clip=_bound("clip", given["clip"]),
        cell_clip=_bound("cell_clip", given["cell_clip"]),
        proj_clip=_bound("proj_clip", given["proj_clip"]),
        activations=activations.parse(given["activations"], 2 if flags["bidirectional"] else 1),
        **flags,
    )


MOST_LAYERS = 1_000_000
FLAGS = ("bidirectional", "reverse", "bias", "peephole", "input_forget")


def _layers(value: Any) -> int:
    """A number of layers that names of a state dict can tell."""
    layers = positive_size("num_layers", value)
    if layers > MOST_LAYERS:
        raise ValueError(f"num_layers is {layers}, but must be at most {MOST_LAYERS}")
    return layers


def _flag(name: str, value: Any) -> bool:
    """True or False."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} is {value!r}, but must be True or False")
    return bool(value)


def _merge(merge: Any, bidirectional: bool) -> str:
    """One of `MERGES`; a net of one direction has nothing to merge."""
    if not isinstance(merge, str):
        raise TypeError(f"merge is {merge!r}, but must be one of {', '.join(map(repr, MERGES))}")
    if merge not in MERGES:
        raise ValueError(f"merge is {merge!r}, but must be one of {', '.join(map(repr, MERGES))}")
    if merge != "concat" and not bidirectional:
        raise ValueError(f"merge is {merge!r}, but only a bidirectional net has two directions to merge")
    return merge


def _projection(proj_size: Any, hidden_size: int) -> int:
    """0, or a size below that of the cell, as PyTorch has it."""
    if isinstance(proj_size, int | np.integer) and not isinstance(proj_size, bool) and proj_size <= 0:
        if proj_size < 0:
            raise ValueError(f"proj_size is {proj_size}, but must be 0 (no projection) or a positive size")
        return 0
    size = positive_size("proj_size", proj_size)
    if size >= hidden_size:
        raise ValueError(f"proj_size is {size}, but must be smaller than hidden_size={hidden_size}")
    return size


def _bound(name: str, value: Any) -> float | None:
    """None or a positive finite number."""
    if value is None:
        return None
    number = finite_number(name, value)
    if not number > 0:
        raise ValueError(f"{name} is {value!r}, but must be positive and finite")
    return number
