"""A net and its head in one .npz file."""

from __future__ import annotations

import os

import numpy as np

from ..core.net import Net
from ..core.state_dict import to_state_dict
from ..formats import FormatError
from ..model import LSTM
from .heads import LinearHead


def save(net: LSTM, head: LinearHead, path: str | os.PathLike[str]) -> None:
    """Write a net and its head to a file; `lstm.load` reads the net of it, `load` both.

    Parameters
    ----------
    net, head : LSTM, LinearHead
        Made for one another.
    path : str or path-like
        Ends in ``.npz``. A file of that name is replaced once the new one is whole and on the disk.

    Raises
    ------
    ValueError
        If the path has another ending, or the head was made for another net.
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> import os, tempfile
    >>> import lstm
    >>> from lstm.train import LinearHead, load, save
    >>> net = lstm.LSTM(3, 5, rng=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "net.npz")
    ...     save(net, LinearHead(net, 2, rng=0), path)
    ...     net, head = load(path)
    ...     lstm.load(path)
    LSTM(3, 5, dtype=float64)
    >>> head.outputs
    2
    """
    from ..formats import lstm_entry, npz
    from ..formats.numpy_files import write_arrays
    from ..formats.writing import replacing

    check_path(path)
    head.check(net)
    parts = net.core.parts()
    values = (head.weight, head.bias, np.array(head.every_step))
    arrays = {lstm_entry.ENTRY: np.array(lstm_entry.text(parts)), **to_state_dict(parts)}
    with replacing(path) as partial, open(partial, "wb") as file:
        write_arrays(file, arrays | dict(zip(npz.HEAD, values, strict=True)))


def load(path: str | os.PathLike[str]) -> tuple[LSTM, LinearHead]:
    """Read a net and its head from a file that `save` has written.

    Parameters
    ----------
    path : str or path-like
        The file, which is not trusted: no pickle is read.

    Returns
    -------
    net : LSTM
    head : LinearHead

    Raises
    ------
    FormatError
        If the file is damaged, or has no head.
    OSError
        If the file cannot be opened.
    """
    from ..formats import npz
    from ..formats.numpy_files import read_arrays

    check_path(path)
    name = os.fspath(path)
    net = LSTM.from_core(Net(npz.read(path)))
    arrays = read_arrays(name)
    if missing := [entry for entry in npz.HEAD if entry not in arrays]:
        raise FormatError(f"{name} lacks {', '.join(missing)}: it holds a net without its head")
    weight, bias, every_step = (arrays[entry] for entry in npz.HEAD)
    width = net.core.architecture.output_size
    if weight.shape[1:] != (width,) or bias.shape != weight.shape[:1] or not bias.size:
        raise FormatError(
            f"{name}: head.weight has shape {weight.shape} and head.bias {bias.shape}, "
            f"but they must be (outputs, {width}) and (outputs,)"
        )
    if every_step.dtype != np.bool_ or every_step.ndim:
        raise FormatError(f"{name}: head.every_step is {every_step.dtype}, but must be one bool")
    head = LinearHead(net, len(bias), every_step=bool(every_step), rng=0)
    try:
        head.set(weight, bias)
    except (TypeError, ValueError) as error:
        raise FormatError(f"{name}: {error}") from error
    return net, head


def check_path(path: str | os.PathLike[str]) -> None:
    """ValueError if this is no name of such a file."""
    if not os.fspath(path).lower().endswith(".npz"):
        raise ValueError(f"{os.fspath(path)} must end in .npz")
