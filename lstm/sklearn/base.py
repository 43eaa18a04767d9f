"""What the estimators share: parameters, the way from X and y to a net, and what is known after it.

Shapes: n rows, T steps, I input, P outputs.
"""

from __future__ import annotations

import warnings
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_array, check_is_fitted

from ..core.checks import finite_number, positive_size
from ..model import LSTM
from ..train import Adam, LinearHead, Loss, Trainer
from ..train.optimizers import positive
from . import fitting
from .fitting import Examples
from .scaling import Scaling, for_raw_data
from .sequences import Sequences, sequences


class BaseLSTM(BaseEstimator):  # type: ignore[misc]
    """Layers of LSTM and a linear layer; a subclass says what is learned."""

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
        warm_start: bool = False,
        random_state: Any = None,
        verbose: bool = False,
    ) -> None:
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bidirectional = bidirectional
        self.sequence_output = sequence_output
        self.dropout = dropout
        self.recurrent_dropout = recurrent_dropout
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate_init = learning_rate_init
        self.max_iter = max_iter
        self.clip_norm = clip_norm
        self.tol = tol
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.warm_start = warm_start
        self.random_state = random_state
        self.verbose = verbose

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "net_")

    # What a subclass learns.

    def _loss(self) -> Loss:
        raise NotImplementedError

    def _learned(self, y: Any, given: Sequences, *, reset: bool) -> np.ndarray:
        """y, checked, as the loss takes it; with `reset`, note what there is to predict."""
        raise NotImplementedError

    def _outputs(self) -> int:
        """P of the head, after `_learned`."""
        raise NotImplementedError

    def _target_scaling(self, examples: Examples, counts: np.ndarray) -> Scaling:
        """Of the targets at the steps that count (n, T), or (n, 1)."""
        return Scaling.none(self._outputs())

    def _weighted(self, examples: Examples) -> Examples:
        """With the weights of classes."""
        return examples

    @staticmethod
    def _score(outputs: np.ndarray, targets: np.ndarray, weights: np.ndarray | None) -> float:
        """R² or accuracy of outputs (N, P) of the head."""
        raise NotImplementedError

    # Fit and outputs.

    def _fit(self, X: Any, y: Any, sample_weight: Any, lengths: Any, *, incremental: bool = False) -> Self:
        """Learn; `incremental` for one epoch more of the same run."""
        self._check_parameters(incremental)
        goes_on = hasattr(self, "net_") and (incremental or self.warm_start)
        given = sequences(self, X, lengths, reset=not goes_on)
        targets = self._learned(y, given, reset=not goes_on)
        examples = self._weighted(Examples(given, targets, _row_weights(sample_weight, given.size)))
        scalings = self._scalings if goes_on else self._new_scalings(examples)
        random = check_random_state(self.random_state)
        trainer = self._trainer if goes_on and incremental else self._new_trainer(given, goes_on, random)
        examples = _scaled(examples, *scalings, trainer.net.dtype)
        held = None
        if self.early_stopping:
            examples, held = self._parted(examples, random)
        epochs = trainer.epoch + 1 if incremental else self.max_iter
        run = fitting.run(
            trainer,
            examples,
            held,
            self._score,
            epochs,
            self.tol,
            self.n_iter_no_change,
            bool(self.verbose),
        )
        if not incremental and trainer.best_epoch:
            fitting.put(*trainer.best, into=trainer)
        self._note(trainer, scalings)
        self.has_lengths_ = lengths is not None
        self.validation_scores_ = run.scores
        if run.error is not None:
            raise run.error
        if not incremental and not run.has_converged and trainer.epoch == epochs:
            warnings.warn(
                f"max_iter={epochs} epochs are done, but the loss still falls by more than tol={self.tol:g}",
                ConvergenceWarning,
                stacklevel=3,
            )
        return self

    def _check_parameters(self, incremental: bool) -> None:
        """Errors of what neither net nor trainer looks at."""
        positive_size("max_iter", self.max_iter)
        positive_size("n_iter_no_change", self.n_iter_no_change)
        for name, low, high in (
            ("tol", 0, np.inf),
            ("alpha", 0, np.inf),
            ("validation_fraction", 0, 1),
        ):
            if not low <= finite_number(name, getattr(self, name)) < high:
                raise ValueError(f"{name} is {getattr(self, name)!r}, but must be from {low} to below {high}")
        positive("learning_rate_init", self.learning_rate_init)
        if incremental and self.early_stopping:
            raise ValueError("partial_fit does not support early_stopping=True")

    def _new_scalings(self, examples: Examples) -> tuple[Scaling, Scaling]:
        """Of X, and of the targets."""
        counts = examples.given.counts
        each = counts if self.sequence_output else counts[:, :1]
        return (
            Scaling.of(examples.given.X, counts, examples.weights),
            self._target_scaling(examples, each),
        )

    def _new_trainer(self, given: Sequences, goes_on: bool, random: Any) -> Trainer:
        """One of a new net, or of the last one, with the parameters as they are now."""
        seeds = random.randint(2**31 - 1, size=(3, 4)).tolist()
        if goes_on:
            net, head = self._trainer.net, self._trainer.head
            self._check_same_net(net)
        else:
            net = LSTM(
                given.X.shape[2],
                self.hidden_size,
                num_layers=self.num_layers,
                bidirectional=self.bidirectional,
                dtype=given.X.dtype,
                rng=seeds[0],
            )
            head = LinearHead(net, self._outputs(), every_step=self.sequence_output, rng=seeds[1])
        return Trainer(
            net,
            head,
            self._loss(),
            Adam(self.learning_rate_init, weight_decay=self.alpha),
            batch_size=self.batch_size,
            clip_norm=self.clip_norm,
            dropout=self.dropout,
            recurrent_dropout=self.recurrent_dropout,
            rng=seeds[2],
        )

    def _check_same_net(self, net: LSTM) -> None:
        """ValueError if the parameters ask for another net than the one to go on with."""
        for name in ("hidden_size", "num_layers", "bidirectional"):
            if getattr(self, name) != getattr(net, name):
                raise ValueError(
                    f"{name} is {getattr(self, name)!r}, but the net to go on with has {getattr(net, name)!r}"
                )

    def _parted(self, examples: Examples, random: Any) -> tuple[Examples, Examples]:
        """The rows to learn from, and those to judge by: of each class a share, if rows have one."""
        is_class = examples.targets.dtype.kind == "i" and examples.targets.ndim == 1
        kept, held = train_test_split(
            np.arange(examples.given.size),
            test_size=self.validation_fraction,
            stratify=examples.targets if is_class else None,
            random_state=random,
        )
        return examples.take(kept), examples.take(held)

    def _note(self, trainer: Trainer, scalings: tuple[Scaling, Scaling]) -> None:
        """Set the attributes of what has been learned."""
        history = trainer.history
        self._trainer, self._scalings = trainer, scalings
        self.net_, self.head_ = for_raw_data(trainer.net, trainer.head, *scalings)
        self.history_ = history
        self.loss_curve_ = history.epoch_loss.tolist()
        self.best_loss_ = trainer.best_loss
        self.n_iter_ = trainer.epoch

    def _run(self, X: Any, lengths: Any) -> tuple[Sequences, np.ndarray]:
        """X, checked, and the outputs of the head, (n, P) or (n, T, P)."""
        check_is_fitted(self)
        given = sequences(self, X, lengths, reset=False)
        return given, fitting.outputs_of(self.net_, self.head_, given)

    def _as_given(self, given: Sequences, values: np.ndarray) -> Any:
        """Values (n, ...), or of every step (n, T, ...), as a list if X was one."""
        return given.split(values) if self.head_.every_step and given.is_list else values


def _row_weights(sample_weight: Any, size: int) -> np.ndarray:
    """(n,) of float64."""
    if sample_weight is None:
        return np.ones(size)
    weights = check_array(sample_weight, ensure_2d=False, dtype=np.float64, input_name="sample_weight")
    if weights.shape != (size,) or (weights < 0).any():
        raise ValueError(
            f"sample_weight has shape {weights.shape} and a minimum of {weights.min():g}, "
            f"but must be {(size,)} and at least 0"
        )
    if not weights.any():
        raise ValueError("Sample weights must contain at least one non-zero number.")  # scikit-learn's words
    return np.asarray(weights)


def _scaled(examples: Examples, x: Scaling, y: Scaling, dtype: Any) -> Examples:
    """Standardised X and, unless they are classes, targets, of the net's dtype."""
    X = x.apply(examples.given.X).astype(dtype, copy=False)
    targets = examples.targets
    if targets.dtype.kind == "f":
        targets = y.apply(targets).astype(dtype, copy=False)
    return Examples(examples.given._replace(X=X), targets, examples.weights)
