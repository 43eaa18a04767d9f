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
    import_module("._kernel", __name__)
except ModuleNotFoundError as error:
    if error.name != f"{__name__}._kernel.kernel":
        raise
    raise ImportError(
        "lstm's compiled kernel has not been built: run `pip install .`, or `pip install -e .` to "
        "work on the source, in the folder that holds lstm's pyproject.toml"
    ) from error

from .config import show_config
from .files import load
from .formats import FormatError
from .gradient_check import check_gradients
from .model import LSTM
from .stream import Stream
from .tape import Gradients, Tape

__all__ = [
    "LSTM",
    "FormatError",
    "Gradients",
    "Stream",
    "Tape",
    "__version__",
    "check_gradients",
    "load",
    "show_config",
]
