"""What a person sees: the learning curve, and Ctrl-C from a terminal."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from support import TESTS
from train.runs import assert_same_run, rows_of, trainer_of

import lstm
from lstm.train import Trainer


def test_the_learning_curve_shows_what_was() -> None:
    pytest.importorskip("matplotlib").use("Agg")
    import matplotlib.pyplot as plt

    import lstm.plot

    data = rows_of()
    trainer = trainer_of().fit(**data, epochs=5, validation=(data["X"], data["y"]), progress=False)
    losses, rates = lstm.plot.learning(trainer)
    history = trainer.history
    lines = {line.get_label(): line for line in losses.lines}
    np.testing.assert_array_equal(lines["batch"].get_ydata(), history.loss)
    np.testing.assert_array_equal(lines["epoch"].get_ydata(), history.epoch_loss)
    np.testing.assert_array_equal(lines["epoch"].get_xdata(), [6, 12, 18, 24, 30])
    np.testing.assert_array_equal(lines["validation"].get_ydata(), history.validation_loss)
    best = next(line for name, line in lines.items() if name.startswith("best: epoch"))
    assert best.get_ydata()[0] == trainer.best_loss
    assert best.get_xdata()[0] == 6 * trainer.best_epoch
    np.testing.assert_array_equal(rates.lines[0].get_ydata(), history.learning_rate)
    trainer = trainer_of().fit(**data, epochs=1, progress=False)
    own = plt.subplots(2)[1]
    drawn = lstm.plot.learning(trainer, axes=own)
    assert drawn[0] is own[0]
    assert "validation" not in [line.get_label() for line in own[0].lines]
    plt.close("all")


def test_what_has_no_curve_raises() -> None:
    pytest.importorskip("matplotlib").use("Agg")
    import lstm.plot

    with pytest.raises(ValueError, match="no step"):
        lstm.plot.learning(trainer_of())
    with pytest.raises(TypeError, match="trainer is a SimpleNamespace"):
        lstm.plot.learning(SimpleNamespace())
    trainer = trainer_of().fit(**rows_of(), epochs=1, progress=False)
    with pytest.raises(ValueError, match="axes has 1 Axes"):
        lstm.plot.learning(trainer, axes=[None])


CHILD = """
import sys
from train.runs import rows_of, trainer_of
options = {"checkpoint": sys.argv[1], "checkpoint_steps": 50, "progress": False}
trainer = trainer_of().fit(**rows_of(), epochs=10**6, **options)
print(trainer.step, trainer.best_epoch)
"""


def test_ctrl_c_from_outside(tmp_path: Path) -> None:
    """SIGINT in the middle: the call returns, says where it is, and the file goes on from there."""
    path = tmp_path / "run.npz"
    folder = str(Path(lstm.__file__).parent.parent)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([folder, str(TESTS)])}
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(path)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not path.exists() and child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    child.send_signal(signal.SIGINT)
    try:
        out, err = child.communicate(timeout=60)
    finally:
        child.kill()  # if it did not hear the signal
    assert child.returncode == 0, err
    step, best = map(int, out.split())
    assert err.startswith(
        f"lstm.train: stopped by Ctrl-C after {step} steps; trainer.best is the net of epoch"
    )
    resumed = Trainer.resume(path)
    assert (resumed.step, resumed.best_epoch) == (step, best)
    epochs = resumed.epoch + 1
    whole = trainer_of().fit(**rows_of(), epochs=epochs, progress=False)
    assert_same_run(resumed.fit(**rows_of(), epochs=epochs, progress=False), whole)
