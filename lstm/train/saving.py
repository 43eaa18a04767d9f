"""A trainer's file: arrays of numbers and one JSON text. Files are not trusted, and no pickle is read.

Shapes: N weights, M moments of each.
"""

from __future__ import annotations

import json
import math
import os
from typing import Any, NamedTuple

import numpy as np

from ..core.net import Net
from ..core.state_dict import to_state_dict
from ..formats import FormatError, lstm_entry
from ..formats.lstm_entry import ENTRY
from ..formats.numpy_files import read_arrays, write_arrays
from ..formats.writing import replacing
from ..model import LSTM
from .heads import LinearHead
from .losses import CrossEntropy, Huber, Loss, Quantile, Squared
from .models import check_path
from .optimizers import SGD, Adam, Optimizer
from .parameters import Parameters
from .records import Records
from .state import State

VERSION = 1
PREFIX = "trainer."
KNOWN = {one.__name__: one for one in (Squared, Huber, Quantile, CrossEntropy, Adam, SGD)}
ARRAYS = ("weights", "moments", "best", "order")
NUMBERS = {
    **dict.fromkeys(("step", "epoch", "place", "best_epoch"), int),
    **dict.fromkeys(("epoch_sum", "epoch_weight"), float),
}
OPTIONS = ("batch_size", "part_size", "clip_norm", "shuffle")
RECORDS = ("losses", "rates", "epochs")


class Saved(NamedTuple):
    """What a file holds."""

    arguments: dict[str, Any]  # of Trainer
    state: State
    records: Records


def save(trainer: Any, state: State, records: Records, path: str | os.PathLike[str]) -> None:
    """Write a trainer and its state."""
    check_path(path)
    text = {
        "version": VERSION,
        "backend": trainer.net.backend,
        "outputs": trainer.head.outputs,
        "every_step": trainer.head.every_step,
        "loss": _described(trainer.loss),
        "optimizer": _described(trainer.optimizer),
        "rng": state.rng,
        "best_loss": None if math.isinf(state.best_loss) else state.best_loss,
        **{name: getattr(trainer, name) for name in OPTIONS},
        **trainer.dropout,
        **{name: getattr(state, name) for name in NUMBERS},
    }
    parts = trainer.net.core.parts()
    counts = (state.step, state.step, state.epoch)
    arrays = {
        ENTRY: np.array(lstm_entry.text(parts)),
        **to_state_dict(parts),
        PREFIX + "text": np.array(json.dumps(text)),
        **{PREFIX + name: getattr(state, name) for name in ARRAYS},
        **{
            PREFIX + name: np.array(getattr(records, name)[:count], np.float64)
            for name, count in zip(RECORDS, counts, strict=True)
        },
    }
    with replacing(path) as partial, open(partial, "wb") as file:
        write_arrays(file, arrays)


def _described(value: Loss | Optimizer) -> dict[str, Any] | None:
    """A loss or an optimizer as JSON has it; None if it takes code to make it again."""
    if KNOWN.get(type(value).__name__) is not type(value) or any(map(callable, vars(value).values())):
        return None
    return {"name": type(value).__name__, **vars(value)}


def read(path: str | os.PathLike[str], loss: Loss | None, optimizer: Optimizer | None) -> Saved:
    """Read what `save` wrote; `loss` and `optimizer`, if given, take the place of those in the file."""
    name = os.fspath(path)
    arrays = read_arrays(name)
    own = {key.removeprefix(PREFIX): arrays.pop(key) for key in list(arrays) if key.startswith(PREFIX)}
    missing = [key for key in ("text", *ARRAYS, *RECORDS) if key not in own]
    if missing or ENTRY not in arrays:
        raise FormatError(f"{name} is no trainer's file: it lacks {', '.join([*missing] or [ENTRY])}")
    entry = lstm_entry.parse(f"{name}: entry {ENTRY!r}", str(arrays.pop(ENTRY)))
    parts = lstm_entry.parts(name, arrays, entry)
    text = _text(name, own["text"])
    net = LSTM.from_core(Net(parts, text["backend"]))
    try:
        if not 0 < text["outputs"] <= own["weights"].size:  # before memory is asked for
            raise ValueError(f"it has {text['outputs']} outputs, but {own['weights'].size} weights in all")
        head = LinearHead(net, text["outputs"], every_step=text["every_step"])
        arguments = {
            "net": net,
            "head": head,
            **{key: text[key] for key in OPTIONS},
            **{key: text[key] for key in ("dropout", "input_dropout", "recurrent_dropout")},
        }
        arguments["loss"] = loss if loss is not None else _made("loss", text["loss"], Loss)
        arguments["optimizer"] = (
            optimizer if optimizer is not None else _made("optimizer", text["optimizer"], Optimizer)
        )
        size = Parameters(net, head).values.size
        state = _state(text, own, size, arguments["optimizer"].moments, net.dtype)
        return Saved(arguments, state, _records(own, state))
    except _NeededError as error:
        raise ValueError(f"{name}: {error}") from None
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise FormatError(f"{name}: {error}") from error


class _NeededError(Exception):
    """A loss or an optimizer has to be given."""


def _text(name: str, array: np.ndarray) -> dict[str, Any]:
    """The JSON object; FormatError if it is none, or of another version."""
    try:
        text = json.loads(str(array[()])) if array.dtype.kind == "U" and array.ndim == 0 else None
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{name}: entry {PREFIX + 'text'!r} is no JSON: {error}") from error
    if not isinstance(text, dict) or text.get("version") != VERSION:
        raise FormatError(f"{name}: entry {PREFIX + 'text'!r} must be an object with version {VERSION}")
    if text.get("backend") not in ("native", "numpy"):
        raise FormatError(f"{name}: entry {PREFIX + 'text'!r} has backend {text.get('backend')!r:.100}")
    return text


def _made(name: str, described: Any, kind: type) -> Any:
    """A loss or an optimizer of its description."""
    if described is None:
        raise _NeededError(
            f"its {name} is your own, or has a learning rate that is a function: "
            f"give it, as in Trainer.resume(path, {name}=...)"
        )
    options = dict(described)
    made = KNOWN[options.pop("name")](**options)
    if not isinstance(made, kind):
        raise ValueError(f"its {name} is {made!r}")
    return made


def _state(
    text: dict[str, Any], own: dict[str, np.ndarray], size: int, moments: int, dtype: np.dtype[Any]
) -> State:
    """The state, every shape and number checked."""
    rows = own["order"].size
    shapes = {"weights": (size,), "moments": (moments, size), "best": (size,), "order": (rows,)}
    for key, shape in shapes.items():
        wanted = np.dtype(np.intp) if key == "order" else dtype
        if own[key].shape != shape or own[key].dtype != wanted:
            raise ValueError(
                f"entry {PREFIX + key!r} is {own[key].shape} of {own[key].dtype}, "
                f"but must be {shape} of {wanted}"
            )
    if not np.array_equal(np.sort(own["order"]), np.arange(rows)):
        raise ValueError(f"entry {PREFIX + 'order'!r} is no order of {rows} rows")
    numbers = {key: kind(text[key]) for key, kind in NUMBERS.items()}
    counts = [value for key, value in numbers.items() if key != "epoch_sum"]
    if min(counts) < 0 or numbers["place"] > rows:
        raise ValueError("its counts of steps, epochs or rows are none")
    best_loss = math.inf if text["best_loss"] is None else float(text["best_loss"])
    probe = np.random.PCG64()
    probe.state = text["rng"]  # raises what is no state
    fields: dict[str, Any] = {key: own[key] for key in ARRAYS} | numbers
    return State(**fields, rng=dict(probe.state), best_loss=best_loss)


def _records(own: dict[str, np.ndarray], state: State) -> Records:
    """Losses, rates and epochs, as many as there were steps and epochs."""
    wanted = {"losses": (state.step,), "rates": (state.step,), "epochs": (state.epoch, 3)}
    for key, shape in wanted.items():
        if own[key].size != math.prod(shape) or own[key].dtype != np.float64:
            raise ValueError(f"entry {PREFIX + key!r} has shape {own[key].shape}, but must be {shape}")
    records = Records()
    records.losses, records.rates = own["losses"].ravel().tolist(), own["rates"].ravel().tolist()
    epochs = own["epochs"].reshape(-1, 3).tolist()
    records.epochs = [(loss, validation, int(step)) for loss, validation, step in epochs]
    return records
