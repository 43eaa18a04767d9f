"""Damaged and hostile .npz files: FormatError and nothing else, soon and with little memory.

A file that is still read, since the damage hit bytes that carry nothing, gives the weights that were saved.
"""

from __future__ import annotations

import io
import json
import os
import struct
import time
import tracemalloc
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import assert_same_bits, random_net

import lstm
from lstm import LSTM, FormatError

INPUT, HIDDEN = 3, 5
ROWS = 4 * HIDDEN
NET = random_net(np.random.default_rng(0), INPUT, HIDDEN, np.float64)
STATE = NET.state_dict()
CONFIG = {"version": 1, "input_size": INPUT, "hidden_size": HIDDEN, "bias": True, "dtype": "float64"}
MEGABYTE = 1 << 20

Entries = dict[str, bytes]


def npy(array: Any) -> bytes:
    """An array as NumPy writes it, pickled if it is of objects."""
    memory = io.BytesIO()
    np.lib.format.write_array(memory, np.asarray(array), allow_pickle=True)
    return memory.getvalue()


def headed(
    header: str | bytes, data: bytes = b"", version: tuple[int, int] = (1, 0), size: int = -1
) -> bytes:
    """An .npy array of any header, which may claim a `size` of its own."""
    text = header.encode("latin-1") if isinstance(header, str) else header
    size = len(text) if size < 0 else size
    length = size.to_bytes(2 if version == (1, 0) else 4, "little")
    return b"\x93NUMPY" + bytes(version) + length + text + data


def header(shape: str, descr: str = "'<f8'", fortran: str = "False") -> str:
    return f"{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}\n"


def good_entries() -> Entries:
    return {
        **{f"{name}.npy": npy(array) for name, array in STATE.items()},
        "lstm.npy": npy(json.dumps(CONFIG)),
    }


def zipped(entries: Entries, method: int = zipfile.ZIP_STORED) -> bytes:
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w", method) as archive:
        for name, data in entries.items():
            archive.writestr(zipfile.ZipInfo(name), data, method)
    return memory.getvalue()


def with_entry(name: str, data: bytes) -> bytes:
    """A good file but for one entry."""
    return zipped({**good_entries(), f"{name}.npy": data})


def load(path: Path, content: bytes) -> LSTM | FormatError:
    """The net of a file of this content, or the error; no warning, little memory, soon."""
    path.write_bytes(content)
    with warnings.catch_warnings(), cheap(memory=max(1.5 * MEGABYTE, 2 * len(content))):
        warnings.simplefilter("error")
        try:
            return lstm.load(path)
        except FormatError as error:
            return error


def assert_refused(path: Path, content: bytes, *words: str) -> None:
    """FormatError of the file's name and `words`."""
    found = load(path, content)
    assert isinstance(found, FormatError)
    for word in (str(path), *words):
        assert word in str(found)


def assert_refused_or_unharmed(path: Path, content: bytes) -> bool:
    """FormatError or the very weights that were saved; whether it was refused."""
    found = load(path, content)
    if isinstance(found, FormatError):
        assert str(path) in str(found)
        return True
    for name, array in found.state_dict().items():
        assert_same_bits(array, STATE[name], name)
    return False


@contextmanager
def cheap(memory: float, seconds: float = 10.0) -> Iterator[None]:
    """At most so many bytes more than before, and well within a user's patience."""
    tracemalloc.start()
    start = time.process_time()
    try:
        yield
        taken, peak = time.process_time() - start, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak <= memory, f"{peak / MEGABYTE:.1f} MB, not {memory / MEGABYTE:.1f}"
    assert taken <= seconds, f"{taken:.1f} s"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "net.npz"


def test_the_good_file_is_read(path: Path) -> None:
    """What the others damage: stored or deflated, with a configuration or without, in any order."""
    entries = good_entries()
    bare = {name: data for name, data in entries.items() if name != "lstm.npy"}
    backward = dict(reversed(entries.items()))
    for content in (zipped(entries), zipped(entries, zipfile.ZIP_DEFLATED), zipped(bare), zipped(backward)):
        assert not assert_refused_or_unharmed(path, content)


@pytest.mark.parametrize("version", [(1, 0), (2, 0)])
@pytest.mark.parametrize(
    "text",
    [
        header(f"({ROWS},)"),
        header(f"({ROWS},)").replace(" ", ""),
        header(f"( {ROWS} , )").replace(", }", "}"),
        header(f"({ROWS},)", fortran="True"),
        header(f"({ROWS},)") + " " * 200,
    ],
)
def test_headers_of_other_writers_are_read(text: str, version: tuple[int, int], path: Path) -> None:
    content = headed(text, STATE["bias_ih_l0"].tobytes(), version)
    assert not assert_refused_or_unharmed(path, with_entry("bias_ih_l0", content))


@pytest.mark.parametrize("descr", ["'>f8'", "'<f8'", "'<f16'"])
def test_weights_in_another_form_are_read(descr: str, path: Path) -> None:
    array = STATE["weight_hh_l0"]
    if np.dtype(descr.strip("'")).itemsize not in (8, 16):
        pytest.skip(f"{descr} is not known on this machine")
    data = np.asfortranarray(array).astype(descr.strip("'")).tobytes(order="F")
    content = headed(header(str(array.shape), descr, "True"), data)
    assert not assert_refused_or_unharmed(path, with_entry("weight_hh_l0", content))


# Damage


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_file_cut_short(method: int, path: Path) -> None:
    content = zipped(good_entries(), method)
    for length in [*range(0, len(content), 23), *range(len(content) - 30, len(content))]:
        assert_refused(path, content[:length])


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("seed", range(4))
def test_flipped_bits(seed: int, method: int, path: Path) -> None:
    """One to three bits anywhere; most in the parts of a zip file that are no data."""
    rng = np.random.default_rng(seed)
    content = zipped(good_entries(), method)
    structure = content.index(b"PK\x01\x02")
    refused = 0
    for number in range(150):
        damaged = bytearray(content)
        first = structure if number % 2 else 0
        for place in rng.integers(first, len(content), rng.integers(1, 4)):
            damaged[place] ^= 1 << rng.integers(8)
        refused += assert_refused_or_unharmed(path, bytes(damaged))
    assert refused > 75


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_bytes_lost_or_repeated(method: int, path: Path) -> None:
    """All offsets behind the place are wrong."""
    rng = np.random.default_rng(0)
    content = zipped(good_entries(), method)
    for _ in range(100):
        first, last = sorted(rng.integers(0, len(content), 2))
        assert_refused_or_unharmed(path, content[:first] + content[last:])
        assert_refused_or_unharmed(path, content[:last] + content[first:])


@pytest.mark.parametrize("seed", range(4))
def test_overwritten_bytes(seed: int, path: Path) -> None:
    """Extreme values in the fields of a zip file: sizes, offsets, counts, methods."""
    rng = np.random.default_rng(seed)
    content = zipped(good_entries())
    structure = content.index(b"PK\x01\x02")
    for _ in range(150):
        damaged = bytearray(content)
        place = int(rng.integers(structure, len(content) - 4))
        width = int(rng.choice([1, 2, 4]))
        damaged[place : place + width] = rng.choice([b"\0\0\0\0", b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f"])[
            :width
        ]
        assert_refused_or_unharmed(path, bytes(damaged))


@pytest.mark.parametrize("seed", range(4))
def test_damaged_headers_in_sound_archives(seed: int, path: Path) -> None:
    """The archive's checksums are right, so that the damage reaches the reading of the array."""
    rng = np.random.default_rng(seed)
    entries = good_entries()
    for _ in range(150):
        name = str(rng.choice(list(entries)))
        damaged = bytearray(entries[name])
        for place in rng.integers(0, 128, rng.integers(1, 4)):
            damaged[place] = rng.choice(list(b"0123456789(){}[],':<>|fiubUOV \n\0\xff-jeTF"))
        found = load(path, zipped({**entries, name: bytes(damaged)}))
        if isinstance(found, FormatError):
            assert str(path) in str(found)
        else:
            # Another dtype of the same size, or another order, is another sound file.
            assert (found.input_size, found.hidden_size) == (INPUT, HIDDEN)


@pytest.mark.parametrize(
    "content",
    [b"", b"\0", b"PK", b"PK\x05\x06" + bytes(18), npy(np.ones(3)), b"\x80\x04N.", b"<html>", bytes(10_000)],
    ids=["empty", "a zero", "two letters", "no entries", "an .npy", "a pickle", "a web page", "zeros"],
)
def test_what_is_no_archive_of_weights(content: bytes, path: Path) -> None:
    assert_refused(path, content)


# Entries


@pytest.mark.parametrize("name", ["weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"])
def test_a_missing_entry(name: str, path: Path) -> None:
    entries = good_entries()
    del entries[f"{name}.npy"]
    assert_refused(path, zipped(entries), f"lacks {name}")


@pytest.mark.parametrize("name", ["weight_ih_l1", "weight_hr_l0", "note", "../../evil", "lstm2", "", "\n"])
def test_an_entry_too_many(name: str, path: Path) -> None:
    assert_refused(path, with_entry(name, npy(np.ones(3))), repr(name).strip("'").replace("ih_l1", "hh_l1"))


@pytest.mark.parametrize("name", ["weight_ih_l0", "readme.txt", "folder/", "weight_ih_l0.npy.gz"])
def test_an_entry_that_is_no_array(name: str, path: Path) -> None:
    assert_refused(path, zipped({**good_entries(), name: b"text"}), repr(name))


@pytest.mark.parametrize("name", ["weight_ih_l0", "lstm"])
@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
def test_an_entry_that_stands_twice(name: str, path: Path) -> None:
    memory = io.BytesIO(zipped(good_entries()))
    with zipfile.ZipFile(memory, "a") as archive:
        archive.writestr(f"{name}.npy", good_entries()[f"{name}.npy"])
    assert_refused(path, memory.getvalue(), name, "twice")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compressions(method: int, path: Path) -> None:
    """NumPy writes none of them, and LZMA takes as much memory as the file says."""
    assert_refused(path, zipped(good_entries(), method), "compressed")


@pytest.mark.parametrize("flag", [0x01, 0x20, 0x40])
def test_encrypted_entries(flag: int, path: Path) -> None:
    """Flags of encryption and of patched data, in both places that hold them."""
    content = bytearray(zipped(good_entries()))
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + offset] |= flag
    assert_refused(path, bytes(content))


# Arrays


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("weight_ih_l0", np.ones(ROWS)),
        ("weight_ih_l0", np.ones((1, ROWS, INPUT))),
        ("weight_ih_l0", np.ones((INPUT, ROWS))),
        ("weight_ih_l0", np.ones((ROWS + 4, INPUT))),
        ("weight_ih_l0", np.ones((ROWS, 0))),
        ("weight_ih_l0", np.ones((ROWS, INPUT + 1))),
        ("weight_ih_l0", 1.0),
        ("weight_hh_l0", np.ones((0, 0))),
        ("weight_hh_l0", np.ones((HIDDEN, ROWS))),
        ("weight_hh_l0", np.ones((ROWS, HIDDEN + 1))),
        ("weight_hh_l0", np.ones((4, 1))),
        ("bias_ih_l0", np.ones(ROWS - 1)),
        ("bias_hh_l0", np.ones((ROWS, 1))),
        ("bias_hh_l0", np.ones(0)),
    ],
)
def test_wrong_shapes(name: str, array: Any, path: Path) -> None:
    """Each says what it is about; sizes that fit one another but not the configuration are seen too."""
    assert_refused(path, with_entry(name, npy(array)), "_l0" if "4, 1" in str(np.shape(array)) else "")


@pytest.mark.parametrize(
    "array",
    [
        np.ones((ROWS, INPUT), complex),
        np.full((ROWS, INPUT), "1.0"),
        np.full((ROWS, INPUT), b"1.0"),
        np.full((ROWS, INPUT), np.datetime64("2020-01-01")),
        np.full((ROWS, INPUT), np.timedelta64(1, "s")),
        np.zeros((ROWS, INPUT), [("value", float)]),
        np.zeros((ROWS, INPUT), "V8"),
    ],
    ids=lambda array: str(array.dtype),
)
def test_wrong_dtypes(array: np.ndarray, path: Path) -> None:
    assert_refused(path, with_entry("weight_ih_l0", npy(array)), "weight_ih_l0", "dtype")


RUN: list[int] = []


class Bomb:
    """Adds to RUN when it is unpickled."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return RUN.append, (1,)


@pytest.mark.parametrize("name", ["weight_ih_l0", "bias_hh_l0", "lstm", "other"])
def test_no_pickle_is_read(name: str, path: Path) -> None:
    array = np.empty((ROWS, INPUT), object)
    array[...] = Bomb()
    assert_refused(path, with_entry(name, npy(array)), name)
    assert_refused(path, with_entry(name, npy(array).replace(b"'|O'", b"'<f8'")), name)
    assert RUN == []


@pytest.mark.parametrize(
    "shape",
    [
        "(1000000000000,)",
        "(1099511627776, 3)",
        f"({2**31},)",
        f"({2**61},)",
        f"({2**63},)",
        f"({2**64 + ROWS},)",
        f"({2**32}, {2**32})",
        f"({2**70}, 0)",
        f"({2**62}, 0)",
        f"(0, {10**400})",
        f"({10**3000},)",
        "(-1,)",
        "(-20,)",
        "(-4, -5)",
        "(-1, 0)",
        "(0,)",
        "()",
        "(21,)",
        "(19,)",
        "(20, 1)",
        f"({'1, ' * 65}20)",
        f"({'0, ' * 65})",
        f"({'1, ' * 1200}20)",
        "(True, 20)",
        "(20.0,)",
        "(2e1,)",
        "(nan,)",
        "nan",
        "None",
        "[20]",
        "20",
        "(20L,)",
        "(0x14,)",
        "(2_0,)",
        "(10+10,)",
        "('20',)",
        "(,)",
        "(20,,)",
        "(\u00b2,)",
        "(__import__('os').getpid(),)",
    ],
)
def test_claimed_shapes(shape: str, path: Path) -> None:
    """A shape that claims terabytes, is negative or is none, before data that fit the true one."""
    content = with_entry("bias_ih_l0", headed(header(shape), STATE["bias_ih_l0"].tobytes()))
    assert_refused(path, content, "bias_ih_l0")


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{}",
        b"nan",
        b"NaN\n",
        b"None",
        b"\xff" * 60,
        b"\0" * 60,
        b"{" * 4000,
        b"(" * 4000,
        b"-" * 4000 + b"1",
        b" " * 4000,
        b"{" + b" " * 4000,
        b"{'descr': '<f8'" + b" " * 3900 + b", ",
        b"'\\d'",
        b"{'descr': nan, 'fortran_order': False, 'shape': (20,), }",
        b"{'descr': '<f8', 'fortran_order': nan, 'shape': (20,), }",
        b"{'descr': '<f8', 'fortran_order': 0, 'shape': (20,), }",
        b"{'descr': '<f8', 'shape': (20,), }",
        b"{'fortran_order': False, 'shape': (20,), }",
        b"{'descr': '<f8', 'fortran_order': False, }",
        b"{'descr': '<f8', 'fortran_order': False, 'shape': (20,), 'more': 1, }",
        b"{'descr': '<f8', 'fortran_order': False, 'shape': (20,), } or 1",
        *[
            header("(20,)", descr).encode()
            for descr in (
                "'|O'",
                "'<c16'",
                "'<f7'",
                "'<f0'",
                "'f'",
                "'<U0'",
                "'<U999999999'",
                "'<U9999999999999'",
                "'a8'",
                "'<M8[s]'",
                "'<f8,<f8'",
                "''",
                "('<f8', (20,))",
                "[('a', '<f8')]",
                "'<f" + "8" * 3000 + "'",
                "'\\d'",
                "{'names': ['a']}",
                "1",
            )
        ],
    ],
    ids=lambda text: text[:70].decode("latin-1").strip("\0 ") or "blank",
)
@pytest.mark.parametrize("version", [(1, 0), (2, 0)])
def test_damaged_headers(version: tuple[int, int], text: bytes, path: Path) -> None:
    content = headed(text, STATE["bias_ih_l0"].tobytes(), version)
    assert_refused(path, with_entry("bias_ih_l0", content), "bias_ih_l0")


@pytest.mark.parametrize(
    ("version", "size"), [((1, 0), 0), ((1, 0), 0xFFFF), ((2, 0), 0), ((2, 0), 2**31), ((2, 0), 2**32 - 1)]
)
def test_claimed_sizes_of_a_header(version: tuple[int, int], size: int, path: Path) -> None:
    content = headed(header("(20,)"), STATE["bias_ih_l0"].tobytes(), version, size)
    assert_refused(path, with_entry("bias_ih_l0", content), "bias_ih_l0")


@pytest.mark.parametrize("version", [(0, 0), (3, 0), (1, 1), (255, 255)])
def test_unknown_versions_of_an_array(version: tuple[int, int], path: Path) -> None:
    content = bytearray(npy(STATE["bias_ih_l0"]))
    content[6:8] = bytes(version)
    assert_refused(path, with_entry("bias_ih_l0", bytes(content)), "bias_ih_l0", "version")


@pytest.mark.parametrize("length", [0, 1, 5, 6, 8, 9, 10, 11, 60, 127, 128, 129, 280])
def test_an_array_cut_short(length: int, path: Path) -> None:
    content = npy(STATE["bias_ih_l0"])
    assert len(content) > length
    assert_refused(path, with_entry("bias_ih_l0", content[:length]), "bias_ih_l0")


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_data_too_few_for_what_header_and_directory_claim(method: int, path: Path) -> None:
    """Ten numbers of twenty, where the directory says that there are twenty: none is made up."""
    half = headed(header("(20,)"), STATE["bias_ih_l0"][:10].tobytes())
    content = bytearray(zipped({**good_entries(), "bias_ih_l0.npy": half}, method))
    record = content.index(b"PK\x01\x02")
    while b"bias_ih_l0" not in content[record : record + 60]:
        record = content.index(b"PK\x01\x02", record + 1)
    content[record + 24 : record + 28] = struct.pack("<L", len(half) + 80)
    assert_refused(path, bytes(content), "bias_ih_l0" if method else "")


def test_a_claim_past_the_end_of_a_large_file(path: Path) -> None:
    """Eight times as much as the file is long, which compressed zeros might be."""
    rows = 4 * 180
    claim = headed(header(f"({8 * rows}, 180)"), np.ones((rows, 180)).tobytes())
    assert_refused(path, with_entry("weight_ih_l0", claim), "weight_ih_l0")


def test_data_too_many(path: Path) -> None:
    assert_refused(path, with_entry("bias_ih_l0", npy(STATE["bias_ih_l0"]) + b"\0"), "bias_ih_l0")


# The configuration


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "nan",
        "[]",
        "1",
        '"version"',
        "{}",
        "[" * 9000,
        '{"a":' * 1500,
        "1" * 9000,
        '{"version": 1}',
        '{"version": 1, "dtype": NaN}',
        "\ud800",
        "{\0}",
        " " * 1_000_000,
    ],
    ids=lambda text: text[:30].encode("ascii", "replace").decode() or "blank",
)
def test_a_configuration_that_is_none(text: str, path: Path) -> None:
    assert_refused(path, with_entry("lstm", npy(text)), "lstm")


@pytest.mark.parametrize(
    "changes",
    [
        {"version": 2},
        {"version": 0},
        {"version": None},
        {"version": "1"},
        {"version": [1]},
        {"input_size": INPUT + 1},
        {"input_size": -3},
        {"input_size": "3"},
        {"input_size": 1e999},
        {"input_size": None},
        {"hidden_size": HIDDEN + 1},
        {"hidden_size": {"a": 1}},
        {"bias": False},
        {"bias": None},
        {"dtype": "float32"},
        {"dtype": "float16"},
        {"dtype": "object"},
        {"dtype": None},
        {"dtype": ["float32"]},
        {"dtype": "no dtype"},
        {"num_layers": 2},
        {"bidirectional": True},
        {"backend": "numpy"},
        {"": 1},
        {"\ud800": 1},
    ],
    ids=str,
)
def test_a_configuration_that_does_not_fit(changes: dict[str, Any], path: Path) -> None:
    assert_refused(path, with_entry("lstm", npy(json.dumps({**CONFIG, **changes}))), "lstm")


@pytest.mark.parametrize("left_out", ["version", "dtype"])
def test_a_configuration_that_lacks_what_it_must_have(left_out: str, path: Path) -> None:
    config = {key: value for key, value in CONFIG.items() if key != left_out}
    assert_refused(path, with_entry("lstm", npy(json.dumps(config))), "lstm", left_out)


@pytest.mark.parametrize(
    "array", [np.array([json.dumps(CONFIG)]), np.array(b"{}"), np.array(1), np.ones(3), np.array(["a", "b"])]
)
def test_a_configuration_that_is_no_text(array: np.ndarray, path: Path) -> None:
    assert_refused(path, with_entry("lstm", npy(array)), "lstm")


@pytest.mark.parametrize("order", "<>=|")
@pytest.mark.parametrize("text", [[0x110000], [0xFFFFFFFF], [ord("{"), 0x80000000], [0x110000] * 3, [0xD800]])
def test_a_configuration_of_no_characters(text: list[int], order: str, path: Path) -> None:
    """NumPy makes SystemErrors of some."""
    data = np.array(text, f"{order}u4").tobytes()
    content = with_entry("lstm", headed(header("()", f"'{order}U{len(text)}'"), data))
    assert_refused(path, content, "'lstm'", *(["no characters"] if text != [0xD800] else []))


@pytest.mark.parametrize("order", "<>")
def test_texts_of_no_characters_among_other_arrays(order: str, path: Path) -> None:
    """`lstm.tensors` gives texts too; the last characters there are, and none at all, are sound."""
    for text, is_sound in (([0x10FFFF, 0, 97, 0xD800], True), ([], True), ([97, 98, 0, 0x110000], False)):
        data = np.array(text, f"{order}u4").tobytes()
        path.write_bytes(with_entry("text", headed(header(f"({len(text) // 2},)", f"'{order}U2'"), data)))
        if is_sound:
            assert len(repr(lstm.tensors(path)["text"])) > 0
        else:
            with pytest.raises(FormatError, match="'text' holds numbers above 0x10ffff"):
                lstm.tensors(path)


# Bombs


def test_compressed_zeros(path: Path) -> None:
    """An array of 256 MB in a file of 256 kB."""
    entries = {**good_entries(), "weight_ih_l0.npy": npy(np.zeros((ROWS, 256 * MEGABYTE // (8 * ROWS))))}
    content = zipped(entries, zipfile.ZIP_DEFLATED)
    del entries
    assert len(content) < MEGABYTE
    assert_refused(path, content, "weight_ih_l0")


def test_compressed_zeros_in_many_entries(path: Path) -> None:
    """Each small enough, together 200 MB."""
    zeros = npy(np.zeros(100_000))
    content = zipped({**good_entries(), **{f"{n}.npy": zeros for n in range(250)}}, zipfile.ZIP_DEFLATED)
    assert_refused(path, content)


def test_compressed_zeros_in_all_weights(path: Path) -> None:
    """Names and shapes as they must be; the four arrays together are past what the file may claim."""
    rows = 4 * 180
    entries = {
        "weight_ih_l0.npy": npy(np.zeros((rows, 180))),
        "weight_hh_l0.npy": npy(np.zeros((rows, 180))),
        "bias_ih_l0.npy": npy(np.zeros(rows)),
        "bias_hh_l0.npy": npy(np.zeros(rows)),
    }
    content = zipped(entries, zipfile.ZIP_DEFLATED)
    assert len(entries["weight_ih_l0.npy"]) < MEGABYTE < 2 * len(entries["weight_ih_l0.npy"])
    assert_refused(path, content, "weight_hh_l0")


def test_compressed_zeros_in_a_header(path: Path) -> None:
    content = zipped(
        {**good_entries(), "bias_ih_l0.npy": headed(bytes(200 * MEGABYTE), version=(2, 0))},
        zipfile.ZIP_DEFLATED,
    )
    assert len(content) < MEGABYTE
    assert_refused(path, content, "bias_ih_l0")


def test_compressed_zeros_past_an_array(path: Path) -> None:
    """An array followed by 200 MB that its header does not claim."""
    content = zipped(
        {**good_entries(), "bias_ih_l0.npy": npy(STATE["bias_ih_l0"]) + bytes(200 * MEGABYTE)},
        zipfile.ZIP_DEFLATED,
    )
    assert_refused(path, content, "bias_ih_l0")


def test_a_directory_of_entries_only(path: Path) -> None:
    """What zipfile makes of each record takes eight times as much as the record."""
    record = bytearray(zipped({"a": b""}))
    record = record[record.index(b"PK\x01\x02") : record.index(b"PK\x05\x06")]
    directory = bytes(record) * (4 * MEGABYTE // len(record))
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, len(directory), 0, 0)
    assert_refused(path, directory + end, "directory")


def test_sparse_weights_compress_and_are_read(path: Path) -> None:
    """A pruned net, nine weights of ten zero, is no bomb."""
    rng = np.random.default_rng(1)
    state = LSTM(100, 200, dtype=np.float32, init="pytorch", rng=rng).state_dict()
    for array in state.values():
        array[rng.random(array.shape) < 0.9] = 0
    np.savez_compressed(path, **state)
    assert sum(array.nbytes for array in state.values()) > 4 * os.path.getsize(path)
    for name, array in lstm.load(path).state_dict().items():
        assert_same_bits(array, state[name])


@pytest.mark.parametrize("backend", ["native", "numpy"])
@pytest.mark.parametrize("write", [LSTM.save, lambda net, path: np.savez(path, **net.state_dict())])
def test_reading_takes_less_than_twice_the_files_size(
    write: Callable[[LSTM, Path], None], backend: str, path: Path
) -> None:
    net = LSTM(256, 512, dtype=np.float32, init="pytorch", rng=2)
    write(net, path)
    lstm.load(path)  # what is imported once is not counted
    with cheap(memory=2 * os.path.getsize(path) + 64 * 1024):
        loaded = lstm.load(path, backend=backend)  # type: ignore[arg-type]
    assert_same_bits(loaded.Wf, net.Wf)
