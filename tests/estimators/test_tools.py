"""scikit-learn's own tools around the estimators, with X of three axes and with lists."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from support import assert_same_bits

pytest.importorskip("sklearn")
import sklearn
from estimators.rows import SHORT, labels, means, padded, ragged, running
from sklearn.base import clone
from sklearn.exceptions import UnsetMetadataPassedError
from sklearn.model_selection import GridSearchCV, KFold, cross_val_predict, cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from lstm.sklearn import LSTMClassifier, LSTMRegressor

pytestmark = pytest.mark.filterwarnings("ignore:max_iter")

ROWS = ragged()
ARRAY = np.stack([row[:4] for row in ROWS])
Y = means(ROWS)
FORMS: dict[str, Any] = {"a list": ROWS, "three axes": ARRAY}
MODELS = {
    "numbers": (LSTMRegressor(**SHORT), Y),
    "classes": (LSTMClassifier(**SHORT), labels(Y)),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", MODELS)
def test_cross_validation_and_search(name: str, form: str) -> None:
    (model, y), X = MODELS[name], FORMS[form]
    scores = cross_val_score(model, X, y, cv=3)
    assert np.isfinite(scores).all()
    for (train, test), score in zip(
        KFold(3).split(X), cross_val_score(model, X, y, cv=KFold(3)), strict=True
    ):
        by_hand = clone(model).fit([X[k] for k in train], y[train])
        assert score == by_hand.score([X[k] for k in test], y[test])
    search = GridSearchCV(model, {"hidden_size": [2, 4]}, cv=2, error_score="raise").fit(X, y)
    assert search.best_estimator_.net_.hidden_size == search.best_params_["hidden_size"]
    assert cross_val_predict(model, X, y, cv=2).shape == (40,)
    kept, held, y_kept, _ = train_test_split(X, y, random_state=0)
    assert clone(model).fit(kept, y_kept).predict(held).shape == (10,)


def test_cross_validation_of_steps() -> None:
    y = running(ROWS)
    model = LSTMRegressor(**SHORT, sequence_output=True)
    assert np.isfinite(cross_val_score(model, ROWS, y, cv=3)).all()
    signs = [np.where(row > 0, "up", "down") for row in y]
    classifier = LSTMClassifier(**SHORT, sequence_output=True)
    assert np.isfinite(cross_val_score(classifier, ROWS, signs, cv=KFold(3))).all()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", MODELS)
def test_clone_and_pickle(name: str, form: str) -> None:
    """A copy predicts the same, and goes on with the same bits."""
    (model, y), X = MODELS[name], FORMS[form]
    fitted = clone(model).set_params(recurrent_dropout=0.1).fit(X, y)
    copy = pickle.loads(pickle.dumps(fitted))
    assert not hasattr(clone(fitted), "net_")
    np.testing.assert_array_equal(copy.predict(X), fitted.predict(X))
    assert_same_bits(copy.partial_fit(X, y).net_.Wf, fitted.partial_fit(X, y).net_.Wf)
    assert_same_bits(copy.head_.weight, fitted.head_.weight)


@pytest.mark.parametrize("form", FORMS)
def test_a_pipeline(form: str) -> None:
    """Of steps that take such X; what they are told to put out does not concern lists and arrays."""
    X = FORMS[form]
    first = FunctionTransformer(lambda rows: [row[:, :1] for row in rows])
    model = make_pipeline(first, LSTMRegressor(**SHORT)).set_output(transform="default").fit(X, Y)
    alone = LSTMRegressor(**SHORT).fit([row[:, :1] for row in X], Y)
    assert_same_bits(model.predict(X), alone.predict([row[:, :1] for row in X]))
    assert np.isfinite(cross_val_score(model, X, Y, cv=2)).all()


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_a_pipeline_that_hands_on_frames(library: str) -> None:
    pytest.importorskip(library)
    X = ARRAY[:, :, 0]
    model = make_pipeline(StandardScaler(), LSTMRegressor(**SHORT)).set_output(transform=library).fit(X, Y)
    assert model[-1].feature_names_in_.tolist() == ["x0", "x1", "x2", "x3"]
    plain = make_pipeline(StandardScaler(), LSTMRegressor(**SHORT)).fit(X, Y)
    assert_same_bits(model.predict(X), plain.predict(X))


def test_lengths_are_routed() -> None:
    X, lengths = padded(ROWS, fill=1e6)
    grid = {"hidden_size": [3]}
    of_list = GridSearchCV(LSTMRegressor(**SHORT), grid, cv=2).fit(ROWS, Y)
    with sklearn.config_context(enable_metadata_routing=True):
        model = LSTMRegressor(**SHORT).set_fit_request(lengths=True).set_score_request(lengths=True)
        search = GridSearchCV(model, grid, cv=2).fit(X, Y, lengths=lengths)
        assert search.best_score_ == of_list.best_score_
        with pytest.raises(UnsetMetadataPassedError):
            GridSearchCV(LSTMRegressor(**SHORT), grid, cv=2).fit(X, Y, lengths=lengths)


def test_lengths_that_are_not_routed_are_not_lost_in_silence() -> None:
    X, lengths = padded(ROWS, fill=1e6)
    search = GridSearchCV(LSTMRegressor(**SHORT), {"hidden_size": [3]}, cv=2, error_score="raise")
    with pytest.raises(ValueError, match="fitted with lengths"):
        search.fit(X, Y, lengths=lengths)
