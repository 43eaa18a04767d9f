"""Pictures of what an LSTM computes, with matplotlib (extra ``plot``).

Shapes: B batch, T time, I input, H hidden, O features of h, L layers, D directions.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from .core.checks import real_array
from .core.trace import Trace
from .tape import Gradients, Norms, Tape


class Panel(NamedTuple):
    """One heat map: its title, its values (T, units), and whether they are those of a gate."""

    title: str
    values: np.ndarray
    is_gate: bool


TITLES = {
    "f": "forget gate f",
    "i": "input gate i",
    "g": "candidate g",
    "o": "output gate o",
    "C": "cell state C",
    "h": "output h",
}
GATES = ("f", "i", "o")


def gates(trace: Trace, X: ArrayLike | None = None, *, layer: int = 0, row: int = 0, axes: Any = None) -> Any:
    """Draw input, gates, cell state and output as heat maps over time.

    Parameters
    ----------
    trace : Trace
        As `LSTM.trace` returns it.
    X : array_like, optional
        The input that was traced, (T, I) or (B, T, I), drawn on top.
    layer : int
        Which of the L D layers and directions.
    row : int
        Which row of a batch.
    axes : sequence of matplotlib.axes.Axes, optional
        Where to draw, one for each heat map: 6, or 7 with `X`. By default a new figure's.

    Returns
    -------
    numpy.ndarray
        The Axes, in the order drawn: the input where given, then f, i, g, o, C and h.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    TypeError, ValueError
        If the trace, a shape or the number of axes does not fit.
    IndexError
        If there is no such layer or row.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("Agg")
    >>> import numpy as np
    >>> import lstm.plot
    >>> X = np.random.default_rng(0).standard_normal((30, 2))
    >>> net = lstm.LSTM(2, 8, rng=0)
    >>> axes = lstm.plot.gates(net.trace(X), X)
    >>> len(axes)
    7
    """
    plt = _pyplot()
    panels = _panels(trace, X, layer, row)
    if axes is None:
        height = 0.6 + sum(_height(panel) for panel in panels)
        _, axes = plt.subplots(
            len(panels),
            1,
            sharex=True,
            figsize=(9, height),
            layout="constrained",
            gridspec_kw={"height_ratios": [_height(panel) for panel in panels]},
        )
    axes = np.asarray(axes, dtype=object).ravel()
    if len(axes) != len(panels):
        raise ValueError(f"axes has {len(axes)} Axes, but there are {len(panels)} heat maps to draw")
    for ax, panel in zip(axes, panels, strict=True):
        _draw(ax, panel)
    axes[-1].set_xlabel("time step")
    return axes


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
    plt = _pyplot()
    norms = _norms(source, row)
    if axes is None:
        _, axes = plt.subplots(2, 1, sharex=True, figsize=(9, 5), layout="constrained")
    axes = np.asarray(axes, dtype=object).ravel()
    if len(axes) != 2:
        raise ValueError(f"axes has {len(axes)} Axes, but there are 2 pictures to draw")
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
    plt = _pyplot()
    if axes is None:
        ratios = {"height_ratios": [3, 1]}
        _, axes = plt.subplots(2, 1, sharex=True, figsize=(9, 5), layout="constrained", gridspec_kw=ratios)
    axes = np.asarray(axes, dtype=object).ravel()
    if len(axes) != 2:
        raise ValueError(f"axes has {len(axes)} Axes, but there are 2 pictures to draw")
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


def _pyplot() -> Any:
    """matplotlib.pyplot."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError('lstm.plot needs matplotlib: pip install "lstm-native[plot]"') from error
    return plt


def _panels(trace: Trace, X: ArrayLike | None, layer: int, row: int) -> list[Panel]:
    """What is to be drawn, from top to bottom."""
    if not isinstance(trace, Trace):
        raise TypeError(f"trace is a {type(trace).__name__}, but must be what LSTM.trace returns")
    panels = []
    if X is not None:
        inputs = real_array("X", X)
        if inputs.ndim != trace.h.ndim - 1 or inputs.shape[:-1] != trace.h.shape[1:-1]:
            raise ValueError(
                f"X has shape {inputs.shape}, but the trace is of {trace.h.shape[1:-1]} (rows and) steps"
            )
        panels.append(Panel("input x", inputs if inputs.ndim == 2 else inputs[row], is_gate=False))
    for name, title in TITLES.items():
        values = getattr(trace, name)[layer]
        values = values if values.ndim == 2 else values[row]
        panels.append(Panel(title, values, is_gate=name in GATES))
    if panels[-1].values.shape[0] == 0:
        raise ValueError("the trace has no steps to draw")
    return panels


def _height(panel: Panel) -> float:
    """Inches: more for more units, within what one looks at."""
    return float(np.clip(0.09 * panel.values.shape[1], 0.8, 2.0))


def _draw(ax: Any, panel: Panel) -> None:
    """One heat map of values (T, units): units upward, time to the right, a colour bar beside it."""
    finite = panel.values[np.isfinite(panel.values)]
    bound = float(np.abs(finite).max(initial=0)) or 1.0
    # A gate is open or shut, unless its activation is unbounded; all else has a sign, with white for zero.
    scale: dict[str, Any] = {"cmap": "RdBu_r", "vmin": -bound, "vmax": bound}
    if panel.is_gate and bool(((finite >= 0) & (finite <= 1)).all()):
        scale = {"cmap": "viridis", "vmin": 0, "vmax": 1}
    image = ax.imshow(panel.values.T, aspect="auto", origin="lower", interpolation="nearest", **scale)
    image.set_cmap(image.get_cmap().with_extremes(bad="0.5"))  # NaN is grey, not the white of zero
    ax.set_title(panel.title, loc="left", fontsize="medium")
    ax.set_ylabel("feature" if panel.title == "input x" else "unit")
    ax.yaxis.get_major_locator().set_params(integer=True)
    ax.xaxis.get_major_locator().set_params(integer=True)
    # As wide for low heat maps as for high ones: the aspect is height by width.
    ax.figure.colorbar(image, ax=ax, pad=0.01, aspect=6 * _height(panel))
