"""Files for the commands: models of every variant and format, inputs and states."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import environment, run_json
from support import assert_same_bits, random_net

from lstm import LSTM

ENDINGS = ("npz", "safetensors", "onnx")
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "deep": {"num_layers": 3},
    "bidirectional": {"num_layers": 2, "bidirectional": True},
    "reverse": {"num_layers": 2, "reverse": True},
    "projection": {"num_layers": 2, "proj_size": 2},
    "others": {
        "peephole": True,
        "clip": 0.75,
        "input_forget": True,
        "activations": [("HardSigmoid", 0.25, 0.5), "Tanh", ("LeakyRelu", 0.125)],
    },
    "no bias": {"bias": False},
}
OPTIONS = (
    "input_size",
    "hidden_size",
    "num_layers",
    "bidirectional",
    "merge",
    "reverse",
    "proj_size",
    "bias",
    "peephole",
    "clip",
    "cell_clip",
    "proj_clip",
    "input_forget",
    "activations",
)
LSTM_KEYS = {*OPTIONS, "net", "output_size", "dtype", "precision", "parameters", "layers"}
RUN_KEYS = {
    "model",
    "input",
    "output",
    "state_out",
    "net",
    "input_shape",
    "input_dtype",
    "shape",
    "dtype",
    "blocks",
    "resumed",
    "rows",
    "steps",
    "seconds",
}


def needs(ending: str) -> None:
    """Skip where the library of a format is not there."""
    libraries = {"safetensors": "safetensors", "onnx": "onnx", "keras": "h5py", "h5": "h5py"}
    library = {**libraries, "parquet": "pyarrow"}.get(ending)
    if library is not None:
        pytest.importorskip(library)


def net_of(variant: str, dtype: Any = np.float32) -> LSTM:
    return random_net(np.random.default_rng(3), 3, 5, dtype, **VARIANTS[variant])


def saved(folder: Path, variant: str = "plain", ending: str = "npz", dtype: Any = np.float32) -> Path:
    path = folder / f"net.{ending}"
    net_of(variant, dtype).save(path)
    return path


def features(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def states(net: LSTM, batch: int | None) -> tuple[np.ndarray, np.ndarray]:
    """h0 (L D, B, O) and C0 (L D, B, H), or without B."""
    rng = np.random.default_rng(8)
    rows = () if batch is None else (batch,)
    cells = net.num_layers * (1 + net.bidirectional)
    h0 = rng.uniform(-1, 1, (cells, *rows, net.proj_size or net.hidden_size))
    return h0, rng.standard_normal((cells, *rows, net.hidden_size))


def put(path: Path, array: np.ndarray) -> Path:
    np.save(path, array)
    return path


def only(folder: Path, *names: str) -> None:
    """Nothing is in a folder but these: no partial files."""
    assert sorted(os.listdir(folder)) == sorted(names)


def same_net(first: LSTM, second: LSTM) -> None:
    assert repr(first) == repr(second)
    for name, array in first.state_dict().items():
        assert_same_bits(second.state_dict()[name], array, name)


def listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def several(folder: Path, ending: str) -> tuple[Path, dict[str, LSTM]]:
    """A file of two LSTMs that are no layers of one net, by what picks each."""
    needs(ending)
    rng = np.random.default_rng(7)
    nets = {"encoder": random_net(rng, 3, 5, np.float32), "decoder": random_net(rng, 4, 2, np.float32)}
    path = folder / f"both.{ending}"
    if ending in ("npz", "safetensors"):
        tensors = {f"{p}.{name}": a for p, net in nets.items() for name, a in net.state_dict().items()}
        tensors["head.weight"] = np.ones((2, 2), np.float32)
        if ending == "npz":
            np.savez(path, **tensors)  # type: ignore[arg-type]
        else:
            from safetensors.numpy import save_file

            save_file(tensors, path)
        return path, nets
    import onnx
    import onnx.compose

    models = []
    for name, net in nets.items():
        net.save(folder / "one.onnx")
        models.append(onnx.compose.add_prefix(onnx.load(folder / "one.onnx"), f"{name}/"))
    (folder / "one.onnx").unlink()
    onnx.save(onnx.compose.merge_models(*models, io_map=[]), path)
    return path, {f"{name}/lstm_0": net for name, net in nets.items()}


PICKED_BY = {"npz": "prefix", "safetensors": "prefix", "onnx": "node"}


def spoil(path: Path, node: str) -> None:
    """Give a node of an ONNX model an attribute that there is not."""
    import onnx

    model = onnx.load(path)
    (found,) = [one for one in model.graph.node if one.name == node]
    found.attribute.append(onnx.helper.make_attribute("colour", 1))
    onnx.save(model, path)


# run


def run_on(
    capsys: pytest.CaptureFixture[str], folder: Path, model: Path, X: np.ndarray, *options: str | Path
) -> tuple[np.ndarray, dict[str, Any]]:
    """Y of `lstm run`, and its document."""
    put(folder / "X.npy", X)
    status, report = run_json(
        capsys, "run", model, folder / "X.npy", "-o", folder / "Y.npy", *map(str, options)
    )
    assert status == 0
    assert report.keys() == RUN_KEYS
    assert report["blocks"] >= 1
    Y = np.load(folder / "Y.npy", allow_pickle=False)
    assert (tuple(report["shape"]), report["dtype"]) == (Y.shape, Y.dtype.name)
    return Y, report


def raw(header: str, data: bytes = b"", version: int = 1) -> bytes:
    """An .npy file of any header."""
    text = header.encode("latin-1")
    return b"\x93NUMPY" + bytes([version, 0]) + len(text).to_bytes(2, "little") + text + data


def described(descr: str = "'<f4'", shape: str = "(2, 3)", fortran: str = "False") -> str:
    return f"{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}\n"


WHOLE = raw(described(), bytes(24))
BROKEN: dict[str, bytes] = {
    "empty": b"",
    "no array": b"no array at all\n" * 10,
    "magic alone": WHOLE[:6],
    "cut in the header": WHOLE[:30],
    "cut in the data": WHOLE[:-1],
    "more data than claimed": WHOLE + b"\0",
    "unknown version": raw(described(), bytes(24), version=4),
    "terabytes": raw(described(shape="(1000000000000, 3)"), bytes(24)),
    "more than there are addresses": raw(described(shape=f"({10**30}, 3)"), bytes(24)),
    "no data at all, but many steps": raw(described(shape="(0, 9223372036854775807, 3)"), b"\0"),
    "negative": raw(described(shape="(-2, 3)"), bytes(24)),
    "shape of code": raw(described(shape="(2, __import__('os').getpid())"), bytes(24)),
    "pickled objects": raw(described(descr="'|O'"), bytes(48)),
    "records": raw(described(descr="[('a', '<f4')]"), bytes(24)),
    "void": raw(described(descr="'|V4'"), bytes(24)),
    "dates": raw(described(descr="'<M8[s]'"), bytes(48)),
    "an unheard-of dtype": raw(described(descr="'<f3'"), bytes(24)),
    "no dict": raw("[]\n", bytes(24)),
    "a zip": b"PK\x03\x04" + bytes(100),
}


def on_a_full_disk(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A process that can write no file of over 1000 bytes."""
    return subprocess.run(
        [sys.executable, "-m", "lstm", *arguments],
        cwd=folder,
        env=environment(PYTHONDONTWRITEBYTECODE="1"),
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)),
    )
