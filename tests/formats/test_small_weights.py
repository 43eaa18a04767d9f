"""Files of nets with small weights: what they keep, how large they are, and what else they are read as."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nets import assert_same_weights
from small_nets import EACH, assert_same_integers, foreign, small_net
from support import assert_same_bits, random_net
from variants import make

import lstm
from lstm import LSTM, FormatError

VARIANT_NAMES = ["plain", "no bias", "one-direction mixture", "two-direction mixture", "clipped mixture"]


@pytest.fixture(params=[".npz", ".safetensors"])
def ending(request: pytest.FixtureRequest) -> str:
    if request.param == ".safetensors":
        pytest.importorskip("safetensors")
    return str(request.param)


@EACH
@pytest.mark.parametrize("name", VARIANT_NAMES)
def test_files_of_variants(precision: Any, name: str, ending: str, tmp_path: Path) -> None:
    full, mixture = make(name, np.float32, 2)
    net = LSTM.from_state_dict(
        full.state_dict(), precision=precision, backend="numpy", **full.core.architecture.options()
    )
    net.save(path := tmp_path / f"net{ending}")
    found = lstm.load(path, backend="numpy")
    assert repr(found) == repr(net)
    assert_same_weights(found, net)
    for actual, expected in zip(mixture.outputs(found).values(), mixture.outputs(net).values(), strict=True):
        assert_same_bits(actual, expected)


def test_files_keep_integers_from_elsewhere(ending: str, tmp_path: Path) -> None:
    net = foreign()
    net.save(path := tmp_path / f"net{ending}")
    assert_same_integers(lstm.load(path, backend="numpy"), net)


@pytest.mark.parametrize(("precision", "most"), [("int8", 0.27), ("bfloat16", 0.51), ("float16", 0.51)])
def test_files_are_small(precision: Any, most: float, ending: str, tmp_path: Path) -> None:
    full = random_net(np.random.default_rng(0), 128, 256, np.float32, backend="numpy")
    full.save(large := tmp_path / f"large{ending}")
    full.quantize(precision).save(small := tmp_path / f"small{ending}")
    assert small.stat().st_size <= most * large.stat().st_size


@EACH
def test_full_files_are_read_small(precision: Any, ending: str, tmp_path: Path) -> None:
    full = small_net(None, num_layers=2)
    full.save(path := tmp_path / f"net{ending}")
    assert_same_weights(lstm.load(path, precision=precision, backend="numpy"), full.quantize(precision))
    assert lstm.load(path).precision is None


@EACH
def test_small_files_in_another_dtype_or_precision(precision: Any, ending: str, tmp_path: Path) -> None:
    net = small_net(precision)
    net.save(path := tmp_path / f"net{ending}")
    wide = lstm.load(path, dtype=np.float64)
    assert (wide.precision, wide.dtype) == (None, np.float64)
    assert_same_bits(wide.Wf.astype(np.float32), net.Wf)
    other = "float16" if precision != "float16" else "bfloat16"
    assert_same_weights(lstm.load(path, precision=other), net.quantize(other))


@EACH
def test_files_of_float64_need_float32(precision: Any, ending: str, tmp_path: Path) -> None:
    LSTM(3, 5, rng=0).save(path := tmp_path / f"net{ending}")
    with pytest.raises(ValueError, match="small weights need dtype float32"):
        lstm.load(path, precision=precision)
    assert lstm.load(path, dtype=np.float32, precision=precision, backend="numpy").precision == precision


@EACH
def test_a_small_net_among_other_tensors(precision: Any, tmp_path: Path) -> None:
    library = pytest.importorskip("safetensors.numpy")
    net = small_net(precision)
    net.save(path := tmp_path / "net.safetensors")
    arrays = lstm.tensors(path)
    if precision == "int8":
        assert arrays["weight_ih_l0"].dtype == np.int8
        assert arrays["weight_hh_l0_scale"].shape == (20,)
    else:
        assert_same_bits(arrays["weight_ih_l0"], net.state_dict()["weight_ih_l0"])
    # Without what the package writes beside them, integers are no weights.
    library.save_file({f"encoder.lstm.{name}": array for name, array in arrays.items()}, path)
    if precision == "int8":
        with pytest.raises(FormatError, match="I8"):
            lstm.load(path)
    else:
        found = lstm.load(path, precision=precision, backend="numpy")
        assert_same_weights(found, net)


@EACH
def test_an_npz_archive_of_a_larger_model(precision: Any, tmp_path: Path) -> None:
    net = small_net(precision)
    net.save(path := tmp_path / "net.npz")
    with np.load(path) as file:
        arrays = {name: file[name] for name in file}
    entry = arrays.pop("lstm")
    np.savez(path, head=np.ones((2, 5)), lstm=entry, **{f"rnn.{name}": a for name, a in arrays.items()})
    assert_same_weights(lstm.load(path, prefix="rnn", backend="numpy"), net)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_pytorch_reads_sixteen_bits(dtype: Any, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    library = pytest.importorskip("safetensors.torch")
    net = small_net(dtype, num_layers=2)
    net.save(path := tmp_path / "net.safetensors")
    state = library.load_file(path)
    assert state["weight_ih_l0"].dtype == getattr(torch, dtype)
    module = torch.nn.LSTM(3, 5, num_layers=2)
    module.load_state_dict(state)
    assert_same_weights(LSTM.from_torch(module, backend="numpy"), net.quantize(None))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_checkpoints_of_sixteen_bits_keep_every_bit(dtype: Any, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    library = pytest.importorskip("safetensors.torch")
    torch.manual_seed(0)
    module = torch.nn.LSTM(3, 5, num_layers=2).to(getattr(torch, dtype))
    library.save_file(module.state_dict(), path := tmp_path / "model.safetensors")
    for small, wide in (
        (lstm.load(path, precision=dtype), lstm.load(path)),
        (LSTM.from_torch(module, precision=dtype), LSTM.from_torch(module)),
    ):
        assert small.precision == dtype
        assert wide.precision is None
        assert_same_weights(small, wide)
        X = np.random.default_rng(1).standard_normal((2, 9, 3)).astype(np.float32)
        assert_same_bits(small.forward_sequence(X), wide.forward_sequence(X))
