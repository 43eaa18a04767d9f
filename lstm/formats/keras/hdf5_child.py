"""The process that parses an HDF5 file for `hdf5`, so that whatever libhdf5 does ends here.

Of 3,000 mutated files of 22 to 124 kB, libhdf5 2.0.0 crashed on 1 and hung on 9 when all was read in one
go. Of 10,000 read as below it crashed on none and hung on 43, until their CPU time was up; memory did not
grow.

It is run by its path, imports nothing of this package, and is given the number of an open file, the size of
that file and the folders of h5py and NumPy. To standard output it writes one JSON text after its length in
8 bytes: the attributes of groups that Keras's files have, and of every dataset shape, dtype and, where it
will not be read, what is wrong with it. Then it reads names of datasets, one JSON list a line, and writes
the bytes of each, little-endian and in C order, after a byte that says whether they come.
"""

from __future__ import annotations

import io
import json
import os
import re
import signal
import sys
from typing import Any

SMALL = 1 << 20
LARGEST_EXPANSION = 8  # of compressed data, as in formats/archive.py
MOST_OBJECTS = 10_000
BYTES_AN_OBJECT = 500  # a larger file may have more of them
DEEPEST = 50
DESCRIPTION = "model_config"
ATTRIBUTES = (DESCRIPTION, "keras_version", "layer_names", "weight_names", "name")
EXTRA_MEMORY = 16 << 20
DESCRIPTION_COPIES = 6  # libhdf5 2.0 and h5py 3.16 hold a text five times as they read it
TEXT = r'"[^"\\]*(?:\\.[^"\\]*)*"'
# A text, which is kept whatever is in it; a list of numbers; a list of 64 texts and more.
SHORTENED = re.compile(rf'{TEXT}|\[[^\[\]{{}}"]+\]|\[\s*(?:{TEXT}\s*,\s*){{63,}}+{TEXT}\s*\]', re.DOTALL)
EMPTY = re.compile(r"\[\s*\[\](?:\s*,\s*\[\])*\s*\]")
MOST_AXES = 8
CPU_SECONDS = 0.2
NO_DATA, DATA, NO_MEMORY = b"\0", b"\1", b"\2"
BYTES_A_SECOND = 10e6


class Refusal(Exception):
    """What the file holds is none of what Keras writes."""


def limit(size: int) -> bool:
    """Bound memory and CPU time by the file's size: past them the process ends, or an allocation fails.

    Whether the bound of memory that this process was started with is lower, and stays.
    """
    import resource  # not everywhere, and `hdf5` imports this module for its constants

    is_lower = False
    if sys.platform == "linux":
        with open("/proc/self/statm") as file:
            now = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        most = now + 2 * size + EXTRA_MEMORY
        largest = now + DESCRIPTION_COPIES * size + EXTRA_MEMORY
        given, _ = resource.getrlimit(resource.RLIMIT_AS)
        is_lower = resource.RLIM_INFINITY != given < most
        if resource.RLIM_INFINITY != given < largest:
            most, largest = min(most, given), given
        resource.setrlimit(resource.RLIMIT_AS, (most, largest))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS + size / BYTES_A_SECOND)
    return is_lower


def is_of_memory(error: Exception) -> bool:
    """Whether Python, libhdf5 or the loader of libraries says that it gets no memory."""
    text = str(error)
    return isinstance(error, MemoryError) or any(word in text for word in ("alloc", "memory", "map segment"))


def allow_description() -> None:
    """Let the process take the memory that a model's description needs, which may be most of the file."""
    if sys.platform == "linux":
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


def listing(h5py: Any, file: Any, size: int) -> dict[str, Any]:
    """Attributes by group and datasets by path; Refusal if a link leads elsewhere or back."""
    attributes: dict[str, dict[str, Any]] = {}
    datasets: dict[str, Any] = {}
    seen = set()
    count = 0
    stack = [("", h5py.h5o.open(file.id, b"/"))]
    while stack:
        path, found = stack.pop()
        address = h5py.h5o.get_info(found).addr
        if address in seen:
            raise Refusal(f"entry {path!r} appears twice")
        seen.add(address)
        if isinstance(found, h5py.h5d.DatasetID):
            datasets[path] = describe(h5py, h5py.Dataset(found), size)
            continue
        if not isinstance(found, h5py.h5g.GroupID):
            continue  # a named type, which nothing of ours has
        if h5py.h5a.get_num_attrs(found):
            group = h5py.Group(found)
            own = {name: texts(h5py, path, group, name, size) for name in group.attrs if known(name)}
            if own:
                attributes[path] = own
        count += len(found)
        if count > max(MOST_OBJECTS, size // BYTES_AN_OBJECT):
            raise Refusal(f"it has {count} entries, too many for a file of {size} bytes")
        if path.count("/") > DEEPEST:
            raise Refusal(f"its groups are nested more than {DEEPEST} deep")
        for name in found:
            text = name.decode("utf-8", "replace")
            inner = f"{path}/{text}" if path else text
            if found.links.get_info(name).type != h5py.h5l.TYPE_HARD:
                raise Refusal(f"entry {inner!r} is a soft or external link, which leads elsewhere")
            stack.append((inner, h5py.h5o.open(found, name)))
    return {"attributes": attributes, "datasets": datasets}


def known(name: str) -> bool:
    """Whether an attribute is one that is used; long lists of names are split over name0, name1, ..."""
    return name in ATTRIBUTES or name.rstrip("0123456789") in ("layer_names", "weight_names")


def texts(h5py: Any, path: str, group: Any, name: str, size: int) -> Any:
    """An attribute that is a text or a list of them; an empty list may have any dtype."""
    where = f"attribute {name!r} of {path!r}"
    attribute = group.attrs.get_id(name)
    count = 1
    for length in attribute.shape:
        count *= length
    if count == 0:
        return []
    if not isinstance(attribute.get_type(), h5py.h5t.TypeStringID) or len(attribute.shape) > 1:
        raise Refusal(f"{where} is no text and no list of texts")
    if max(count, attribute.get_storage_size()) > size:
        raise Refusal(f"{where} claims more characters than the file holds")
    if name == DESCRIPTION:
        allow_description()
    value = group.attrs[name]
    if attribute.shape == ():
        return shortened(decoded(value))
    values = [decoded(one) for one in value]
    if sum(map(len, values)) > size:
        raise Refusal(f"{where} claims more characters than the file holds")
    return values


def decoded(value: Any) -> str:
    """A text of an attribute."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def shortened(text: str) -> str:
    """A JSON text without what takes the most of it and tells nothing of layers.

    That are lists of numbers, such as a matrix that an initializer starts from, and long ones of texts, such
    as a vocabulary: of each an empty list is left.
    """
    text = SHORTENED.sub(lambda match: match[0] if match[0][0] == '"' else "[]", text)
    for _ in range(MOST_AXES):
        text, count = EMPTY.subn("[]", text)
        if not count:
            break
    return text


def describe(h5py: Any, dataset: Any, size: int) -> list[Any]:
    """[shape, dtype, None], or what is wrong with a dataset instead of None."""
    try:
        kind = dataset.id.get_type()
        shape = [int(length) for length in dataset.shape or ()]
        if isinstance(kind, h5py.h5t.TypeFloatID) and dataset.dtype.str[1:] in ("f2", "f4", "f8"):
            dtype = f"<{dataset.dtype.str[1:]}"
        elif is_bfloat16(h5py, kind, dataset):
            dtype = "bfloat16"
        else:
            return [shape, "", "does not hold floats"]
        return [shape, dtype, problem(h5py, dataset, shape, size)]
    except Exception as error:
        if is_of_memory(error):
            raise
        return [[], "", f"is damaged: {str(error)[:200]}"]


def is_bfloat16(h5py: Any, kind: Any, dataset: Any) -> bool:
    """Whether these are two opaque bytes that Keras marks as a bfloat16."""
    if not isinstance(kind, h5py.h5t.TypeOpaqueID) or kind.get_size() != 2 or "dtype" not in dataset.attrs:
        return False
    attribute = dataset.attrs.get_id("dtype")
    is_text = isinstance(attribute.get_type(), h5py.h5t.TypeStringID) and attribute.shape == ()
    return bool(is_text and dataset.attrs["dtype"] in ("bfloat16", b"bfloat16"))


def problem(h5py: Any, dataset: Any, shape: list[int], size: int) -> str | None:
    """What is wrong with how a dataset of floats is stored in a file of `size` bytes."""
    claimed = dataset.dtype.itemsize
    for length in shape:
        claimed *= length
    properties = dataset.id.get_create_plist()
    layout = properties.get_layout()
    if dataset.shape is None or properties.get_external_count() or layout == h5py.h5d.VIRTUAL:
        return "has its data elsewhere"
    filters = {properties.get_filter(k)[0] for k in range(properties.get_nfilters())}
    if filters - {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE}:
        return "is filtered by other than gzip and shuffle"
    stored = dataset.id.get_storage_size()
    whole = stored == claimed if layout == h5py.h5d.CONTIGUOUS else stored > 0
    most = size
    if layout == h5py.h5d.CHUNKED:
        most = max(SMALL, LARGEST_EXPANSION * size)
        chunk = dataset.dtype.itemsize
        for length in dataset.chunks:
            chunk *= length
        claimed = max(claimed, chunk)
    if (claimed and not whole) or stored > size or claimed > most:
        return f"claims shape {tuple(shape)}, {claimed} bytes, which the file does not hold"
    return None


def send(out: Any, dataset: Any) -> None:
    """The data of a dataset, in pieces of about a megabyte and of whole chunks, which are inflated once."""
    rows = dataset.shape[0] if dataset.shape else 0
    unit = max(1, min(rows, dataset.chunks[0])) if dataset.chunks else 1
    step = unit * max(1, SMALL * rows // max(1, unit * dataset.nbytes))
    order = dataset.dtype.newbyteorder("<")
    for start in range(0, rows, step):
        piece = dataset[start : min(rows, start + step)]
        if start == 0:
            out.write(DATA)
        out.write(piece.astype(order, copy=False).tobytes())
    if not rows:
        out.write(DATA)
    out.flush()


def answer(out: Any, found: dict[str, Any]) -> None:
    """Write one JSON text after its length."""
    text = json.dumps(found).encode()
    out.write(len(text).to_bytes(8, "little") + text)
    out.flush()


def told(error: Exception, size: int) -> str:
    """What to say of an error of h5py; a limit of ours is no damage."""
    text = str(error)[:300]
    if is_of_memory(error):
        return f"its structure takes more memory than is allowed for a file of {size} bytes: {text}"
    return f"it is damaged or no HDF5 file: {text}"


def main() -> None:
    """Serve one file until no more is asked for."""
    descriptor, size, folders = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    sys.path += folders
    out = sys.stdout.buffer
    try:
        import h5py

        is_lower = limit(size)
    except Exception as error:
        kind = "memory" if is_of_memory(error) else "import"
        answer(out, {kind: f"{type(error).__name__}: {str(error)[:300]}"})
        return
    try:
        file = h5py.File(io.FileIO(descriptor), "r")
        found = listing(h5py, file, size)
    except Refusal as error:
        found = {"error": str(error)}
    except Exception as error:
        if is_lower and is_of_memory(error):
            found = {"memory": str(error)[:300]}
        else:
            found = {"error": told(error, size)}
    answer(out, found)
    for line in sys.stdin.buffer:
        for name in json.loads(line):
            try:
                send(out, file[name])
            except Exception as error:
                out.write(NO_MEMORY if is_lower and is_of_memory(error) else NO_DATA)
                out.flush()
                return


if __name__ == "__main__":
    main()
