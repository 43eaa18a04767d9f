"""What a call of several threads leaves of the process, and how it ends if something goes wrong.

Shapes: B batch, T time, I input, H hidden.
"""

from __future__ import annotations

import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import ROOT, assert_same_bits
from team import every_call_shared, threads

from lstm import LSTM, _kernel

COMPILER = shutil.which("gcc") or shutil.which("clang")
needs_compiler = pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc" or COMPILER is None, reason="needs glibc and gcc or clang"
)
needs_proc = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc")
needs_two_cpus = pytest.mark.skipif(
    not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) < 2,
    reason="needs two CPUs, and Linux",
)
plain_memory = pytest.mark.skipif("LSTM_SANITIZE" in os.environ, reason="a sanitizer replaces malloc")


def run_python(script: str, **environment: str) -> None:
    """Run a script in a new process, which must end well and without a word."""
    done = subprocess.run(
        [sys.executable, "-c", PREAMBLE + script],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (done.stdout, done.stderr) == ("", "")


PREAMBLE = """
import os, sys, threading, time
import numpy as np
import lstm
from lstm import LSTM, _kernel

_kernel.share_grains(100, True)
net = LSTM(5, 49, num_layers=2, dtype=np.float32, init="pytorch", rng=0)
X = np.random.default_rng(0).standard_normal((20, 60, 5)).astype(np.float32)
lstm.set_num_threads(1)
expected = net.forward_sequence(X)
lstm.set_num_threads(4)

def helpers(count):
    found = named()
    for _ in range(500):
        if len(found) >= count:
            break
        time.sleep(0.01)  # those that have just been started take their name first
        found = named()
    assert len(found) == count, found
    return found

def named():
    found = []
    for task in os.listdir("/proc/self/task"):
        with open(f"/proc/self/task/{task}/comm") as file:
            if file.read().strip() == "lstm":
                found.append(int(task))
    return found
"""


# ---- signals


class Alarm(Exception):
    """What the handler raises."""


def alarm(*_: Any) -> None:
    raise Alarm


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs timers")
@pytest.mark.parametrize("rows", [1, 9])
@pytest.mark.parametrize("arguments", [{}, {"num_layers": 3}, {"bidirectional": True}, {"hidden_size": 256}])
def test_signals_are_heard(arguments: dict[str, Any], rows: int) -> None:
    """In time, by the calling thread, whose floating-point mode stays; a stream is as before."""
    net = LSTM(4, **{"hidden_size": 100, **arguments}, dtype=np.float32, init="pytorch", rng=0)
    rng = np.random.default_rng(0)
    check = rng.standard_normal((rows, 20, 4)).astype(np.float32)
    X = np.zeros((rows, 150_000, 4), np.float32)
    call: Callable[[], Any] = lambda: net.forward_sequence(X)  # noqa: E731
    stream = None
    if "bidirectional" not in arguments:
        stream = net.stream(rows)
        stream.run(check)
        before = stream.state
        call = lambda: stream.run(X)  # noqa: E731
    found = signal.signal(signal.SIGPROF, alarm)
    mode = _kernel.floating_point_mode()
    start = time.process_time()
    try:
        with threads(3):
            signal.setitimer(signal.ITIMER_PROF, 0.1)
            with pytest.raises(Alarm):
                call()
        # Of the CPU time of three threads; slices are of 0.05 s.
        assert time.process_time() - start < 0.1 + 3 * 0.15
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, found)
    assert _kernel.floating_point_mode() == mode
    if stream is not None:
        for after, wanted in zip(stream.state, before, strict=True):
            assert_same_bits(after, wanted)
    with threads(1):
        expected = net.forward_sequence(check)
    with threads(3), every_call_shared():
        assert_same_bits(net.forward_sequence(check), expected)


@needs_proc
def test_threads_block_signals_and_keep_the_affinity() -> None:
    run_python("""
net.forward_sequence(X)
found = []
for task in helpers(3):
    with open(f"/proc/self/task/{task}/status") as file:
        blocked = [line.split()[1] for line in file if line.startswith("SigBlk:")]
    found.append((int(blocked[0], 16), os.sched_getaffinity(task)))
# All signals but two that nobody can block and some that the C library keeps for itself.
for blocked, affinity in found:
    assert blocked | 1 << 8 | 1 << 18 | 7 << 31 == (1 << 64) - 1, hex(blocked)
    assert affinity == os.sched_getaffinity(0)
""")


def preloaded(folder: Path, source: str) -> str:
    """A library made of this C source, to be loaded before all others."""
    path, library = folder / "preloaded.c", folder / "preloaded.so"
    path.write_text(source)
    command = [str(COMPILER), "-O1", "-fno-builtin", "-shared", "-fPIC", "-o", str(library), str(path)]
    subprocess.run([*command, "-ldl"], check=True)
    return str(library)


@needs_proc
@needs_two_cpus
def test_helpers_keep_the_affinity_if_they_begin_on_the_cpu_of_their_caller() -> None:
    """That is forced here at first."""
    run_python("""
cpus = os.sched_getaffinity(0)
os.sched_setaffinity(0, {min(cpus)})
net.forward_sequence(X)
tasks = helpers(3)
net.forward_sequence(X)
for task in tasks:
    assert os.sched_getaffinity(task) == {min(cpus)}
for task in [0, *tasks]:
    os.sched_setaffinity(task, cpus)
for _ in range(50):
    assert np.array_equal(net.forward_sequence(X), expected)
    for task in tasks:
        assert os.sched_getaffinity(task) == cpus
""")


ONE_CPU_FOR_ALL = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sched.h>
static int cpu, moves[2]; /* of a thread by itself, and by another one */
void claim_cpu(int claimed) { cpu = claimed; }
int count_moves(int by_another) { return moves[by_another]; }
int sched_getcpu(void) { return cpu; }
int sched_setaffinity(pid_t thread, size_t bytes, const cpu_set_t *cpus) {
    int (*real)(pid_t, size_t, const cpu_set_t *) = dlsym(RTLD_NEXT, "sched_setaffinity");
    if (!CPU_ISSET(cpu, cpus)) moves[thread != 0]++;
    return real(thread, bytes, cpus);
}
"""


@needs_compiler
@needs_two_cpus
@plain_memory
def test_helpers_leave_the_cpu_of_their_caller(tmp_path: Path) -> None:
    """Where they find themselves there they move, and later calls wake them elsewhere."""
    run_python(
        """
import ctypes
claims = ctypes.CDLL(os.environ["LD_PRELOAD"])
cpus = os.sched_getaffinity(0)
claims.claim_cpu(min(cpus))
for _ in range(20_000):  # some begin after the call, and after a loss nobody moves for some time
    assert np.array_equal(net.forward_sequence(X), expected)
    if claims.count_moves(0) and claims.count_moves(1):
        break
else:
    raise AssertionError((claims.count_moves(0), claims.count_moves(1)))
for task in named():
    assert os.sched_getaffinity(task) == cpus
""",
        LD_PRELOAD=preloaded(tmp_path, ONE_CPU_FOR_ALL),
    )


@needs_proc
@needs_two_cpus
@pytest.mark.parametrize("options", ["rows=32, time=34, size=128", "rows=1, time=80, size=256, layers=2"])
def test_calls_of_many_milliseconds_are_shared_however_little_work_they_are(options: str) -> None:
    """A pause is counted from the end of a call, not from its begin: plain C needs long for little."""
    run_python(f"""
_kernel.share_grains(1 << 20, False)
lstm.set_num_threads(2)
def call_of(rows, time, size, layers=1):
    net = LSTM(64, size, num_layers=layers, rng=0)
    net = LSTM.from_core(net.core.on_isa("generic"))
    X = np.zeros((rows, time, 64))
    return lambda: net.forward_sequence(X)
call = call_of({options})  # no layer has the grains of a call that is shared after a pause
for _ in range(100):
    call()
    for task in named():
        with open(f"/proc/self/task/{{task}}/schedstat") as file:
            if int(file.read().split()[0]) > 10_000_000:  # nanoseconds of CPU time
                sys.exit()
raise AssertionError("no helper has worked")
""")


# ---- ends


def test_the_interpreter_exits_during_a_call() -> None:
    """Of a thread that nobody waits for, whose call is then in the middle."""
    for seconds, rows in ((0.0, 20), (0.02, 20), (0.1, 20), (0.1, 1)):
        run_python(f"""
net = LSTM(5, 49, num_layers={1 + (rows > 1)}, dtype=np.float32, rng=0)
X = np.zeros(({rows}, 20_000, 5), np.float32)
def run():
    begun.set()
    while True:
        net.forward_sequence(X)
begun = threading.Event()
threading.Thread(target=run, daemon=True).start()
begun.wait()
time.sleep({seconds})
""")


NO_THREADS = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
typedef int create_thread(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
static int left = 1 << 30, asked;
void allow_threads(int count) { left = count; asked = 0; }
int asked_for_threads(void) { return asked; }
int pthread_create(pthread_t *thread, const pthread_attr_t *how, void *(*run)(void *), void *argument) {
    create_thread *create = (create_thread *)dlsym(RTLD_NEXT, "pthread_create");
    asked++;
    return left-- > 0 ? create(thread, how, run, argument) : EAGAIN;
}
"""


@needs_compiler
@needs_proc
@plain_memory
def test_threads_that_cannot_be_started(tmp_path: Path) -> None:
    """The call is done by those that there are, and it is not tried again at every call."""
    run_python(
        """
import ctypes
counter = ctypes.CDLL(os.environ["LD_PRELOAD"])
for allowed in (0, 2):
    counter.allow_threads(allowed)
    for _ in range(20):
        assert np.array_equal(net.forward_sequence(X), expected)
    helpers(allowed)
    assert counter.asked_for_threads() <= 1 + allowed, counter.asked_for_threads()
    time.sleep(1.1)
counter.allow_threads(100)
assert np.array_equal(net.forward_sequence(X), expected)
helpers(3)
""",
        LD_PRELOAD=preloaded(tmp_path, NO_THREADS),
    )


NO_MEMORY = r"""
#include <stddef.h>
void *__libc_malloc(size_t size);
static size_t most = (size_t)-1, largest;
void allow_bytes(size_t size) { most = size; largest = 0; }
size_t largest_bytes(void) { return largest; }
void *malloc(size_t size) {
    largest = size > largest ? size : largest;
    return size > most ? NULL : __libc_malloc(size);
}
"""


@needs_compiler
@plain_memory
def test_memory_that_is_not_there(tmp_path: Path) -> None:
    """Without memory for all threads one does the work; without memory for one nothing is changed."""
    run_python(
        """
import ctypes
counter = ctypes.CDLL(os.environ["LD_PRELOAD"])
counter.allow_bytes.argtypes = [ctypes.c_size_t]
counter.largest_bytes.restype = ctypes.c_size_t
net = LSTM(5, 256, dtype=np.float32, init="pytorch", rng=0)
stream = net.stream(20)
Y = np.empty((20, 60, 256), np.float32)
def largest(count):
    lstm.set_num_threads(count)
    lstm.release_memory()
    counter.allow_bytes((1 << 64) - 1)
    net.forward_sequence(X, out=Y)
    return counter.largest_bytes()
alone, together = largest(1), largest(4)
expected = Y.copy()
assert 50_000 < alone < together, (alone, together)
Y[:] = 0
lstm.release_memory()
counter.allow_bytes(alone)
net.forward_sequence(X, out=Y)
counter.allow_bytes((1 << 64) - 1)
assert np.array_equal(Y, expected)
stream.run(X[:, :5].copy())
before = stream.state
Y[:] = 7
for call in (lambda: net.forward_sequence(X, out=Y), lambda: stream.run(X[:, :9].copy())):
    lstm.release_memory()
    counter.allow_bytes(50_000)
    try:
        call()
    except MemoryError:
        counter.allow_bytes((1 << 64) - 1)
    else:
        raise AssertionError
assert (Y == 7).all()
assert all(map(np.array_equal, stream.state, before))
""",
        LD_PRELOAD=preloaded(tmp_path, NO_MEMORY),
    )


# ---- CPU time


def idle_time(call: Callable[[], Any], calls: int = 20) -> float:
    """CPU time of all threads between calls, as a part of that time; one call every 10 ms."""
    spent = 0.0
    for _ in range(calls):
        call()
        start = time.process_time()
        time.sleep(0.01)
        spent += time.process_time() - start
    return spent / (0.01 * calls)


@pytest.mark.parametrize("shape", [(16, 60), (32, 200), (1, 500)])
def test_threads_sleep_between_calls(shape: tuple[int, int]) -> None:
    """They spin for microseconds, and only within a call; one that spins on has a part of 1."""
    net = LSTM(64, 64, num_layers=2, dtype=np.float32, init="pytorch", rng=0)
    X = np.zeros((*shape, 64), np.float32)
    with every_call_shared(1 << 20), threads(2):
        net.forward_sequence(X)
        assert idle_time(lambda: net.forward_sequence(X)) < 0.1


def cpu_time(call: Callable[[], Any], calls: int = 20) -> float:
    """CPU time of all threads, seconds a call, at one call every 10 ms."""
    start = time.process_time()
    for _ in range(calls):
        call()
        time.sleep(0.01)
    return (time.process_time() - start) / calls


@pytest.mark.parametrize("shape", [(16, 60), (32, 200), (1, 500)])
def test_a_call_now_and_then_costs_little_more_cpu_time(shape: tuple[int, int]) -> None:
    net = LSTM(64, 64, num_layers=2, dtype=np.float32, init="pytorch", rng=0)
    X = np.zeros((*shape, 64), np.float32)
    ratios = []
    for _ in range(5):
        times = []
        for count in (1, 2):
            with threads(count):
                net.forward_sequence(X)
                times.append(cpu_time(lambda: net.forward_sequence(X)))
        ratios.append(times[1] / times[0])
        if min(ratios) < 1.2:
            break
    assert min(ratios) < 1.2, ratios
