"""A run that was stopped anywhere and resumed has the bits of one that was not; files that are damaged."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import TESTS, assert_same_bits, random_net
from train.runs import assert_same_run, rows_of, trainer_of

import lstm
from lstm import FormatError
from lstm.train import SGD, Adam, CrossEntropy, Huber, LinearHead, Loss, Quantile, Squared, Trainer

EPOCHS, STEPS = 4, 24


class Stop(Exception):
    """What stops a run."""


class Limited(Squared):
    """A squared error that raises once it has been called so often."""

    def __init__(self, calls: int) -> None:
        self.calls = calls

    def __call__(self, prediction: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if self.calls == 0:
            raise Stop
        self.calls -= 1
        return super().__call__(prediction, target)


@pytest.fixture(scope="module")
def whole() -> Trainer:
    """The run that was not stopped."""
    return trainer_of().fit(**rows_of(), epochs=EPOCHS, progress=False)


def resumed_at(steps: int, path: Path) -> Trainer:
    """A trainer of a file that was saved after so many steps, the process having forgotten all else."""
    trainer = trainer_of(loss=Limited(steps))
    with pytest.raises(Stop):
        trainer.fit(**rows_of(), epochs=EPOCHS, progress=False)
    assert trainer.step == steps
    trainer.save(path)
    with np.load(path, allow_pickle=False) as file:
        for name, array in trainer.net.state_dict().items():
            assert_same_bits(file[name], array, name)
    return Trainer.resume(path, loss=Squared())


@pytest.mark.parametrize("steps", [0, 1, 5, 6, 7, 17, 23])
def test_stopped_and_resumed(steps: int, whole: Trainer, tmp_path: Path) -> None:
    resumed = resumed_at(steps, tmp_path / "run.npz")
    assert_same_run(resumed.fit(**rows_of(), epochs=EPOCHS, progress=False), whole)


def test_stopped_at_random_again_and_again(whole: Trainer, tmp_path: Path) -> None:
    rng, path = np.random.default_rng(0), tmp_path / "run.npz"
    trainer_of().save(path)
    stops = 0
    while True:
        trainer = Trainer.resume(path, loss=Limited(int(rng.integers(1, 6))))
        try:
            trainer.fit(**rows_of(), epochs=EPOCHS, progress=False)
        except Stop:
            stops += 1
            trainer.save(path)
            continue
        break
    assert stops > 4
    assert_same_run(trainer, whole)


CHILD = """
import sys
from train.runs import rows_of, trainer_of
from lstm.train import Trainer
import os
path = sys.argv[1]
trainer = Trainer.resume(path) if os.path.exists(path) else trainer_of()
trainer.fit(**rows_of(), epochs=int(sys.argv[2]), checkpoint=path, checkpoint_steps=1, progress=False)
"""


def test_killed_and_resumed(tmp_path: Path) -> None:
    """SIGKILL, wherever it comes: at the latest once several checkpoints were written."""
    path, epochs = tmp_path / "run.npz", 40
    folder = str(Path(lstm.__file__).parent.parent)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([folder, str(TESTS)])}
    arguments = [sys.executable, "-c", CHILD, str(path), str(epochs)]
    seen = 0
    for _ in range(3):
        child = subprocess.Popen(arguments, env=environment)
        deadline = time.monotonic() + 60
        while child.poll() is None and time.monotonic() < deadline:
            if path.exists() and Trainer.resume(path).step >= seen + 7:
                break
        child.send_signal(signal.SIGKILL)
        child.wait()
        step = Trainer.resume(path).step
        assert seen < step < 6 * epochs, "the child was not killed in the middle"
        seen = step
    resumed = Trainer.resume(path)
    with np.load(path, allow_pickle=False) as file:
        for name, array in resumed.net.state_dict().items():
            assert_same_bits(file[name], array, name)
    resumed.fit(**rows_of(), epochs=epochs, progress=False)
    assert_same_run(resumed, trainer_of().fit(**rows_of(), epochs=epochs, progress=False))


@pytest.mark.parametrize("loss", [Squared(), Huber(0.3), Quantile(0.3), Quantile([0.5])], ids=repr)
@pytest.mark.parametrize(
    "optimizer", [Adam(0.01, weight_decay=0.1), SGD(0.02, momentum=0.5, nesterov=True)], ids=repr
)
@pytest.mark.parametrize("backend", ["native", "numpy"])
def test_every_option_is_saved(loss: Loss, optimizer: Any, backend: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    options = {"bidirectional": True, "merge": "mul", "peephole": True, "proj_size": 2, "clip": 3.0}
    net = random_net(rng, 2, 4, np.float64, backend=backend, **options)
    head = LinearHead(net, rng=rng)
    settings: dict[str, Any] = {"batch_size": 5, "part_size": 2, "clip_norm": 0.7, "input_dropout": 0.2}
    trainer = Trainer(net, head, loss, optimizer, shuffle=False, rng=5, **settings)
    data = {"X": rng.standard_normal((11, 3, 2)), "y": rng.standard_normal(11)}
    trainer.fit(**data, epochs=1, progress=False)
    trainer.save(tmp_path / "run.npz")
    resumed = Trainer.resume(tmp_path / "run.npz")
    assert repr(resumed) == repr(trainer)
    assert not resumed.shuffle
    for name, value in settings.items():
        assert getattr(resumed, name, resumed.dropout.get(name)) == value
    assert_same_run(resumed, trainer)
    trainer.fit(**data, epochs=2, progress=False)
    assert_same_run(resumed.fit(**data, epochs=2, progress=False), trainer)


def test_classes_go_on_too(tmp_path: Path) -> None:
    net = random_net(np.random.default_rng(0), 1, 3, np.float32)
    trainer = Trainer(net, LinearHead(net, 2, rng=0), CrossEntropy(), Adam(), rng=0)
    X, y = np.random.default_rng(1).standard_normal((40, 4, 1)), np.arange(40) % 2
    trainer.fit(X, y, epochs=1, progress=False).save(tmp_path / "run.npz")
    resumed = Trainer.resume(tmp_path / "run.npz").fit(X, y, epochs=2, progress=False)
    assert_same_run(resumed, trainer.fit(X, y, epochs=2, progress=False))


def test_code_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "run.npz"
    trainer_of(loss=Limited(3), optimizer=Adam(lambda step: 0.1)).save(path)
    with pytest.raises(ValueError, match=r"its loss is your own.*resume\(path, loss=\.\.\.\)"):
        Trainer.resume(path)
    with pytest.raises(ValueError, match=r"its optimizer is your own.*resume\(path, optimizer=\.\.\.\)"):
        Trainer.resume(path, loss=Squared())
    assert Trainer.resume(path, loss=Squared(), optimizer=Adam(0.2)).optimizer.rate(0) == 0.2


def test_other_rows_raise(tmp_path: Path) -> None:
    resumed = resumed_at(3, tmp_path / "run.npz")
    with pytest.raises(ValueError, match="X has 23 rows, but the epoch that was stopped has 22"):
        resumed.fit(**rows_of(rows=23), epochs=1, progress=False)


def rewritten(path: Path, **changes: Any) -> None:
    """The file with other arrays; None takes one out. ``text`` changes fields of the JSON text."""
    with np.load(path, allow_pickle=False) as file:
        arrays = dict(file)
    text = json.loads(str(arrays["trainer.text"]))
    text.update(changes.pop("text", {}))
    arrays["trainer.text"] = np.array(json.dumps(text))
    for name, value in changes.items():
        if value is None:
            del arrays[f"trainer.{name}"]
        else:
            arrays[f"trainer.{name}"] = value
    np.savez(path, **arrays)  # type: ignore[arg-type]


DAMAGED: dict[str, dict[str, Any]] = {
    "no moments": {"moments": None},
    "no text": {"text": {"version": 2}},
    "text of numbers": {"text": {"version": True, "backend": 3}},
    "weights of another size": {"weights": np.ones(3, np.float32)},
    "weights of another dtype": {"weights": np.ones(3)},
    "an order that is none": {"order": np.array([0, 0, 1])},
    "a place past the rows": {"text": {"place": 99}},
    "a step below zero": {"text": {"step": -1}},
    "more steps than losses": {"text": {"step": 7}},
    "a huge step": {"text": {"step": 10**30}},
    "a state of another generator": {"text": {"rng": {"bit_generator": "MT19937", "state": {}}}},
    "no generator": {"text": {"rng": 3}},
    "an unknown loss": {"text": {"loss": {"name": "eval"}}},
    "a loss of other options": {"text": {"loss": {"name": "Huber", "alpha": 2}}},
    "an optimizer as loss": {"text": {"loss": {"name": "Adam"}}},
    "a loss that is a text": {"text": {"loss": "Squared"}},
    "a backend": {"text": {"backend": "cuda"}},
    "a rate": {"text": {"optimizer": {"name": "Adam", "learning_rate": -1}}},
    "a batch": {"text": {"batch_size": "many"}},
    "a head of many outputs": {"text": {"outputs": 10**12}},
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_files_raise(name: str, tmp_path: Path) -> None:
    path = tmp_path / "run.npz"
    trainer_of().fit(**rows_of(), epochs=1, progress=False).save(path)
    rewritten(path, **DAMAGED[name])
    with pytest.raises(FormatError, match=r"run\.npz"):
        Trainer.resume(path)


def test_other_files_raise(tmp_path: Path) -> None:
    path = tmp_path / "net.npz"
    trainer_of().net.save(path)
    with pytest.raises(FormatError, match=r"net\.npz is no trainer's file: it lacks text"):
        Trainer.resume(path)
    np.savez(path, a=np.array([{}], object))
    with pytest.raises(FormatError):
        Trainer.resume(path)
    with pytest.raises(FileNotFoundError):
        Trainer.resume(tmp_path / "absent.npz")
    with pytest.raises(ValueError, match=r"must end in \.npz"):
        trainer_of().save(tmp_path / "run.pkl")


def test_the_best_net_is_saved_beside_the_last(tmp_path: Path) -> None:
    """After a rate that makes it worse."""
    optimizer = Adam(lambda step: 0.01 if step < 12 else 3.0)
    trainer = trainer_of(optimizer=optimizer).fit(**rows_of(), epochs=4, progress=False)
    assert trainer.best_epoch == 2
    trainer.save(tmp_path / "run.npz")
    resumed = Trainer.resume(tmp_path / "run.npz", optimizer=optimizer)
    assert_same_run(resumed, trainer)
    assert (resumed.best[1].weight != resumed.head.weight).any()
    trainer.fit(**rows_of(), epochs=5, progress=False)
    assert_same_run(resumed.fit(**rows_of(), epochs=5, progress=False), trainer)
