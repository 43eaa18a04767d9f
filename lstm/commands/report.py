"""``lstm report``: a page on a model, its file, and how it runs here."""

from __future__ import annotations

import argparse
import os
import time
from typing import TYPE_CHECKING, Any

from .common import (
    PICKS,
    Parser,
    UnusableError,
    add_command,
    add_json,
    add_picks,
    add_threads,
    check_ending,
    check_outputs,
    load_net,
    load_options,
    picked_options,
    prepare_drawing,
    progress,
    read,
    write,
    write_json,
    writing,
)

if TYPE_CHECKING:
    from ..comparison.page.content import Content, FileFacts, Sample
    from ..model import LSTM

FAILED = 1

HELP = """\
Write one page about a net: what is in its file, sizes and options, how the weights of each
gate are spread, its gates over a sample, and differences and times of the native kernel and
NumPy on this machine. Needs matplotlib (extra plot).

INPUT.npy holds X, (T, I) or (B, T, I), any real dtype: the gates are drawn of its first row.
Without it the sample is 100 steps of standard normal numbers, the same ones each time.
"""

NOTES = """\
REPORT.html is one file: it loads nothing, runs no script, and shows in light and in dark. It
takes the place of an older file once it is whole. Of INPUT.npy at most 16 rows and 500 steps
are looked at; the first 4 layers and directions are drawn.

Differences and times are those of lstm compare, whose help explains them: random inputs, and
the sample. They take a few seconds, for large nets longer.

Exit status: 0; 1 if native and NumPy differ, which the page says too; 2 for unusable
arguments, with no file written.
The keys of --json are explained by: python -m pydoc lstm.commands.report
"""


def add(commands: Any) -> Parser:
    """Add the command to the parser's."""
    parser = add_command(commands, "report", "a page on a model and how it runs here", HELP, NOTES)
    parser.add_argument("model", metavar="MODEL", help="a file that lstm.load reads")
    parser.add_argument("input", nargs="?", metavar="INPUT.npy", help="X, whose gates are drawn")
    parser.add_argument(
        "-o", "--output", metavar="REPORT.html", required=True, help="where the page is written"
    )
    add_picks(parser)
    add_threads(parser, default=1)
    add_json(parser)
    parser.set_defaults(run=run)
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Write the page, and print what it is of."""
    from ..comparison.page import html_page
    from ..formats.writing import replacing

    check_ending("--output", arguments.output, ".html", ".htm")
    check_outputs([arguments.output], [arguments.model, arguments.input])
    prepare_drawing("lstm report")
    content = _content(arguments)
    page = html_page(content).encode("utf-8")
    with writing(arguments.output), replacing(arguments.output) as partial, open(partial, "r+b") as file:
        file.write(page)
    if arguments.json:
        write_json(json_report(arguments, content, len(page)))
    else:
        write(_told(arguments, content, len(page)))
    return 0 if content.passed else FAILED


def _content(arguments: argparse.Namespace) -> Content:
    """All that the page says."""
    from ..comparison import comparison, report
    from ..comparison.page import content, pictures
    from .compare import limited_blas

    facts = read(lambda path: _file_facts(path, arguments), arguments.model)
    net = load_net(arguments.model, arguments)
    sample = _sample(net, arguments)
    cases = content.cases_of(net, sample)
    comparisons, drawn = [], []
    with limited_blas(None), progress(len(cases) + pictures.number_of(net), "parts") as done:
        try:
            for case in cases:
                comparisons.append(comparison.compare_case(case))
                done(1)
            for picture in pictures.pictures(net, sample):
                drawn.append(picture)
                done(1)
        except MemoryError as error:
            raise UnusableError("there is not enough memory to run this net on the sample") from error
        threads = report.threads()
    made = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    return content.Content(facts, net, sample, drawn, comparisons, threads, made)


def _file_facts(path: str, arguments: argparse.Namespace) -> FileFacts:
    """What is in the file; the errors of one that holds no such LSTM are those of its loading."""
    from ..comparison.page.content import FORMAT_NAMES, FileFacts
    from ..files import tensors
    from ..formats import FormatError, format_of
    from ..formats.listing import picks

    file_format = format_of(path)
    options = picked_options(path, arguments)
    given = load_options(arguments)
    others = picks(path, **{name: given[name] for name in given.keys() - PICKS.keys()})
    notes = file_format.notes(path, **options)
    external = {"external_data": True} if arguments.external_data else {}
    unlisted = ""
    shapes: list[tuple[str, tuple[int, ...]]] = []
    try:
        shapes = [(name, array.shape) for name, array in tensors(path, **external).items()]
    except FormatError as error:  # of tensors that are not the LSTM's
        unlisted = str(error)
    picked = next((options[name] for name in options.keys() & PICKS.keys()), None)
    listed = [
        ("all of them together" if one.option is None else f"--{one.option} {one.value}", one.value == picked)
        for one in others
    ]
    return FileFacts(
        path,
        FORMAT_NAMES.get(file_format.module_name, file_format.module_name),
        os.path.getsize(path),
        listed,
        notes,
        shapes,
        unlisted,
    )


def _sample(net: LSTM, arguments: argparse.Namespace) -> Sample:
    """The part of the input that is looked at, or a random one."""
    from ..comparison.page.content import MOST_ROWS, MOST_STEPS, random_sample, sample_of
    from ..core.checks import cast
    from .inputs import rows_of
    from .npy import Reader

    if arguments.input is None:
        return random_sample(net)
    with read(Reader, arguments.input) as file:
        batch = rows_of(net, file)
        steps = file.shape[0 if batch is None else 1]
        if 0 in (batch, steps):
            raise UnusableError(f"{file.path}: X of shape {file.shape} has no steps to look at")
        rows = slice(0, min(batch or 1, MOST_ROWS))
        X = read(lambda _: file.block(rows, slice(0, min(steps, MOST_STEPS))), file.path)
        return sample_of(file.path, cast(X, net.dtype), file.shape)


def _told(arguments: argparse.Namespace, content: Content, size: int) -> str:
    """What was written, in words."""
    from ..comparison.text import format_bytes, printable

    failed = sum(not c.passed for c in content.comparisons)
    count = len(content.comparisons)
    verdict = f"{count} cases agree" if not failed else f"{failed} of {count} cases FAILED"
    return f"{printable(arguments.output)}: {content.net!r}, {verdict}, {format_bytes(size)}\n"


def json_report(arguments: argparse.Namespace, content: Content, size: int) -> dict[str, Any]:
    """What was written, as a JSON object.

    Returns
    -------
    dict
        ``model``, ``input`` (null for the random sample), ``output`` (file names), ``net`` (the call that
        makes such a net), ``notes`` (sentences on how it differs from what the file's own framework
        computes), ``rows`` and ``steps`` (of the sample that were looked at), ``cases`` (how many were
        compared), ``passed``, and ``bytes`` (of the page).
    """
    return {
        "model": arguments.model,
        "input": arguments.input,
        "output": arguments.output,
        "net": repr(content.net),
        "notes": list(content.file.notes),
        "rows": len(content.sample.X),
        "steps": content.sample.steps,
        "cases": len(content.comparisons),
        "passed": content.passed,
        "bytes": size,
    }
