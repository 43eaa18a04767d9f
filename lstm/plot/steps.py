"""The horizontal axis: where the steps are, and what is written below them."""

from __future__ import annotations

import math
from datetime import date
from typing import Any, NamedTuple

import numpy as np

INVISIBLE = {"\n": "↵", "\r": "↵", "\t": "→"}
LONGEST = 24  # characters of a label
CHARACTER = 0.62  # width of a character of DejaVu Sans Mono, of its size


class Steps(NamedTuple):
    """Places (T,) of the steps on the axis, the text of each one or None, the axis' name; whether dates."""

    places: np.ndarray
    texts: list[str] | None
    name: str
    are_dates: bool = False

    @property
    def edges(self) -> tuple[float, float]:
        """Where the first step begins and the last one ends."""
        step = (self.places[-1] - self.places[0]) / (len(self.places) - 1) if len(self.places) > 1 else 1.0
        return float(self.places[0] - step / 2), float(self.places[-1] + step / 2)

    def at(self, place: float) -> int:
        """Number of the step that is drawn at a place, from 0 to T - 1."""
        first, last = self.edges
        steps = len(self.places)
        return int(np.clip((place - first) / (last - first) * steps, 0, steps - 1))


def read_steps(labels: Any, steps: int) -> Steps:
    """The axis of `steps` steps by their labels: numbers or dates at even distances, texts, or None."""
    if labels is None:
        return Steps(np.arange(steps), None, "time step")
    if not hasattr(labels, "__iter__"):
        raise TypeError(f"labels is {labels!r}, but must be a text or a sequence with one for each step")
    found = list(labels)
    if len(found) != steps:
        raise ValueError(f"labels has {len(found)} labels, but the trace has {steps} steps")
    if all(isinstance(one, str) for one in found):
        return Steps(np.arange(steps), [short(visible(one)) for one in found], "")
    are_dates = all(isinstance(one, date | np.datetime64) for one in found)
    array = np.asarray(labels if hasattr(labels, "dtype") else found)
    if array.ndim != 1 or (array.dtype.kind not in "iuf" and not are_dates):
        raise TypeError(f"labels has {found[0]!r}, but must be texts, numbers or dates")
    places = date_numbers(array) if are_dates else array.astype(np.float64)
    if not is_even(places):
        texts = [str(one) if are_dates else f"{one:g}" for one in array]
        return Steps(np.arange(steps), texts, "time")
    return Steps(places, None, "time", are_dates)


def date_numbers(dates: np.ndarray) -> np.ndarray:
    """Days since 1970, as matplotlib counts them."""
    from matplotlib.dates import date2num

    return np.asarray(date2num(dates), dtype=np.float64)


def is_even(places: np.ndarray) -> bool:
    """Whether they increase by the same step, to within a twentieth of it, which nobody sees."""
    if len(places) < 2:
        return bool(np.isfinite(places).all())
    even = np.linspace(places[0], places[-1], len(places))
    step = even[1] - even[0]
    return bool(step > 0 and (np.abs(places - even) <= step / 20).all())


def visible(text: str) -> str:
    """What is written for a text: signs for line breaks and tabs, a dot for what cannot be printed."""
    return "".join(INVISIBLE.get(one, one if one.isprintable() else "·") for one in text)


def short(text: str) -> str:
    """At most so many characters of a text as find room below an axis."""
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def label_steps(ax: Any, steps: Steps) -> None:
    """Put ticks and labels on an axis, as many as can be read."""
    ax.set_xlim(*steps.edges)
    ax.tick_params(axis="x", length=2, labelsize="small")
    if steps.texts is not None:
        _write_texts(ax, steps.texts)
    elif steps.are_dates:
        from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

        locator = AutoDateLocator(maxticks=9)
        ax.xaxis.set_major_locator(locator)
        ax.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    elif steps.name == "time step":
        ax.xaxis.get_major_locator().set_params(integer=True)


def _write_texts(ax: Any, texts: list[str]) -> None:
    """A text below each step, upright if they are longer than a step is wide; of too many every nth."""
    size = label_size()
    step = ax.get_window_extent().width / ax.figure.dpi / len(texts)
    style = {"family": "monospace", "fontsize": size, "parse_math": False}
    every = 1
    if is_upright(texts, step):
        style |= {"rotation": 90}
    else:
        if longest(texts) + 0.2 * size / 72 > step:
            every = round_up((longest(texts) + 1.5 * size / 72) / step)
        style |= {"verticalalignment": "baseline"}  # else letters hang by their heights
        ax.tick_params(axis="x", pad=size + 2)
    ax.set_xticks(range(0, len(texts), every), texts[::every], **style)


def label_size() -> float:
    """Points of the texts below an axis."""
    from matplotlib.font_manager import FontProperties

    return float(FontProperties(size="small").get_size_in_points())


def longest(texts: list[str]) -> float:
    """Inches that the longest one takes."""
    return max(map(len, texts)) * CHARACTER * label_size() / 72


def is_upright(texts: list[str] | None, step: float) -> bool:
    """Whether texts find room at steps of so many inches if they stand, and none if they lie."""
    line = label_size() / 72
    return texts is not None and 1.2 * line <= step < longest(texts) + 0.2 * line


def room_below(steps: Steps, width: float) -> float:
    """Inches that upright texts take below an axis of so many inches."""
    texts = steps.texts
    return longest(texts) if texts and is_upright(texts, width / len(texts)) else 0.0


def round_up(number: float) -> int:
    """The smallest of 1, 2, 5, 10, 20, 50, ... that is not below a number."""
    power: int = 10 ** int(math.log10(max(number, 1)))
    return power * next(factor for factor in (1, 2, 5, 10) if power * factor >= number)
