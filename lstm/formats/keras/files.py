"""The files that Keras saves: the description of their model, and the weights of its recurrent layers."""

from __future__ import annotations

import contextlib
import json
import os
import re
import tempfile
import zipfile
from collections.abc import Iterator
from typing import IO, Any

from ..archive import BoundedReader, budget, checked_entries, chunks, opened
from ..errors import FormatError
from ..reading import open_plain
from . import legacy, places
from .description import find_layers
from .hdf5 import File
from .hdf5_child import shortened
from .layers import Layer, Names, Object, Version

CONFIG, METADATA, WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
HDF5_START, ARCHIVE_START = b"\x89HDF\r\n\x1a\n", b"PK\3\4"
# About what a list, an object, half a text and a value take in memory, in bytes, by a character of each.
PARSED = {"[": 64, "{": 250, '"': 20, ",": 16}
# What may be parsed: so much, and so many times the file's size. Descriptions by Keras take 3 times theirs.
PARSED_MEMORY, LARGEST_PARSED = 8 << 20, 4
# What wrote a file that does not say so.
LEGACY_VERSION, PLACES_VERSION = (2, 3), (3, 0)


@contextlib.contextmanager
def opened_file(path: str | os.PathLike[str]) -> Iterator[tuple[File, Object | None, Version | None]]:
    """The HDF5 file, the description and Keras's version; FormatError for what goes wrong in this block.

    Keras 2 wrote HDF5 under the ending .keras too, so that the first bytes say what a file is.
    """
    name = os.fspath(path)
    with contextlib.ExitStack() as stack:
        file: IO[bytes] = stack.enter_context(BoundedReader(open_plain(name)))
        try:
            start = file.read(len(HDF5_START))
            file.seek(0)
            is_archive = name.lower().endswith(".keras") and start != HDF5_START
            if is_archive or start.startswith(ARCHIVE_START):
                description, version, file = _unpacked(name, file)
                hdf5 = stack.enter_context(File(name, stack.enter_context(file)))
                yield hdf5, description, version
            else:
                hdf5 = stack.enter_context(File(name, file))
                yield hdf5, *_legacy_config(name, hdf5)
        except FormatError:
            raise
        except (ValueError, TypeError, OverflowError, RecursionError) as error:
            raise FormatError(f"{name}: {error}") from error


def _unpacked(name: str, file: IO[bytes]) -> tuple[Object, Version | None, IO[bytes]]:
    """The model's description, Keras's version and a file of the weights, from a .keras archive."""
    size = os.fstat(file.fileno()).st_size
    with opened(name, file, ".keras") as archive:
        used = [entry for entry in archive.infolist() if entry.filename in (CONFIG, METADATA, WEIGHTS)]
        entries = checked_entries(name, used)
        if WEIGHTS not in entries or CONFIG not in entries:
            raise FormatError(f"{name} lacks {CONFIG} or {WEIGHTS}, which a .keras file has")
        description = _described(name, archive, entries[CONFIG], size)
        metadata = _described(name, archive, entries[METADATA], size) if METADATA in entries else {}
        weights = _extracted(name, archive, entries[WEIGHTS], budget(size))
    return description, _version(metadata.get("keras_version")), weights


def _described(name: str, archive: zipfile.ZipFile, entry: zipfile.ZipInfo, size: int) -> Object:
    """The JSON object in an entry of an archive of `size` bytes."""
    where = f"{name}: {entry.filename}"
    content = bytearray()
    for chunk in chunks(archive, entry):
        content += chunk
        if len(content) > budget(size):
            raise FormatError(f"{where} has over {budget(size)} bytes, too many for a file of {size} bytes")
    try:
        text = content.decode()
    except ValueError as error:
        raise FormatError(f"{where} is no JSON: {error}") from error
    content.clear()
    return _json(where, shortened(text), size)


def _extracted(name: str, archive: zipfile.ZipFile, entry: zipfile.ZipInfo, most: int) -> IO[bytes]:
    """An entry of `most` bytes as a file of its own, which has no name and goes when it is closed."""
    if entry.file_size > most:
        raise FormatError(f"{name}: entry {entry.filename!r} claims {entry.file_size} bytes")
    weights = tempfile.TemporaryFile()  # noqa: SIM115, closed by the caller
    try:
        for chunk in chunks(archive, entry):
            most -= weights.write(chunk)
            if most < 0:
                raise FormatError(f"{name}: entry {entry.filename!r} holds more than it claims")
        weights.flush()
    except BaseException:
        weights.close()
        raise
    return weights


def _json(where: str, text: str, size: int) -> Object:
    """A JSON object in a file of `size` bytes."""
    memory = sum(text.count(character) * cost for character, cost in PARSED.items())
    if memory > PARSED_MEMORY + LARGEST_PARSED * size:
        raise FormatError(f"{where} describes more than is parsed for a file of {size} bytes")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{where} is no JSON: {error}") from error
    if not isinstance(value, dict):
        raise FormatError(f"{where} is no JSON object")
    return value


def _version(keras_version: Any) -> Version | None:
    """The first two numbers of a version; None if there are none."""
    match = re.match(r"([0-9]{1,4})\.([0-9]{1,4})", keras_version) if isinstance(keras_version, str) else None
    return (int(match[1]), int(match[2])) if match else None


def _legacy_config(name: str, hdf5: File) -> tuple[Object | None, Version | None]:
    """The description of a model that an .h5 file holds, None if it holds weights alone; the version."""
    attributes = hdf5.attributes.get("", {})
    versions = [
        attributes.get("keras_version"),
        hdf5.attributes.get("model_weights", {}).get("keras_version"),
    ]
    version = _version(versions[0] or versions[1])
    if "model_config" not in attributes:
        return None, version
    return _json(f"{name}: attribute 'model_config'", str(attributes["model_config"]), hdf5.size), version


def layers(
    hdf5: File, description: Object | None, version: Version | None
) -> tuple[list[Layer], dict[Names, Names]]:
    """The recurrent layers of a file, with entries for their weights, and which feeds which."""
    is_legacy = any(key.startswith("weight_names") for own in hdf5.attributes.values() for key in own)
    if description is None:
        return (legacy.bare_layers(hdf5, version) if is_legacy else places.undescribed(hdf5)), {}
    version = version or (LEGACY_VERSION if is_legacy else PLACES_VERSION)
    found = find_layers(description, version)
    if is_legacy:
        return legacy.described_layers(hdf5, found, version), found.feeds
    others = places.undescribed(hdf5, found.configs, [group for _, group in found.opaque])
    return [*(places.located(hdf5, one) for one in found.configs), *others], found.feeds
