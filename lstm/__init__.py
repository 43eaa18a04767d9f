"""The LSTM on CPUs: NumPy arrays in, NumPy arrays out, the same bits on every path.

>>> import numpy as np
>>> from lstm import LSTM
>>> net = LSTM(3, 5, rng=0)
>>> net.forward_sequence(np.zeros((10, 3))).shape
(10, 5)
"""

from importlib import import_module

from ._version import __version__

try:
    import_module(".startup", __name__).let_signals_end_command()
    import_module("._kernel", __name__)
    import_module(".threads", __name__).set_num_threads(None)
except (ModuleNotFoundError, ValueError) as error:
    import_module(".kernel_failure", __name__).explain(error)
    raise

from .config import release_memory, show_config
from .files import load, tensors
from .formats import FormatError, FormatWarning
from .gradient_check import check_gradients
from .model import LSTM
from .stream import Stream
from .tape import Gradients, Tape
from .threadpools import announce
from .threads import get_num_threads, set_num_threads

announce()
import_module(".startup", __name__).let_signals_raise_in_scripts()

__all__ = [
    "LSTM",
    "FormatError",
    "FormatWarning",
    "Gradients",
    "Stream",
    "Tape",
    "__version__",
    "check_gradients",
    "get_num_threads",
    "load",
    "release_memory",
    "set_num_threads",
    "show_config",
    "tensors",
]


def __dir__() -> list[str]:
    """The public names alone."""
    return sorted(__all__)
