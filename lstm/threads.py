"""How many threads a call uses: what was set, the environment, or the CPUs of this process."""

from __future__ import annotations

import contextlib
import operator
import os
from collections.abc import Iterator, Mapping

from . import _kernel
from .cpus import usable_cpus

MOST_THREADS = _kernel.MOST_THREADS
VARIABLE = "LSTM_NUM_THREADS"


def set_num_threads(n: int | None) -> None:
    """Set how many threads a call of this process may use.

    The results do not depend on it, bit for bit. Work is split if it is large enough: over the rows of
    a batch, directions and layers. Small calls run on the calling thread alone, and so does a call that
    comes while another one has the threads.

    Parameters
    ----------
    n : int or None
        The calling thread included: 1 to 256, also more than there are CPUs. None is what applies
        without this function: the environment variable ``LSTM_NUM_THREADS``; else ``OMP_NUM_THREADS``,
        or fewer if this process may use fewer CPUs; else one for every CPU that this process may use
        by its affinity and the quotas of its control groups.

    Raises
    ------
    TypeError
        If `n` is no integer.
    ValueError
        If it is out of range.

    Examples
    --------
    >>> import lstm
    >>> lstm.set_num_threads(2)
    >>> lstm.get_num_threads()
    2
    >>> lstm.set_num_threads(None)

    """
    if n is None:
        _kernel.choose_threads(*default_threads(os.environ))
        return
    try:
        count = operator.index(n)
    except TypeError:
        raise TypeError(f"n is {n!r}, but must be an integer or None") from None
    if isinstance(n, bool) or not 1 <= count <= MOST_THREADS:
        raise ValueError(f"n is {n!r}, but must be from 1 to {MOST_THREADS}")
    _kernel.choose_threads(count, True)


def get_num_threads() -> int:
    """How many threads a call of this process may use, the calling one included.

    Returns
    -------
    int
        What `set_num_threads` or threadpoolctl has set, or what applies without them.

    Examples
    --------
    >>> import lstm
    >>> lstm.get_num_threads() >= 1
    True

    """
    return _kernel.threads()


@contextlib.contextmanager
def using_threads(n: int) -> Iterator[None]:
    """So many threads in this block, of all of the process, and after it what was set before."""
    found = _kernel.choose_threads(n, True)
    try:
        yield
    finally:
        _kernel.choose_threads(*found)


def default_threads(environment: Mapping[str, str]) -> tuple[int, bool]:
    """The number of threads by these variables, and whether it is a wish that concerns this package.

    Raises
    ------
    ValueError
        If ``LSTM_NUM_THREADS`` is no number of threads. ``OMP_NUM_THREADS`` belongs to others: what
        cannot be understood counts as not set.

    """
    wish = environment.get(VARIABLE, "")
    if wish:
        count = number_of(wish)
        if not 1 <= count <= MOST_THREADS:
            raise ValueError(
                f"the environment variable {VARIABLE} is {wish!r}, "
                f"but must be an integer from 1 to {MOST_THREADS}"
            )
        return count, True
    # A list has the numbers of nested levels.
    given = number_of(environment.get("OMP_NUM_THREADS", "").partition(",")[0].strip())
    count = min(usable_cpus(), MOST_THREADS)
    return min(count, given) if given > 0 else count, False


def number_of(text: str) -> int:
    """What the text says in decimal digits, below a billion; 0 if it is something else."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else 0
