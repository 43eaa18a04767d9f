""".npz files, and what `save` and `load` have in common: endings, paths, files that cannot be opened."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nets import BACKENDS, HIDDEN, INPUT, NAMES, assert_same_weights, make_net
from support import DTYPES, assert_same_bits

import lstm
from lstm import LSTM, FormatError


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_saved_net_comes_back_bit_for_bit(dtype: type, bias: bool, backend: str, tmp_path: Path) -> None:
    net = make_net(dtype=dtype, bias=bias, backend=backend)
    state = net.state_dict()
    for name in NAMES[: 3 if bias else 2]:
        state[name].flat[:4] = [-0.0, np.inf, np.nan, np.finfo(dtype).smallest_subnormal]
    net.load_state_dict(state)
    path = tmp_path / "net.npz"
    net.save(path)
    for other in BACKENDS:
        loaded = lstm.load(path, backend=other)  # type: ignore[arg-type]
        assert type(loaded) is LSTM
        assert loaded.backend == other
        assert_same_weights(loaded, net)
    assert os.listdir(tmp_path) == ["net.npz"]


def test_a_saved_file_holds_no_pickle_and_pytorchs_names(tmp_path: Path) -> None:
    net = make_net()
    net.save(tmp_path / "net.npz")
    with np.load(tmp_path / "net.npz", allow_pickle=False) as archive:
        assert sorted(archive.files) == sorted([*NAMES, "lstm"])
        config = json.loads(str(archive["lstm"]))
        for name, array in net.state_dict().items():
            assert_same_bits(archive[name], array)
    assert config == {
        "version": 1,
        "input_size": INPUT,
        "hidden_size": HIDDEN,
        "bias": True,
        "dtype": "float64",
    }


def test_saving_twice_writes_the_same_bytes_and_replaces(tmp_path: Path) -> None:
    path = tmp_path / "net.npz"
    path.write_text("an old file")
    make_net().save(path)
    first = path.read_bytes()
    make_net().save(path)
    assert path.read_bytes() == first
    assert_same_weights(lstm.load(path), make_net())


@pytest.mark.parametrize("kind", [str, Path, lambda path: FsPath(path)])
def test_paths_of_every_kind(kind: Callable[[str], Any], tmp_path: Path) -> None:
    path = kind(str(tmp_path / "net.NPZ"))
    make_net().save(path)
    assert_same_weights(lstm.load(path), make_net())


class FsPath:
    """A path-like object that is no pathlib.Path."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __fspath__(self) -> str:
        return self.path


@pytest.mark.parametrize("write", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", [np.float16, *DTYPES])
def test_a_bare_state_dict(dtype: type, bias: bool, write: Callable[..., None], tmp_path: Path) -> None:
    """Arrays of PyTorch's names alone: what a stranger writes with NumPy."""
    net = make_net(bias=bias)
    state = {name: array.astype(dtype) for name, array in net.state_dict().items()}
    if bias:
        state["bias_hh_l0"] = np.linspace(-1, 1, 4 * HIDDEN).astype(dtype)
    write(tmp_path / "bare.npz", **state)
    loaded = lstm.load(tmp_path / "bare.npz")
    assert_same_weights(loaded, LSTM.from_state_dict(state))
    assert loaded.dtype == (np.float64 if dtype is np.float64 else np.float32)


@pytest.mark.parametrize("name", ["net", "net.npz.gz", ".npz", "net.npy", "net.onnx2"])
def test_unknown_endings(name: str, tmp_path: Path) -> None:
    net, path = make_net(), tmp_path / name
    with pytest.raises(ValueError, match=r"\.npz"):
        net.save(path)
    assert not path.exists()
    make_net().save(tmp_path / "real.npz")
    shutil.copy(tmp_path / "real.npz", path)
    with pytest.raises(ValueError, match=r"must end in \.npz") as caught:
        lstm.load(path)
    assert not isinstance(caught.value, FormatError)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("name", ["net.pt", "net.pth", "net.PT"])
def test_a_pytorch_file_is_not_read(name: str, tmp_path: Path) -> None:
    """The message shows how PyTorch loads it."""
    path = tmp_path / name
    path.write_bytes(pickle.dumps(make_net()))
    with pytest.raises(ValueError, match="PyTorch") as caught:
        lstm.load(path)
    for part in (str(path), "torch.load(", "weights_only=True", "LSTM.from_torch("):
        assert part in str(caught.value)


def test_the_lines_shown_for_a_pytorch_file_work(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    path = tmp_path / "net.pt"
    layer = torch.nn.LSTM(INPUT, HIDDEN)
    torch.save(layer.state_dict(), path)
    with pytest.raises(ValueError, match="PyTorch") as caught:
        lstm.load(path)
    lines = [line.strip() for line in str(caught.value).splitlines() if line.startswith(" ")]
    names: dict[str, Any] = {"torch": torch, "lstm": lstm}
    exec("\n".join(lines), names)
    assert_same_weights(names["net"], LSTM.from_state_dict(layer.state_dict()))


@pytest.mark.parametrize("path", [None, 3, b"net.npz", ["net.npz"]])
def test_paths_that_are_none(path: Any) -> None:
    with pytest.raises(TypeError):
        lstm.load(path)
    with pytest.raises(TypeError):
        make_net().save(path)


def test_files_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        lstm.load(tmp_path / "none.npz")
    with pytest.raises(FileNotFoundError):
        make_net().save(tmp_path / "no folder" / "net.npz")
    (tmp_path / "folder.npz").mkdir()
    with pytest.raises(IsADirectoryError):
        lstm.load(tmp_path / "folder.npz")
    with pytest.raises(OSError, match="folder"):
        make_net().save(tmp_path / "folder.npz")
    assert os.listdir(tmp_path) == ["folder.npz"]


def test_a_wrong_backend_is_not_blamed_on_the_file(tmp_path: Path) -> None:
    make_net().save(tmp_path / "net.npz")
    with pytest.raises(ValueError, match=r"^backend is 'torch'") as caught:
        lstm.load(tmp_path / "net.npz", backend="torch")  # type: ignore[arg-type]
    assert not isinstance(caught.value, FormatError)


def test_an_old_file_outlives_a_save_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "net.npz"
    make_net().save(path)
    before = path.read_bytes()

    def fail(*args: Any, **options: Any) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(np.lib.format, "write_array", fail)
    with pytest.raises(OSError, match="no space left"):
        LSTM(2, 2).save(path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["net.npz"]
