"""The weights of each gate: how they are spread, as small drawings.

Shapes: I input, H hidden, O features of h.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ...core.trace import MEANINGS
from ...core.weights import GATES, PEEPHOLES, Weights
from .elements import Html, element, together

MOST_BINS = 40
WIDTH, HEIGHT = 200, 64  # of a drawing, in its own units
INNER = 0.999
"""The part of the weights that the scale is made for; the others are counted in the bars at its ends."""

W_X, W_H = (element("span", "W", element("sub", name)) for name in "xh")
"""Weights over the input and over the state."""

ENOUGH = 1_000_000
"""Weights of a matrix that the scale is made from, about."""


class Spread(NamedTuple):
    """How numbers are spread; those that are NaN or infinite are only counted."""

    mean: float
    deviation: float
    largest: float  # magnitude
    not_finite: int

    @classmethod
    def of(cls, array: np.ndarray) -> Spread:
        """Array (...) of at least one number."""
        finite = array[np.isfinite(array)].astype(np.float64)
        lost = array.size - finite.size
        if not finite.size:
            return cls(np.nan, np.nan, 0.0, lost)
        with np.errstate(over="ignore", invalid="ignore"):
            return cls(finite.mean(), finite.std(), np.abs(finite).max(), lost)


def gate_cards(weights: Weights, has_bias: bool) -> Html:
    """Four cards of one layer and direction, in the order of the gates, on one scale."""
    bound = _bound(weights)
    shares = [_shares(weights, gate, bound) for gate in range(len(GATES))]
    top = max(float(one.max()) for both in shares for one in both) or 1.0
    cards = (_card(weights, gate, both, bound, top, has_bias) for gate, both in enumerate(shares))
    return element("div", *cards, class_="gates")


def _bound(weights: Weights) -> float:
    """Half the width of the scale, for W_ih (4, H, I) and W_hh (4, H, O)."""
    # Some of the weights, if they are many, tell it well enough.
    parts = [one.reshape(-1)[:: max(1, one.size // ENOUGH)] for one in weights[:2]]
    both = np.abs(np.concatenate(parts), dtype=np.float64)
    finite = both[np.isfinite(both)]
    bound = float(np.quantile(finite, INNER)) if finite.size else 0.0
    return bound or float(finite.max(initial=0.0)) or 1.0


def _shares(weights: Weights, gate: int, bound: float) -> tuple[np.ndarray, np.ndarray]:
    """Of W_x and W_h of one gate the share of weights in each bin, (bins,) each."""
    # Few weights in many bins are a comb.
    count = min(weights.input[gate].size, weights.hidden[gate].size)
    edges = bound * np.linspace(-1, 1, min(MOST_BINS, max(8, 2 * round(count**0.5))) + 1)
    shares = []
    for matrix in (weights.input[gate], weights.hidden[gate]):
        counts, _ = np.histogram(
            np.clip(matrix[np.isfinite(matrix)].astype(np.float64), -bound, bound), edges
        )
        shares.append(counts / max(1, matrix.size))
    return shares[0], shares[1]


def _card(
    weights: Weights,
    gate: int,
    shares: tuple[np.ndarray, np.ndarray],
    bound: float,
    top: float,
    has_bias: bool,
) -> Html:
    letter = GATES[gate]
    name = MEANINGS[letter]
    of_x, of_h = Spread.of(weights.input[gate]), Spread.of(weights.hidden[gate])
    rows: list[tuple[str, str]] = [(W_X, f"σ {of_x.deviation:#.3g}"), (W_H, f"σ {of_h.deviation:#.3g}")]
    if has_bias:
        of_b = Spread.of(weights.bias[gate])
        rows.append(("b", f"{of_b.mean:.2g} ± {of_b.deviation:.2g}".replace("-", "−")))
    if weights.peephole is not None and letter in PEEPHOLES:
        of_p = Spread.of(weights.peephole[PEEPHOLES.index(letter)])
        rows.append(("peephole", f"σ {of_p.deviation:#.3g}"))
    rows.append(("largest", f"{max(of_x.largest, of_h.largest):#.3g}"))
    if lost := of_x.not_finite + of_h.not_finite:
        rows.append(("not finite", f"{lost:,}"))
    pairs = (element("div", element("dt", term), element("dd", value)) for term, value in rows)
    return element(
        "div",
        element("h4", element("b", letter), f" {name}"),
        _drawing(shares, top, f"histogram of the weights of the {name}"),
        element("p", element("span", f"−{bound:.2g}"), element("span", "0"), element("span", f"{bound:.2g}")),
        element("dl", *pairs),
        class_=f"card gate-{letter}",
    )


def _drawing(shares: tuple[np.ndarray, np.ndarray], top: float, label: str) -> Html:
    """Bars of W_x, and a line of W_h above them."""
    step = WIDTH / len(shares[0])
    heights_x, heights_h = (np.round(HEIGHT * one / top, 2) for one in shares)
    bars = "".join(
        f"M{k * step:g} {HEIGHT}v{-height:g}h{step - 0.6:g}V{HEIGHT}z"
        for k, height in enumerate(heights_x)
        if height
    )
    line = f"M0 {HEIGHT}" + "".join(f"V{HEIGHT - height:g}h{step:g}" for height in heights_h) + f"V{HEIGHT}"
    return element(
        "svg",
        together(
            [
                element("path", d=f"M{WIDTH / 2:g} 0V{HEIGHT}", class_="zero"),
                element("path", d=bars, class_="bars"),
                element("path", d=line, class_="line"),
            ]
        ),
        viewBox=f"0 -2 {WIDTH} {HEIGHT + 3}",
        preserveAspectRatio="none",
        role="img",
        aria_label=label,
    )
