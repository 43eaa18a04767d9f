"""Random nets of every variant, and an oracle that computes them step by step from their state dicts.

Shapes: B batch, T time, I input, H hidden, O features of h, L layers, D directions.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from support import MIXTURE_TOLERANCE, assert_close, on_isa

from lstm import LSTM, _kernel

# Name, and whether it takes alpha and beta, of the functions of the ONNX operator.
FUNCTIONS = {
    "Sigmoid": (False, False),
    "Tanh": (False, False),
    "Relu": (False, False),
    "Affine": (True, True),
    "LeakyRelu": (True, False),
    "ThresholdedRelu": (True, False),
    "ScaledTanh": (True, True),
    "HardSigmoid": (True, True),
    "Elu": (True, False),
    "Softsign": (False, False),
    "Softplus": (False, False),
}
OPTIONS = ("merge", "reverse", "clip", "cell_clip", "proj_clip", "input_forget", "activations")
MERGES = ("concat", "sum", "mean", "mul")

# One option at a time, and then together: arguments of a net beyond its sizes.
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "three layers": {"num_layers": 3},
    "bidirectional": {"bidirectional": True},
    "reverse": {"reverse": True},
    "projection": {"proj_size": 7},
    "wide projection": {"proj_size": 70, "hidden_size": 130},
    "no bias": {"bias": False},
    "peephole": {"peephole": True},
    "clip": {"clip": 0.3},
    "coupled": {"input_forget": True},
    "activations": {"activations": ["HardSigmoid", ("ScaledTanh", 0.9, 0.7), "Softsign"]},
    "more activations": {"activations": [("Affine", 0.3, 0.4), ("Elu", 0.7), "Softplus"]},
    "rectified": {"activations": ["Sigmoid", ("LeakyRelu", 0.1), ("ThresholdedRelu", 0.2)]},
    "one-direction mixture": {
        "num_layers": 2,
        "proj_size": 9,
        "peephole": True,
        "clip": 0.1,
        "input_forget": True,
        "activations": ["HardSigmoid", "Tanh", "Relu"],
    },
    "two-direction mixture": {
        "num_layers": 2,
        "bidirectional": True,
        "proj_size": 5,
        "peephole": True,
        "clip": 0.1,
        "activations": ["Sigmoid", "Softsign", "Tanh", "HardSigmoid", "Tanh", "Elu"],
    },
    "reversed mixture": {"num_layers": 2, "reverse": True, "peephole": True, "proj_size": 4},
    "other gates": {"activations": ["HardSigmoid", "Tanh", "Tanh"]},
    "other candidate": {"activations": ["Sigmoid", "Softsign", "Tanh"]},
    "other cell output": {"activations": ["Sigmoid", "Tanh", "Softsign"]},
    "clipped cell": {"cell_clip": 0.4},
    "clipped projection": {"proj_size": 7, "proj_clip": 0.05},
    "sum of directions": {"bidirectional": True, "merge": "sum", "num_layers": 2},
    "mean of directions": {"bidirectional": True, "merge": "mean", "num_layers": 2},
    "product of directions": {"bidirectional": True, "merge": "mul", "num_layers": 2},
    "clipped mixture": {
        "bidirectional": True,
        "merge": "sum",
        "num_layers": 2,
        "proj_size": 5,
        "peephole": True,
        "clip": 0.2,
        "cell_clip": 0.5,
        "proj_clip": 0.1,
        "activations": ["HardSigmoid", "Softsign", "Tanh"],
    },
}


class Mixture(NamedTuple):
    """A net's arguments, and a call of it."""

    arguments: dict[str, Any]
    dtype: Any
    X: np.ndarray  # (B, T, I)
    h0: np.ndarray  # (L D, B, O)
    C0: np.ndarray  # (L D, B, H)
    lengths: np.ndarray | None  # (B,)
    state: dict[str, np.ndarray]
    mask: np.ndarray | None = None  # (B, T) of bool

    def net(self, **others: Any) -> LSTM:
        """The net on some backend."""
        options = {name: self.arguments[name] for name in OPTIONS if name in self.arguments}
        return LSTM.from_state_dict(self.state, **options, **others)

    def outputs(self, net: LSTM) -> dict[str, np.ndarray]:
        """Y, h_n and C_n of the call."""
        Y, (h_n, C_n) = net.forward_sequence(
            self.X, self.h0, self.C0, lengths=self.lengths, mask=self.mask, return_state=True
        )
        return {"Y": Y, "h_n": h_n, "C_n": C_n}


def make(name: str, dtype: Any, batch: int, time: int = 6) -> tuple[LSTM, Mixture]:
    """A net of one of VARIANTS, and a call of it with lengths from 0 to T."""
    rng = np.random.default_rng(list(VARIANTS).index(name))
    arguments = {"input_size": 5, "hidden_size": 35, **VARIANTS[name]}
    net = LSTM(**arguments, dtype=dtype, init="pytorch", rng=rng)
    cells = len(net.layers)
    mixture = Mixture(
        arguments,
        dtype,
        rng.standard_normal((batch, time, 5)).astype(dtype),
        rng.uniform(-1, 1, (cells, batch, net.proj_size or net.hidden_size)).astype(dtype),
        rng.standard_normal((cells, batch, net.hidden_size)).astype(dtype),
        rng.permutation(np.arange(batch) % (time + 1)),
        net.state_dict(),
    )
    return net, mixture


def draw_activations(rng: np.random.Generator, count: int) -> list[Any]:
    """Names in random case, with parameters where there are some."""
    drawn: list[Any] = []
    for name in rng.choice(list(FUNCTIONS), count):
        takes_alpha, takes_beta = FUNCTIONS[str(name)]
        spelled = [str(name), str(name).lower(), str(name).upper()][rng.integers(3)]
        parameters = [float(rng.uniform(0.2, 1.2))] * takes_alpha + [
            float(rng.uniform(0.1, 0.9))
        ] * takes_beta
        with_parameters = bool(parameters) and bool(rng.integers(2))
        drawn.append((spelled, *parameters) if with_parameters else spelled)
    return drawn


def draw(rng: np.random.Generator, dtype: Any, **fixed: Any) -> Mixture:
    """A net with some options at random, but for those that are `fixed`, and a call of it."""
    # Now and then more units than one block of the sum holds, which is 128.
    hidden = fixed.get(
        "hidden_size", int(rng.integers(2, 40) if rng.integers(10) else rng.integers(126, 140))
    )
    both = bool(rng.integers(2))
    arguments: dict[str, Any] = {
        "input_size": int(rng.integers(1, 12)),
        "hidden_size": hidden,
        "num_layers": int(rng.integers(1, 4)),
        "bidirectional": both,
        "reverse": not both and bool(rng.integers(2)),
        "proj_size": int(rng.integers(1, hidden)) if rng.integers(3) == 0 else 0,
        "bias": bool(rng.integers(3)),
        "peephole": bool(rng.integers(2)),
        "clip": float(rng.uniform(0.2, 1.0)) if rng.integers(2) else None,
        "input_forget": bool(rng.integers(3) == 0),
        "cell_clip": float(rng.uniform(0.2, 1.0)) if rng.integers(4) == 0 else None,
        "merge": str(rng.choice(MERGES)) if both and rng.integers(2) else "concat",
        "proj_clip": None,
    }
    arguments.update({name: value for name, value in fixed.items() if name not in ("lengths", "mask")})
    if "proj_clip" not in fixed and arguments["proj_size"] and rng.integers(2):
        arguments["proj_clip"] = float(rng.uniform(0.02, 0.3))
    if "merge" not in fixed and not arguments["bidirectional"]:
        arguments["merge"] = "concat"
    if "activations" not in fixed:
        count = 6 if arguments["bidirectional"] else 3
        # Many units and functions without bounds would let differences grow past any tolerance.
        is_usual = hidden > 40 or bool(rng.integers(2))
        arguments["activations"] = None if is_usual else draw_activations(rng, count)
    net = LSTM(dtype=dtype, init="pytorch", rng=rng, **arguments)
    cells = net.num_layers * (2 if net.bidirectional else 1)
    batch, time = int(rng.integers(2, 24)), int(rng.integers(2, 7))
    lengths = rng.integers(0, time + 1, batch) if rng.integers(2) else None
    X = rng.standard_normal((batch, time, net.input_size)).astype(dtype)
    for row, length in enumerate([] if fixed.get("lengths", 0) is None or lengths is None else lengths):
        X[row, length:] = [np.nan, np.inf, 1e30][row % 3]
    mask = None
    if "mask" not in fixed and rng.integers(3) == 0:
        mask = rng.integers(0, 3, (batch, time)) > 0
        X[~mask] = np.nan
    return Mixture(
        arguments,
        dtype,
        X,
        rng.uniform(-1, 1, (cells, batch, net.proj_size or net.hidden_size)).astype(dtype),
        rng.standard_normal((cells, batch, net.hidden_size)).astype(dtype),
        None if fixed.get("lengths", 0) is None else lengths,
        net.state_dict(),
        mask,
    )


# The oracle: nothing of the package but the names and shapes of the state dict.


def apply(function: Any, z: np.ndarray) -> np.ndarray:
    """One activation, given as a user gives it, on z (H,)."""
    name, *parameters = function if isinstance(function, tuple) else (function,)
    name = name.lower()
    defaults = {"affine": (1, 0), "leakyrelu": (0.01,), "thresholdedrelu": (1,), "scaledtanh": (1, 1)}
    defaults |= {"hardsigmoid": (0.2, 0.5), "elu": (1,)}
    a, b, *_ = (*(parameters or defaults.get(name, ())), 0, 0)
    values = {
        "sigmoid": lambda: 0.5 * (1 + np.tanh(z / 2)),
        "tanh": lambda: np.tanh(z),
        "relu": lambda: z * (z > 0),
        "affine": lambda: a * z + b,
        "leakyrelu": lambda: np.where(z >= 0, z, a * z),
        "thresholdedrelu": lambda: z * (z > a),
        "scaledtanh": lambda: a * np.tanh(b * z),
        "hardsigmoid": lambda: np.minimum(1, np.maximum(0, a * z + b)),
        "elu": lambda: np.where(z >= 0, z, a * (np.exp(z) - 1)),
        "softsign": lambda: z / (1 + abs(z)),
        "softplus": lambda: np.log(1 + np.exp(z)),
    }
    return values[name]()


def oracle_cell(
    mixture: Mixture,
    suffix: str,
    functions: Any,
    row: list[np.ndarray],
    h: np.ndarray,
    C: np.ndarray,
    are_sums: bool = False,
) -> list[dict[str, np.ndarray]]:
    """Steps x (I,) of one row in the order of computation, h (O,), C (H,) -> i, f, g, o, C, h of each.

    With `are_sums`, x (4H,) is what x and h give to the gates, without the bias.
    """
    arguments = mixture.arguments
    size = arguments["hidden_size"]
    weights = {name: array.astype(np.float64) for name, array in mixture.state.items()}
    W, R = weights["weight_ih" + suffix], weights["weight_hh" + suffix]
    bias = weights.get("bias_ih" + suffix, np.zeros(4 * size)) + weights.get("bias_hh" + suffix, 0)
    p = weights.get("weight_ch" + suffix, np.zeros(3 * size)).reshape(3, size)
    clip, cell_clip, proj_clip = (
        arguments.get(name) or np.inf for name in ("clip", "cell_clip", "proj_clip")
    )
    at_gates, at_candidate, at_output = functions or ("Sigmoid", "Tanh", "Tanh")
    steps = []
    for x in row:
        products = x if are_sums else W @ x + R @ h
        z = [(products + bias)[k * size : (k + 1) * size] for k in range(4)]
        i = apply(at_gates, np.clip(z[0] + p[0] * C, -clip, clip))
        f = apply(at_gates, np.clip(z[1] + p[1] * C, -clip, clip))
        if arguments["input_forget"]:
            f = 1 - i
        g = apply(at_candidate, np.clip(z[2], -clip, clip))
        C = np.clip(f * C + i * g, -cell_clip, cell_clip)
        o = apply(at_gates, np.clip(z[3] + p[2] * C, -clip, clip))
        h = o * apply(at_output, C)
        if "weight_hr" + suffix in weights:
            h = np.clip(weights["weight_hr" + suffix] @ h, -proj_clip, proj_clip)
        steps.append({"i": i, "f": f, "g": g, "o": o, "C": C, "h": h})
    return steps


def runs_from_end(arguments: dict[str, Any], k: int) -> bool:
    """Whether one of the L D cells starts at the last step."""
    return bool(arguments["reverse"] or (arguments["bidirectional"] and k % 2))


def steps_of(mixture: Mixture) -> list[np.ndarray]:
    """The places in time of the steps of every row that count."""
    batch, time = mixture.X.shape[:2]
    counts = np.ones((batch, time), bool) if mixture.mask is None else mixture.mask
    lengths = np.full(batch, time) if mixture.lengths is None else mixture.lengths
    return [np.flatnonzero(row[:length]) for row, length in zip(counts, lengths, strict=True)]


def merged(sides: Any, merge: str) -> np.ndarray:
    """A layer's output (..., D O or O) of those of its directions, each (..., O)."""
    if merge == "concat" or len(sides) == 1:
        return np.concatenate(sides, axis=-1)
    first, second = sides
    return {"sum": first + second, "mean": (first + second) / 2, "mul": first * second}[merge]


@np.errstate(all="ignore")
def oracle_trace(mixture: Mixture) -> dict[str, np.ndarray]:
    """i, f, g, o, C and h of a mixture in float64, (L D, B, T, ...), row by row and step by step."""
    arguments = mixture.arguments
    directions = 2 if arguments["bidirectional"] else 1
    (cells, batch, state_size), size = mixture.h0.shape, arguments["hidden_size"]
    time = mixture.X.shape[1]
    trace = {name: np.zeros((cells, batch, time, state_size if name == "h" else size)) for name in "ifgoCh"}
    given = arguments["activations"]
    for b, places in enumerate(steps_of(mixture)):
        features = list(mixture.X[b, places].astype(np.float64))
        for layer in range(arguments["num_layers"]):
            sides = []
            for direction in range(directions):
                k = layer * directions + direction
                order = slice(None, None, -1 if runs_from_end(arguments, k) else 1)
                functions = given and (given * 2)[3 * direction : 3 * direction + 3]
                suffix = f"_l{layer}" + "_reverse" * direction
                h, C = (array[k, b].astype(np.float64) for array in (mixture.h0, mixture.C0))
                steps = oracle_cell(mixture, suffix, functions, features[order], h, C)[order]
                for t, step in zip(places, steps, strict=True):
                    for name, values in step.items():
                        trace[name][k, b, t] = values
                sides.append([step["h"] for step in steps])
            merge = arguments.get("merge", "concat")
            features = [merged(parts, merge) for parts in zip(*sides, strict=True)]
    return trace


def oracle(mixture: Mixture) -> dict[str, np.ndarray]:
    """Y, h_n and C_n of a mixture in float64."""
    trace = oracle_trace(mixture)
    h_n, C_n = mixture.h0.astype(np.float64), mixture.C0.astype(np.float64)
    for k in range(len(h_n)):
        for b, places in enumerate(steps_of(mixture)):
            if len(places):
                last = places[0 if runs_from_end(mixture.arguments, k) else -1]
                h_n[k, b], C_n[k, b] = trace["h"][k, b, last], trace["C"][k, b, last]
    directions = 2 if mixture.arguments["bidirectional"] else 1
    Y = merged(trace["h"][-directions:], mixture.arguments.get("merge", "concat"))
    return {"Y": Y, "h_n": h_n, "C_n": C_n}


def assert_outputs_close(actual: dict[str, np.ndarray], expected: dict[str, np.ndarray], what: str) -> None:
    for name, array in expected.items():
        assert_close(actual[name], array, f"{what} {name}", MIXTURE_TOLERANCE)


def nets_of(mixture: Mixture) -> Iterator[tuple[str, LSTM]]:
    """The net of a mixture in NumPy and on every ISA of this CPU."""
    yield "NumPy", mixture.net(backend="numpy")
    native = mixture.net()
    for isa in _kernel.SUPPORTED_ISAS:
        yield isa, on_isa(native, isa)


def fill_in(mixture: Mixture) -> Mixture:
    """The mixture with every argument that the oracle looks at."""
    defaults: dict[str, Any] = {"num_layers": 1, "bidirectional": False, "reverse": False, "proj_size": 0}
    defaults |= {"clip": None, "input_forget": False, "activations": None}
    return mixture._replace(arguments={**defaults, **mixture.arguments})


def assert_nearly_same(actual: np.ndarray, expected: np.ndarray) -> None:
    """As assert_same_bits is called."""
    assert_close(actual, expected)
