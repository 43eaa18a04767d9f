"""zip archives from strangers: what .npz and .keras files have in common.

No claim of an archive is believed before it is checked: sizes are bounded by that of the file.
"""

from __future__ import annotations

import contextlib
import errno
import io
import zipfile
from collections.abc import Iterable, Iterator
from typing import IO

from .errors import FormatError, is_out_of_memory

# What the contents may take together: the file's own size, by not much more. A damaged or hostile header must
# not make us ask for terabytes, nor a few compressed zeros for gigabytes. Weights hardly compress, yet those
# of a pruned net may hold many zeros.
LARGEST_EXPANSION = 8
# Weights of which 99 of 100 are zeros compress to a fiftieth; so much is allowed up to a size that any
# machine has memory for.
PRUNED_EXPANSION = 128
MOST_PRUNED = 1 << 28
SMALL = 1 << 20
CHUNK = 1 << 16
LONGEST_SHOWN = 200  # characters of what a file names, in an error


def budget(file_size: int) -> int:
    """Bytes that the contents of a file of this size may take together."""
    return max(SMALL, LARGEST_EXPANSION * file_size)


def pruned_budget(file_size: int) -> int:
    """The same of a file that holds an LSTM's arrays, which may be compressed zeros, and nothing else."""
    return max(budget(file_size), min(PRUNED_EXPANSION * file_size, MOST_PRUNED))


class BoundedReader(io.BufferedReader):
    """A file that is never read in large pieces. zipfile reads the directory of entries in one."""

    def read(self, size: int | None = -1, /) -> bytes:
        """At most `size` bytes; BadZipFile if that is more than a directory of entries takes."""
        if size is not None and size > SMALL:
            raise zipfile.BadZipFile(f"its directory of entries takes {size} bytes")
        return super().read(size)


@contextlib.contextmanager
def opened(name: str, file: IO[bytes], ending: str) -> Iterator[zipfile.ZipFile]:
    """The archive in an open file of this ending; FormatError for damage that is met in this block."""
    try:
        with zipfile.ZipFile(file) as archive:
            yield archive
    except (FormatError, MemoryError):
        raise
    except Exception as error:
        # Damage makes zipfile raise nearly anything: BadZipFile, zlib.error, struct.error,
        # UnicodeDecodeError, NotImplementedError, RuntimeError, EINVAL for a negative offset.
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise
        if is_out_of_memory(error):
            raise MemoryError(f"{name}: {error}") from error
        text = str(error)[:LONGEST_SHOWN]
        raise FormatError(f"{name} is damaged or no {ending} file: {text}") from error


def checked_entries(name: str, entries: Iterable[zipfile.ZipInfo]) -> dict[str, zipfile.ZipInfo]:
    """Entries of the archive `name` by their names; FormatError for a second one or one not deflated."""
    checked: dict[str, zipfile.ZipInfo] = {}
    for entry in entries:
        where = f"{name}: entry {entry.filename!r:.{LONGEST_SHOWN}}"
        if entry.filename in checked:
            raise FormatError(f"{where} appears twice")
        # The decompressors of zip's other methods ask for memory that the file names.
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise FormatError(f"{where} is compressed by method {entry.compress_type}, but must be deflated")
        checked[entry.filename] = entry
    return checked


def chunks(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, skip: int = 0) -> Iterator[bytes]:
    """The bytes of an entry from `skip` on. It is read past its end, where zipfile checks the CRC.

    In pieces, since one large read takes the memory twice.
    """
    with archive.open(entry) as file:
        file.read(skip)
        while chunk := file.read(CHUNK):
            yield chunk
