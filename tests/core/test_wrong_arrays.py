"""Arrays that do not fit: the same exception on both backends, and nothing is changed."""

from __future__ import annotations

import datetime
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from parity import BATCH, HIDDEN, INPUT, TIME, Labelled, assert_error, flat, outcome, variants
from support import DTYPES, assert_same_bits, random_case, random_net

WRONG_DTYPES: dict[str, Any] = {
    "complex": np.ones((TIME, INPUT), complex),
    "object": np.ones((TIME, INPUT), object),
    "text": np.full((TIME, INPUT), "1.0"),
    "bytes": np.full((TIME, INPUT), b"1"),
    "datetime": np.full((TIME, INPUT), np.datetime64("2020-01-01")),
    "timedelta": np.full((TIME, INPUT), np.timedelta64(1, "s")),
    "records": np.zeros((TIME, INPUT), [("value", float)]),
    "None": None,
    "a string": "some text",
    "a set": {1.0, 2.0},
    "a dict": {"X": 1.0},
    "a function": len,
    "a date": datetime.date(2020, 1, 1),
    "masked": np.ma.masked_less(np.arange(TIME * INPUT, dtype=float).reshape(TIME, INPUT), 3),
    "masked, none of it": np.ma.array(np.ones((TIME, INPUT))),
    "np.ma.masked": np.ma.masked,
    "huge integers": [[10**400] * INPUT] * TIME,
    "list with None": [[None] * INPUT] * TIME,
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("which", "kind"),
    [
        (which, kind)
        for which in ("X", "h0", "C0", "x", "h_prev", "C_prev")
        for kind in WRONG_DTYPES
        if not (kind == "None" and which in ("h0", "C0"))  # where None means zeros
    ],
)
def test_wrong_dtypes(which: str, kind: str, dtype: type) -> None:
    net = random_net(np.random.default_rng(24), INPUT, HIDDEN, dtype)
    if which in ("X", "h0", "C0"):
        arrays = {"X": np.ones((TIME, INPUT)), "h0": np.ones(HIDDEN), "C0": np.ones(HIDDEN)}
        method = "forward_sequence"
    else:
        arrays = {"x": np.ones(INPUT), "h_prev": np.ones(HIDDEN), "C_prev": np.ones(HIDDEN)}
        method = "forward"
    arrays[which] = WRONG_DTYPES[kind]
    assert_error(net, TypeError, which, method, **arrays)


@pytest.mark.parametrize("which", ["X", "h0", "C0"])
@pytest.mark.parametrize("value", [[[1.0, 2.0], [3.0]], [[1.0], 2.0]])
def test_ragged_lists(value: Any, which: str) -> None:
    net = random_net(np.random.default_rng(25), INPUT, HIDDEN, np.float64)
    arrays = {"X": np.ones((TIME, INPUT)), which: value}
    assert_error(net, ValueError, which, "forward_sequence", **arrays)


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((), "X|()"),
        ((INPUT,), f"X|({INPUT},)"),
        ((0,), "X|(0,)"),
        ((1, 1, TIME, INPUT), f"X|(1, 1, {TIME}, {INPUT})"),
        ((10, 4), f"X has 4 features a step, but this LSTM takes input_size={INPUT} (X.shape is (10, 4))"),
        ((10, 0), "X has 0 features a step"),
        ((INPUT, TIME), f"X has {TIME} features a step"),
        ((BATCH, TIME, INPUT + 1), f"X has {INPUT + 1} features a step"),
        ((BATCH, INPUT, TIME), f"X has {TIME} features a step"),
    ],
)
def test_wrong_shapes_of_a_sequence(shape: tuple[int, ...], words: str) -> None:
    net = random_net(np.random.default_rng(26), INPUT, HIDDEN, np.float64)
    assert_error(net, ValueError, words, "forward_sequence", np.ones(shape))


@pytest.mark.parametrize(
    "shape", [(), (0,), (INPUT + 1,), (INPUT, 2), (2, 2), (INPUT, INPUT + 1), (1, 2, INPUT)]
)
def test_wrong_shapes_of_a_step(shape: tuple[int, ...]) -> None:
    net = random_net(np.random.default_rng(27), INPUT, HIDDEN, np.float64)
    state = np.ones(HIDDEN)
    assert_error(net, ValueError, f"x has shape {shape}|({INPUT},)", "forward", np.ones(shape), state, state)


WRONG_STATES = {
    False: [(), (0,), (HIDDEN + 1,), (HIDDEN, 2), (2, HIDDEN), (1, 1, HIDDEN), (1, HIDDEN, 1), (INPUT,)],
    True: [
        (),
        (HIDDEN,),
        (1, HIDDEN),
        (HIDDEN, BATCH),
        (BATCH + 1, HIDDEN),
        (BATCH, 1, HIDDEN),
        (2, BATCH, HIDDEN),
        (1, 1, BATCH, HIDDEN),
        (BATCH, HIDDEN + 1),
    ],
}


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize(
    ("batched", "shape"), [(batched, shape) for batched, shapes in WRONG_STATES.items() for shape in shapes]
)
def test_wrong_shapes_of_a_state(batched: bool, shape: tuple[int, ...], which: int) -> None:
    net = random_net(np.random.default_rng(28), INPUT, HIDDEN, np.float64)
    rows = (BATCH,) if batched else ()
    right, wrong = np.ones((*rows, HIDDEN)), np.ones(shape)
    states = [right, right]
    states[which] = wrong
    words = f"has shape {shape}|but must be|{right.shape}"
    name = ("h0", "C0")[which]
    assert_error(
        net, ValueError, f"{name} {words}", "forward_sequence", np.ones((*rows, TIME, INPUT)), *states
    )
    name = ("h_prev", "C_prev")[which]
    assert_error(net, ValueError, f"{name} {words}", "forward", np.ones((*rows, INPUT)), *states)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda dtype: np.zeros((BATCH, TIME, HIDDEN + 1), dtype), ValueError, "out has shape"),
        (lambda dtype: np.zeros((TIME, HIDDEN), dtype), ValueError, "out has shape"),
        (lambda dtype: np.zeros((1, BATCH, TIME, HIDDEN), dtype), ValueError, "out has shape"),
        (lambda dtype: np.zeros((TIME, BATCH, HIDDEN), dtype), ValueError, "out has shape"),
        (lambda dtype: np.zeros((BATCH, TIME, HIDDEN), np.float16), TypeError, "out has dtype float16"),
        (lambda dtype: np.zeros((BATCH, TIME, HIDDEN), complex), TypeError, "out has dtype complex128"),
        (lambda dtype: np.zeros((BATCH, TIME, HIDDEN), object), TypeError, "out has dtype object"),
        (
            lambda dtype: np.zeros((BATCH, TIME, HIDDEN), np.dtype(dtype).newbyteorder("S")),
            TypeError,
            "out has dtype",
        ),
        (
            lambda dtype: np.zeros((BATCH, TIME, HIDDEN), DTYPES[dtype is np.float32]),
            TypeError,
            "out has dtype",
        ),
        (lambda dtype: np.broadcast_to(dtype(0), (BATCH, TIME, HIDDEN)), ValueError, "out|read-only"),
        (lambda dtype: [[[0.0] * HIDDEN] * TIME] * BATCH, TypeError, "out is a list|numpy.ndarray"),
        (lambda dtype: memoryview(np.zeros((BATCH, TIME, HIDDEN), dtype)), TypeError, "out is a memoryview"),
        (lambda dtype: dtype(0), TypeError, "out is a float"),
    ],
)
def test_wrong_out(make: Callable[[type], Any], error: type[Exception], words: str, dtype: type) -> None:
    rng = np.random.default_rng(29)
    net = random_net(rng, INPUT, HIDDEN, dtype)
    X, h0, C0 = random_case(rng, BATCH, TIME, INPUT, HIDDEN, dtype)
    assert_error(net, error, words, "forward_sequence", X, h0, C0, make_out=lambda: make(dtype))


@pytest.mark.parametrize(
    "subclass", [Labelled, np.matrix, np.ma.masked_all_like], ids=["subclass", "matrix", "masked"]
)
@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
def test_out_of_a_subclass_is_the_same_on_both(subclass: Callable[[np.ndarray], Any]) -> None:
    """Refused by both or filled by both: a mask must not hide on one what the other shows."""
    rng = np.random.default_rng(30)
    net = random_net(rng, INPUT, HIDDEN, np.float64)
    X = random_case(rng, 1, TIME, INPUT, HIDDEN, np.float64)[0][0]
    outcomes = []
    for _, variant in variants(net):
        out = np.full((TIME, HIDDEN), np.nan)
        out = out.view(Labelled) if subclass is Labelled else subclass(out)
        kind, value = outcome(variant.forward_sequence, X, out=out)
        outcomes.append((kind, np.ma.getmaskarray(value[0]).any() if kind == "result" else value))
    assert len(set(outcomes)) == 1, outcomes
    assert outcomes[0][0] in ("result", "TypeError"), outcomes


@pytest.mark.parametrize("backend", ["native", "numpy"])
def test_a_call_that_raises_changes_nothing(backend: str) -> None:
    """Everything is checked before anything is written: `out` and the net are as before."""
    rng = np.random.default_rng(31)
    net = random_net(rng, INPUT, HIDDEN, np.float64, backend=backend)
    X, h0, C0 = random_case(rng, BATCH, TIME, INPUT, HIDDEN, np.float64)
    out = np.full((BATCH, TIME, HIDDEN), 7.0)
    weights = {name: array.tobytes() for name, array in net.state_dict().items()}
    stored = net.core.cells
    for arguments in (
        {"X": X, "h0": h0[1:], "C0": C0},
        {"X": X, "h0": h0, "C0": C0 * 1j},
        {"X": X.astype(str), "h0": h0, "C0": C0},
        {"X": X[:, 1:], "h0": h0, "C0": C0},
    ):
        kind, _ = outcome(net.forward_sequence, **arguments, out=out)
        assert kind in ("ValueError", "TypeError")
        assert (out == 7).all()
    assert net.core.cells is stored
    assert {name: array.tobytes() for name, array in net.state_dict().items()} == weights


def test_results_are_new_memory() -> None:
    """Nothing returned is a view of an input or of the net, so that changing it changes nothing else."""
    rng = np.random.default_rng(32)
    net = random_net(rng, HIDDEN, HIDDEN, np.float64)
    X, h0, C0 = random_case(rng, BATCH, TIME, HIDDEN, HIDDEN, np.float64)
    for _, variant in variants(net):
        wanted = [a.copy() for a in flat(variant.forward_sequence(X, h0, C0, return_state=True))]
        results = flat(variant.forward_sequence(X, h0, C0, return_state=True))
        results += flat(variant.forward(X[:, 0], h0, C0))
        for number, result in enumerate(results):
            for other in (X, h0, C0, *results[:number]):
                assert not np.shares_memory(result, other)
            result[...] = np.nan
        for actual, expected in zip(
            flat(variant.forward_sequence(X, h0, C0, return_state=True)), wanted, strict=True
        ):
            assert_same_bits(actual, expected)


def test_no_warning_comes_from_any_of_the_special_values() -> None:
    rng = np.random.default_rng(33)
    net = random_net(rng, INPUT, HIDDEN, np.float32)
    values = np.array([0, -0.0, 1e-45, 1e38, -1e38, np.inf, -np.inf, np.nan], np.float32)
    X = rng.choice(values, (20, 10, INPUT))
    h0, C0 = rng.choice(values, (2, 20, HIDDEN))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _, variant in variants(net):
            variant.forward_sequence(X, h0, C0, return_state=True)
            variant.forward(X[:, 0], h0, C0)


def test_one_feature_without_its_axis() -> None:
    """The error says what to write, and that computes."""
    net = random_net(np.random.default_rng(0), 1, HIDDEN, np.float64)
    numbers = np.linspace(-1, 1, TIME)
    for X in (numbers, numbers.tolist()):
        with pytest.raises(ValueError, match=r"write np\.reshape\(X, \(-1, 1\)\)"):
            net.forward_sequence(X)
        assert_same_bits(net.forward_sequence(np.reshape(X, (-1, 1))), net.forward_sequence(numbers[:, None]))
    rows = np.stack([numbers, -numbers])
    with pytest.raises(ValueError, match=r"write X\[\.\.\., np\.newaxis\]"):
        net.forward_sequence(rows)
    assert net.forward_sequence(rows[..., np.newaxis]).shape == (2, TIME, HIDDEN)


@pytest.mark.parametrize("dtype", ["float64", "Int64"])
def test_a_series_of_pandas(dtype: str) -> None:
    pandas = pytest.importorskip("pandas")
    net = random_net(np.random.default_rng(0), 1, HIDDEN, np.float64)
    X = pandas.Series([3, 1, 2], dtype=dtype)
    with pytest.raises(ValueError, match=r"write X\.to_frame\(\)"):
        net.forward_sequence(X)
    assert_same_bits(net.forward_sequence(X.to_frame()), net.forward_sequence([[3], [1], [2]]))
