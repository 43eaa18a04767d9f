"""Malformed files of Keras: .weights.h5 and .h5, which are HDF5, and .keras, a zip archive with one within.

Shapes: I input, H hidden; kernel (I, 4H), recurrent kernel (H, 4H), bias (4H,).
"""

from __future__ import annotations

import io
import json
import random
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

import h5py
import numpy as np

from . import Case, Good, arrays
from .mutation import INTEGERS, damaged, mutated_text
from .npz_files import zipped

I, H = 3, 2  # noqa: E741
ROOT = "layers/lstm/cell/vars"
NAMES = ("kernel", "recurrent_kernel", "bias")
LEGACY = "model_weights/lstm/lstm/lstm_cell"
WEIGHTS_FILE, LEGACY_FILE, KERAS_FILE = "broken.weights.h5", "broken.h5", "broken.keras"


# Making files


def cell(seed: int, inputs: int = I) -> list[np.ndarray]:
    """kernel (I, 4H), recurrent kernel (H, 4H), bias (4H,)."""
    return [arrays.uniform(seed + k, *s) for k, s in enumerate(((inputs, 4 * H), (H, 4 * H), (4 * H,)))]


def hdf5(fill: Callable[[Any], object], content: bytes | None = None, **options: Any) -> bytes:
    """An HDF5 file that `fill` writes or, given its content, changes."""
    memory = io.BytesIO(content or b"")
    with h5py.File(memory, "w" if content is None else "r+", **options) as file:
        fill(file)
    return memory.getvalue()


def put(file: Any, group: str, values: list[np.ndarray], **storage: Any) -> None:
    """The weights of a cell as Keras 3 names them."""
    for k, array in enumerate(values):
        file.create_dataset(f"{group}/{k}", data=array, **storage)


def weights(**storage: Any) -> Callable[[Any], None]:
    """One layer of Keras 3, the datasets stored in some way."""

    def fill(file: Any) -> None:
        put(file, ROOT, cell(0), **storage)
        file.create_group("layers/lstm/vars").attrs["name"] = "lstm"

    return fill


def lstm_config(**changes: Any) -> dict[str, Any]:
    options = {"name": "lstm", "units": H, "activation": "tanh", "recurrent_activation": "sigmoid"}
    more = {"use_bias": True, "go_backwards": False, "return_sequences": True, "dropout": 0.0}
    return {"class_name": "LSTM", "module": "keras.layers", "config": {**options, **more, **changes}}


def sequential(*layers: dict[str, Any]) -> dict[str, Any]:
    first = {"class_name": "InputLayer", "config": {"batch_shape": [None, None, I], "name": "input"}}
    return {"class_name": "Sequential", "config": {"name": "sequential", "layers": [first, *layers]}}


def bidirectional() -> dict[str, Any]:
    both = {"layer": lstm_config(name="forward_lstm"), "merge_mode": "concat"}
    both |= {"name": "bidirectional", "backward_layer": lstm_config(name="backward_lstm", go_backwards=True)}
    return {"class_name": "Bidirectional", "module": "keras.layers", "config": both}


def archive(
    config: Any, content: bytes, method: int = zipfile.ZIP_STORED, version: str = "3.15.1", **more: bytes
) -> bytes:
    text = config if isinstance(config, bytes) else json.dumps(config).encode()
    told = json.dumps({"keras_version": version}).encode()
    entries = {"metadata.json": told, "config.json": text, "model.weights.h5": content}
    return zipped({**entries, **more}, method)


def legacy(config: Any = None, version: str = "2.15.0") -> Callable[[Any], None]:
    """A whole model in one .h5 file, of weights under their names."""

    def fill(file: Any) -> None:
        if config is not None:
            file.attrs["model_config"] = config if isinstance(config, bytes | str) else json.dumps(config)
        file.attrs["keras_version"] = version
        root = file.create_group("model_weights")
        root.attrs["layer_names"] = np.array([b"lstm"])
        names = [f"lstm/lstm_cell/{name}:0".encode() for name in NAMES]
        root.create_group("lstm").attrs["weight_names"] = np.array(names)
        for name, array in zip(NAMES, cell(0), strict=True):
            file[f"{LEGACY}/{name}:0"] = array

    return fill


def both_sides(file: Any) -> None:
    for k, side in enumerate(("forward", "backward")):
        put(file, f"layers/bidirectional/{side}_layer/cell/vars", cell(3 * k))


def good_files() -> Iterator[Good]:
    plain = hdf5(weights())
    yield Good(WEIGHTS_FILE, plain)
    chunked = {"chunks": True, "compression": "gzip", "shuffle": True}

    def without_bias(file: Any) -> None:
        put(file, ROOT, [array.astype(np.float64) for array in cell(0)[:2]], **chunked)

    yield Good(WEIGHTS_FILE, hdf5(without_bias, libver="latest"))
    yield Good(WEIGHTS_FILE, hdf5(both_sides))
    yield Good(LEGACY_FILE, hdf5(legacy(sequential(lstm_config()))))
    yield Good(LEGACY_FILE, hdf5(legacy()))
    yield Good(KERAS_FILE, archive(sequential(lstm_config()), plain))
    content = hdf5(both_sides, libver="latest")
    yield Good(KERAS_FILE, archive(sequential(bidirectional()), content, zipfile.ZIP_DEFLATED))
    averaged = {**bidirectional(), "config": {**bidirectional()["config"], "merge_mode": "ave"}}
    yield Good(KERAS_FILE, archive(sequential(averaged), hdf5(both_sides)))
    own = {"module": None, "class_name": "Mine", "config": {}, "registered_name": "Custom>Mine"}
    yield Good(KERAS_FILE, archive(own, plain))
    each = {"class_name": "TimeDistributed", "config": {"name": "each", "layer": lstm_config()}}
    within = hdf5(lambda file: put(file, "layers/time_distributed/layer/cell/vars", cell(0)))
    yield Good(KERAS_FILE, archive(sequential(each), within), {"layer": "each"})
    cudnn = {"class_name": "CuDNNLSTM", "config": {"name": "lstm", "units": H}}

    def of_cudnn(file: Any) -> None:
        legacy(sequential(cudnn), "2.2.4-tf")(file)
        del file[f"{LEGACY}/bias:0"]
        file[f"{LEGACY}/bias:0"] = arrays.uniform(9, 8 * H)

    yield Good(LEGACY_FILE, hdf5(of_cudnn))


# Malformed ones


def cases() -> Iterator[Case]:
    yield from _cut_short()
    yield from _superblocks()
    yield from _datasets()
    yield from _storage()
    yield from _links()
    yield from _attributes()
    yield from _configurations()
    yield from _archives()


def _changed(edit: Callable[[Any], object], content: bytes | None = None) -> bytes:
    return hdf5(edit, hdf5(weights()) if content is None else content)


def _cut_short() -> Iterator[Case]:
    """At every structure of HDF5: superblock, heaps, trees, tables of names, and the data's first byte."""
    good = hdf5(weights())
    points = {0, 1, 8, 9, 48, 96, len(good) // 2, len(good) - 1}
    for signature in (b"\x89HDF", b"HEAP", b"TREE", b"SNOD", cell(0)[0].tobytes()[:8]):
        place = good.find(signature)
        while place >= 0:
            points |= {place, place + 4, place + 12}
            place = good.find(signature, place + 1)
    for point in sorted(points):
        if point < len(good):
            yield Case(f"cut at {point}", WEIGHTS_FILE, good[:point])
    packed = archive(sequential(lstm_config()), good)
    for signature in (b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"):
        yield Case(f"archive cut at {signature[2:]!r}", KERAS_FILE, packed[: packed.rindex(signature)])


def _superblocks() -> Iterator[Case]:
    """Fields of the superblock, and what is no HDF5."""
    good = hdf5(weights())
    for place, width, value in (
        *((8, 1, 255), (13, 1, 0), (13, 1, 255), (14, 1, 0), (14, 1, 16), (16, 2, 0), (18, 2, 0)),
        *((24, 8, 1 << 40), (40, 8, 0), (40, 8, 1 << 62), (64, 8, 0), (64, 8, (1 << 64) - 2)),
    ):
        content = good[:place] + value.to_bytes(width, "little") + good[place + width :]
        yield Case(f"superblock: {value} at {place}", WEIGHTS_FILE, content)
    for name, content in {"text": b"no file", "a pickle": b"\x80\x04N.", "zeros": bytes(5000)}.items():
        for file in (WEIGHTS_FILE, LEGACY_FILE, KERAS_FILE):
            yield Case(f"{name} as {file}", file, content)
    yield Case("nothing but a group", WEIGHTS_FILE, hdf5(lambda file: None), ("no LSTM",))


def _replaced(number: int, value: Any, **options: Any) -> bytes:
    """A good file in which one dataset is another."""

    def edit(file: Any) -> None:
        del file[f"{ROOT}/{number}"]
        file.create_dataset(f"{ROOT}/{number}", **({"data": value} if value is not None else {}), **options)

    return _changed(edit)


def _datasets() -> Iterator[Case]:
    """Each weight of a wrong rank, shape or dtype, or missing."""
    packed = sequential(lstm_config())
    for number, array in enumerate(cell(0)):
        name = f"{ROOT}/{number}"
        wrong: dict[str, Any] = {
            "of one axis more": array[np.newaxis],
            "of one axis less": array[0],
            "turned": array.T if array.ndim == 2 else array[:, np.newaxis],
            "too short": array[..., :-4],
            "of integers": array.astype(np.int32),
            "of complex numbers": array.astype(complex),
            "of truths": array > 0,
            "of texts": array.astype("S"),
            "of records": np.zeros(array.shape, [("a", "f4"), ("b", "f4")]),
            "of no values": array[:0],
            "a text": "text",
            "nothing": h5py.Empty("f4"),
        }
        for what, value in wrong.items():
            content = archive(packed, _replaced(number, value))
            yield Case(f"{name} {what}", KERAS_FILE, content)
        yield Case(
            f"no {name}", KERAS_FILE, archive(packed, _changed(lambda f, n=name: f.__delitem__(n))), (name,)
        )

        def grouped(file: Any, name: str = name) -> None:
            del file[name]
            file.create_group(name)

        yield Case(f"{name} a group", KERAS_FILE, archive(packed, _changed(grouped)), (name,))
    varied = (("of texts of any length", h5py.string_dtype()), ("of lists", h5py.vlen_dtype(np.float32)))
    for what, dtype in (*varied, ("of references", h5py.ref_dtype), ("of regions", h5py.regionref_dtype)):
        content = archive(packed, _replaced(0, None, shape=(I, 4 * H), dtype=dtype))
        yield Case(f"{ROOT}/0 {what}", KERAS_FILE, content, (f"{ROOT}/0",))


def _storage() -> Iterator[Case]:
    """Data that is elsewhere, was never written, or claims far more than the file holds."""
    name = (f"{ROOT}/0",)
    huge: dict[str, dict[str, Any]] = {
        "never written": {"shape": (I, 4 * H), "dtype": "f4"},
        "of terabytes in chunks": {"shape": (1 << 40, 4 * H), "dtype": "f4", "chunks": (1, 4 * H)},
        "of exabytes in chunks": {"shape": (1 << 55, 8), "dtype": "f4", "chunks": (1, 8)},
        "of a filling of terabytes": {
            "shape": (1 << 40, 8),
            "dtype": "f4",
            "chunks": (64, 8),
            "fillvalue": 7.0,
        },
        "in huge chunks": {
            "shape": (1 << 28, 8),
            "dtype": "f4",
            "chunks": (1 << 26, 8),
            "compression": "gzip",
        },
        "filtered by lzf": {"data": cell(0)[0], "chunks": (I, 8), "compression": "lzf"},
        "filtered by scale and offset": {"data": cell(0)[0], "chunks": (I, 8), "scaleoffset": 2},
    }
    for what, options in huge.items():
        yield Case(f"data {what}", WEIGHTS_FILE, _replaced(0, None, **options), name)
    zeros = np.zeros((1 << 20, 8), np.float32)
    options = {"chunks": zeros.shape, "compression": "gzip", "compression_opts": 9}
    yield Case("32 MB of zeros", WEIGHTS_FILE, _replaced(0, zeros, **options), name)
    for what, place in {"above": "../secret.bin", "absolute": "/etc/hostname", "missing": "none.bin"}.items():
        outside = [(place, 0, 4 * 4 * I * H)]
        content = _replaced(0, None, shape=(I, 4 * H), dtype="f4", external=outside)
        secret = {"secret.bin": bytes(4 * 4 * I * H)}
        yield Case(f"data in a file {what}", f"model/{WEIGHTS_FILE}", content, name, beside=secret)

    def virtual(file: Any) -> None:
        del file[f"{ROOT}/0"]
        layout = h5py.VirtualLayout((I, 4 * H), "f4")
        layout[:] = h5py.VirtualSource("other.h5", "data", (I, 4 * H))
        file.create_virtual_dataset(f"{ROOT}/0", layout)

    other = {"other.h5": hdf5(lambda file: file.create_dataset("data", data=cell(0)[0]))}
    yield Case("virtual data", WEIGHTS_FILE, _changed(virtual), name, beside=other)
    yield Case("a damaged chunk", WEIGHTS_FILE, _damaged_chunk(lambda chunk: chunk[:-4] + b"\xff" * 4), name)
    yield Case(
        "a chunk cut short", WEIGHTS_FILE, _damaged_chunk(lambda chunk: chunk[: len(chunk) // 2]), name
    )
    yield Case("an empty chunk", WEIGHTS_FILE, _damaged_chunk(lambda chunk: b"\0"), name)


def _damaged_chunk(change: Callable[[bytes], bytes]) -> bytes:
    def edit(file: Any) -> None:
        dataset = file[f"{ROOT}/0"]
        _, chunk = dataset.id.read_direct_chunk((0, 0))
        dataset.id.write_direct_chunk((0, 0), change(chunk))

    return _changed(edit, hdf5(weights(chunks=True, compression="gzip")))


def _links() -> Iterator[Case]:
    """Soft links, external links, names that stand for one thing, circles of groups."""
    other = {"other.h5": hdf5(weights())}

    def relinked(name: str, link: Any) -> Callable[[Any], None]:
        def edit(file: Any) -> None:
            del file[name]
            file[name] = link

        return edit

    soft: dict[str, tuple[str, Any]] = {
        "a soft link to another weight": (f"{ROOT}/0", h5py.SoftLink(f"/{ROOT}/1")),
        "a soft link to nothing": (f"{ROOT}/0", h5py.SoftLink("/nothing")),
        "a soft link to itself": (f"{ROOT}/0", h5py.SoftLink(f"/{ROOT}/0")),
        "a soft link for a layer": ("layers/lstm", h5py.SoftLink("/")),
        "a link to another file": (f"{ROOT}/0", h5py.ExternalLink("other.h5", f"/{ROOT}/0")),
        "a link to a group of another file": ("layers", h5py.ExternalLink("other.h5", "/layers")),
        "a link to a system file": (f"{ROOT}/0", h5py.ExternalLink("/etc/hostname", "/data")),
        "a link to a device": (f"{ROOT}/0", h5py.ExternalLink("/dev/zero", "/data")),
        "a link to the file itself": (
            "layers/lstm/cell",
            h5py.ExternalLink(WEIGHTS_FILE, "/layers/lstm/cell"),
        ),
    }
    for what, (name, link) in soft.items():
        yield Case(what, WEIGHTS_FILE, _changed(relinked(name, link)), (name,), beside=other)

    def circle(file: Any) -> None:
        file["layers/lstm/again"] = file["layers"]

    def same(file: Any) -> None:
        file["layers/other"] = file["layers/lstm"]

    def shared(file: Any) -> None:
        del file[f"{ROOT}/1"]
        file[f"{ROOT}/1"] = file[f"{ROOT}/0"]

    def deep(file: Any) -> None:
        file.create_group("/".join("a" * 400))

    def wide(file: Any) -> None:
        for k in range(25_000):
            file.create_group(f"g{k}")

    yield Case("a circle of groups", WEIGHTS_FILE, _changed(circle), ("again",))
    yield Case("a layer under two names", WEIGHTS_FILE, _changed(same), ("layers/",))
    yield Case("a weight under two names", WEIGHTS_FILE, _changed(shared), (ROOT,))
    yield Case("four hundred groups deep", WEIGHTS_FILE, _changed(deep), ("deep",))
    yield Case("twenty-five thousand groups", WEIGHTS_FILE, hdf5(wide, libver="latest"), ("entries",))


def _attributes() -> Iterator[Case]:
    """The attributes that Keras's files are read by, of wrong kinds."""
    good = hdf5(legacy(sequential(lstm_config())))
    values: dict[str, Any] = {
        "a number": 1.5,
        "many numbers": np.arange(5),
        "nothing": h5py.Empty("f4"),
        "bytes that are no text": np.bytes_(b"\xff\xfe\0"),
        "a table of texts": np.array([[b"a"], [b"b"]]),
        "references": np.array([], h5py.ref_dtype),
        "long": "x" * 60_000,
    }
    for place, name in (("", "model_config"), ("model_weights/lstm", "weight_names")):
        for what, value in values.items():

            def edit(file: Any, place: str = place, name: str = name, value: Any = value) -> None:
                group = file[f"/{place}"]
                del group.attrs[name]
                group.attrs[name] = value

            yield Case(f"{name}: {what}", LEGACY_FILE, _changed(edit, good))
    for what, names in {
        "no weight": [],
        "weights there are not": ["lstm/other/kernel:0", "lstm/other/recurrent_kernel:0"],
        "weights above": ["../../etc/kernel:0", "../../etc/recurrent_kernel:0"],
        "the same weights twice": [f"lstm/lstm_cell/{name}:0" for name in NAMES] * 2,
    }.items():

        def named(file: Any, names: list[str] = names) -> None:
            file["model_weights/lstm"].attrs["weight_names"] = np.array(
                [name.encode() for name in names], "S80"
            )

        yield Case(f"weight_names: {what}", LEGACY_FILE, _changed(named, good))


def _configurations() -> Iterator[Case]:
    """Descriptions of models: texts that are none, and layers that cannot be had."""
    content = hdf5(weights())
    for text in (
        b"",
        b"{",
        b"[]",
        b"NaN",
        b"null",
        b"{}",
        b"[" * 50_000,
        b'{"config":' * 20_000,
        b"\xff",
        b"9" * 5000,
    ):
        yield Case(f"config.json {text[:12]!r} of {len(text)}", KERAS_FILE, archive(text, content))
        if text != b"\xff":
            yield Case(
                f"model_config {text[:12]!r} of {len(text)}",
                LEGACY_FILE,
                hdf5(legacy(text.decode()[:60_000])),
            )
    changes: dict[str, tuple[Any, ...]] = {
        "units": (H + 1, 0, -1, 1 << 62, 2.0, True, "2", None, float("nan"), [2]),
        "activation": ("exec", 1, [], {"class_name": "Custom"}, {"class_name": "Custom", "config": {}}),
        "recurrent_activation": ("softmax", {"class_name": "ELU", "config": {"alpha": float("nan")}}),
        "use_bias": (False, 1, "yes", None),
        "go_backwards": (1, "no", None),
        "return_sequences": ("yes", 0),
        "unheard_of": (1, "x", [0]),
    }
    for name, values in changes.items():
        for value in values:
            made = archive(sequential(lstm_config(**{name: value})), content)
            yield Case(f"{name}={value!r}", KERAS_FILE, made)
    other = {**lstm_config(), "module": "mine.layers"}
    own = {**lstm_config(), "registered_name": "Mine>LSTM"}
    gru = {**lstm_config(), "class_name": "GRU"}
    summed = {**bidirectional(), "config": {**bidirectional()["config"], "merge_mode": "sum"}}
    within: dict[str, Any] = sequential(lstm_config())
    for _ in range(40):
        within = sequential(within)
    for what, model in {
        "a class of another package": sequential(other),
        "a registered class": sequential(own),
        "a GRU": sequential(gru),
        "no layers": sequential(),
        "layers that are a text": {"class_name": "Sequential", "config": {"layers": "lstm"}},
        "layers that are numbers": {"class_name": "Sequential", "config": {"layers": [1, None, [], {}]}},
        "two layers, weights of one": sequential(lstm_config(), lstm_config(name="second")),
        "two layers of one name": sequential(lstm_config(), lstm_config()),
        "merge_mode sum": sequential(summed),
        "a Bidirectional of itself": sequential({**bidirectional(), "config": {"layer": bidirectional()}}),
        "a Bidirectional of nothing": sequential({**bidirectional(), "config": {}}),
        "a Bidirectional of a list": sequential({**bidirectional(), "config": {"layer": [bidirectional()]}}),
        "a Bidirectional without weights": sequential(bidirectional()),
        "models forty deep": within,
        "an RNN of no cell": sequential({"class_name": "RNN", "config": {"cell": None}}),
        "an RNN of text": sequential({"class_name": "RNN", "config": {"cell": "LSTMCell"}}),
    }.items():
        yield Case(what, KERAS_FILE, archive(model, content))
    for layer in ("nobody", 1, -2, ""):
        options = {"layer": layer}
        yield Case(
            f"no layer {layer!r}", KERAS_FILE, archive(sequential(lstm_config()), content), ("lstm",), options
        )


def _archives() -> Iterator[Case]:
    """.keras archives that lack an entry, have one twice, or hold more than they claim."""
    config, content = json.dumps(sequential(lstm_config())).encode(), hdf5(weights())
    entries = {"metadata.json": b"{}", "config.json": config, "model.weights.h5": content}
    for name in ("config.json", "model.weights.h5"):
        yield Case(f"no {name}", KERAS_FILE, zipped({n: c for n, c in entries.items() if n != name}), (name,))
        yield Case(f"{name} empty", KERAS_FILE, zipped({**entries, name: b""}))
        yield Case(f"{name} by bzip2", KERAS_FILE, zipped(entries, zipfile.ZIP_BZIP2), ("compressed",))
        doubled = zipped({**entries, name.replace("o", "0"): entries[name]})
        doubled = doubled.replace(name.replace("o", "0").encode(), name.encode())
        yield Case(f"{name} twice", KERAS_FILE, doubled, (name, "twice"))
    yield Case(
        "metadata.json no JSON", KERAS_FILE, zipped({**entries, "metadata.json": b"["}), ("metadata.json",)
    )
    bomb = zipped({**entries, "config.json": b" " * (64 << 20)}, zipfile.ZIP_DEFLATED)
    yield Case("64 MB of spaces", KERAS_FILE, bomb, ("config.json",))
    bomb = zipped({**entries, "model.weights.h5": content + bytes(64 << 20)}, zipfile.ZIP_DEFLATED)
    yield Case("64 MB behind the weights", KERAS_FILE, bomb, ("model.weights.h5",))


# Random edits


def edited(rng: random.Random, good: Good) -> bytes:
    """A change by h5py to one object or attribute; in an archive, to an entry, its checksum right."""
    try:
        if not good.file.endswith(".keras"):
            return hdf5(lambda file: _edit(rng, file), good.content)
        with zipfile.ZipFile(io.BytesIO(good.content)) as opened:
            entries = {name: opened.read(name) for name in opened.namelist()}
        name = rng.choice(list(entries))
        if name.endswith(".json"):
            entries[name] = mutated_text(rng, entries[name])
        elif rng.random() < 0.5:
            entries[name] = hdf5(lambda file: _edit(rng, file), entries[name])
        else:
            entries[name] = damaged(rng, entries[name], good.content)
        return zipped(entries, rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)))
    except Exception:  # the file was damaged before, or h5py takes no such edit
        return damaged(rng, good.content, good.content)


def _edit(rng: random.Random, file: Any) -> None:
    names: list[str] = []
    file.visit(names.append)
    name, other = rng.choice(names), rng.choice(names)
    kind = rng.randrange(7)
    if kind == 0:
        del file[name]
    elif kind == 1:
        file.move(name, rng.choice((other + "/x", f"{ROOT}/3", "layers/lstm_1/cell/vars/0", name + "x")))
    elif kind == 2:
        place = rng.choice((name + "x", f"{other}/x", f"{ROOT}/2"))
        links = (file[name], h5py.SoftLink(f"/{other}"), h5py.ExternalLink("x.h5", f"/{other}"))
        file[place] = rng.choice(links)
    elif kind == 3:
        _edit_attribute(rng, file[rng.choice(("/", name))])
    else:
        _edit_dataset(rng, file, rng.choice([n for n in names if isinstance(file[n], h5py.Dataset)]))


def _edit_attribute(rng: random.Random, group: Any) -> None:
    """An attribute changed, or one put where there may be none."""
    known = ("model_config", "keras_version", "layer_names", "weight_names", "name", "x")
    name = rng.choice((*group.attrs, *known))
    old = group.attrs.get(name)
    if isinstance(old, str) and old.startswith("{") and rng.random() < 0.8:
        group.attrs[name] = mutated_text(rng, old.encode()).decode()
    else:
        values = (
            1,
            "x",
            "lstm",
            b"\xff",
            h5py.Empty("f4"),
            ["a", "lstm"],
            np.zeros(3),
            np.array([b"lstm", b"x"]),
            old,
        )
        group.attrs[name] = rng.choice(values)


def _edit_dataset(rng: random.Random, file: Any, name: str) -> None:
    """A dataset replaced by one of another shape, dtype or storage."""
    old = file[name]
    shape = list(old.shape or (4,))
    axis = rng.randrange(len(shape) or 1)
    if shape and rng.random() < 0.7:
        shape[axis] = rng.choice((0, 1, 2, 4, 8, 12, 16, shape[axis] + 4, abs(rng.choice(INTEGERS))))
    if rng.random() < 0.2:
        shape = rng.choice((shape[::-1], [1, *shape], shape[1:], [*shape, 1]))
    dtype = rng.choice(
        ("<f4", "<f4", ">f8", "<f2", "<i4", "u1", "S3", "<c8", h5py.string_dtype(), h5py.ref_dtype)
    )
    options: dict[str, Any] = {"shape": shape, "dtype": dtype}
    if rng.random() < 0.5:
        options["chunks"] = tuple(min(abs(rng.choice((1, 2, 8, n))) or 1, 1 << 20) for n in shape)
        options["compression"] = rng.choice((None, "gzip", "gzip", "lzf"))
        options["shuffle"], options["fletcher32"] = rng.random() < 0.5, rng.random() < 0.3
    del file[name]
    made = file.create_dataset(name, **options)
    if made.size and made.size < 10_000 and dtype in ("<f4", ">f8", "<f2") and rng.random() < 0.8:
        made[...] = rng.choice((0.0, 0.5, float("nan"), float("inf")))
    if made.chunks and rng.random() < 0.3:
        made.id.write_direct_chunk((0,) * len(shape), rng.randbytes(rng.randrange(200)), rng.randrange(4))


def prepare() -> None:
    """Before many files are read in one process: see `forked`."""
    from .forked import install

    install()
