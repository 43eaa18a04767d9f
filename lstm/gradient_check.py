"""Gradients against finite differences, for users.

Shapes: B batch, T time, I input, H hidden, O features of h, L layers, D directions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .core import states
from .core.checks import finite_number, generator, positive_size
from .core.net import Net
from .core.precision import check_gradients_exist
from .model import LSTM

STEP = 1e-5
"""Half the distance of the two points of a central difference."""


def check_gradients(
    net: LSTM,
    X: ArrayLike,
    h0: ArrayLike | None = None,
    C0: ArrayLike | None = None,
    *,
    lengths: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    samples: int = 20,
    tolerance: float = 1e-6,
    rng: Any = 0,
) -> dict[str, float]:
    """Compare the gradients of a net with central differences, in float64.

    The loss is a random linear function of Y, h_n and C_n.

    Parameters
    ----------
    net : LSTM
        Any net; one of float32 is checked as one of float64 with its weights, on the same backend.
    X, h0, C0, lengths, mask : array_like
        As for `LSTM.record`.
    samples : int
        How many elements of every array are checked, at random; each takes two runs of the net.
    tolerance : float
        Largest difference allowed, relative to the largest gradient of the array where that is above 1.
    rng : None, int, sequence of int, or numpy.random.Generator
        Seed or source of the loss and of the elements (SPEC 7).

    Returns
    -------
    dict of str to float
        The largest difference of each array: the weights, by the names of `LSTM.state_dict`, X, h0 and C0.

    Raises
    ------
    AssertionError
        If a gradient is off by more: the message names the array, the element and both values. Next to a
        kink, such as Relu at 0 or a bound, differences are not the derivative, whatever computes it.
    TypeError, ValueError
        If an argument is not as above.

    Examples
    --------
    >>> import lstm
    >>> net = lstm.LSTM(3, 5, rng=0)
    >>> differences = lstm.check_gradients(net, np.ones((2, 6, 3)))
    >>> max(differences.values()) < 1e-6
    True
    """
    if not isinstance(net, LSTM):
        raise TypeError(f"net is a {type(net).__name__}, but must be an LSTM")
    count = positive_size("samples", samples)
    allowed = finite_number("tolerance", tolerance)
    source = generator(rng)
    check_gradients_exist(net.precision, net.dtype)
    core = Net(net.core.parts()._replace(dtype=np.dtype(np.float64)), net.backend)
    exact = LSTM.from_core(core)
    array, batch, _ = states.sequence_input(X, net.input_size)
    given = states.initial_states(core.architecture, core.dtype, ("h0", "C0"), (h0, C0), batch)
    h, C = given.returned()
    arrays = {"X": (array[0] if batch is None else array).astype(np.float64), "h0": h, "C0": C}
    arrays = {**exact.state_dict(), **arrays}
    tape = exact.record(arrays["X"], h, C, lengths=lengths, mask=mask)
    derivatives = [source.standard_normal(values.shape) for values in (tape.Y, tape.h_n, tape.C_n)]
    g = tape.backward(*derivatives)

    def loss() -> float:
        exact.load_state_dict({name: arrays[name] for name in g})
        Y, last = exact.forward_sequence(
            arrays["X"], arrays["h0"], arrays["C0"], lengths=lengths, mask=mask, return_state=True
        )
        return float(sum(np.vdot(d, values) for d, values in zip(derivatives, (Y, *last), strict=True)))

    if not np.isfinite(loss()):
        raise ValueError(
            "the outputs of the net are not finite, so that no difference of them is a derivative"
        )
    found = {**g, "X": g.X, "h0": g.h0, "C0": g.C0}
    return {
        name: _largest_difference(name, values, found[name], loss, count, allowed, source)
        for name, values in arrays.items()
    }


def _largest_difference(
    name: str,
    values: np.ndarray,
    gradient: np.ndarray | None,
    loss: Callable[[], float],
    count: int,
    tolerance: float,
    rng: np.random.Generator,
) -> float:
    """Values (...), which `loss` reads, and their gradient (...): largest difference of some elements."""
    assert gradient is not None
    scale = max(1.0, float(np.abs(gradient).max(initial=0)))
    largest = 0.0
    for index in rng.choice(values.size, min(count, values.size), replace=False) if values.size else []:
        place = np.unravel_index(index, values.shape)
        kept, sides = values[place], []
        for step in (STEP, -STEP):
            values[place] = kept + step
            sides.append(loss())
        values[place] = kept
        numeric = (sides[0] - sides[1]) / (2 * STEP)
        difference = float(abs(numeric - gradient[place])) / scale
        if not difference <= tolerance:
            element = f"{name}[{', '.join(map(str, place))}]"
            raise AssertionError(
                f"the gradient of {element} is {gradient[place]:.9g}, "
                f"but a central difference gives {numeric:.9g}"
            )
        largest = max(largest, difference)
    return largest
