"""Pictures of what an LSTM computes, with matplotlib (extra ``plot``)."""

from .curves import gradients, learning
from .heat_maps import gates
from .singles import unit
from .texts import text
from .values import time_constants

__all__ = ["gates", "gradients", "learning", "text", "time_constants", "unit"]
