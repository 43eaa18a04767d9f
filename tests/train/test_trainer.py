"""The trainer: it learns, the same bits however a batch is split, and what stops it."""

from __future__ import annotations

import builtins
import copy
import os
import pickle
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import assert_same_bits, random_net
from train.runs import assert_same_run, rows_of, trainer_of

import lstm
from lstm import LSTM
from lstm.train import (
    SGD,
    Adam,
    CrossEntropy,
    DivergedError,
    Huber,
    LinearHead,
    Parameters,
    Quantile,
    Squared,
    Trainer,
)


@pytest.mark.parametrize("optimizer", [Adam(0.02), SGD(0.3, momentum=0.9)], ids=repr)
@pytest.mark.parametrize("loss", [Squared(), Huber(0.5)], ids=repr)
def test_it_learns_to_add_up(loss: Any, optimizer: Any) -> None:
    """The running mean of what has come: the answer of a net without memory costs over 20 times as much."""
    X = np.random.default_rng(0).standard_normal((128, 12, 1))
    y = np.cumsum(X, axis=1) / np.arange(1, 13)[:, np.newaxis]
    net = LSTM(1, 12, rng=0)
    trainer = Trainer(net, LinearHead(net, every_step=True, rng=0), loss, optimizer, clip_norm=1.0, rng=0)
    start = trainer.evaluate(X, y)
    trainer.fit(X, y, epochs=40, progress=False)
    assert trainer.evaluate(X, y) < 0.05 * start
    assert trainer.history.loss.shape == (160,)


def test_it_learns_classes_of_ragged_rows() -> None:
    """Whether more ones than zeros came before a row's end: at least 95 of 100 right, of rows not seen."""
    rng = np.random.default_rng(0)
    X = rng.integers(0, 2, (400, 15, 1))
    lengths = 2 * rng.integers(1, 8, 400) + 1
    ones = (X[..., 0] * (np.arange(15) < lengths[:, np.newaxis])).sum(axis=1)
    y = (2 * ones > lengths).astype(int)
    net = LSTM(1, 12, dtype=np.float32, rng=0)
    trainer = Trainer(net, LinearHead(net, 2, rng=0), CrossEntropy(), Adam(0.02), rng=0)
    held = (X[300:], y[300:], lengths[300:])
    trainer.fit(X[:300], y[:300], lengths=lengths[:300], epochs=40, validation=held, progress=False)
    net, head = trainer.best
    answers = head.predict(net, X[300:], lengths=lengths[300:]).argmax(axis=1)
    assert (answers == y[300:]).mean() >= 0.95
    assert trainer.best_loss == trainer.history.validation_loss.min()
    assert trainer.best_epoch == trainer.history.validation_loss.argmin() + 1


def test_it_learns_quantiles() -> None:
    """Of noise that nothing in X tells: the quantiles of its distribution, to within 0.05."""
    rng = np.random.default_rng(0)
    X, y = np.ones((2000, 1, 1)), rng.uniform(0, 1, 2000)
    net = LSTM(1, 4, rng=0)
    head = LinearHead(net, 3, rng=0)
    schedule = Adam(lambda step: 0.02 / (1 + step / 100))
    Trainer(net, head, Quantile([0.1, 0.5, 0.9]), schedule, batch_size=100, rng=0).fit(
        X, y, epochs=20, progress=False
    )
    np.testing.assert_allclose(head.predict(net, X[:1])[0], [0.1, 0.5, 0.9], atol=0.05)


@pytest.mark.parametrize("part_size", [1, 3, 4])
def test_parts_of_a_batch_change_no_bit(part_size: int) -> None:
    quiet = {"dropout": 0.0, "recurrent_dropout": 0.0}
    whole = trainer_of(**quiet).fit(**rows_of(), epochs=2, progress=False)
    parts = trainer_of(part_size=part_size, **quiet).fit(**rows_of(), epochs=2, progress=False)
    assert_same_run(parts, whole)


def test_a_seed_decides_all() -> None:
    runs = [trainer_of(rng=seed).fit(**rows_of(), epochs=2, progress=False) for seed in (3, 3, 4)]
    assert_same_run(runs[0], runs[1])
    assert (runs[0].history.loss != runs[2].history.loss).any()
    in_order = trainer_of(shuffle=False, rng=3).fit(**rows_of(), epochs=1, progress=False)
    assert (in_order.history.loss != runs[0].history.loss[:6]).any()


def test_calls_add_up() -> None:
    """Epochs of two calls are those of one."""
    whole = trainer_of().fit(**rows_of(), epochs=3, progress=False)
    twice = trainer_of().fit(**rows_of(), epochs=1, progress=False)
    assert twice.epoch == 1
    assert_same_run(twice.fit(**rows_of(), epochs=3, progress=False), whole)
    steps = whole.step
    assert whole.fit(**rows_of(), epochs=3, progress=False).step == steps == 18


def test_weights_that_were_set_count() -> None:
    trainer = trainer_of().fit(**rows_of(), epochs=1, progress=False)
    trainer.net.load_state_dict({name: 0 * w for name, w in trainer.net.state_dict().items()})
    trainer.head.weight[...] = 0
    trainer.head.bias[...] = 9
    trainer.fit(**rows_of(), epochs=2, progress=False)
    assert trainer.history.loss[6] > 20


def test_patience_ends_it() -> None:
    """A rate of zero after two epochs makes nothing better."""
    data = rows_of()
    schedule = SGD(lambda step: 0.01 if step < 12 else 0.0)
    held = tuple(data[name] for name in ("X", "y", "lengths"))
    trainer = trainer_of(optimizer=schedule).fit(
        **data, epochs=50, validation=held, patience=3, progress=False
    )
    assert trainer.best_epoch == 2
    assert trainer.epoch == 5


class Stopping(Squared):
    """A squared error that raises at its n-th call."""

    def __init__(self, calls: int, error: BaseException) -> None:
        self.calls, self.error = calls, error

    def __call__(self, prediction: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self.calls -= 1
        if self.calls == 0:
            raise self.error
        return super().__call__(prediction, target)


@pytest.mark.parametrize("calls", [1, 4, 6, 7, 11, 18])
def test_ctrl_c_keeps_all_and_says_so(calls: int, capsys: pytest.CaptureFixture[str]) -> None:
    whole = trainer_of().fit(**rows_of(), epochs=3, progress=False)
    stopped = trainer_of(loss=Stopping(calls, KeyboardInterrupt())).fit(**rows_of(), epochs=3, progress=False)
    assert stopped.step == calls - 1
    told = capsys.readouterr().err
    assert told.startswith(f"lstm.train: stopped by Ctrl-C after {calls - 1} steps; ")
    assert ("trainer.best is the net of epoch" in told) == (calls > 6)
    assert told.count("\n") == 1
    best = stopped.best[0].state_dict()
    assert all(np.isfinite(array).all() for array in best.values())
    assert_same_run(stopped.fit(**rows_of(), epochs=3, progress=False), whole)


def test_any_other_exception_leaves_a_whole_step() -> None:
    whole = trainer_of().fit(**rows_of(), epochs=2, progress=False)
    trainer = trainer_of(loss=Stopping(8, MemoryError()))
    with pytest.raises(MemoryError):
        trainer.fit(**rows_of(), epochs=2, progress=False)
    assert_same_run(trainer.fit(**rows_of(), epochs=2, progress=False), whole)


@pytest.mark.parametrize("rate", [1e30, 1e200])
def test_a_run_that_diverges_stops(rate: float) -> None:
    trainer = trainer_of(
        optimizer=SGD(lambda step: 0.01 if step < 9 else rate), dtype=np.float64, clip_norm=None
    )
    with pytest.raises(DivergedError, match=r"is not finite at step 1[0-9], with learning rate 1e"):
        trainer.fit(**rows_of(), epochs=4, progress=False)
    good = trainer_of(optimizer=SGD(0.01), dtype=np.float64, clip_norm=None)
    good.fit(**rows_of(), epochs=1, progress=False)
    assert trainer.best_epoch == 1
    for name, array in trainer.best[0].state_dict().items():
        assert_same_bits(array, good.best[0].state_dict()[name], name)
    assert all(np.isfinite(array).all() for array in trainer.net.state_dict().values())
    assert np.isfinite(trainer.history.loss).all()
    assert np.isfinite(trainer.evaluate(**rows_of()))


def test_a_line_an_epoch_without_tqdm(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.startswith("tqdm"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    data = rows_of()
    trainer_of().fit(**data, epochs=2)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(": ")[0] for line in lines] == ["epoch 1/2", "epoch 2/2"]
    trainer_of().fit(**data, epochs=1, validation=(data["X"], data["y"]))
    assert ", validation 0." in capsys.readouterr().err


def test_a_bar_with_tqdm(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("tqdm")
    trainer_of().fit(**rows_of(), epochs=2)
    told = capsys.readouterr().err
    assert "12/12" in told
    assert "epoch 2/2" in told or "loss" in told
    trainer_of().fit(**rows_of(), epochs=2, progress=False)
    assert capsys.readouterr().err == ""


def test_steps_that_do_not_count_are_not_looked_at() -> None:
    data = rows_of()
    clean = trainer_of().fit(**data, epochs=2, progress=False)
    past = np.arange(7) >= data["lengths"][:, np.newaxis]
    data["X"][past], data["y"][past] = np.nan, np.inf
    assert_same_run(trainer_of().fit(**data, epochs=2, progress=False), clean)


def changed(**changes: Any) -> dict[str, Any]:
    return {**rows_of(), "epochs": 1, "progress": False, **changes}


def with_one(name: str, value: float) -> np.ndarray:
    array: np.ndarray = rows_of()[name].copy()
    array[5, 0, 0] = value
    return array


WRONG: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "NaN in X": (changed(X=with_one("X", np.nan)), ValueError, r"X\[5, 0\] is not finite"),
    "infinity in y": (changed(y=with_one("y", np.inf)), ValueError, r"y\[5, 0\] is not finite"),
    "no rows": (changed(X=np.ones((0, 7, 2)), y=np.ones((0, 7, 1))), ValueError, "no rows"),
    "a single sequence": (changed(X=np.ones((7, 2))), ValueError, "X has shape"),
    "features": (changed(X=np.ones((22, 7, 3))), ValueError, "input_size=2"),
    "text": (changed(y=np.full((22, 7, 1), "a")), TypeError, "y has dtype"),
    "y's rows": (changed(y=np.ones((21, 7, 1))), ValueError, "y has shape"),
    "lengths": (changed(lengths=np.full(22, 8)), ValueError, "lengths"),
    "nothing counts": (changed(sample_weight=np.zeros(22)), ValueError, "no step counts"),
    "epochs": (changed(epochs=0), ValueError, "epochs"),
    "validation": (changed(validation=np.ones(3)), TypeError, "validation must be a tuple"),
    "bad validation": (changed(validation=(np.ones((2, 7, 2)), [1])), ValueError, "validation: y has shape"),
    "an ending": (changed(checkpoint="run.pkl"), ValueError, r"must end in \.npz"),
    "no checkpoint": (changed(checkpoint_steps=3), ValueError, "no checkpoint to be written"),
}


@pytest.mark.parametrize("name", WRONG)
def test_bad_data_raises_before_anything_is_done(name: str) -> None:
    arguments, error, message = WRONG[name]
    trainer = trainer_of()
    before = trainer.net.state_dict()
    with pytest.raises(error, match=message):
        trainer.fit(**arguments)
    assert trainer.step == 0
    for key, array in trainer.net.state_dict().items():
        assert_same_bits(array, before[key], key)


def test_classes_that_are_none_raise() -> None:
    net = random_net(np.random.default_rng(0), 1, 3, np.float64)
    trainer = Trainer(net, LinearHead(net, 2), CrossEntropy(), Adam())
    with pytest.raises(ValueError, match="y has classes from 0 to 2, but the head has outputs for 0 to 1"):
        trainer.fit(np.ones((3, 4, 1)), [0, 1, 2], epochs=1)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"batch_size": 0}, ValueError, "batch_size"),
        ({"part_size": 0}, ValueError, "part_size"),
        ({"clip_norm": -1.0}, ValueError, "clip_norm"),
        ({"dropout": 1.5}, ValueError, "dropout"),
        ({"loss": "squared"}, TypeError, "loss is 'squared', but must be"),
        ({"optimizer": 0.1}, TypeError, "optimizer is 0.1"),
    ],
)
def test_bad_arguments_raise(options: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        trainer_of(**options)


@pytest.mark.skipif("LSTM_SANITIZE" in os.environ, reason="the sanitizers take time of their own")
def test_importing_it_is_quick() -> None:
    """Under 5 ms of CPU time beyond lstm, as the best of some processes; and nothing but NumPy."""
    code = (
        "import sys, time, lstm, numpy.random; before = set(sys.modules); start = time.process_time();"
        "import lstm.train; print(time.process_time() - start);"
        "new = {name.split('.')[0] for name in set(sys.modules) - before};"
        "print(sorted(new - set(sys.stdlib_module_names) - {'lstm', 'numpy'}))"
    )
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    folder = str(Path(lstm.__file__).parent.parent)
    times = []
    with tempfile.TemporaryDirectory() as cache:
        environment |= {"PYTHONPATH": folder, "PYTHONPYCACHEPREFIX": cache}
        for _ in range(40):  # so many where other work slows the CPU
            done = subprocess.run(
                [sys.executable, "-P", "-c", code], env=environment, capture_output=True, text=True
            )
            seconds, others = done.stdout.splitlines()
            times.append(float(seconds))
            assert others == "[]"
            if times[-1] < 0.005:
                break
    assert min(times) < 0.005


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda trainer: pickle.loads(pickle.dumps(trainer))])
def test_a_copy_goes_on_with_the_same_bits(copied: Any) -> None:
    """And shares nothing with the trainer."""
    trainer = trainer_of().fit(**rows_of(), epochs=2, progress=False)
    other = copied(trainer)
    assert other.net is not trainer.net
    assert_same_run(trainer, other)
    before = trainer.net.state_dict()
    other.fit(**rows_of(), epochs=4, progress=False)
    for name, array in trainer.net.state_dict().items():
        assert_same_bits(array, before[name])
    assert_same_run(trainer.fit(**rows_of(), epochs=4, progress=False), other)


def test_copied_parameters_are_views_of_their_own() -> None:
    net = random_net(np.random.default_rng(0), 2, 3, np.float64)
    parameters = Parameters(net, LinearHead(net, rng=0))
    parameters.values += 1
    parameters.gradient[...] = 2
    other = copy.deepcopy(parameters)
    assert_same_bits(other.values, parameters.values)
    assert_same_bits(other.head_weight_gradient, np.full((1, 3), 2.0))
    other.store()
    assert not np.array_equal(other.net.Wf, net.Wf)
    other.values[...] = 0
    other.store()
    assert not other.net.Wf.any()


def test_a_rule_of_ones_own_stops() -> None:
    asked = []

    def stop(trainer: Trainer) -> bool:
        asked.append((trainer.epoch, len(trainer.history.epoch_loss)))
        return trainer.epoch == 3

    trainer = trainer_of().fit(**rows_of(), epochs=9, stop=stop, progress=False)
    assert asked == [(1, 1), (2, 2), (3, 3)]
    assert_same_run(trainer, trainer_of().fit(**rows_of(), epochs=3, progress=False))
