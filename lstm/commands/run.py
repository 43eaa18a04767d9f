"""``lstm run``: a model on an .npy file, a Parquet file or a pipe of any size."""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import numpy as np

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
    from .blocks import Outputs, States, Work
    from .inputs import Initial

HELP = """\
Run a net over a sequence, a batch of them, or rows of different lengths, with the bits of
LSTM.forward_sequence.

INPUT.npy holds X, (T, I) or (B, T, I): B batch, T time, I features; any real dtype, byte
order and memory order. OUT.npy becomes Y, (T, D O) or (B, T, D O): D directions, O features
of h; it takes the place of an older file once it is whole. With --last it becomes h of the
last step alone, (D O) or (B, D O). "-" is stdin and stdout, in .npy format.

Rows of different lengths are one after the other in X (S, I), with --lengths (N,) or
--offsets (N + 1,), and so are their outputs, (S, D O), or with --last (N, D O). A Parquet
file has them in a column of lists of steps, or in a column of lists for every feature.
"""

NOTES = """\
Files may be larger than memory: they are read and written in blocks, the states carried from
block to block. A net that runs in one direction, also from the end, holds one block in memory
for any T. A bidirectional one needs all steps of a row in one block, and so does one that runs
from the end, from a pipe. States, lengths and offsets are held whole, a Parquet file by row
groups.

Lengths of X (B, T, I) are (B,) integers: what lies past a row's length is not read, its outputs
are 0, and the last states are those of its last step. States before the first step are zeros
unless given: h0 (L D, B, O) and C0 (L D, B, H), for a single sequence without B, for one layer
and direction also without L D. STATE.npz holds h_n and C_n, as --state-out writes them.

With --resume, a run that ends early leaves OUT.npy.resume and OUT.npy.resume.npz, and the same
command goes on behind the last blocks that they hold.

Exit status: 0; 2 for unusable arguments, with no file written.
The keys of --json are explained by: python -m pydoc lstm.commands.run
"""

PARQUET = (".parquet", ".pq")
PIPE = "-"


def add(commands: Any) -> Parser:
    """Add the command to the parser's."""
    parser = add_command(commands, "run", "a model on a file of any size", HELP, NOTES)
    parser.add_argument("model", metavar="MODEL", help="a file that lstm.load reads")
    parser.add_argument("features", metavar="INPUT", help="X: .npy, .parquet (extra arrow), or -")
    parser.add_argument("-o", "--output", metavar="OUT", help="where Y is written: .npy, .parquet, or -")
    parser.add_argument("--last", action="store_true", help="write h of the last step of every row alone")
    group = parser.add_argument_group("rows of different lengths")
    group.add_argument("--lengths", metavar="LENGTHS.npy", help="steps of every row")
    group.add_argument("--offsets", metavar="OFFSETS.npy", help="where every row begins, and the end")
    group.add_argument(
        "--columns", metavar="NAMES", help="of a Parquet file, with commas: one of steps, or one a feature"
    )
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
    parser.add_argument("--resume", action="store_true", help="go on with a run that has ended early")
    add_picks(parser)
    add_threads(parser)
    add_json(parser)
    parser.set_defaults(run=run)
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Run the net, and print what was written."""
    from .inputs import read_states

    _check_arguments(arguments)
    net = load_net(arguments.model, arguments)
    with contextlib.ExitStack() as stack:
        job = _job(net, arguments, stack)
        initial = read_states(net, arguments, job.work.batch)
        start = time.perf_counter()
        resumed = _run(arguments, job, initial)
        seconds = time.perf_counter() - start
    if arguments.json:
        write_json(json_report(arguments, net, job, resumed, seconds))
    elif arguments.output != PIPE:
        write(_text(arguments, job, initial, seconds))
    return 0


def _text(arguments: argparse.Namespace, job: Job, initial: Initial, seconds: float) -> str:
    """What was written, a line for each file."""
    from ..comparison.text import format_time, printable

    blocks = job.work.blocks
    text = f"{blocks} block{'s' * (blocks != 1)} in {format_time(seconds)}\n"
    if arguments.output is not None:
        what = f"{job.output_shape or f'{job.work.total} rows'} of {job.work.net.dtype}"
        text = f"{printable(arguments.output)}: {what}, {text}"
    if arguments.state_out is not None:
        h_n, C_n = initial.shapes
        text += f"{printable(arguments.state_out)}: h_n {h_n}, C_n {C_n}\n"
    return text


def _check_arguments(arguments: argparse.Namespace) -> None:
    """UnusableError if what is named does not go together."""
    output, features = arguments.output, arguments.features
    is_parquet = features.lower().endswith(PARQUET)
    if output is None and arguments.state_out is None:
        raise UnusableError("there is nothing to write: give -o or --state-out; see lstm run --help")
    if arguments.state_in is not None and not arguments.h0 is arguments.C0 is None:
        raise UnusableError("--state-in holds both states, so --h0 and --C0 do not go with it")
    for wrong, message in (
        (arguments.last and output is None, "--last is about what -o names, which is not given"),
        (arguments.lengths and arguments.offsets, "--lengths and --offsets say the same: give one of them"),
        (arguments.columns and not is_parquet, f"--columns is given, but {features} is no .parquet file"),
        (
            is_parquet and (arguments.lengths or arguments.offsets),
            f"{features} tells the lengths of its rows: --lengths and --offsets do not go with it",
        ),
        (output == PIPE and arguments.json, "--json and the outputs cannot both go to stdout"),
    ):
        if wrong:
            raise UnusableError(message)
    _check_endings(arguments, is_parquet)
    if arguments.resume:
        _check_resume(arguments)
    inputs = [arguments.model, features, arguments.lengths, arguments.offsets, arguments.h0, arguments.C0]
    inputs = [path for path in inputs if path != PIPE]
    outputs = [] if output in (None, PIPE) else [output]
    # The state of one run may be replaced by that of the next.
    check_outputs(outputs, [*inputs, arguments.state_in])
    if arguments.state_out is not None:
        check_outputs([arguments.state_out], [*inputs, *outputs])


def _check_endings(arguments: argparse.Namespace, is_parquet: bool) -> None:
    """UnusableError if a file's name does not say what it is to hold."""
    output = arguments.output
    endings = (".npy", *PARQUET) if is_parquet else (".npy",)
    for option, path, allowed in (
        ("--output", None if output == PIPE else output, endings),
        ("--state-in", arguments.state_in, (".npz",)),
        ("--state-out", arguments.state_out, (".npz",)),
    ):
        if path is not None and not path.lower().endswith(allowed):
            raise UnusableError(f"{option} is {path}, but must end in {' or '.join(allowed)}")
    if is_parquet and output is not None and not (arguments.last or output.lower().endswith(PARQUET)):
        raise UnusableError(
            f"how many steps {arguments.features} has is not known before all is read: write a .parquet "
            "file, or --last"
        )


def _check_resume(arguments: argparse.Namespace) -> None:
    output = arguments.output
    if output is None or not output.lower().endswith(".npy"):
        raise UnusableError("--resume goes on with an .npy file, so -o must name one")
    if arguments.features == PIPE:
        raise UnusableError("--resume reads its input again, which stdin does not allow")


class Job(NamedTuple):
    """The input, cut up, and what its outputs become."""

    work: Work
    input_shape: tuple[int, ...] | None  # None: of a Parquet file
    input_dtype: str
    is_last: bool

    @property
    def output_shape(self) -> tuple[int, ...] | None:
        """Of the array that is written; None if there is none, or its size is not known."""
        return self.work.last_shape if self.is_last else self.work.steps_shape


def _job(net: LSTM, arguments: argparse.Namespace, stack: contextlib.ExitStack) -> Job:
    """Open the input and check it."""
    from . import npy
    from .inputs import read_lengths

    keeps_steps = arguments.output is not None and not arguments.last
    if arguments.features.lower().endswith(PARQUET):
        from .parquet import ParquetRows

        names = None if arguments.columns is None else arguments.columns.split(",")
        table = read(
            lambda path: ParquetRows(net, path, names, arguments.block, keeps_steps), arguments.features
        )
        stack.callback(table.close)
        return Job(table, None, table.dtype, arguments.last)
    features = stack.enter_context(read(npy.opened, arguments.features))
    lengths = read_lengths(net, arguments, features)
    work: Work
    if lengths.offsets is not None:
        from .rows import Rows

        work = Rows(net, features, lengths.offsets, arguments.block, keeps_steps)
    else:
        from .batches import Batch

        work = Batch(net, features, lengths.padded, arguments.block, keeps_steps)
    return Job(work, features.shape, str(features.dtype), arguments.last)


def _run(arguments: argparse.Namespace, job: Job, initial: Initial) -> int:
    """Write the files, each of which takes the place of an older one once it is whole.

    Returns how many blocks an earlier run had done.
    """
    from . import blocks

    work, states = job.work, blocks.States(job.work.net, initial.h, initial.C)
    with contextlib.ExitStack() as stack:
        resumed = 0
        if arguments.resume:
            resumed = _run_on(arguments, job, states, stack)
        else:
            outputs = stack.enter_context(_outputs(arguments.output, job))
            with progress(work.total, work.unit) as done:
                blocks.run(work, outputs, states, done)
        if arguments.state_out is not None:
            _write_states(arguments.state_out, states, initial.shapes, stack)
    return resumed


def _run_on(arguments: argparse.Namespace, job: Job, states: States, stack: contextlib.ExitStack) -> int:
    """Begin, or go on behind the blocks of an earlier run; returns how many."""
    import os

    from . import blocks, npy
    from .resuming import key_of, resumed

    work, net = job.work, job.work.net
    found = read(os.stat, arguments.features)
    weights = [array for item in sorted(net.state_dict().items()) for array in item]
    key = key_of(
        *(repr(net), *weights, found.st_size, found.st_mtime_ns, job.input_shape, job.is_last),
        *(work.lengths, work.rows, work.steps, states.h, states.C),
    )
    assert job.output_shape is not None
    file, record = stack.enter_context(resumed(arguments.output, key, states))
    outputs = npy.Writer(file, job.output_shape, net.dtype)
    with progress(work.total, work.unit) as done:
        blocks.run(work, outputs, states, done, record.blocks, record.after)
    return record.blocks


@contextlib.contextmanager
def _outputs(path: str | None, job: Job) -> Iterator[Outputs | None]:
    """Yield what takes the outputs of a job, to become a file once they are whole."""
    from ..formats.writing import replacing
    from .npy import Writer

    if path is None:
        yield None
        return
    if path.lower().endswith(PARQUET):
        from .parquet import ParquetOutputs

        with (
            writing(path),
            replacing(path) as partial,
            contextlib.closing(ParquetOutputs(partial, job.work, job.is_last)) as table,
        ):
            yield table
        return
    assert job.output_shape is not None
    if path == PIPE:
        yield Writer(_stdout(), job.output_shape, job.work.net.dtype)
        sys.stdout.buffer.flush()
        return
    with writing(path), replacing(path) as partial, open(partial, "wb") as file:
        yield Writer(file, job.output_shape, job.work.net.dtype)


def _stdout() -> BinaryIO:
    if sys.stdout is None:
        raise UnusableError("there is no stdout to write to")
    return sys.stdout.buffer


def _write_states(
    path: str, states: States, shapes: list[tuple[int, ...]], stack: contextlib.ExitStack
) -> None:
    """The states after the last step, to take the place of an older file when `stack` ends."""
    from ..formats.numpy_files import write_arrays
    from ..formats.writing import replacing

    named = {
        name: np.asarray(state).reshape(shape)
        for name, state, shape in zip(("h_n", "C_n"), (states.h, states.C), shapes, strict=True)
    }
    stack.enter_context(writing(path))
    with replacing(path) as partial, open(partial, "wb") as file:
        write_arrays(file, named)


def json_report(
    arguments: argparse.Namespace, net: LSTM, job: Job, resumed: int, seconds: float
) -> dict[str, Any]:
    """What was run, as a JSON object.

    Returns
    -------
    dict
        ``model``, ``input``, ``output``, ``state_out`` (file names; the last two may be null), ``net``
        (in words), ``input_shape`` (null for a Parquet file), ``input_dtype``, ``shape`` (of the output;
        null without one, and for all steps of a Parquet file), ``dtype`` (of the output), ``blocks``
        (how many), ``resumed`` (how many of them an earlier run had done), ``rows`` and ``steps`` (of a
        block, at most; of rows of different lengths, steps of all of them together) and ``seconds`` (of
        reading, computing and writing).

    """
    work = job.work
    return {
        "model": arguments.model,
        "input": arguments.features,
        "output": arguments.output,
        "state_out": arguments.state_out,
        "net": repr(net),
        "input_shape": job.input_shape,
        "input_dtype": job.input_dtype,
        "shape": None if arguments.output is None else job.output_shape,
        "dtype": net.dtype.name,
        "blocks": work.blocks,
        "resumed": resumed,
        "rows": work.rows,
        "steps": work.steps,
        "seconds": seconds,
    }
