"""Pictures of what an LSTM computes, with matplotlib (extra ``plot``)."""

from .curves import gradients, learning
from .heat_maps import gates

__all__ = ["gates", "gradients", "learning"]
