"""A digest of what a fixed set of nets computes on every instruction set here, to compare machines by.

``python tests/digest.py`` prints one line an instruction set: outputs, states and gradients of nets of all
variants in both dtypes, outputs and states of nets of small weights, with NaN and infinity among the inputs,
and sigmoid and tanh of many numbers. The digests of one machine are equal, and so are those of two.

Inputs and weights are uniform numbers scaled by powers of two: no function of a C library, whose last bit may
differ, has a part in them.

Shapes: B batch, T time, I input, H hidden, O features of h, L layers, D directions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from gradient_cases import arrays_of
from support import on_isa
from variants import VARIANTS

from lstm import LSTM, _kernel
from lstm.core.precision import PRECISIONS

# (B, T, I, H): around the sizes of tiles, of a short sum, of a block of 128, and a row alone.
SHAPES = ((1, 40, 3, 1), (1, 40, 1, 12), (1, 30, 5, 20), (3, 9, 4, 16), (7, 6, 130, 33), (13, 3, 2, 130))
RANGES = (1, 16)
STRANGE = (np.nan, np.inf, -np.inf, 0.0, 1e-30)
POINTS = 1 << 16


def uniform(rng: np.random.Generator, shape: tuple[int, ...], scale: float) -> np.ndarray:
    """Numbers in [-scale, scale), `scale` a power of two."""
    return (rng.random(shape) - 0.5) * (2 * scale)


def nets(dtype: Any) -> Iterator[tuple[LSTM, tuple[int, int, int], float]]:
    """Nets of every shape, then of every variant, with B, T, I and the range of their inputs."""
    for batch, time, input_size, hidden_size in SHAPES:
        for scale in RANGES:
            yield LSTM(input_size, hidden_size, dtype=dtype, init="pytorch"), (batch, time, input_size), scale
    for options in VARIANTS.values():
        sizes = {"input_size": 3, "hidden_size": 11, **options}
        yield LSTM(**sizes, dtype=dtype, init="pytorch"), (4, 5, sizes["input_size"]), 2


def draw_weights(net: LSTM, rng: np.random.Generator) -> None:
    """Set all weights, in the order of their names."""
    names = sorted(net.state_dict())
    net.load_state_dict({name: uniform(rng, net.state_dict()[name].shape, 0.5) for name in names})


def computed(net: LSTM, sizes: tuple[int, int, int], scale: float, isa: str) -> Iterator[np.ndarray]:
    """All that a net of drawn weights computes from inputs of `sizes` (B, T, I)."""
    rng = np.random.default_rng(7)
    draw_weights(net, rng)
    net = on_isa(net, isa)
    X = uniform(rng, sizes, scale)
    cells = net.num_layers * (2 if net.bidirectional else 1)
    h0 = uniform(rng, (cells, sizes[0], net.proj_size or net.hidden_size), 1)
    C0 = uniform(rng, (cells, sizes[0], net.hidden_size), 2)
    tape = net.record(X, h0, C0)
    derivatives = [uniform(rng, array.shape, 1) for array in (tape.Y, tape.h_n, tape.C_n)]
    gradients = arrays_of(tape.backward(*derivatives))
    yield from (net.forward_sequence(X, h0, C0), tape.Y, tape.h_n, tape.C_n)
    yield from (gradients[name] for name in sorted(gradients))
    X.flat[: len(STRANGE)] = STRANGE[: X.size]
    yield net.forward_sequence(X, h0, C0)


def computed_small(sizes: tuple[int, int, int, int], precision: str, isa: str) -> Iterator[np.ndarray]:
    """Outputs and states of a net of small weights; `sizes` are B, T, I and H."""
    rng = np.random.default_rng(7)
    batch, time, input_size, hidden_size = sizes
    net = LSTM(input_size, hidden_size, dtype=np.float32, init="pytorch")
    draw_weights(net, rng)
    net = on_isa(net.quantize(precision), isa)
    X = uniform(rng, (batch, time, input_size), 4)
    h0, C0 = (uniform(rng, (1, batch, hidden_size), scale) for scale in (1, 2))
    Y, (h_n, C_n) = net.forward_sequence(X, h0, C0, return_state=True)
    yield from (Y, h_n, C_n)
    X.flat[: len(STRANGE)] = STRANGE[: X.size]
    yield net.forward_sequence(X, h0, C0)


def digest_of(isa: str) -> str:
    """The digest of one instruction set."""
    found = hashlib.sha256()
    for dtype in (np.float32, np.float64):
        for net, sizes, scale in nets(dtype):
            for array in computed(net, sizes, scale, isa):
                found.update(np.ascontiguousarray(array).tobytes())
    for precision in PRECISIONS:
        for shape in SHAPES:
            for array in computed_small(shape, precision, isa):
                found.update(np.ascontiguousarray(array).tobytes())
    for dtype in (np.float32, np.float64):
        points = uniform(np.random.default_rng(1), (POINTS,), 64).astype(dtype)
        values = np.empty_like(points)
        for function in (_kernel.sigmoid, _kernel.tanh):
            function(points, values, isa=isa)
            found.update(values.tobytes())
    return found.hexdigest()[:16]


if __name__ == "__main__":
    for isa in _kernel.SUPPORTED_ISAS:
        print(isa, digest_of(isa))
