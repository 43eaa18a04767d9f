"""Tapes and gradients as users meet them, and others' bugs that must not be ours.

Shapes: B batch, T time, I input, H hidden, O features of h, L layers, D directions.
"""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
from gradient_cases import (
    Derivatives,
    arrays_of,
    assert_differences,
    assert_same_gradients,
    draw_call,
    gradients_of,
)
from support import DTYPES, assert_close, assert_same_bits, awkward_arrays, peak_of

from lstm import LSTM, Gradients, Tape, _kernel
from lstm.layer import Layer

BACKENDS = ("native", "numpy")
BATCH, TIME, INPUT, HIDDEN = 5, 7, 3, 6


def make(backend: str = "native", dtype: Any = np.float64, **options: Any) -> LSTM:
    return LSTM(INPUT, HIDDEN, dtype=dtype, init="pytorch", rng=3, backend=backend, **options)  # type: ignore[arg-type]


def call_of(net: LSTM, batch: int = BATCH, time: int = TIME) -> tuple[tuple[np.ndarray, ...], Derivatives]:
    """(X, h0, C0), and all derivatives, random and never zero."""
    rng = np.random.default_rng(11)
    cells, size = len(net.layers), net.proj_size or net.hidden_size
    shapes = ((batch, time, INPUT), (cells, batch, size), (cells, batch, net.hidden_size))
    arrays = tuple(rng.standard_normal(shape).astype(net.dtype) for shape in shapes)
    Y, (h_n, C_n) = net.forward_sequence(*arrays, return_state=True)
    return arrays, Derivatives(*(rng.standard_normal(a.shape).astype(net.dtype) for a in (Y, h_n, C_n)))


def snapshot(g: Gradients) -> dict[str, np.ndarray]:
    return {name: array.copy() for name, array in arrays_of(g).items()}


# ---- what a tape is


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("backend", BACKENDS)
def test_the_pass_has_the_bits_of_forward_sequence(backend: str, seed: int) -> None:
    mixture, _ = draw_call(200 + seed, DTYPES[seed % 2])
    net = mixture.net(backend=backend)
    tape = net.record(mixture.X, mixture.h0, mixture.C0, lengths=mixture.lengths, mask=mixture.mask)
    expected = mixture.outputs(net)
    same = assert_same_bits if backend == "native" else assert_close
    for name in ("Y", "h_n", "C_n"):
        same(getattr(tape, name), expected[name], name)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_single_sequence(backend: str) -> None:
    """Arrays without the batch are those of a batch of one without it; states keep the caller's form."""
    net = make(backend)
    (X, h0, C0), (dY, dh_n, dC_n) = call_of(net, batch=1)
    expected = net.record(X, h0, C0).backward(dY, dh_n, dC_n)
    tape = net.record(X[0], h0[0, 0], C0[0].T)
    assert (tape.Y.shape, tape.h_n.shape, tape.C_n.shape) == ((TIME, HIDDEN), (HIDDEN,), (HIDDEN, 1))
    g = tape.backward(dY[0], dh_n[0, 0], dC_n[0].T)
    assert g.X is not None
    assert g.h0 is not None
    assert g.C0 is not None
    assert (g.X.shape, g.h0.shape, g.C0.shape) == (X[0].shape, (HIDDEN,), (HIDDEN, 1))
    for name, array in arrays_of(g).items():
        assert_same_bits(array.reshape(arrays_of(expected)[name].shape), arrays_of(expected)[name], name)
    assert net.record(X[0]).backward(dY[0]).h0.shape == (1, HIDDEN)  # type: ignore[union-attr]


def test_a_tape_is_used_once() -> None:
    net = make()
    arrays, derivatives = call_of(net)
    tape = net.record(*arrays)
    assert "not used yet" in repr(tape)
    tape.backward(*derivatives)
    with pytest.raises(RuntimeError, match="this tape has been used"):
        tape.backward(*derivatives)
    with pytest.raises(RuntimeError, match="this tape has been used"):
        tape.backward(dY=np.ones(3))


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_changes_afterwards_does_not_disturb_a_tape(backend: str) -> None:
    """A cache of flat weights gone stale (PyTorch): weights, X and states of a tape are those of its pass."""
    net = make(backend, num_layers=2)
    arrays, derivatives = call_of(net)
    expected = snapshot(net.record(*arrays).backward(*derivatives))
    other = make(backend, num_layers=2)
    X, h0, C0 = (array.copy() for array in arrays)
    tape = net.record(X, h0, C0)
    net.load_state_dict({name: 2 * array for name, array in other.state_dict().items()})
    for array in (X, h0, C0):
        array[...] = np.nan
    for name, array in arrays_of(tape.backward(*derivatives)).items():
        assert_same_bits(array, expected[name], name)
    # And the next pass has the new weights, by whatever way they came.
    changed = snapshot(net.record(*arrays).backward(*derivatives))
    assert all(np.any(changed[name] != expected[name]) for name in changed)
    for way in (copy.copy(net), copy.deepcopy(net)):
        assert_same_gradients(way.record(*arrays).backward(*derivatives), changed)
    net.layers[0].Wf = other.layers[0].Wf
    again = snapshot(net.record(*arrays).backward(*derivatives))
    assert np.any(again["weight_ih_l0"] != changed["weight_ih_l0"])


def test_outputs_are_read_only() -> None:
    """The gradients depend on them."""
    tape = make().record(np.ones((2, 4, INPUT)))
    with pytest.raises(ValueError, match="read-only"):
        tape.Y[...] = 0
    tape.h_n[...] = 0
    tape.C_n[...] = 0


@pytest.mark.parametrize("options", [{}, {"proj_size": 2, "num_layers": 2}, {"bidirectional": True}])
def test_the_memory_of_a_tape(options: dict[str, Any]) -> None:
    """At most 7 T B H numbers a layer and direction, and its outputs; H is rounded up to whole vectors."""
    batch, time, hidden = 4, 200, 19
    net = LSTM(INPUT, hidden, dtype=np.float32, **options)  # type: ignore[arg-type]
    tape = net.record(np.ones((batch, time, INPUT), np.float32))
    cells, size = len(net.layers), net.proj_size or hidden
    lanes = _kernel.lanes(_kernel.DEFAULT_ISA, "float32")
    padded = -(-hidden // lanes) * lanes
    states = 4 * cells * batch * (2 * (hidden + size) + padded)
    assert tape.nbytes <= 4 * 7 * time * batch * padded * cells + tape.Y.nbytes + states
    # Which is the input, i, f, g, o, C, its activation, and h.
    assert tape.nbytes == 4 * time * batch * (INPUT + (6 * padded + size) * cells) + states


# ---- out=


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("merge", ["concat", "mul"])
def test_a_tape_written_over(merge: str, backend: str) -> None:
    """The bits of a new one, whatever it held: longer rows, NaN, a mask."""
    net = make(backend, bidirectional=True, num_layers=2, merge=merge)
    (X, h0, C0), derivatives = call_of(net)
    mask = np.random.default_rng(0).integers(0, 2, (BATCH, TIME)) > 0
    calls: list[dict[str, Any]] = [
        {},
        {"lengths": [3, 7, 0, 1, 5]},
        {"mask": mask},
        {"lengths": [1, 2, 3, 0, 0]},
        {"mask": ~mask, "lengths": [4, 4, 0, 7, 7]},
        {},
    ]
    tape = net.record(np.full(X.shape, np.nan))
    for options in calls:
        expected = net.record(X, h0, C0, **options)
        assert net.record(X, h0, C0, **options, out=tape) is tape
        assert_same_bits(tape.Y, expected.Y)
        assert_same_bits(tape.h_n, expected.h_n)
        wanted = arrays_of(expected.backward(*derivatives))
        for name, array in arrays_of(tape.backward(*derivatives)).items():
            assert_same_bits(array, wanted[name], name)


def test_a_tape_written_over_allocates_nothing() -> None:
    net = LSTM(4, 32, num_layers=2, rng=0)
    X = np.ones((8, 500, 4))
    tape = net.record(X)
    assert peak_of(lambda: net.record(X, out=tape)) < tape.nbytes / 100


def test_a_tape_written_over_by_its_own_results() -> None:
    """Truncated backpropagation with one tape: its last states are the first ones of the next pass."""
    net = LSTM(HIDDEN, HIDDEN, rng=0)
    X = np.random.default_rng(0).standard_normal((BATCH, TIME, HIDDEN))
    first = net.record(X)
    second = net.record(first.Y, first.h_n, first.C_n)
    tape = net.record(X)
    net.record(tape.Y, tape.h_n, tape.C_n, out=tape)
    assert_same_bits(tape.Y, second.Y)
    assert_same_gradients(tape.backward(dY=second.Y), second.backward(dY=second.Y))


def test_tapes_that_do_not_fit() -> None:
    net = make()
    tape = net.record(np.ones((4, 5, INPUT)))
    Y = tape.Y.copy()
    with pytest.raises(ValueError, match="out is a tape of 4 rows and 5 steps, but X has 4 rows and 6 steps"):
        net.record(np.ones((4, 6, INPUT)), out=tape)
    with pytest.raises(ValueError, match="out is a tape of an LSTM of other sizes, options or dtype"):
        make(clip=1.0).record(np.ones((4, 5, INPUT)), out=tape)
    with pytest.raises(ValueError, match="out is a tape of an LSTM of other sizes, options or dtype"):
        make(dtype=np.float32).record(np.ones((4, 5, INPUT)), out=tape)
    with pytest.raises(TypeError, match="out is a ndarray, but must be a Tape"):
        net.record(np.ones((4, 5, INPUT)), out=np.ones((4, 5, HIDDEN)))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="h0 has shape"):
        net.record(np.ones((4, 5, INPUT)), h0=np.ones(4), out=tape)
    assert_same_bits(tape.Y, Y)
    tape.backward(dY=Y)


# ---- what is asked for


@pytest.mark.parametrize("backend", BACKENDS)
def test_only_what_is_asked_for(backend: str) -> None:
    net = make(backend, num_layers=2)
    arrays, derivatives = call_of(net)
    whole = net.record(*arrays).backward(*derivatives)
    g = net.record(*arrays).backward(*derivatives, inputs=False)
    assert g.X is g.h0 is g.C0 is None
    assert_same_gradients(g, dict(whole))
    g = net.record(*arrays).backward(*derivatives, weights=False)
    assert (len(g), g.layers) == (0, ())
    assert_same_gradients(g, {name: getattr(whole, name) for name in ("X", "h0", "C0")})
    assert repr(g) == "<gradients of X, h0, C0>"
    assert "nothing" in repr(net.record(*arrays).backward(*derivatives, weights=False, inputs=False))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("which", range(3))
def test_derivatives_left_out_are_zeros(which: int, backend: str) -> None:
    net = make(backend, bidirectional=True)
    arrays, derivatives = call_of(net)
    alone: list[Any] = [None, None, None]
    zeros = [np.zeros_like(d) for d in derivatives]
    alone[which] = zeros[which] = derivatives[which]
    assert_same_gradients(net.record(*arrays).backward(*alone), net.record(*arrays).backward(*zeros))


@pytest.mark.parametrize(
    "options", [{}, {"proj_size": 2, "peephole": True}, {"bias": False}, {"bidirectional": True}]
)
def test_the_arrays_of_layers(options: dict[str, Any]) -> None:
    """The teaching class's arrays hold the same gradients, at the places that `Layer` has."""
    net = make(**options)
    arrays, derivatives = call_of(net)
    g = net.record(*arrays).backward(*derivatives)
    names = [name for name in vars(Layer) if name[0] in "Wbp"]
    for k, gradients in enumerate(g.layers):
        # A net whose weights are the gradients has them as its layers' arrays.
        carrier = make(**options)
        state = {name: np.zeros_like(a) if name.startswith("bias_hh") else a for name, a in g.items()}
        carrier.load_state_dict(state)
        for name in names:
            found = getattr(gradients, name)
            if found is None:  # `Layer` has zeros or None then
                continue
            assert_same_bits(found, getattr(carrier.layers[k], name), name)
            with pytest.raises(ValueError, match="read-only"):
                found[...] = 0
        assert (gradients.bf is None) == ("bias" in options)
        assert (gradients.pf is None) == ("peephole" not in options)
        assert (gradients.Whr is None) == ("proj_size" not in options)


def test_the_names_and_shapes_are_those_of_the_state_dict() -> None:
    net = make(num_layers=2, bidirectional=True, proj_size=2, peephole=True)
    arrays, derivatives = call_of(net)
    g = net.record(*arrays).backward(*derivatives)
    assert {n: a.shape for n, a in g.items()} == {n: a.shape for n, a in net.state_dict().items()}
    assert all(array.flags.writeable and array.dtype == net.dtype for array in g.values())
    array, before = g["weight_hh_l0"], g["weight_hh_l0"].copy()
    g["weight_hh_l0"] *= 0.5
    assert g["weight_hh_l0"] is array
    assert_same_bits(g.layers[0].Wf, np.concatenate([array[6:12], g["weight_ih_l0"][6:12]], axis=1))
    g["weight_hh_l0"] = np.clip(before, -0.1, 0.1).tolist()
    assert_same_bits(array, np.clip(before, -0.1, 0.1))
    with pytest.raises(ValueError, match="weight_hh_l0 has shape"):
        g["weight_hh_l0"] = 1.0
    assert "weight_hh_l7" not in g
    with pytest.raises(KeyError):
        g["weight_hh_l7"]
    with pytest.raises(KeyError):
        g["weight_hh_l7"] = array
    assert not np.shares_memory(g["bias_ih_l0"], g["bias_hh_l0"])
    assert_same_bits(g["bias_ih_l0"], g["bias_hh_l0"])


# ---- accumulation and rows


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("backend", BACKENDS)
def test_accumulation_is_the_whole_batch(backend: str, dtype: Any) -> None:
    net = make(backend, dtype, num_layers=2, bidirectional=True, peephole=True, proj_size=2)
    (X, h0, C0), (dY, dh_n, dC_n) = call_of(net)
    whole = net.record(X, h0, C0).backward(dY, dh_n, dC_n)
    g = None
    for rows in (slice(0, 2), slice(2, 5)):
        tape = net.record(X[rows], h0[:, rows], C0[:, rows])
        earlier, g = g, tape.backward(dY[rows], dh_n[:, rows], dC_n[:, rows], add_to=g)
        assert earlier is None or earlier is g
        # Those of the inputs are of this part alone.
        for found, expected in ((g.X, whole.X[rows]), (g.h0, whole.h0[:, rows]), (g.C0, whole.C0[:, rows])):  # type: ignore[index]
            assert_close(found, expected, "")  # type: ignore[arg-type]
    assert g is not None
    for name, array in g.items():
        assert_close(array, whole[name], name)


def test_twice_the_same_is_twice_the_gradient() -> None:
    net = make(num_layers=2)
    arrays, derivatives = call_of(net)
    g = net.record(*arrays).backward(*derivatives)
    once = snapshot(g)
    assert net.record(*arrays).backward(*derivatives, add_to=g) is g
    for name, array in g.items():
        assert_close(array, 2 * once[name], name)


def test_adding_to_gradients_that_were_changed() -> None:
    """Both biases gain what the call adds, though one of them was scaled in between."""
    net = make()
    arrays, derivatives = call_of(net)
    g = net.record(*arrays).backward(*derivatives)
    once = g["bias_hh_l0"].copy()
    g["bias_hh_l0"] *= 10
    net.record(*arrays).backward(*derivatives, add_to=g)
    assert_close(g["bias_hh_l0"], 11 * once, "")
    assert_close(g["bias_ih_l0"], 2 * once, "")


@pytest.mark.parametrize("backend", BACKENDS)
def test_gradients_of_each_row(backend: str) -> None:
    net = make(backend, num_layers=2, bidirectional=True, peephole=True, proj_size=2)
    (X, h0, C0), (dY, dh_n, dC_n) = call_of(net)
    lengths = np.array([7, 2, 0, 5, 1])
    g = net.record(X, h0, C0, lengths=lengths).backward(dY, dh_n, dC_n, per_sample=True)
    for row in range(BATCH):
        one = slice(row, row + 1)
        tape = net.record(X[one], h0[:, one], C0[:, one], lengths=lengths[one])
        expected = tape.backward(dY[one], dh_n[:, one], dC_n[:, one])
        for name, array in g.items():
            assert array.shape == (BATCH, *expected[name].shape)
            assert_close(array[row], expected[name], name)
        for k, layer in enumerate(g.layers):
            for name in ("Wf", "Wi", "WC", "Wo", "bf", "bi", "bC", "bo", "pf", "pi", "po", "Whr"):
                wanted = getattr(expected.layers[k], name)
                assert_close(getattr(layer, name)[row], wanted, name)
    whole = net.record(X, h0, C0, lengths=lengths).backward(dY, dh_n, dC_n)
    assert_close(g.X, whole.X, "X")  # type: ignore[arg-type]
    for name, array in g.items():
        assert_close(array.sum(axis=0), whole[name], name)
    again = net.record(X, h0, C0, lengths=lengths).backward(dY, dh_n, dC_n, per_sample=True, add_to=g)
    for name, array in again.items():
        assert_close(array.sum(axis=0), 2 * whole[name], name)
    single = net.record(X[0]).backward(dY[0], per_sample=True)
    assert single["weight_hh_l0"].shape == (1, 4 * HIDDEN, 2)


def test_what_cannot_be_added_to() -> None:
    net = make()
    arrays, derivatives = call_of(net)
    g = net.record(*arrays).backward(*derivatives)
    before = snapshot(g)
    others: list[tuple[Any, dict[str, Any], type[Exception], str]] = [
        ({"weight": 1}, {}, TypeError, "add_to is a dict, but must be what an earlier backward gave"),
        (g, {"weights": False}, ValueError, "weights=False: there is nothing to add"),
        (g, {"per_sample": True}, ValueError, "add_to has one gradient for the whole batch, but this call"),
        (
            net.record(*arrays).backward(*derivatives, weights=False),
            {},
            ValueError,
            "no gradients of weights",
        ),
        (
            make(bias=False).record(arrays[0]).backward(derivatives.dY),
            {},
            ValueError,
            "other sizes or options",
        ),
        (make(dtype=np.float32).record(arrays[0]).backward(derivatives.dY), {}, ValueError, "dtype float32"),
    ]
    tape = net.record(*arrays)
    for value, options, error, match in others:
        with pytest.raises(error, match=match):
            tape.backward(*derivatives, add_to=value, **options)
    for name, array in arrays_of(g).items():
        assert_same_bits(array, before[name])
    assert_same_gradients(tape.backward(*derivatives), before)


# ---- shapes and dtypes of derivatives


WRONG: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "none": ({}, ValueError, "backward needs a gradient to start from: dY, dh_n or dC_n"),
    "dY without the batch": (
        {"dY": np.ones((7, 6))},
        ValueError,
        r"dY has shape \(7, 6\), but must be \(5, 7, 6\), the shape of Y",
    ),
    "dY of one step more": ({"dY": np.ones((5, 8, 6))}, ValueError, r"dY has shape \(5, 8, 6\)"),
    "dY of one number": ({"dY": 1.0}, ValueError, r"dY has shape \(\)"),
    "complex dY": ({"dY": np.ones((5, 7, 6), complex)}, TypeError, "dY has dtype complex128"),
    "dY of text": ({"dY": "much"}, TypeError, "dY has dtype"),
    "ragged dY": ({"dY": [[1.0], [1.0, 2.0]]}, ValueError, "dY is not a regular array"),
    "masked dY": ({"dY": np.ma.ones((5, 7, 6))}, TypeError, "dY is a masked array"),
    "dh_n turned": ({"dh_n": np.ones((6, 5))}, ValueError, r"dh_n has shape \(6, 5\), but must be"),
    "dh_n of objects": ({"dh_n": np.ones((5, 6), object)}, TypeError, "dh_n has dtype object"),
    "dC_n of one row": ({"dC_n": np.ones(6)}, ValueError, r"dC_n has shape \(6,\), but must be \(5, 6\) or"),
    "the second wrong": ({"dY": np.ones((5, 7, 6)), "dC_n": np.ones(6)}, ValueError, "dC_n has shape"),
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", WRONG)
def test_wrong_derivatives_raise_before_anything_is_computed(name: str, backend: str) -> None:
    derivatives, error, match = WRONG[name]
    net = make(backend)
    arrays, right = call_of(net)
    g = net.record(*arrays).backward(*right)
    before = snapshot(g)
    tape = net.record(*arrays)
    with pytest.raises(error, match=match):
        tape.backward(**derivatives, add_to=g)
    for key, array in arrays_of(g).items():
        assert_same_bits(array, before[key])
    assert_same_gradients(tape.backward(*right), before)  # the tape is as good as before


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_derivatives_in_any_memory(dtype: Any, backend: str) -> None:
    """A strided dY read as contiguous (cuDNN): it is read as it is, of two directions too."""
    net = make(backend, dtype, bidirectional=True)
    arrays, (dY, dh_n, dC_n) = call_of(net)
    expected = snapshot(net.record(*arrays).backward(dY, dh_n, dC_n))
    for which, given in enumerate((dY, dh_n, dC_n)):
        for name, value in awkward_arrays(given):
            derivatives: list[Any] = [dY, dh_n, dC_n]
            derivatives[which] = value
            for key, array in arrays_of(net.record(*arrays).backward(*derivatives)).items():
                assert_same_bits(array, expected[key], f"{name}: {key}")


def test_broadcast_and_integer_derivatives() -> None:
    net = make(bidirectional=True)
    arrays, (dY, _, _) = call_of(net)
    ones = np.broadcast_to(np.float64(1), dY.shape)
    expected = snapshot(net.record(*arrays).backward(np.ones(dY.shape)))
    for value in (ones, np.ones(dY.shape, int), np.ones(dY.shape, bool), np.ones(dY.shape).tolist()):
        assert_same_gradients(net.record(*arrays).backward(value), expected)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_last_state_of_one_direction_alone(backend: str) -> None:
    """Of h_n[1] alone the first direction's weights of the last layer get nothing, all below do."""
    net = make(backend, bidirectional=True, num_layers=2)
    arrays, (_, dh_n, _) = call_of(net)
    only = np.zeros_like(dh_n)
    only[3] = dh_n[3]
    g = net.record(*arrays).backward(dh_n=only)
    for name, array in g.items():
        is_first_of_last = name.endswith("_l1")
        assert array.any() != is_first_of_last, name
    assert g.h0 is not None
    assert [bool(part.any()) for part in g.h0] == [True, True, False, True]


# ---- others' bugs


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_gradient_is_there_once(backend: str) -> None:
    """Gradients twice as large or zero in one path, h0 and C0 without any (thinc).

    dX written over dY before the second direction read it, in more than two layers (mxnet).
    """
    mixture, derivatives = draw_call(
        7, num_layers=3, bidirectional=True, merge="concat", activations=None, lengths=None, mask=None
    )
    g = gradients_of(mixture.net(backend=backend), mixture, derivatives)
    kept = Derivatives(*(d.copy() for d in derivatives))
    assert_differences(np.random.default_rng(0), mixture, derivatives, g)
    for array, before in zip(derivatives, kept, strict=True):
        assert_same_bits(array, before)  # what the caller gave is not written to


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ["h0", "C0", "dh_n", "dC_n"])
def test_states_reach_every_gradient(name: str, backend: str) -> None:
    """Zero states hid missing terms (PyTorch's MPS): each one changes all gradients."""
    net = make(backend)
    (X, h0, C0), (dY, dh_n, dC_n) = call_of(net)
    values = {"h0": h0, "C0": C0, "dh_n": dh_n, "dC_n": dC_n}
    whole = net.record(X, h0, C0).backward(dY, dh_n, dC_n)
    values[name] = np.zeros_like(values[name])
    without = net.record(X, values["h0"], values["C0"]).backward(dY, values["dh_n"], values["dC_n"])
    for key, array in arrays_of(whole).items():
        assert np.abs(array - arrays_of(without)[key]).max() > 1e-6, key


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("merge", ["concat", "mul"])
def test_padding_has_no_part_in_a_loss(merge: str, backend: str) -> None:
    """A mask's loss averaged over padding (Keras): gradients are the sum of those of rows without any."""
    net = make(backend, bidirectional=True, num_layers=2, merge=merge)
    (X, h0, C0), (dY, dh_n, dC_n) = call_of(net)
    mask = np.random.default_rng(1).integers(0, 3, (BATCH, TIME)) > 0
    mask[0], mask[1] = False, True
    padded = X.copy()
    padded[~mask] = np.nan
    tape = net.record(padded, h0, C0, mask=mask)
    g = tape.backward(np.where(mask[..., np.newaxis], dY, np.inf), dh_n, dC_n)
    total: Gradients | None = None
    for row, steps in enumerate(mask):
        one = slice(row, row + 1)
        part = net.record(X[one, steps], h0[:, one], C0[:, one])
        total = part.backward(dY[one, steps], dh_n[:, one], dC_n[:, one], add_to=total)
        assert_close(g.X[row, steps], total.X[0], "X")  # type: ignore[index]
        assert not g.X[row, ~steps].any()  # type: ignore[index]
        assert_close(g.h0[:, one], total.h0, "h0")  # type: ignore[index, arg-type]
        assert_close(g.C0[:, one], total.C0, "C0")  # type: ignore[index, arg-type]
    assert total is not None
    for name, array in g.items():
        assert_close(array, total[name], name)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", ["lengths", "mask"])
@pytest.mark.parametrize(
    "options", [{}, {"reverse": True, "peephole": True}, {"bidirectional": True, "proj_size": 2}]
)
def test_nan_in_the_padding_reaches_no_gradient(options: dict[str, Any], kind: str, backend: str) -> None:
    net = make(backend, num_layers=2, **options)
    (X, h0, C0), (dY, dh_n, dC_n) = call_of(net)
    lengths = np.array([0, 3, 7, 1, 5])
    within = np.arange(TIME) < lengths[:, np.newaxis]
    if kind == "mask":
        within = within[:, ::-1]
    choice: dict[str, Any] = {"lengths": lengths} if kind == "lengths" else {"mask": within}
    X[~within] = 0
    expected = snapshot(net.record(X, h0, C0, **choice).backward(dY, dh_n, dC_n))
    tape = net.record(np.full_like(X, np.nan))
    for bad in (np.nan, np.inf, 1e300):
        X[~within], dY[~within] = bad, bad
        for out in (None, tape):
            g = net.record(X, h0, C0, **choice, out=out).backward(dY, dh_n, dC_n)
            for name, array in arrays_of(g).items():
                assert_same_bits(array, expected[name], name)
            assert not g.X[~within].any()  # type: ignore[index]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("options", [{}, {"reverse": True}, {"peephole": True, "proj_size": 2, "clip": 0.5}])
def test_states_of_a_row_without_steps_reach_no_gradient(options: dict[str, Any], backend: str) -> None:
    net = make(backend, **options)
    (X, h0, C0), (dY, dh_n, dC_n) = call_of(net)
    lengths = np.array([4, 0, 7, 7, 2])
    expected = snapshot(net.record(X, h0, C0, lengths=lengths).backward(dY, dh_n, dC_n))
    h0[:, 1], C0[:, 1] = np.nan, np.inf
    g = net.record(X, h0, C0, lengths=lengths).backward(dY, dh_n, dC_n)
    for name, array in arrays_of(g).items():
        assert_same_bits(array, expected[name], name)
    assert_same_bits(g.h0[:, 1], dh_n[:, 1])  # type: ignore[index]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    "options", [{}, {"bidirectional": True, "num_layers": 2, "merge": "mul"}, {"proj_size": 2}]
)
def test_nothing_to_compute(options: dict[str, Any], backend: str) -> None:
    """T = 0, B = 0 and length 0: gradients of weights are zero, those of states pass through."""
    net = make(backend, **options)
    for batch, time in ((BATCH, 0), (0, TIME), (0, 0), (BATCH, TIME)):
        (X, h0, C0), (dY, dh_n, dC_n) = call_of(net, batch, time)
        for lengths in (None, np.zeros(batch, int)):
            if lengths is None and batch and time:
                continue
            tape = net.record(X, h0, C0, lengths=lengths)
            g = tape.backward(dY, dh_n, dC_n)
            assert g.X is not None
            assert g.X.shape == X.shape
            assert not g.X.any()
            assert not any(array.any() for array in g.values())
            assert_same_bits(g.h0, dh_n)  # type: ignore[arg-type]
            assert_same_bits(g.C0, dC_n)  # type: ignore[arg-type]
        g = net.record(X, h0, C0, mask=np.zeros((batch, time), bool)).backward(dY, dh_n, per_sample=True)
        assert g["weight_ih_l0"].shape == (batch, 4 * HIDDEN, INPUT)
    g = net.record(np.ones((0, INPUT))).backward(dh_n=np.ones((len(net.layers), net.proj_size or HIDDEN)))
    assert g.h0.all()  # type: ignore[union-attr]


@pytest.mark.parametrize("backend", BACKENDS)
def test_chunks_of_a_sequence(backend: str) -> None:
    """The chain rule over two tapes: the second's h0 and C0 are the first's h_n and C_n."""
    net = make(backend, num_layers=2)
    (X, h0, C0), (dY, dh_n, dC_n) = call_of(net)
    whole = net.record(X, h0, C0).backward(dY, dh_n, dC_n)
    first = net.record(X[:, :4], h0, C0)
    second = net.record(X[:, 4:], first.h_n, first.C_n)
    g = second.backward(dY[:, 4:], dh_n, dC_n)
    g = first.backward(dY[:, :4], g.h0, g.C0, add_to=g)
    assert_same_gradients(g, {**whole, "X": whole.X[:, :4], "h0": whole.h0, "C0": whole.C0})  # type: ignore[index, dict-item]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("merge", ["concat", "mul"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_row_without_finite_values_leaves_the_others_alone(bad: float, merge: str, backend: str) -> None:
    """NaN goes where the equations take it, to all weights, and without a warning."""
    net = make(backend, bidirectional=True, num_layers=2, merge=merge)
    (X, h0, C0), (dY, dh_n, dC_n) = call_of(net)
    expected = net.record(X, h0, C0).backward(dY, dh_n, dC_n, per_sample=True)
    X[2, 3, 1] = dY[2, 4, 0] = bad
    g = net.record(X, h0, C0, dropout=0.2, rng=0).backward(dY, dh_n, dC_n)
    g = net.record(X, h0, C0).backward(dY, dh_n, dC_n, add_to=g)
    # An infinite x saturates the gates of the first layer: the second's other direction meets nothing of it.
    assert not any(np.isfinite(a).all() for name, a in arrays_of(g).items() if "_l1_reverse" not in name)
    g = net.record(X, h0, C0).backward(dY, dh_n, dC_n, per_sample=True)
    others = np.arange(BATCH) != 2
    for name, array in g.items():
        assert_close(array[others], expected[name][others], name)
    assert_close(g.X[others], expected.X[others], "X")  # type: ignore[index]


@pytest.mark.parametrize("way", ["copy", "deepcopy", "pickle"])
def test_copies_of_gradients_are_their_own(way: str) -> None:
    net = make(num_layers=2, proj_size=2, peephole=True)
    arrays, derivatives = call_of(net)
    g = net.record(*arrays).backward(*derivatives)
    g["bias_hh_l1"] *= 3
    before = snapshot(g)
    ways: dict[str, Any] = {
        "copy": copy.copy,
        "deepcopy": copy.deepcopy,
        "pickle": lambda g: pickle.loads(pickle.dumps(g)),
    }
    copied = ways[way](g)
    for name, array in arrays_of(copied).items():
        assert_same_bits(array, before[name], name)
    assert np.array_equal(copied.norms.h, g.norms.h)  # type: ignore[union-attr]
    added = net.record(*arrays).backward(*derivatives, add_to=copied)
    for name, array in added.items():
        assert np.any(array != before[name]), name
        assert_same_bits(g[name], before[name], name)


def test_a_tape_is_not_copied() -> None:
    tape = make().record(np.ones((2, 3, INPUT)))
    for way in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="a tape cannot be copied or pickled"):
            way(tape)


def test_types_are_public() -> None:
    tape = make().record(np.ones((2, 3, INPUT)))
    assert isinstance(tape, Tape)
    assert isinstance(tape.backward(dY=tape.Y), Gradients)
