"""What all formats have in common: records, options, writing, the bound of what a file may expand to."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
import zipfile
from importlib import import_module, util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import assert_same_bits

import lstm
from lstm import LSTM, FormatError
from lstm.core.architecture import OPTIONS
from lstm.formats import FORMATS, Format, archive, format_of, lstm_entry
from lstm.formats.keras import hdf5_child

WRITTEN = [
    pytest.param(
        ending, marks=pytest.mark.skipif(not util.find_spec(package), reason=f"needs {package}"), id=ending
    )
    for ending, package in ((".npz", "numpy"), (".safetensors", "safetensors"), (".onnx", "onnx"))
]


@pytest.mark.parametrize("record", FORMATS, ids=lambda record: record.module_name)
def test_records_and_modules_agree(record: Format) -> None:
    module = import_module(f"lstm.formats.{record.module_name}")
    assert callable(module.read)
    assert callable(module.tensors)
    assert hasattr(module, "write") == record.is_written
    assert hasattr(module, "names") == (record.picked_by is not None)
    assert bool(record.pick_help) == (record.picked_by is not None)


def test_no_ending_has_two_formats() -> None:
    endings = [ending for record in FORMATS for ending in record.endings]
    assert len(set(endings)) == len(endings)
    assert {param.id for param in WRITTEN} == {
        e for record in FORMATS if record.is_written for e in record.endings
    }


def test_the_entry_has_every_size_and_option() -> None:
    parts = LSTM(3, 5, num_layers=2, reverse=True, clip=2.0, input_forget=True, rng=0).core.parts()
    entry = lstm_entry.parse("", lstm_entry.text(parts))
    assert parts.architecture.changed_arguments().items() <= entry.items()
    assert set(OPTIONS) <= set(lstm_entry.FIELDS)


# Written without the libraries' copies


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_safetensors_are_the_bytes_of_the_library(dtype: Any, tmp_path: Path) -> None:
    library = pytest.importorskip("safetensors.numpy")
    net = LSTM(
        70, 40, num_layers=2, peephole=True, dtype=dtype, activations=["Sigmoid", "Tanh", "Tanh"], rng=0
    )
    net.save(path := tmp_path / "net.safetensors")
    with pytest.importorskip("safetensors").safe_open(path, "numpy") as file:
        metadata = file.metadata()
    assert path.read_bytes() == library.save(net.state_dict(), metadata)


def test_safetensors_are_written_without_the_library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "safetensors", None)
    net = LSTM(3, 5, rng=0)
    net.save(path := tmp_path / "net.safetensors")
    with pytest.raises(ImportError, match=r"lstm-native\[safetensors\]"):
        lstm.load(path)
    monkeypatch.undo()
    pytest.importorskip("safetensors")
    assert_same_bits(lstm.load(path).Wf, net.Wf)


@pytest.mark.parametrize("precision", [None, "int8"])
def test_onnx_is_the_model_of_the_library(precision: Any, tmp_path: Path) -> None:
    """Sizes of one, two and three bytes among them."""
    onnx = pytest.importorskip("onnx")
    from lstm.formats.onnx import writer

    net = LSTM(70, 40, num_layers=2, bidirectional=True, dtype=np.float32, precision=precision, rng=0)
    net.save(path := tmp_path / "net.onnx")
    expected = writer._built(onnx, net.core.parts())
    for layer in range(2):
        for name, array in writer._layer_arrays(net.core.parts(), layer).items():
            expected.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    assert onnx.load(path) == expected


@pytest.mark.parametrize(("ending", "most"), [(".safetensors", 1.2), (".onnx", 1.8)])
def test_weights_are_written_from_where_they_are(ending: str, most: float, tmp_path: Path) -> None:
    """One copy of all, of ONNX of one matrix more; each further one takes time that hears no signal."""
    pytest.importorskip("onnx" if ending == ".onnx" else "numpy")
    net = LSTM(300, 400, dtype=np.float32, rng=0)
    parts, path = net.core.parts(), tmp_path / f"net{ending}"
    net.save(path)  # imports what it needs
    tracemalloc.start()
    try:
        format_of(path).write(parts, path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak <= most * parts.nbytes


# Options


@pytest.mark.parametrize("option", ["prefix", "node", "layer", "external_data"])
def test_options_that_do_not_apply(option: str, tmp_path: Path) -> None:
    """Refused before the file is opened, with what applies instead."""
    for record in FORMATS:
        path = tmp_path / f"none{record.endings[0]}"
        if option in record.options:
            continue
        says = "holds a single LSTM" if not record.options else f"takes {record.options[0]}="
        with pytest.raises(ValueError, match=f"{says}.*, so {option}= does not apply"):
            lstm.load(path, **{option: True if option == "external_data" else "a"})  # type: ignore[arg-type]


@pytest.mark.parametrize("ending", WRITTEN[:2])
def test_what_a_state_dict_does_not_tell(ending: str, tmp_path: Path) -> None:
    """It is an argument, and one that a file stores otherwise raises."""
    untold: dict[str, Any] = {"activations": ("hardsigmoid", "tanh", "tanh") * 2, "merge": "sum"}
    net = LSTM(3, 5, num_layers=2, bidirectional=True, **untold, rng=0)
    X = np.random.default_rng(0).normal(size=(2, 4, 3))
    path = tmp_path / f"bare{ending}"
    arrays = {f"encoder.{name}": array for name, array in net.state_dict().items()}
    arrays["dense"] = np.ones(2)
    if ending == ".npz":
        np.savez(path, **arrays)  # type: ignore[arg-type]
    else:
        import_module("safetensors.numpy").save_file(arrays, path)
    found = lstm.load(path, prefix="encoder", **untold)
    assert_same_bits(found.forward_sequence(X), net.forward_sequence(X))
    with pytest.raises(FormatError, match="bare"):
        lstm.load(path, prefix="encoder", merge="concat")
    reverse = LSTM(3, 5, reverse=True, rng=0)
    reverse.save(tmp_path / f"net{ending}")
    assert lstm.load(tmp_path / f"net{ending}", reverse=True).reverse
    with pytest.raises(FormatError, match="stores reverse=True, so reverse=False does not apply"):
        lstm.load(tmp_path / f"net{ending}", reverse=False)


# Writing


@pytest.mark.parametrize("ending", WRITTEN)
def test_errors_of_writing_are_of_the_system_and_name_the_path(ending: str, tmp_path: Path) -> None:
    """Not of a library, and not the partial file that is written first."""
    (tmp_path / f"folder{ending}").mkdir()
    (tmp_path / "file").write_bytes(b"")
    net = LSTM(3, 5)
    for name, error in (
        (f"missing/x{ending}", FileNotFoundError),
        (f"file/x{ending}", NotADirectoryError),
        (f"folder{ending}", IsADirectoryError),
    ):
        path = tmp_path / name
        with pytest.raises(error) as caught:
            net.save(path)
        assert caught.value.filename == str(path)
        assert str(path) in str(caught.value)
        assert "partial" not in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["file", f"folder{ending}"])


@pytest.mark.parametrize("ending", WRITTEN)
def test_a_full_disk(ending: str, tmp_path: Path) -> None:
    """A file may take 100 kB here and would take 500 kB: OSError, and the old file stays."""
    path = tmp_path / f"x{ending}"
    path.write_bytes(b"old")
    code = (
        "import resource, sys, lstm\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))\n"
        "try:\n"
        "    lstm.LSTM(16, 100).save(sys.argv[1])\n"
        "except OSError as error:\n"
        "    sys.exit(0 if error.errno == 27 and 'partial' not in str(error) else str(error))\n"
        "sys.exit('written')"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert path.read_bytes() == b"old"
    assert [one.name for one in tmp_path.iterdir()] == [path.name]


# Reading


def pruned(share: float) -> dict[str, np.ndarray]:
    """A state dict in which this share of the weights is zero."""
    rng = np.random.default_rng(0)
    state = LSTM(256, 256, dtype=np.float32, rng=0, init="pytorch").state_dict()
    return {name: np.where(rng.random(a.shape) < share, np.float32(0), a) for name, a in state.items()}


@pytest.mark.parametrize(("share", "is_read"), [(0.9, True), (0.99, True), (1.0, False)])
def test_zeros_are_bounded_by_the_size_of_the_file(share: float, is_read: bool, tmp_path: Path) -> None:
    """Compressed, the zeros take next to nothing; nothing but them is no net that anybody has."""
    state = pruned(share)
    path = tmp_path / "net.npz"
    np.savez_compressed(path, **state)  # type: ignore[arg-type]
    with zipfile.ZipFile(path) as file:
        expansion = sum(entry.file_size for entry in file.infolist()) / path.stat().st_size
    assert (expansion < archive.PRUNED_EXPANSION) == is_read
    if is_read:
        assert_same_bits(lstm.load(path).state_dict()["weight_hh_l0"], state["weight_hh_l0"])
        return
    with pytest.raises(FormatError, match=r"net\.npz: entry 'weight_.*save it uncompressed"):
        lstm.load(path)


def test_what_zeros_may_take_has_an_end() -> None:
    assert archive.pruned_budget(1 << 20) == 128 << 20
    assert archive.pruned_budget(1 << 22) == archive.MOST_PRUNED
    assert archive.pruned_budget(1 << 30) == archive.budget(1 << 30)


def test_the_process_that_reads_hdf5_has_the_same_bounds() -> None:
    """It imports nothing of this package, and so has numbers of its own."""
    for name in ("LARGEST_EXPANSION", "SMALL"):
        assert getattr(hdf5_child, name) == getattr(archive, name)


# Every array


def awkward_arrays() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {"dense.weight": rng.normal(size=(2, 3)), "half": rng.normal(size=4).astype(np.float16)}


def check_tensors(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        wide = array.astype(np.float32) if array.dtype == np.float16 else array
        assert_same_bits(found[name], wide, name)


@pytest.mark.parametrize("ending", WRITTEN)
def test_tensors_of_every_written_format(ending: str, tmp_path: Path) -> None:
    """The weights of a net are among them, and what says what they do not tell is not."""
    net = LSTM(3, 5, rng=0, reverse=True, init="pytorch")
    net.save(tmp_path / f"net{ending}")
    found = lstm.tensors(tmp_path / f"net{ending}")
    assert all(array.dtype.kind in "fi" for array in found.values())
    if ending != ".onnx":
        check_tensors(found, net.state_dict())
    assert {array.size for array in found.values()} >= {60, 100}
    if ending != ".onnx":
        with pytest.raises(ValueError, match="external_data= does not apply"):
            lstm.tensors(tmp_path / f"net{ending}", external_data=True)


def test_tensors_of_npz_without_a_net(tmp_path: Path) -> None:
    arrays = {**awkward_arrays(), "count": np.arange(3)}
    np.savez(tmp_path / "model.npz", **arrays)  # type: ignore[arg-type]
    check_tensors(lstm.tensors(tmp_path / "model.npz"), arrays)
    np.savez(tmp_path / "pickled.npz", a=np.array([{}], object))
    with pytest.raises(FormatError, match="entry 'a' has dtype"):
        lstm.tensors(tmp_path / "pickled.npz")
    with pytest.raises(ValueError, match=r"torch\.load"):
        lstm.tensors(tmp_path / "model.pt")


def test_tensors_of_safetensors(tmp_path: Path) -> None:
    library = pytest.importorskip("safetensors.numpy")
    arrays = {**awkward_arrays(), "count": np.arange(3), "mask": np.array([True, False])}
    library.save_file(arrays, tmp_path / "model.safetensors")
    check_tensors(lstm.tensors(tmp_path / "model.safetensors"), arrays)


def test_tensors_of_onnx(tmp_path: Path) -> None:
    """Initializers and Constants of the graph and of those within it, texts left out."""
    onnx = pytest.importorskip("onnx")
    make, proto = onnx.helper, onnx.numpy_helper.from_array
    arrays = {**awkward_arrays(), "count": np.arange(3)}

    def branch(value: float) -> object:
        node = make.make_node("Constant", [], ["y"], value=proto(np.array([value])))
        return make.make_graph([node], "branch", [], [make.make_tensor_value_info("y", 11, [1])])

    nodes = [
        make.make_node("Constant", [], ["bias"], value_floats=[1.0, 2.0]),
        make.make_node("If", ["c"], ["z"], name="if", then_branch=branch(3.0), else_branch=branch(4.0)),
    ]
    tensors = [proto(array, name) for name, array in arrays.items()]
    tensors.append(make.make_tensor("words", onnx.TensorProto.STRING, [1], [b"a"]))
    graph = make.make_graph(nodes, "g", [make.make_tensor_value_info("c", 9, [])], [], tensors)
    path = tmp_path / "model.onnx"
    onnx.save(make.make_model(graph, opset_imports=[make.make_opsetid("", 17)]), path)
    arrays["bias"] = np.array([1.0, 2.0], np.float32)
    arrays |= {"if/y": np.array([4.0]), "if/y#2": np.array([3.0])}  # in the order of their names
    check_tensors(lstm.tensors(path), arrays)


def test_tensors_of_keras(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    arrays = {f"layers/{name}/vars/0": array for name, array in awkward_arrays().items()}
    path = tmp_path / "model.weights.h5"
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array
        file["optimizer/vars/0"] = np.int64(3)
    check_tensors(lstm.tensors(path), arrays)
    with h5py.File(path, "a") as file:
        file.create_dataset("large", (10**9,), "f4", chunks=(10**6,))
    with pytest.raises(FormatError, match="entry 'large'"):
        lstm.tensors(path)
