"""Checks of arrays and numbers before anything is computed, and their messages."""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

from .. import _kernel


def real_array(name: str, value: Any) -> np.ndarray:
    """`value` as an array of a real dtype, the same one if it is; else TypeError or ValueError."""
    if type(value) is not np.ndarray:
        if isinstance(value, np.ma.MaskedArray):
            raise TypeError(f"{name} is a masked array, whose mask would be lost; fill it first")
        if _holds_masked_array(value):
            raise TypeError(f"{name} holds masked arrays, whose masks would be lost; fill them first")
        value = _numpy_array(name, value)
    # bfloat16 and narrower ones, which ml_dtypes adds to NumPy.
    if value.dtype.isbuiltin == 2 and np.can_cast(value.dtype, np.float32, "safe"):
        return value.astype(np.float32)  # type: ignore[no-any-return]
    if value.dtype.kind not in "fiub":
        hint = "; bfloat16 that NumPy saved is X.view(ml_dtypes.bfloat16)" if value.dtype == "V2" else ""
        raise TypeError(f"{name} has dtype {value.dtype}, but must have a real one, such as float32{hint}")
    return value  # type: ignore[no-any-return]


def _numpy_array(name: str, value: Any) -> np.ndarray:
    """`value` as an array of whatever dtype; of a tensor or a frame by its own methods."""
    if (nullable := _nullable_columns(value)) is not None:
        if bool(nullable.isna().to_numpy().any()):
            raise ValueError(f"{name} has missing values; fill them first, such as by {name}.fillna(0)")
        return np.asarray(value.to_numpy(dtype=np.float64))
    try:
        return np.asarray(value)
    except (ValueError, TypeError, RuntimeError) as error:
        if callable(getattr(value, "detach", None)):
            raise ValueError(
                f"{name} is a tensor that NumPy does not take ({error}); "
                f"write {name}.detach().cpu().float().numpy()"
            ) from error
        raise ValueError(f"{name} is not a regular array of numbers: {error}") from error


def _nullable_columns(value: Any) -> Any:
    """The columns that may lack values of a frame or series of pandas that holds numbers alone; else None."""
    if not (callable(getattr(value, "to_numpy", None)) and hasattr(value, "iloc")):
        return None
    is_series = hasattr(value, "dtype")
    dtypes = [value.dtype] if is_series else list(value.dtypes)
    columns = [k for k, one in enumerate(dtypes) if not isinstance(one, np.dtype)]
    if not columns or not all(getattr(one, "kind", "O") in "fiub" for one in dtypes):
        return None
    return value if is_series else value.iloc[:, columns]


def _holds_masked_array(value: Any, depth: int = 3) -> bool:
    """Whether a list or tuple, or one within it, holds a masked array."""
    if not isinstance(value, list | tuple):
        return isinstance(value, np.ma.MaskedArray)
    return depth > 0 and any(_holds_masked_array(one, depth - 1) for one in value)


def cast(array: np.ndarray, dtype: np.dtype[Any], *, copy: bool = True) -> np.ndarray:
    """A C-contiguous array of `dtype`; what is too large for it becomes infinite, what is too small zero.

    It is rounded to nearest, and leaves no floating-point flags, in whatever mode the thread is.
    """
    if not copy and array.dtype == dtype and array.flags.c_contiguous and type(array) is np.ndarray:
        return array
    found = _kernel.enter_default_mode()
    try:
        with np.errstate(all="ignore"):
            return array.astype(dtype, order="C", copy=copy)
    finally:
        _kernel.restore_mode(found)


def exact_array(name: str, value: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
    """A new array of this very shape and dtype; what is too large for it becomes infinite."""
    array = real_array(name, value)
    if array.shape != shape:
        raise ValueError(f"{name} has shape {array.shape}, but must be {shape}")
    return cast(array, dtype)


def finite_number(name: str, value: Any) -> float:
    """A finite number as a float."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.integer | np.floating):
        raise TypeError(f"{name} is {value!r}, but must be a number")
    try:
        number = float(value)
    except OverflowError:
        raise ValueError(f"{name} is an integer that no float can hold, but must be finite") from None
    if not math.isfinite(number):
        raise ValueError(f"{name} is {value!r}, but must be finite")
    return number


def positive_size(name: str, value: Any) -> int:
    """An integer of at least 1."""
    if isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} is {value!r}, but must be a positive integer")
    try:
        size = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} is {value!r}, but must be a positive integer") from None
    if size < 1:
        raise ValueError(f"{name} is {size}, but must be at least 1")
    return size


def is_usable(array: np.ndarray) -> bool:
    """Whether the kernel can work on this memory: aligned, whole strides, a contiguous last axis."""
    size = array.itemsize
    return (
        array.flags.aligned
        and array.dtype.isnative
        and (array.strides[-1] == size or array.shape[-1] == 1)
        and all(stride % size == 0 for stride in array.strides)
    )


def usable_rows(array: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    """`array`, or a copy where its dtype or memory is not what the kernel works on."""
    if array.dtype == dtype and is_usable(array):
        return array
    return cast(array, dtype)


DTYPES = (np.dtype(np.float64), np.dtype(np.float32))


def net_dtype(value: Any) -> np.dtype[Any]:
    """float32 or float64; TypeError for anything else."""
    try:
        dtype = np.dtype(value)
    except (TypeError, ValueError, SyntaxError):
        raise TypeError(f"dtype is {value!r}, but must be float64 or float32") from None
    if value is None or dtype not in DTYPES:
        raise TypeError(f"dtype is {value!r}, but must be float64 or float32")
    return dtype  # type: ignore[no-any-return]


def generator(rng: Any) -> np.random.Generator:
    """The source of random numbers for a seed, a generator or None (SPEC 7)."""
    try:
        return np.random.default_rng(rng)
    except (TypeError, ValueError) as error:
        raise type(error)(
            f"rng is {rng!r}, but must be a seed or a numpy.random.Generator: {error}"
        ) from error
