"""External data of ONNX models."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from command_line import check_refusal, run
from onnx_models import H, assert_same_net, expected_net, lstm_node, model, tensor_of, weights

import lstm
from lstm import LSTM, FormatError

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper  # noqa: E402


def outside(folder: Path, **entries: str) -> Path:
    """A model in `folder` whose W is in weights.bin beside it, 8 bytes in, as `entries` tell."""
    made = model([lstm_node()])
    W = tensor_of(made.graph, "W")
    (folder / "weights.bin").write_bytes(bytes(8) + W.raw_data + bytes(4))
    values = {"location": "weights.bin", "offset": "8", "length": str(len(W.raw_data)), **entries}
    W.ClearField("raw_data")
    W.data_location = TensorProto.EXTERNAL
    for key, value in values.items():
        if value:
            W.external_data.add(key=key, value=value)
    path = folder / "model.onnx"
    path.write_bytes(made.SerializeToString())
    return path


def test_external_data(tmp_path: Path) -> None:
    """Read where it is asked for, and from a path; onnx's own files too."""
    path = outside(tmp_path)
    for load in (lstm.load, LSTM.from_onnx):
        with pytest.raises(FormatError, match=r"'W' is in another file, 'weights\.bin'.*external_data=True"):
            load(path)
        assert_same_net(load(path, external_data=True), expected_net(weights()))
    net = LSTM(30, 40, num_layers=2, dtype=np.float32, rng=0)
    net.to_onnx(tmp_path / "net.onnx")
    big = onnx.load(tmp_path / "net.onnx")
    onnx.save(big, tmp_path / "split.onnx", save_as_external_data=True, location="split.data")
    assert (tmp_path / "split.data").stat().st_size > 40_000
    assert_same_net(lstm.load(tmp_path / "split.onnx", external_data=True), net)
    os.symlink(tmp_path / "weights.bin", tmp_path / "link.bin")
    assert_same_net(
        lstm.load(outside(tmp_path, location="link.bin"), external_data=True), expected_net(weights())
    )
    with pytest.raises(ValueError, match="lies in no folder"):
        LSTM.from_onnx(big, external_data=True)
    with pytest.raises(TypeError, match="the source is a bytes, but must be a path"):
        LSTM.from_onnx(big.SerializeToString())
    with pytest.raises(TypeError, match="external_data is 1"):
        LSTM.from_onnx(path, external_data=1)  # type: ignore[arg-type]
    LSTM(3, 5).save(tmp_path / "net.npz")
    with pytest.raises(ValueError, match=r"net\.npz takes prefix=.*, so external_data= does not apply"):
        lstm.load(tmp_path / "net.npz", external_data=True)


def stack_outside(folder: Path, names: set[str]) -> Path:
    """Two layers whose tensors of these names are in another file."""
    arrays = {
        f"{name}{k}": weights(k)["R" if name == "W" and k else name]
        for k in (0, 1)
        for name in ("W", "R", "B")
    }
    arrays |= {
        "axes": np.array([1]),
        "h": np.full((1, 2, H), "h" in names, np.float32),
        "lengths": np.array([2, 1], np.int32),
    }
    first, second = (
        helper.make_node("LSTM", [X, f"W{k}", f"R{k}", f"B{k}", "lengths", "h"], [f"Y{k}"], hidden_size=H)
        for k, X in ((0, "X"), (1, "X1"))
    )
    made = model([first, helper.make_node("Squeeze", ["Y0", "axes"], ["X1"]), second], arrays, opset=17)
    content = b""
    for tensor in made.graph.initializer:
        if tensor.name in names:
            tensor.data_location = TensorProto.EXTERNAL
            for key, value in (
                ("location", "rest.bin"),
                ("offset", str(len(content))),
                ("length", str(len(tensor.raw_data))),
            ):
                tensor.external_data.add(key=key, value=value)
            content += tensor.raw_data
            tensor.ClearField("raw_data")
    (folder / "rest.bin").write_bytes(content)
    path = folder / "stack.onnx"
    path.write_bytes(made.SerializeToString())
    return path


ALL = {"W0", "R0", "B0", "W1", "R1", "B1", "axes", "h", "lengths"}


@pytest.mark.parametrize("names", [ALL, {"W1"}, {"axes"}, {"h"}, {"lengths"}, ALL - {"axes"}], ids=str)
def test_what_is_outside_is_asked_for_first(
    names: set[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not taken for a stack that is none, nor for a model without initial states; named as asked."""
    path = stack_outside(tmp_path, names)
    choice = "raise" if names in ({"h"}, {"lengths"}) else "drop"
    # What picks a node that needs them.
    nodes = {frozenset({"W1"}): (None, 1, "Y1"), frozenset({"axes"}): (None,)}.get(
        frozenset(names), (None, 0, "Y1")
    )
    for node in nodes:
        with pytest.raises(
            FormatError, match=r"is in another file, 'rest\.bin'.*with external_data=True"
        ) as e:
            LSTM.from_onnx(path, node, initial_states=choice)  # type: ignore[arg-type]
        assert "pick one" not in str(e.value)
        assert "no layers" not in str(e.value)
        options = ["--initial-states", choice, *([] if node is None else ["--node", str(node)])]
        words = ["is in another file, 'rest.bin'", "with --external-data"]
        check_refusal(*run(capsys, "convert", path, tmp_path / "net.npz", *options), words)
    assert lstm.load(path, external_data=True, initial_states="drop").num_layers == 2
    with pytest.raises(
        FormatError, match=r"a ModelProto does not lead; give the path and external_data=True"
    ):
        LSTM.from_onnx(onnx.load(path, load_external_data=False), initial_states=choice)  # type: ignore[arg-type]


def test_options_have_the_names_that_they_have_where_one_asks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = stack_outside(tmp_path, {"h"})
    with pytest.raises(
        FormatError, match=r'constant initial_h .* with initial_states="drop", and give h0= at'
    ):
        lstm.load(path, external_data=True)
    words = ["with --initial-states drop, and give --h0 at every call"]
    check_refusal(*run(capsys, "info", path, "--external-data"), words)
    with pytest.raises(FormatError, match=r"h0= at"):
        lstm.load(path, external_data=True)


def test_external_data_of_a_checksum(tmp_path: Path) -> None:
    import hashlib

    path = outside(tmp_path, checksum="0" * 40)
    with pytest.raises(FormatError, match="another checksum"):
        lstm.load(path, external_data=True)
    digest = hashlib.sha1((tmp_path / "weights.bin").read_bytes()).hexdigest()
    assert_same_net(
        lstm.load(outside(tmp_path, checksum=digest), external_data=True), expected_net(weights())
    )


def test_external_data_that_claims_terabytes(tmp_path: Path) -> None:
    path = outside(tmp_path)
    made = onnx.load(path, load_external_data=False)
    W = tensor_of(made.graph, "W")
    W.dims[1] = 2**40
    next(entry for entry in W.external_data if entry.key == "length").value = str(2**40 * 3 * 4)
    path.write_bytes(made.SerializeToString())
    with pytest.raises(FormatError, match="a file of 204 bytes"):
        lstm.load(path, external_data=True)
    with pytest.raises(FormatError, match=r"188 bytes at 8 of 'weights\.bin'.*must have 192"):
        lstm.load(outside(tmp_path, length="188"), external_data=True)


def test_the_same_bytes_many_times(tmp_path: Path) -> None:
    """Tensors that share the bytes of a file do not multiply the memory that it takes."""
    size = 4 << 20
    (tmp_path / "weights.bin").write_bytes(bytes(size))
    others = {name: array for name, array in weights().items() if name != "W"}
    names = [f"W{k}" for k in range(20)]
    made = model([helper.make_node("Concat", names, ["W"], axis=0), lstm_node()], others)
    for name in names:
        tensor = made.graph.initializer.add(name=name, dims=[size // 4], data_type=TensorProto.FLOAT)
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="weights.bin")
    path = tmp_path / "model.onnx"
    path.write_bytes(made.SerializeToString())
    tracemalloc.start()
    with pytest.raises(FormatError, match="more bytes than the model has"):
        lstm.load(path, external_data=True)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * size + (16 << 20)


@pytest.mark.parametrize(
    "entries",
    [
        {"location": name}
        for name in (
            "../weights.bin",
            "./weights.bin", "/dev/zero", ".", "..", "sub/w.bin", "sub\\w.bin", "gone.bin", "C:w",
            "a\0b", "out.bin", "sub", "pipe", "circle.bin", "x" * 3000,
        )
    ]
    + [{"location": "", "key": "value"}]
    + [{"offset": text} for text in ("-1", "9999", "13", "1e1", "9" * 19, "x", "\u0661")]
    + [{"length": text} for text in ("0", "-192", "188", "196", str(2**62), "many")]
    + [{"basepath": "/"}],
)  # fmt: skip
def test_external_data_elsewhere(entries: dict[str, str], tmp_path: Path) -> None:
    """Only regular files next to the model, only bytes that are there, as many as the shape takes."""
    folder = tmp_path / "folder"
    (folder / "sub").mkdir(parents=True)
    (tmp_path / "weights.bin").write_bytes(bytes(4096))
    (folder / "sub" / "w.bin").write_bytes(bytes(4096))
    os.symlink(tmp_path / "weights.bin", folder / "out.bin")
    os.symlink("circle.bin", folder / "circle.bin")
    os.mkfifo(folder / "pipe")
    path = outside(folder, **entries)
    with pytest.raises(FormatError, match=r"model\.onnx"):
        lstm.load(path, external_data=True)
