"""What a person sees of training: a bar of tqdm, if that is installed, else a line an epoch; on stderr."""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Iterator
from typing import Any


class Display:
    """Nothing is shown, but for what has to be said."""

    def step(self, loss: float) -> None:
        """One step is done."""

    def epoch(self, number: int, epochs: int, loss: float, validation: float, seconds: float) -> None:
        """One epoch is done; `validation` is NaN if there is none."""

    def say(self, text: str) -> None:
        """Something that has to be said, shown or not."""
        _write(f"lstm.train: {text}")


class Lines(Display):
    """A line an epoch."""

    def epoch(self, number: int, epochs: int, loss: float, validation: float, seconds: float) -> None:
        """Write the line."""
        text = "" if math.isnan(validation) else f", validation {validation:.6g}"
        _write(f"epoch {number}/{epochs}: loss {loss:.6g}{text}, {seconds:.1f} s")


class Bar(Display):
    """A bar over all steps."""

    def __init__(self, bar: Any) -> None:
        self._bar = bar
        self._epoch = ""

    def step(self, loss: float) -> None:
        """Move the bar on, with the loss of the step."""
        self._bar.set_postfix_str(f"loss {loss:.4g}{self._epoch}", refresh=False)
        self._bar.update()

    def epoch(self, number: int, epochs: int, loss: float, validation: float, seconds: float) -> None:
        """Show the epoch's losses beside the bar."""
        mean = "" if math.isnan(validation) else f", validation {validation:.4g}"
        self._epoch = f"; epoch {number}/{epochs} {loss:.4g}{mean}"

    def say(self, text: str) -> None:
        """Write a line that the bar leaves alone."""
        self._bar.clear()
        super().say(text)


@contextlib.contextmanager
def shown(progress: bool, total: int, done: int) -> Iterator[Display]:
    """Yield what shows a run of `total` steps, of which `done` were done before."""
    if not progress:
        yield Display()
        return
    try:
        from tqdm.auto import tqdm
    except ImportError:
        yield Lines()
        return
    with tqdm(total=total, initial=done, unit=" steps", file=sys.stderr) as bar:
        yield Bar(bar)


def _write(line: str) -> None:
    """A line on stderr, where there is one."""
    if sys.stderr is not None:
        with contextlib.suppress(OSError):
            print(line, file=sys.stderr, flush=True)
