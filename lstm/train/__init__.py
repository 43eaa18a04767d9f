"""Training with NumPy alone: losses, optimizers, a linear head each to be used by itself.

>>> import numpy as np
>>> from lstm import LSTM
>>> from lstm.train import Adam, LinearHead, Parameters, Squared, mean_loss
>>> X = np.random.default_rng(0).standard_normal((64, 10, 1))
>>> net = LSTM(1, 8, rng=0)
>>> head, loss, optimizer = LinearHead(net, rng=0), Squared(), Adam(0.02)
>>> parameters = Parameters(net, head)
>>> moments = optimizer.start(parameters.values)
>>> for step in range(60):
...     tape = net.record(X)
...     parameters.gradient[...] = 0
...     features = head.features(tape.Y, tape.h_n)
...     value, derivative = mean_loss(loss, head.forward(features), X.mean(axis=1))
...     back = head.backward(
...         features, derivative, parameters.head_weight_gradient, parameters.head_bias_gradient
...     )
...     g = tape.backward(**head.starts(tape, back), inputs=False, add_to=parameters.net_gradients)
...     optimizer.update(parameters.values, parameters.gradient, moments, step)
...     parameters.store()
>>> value < 0.01
True
"""

from .data import step_weights
from .heads import LinearHead
from .losses import CrossEntropy, Huber, Loss, Quantile, Squared, mean_loss
from .optimizers import SGD, Adam, Optimizer, clip_norm
from .parameters import Parameters

__all__ = [
    "SGD",
    "Adam",
    "CrossEntropy",
    "Huber",
    "LinearHead",
    "Loss",
    "Optimizer",
    "Parameters",
    "Quantile",
    "Squared",
    "clip_norm",
    "mean_loss",
    "step_weights",
]
