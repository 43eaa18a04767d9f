"""The forms of X and y, and what scikit-learn says to those that do not fit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support import assert_same_bits

pytest.importorskip("sklearn")
from estimators.rows import FAST, SHORT, labels, means, padded, ragged, running
from sklearn.base import clone

from lstm.sklearn import LSTMClassifier, LSTMRegressor

pytestmark = pytest.mark.filterwarnings("ignore:max_iter")

ROWS = ragged()
Y = means(ROWS)


def regressor(**options: Any) -> LSTMRegressor:
    return LSTMRegressor(**SHORT | options)


def test_a_list_is_an_array_with_lengths() -> None:
    """And what is past a row's length does not count, in fit, predict and score."""
    X, lengths = padded(ROWS, fill=1e6)
    one, other = regressor().fit(ROWS, Y), regressor().fit(X, Y, lengths=lengths)
    assert_same_bits(one.net_.Wf, other.net_.Wf)
    assert_same_bits(one.predict(ROWS), other.predict(X, lengths=lengths))
    assert one.score(ROWS, Y) == other.score(X, Y, lengths=lengths)
    objects = np.empty(len(ROWS), object)
    objects[:] = ROWS
    assert_same_bits(one.predict(ROWS), regressor().fit(tuple(ROWS), Y).predict(objects))


def test_two_axes_are_one_feature_a_step() -> None:
    X = np.random.default_rng(0).standard_normal((30, 6))
    y = X[:, -1]
    one, other = regressor().fit(X, y), regressor().fit(X[..., np.newaxis], y)
    assert (one.n_features_in_, other.n_features_in_) == (6, 1)
    assert_same_bits(one.predict(X), other.predict(X))
    assert_same_bits(one.predict(X), other.predict(X[..., np.newaxis]))
    assert other.predict(X[:, :4]).shape == (30,)
    with pytest.raises(ValueError, match="X has 4 features, but LSTMRegressor is expecting 6"):
        one.predict(X[:, :4])
    short = [row[: 2 + k % 3] for k, row in enumerate(X)]
    assert_same_bits(other.predict(short), other.predict([row[:, np.newaxis] for row in short]))


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_frames(library: str) -> None:
    frames = pytest.importorskip(library)
    X = np.random.default_rng(0).standard_normal((30, 6))
    names = [f"step {k}" for k in range(6)]
    frame = frames.DataFrame(dict(zip(names, X.T, strict=True)))
    model = regressor().fit(frame, frames.Series(X[:, -1]))
    assert model.feature_names_in_.tolist() == names
    assert_same_bits(model.predict(frame), regressor().fit(X, X[:, -1]).predict(X))
    lists = [frames.DataFrame({"a": row[:, 0], "b": row[:, 1]}) for row in ROWS]
    assert_same_bits(regressor().fit(lists, Y).predict(lists), regressor().fit(ROWS, Y).predict(ROWS))
    with pytest.raises(ValueError, match=r"X is a DataFrame of sequences: pass a list of \(T, I\) arrays"):
        regressor().fit(frames.DataFrame({"x": [row[:, 0].tolist() for row in ROWS]}), Y)
    model.fit(ROWS, Y)
    assert not hasattr(model, "feature_names_in_")


def test_dtypes_are_those_of_x() -> None:
    rows = [row.astype(np.float32) for row in ROWS]
    assert regressor().fit(rows, Y).predict(ROWS).dtype == np.float32
    assert regressor().fit([*rows[:-1], ROWS[-1]], Y).predict(rows).dtype == np.float64
    assert regressor().fit(np.ones((4, 3, 2), int), Y[:4]).net_.dtype == np.float64


def test_several_outputs() -> None:
    y = np.stack([Y, -3 * Y + 5], axis=1)
    model = LSTMRegressor(**FAST).fit(ROWS, y)
    assert model.predict(ROWS).shape == (40, 2)
    assert model.score(ROWS, y) > 0.9
    assert model.n_outputs_ == 2
    assert regressor().fit(ROWS, Y[:, np.newaxis]).predict(ROWS).shape == (40, 1)


def test_predictions_at_every_step() -> None:
    y = running(ROWS)
    X, lengths = padded(ROWS, fill=np.nan)
    X, Y_steps = np.nan_to_num(X, nan=1e6), padded([row[:, np.newaxis] for row in y], np.nan)[0]
    model = LSTMRegressor(**FAST, sequence_output=True).fit(ROWS, y)
    other = clone(model).fit(X, Y_steps, lengths=lengths)
    found, as_array = model.predict(ROWS), other.predict(X, lengths=lengths)
    assert [row.shape for row in found] == [row.shape for row in y]
    assert as_array.shape == (*X.shape[:2], 1)
    for row, values, length in zip(found, as_array, lengths, strict=True):
        assert_same_bits(row, values[:length, 0])
        assert not values[length:].any()
    assert model.score(ROWS, y) > 0.9
    assert model.score(ROWS, y) == other.score(X, Y_steps, lengths=lengths)
    weights = np.arange(40.0)
    by_hand = np.repeat(weights, lengths)
    error, middle = np.concatenate(found) - np.concatenate(y), np.average(np.concatenate(y), weights=by_hand)
    expected = 1 - (by_hand * error**2).sum() / (by_hand * (np.concatenate(y) - middle) ** 2).sum()
    np.testing.assert_allclose(model.score(ROWS, y, sample_weight=weights), expected)
    flat = clone(model).fit(X[:, :4, :1], Y_steps[:, :4, 0])
    assert flat.predict(X[:, :4, :1]).shape == (40, 4)


def test_classes_at_every_step() -> None:
    y = [np.where(row > 0, "up", "down") for row in running(ROWS)]
    model = LSTMClassifier(**FAST, sequence_output=True).fit(ROWS, y)
    assert model.classes_.tolist() == ["down", "up"]
    assert model.score(ROWS, y) > 0.9
    assert [row.shape for row in model.predict(ROWS)] == [row.shape for row in y]
    probabilities = model.predict_proba(ROWS)
    assert [row.shape for row in probabilities] == [(*row.shape, 2) for row in y]
    np.testing.assert_allclose(np.concatenate(probabilities).sum(axis=1), 1)
    same = np.concatenate(model.predict(ROWS)) == np.concatenate(y)
    weights = np.arange(40.0)
    expected = np.average(same, weights=np.repeat(weights, [len(row) for row in y]))
    assert model.score(ROWS, y, sample_weight=weights) == pytest.approx(expected)
    X, lengths = padded(ROWS, fill=3.0)
    assert model.predict(X, lengths=lengths).shape == X.shape[:2]


LENGTHS = {
    "in fit": (lambda X: regressor().fit(X, Y, lengths=[1, 2]), r"lengths has shape \(2,\)"),
    "in predict": (lambda X: regressor().fit(X, Y).predict(X, lengths=[1, 2]), r"lengths has shape \(2,\)"),
    "in score": (lambda X: regressor().fit(X, Y).score(X, Y, lengths=[1, 2]), r"lengths has shape \(2,\)"),
    "in partial_fit": (lambda X: regressor().partial_fit(X, Y, lengths=[1, 2]), r"lengths has shape \(2,\)"),
    "of nothing": (lambda X: regressor().fit(X, Y, lengths=[0] * 40), r"lengths\[0\] is 0"),
    "too long": (lambda X: regressor().fit(X, Y, lengths=[99] * 40), "lengths"),
    "of a list": (lambda X: regressor().fit(ROWS, Y, lengths=[1] * 40), "X is a list of rows"),
    "lost": (lambda X: regressor().fit(X, Y, lengths=[3] * 40).predict(X), "fitted with lengths, but X is"),
}


@pytest.mark.parametrize("name", LENGTHS)
def test_lengths_are_checked(name: str) -> None:
    call, message = LENGTHS[name]
    with pytest.raises(ValueError, match=message):
        call(padded(ROWS, fill=0.0)[0])


WRONG_X: dict[str, tuple[Any, str]] = {
    "lists of numbers": ([row[:, 0].tolist() for row in ROWS], "X is a list of sequences: pass a list"),
    "features": ([ROWS[0], ROWS[1][:, :1], *ROWS[2:]], r"X\[1\] has 1 features a step, but X\[0\] has 2"),
    "NaN": ([*ROWS[:-1], np.full((3, 2), np.nan)], r"X\[39\] contains NaN"),
    "an infinite number": (np.full((40, 5, 2), np.inf), "X contains infinity"),
    "a row without steps": ([*ROWS[:-1], np.empty((0, 2))], r"X\[39\]: Found array with 0 sample"),
    "no steps": (np.empty((40, 0, 2)), "must be"),
    "nothing": ([], "Expected 2D array"),
    "None": (None, "Expected 2D array"),
    "one sequence": (ROWS[0][:, 0], "Expected 2D array, got 1D"),
    "four axes": (np.ones((40, 2, 3, 4)), r"X has shape \(40, 2, 3, 4\)"),
    "text": (np.full((40, 3), "a"), "could not convert string"),
}


@pytest.mark.parametrize("name", WRONG_X)
def test_x_that_does_not_fit(name: str) -> None:
    X, message = WRONG_X[name]
    with pytest.raises(ValueError, match=message):
        regressor().fit(X, Y)


CLASSES = labels(Y)
WRONG_Y: dict[str, tuple[type, Any, str]] = {
    "none": (LSTMRegressor, None, "requires y to be passed"),
    "too few": (LSTMRegressor, Y[:-1], "inconsistent numbers of samples"),
    "text": (LSTMRegressor, CLASSES, "could not convert string"),
    "NaN": (LSTMRegressor, np.full(40, np.nan), "y contains NaN"),
    "infinite": (LSTMRegressor, np.full(40, -np.inf), "y contains infinity"),
    "three axes": (LSTMRegressor, np.ones((40, 2, 2)), "dim 3"),
    "steps": (LSTMRegressor, running(ROWS), "setting an array element with a sequence"),
    "no classes": (LSTMClassifier, None, "requires y to be passed"),
    "numbers": (LSTMClassifier, Y, "Unknown label type"),
    "one class": (
        LSTMClassifier,
        np.full(40, "a"),
        r"at least 2 classes, but there is only one class: \['a'\]",
    ),
    "several columns": (LSTMClassifier, np.eye(40, 3), "y should be a 1d array"),
}
WRONG_STEPS: dict[str, tuple[Any, str]] = {
    "none": (None, "target y is None"),
    "numbers of rows": (Y, r"y\[0\] has shape \(\), but with sequence_output must be \(10,\)"),
    "too few": (running(ROWS)[:-1], "y has 39 rows, but X has 40"),
    "short": ([*running(ROWS)[:-1], np.ones(2)], r"y\[39\] has shape \(2,\)"),
    "NaN": ([row * np.nan for row in running(ROWS)], "y contains NaN"),
}


@pytest.mark.parametrize("name", WRONG_Y)
def test_y_that_does_not_fit(name: str) -> None:
    made, y, message = WRONG_Y[name]
    with pytest.raises(ValueError, match=message):
        made(**SHORT).fit(ROWS, y)


@pytest.mark.parametrize("name", WRONG_STEPS)
def test_y_of_steps_that_does_not_fit(name: str) -> None:
    y, message = WRONG_STEPS[name]
    with pytest.raises(ValueError, match=message):
        regressor(sequence_output=True).fit(ROWS, y)


WRONG_PARAMETERS: dict[str, tuple[Any, type[Exception]]] = {
    "hidden_size": (0, ValueError),
    "num_layers": (0.5, TypeError),
    "batch_size": (0, ValueError),
    "learning_rate_init": (-1, ValueError),
    "alpha": (-1, ValueError),
    "max_iter": (0, ValueError),
    "tol": (np.nan, ValueError),
    "validation_fraction": (1, ValueError),
    "n_iter_no_change": ("2", TypeError),
    "clip_norm": (0, ValueError),
    "dropout": (0.5, ValueError),
    "recurrent_dropout": (2, ValueError),
}


@pytest.mark.parametrize("name", WRONG_PARAMETERS)
def test_parameters_that_do_not_fit(name: str) -> None:
    value, error = WRONG_PARAMETERS[name]
    model = regressor(**{name: value})
    with pytest.raises(error, match=name):
        model.fit(ROWS, Y)
    assert not hasattr(model, "net_")
