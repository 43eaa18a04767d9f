"""Finding the LSTM among the other tensors of a model, by PyTorch's names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from ..core.state_dict import NAME
from .option_names import option
from .small_weights import SCALE

FIRST = "weight_hh_l0"
FIRST_OF_CELL = "weight_hh"  # nn.LSTMCell has no layers
CELL_NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr", "weight_ch")
# torch.ao.nn.quantizable.LSTM, which has a Linear for each of the two matrices.
QUANTIZABLE = re.compile(
    r"(?P<prefix>(?:.*?\.)??)(?:layers\.(?P<layer>[0-9]{1,6})\.layer_(?P<direction>fw|bw)\.cell\.)?"
    r"(?P<kind>[ih])gates\.(?P<what>weight|bias)"
)
# Names in place of a matrix that is computed from others at every call: torch.nn.utils's parametrizations,
# weight and spectral norms and pruning, and the dropped weights of AWD-LSTM.
PARAMETRIZED = re.compile(
    r"(?P<prefix>(?:.*?\.)?)(?:parametrizations\.)?weight_(?P<kind>ih|hh)(?:_l[0-9]+(?:_reverse)?)?"
    r"(?:_raw|_orig|_v|_bar|\.original[01]?)"
)


def find(shapes: Mapping[str, tuple[int, ...]], prefix: str | None) -> dict[str, str]:
    """The tensors of one LSTM: their names in a state dict of it -> their names in the model.

    `shapes` are those of all tensors by name. ValueError if there is no LSTM, none of that prefix, or
    several and no prefix to pick one.
    """
    stored = {_standard(name): name for name in shapes}
    if len(stored) < len(shapes):
        raise ValueError("some tensors have names of nn.LSTM and of quantizable.LSTM for one matrix")
    named = _found({name: shapes[own] for name, own in stored.items()}, prefix)
    return {name: stored[own] for name, own in named.items()}


def _standard(name: str) -> str:
    """The name of a tensor of a quantizable LSTM as nn.LSTM has it; any other as it is."""
    match = QUANTIZABLE.fullmatch(name)
    if match is None:
        return name
    direction = "_reverse" if match["direction"] == "bw" else ""
    return f"{match['prefix']}{match['what']}_{match['kind']}h_l{int(match['layer'] or 0)}{direction}"


def _found(shapes: Mapping[str, tuple[int, ...]], prefix: str | None) -> dict[str, str]:
    """The tensors of one LSTM, as `find` gives them, all under names of nn.LSTM and nn.LSTMCell."""
    computed = _parametrized(shapes)
    groups = _names_by_prefix(shapes)
    found = {
        name: _names(groups[name], name)
        for name in prefixes(shapes)
        if name not in computed and name.removesuffix("module.") not in computed
    }
    if prefix is not None:
        picked = next((given for given in (prefix, f"{prefix}.") if given in {*found, *computed}), None)
        if picked is None:
            raise ValueError(f"no LSTM has the prefix {prefix!r}; {_listed(found, computed, shapes)}")
    elif len({*found, *computed}) > 1:
        raise ValueError(
            f"there are several LSTMs, pick one by {option('prefix')}; {_listed(found, computed, shapes)}"
        )
    else:
        picked = next(iter({*found, *computed}), None)
        if picked is None:
            raise ValueError("there is no LSTM: no weight_ih_l0 and weight_hh_l0 of (4 * hidden_size, ...)")
    if picked in computed:
        raise ValueError(
            f"the weights of the LSTM {picked!r} are computed at every call, from {computed[picked]!r} and "
            "others; make them stored ones first, as torch.nn.utils.parametrize.remove_parametrizations, "
            "remove_weight_norm or prune.remove do"
        )
    if others := _others(shapes, picked, found):
        listed = ", ".join(map(repr, others[:5])) + (", ..." if len(others) > 5 else "")
        raise ValueError(
            f"the LSTM {picked!r} has other tensors in the same module, {listed}, and so is no plain LSTM; "
            "if they do not enter its computation, hand over a dict of its own tensors alone"
        )
    return found[picked]


def _others(
    shapes: Mapping[str, tuple[int, ...]], prefix: str, found: Mapping[str, Mapping[str, str]]
) -> list[str]:
    """The tensors of the module of this prefix that no LSTM has: layer norms, weights of more gates."""
    known = {name for names in found.values() for name in names.values()}
    return [name for name in shapes if name.startswith(prefix) and name not in known]


def _parametrized(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, str]:
    """The prefixes of LSTMs that have a matrix that is computed, each with a tensor that it is made from."""
    computed: dict[str, str] = {}
    stored = set(prefixes(shapes))
    for name, shape in shapes.items():
        match = PARAMETRIZED.fullmatch(name)
        if match is None or len(shape) != 2:
            continue
        is_hidden = match["kind"] == "hh" and shape[0] == 4 * shape[1]
        if is_hidden or (match["kind"] == "ih" and match["prefix"] in stored):
            computed.setdefault(match["prefix"], name)
    return computed


def prefixes(shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
    """What the names of each LSTM start with. A GRU's matrices have three times hidden_size rows."""
    starts = []
    shapes = {_standard(name): shape for name, shape in shapes.items()}
    for name, shape in shapes.items():
        ending = next((e for e in (FIRST, FIRST_OF_CELL) if name == e or name.endswith(f".{e}")), None)
        if ending is None or len(shape) != 2:
            continue
        prefix = name.removesuffix(ending)
        projected = f"{prefix}weight_hr{ending.removeprefix(FIRST_OF_CELL)}" in shapes
        if shape[0] == 4 * shape[1] or (projected and shape[0] % 4 == 0):
            starts.append(prefix)
    return starts


def _names_by_prefix(names: Iterable[str]) -> dict[str, list[str]]:
    """The names of a model's tensors by what comes before their last part, the point included."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(name[: name.rfind(".") + 1], []).append(name)
    return groups


def _names(group: list[str], prefix: str) -> dict[str, str]:
    """The tensors of the LSTM of this prefix: name in its state dict -> name in the model."""
    own = {name.removeprefix(prefix): name for name in group}
    if FIRST not in own:
        return {f"{name}_l0": own[name] for name in CELL_NAMES if name in own}
    return {name: full for name, full in own.items() if NAME.fullmatch(name) or SCALE.fullmatch(name)}


def _listed(
    found: dict[str, dict[str, str]], computed: dict[str, str], shapes: Mapping[str, tuple[int, ...]]
) -> str:
    """The LSTMs by prefix, with their sizes."""
    described = [f"{prefix!r} (computed from {name!r})" for prefix, name in sorted(computed.items())]
    for prefix, names in sorted(found.items()):
        rows = shapes[names[FIRST]][0]
        inputs = shapes.get(names.get("weight_ih_l0", ""), (0, 0))[-1:]
        layers = 1 + max(int(match[2]) for name in names if (match := NAME.fullmatch(name)))
        sizes = f"input_size={inputs[0] if inputs else '?'}, hidden_size={rows // 4}"
        described.append(f"{prefix!r} ({sizes}, {layers} layer{'s' * (layers > 1)})")
    rest = len(described) - 10
    return f"there are {', '.join(described[:10]) or 'none'}" + (f" and {rest} more" if rest > 0 else "")
