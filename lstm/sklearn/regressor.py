"""The estimator that predicts numbers.

Shapes: n rows, T steps, T_i steps of row i, I input, P outputs.
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score
from sklearn.utils.validation import check_X_y

from ..train import Loss, Squared
from .base import BaseLSTM
from .fitting import Examples, score_at_steps
from .scaling import Scaling
from .sequences import Sequences, step_values


class LSTMRegressor(RegressorMixin, BaseLSTM):  # type: ignore[misc]
    """An LSTM that predicts numbers from sequences, after the last step or at every one.

    X is (n, T, I); (n, T), read as (n, T, 1), frames of pandas and polars included; or a list of n arrays
    (T_i, I). X and y are standardised inside. The loss is the squared error, the optimizer AdamW.

    Parameters
    ----------
    hidden_size : int
        Units of a layer.
    num_layers : int
        Layers; each takes the outputs of the one before.
    bidirectional : bool
        Whether every layer runs in both directions.
    sequence_output : bool
        Whether there is a prediction at every step, instead of one after the last step.
    dropout : float
        Probability with which an output of a layer is dropped on its way to the next one.
    recurrent_dropout : float
        Probability with which a feature of h is dropped on its way to the next step, for a whole sequence.
    alpha : float
        Weight decay: how much of every weight goes in a step, times the learning rate.
    batch_size : int
        Rows of a step of the optimizer.
    learning_rate_init : float
        Adam's learning rate.
    max_iter : int
        Epochs at most.
    clip_norm : float or None
        Bound of the norm of a step's gradient.
    tol, n_iter_no_change : float, int
        The fit ends if the loss is not lower by `tol` for more than `n_iter_no_change` epochs.
    early_stopping : bool
        Whether rows are kept apart, whose loss then decides when the fit ends and which net is the best.
    validation_fraction : float
        Share of these rows.
    warm_start : bool
        Whether another `fit` goes on with the net and the standardisation of the last one.
    random_state : int, RandomState or None
        Source of initial weights, order of rows, dropout, and rows kept apart.
    verbose : bool
        Whether to show progress on stderr: by tqdm, if it is installed, else by a line an epoch.

    Attributes
    ----------
    net_ : LSTM
        The net of the epoch with the lowest loss. It takes X as it is: the standardisation is in its weights.
    head_ : LinearHead
        The layer behind it: ``head_.predict(net_, X)`` are the predictions.
    loss_curve_ : list of float
        Mean loss of every epoch, of standardised y.
    validation_scores_ : list of float or None
        R² over the rows kept apart, after every epoch.
    best_loss_ : float
        The lowest loss: of the rows kept apart if there are any, else of an epoch.
    n_iter_ : int
        Epochs done.
    history_ : History
        Losses and learning rates of all steps, as `Trainer.history`.
    n_outputs_ : int
        P.
    has_lengths_ : bool
        Whether `fit` had `lengths`; an array X then needs them in every method.
    n_features_in_ : int
        I; for X of (n, T), T.
    feature_names_in_ : numpy.ndarray
        Names of the columns of a frame.

    Examples
    --------
    >>> import numpy as np
    >>> from lstm.sklearn import LSTMRegressor
    >>> rng = np.random.default_rng(0)
    >>> X = [rng.standard_normal((rng.integers(5, 15), 2)) for _ in range(100)]
    >>> y = np.array([row[:, 0].mean() for row in X])
    >>> model = LSTMRegressor(hidden_size=8, learning_rate_init=0.02, tol=0.001, random_state=0).fit(X, y)
    >>> bool(model.score(X, y) > 0.9)
    True
    """

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def fit(self, X: Any, y: Any, sample_weight: Any = None, lengths: Any = None) -> Self:
        """Learn from rows.

        Parameters
        ----------
        X : array_like, frame or list of array_like
            (n, T, I), (n, T), or a list of n arrays (T_i, I).
        y : array_like or list of array_like
            (n,) or (n, P). With `sequence_output` (n, T) or (n, T, P), or a list of n arrays (T_i,) or
            (T_i, P).
        sample_weight : array_like, optional
            (n,), how much each row counts.
        lengths : array_like, optional
            (n,), steps of each row of an array X; what is past them does not count. scikit-learn's own tools
            hand it on only with metadata routing: a list of arrays needs none.

        Returns
        -------
        LSTMRegressor
            Itself.

        Raises
        ------
        TypeError, ValueError
            If the data do not fit, or are not finite.
        DivergedError
            If the loss or the weights become infinite or NaN; `net_` is the best net before.
        """
        return self._fit(X, y, sample_weight, lengths)

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, lengths: Any = None) -> Self:
        """Go once through some rows; the first ones decide the standardisation.

        Parameters
        ----------
        X, y, sample_weight, lengths
            As for `fit`.

        Returns
        -------
        LSTMRegressor
            Itself, with the net after the last step.
        """
        return self._fit(X, y, sample_weight, lengths, incremental=True)

    def predict(self, X: Any, lengths: Any = None) -> Any:
        """Predict y.

        Parameters
        ----------
        X, lengths
            As for `fit`.

        Returns
        -------
        numpy.ndarray or list of numpy.ndarray
            (n,) or (n, P), as y was; with `sequence_output` (n, T) or (n, T, P), zero past a row's length,
            or for a list X a list of (T_i,) or (T_i, P).
        """
        given, outputs = self._run(X, lengths)
        return self._as_given(given, outputs[..., 0] if self._is_flat else outputs)

    def score(self, X: Any, y: Any, sample_weight: Any = None, lengths: Any = None) -> float:
        """Compute R² of the predictions, with `sequence_output` over all steps.

        Parameters
        ----------
        X, y, sample_weight, lengths
            As for `fit`.

        Returns
        -------
        float
        """
        given, outputs = self._run(X, lengths)
        targets = self._learned(y, given, reset=False)
        weights = None if sample_weight is None else np.asarray(sample_weight)
        return score_at_steps(self._score, given, outputs, targets, weights)

    def _loss(self) -> Loss:
        return Squared()

    def _outputs(self) -> int:
        return int(self.n_outputs_)

    def _learned(self, y: Any, given: Sequences, *, reset: bool) -> np.ndarray:
        """(n, P) or (n, T, P) of X's dtype."""
        rows = np.concatenate(step_values(y, given)) if self.sequence_output else y
        count = len(rows) if self.sequence_output else given.size
        dummy = np.zeros((count, 1))
        _, values = check_X_y(dummy, rows, multi_output=True, y_numeric=True, estimator=self)
        is_flat, values = values.ndim == 1, values.reshape(count, -1).astype(given.X.dtype)
        if reset:
            self._is_flat, self.n_outputs_ = is_flat, values.shape[1]
        elif values.shape[1] != self.n_outputs_:
            raise ValueError(
                f"y has {values.shape[1]} outputs, but the net to go on with has {self.n_outputs_}"
            )
        if not self.sequence_output:
            return np.asarray(values)
        targets = np.zeros((*given.X.shape[:2], values.shape[1]), values.dtype)
        targets[given.counts] = values
        return targets

    def _target_scaling(self, examples: Examples, counts: np.ndarray) -> Scaling:
        targets = examples.targets
        return Scaling.of(targets if targets.ndim == 3 else targets[:, np.newaxis], counts, examples.weights)

    @staticmethod
    def _score(outputs: np.ndarray, targets: np.ndarray, weights: np.ndarray | None) -> float:
        return float(r2_score(targets, outputs, sample_weight=weights))
