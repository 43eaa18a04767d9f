"""The loop: epochs of batches, the best net so far, and all that it takes to go on later bit for bit.

Shapes: B batch, T time, N weights, M moments of each.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any, NoReturn, Self

import numpy as np
from numpy.typing import ArrayLike

from ..core.checks import generator, positive_size
from ..formats import FormatError
from ..model import LSTM
from . import display
from .data import Data
from .heads import LinearHead
from .losses import Loss
from .models import check_path
from .optimizers import Optimizer, clip_norm, positive
from .parameters import Parameters
from .passes import Batch, LocalPasses, Passes, mean_loss_of
from .records import DivergedError, History, Records
from .state import State


def _saving() -> Any:
    """The module of trainers' files, which many runs do without."""
    from . import saving

    return saving


class Trainer:
    """Train a net and its head by gradient descent on batches of rows.

    Parameters
    ----------
    net : LSTM
        It is trained itself, not a copy.
    head : LinearHead
        Made for `net`; it is trained too.
    loss : Loss
        `Squared`, `Huber`, `Quantile`, `CrossEntropy`, or one of your own.
    optimizer : Optimizer
        `Adam`, `SGD`, or one of your own.
    batch_size : int
        Rows of a step; the last one of an epoch may have fewer.
    part_size : int, optional
        Rows that are in memory at once, by default all of a batch. It changes no bit, unless there is
        dropout, which is then drawn in another order.
    clip_norm : float, optional
        Bound of the norm of a step's gradient.
    dropout, input_dropout, recurrent_dropout : float
        As for `LSTM.record`.
    shuffle : bool
        Whether every epoch takes the rows in another order.
    rng : None, int, sequence of int, or numpy.random.Generator
        Seed or source of order and dropout (SPEC 7).

    Attributes
    ----------
    net, head
        As after the last step.
    best : tuple of LSTM and LinearHead
        Copies as they were after the best epoch.
    best_loss, best_epoch
        The lowest validation loss, or without validation the lowest loss of an epoch, and how many epochs
        were done then; infinity and 0 before the first epoch ends.
    epoch, step : int
        Epochs and steps done.
    history : History

    Raises
    ------
    TypeError, ValueError
        If an argument is not as above, or the head was made for another net.

    Examples
    --------
    >>> import numpy as np
    >>> from lstm import LSTM
    >>> from lstm.train import Adam, LinearHead, Squared, Trainer
    >>> X = np.random.default_rng(0).standard_normal((64, 10, 1))
    >>> net = LSTM(1, 8, rng=0)
    >>> trainer = Trainer(net, LinearHead(net, rng=0), Squared(), Adam(0.02), rng=0)
    >>> trainer.fit(X, X.mean(axis=1), epochs=3, progress=False).epoch
    3
    >>> net, head = trainer.best
    >>> head.predict(net, X).shape
    (64, 1)
    """

    def __init__(
        self,
        net: LSTM,
        head: LinearHead,
        loss: Loss,
        optimizer: Optimizer,
        *,
        batch_size: int = 32,
        part_size: int | None = None,
        clip_norm: float | None = None,
        dropout: float = 0.0,
        input_dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        shuffle: bool = True,
        rng: Any = None,
    ) -> None:
        for name, value, kind in (
            ("net", net, LSTM),
            ("head", head, LinearHead),
            ("loss", loss, Loss),
            ("optimizer", optimizer, Optimizer),
        ):
            if not isinstance(value, kind):
                raise TypeError(f"{name} is {value!r}, but must be made by {kind.__name__} of this package")
        self.net, self.head, self.loss, self.optimizer = net, head, loss, optimizer
        self.batch_size = positive_size("batch_size", batch_size)
        self.part_size = None if part_size is None else positive_size("part_size", part_size)
        self.clip_norm = None if clip_norm is None else positive("clip_norm", clip_norm)
        self.dropout: dict[str, Any] = {
            "dropout": dropout,
            "input_dropout": input_dropout,
            "recurrent_dropout": recurrent_dropout,
        }
        net.record(np.empty((0, 0, net.input_size)), **self.dropout)  # raises what is no probability
        self.shuffle = bool(shuffle)
        self._parameters = Parameters(net, head)
        # A generator of its own, whose state nobody else changes.
        self._rng = np.random.Generator(np.random.PCG64(generator(rng).integers(2**63, size=2).tolist()))
        values = self._parameters.values.copy()
        self._state = State.start(values, optimizer.start(values), self._rng)
        self._before: State | None = None  # one step ago
        self._passes = LocalPasses()
        self._records = Records()

    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        *,
        epochs: int,
        lengths: ArrayLike | None = None,
        mask: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        validation: tuple[Any, ...] | None = None,
        patience: int | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        checkpoint_steps: int | None = None,
        stop: Callable[[Self], bool] | None = None,
        progress: bool = True,
        passes: Passes | None = None,
    ) -> Self:
        """Train until `epochs` epochs are done, those of earlier calls included.

        Parameters
        ----------
        X : array_like
            (rows, T, I) or, where I is 1, (rows, T).
        y : array_like
            What is to be predicted: of shape (rows, P), with a head at every step (rows, T, P), for classes
            without P; where P is 1, it may be left out.
        epochs : int
            How often all rows are to be seen.
        lengths, mask : array_like, optional
            As for `LSTM.forward_sequence`. The loss is the mean over the steps that count.
        sample_weight : array_like, optional
            How much each row counts, (rows,), or each step, (rows, T); at least 0.
        validation : tuple, optional
            Other rows: X and y and, if there are any, lengths, mask and sample_weight, None for what is
            not there. The best net is then the one with the lowest loss over them.
        patience : int, optional
            Stop after so many epochs without a better net.
        checkpoint : str or path-like, optional
            Where to save the trainer after every epoch, and at the end: a path that ends in .npz.
        checkpoint_steps : int, optional
            Save it after so many steps too.
        stop : callable, optional
            Called with the trainer after every epoch; training ends once it returns True.
        progress : bool
            Whether to show what happens, on stderr: by tqdm, if it is installed, else by a line an epoch.
        passes : callable, optional
            What computes loss and gradient of a step in place of this process; see `lstm.dask.fit`.

        Returns
        -------
        Trainer
            Itself. Ctrl-C stops it between two steps: it says so, and returns too.

        Raises
        ------
        TypeError, ValueError
            If the data do not fit, or hold what is not finite at a step that counts; nothing has been done
            then.
        DivergedError
            If the loss or the weights are not finite. Net and head are those before the last step, the
            best ones are kept.

        Notes
        -----
        After an exception, Ctrl-C included, the state is that after the last whole step: another call with
        the same data goes on from there, and gives the bits of a run that was never stopped.
        """
        epochs = positive_size("epochs", epochs)
        data = Data.of(self.net, self.head, self.loss, X, y, lengths, mask, sample_weight)
        held = None if validation is None else Data.held(self.net, self.head, self.loss, validation)
        patience = None if patience is None else positive_size("patience", patience)
        every = None if checkpoint_steps is None else positive_size("checkpoint_steps", checkpoint_steps)
        if checkpoint is not None:
            check_path(checkpoint)
        elif every is not None:
            raise ValueError("checkpoint_steps is given, but no checkpoint to be written")
        self._take_up(data)
        with display.shown(progress, self._steps(data, epochs), self.step) as show:
            try:
                while self.epoch < epochs and not self._is_stuck(patience):
                    self._start_epoch(data)
                    started = time.perf_counter()
                    while self._state.place < data.size:
                        self._do_step(data, passes or self._passes)
                        show.step(self._records.losses[-1])
                        if checkpoint is not None and every is not None and self.step % every == 0:
                            self.save(checkpoint)
                    self._end_epoch(held)
                    show.epoch(
                        self.epoch, epochs, *self._records.epochs[-1][:2], time.perf_counter() - started
                    )
                    if checkpoint is not None:
                        self.save(checkpoint)
                    if stop is not None and stop(self):
                        break
            except KeyboardInterrupt:
                if checkpoint is not None:
                    self.save(checkpoint)
                show.say(f"stopped by Ctrl-C after {self.step} steps; {self._told_best()}")
            finally:
                self._put_back()
        return self

    def _do_step(self, data: Data, passes: Passes) -> None:
        """One batch: its loss, its gradient, and the weights moved by it. All of it happens, or nothing."""
        state = self._state
        self._put_back()
        rows = state.order[state.place : state.place + self.batch_size]
        batch = Batch(data, rows, self.loss, self.part_size, self.dropout, self._rng)
        loss, weight = passes(self._parameters, batch)
        gradient = self._parameters.gradient
        if not (np.isfinite(loss) and np.isfinite(gradient).all()):
            self._diverge("the loss" if not np.isfinite(loss) else "the gradient", state.step, self._before)
        if self.clip_norm is not None:
            clip_norm(gradient, self.clip_norm)
        weights, moments = state.weights.copy(), state.moments.copy()
        with np.errstate(all="ignore"):
            self.optimizer.update(weights, gradient, moments, state.step)
        if not (np.isfinite(weights).all() and np.isfinite(moments).all()):
            self._diverge("a weight or a moment", state.step, state)
        self._records.add_step(state.step, loss, self.optimizer.rate(state.step))
        # One assignment, so that a signal comes before the step or after it.
        self._before, self._state = (
            state,
            state._replace(
                weights=weights,
                moments=moments,
                step=state.step + 1,
                place=state.place + len(rows),
                rng=dict(self._rng.bit_generator.state),
                epoch_sum=state.epoch_sum + loss * weight,
                epoch_weight=state.epoch_weight + weight,
            ),
        )

    def _start_epoch(self, data: Data) -> None:
        """Draw the order of the rows, unless the epoch has begun."""
        state = self._state
        if state.order.size:
            return
        self._put_back()
        order = self._rng.permutation(data.size) if self.shuffle else np.arange(data.size)
        self._state = state._replace(order=order, rng=dict(self._rng.bit_generator.state))

    def _end_epoch(self, held: Data | None) -> None:
        """Look at the loss over other rows, and keep the best weights."""
        state = self._state
        self._put_back()
        mean = state.epoch_sum / state.epoch_weight if state.epoch_weight else 0.0
        judged = mean
        if held is not None:
            judged = mean_loss_of(self.net, self.head, self.loss, held, self.batch_size)
        if not np.isfinite(judged):
            self._diverge("the validation loss", state.step, self._before)
        self._records.add_epoch(state.epoch, mean, judged if held is not None else np.nan, state.step)
        new = state.after_epoch()
        if judged < state.best_loss:
            new = new._replace(best=state.weights, best_loss=judged, best_epoch=new.epoch)
        self._state = new

    def evaluate(
        self,
        X: ArrayLike,
        y: ArrayLike,
        *,
        lengths: ArrayLike | None = None,
        mask: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> float:
        """Compute the mean loss of net and head over some rows, without dropout.

        Parameters
        ----------
        X, y, lengths, mask, sample_weight : array_like
            As for `fit`.

        Returns
        -------
        float

        Raises
        ------
        TypeError, ValueError
            As for `fit`.
        """
        data = Data.of(self.net, self.head, self.loss, X, y, lengths, mask, sample_weight)
        return mean_loss_of(self.net, self.head, self.loss, data, self.batch_size)

    @property
    def step(self) -> int:
        """Steps done."""
        return self._state.step

    @property
    def epoch(self) -> int:
        """Epochs done."""
        return self._state.epoch

    @property
    def best_loss(self) -> float:
        """The lowest loss after an epoch; infinity before the first one ends."""
        return self._state.best_loss

    @property
    def best_epoch(self) -> int:
        """How many epochs were done then; 0 before the first one ends."""
        return self._state.best_epoch

    @property
    def best(self) -> tuple[LSTM, LinearHead]:
        """Copies of net and head after the best epoch; before the first one ends, as they are."""
        net, head = LSTM.from_core(self.net.core.copy()), self.head.copy()
        if self.best_epoch:
            parameters = Parameters(net, head)
            parameters.values[...] = self._state.best
            parameters.store()
        return net, head

    @property
    def history(self) -> History:
        """Losses and learning rates so far, as new arrays."""
        return self._records.history(self.step, self.epoch)

    def _take_up(self, data: Data) -> None:
        """Begin with the weights that net and head have, which may have been set since the last call."""
        order = self._state.order
        if order.size not in (0, data.size):
            raise ValueError(
                f"X has {data.size} rows, but the epoch that was stopped has {order.size}: "
                "go on with the same data"
            )
        self._parameters.read()
        if not np.array_equal(self._parameters.values, self._state.weights):
            self._state = self._state._replace(weights=self._parameters.values.copy())
        self._before = None

    def _put_back(self) -> None:
        """Let net, head and generator be those of the state: after a step, or one that was broken off."""
        state = self._state
        self._rng.bit_generator.state = state.rng
        self._parameters.values[...] = state.weights
        self._parameters.store()

    def _diverge(self, what: str, step: int, good: State | None) -> NoReturn:
        """Go back to the last state whose loss was finite, and raise."""
        if good is not None:
            self._state = good
        raise DivergedError(
            f"{what} is not finite at step {step + 1}, with learning rate {self.optimizer.rate(step):g}: "
            f"net and head are those after {self.step} steps; {self._told_best()}. A lower learning rate or "
            "clip_norm may help"
        )

    def _told_best(self) -> str:
        """The best net so far, in words."""
        if not self.best_epoch:
            return "no epoch is complete: trainer.best is the net as it is"
        return f"trainer.best is the net of epoch {self.best_epoch}, loss {self.best_loss:.6g}"

    def _is_stuck(self, patience: int | None) -> bool:
        return patience is not None and self.epoch - self.best_epoch >= patience

    def _steps(self, data: Data, epochs: int) -> int:
        """Steps in all, those done included."""
        each = -(-data.size // self.batch_size)
        left = -(-(data.size - self._state.place) // self.batch_size)
        return self.step + max(0, (epochs - self.epoch - 1) * each + left)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write all that `resume` needs to go on bit for bit; no pickle is in it.

        Parameters
        ----------
        path : str or path-like
            Ends in ``.npz``. A file of that name is replaced once the new one is whole and on the disk.

        Raises
        ------
        ValueError
            If the path has another ending.
        OSError
            If the file cannot be written.
        """
        self._put_back()
        _saving().save(self, self._state, self._records, path)

    @classmethod
    def resume(
        cls,
        path: str | os.PathLike[str],
        *,
        loss: Loss | None = None,
        optimizer: Optimizer | None = None,
    ) -> Self:
        """Read a trainer that `save` has written; `fit` with the same data then goes on bit for bit.

        Parameters
        ----------
        path : str or path-like
            The file, which is not trusted: nothing in it is run, no pickle is read.
        loss, optimizer : optional
            Needed if they are of your own, or the learning rate is a function: no file holds code. Else they
            take the place of those in the file.

        Returns
        -------
        Trainer

        Raises
        ------
        FormatError
            If the file is damaged, or no trainer's.
        ValueError
            If loss or optimizer are needed.
        OSError
            If the file cannot be opened.

        Examples
        --------
        >>> import os, tempfile
        >>> import numpy as np
        >>> from lstm import LSTM
        >>> from lstm.train import Adam, LinearHead, Squared, Trainer
        >>> X = np.random.default_rng(0).standard_normal((64, 10, 1))
        >>> net = LSTM(1, 8, rng=0)
        >>> trainer = Trainer(net, LinearHead(net, rng=0), Squared(), Adam(0.02), rng=0)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, "run.npz")
        ...     trainer = trainer.fit(X, X.mean(axis=1), epochs=1, checkpoint=path, progress=False)
        ...     resumed = Trainer.resume(path)
        >>> a = trainer.fit(X, X.mean(axis=1), epochs=2, progress=False).net
        >>> b = resumed.fit(X, X.mean(axis=1), epochs=2, progress=False).net
        >>> np.array_equal(a.Wf, b.Wf)
        True
        """
        saved = _saving().read(path, loss, optimizer)
        try:
            trainer = cls(**saved.arguments)
        except (TypeError, ValueError) as error:
            raise FormatError(f"{os.fspath(path)}: {error}") from error
        trainer._state, trainer._records = saved.state, saved.records
        trainer._put_back()
        return trainer

    def __repr__(self) -> str:
        return (
            f"<trainer of {self.net!r} by {self.loss!r} and {self.optimizer!r}: "
            f"{self.epoch} epochs, {self.step} steps>"
        )
