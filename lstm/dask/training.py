"""Training by Dask's workers: they compute the gradients of a batch's parts, which are added here in order.

Shapes: B batch, N weights.
"""

from __future__ import annotations

import itertools
import threading
import warnings
from typing import Any, NamedTuple

import distributed
import numpy as np

from ..core.checks import positive_size
from ..model import LSTM
from ..train.data import Data
from ..train.heads import LinearHead
from ..train.losses import Loss, add_rows
from ..train.parameters import Parameters
from ..train.passes import Batch, LocalPasses, Pass
from ..train.trainer import Trainer

ROWS = 8
"""Of a part, where the trainer has no part_size. As fast as larger ones, and four parts of 32 rows."""


def fit(
    trainer: Trainer, X: Any, y: Any, *, client: Any = None, tasks: int | None = None, **options: Any
) -> Trainer:
    """Train as `Trainer.fit` does, with the gradients computed by Dask's workers.

    The numbers are the same bits for any number of workers, whatever becomes of them.

    Parameters
    ----------
    trainer : Trainer
        It is trained itself, in this process. Its `part_size`, or 8, is how many rows of a batch are a part.
    X, y : array_like
        As for `Trainer.fit`: in this process, which sends each step's rows to the workers.
    client : distributed.Client, optional
        By default the current one.
    tasks : int, optional
        How many tasks the parts of a step are given to; by default as many as the workers have threads. It
        changes no bit.
    **options
        As for `Trainer.fit`: epochs, lengths, mask, sample_weight, validation and the others.

    Returns
    -------
    Trainer
        The trainer itself.

    Raises
    ------
    TypeError, ValueError
        As `Trainer.fit`, and if there is no client.

    Notes
    -----
    The gradient of a batch is the sum of its parts' gradients in the order of the batch, each of which begins
    from zero. So the bits depend on `part_size`, unlike those of `Trainer.fit`; with ``part_size=1``, no
    dropout and at most 128 steps they are those of `Trainer.fit`. Dropout is drawn for each part by a
    generator whose seed comes from the trainer's. A step takes the weights to each task and a gradient for
    each part back: that pays where a part takes longer than the way, some milliseconds. Losses of the
    validation rows are computed in this process.

    Examples
    --------
    >>> import lstm.dask
    >>> from distributed import Client
    >>> from lstm.train import Adam, LinearHead, Squared, Trainer
    >>> X = np.random.default_rng(0).standard_normal((64, 10, 1))
    >>> net = lstm.LSTM(1, 8, rng=0)
    >>> trainer = Trainer(net, LinearHead(net, rng=0), Squared(), Adam(0.02), rng=0)
    >>> with Client(processes=False, dashboard_address=":0") as client:
    ...     trainer = lstm.dask.fit(trainer, X, X.mean(axis=1), epochs=2, progress=False)
    >>> trainer.epoch
    2
    """
    if not isinstance(trainer, Trainer):
        raise TypeError(f"trainer is {trainer!r}, but must be a Trainer of lstm.train")
    if client is None:
        client = distributed.default_client()
    count = sum(client.nthreads().values()) if tasks is None else positive_size("tasks", tasks)
    return trainer.fit(X, y, passes=_Workers(client, max(1, count)), **options)


class _Template(NamedTuple):
    """What a net and its head are, but for their weights."""

    sizes: tuple[int, int]
    options: dict[str, Any]
    outputs: int
    every_step: bool

    @classmethod
    def of(cls, net: LSTM, head: LinearHead) -> _Template:
        options = net.core.architecture.changed_arguments()
        options |= {"dtype": net.dtype, "backend": net.backend}
        return cls((net.input_size, net.hidden_size), options, head.outputs, head.every_step)

    def make(self) -> Parameters:
        """A net and a head of their own, of any weights."""
        net = LSTM(*self.sizes, **self.options, rng=0)
        return Parameters(net, LinearHead(net, self.outputs, every_step=self.every_step, rng=0))


class _Part(NamedTuple):
    """Some rows of a batch."""

    data: Data
    seed: list[int] | None  # of dropout


class _Workers:
    """Computes loss and gradient of a step by tasks of Dask, each of which has some parts of the batch."""

    def __init__(self, client: Any, tasks: int) -> None:
        self._client, self._tasks = client, tasks

    def __call__(self, parameters: Parameters, batch: Batch) -> Pass:
        """The mean loss of a batch; its gradient (N,) is written to the parameters."""
        draws = any(batch.dropout.values())
        parts = [
            _Part(batch.data.rows(rows), _seed(batch.rng) if draws else None)
            for rows in batch.parts(batch.part_size or ROWS)
        ]
        total, mean = batch.total, 0.0
        template = _Template.of(parameters.net, parameters.head)
        # A task is sent by a thread of the client, later than the values may change here.
        values = parameters.values.copy()
        bounds = np.linspace(0, len(parts), min(self._tasks, len(parts)) + 1).astype(int).tolist()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Sending large graph")  # what is sent is needed once
            futures = [
                self._client.submit(
                    _compute,
                    template,
                    values,
                    batch.loss,
                    parts[first:stop],
                    total,
                    batch.dropout,
                    pure=False,
                )
                for first, stop in itertools.pairwise(bounds)
            ]
        parameters.gradient[...] = 0
        for losses, gradients in self._client.gather(futures):
            for one, gradient in zip(losses, gradients, strict=True):
                mean = add_rows(one, mean)
                parameters.gradient += gradient
        return Pass(mean, total)


def _seed(rng: np.random.Generator) -> list[int]:
    return rng.integers(2**63, size=2).tolist()  # type: ignore[no-any-return]


_made = threading.local()
"""What a worker's thread has made of the last template, for its next task."""


def _compute(
    template: _Template,
    values: np.ndarray,
    loss: Loss,
    parts: list[_Part],
    total: float,
    dropout: dict[str, Any],
) -> tuple[list[np.ndarray], np.ndarray]:
    """Values (N,) -> of each part its rows' losses (B,), and the gradients of all parts (parts, N)."""
    if getattr(_made, "template", None) != template:
        _made.parameters, _made.passes, _made.template = template.make(), LocalPasses(), template
    parameters: Parameters = _made.parameters
    parameters.values[...] = values
    parameters.store()
    losses = []
    gradients = np.empty((len(parts), values.size), values.dtype)
    for part, gradient in zip(parts, gradients, strict=True):
        parameters.gradient[...] = 0
        rng = None if part.seed is None else np.random.Generator(np.random.PCG64(part.seed))
        losses.append(_made.passes.add_part(parameters, loss, part.data, total, dropout, rng))
        gradient[...] = parameters.gradient
    return losses, gradients
