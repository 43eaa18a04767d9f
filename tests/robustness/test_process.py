"""What a call leaves of the process: threads undisturbed, memory flat, the floating-point mode as it was."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import (
    DTYPES,
    EACH_ISA,
    FP_FLAGS,
    FP_FLUSH,
    FP_MASKS,
    FP_UPWARD,
    assert_same_bits,
    mxcsr,
    needs_mxcsr,
    no_collection,
    on_isa,
    random_case,
    random_net,
)

from lstm import LSTM, _kernel

THREADS = 16

plain_memory = pytest.mark.skipif(
    "LSTM_SANITIZE" in os.environ, reason="a sanitizer replaces malloc and keeps freed memory"
)
needs_proc = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc/self/statm")
COMPILER = shutil.which("gcc") or shutil.which("clang")
needs_compiler = pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc" or COMPILER is None, reason="needs glibc and gcc or clang"
)


# ---- threads


def all_outputs(net: LSTM, case: tuple[np.ndarray, ...]) -> np.ndarray:
    """What forward_sequence(), forward() and a stream give, in one array."""
    X, h, C = case
    Y, state = net.forward_sequence(X, h, C, return_state=True)
    step = net.forward(X[:, 0].copy(), h, C)
    stream = net.stream(len(h))
    streamed = [stream.step(X[:, t].copy()) for t in range(3)]
    return np.concatenate([array.ravel() for array in (Y, *state, *step, *streamed)])


def test_threads_give_the_serial_bits() -> None:
    """16 threads call one net of each dtype at once, while another one assigns weights of other nets."""
    rng = np.random.default_rng(0)
    nets = [random_net(rng, 5, 49, dtype) for dtype in DTYPES]
    others = [random_net(rng, 5, 49, dtype) for dtype in DTYPES]
    cases = [[random_case(rng, 3, 60, 5, 49, net.dtype) for net in nets] for _ in range(THREADS)]
    serial = [[all_outputs(net, case) for net, case in zip(nets, mine, strict=True)] for mine in cases]
    started, finished = threading.Barrier(THREADS + 1), threading.Event()

    def assign() -> int:
        rounds = 0
        matrices = [(other.Wf, np.asarray(other.Wf) * 2) for other in others]
        started.wait()
        while not finished.is_set():
            for other, (first, second) in zip(others, matrices, strict=True):
                other.Wf = first if rounds % 2 else second
                rounds += 1
        return rounds

    def run(number: int) -> None:
        started.wait()
        for _ in range(50):
            for net, case, expected in zip(nets, cases[number], serial[number], strict=True):
                assert_same_bits(all_outputs(net, case), expected)

    with ThreadPoolExecutor(THREADS + 1) as pool:
        rounds = pool.submit(assign)
        try:
            for done in [pool.submit(run, number) for number in range(THREADS)]:
                done.result()
        finally:
            finished.set()
        assert rounds.result() > 0


@pytest.mark.parametrize("dtype", DTYPES)
def test_call_keeps_the_weights_it_started_with(dtype: Any) -> None:
    """While weights are assigned, each call runs with the old ones or the new, never with some of both."""
    rng = np.random.default_rng(0)
    net, case = random_net(rng, 5, 33, dtype), random_case(rng, 3, 60, 5, 33, dtype)
    states = [net.state_dict(), random_net(rng, 5, 33, dtype).state_dict()]
    expected = []
    for state in states:
        net.load_state_dict(state)
        expected.append(net.forward_sequence(*case).tobytes())
    assert expected[0] != expected[1]
    seen, finished = set(), threading.Event()

    def run() -> None:
        while not finished.is_set():
            seen.add(net.forward_sequence(*case).tobytes())

    with ThreadPoolExecutor(4) as pool:
        running = [pool.submit(run) for _ in range(4)]
        deadline = time.monotonic() + 30
        while not seen >= set(expected) and time.monotonic() < deadline:
            for _ in range(20):
                for state in states:
                    net.load_state_dict(state)
        finished.set()
        for done in running:
            done.result()
    assert seen == set(expected)


def test_other_threads_run_during_a_call() -> None:
    rng = np.random.default_rng(0)
    net = random_net(rng, 8, 64, np.float32)
    steps, seconds = 1000, 0.0
    while seconds < 0.3:
        steps *= 2
        X = np.ones((steps, 8), np.float32)
        start = time.perf_counter()
        net.forward_sequence(X)
        seconds = time.perf_counter() - start
    started, finished = threading.Event(), threading.Event()

    def call() -> None:
        started.set()
        net.forward_sequence(X)
        finished.set()

    thread = threading.Thread(target=call)
    thread.start()
    started.wait()
    turns = 0
    while not finished.is_set():
        time.sleep(0.001)
        turns += 1
    thread.join()
    # A held GIL gives this thread a turn or two: one before the call and one after it.
    assert turns >= 20, f"{turns} turns during a call of {seconds:.2f} s"


# ---- memory


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def calls_of(dtype: Any) -> dict[str, Callable[[], Any]]:
    """Calls that must leave no memory behind; some raise."""
    rng = np.random.default_rng(0)
    net = random_net(rng, 3, 5, dtype)
    X, h, C = random_case(rng, 2, 3, 3, 5, dtype)
    out = np.empty((2, 3, 5), dtype)
    misfit = np.zeros((1, 5), dtype)
    x, stream = X[:, 0].copy(), net.stream(2)

    def raising(function: Callable[..., Any], *arguments: Any) -> Callable[[], None]:
        def call() -> None:
            with contextlib.suppress(ValueError, TypeError):
                function(*arguments)
                raise AssertionError("no error")

        return call

    return {
        "forward": lambda: net.forward(x, h, C),
        "forward of a strided x": lambda: net.forward(X[:, 0], h, C),
        "Stream.step": lambda: stream.step(x),
        "Stream.step with out": lambda: stream.step(x, out[:, 0].copy()),
        "Stream.step that raises": raising(stream.step, X),
        "Stream.run": lambda: stream.run(X),
        "forward_sequence": lambda: net.forward_sequence(X, h, C, return_state=True),
        "forward_sequence with out": lambda: net.forward_sequence(X, h, C, out=out),
        "forward_sequence of lists": lambda: net.forward_sequence([[1, 2, 3]]),
        "forward that raises": raising(net.forward, X, h, C),
        "forward_sequence that raises": raising(net.forward_sequence, X, misfit),
        "kernel that raises on h": raising(_kernel.forward_sequence, net.core.cells[0], X, misfit, C, None),
        "kernel that raises on Y": raising(
            _kernel.forward_sequence, net.core.cells[0], X, h, C, out[..., ::2]
        ),
    }


@plain_memory
@needs_proc
@pytest.mark.parametrize("name", calls_of(np.float32))
@pytest.mark.parametrize("dtype", DTYPES)
def test_memory_is_flat(dtype: Any, name: str) -> None:
    call = calls_of(dtype)[name]

    def run(times: int = 100_000) -> None:
        for _ in range(times):
            call()

    run(10_000)
    # The smallest allocation that could leak, of 16 bytes, would come to 1.6 MB.
    assert growth_of(run) < 1_000_000


def growth_of(run: Callable[[], None]) -> int:
    """The least bytes by which memory grows over three runs: a leak grows in each.

    Pages that the system had taken from this process and that come back are growth, too, now and then.
    """
    grown = []
    for _ in range(3):
        before = resident_bytes()
        run()
        grown.append(resident_bytes() - before)
        if grown[-1] < 1_000_000:
            break
    return min(grown)


@plain_memory
@needs_proc
def test_memory_is_flat_as_weights_change() -> None:
    net = LSTM(3, 5)
    first, second = net.Wo, net.Wo * 2

    def run(times: int = 10_000) -> None:
        for k in range(times):
            net.Wo = first if k % 2 else second
            LSTM.from_state_dict(net.state_dict())

    run(1000)
    assert growth_of(run) < 1_000_000


@pytest.mark.parametrize("dtype", DTYPES)
def test_no_reference_is_left(dtype: Any) -> None:
    """Arguments, results and weights are held by as many after many calls as before."""
    rng = np.random.default_rng(0)
    net = random_net(rng, 3, 5, dtype)
    X, h, C = random_case(rng, 2, 3, 3, 5, dtype)
    x, y, out, stream = X[:, 0].copy(), h.copy(), np.empty((2, 3, 5), dtype), net.stream(2)
    held = [net, net.core.cells[0], stream, X, x, y, h, C, out, None, X.dtype, type(X)]

    def counts() -> list[int]:
        return [sys.getrefcount(thing) for thing in held]

    def call() -> None:
        net.forward(x, h, C)
        net.forward(X[:, 0], h, C)
        net.forward_sequence(X, h, C, out=out)
        stream.step(x)
        stream.step(x, y)
        stream.run(X)
        for wrong in (x[:1], X, None, "x"):
            with contextlib.suppress(ValueError, TypeError):
                net.forward(x, wrong, C)
            with contextlib.suppress(ValueError, TypeError):
                stream.step(x, wrong)

    call()
    before = counts()
    for _ in range(100):
        call()
    assert max(after - count for after, count in zip(counts(), before, strict=True)) < 50


# Counts calls of malloc and its kind, and the bytes they ask for.
COUNTER = r"""
#include <stddef.h>
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *memory, size_t size);
void *__libc_memalign(size_t alignment, size_t size);
static size_t calls, bytes;
size_t counted_calls(void) { return calls; }
size_t counted_bytes(void) { return bytes; }
void *malloc(size_t size) { calls++; bytes += size; return __libc_malloc(size); }
void *calloc(size_t count, size_t size) { calls++; bytes += count * size; return __libc_calloc(count, size); }
void *realloc(void *memory, size_t size) { calls++; bytes += size; return __libc_realloc(memory, size); }
void *aligned_alloc(size_t alignment, size_t size) {
    calls++; bytes += size; return __libc_memalign(alignment, size);
}
int posix_memalign(void **memory, size_t alignment, size_t size) {
    calls++; bytes += size; *memory = __libc_memalign(alignment, size); return *memory == NULL ? 12 : 0;
}
"""

COUNTING = """
import ctypes, os, sys
import numpy as np
from lstm import LSTM, _kernel

counter = ctypes.CDLL(os.environ["LD_PRELOAD"])
counter.counted_calls.restype = counter.counted_bytes.restype = ctypes.c_size_t

def counted(call):
    # The fewest of some repeats: Python's own pools grow now and then.
    found = []
    for _ in range(6):
        calls, bytes = counter.counted_calls(), counter.counted_bytes()
        call()
        found.append((counter.counted_calls() - calls, counter.counted_bytes() - bytes))
    return min(found)

def arrays(B, T, I, H, dtype):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((B, T, I)).astype(dtype)
    return X, np.zeros((B, H), dtype), np.zeros((B, H), dtype), np.empty((B, T, H), dtype)
"""


def run_counting(folder: Path, script: str) -> None:
    """Run a script after COUNTING, with malloc counted."""
    source, library = folder / "counter.c", folder / "counter.so"
    source.write_text(COUNTER)
    subprocess.run(
        [str(COMPILER), "-O1", "-fno-builtin", "-shared", "-fPIC", "-o", str(library), str(source)],
        check=True,
    )
    done = subprocess.run(
        [sys.executable, "-c", COUNTING + script],
        env={**os.environ, "LD_PRELOAD": str(library), "LSTM_NUM_THREADS": "1"},  # counts are of a thread
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr


@plain_memory
@needs_compiler
def test_steps_allocate_nothing(tmp_path: Path) -> None:
    """As many allocations for many steps as for 3, by the kernel and a call with `out`; none by a stream.

    The thread's scratch memory is one of them: it is released before each call.
    """
    run_counting(
        tmp_path,
        """
for isa in _kernel.SUPPORTED_ISAS:
    for dtype in (np.float32, np.float64):
        net = LSTM.from_core(LSTM(3, 17, dtype=dtype).core.on_isa(isa))
        for B, steps in ((1, 600), (5, 200), (17, 60), (97, 30)):
            few, many = (arrays(B, T, 3, 17, dtype) for T in (3, steps))
            for what, call in (
                ("kernel", lambda X, h, C, Y: _kernel.forward_sequence(net.core.cells[0], X, h, C, Y)),
                ("states", lambda X, h, C, Y: _kernel.forward_sequence(net.core.cells[0], X, h, C, None)),
                ("class", lambda X, h, C, Y: net.forward_sequence(X, h, C, out=Y)),
            ):
                calls = [
                    counted(lambda: (_kernel.release_scratch(), call(*case)))[0] for case in (few, many)
                ]
                assert calls[0] == calls[1] >= 1, (isa, dtype, B, what, calls)
            X, h, C, Y = (array[:, 0].copy() if array.ndim == 3 else array for array in few)
            stream = net.stream(B)
            assert counted(lambda: stream.step(X, Y))[0] == 0, (isa, dtype, B, "stream")
""",
    )


@plain_memory
@needs_compiler
def test_scratch_memory_is_bounded(tmp_path: Path) -> None:
    """Scratch memory grows neither with the batch nor with time."""
    run_counting(
        tmp_path,
        """
for isa in _kernel.SUPPORTED_ISAS:
    for dtype in (np.float32, np.float64):
        net = LSTM.from_core(LSTM(1, 1, dtype=dtype).core.on_isa(isa))
        for B, T in ((200_000, 1), (20_000, 10), (1, 200_000), (15, 20_000)):
            case = arrays(B, T, 1, 1, dtype)
            _kernel.forward_sequence(net.core.cells[0], *case)
            assert 0 < _kernel.release_scratch() < 600_000, (isa, dtype, B, T)
            calls, bytes = counted(
                lambda: (_kernel.release_scratch(), _kernel.forward_sequence(net.core.cells[0], *case))
            )
            assert 0 < bytes < 600_000, (isa, dtype, B, T, calls, bytes)
""",
    )


# ---- floating-point mode, signals, affinity

MODES = [
    rounding | flush | flags | FP_MASKS
    for rounding in (0, 0x2000, FP_UPWARD, 0x6000)
    for flush in (0, 0x8000, 0x0040, FP_FLUSH)
    for flags in (0, 0x0004, FP_FLAGS)
]


def kernel_calls(isa: str, dtype: Any) -> dict[str, Callable[[], Any]]:
    """Every way into the kernel, with arguments that overflow, underflow, are NaN and are inexact."""
    rng = np.random.default_rng(0)
    net = on_isa(random_net(rng, 3, 17, dtype), isa)
    X, h, C = random_case(rng, 5, 4, 3, 17, dtype)
    X[0], X[1], C[2], h[3] = np.inf, np.nan, np.finfo(dtype).smallest_normal, np.finfo(dtype).max
    x, stream = X[:, 0].copy(), net.stream(5)
    lanes = _kernel.lanes(isa, np.dtype(dtype).name)
    z, y = np.array([1, -90, np.inf, np.nan, 1e-30, -1e30], dtype), np.empty(6, dtype)
    tile = np.full((1, 1, 4, lanes), 0.3, dtype), np.full((1, 1, 4, lanes), 0.3, dtype)
    state, input = np.full((1, 1, lanes), 0.3, dtype), np.full((1, 1), 0.3, dtype)

    def misfit() -> None:
        with contextlib.suppress(ValueError):
            net.forward_sequence(X, h[1:])

    return {
        "forward": lambda: net.forward(X[:, 0], h, C),
        "forward of a plain x": lambda: net.forward(x, h, C),
        "Stream.step": lambda: stream.step(x),
        "forward_sequence": lambda: net.forward_sequence(X, h, C, return_state=True),
        "no steps": lambda: net.forward_sequence(X[:, :0], h, C),
        "forward_sequence that raises": misfit,
        "sigmoid": lambda: _kernel.sigmoid(z, y, isa),
        "tanh": lambda: _kernel.tanh(z, y, isa),
        "gates_tile": lambda: _kernel.gates_tile(input, *tile, tile[1].copy(), isa),
        "step_tile": lambda: _kernel.step_tile(input, *tile, state.copy(), state.copy(), None, isa),
    }


@needs_mxcsr
@pytest.mark.parametrize("name", kernel_calls("generic", np.float32))
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("isa", EACH_ISA)
def test_floating_point_mode_is_restored(isa: str, dtype: Any, name: str) -> None:
    call = kernel_calls(isa, dtype)[name]
    for mode in MODES:
        with mxcsr(mode):
            before = _kernel.floating_point_mode()
            call()
            after = _kernel.floating_point_mode()
        assert before == mode
        assert after == mode, f"{after:#06x} after a call in {mode:#06x}"


def test_floating_point_mode_of_this_thread_is_restored() -> None:
    """The same without MXCSR of x86-64, in the mode that is."""
    for dtype in DTYPES:
        for isa in _kernel.SUPPORTED_ISAS:
            for name, call in kernel_calls(isa, dtype).items():
                with no_collection():
                    before = _kernel.floating_point_mode()
                    call()
                    after = _kernel.floating_point_mode()
                assert after == before, (isa, name)


@needs_mxcsr
def test_import_leaves_the_floating_point_mode() -> None:
    """A library linked with -ffast-math makes its importer flush subnormals; this one must not."""
    script = """
import ctypes
import numpy as np

def mode():
    found = ctypes.create_string_buffer(32)
    ctypes.CDLL("libm.so.6").fegetenv(found)
    return int.from_bytes(found[28:32], "little") & 0xffc0

before = mode()
import lstm
assert mode() == before, (hex(before), hex(mode()))
assert lstm._kernel.floating_point_mode() & 0xffc0 == before
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_signals_and_affinity_are_left() -> None:
    def found() -> tuple[Any, ...]:
        affinity = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
        masked = signal.pthread_sigmask(signal.SIG_BLOCK, [])
        return affinity, masked, {number: signal.getsignal(number) for number in signal.valid_signals()}

    before = found()
    for call in kernel_calls(_kernel.DEFAULT_ISA, np.float32).values():
        call()
    assert found() == before


@plain_memory
@needs_proc
def test_a_loaded_net_holds_its_weights_once(tmp_path: Path) -> None:
    """Resident memory grows by at most 1.25 times the weights, whatever the C library keeps."""
    program = f"""
import ctypes, lstm
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.free(ctypes.c_void_p(libc.malloc(30 << 20)))
def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * {os.sysconf("SC_PAGE_SIZE")}
lstm.load({str(tmp_path / "small.npz")!r})
before = resident()
net = lstm.load({str(tmp_path / "net.npz")!r})
print((resident() - before) / (4 * 1024 * (256 + 1024 + 1) * 4))
"""
    LSTM(256, 1024, dtype=np.float32, init="pytorch", rng=0).save(tmp_path / "net.npz")
    LSTM(2, 3).save(tmp_path / "small.npz")
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert float(done.stdout) < 1.25


@pytest.mark.skipif(
    not Path("/sys/kernel/mm/transparent_hugepage").exists() or not Path("/proc/self/smaps").exists(),
    reason="needs Linux's huge pages",
)
def test_large_weights_ask_for_huge_pages() -> None:
    """Of a private mapping: a shared one gets none."""
    hidden = LSTM(8, 512, dtype=np.float32, rng=0).core.cells[0].hidden
    assert hidden.nbytes == 4 << 20
    address = hidden.ctypes.data
    mappings = re.findall(
        r"^([0-9a-f]+)-([0-9a-f]+) (\S+) .*?^VmFlags: (.*?)$",
        Path("/proc/self/smaps").read_text(),
        re.MULTILINE | re.DOTALL,
    )
    found = [m for m in mappings if int(m[0], 16) <= address < int(m[1], 16)]
    assert len(found) == 1
    assert found[0][2] == "rw-p"
    assert "hg" in found[0][3].split()
