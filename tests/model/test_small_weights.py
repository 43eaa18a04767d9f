"""Nets of bfloat16, float16 and int8 weights: arguments, what is shown, setting weights, copies, refusals."""

from __future__ import annotations

import copy
import gc
import pickle
import tracemalloc
from typing import Any

import numpy as np
import pytest
from nets import HIDDEN, INPUT, assert_same_weights, make_net
from small_nets import EACH, assert_same_integers, foreign, integers, packed_of, small_net
from support import assert_same_bits

import lstm
from lstm import LSTM, train


@EACH
def test_what_is_shown(precision: str, capsys: pytest.CaptureFixture[str]) -> None:
    net = small_net(precision)
    assert net.precision == precision
    assert repr(net) == f"LSTM(3, 5, dtype=float32, precision='{precision}', backend='numpy')"
    assert repr(net.layers[0]) == f"<layer l0 of {net!r}>"
    net.summary()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == repr(net)
    size = 160 + 2 * 20 * 4 + 20 * 4 if precision == "int8" else 2 * 160 + 20 * 4
    assert lines[-1] == f"180 parameters, {size} bytes"
    assert make_net(dtype=np.float32).precision is None


@EACH
def test_quantize_is_the_argument(precision: Any) -> None:
    full = make_net(dtype=np.float32, backend="numpy")
    small = full.quantize(precision)
    assert full.precision is None
    assert_same_weights(small, small_net(precision))
    assert small.backend == "numpy"
    assert type(small) is LSTM
    again = LSTM.from_state_dict(full.state_dict(), precision=precision, backend="numpy")
    assert_same_weights(again, small)
    assert not np.array_equal(small.Wf, full.Wf)
    assert_same_bits(small.bf, full.bf)


@EACH
def test_quantize_to_none_widens(precision: Any) -> None:
    small = small_net(precision, num_layers=2)
    full = small.quantize(None)
    assert full.precision is None
    assert_same_weights(full, small)
    assert_same_weights(full.quantize(precision), small)


def test_quantize_keeps_the_variant_and_a_subclass() -> None:
    class Named(LSTM):
        name: str

    net = Named(3, 5, dtype=np.float32, clip=0.3, peephole=True)
    net.name = "speech"
    small = net.quantize("bfloat16")
    assert type(small) is Named
    assert small.name == "speech"
    assert repr(small) == "LSTM(3, 5, peephole=True, clip=0.3, dtype=float32, precision='bfloat16')".replace(
        "LSTM", "Named"
    )


@EACH
@pytest.mark.parametrize("copier", [copy.copy, copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
def test_copies(copier: Any, precision: str) -> None:
    net = small_net(precision)
    twin = copier(net)
    assert repr(twin) == repr(net)
    assert_same_weights(twin, net)
    twin.Wf = np.zeros((HIDDEN, HIDDEN + INPUT))
    assert net.Wf.any()


def test_integers_from_elsewhere_are_kept() -> None:
    net = foreign()
    for twin in (copy.deepcopy(net), pickle.loads(pickle.dumps(net)), net.quantize("int8")):
        assert_same_integers(twin, net)
    requantized = net.quantize(None).quantize("int8")
    assert not np.array_equal(integers(requantized)[0].hidden.values, integers(net)[0].hidden.values)


def test_setting_weights_changes_their_rows_alone() -> None:
    net = foreign()
    before = integers(net)
    bias = np.arange(HIDDEN, dtype=np.float32)
    net.layers[1].bf = bias
    assert_same_integers(net, foreign())
    assert_same_bits(net.layers[1].bf[:, 0], bias)
    matrix = np.random.default_rng(6).standard_normal((HIDDEN, HIDDEN + HIDDEN)).astype(np.float32)
    net.layers[1].Wf = matrix
    after = integers(net)
    assert_same_bits(after[0].input.scales, before[0].input.scales)
    others = [0, 2, 3]  # gates i, g, o
    assert_same_bits(after[1].hidden.scales[others], before[1].hidden.scales[others])
    assert_same_bits(after[1].input.scales[1], np.abs(matrix[:, HIDDEN:]).max(axis=1) / np.float32(127))
    assert np.abs(net.layers[1].Wf - matrix).max() <= 0.501 * after[1].hidden.scales.max()


@EACH
def test_a_state_dict_goes_there_and_back(precision: str) -> None:
    net = small_net(precision)
    twin = small_net(precision)
    twin.load_state_dict(make_net(dtype=np.float32).quantize(None).state_dict())
    twin.load_state_dict(net.state_dict())
    assert_same_weights(twin, net)
    full = LSTM.from_state_dict(net.state_dict(), backend="numpy")
    assert full.precision is None
    assert_same_weights(full, net)


@EACH
@pytest.mark.parametrize("backend", ["native", "numpy"])
def test_no_gradients(precision: Any, backend: Any) -> None:
    net = LSTM(3, 5, dtype=np.float32, precision=precision, backend=backend)
    with pytest.raises(
        ValueError, match=rf"precision='{precision}'; net.quantize\(None\) gives it full ones"
    ):
        net.record(np.ones((2, 4, 3)))
    with pytest.raises(ValueError, match="gradients need weights of float32"):
        train.Trainer(net, train.LinearHead(net), train.Squared(), train.Adam(0.1))
    with pytest.raises(ValueError, match="gradients need weights of float32"):
        lstm.check_gradients(net, np.ones((2, 4, 3)))
    net.quantize(None).record(np.ones((2, 4, 3)))


@EACH
def test_float64_has_none(precision: Any) -> None:
    match = f"precision is '{precision}', but dtype is float64: small weights need dtype float32"
    with pytest.raises(ValueError, match=match):
        LSTM(3, 5, precision=precision)
    with pytest.raises(ValueError, match=match):
        LSTM(3, 5).quantize(precision)
    with pytest.raises(ValueError, match=match):
        LSTM.from_state_dict(LSTM(3, 5).state_dict(), precision=precision)
    wide = LSTM.from_state_dict(
        LSTM(3, 5).state_dict(), dtype=np.float32, precision=precision, backend="numpy"
    )
    assert wide.precision == precision


@pytest.mark.parametrize(("value", "error"), [("int4", ValueError), (8, TypeError), (np.int8, TypeError)])
def test_no_such_precision(value: Any, error: type[Exception]) -> None:
    for call in (
        lambda: LSTM(3, 5, dtype=np.float32, precision=value),
        lambda: make_net(dtype=np.float32).quantize(value),
    ):
        with pytest.raises(error, match="must be None or one of 'bfloat16', 'float16', 'int8'"):
            call()


def test_what_a_precision_cannot_hold() -> None:
    net = small_net("int8", num_layers=2)
    before = net.state_dict()
    for value, precision, name in ((np.nan, "int8", "weight_ih_l1"), (7e4, "float16", "weight_ih_l1")):
        small = small_net(precision, num_layers=2)
        matrix = np.ones((HIDDEN, HIDDEN + HIDDEN))
        matrix[2, -1] = value
        with pytest.raises(ValueError, match=f"{name} holds"):
            small.layers[1].Wf = matrix
        with pytest.raises(ValueError, match="weight_hh_l0 holds"):
            small.load_state_dict({**before, "weight_hh_l0": np.full((4 * HIDDEN, HIDDEN), value)})
        assert_same_weights(small, small_net(precision, num_layers=2))


@pytest.mark.parametrize(("precision", "most"), [("int8", 0.27), ("bfloat16", 0.51), ("float16", 0.51)])
def test_resident_size(precision: Any, most: float) -> None:
    """What a net keeps of its weights, and what Python counts as memory of one more."""
    full = LSTM(256, 512, dtype=np.float32)
    sizes = [
        sum(packed_of(cell).nbytes for cell in net.core.cells) for net in (full, full.quantize(precision))
    ]
    assert sizes[1] <= most * sizes[0]
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        other = full.quantize(precision)
        gc.collect()  # without a GIL what another thread has made is freed late
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert other.precision == precision
    assert taken <= most * sizes[0]


def test_a_pickle_is_small() -> None:
    full = LSTM(256, 512, dtype=np.float32)
    assert len(pickle.dumps(full.quantize("int8"))) <= 0.27 * len(pickle.dumps(full))
