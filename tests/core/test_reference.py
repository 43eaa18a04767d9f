"""The NumPy reference against PyTorch: recorded outputs, and live ones where PyTorch is installed.

Everything else is held to the reference, so these tests also show that they would see a wrong gate order,
swapped states or a lost bias.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import generate_oracles
import numpy as np
import pytest
from support import DATA, DTYPES, assert_close, random_case, random_net

from lstm import LSTM
from lstm.core import reference
from lstm.core.architecture import DEFAULT_OPTIONS
from lstm.core.state_dict import from_state_dict
from lstm.core.weights import Weights

Case = dict[str, np.ndarray]

WEIGHT_NAMES = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")


def recorded_cases() -> dict[str, Case]:
    """The recorded arrays of every case, without the case's name before each."""
    cases: dict[str, Case] = {}
    with np.load(DATA / "oracles.npz", allow_pickle=False) as archive:
        for key in archive.files:
            case, name = key.split("/")
            cases.setdefault(case, {})[name] = archive[key]
    return cases


CASES = recorded_cases()


def state_dict(case: Case) -> Case:
    return {name: case[name] for name in WEIGHT_NAMES if name in case}


def numpy_net(case: Case) -> LSTM:
    return LSTM.from_state_dict(state_dict(case), backend="numpy")


def direct_results(case: Case, weights: Weights | None = None) -> Case:
    """Y, h_n and C_n by lstm.core.reference alone."""
    weights = weights or from_state_dict(state_dict(case)).weights[0]
    h, C = case["h0"].copy(), case["C0"].copy()
    Y = np.full((*case["X"].shape[:2], h.shape[1]), np.nan, h.dtype)
    reference.forward_sequence(weights, DEFAULT_OPTIONS, case["X"], h, C, Y)
    return {"Y": Y, "h_n": h, "C_n": C}


def public_results(case: Case) -> Case:
    """All outputs by an LSTM of backend "numpy"."""
    net = numpy_net(case)
    Y, (h_n, C_n) = net.forward_sequence(case["X"], case["h0"], case["C0"], return_state=True)
    h, C = net.forward(case["x"], case["h_prev"], case["C_prev"])
    return {"Y": Y, "h_n": h_n, "C_n": C_n, "h": h, "C": C}


def largest_difference(results: Case, case: Case) -> float:
    return max(float(np.abs(array - case[name]).max()) for name, array in results.items())


def test_the_recorded_cases_can_tell_gates_and_states_apart() -> None:
    shapes = [(*c["X"].shape, c["h0"].shape[1], "bias_ih_l0" in c, c["X"].dtype.name) for c in CASES.values()]
    expected = [
        (B, T, I, H, bias, np.dtype(dtype).name)
        for dtype in (np.float64, np.float32)
        for I, H, B, T, bias in generate_oracles.SHAPES  # noqa: E741
    ]
    assert shapes == expected
    for case in CASES.values():
        assert case["X"].shape[0] > 1
        assert case["X"].shape[1] > 1
        for name in (*state_dict(case), "h0", "C0", "h_prev", "C_prev"):
            values = case[name]
            assert np.unique(values).size == values.size, name
            assert values.all(), name
        assert not np.array_equal(case["h0"], case["C0"])


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("results", [direct_results, public_results])
def test_reference_equals_recorded_pytorch(name: str, results: Callable[[Case], Case]) -> None:
    case = CASES[name]
    for key, array in results(case).items():
        assert array.dtype == case["X"].dtype
        assert_close(array, case[key], f"{name} {key}")


@pytest.mark.parametrize("name", CASES)
def test_single_steps_equal_recorded_pytorch(name: str) -> None:
    """`forward` step by step over X gives the recorded sequence."""
    case = CASES[name]
    net = numpy_net(case)
    h, C = case["h0"], case["C0"]
    for t in range(case["X"].shape[1]):
        h, C = net.forward(case["X"][:, t], h, C)
        assert_close(h, case["Y"][:, t], f"{name} step {t}")
    assert_close(C, case["C_n"], name)


@pytest.mark.parametrize("name", CASES)
def test_unbatched_equals_recorded_pytorch(name: str) -> None:
    case = CASES[name]
    net = numpy_net(case)
    for row in range(case["X"].shape[0]):
        Y, (h_n, C_n) = net.forward_sequence(
            case["X"][row], case["h0"][row], case["C0"][row], return_state=True
        )
        assert_close(Y, case["Y"][row], f"{name} row {row}")
        assert_close(h_n, case["h_n"][row], f"{name} row {row}")
        assert_close(C_n, case["C_n"][row], f"{name} row {row}")


@pytest.mark.parametrize("pair", list(itertools.combinations(range(4), 2)))
@pytest.mark.parametrize(
    ("name", "part"),
    [
        (name, part)
        for name, case in CASES.items()
        for part in ("input", "hidden", "bias")
        if part != "bias" or "bias_ih_l0" in case
    ],
)
def test_swapped_gates_are_seen(name: str, part: str, pair: tuple[int, int]) -> None:
    """Two gates swapped, in one of the three weights only, show at once."""
    case = CASES[name]
    weights = from_state_dict(state_dict(case)).weights[0]
    order = [0, 1, 2, 3]
    order[pair[0]], order[pair[1]] = pair[1], pair[0]
    swapped = weights._replace(**{part: getattr(weights, part)[order]})
    assert largest_difference(direct_results(case, swapped), case) > 1e-2


@pytest.mark.parametrize("name", CASES)
def test_swapped_states_are_seen(name: str) -> None:
    case = CASES[name]
    swapped = {**case, "h0": case["C0"], "C0": case["h0"]}
    assert largest_difference(direct_results(swapped), case) > 1e-2


@pytest.mark.parametrize("lost", ["bias_ih_l0", "bias_hh_l0"])
@pytest.mark.parametrize("name", [name for name in CASES if "bias_ih_l0" in CASES[name]])
def test_a_lost_bias_is_seen(name: str, lost: str) -> None:
    case = {**CASES[name], lost: np.zeros_like(CASES[name][lost])}
    assert largest_difference(direct_results(case), case) > 1e-2


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("seed", range(6))
def test_reference_equals_live_pytorch(seed: int, dtype: type) -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(seed)
    batch, time, input_size, hidden_size = rng.integers((2, 2, 1, 1), (6, 12, 24, 50))
    net = random_net(rng, input_size, hidden_size, dtype, backend="numpy", bias=bool(seed % 2))
    X, h0, C0 = random_case(rng, batch, time, input_size, hidden_size, dtype)
    layer = torch.nn.LSTM(
        net.input_size, net.hidden_size, batch_first=True, bias=net.bias, dtype=torch.from_numpy(X).dtype
    )
    layer.load_state_dict({name: torch.from_numpy(w) for name, w in net.state_dict().items()})
    with torch.no_grad():
        states = torch.from_numpy(h0)[None], torch.from_numpy(C0)[None]
        expected, (h_expected, C_expected) = layer(torch.from_numpy(X), states)
    Y, (h_n, C_n) = net.forward_sequence(X, h0[None], C0[None], return_state=True)
    assert_close(Y, expected.numpy())
    assert_close(h_n, h_expected.numpy())
    assert_close(C_n, C_expected.numpy())


def test_recorded_outputs_are_what_the_generator_makes() -> None:
    pytest.importorskip("torch")
    made = generate_oracles.cases()
    recorded = {f"{case}/{name}": array for case, arrays in CASES.items() for name, array in arrays.items()}
    assert list(made) == list(recorded)
    for key, array in made.items():
        # Another CPU's PyTorch may sum in another order.
        assert_close(array, recorded[key], key)


@pytest.mark.parametrize("dtype", DTYPES)
def test_sigmoid_of_the_reference(dtype: type) -> None:
    """Halfway at zero, symmetric, saturated without a warning, NaN for NaN."""
    z = np.array([0.0, 2.0, -2.0, 1e4, -1e4, np.inf, -np.inf, np.nan], dtype)
    s = reference.sigmoid(z)
    assert s.dtype == dtype
    expected = [0.5, 1 / (1 + np.exp(-2)), 1 / (1 + np.exp(2)), 1, 0, 1, 0, np.nan]
    assert_close(s, np.array(expected, dtype))
