"""What a net is made of, apart from its weights: sizes, layers, directions and the variant of the equations.

Sizes: I input, H hidden, O = proj_size or H, L layers, D directions.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from . import activations
from .activations import Activation, Plain
from .checks import finite_number, positive_size


class Options(NamedTuple):
    """How one layer and direction differs from the plain equations."""

    clip: float | None = None
    input_forget: bool = False
    activations: tuple[Activation, ...] = activations.USUAL  # gates, candidate, cell output


PLAIN = Options()


class Architecture(NamedTuple):
    """The checked arguments of an `LSTM`."""

    input_size: int
    hidden_size: int
    num_layers: int = 1
    bidirectional: bool = False
    reverse: bool = False
    proj_size: int = 0
    bias: bool = True
    peephole: bool = False
    clip: float | None = None
    input_forget: bool = False
    activations: tuple[Activation, ...] = activations.USUAL  # three a direction

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
        """D O: features of an output step."""
        return self.directions * self.state_size

    def cell_input_size(self, cell: int) -> int:
        """Features that one of the L D cells takes."""
        return self.input_size if cell < self.directions else self.output_size

    def cell_options(self, cell: int) -> Options:
        """The variant that one of the L D cells computes."""
        first = 3 * (cell % self.directions)
        return Options(self.clip, self.input_forget, self.activations[first : first + 3])

    def runs_from_end(self, cell: int) -> bool:
        """Whether one of the L D cells runs from the last step to the first."""
        return self.reverse or cell % self.directions == 1

    def suffix(self, cell: int) -> str:
        """What PyTorch's names of one of the L D cells end in."""
        return f"_l{cell // self.directions}" + ("_reverse" if cell % self.directions else "")

    def with_options(
        self, reverse: Any = False, clip: Any = None, input_forget: Any = False, activations: Any = None
    ) -> Architecture:
        """The same sizes with what a state dict does not tell; TypeError or ValueError where it is wrong."""
        sizes = (self.input_size, self.hidden_size, self.num_layers, self.bidirectional)
        return check(
            *sizes, reverse, self.proj_size, self.bias, self.peephole, clip, input_forget, activations
        )

    def described(self) -> dict[str, Any]:
        """What differs from the defaults, by argument name, as a user would write it."""
        default = Architecture(self.input_size, self.hidden_size)
        options = {
            name: value
            for name, value in self._asdict().items()
            if name != "activations" and value != getattr(default, name)
        }
        if (named := self.named_activations()) is not None:
            options["activations"] = named
        return options

    def named_activations(self) -> tuple[Plain, ...] | None:
        """The activations as users see them; None for the usual ones."""
        if self.activations == activations.USUAL * self.directions:
            return None
        return tuple(activations.plain(a) for a in self.activations)


def check(
    input_size: Any,
    hidden_size: Any,
    num_layers: Any,
    bidirectional: Any,
    reverse: Any,
    proj_size: Any,
    bias: Any,
    peephole: Any,
    clip: Any,
    input_forget: Any,
    activation_names: Any,
) -> Architecture:
    """The architecture of these arguments; TypeError or ValueError where there is none."""
    flags = {
        "bidirectional": bidirectional,
        "reverse": reverse,
        "bias": bias,
        "peephole": peephole,
        "input_forget": input_forget,
    }
    for name, flag in flags.items():
        if not isinstance(flag, bool | np.bool_):
            raise TypeError(f"{name} is {flag!r}, but must be True or False")
    if bidirectional and reverse:
        raise ValueError("reverse is True, but a bidirectional net has both directions already")
    hidden = positive_size("hidden_size", hidden_size)
    return Architecture(
        positive_size("input_size", input_size),
        hidden,
        positive_size("num_layers", num_layers),
        bool(bidirectional),
        bool(reverse),
        _projection(proj_size, hidden),
        bool(bias),
        bool(peephole),
        _clip(clip),
        bool(input_forget),
        activations.parse(activation_names, 2 if bidirectional else 1),
    )


def _projection(proj_size: Any, hidden_size: int) -> int:
    """0, or a size below that of the cell, as PyTorch has it."""
    if isinstance(proj_size, int | np.integer) and not isinstance(proj_size, bool) and proj_size == 0:
        return 0
    size = positive_size("proj_size", proj_size)
    if size >= hidden_size:
        raise ValueError(f"proj_size is {size}, but must be smaller than hidden_size={hidden_size}")
    return size


def _clip(clip: Any) -> float | None:
    """None or a positive finite number."""
    if clip is None:
        return None
    number = finite_number("clip", clip)
    if not number > 0:
        raise ValueError(f"clip is {clip!r}, but must be positive and finite")
    return number
