"""Memory that arrays hand on to later ones: never shared, bounded, freed on request and by a fork."""

from __future__ import annotations

import os
import threading
import tracemalloc

import numpy as np
import pytest

import lstm
from lstm import _kernel

KEPT, MOST, LEAST = 64 << 20, 128, 1 << 12  # as in csrc/blocks.h
FLOAT32, FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)


def block(size: int, clear: bool = False) -> np.ndarray:
    """An array of so many bytes."""
    return _kernel.recycled((size // 4,), FLOAT32, clear)


@pytest.fixture(autouse=True)
def nothing_kept() -> None:
    lstm.release_memory()


@pytest.mark.parametrize("shape", [(0, 3), (4, 3)])
def test_an_array_that_goes_while_an_exception_is_on_its_way(shape: tuple[int, ...]) -> None:
    with pytest.raises(TypeError, match="exactly one argument"):
        len(_kernel.recycled(shape, FLOAT32), 1)  # type: ignore[call-arg]


def test_an_array_is_like_any_other() -> None:
    for shape in ((), (0,), (3, 0, 2), (5,), (3, 4, 5, 6, 7)):
        for dtype in (FLOAT32, FLOAT64):
            array = _kernel.recycled(shape, dtype)
            assert (array.shape, array.dtype) == (shape, dtype)
            assert array.flags.c_contiguous
            assert array.flags.writeable
            assert array.ctypes.data % 64 == 0
            array[...] = 1


@pytest.mark.parametrize("size", [LEAST, 300_000, 5_000_000])
def test_memory_is_handed_on(size: int) -> None:
    first = block(size)
    address = first.ctypes.data
    del first
    second = block(size)
    assert second.ctypes.data == address
    assert lstm.release_memory() == 0
    del second
    assert lstm.release_memory() >= size


def test_small_memory_is_not_kept() -> None:
    del [block(LEAST - 4)][:]
    assert lstm.release_memory() == 0


def test_memory_that_a_view_refers_to_stays() -> None:
    """Whatever kind of view: a slice, another dtype, a buffer."""
    whole = block(40_000)
    address = whole.ctypes.data
    whole[...] = 7
    views = [whole[3:], whole.view(np.int32)[::2], memoryview(whole), np.asarray(whole.reshape(2, -1).T)]
    del whole
    while views:
        others = [block(40_000) for _ in range(3)]
        assert address not in [other.ctypes.data for other in others]
        for other in others:
            other[...] = np.nan
        assert np.all(np.asarray(views.pop()).ravel().view(np.float32) == 7)
    assert block(40_000).ctypes.data == address


@pytest.mark.parametrize("size", [1000, 100_000, 3_000_000])
def test_zeros_where_something_was(size: int) -> None:
    for _ in range(3):
        array = block(size, True)
        assert not array.any()
        array[...] = np.nan


def test_the_best_fit_is_taken() -> None:
    """The smallest that is large enough; none that is more than twice as large."""
    arrays = {size: block(size) for size in (100_000, 50_000, 40_000, 80_000)}
    addresses = {size: array.ctypes.data for size, array in arrays.items()}
    arrays.clear()
    taken = [block(60_000), block(39_000), block(41_000), block(51_000)]
    assert [one.ctypes.data for one in taken] == [
        addresses[size] for size in (80_000, 40_000, 50_000, 100_000)
    ]
    del taken[-1]
    assert block(49_000).ctypes.data != addresses[100_000]


def test_what_waits_is_bounded() -> None:
    arrays = [block(1 << 20) for _ in range(100)]
    del arrays
    assert lstm.release_memory() <= KEPT
    arrays = [block(LEAST) for _ in range(3 * MOST)]
    del arrays
    assert lstm.release_memory() == MOST * LEAST
    del [block(KEPT + 4)][:]
    assert lstm.release_memory() == 0


def test_the_oldest_is_freed_first() -> None:
    old, young = block(5_000), block(60 << 20)
    address = young.ctypes.data
    del old, young
    del [block(6 << 20)][:]  # for which both have to go, in their order
    assert lstm.release_memory() == 6 << 20
    old, young = block(5_000), block(60 << 20)
    address = young.ctypes.data
    del old, young
    del [block((4 << 20) - 5_000 // 4096 * 4096)][:]
    assert block(60 << 20).ctypes.data == address


def test_sizes_that_change_keep_no_more_than_the_bound() -> None:
    rng = np.random.default_rng(0)
    alive: list[np.ndarray] = []
    for _ in range(3000):
        alive.append(block(int(rng.integers(1, 2 << 20))))
        if len(alive) > 20:
            del alive[rng.integers(len(alive))]
    alive.clear()
    assert 0 < lstm.release_memory() <= KEPT


def test_threads_take_and_give() -> None:
    """Arrays made in one thread and freed in another, with releases between: nobody's are another's."""
    errors: list[str] = []

    def work(number: int, handed: list[np.ndarray]) -> None:
        for k in range(2000):
            array = block(5_000 + 7_000 * (k % 5))
            array[...] = number
            handed.append(array)
            if len(handed) > 10:
                oldest = handed.pop(0)
                if not np.all(oldest == oldest[0]):
                    errors.append("written by two")
            if k % 100 == 0:
                _kernel.release_blocks()

    shared: list[np.ndarray] = []
    threads = [threading.Thread(target=work, args=(number, shared)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors


def test_there_is_no_memory() -> None:
    for shape in ((1 << 62, 8), (1 << 46,), (1 << 31, 1 << 31, 1 << 31)):
        with pytest.raises(MemoryError, match="there is no memory for an array of shape"):
            _kernel.recycled(shape, FLOAT64)


def test_others_dtypes() -> None:
    for dtype in (object, np.int32, np.float16):
        with pytest.raises(ValueError, match="there are no recycled arrays"):
            _kernel.recycled((3,), np.dtype(dtype))


def test_tracemalloc_sees_it() -> None:
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        array = block(1_000_000)
        assert tracemalloc.get_traced_memory()[0] - before >= array.nbytes
        del array
        assert tracemalloc.get_traced_memory()[0] - before < 100_000
    finally:
        tracemalloc.stop()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_begins_with_nothing() -> None:
    """It frees what waited, goes on with arrays that are alive, and hands on memory of its own."""
    alive = block(2_000_000)
    alive[...] = 3
    del [block(2_000_000)][:]
    child = os.fork()
    if child == 0:
        status = 1
        try:
            if _kernel.release_blocks() == 0 and np.all(alive == 3):
                del alive
                status = 0 if _kernel.release_blocks() >= 2_000_000 else 2
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert np.all(alive == 3)
    assert _kernel.release_blocks() >= 2_000_000
