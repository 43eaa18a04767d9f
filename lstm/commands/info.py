"""``lstm info``: what runs here, or what a model is made of."""

from __future__ import annotations

import argparse
import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

from .common import (
    PICKS,
    Parser,
    UnusableError,
    add_command,
    add_json,
    add_picks,
    load_options,
    picked_options,
    read,
    refuse_options,
    write,
    write_json,
)

if TYPE_CHECKING:
    from ..model import LSTM

LONGEST_LISTING = 50
"""LSTMs of one file that are loaded and reported at most."""


class LSTMReport(NamedTuple):
    """What is reported of one LSTM of a file; `lstm` or `error` is None."""

    option: str | None
    value: str | int | None
    error: str | None
    lstm: dict[str, Any] | None
    notes: list[str] = []  # noqa: RUF012


HELP = """\
Show what runs here: versions, instruction sets, threads.

With MODEL: its layers, the shapes of their weights, parameters, dtype and options; of a
file with several LSTMs, each of them with the option that picks it.
"""

NOTES = """\
Shapes are those of a state dict: I input, H hidden, O features of h (H without a projection);
weight_ih (4H, I), weight_hh (4H, O), bias (4H,), weight_hr (O, H) of a projection,
weight_ch (3H,) of peepholes. The parameters count the one bias that a net keeps.

Exit status: 0; 2 for unusable arguments or if no LSTM of the file can be loaded.
The keys of --json are explained by: python -m pydoc lstm.commands.info
"""


def add(commands: Any) -> Parser:
    """Add the command to the parser's."""
    parser = add_command(commands, "info", "what runs here, or what a model is made of", HELP, NOTES)
    parser.add_argument("model", nargs="?", metavar="MODEL", help="a file that lstm.load reads")
    add_picks(parser)
    add_json(parser)
    parser.set_defaults(run=run)
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Print what the arguments ask for."""
    if arguments.model is None:
        refuse_options(arguments)
        report = machine_report()
        text = "".join(f"{name:8}{_words(value)}\n" for name, value in report.items())
    else:
        lstms, more = _lstms(arguments.model, arguments)
        report = model_report(arguments.model, lstms, more)
        text = _text(arguments.model, lstms, more)
    if arguments.json:
        write_json(report)
    else:
        write(text)
    return 0


def _lstms(path: str, arguments: argparse.Namespace) -> tuple[list[LSTMReport], int]:
    """The LSTM picked, or those of the file, and how many more it has; UnusableError if none loads."""
    options = load_options(arguments)
    if picked := next(iter(options.keys() & PICKS.keys()), None):
        value = options[picked]
        return [read(lambda path: _report(path, picked, value, picked_options(path, arguments)), path)], 0
    lstms, more = read(lambda path: _all(path, options), path)
    if all(one.lstm is None for one in lstms):
        raise UnusableError(lstms[0].error)
    return lstms, more


def _all(path: str, options: dict[str, Any]) -> tuple[list[LSTMReport], int]:
    """Those of the file, each let go before the next is loaded, and how many more it has."""
    from ..formats import FormatError
    from ..formats.listing import picks

    all_picks = picks(path, **options)
    lstms = []
    for pick in all_picks[:LONGEST_LISTING]:
        try:
            lstms.append(_report(path, pick.option, pick.value, {**pick.options, **options}))
        except FormatError as error:
            if pick.option is not None or len(all_picks) == 1:
                lstms.append(LSTMReport(pick.option, pick.value, str(error), None))
    return lstms, max(0, len(all_picks) - LONGEST_LISTING)


def _report(path: str, option: str | None, value: str | int | None, options: dict[str, Any]) -> LSTMReport:
    """The LSTM that options of `lstm.load` pick; what that warns of is among the notes."""
    from ..files import load
    from ..formats import FormatWarning, format_of

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FormatWarning)
        report = _net_report(load(path, **options))
    return LSTMReport(option, value, None, report, format_of(path).notes(path, **options))


def machine_report() -> dict[str, Any]:
    """What runs here, as a JSON object.

    Returns
    -------
    dict
        As `lstm.show_config`: ``lstm``, ``python``, ``numpy`` (versions), ``isa`` (the one in use),
        ``isas`` (those this CPU runs, slowest first), ``threads`` (of one call); and ``cpu``, its name.

    """
    from ..comparison.machine import cpu_name
    from ..config import show_config

    return {**show_config("dict"), "cpu": cpu_name()}


def model_report(path: str, lstms: list[LSTMReport], more: int = 0) -> dict[str, Any]:
    """What a file holds, as a JSON object.

    Parameters
    ----------
    path : str
        Its name.
    lstms : list of LSTMReport
        Its LSTMs.
    more : int
        How many more it has.

    Returns
    -------
    dict
        ``model`` (file name), ``more`` (LSTMs beyond the first 50, which are not reported), and
        ``lstms``, a list of objects:

        - ``option`` and ``value``: what picks it, ``prefix``, ``node`` or ``layer``; null in a format
          of one LSTM a file, and for the net whose layers the others are, which comes first;
        - ``error``: why it cannot be loaded, or null;
        - ``notes``: sentences on how the net differs from what the file's own framework computes;
        - ``lstm``: null with an error, else ``net`` (in words), ``input_size``, ``hidden_size``,
          ``num_layers``, ``bidirectional``, ``merge``, ``reverse``, ``proj_size``, ``bias``,
          ``peephole``, ``clip``, ``cell_clip``, ``proj_clip``, ``input_forget``, ``activations``,
          ``dtype``, ``precision`` (as of `lstm.LSTM`), ``output_size`` (D O, or O if directions are merged),
          ``parameters`` (their number, with one bias a gate), and ``layers``, an object for
          each layer and direction: ``name`` (the ending of PyTorch's names: ``l0``, ``l0_reverse``),
          ``shapes`` (by kind of weight) and ``parameters``.

    """
    return {"model": path, "more": more, "lstms": [one._asdict() for one in lstms]}


def _net_report(net: LSTM) -> dict[str, Any]:
    layers = _layers(net)
    return {
        "net": repr(net),
        **net.core.architecture.arguments(),
        "output_size": net.core.architecture.output_size,
        "dtype": net.dtype.name,
        "precision": net.precision,
        "parameters": sum(layer["parameters"] for layer in layers),
        "layers": layers,
    }


def _layers(net: LSTM) -> list[dict[str, Any]]:
    """Name, shapes and number of parameters of every layer and direction."""
    import math

    from ..core.state_dict import cell_shapes

    layers = []
    for cell in range(net.core.architecture.cells):
        suffix = net.core.architecture.suffix(cell)
        shapes = {
            name.removesuffix(suffix).replace("bias_ih", "bias"): shape
            for name, shape in cell_shapes(net.core.architecture, cell).items()
            if not name.startswith("bias_hh")
        }
        count = sum(math.prod(shape) for shape in shapes.values())
        layers.append({"name": suffix.lstrip("_"), "shapes": shapes, "parameters": count})
    return layers


def _text(path: str, lstms: list[LSTMReport], more: int) -> str:
    """What a file holds, as lines of text."""
    from ..comparison.text import printable

    count = max(1, sum(one.option is not None for one in lstms) + more)
    failed = sum(one.lstm is None for one in lstms)
    line = f"model: {printable(path)}, {count - failed} LSTM{'s' * (count - failed > 1)}"
    if failed:
        line += f", and {failed} that cannot be loaded"
    if count > 1 and lstms[0].option is None:
        line += ", which are the layers of one net"
    lines = [line]
    for one in lstms:
        lines.append("")
        if one.option is not None:
            lines.append(f"--{one.option} {_quoted(str(one.value))}")
        if one.lstm is None:
            lines.append(f"cannot be loaded: {printable(one.error or '')}")
            continue
        lines += _net_lines(one.lstm)
        lines += [f"note: {printable(note)}" for note in one.notes]
    lines += ["", f"and {more} more"] if more else []
    return "".join(f"{line}\n" for line in lines)


def _net_lines(report: dict[str, Any]) -> list[str]:
    """One LSTM, as lines of text."""
    from ..comparison.text import format_table

    inputs, outputs, layers = report["input_size"], report["output_size"], report["layers"]
    kinds = list(layers[0]["shapes"])
    rows = [
        [layer["name"], *(str(layer["shapes"][kind]) for kind in kinds), f"{layer['parameters']:,}"]
        for layer in layers
    ]
    return [
        report["net"],
        f"(T, {inputs}) -> (T, {outputs}), or (B, T, {inputs}) -> (B, T, {outputs})",
        f"{report['parameters']:,} parameters",
        *format_table(["layer", *kinds, "parameters"], rows),
    ]


def _quoted(value: str) -> str:
    """As a shell takes it."""
    import shlex

    return shlex.quote(value) if value.isprintable() else ascii(value)


def _words(value: Any) -> str:
    return ", ".join(value) if isinstance(value, list) else str(value)
