"""The lstm package against NumPy, PyTorch, ONNX Runtime and OpenVINO: one run, in turns, a core or more.

    taskset -c 1 python benchmarks/peers.py [--dtype float32] [--cases 0,3,8] [--json FILE]
    taskset -c 0,1 python benchmarks/peers.py --threads 2
    taskset -c 1 python benchmarks/peers.py --precision int8

Every contestant gets the same weights and inputs in the layout that it prefers; outputs are checked
against ours. Times are the best and the median of repeats that take turns, so that a change of the
machine's speed meets all of them. benchmarks/README.md explains the columns.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

# As many threads for each, and one ISA for all where --isa asks for it: read when the libraries are imported.
THREADS = max(1, int(sys.argv[sys.argv.index("--threads") + 1])) if "--threads" in sys.argv[:-1] else 1
for name in ("LSTM_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = str(THREADS)
if "avx2" in " ".join(sys.argv):
    os.environ.update(LSTM_ISA="avx2", ATEN_CPU_CAPABILITY="avx2", DNNL_MAX_CPU_ISA="AVX2")

import numpy as np
import small_peers

from lstm import LSTM, show_config
from lstm.comparison.machine import cpu_name
from lstm.core.precision import PRECISIONS
from lstm.formats.onnx.node import GATES_TO_ONNX, PEEPHOLES_TO_ONNX


class Case(NamedTuple):
    """Sizes, the least ratio to the best peer that is our goal in float32, and the variant."""

    input_size: int
    hidden_size: int
    batch: int
    time: int
    goal: float
    num_layers: int = 1
    bidirectional: bool = False
    proj_size: int = 0
    peephole: bool = False
    mixed_lengths: bool = False  # 1 to T, else all T

    @property
    def is_step(self) -> bool:
        """Whether this is one step of a stream."""
        return self.time == 1

    @property
    def variant(self) -> dict[str, Any]:
        """Arguments of the net beyond its sizes."""
        names = ("num_layers", "bidirectional", "proj_size", "peephole")
        return {name: getattr(self, name) for name in names}

    @property
    def label(self) -> str:
        """What the case is, for the table."""
        parts = ["step"] * self.is_step + [f"{self.num_layers} layers"] * (self.num_layers > 1)
        parts += ["2 directions"] * self.bidirectional + [f"P {self.proj_size}"] * (self.proj_size > 0)
        parts += ["peephole"] * self.peephole + ["lengths 1 to T"] * self.mixed_lengths
        return f"{self.input_size}, {self.hidden_size}, {self.batch}, {self.time} {', '.join(parts)}".strip()

    def lengths(self) -> np.ndarray | None:
        """Steps of every row, (B,), from 1 to T in random order; None where all have T."""
        if not self.mixed_lengths:
            return None
        return (
            np.random.default_rng(2)
            .permutation(np.linspace(1, self.time, self.batch).round())
            .astype(np.int64)
        )


CASES = (
    Case(1, 16, 1, 1, 10),
    Case(40, 128, 1, 1, 4),
    Case(128, 512, 1, 1, 1.25),
    Case(1, 20, 1, 1000, 3),
    Case(16, 64, 1, 100, 2),
    Case(40, 128, 1, 100, 1.6),
    Case(128, 256, 1, 100, 1.6),
    Case(256, 512, 1, 50, 1.4),
    Case(512, 1024, 1, 30, 1.1),
    Case(16, 64, 16, 100, 1.3),
    Case(64, 128, 32, 100, 1.2),
    Case(128, 256, 32, 50, 1.2),
    Case(256, 512, 64, 30, 1.1),
    Case(512, 1024, 64, 20, 1.1),
    Case(128, 256, 1, 100, 1.2, num_layers=2, bidirectional=True),
    Case(128, 256, 32, 50, 1.2, num_layers=2, bidirectional=True),
    Case(128, 512, 1, 50, 1.2, proj_size=128),
    Case(64, 128, 8, 100, 1.2, peephole=True),
    Case(128, 256, 32, 100, 1.5, mixed_lengths=True),
    # Where a peer is level or ahead: a wide input, batches of middling nets.
    Case(4096, 100, 8, 20, 1.0),
    Case(40, 256, 8, 160, 1.05),
    Case(40, 256, 32, 160, 1.05),
    # Units that do not fill the last vector, beside the sizes that they are padded to.
    *(Case(size, size, 8, 50, 1.0) for size in (100, 112, 150, 160, 200, 208, 300, 304)),
)
OURS = "lstm"
ROUND_SECONDS = 0.004
LARGEST_DIFFERENCE = 1e-4
OURS_FULL = "lstm float32"
# rms, ours and of peers that the ratio is taken of; PyTorch's int8 of 4096 features is off by 0.016.
LARGEST_SMALL_ERROR = 3e-2
COARSEST_SMALL_ERROR = 0.1  # of any; ONNX Runtime's of 4096 features is off by 0.052 where int8 saturates
Call = Callable[[], Any]


def ours(net: LSTM, X: np.ndarray, case: Case) -> Call:
    """Output (B, T, H) of our native backend."""
    if case.is_step:
        stream = net.stream(case.batch)
        x, out = X[:, 0].copy(), np.empty((case.batch, case.hidden_size), net.dtype)
        return lambda: stream.step(x, out)
    width = (case.proj_size or case.hidden_size) * (2 if case.bidirectional else 1)
    out = np.empty((case.batch, case.time, width), net.dtype)
    lengths = case.lengths()
    return lambda: net.forward_sequence(X, lengths=lengths, out=out)


def numpy_(net: LSTM, X: np.ndarray, case: Case) -> Call:
    """The reference backend."""
    reference = LSTM.from_state_dict(net.state_dict(), dtype=net.dtype, backend="numpy")
    if case.is_step:
        x = X[:, 0]
        h = C = np.zeros((case.batch, case.hidden_size), net.dtype)
        return lambda: reference.forward(x, h, C)[0]
    return lambda: reference.forward_sequence(X, lengths=case.lengths())


def pytorch(net: LSTM, X: np.ndarray, case: Case) -> Call:
    """nn.LSTM in inference mode, time-major, as it prefers."""
    import torch

    torch.set_num_threads(THREADS)
    module = torch.nn.LSTM(
        case.input_size,
        case.hidden_size,
        num_layers=case.num_layers,
        bidirectional=case.bidirectional,
        proj_size=case.proj_size,
    ).to(getattr(torch, net.dtype.name))
    module.load_state_dict({name: torch.from_numpy(value) for name, value in net.state_dict().items()})
    module.eval()
    rnn = torch.nn.utils.rnn
    x = torch.from_numpy(np.ascontiguousarray(X.swapaxes(0, 1)))
    lengths = case.lengths()

    def run() -> Any:
        with torch.inference_mode():
            if lengths is None:
                return module(x)[0].numpy().swapaxes(0, 1)
            packed = rnn.pack_padded_sequence(x, torch.from_numpy(lengths), enforce_sorted=False)
            Y, _ = rnn.pad_packed_sequence(module(packed)[0], total_length=case.time)
            return Y.numpy().swapaxes(0, 1)

    return run


def onnx_layer(net: LSTM, case: Case, layer: int, features: str) -> tuple[list[Any], list[Any]]:
    """The nodes and initializers of one layer: `features` (T, B, I) -> Y{layer} (T, B, D H)."""
    from onnx import helper, numpy_helper

    state = net.state_dict()
    suffixes = [f"_l{layer}", f"_l{layer}_reverse"][: 2 if case.bidirectional else 1]

    def stacked(kind: str, order: list[int]) -> np.ndarray:
        parts = [state[kind + suffix] for suffix in suffixes]
        return np.stack([p.reshape(len(order), case.hidden_size, -1)[order].reshape(p.shape) for p in parts])

    arrays = {
        f"W{layer}": stacked("weight_ih", GATES_TO_ONNX),
        f"R{layer}": stacked("weight_hh", GATES_TO_ONNX),
        f"B{layer}": np.concatenate(
            [stacked("bias_ih", GATES_TO_ONNX), stacked("bias_hh", GATES_TO_ONNX)], axis=1
        ),
        f"shape{layer}": np.array([0, 0, -1]),
    }
    inputs = [features, f"W{layer}", f"R{layer}", f"B{layer}"]
    inputs.append("lengths" if case.mixed_lengths else "")
    if case.peephole:
        arrays[f"P{layer}"] = stacked("weight_ch", PEEPHOLES_TO_ONNX)
        inputs += ["", "", f"P{layer}"]
    nodes = [
        helper.make_node(
            "LSTM",
            inputs,
            [f"directions{layer}"],
            hidden_size=case.hidden_size,
            direction="bidirectional" if case.bidirectional else "forward",
        ),
        helper.make_node("Transpose", [f"directions{layer}"], [f"rows{layer}"], perm=[0, 2, 1, 3]),
        helper.make_node("Reshape", [f"rows{layer}", f"shape{layer}"], [f"Y{layer}"]),
    ]
    return nodes, [numpy_helper.from_array(array, name) for name, array in arrays.items()]


def onnx_model(net: LSTM, case: Case) -> Any:
    """One LSTM node a layer, fixed shapes, layout 0: X (T, B, I) and lengths (B,) -> Y (T, B, D H)."""
    from onnx import TensorProto, helper

    nodes, initializers, features = [], [], "X"
    for layer in range(case.num_layers):
        layer_nodes, layer_initializers = onnx_layer(net, case, layer, features)
        nodes += layer_nodes
        initializers += layer_initializers
        features = f"Y{layer}"
    real = TensorProto.FLOAT if net.dtype == np.float32 else TensorProto.DOUBLE
    width = case.hidden_size * (2 if case.bidirectional else 1)
    inputs = [helper.make_tensor_value_info("X", real, [case.time, case.batch, case.input_size])]
    if case.mixed_lengths:
        inputs.append(helper.make_tensor_value_info("lengths", TensorProto.INT32, [case.batch]))
    outputs = [helper.make_tensor_value_info(features, real, [case.time, case.batch, width])]
    graph = helper.make_graph(nodes, "lstm", inputs, outputs, initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def onnx_feed(X: np.ndarray, case: Case) -> dict[str, np.ndarray]:
    """The inputs of `onnx_model`."""
    feed = {"X": np.ascontiguousarray(X.swapaxes(0, 1))}
    lengths = case.lengths()
    if lengths is not None:
        feed["lengths"] = lengths.astype(np.int32)
    return feed


def onnxruntime(net: LSTM, X: np.ndarray, case: Case) -> Call:
    """One LSTM node, CPU provider."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = THREADS, 1
    session = ort.InferenceSession(
        onnx_model(net, case).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    feed = onnx_feed(X, case)
    return lambda: session.run(None, feed)[0].swapaxes(0, 1)


def openvino(net: LSTM, X: np.ndarray, case: Case) -> Call:
    """The same model, latency hint, float32."""
    import openvino as ov

    core = ov.Core()
    compiled = core.compile_model(
        core.read_model(onnx_model(net, case).SerializeToString()),
        "CPU",
        {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": THREADS,
        },
    )
    request = compiled.create_infer_request()
    feed = onnx_feed(X, case)

    def run() -> Any:
        return request.infer(feed, share_inputs=True, share_outputs=True)[0].swapaxes(0, 1)

    return run


MAKERS = small_peers.Makers(ours, onnx_model, onnx_feed, THREADS)
CONTESTANTS: dict[str, Callable[[LSTM, np.ndarray, Case], Call]] = {
    OURS: ours,
    "numpy": numpy_,
    "pytorch": pytorch,
    "onnxruntime": onnxruntime,
    "openvino": openvino,
}


def can_run(name: str, case: Case) -> bool:
    """Whether a contestant has the variant: PyTorch lacks peepholes, ONNX projections.

    OpenVINO takes a model with peepholes and computes something else (off by 0.015 here).
    """
    if name in ("pytorch", "openvino") and case.peephole:
        return False
    if name == "pytorch":
        return True
    return name in (OURS, "numpy") or not case.proj_size


def run_small_case(case: Case, precision: str, names: list[str], rounds: int) -> dict[str, Any]:
    """Times of each contestant in a precision, and its error against float64."""
    made = small_peers.contestants(precision, MAKERS)
    net = LSTM(case.input_size, case.hidden_size, **case.variant, dtype="float32", init="pytorch", rng=0)
    X = np.random.default_rng(1).standard_normal((case.batch, case.time, case.input_size)).astype("float32")
    # A stream goes on from its last state, so that errors are those of its first step.
    errors = small_peers.errors({name: made[name](net, X, case) for name in names}, net, X)
    for name, error in errors.items():
        if not error < (LARGEST_SMALL_ERROR if name in (OURS, OURS_FULL) else COARSEST_SMALL_ERROR):
            raise RuntimeError(f"{name} computes something else: off by {error} in {case}")
    times = repeated({name: made[name](net, X, case) for name in names}, rounds)
    best = {name: min(values) for name, values in times.items()}
    peers = {
        name: value
        for name, value in best.items()
        if name not in (OURS, OURS_FULL) and errors[name] < LARGEST_SMALL_ERROR
    }
    best_peer = min(peers, key=peers.__getitem__)
    return {
        **case._asdict(),
        "best_us": {name: value * 1e6 for name, value in best.items()},
        "median_us": {name: statistics.median(values) * 1e6 for name, values in times.items()},
        "rms_error": errors,
        "best_peer": best_peer,
        "ratio": peers[best_peer] / best[OURS],
        "ratio_float32": best[OURS_FULL] / best[OURS],
    }


def print_small_rows(cases: list[Case], precision: str, rounds: int) -> list[dict[str, Any]]:
    """The table of a precision: times, ratios, and rms errors behind the names."""
    installed = {
        name: name != "openvino" or importlib.util.find_spec("openvino") is not None
        for name in small_peers.contestants(precision, MAKERS)
    }
    names = [name for name, there in installed.items() if there]
    print("\n| case I, H, B, T     |" + "".join(f" {name:>14} |" for name in names), end="")
    print(" to float32 | to best peer | rms errors in this order |")
    print("| --- |" + " ---: |" * (len(names) + 2) + " --- |")
    rows = []
    for case in cases:
        row = run_small_case(case, precision, names, rounds)
        rows.append(row)
        times = "".join(f" {row['best_us'][name]:>14.1f} |" for name in names)
        errors = ", ".join(f"{row['rms_error'][name]:.1e}" for name in names)
        ratios = f" {row['ratio_float32']:>10.2f} | {row['ratio']:>12.2f} |"
        print(f"| {case.label:<19} |{times}{ratios} {errors} |", flush=True)
    return rows


def repeated(calls: dict[str, Call], rounds: int, turn: int = 1) -> dict[str, list[float]]:
    """Seconds a call of each contestant, in turns, so many figures a round one after another."""
    counts, times = {}, {name: [] for name in calls}
    for name, call in calls.items():
        start = time.perf_counter()
        call()
        counts[name] = max(1, int(ROUND_SECONDS / (time.perf_counter() - start)))
    for _ in range(rounds):
        for name, call in calls.items():
            for _ in range(turn):
                start = time.perf_counter()
                for _ in range(counts[name]):
                    call()
                times[name].append((time.perf_counter() - start) / counts[name])
    return times


def run_case(case: Case, dtype: str, names: list[str], rounds: int, limits: dict[str, Any]) -> dict[str, Any]:
    """Times of each contestant, its largest difference from ours, and our fraction of the nearer limit."""
    net = LSTM(case.input_size, case.hidden_size, **case.variant, dtype=dtype, init="pytorch", rng=0)
    X = np.random.default_rng(1).standard_normal((case.batch, case.time, case.input_size)).astype(dtype)
    calls = {name: CONTESTANTS[name](net, X, case) for name in names if can_run(name, case)}
    expected = net.forward_sequence(X, lengths=case.lengths())
    differences = {}
    for name, call in calls.items():
        if case.is_step and name == OURS:
            continue  # a stream goes on from its last state; tests/model/test_stream.py has its outputs
        got = np.asarray(call()).reshape(expected.shape)
        differences[name] = float(np.abs(got - expected).max())
        if not differences[name] < LARGEST_DIFFERENCE:
            raise RuntimeError(f"{name} computes something else: off by {differences[name]} in {case}")
    times = repeated(calls, rounds)
    best = {name: min(values) for name, values in times.items()}
    peers = {name: value for name, value in best.items() if name not in (OURS, "numpy")}
    best_peer = min(peers, key=peers.__getitem__, default=None)
    limit, seconds = nearer_limit(case, net.dtype, limits)
    return {
        **case._asdict(),
        "best_us": {name: value * 1e6 for name, value in best.items()},
        "median_us": {name: statistics.median(values) * 1e6 for name, values in times.items()},
        "difference": differences,
        "best_peer": best_peer,
        "ratio": peers[best_peer] / best[OURS] if best_peer else None,
        "limit": limit,
        "fraction": seconds / THREADS / best[OURS],
    }


def measure_limits() -> dict[str, Any]:
    """What roofline.c says of this core: peak GFLOP/s in float32, gigabytes a second by bytes read."""
    source = Path(__file__).with_name("roofline.c")
    with tempfile.TemporaryDirectory() as folder:
        program = os.path.join(folder, "roofline")
        subprocess.run(
            [os.environ.get("CC", "cc"), "-std=gnu11", "-O2", "-march=native", str(source), "-o", program],
            check=True,
        )
        found: dict[str, Any] = json.loads(subprocess.run([program], check=True, capture_output=True).stdout)
    found["read_gbytes"] = {int(size): rate for size, rate in found["read_gbytes"].items()}
    return found


def nearer_limit(case: Case, dtype: np.dtype[Any], limits: dict[str, Any]) -> tuple[str, float]:
    """Which limit is nearer and the seconds it takes at least: flops at peak, or reading the weights.

    Every step reads the recurrent weights once; a single step the input weights too.
    """
    directions = 2 if case.bidirectional else 1
    state_size = case.proj_size or case.hidden_size
    steps = case.batch * case.time if case.lengths() is None else int(case.lengths().sum())
    products = recurrent = 0
    for layer in range(case.num_layers):
        depth = case.input_size if layer == 0 else directions * state_size
        own = 4 * case.hidden_size * state_size + case.proj_size * case.hidden_size
        recurrent += directions * (own + (4 * case.hidden_size * depth if case.is_step else 0))
        products += directions * (own + 4 * case.hidden_size * depth)
    compute = 2 * products * steps / (limits["gflops_float32"] * 1e9 * 4 / dtype.itemsize)
    # Directions and layers follow one another, each with its own weights in the caches.
    one = recurrent // (directions * case.num_layers) * dtype.itemsize
    fitting = [size for size in limits["read_gbytes"] if size >= one]
    rate = limits["read_gbytes"][min(fitting) if fitting else max(limits["read_gbytes"])]
    reading = recurrent * dtype.itemsize * case.time / (rate * 1e9)
    return ("flops", compute) if compute > reading else ("reading", reading)


def print_row(row: dict[str, Any], names: list[str], dtype: str) -> None:
    """One line of the table."""
    case = Case(*(row[field] for field in Case._fields))
    times = "".join(
        f" {row['best_us'][name]:>12.1f} |" if name in row["best_us"] else f" {'':>12} |" for name in names
    )
    goal = f"{case.goal:g}" if dtype == "float32" else ""
    ratio = f"{row['ratio']:.2f}" if row["best_peer"] else ""  # no peer has peepholes in float64
    print(
        f"| {case.label:<18} |{times} {ratio:>5} | {goal:>4} | {row['fraction']:>4.0%} {row['limit']} |",
        flush=True,
    )


def main() -> int:
    """Run the cases, print the table, write JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32")
    parser.add_argument(
        "--precision", choices=PRECISIONS, help="small weights, ours and the peers' own, of the plain cases"
    )
    parser.add_argument("--cases", help="indices of the cases to run, such as 0,3,8", default="")
    parser.add_argument("--rounds", type=int, default=15, help="repeats of each contestant (default: 15)")
    parser.add_argument("--threads", type=int, default=1, help="threads of each contestant (default: 1)")
    parser.add_argument("--isa", choices=("avx2",), help="hold PyTorch, oneDNN and this package to AVX2")
    parser.add_argument("--json", metavar="FILE", help="write all figures to FILE")
    arguments = parser.parse_args()
    if arguments.precision and arguments.dtype != "float32":
        parser.error("--precision is of float32 nets")
    indices = [int(index) for index in arguments.cases.split(",")] if arguments.cases else range(len(CASES))
    without = () if arguments.dtype == "float32" else ("onnxruntime", "openvino")
    names = [name for name in CONTESTANTS if name not in without]
    packages = [one for one in ("numpy", "torch", "onnxruntime", "openvino") if importlib.util.find_spec(one)]
    config = show_config("dict")
    facts = {
        "cpu": cpu_name(),
        "isa": config["isa"],
        "dtype": arguments.dtype,
        "threads": THREADS,
        "versions": {"lstm": config["lstm"], **{name: version(name) for name in packages}},
        "limits": measure_limits(),
    }
    levels = facts["limits"]["read_gbytes"]
    print(f"{facts['cpu']}, {facts['isa']}, {arguments.dtype}, {THREADS} threads", end="")
    print(f"; best of {arguments.rounds}, µs")
    print(", ".join(f"{name} {number}" for name, number in facts["versions"].items()))
    print(
        f"limits: {facts['limits']['gflops_float32']:.0f} GFLOP/s in float32; reads in GB/s: "
        + ", ".join(f"{size >> 10} KiB {rate:.0f}" for size, rate in levels.items())
    )
    if arguments.precision:
        chosen = [CASES[index] for index in indices if small_peers.can_run(CASES[index])]
        facts["precision"] = arguments.precision
        rows = print_small_rows(chosen, arguments.precision, arguments.rounds)
        if arguments.json:
            Path(arguments.json).write_text(json.dumps({**facts, "rows": rows}, indent=1) + "\n")
        return 0
    print(
        f"\n| {'case I, H, B, T':<18} |"
        + "".join(f" {name:>12} |" for name in names)
        + " ratio | goal | of limit |"
    )
    print("| --- |" + " ---: |" * (len(names) + 2) + " --- |")
    rows = []
    for index in indices:
        rows.append(run_case(CASES[index], arguments.dtype, names, arguments.rounds, facts["limits"]))
        print_row(rows[-1], names, arguments.dtype)
    if arguments.json:
        Path(arguments.json).write_text(json.dumps({**facts, "rows": rows}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
