"""PyTorch's names and shapes for the weights of a net, and back.

Shapes: I input, H hidden, O features of h.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from .activations import DEFAULT_ACTIVATIONS
from .architecture import Architecture
from .checks import cast, real_array
from .weights import Parts, Weights, full_weights


def to_state_dict(parts: Parts) -> dict[str, np.ndarray]:
    """PyTorch's names, shapes (4H, I), (4H, O), twice (4H,), (O, H), peepholes (3H,), and the net's dtype."""
    state: dict[str, np.ndarray] = {}
    for cell, weights in enumerate(parts.weights):
        one = full_weights(weights).map(lambda array: cast(array, parts.dtype, copy=True))
        state |= named_arrays(parts.architecture, cell, one, np.zeros_like(one.bias))
    return state


def named_arrays(
    architecture: Architecture, cell: int, weights: Weights, second_bias: np.ndarray
) -> dict[str, np.ndarray]:
    """One cell's arrays under PyTorch's names and in its shapes, views of contiguous ones.

    `second_bias` (4, H) is that of the hidden weights. All may have more axes in front, the same ones.
    """
    front, hidden = weights.bias.shape[:-2], architecture.hidden_size
    arrays = {
        "weight_ih": weights.input.reshape(*front, 4 * hidden, weights.input.shape[-1]),
        "weight_hh": weights.hidden.reshape(*front, 4 * hidden, weights.hidden.shape[-1]),
        "bias_ih": weights.bias.reshape(*front, 4 * hidden),
        "bias_hh": second_bias.reshape(*front, 4 * hidden),
    }
    if weights.projection is not None:
        arrays["weight_hr"] = weights.projection
    if weights.peephole is not None:
        arrays["weight_ch"] = weights.peephole.reshape(*front, 3 * hidden)
    suffix = architecture.suffix(cell)
    return {name: arrays[name.removesuffix(suffix)] for name in _cell_names(architecture, cell)}


NAME = re.compile(
    r"(weight_ih|weight_hh|weight_hr|weight_ch|bias_ih|bias_hh)_l(0|[1-9][0-9]{0,5})(_reverse)?"
)


def from_state_dict(state: Mapping[str, Any], **options: Any) -> Parts:
    """The net of a state dict; `options` are those of `architecture.OPTIONS`.

    Its dtype is float32 if all arrays are of float32 or float16, else float64. ValueError or TypeError is
    raised if it is no state dict. The two biases are added in float64, which rounds a sum of float32
    only when it is cast. A zero `bias_hh` leaves `bias_ih` as it is, signs of zeros included, so that
    saving and loading gives the same bits.
    """
    if not isinstance(state, Mapping):
        raise TypeError(f"the state dict is a {type(state).__name__}, but must map names to arrays")
    named = _named_architecture(state)
    arrays = {name: real_array(name, value) for name, value in state.items()}
    architecture = _sized_architecture(named, arrays).with_options(**options)
    _check_shapes(architecture, arrays)
    is_single = all(array.dtype in (np.float32, np.float16) for array in arrays.values())
    weights = [_cell_weights(architecture, arrays, cell) for cell in range(architecture.cells)]
    return Parts(weights, architecture, np.dtype(np.float32 if is_single else np.float64))


def fitting_weights(state: Mapping[str, Any], architecture: Architecture) -> list[Weights]:
    """The weights of a state dict of a net of this architecture; ValueError if it is of another one."""
    both = isinstance(state, Mapping) and "weight_ih_l0_reverse" in state
    found = from_state_dict(state, **({"merge": architecture.merge} if both else {}))
    if differing := architecture.differing_sizes(found.architecture):
        got = ", ".join(f"{name}={getattr(found.architecture, name)}" for name in differing)
        want = ", ".join(f"{name}={getattr(architecture, name)}" for name in differing)
        raise ValueError(f"the state dict is of an LSTM with {got}, but this one has {want}")
    return found.full_weights()


def _cell_names(architecture: Architecture, cell: int) -> list[str]:
    """The names of one cell's arrays in a state dict."""
    kinds = ["weight_ih", "weight_hh"]
    kinds += ["bias_ih", "bias_hh"] if architecture.bias else []
    kinds += ["weight_hr"] if architecture.proj_size else []
    kinds += ["weight_ch"] if architecture.peephole else []
    return [kind + architecture.suffix(cell) for kind in kinds]


def _named_architecture(state: Mapping[str, Any]) -> Architecture:
    """What the names alone tell, sizes of 1 where there is something; ValueError where they do not fit."""
    names = [NAME.fullmatch(name) if isinstance(name, str) else None for name in state]
    found = [name for name in names if name is not None]
    kinds = {name[1] for name in found}
    last_layer = max((int(name[2]) for name in found), default=0)
    # More layers than names would be a claim that no file backs.
    bidirectional = any(name[3] for name in found)
    architecture = Architecture(
        1,
        1,
        num_layers=min(last_layer, len(found)) + 1,
        bidirectional=bidirectional,
        activations=DEFAULT_ACTIVATIONS * (2 if bidirectional else 1),
        proj_size=int("weight_hr" in kinds),
        bias=bool({"bias_ih", "bias_hh"} & kinds),
        peephole="weight_ch" in kinds,
    )
    needed = [name for cell in range(architecture.cells) for name in _cell_names(architecture, cell)]
    missing = [name for name in needed if name not in state]
    unexpected = [str(name) for name in state if name not in set(needed)]
    if missing or unexpected:
        problems = [f"lacks {_listed(missing)}"] if missing else []
        problems += [f"has {_listed(unexpected)}"] if unexpected else []
        first = "weight_ih_l0"
        prefixes = {str(name).removesuffix(f".{first}") for name in state if str(name).endswith(f".{first}")}
        if prefixes and first not in state:
            listed = " or ".join(f'LSTM.from_torch(state, "{prefix}")' for prefix in sorted(prefixes)[:5])
            raise ValueError(f"the names of the state dict have a prefix; write {listed}")
        raise ValueError(
            f"the state dict {' and '.join(problems)}; a layer has weight_ih_l0, weight_hh_l0 and, where "
            "there are biases, bias_ih_l0, bias_hh_l0, a projection, weight_hr_l0, peepholes, weight_ch_l0"
        )
    return architecture


def _listed(names: list[str]) -> str:
    """The first of many names."""
    rest = len(names) - 8
    return ", ".join(names[:8]) + (f" and {rest} more" if rest > 0 else "")


def _sized_architecture(architecture: Architecture, arrays: dict[str, np.ndarray]) -> Architecture:
    """The architecture with the sizes that the first layer's arrays tell; ValueError if they tell none."""
    hidden_weights, input_weights = arrays["weight_hh_l0"], arrays["weight_ih_l0"]
    width = hidden_weights.shape[1] if hidden_weights.ndim == 2 else 0
    hidden_size = hidden_weights.shape[0] // 4 if width else 0
    proj_size = width if architecture.proj_size else 0
    if (
        hidden_size == 0
        or hidden_weights.shape[0] != 4 * hidden_size
        or (not proj_size and width != hidden_size)
    ):
        raise ValueError(
            f"weight_hh_l0 has shape {hidden_weights.shape}, but must be (4 * hidden_size, hidden_size), "
            "or (4 * hidden_size, proj_size) with a projection"
        )
    if proj_size >= hidden_size:
        raise ValueError(
            f"weight_hh_l0 has shape {hidden_weights.shape}, but with a projection, weight_hr_l0, it must be "
            "(4 * hidden_size, proj_size), proj_size below hidden_size"
        )
    if input_weights.ndim != 2 or input_weights.shape[1] == 0:
        raise ValueError(
            f"weight_ih_l0 has shape {input_weights.shape}, but must be ({4 * hidden_size}, input_size) "
            f"to fit weight_hh_l0 of {hidden_weights.shape}"
        )
    return architecture._replace(
        input_size=input_weights.shape[1], hidden_size=hidden_size, proj_size=proj_size
    )


def _check_shapes(architecture: Architecture, arrays: dict[str, np.ndarray]) -> None:
    """ValueError if some array's shape does not fit the architecture."""
    for cell in range(architecture.cells):
        for name, shape in cell_shapes(architecture, cell).items():
            if arrays[name].shape != shape:
                expected = f"({shape[0]}, input_size)" if name == "weight_ih_l0" else str(shape)
                raise ValueError(
                    f"{name} has shape {arrays[name].shape}, but must be {expected} "
                    f"to fit weight_hh_l0 of {arrays['weight_hh_l0'].shape}"
                )


def cell_shapes(architecture: Architecture, cell: int) -> dict[str, tuple[int, ...]]:
    """The shapes of one cell's arrays in a state dict."""
    hidden, state = architecture.hidden_size, architecture.state_size
    shapes: dict[str, tuple[int, ...]] = {
        "weight_ih": (4 * hidden, architecture.cell_input_size(cell)),
        "weight_hh": (4 * hidden, state),
        "bias_ih": (4 * hidden,),
        "bias_hh": (4 * hidden,),
        "weight_hr": (state, hidden),
        "weight_ch": (3 * hidden,),
    }
    names = _cell_names(architecture, cell)
    return {name: shapes[name.removesuffix(architecture.suffix(cell))] for name in names}


def _cell_weights(architecture: Architecture, arrays: dict[str, np.ndarray], cell: int) -> Weights:
    """One cell's weights from checked arrays."""
    suffix = architecture.suffix(cell)
    hidden = architecture.hidden_size
    input_weights = arrays[f"weight_ih{suffix}"]
    bias = np.zeros(4 * hidden, input_weights.dtype)
    if architecture.bias:
        with np.errstate(all="ignore"):
            first = arrays[f"bias_ih{suffix}"].astype(np.float64, copy=False)
            second = arrays[f"bias_hh{suffix}"].astype(np.float64, copy=False)
            bias = first + second
            np.copyto(bias, first, where=second == 0)  # -0.0 stays; np.where hides a MemoryError
    peephole = arrays.get(f"weight_ch{suffix}")
    return Weights(
        input_weights.reshape(4, hidden, -1),
        arrays[f"weight_hh{suffix}"].reshape(4, hidden, -1),
        bias.reshape(4, hidden),
        None if peephole is None else peephole.reshape(3, hidden),
        arrays.get(f"weight_hr{suffix}"),
    )
