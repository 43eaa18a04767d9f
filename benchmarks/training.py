"""Forward and backward passes: lstm against PyTorch, JAX and NumPy, one run, in turns, a core or more.

    taskset -c 1 python benchmarks/training.py [--cases 0,3,8] [--accuracy] [--json FILE]
    taskset -c 0,1 python benchmarks/training.py --threads 2 --turn 5 --contestants lstm,pytorch

Each case is timed twice: with the gradients of the weights, and with that of X too. Every contestant gets the
same weights, X and dY in the layout that it prefers; gradients are checked against ours. PyTorch computes all
of them whatever it is asked for. JAX takes part where it is installed. benchmarks/README.md explains the
columns.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import sys
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import peers  # sets the number of threads for all; PyTorch and JAX are imported later

from lstm import LSTM, show_config
from lstm.comparison.machine import cpu_name


class Case(NamedTuple):
    """Sizes, the least ratios to PyTorch that are our goals, and the variant."""

    input_size: int
    hidden_size: int
    batch: int
    time: int
    goal: float  # with the gradients of the weights
    inputs_goal: float  # and with that of X
    dtype: str = "float32"
    num_layers: int = 1
    bidirectional: bool = False
    proj_size: int = 0
    mixed_lengths: bool = False  # 1 to T, else all T

    @property
    def label(self) -> str:
        """What the case is, for the table."""
        parts = [self.dtype] * (self.dtype != "float32") + [f"{self.num_layers} layers"] * (
            self.num_layers > 1
        )
        parts += ["2 directions"] * self.bidirectional + [f"P {self.proj_size}"] * (self.proj_size > 0)
        parts += ["lengths 1 to T"] * self.mixed_lengths
        return f"{self.input_size}, {self.hidden_size}, {self.batch}, {self.time} {', '.join(parts)}".strip()

    def lengths(self) -> np.ndarray | None:
        """Steps of every row, (B,), from 1 to T in random order; None where all have T."""
        if not self.mixed_lengths:
            return None
        steps = np.linspace(1, self.time, self.batch).round().astype(np.int64)
        return np.random.default_rng(2).permutation(steps)

    @property
    def is_plain(self) -> bool:
        """Whether it is one layer of the default equations, which is what NumPy's and JAX's code has."""
        return self == Case(*self[:7])


CASES = (
    Case(1, 20, 1, 1000, 5, 5),
    Case(16, 64, 1, 100, 3.5, 3.3),
    Case(40, 128, 1, 100, 1.8, 1.7),
    Case(1, 32, 32, 100, 2.0, 1.7),
    Case(8, 64, 64, 50, 1.5, 1.4),
    Case(16, 64, 16, 100, 1.6, 1.5),
    Case(64, 128, 32, 100, 1.3, 1.2),
    Case(128, 256, 32, 50, 1.2, 1.1),
    Case(256, 512, 64, 30, 1.35, 1.2),
    Case(512, 1024, 64, 20, 1.2, 1.05),
    Case(64, 128, 32, 100, 5, 5, mixed_lengths=True),
    Case(64, 128, 32, 100, 3, 3, dtype="float64"),
    Case(64, 128, 32, 100, 2.5, 2.5, proj_size=64),
    Case(64, 128, 32, 100, 1.4, 1.4, bidirectional=True),
    Case(64, 128, 32, 100, 1.3, 1.3, num_layers=2),
)
OURS = "lstm"
LARGEST_DIFFERENCE = 1e-3  # of float32 gradients, relative to the largest of their array
Arrays = dict[str, np.ndarray]
Call = Callable[[], Arrays]


class Problem(NamedTuple):
    """A net, its input, and the gradient of a loss by its outputs."""

    case: Case
    net: LSTM
    X: np.ndarray  # (B, T, I)
    dY: np.ndarray  # (B, T, D O)
    inputs: bool  # whether the gradient of X is asked for


def problem_of(case: Case, inputs: bool) -> Problem:
    """Random weights as PyTorch draws them, random input and derivative."""
    variant = {name: getattr(case, name) for name in ("num_layers", "bidirectional", "proj_size")}
    net = LSTM(case.input_size, case.hidden_size, **variant, dtype=case.dtype, init="pytorch", rng=0)
    rng = np.random.default_rng(1)
    X = rng.standard_normal((case.batch, case.time, case.input_size)).astype(case.dtype)
    dY = rng.standard_normal(net.forward_sequence(X).shape).astype(case.dtype)
    lengths = case.lengths()
    if lengths is not None:
        dY[np.arange(case.time) >= lengths[:, np.newaxis]] = 0
    return Problem(case, net, X, dY, inputs)


def ours(problem: Problem) -> Call:
    """`record` over a tape of an earlier pass, and its `backward`."""
    case, net, X, dY, inputs = problem
    lengths = case.lengths()
    tape = net.record(X, lengths=lengths)

    def run() -> Arrays:
        g = net.record(X, lengths=lengths, out=tape).backward(dY, inputs=inputs)
        return {**g, "X": g.X} if g.X is not None else dict(g)

    return run


def pytorch(problem: Problem) -> Call:
    """nn.LSTM and its autograd, time-major, as it prefers."""
    import torch

    torch.set_num_threads(peers.THREADS)
    warnings.filterwarnings("ignore", "LSTM with projections is not supported with oneDNN")
    case, net, X, dY, inputs = problem
    module = torch.nn.LSTM(
        case.input_size,
        case.hidden_size,
        num_layers=case.num_layers,
        bidirectional=case.bidirectional,
        proj_size=case.proj_size,
    ).to(getattr(torch, case.dtype))
    module.load_state_dict({name: torch.from_numpy(value) for name, value in net.state_dict().items()})
    x = torch.from_numpy(np.ascontiguousarray(X.swapaxes(0, 1))).requires_grad_(inputs)
    derivative = torch.from_numpy(np.ascontiguousarray(dY.swapaxes(0, 1)))
    lengths = case.lengths()
    parameters = dict(module.named_parameters())
    wanted = [*parameters.values(), x] if inputs else list(parameters.values())
    rnn = torch.nn.utils.rnn

    def run() -> Arrays:
        if lengths is None:
            Y, _ = module(x)
        else:
            packed = rnn.pack_padded_sequence(x, torch.from_numpy(lengths), enforce_sorted=False)
            Y, _ = rnn.pad_packed_sequence(module(packed)[0], total_length=case.time)
        found = torch.autograd.grad(Y, wanted, derivative)
        arrays = {name: gradient.numpy() for name, gradient in zip(parameters, found, strict=False)}
        return {**arrays, "X": found[-1].numpy().swapaxes(0, 1)} if inputs else arrays

    return run


def numpy_(problem: Problem) -> Call:
    """Backpropagation in NumPy as it is done well: one product for x, one for each gradient."""
    case, net, X, dY, inputs = problem
    state, size = net.state_dict(), case.hidden_size
    W, R = state["weight_ih_l0"], state["weight_hh_l0"]
    bias = state["bias_ih_l0"] + state["bias_hh_l0"]
    x, derivative = (np.ascontiguousarray(array.swapaxes(0, 1)) for array in (X, dY))
    gates = [slice(k * size, (k + 1) * size) for k in range(4)]

    def forward() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Gates (T, B, 4H), C and h (T + 1, B, H) before every step and after the last, tanh C (T, B, H)."""
        z = (x.reshape(-1, case.input_size) @ W.T + bias).reshape(case.time, case.batch, 4 * size)
        h, C = np.zeros((2, case.time + 1, case.batch, size), x.dtype)
        squashed = np.empty((case.time, case.batch, size), x.dtype)
        for t in range(case.time):
            z[t] += h[t] @ R.T
            z[t, :, gates[2]] *= 2  # tanh(z) = 2 sigmoid(2 z) - 1
            z[t] = 1 / (1 + np.exp(-z[t]))
            z[t, :, gates[2]] = 2 * z[t, :, gates[2]] - 1
            i, f, g, o = (z[t, :, gate] for gate in gates)
            C[t + 1] = f * C[t] + i * g
            np.tanh(C[t + 1], out=squashed[t])
            h[t + 1] = o * squashed[t]
        return z, C, h, squashed

    def run() -> Arrays:
        z, C, h, squashed = forward()
        dh, dC = np.zeros((2, case.batch, size), x.dtype)
        for t in reversed(range(case.time)):
            i, f, g, o = (z[t, :, gate].copy() for gate in gates)
            dh += derivative[t]
            dC += dh * o * (1 - squashed[t] ** 2)
            z[t, :, gates[3]] = dh * squashed[t] * o * (1 - o)
            z[t, :, gates[0]] = dC * g * i * (1 - i)
            z[t, :, gates[1]] = dC * C[t] * f * (1 - f)
            z[t, :, gates[2]] = dC * i * (1 - g * g)
            dC *= f
            dh = z[t] @ R
        dz = z.reshape(-1, 4 * size)
        db = dz.sum(axis=0)
        arrays = {
            "weight_ih_l0": dz.T @ x.reshape(-1, case.input_size),
            "weight_hh_l0": dz.T @ h[:-1].reshape(-1, size),
            "bias_ih_l0": db,
            "bias_hh_l0": db,
        }
        return {**arrays, "X": (dz @ W).reshape(x.shape).swapaxes(0, 1)} if inputs else arrays

    return run


def jax(problem: Problem) -> Call:
    """`lax.scan` over the steps, one product for x, everything compiled."""
    import jax
    import jax.numpy as jnp

    case, net, X, dY, inputs = problem
    x, derivative = (jnp.asarray(array.swapaxes(0, 1)) for array in (X, dY))
    weights = {name: jnp.asarray(value) for name, value in net.state_dict().items()}

    def loss(weights: dict[str, Any], x: Any) -> Any:
        products = x @ weights["weight_ih_l0"].T + weights["bias_ih_l0"] + weights["bias_hh_l0"]

        def step(state: tuple[Any, Any], z: Any) -> Any:
            h, C = state
            i, f, g, o = jnp.split(z + h @ weights["weight_hh_l0"].T, 4, axis=1)
            C = jax.nn.sigmoid(f) * C + jax.nn.sigmoid(i) * jnp.tanh(g)
            h = jax.nn.sigmoid(o) * jnp.tanh(C)
            return (h, C), h

        zeros = jnp.zeros((case.batch, case.hidden_size), x.dtype)
        return (jax.lax.scan(step, (zeros, zeros), products)[1] * derivative).sum()

    gradients = jax.jit(jax.grad(loss, argnums=(0, 1) if inputs else (0,)))

    def run() -> Arrays:
        found = jax.block_until_ready(gradients(weights, x))
        arrays = {name: np.asarray(gradient) for name, gradient in found[0].items()}
        return {**arrays, "X": np.asarray(found[1]).swapaxes(0, 1)} if inputs else arrays

    return run


CONTESTANTS: dict[str, Callable[[Problem], Call]] = {
    OURS: ours,
    "pytorch": pytorch,
    "numpy": numpy_,
    "jax": jax,
}


def can_run(name: str, case: Case) -> bool:
    """Whether a contestant is installed and has the variant."""
    if name == "jax" and (case.dtype != "float32" or importlib.util.find_spec("jax") is None):
        return False
    return name in (OURS, "pytorch") or case.is_plain


def difference(found: Arrays, expected: Arrays) -> float:
    """The largest difference of any gradient, relative to the largest of its array."""
    return max(
        float(np.abs(array - expected[name]).max() / np.abs(expected[name]).max())
        for name, array in found.items()
    )


def run_case(case: Case, inputs: bool, rounds: int, turn: int, names: list[str]) -> dict[str, Any]:
    """Times of each contestant and its largest difference from ours."""
    problem = problem_of(case, inputs)
    calls = {name: CONTESTANTS[name](problem) for name in names if can_run(name, case)}
    results = {name: call() for name, call in calls.items()}
    differences = {name: difference(found, results[OURS]) for name, found in results.items()}
    for name, largest in differences.items():
        if not largest < LARGEST_DIFFERENCE:
            raise RuntimeError(f"{name} computes something else: off by {largest} in {case}")
    times = peers.repeated(calls, rounds, turn)
    best = {name: min(values) for name, values in times.items()}
    return {
        **case._asdict(),
        "inputs": inputs,
        "best_us": {name: value * 1e6 for name, value in best.items()},
        "median_us": {name: statistics.median(values) * 1e6 for name, values in times.items()},
        "difference": differences,
        "ratio": best["pytorch"] / best[OURS] if "pytorch" in best else None,
    }


def errors_of(case: Case, seeds: int) -> dict[str, dict[str, float]]:
    """Of each contestant and gradient: rms of the error against float64, by the rms of the gradient.

    The mean of the squares over some seeds of the same sizes.
    """
    totals: dict[str, dict[str, float]] = {}
    for seed in range(seeds):
        problem = problem_of(case._replace(dtype="float32"), True)
        rng = np.random.default_rng(seed)
        problem = problem._replace(
            X=rng.standard_normal(problem.X.shape).astype(np.float32),
            dY=rng.standard_normal(problem.dY.shape).astype(np.float32),
        )
        exact = LSTM.from_state_dict(problem.net.state_dict(), dtype=np.float64)
        oracle = problem._replace(
            net=exact,
            X=problem.X.astype(np.float64),
            dY=problem.dY.astype(np.float64),
        )
        expected = ours(oracle)()
        for name in (OURS, "pytorch"):
            for key, array in CONTESTANTS[name](problem)().items():
                if key.startswith("bias_hh"):  # the same as bias_ih
                    continue
                scale = float(np.square(expected[key]).mean())
                error = float(np.square(array - expected[key]).mean()) / scale / seeds
                found = totals.setdefault(name, {})
                found[key] = found.get(key, 0.0) + error
    return {name: {key: value**0.5 for key, value in found.items()} for name, found in totals.items()}


def print_accuracy(cases: list[Case], seeds: int) -> list[dict[str, Any]]:
    """The table of errors; returns its rows."""
    print("\n| case I, H, B, T | gradient | lstm | pytorch | ratio |\n| --- | --- | ---: | ---: | ---: |")
    rows: list[dict[str, Any]] = []
    for case in cases:
        errors = errors_of(case, seeds)
        for key, error in errors[OURS].items():
            theirs = errors["pytorch"][key]
            rows.append({"case": case.label, "gradient": key, "lstm": error, "pytorch": theirs})
            print(f"| {case.label} | {key} | {error:.2e} | {theirs:.2e} | {error / theirs:.2f} |", flush=True)
    ratios = [row["lstm"] / row["pytorch"] for row in rows]
    print(
        f"\ngeometric mean of the ratios: {statistics.geometric_mean(ratios):.2f}, largest {max(ratios):.2f}"
    )
    return rows


def time_cells(best_us: dict[str, float], names: list[str]) -> str:
    """The columns of the contestants, empty for those that do not take part."""
    return "".join(f" {best_us[name]:>10.1f} |" if name in best_us else f" {'':>10} |" for name in names)


def print_row(row: dict[str, Any], names: list[str]) -> None:
    """One line of the table."""
    case = Case(*(row[field] for field in Case._fields))
    times = time_cells(row["best_us"], names)
    goal = case.inputs_goal if row["inputs"] else case.goal
    what = "and X" if row["inputs"] else "weights"
    ratio = "" if row["ratio"] is None else f"{row['ratio']:.2f}"
    print(f"| {case.label:<20} | {what:<7} |{times} {ratio:>5} | {goal:>4g} |", flush=True)


def main() -> int:
    """Run the cases, print the table, write JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", help="indices of the cases to run, such as 0,3,8", default="")
    parser.add_argument("--rounds", type=int, default=15, help="repeats of each contestant (default: 15)")
    parser.add_argument(
        "--turn", type=int, default=1, help="repeats one after another, as in training (default: 1)"
    )
    parser.add_argument("--contestants", help="some of them only, such as lstm,pytorch", default="")
    parser.add_argument(
        "--threads", type=int, default=1, help="threads of each contestant but JAX (default: 1)"
    )
    parser.add_argument("--accuracy", action="store_true", help="errors against float64 instead of times")
    parser.add_argument(
        "--seeds", type=int, default=3, help="inputs of each case for --accuracy (default: 3)"
    )
    parser.add_argument("--json", metavar="FILE", help="write all figures to FILE")
    arguments = parser.parse_args()
    indices = [int(index) for index in arguments.cases.split(",")] if arguments.cases else range(len(CASES))
    names = arguments.contestants.split(",") if arguments.contestants else list(CONTESTANTS)
    names = [name for name in names if name != "jax" or importlib.util.find_spec("jax") is not None]
    config = show_config("dict")
    packages = {"numpy": "numpy", "pytorch": "torch", "jax": "jax"}
    versions = {"lstm": config["lstm"]} | {
        packages[name]: version(packages[name]) for name in names if name in packages
    }
    facts: dict[str, Any] = {"cpu": cpu_name(), "isa": config["isa"], "threads": peers.THREADS}
    facts["versions"] = versions
    repeats = arguments.rounds * arguments.turn
    print(f"{facts['cpu']}, {facts['isa']}, {peers.THREADS} threads; best of {repeats}, µs")
    print(", ".join(f"{name} {number}" for name, number in versions.items()))
    cases = [CASES[index] for index in indices]
    if arguments.accuracy:
        plain = [case for case in cases if case.dtype == "float32" and case.is_plain]
        facts["rows"] = print_accuracy(plain, arguments.seeds)
    else:
        heads = "".join(f" {name:>10} |" for name in names)
        print(f"\n| {'case I, H, B, T':<20} | {'what':<7} |{heads} ratio | goal |")
        print("| --- | --- |" + " ---: |" * (len(names) + 2))
        facts["rows"] = []
        for case in cases:
            for inputs in (False, True):
                facts["rows"].append(run_case(case, inputs, arguments.rounds, arguments.turn, names))
                print_row(facts["rows"][-1], names)
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(facts, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
