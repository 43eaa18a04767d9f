"""``lstm convert``: a model from one format into another."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING, Any

from .common import (
    Parser,
    UnusableError,
    add_command,
    add_json,
    add_picks,
    check_outputs,
    load_net,
    write,
    write_json,
    writing,
)

if TYPE_CHECKING:
    from types import ModuleType

    from ..core.weights import Weights
    from ..model import LSTM

WRITTEN = (".npz", ".safetensors", ".onnx")

HELP = """\
Write the LSTM of one file to another, whose ending names the format.

A is any file that lstm.load reads; B ends in .npz, .safetensors or .onnx.
"""

NOTES = """\
What was written is read back and held to what was read, bit for bit, before it takes the
place of B. What the format of B lacks is an error, and B is left as it was.

Exit status: 0; 2 for unusable arguments or what cannot be carried over.
The keys of --json are told by: python -m pydoc lstm.commands.convert
"""


def add(commands: Any) -> Parser:
    """Add the command to the parser's."""
    parser = add_command(commands, "convert", "a model from one format into another", HELP, NOTES)
    parser.add_argument("source", metavar="A", help="the file to read")
    parser.add_argument("target", metavar="B", help="the file to write, which may be there already")
    parser.add_argument(
        "--dtype", choices=["float32", "float64"], help="of the weights written; default: A's"
    )
    add_picks(parser)
    add_json(parser)
    parser.set_defaults(run=run)
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Convert, and print what was written."""
    module = _writer(arguments.target)
    check_outputs([arguments.target], [arguments.source])
    source = load_net(arguments.source, arguments)
    net = source if arguments.dtype is None else _cast(source, arguments.dtype)
    _write(net, arguments.target, module)
    if arguments.json:
        write_json(json_report(arguments.source, arguments.target, net, source))
    else:
        from ..comparison.text import printable

        write(f"{printable(arguments.target)}: {net!r}{_rounded(net, source)}\n")
    return 0


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
        ``source`` and ``target`` (file names), ``source_dtype``, ``dtype`` (of the weights read and
        written), ``net`` (what was written, in words) and ``bytes`` (of the file).

    """
    return {
        "source": source_file,
        "target": target_file,
        "source_dtype": source.dtype.name,
        "dtype": net.dtype.name,
        "net": repr(net),
        "bytes": os.path.getsize(target_file),
    }


def _rounded(net: LSTM, source: LSTM) -> str:
    """A note where weights were rounded."""
    return f", rounded from {source.dtype}" if net.dtype.itemsize < source.dtype.itemsize else ""


def _writer(path: str) -> ModuleType:
    """The module that writes files of this ending."""
    from .. import formats

    if os.path.splitext(path)[1].lower() not in WRITTEN:
        raise UnusableError(f"{path} must end in {', '.join(WRITTEN[:-1])} or {WRITTEN[-1]} to be written")
    return formats.module_of(path)


def _cast(net: LSTM, dtype: str) -> LSTM:
    """The net in another dtype; UnusableError where a weight is too large for it."""
    import numpy as np

    from ..model import LSTM

    state = net.state_dict()
    for name, array in state.items():
        with np.errstate(all="ignore"):
            too_large = np.isinf(array.astype(dtype)) & np.isfinite(array)
        if bool(too_large.any()):
            raise UnusableError(f"{name} has values above {np.finfo(dtype).max:.3g}, the largest of {dtype}")
    return LSTM.from_state_dict(state, **_options(net), dtype=dtype)


def _options(net: LSTM) -> dict[str, Any]:
    """What a state dict does not tell of a net."""
    return {name: getattr(net, name) for name in ("reverse", "clip", "input_forget", "activations")}


def _write(net: LSTM, path: str, module: ModuleType) -> None:
    """Write the net, and replace `path` once the file is seen to hold it."""
    from ..formats.writing import replacing

    with writing(path), replacing(path) as partial:
        try:
            module.save(net, partial)
            written = module.load(partial, "native")
        except (ValueError, ImportError) as error:
            raise UnusableError(str(error).replace(partial, path)) from error
        except MemoryError as error:
            raise UnusableError(f"{path}: there is not enough memory to write it") from error
        except Exception as error:
            if type(error).__name__ != "SafetensorError":  # what that library makes of an OSError
                raise
            raise UnusableError(f"{path}: {str(error).replace(partial, path)}") from error
        if lost := _lost(net, written):
            raise UnusableError(f"{path} cannot hold {lost}")


def _lost(net: LSTM, written: LSTM) -> str:
    """What a written file does not hold of the net, in words; nothing where all is there."""
    first, second = net.core.architecture.changed_arguments(), written.core.architecture.changed_arguments()
    for name in ("dtype", "num_layers", *first, *second):
        value, other = getattr(net, name), getattr(written, name)
        if _in_dtype(value, net) != _in_dtype(other, net):
            return f"{name}={value!r}, which would become {other!r}"
    for weights, others in zip(net.core.parts().weights, written.core.parts().weights, strict=True):
        if not _same_bits(weights, others):
            return "the weights"
    return ""


def _in_dtype(value: Any, net: LSTM) -> Any:
    """Numbers, alone and in tuples, as the net computes with them."""
    if isinstance(value, tuple):
        return tuple(_in_dtype(one, net) for one in value)
    return net.dtype.type(value) if isinstance(value, float) else value


def _same_bits(first: Weights, second: Weights) -> bool:
    for a, b in zip(first, second, strict=True):
        if (a is None) != (b is None):
            return False
        if a is not None and b is not None and (a.shape != b.shape or a.tobytes() != b.tobytes()):
            return False
    return True
