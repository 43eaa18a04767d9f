"""Lines: gradients over time, and the losses of a training run."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..tape import Gradients, Norms, Tape
from .figures import flat_axes, pyplot


def gradients(source: Tape | Gradients, *, row: int | None = None, axes: Any = None) -> Any:
    """Draw how large the gradients of h and C are at every step: how far back a loss is felt.

    Parameters
    ----------
    source : Tape or Gradients
        A tape whose `backward` has been called, or what that returned.
    row : int, optional
        Which row of a batch. By default all: the root of the sum of squares.
    axes : sequence of matplotlib.axes.Axes, optional
        Where to draw, two of them. By default a new figure's.

    Returns
    -------
    numpy.ndarray
        The two Axes: norms of the gradients of h_t and of C_t, a line for each layer and direction, on a
        logarithmic scale. Norms of zero leave a gap.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    TypeError, ValueError
        If there are no gradients to draw, or the number of axes does not fit.
    IndexError
        If there is no such row.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("Agg")
    >>> import numpy as np
    >>> import lstm.plot
    >>> tape = lstm.LSTM(2, 8, rng=0).record(np.ones((30, 2)))
    >>> g = tape.backward(dh_n=np.ones((1, 8)))
    >>> axes = lstm.plot.gradients(g)
    >>> len(axes)
    2
    """
    plt = pyplot()
    norms = _norms(source, row)
    if axes is None:
        _, axes = plt.subplots(2, 1, sharex=True, figsize=(9, 5), layout="constrained")
    axes = flat_axes(axes, 2, "pictures")
    for ax, name, values in zip(axes, norms._fields, norms, strict=True):
        for cell, line in enumerate(values):
            ax.semilogy(np.where(line > 0, line, np.nan), label=source.labels[cell])
        ax.set_title(f"norm of ∂loss/∂{name} at every step", loc="left", fontsize="medium")
        ax.grid(alpha=0.3)
        ax.xaxis.get_major_locator().set_params(integer=True)
    if len(norms.h) > 1:
        axes[0].legend(fontsize="small")
    axes[-1].set_xlabel("time step")
    return axes


def learning(trainer: Any, *, axes: Any = None) -> Any:
    """Draw how a training run went: loss, validation loss and learning rate over the steps.

    Parameters
    ----------
    trainer : lstm.train.Trainer
        Or anything with such a `history` or, as a fitted estimator of `lstm.sklearn` has it, `history_`.
    axes : sequence of matplotlib.axes.Axes, optional
        Where to draw, two of them. By default a new figure's.

    Returns
    -------
    numpy.ndarray
        The two Axes: the losses, on a logarithmic scale, with a mark at the best epoch, and the learning
        rate.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    TypeError, ValueError
        If there is no history, or no step in it, or the number of axes does not fit.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("Agg")
    >>> import numpy as np
    >>> import lstm.plot
    >>> from lstm.train import Adam, LinearHead, Squared, Trainer
    >>> X = np.random.default_rng(0).standard_normal((64, 10, 1))
    >>> net = lstm.LSTM(1, 8, rng=0)
    >>> trainer = Trainer(net, LinearHead(net, rng=0), Squared(), Adam(0.02), rng=0)
    >>> trainer = trainer.fit(X, X.mean(axis=1), epochs=3, progress=False)
    >>> len(lstm.plot.learning(trainer))
    2
    """
    history = getattr(trainer, "history", getattr(trainer, "history_", None))
    if history is None:
        raise TypeError(f"trainer is a {type(trainer).__name__}, but must be a Trainer or a fitted estimator")
    if len(history.loss) == 0:
        raise ValueError("the trainer has done no step: there is nothing to draw")
    plt = pyplot()
    if axes is None:
        ratios = {"height_ratios": [3, 1]}
        _, axes = plt.subplots(2, 1, sharex=True, figsize=(9, 5), layout="constrained", gridspec_kw=ratios)
    axes = flat_axes(axes, 2, "pictures")
    _draw_losses(axes[0], history)
    steps = np.arange(1, len(history.loss) + 1)
    axes[1].plot(steps, history.learning_rate, drawstyle="steps-mid", color="0.3")
    axes[1].set_ylabel("learning rate")
    axes[1].set_xlabel("training step")
    axes[1].set_ylim(bottom=0)
    return axes


def _draw_losses(ax: Any, history: Any) -> None:
    """Losses of steps and epochs; what is not above zero leaves a gap on the logarithmic scale."""

    def shown(values: np.ndarray) -> np.ndarray:
        return np.where(values > 0, values, np.nan)

    steps = np.arange(1, len(history.loss) + 1)
    ax.semilogy(steps, shown(history.loss), color="0.75", linewidth=0.7, label="batch")
    has_validation = bool(np.isfinite(history.validation_loss).any())
    lines = [("epoch", history.epoch_loss, "C0"), ("validation", history.validation_loss, "C1")]
    for label, values, color in lines[: 1 + has_validation]:
        ax.semilogy(history.epoch_end, shown(values), ".-", color=color, label=label)
    judged = lines[has_validation]
    if len(judged[1]):
        best = int(np.nanargmin(judged[1]))
        ax.plot(
            history.epoch_end[best],
            judged[1][best],
            "o",
            markersize=9,
            color=judged[2],
            fillstyle="none",
            label=f"best: epoch {best + 1}, {judged[1][best]:.4g}",
        )
    ax.set_ylabel("loss")
    ax.grid(alpha=0.3)
    ax.legend(fontsize="small")


def _norms(source: Tape | Gradients, row: int | None) -> Norms:
    """Norms to draw, (L D, T) each."""
    if not isinstance(source, Tape | Gradients):
        raise TypeError(f"source is a {type(source).__name__}, but must be a Tape or what its backward gives")
    if source.norms is None:
        raise ValueError("the tape has no gradients yet: call its backward first")
    h, C = source.norms
    if row is not None and h.ndim == 2:
        raise IndexError(f"row is {row!r}, but the gradients are of a single sequence")
    if h.shape[-1] == 0:
        raise ValueError("the tape has no steps to draw")
    if h.ndim == 2:
        return source.norms
    if row is not None:
        return Norms(h[:, row], C[:, row])
    return Norms(np.sqrt(np.square(h).sum(axis=1)), np.sqrt(np.square(C).sum(axis=1)))
