"""LSTMs as estimators of scikit-learn (extra ``sklearn``).

X is an array (n, T, I), one of (n, T) with one feature a step, or a list of arrays (T_i, I).

>>> import numpy as np
>>> from sklearn.model_selection import cross_val_score
>>> from lstm.sklearn import LSTMRegressor
>>> X = np.random.default_rng(0).standard_normal((60, 10, 2))
>>> model = LSTMRegressor(hidden_size=8, learning_rate_init=0.02, tol=0.003, random_state=0)
>>> scores = cross_val_score(model, X, X[:, :, 0].mean(axis=1), cv=3)
>>> bool(scores.mean() > 0.8)
True
"""

try:
    import sklearn
except ImportError as error:
    raise ImportError('lstm.sklearn needs scikit-learn: pip install "lstm-native[sklearn]"') from error

if tuple(int(part) for part in sklearn.__version__.split(".")[:2]) < (1, 6):
    raise ImportError(f"lstm.sklearn needs scikit-learn 1.6 or later, but {sklearn.__version__} is installed")

from .classifier import LSTMClassifier
from .regressor import LSTMRegressor

__all__ = ["LSTMClassifier", "LSTMRegressor"]

del sklearn
