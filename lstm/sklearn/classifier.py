"""The estimator that predicts classes.

Shapes: n rows, T steps, T_i steps of row i, I input, K classes.
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_X_y, column_or_1d

from ..train import CrossEntropy, Loss
from .base import BaseLSTM
from .fitting import Examples
from .sequences import Sequences, step_values


class LSTMClassifier(ClassifierMixin, BaseLSTM):  # type: ignore[misc]
    """An LSTM that tells classes of sequences, or with `sequence_output` of their steps.

    X is (n, T, I); (n, T), read as (n, T, 1), frames of pandas and polars included; or a list of n arrays
    (T_i, I). X is standardised inside. The loss is the cross-entropy, the optimizer AdamW.

    Parameters
    ----------
    hidden_size, num_layers, bidirectional, sequence_output, dropout, recurrent_dropout
        The net, as for `LSTMRegressor`.
    alpha, batch_size, learning_rate_init, max_iter, clip_norm, tol, n_iter_no_change
        The fit, as for `LSTMRegressor`.
    early_stopping, validation_fraction, warm_start, random_state, verbose
        As for `LSTMRegressor`. Each class has its share of the rows kept apart.
    class_weight : dict, "balanced" or None
        How much each class counts, by its label; "balanced" for as much as is inverse to its number.

    Attributes
    ----------
    classes_ : numpy.ndarray
        (K,), the labels, sorted.
    validation_scores_ : list of float or None
        Accuracy over the rows kept apart, after every epoch. The loss, which is finer, decides.
    net_, head_, loss_curve_, best_loss_, n_iter_, history_, has_lengths_, n_features_in_, feature_names_in_
        As for `LSTMRegressor`; ``head_.predict(net_, X)`` are the logits.

    Examples
    --------
    >>> import numpy as np
    >>> from lstm.sklearn import LSTMClassifier
    >>> rng = np.random.default_rng(0)
    >>> X = [rng.standard_normal((rng.integers(5, 15), 2)) for _ in range(100)]
    >>> y = ["up" if row[:, 0].sum() > 0 else "down" for row in X]
    >>> model = LSTMClassifier(hidden_size=8, learning_rate_init=0.02, tol=0.001, random_state=0).fit(X, y)
    >>> bool(model.score(X, y) > 0.9)
    True
    >>> model.classes_.tolist()
    ['down', 'up']
    """

    classes_: np.ndarray

    def __init__(
        self,
        hidden_size: int = 32,
        *,
        num_layers: int = 1,
        bidirectional: bool = False,
        sequence_output: bool = False,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        alpha: float = 0.0001,
        batch_size: int = 32,
        learning_rate_init: float = 0.003,
        max_iter: int = 200,
        clip_norm: float | None = 1.0,
        tol: float = 0.0001,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        class_weight: Any = None,
        warm_start: bool = False,
        random_state: Any = None,
        verbose: bool = False,
    ) -> None:
        super().__init__(
            hidden_size,
            num_layers=num_layers,
            bidirectional=bidirectional,
            sequence_output=sequence_output,
            dropout=dropout,
            recurrent_dropout=recurrent_dropout,
            alpha=alpha,
            batch_size=batch_size,
            learning_rate_init=learning_rate_init,
            max_iter=max_iter,
            clip_norm=clip_norm,
            tol=tol,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            n_iter_no_change=n_iter_no_change,
            warm_start=warm_start,
            random_state=random_state,
            verbose=verbose,
        )
        self.class_weight = class_weight

    def fit(self, X: Any, y: Any, sample_weight: Any = None, lengths: Any = None) -> Self:
        """Learn from rows.

        Parameters
        ----------
        X : array_like, frame or list of array_like
            (n, T, I), (n, T), or a list of n arrays (T_i, I).
        y : array_like or list of array_like
            (n,) labels. With `sequence_output` (n, T), or a list of n arrays (T_i,).
        sample_weight, lengths : array_like, optional
            As for `LSTMRegressor.fit`.

        Returns
        -------
        LSTMClassifier
            Itself.

        Raises
        ------
        TypeError, ValueError
            If the data do not fit, or are not finite, or there is one class alone.
        DivergedError
            If the loss or the weights become infinite or NaN; `net_` is the best net before.
        """
        if not self.warm_start:
            self.__dict__.pop("classes_", None)
        return self._fit(X, y, sample_weight, lengths)

    def partial_fit(
        self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None, lengths: Any = None
    ) -> Self:
        """Go once through some rows; the first ones decide the standardisation.

        Parameters
        ----------
        X, y, sample_weight, lengths
            As for `fit`.
        classes : array_like, optional
            All labels; needed in the first call.

        Returns
        -------
        LSTMClassifier
            Itself, with the net after the last step.
        """
        if self.class_weight == "balanced":
            raise ValueError(
                "class_weight='balanced' is not supported by partial_fit, which does not know all rows: "
                "give the weight of each class"
            )
        if classes is None and not hasattr(self, "classes_"):
            raise ValueError("classes must be passed on the first call to partial_fit")
        if classes is not None:
            given = np.unique(classes)
            if not np.array_equal(given, getattr(self, "classes_", given)):
                raise ValueError(f"classes are {given.tolist()}, but were {self.classes_.tolist()} before")
            self.classes_ = given
        return self._fit(X, y, sample_weight, lengths, incremental=True)

    def predict(self, X: Any, lengths: Any = None) -> Any:
        """Predict labels.

        Parameters
        ----------
        X, lengths
            As for `fit`.

        Returns
        -------
        numpy.ndarray or list of numpy.ndarray
            (n,); with `sequence_output` (n, T), of which steps past a row's length mean nothing, or for a
            list X a list of (T_i,).
        """
        given, outputs = self._run(X, lengths)
        return self._as_given(given, self.classes_[outputs.argmax(axis=-1)])

    def predict_proba(self, X: Any, lengths: Any = None) -> Any:
        """Predict the probability of each class.

        Parameters
        ----------
        X, lengths
            As for `fit`.

        Returns
        -------
        numpy.ndarray or list of numpy.ndarray
            (n, K), in the order of `classes_`; with `sequence_output` (n, T, K), or for a list X a list of
            (T_i, K).
        """
        given, outputs = self._run(X, lengths)
        return self._as_given(given, np.exp(_log_softmax(outputs)))

    def predict_log_proba(self, X: Any, lengths: Any = None) -> Any:
        """Predict the logarithm of the probability of each class.

        Parameters
        ----------
        X, lengths
            As for `fit`.

        Returns
        -------
        numpy.ndarray or list of numpy.ndarray
            As `predict_proba`.
        """
        given, outputs = self._run(X, lengths)
        return self._as_given(given, _log_softmax(outputs))

    def score(self, X: Any, y: Any, sample_weight: Any = None, lengths: Any = None) -> float:
        """Compute the accuracy, with `sequence_output` over all steps.

        Parameters
        ----------
        X, y, sample_weight, lengths
            As for `fit`.

        Returns
        -------
        float
        """
        given, outputs = self._run(X, lengths)
        labels = self._labels(y, given)
        predicted = self.classes_[outputs.argmax(axis=-1)]
        if outputs.ndim == 3:
            predicted = predicted[given.counts]
            if sample_weight is not None:
                sample_weight = np.repeat(sample_weight, given.counts.sum(axis=1))
        return float(accuracy_score(labels, predicted, sample_weight=sample_weight))

    def _loss(self) -> Loss:
        return CrossEntropy()

    def _outputs(self) -> int:
        return len(self.classes_)

    def _labels(self, y: Any, given: Sequences) -> np.ndarray:
        """(n,), or of all steps (N,), of labels."""
        if self.sequence_output:
            y = np.concatenate(step_values(y, given))
        elif y is not None:
            y = column_or_1d(y, warn=True)
        check_X_y(np.zeros((len(y) if self.sequence_output else given.size, 1)), y, estimator=self)
        check_classification_targets(y)
        return np.asarray(y)

    def _learned(self, y: Any, given: Sequences, *, reset: bool) -> np.ndarray:
        """(n,) or (n, T) of the numbers of classes."""
        labels = self._labels(y, given)
        if not hasattr(self, "classes_"):
            self.classes_ = np.unique(labels)
        if len(self.classes_) < 2:
            raise ValueError(
                f"{type(self).__name__} needs samples of at least 2 classes, "
                f"but there is only one class: {self.classes_.tolist()}"
            )
        numbers = np.searchsorted(self.classes_, labels)
        is_known = self.classes_[np.minimum(numbers, len(self.classes_) - 1)] == labels
        if not is_known.all():
            raise ValueError(f"y has the label {labels[~is_known].tolist()[0]!r}, which is not in classes_")
        if not self.sequence_output:
            return np.asarray(numbers)
        targets = np.zeros(given.X.shape[:2], np.intp)
        targets[given.counts] = numbers
        return targets

    def _weighted(self, examples: Examples) -> Examples:
        if self.class_weight is None:
            return examples
        given, targets, weights = examples
        if targets.ndim == 1:
            each = compute_sample_weight(self.class_weight, self.classes_[targets])
            return examples._replace(weights=weights * each)
        counts = given.counts
        of_steps = np.zeros(counts.shape)
        of_steps[counts] = compute_sample_weight(self.class_weight, self.classes_[targets[counts]])
        return examples._replace(weights=of_steps * weights[:, np.newaxis])

    @staticmethod
    def _score(outputs: np.ndarray, targets: np.ndarray, weights: np.ndarray | None) -> float:
        return float(accuracy_score(targets, outputs.argmax(axis=-1), sample_weight=weights))


def _log_softmax(outputs: np.ndarray) -> np.ndarray:
    """(..., K) -> (..., K)."""
    shifted = outputs - outputs.max(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))
