"""``lstm train``: a net and a linear head, learned from the arrays of an .npz file."""

from __future__ import annotations

import argparse
import math
import sys
from typing import TYPE_CHECKING, Any

from .common import (
    Parser,
    UnusableError,
    add_command,
    add_json,
    add_threads,
    check_ending,
    check_outputs,
    positive_integer,
    prepare_drawing,
    read,
    write,
    write_json,
    write_png,
    writing,
)

if TYPE_CHECKING:
    import numpy as np

    from ..train import Trainer

HELP = """\
Train an LSTM and a linear layer behind it on the arrays of DATA.npz.

X is (rows, T, I) or (rows, T). y is (rows, P) or (rows,): what the last step is to give; with
--every-step, or if it has an axis more, (rows, T, P) or (rows, T): what every step is to give.
y of integers is the number of a class, without P, and the loss the cross-entropy; else it is
the squared error. lengths (rows,), mask (rows, T) of bool and sample_weight (rows,) may be there
too, as for lstm.train.Trainer.fit.
"""

NOTES = """\
NET.npz becomes the best net and its head: lstm.load reads the net, lstm.train.load both. The
best is the one with the lowest loss over the rows that --validation keeps apart (of ten rows
the last one, by default), or without them over all rows.

--checkpoint saves all that a run consists of after every epoch. --resume goes on from such a
file, which must be given the same data, and gives the bits of a run that was never stopped; the
options of net and optimizer are then those of the file, and may not be given.

Exit status: 0; 130 after Ctrl-C, with the best net so far written; 2 for unusable arguments, or
if the loss becomes infinite or NaN; no net is written then.
The keys of --json are explained by: python -m pydoc lstm.commands.train
"""

# Of a new run, with their defaults: a run that goes on has its own.
NEW = {
    "hidden": 32,
    "layers": 1,
    "bidirectional": False,
    "every_step": False,
    "batch_size": 32,
    "learning_rate": 0.003,
    "clip_norm": 1.0,
    "dtype": "float32",
    "seed": 0,
}
ENTRIES = ("X", "y", "lengths", "mask", "sample_weight")
FEWEST_ROWS = 10  # to keep some apart


def add(commands: Any) -> Parser:
    """Add the command to the parser's."""
    parser = add_command(commands, "train", "a net, learned from the arrays of an .npz file", HELP, NOTES)
    parser.add_argument("data", metavar="DATA.npz", help="X, y and, if they are needed, lengths and others")
    parser.add_argument("-o", "--output", metavar="NET.npz", required=True, help="where the net is written")
    parser.add_argument(
        "--epochs", type=positive_integer, default=20, metavar="N", help="in all (default: 20)"
    )
    parser.add_argument(
        "--patience", type=positive_integer, metavar="N", help="stop after N epochs without a better net"
    )
    parser.add_argument(
        "--validation", type=_fraction, default=0.1, metavar="F", help="rows kept apart (default: 0.1)"
    )
    parser.add_argument("--checkpoint", metavar="RUN.npz", help="save the run after every epoch")
    parser.add_argument("--resume", metavar="RUN.npz", help="go on from it, and save the run there")
    parser.add_argument("--png", metavar="CURVE.png", help="draw the losses (extra plot)")
    group = parser.add_argument_group("a new run")
    for name, kind, text in (
        ("hidden", positive_integer, "hidden units"),
        ("layers", positive_integer, "layers"),
        ("batch-size", positive_integer, "rows of a step"),
        ("learning-rate", _above_zero, "of Adam"),
        ("clip-norm", _above_zero, "bound of the gradient's norm"),
        ("seed", _seed, "of weights and order"),
    ):
        default = NEW[name.replace("-", "_")]
        group.add_argument(f"--{name}", type=kind, metavar="N", help=f"{text} (default: {default})")
    group.add_argument("--dtype", choices=("float32", "float64"), help="of the net (default: float32)")
    group.add_argument("--bidirectional", action="store_true", default=None, help="both directions")
    group.add_argument("--every-step", action="store_true", default=None, help="y is of every step")
    add_threads(parser)
    add_json(parser)
    parser.set_defaults(run=run)
    return parser


def _seed(text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise argparse.ArgumentTypeError(f"must be an integer of at least 0, but is {text!r}")
    return int(text)


def _above_zero(text: str) -> float:
    value = _number(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number above 0, but is {text!r}")
    return value


def _fraction(text: str) -> float:
    value = _number(text)
    if not 0 <= value <= 0.5:
        raise argparse.ArgumentTypeError(f"must be a number from 0 to 0.5, but is {text!r}")
    return value


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def run(arguments: argparse.Namespace) -> int:
    """Train, write the best net, and print what came of it."""
    from ..formats.numpy_files import read_arrays
    from ..train import DivergedError, save

    _check_paths(arguments)
    arrays = read(read_arrays, arguments.data)
    _check_entries(arguments.data, arrays)
    data, held = _parted(arrays, arguments.validation)
    trainer = _resumed(arguments) if arguments.resume is not None else _new(arguments, arrays)
    checkpoint = arguments.checkpoint or arguments.resume
    shown = not arguments.json and sys.stderr is not None and sys.stderr.isatty()
    with writing(checkpoint or arguments.output):
        try:
            trainer.fit(
                **data,
                validation=held,
                epochs=arguments.epochs,
                patience=arguments.patience,
                checkpoint=checkpoint,
                progress=shown,
            )
        except DivergedError as error:
            raise UnusableError(str(error)) from error
        except (TypeError, ValueError) as error:
            raise UnusableError(f"{arguments.data}: {error}") from error
    with writing(arguments.output):
        save(*trainer.best, arguments.output)
    if arguments.png is not None:
        _draw(trainer, arguments.png)
    if arguments.json:
        write_json(json_report(arguments, trainer))
    else:
        write(_told(arguments, trainer))
    is_done = trainer.epoch >= arguments.epochs
    is_stuck = arguments.patience is not None and trainer.epoch - trainer.best_epoch >= arguments.patience
    return 0 if is_done or is_stuck else 130


def _check_paths(arguments: argparse.Namespace) -> None:
    """UnusableError if the files named do not go together, or options do not."""
    for option in ("output", "checkpoint", "resume", "png"):
        check_ending(f"--{option}", getattr(arguments, option), ".png" if option == "png" else ".npz")
    outputs = [arguments.output, arguments.checkpoint, arguments.png]
    check_outputs([path for path in outputs if path is not None], [arguments.data])
    if arguments.png is not None:
        prepare_drawing("--png")
    if arguments.resume is None:
        return
    check_outputs([arguments.output], [arguments.resume])
    for name in NEW:
        if getattr(arguments, name) is not None:
            raise UnusableError(f"--{name.replace('_', '-')} is given, but {arguments.resume} has its own")


def _check_entries(path: str, arrays: dict[str, np.ndarray]) -> None:
    """UnusableError if the file does not hold what is learned from, or holds what is not known."""
    for name in ("X", "y"):
        if name not in arrays:
            raise UnusableError(f"{path} has no array {name!r}; it has {', '.join(arrays) or 'none'}")
    if unknown := [name for name in arrays if name not in ENTRIES]:
        raise UnusableError(f"{path} has {', '.join(unknown)}, but only {', '.join(ENTRIES)} are known")
    for name, array in arrays.items():
        if array.ndim == 0 or len(array) != len(arrays["X"]):
            raise UnusableError(
                f"{path}: {name} has shape {array.shape}, but X has shape {arrays['X'].shape}: "
                "each must have as many rows"
            )


def _parted(arrays: dict[str, np.ndarray], fraction: float) -> tuple[dict[str, Any], tuple[Any, ...] | None]:
    """The rows to learn from, and every n-th one to judge by; none of few rows, or for a fraction of 0."""
    import numpy as np

    rows = len(arrays["X"])
    if not fraction or rows < FEWEST_ROWS or round(1 / fraction) > rows:
        return arrays, None
    every = round(1 / fraction)
    is_held = np.arange(rows) % every == every - 1
    held = tuple(arrays[name][is_held] if name in arrays else None for name in ENTRIES)
    return {name: array[~is_held] for name, array in arrays.items()}, held


def _resumed(arguments: argparse.Namespace) -> Trainer:
    from ..train import Trainer

    return read(Trainer.resume, arguments.resume)


def _new(arguments: argparse.Namespace, arrays: dict[str, np.ndarray]) -> Trainer:
    """A trainer for these data."""
    from ..model import LSTM
    from ..train import Adam, CrossEntropy, LinearHead, Squared, Trainer

    given = {name: getattr(arguments, name) for name in NEW}
    options: dict[str, Any] = {name: NEW[name] if value is None else value for name, value in given.items()}
    X, y = arrays["X"], arrays["y"]
    if X.ndim not in (2, 3) or y.ndim not in (1, 2, 3):
        raise UnusableError(
            f"{arguments.data}: X has shape {X.shape}, but must be (rows, T, I) or (rows, T), "
            f"and y has shape {y.shape}, but must have 1 to 3 axes"
        )
    is_class = y.dtype.kind in "iub"
    every_step = options["every_step"] or y.ndim == 3 or (is_class and y.ndim == 2)
    outputs = int(y.max(initial=0)) + 1 if is_class else y.shape[-1] if y.ndim == 2 + every_step else 1
    if is_class and outputs < 2:
        raise UnusableError(f"{arguments.data}: y has the one class {outputs - 1}: there is nothing to learn")
    try:
        net = LSTM(
            X.shape[2] if X.ndim == 3 else 1,
            options["hidden"],
            num_layers=options["layers"],
            bidirectional=options["bidirectional"],
            dtype=options["dtype"],
            rng=[options["seed"], 0],
        )
        head = LinearHead(net, outputs, every_step=every_step, rng=[options["seed"], 1])
    except (TypeError, ValueError) as error:
        raise UnusableError(f"{arguments.data}: {error}") from error
    return Trainer(
        net,
        head,
        CrossEntropy() if is_class else Squared(),
        Adam(options["learning_rate"]),
        batch_size=options["batch_size"],
        clip_norm=options["clip_norm"],
        rng=[options["seed"], 2],
    )


def _draw(trainer: Trainer, path: str) -> None:
    """The learning curve; UnusableError if there is none."""
    from .. import plot

    try:
        axes = plot.learning(trainer)
    except ValueError as error:
        raise UnusableError(f"--png: {error}") from error
    write_png(axes[0].figure, path, dpi=80)


def _told(arguments: argparse.Namespace, trainer: Trainer) -> str:
    """What came of it, in words."""
    from ..comparison.text import printable

    judged = "validation" if math.isfinite(_last_validation(trainer)) else "loss"
    text = f"{printable(arguments.output)}: {trainer.net!r} with {trainer.head.outputs} outputs, "
    text += f"{judged} {trainer.best_loss:.6g} after epoch {trainer.best_epoch} of {trainer.epoch}\n"
    for path in (arguments.checkpoint or arguments.resume, arguments.png):
        text += f"{printable(path)}\n" if path is not None else ""
    return text


def _last_validation(trainer: Trainer) -> float:
    losses = trainer.history.validation_loss
    return float(losses[-1]) if len(losses) else math.nan


def json_report(arguments: argparse.Namespace, trainer: Trainer) -> dict[str, Any]:
    """What came of it, as a JSON object.

    Returns
    -------
    dict
        ``data``, ``output``, ``checkpoint``, ``png`` (file names; the last two may be null), ``net`` (the
        call that makes such a net), ``outputs`` (of the head), ``every_step``, ``loss`` (its name),
        ``epochs`` and ``steps`` done, ``best_epoch``, ``best_loss`` (null before an epoch has ended),
        ``epoch_loss`` and ``validation_loss`` (lists, one number an epoch; the second is empty without
        validation).
    """
    history = trainer.history
    return {
        "data": arguments.data,
        "output": arguments.output,
        "checkpoint": arguments.checkpoint or arguments.resume,
        "png": arguments.png,
        "net": repr(trainer.net),
        "outputs": trainer.head.outputs,
        "every_step": trainer.head.every_step,
        "loss": type(trainer.loss).__name__,
        "epochs": trainer.epoch,
        "steps": trainer.step,
        "best_epoch": trainer.best_epoch,
        "best_loss": trainer.best_loss if trainer.best_epoch else None,
        "epoch_loss": history.epoch_loss.tolist(),
        "validation_loss": [loss for loss in history.validation_loss.tolist() if math.isfinite(loss)],
    }
