"""Gradients of every variant against central differences and against PyTorch's autograd.

Shapes: B batch, T time, I input, H hidden, O features of h, L layers, D directions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gradient_cases import (
    arrays_of,
    assert_differences,
    assert_same_gradients,
    draw_call,
    gradients_of,
    random_derivatives,
    torch_gradients,
)
from support import DTYPES, as_backend
from variant_peers import for_pytorch
from variants import FUNCTIONS

from lstm import LSTM
from lstm.core import activations

BACKENDS = ("numpy", "native")

# Each variant alone, so that a wrong term is named by the test that fails.
VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "no bias": {"bias": False},
    "reverse": {"reverse": True},
    "projection": {"proj_size": 3},
    "peephole": {"peephole": True},
    "clip": {"clip": 0.4},
    "cell_clip": {"cell_clip": 0.5},
    "proj_clip": {"proj_size": 3, "proj_clip": 0.15},
    "coupled gates": {"input_forget": True, "peephole": True},
    "layers": {"num_layers": 3},
    "directions": {"bidirectional": True, "num_layers": 3},
    "sum": {"bidirectional": True, "num_layers": 2, "merge": "sum"},
    "mean": {"bidirectional": True, "num_layers": 2, "merge": "mean"},
    "mul": {"bidirectional": True, "num_layers": 2, "merge": "mul"},
    "activations": {
        "bidirectional": True,
        "activations": ["Softplus", "Elu", "Softsign", "HardSigmoid", ("LeakyRelu", -0.3), "Relu"],
    },
}
PLAIN: dict[str, Any] = {
    "num_layers": 1,
    "bidirectional": False,
    "merge": "concat",
    "reverse": False,
    "proj_size": 0,
    "bias": True,
    "peephole": False,
    "clip": None,
    "cell_clip": None,
    "proj_clip": None,
    "input_forget": False,
    "activations": None,
    "hidden_size": 6,
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", VARIANTS)
def test_each_variant_against_differences(name: str, backend: str) -> None:
    for seed in range(2):
        mixture, derivatives = draw_call(seed, **{**PLAIN, **VARIANTS[name]})
        g = gradients_of(mixture.net(backend=backend), mixture, derivatives)
        assert_differences(np.random.default_rng(seed), mixture, derivatives, g)
        assert all(np.abs(array).max() > 1e-4 for array in arrays_of(g).values())


@pytest.mark.parametrize("seed", range(40))
def test_mixtures_against_differences(seed: int) -> None:
    mixture, derivatives = draw_call(seed)
    backend = BACKENDS[seed % 2]
    g = gradients_of(mixture.net(backend=backend), mixture, derivatives)
    assert_differences(np.random.default_rng(seed), mixture, derivatives, g)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("seed", range(20))
def test_both_backends(seed: int, dtype: Any) -> None:
    mixture, derivatives = draw_call(100 + seed, dtype)
    expected = gradients_of(mixture.net(backend="numpy"), mixture, derivatives)
    assert_same_gradients(gradients_of(mixture.net(), mixture, derivatives), expected)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("seed", range(10))
def test_against_pytorch(seed: int, dtype: Any, backend: str) -> None:
    pytest.importorskip("torch")
    rng = np.random.default_rng(seed)
    mixture = for_pytorch(rng, dtype)
    derivatives = random_derivatives(rng, mixture.net(), mixture)
    g = gradients_of(mixture.net(backend=backend), mixture, derivatives)
    expected = torch_gradients(mixture, derivatives)
    assert_same_gradients(g, {name: expected[name] for name in arrays_of(g)})


# Parameters at which the value does not tell the argument are among them.
PARAMETERS = [(0.7, 0.3), (-0.4, 0.2), (1.3, -0.6)]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_derivatives_of_the_activations(name: str) -> None:
    z = np.random.default_rng(0).uniform(-4, 4, 500)
    definition = activations.ACTIVATIONS[name]
    for alpha, beta in PARAMETERS:
        parameters = [None if definition.alpha is None else alpha, None if definition.beta is None else beta]
        activation = activations.canonical(name, *parameters)
        above, below = (activations.apply(activation, z + step) for step in (1e-6, -1e-6))
        found = activations.derivative(activation, z, activations.apply(activation, z))
        np.testing.assert_allclose(found, (above - below) / 2e-6, rtol=0, atol=1e-8)
        single = z.astype(np.float32)
        found = activations.derivative(activation, single, activations.apply(activation, single))
        assert found.dtype == np.float32


def test_a_value_at_the_bound_is_not_cut() -> None:
    """Its derivative is 1 at the bound, as torch.clamp has it: C stays at cell_clip with open gates."""
    options: dict[str, Any] = {"cell_clip": 0.5, "activations": ["HardSigmoid", "Tanh", "Tanh"]}
    for backend in BACKENDS:
        net = LSTM(1, 1, **options, backend=backend)  # type: ignore[arg-type]
        net.bf, net.bi = [[9.0]], [[-9.0]]  # f is 1 and i is 0
        tape = net.record([[0.3], [0.2]], C0=[0.5])
        assert tape.C_n == 0.5
        assert tape.backward(dC_n=[2.0]).C0 == 2


@pytest.mark.parametrize("dtype", DTYPES)
def test_clipped_sums_give_no_gradient(dtype: Any) -> None:
    rng = np.random.default_rng(0)
    net = LSTM(2, 3, clip=0.1, dtype=dtype, rng=0)
    for layer in net.layers:
        for name in ("bf", "bi", "bC", "bo"):
            setattr(layer, name, np.full(3, 20.0))
    for backend in BACKENDS:
        tape = LSTM.from_state_dict(net.state_dict(), clip=0.1, backend=backend).record(  # type: ignore[arg-type]
            rng.standard_normal((2, 4, 2))
        )
        g = tape.backward(np.ones(tape.Y.shape))
        assert g.C0 is not None
        assert not any(array.any() for array in g.values())
        assert g.C0.all()


def test_long_sequences_and_many_units() -> None:
    """More units than a block of the sum, more steps than the kernel takes at a time, in both backends."""
    rng = np.random.default_rng(5)
    net = LSTM(3, 130, num_layers=2, bidirectional=True, rng=rng, init="pytorch")
    X = rng.standard_normal((2, 300, 3))
    found = []
    for backend in BACKENDS:
        tape = as_backend(net, backend).record(X, lengths=[300, 170])
        found.append(tape.backward(np.sin(np.arange(tape.Y.size)).reshape(tape.Y.shape)))
    assert_same_gradients(found[1], found[0])
