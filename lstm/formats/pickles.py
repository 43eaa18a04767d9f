"""Files of PyTorch that are pickles: they are never read, but told apart to say how PyTorch reads them."""

from __future__ import annotations

import os
import zipfile

from .archive import BoundedReader
from .reading import open_plain

CHECKPOINT = ".ckpt"  # Lightning's, whose state dict is one entry of several
ENDINGS = (".pt", ".pth", ".pth.tar", ".pt.tar", CHECKPOINT, ".bin", ".pkl", ".pickle")
PROGRAM = ".pt2"


def advice(path: str | os.PathLike[str]) -> str | None:
    """How to load a file with PyTorch, if its ending or its content says that it is PyTorch's; else None."""
    name = os.fspath(path)
    lower = name.lower()
    if lower.endswith(PROGRAM):
        return _lines(
            f"{name} is an exported program of PyTorch",
            f"net = lstm.LSTM.from_torch(torch.export.load({name!r}).state_dict)",
        )
    entries = _entries(name) if lower.endswith(ENDINGS) or _is_zip(name) else []
    if any(entry.endswith("/constants.pkl") for entry in entries) and any("/code/" in one for one in entries):
        return _lines(
            f"{name} is a TorchScript archive, which can run code when it is read",
            f"module = torch.jit.load({name!r})",
            "net = lstm.LSTM.from_torch(module)",
        )
    if not lower.endswith(ENDINGS) and not any(entry.endswith("/data.pkl") for entry in entries):
        return None
    inner = '["state_dict"]' if lower.endswith(CHECKPOINT) else ""
    return _lines(
        f"{name} is a PyTorch pickle, which can run code when it is read",
        f"state = torch.load({name!r}, weights_only=True){inner}",
        "net = lstm.LSTM.from_torch(state)",
    )


def writing_advice(path: str | os.PathLike[str]) -> str | None:
    """How to write a net for PyTorch, if the ending of a path says that this is meant; else None."""
    name = os.fspath(path)
    if not name.lower().endswith(ENDINGS):
        return None
    stem = name[: name.rfind(".")]
    return (
        f"{name} would be a PyTorch pickle, which is not written here; for load_state_dict, use\n"
        f"    net.save({stem + '.safetensors'!r})\n"
        "or, with PyTorch,\n"
        f"    torch.save(net.to_torch().state_dict(), {name!r})"
    )


def _lines(what: str, *lines: str) -> str:
    return "\n    ".join([f"{what}; with PyTorch, use", *lines])


def _is_zip(name: str) -> bool:
    """Whether a file begins as a zip archive does."""
    try:
        with open_plain(name) as file:
            return file.read(4) == b"PK\x03\x04"
    except OSError:
        return False


def _entries(name: str) -> list[str]:
    """The names of a zip archive's entries; none for any other file."""
    try:
        with BoundedReader(open_plain(name)) as file, zipfile.ZipFile(file) as archive:
            return archive.namelist()
    except Exception:  # of a file that is none, zipfile raises nearly anything
        return []
