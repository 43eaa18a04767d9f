"""``lstm run``: a model on an .npy file of any size."""

from __future__ import annotations

import argparse
import contextlib
import time
from typing import TYPE_CHECKING, Any

from .common import (
    Parser,
    UnusableError,
    add_command,
    add_json,
    add_picks,
    add_threads,
    check_outputs,
    load_net,
    positive_integer,
    progress,
    read,
    write,
    write_json,
    writing,
)

if TYPE_CHECKING:
    from ..model import LSTM
    from . import npy
    from .blocks import Plan
    from .inputs import Inputs

HELP = """\
Run a net over a sequence or a batch of them, as LSTM.forward_sequence does, bit for bit.

INPUT.npy holds X, (T, I) or (B, T, I): B batch, T time, I features; any real dtype, byte
order and memory order. OUT.npy becomes Y, (T, D O) or (B, T, D O): D directions, O features
of h; it takes the place of an older file once it is whole.
"""

NOTES = """\
Files may be larger than memory: both are read and written in blocks of rows and steps, the
states carried from block to block. A net that runs in one direction, also from the end,
holds one block in memory for any T. A bidirectional one needs all steps of a row in one
block, so that its blocks are of whole rows. States and lengths are held whole.

Lengths are (B,) integers: what lies past a row's length is not read, its outputs are 0,
and the last states are those of its last step. States before the first step are zeros unless
given: h0 (L D, B, O) and C0 (L D, B, H), for a single sequence without B, for one layer and
direction also without L D. STATE.npz holds h_n and C_n, as --state-out writes them.

Exit status: 0; 2 for unusable arguments, with no file written.
The keys of --json are explained by: python -m pydoc lstm.commands.run
"""


def add(commands: Any) -> Parser:
    """Add the command to the parser's."""
    parser = add_command(commands, "run", "a model on an .npy file of any size", HELP, NOTES)
    parser.add_argument("model", metavar="MODEL", help="a file that lstm.load reads")
    parser.add_argument("features", metavar="INPUT.npy", help="X")
    parser.add_argument("-o", "--output", metavar="OUT.npy", required=True, help="where Y is written")
    parser.add_argument("--lengths", metavar="LENGTHS.npy", help="steps of every row")
    parser.add_argument("--h0", metavar="H0.npy", help="h before the first step")
    parser.add_argument("--C0", metavar="C0.npy", help="C before the first step")
    parser.add_argument("--state-in", metavar="STATE.npz", help="both, as --state-out has written them")
    parser.add_argument("--state-out", metavar="STATE.npz", help="where the states after the last step go")
    parser.add_argument(
        "--block",
        metavar="N",
        type=positive_integer,
        help="steps in memory at a time, of all rows together (default: as many as take about 16 MB)",
    )
    add_picks(parser)
    add_threads(parser)
    add_json(parser)
    parser.set_defaults(run=run)
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Run the net, and print what was written."""
    from . import blocks, npy
    from .inputs import read_inputs

    _check_paths(arguments)
    net = load_net(arguments.model, arguments)
    with contextlib.ExitStack() as stack:
        features = stack.enter_context(read(npy.Reader, arguments.features))
        inputs = read_inputs(net, arguments, features)
        plan = blocks.plan(net, features, arguments.block)
        start = time.perf_counter()
        _run(net, arguments, features, inputs, plan)
        seconds = time.perf_counter() - start
    if arguments.json:
        write_json(json_report(arguments, net, features, plan, seconds))
    else:
        from ..comparison.text import format_time, printable

        text = f"{printable(arguments.output)}: {plan.shape} of {net.dtype}"
        text += f", {plan.blocks} block{'s' * (plan.blocks != 1)} in {format_time(seconds)}\n"
        if arguments.state_out is not None:
            h_n, C_n = inputs.state_shapes
            text += f"{printable(arguments.state_out)}: h_n {h_n}, C_n {C_n}\n"
        write(text)
    return 0


def _check_paths(arguments: argparse.Namespace) -> None:
    """UnusableError if the files named do not go together."""
    for option, path, ending in (
        ("--output", arguments.output, ".npy"),
        ("--state-in", arguments.state_in, ".npz"),
        ("--state-out", arguments.state_out, ".npz"),
    ):
        if path is not None and not path.lower().endswith(ending):
            raise UnusableError(f"{option} is {path}, but must end in {ending}")
    if arguments.state_in is not None and not arguments.h0 is arguments.C0 is None:
        raise UnusableError("--state-in holds both states, so --h0 and --C0 do not go with it")
    inputs = [arguments.model, arguments.features, arguments.lengths, arguments.h0, arguments.C0]
    # The state of one run may be replaced by that of the next.
    check_outputs([arguments.output], [*inputs, arguments.state_in])
    if arguments.state_out is not None:
        check_outputs([arguments.state_out], [*inputs, arguments.output])


def _run(net: LSTM, arguments: argparse.Namespace, features: npy.Reader, inputs: Inputs, plan: Plan) -> None:
    """Write the files, each of which takes the place of an older one once it is whole."""
    from ..formats.numpy_files import write_arrays
    from ..formats.writing import replacing
    from . import blocks, npy

    with contextlib.ExitStack() as stack:
        stack.enter_context(writing(arguments.output))
        partial = stack.enter_context(replacing(arguments.output))
        with open(partial, "wb") as file, progress(plan.steps_in_all, "steps") as done:
            blocks.run(net, features, npy.Writer(file, plan.shape, net.dtype), inputs, plan, done)
        if arguments.state_out is not None and inputs.h is not None and inputs.C is not None:
            states = (inputs.h, inputs.C)
            named = {
                name: state.reshape(shape)
                for name, state, shape in zip(("h_n", "C_n"), states, inputs.state_shapes, strict=True)
            }
            stack.enter_context(writing(arguments.state_out))
            with replacing(arguments.state_out) as partial, open(partial, "wb") as file:
                write_arrays(file, named)


def json_report(
    arguments: argparse.Namespace, net: LSTM, features: npy.Reader, plan: Plan, seconds: float
) -> dict[str, Any]:
    """What was run, as a JSON object.

    Returns
    -------
    dict
        ``model``, ``input``, ``output``, ``state_out`` (file names; the last may be null), ``net``
        (in words), ``input_shape``, ``input_dtype``, ``shape``, ``dtype`` (of the output), ``blocks``
        (how many), ``rows`` and ``steps`` (of a block, at most) and ``seconds`` (of reading,
        computing and writing).

    """
    return {
        "model": arguments.model,
        "input": arguments.features,
        "output": arguments.output,
        "state_out": arguments.state_out,
        "net": repr(net),
        "input_shape": features.shape,
        "input_dtype": str(features.dtype),
        "shape": plan.shape,
        "dtype": net.dtype.name,
        "blocks": plan.blocks,
        "rows": plan.rows,
        "steps": plan.steps,
        "seconds": seconds,
    }
