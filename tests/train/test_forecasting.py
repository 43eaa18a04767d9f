"""Windows that are views, and forecasts against the same by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support import assert_same_bits, peak_of, random_net

from lstm import LSTM
from lstm.train import Adam, LinearHead, Squared, Trainer, forecast, windows


@pytest.mark.parametrize("features", [None, 1, 3])
@pytest.mark.parametrize(("length", "horizon"), [(1, 1), (4, 1), (5, 3)])
def test_windows_are_those_of_a_loop(features: int | None, length: int, horizon: int) -> None:
    shape = (20,) if features is None else (20, features)
    series = np.random.default_rng(0).standard_normal(shape)
    X, y = windows(series, length, horizon)
    count = 20 - length - horizon + 1
    assert X.shape == (count, length, features or 1)
    assert y.shape == (count, horizon * (features or 1))
    for k in range(count):
        assert_same_bits(X[k].ravel(), series[k : k + length].ravel())
        assert_same_bits(y[k], series[k + length : k + length + horizon].ravel())
    assert np.shares_memory(X, series)
    assert np.shares_memory(y, series)
    assert not X.flags.writeable
    assert not y.flags.writeable
    assert series.flags.writeable


def test_windows_are_never_all_in_memory() -> None:
    """32 MB of windows of an 80 kB series, learned from in batches."""
    X, y = windows(np.random.default_rng(0).standard_normal(10_000), 400)
    net = LSTM(1, 2, rng=0)
    trainer = Trainer(net, LinearHead(net, rng=0), Squared(), Adam(), batch_size=2000, part_size=50)
    assert X.nbytes > 30e6
    assert peak_of(lambda: trainer.fit(X, y, epochs=trainer.epoch + 1, progress=False)) < 5e6


@pytest.mark.parametrize("every_step", [False, True])
@pytest.mark.parametrize(("features", "each"), [(None, 1), (None, 3), (2, 1), (2, 2)])
def test_a_forecast_is_that_of_whole_sequences(features: int | None, each: int, every_step: bool) -> None:
    rng = np.random.default_rng(1)
    size = features or 1
    net = random_net(rng, size, 5, np.float64, num_layers=2)
    head = LinearHead(net, size * each, every_step=every_step, rng=rng)
    series = rng.standard_normal((9,) if features is None else (9, features))
    found = forecast((net, head), series, 7)
    known = series.reshape(9, size)
    while len(known) < 9 + 7:
        prediction = head.predict(net, known)
        known = np.concatenate([known, (prediction[-1] if every_step else prediction).reshape(each, size)])
    expected = known[9:16]
    assert found.shape == ((7,) if features is None else (7, 2))
    np.testing.assert_allclose(found, expected.reshape(found.shape), rtol=1e-12)


def test_a_sine_goes_on() -> None:
    """Half a period ahead of all that was seen: within 0.1 of the true one."""
    series = np.sin(np.arange(300) * 2 * np.pi / 25)
    X, y = windows(series[:250], 40)
    net = LSTM(1, 12, rng=0)
    head = LinearHead(net, rng=0)
    Trainer(net, head, Squared(), Adam(0.02), clip_norm=1.0, rng=0).fit(X, y, epochs=80, progress=False)
    np.testing.assert_allclose(forecast((net, head), series[210:250], 12), series[250:262], atol=0.1)


WRONG: dict[str, tuple[Any, type[Exception], str]] = {
    "a short series": (
        lambda: windows(np.ones(4), 4),
        ValueError,
        "series has 4 steps, but a window takes 5",
    ),
    "no length": (lambda: windows(np.ones(4), 0), ValueError, "input_length"),
    "no horizon": (lambda: windows(np.ones(4), 1, 0), ValueError, "horizon"),
    "three axes": (lambda: windows(np.ones((4, 1, 1)), 1), ValueError, "series has shape"),
    "text": (lambda: windows(["a", "b"], 1), TypeError, "series has dtype"),
    "features": (lambda: ahead(np.ones((4, 2))), ValueError, "series has 2 features"),
    "NaN": (lambda: ahead([1.0, np.nan]), ValueError, "finite"),
    "nothing": (lambda: ahead([]), ValueError, "series has 0 steps"),
    "both directions": (lambda: ahead([1.0], bidirectional=True), ValueError, "bidirectional"),
    "no head": (lambda: forecast(LSTM(1, 3), np.ones(4), 2), TypeError, "a tuple of LSTM and LinearHead"),
    "half steps": (lambda: ahead(np.ones((4, 2)), size=2, outputs=3), ValueError, "whole steps"),
}


def ahead(series: Any, size: int = 1, outputs: int = 1, **options: Any) -> np.ndarray:
    net = LSTM(size, 3, rng=0, **options)
    return forecast((net, LinearHead(net, outputs, rng=0)), series, 3)


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_raises(name: str) -> None:
    call, error, message = WRONG[name]
    with pytest.raises(error, match=message):
        call()
