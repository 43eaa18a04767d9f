"""One call on the reference and on every ISA of this CPU: results and exceptions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from support import as_backend, assert_close, assert_same_bits, awkward_arrays, misaligned, on_isa

from lstm import LSTM, _kernel

Outcome = tuple[str, Any]


def variants(net: LSTM) -> Iterator[tuple[str, LSTM]]:
    """The same weights on the reference, first, and on every ISA of this CPU."""
    yield "numpy", as_backend(net, "numpy")
    for isa in _kernel.SUPPORTED_ISAS:
        yield isa, on_isa(net, isa)


def flat(result: Any) -> list[np.ndarray]:
    """The arrays of a result, which may be nested tuples of them."""
    if isinstance(result, tuple):
        return [array for part in result for array in flat(part)]
    return [result]


def bits(value: Any) -> bytes | None:
    """The memory of an array, to see whether a call has changed it; None for what is no array."""
    return np.asarray(value).tobytes() if isinstance(value, np.ndarray) else None


def outcome(call: Callable[..., Any], *args: Any, **options: Any) -> Outcome:
    """("result", arrays) or (type of the exception, message); the inputs are unchanged either way."""
    inputs = [*args, *(value for name, value in options.items() if name != "out")]
    before = [bits(value) for value in inputs]
    try:
        found: Outcome = "result", flat(call(*args, **options))
    except Exception as error:
        found = type(error).__name__, str(error)
    assert [bits(value) for value in inputs] == before, "an input was modified"
    return found


def assert_parity(
    net: LSTM, method: str, *args: Any, make_out: Callable[[], Any] | None = None, **options: Any
) -> Outcome:
    """Hold each ISA's outcome to the reference's, and to one another's bits; return the reference's."""
    outcomes = {}
    for name, variant in variants(net):
        if make_out is not None:
            options["out"] = make_out()
        outcomes[name] = outcome(getattr(variant, method), *args, **options)
    expected = outcomes.pop("numpy")
    first, *_ = outcomes.values()
    for name, found in outcomes.items():
        if expected[0] != "result" or found[0] != "result":
            assert found == expected, name
            continue
        for actual, wanted, first_native in zip(found[1], expected[1], first[1], strict=True):
            assert actual.dtype == net.dtype
            assert_close(actual, wanted, f"{name} against the reference")
            assert_same_bits(actual, first_native, f"{name} against {_kernel.SUPPORTED_ISAS[0]}")
    return expected


def assert_error(
    net: LSTM, error: type[Exception], words: str, method: str, *args: Any, **options: Any
) -> None:
    """Both backends raise `error` with a message that holds each of `words`, between bars."""
    kind, message = assert_parity(net, method, *args, **options)
    assert kind == error.__name__, message
    for word in words.split("|"):
        assert word in message, message


HIDDEN, INPUT, BATCH, TIME = 5, 3, 4, 6


def out_arrays(shape: tuple[int, ...], dtype: type) -> Iterator[tuple[str, Callable[[], np.ndarray]]]:
    """(name, maker) of every odd place for outputs, filled with NaN."""

    def filled(*size: int) -> np.ndarray:
        return np.full(size, np.nan, dtype)

    *rows, units = shape
    yield "contiguous", lambda: filled(*shape)
    yield "Fortran-ordered", lambda: np.asfortranarray(filled(*shape))
    yield "strided on the last axis", lambda: filled(*rows, 2 * units)[..., ::2]
    yield "a slice of wider rows", lambda: filled(*rows, units + 3)[..., 1:-2]
    yield "strided on the first axis", lambda: filled(2 * rows[0], *shape[1:])[::2]
    yield "reversed on all axes", lambda: np.flip(filled(*shape))
    yield "reversed on the first axis", lambda: filled(*shape)[::-1]
    yield "misaligned", lambda: misaligned(filled(*shape))
    yield "a field of packed records", lambda: np.zeros(shape, [("pad", "u1"), ("value", dtype)])["value"]


def assert_same_as_plain(call: Callable[[LSTM, Any], Any], net: LSTM, array: np.ndarray) -> None:
    """Every odd way to hold `array` gives what `array` gives, on native to the bit, and is left alone."""
    for backend, variant in variants(net):
        wanted = flat(call(variant, array))
        for name, value in awkward_arrays(array):
            before = bits(value)
            found = flat(call(variant, value))
            assert bits(value) == before, f"{name} was modified"
            for actual, expected in zip(found, wanted, strict=True):
                if backend == "numpy":
                    assert_close(actual, expected, f"{backend}, {name}")
                else:
                    assert_same_bits(actual, expected, f"{backend}, {name}")


class Labelled(np.ndarray):
    """An ndarray with a name of its own, as other packages make them."""
