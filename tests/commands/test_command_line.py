"""`lstm info`, `lstm run`, `lstm convert` and `lstm compare` on every format: results, documents, refusals.

Shapes: B batch, T time, I input, H hidden, O features of h, L layers, D directions.
"""

from __future__ import annotations

import contextlib
import io
import math
import os
import re
import resource
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import check_refusal, command, environment, parse, run, run_json
from support import DATA, ROOT, assert_same_bits, random_net

import lstm
from lstm import LSTM, FormatError
from lstm.__main__ import main
from lstm.commands import info, npy
from lstm.core.state_dict import from_state_dict, to_state_dict
from lstm.core.weights import Parts
from lstm.formats.numpy_files import read_arrays

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
    "reverse",
    "proj_size",
    "bias",
    "peephole",
    "clip",
    "input_forget",
    "activations",
)
LSTM_KEYS = {*OPTIONS, "net", "output_size", "dtype", "parameters", "layers"}
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
    "rows",
    "steps",
    "seconds",
}
CONVERT_KEYS = {"source", "target", "source_dtype", "dtype", "net", "bytes"}


def needs(ending: str) -> None:
    """Skip where the library of a format is not there."""
    library = {"safetensors": "safetensors", "onnx": "onnx", "keras": "h5py", "h5": "h5py"}.get(ending)
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


# info


def test_the_machine(capsys: pytest.CaptureFixture[str]) -> None:
    status, report = run_json(capsys, "info")
    assert status == 0
    facts = lstm.show_config("dict")
    assert report == {**facts, "cpu": report["cpu"]}
    assert report["cpu"]
    status, out, err = run(capsys, "info")
    assert (status, err) == (0, "")
    assert out.splitlines()[:4] == [
        f"lstm    {lstm.__version__}",
        f"python  {facts['python']}",
        f"numpy   {facts['numpy']}",
        f"isa     {facts['isa']}",
    ]


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_model_is_told(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, variant: str, ending: str
) -> None:
    needs(ending)
    if ending == "onnx" and variant == "projection":
        pytest.skip("ONNX has no projection")
    path = saved(tmp_path, variant, ending)
    net = lstm.load(path)
    status, report = run_json(capsys, "info", path)
    assert status == 0
    assert report.keys() == {"model", "more", "lstms"}
    assert (report["model"], report["more"]) == (str(path), 0)
    found = report["lstms"][0]
    assert found.keys() == {"option", "value", "error", "lstm"}
    assert found["error"] is None
    told = found["lstm"]
    assert told.keys() == LSTM_KEYS
    for name in OPTIONS[:-1]:
        assert told[name] == getattr(net, name), name
    activations = None if net.activations is None else [listed(a) for a in net.activations]
    assert told["activations"] == activations
    assert (told["dtype"], told["net"]) == ("float32", repr(net))
    assert told["output_size"] == net.forward_sequence(np.zeros((1, 3))).shape[1]
    kept = {name: a.shape for name, a in net.state_dict().items() if not name.startswith("bias_hh")}
    shapes = {
        f"{kind.replace('bias', 'bias_ih')}_{layer['name']}": tuple(shape)
        for layer in told["layers"]
        for kind, shape in layer["shapes"].items()
    }
    assert shapes == kept
    assert told["parameters"] == sum(map(math.prod, kept.values()))
    assert told["parameters"] == sum(layer["parameters"] for layer in told["layers"])
    status, out, err = run(capsys, "info", path)
    assert (status, err) == (0, "")
    assert repr(net) in out.splitlines()
    assert f"{told['parameters']:,} parameters" in out.splitlines()
    assert all(str(shape) in out for shape in kept.values())


def listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def several(folder: Path, ending: str) -> tuple[Path, dict[str, LSTM]]:
    """A file of two LSTMs that are no layers of one net, by what picks each."""
    needs(ending)
    rng = np.random.default_rng(7)
    nets = {"encoder": random_net(rng, 3, 5, np.float32), "decoder": random_net(rng, 4, 2, np.float32)}
    path = folder / f"both.{ending}"
    if ending == "safetensors":
        from safetensors.numpy import save_file

        tensors = {f"{p}.{name}": a for p, net in nets.items() for name, a in net.state_dict().items()}
        save_file({**tensors, "head.weight": np.ones((2, 2), np.float32)}, path)
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


PICKED_BY = {"safetensors": "prefix", "onnx": "node"}


@pytest.mark.parametrize("ending", PICKED_BY)
def test_every_lstm_of_a_file_is_told(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, nets = several(tmp_path, ending)
    status, report = run_json(capsys, "info", path)
    assert status == 0
    assert {one["value"] for one in report["lstms"]} == set(nets)
    for one in report["lstms"]:
        assert one["option"] == PICKED_BY[ending]
        net = nets[one["value"]]
        assert (one["lstm"]["input_size"], one["lstm"]["hidden_size"]) == (net.input_size, net.hidden_size)
        status, alone = run_json(capsys, "info", path, f"--{one['option']}", one["value"])
        assert status == 0
        assert alone["lstms"] == [one]
    status, out, _ = run(capsys, "info", path)
    assert out.splitlines()[0] == f"model: {path}, 2 LSTMs"
    for value, net in nets.items():
        assert f"--{PICKED_BY[ending]} {value}\n{net!r}\n" in out
    # In an .onnx file all together come first, here in vain.
    monkeypatch.setattr(info, "LONGEST_LISTING", 1 + (ending == "onnx"))
    status, report = run_json(capsys, "info", path)
    assert (len(report["lstms"]), report["more"]) == (1, 1)
    assert run(capsys, "info", path)[1].splitlines()[-1] == "and 1 more"


def test_layers_of_one_net_are_told_as_one_and_alone(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    needs("onnx")
    path = saved(tmp_path, "deep", "onnx")
    _, report = run_json(capsys, "info", path)
    whole, *layers = report["lstms"]
    assert (whole["option"], whole["value"], whole["lstm"]["num_layers"]) == (None, None, 3)
    assert [(one["option"], one["value"]) for one in layers] == [("node", f"lstm_{k}") for k in range(3)]
    _, out, _ = run(capsys, "info", path)
    assert out.splitlines()[0] == f"model: {path}, 3 LSTMs, which are the layers of one net"


def spoil(path: Path, node: str) -> None:
    """Give a node of an ONNX model an attribute that there is not."""
    import onnx

    model = onnx.load(path)
    (found,) = [one for one in model.graph.node if one.name == node]
    found.attribute.append(onnx.helper.make_attribute("colour", 1))
    onnx.save(model, path)


def test_an_lstm_that_cannot_be_loaded_is_told(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path, _ = several(tmp_path, "onnx")
    spoil(path, "encoder/lstm_0")
    status, report = run_json(capsys, "info", path)
    assert status == 0
    bad, good = report["lstms"]
    assert bad["lstm"] is None
    assert "colour" in bad["error"]
    assert good["lstm"]["hidden_size"] == 2
    status, out, err = run(capsys, "info", path)
    assert (status, err) == (0, "")
    assert "cannot be loaded: " in out
    spoil(path, "decoder/lstm_0")
    check_refusal(*run(capsys, "info", path), ["both.onnx", "colour"])


def test_a_number_is_a_name_first(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Old exporters name outputs by numbers."""
    import_onnx = pytest.importorskip("onnx")
    path, nets = several(tmp_path, "onnx")
    _, report = run_json(capsys, "info", path, "--node", "1")
    assert report["lstms"][0]["lstm"]["hidden_size"] == nets["decoder/lstm_0"].hidden_size
    _, report = run_json(capsys, "info", path, "--node=-2")
    assert report["lstms"][0]["lstm"]["hidden_size"] == nets["encoder/lstm_0"].hidden_size
    model = import_onnx.load(path)
    next(node for node in model.graph.node if node.name == "encoder/lstm_0").name = "1"
    import_onnx.save(model, path)
    _, report = run_json(capsys, "info", path, "--node", "1")
    assert report["lstms"][0]["lstm"]["hidden_size"] == nets["encoder/lstm_0"].hidden_size


@pytest.mark.usefixtures("quick")
def test_external_data_is_read_where_asked_for(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    net, path = net_of("deep"), saved(tmp_path, "deep", "onnx")
    onnx.save(onnx.load(path), path, save_as_external_data=True, size_threshold=0, location="net.data")
    check_refusal(*run(capsys, "info", path), ["net.onnx", "external_data"])
    status, report = run_json(capsys, "info", path, "--external-data")
    assert (status, len(report["lstms"])) == (0, 4)
    _, report = run_json(capsys, "info", path, "--external-data", "--node", "1")
    assert report["lstms"][0]["lstm"]["input_size"] == 5
    X = features(9, 3)
    Y, _ = run_on(capsys, tmp_path, path, X, "--external-data")
    assert_same_bits(Y, net.forward_sequence(X))
    assert run(capsys, "convert", path, tmp_path / "b.npz", "--external-data")[0] == 0
    same_net(lstm.load(tmp_path / "b.npz"), net)
    assert run(capsys, "compare", path, "--external-data")[0] == 0


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


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("block", [None, 1, 7, 40, 1000])
def test_the_bits_of_one_call(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, variant: str, dtype: Any, block: int | None
) -> None:
    """A batch of rows of different lengths and a single sequence, with states in and out."""
    net = net_of(variant, dtype)
    model = saved(tmp_path, variant, dtype=dtype)
    options: list[str | Path] = [] if block is None else ["--block", str(block)]
    for X in (features(20, 29, 3), features(29, 3)):
        batch = len(X) if X.ndim == 3 else None
        h0, C0 = states(net, batch)
        given = [*options, "--h0", put(tmp_path / "h0.npy", h0), "--C0", put(tmp_path / "C0.npy", C0)]
        lengths = None
        if batch is not None:
            lengths = np.random.default_rng(1).integers(0, 30, batch)
            lengths[:3] = 0, 29, 1
            given += ["--lengths", put(tmp_path / "n.npy", lengths)]
        Y, report = run_on(capsys, tmp_path, model, X, *given, "--state-out", tmp_path / "S.npz")
        expected, (h_n, C_n) = net.forward_sequence(X, h0, C0, lengths=lengths, return_state=True)
        assert_same_bits(Y, expected)
        found = read_arrays(tmp_path / "S.npz")
        assert_same_bits(found["h_n"], h_n)
        assert_same_bits(found["C_n"], C_n)
        if block is not None and not net.bidirectional:
            assert report["rows"] * report["steps"] <= max(block, 1)
        if net.bidirectional:
            assert report["steps"] == 29
        if block == 1000:
            assert report["blocks"] == 1
        Y, _ = run_on(capsys, tmp_path, model, X, *options)
        assert_same_bits(Y, net.forward_sequence(X))


@pytest.mark.parametrize("form", ["layers", "one layer"])
def test_states_come_in_the_forms_of_the_call(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, form: str
) -> None:
    """One of the two states alone too."""
    net, model = net_of("plain"), saved(tmp_path)
    X = features(4, 9, 3)
    _, C0 = states(net, 4)
    C0 = C0 if form == "layers" else C0[0]
    Y, _ = run_on(
        capsys, tmp_path, model, X, "--C0", put(tmp_path / "C0.npy", C0), "--state-out", tmp_path / "S.npz"
    )
    expected, (h_n, C_n) = net.forward_sequence(X, C0=C0, return_state=True)
    assert_same_bits(Y, expected)
    found = read_arrays(tmp_path / "S.npz")
    assert_same_bits(found["h_n"], h_n)
    assert_same_bits(found["C_n"], C_n)


@pytest.mark.parametrize("variant", ["plain", "deep", "projection"])
def test_one_run_goes_on_where_another_ended(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, variant: str
) -> None:
    net, model, state = net_of(variant), saved(tmp_path, variant), tmp_path / "S.npz"
    X = features(4, 30, 3)
    first, _ = run_on(capsys, tmp_path, model, X[:, :13], "--state-out", state)
    # The file of states is read before it is replaced.
    second, _ = run_on(capsys, tmp_path, model, X[:, 13:], "--state-in", state, "--state-out", state)
    expected, (h_n, C_n) = net.forward_sequence(X, return_state=True)
    assert_same_bits(np.concatenate([first, second], axis=1), expected)
    assert_same_bits(read_arrays(state)["h_n"], h_n)
    assert_same_bits(read_arrays(state)["C_n"], C_n)


@pytest.mark.parametrize("variant", ["plain", "reverse", "bidirectional"])
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "g", ">f4", ">f8", "i1", ">i4", "u2", "u8", "?"])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("block", [3, 50, 10_000])
def test_inputs_of_every_kind(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, variant: str, dtype: str, order: Any, block: int
) -> None:
    net, model = net_of(variant), saved(tmp_path, variant)
    for X in (8 * features(5, 21, 3), 8 * features(21, 3)):
        given = np.asarray(np.abs(X) if dtype[-2:].startswith("u") else X).astype(dtype, order=order)
        Y, report = run_on(capsys, tmp_path, model, given, "--block", str(block))
        assert report["input_dtype"] == str(given.dtype)
        assert_same_bits(Y, net.forward_sequence(given))


def test_columns_of_a_fortran_ordered_file_are_read_in_pieces(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(npy, "SPAN_BYTES", 100)
    net, model = net_of("bidirectional"), saved(tmp_path, "bidirectional")
    X = np.asfortranarray(features(6, 21, 3))
    Y, report = run_on(capsys, tmp_path, model, X, "--block", "50")
    assert report["blocks"] == 3
    assert_same_bits(Y, net.forward_sequence(X))


@pytest.mark.parametrize("shape", [(0, 3), (0, 7, 3), (4, 0, 3), (0, 0, 3)])
@pytest.mark.parametrize("variant", ["plain", "bidirectional", "reverse"])
def test_nothing_to_run(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, shape: tuple[int, ...], variant: str
) -> None:
    net, model = net_of(variant), saved(tmp_path, variant)
    put(tmp_path / "X.npy", np.zeros(shape))
    h0, C0 = states(net, shape[0] if len(shape) == 3 else None)
    status, report = run_json(
        capsys,
        *("run", model, tmp_path / "X.npy", "-o", tmp_path / "Y.npy"),
        *("--h0", put(tmp_path / "h0.npy", h0), "--C0", put(tmp_path / "C0.npy", C0)),
        *("--state-out", tmp_path / "S.npz"),
    )
    assert (status, report["blocks"]) == (0, 0)
    Y = np.load(tmp_path / "Y.npy")
    assert_same_bits(Y, net.forward_sequence(np.zeros(shape)))
    assert_same_bits(read_arrays(tmp_path / "S.npz")["C_n"], C0.astype(np.float32))


def test_rows_without_steps_take_no_time(tmp_path: Path) -> None:
    """There may be more of them than can be gone through."""
    saved(tmp_path)
    sparse(tmp_path / "X.npy", (1 << 58, 0, 3))
    done = subprocess.run(
        [sys.executable, "-m", "lstm", "run", "net.npz", "X.npy", "-o", "Y.npy", "--json"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert parse(done.stdout)["shape"] == [1 << 58, 0, 5]


def test_text_of_a_run(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    model, X = saved(tmp_path), put(tmp_path / "X.npy", features(2, 9, 3))
    status, out, err = run(
        capsys, "run", model, X, "-o", tmp_path / "Y.npy", "--state-out", tmp_path / "S.npz"
    )
    assert (status, err) == (0, "")
    first, second = out.splitlines()
    assert re.fullmatch(rf"{tmp_path}/Y.npy: \(2, 9, 5\) of float32, 1 block in .*s", first)
    assert second == f"{tmp_path}/S.npz: h_n (1, 2, 5), C_n (1, 2, 5)"


@pytest.mark.parametrize("ending", PICKED_BY)
def test_a_picked_net_runs(capsys: pytest.CaptureFixture[str], tmp_path: Path, ending: str) -> None:
    path, nets = several(tmp_path, ending)
    for value, net in nets.items():
        X = features(9, net.input_size)
        Y, _ = run_on(capsys, tmp_path, path, X, f"--{PICKED_BY[ending]}", value)
        assert_same_bits(Y, net.forward_sequence(X))
    arguments = ["run", path, tmp_path / "X.npy", "-o", tmp_path / "Z.npy"]
    check_refusal(*run(capsys, *arguments), ["both", PICKED_BY[ending], *nets])


def sparse(path: Path, shape: tuple[int, ...]) -> Path:
    """A file of zeros, float32, that takes no room on the disk."""
    with open(path, "wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        file.truncate(file.tell() + 4 * math.prod(shape))
    return path


MEASURED = """
import sys
from lstm.__main__ import main
status = main(sys.argv[1:])
with open("/proc/self/status") as file:
    peaks = dict(line.split(":") for line in file if line.startswith("Vm"))
print(peaks["VmPeak"].split()[0], peaks["VmHWM"].split()[0], file=sys.stderr)
sys.exit(status)
"""


def measured(folder: Path, *arguments: str, space: int | None = None) -> tuple[int, str, int, int]:
    """Exit status, stderr, and the peaks of address space and resident memory in bytes."""

    def limit() -> None:
        if space is not None:
            resource.setrlimit(resource.RLIMIT_AS, (space, space))

    done = subprocess.run(
        [sys.executable, "-c", MEASURED, *arguments],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        preexec_fn=limit,
    )
    *lines, last = done.stderr.splitlines()
    peak, resident = (1024 * int(number) for number in last.split())
    return done.returncode, "\n".join(lines), peak, resident


needs_proc = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux's /proc")
ROOM = 48 << 20
"""What a run may take beyond a process that has only been started."""


@needs_proc
@pytest.mark.parametrize("variant", ["plain", "reverse", "batch", "bidirectional"])
def test_files_larger_than_the_memory_allowed(tmp_path: Path, variant: str) -> None:
    """Input and output each are larger than the address space that the process may have."""
    status, _, base, resident_base = measured(tmp_path, "info")
    assert status == 0
    space = base + ROOM
    size = 16 if variant == "bidirectional" else 32
    steps = space // (4 * 32) // 12 * 12 + 12_000
    shape: tuple[int, ...] = (steps, 32)
    if variant in ("batch", "bidirectional"):
        shape = (3 if variant == "batch" else steps // 400, steps // 3 if variant == "batch" else 400, 32)
    options = {"reverse": {"reverse": True}, "bidirectional": {"bidirectional": True}}.get(variant, {})
    net = random_net(np.random.default_rng(1), 32, size, np.float32, **options)
    net.save(tmp_path / "net.npz")
    sparse(tmp_path / "X.npy", shape)
    status, err, _, resident = measured(tmp_path, "run", "net.npz", "X.npy", "-o", "Y.npy", space=space)
    assert (status, err) == (0, "")
    for name in ("X.npy", "Y.npy"):
        assert os.path.getsize(tmp_path / name) > space
    assert resident - resident_base < ROOM
    Y = np.load(tmp_path / "Y.npy", mmap_mode="r")
    assert Y.shape == (*shape[:-1], 32)
    # Steps at both ends; the inputs are all the same.
    ends = net.forward_sequence(np.zeros((400, 32), np.float32))
    if variant == "reverse":
        assert_same_bits(np.asarray(Y[-400:]), ends)
    elif variant == "plain":
        assert_same_bits(np.asarray(Y[:400]), ends)
    else:
        assert_same_bits(np.asarray(Y[-1, :400]), ends)
    only(tmp_path, "X.npy", "Y.npy", "net.npz")


@needs_proc
def test_a_sequence_too_long_for_a_bidirectional_net(tmp_path: Path) -> None:
    _, _, base, _ = measured(tmp_path, "info")
    net = random_net(np.random.default_rng(1), 32, 16, np.float32, bidirectional=True)
    net.save(tmp_path / "net.npz")
    sparse(tmp_path / "X.npy", ((base + ROOM) // 128, 32))
    status, err, _, _ = measured(tmp_path, "run", "net.npz", "X.npy", "-o", "Y.npy", space=base + ROOM)
    check_refusal(status, "", f"{err}\n", ["memory", "bidirectional", "all steps"])
    only(tmp_path, "X.npy", "net.npz")


@needs_proc
def test_a_block_too_large(tmp_path: Path) -> None:
    _, _, base, _ = measured(tmp_path, "info")
    saved(tmp_path)
    sparse(tmp_path / "X.npy", ((base + ROOM) // 12, 3))
    arguments = ["run", "net.npz", "X.npy", "-o", "Y.npy", "--block", str(1 << 40)]
    status, err, _, _ = measured(tmp_path, *arguments, space=base + ROOM)
    check_refusal(status, "", f"{err}\n", ["memory", "smaller --block"])
    only(tmp_path, "X.npy", "net.npz")


# What run refuses


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


@pytest.mark.parametrize("case", BROKEN)
def test_broken_inputs(capsys: pytest.CaptureFixture[str], tmp_path: Path, case: str) -> None:
    model = saved(tmp_path)
    (tmp_path / "X.npy").write_bytes(BROKEN[case])
    (tmp_path / "Y.npy").write_bytes(b"as it was")
    check_refusal(
        *run(capsys, "run", model, tmp_path / "X.npy", "-o", tmp_path / "Y.npy"), [str(tmp_path / "X.npy")]
    )
    for option in ("lengths", "h0", "C0"):
        put(tmp_path / "good.npy", features(2, 3, 3))
        arguments = ["run", model, tmp_path / "good.npy", "-o", tmp_path / "Y.npy"]
        check_refusal(*run(capsys, *arguments, f"--{option}", tmp_path / "X.npy"), [str(tmp_path / "X.npy")])
    assert (tmp_path / "Y.npy").read_bytes() == b"as it was"
    only(tmp_path, "X.npy", "Y.npy", "good.npy", "net.npz")


class Files:
    """What the refusals are made from: a net (3, 5), X (2, 9, 3), and a folder for more."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.model = saved(folder)
        self.X = put(folder / "X.npy", features(2, 9, 3))
        self.Y = folder / "Y.npy"
        self.Y.write_bytes(b"as it was")

    def put(self, name: str, array: np.ndarray) -> Path:
        return put(self.folder / name, array)

    def npz(self, **arrays: np.ndarray) -> Path:
        np.savez(self.folder / "S.npz", **arrays)  # type: ignore[arg-type]
        return self.folder / "S.npz"

    def with_net(self, variant: str, ending: str = "npz") -> Path:
        return saved(self.folder, variant, ending)

    def link(self, name: str, target: Path) -> Path:
        (self.folder / name).symlink_to(target)
        return self.folder / name

    def folder_named(self, name: str) -> Path:
        (self.folder / name).mkdir()
        return self.folder / name

    def run(self, *options: Any, X: Path | None = None, model: Path | None = None) -> list[Any]:
        return ["run", model or self.model, X or self.X, "-o", self.Y, *options]


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


# Arguments made from Files, and words that the message has.
REFUSED: dict[str, tuple[Callable[[Files], list[Any]], list[str]]] = {
    "no output": (lambda f: ["run", f.model, f.X], ["-o", "lstm run --help"]),
    "no input": (lambda f: ["run", f.model, "-o", f.Y], ["INPUT.npy"]),
    "three files": (lambda f: f.run("more.npy"), ["more.npy"]),
    "output of another ending": (lambda f: ["run", f.model, f.X, "-o", "Y.txt"], ["Y.txt", ".npy"]),
    "state of another ending": (lambda f: f.run("--state-out", "S.npy"), ["--state-out", "S.npy", ".npz"]),
    "block of nothing": (lambda f: f.run("--block", "0"), ["--block", "'0'"]),
    "block of words": (lambda f: f.run("--block", "many"), ["--block", "'many'"]),
    "missing model": (lambda f: f.run(model=Path("none.npz")), ["none.npz", "No such file"]),
    "missing input": (lambda f: f.run(X=Path("none.npy")), ["none.npy", "No such file"]),
    "missing lengths": (lambda f: f.run("--lengths", "none.npy"), ["none.npy", "No such file"]),
    "missing state": (lambda f: f.run("--state-in", "none.npz"), ["none.npz", "No such file"]),
    "folder as input": (lambda f: f.run(X=f.folder_named("in.npy")), ["in.npy", "directory"]),
    "folder as output": (
        lambda f: ["run", f.model, f.X, "-o", f.folder_named("out.npy")],
        ["out.npy", "directory"],
    ),
    "folder that is not there": (
        lambda f: ["run", f.model, f.X, "-o", f.folder / "none" / "Y.npy"],
        ["none/Y.npy", "No such file"],
    ),
    "input as output": (lambda f: ["run", f.model, f.X, "-o", f.X], ["X.npy", "place of"]),
    "input as output by a link": (
        lambda f: ["run", f.model, f.X, "-o", f.link("other.npy", f.X)],
        ["other.npy", "X.npy"],
    ),
    "model as state": (lambda f: f.run("--state-out", f.model), ["net.npz", "place of"]),
    "lengths as output": (
        lambda f: ["run", f.model, f.X, "--lengths", f.put("n.npy", np.ones(2)), "-o", f.folder / "n.npy"],
        ["n.npy"],
    ),
    "states twice": (lambda f: f.run("--state-in", "S.npz", "--h0", "h.npy"), ["--state-in", "--h0"]),
    "features": (lambda f: f.run(X=f.put("a.npy", features(9, 4))), ["a.npy", "4 features", "input_size=3"]),
    "dimensions": (lambda f: f.run(X=f.put("a.npy", features(3))), ["a.npy", "shape (3,)"]),
    "no dimensions": (lambda f: f.run(X=f.put("a.npy", np.float32(1))), ["a.npy", "shape ()"]),
    "complex": (lambda f: f.run(X=f.put("a.npy", features(9, 3) + 0j)), ["a.npy", "c16"]),
    "text": (lambda f: f.run(X=f.put("a.npy", np.array([["a"] * 3]))), ["a.npy", "U1"]),
    "lengths of a sequence": (
        lambda f: f.run("--lengths", f.put("n.npy", np.array([1])), X=f.put("a.npy", features(9, 3))),
        ["n.npy", "single sequence"],
    ),
    "lengths too many": (lambda f: f.run("--lengths", f.put("n.npy", np.ones(3, int))), ["n.npy", "(3,)"]),
    "lengths too long": (lambda f: f.run("--lengths", f.put("n.npy", np.array([1, 10]))), ["n.npy", "10"]),
    "lengths of floats": (lambda f: f.run("--lengths", f.put("n.npy", np.ones(2))), ["n.npy", "float64"]),
    "h0 shape": (
        lambda f: f.run("--h0", f.put("h.npy", features(2, 4))),
        ["h.npy", "h0", "(2, 4)", "(2, 5)"],
    ),
    "C0 shape": (lambda f: f.run("--C0", f.put("h.npy", features(5, 2))), ["h.npy", "C0", "(5, 2)"]),
    "state without C_n": (lambda f: f.run("--state-in", f.npz(h_n=features(2, 5))), ["S.npz", "C_n"]),
    "state of another net": (
        lambda f: f.run("--state-in", f.npz(h_n=features(2, 5), C_n=features(2, 6))),
        ["S.npz", "C0", "(2, 6)"],
    ),
    "node of an .npz file": (lambda f: f.run("--node", "x"), ["node", "net.npz"]),
    "external data of an .npz file": (lambda f: f.run("--external-data"), ["external_data", "net.npz"]),
    "external data of nothing": (lambda f: ["info", "--external-data"], ["--external-data", "MODEL"]),
    "info of external data of an .npz file": (
        lambda f: ["info", f.model, "--external-data"],
        ["external_data", "net.npz"],
    ),
    "pick without a model": (lambda f: ["info", "--node", "x"], ["--node", "MODEL"]),
    "pick for the grid": (lambda f: ["compare", "--prefix", "x"], ["--prefix", "MODEL"]),
    "info of nothing": (lambda f: ["info", "none.npz"], ["none.npz", "No such file"]),
    "info of an unknown ending": (lambda f: ["info", "net.xyz"], ["net.xyz", ".npz"]),
    "info of a pickle": (lambda f: ["info", "net.pt"], ["net.pt", "weights_only=True"]),
    "info of two": (lambda f: ["info", f.model, "two.npz"], ["two.npz"]),
    "info of text": (lambda f: ["info", f.X.rename(f.folder / "x.npz")], ["x.npz"]),
    "convert to nothing": (lambda f: ["convert", f.model], ["B"]),
    "convert to an unknown ending": (lambda f: ["convert", f.model, "b.xyz"], ["b.xyz", ".safetensors"]),
    "convert to no ending": (lambda f: ["convert", f.model, "npz"], ["npz", ".safetensors"]),
    "convert to a pickle": (lambda f: ["convert", f.model, "b.pt"], ["b.pt", ".safetensors"]),
    "convert to Keras": (lambda f: ["convert", f.model, "b.keras"], ["b.keras", ".safetensors"]),
    "convert to itself": (lambda f: ["convert", f.model, f.model], ["net.npz", "place of"]),
    "convert nothing": (lambda f: ["convert", "none.npz", f.folder / "b.npz"], ["none.npz", "No such file"]),
    "convert to a folder": (lambda f: ["convert", f.model, f.folder_named("b.npz")], ["b.npz", "directory"]),
    "convert to a folder that is not there": (
        lambda f: ["convert", f.model, f.folder / "none" / "b.npz"],
        ["none/b.npz", "No such file"],
    ),
    "convert to another dtype": (
        lambda f: ["convert", f.model, f.folder / "b.npz", "--dtype", "float16"],
        ["float16"],
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(capsys: pytest.CaptureFixture[str], files: Files, case: str) -> None:
    make, words = REFUSED[case]
    arguments = make(files)
    before = sorted(os.listdir(files.folder))
    check_refusal(*run(capsys, *arguments), words)
    assert sorted(os.listdir(files.folder)) == before
    assert files.Y.read_bytes() == b"as it was"


@pytest.mark.parametrize("case", ["no output", "missing model", "input as output", "convert to itself"])
def test_refused_as_a_process(files: Files, case: str) -> None:
    make, words = REFUSED[case]
    done = command(files.folder, *make(files))
    check_refusal(done.returncode, done.stdout, done.stderr, words)


@pytest.mark.parametrize(
    ("ending", "library", "extra"),
    [("safetensors", "safetensors", "safetensors"), ("onnx", "onnx", "onnx"), ("keras", "h5py", "keras")],
)
def test_a_missing_extra_is_named(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    ending: str,
    library: str,
    extra: str,
) -> None:
    needs(ending)
    path = DATA / "keras" / "plain.keras" if ending == "keras" else saved(tmp_path, ending=ending)
    monkeypatch.setitem(sys.modules, library, None)
    words = [f'pip install "lstm-native[{extra}]"']
    check_refusal(*run(capsys, "info", path), words)
    check_refusal(*run(capsys, "convert", path, tmp_path / "b.npz"), words)
    if ending != "keras":
        check_refusal(*run(capsys, "convert", saved(tmp_path), tmp_path / f"b.{ending}"), words)
    assert not list(tmp_path.glob("b.*"))


def test_a_file_cut_short_while_it_is_read(tmp_path: Path) -> None:
    path = put(tmp_path / "X.npy", features(50, 3))
    with npy.Reader(path) as file:
        os.truncate(path, 1000)
        file.block(slice(0, 1), slice(0, 20))
        with pytest.raises(FormatError, match="cut short"):
            file.block(slice(0, 1), slice(20, 50))


def test_a_defect_is_no_unusable_argument(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], files: Files
) -> None:
    def defect(*_: Any, **__: Any) -> None:
        raise ValueError("a defect")

    monkeypatch.setattr(LSTM, "forward_sequence", defect)
    with pytest.raises(ValueError, match="a defect"):
        main(list(map(str, files.run())))
    assert files.Y.read_bytes() == b"as it was"
    only(files.folder, "X.npy", "Y.npy", "net.npz")


# How a run ends


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_run_that_is_stopped_leaves_nothing(tmp_path: Path, number: int, status: int) -> None:
    random_net(np.random.default_rng(1), 16, 64, np.float32).save(tmp_path / "net.npz")
    sparse(tmp_path / "X.npy", (1 << 25, 16))
    (tmp_path / "Y.npy").write_bytes(b"as it was")
    with subprocess.Popen(
        [sys.executable, "-m", "lstm", "run", "net.npz", "X.npy", "-o", "Y.npy", "--block", "1000"],
        cwd=tmp_path,
        env=environment(),
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        for _ in range(3000):
            partial = list(tmp_path.glob("*.partial"))
            if partial and partial[0].stat().st_size > 1_000_000:
                break
            time.sleep(0.01)
        assert partial
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (status, b"", b"")
    only(tmp_path, "X.npy", "Y.npy", "net.npz")
    assert (tmp_path / "Y.npy").read_bytes() == b"as it was"


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


@pytest.mark.parametrize("target", ["Y.npy", "S.npz", "b.npz", "b.safetensors", "b.onnx"])
def test_a_full_disk(tmp_path: Path, target: str) -> None:
    needs(target.rpartition(".")[2])
    random_net(np.random.default_rng(1), 3, 50, np.float32, num_layers=2).save(tmp_path / "net.npz")
    put(tmp_path / "X.npy", features(3 if target == "S.npz" else 100, 3))
    (tmp_path / target).write_bytes(b"as it was")
    arguments = ["convert", "net.npz", target]
    if target[0] != "b":
        arguments = ["run", "net.npz", "X.npy", "-o", "Y.npy"]
        arguments += ["--state-out", "S.npz"] if target == "S.npz" else []
    done = on_a_full_disk(tmp_path, *arguments)
    check_refusal(done.returncode, done.stdout, done.stderr, [target, "File too large"])
    only(tmp_path, "X.npy", "net.npz", target)
    assert (tmp_path / target).read_bytes() == b"as it was"


@pytest.mark.parametrize(
    "arguments", [["info"], ["info", "net.npz"], ["run", "net.npz", "X.npy", "-o", "Y.npy"]]
)
def test_a_closed_pipe(tmp_path: Path, arguments: list[str]) -> None:
    saved(tmp_path)
    put(tmp_path / "X.npy", features(9, 3))
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "lstm", *arguments],
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize("installed", [False, True])
@pytest.mark.parametrize("arguments", ["run net.npz X.npy -o Y.npy", "compare net.npz"])
def test_progress_is_shown_on_a_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, terminal: bool, installed: bool, arguments: str
) -> None:
    if installed:
        pytest.importorskip("tqdm")
    else:
        monkeypatch.setitem(sys.modules, "tqdm", None)
    monkeypatch.chdir(tmp_path)
    saved(tmp_path)
    put(tmp_path / "X.npy", features(90, 3))
    err = Terminal() if terminal else io.StringIO()
    out = io.StringIO()
    with contextlib.redirect_stderr(err), contextlib.redirect_stdout(out):
        assert main([*shlex.split(arguments), "--json"]) == 0
    assert out.getvalue().startswith("{\n")
    assert ("%" in err.getvalue()) is (terminal and installed)
    assert (err.getvalue() == "") is not (terminal and installed)
    if terminal and installed:
        assert ("steps" if arguments.startswith("run") else "cases") in err.getvalue()


# convert


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("source", ENDINGS)
@pytest.mark.parametrize("target", ENDINGS)
def test_every_format_into_every_other(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, variant: str, source: str, target: str
) -> None:
    needs(source)
    needs(target)
    if "onnx" in (source, target) and variant == "projection":
        pytest.skip("ONNX has no projection")
    for dtype in (np.float32, np.float64):
        net = net_of(variant, dtype)
        path = saved(tmp_path, variant, source, dtype)
        b = tmp_path / f"b.{target}"
        status, report = run_json(capsys, "convert", path, b)
        assert status == 0
        assert report == {
            "source": str(path),
            "target": str(b),
            "source_dtype": net.dtype.name,
            "dtype": net.dtype.name,
            "net": repr(lstm.load(path)),
            "bytes": b.stat().st_size,
        }
        assert report.keys() == CONVERT_KEYS
        same_net(lstm.load(b), net)
        status, out, err = run(capsys, "convert", path, b)
        assert (status, out, err) == (0, f"{b}: {net!r}\n", "")
    only(tmp_path, path.name, b.name)


@pytest.mark.parametrize("variant", ["others", "reverse"])
def test_convert_to_another_dtype(capsys: pytest.CaptureFixture[str], tmp_path: Path, variant: str) -> None:
    net = net_of(variant, np.float64)
    path = saved(tmp_path, variant, dtype=np.float64)
    status, out, _ = run(capsys, "convert", path, tmp_path / "b.npz", "--dtype", "float32")
    b = lstm.load(tmp_path / "b.npz")
    assert (status, out) == (0, f"{tmp_path}/b.npz: {b!r}, rounded from float64\n")
    assert repr(b) == repr(net).replace("float64", "float32")
    for name, array in net.state_dict().items():
        assert_same_bits(b.state_dict()[name], array.astype(np.float32))
    status, report = run_json(capsys, "convert", tmp_path / "b.npz", tmp_path / "c.npz", "--dtype", "float64")
    assert (report["source_dtype"], report["dtype"]) == ("float32", "float64")
    for name, array in b.state_dict().items():
        assert_same_bits(lstm.load(tmp_path / "c.npz").state_dict()[name], array.astype(np.float64))


@pytest.mark.parametrize("ending", PICKED_BY)
def test_convert_a_picked_net(capsys: pytest.CaptureFixture[str], tmp_path: Path, ending: str) -> None:
    path, nets = several(tmp_path, ending)
    for value, net in nets.items():
        status, _, _ = run(capsys, "convert", path, tmp_path / "b.npz", f"--{PICKED_BY[ending]}", value)
        assert status == 0
        same_net(lstm.load(tmp_path / "b.npz"), net)
    check_refusal(*run(capsys, "convert", path, tmp_path / "c.npz"), [PICKED_BY[ending], *nets])
    check_refusal(
        *run(capsys, "convert", path, tmp_path / "c.npz", f"--{PICKED_BY[ending]}", "none"), ["'none'"]
    )
    only(tmp_path, path.name, "b.npz")


def too_large(net: LSTM) -> None:
    net.bo = np.array([0, 0, 1e300, 0, 0])


# Options of a net in float64, what is done to it, options of the command, and words of the message.
LOST: dict[str, tuple[dict[str, Any], Callable[[LSTM], None] | None, list[str], list[str]]] = {
    "a projection": ({"proj_size": 2}, None, [], ["proj_size", "proj_size=2"]),
    "a clip that float32 does not have": ({"clip": 0.1}, None, [], ["b.onnx", "clip=0.1"]),
    "an alpha that float32 does not have": (
        {"activations": ["Sigmoid", ("LeakyRelu", 0.1), "Tanh"]},
        None,
        [],
        ["b.onnx", "LeakyRelu", "0.1"],
    ),
    "a weight too large": ({}, too_large, ["--dtype", "float32"], ["bias_ih_l0", "float32"]),
}


@pytest.mark.parametrize("case", LOST)
def test_what_cannot_be_carried_over(capsys: pytest.CaptureFixture[str], tmp_path: Path, case: str) -> None:
    needs("onnx")
    options, change, arguments, words = LOST[case]
    net = random_net(np.random.default_rng(0), 3, 5, np.float64, **options)
    if change is not None:
        change(net)
    net.save(tmp_path / "net.npz")
    (tmp_path / "b.onnx").write_bytes(b"as it was")
    check_refusal(*run(capsys, "convert", tmp_path / "net.npz", tmp_path / "b.onnx", *arguments), words)
    assert (tmp_path / "b.onnx").read_bytes() == b"as it was"
    only(tmp_path, "b.onnx", "net.npz")


def test_in_float32_such_a_clip_is_carried_over(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Both numbers are one in the dtype that the net computes in."""
    needs("onnx")
    net = random_net(np.random.default_rng(0), 3, 5, np.float32, clip=0.1)
    net.save(tmp_path / "net.npz")
    status, _, _ = run(capsys, "convert", tmp_path / "net.npz", tmp_path / "b.onnx")
    assert status == 0
    X = 10 * features(20, 3)
    assert_same_bits(lstm.load(tmp_path / "b.onnx").forward_sequence(X), net.forward_sequence(X))


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_writer_that_loses_something_is_noticed(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    """What was written is read back: a wrong weight does not take the place of B."""
    needs(ending)
    from importlib import import_module

    module = import_module(f"lstm.formats.{ending}")
    write = module.write

    def wrong(parts: Parts, path: str) -> None:
        state = to_state_dict(parts)
        state["weight_hh_l0"][3, 4] = np.nextafter(state["weight_hh_l0"][3, 4], np.float32(9))
        write(from_state_dict(state), path)

    monkeypatch.setattr(module, "write", wrong)
    arguments = ["convert", saved_bare(tmp_path), tmp_path / f"b.{ending}"]
    check_refusal(*run(capsys, *arguments), [f"b.{ending}", "weights"])
    only(tmp_path, "a.npz")


def saved_bare(folder: Path) -> Path:
    np.savez(folder / "a.npz", **net_of("plain").state_dict())  # type: ignore[arg-type]
    return folder / "a.npz"


# Keras


KERAS = {
    "plain.keras": [],
    "stacked.keras": [],
    "bidirectional.h5": [],
    "plain.weights.h5": [],
    "rnn_stack.h5": [],
    "branches.keras": ["--layer", "elu"],
    "stacked.h5": ["--layer", "1"],
}


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("name", KERAS)
def test_files_of_keras(capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str) -> None:
    """Told, run, converted and compared."""
    needs("keras")
    path, pick = DATA / "keras" / name, KERAS[name]
    layer = {"layer": int(pick[1]) if pick[1].isdecimal() else pick[1]} if pick else {}
    net = lstm.load(path, **layer)
    status, report = run_json(capsys, "info", path, *pick)
    assert status == 0
    assert report["lstms"][0]["lstm"]["num_layers"] == net.num_layers
    X = features(2, 19, net.input_size)
    Y, _ = run_on(capsys, tmp_path, path, X, "--block", "9", *pick)
    assert_same_bits(Y, net.forward_sequence(X))
    for ending in ENDINGS:
        needs(ending)
        status, _, err = run(capsys, "convert", path, tmp_path / f"b.{ending}", *pick)
        assert (status, err) == (0, "")
        assert_same_bits(lstm.load(tmp_path / f"b.{ending}").forward_sequence(X), Y)
    np.savez(tmp_path / "X.npz", X=X, Y=Y)
    status, _ = run_json(capsys, "compare", path, tmp_path / "X.npz", *pick)
    assert status == 0


@pytest.mark.parametrize("name", ["branches.keras", "stacked.h5", "rnn_stack.weights.h5"])
def test_every_layer_of_keras_is_told(capsys: pytest.CaptureFixture[str], name: str) -> None:
    needs("keras")
    path = DATA / "keras" / name
    _, report = run_json(capsys, "info", path)
    told = [one for one in report["lstms"] if one["option"] is not None]
    assert len(told) >= 3
    for one in told:
        assert (one["option"], one["error"]) == ("layer", None)
        net = lstm.load(path, layer=one["value"])
        sizes = (net.input_size, net.hidden_size, net.num_layers)
        assert tuple(one["lstm"][name] for name in OPTIONS[:3]) == sizes


def test_a_layer_that_there_is_not(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    needs("keras")
    path = DATA / "keras" / "branches.keras"
    check_refusal(*run(capsys, "info", path, "--layer", "none"), ["branches.keras", "'none'", "'elu'"])
    check_refusal(*run(capsys, "info", path, "--layer", "99"), ["branches.keras", "99", "'elu'"])
    check_refusal(*run(capsys, "info", path, "--node", "elu"), ["branches.keras", "node"])
    check_refusal(*run(capsys, "convert", path, tmp_path / "b.npz"), ["branches.keras", "layer", "'elu'"])


# compare


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time each path once."""
    from lstm.comparison import comparison

    monkeypatch.setattr(comparison.compare_case, "__kwdefaults__", {"seconds": 0})


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_compare_of_every_variant(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, variant: str, ending: str
) -> None:
    """Against inputs and outputs in a file, in a batch and alone, and random ones."""
    needs(ending)
    if ending == "onnx" and variant == "projection":
        pytest.skip("ONNX has no projection")
    net, path = net_of(variant), saved(tmp_path, variant, ending)
    status, report = run_json(capsys, "compare", path)
    assert status == 0, report["cases"]
    from_end = net.bidirectional or net.reverse
    ways = ["batch rows alone"] if from_end else ["single steps", "stream", "chunks", "batch rows alone"]
    assert report["ways"] == ways
    for X in (features(4, 25, 3), features(25, 3)):
        h0, C0 = states(net, len(X) if X.ndim == 3 else None)
        Y, (h_n, C_n) = net.forward_sequence(X, h0, C0, return_state=True)
        np.savez(tmp_path / "X.npz", X=X, h0=h0, C0=C0, Y=Y, h_n=h_n, C_n=C_n)
        status, report = run_json(capsys, "compare", path, tmp_path / "X.npz")
        assert status == 0
        (case,) = report["cases"]
        assert {name: d["absolute"] for name, d in case["recorded"].items()} == {"Y": 0, "h_n": 0, "C_n": 0}
        assert 0 < case["difference"]["absolute"] < 5e-6
        h_n[-1, ..., 0] += 1e-4
        np.savez(tmp_path / "X.npz", X=X, h0=h0, C0=C0, h_n=h_n)
        status, report = run_json(capsys, "compare", path, tmp_path / "X.npz")
        assert status == 1
        assert report["cases"][0]["failures"][0].startswith("h_n differs from the recorded one")
    status, out, _ = run(capsys, "compare", path)
    assert f"same bits: whole sequence, {', '.join(ways)}; on " in out


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("ending", PICKED_BY)
def test_compare_a_picked_net(capsys: pytest.CaptureFixture[str], tmp_path: Path, ending: str) -> None:
    path, nets = several(tmp_path, ending)
    for value, net in nets.items():
        np.savez(tmp_path / "X.npz", X=(X := features(9, net.input_size)), Y=net.forward_sequence(X))
        pick = [f"--{PICKED_BY[ending]}", value]
        for arguments in ([path, tmp_path / "X.npz", *pick], [path, *pick, tmp_path / "X.npz"]):
            status, report = run_json(capsys, "compare", *arguments)
            assert status == 0
            assert report["cases"][0]["recorded"]["Y"]["absolute"] == 0
    check_refusal(*run(capsys, "compare", path), [PICKED_BY[ending], *nets])


# What is imported, and what is documented


def imported_by(folder: Path, code: str) -> set[str]:
    """The modules that a process has after `code`."""
    code += "\nimport sys\nprint(*sys.modules, file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return set(done.stderr.split())


LIBRARIES = {"h5py", "keras", "matplotlib", "onnx", "safetensors", "torch", "tqdm"}


def test_nothing_is_imported_before_it_is_used(tmp_path: Path) -> None:
    saved(tmp_path)
    assert not imported_by(tmp_path, "import lstm") & {*LIBRARIES, "argparse", "lstm.commands"}
    begin = "from lstm.__main__ import main\n"
    for arguments in (["--help"], ["run", "--help"], ["--version"], ["info"]):
        found = imported_by(tmp_path, f"{begin}main({arguments})")
        assert not found & {
            *LIBRARIES,
            "lstm.comparison.comparison",
            "lstm.comparison.report",
            "lstm.formats.npz",
            "lstm.formats.numpy_files",
        }, arguments
    put(tmp_path / "X.npy", features(9, 3))
    for words in ("info net.npz", "run net.npz X.npy -o Y.npy", "convert net.npz b.npz"):
        found = imported_by(tmp_path, f"{begin}main({words.split()})")
        assert not found & {*LIBRARIES, "lstm.comparison.comparison", "lstm.comparison.report"}, words


def test_the_keys_are_told(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The page of pydoc that a help names has every key of the document."""
    saved(tmp_path)
    put(tmp_path / "X.npy", features(9, 3))
    model, X = tmp_path / "net.npz", tmp_path / "X.npy"
    for arguments in (
        ["info"],
        ["info", model],
        ["run", model, X, "-o", tmp_path / "Y.npy"],
        ["convert", model, tmp_path / "b.npz"],
        ["compare", model],
    ):
        _, report = run_json(capsys, *arguments)
        _, out, _ = run(capsys, str(arguments[0]), "--help")
        page = re.search(r"python -m pydoc (\S+)", out)
        assert page is not None
        done = subprocess.run(
            [sys.executable, "-m", "pydoc", page[1]], env=environment(), capture_output=True, text=True
        )
        for key in keys_of(report):
            assert re.search(rf"``{key}``", done.stdout), (arguments[0], key)


def keys_of(document: Any) -> Iterator[str]:
    """The keys of a document, but not those that are names of files' entries, outputs and weights."""
    if isinstance(document, list):
        for one in document:
            yield from keys_of(one)
    elif isinstance(document, dict):
        for key, value in document.items():
            yield key
            if key not in ("differences", "recorded", "shapes"):
                yield from keys_of(value)


@pytest.mark.skipif(not (ROOT / "docs").exists(), reason="needs the source tree")
def test_the_page_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every command of docs/command-line.md, after the files that it speaks of have been made."""
    needs("onnx")
    needs("safetensors")
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs" / "command-line.md").read_text("utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    exec(code, {})
    lines = [line for block in re.findall(r"```sh\n(.*?)```", page, re.DOTALL) for line in block.splitlines()]
    commands = [shlex.split(line, comments=True) for line in lines if line.startswith("lstm ")]
    assert {words[1] for words in commands} == {"info", "run", "convert", "compare"}
    for words in commands:
        if words[1:] == ["compare"]:
            continue  # the grid, which takes long
        status, out, err = run(capsys, *words[1:])
        assert (status, err) == (0, ""), words
        assert out


def test_both_ways_to_start_it(tmp_path: Path) -> None:
    done = command(tmp_path, "info", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    program = Path(sys.executable).parent / "lstm"
    if program.exists():
        script = subprocess.run(
            [program, "info", "--json"], capture_output=True, text=True, env=environment()
        )
        assert (script.returncode, script.stdout) == (0, done.stdout)


# What a file does not tell


@pytest.mark.parametrize("ending", ["npz", "safetensors"])
def test_what_a_state_dict_does_not_tell(
    ending: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    needs(ending)
    net = LSTM(3, 5, reverse=True, activations=("hardsigmoid", ("leakyrelu", 0.1), "tanh"), rng=0)
    bare, told = tmp_path / f"bare.{ending}", tmp_path / "told.npz"
    if ending == "npz":
        np.savez(bare, **net.state_dict())  # type: ignore[arg-type]
    else:
        pytest.importorskip("safetensors.numpy").save_file(net.state_dict(), bare)
    options = ["--reverse", "--activations", "hardsigmoid,leakyrelu:0.1,tanh"]
    assert main(["convert", str(bare), str(told), *options]) == 0
    same_net(lstm.load(told), net)
    assert main(["info", str(bare), *options]) == 0
    assert "hardsigmoid" in capsys.readouterr().out.lower()
    for wrong in (["--merge", "sum"], ["--activations", "tanh"], ["--activations", "a:b,tanh,tanh"]):
        assert main(["info", str(bare), *wrong]) != 0
