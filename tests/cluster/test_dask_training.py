"""`lstm.dask.fit`: the same bits for any number of workers, also if one is killed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import assert_same_bits
from worker_processes import kill_one, slow_workers

from lstm import LSTM
from lstm.train import Adam, CrossEntropy, LinearHead, Squared, Trainer

distributed = pytest.importorskip("distributed")
pytest.importorskip("dask.array")

import lstm.dask  # noqa: E402
from lstm.dask import training  # noqa: E402

ROWS, T = 41, 12
rng = np.random.default_rng(0)
X = rng.standard_normal((ROWS, T, 3))
LENGTHS = rng.integers(0, T + 1, ROWS)
SERIES = rng.standard_normal((ROWS, T, 2))
CLASSES = rng.integers(0, 2, ROWS)
# Options of the net and of the trainer, whether there is a prediction at every step, and the targets.
KINDS: dict[str, tuple[dict[str, Any], dict[str, Any], bool, Any]] = {
    "at the end": ({"peephole": True, "bias": False}, {}, False, CLASSES),
    "every step": ({"num_layers": 2, "bidirectional": True, "dtype": np.float32}, {}, True, SERIES),
    "dropout": ({"num_layers": 2}, {"dropout": 0.5, "recurrent_dropout": 0.25}, True, SERIES),
    "numpy": ({"backend": "numpy", "proj_size": 2}, {"clip_norm": 0.1}, False, CLASSES),
}


def trainer_of(kind: str, **options: Any) -> Trainer:
    of_net, of_trainer, every_step, y = KINDS[kind]
    net = LSTM(3, 5, rng=1, **of_net)
    loss = CrossEntropy() if y is CLASSES else Squared()
    head = LinearHead(net, 2, every_step=every_step, rng=2)
    return Trainer(net, head, loss, Adam(0.01), batch_size=16, rng=3, **of_trainer, **options)


def data_of(kind: str) -> dict[str, Any]:
    return {"X": X, "y": KINDS[kind][3], "lengths": LENGTHS, "progress": False}


def assert_same_run(one: Trainer, other: Trainer) -> None:
    for name, array in other.net.state_dict().items():
        assert_same_bits(one.net.state_dict()[name], array, name)
    assert_same_bits(one.head.weight, other.head.weight)
    for mine, theirs in zip(one.history, other.history, strict=True):
        assert_same_bits(mine, theirs)


@pytest.mark.parametrize("kind", KINDS)
def test_any_number_of_workers(client: Any, kind: str) -> None:
    """One and four workers as threads, two as processes, more tasks than parts."""
    runs = []
    for workers in (1, 4):
        with distributed.Client(
            processes=False, n_workers=workers, threads_per_worker=1, dashboard_address=":0"
        ) as local:
            trainer = trainer_of(kind, part_size=3)
            assert lstm.dask.fit(trainer, **data_of(kind), epochs=2, client=local) is trainer
            runs.append(trainer)
    for tasks in (None, 100):
        trainer = trainer_of(kind, part_size=3)
        runs.append(lstm.dask.fit(trainer, **data_of(kind), epochs=2, client=client, tasks=tasks))
    for other in runs[1:]:
        assert_same_run(other, runs[0])


@pytest.mark.parametrize("kind", ["at the end", "every step", "numpy"])
def test_parts_of_one_row_have_the_bits_of_one_machine(client: Any, kind: str) -> None:
    # NumPy's products have other bits in a batch.
    alone = trainer_of(kind, part_size=1 if kind == "numpy" else None).fit(**data_of(kind), epochs=2)
    assert_same_run(
        lstm.dask.fit(trainer_of(kind, part_size=1), **data_of(kind), epochs=2, client=client), alone
    )


def test_a_run_is_saved_and_goes_on(client: Any, tmp_path: Path) -> None:
    """With dropout, whose seeds come from the trainer's generator."""
    data = {**data_of("dropout"), "client": client}
    whole = lstm.dask.fit(trainer_of("dropout"), **data, epochs=2)
    lstm.dask.fit(trainer_of("dropout"), **data, epochs=1, checkpoint=tmp_path / "run.npz")
    resumed = Trainer.resume(tmp_path / "run.npz")
    assert_same_run(lstm.dask.fit(resumed, **data, epochs=2), whole)


def test_a_worker_is_killed(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """While it computes a part of a step; what it had is computed again."""
    expected = lstm.dask.fit(trainer_of("at the end"), **data_of("at the end"), epochs=2, client=client)
    steps = 0

    def killing(call: Callable[..., Any]) -> Callable[..., Any]:
        def step(*arguments: Any) -> Any:
            nonlocal steps
            steps += 1
            if steps == 3:
                threading.Timer(0.02, kill_one, [client]).start()
            return call(*arguments)

        return step

    monkeypatch.setattr(training._Workers, "__call__", killing(training._Workers.__call__))
    with slow_workers(client, 0.1):
        trainer = trainer_of("at the end")
        lstm.dask.fit(trainer, **data_of("at the end"), epochs=2, client=client)
    assert steps == 6
    assert_same_run(trainer, expected)


def test_what_a_worker_raises_is_raised_here(client: Any) -> None:
    """And the trainer is as after the last whole step."""
    trainer = trainer_of("at the end")
    before = trainer.net.state_dict()
    trainer.loss = FailingLoss()
    with pytest.raises(ZeroDivisionError, match="of the user"):
        lstm.dask.fit(trainer, **data_of("at the end"), epochs=1, client=client)
    for name, array in before.items():
        assert_same_bits(trainer.net.state_dict()[name], array)


class FailingLoss(CrossEntropy):
    def __call__(self, prediction: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        raise ZeroDivisionError("of the user")


def test_wrong_arguments(client: Any) -> None:
    with pytest.raises(TypeError, match="must be a Trainer"):
        lstm.dask.fit(LSTM(3, 5), X, CLASSES, epochs=1, client=client)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="tasks is 0"):
        lstm.dask.fit(trainer_of("at the end"), X, CLASSES, epochs=1, client=client, tasks=0)
    with pytest.raises(ValueError, match="y has shape"):
        lstm.dask.fit(trainer_of("at the end"), X, CLASSES[1:], epochs=1, client=client)
