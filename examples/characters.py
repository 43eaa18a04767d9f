"""Learn to write like Shakespeare, one character at a time, with NumPy alone.

    python examples/characters.py [picture.png] [--epochs 40]

An LSTM reads sonnets of Shakespeare (1609, in the public domain: sonnets.txt) and gives, after every
character, the probability of each that may be next. It is measured in bits a character over sonnets that it
has never seen, against models that count what followed the last few characters. Then it writes a few lines.
The last panel of its picture is a sonnet in the colours of one unit.
Its words are often no words: 17 sonnets, 10,000 characters, are little to learn from. It takes about 15
seconds on one core; the picture needs the extra ``plot``.
"""

import argparse
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np

from lstm import LSTM
from lstm.train import Adam, CrossEntropy, LinearHead, Trainer

CHUNK, STRIDE = 64, 16  # characters of a row, and from the start of one row to that of the next

parser = argparse.ArgumentParser()
parser.add_argument("picture", nargs="?")
parser.add_argument("--epochs", type=int, default=40)
options = parser.parse_args()

text = (Path(__file__).parent / "sonnets.txt").read_text("utf-8").lower()
sonnets = ["\n" + sonnet.strip() + "\n" for sonnet in text.split("\n\n")]
alphabet = sorted(set(text))
number_of = {character: number for number, character in enumerate(alphabet)}
learned, judged, tested = "".join(sonnets[:-4]), sonnets[-4:-2], sonnets[-2:]


def one_hot(characters):
    """(..., T) of numbers -> (..., T, V)."""
    return np.eye(len(alphabet), dtype=np.float32)[characters]


def numbers(string):
    """(T,) of the numbers of characters."""
    return np.array([number_of[character] for character in string])


def padded(rows):
    """Strings as X (rows, T, V), y (rows, T), what comes next, and their lengths."""
    lengths = np.array([len(row) - 1 for row in rows])
    y = np.zeros((len(rows), lengths.max()), int)
    X = np.zeros((*y.shape, len(alphabet)), np.float32)
    for k, row in enumerate(rows):
        X[k, : lengths[k]], y[k, : lengths[k]] = one_hot(numbers(row[:-1])), numbers(row[1:])
    return X, y, lengths


def counted_bits(string, order):
    """Bits a character by what followed up to `order` characters before it, mixed as Witten and Bell do."""
    followers = defaultdict(Counter)
    for k in range(len(learned)):
        for n in range(min(order, k) + 1):
            followers[learned[k - n : k]][learned[k]] += 1
    total = 0.0
    for k in range(1, len(string)):
        p = 1 / len(alphabet)
        for n in range(min(order, k) + 1):
            counts = followers.get(string[k - n : k])
            if counts:
                p = (counts[string[k]] + len(counts) * p) / (counts.total() + len(counts))
        total -= np.log2(p)
    return total / (len(string) - 1)


net = LSTM(len(alphabet), 128, dtype=np.float32, rng=0)
head = LinearHead(net, len(alphabet), every_step=True, rng=1)
dropout = {"input_dropout": 0.1, "recurrent_dropout": 0.3}
trainer = Trainer(net, head, CrossEntropy(), Adam(0.004), clip_norm=1.0, **dropout, rng=2)
rows = [learned[k : k + CHUNK + 1] for k in range(0, len(learned) - CHUNK, STRIDE)]
X, y, lengths = padded(judged)
trainer.fit(*padded(rows)[:2], epochs=options.epochs, validation=(X, y, lengths))
net, head = trainer.best


def softmax(logits):
    """(..., V) -> (..., V)."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def bits(string):
    """(T - 1,): how much each character but the first one surprises the net."""
    probabilities = softmax(head.predict(net, one_hot(numbers(string[:-1]))))
    return -np.log2(np.take_along_axis(probabilities, numbers(string[1:])[:, np.newaxis], axis=1)[:, 0])


surprise = [bits(sonnet) for sonnet in tested]
of_net = np.concatenate(surprise).mean()
counted = [np.mean([counted_bits(sonnet, order) for sonnet in tested]) for order in range(5)]
print(f"bits a character over {len(tested)} sonnets never seen:")
for order, value in enumerate(counted):
    print(f"  counted after {order} characters  {value:.3f}")
print(f"  LSTM                      {of_net:.3f}")

stream, rng = net.stream(), np.random.default_rng(0)
written = "\n"
while len(written) < 400 or written[-1] != "\n":
    logits = head.forward(stream.step(one_hot(number_of[written[-1]]))[np.newaxis])[0]
    written += alphabet[rng.choice(len(alphabet), p=softmax(logits / 0.6))]  # below 1: bolder than it is sure
    if len(written) > 1000:
        break
print(f"it writes:\n{written}")

if options.picture:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    import lstm.plot

    history = trainer.history
    figure = plt.figure(figsize=(9, 9.2), layout="constrained")
    curve, line, page = figure.subplots(3, 1, height_ratios=[3, 2, 3.4])
    curve.plot(history.epoch_end, history.epoch_loss / np.log(2), label="LSTM, learning (with dropout)")
    curve.plot(history.epoch_end, history.validation_loss / np.log(2), label="LSTM, sonnets to judge by")
    for order, value in enumerate(counted[:3]):
        curve.axhline(value, color="0.6", linestyle=":")
        curve.text(history.epoch_end[-1], value, f"after {order}", va="bottom", ha="right", color="0.4")
    curve.axhline(of_net, color="C1", linestyle="--", label=f"best net, sonnets never seen: {of_net:.2f}")
    curve.set(xlabel="training step", ylabel="bits a character", ylim=(1.5, 4.6))
    curve.set_title(
        "dotted: models that count what followed 0 to 2 characters, over the sonnets never seen",
        loc="left",
        fontsize="medium",
    )
    curve.legend(fontsize="small")
    shown = tested[0][1:].index("\n", 60)  # two lines
    line.bar(range(shown), surprise[0][:shown], color="C1")
    letters = [character.replace("\n", "↵") for character in tested[0][1 : shown + 1]]
    line.set_xticks(range(shown), letters, family="monospace")
    line.tick_params(axis="x", length=0)
    line.set(ylabel="bits", xlim=(-1, shown))
    line.set_title(
        "how much each character of two unseen lines surprises the net", loc="left", fontsize="medium"
    )
    sonnet = tested[0][1:]
    trace = net.trace(one_hot(numbers(sonnet)))
    blanks = np.array([character in " \n" for character in sonnet])
    steps = np.arange(len(sonnet))
    in_word = steps - np.maximum.accumulate(np.where(blanks, steps, -1))  # 0 at a blank, then 1, 2, 3
    follows = np.array([np.corrcoef(C, in_word)[0, 1] for C in trace.C[0].T])
    unit = int(np.argmax(np.abs(follows)))
    lstm.plot.text(trace, unit, sonnet, axes=page)
    title = f"cell state of unit {unit}, which follows the place within a word best: r {follows[unit]:.2f}"
    page.set_title(title, loc="left", fontsize="medium")
    figure.savefig(options.picture, dpi=80)
