"""PyTorch's modules and state dicts, and .safetensors files: outputs, round trips, what cannot be."""

from __future__ import annotations

import contextlib
import json
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import DATA, ROOT, assert_same_bits
from test_variants import VARIANTS, make

import lstm
from lstm import LSTM, FormatError

FIXTURE_TOLERANCE = {np.dtype(np.float32): 2e-6, np.dtype(np.float64): 1e-12}


def fixtures() -> dict[str, dict[str, np.ndarray]]:
    """Arrays of every recorded case by name."""
    cases: dict[str, dict[str, np.ndarray]] = {}
    with np.load(DATA / "torch.npz") as file:
        for key, array in file.items():
            case, name = key.split("/")
            cases.setdefault(case, {})[name] = array
    return cases


FIXTURES = fixtures()


def state_of(case: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name.removeprefix("state "): array for name, array in case.items() if name.startswith("state ")}


def assert_outputs(net: LSTM, case: dict[str, np.ndarray]) -> None:
    from support import assert_close

    Y, (h_n, C_n) = net.forward_sequence(case["X"], case["h0"], case["C0"], return_state=True)
    for name, found in (("Y", Y), ("h_n", h_n), ("C_n", C_n)):
        assert_close(found, case[name], name, FIXTURE_TOLERANCE)


def assert_same_weights(net: LSTM, other: LSTM) -> None:
    assert repr(net) == repr(other)
    for name, array in net.state_dict().items():
        assert_same_bits(other.state_dict()[name], array, name)


# State dicts


@pytest.mark.parametrize("backend", ["native", "numpy"])
@pytest.mark.parametrize("case", FIXTURES)
def test_recorded_nets(case: str, backend: str) -> None:
    state = state_of(FIXTURES[case])
    assert_outputs(LSTM.from_torch(state, backend=backend), FIXTURES[case])  # type: ignore[arg-type]


def test_a_net_among_others() -> None:
    """It is found where it is the only one; where there are several they are listed, and a prefix picks."""
    state = state_of(FIXTURES["bidirectional"])
    model = {"embedding.weight": np.ones((9, 4)), "gru.weight_hh_l0": np.ones((18, 6))}
    model |= {f"encoder.lstm.{name}": array for name, array in state.items()}
    assert_outputs(LSTM.from_torch(model), FIXTURES["bidirectional"])
    model |= {f"decoder.{name}": array for name, array in state_of(FIXTURES["plain"]).items()}
    with pytest.raises(ValueError, match=r"several LSTMs, pick one by prefix=.*'decoder\.' \(input_size=4"):
        LSTM.from_torch(model)
    for prefix in ("decoder", "decoder."):
        assert_outputs(LSTM.from_torch(model, prefix), FIXTURES["plain"])
    with pytest.raises(ValueError, match=r"no LSTM has the prefix 'coder'.*'encoder\.lstm\.'"):
        LSTM.from_torch(model, "coder")


def test_a_cell() -> None:
    state = state_of(FIXTURES["plain"])
    cell = {name.removesuffix("_l0"): array for name, array in state.items()}
    assert_outputs(LSTM.from_torch(cell), FIXTURES["plain"])
    assert_outputs(LSTM.from_torch({f"a.b.{name}": x for name, x in cell.items()}), FIXTURES["plain"])


def test_half_precision_arrays_are_widened() -> None:
    state = {name: array.astype(np.float16) for name, array in state_of(FIXTURES["plain"]).items()}
    net = LSTM.from_torch(state)
    assert net.dtype == np.float32
    wide = {name: array.astype(np.float32) for name, array in state.items()}
    assert_same_weights(net, LSTM.from_state_dict(wide))


@pytest.mark.parametrize(
    ("source", "error", "match"),
    [
        (3, TypeError, "the source is a int"),
        ({}, ValueError, "there is no LSTM"),
        ({"weight": np.ones(3)}, ValueError, "there is no LSTM"),
        ({"weight_hh_l0": np.ones((18, 6)), "weight_ih_l0": np.ones((18, 6))}, ValueError, "no LSTM"),
        ({"weight_hh_l0": np.ones((24, 6))}, ValueError, "lacks weight_ih_l0"),
        ({"weight_hh": np.ones((24, 6))}, ValueError, "lacks weight_ih_l0"),
    ],
)
def test_what_is_no_lstm(source: Any, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        LSTM.from_torch(source)


# Live


@pytest.mark.filterwarnings("ignore:LSTM with projections")
@pytest.mark.parametrize("name", ["plain", "three layers", "bidirectional", "projection", "no bias"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_to_pytorch_and_back(name: str, dtype: Any) -> None:
    torch = pytest.importorskip("torch")
    net, mixture = make(name, dtype, 3)
    module = net.to_torch()
    assert not module.training
    assert module.batch_first
    assert_same_weights(LSTM.from_torch(module), net)
    with torch.no_grad():
        states = torch.from_numpy(mixture.h0), torch.from_numpy(mixture.C0)
        Y, (h_n, C_n) = module(torch.from_numpy(mixture.X), states)
    case = {"Y": Y.numpy(), "h_n": h_n.numpy(), "C_n": C_n.numpy()}
    assert_outputs(net, {**case, "X": mixture.X, "h0": mixture.h0, "C0": mixture.C0})


@pytest.mark.parametrize("name", ["reverse", "peephole", "clip", "coupled", "activations"])
def test_what_pytorch_lacks(name: str) -> None:
    net, _ = make(name, np.float32, 1)
    with pytest.raises(ValueError, match="PyTorch's LSTM has no"):
        net.to_torch()


def test_modules() -> None:
    """A cell, a larger model, bfloat16, a parameter that wants a gradient."""
    torch = pytest.importorskip("torch")
    torch.manual_seed(1)
    cell = torch.nn.LSTMCell(3, 5)
    net = LSTM.from_torch(cell)
    x, h, C = torch.randn(2, 3), torch.randn(2, 5), torch.randn(2, 5)
    with torch.no_grad():
        expected = cell(x, (h, C))
    for found, wanted in zip(net.forward(x.numpy(), h.numpy(), C.numpy()), expected, strict=True):
        np.testing.assert_allclose(found, wanted.numpy(), atol=2e-6)
    model = torch.nn.ModuleDict({"rnn": torch.nn.LSTM(3, 5), "head": torch.nn.Linear(5, 2)})
    assert LSTM.from_torch(model.rnn).input_size == 3
    assert_same_weights(LSTM.from_torch(model), LSTM.from_torch(model.rnn))
    half = torch.nn.LSTM(3, 5).bfloat16()
    assert_same_weights(LSTM.from_torch(half), LSTM.from_torch(half.float()))
    with pytest.raises(ValueError, match="no LSTM"):
        LSTM.from_torch(torch.nn.GRU(3, 5))
    with pytest.raises(ValueError, match="meta tensor"):
        LSTM.from_torch(torch.nn.LSTM(3, 5, device="meta"))


def test_the_missing_extras_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError, match=r"lstm-native\[torch\]"):
        LSTM(3, 5).to_torch()
    monkeypatch.setitem(sys.modules, "safetensors", None)
    (tmp_path / "net.safetensors").write_bytes(b"")
    with pytest.raises(ImportError, match=r"lstm-native\[safetensors\]"):
        lstm.load(tmp_path / "net.safetensors")
    with pytest.raises(ImportError, match=r"lstm-native\[safetensors\]"):
        LSTM(3, 5).save(tmp_path / "other.safetensors")


# .safetensors


@pytest.fixture
def library() -> Any:
    return pytest.importorskip("safetensors.numpy")


@pytest.mark.parametrize("backend", ["native", "numpy"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", VARIANTS)
def test_files_of_every_variant(name: str, dtype: Any, backend: str, tmp_path: Path, library: Any) -> None:
    _, mixture = make(name, dtype, 3)
    net = mixture.net(backend=backend)
    net.save(tmp_path / "net.safetensors")
    loaded = lstm.load(tmp_path / "net.safetensors", backend=backend)  # type: ignore[arg-type]
    assert_same_weights(loaded, net)
    for key, array in mixture.outputs(net).items():
        assert_same_bits(mixture.outputs(loaded)[key], array)
    assert library.load_file(tmp_path / "net.safetensors").keys() == net.state_dict().keys()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.safetensors"]


def test_pytorch_reads_the_file(tmp_path: Path, library: Any) -> None:
    torch = pytest.importorskip("torch")
    from safetensors.torch import load_file

    net, _ = make("bidirectional", np.float32, 1)
    net.save(tmp_path / "net.safetensors")
    module = torch.nn.LSTM(5, 35, bidirectional=True)
    module.load_state_dict(load_file(tmp_path / "net.safetensors"))
    assert_same_weights(LSTM.from_torch(module), net)


def test_a_net_in_a_file_of_many(tmp_path: Path, library: Any) -> None:
    path = tmp_path / "model.safetensors"
    state = {f"encoder.{name}": array for name, array in state_of(FIXTURES["all"]).items()}
    state["head.weight"] = np.ones((2, 6), np.int64)
    library.save_file(state, path)
    assert_outputs(lstm.load(path), FIXTURES["all"])
    library.save_file({**state, **{f"z.{k}": v for k, v in state_of(FIXTURES["plain"]).items()}}, path)
    with pytest.raises(FormatError, match=r"model\.safetensors: there are several LSTMs"):
        lstm.load(path)
    assert_outputs(lstm.load(path, prefix="encoder"), FIXTURES["all"])
    with pytest.raises(FormatError, match="no LSTM has the prefix"):
        lstm.load(path, prefix="y")
    LSTM(3, 5).save(tmp_path / "net.npz")
    with pytest.raises(ValueError, match="prefix is 'y', but"):
        lstm.load(tmp_path / "net.npz", prefix="y")


def test_half_precision_files(tmp_path: Path, library: Any) -> None:
    """float16 by the library; bfloat16, which NumPy lacks, by hand: the upper halves of float32."""
    path = tmp_path / "net.safetensors"
    state = state_of(FIXTURES["plain"])
    library.save_file({name: array.astype(np.float16) for name, array in state.items()}, path)
    narrow = {name: array.astype(np.float16).astype(np.float32) for name, array in state.items()}
    assert_same_weights(lstm.load(path), LSTM.from_state_dict(narrow))
    cut = {name: (array.view(np.uint32) >> 16).astype("<u2") for name, array in state.items()}
    path.write_bytes(raw_file({name: ("BF16", array.shape, array.tobytes()) for name, array in cut.items()}))
    wide = {name: (array.astype(np.uint32) << 16).view(np.float32) for name, array in cut.items()}
    assert_same_weights(lstm.load(path), LSTM.from_state_dict(wide))


@pytest.mark.skipif(not (ROOT / "examples").exists(), reason="needs the source tree")
def test_the_speech_net_as_safetensors(tmp_path: Path, library: Any) -> None:
    net = lstm.load(ROOT / "examples" / "speech" / "lstm.npz")
    net.save(tmp_path / "speech.safetensors")
    assert_same_weights(lstm.load(tmp_path / "speech.safetensors"), net)


# Broken files


def raw_file(tensors: dict[str, tuple[str, Any, bytes]], **metadata: str) -> bytes:
    """A .safetensors file of (dtype, shape, bytes) by name, whatever they claim."""
    header: dict[str, Any] = {"__metadata__": metadata} if metadata else {}
    data = b""
    for name, (dtype, shape, values) in tensors.items():
        offsets = [len(data), len(data) + len(values)]
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": offsets}
        data += values
    return with_header(json.dumps(header).encode(), data)


def with_header(header: bytes, data: bytes, length: int | None = None) -> bytes:
    return struct.pack("<Q", len(header) if length is None else length) + header + data


def good_tensors() -> dict[str, tuple[str, Any, bytes]]:
    return {name: ("F32", a.shape, a.tobytes()) for name, a in state_of(FIXTURES["plain"]).items()}


def changed(name: str, dtype: str | None = None, shape: Any = None, values: bytes | None = None) -> bytes:
    tensors = good_tensors()
    old = tensors[name]
    tensors[name] = (
        old[0] if dtype is None else dtype,
        old[1] if shape is None else shape,
        old[2] if values is None else values,
    )
    return raw_file(tensors)


def broken_files() -> dict[str, bytes]:
    """Files made from a good one, each wrong in one way."""
    good = raw_file(good_tensors())
    size = struct.unpack("<Q", good[:8])[0]
    header, data = good[8 : 8 + size], good[8 + size :]
    files = {
        f"cut at {k}": good[:k] for k in (0, 1, 7, 8, 9, 8 + size // 2, 8 + size - 1, 8 + size, len(good) - 1)
    }
    files |= {
        f"header length {n}": with_header(header, data, n)
        for n in (0, 1, size - 1, size + 1, 2**31, 2**63, 2**64 - 1)
    }
    texts = ["", "{", "[]", "null", "NaN", '{"a": NaN}', '{"a": 1}', "\xff", '{"a":' * 2000, "[" * 5000]
    files |= {f"header {text[:9]!r}": with_header(text.encode("latin-1"), data) for text in texts}
    for name in good_tensors():
        shape = list(good_tensors()[name][1])
        for wrong in (
            [],
            [0],
            [-1, 4],
            [2**62, 4],
            [2**64, 1],
            shape[:-1],
            [*shape, 1],
            shape[::-1],
            [0, *shape[1:]],
            [1.5],
            ["4"],
            None,
        ):
            if wrong != shape and not (wrong is None or (len(shape) == 1 and wrong == shape[::-1])):
                files[f"{name} of shape {wrong}"] = changed(name, shape=wrong)
        for dtype in ("F64", "I32", "U8", "BOOL", "F8_E4M3", "Q4", "", "f32"):
            files[f"{name} of {dtype!r}"] = changed(name, dtype)
        files[f"{name} too short"] = changed(name, values=good_tensors()[name][2][:-4])
        files[f"{name} too long"] = changed(name, values=good_tensors()[name][2] + bytes(4))
        tensors = good_tensors()
        del tensors[name]
        files[f"no {name}"] = raw_file(tensors)
    entry = json.loads(header)
    for offsets in ([0, 0], [4, 0], [-4, 4], [0, 2**63], [0, len(data) + 4], [1, 2]):
        entry["weight_hh_l0"]["data_offsets"] = offsets
        files[f"offsets {offsets}"] = with_header(json.dumps(entry).encode(), data)
    for config in (
        "",
        "{",
        "[]",
        "{}",
        "NaN",
        '{"version": 2}',
        "x" * 10_001,
        '{"version": 1, "dtype": "float16"}',
    ):
        files[f"configuration {config[:12]!r}"] = raw_file(good_tensors(), lstm=config)
    right = {"version": 1, "input_size": 4, "hidden_size": 6, "bias": True, "dtype": "float32"}
    wrong_values: dict[str, list[Any]] = {
        "input_size": [5, "4", None, 1.5],
        "hidden_size": [7, True],
        "bias": [False, 1],
        "dtype": ["float64"],
        "num_layers": [2, 0, "1"],
        "bidirectional": [True, 0],
        "reverse": ["no", 1],
        "clip": [0, -1, float("nan"), float("inf"), "1", True],
        "input_forget": [1],
        "activations": [
            "Tanh",
            ["Tanh"],
            ["Tanh", "Tanh", "exec"],
            [["Elu", "x"], "Tanh", "Tanh"],
            [[], [], []],
            [1, 2, 3],
            {"a": 1},
        ],
        "proj_size": [3, -1],
        "peephole": [True],
        "unknown": [1],
    }
    for name, values in wrong_values.items():
        for value in values:
            files[f"{name}={value!r}"] = raw_file(good_tensors(), lstm=json.dumps({**right, name: value}))
    return files


BROKEN = broken_files()


def test_the_good_file_is_good(tmp_path: Path, library: Any) -> None:
    right = {"version": 1, "input_size": 4, "hidden_size": 6, "bias": True, "dtype": "float32", "clip": 2}
    (tmp_path / "a.safetensors").write_bytes(raw_file(good_tensors(), lstm=json.dumps(right)))
    assert lstm.load(tmp_path / "a.safetensors").clip == 2
    (tmp_path / "a.safetensors").write_bytes(raw_file(good_tensors()))
    assert_outputs(lstm.load(tmp_path / "a.safetensors"), FIXTURES["plain"])
    assert len(BROKEN) >= 100


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files(name: str, tmp_path: Path, library: Any) -> None:
    path = tmp_path / "broken.safetensors"
    path.write_bytes(BROKEN[name])
    with pytest.raises(FormatError, match=r"broken\.safetensors"):
        lstm.load(path)


def test_mutated_files(tmp_path: Path, library: Any, request: pytest.FixtureRequest) -> None:
    """Bytes changed, cut out and doubled at random: a net or a FormatError, nothing else."""
    rng = np.random.default_rng(5)
    right = {"version": 1, "input_size": 4, "hidden_size": 6, "bias": True, "dtype": "float32"}
    good = np.frombuffer(raw_file(good_tensors(), lstm=json.dumps(right)), np.uint8)
    size = struct.unpack("<Q", good[:8].tobytes())[0] + 8
    path = tmp_path / "mutated.safetensors"
    for _ in range(100_000 if request.config.getoption("--exhaustive") else 2_000):
        bytes_ = good.copy()
        places = rng.integers(0, size, rng.integers(1, 4))
        bytes_[places] = rng.integers(0, 256, len(places))
        if rng.integers(3) == 0:
            first, last = np.sort(rng.integers(0, len(good), 2))
            bytes_ = (
                np.delete(bytes_, slice(first, last))
                if rng.integers(2)
                else np.insert(bytes_, first, bytes_[first:last])
            )
        path.write_bytes(bytes_.tobytes())
        with contextlib.suppress(FormatError):
            lstm.load(path)
