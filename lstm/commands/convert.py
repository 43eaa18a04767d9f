"""``lstm convert``: a model from one format into another."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING, Any

from ..core.precision import PRECISIONS
from ..formats import Format, written_format_of
from .common import (
    Parser,
    UnusableError,
    add_command,
    add_json,
    add_picks,
    check_outputs,
    picked_options,
    read,
    told_warnings,
    write,
    write_json,
    writing,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..core.net import Net
    from ..core.weights import Parts
    from ..model import LSTM

FULL = "full"

HELP = """\
Write the LSTM of one file to another, whose ending names the format.

A is any file that lstm.load reads; B ends in .npz, .safetensors or .onnx.
"""

NOTES = """\
What was written is read back and compared with what was read, bit for bit, before it
takes the place of B. What the format of B lacks is an error, and B is left as it was.

Exit status: 0; 2 for unusable arguments or what cannot be carried over.
The keys of --json are explained by: python -m pydoc lstm.commands.convert
"""


def add(commands: Any) -> Parser:
    """Add the command to the parser's."""
    parser = add_command(commands, "convert", "a model from one format into another", HELP, NOTES)
    parser.add_argument("source", metavar="A", help="the file to read")
    parser.add_argument("target", metavar="B", help="the file to write, which may be there already")
    parser.add_argument(
        "--dtype", choices=["float32", "float64"], help="of the weights written; default: A's"
    )
    parser.add_argument(
        "--precision",
        choices=[*PRECISIONS, FULL],
        help=f"of the weights written, of float32; {FULL}: as the dtype has them; default: A's",
    )
    add_picks(parser)
    add_json(parser)
    parser.set_defaults(run=run)
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Convert, and print what was written."""
    from .. import formats

    file_format = read(written_format_of, arguments.target)
    check_outputs([arguments.target], [arguments.source])
    with told_warnings():
        parts = read(lambda path: formats.read(path, **picked_options(path, arguments)), arguments.source)
        source, net = read(lambda _: _nets(parts, arguments), arguments.source)
    _write(net, arguments.target, file_format)
    if arguments.json:
        write_json(json_report(arguments.source, arguments.target, net, source))
    else:
        from ..comparison.text import printable

        write(f"{printable(arguments.target)}: {net!r}{_rounded(net, source)}\n")
    return 0


def _nets(parts: Parts, arguments: argparse.Namespace) -> tuple[LSTM, LSTM]:
    """The net of these parts as read, and in the dtype and precision asked for."""
    from .. import formats
    from ..core.net import Net
    from ..model import LSTM

    source = LSTM.from_core(Net(parts))
    if arguments.dtype is None and arguments.precision is None:
        return source, source
    if arguments.dtype is not None:
        parts = _cast(parts, arguments.dtype)
    if arguments.precision == FULL:
        parts = parts._replace(precision=None)
    else:
        parts = formats.asked(parts, None, arguments.precision)
    return source, LSTM.from_core(Net(parts))


def json_report(source_file: str, target_file: str, net: LSTM, source: LSTM) -> dict[str, Any]:
    """What was converted, as a JSON object.

    Parameters
    ----------
    source_file, target_file : str
        The names of the files.
    net, source : LSTM
        As written and as read.

    Returns
    -------
    dict
        ``source`` and ``target`` (file names), ``source_dtype``, ``dtype``, ``source_precision``,
        ``precision`` (of the weights read and written; null: in full), ``net`` (what was written, in
        words) and ``bytes`` (of the file).

    """
    return {
        "source": source_file,
        "target": target_file,
        "source_dtype": source.dtype.name,
        "dtype": net.dtype.name,
        "source_precision": source.precision,
        "precision": net.precision,
        "net": repr(net),
        "bytes": os.path.getsize(target_file),
    }


def _rounded(net: LSTM, source: LSTM) -> str:
    """A note if weights were rounded."""
    is_rounded = net.dtype.itemsize < source.dtype.itemsize
    if net.precision not in (None, source.precision):
        both = zip(net.core.parts().full_weights(), source.core.parts().full_weights(), strict=True)
        is_rounded = is_rounded or not all(_same_bits(*pair) for pair in both)
    return f", rounded from {source.precision or source.dtype}" if is_rounded else ""


def _cast(parts: Parts, dtype: str) -> Parts:
    """The net in another dtype; UnusableError if a weight is too large for it."""
    import numpy as np

    from ..core.state_dict import to_state_dict

    for name, array in to_state_dict(parts).items():
        with np.errstate(all="ignore"):
            too_large = np.isinf(array.astype(dtype)) & np.isfinite(array)
        if bool(too_large.any()):
            raise UnusableError(f"{name} has values above {np.finfo(dtype).max:.3g}, the largest of {dtype}")
    return parts.asked(dtype, None)


def _write(net: LSTM, path: str, file_format: Format) -> None:
    """Write the net, and replace `path` once the file is seen to hold it."""
    from ..core.net import Net
    from ..formats.writing import replacing

    with writing(path), replacing(path) as partial:
        try:
            file_format.write(net.core.parts(), partial)
            written = Net(file_format.read(partial).asked(None, net.precision))
        except (ValueError, ImportError) as error:
            raise UnusableError(str(error).replace(partial, path)) from error
        except MemoryError as error:
            raise UnusableError(f"{path}: there is not enough memory to write it") from error
        if lost := _lost(net.core, written):
            raise UnusableError(f"{path} cannot hold {lost}")


def _lost(net: Net, written: Net) -> str:
    """What a written file does not hold of the net, in words; nothing if all is there."""
    values, others = (
        {"dtype": one.dtype, "precision": one.precision, **one.architecture.arguments()}
        for one in (net, written)
    )
    for name, value in values.items():
        if _in_dtype(value, net) != _in_dtype(others[name], net):
            return f"{name}={value!r}, which would become {others[name]!r}"
    for weights, other in zip(net.parts().weights, written.parts().weights, strict=True):
        if not _same_bits(weights, other):
            return "the weights"
    return ""


def _in_dtype(value: Any, net: Net) -> Any:
    """Numbers, alone and in tuples, as the net computes with them."""
    if isinstance(value, tuple):
        return tuple(_in_dtype(one, net) for one in value)
    return net.dtype.type(value) if isinstance(value, float) else value


def _same_bits(first: Iterable[Any], second: Iterable[Any]) -> bool:
    """Whether arrays, None, and tuples of them are the same."""
    return all(_is_same(a, b) for a, b in zip(first, second, strict=True))


def _is_same(a: Any, b: Any) -> bool:
    if isinstance(a, tuple) and isinstance(b, tuple):
        return _same_bits(a, b)
    if a is None or b is None:
        return a is b
    return bool(a.shape == b.shape and a.tobytes() == b.tobytes())
