"""Arrays of other libraries: pandas, narrow floats of ml_dtypes, tensors.

Shapes: B batch, T time, I input.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support import assert_same_bits

from lstm import LSTM

X = np.random.default_rng(5).standard_normal((6, 3)).round(2)


def net(dtype: Any = np.float64, backend: Any = "native") -> LSTM:
    return LSTM(3, 5, dtype=dtype, rng=0, backend=backend)


@pytest.mark.parametrize("backend", ["native", "numpy"])
@pytest.mark.parametrize("dtype", ["float64", "float32", "Float64", "Float32", "mixed"])
def test_frames_and_series_of_pandas(dtype: str, backend: str) -> None:
    """Of nullable dtypes too, as long as nothing is missing: the bits of the plain array."""
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=list("abc"))
    if dtype == "mixed":
        frame["b"] = (frame["b"] * 10).round().astype("Int64")
        frame["c"] = (frame["c"] > 0).astype("boolean")
    else:
        frame = frame.astype(dtype)
    one, plain = net(backend=backend), np.array([[float(v) for v in row] for row in frame.values.tolist()])
    assert_same_bits(one.forward_sequence(frame), one.forward_sequence(plain))
    Ys = one.forward_sequences([frame, frame.iloc[:2]])
    assert_same_bits(Ys[1], one.forward_sequence(plain[:2]))
    state = pandas.Series(np.linspace(0, 1, 5)).astype("Float64")
    row = pandas.Series(plain[1]).astype("Float64")
    expected = one.forward(plain[1], state.to_numpy(float), np.ones(5))
    for actual, wanted in zip(one.forward(row, state, np.ones(5)), expected, strict=True):
        assert_same_bits(actual, wanted)
    assert_same_bits(one.stream().step(row), one.stream().step(plain[1]))


def test_missing_values_and_text_of_pandas() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X).astype("Float64")
    frame.iloc[2, 1] = pandas.NA
    with pytest.raises(ValueError, match=r"X has missing values; fill them first, such as by X\.fillna\(0\)"):
        net().forward_sequence(frame)
    whole = frame.fillna(0)
    assert_same_bits(net().forward_sequence(whole), net().forward_sequence(whole.to_numpy(float)))
    for wrong in (whole.astype(str), whole.assign(text="1.0"), whole.astype(object)):
        with pytest.raises((TypeError, ValueError), match="X "):
            net().forward_sequence(wrong)


@pytest.mark.parametrize("backend", ["native", "numpy"])
@pytest.mark.parametrize("name", ["bfloat16", "float8_e4m3fn", "float8_e5m2"])
def test_narrow_floats(name: str, backend: str) -> None:
    """They are widened, which loses nothing; weights of them make a net of float32."""
    dtype = getattr(pytest.importorskip("ml_dtypes"), name)
    narrow = X.astype(dtype)
    one = net(np.float32, backend)
    assert_same_bits(one.forward_sequence(narrow), one.forward_sequence(narrow.astype(np.float32)))
    assert_same_bits(one.forward_sequences([narrow])[0], one.forward_sequence(narrow.astype(np.float32)))
    assert_same_bits(one.stream().run(narrow), one.forward_sequence(narrow.astype(np.float32)))
    state = {key: array.astype(dtype) for key, array in one.state_dict().items()}
    found = LSTM.from_state_dict(state)
    assert found.dtype == np.float32
    assert_same_bits(found.layers[0].Wf[:, 5:], np.asarray(state["weight_ih_l0"], np.float32)[5:10])


def test_bfloat16_that_numpy_saved() -> None:
    with pytest.raises(TypeError, match=r"X has dtype \|V2.*view\(ml_dtypes\.bfloat16\)"):
        net().forward_sequence(np.zeros((4, 3), "V2"))
    with pytest.raises(TypeError, match="X has dtype"):
        net().forward_sequence(np.zeros((4, 3), [("value", np.float32)]))


def test_tensors_that_numpy_does_not_take() -> None:
    torch = pytest.importorskip("torch")
    for tensor in (torch.ones(4, 3, dtype=torch.bfloat16), torch.ones(4, 3, requires_grad=True)):
        with pytest.raises(ValueError, match=r"write X\.detach\(\)\.cpu\(\)\.float\(\)\.numpy\(\)"):
            net().forward_sequence(tensor)
        assert net().forward_sequence(tensor.detach().cpu().float().numpy()).shape == (4, 5)
