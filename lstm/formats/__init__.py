"""Reading and writing nets: one file a format, picked by the ending of the path."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from ..model import LSTM

ENDINGS = (".npz",)


class FormatError(ValueError):
    """A file that cannot be read as what it should be; names the file, the entry and what was expected."""


def load(path: str | os.PathLike[str], *, backend: Literal["native", "numpy"] = "native") -> LSTM:
    """Load a net from a file.

    Parameters
    ----------
    path : str or path-like
        A .npz file, as `LSTM.save` writes it, or one that holds PyTorch's four arrays
        (``weight_ih_l0``, ``weight_hh_l0``, ``bias_ih_l0``, ``bias_hh_l0``) and nothing else.
        Files are not trusted: nothing in them is run, no pickle is read.
    backend : {"native", "numpy"}
        As for `LSTM`.

    Returns
    -------
    LSTM

    Raises
    ------
    FormatError
        Where the file is not what its ending says, is damaged, or its arrays make no LSTM.
    ValueError
        Where the ending is none that is known.
    OSError
        Where the file cannot be opened.

    Examples
    --------
    >>> import lstm, os, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "net.npz")
    ...     lstm.LSTM(3, 5).save(path)
    ...     lstm.load(path)
    LSTM(3, 5, dtype=float64)

    """
    from . import npz

    check_ending(path)
    return npz.load(path, backend)


def save(net: LSTM, path: str | os.PathLike[str]) -> None:
    """Write `net` in the format that the ending of `path` names."""
    from . import npz

    check_ending(path)
    npz.save(net, path)


def check_ending(path: str | os.PathLike[str]) -> None:
    """Raise ValueError where no format has the ending of `path`."""
    name = os.fspath(path)
    if not isinstance(name, str):
        raise TypeError(f"path is {path!r}, but must be a str or a path-like object of one")
    ending = os.path.splitext(name)[1].lower()
    if ending in (".pt", ".pth"):
        raise ValueError(
            f"{name} is a PyTorch pickle, which can run code when it is read; with PyTorch, use\n"
            f"    state = torch.load({name!r}, weights_only=True)\n"
            "    net = lstm.LSTM.from_state_dict({k: v.numpy() for k, v in state.items()})"
        )
    if ending not in ENDINGS:
        raise ValueError(f"{name} ends in {ending!r}, but must end in {' or '.join(ENDINGS)}")
