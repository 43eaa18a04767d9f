"""What the compiled kernel refuses by itself, as it would read or write past an array."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from support import DTYPES

from lstm import LSTM, _kernel

B, T, INPUT_SIZE, H = 3, 4, 2, 5


def arguments(dtype: Any) -> dict[str, Any]:
    """Random arguments of a call, X and Y with room past their last steps for a kernel that goes too far."""
    rng = np.random.default_rng(5)
    net = LSTM(INPUT_SIZE, H, dtype=dtype, init="pytorch", rng=rng)
    return {
        "weights": net.core.cells[0],
        "X": rng.standard_normal((B, 3 * T, INPUT_SIZE)).astype(dtype)[:, T : 2 * T],
        "h": rng.standard_normal((B, H)).astype(dtype),
        "C": rng.standard_normal((B, H)).astype(dtype),
        "Y": rng.standard_normal((B, 3 * T, H)).astype(dtype)[:, T : 2 * T],
    }


def assert_refused(call: dict[str, Any], message: str) -> None:
    before = {name: value.copy() for name, value in call.items() if isinstance(value, np.ndarray)}
    with pytest.raises(ValueError, match=re.escape(message)):
        _kernel.forward_sequence(**call)
    for name, value in before.items():
        np.testing.assert_array_equal(call[name], value, name)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("lengths", [(T, T + 1, 2), (1, 2, -1), (2 * T, T, T), (0, -T, 0)])
def test_lengths_out_of_range(lengths: tuple[int, ...], reverse: bool, dtype: Any) -> None:
    call = {**arguments(dtype), "lengths": np.array(lengths), "reverse": reverse}
    assert_refused(call, f"lengths must be between 0 and {T}")


@pytest.mark.parametrize("dtype", DTYPES)
def test_lengths_at_the_ends_of_the_range(dtype: Any) -> None:
    call = arguments(dtype)
    _kernel.forward_sequence(**call, lengths=np.array([0, T, 1]))
    assert not call["Y"][0].any()
    assert call["Y"][1].all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("X", (B, T, INPUT_SIZE + 1)),
        ("h", (B, H - 1)),
        ("C", (B - 1, H)),
        ("Y", (B, T - 1, H)),
        ("trace", (5, B, T, H - 1)),
        ("trace", (4, B, T, H)),
        ("lengths", (B - 1,)),
    ],
)
def test_shapes_that_disagree(name: str, shape: tuple[int, ...], dtype: Any) -> None:
    array = np.ones(shape, np.intp if name == "lengths" else dtype)
    assert_refused({**arguments(dtype), name: array}, f"{name} has shape {shape}, but must be ")


@pytest.mark.parametrize("dtype", DTYPES)
def test_trace_of_different_lengths(dtype: Any) -> None:
    call = {**arguments(dtype), "trace": np.zeros((5, B, T, H), dtype), "lengths": np.array([1, 2, 3])}
    assert_refused(call, "a trace of rows of different lengths is taken row by row")


class NoArray:
    """Has a shape, as the arrays of other libraries have, and is none of NumPy's."""

    def __init__(self, array: np.ndarray) -> None:
        self.shape = array.shape


def read_only(array: np.ndarray) -> np.ndarray:
    array = array.copy()
    array.flags.writeable = False
    return array


OTHER_KINDS: dict[str, Callable[[np.ndarray], Any]] = {
    "no array": NoArray,
    "another dtype": lambda array: array.astype(np.int32),
    "swapped": lambda array: array.astype(array.dtype.newbyteorder()),
    "strided": lambda array: np.repeat(array, 2, axis=-1)[..., ::2],
    "misaligned": lambda array: np.frombuffer(b"\0" + array.tobytes(), array.dtype, offset=1).reshape(
        array.shape
    ),
    "read-only": read_only,
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", OTHER_KINDS)
@pytest.mark.parametrize("name", ["X", "h", "C", "Y"])
def test_arrays_of_another_kind(name: str, kind: str, dtype: Any) -> None:
    call = arguments(dtype)
    if (name, kind) == ("X", "read-only"):
        _kernel.forward_sequence(**{**call, name: read_only(call[name])})
        return
    assert_refused({**call, name: OTHER_KINDS[kind](call[name])}, f"{name} must be ")
