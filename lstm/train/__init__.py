"""Training with NumPy alone: losses, optimizers, a linear head and a trainer, together or each by itself.

>>> import numpy as np
>>> from lstm import LSTM
>>> from lstm.train import Adam, LinearHead, Squared, Trainer
>>> X = np.random.default_rng(0).standard_normal((64, 10, 1))
>>> net = LSTM(1, 8, rng=0)
>>> trainer = Trainer(net, LinearHead(net, rng=0), Squared(), Adam(0.02), rng=0)
>>> trainer = trainer.fit(X, X.mean(axis=1), epochs=30, progress=False)
>>> first, last = trainer.history.epoch_loss[[0, -1]]
>>> bool(last < 0.1 * first)
True
"""

from .data import step_weights
from .forecasting import Windows, forecast, windows
from .heads import LinearHead
from .losses import CrossEntropy, Huber, Loss, Quantile, Squared, mean_loss
from .models import load, save
from .optimizers import SGD, Adam, Optimizer, clip_norm
from .parameters import Parameters
from .records import DivergedError, History
from .trainer import Trainer

__all__ = [
    "SGD",
    "Adam",
    "CrossEntropy",
    "DivergedError",
    "History",
    "Huber",
    "LinearHead",
    "Loss",
    "Optimizer",
    "Parameters",
    "Quantile",
    "Squared",
    "Trainer",
    "Windows",
    "clip_norm",
    "forecast",
    "load",
    "mean_loss",
    "save",
    "step_weights",
    "windows",
]
