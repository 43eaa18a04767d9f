"""Series: windows to learn from, and forecasts that go on from what was predicted.

Shapes: S steps of the series, I its features, L steps of a window's input, F steps of its horizon, P outputs
of the head.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike

from ..core.checks import cast, positive_size, real_array
from ..model import LSTM
from .heads import LinearHead


class Windows(NamedTuple):
    """Views of a series: read-only, no copies."""

    X: np.ndarray  # (S - L - F + 1, L, I)
    y: np.ndarray  # (S - L - F + 1, F I): step after step


def windows(series: ArrayLike, input_length: int, horizon: int = 1) -> Windows:
    """Cut a series into all its windows: some steps, and those that follow them.

    Parameters
    ----------
    series : array_like
        (S,) or (S, I).
    input_length : int
        Steps of a window's input, L.
    horizon : int
        Steps after it, F, which are to be predicted.

    Returns
    -------
    X : numpy.ndarray
        (S - L - F + 1, L, I).
    y : numpy.ndarray
        (S - L - F + 1, F I), step after step. Both are read-only views of the series: no window is copied
        before a batch has it.

    Raises
    ------
    TypeError, ValueError
        If the series is not real, has another shape, or is shorter than a window and its horizon.

    Examples
    --------
    >>> import numpy as np
    >>> from lstm.train import windows
    >>> X, y = windows(np.arange(6.0), input_length=3, horizon=2)
    >>> X[..., 0].tolist(), y.tolist()
    ([[0.0, 1.0, 2.0], [1.0, 2.0, 3.0]], [[3.0, 4.0], [4.0, 5.0]])
    """
    array = _steps(series)
    length, horizon = positive_size("input_length", input_length), positive_size("horizon", horizon)
    if len(array) < length + horizon:
        raise ValueError(
            f"series has {len(array)} steps, but a window takes {length + horizon}: "
            f"input_length={length} and horizon={horizon}"
        )
    X = np.moveaxis(sliding_window_view(array[: len(array) - horizon], length, axis=0), -1, 1)
    y = np.moveaxis(sliding_window_view(array[length:], horizon, axis=0), -1, 1)
    flat = y.reshape(len(y), horizon * array.shape[1])
    flat.flags.writeable = False
    return Windows(X, flat)


def _steps(series: ArrayLike) -> np.ndarray:
    """(S,) or (S, I) as a contiguous (S, I), itself if it is."""
    array = real_array("series", series)
    if array.ndim == 1:
        array = array[:, np.newaxis]
    if array.ndim != 2 or array.shape[1] == 0:
        raise ValueError(f"series has shape {array.shape}, but must be (steps,) or (steps, features)")
    return np.ascontiguousarray(array)


def forecast(model: Any, series: ArrayLike, steps: int) -> np.ndarray:
    """Go on with a series: what was predicted is what comes next.

    Parameters
    ----------
    model : tuple of LSTM and LinearHead, or LSTMRegressor
        A net that runs forward, and its head: `Trainer.best`, what `load` gives, or a fitted estimator of
        `lstm.sklearn`. The net takes the features of the series. The head gives its next steps, one or
        several, P = F I, as `windows` has them; of a head at every step, the prediction at the last one
        counts.
    series : array_like
        (S,) or (S, I), what is known. The stream starts at its first step: give as much of it as the windows
        had that were learned from.
    steps : int
        How many steps to give.

    Returns
    -------
    numpy.ndarray
        (steps,) or (steps, I), as the series, of the net's dtype.

    Raises
    ------
    TypeError, ValueError
        If the net is bidirectional or reversed, the sizes of net, head and series do not go together, or
        the series is empty or not finite.

    Examples
    --------
    >>> import numpy as np
    >>> from lstm import LSTM
    >>> from lstm.train import LinearHead, forecast
    >>> net = LSTM(1, 8, rng=0)
    >>> forecast((net, LinearHead(net, 2, rng=0)), np.sin(np.arange(20.0)), steps=5).shape
    (5,)
    """
    net, head = _net_and_head(model)
    head.check(net)
    given, array = real_array("series", series), _steps(series)
    steps = positive_size("steps", steps)
    features = array.shape[1]
    if features != net.input_size:
        raise ValueError(f"series has {features} features, but the net takes input_size={net.input_size}")
    if head.outputs % features:
        raise ValueError(
            f"the head gives {head.outputs} outputs, but steps of the series have {features}: "
            "it must give whole steps"
        )
    if len(array) == 0 or not np.isfinite(array).all():
        raise ValueError(f"series has {len(array)} steps, but there must be one, and all must be finite")
    stream = net.stream()
    h = stream.run(cast(array, net.dtype))[-1]
    each = head.outputs // features
    result = np.empty((-(-steps // each) * each, features), net.dtype)
    for start in range(0, len(result), each):
        result[start : start + each] = head.forward(h[np.newaxis]).reshape(each, features)
        if start + each < steps:
            h = stream.run(result[start : start + each])[-1]
    result = result[:steps]
    return result[:, 0].copy() if given.ndim == 1 else result


def _net_and_head(model: Any) -> tuple[LSTM, LinearHead]:
    """Of a pair of both, or of a fitted estimator that predicts numbers."""
    pair = (getattr(model, "net_", None), getattr(model, "head_", None))
    if hasattr(model, "classes_"):
        raise TypeError(f"model is a {type(model).__name__}, but must predict the next steps, not classes")
    if isinstance(model, tuple | list) and len(model) == 2:
        pair = model[0], model[1]
    if not (isinstance(pair[0], LSTM) and isinstance(pair[1], LinearHead)):
        raise TypeError(
            f"model is a {type(model).__name__}, but must be a tuple of LSTM and LinearHead, such as "
            "trainer.best, or a fitted LSTMRegressor"
        )
    return pair[0], pair[1]
