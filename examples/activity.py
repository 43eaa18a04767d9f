"""Tell what somebody is doing from the accelerometer of a phone, by a classifier of scikit-learn's kind.

    python examples/activity.py [picture.png] [--rows 400]

Recordings of different lengths, 2 to 8 seconds of three axes at 20 Hz, are one list of arrays: no padding, no
windows. They are made here, by formulas: every person has a pace, a strength and a way of wearing the phone,
and nobody whose recordings are learned from is among those who are judged. A cross-validation by persons then
compares the LSTM with a random forest on means and deviations, which loses the order of the steps.

It needs the extra ``sklearn``, for the picture ``plot``, and takes about 10 seconds.
"""

import argparse

import numpy as np
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import confusion_matrix
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from lstm.sklearn import LSTMClassifier

RATE, PERSONS = 20, 20
ACTIVITIES = ["sits", "walks", "runs", "climbs stairs", "goes down"]

parser = argparse.ArgumentParser()
parser.add_argument("picture", nargs="?")
parser.add_argument("--rows", type=int, default=400)
options = parser.parse_args()
rng = np.random.default_rng(0)


def recording(activity, pace, strength, turn):
    """(T, 3): acceleration in g of a phone that is turned by (3, 3)."""
    time = np.arange(rng.integers(2 * RATE, 8 * RATE)) / RATE
    steps, size = {
        "sits": (0.0, 0.0),
        "walks": (1.9, 0.3),
        "runs": (2.8, 1.0),
        "climbs stairs": (1.6, 0.3),
        "goes down": (2.0, 0.35),
    }[activity]
    phase = 2 * np.pi * (steps * pace * time + rng.uniform()) + 0.3 * np.cumsum(
        rng.normal(0, 0.15, len(time))
    )
    # Up, a step is pushed: a slow rise and a fast fall; down, it is an impact: fast up, slow down.
    skew = {"climbs stairs": -0.6, "goes down": 0.6}.get(activity, 0.0)
    up = np.sin(phase + skew * np.sin(phase))
    forward, sideways = 0.5 * np.sin(phase + 1), 0.4 * np.sin(phase / 2)
    body = size * strength * np.stack([sideways, forward, up], axis=1)
    return (body + np.array([0, 0, 1]) + rng.normal(0, 0.08, body.shape)) @ turn


def person():
    """What the recordings of one person have in common."""
    turn, _ = np.linalg.qr(np.eye(3) + rng.normal(0, 0.15, (3, 3)))
    return rng.uniform(0.85, 1.15), rng.uniform(0.7, 1.4), turn * np.sign(np.diag(turn))


persons = [person() for _ in range(PERSONS)]
who = np.arange(options.rows) % PERSONS
y = rng.choice(ACTIVITIES, options.rows)
X = [recording(activity, *persons[k]) for activity, k in zip(y, who, strict=True)]


def summaries(rows):
    """n arrays (T_i, 3) -> (n, 12): of every axis mean, deviation, extremes."""
    return np.array(
        [np.concatenate([f(row, axis=0) for f in (np.mean, np.std, np.min, np.max)]) for row in rows]
    )


folds = list(GroupKFold(4).split(X, y, groups=who))
model = LSTMClassifier(hidden_size=24, learning_rate_init=0.01, tol=0.003, random_state=0)
forest = make_pipeline(FunctionTransformer(summaries), RandomForestClassifier(random_state=0))
predicted = cross_val_predict(model, X, y, cv=folds)
accuracy = (predicted == y).mean()
print(f"{len(X)} recordings of {PERSONS} persons, {min(map(len, X))} to {max(map(len, X))} steps")
print(f"accuracy over persons never seen: LSTM {accuracy:.3f}", end=", ")
print(f"random forest on summaries {(cross_val_predict(forest, X, y, cv=folds) == y).mean():.3f}")

if options.picture:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    learned, judged = folds[0]
    model.fit([X[k] for k in learned], y[learned])
    figure = plt.figure(figsize=(9, 6), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=[1.25, 1])
    axes = left.subplots(6, 1, sharex=True, gridspec_kw={"height_ratios": [1, 1.2] * 3})
    for k, activity in enumerate(["walks", "climbs stairs", "runs"]):
        row = X[next(number for number in judged if y[number] == activity and len(X[number]) > 4 * RATE)]
        axes[2 * k].plot(np.arange(len(row)) / RATE, row, linewidth=0.8)
        axes[2 * k].set_ylabel("g")
        axes[2 * k].set_title(
            f"somebody {activity}; below, what the net holds likely so far", loc="left", fontsize=9
        )
        logits = model.head_.forward(model.net_.stream().run(row))  # step by step, as it would arrive
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        shares = (powers / powers.sum(axis=1, keepdims=True)).T
        axes[2 * k + 1].stackplot(np.arange(len(row)) / RATE, shares, labels=model.classes_)
        axes[2 * k + 1].set(ylim=(0, 1), xlim=(0, 8))
    axes[-1].set_xlabel("seconds")
    axes[-1].legend(fontsize=7, loc="upper right")
    table = confusion_matrix(y, predicted, labels=ACTIVITIES)
    ax = right.subplots()
    ax.imshow(table, cmap="Blues")
    for (row, column), count in np.ndenumerate(table):
        ax.text(
            column,
            row,
            count,
            ha="center",
            va="center",
            color="white" if count > table.max() / 2 else "black",
        )
    ax.set_xticks(range(5), ACTIVITIES, rotation=45, ha="right")
    ax.set_yticks(range(5), ACTIVITIES)
    ax.set(xlabel="predicted", ylabel="done")
    ax.set_title(f"persons never seen: {accuracy:.0%} right", fontsize="medium")
    figure.savefig(options.picture, dpi=80)
