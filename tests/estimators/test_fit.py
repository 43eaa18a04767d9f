"""What a fit learns, when it ends, what is known after it, and how it goes on."""

from __future__ import annotations

import signal
from typing import Any

import numpy as np
import pytest
from support import assert_same_bits

pytest.importorskip("sklearn")
from estimators.rows import FAST, SHORT, labels, means, padded, ragged, running
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import accuracy_score, r2_score

import lstm
from lstm.sklearn import LSTMClassifier, LSTMRegressor
from lstm.sklearn.fitting import is_idle
from lstm.sklearn.scaling import Scaling
from lstm.train import DivergedError, Trainer, forecast, windows

ROWS, OTHERS = ragged(80), ragged(40, seed=1)
Y, Y_OTHERS = means(ROWS), means(OTHERS)


@pytest.fixture(scope="module")
def fitted() -> LSTMRegressor:
    return LSTMRegressor(**FAST).fit(ROWS, Y)


def test_numbers_are_learned(fitted: LSTMRegressor) -> None:
    assert fitted.score(OTHERS, Y_OTHERS) > 0.95
    np.testing.assert_allclose(fitted.score(OTHERS, Y_OTHERS), r2_score(Y_OTHERS, fitted.predict(OTHERS)))


def test_classes_are_learned() -> None:
    rows, y_others = ragged(200, seed=2), labels(Y_OTHERS)
    model = LSTMClassifier(**FAST).fit(rows, labels(means(rows)))
    assert model.classes_.tolist() == ["high", "low", "middle"]
    assert model.score(OTHERS, y_others) > 0.7
    assert model.score(rows, labels(means(rows))) > 0.95
    assert model.score(OTHERS, y_others) == accuracy_score(y_others, model.predict(OTHERS))
    probabilities = model.predict_proba(OTHERS)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    np.testing.assert_allclose(np.log(probabilities), model.predict_log_proba(OTHERS))
    np.testing.assert_array_equal(model.classes_[probabilities.argmax(axis=1)], model.predict(OTHERS))
    logits = np.concatenate([model.head_.predict(model.net_, row[np.newaxis]) for row in OTHERS])
    np.testing.assert_allclose(np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True), probabilities)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_the_net_takes_the_data_as_they_are(bidirectional: bool) -> None:
    """Features of means and scales far from 0 and 1, and one that is constant."""
    rows = [np.column_stack([row * 1000, np.full(len(row), 3.0)]) for row in ROWS]
    model = LSTMRegressor(**FAST, bidirectional=bidirectional, num_layers=2).fit(rows, Y)
    by_hand = np.concatenate([model.head_.predict(model.net_, row[np.newaxis]) for row in rows])[:, 0]
    np.testing.assert_allclose(model.predict(rows), by_hand, rtol=1e-12)
    trained, scaled = model._trainer, [model._scalings[0].apply(row) for row in rows]
    steps = np.concatenate(scaled)
    np.testing.assert_allclose(steps[:, :2].mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(steps[:, :2].std(axis=0), 1)
    assert not steps[:, 2].any()
    of_scaled = np.concatenate([trained.head.predict(trained.net, row[np.newaxis]) for row in scaled])[:, 0]
    np.testing.assert_allclose(model.predict(rows), of_scaled * Y.std() + Y.mean(), rtol=1e-9)
    assert model.score(rows, Y) > 0.9


def test_the_net_streams_and_is_saved(fitted: LSTMRegressor, tmp_path: Any) -> None:
    stream = fitted.net_.stream()
    h = [stream.run(row)[-1] for row in ROWS[:3] if not stream.reset()]
    np.testing.assert_allclose(fitted.head_.forward(np.array(h))[:, 0], fitted.predict(ROWS[:3]), rtol=1e-12)
    lstm.train.save(fitted.net_, fitted.head_, tmp_path / "net.npz")
    net, head = lstm.train.load(tmp_path / "net.npz")
    assert_same_bits(head.predict(net, ROWS[0][np.newaxis])[:, 0], fitted.predict(ROWS[:1]))


def test_scaling_is_weighted() -> None:
    X, lengths = padded(ROWS, fill=np.nan)
    counts = np.arange(X.shape[1]) < lengths[:, np.newaxis]
    weights = np.random.default_rng(0).integers(0, 3, len(ROWS)).astype(float)
    scaling = Scaling.of(X, counts, weights)
    steps = np.concatenate([row for row, times in zip(ROWS, weights, strict=True) for _ in range(int(times))])
    np.testing.assert_allclose(scaling.mean, steps.mean(axis=0))
    np.testing.assert_allclose(scaling.scale, steps.std(axis=0))


def test_what_is_known_after_a_fit(fitted: LSTMRegressor) -> None:
    assert fitted.n_iter_ == len(fitted.loss_curve_) < fitted.max_iter
    assert fitted.best_loss_ == min(fitted.loss_curve_) < 0.05 * fitted.loss_curve_[0]
    assert fitted.validation_scores_ is None
    assert fitted.n_features_in_ == 2
    assert fitted.history_.loss.size == 3 * fitted.n_iter_


def test_early_stopping() -> None:
    """The best net is that of the lowest loss over the rows kept apart; scores are those of these rows."""
    model = LSTMRegressor(**FAST, early_stopping=True, validation_fraction=0.25).fit(ROWS, Y)
    judged = model.history_.validation_loss
    assert len(model.validation_scores_) == model.n_iter_ == len(judged) < model.max_iter
    assert model.best_loss_ == judged.min() < judged[-1]
    assert_same_bits(model._trainer.net.Wf, model._trainer.best[0].Wf)
    assert_same_bits(model._trainer.head.weight, model._trainer.best[1].weight)
    np.testing.assert_allclose(
        (1 - np.array(model.validation_scores_)) / judged, (1 - model.validation_scores_[0]) / judged[0]
    )
    assert model.score(OTHERS, Y_OTHERS) > 0.9
    y = labels(Y)
    classifier = LSTMClassifier(**FAST, early_stopping=True, validation_fraction=0.25).fit(ROWS, y)
    assert classifier.validation_scores_[-1] > 0.6
    np.testing.assert_allclose(np.array(classifier.validation_scores_) * 20 % 1, 0, atol=1e-9)
    with pytest.raises(ValueError, match="least populated class"):
        LSTMClassifier(**SHORT, early_stopping=True).fit(ROWS, ["a", *["b"] * 79])


def test_when_nothing_is_gained_any_more() -> None:
    losses = np.array([1.0, 0.5, 0.45, 0.44, 0.43, 0.2])
    assert [is_idle(losses[:k], 0.1, 2) for k in range(1, 7)] == [False, False, False, False, True, False]
    assert not is_idle(losses[:5], 0.0, 2)


def test_an_end_before_the_loss_has_settled_is_told() -> None:
    with pytest.warns(ConvergenceWarning, match=r"max_iter=3 epochs are done.*tol=0.0001") as told:
        LSTMRegressor(**SHORT).fit(ROWS, Y)
    assert told[0].filename == __file__


@pytest.mark.filterwarnings("ignore:max_iter")
def test_the_same_seed_is_the_same_net() -> None:
    options = SHORT | {"recurrent_dropout": 0.2, "early_stopping": True}
    one, other = LSTMRegressor(**options).fit(ROWS, Y), LSTMRegressor(**options).fit(ROWS, Y)
    assert_same_bits(one.net_.Wf, other.net_.Wf)
    third = clone(one).set_params(random_state=np.random.RandomState(0)).fit(ROWS, Y)
    assert_same_bits(one.net_.Wf, third.net_.Wf)
    assert not np.array_equal(one.net_.Wf, clone(one).set_params(random_state=1).fit(ROWS, Y).net_.Wf)


@pytest.mark.filterwarnings("ignore:max_iter")
def test_sample_weights_are_repetitions() -> None:
    """In one batch; of weight 0 a row is not there."""
    times = np.random.default_rng(0).integers(0, 3, len(ROWS))
    repeated = [row for row, count in zip(ROWS, times, strict=True) for _ in range(count)]
    model = LSTMRegressor(**SHORT | {"batch_size": 500, "max_iter": 20})
    weighted = clone(model).fit(ROWS, Y, sample_weight=times).predict(OTHERS)
    np.testing.assert_allclose(weighted, clone(model).fit(repeated, np.repeat(Y, times)).predict(OTHERS))
    assert not np.allclose(weighted, clone(model).fit(ROWS, Y).predict(OTHERS))


@pytest.mark.filterwarnings("ignore:max_iter")
def test_class_weights() -> None:
    y = labels(Y)
    model = LSTMClassifier(**SHORT | {"batch_size": 500, "max_iter": 20})
    weights = {"low": 3.0, "middle": 1.0, "high": 0.5}
    by_class = clone(model).set_params(class_weight=weights).fit(ROWS, y)
    by_row = clone(model).fit(ROWS, y, sample_weight=[weights[label] for label in y])
    assert_same_bits(by_class.predict_proba(OTHERS), by_row.predict_proba(OTHERS))
    assert not np.allclose(by_class.predict_proba(OTHERS), clone(model).fit(ROWS, y).predict_proba(OTHERS))
    signs = [np.where(row > 0, "up", "down") for row in running(ROWS)]
    of_steps = clone(model).set_params(sequence_output=True, max_iter=60, learning_rate_init=0.02)
    of_steps.set_params(class_weight={"up": 1000.0, "down": 0.001}).fit(ROWS, signs)
    assert (np.concatenate(of_steps.predict(ROWS)) == "up").all()


@pytest.mark.filterwarnings("ignore:max_iter")
def test_partial_fit_is_an_epoch() -> None:
    """Of a run like that of a fit; the first rows decide the standardisation."""
    part = LSTMRegressor(**SHORT)
    for _ in range(3):
        part.partial_fit(ROWS, Y)
    whole = LSTMRegressor(**SHORT).fit(ROWS, Y)
    assert part.loss_curve_ == whole.loss_curve_
    part.partial_fit([row + 100 for row in OTHERS], Y_OTHERS)
    assert part.n_iter_ == 4
    np.testing.assert_array_equal(part._scalings[0].mean, whole._scalings[0].mean)
    with pytest.raises(ValueError, match="X has 1 features, but LSTMRegressor is expecting 2"):
        part.partial_fit([row[:, :1] for row in ROWS], Y)
    with pytest.raises(ValueError, match="y has 2 outputs"):
        part.partial_fit(ROWS, np.ones((80, 2)))
    with pytest.raises(ValueError, match="early_stopping"):
        clone(part).set_params(early_stopping=True).partial_fit(ROWS, Y)


@pytest.mark.filterwarnings("ignore:max_iter")
def test_partial_fit_of_classes() -> None:
    y = labels(Y)
    model = LSTMClassifier(**SHORT).partial_fit(ROWS[:2], y[:2], classes=["high", "low", "middle", "none"])
    assert model.predict_proba(ROWS).shape == (80, 4)
    model.partial_fit(ROWS, y)
    with pytest.raises(ValueError, match="y has the label 'other', which is not in classes_"):
        model.partial_fit(ROWS, ["other", *y[1:]])
    with pytest.raises(ValueError, match="classes must be passed on the first call"):
        LSTMClassifier(**SHORT).partial_fit(ROWS, y)
    with pytest.raises(ValueError, match=r"classes are \['a', 'b'\], but were"):
        model.partial_fit(ROWS, y, classes=["a", "b"])
    with pytest.raises(ValueError, match="class_weight='balanced'"):
        LSTMClassifier(**SHORT, class_weight="balanced").partial_fit(ROWS, y, classes=np.unique(y))
    assert model.fit(ROWS, y).classes_.tolist() == ["high", "low", "middle"]


@pytest.mark.filterwarnings("ignore:max_iter")
def test_a_warm_start_goes_on_from_the_best_net() -> None:
    model = LSTMRegressor(**SHORT, warm_start=True).fit(ROWS, Y)
    before, losses = model.predict(OTHERS), model.loss_curve_
    model.set_params(learning_rate_init=1e-12, alpha=0).fit(ROWS, Y)
    np.testing.assert_allclose(model.predict(OTHERS), before, rtol=1e-9)
    assert model.loss_curve_[0] < losses[-1]
    with pytest.raises(ValueError, match="hidden_size is 5, but the net to go on with has 4"):
        model.set_params(hidden_size=5).fit(ROWS, Y)


@pytest.mark.parametrize("made", [LSTMRegressor, LSTMClassifier])
def test_a_fit_that_diverges_keeps_the_last_good_net(made: Any) -> None:
    y = Y if made is LSTMRegressor else labels(Y)
    options = SHORT | {"learning_rate_init": 1e200, "clip_norm": None, "alpha": 0.5, "max_iter": 50}
    model = made(**options)
    with pytest.raises(DivergedError, match=r"is not finite at step \d+, with learning rate 1e\+200"):
        model.fit(ROWS, y)
    assert np.isfinite(model.net_.Wf).all()
    assert model.predict(OTHERS).shape == (40,)


def test_ctrl_c_keeps_the_best_net(capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    step = Trainer._do_step

    def interrupted(self: Trainer, *arguments: Any) -> None:
        step(self, *arguments)
        if self.step == 8:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Trainer, "_do_step", interrupted)
    model = LSTMRegressor(**FAST).fit(ROWS, Y)
    assert model.n_iter_ == 2
    assert model.best_loss_ == min(model.loss_curve_)
    assert "stopped by Ctrl-C after 8 steps; trainer.best is the net of epoch 2" in capsys.readouterr().err
    assert model.predict(OTHERS).shape == (40,)


def test_verbose_shows_the_epochs(capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    monkeypatch.setitem(__import__("sys").modules, "tqdm.auto", None)
    with pytest.warns(ConvergenceWarning):
        LSTMRegressor(**SHORT, verbose=True).fit(ROWS, Y)
    assert "epoch 3/3: loss" in capsys.readouterr().err


def test_the_learning_curve_of_an_estimator() -> None:
    pytest.importorskip("matplotlib").use("Agg")
    import lstm.plot

    model = LSTMRegressor(**FAST, early_stopping=True).fit(ROWS, Y)
    losses, _ = lstm.plot.learning(model)
    (line,) = (line for line in losses.lines if line.get_label() == "validation")
    np.testing.assert_array_equal(line.get_ydata(), model.history_.validation_loss)


def test_a_forecast_by_an_estimator() -> None:
    """In the unit of the series."""
    series = 500 + 40 * np.sin(np.arange(300) * 2 * np.pi / 25)
    X, y = windows(series[:250], 40)
    model = LSTMRegressor(hidden_size=12, learning_rate_init=0.02, tol=1e-5, random_state=0).fit(X, y)
    ahead = forecast(model, series[210:250], 12)
    np.testing.assert_allclose(ahead, series[250:262], atol=4)
    np.testing.assert_allclose(ahead[0], model.predict(series[np.newaxis, 210:250, np.newaxis])[0, 0])
    with pytest.raises(TypeError, match="LSTMClassifier, but must predict the next steps, not classes"):
        forecast(LSTMClassifier(**FAST).fit(ROWS, labels(Y)), series, 2)
    with pytest.raises(TypeError, match="a fitted LSTMRegressor"):
        forecast(LSTMRegressor(), series, 2)
