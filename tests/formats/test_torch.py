"""PyTorch's modules and state dicts, and .safetensors files: outputs, round trips, what cannot be."""

from __future__ import annotations

import json
import struct
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import DATA, ROOT, assert_close, assert_same_bits
from variants import VARIANTS, make

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
    Y, (h_n, C_n) = net.forward_sequence(case["X"], case["h0"], case["C0"], return_state=True)
    for name, found in (("Y", Y), ("h_n", h_n), ("C_n", C_n)):
        assert_close(found, case[name], name, FIXTURE_TOLERANCE)


def assert_same_weights(net: LSTM, other: LSTM) -> None:
    assert repr(net) == repr(other)
    for name, array in net.state_dict().items():
        assert_same_bits(other.state_dict()[name], array, name)


# Cells of one's own


@pytest.mark.parametrize("prefix", ["", "encoder.cell."])
@pytest.mark.parametrize("other", ["layernorm_i.weight", "weight_cc", "bias_ch", "gate.norm.bias"])
@pytest.mark.parametrize("ending", ["", "_l0"])
def test_other_tensors_of_the_same_module(prefix: str, other: str, ending: str, tmp_path: Path) -> None:
    """They change what it computes, so that it is no plain LSTM; those of other modules do not."""
    library = pytest.importorskip("safetensors.numpy")
    own = {f"weight_ih{ending}": np.ones((24, 4)), f"weight_hh{ending}": np.ones((24, 6))}
    model = {prefix + name: array for name, array in {**own, other: np.ones(6)}.items()}
    with pytest.raises(
        ValueError, match=f"'{prefix}' has other tensors in the same module, '{prefix}{other}'"
    ):
        LSTM.from_torch(model)
    path = tmp_path / "model.safetensors"
    library.save_file(model, path)
    with pytest.raises(FormatError, match=r"model\.safetensors: the LSTM .* is no plain LSTM"):
        lstm.load(path)
    model[f"other.{other}"] = model.pop(prefix + other)
    if prefix:
        assert LSTM.from_torch(model).hidden_size == 6


def test_a_cell_with_peepholes_or_projection() -> None:
    rng = np.random.default_rng(0)
    cell = {"weight_ih": rng.normal(size=(24, 4)), "weight_hh": rng.normal(size=(24, 6))}
    cell["weight_ch"] = rng.normal(size=18)
    assert_same_bits(LSTM.from_torch(cell).state_dict()["weight_ch_l0"], cell["weight_ch"])
    del cell["weight_ch"]
    cell |= {"weight_hh": rng.normal(size=(24, 3)), "weight_hr": rng.normal(size=(3, 6))}
    assert LSTM.from_torch({f"a.{name}": array for name, array in cell.items()}).proj_size == 3


# Quantized and exported modules


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("dtype", ["qint8", "float16"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_dynamically_quantized_modules(dtype: str, bidirectional: bool) -> None:
    """Within half a step of a weight, or the rounding of float16, of what was quantized."""
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.LSTM(4, 6, 2, bidirectional=bidirectional), torch.nn.Tanh())
    quantized = torch.ao.quantization.quantize_dynamic(module, {torch.nn.LSTM}, dtype=getattr(torch, dtype))
    found, expected = LSTM.from_torch(quantized).state_dict(), LSTM.from_torch(module).state_dict()
    for name, array in expected.items():
        step = np.abs(array).max() * (2 / 255 if dtype == "qint8" else 2.0**-10)
        assert np.abs(found[name] - array).max() <= step
    assert any((found[name] != expected[name]).any() for name in expected)
    with pytest.raises(ValueError, match="quantize_dynamic, so hand over the module itself"):
        LSTM.from_torch(quantized.state_dict())


@pytest.mark.filterwarnings("ignore")
def test_quantizable_modules() -> None:
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    module = torch.ao.nn.quantizable.LSTM(4, 6, 2, batch_first=True)
    X = torch.randn(3, 5, 4)
    Y = module(X)[0].detach().numpy()
    wrapped = torch.nn.ModuleDict({"a": module})
    for source in (module, module.state_dict(), wrapped):
        assert_close(LSTM.from_torch(source).forward_sequence(X.numpy()), Y, "Y", FIXTURE_TOLERANCE)
    both = torch.ao.nn.quantizable.LSTM(4, 6, bidirectional=True, batch_first=True)
    Y = both(X)[0].detach().numpy()
    assert_close(LSTM.from_torch(both).forward_sequence(X.numpy()), Y, "Y", FIXTURE_TOLERANCE)


@pytest.mark.filterwarnings("ignore")
def test_exported_programs() -> None:
    torch = pytest.importorskip("torch")
    module = torch.nn.LSTM(4, 6, batch_first=True)
    program = torch.export.export(module, (torch.zeros(2, 5, 4),))
    assert_same_weights(LSTM.from_torch(program), LSTM.from_torch(module))


# Pickles


@pytest.mark.parametrize("ending", [".pt", ".PTH", ".ckpt", ".bin", ".pth.tar", ".pkl"])
def test_pickles_are_not_read_but_explained(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"model{ending}"
    with pytest.raises(ValueError, match=r"torch\.load\(.*weights_only=True\)") as caught:
        lstm.load(path)
    assert ('["state_dict"]' in str(caught.value)) == (ending == ".ckpt")
    with pytest.raises(
        ValueError, match=r"model\.\S*safetensors'(.|\n)*torch\.save\(net\.to_torch\(\)\.state_dict"
    ):
        LSTM(3, 5).save(path)
    assert not path.exists()


@pytest.mark.parametrize(
    ("ending", "entries", "says"),
    [
        (".pt", ["a/data.pkl", "a/code/b.py", "a/constants.pkl"], r"torch\.jit\.load"),
        (".model", ["a/data.pkl", "a/code/b.py", "a/constants.pkl"], r"torch\.jit\.load"),
        (".model", ["a/data.pkl", "a/data/0"], r"torch\.load"),
        (".model", ["a/config.json"], r"ends in '\.model', but must end in"),
        (".pt2", [], r"torch\.export\.load\(.*\)\.state_dict"),
    ],
)
def test_what_an_archive_holds_picks_the_advice(
    ending: str, entries: list[str], says: str, tmp_path: Path
) -> None:
    path = tmp_path / f"model{ending}"
    with zipfile.ZipFile(path, "w") as archive:
        for name in entries:
            archive.writestr(name, b"x")
    with pytest.raises(ValueError, match=says):
        lstm.load(path)


@pytest.mark.parametrize("backend", ["native", "numpy"])
def test_packed_sequences_are_refused(backend: Any) -> None:
    rnn = pytest.importorskip("torch").nn.utils.rnn
    torch = pytest.importorskip("torch")
    packed = rnn.pack_sequence([torch.ones(3, 2), torch.ones(2, 2)])
    with pytest.raises(TypeError, match=r"pad_packed_sequence.*lengths="):
        LSTM(2, 3, backend=backend).forward_sequence(packed)


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
        ({1: np.ones(3), "a": None}, ValueError, "there is no LSTM"),
        (
            {"epoch": 3, "model": {}, "optimizer": {}},
            ValueError,
            "what it holds under 'model' or 'optimizer'",
        ),
        (
            {"weight_hh_l0": np.ones((24, 6), np.int8), "weight_ih_l0": np.ones((24, 6))},
            TypeError,
            "weight_hh_l0 has dtype int8",
        ),
    ],
)
def test_what_is_no_lstm(source: Any, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        LSTM.from_torch(source)


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.module.encoder.0."])
def test_prefixes_of_wrappers(prefix: str) -> None:
    """DataParallel, torch.compile and modules in modules put names before others."""
    state = state_of(FIXTURES["all"])
    wrapped = {prefix + name: array for name, array in state.items()}
    assert_outputs(LSTM.from_torch(wrapped), FIXTURES["all"])
    assert_outputs(LSTM.from_torch(wrapped, prefix), FIXTURES["all"])


def test_a_cell_beside_a_net() -> None:
    state = state_of(FIXTURES["plain"])
    model = {f"cell.{name.removesuffix('_l0')}": array[..., ::-1] for name, array in state.items()}
    model |= {f"lstm.{name}": array for name, array in state.items()}
    with pytest.raises(ValueError, match=r"'cell\.' \(input_size=4, hidden_size=6, 1 layer\), 'lstm\.'"):
        LSTM.from_torch(model)
    assert_outputs(LSTM.from_torch(model, "lstm"), FIXTURES["plain"])
    assert np.array_equal(
        LSTM.from_torch(model, "cell").state_dict()["weight_ih_l0"], model["cell.weight_ih"]
    )


def test_mixed_dtypes() -> None:
    """The widest of them, as NumPy has it; nothing is rounded."""
    state = state_of(FIXTURES["plain"])
    for dtypes, expected in (
        ((np.float16, np.float32), np.float32),
        ((np.float32, np.float64), np.float64),
        ((np.float16, np.float64), np.float64),
    ):
        mixed = {name: array.astype(dtypes[k % 2]) for k, (name, array) in enumerate(state.items())}
        net = LSTM.from_torch(mixed)
        assert net.dtype == expected
        assert np.array_equal(net.state_dict()["weight_hh_l0"], mixed["weight_hh_l0"])


COMPUTED = {
    "pruned": {"lstm.weight_hh_l0_orig": (24, 6), "lstm.weight_hh_l0_mask": (24, 6)},
    "normed": {"lstm.weight_hh_l0_g": (24, 1), "lstm.weight_hh_l0_v": (24, 6)},
    "parametrized": {
        "lstm.parametrizations.weight_hh_l0.original0": (24, 1),
        "lstm.parametrizations.weight_hh_l0.original1": (24, 6),
    },
    "dropped": {"lstm.weight_hh_l0_raw": (24, 6), "lstm.module.weight_hh_l0": (24, 6)},
    "its input weights pruned": {"lstm.weight_ih_l0_orig": (24, 4), "lstm.weight_hh_l0": (24, 6)},
}


@pytest.mark.parametrize("kind", COMPUTED)
def test_computed_weights(kind: str) -> None:
    """What stands in for a matrix is no matrix: the error says so, also where another LSTM is sound."""
    model = {name: np.ones(shape, np.float32) for name, shape in COMPUTED[kind].items()}
    first = next(name for name, shape in COMPUTED[kind].items() if "_l0" in name and shape[1] != 1)
    for given in (None, "lstm"):
        with pytest.raises(ValueError, match=rf"'lstm\.' are computed at every call, from '{first}'"):
            LSTM.from_torch(model, given)
    model |= {f"other.{name}": array for name, array in state_of(FIXTURES["plain"]).items()}
    with pytest.raises(ValueError, match=rf"several LSTMs.*'lstm\.' \(computed from '{first}'\), 'other\.'"):
        LSTM.from_torch(model)
    assert_outputs(LSTM.from_torch(model, "other"), FIXTURES["plain"])


def test_computed_weights_of_another_layer() -> None:
    """A normed GRU, or a pruned linear layer, is no LSTM."""
    model = {f"lstm.{name}": array for name, array in state_of(FIXTURES["plain"]).items()}
    model |= {"gru.weight_hh_l0_orig": np.ones((18, 6)), "head.weight_orig": np.ones((24, 6))}
    assert_outputs(LSTM.from_torch(model), FIXTURES["plain"])


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
    for dtype in (torch.float16, torch.float8_e4m3fn):
        narrow = {name: tensor.to(dtype) for name, tensor in torch.nn.LSTM(3, 5).state_dict().items()}
        wide = {name: tensor.float() for name, tensor in narrow.items()}
        assert_same_weights(LSTM.from_torch(narrow), LSTM.from_torch(wide))
    whole = {name: tensor.to(torch.int8) for name, tensor in torch.nn.LSTM(3, 5).state_dict().items()}
    with pytest.raises(TypeError, match=r"weight_ih_l0 has dtype torch\.int8"):
        LSTM.from_torch(whole)
    parallel = torch.nn.DataParallel(torch.nn.LSTM(3, 5))
    assert_same_weights(LSTM.from_torch(parallel), LSTM.from_torch(parallel.module))
    normed = torch.nn.utils.parametrizations.weight_norm(torch.nn.LSTM(3, 5), "weight_hh_l0")
    with pytest.raises(ValueError, match="computed at every call"):
        LSTM.from_torch(normed)
    torch.nn.utils.parametrize.remove_parametrizations(normed, "weight_hh_l0")
    assert LSTM.from_torch(normed).hidden_size == 5
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
    with pytest.raises(ValueError, match="no LSTM has the prefix"):
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


def test_the_good_file_is_good(tmp_path: Path, library: Any) -> None:
    right = {"version": 1, "input_size": 4, "hidden_size": 6, "bias": True, "dtype": "float32", "clip": 2}
    (tmp_path / "a.safetensors").write_bytes(raw_file(good_tensors(), lstm=json.dumps(right)))
    assert lstm.load(tmp_path / "a.safetensors").clip == 2
    (tmp_path / "a.safetensors").write_bytes(raw_file(good_tensors()))
    assert_outputs(lstm.load(tmp_path / "a.safetensors"), FIXTURES["plain"])
