"""All that scikit-learn checks of an estimator, without exceptions."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("sklearn")
from sklearn.utils.estimator_checks import parametrize_with_checks

from lstm.sklearn import LSTMClassifier, LSTMRegressor

FAST: dict[str, Any] = {"hidden_size": 8, "learning_rate_init": 0.03, "max_iter": 60, "tol": 0.001}


@pytest.mark.filterwarnings("ignore")  # of nets that have not converged, and scikit-learn's own of skips
@parametrize_with_checks([LSTMRegressor(**FAST), LSTMClassifier(**FAST)])
def test_scikit_learns_checks(estimator: Any, check: Any) -> None:
    check(estimator)
