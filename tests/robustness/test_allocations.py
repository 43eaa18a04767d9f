"""The k-th allocation of a call fails, for every k: a MemoryError, and all is as it was before.

Python's allocations, of every object and of what the extension makes by Python; those of the C library have
tests of their own in tests/threads.
"""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig

import pytest
from command_line import environment

pytest.importorskip("_testcapi", reason="needs CPython's own tests")
if sysconfig.get_config_var("Py_GIL_DISABLED"):
    pytest.skip("np.zeros alone ends CPython 3.13t here, in its own contexts", allow_module_level=True)

SCRIPT = """
import collections, copy, json, os, pickle
import _testcapi
import numpy as np
from lstm import LSTM
from lstm.core.memory import HUGE_PAGE, aligned_zeros

net = LSTM(5, 40, dtype=np.float32, rng=0)
deep = LSTM(5, 20, num_layers=2, rng=0)
both = LSTM(5, 20, num_layers=2, bidirectional=True, rng=0)
stream, deep_stream = net.stream(), deep.stream()
rng = np.random.default_rng(0)
X = rng.standard_normal((70, 5)).astype(np.float32)
rows = rng.standard_normal((20, 60, 5))
out = np.empty((70, 40), np.float32)
h0 = np.ones((1, 40), np.float32)
target = LSTM(5, 40, dtype=np.float32, rng=0)
other = LSTM(5, 40, dtype=np.float32, rng=1).state_dict()
pickled = pickle.dumps(stream)
CALLS = {
    "sequence": (lambda: net.forward_sequence(X), None),
    "sequence, out": (lambda: net.forward_sequence(X, h0, h0, out=out, return_state=True), None),
    "sequence, lengths": (lambda: net.forward_sequence(rows, lengths=list(range(20))), None),
    "sequence, both": (lambda: both.forward_sequence(rows), None),
    "forward": (lambda: net.forward(X[0], h0[0], h0[0]), None),
    "trace": (lambda: net.trace(X), None),
    "step": (lambda: stream.step(X[0]), stream),
    "step, list": (lambda: stream.step([1.0, 2, 3, 4, 5]), stream),
    "run": (lambda: stream.run(X), stream),
    "run, deep": (lambda: deep_stream.run(rows[0]), deep_stream),
    "load_state_dict": (lambda: target.load_state_dict(other), target),
    "set": (lambda: setattr(target, "Wf", np.zeros((40, 45))), target),
    "deepcopy": (lambda: copy.deepcopy(net), None),
    "unpickle": (lambda: pickle.loads(pickled), None),
    "aligned": (lambda: aligned_zeros((3, 5), np.dtype(np.float32)), None),
    "aligned, huge": (lambda: aligned_zeros((2 * HUGE_PAGE,), np.dtype(np.uint8)), None),
}


def reset(thing):
    if thing is target:
        thing.load_state_dict(net.state_dict())
    elif thing is not None:
        thing.h[...], thing.C[...] = 0.25, -0.25


def held(thing):
    arrays = () if thing is None else thing.state_dict().values() if thing is target else thing.state
    return [array.tobytes() for array in arrays]


def file_of(error):
    # Where it was raised.
    place = error.__traceback__
    while place.tb_next is not None:
        place = place.tb_next
    return place.tb_frame.f_code.co_filename


def check(call, thing):
    # How often which error came. NumPy's reductions end without an error of their own.
    kinds = collections.Counter()
    k = failed = 0
    while k < failed + 100:  # some errors are no call's to tell
        k += 1
        reset(thing)
        before = held(thing)
        error = None
        try:
            _testcapi.set_nomemory(k, k + 1)
            call()
        except BaseException as caught:
            error = caught
        finally:
            _testcapi.remove_mem_hooks()
        if error is None:
            continue
        failed, where = k, file_of(error)
        kind = type(error).__name__
        if kind == "SystemError" and where.endswith(os.path.join("numpy", "_core", "_methods.py")):
            kind = "MemoryError"
        kinds[kind + (", changed" if held(thing) != before else "")] += 1
    return kinds


wanted = net.forward_sequence(X), both.forward_sequence(rows)
for name, (call, thing) in CALLS.items():
    call()
    print(json.dumps([name, check(call, thing)]))
    found = net.forward_sequence(X), both.forward_sequence(rows)
    assert all(a.tobytes() == b.tobytes() for a, b in zip(found, wanted)), name
"""


def test_an_allocation_that_fails_is_a_memory_error() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", SCRIPT],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    found = dict(map(json.loads, done.stdout.splitlines()))
    assert sum(kinds.get("MemoryError", 0) for kinds in found.values()) > 500
    assert {name: kinds for name, kinds in found.items() if set(kinds) - {"MemoryError"}} == {}
