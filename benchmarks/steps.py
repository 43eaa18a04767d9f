"""Whole steps of training: lstm.train and lstm.torch against PyTorch and Keras, one run, in turns, one core.

    taskset -c 1 python benchmarks/steps.py [--cases 0,3] [--rounds 30] [--json FILE]
    taskset -c 1 python benchmarks/steps.py --fit [--seeds 5]

A step is a batch through the net and a linear head on the last h, the squared error, the gradients, and Adam.
All start from the same weights, and their losses are checked against PyTorch's, which has its fused Adam.
Keras runs on PyTorch, by train_on_batch, where it is installed. --fit trains on the adding problem instead,
the same number of steps with the same batches, and shows the losses of every seed.
benchmarks/README.md explains the columns.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import peers  # sets the number of threads for all; PyTorch and Keras are imported later
from training import time_cells

import lstm
from lstm import LSTM, show_config
from lstm.comparison.machine import cpu_name
from lstm.train import Adam, LinearHead, Parameters, Squared, mean_loss

RATE = 1e-3
STEPS = 3
TURN = 4  # steps that are timed one after the other, as in training
# Of the losses of the first step and of the last of STEPS, by the first loss. PyTorch has two biases, and
# Adam moves both; the others have their sum.
LARGEST_DIFFERENCES = 1e-4, 0.1
OURS, DROP_IN, PYTORCH, KERAS = "lstm.train", "lstm.torch", "pytorch", "keras"


class Case(NamedTuple):
    """Sizes, and the least ratios to PyTorch that are our goals: of lstm.train, and of lstm.torch."""

    input_size: int
    hidden_size: int
    batch: int
    time: int
    goal: float | None = None
    drop_in_goal: float | None = None

    @property
    def label(self) -> str:
        """What the case is, for the table."""
        return ", ".join(map(str, self[:4]))


CASES = (
    Case(1, 32, 32, 100, 2.6, 2.0),
    Case(1, 20, 1, 1000),
    Case(16, 64, 16, 100),
    Case(40, 128, 1, 100),
    Case(64, 128, 32, 100),
    Case(256, 512, 64, 30),
)
Step = Callable[[np.ndarray, np.ndarray], float]  # X (B, T, I), y (B, 1): the loss before the step


class Start(NamedTuple):
    """Where all begin: the net's weights, and the head's (1, H) and (1,)."""

    case: Case
    net: LSTM
    weight: np.ndarray
    bias: np.ndarray


def start_of(case: Case, seed: int = 0) -> Start:
    """Random weights as PyTorch draws them."""
    net = LSTM(case.input_size, case.hidden_size, dtype="float32", init="pytorch", rng=seed)
    rng = np.random.default_rng(seed)
    weight = rng.uniform(-1, 1, (1, case.hidden_size)) / np.sqrt(case.hidden_size)
    return Start(case, net, weight.astype(np.float32), np.zeros(1, np.float32))


def trainer(start: Start, rate: float = RATE) -> Step:
    """The parts of lstm.train, as its Trainer calls them."""
    net = LSTM.from_state_dict(start.net.state_dict(), dtype="float32")
    head = LinearHead(net, 1)
    head.weight, head.bias = start.weight, start.bias
    loss, optimizer, parameters = Squared(), Adam(rate), Parameters(net, head)
    moments = optimizer.start(parameters.values)
    done = 0

    def step(X: np.ndarray, y: np.ndarray) -> float:
        nonlocal done
        tape = net.record(X)
        features = head.features(tape.Y, tape.h_n)
        value, derivative = mean_loss(loss, head.forward(features), y)
        parameters.gradient[...] = 0
        d_features = head.backward(
            features, derivative, parameters.head_weight_gradient, parameters.head_bias_gradient
        )
        tape.backward(**head.starts(tape, d_features), inputs=False, add_to=parameters.net_gradients)
        optimizer.update(parameters.values, parameters.gradient, moments, done)
        parameters.store()
        done += 1
        return float(value)

    return step


def torch_step(start: Start, module: Any, rate: float) -> Step:
    """A module in PyTorch's usual loop."""
    import torch

    torch.set_num_threads(peers.THREADS)
    net, head = (
        module(start.case.input_size, start.case.hidden_size, batch_first=True),
        torch.nn.Linear(start.case.hidden_size, 1),
    )
    net.load_state_dict({name: torch.from_numpy(one) for name, one in start.net.state_dict().items()})
    with torch.no_grad():
        head.weight[...], head.bias[...] = torch.from_numpy(start.weight), torch.from_numpy(start.bias)
    optimizer = torch.optim.Adam([*net.parameters(), *head.parameters()], lr=rate, fused=True)

    def step(X: np.ndarray, y: np.ndarray) -> float:
        optimizer.zero_grad()
        _, (h_n, _) = net(torch.from_numpy(X))
        loss = torch.nn.functional.mse_loss(head(h_n[-1]), torch.from_numpy(y))
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    return step


def drop_in(start: Start, rate: float = RATE) -> Step:
    """lstm.torch.LSTM with PyTorch's fused Adam."""
    import lstm.torch

    return torch_step(start, lstm.torch.LSTM, rate)


def pytorch(start: Start, rate: float = RATE) -> Step:
    """torch.nn.LSTM with PyTorch's fused Adam."""
    import torch

    return torch_step(start, torch.nn.LSTM, rate)


def keras(start: Start, rate: float = RATE) -> Step:
    """Keras on PyTorch, by train_on_batch; its gates are in the order i, f, g, o, as ours."""
    os.environ["KERAS_BACKEND"] = "torch"
    import keras

    case, state = start.case, start.net.state_dict()
    layer = keras.layers.LSTM(case.hidden_size)
    dense = keras.layers.Dense(1)
    model = keras.Sequential([keras.Input((case.time, case.input_size)), layer, dense])
    bias = state["bias_ih_l0"] + state["bias_hh_l0"]
    layer.set_weights([state["weight_ih_l0"].T, state["weight_hh_l0"].T, bias])
    dense.set_weights([start.weight.T, start.bias])
    model.compile(keras.optimizers.Adam(rate, epsilon=1e-8), "mse")
    return lambda X, y: float(model.train_on_batch(X, y))


CONTESTANTS: dict[str, Callable[..., Step]] = {
    OURS: trainer,
    DROP_IN: drop_in,
    PYTORCH: pytorch,
    KERAS: keras,
}


def adding_problem(rows: int, steps: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """X (B, T, 2) of numbers and marks, and the sums of the two that are marked (B, 1)."""
    X = np.stack([rng.uniform(0, 1, (rows, steps)), np.zeros((rows, steps))], axis=2)
    X[np.arange(rows), rng.integers(0, steps // 2, rows), 1] = 1
    X[np.arange(rows), rng.integers(steps // 2, steps, rows), 1] = 1
    return X.astype(np.float32), (X[:, :, 0] * X[:, :, 1]).sum(axis=1, keepdims=True).astype(np.float32)


def batch_of(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """X (B, T, I) and y (B, 1), random."""
    rng = np.random.default_rng(1)
    X = rng.standard_normal((case.batch, case.time, case.input_size)).astype(np.float32)
    return X, rng.standard_normal((case.batch, 1)).astype(np.float32)


def run_case(case: Case, rounds: int, names: list[str]) -> dict[str, Any]:
    """Times of a step of each contestant; RuntimeError if one learns otherwise than PyTorch."""
    start, (X, y) = start_of(case), batch_of(case)
    steps = {name: CONTESTANTS[name](start) for name in names}
    losses = {name: [step(X, y) for _ in range(STEPS)] for name, step in steps.items()}
    for name, found in losses.items():
        for place, largest in zip((0, -1), LARGEST_DIFFERENCES, strict=True):
            if abs(found[place] - losses[PYTORCH][place]) > largest * losses[PYTORCH][0]:
                raise RuntimeError(
                    f"{name} learns otherwise: losses {found}, not {losses[PYTORCH]}, in {case}"
                )
    times: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(rounds):
        for name, step in steps.items():
            step(X, y)  # what the others have left in the caches costs a small net twice its time
            for _ in range(TURN):
                began = time.perf_counter()
                step(X, y)
                times[name].append(time.perf_counter() - began)
    best = {name: min(values) for name, values in times.items()}
    return {
        **case._asdict(),
        "best_us": {name: value * 1e6 for name, value in best.items()},
        "median_us": {name: statistics.median(values) * 1e6 for name, values in times.items()},
        "loss": losses,
        "ratio": {name: best[PYTORCH] / value for name, value in best.items()},
    }


def run_fit(seeds: int, names: list[str], count: int = 2000, batch: int = 32) -> list[dict[str, Any]]:
    """The adding problem of 100 steps at H 32: seconds, and the mean loss of the last 100 steps, by seed."""
    rows = []
    case = Case(2, 32, batch, 100)
    for seed in range(seeds):
        seconds, losses = {}, {}
        for name in names if seed % 2 == 0 else reversed(names):
            step, rng = CONTESTANTS[name](start_of(case, seed), 1e-2), np.random.default_rng(seed)
            X, y = adding_problem(count * batch, case.time, rng)
            began = time.perf_counter()
            parts = [slice(k * batch, (k + 1) * batch) for k in range(count)]
            found = [step(X[part], y[part]) for part in parts]
            seconds[name], losses[name] = time.perf_counter() - began, float(np.mean(found[-100:]))
        rows.append({"seed": seed, "seconds": seconds, "loss": losses})
        told = ", ".join(f"{name} {seconds[name]:.2f} s, loss {losses[name]:.5f}" for name in names)
        print(f"seed {seed}: {told}", flush=True)
    for name in names:
        ratios = [row["seconds"][PYTORCH] / row["seconds"][name] for row in rows]
        print(f"{PYTORCH} / {name}: {statistics.median(ratios):.2f} (median of {seeds} seeds)")
    return rows


def print_row(row: dict[str, Any], names: list[str]) -> None:
    """One line of the table."""
    case = Case(*(row[field] for field in Case._fields))
    times = time_cells(row["best_us"], names)
    ratios = "".join(f" {row['ratio'][name]:>10.2f} |" for name in (OURS, DROP_IN))
    goals = " ".join(f"{goal:g}" for goal in (case.goal, case.drop_in_goal) if goal)
    print(f"| {case.label:<17} |{times}{ratios} {goals:>5} |", flush=True)


def main() -> int:
    """Run the cases, print the table, write JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", help="indices of the cases to run, such as 0,3", default="")
    parser.add_argument("--rounds", type=int, default=20, help="turns of each contestant (default: 20)")
    parser.add_argument("--fit", action="store_true", help="the adding problem, trained")
    parser.add_argument("--seeds", type=int, default=5, help="runs of --fit (default: 5)")
    parser.add_argument("--json", metavar="FILE", help="write all figures to FILE")
    arguments = parser.parse_args()
    lstm.set_num_threads(1)
    has_keras = importlib.util.find_spec("keras") is not None
    names = [name for name in CONTESTANTS if name != KERAS or has_keras]
    config = show_config("dict")
    versions = {"lstm": config["lstm"]} | {
        name: version(name) for name in ("torch", "keras") if name != KERAS or has_keras
    }
    facts: dict[str, Any] = {"cpu": cpu_name(), "isa": config["isa"], "threads": 1, "versions": versions}
    print(f"{facts['cpu']}, {facts['isa']}, 1 thread")
    print(", ".join(f"{name} {number}" for name, number in versions.items()))
    if arguments.fit:
        facts["rows"] = run_fit(arguments.seeds, [OURS, DROP_IN, PYTORCH])
    else:
        indices = (
            [int(index) for index in arguments.cases.split(",")] if arguments.cases else range(len(CASES))
        )
        heads = "".join(f" {name:>10} |" for name in names)
        print(f"\nBest of {TURN * arguments.rounds}, µs; PyTorch's time by that of each\n")
        print(f"| {'I, H, B, T':<17} |{heads} {OURS:>10} | {DROP_IN:>10} | goals |")
        print("| --- |" + " ---: |" * (len(names) + 3))
        facts["rows"] = []
        for index in indices:
            case = CASES[index]
            # Keras takes seconds a step of the larger ones, which say nothing more.
            some = [name for name in names if name != KERAS or case.time * case.hidden_size < 5000]
            facts["rows"].append(run_case(case, arguments.rounds, some))
            print_row(facts["rows"][-1], names)
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(facts, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
