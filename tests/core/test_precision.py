"""How weights become small: rounded to 16 bits, or integers with a scale for every row."""

from __future__ import annotations

import numpy as np
import pytest

from lstm.core import precision
from lstm.core.activations import canonical
from lstm.core.architecture import DEFAULT_OPTIONS, check


def matrix() -> np.ndarray:
    """(4, 5, 33) of float32, rows of very different sizes."""
    rng = np.random.default_rng(0)
    return (rng.standard_normal((4, 5, 33)) * 10.0 ** rng.integers(-6, 4, (4, 5, 1))).astype(np.float32)


def test_int8_rows_are_half_a_step_from_the_matrix_at_most() -> None:
    given = matrix()
    rows = precision.quantize_rows("W", given)
    assert rows.values.dtype == np.int8
    assert rows.scales.dtype == np.float32
    most = np.abs(given).max(axis=-1)
    np.testing.assert_array_equal(rows.scales, most / np.float32(127))
    assert (np.abs(rows.values.astype(int)).max(axis=-1) == 127).all()
    error = np.abs(rows.widen().astype(np.float64) - given)
    assert (error <= 0.5001 * rows.scales[..., np.newaxis]).all()


def test_what_was_quantized_is_quantized_to_the_same() -> None:
    rows = precision.quantize_rows("W", matrix())
    again = precision.quantize_rows("W", rows.widen())
    np.testing.assert_array_equal(again.values, rows.values)
    np.testing.assert_array_equal(again.scales, rows.scales)


def test_rows_that_stay_keep_their_integers() -> None:
    foreign = precision.Int8Rows(np.array([[3, -5], [7, 2]], np.int8), np.array([0.5, 0.25], np.float32))
    values = foreign.widen()
    values[1, 0] = 2
    rows = precision.requantize_rows("W", values, foreign)
    np.testing.assert_array_equal(rows.values, [[3, -5], [127, 32]])
    np.testing.assert_array_equal(rows.scales, np.array([0.5, np.float32(2) / np.float32(127)], np.float32))


def test_a_row_of_next_to_nothing_is_zero() -> None:
    given = np.array([[0, 0], [2.0**-120, -(2.0**-121)], [2.0**-119, -(2.0**-120)]], np.float32)
    rows = precision.quantize_rows("W", given)
    np.testing.assert_array_equal(rows.values, [[0, 0], [0, 0], [127, -64]])
    np.testing.assert_array_equal(rows.scales[:2], [0, 0])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, np.finfo(np.float32).max])
def test_int8_refuses_what_it_cannot_hold(value: float) -> None:
    given = matrix()
    given[1, 2, 3] = value
    with pytest.raises(ValueError, match="W_ih holds NaN, infinity or nearly that, which int8 cannot hold"):
        precision.quantize_rows("W_ih", given)


def test_bfloat16_is_rounded_to_nearest_even() -> None:
    one = np.float32(1)
    step = np.float32(2.0**-7)  # of bfloat16 above 1
    given = [one, one + step / 2, one + step * 3 / 2, one + step / 2 + np.float32(2.0**-23)]
    rounded = precision.round_to("W", np.array(given, np.float32), "bfloat16")
    np.testing.assert_array_equal(rounded, [1, 1, 1 + 2 * step, 1 + step])
    wide = matrix()
    error = np.abs(precision.round_to("W", wide, "bfloat16").astype(np.float64) - wide)
    assert (error <= np.abs(wide) * 2.0**-8).all()


@pytest.mark.parametrize("kept", ["bfloat16", "float16"])
def test_sixteen_bits_keep_what_they_hold(kept: str) -> None:
    every = np.arange(1 << 16, dtype=np.uint16)
    wide = precision.widen(every, kept)
    again = precision.widen(precision.narrow("W", wide, kept), kept)
    np.testing.assert_array_equal(again, wide)
    numbers = ~np.isnan(wide)
    np.testing.assert_array_equal(precision.narrow("W", wide, kept)[numbers], every[numbers])
    np.testing.assert_array_equal(np.isnan(again), np.isnan(wide))


@pytest.mark.parametrize(("kept", "value"), [("bfloat16", 3.4e38), ("float16", 65520.0)])
def test_sixteen_bits_refuse_what_would_become_infinite(kept: str, value: float) -> None:
    given = np.array([1, -value, np.inf], np.float32)
    with pytest.raises(ValueError, match=f"W_hh holds a value of magnitude .*, which {kept} cannot hold"):
        precision.narrow("W_hh", given, kept)


@pytest.mark.parametrize(
    ("gates", "output", "projected", "bounded"),
    [
        ("Sigmoid", "Tanh", False, True),
        ("HardSigmoid", "Softsign", False, True),
        ("Sigmoid", "Tanh", True, False),
        ("Tanh", "Tanh", False, False),
        ("Sigmoid", "Relu", False, False),
        ("Sigmoid", "ScaledTanh", False, False),
    ],
)
def test_where_h_is_bounded(gates: str, output: str, projected: bool, bounded: bool) -> None:
    functions = (canonical(gates), canonical("Relu"), canonical(output))
    options = DEFAULT_OPTIONS._replace(activations=functions)
    assert precision.bounds_h(options, projected) is bounded


def test_check_precision() -> None:
    single = np.dtype(np.float32)
    assert precision.check_precision(None, np.dtype(np.float64)) is None
    assert precision.check_precision("int8", single) == "int8"
    with pytest.raises(ValueError, match="small weights need dtype float32"):
        precision.check_precision("int8", np.dtype(np.float64))
    with pytest.raises(ValueError, match="must be None or one of 'bfloat16', 'float16', 'int8'"):
        precision.check_precision("int4", single)
    with pytest.raises(TypeError, match="precision is 8"):
        precision.check_precision(8, single)


def test_sums_of_int8_fit_an_int32() -> None:
    precision.check_depths("int8", check(65_536, 1))
    precision.check_depths("float16", check(65_537, 1))
    with pytest.raises(ValueError, match="takes 65537 features, and 65536 at most fit"):
        precision.check_depths("int8", check(65_537, 1))
    with pytest.raises(ValueError, match="takes 80000 features"):
        precision.check_depths("int8", check(3, 40_000, num_layers=2, bidirectional=True))
