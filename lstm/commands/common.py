"""What the commands share: errors of one line, picking an LSTM, files, progress."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from ..core.architecture import MERGES
from ..formats import FORMATS, UNTOLD, FormatWarning
from ..formats.option_names import as_on_command_line
from ..threads import MOST_THREADS, number_of

if TYPE_CHECKING:
    from ..model import LSTM

Read = TypeVar("Read")

PICKS = {
    option: "; ".join(one.pick_help for one in FORMATS if one.picked_by == option)
    for option in dict.fromkeys(one.picked_by for one in FORMATS)
    if option is not None
}
"""The options of `lstm.load` that pick one of several LSTMs, and what they are."""


class UnusableError(Exception):
    """Arguments or files that cannot be used; becomes one line on stderr."""


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, without the usage."""

    def error(self, message: str) -> NoReturn:
        """Raise what becomes that line."""
        raise UnusableError(f"{message}; see {self.prog} --help")

    def _print_message(self, message: str, file: Any = None) -> None:
        """Write the help or the version. That of argparse is silent where they cannot be written."""
        write(message)


def add_command(commands: Any, name: str, summary: str, description: str, notes: str) -> Parser:
    """One more command, whose description and notes are shown in its help as they are."""
    parser: Parser = commands.add_parser(
        name,
        help=summary,
        description=description,
        epilog=notes,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    return parser


def add_picks(parser: Parser) -> None:
    """The options that pick one LSTM of a file that holds several."""
    group = parser.add_argument_group("picking one of several LSTMs of a file (lstm info lists them)")
    for name, text in PICKS.items():
        group.add_argument(f"--{name}", metavar=name.upper(), help=text)
    parser.add_argument(
        "--external-data",
        action="store_true",
        help="let weights of an .onnx file be read from other files in its folder",
    )
    parser.add_argument(
        "--initial-states",
        choices=("raise", "drop"),
        default="raise",
        help="drop initial states of an .onnx or .tflite file, and lengths, which are errors by default",
    )
    group = parser.add_argument_group("what a state dict or a file of weights alone does not tell")
    group.add_argument(
        "--activations",
        type=_activations,
        metavar="NAMES",
        help="three with commas, such as sigmoid,tanh,tanh; leakyrelu:0.1 has a parameter",
    )
    group.add_argument("--reverse", action="store_true", help="it runs from the last step to the first")
    group.add_argument("--merge", choices=MERGES, help="how two directions become one output")


def _activations(text: str) -> list[str | tuple[Any, ...]]:
    """Names with their parameters, if there are any, as `LSTM` takes them."""
    parts = [one.strip().split(":") for one in text.split(",")]
    return [(name, *map(float, rest)) if rest else name for name, *rest in parts]


def add_json(parser: Parser) -> None:
    """The option for a document instead of text."""
    parser.add_argument("--json", action="store_true", help="print one JSON document, nothing else")


def add_threads(parser: Parser, default: int | None = None) -> None:
    """The option for the number of threads; by default that of `lstm.get_num_threads`."""
    told = "LSTM_NUM_THREADS, or as many as CPUs may be used" if default is None else default
    parser.add_argument(
        "--threads",
        metavar="N",
        type=_threads,
        default=default,
        help=f"threads of the kernel (default: {told})",
    )


def _threads(text: str) -> int:
    if not 1 <= (count := number_of(text)) <= MOST_THREADS:
        raise argparse.ArgumentTypeError(f"must be an integer from 1 to {MOST_THREADS}, but is {text!r}")
    return count


def positive_integer(text: str) -> int:
    """What an option takes that counts something."""
    if not (text.isascii() and text.isdecimal() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"must be an integer of at least 1, but is {text!r}")
    return int(text)


def load_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """What was given of the options of `lstm.load`."""
    given = {name: getattr(arguments, name) for name in PICKS if getattr(arguments, name) is not None}
    for name in UNTOLD:
        if (value := getattr(arguments, name)) not in (None, False):
            given[name] = value
    if arguments.initial_states != "raise":
        given["initial_states"] = arguments.initial_states
    return given | ({"external_data": True} if arguments.external_data else {})


def refuse_options(arguments: argparse.Namespace) -> None:
    """UnusableError if an option of `lstm.load` is given, but no file."""
    for name in load_options(arguments):
        raise UnusableError(f"--{name.replace('_', '-')} is given, but no MODEL that it is about")


def load_net(path: str, arguments: argparse.Namespace) -> LSTM:
    """The net of a file, a warning about it being a line on stderr; UnusableError if there is none."""
    from .. import files

    with told_warnings():
        return read(lambda path: files.load(path, **picked_options(path, arguments)), path)


@contextlib.contextmanager
def told_warnings() -> Iterator[None]:
    """Make a line on stderr of each FormatWarning of this block, if it ends well."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", FormatWarning)
        yield
    for one in said:
        if issubclass(one.category, FormatWarning):
            tell("warning", str(one.message))
        else:
            warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)


def picked_options(path: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """What was given of the options of `lstm.load`, the pick as that takes it."""
    from ..formats.listing import pick_value

    options = load_options(arguments)
    for name in options.keys() & PICKS.keys():
        options[name] = pick_value(path, name, options[name])
    return options


def tell(kind: str, message: str) -> None:
    """One line on stderr; a message of several lines is advice followed by code."""
    first, *code = [line.strip() for line in message.splitlines()] or [""]
    line = f"lstm: {kind}: {first} {'; '.join(code)}".rstrip()
    if sys.stderr is not None:
        with contextlib.suppress(OSError):
            print("".join(c if c.isprintable() else ascii(c)[1:-1] for c in line), file=sys.stderr)


def read(read: Callable[[str], Read], path: str) -> Read:
    """The content of a file; UnusableError if it cannot be had."""
    try:
        with as_on_command_line():
            return read(path)
    except OSError as error:
        raise UnusableError(f"{path}: {error.strerror or error}") from error
    except (ValueError, ImportError) as error:
        raise UnusableError(str(error)) from error
    except MemoryError as error:
        raise UnusableError(f"{path}: there is not enough memory for it") from error


def check_outputs(outputs: Sequence[str], inputs: Sequence[str | None]) -> None:
    """UnusableError if a file to be written is a folder, an input, or another output."""
    for k, path in enumerate(outputs):
        if os.path.isdir(path):
            raise UnusableError(f"{path}: Is a directory")
        for other in (*inputs, *outputs[:k]):
            if other is not None and _is_same_file(path, other):
                raise UnusableError(f"{path}: would take the place of {other}, which is also used")


def _is_same_file(first: str, second: str) -> bool:
    """Whether two paths lead to one file, which need not be there yet."""
    try:
        return os.path.samefile(first, second)
    except OSError:
        return os.path.realpath(first) == os.path.realpath(second)


@contextlib.contextmanager
def writing(path: str) -> Iterator[None]:
    """UnusableError if `path` cannot be written in this block."""
    try:
        yield
    except OSError as error:
        raise UnusableError(f"{path}: {error.strerror or error}") from error


def prepare_drawing(what: str) -> None:
    """Let matplotlib draw into files, without a screen; UnusableError, which names `what`, without it."""
    try:
        import matplotlib
    except ImportError as error:
        raise UnusableError(f'{what} needs matplotlib: pip install "lstm-native[plot]"') from error
    matplotlib.use("Agg")


def write_png(figure: Any, path: str, dpi: int) -> None:
    """Write a figure of matplotlib; an older file stays if that fails."""
    from ..formats.writing import replacing

    with writing(path), replacing(path) as partial, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of letters that its font lacks
        figure.savefig(partial, format="png", dpi=dpi)


def check_ending(option: str, path: str | None, *endings: str) -> None:
    """UnusableError if a file to be written has another ending than these."""
    if path is not None and not path.lower().endswith(endings):
        raise UnusableError(f"{option} is {path}, but must end in {' or '.join(endings)}")


@contextlib.contextmanager
def progress(total: int, unit: str) -> Iterator[Callable[[int], object]]:
    """Yield what takes the units done; they are shown on a terminal, where tqdm is installed."""
    if sys.stderr is not None and sys.stderr.isatty():
        try:
            from tqdm import tqdm
        except ImportError:
            pass
        else:
            with tqdm(total=total, unit=f" {unit}", unit_scale=True, leave=False, file=sys.stderr) as bar:
                yield bar.update
            return
    yield lambda _: None


def write(text: str) -> None:
    """Write to stdout, escaping what its encoding lacks."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding), end="")


def write_json(report: dict[str, Any]) -> None:
    """Write one JSON document to stdout."""
    write(json.dumps(report, indent=2, allow_nan=False) + "\n")
