"""Files of TensorFlow Lite: nets that compute what its interpreter does, and what is no one net.

`tests/generate_tflite_fixtures.py` has the models and made tests/data/tflite.
"""

from __future__ import annotations

import gc
import sys
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import DATA, assert_same_bits

import lstm
from lstm import LSTM, FormatError
from lstm.formats import format_of
from lstm.formats.listing import picks

tflite = pytest.importorskip("tflite")

from generate_tflite_fixtures import MODELS, pair  # noqa: E402
from tflite_models import Writer, random_weights  # noqa: E402

FOLDER = DATA / "tflite"
B, T, I, H = 2, 6, 3, 5  # noqa: E741
TOLERANCE = 5e-6
# The interpreter quantizes x and h of an int8 model; the weights are exact.
INT8_TOLERANCE = 1e-2


@pytest.fixture(scope="module")
def outputs() -> Any:
    """x, y and those of the next call of each model."""
    return np.load(FOLDER / "outputs.npz")


def content(w: Writer, *outputs: int) -> bytes:
    return w.content(*outputs)


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., LSTM]:
    """A net of a model that a function writes, which gives its outputs."""

    def made(build: Callable[[Writer], int | Sequence[int]], **options: Any) -> LSTM:
        w = Writer()
        found = build(w)
        path = tmp_path / "model.tflite"
        path.write_bytes(w.content(*([found] if isinstance(found, int) else found)))
        return lstm.load(path, **options)

    return made


def sequences(name: str, array: np.ndarray) -> np.ndarray:
    """x or y of a model as (B, T, K) in the order of time."""
    if name in ("clipped", "both") or (name == "swapped" and array.shape[0] == T):
        return array.transpose(1, 0, 2)
    return array[:, ::-1] if name == "backwards" and array.shape[2] == H else array


# Right values


@pytest.mark.parametrize("backend", ["native", "numpy"])
@pytest.mark.parametrize("name", [*MODELS, "stacked_keras"])
def test_outputs_are_the_interpreters(name: str, backend: str, outputs: Any) -> None:
    """Of two calls: an operator keeps its state, which a net is given."""
    net = lstm.load(FOLDER / f"{name}.tflite", backend=backend)  # type: ignore[arg-type]
    tolerance = INT8_TOLERANCE if name == "int8" else TOLERANCE
    assert net.dtype == np.float32
    states: Any = ()
    # The backward direction of a next call starts from the states of the last.
    for call in ("", "_next"):
        x, y = (sequences(name, outputs[f"{name}_{what}{call}"]) for what in "xy")
        Y, states = net.forward_sequence(x, *states, return_state=True)
        if name == "last_steps":
            Y = np.concatenate(list(states[0]), axis=-1)
        assert Y.shape == y.shape
        assert np.abs(Y - y).max() < tolerance * max(1, np.abs(y).max()), call


def test_every_model_is_tried() -> None:
    assert {path.stem for path in FOLDER.glob("*.tflite")} == {*MODELS, "stacked_keras", "while_loop"}


@pytest.mark.parametrize("name", MODELS)
def test_the_models_are_those_that_are_written(name: str) -> None:
    w = Writer()
    assert (FOLDER / f"{name}.tflite").read_bytes() == w.content(MODELS[name](w))


def test_architectures() -> None:
    expected = {
        "clipped": {
            "proj_size": 2,
            "peephole": True,
            "cell_clip": np.float32(0.4),
            "proj_clip": np.float32(0.1),
        },
        "coupled": {"input_forget": True, "peephole": True, "cell_clip": np.float32(0.4)},
        "unprojected": {},
        "relu": {"activations": ("Sigmoid", "Relu", "Relu")},
        "mean": {"bidirectional": True, "merge": "mean"},
        "mul": {"bidirectional": True, "merge": "mul"},
        "two_pairs": {"bidirectional": True, "num_layers": 2},
        "backwards": {"reverse": True, "num_layers": 2},
        "stacked_keras": {"num_layers": 2, "cell_clip": 10.0},
    }
    for name, options in expected.items():
        net = lstm.load(FOLDER / f"{name}.tflite")
        assert net.core.architecture.changed_arguments() == options, name


def test_weights_are_carried_over_exactly(load: Callable[..., LSTM]) -> None:
    """In every gate's place; coupled gates have the forget gate's negated."""
    drawn = random_weights(1, P=2, peephole=True)
    net = load(lambda w: w.lstm("lstm", w.input("x", (B, T, I)), drawn))
    state = net.state_dict()
    for name, key in (("weight_ih_l0", "x"), ("weight_hh_l0", "h"), ("bias_ih_l0", "b")):
        assert_same_bits(state[name], np.concatenate([drawn[f"{key}_{gate}"] for gate in "ifco"]), name)
    assert_same_bits(state["weight_ch_l0"], np.concatenate([drawn[f"p_{gate}"] for gate in "ifo"]))
    assert_same_bits(state["weight_hr_l0"], drawn["projection"])
    drawn = random_weights(2, coupled=True)
    net = load(lambda w: w.lstm("lstm", w.input("x", (B, T, I)), drawn))
    assert_same_bits(net.state_dict()["weight_hh_l0"][:H], -drawn["h_f"])
    drawn = random_weights(3)
    net = load(lambda w: w.lstm("lstm", w.input("x", (B, T, I)), drawn, "int8"))
    scale = np.float32(np.abs(drawn["h_c"]).max() / 127)
    whole = np.round(drawn["h_c"] / scale).astype(np.int8)
    assert_same_bits(net.state_dict()["weight_hh_l0"][2 * H : 3 * H], scale * whole.astype(np.float32))


# Which operators are one net


def lower(w: Writer, **options: Any) -> int:
    return w.lstm("lower", w.input("x", (B, T, I)), random_weights(1), **options)


def upper(w: Writer, x: int, name: str = "upper", inputs: int = H, **options: Any) -> int:
    return w.lstm(name, x, random_weights(2, inputs), **options)


def joined(w: Writer) -> int:
    return upper(w, lower(w))


def seen_from_outside(w: Writer) -> list[int]:
    first = lower(w)
    return [first, upper(w, first)]


def residual(w: Writer) -> int:
    first = lower(w)
    return w.operator("ADD", [first, upper(w, first)], "sum", (B, T, H))


def something_between(w: Writer) -> int:
    return upper(w, w.operator("TANH", [lower(w)], "between", (B, T, H)))


def from_the_end(w: Writer) -> int:
    return upper(w, w.reverse(lower(w), 1))


def time_for_batch(w: Writer) -> int:
    return upper(w, lower(w), TimeMajor=True)


def other_bound(w: Writer) -> int:
    return upper(w, lower(w), CellClip=10.0)


def other_activation(w: Writer) -> int:
    return upper(w, lower(w), FusedActivationFunction=tflite.ActivationFunctionType.RELU)


def other_size(w: Writer) -> int:
    return w.lstm("upper", lower(w), random_weights(2, H, 4))


def coupled_above(w: Writer) -> int:
    return w.lstm("upper", lower(w), random_weights(2, H, coupled=True))


def shared_state(w: Writer) -> int:
    """The second operator goes on from where the first one ended."""
    upper(w, lower(w))
    _, inputs, outputs, _ = w.operators[1]
    inputs[18:20] = w.operators[0][1][18:20]
    return outputs[0]


def side_by_side(w: Writer) -> list[int]:
    x = w.input("x", (B, T, I))
    return [w.lstm("first", x, random_weights(1)), w.lstm("second", x, random_weights(2))]


def one_after_two(w: Writer) -> int:
    first = side_by_side(w)
    return upper(w, w.operator("CONCATENATION", first, "both", (B, T, 2 * H), Axis=2), inputs=2 * H)


def a_loop_before(w: Writer) -> int:
    x = w.operator("WHILE", [w.input("x", (B, T, I))], "loop", (B, T, I))
    return w.lstm("lstm", x, random_weights(1))


def another_kind(w: Writer) -> int:
    return w.operator("UNIDIRECTIONAL_SEQUENCE_RNN", [joined(w)], "rnn", (B, T, H))


def custom_loop(w: Writer) -> int:
    return w.operator("CUSTOM FlexWhile", [joined(w)], "loop", (B, T, H))


REFUSED: list[tuple[Callable[[Writer], Any], str]] = [
    (seen_from_outside, "others than 'upper' take the output of 'lower', too"),
    (residual, "others than 'upper' take the output of 'lower', too"),
    (something_between, "they do not feed one another alone"),
    (from_the_end, "'upper' takes the output of 'lower' from the end"),
    (time_for_batch, "'upper' takes the time of 'lower' for the batch"),
    (other_bound, "'lower' and 'upper' differ in cell_clip"),
    (other_activation, "'lower' and 'upper' differ in activations"),
    (other_size, "'lower' and 'upper' differ in hidden_size"),
    (coupled_above, "'lower' and 'upper' differ in input_forget"),
    (shared_state, "'lower' keeps its h where others take it, too"),
    (side_by_side, "they do not feed one another alone"),
    (one_after_two, "they do not feed one another alone"),
    (a_loop_before, "there is a While loop, which may be a recurrent layer, too"),
    (another_kind, "there is a plain RNN, which may be a recurrent layer, too"),
    (custom_loop, "there is the custom operator 'FlexWhile', which may be a recurrent layer, too"),
]


def test_layers_are_joined(load: Callable[..., LSTM]) -> None:
    assert load(joined).num_layers == 2
    assert load(lambda w: w.operator("CUSTOM Mfcc", [joined(w)], "y", (B, T, H))).num_layers == 2


@pytest.mark.parametrize(("build", "why"), REFUSED, ids=lambda one: getattr(one, "__name__", ""))
def test_what_is_no_one_net(build: Callable[[Writer], Any], why: str, load: Callable[..., LSTM]) -> None:
    """It raises with the reason and the choices, and each can be picked where it is whole."""
    with pytest.raises(FormatError) as caught:
        load(build)
    assert why in str(caught.value)
    assert "pick one by node=: 0: '" in str(caught.value)
    if build is not shared_state:
        assert load(build, node=0).num_layers == 1
        assert load(build, node=-1).num_layers == 1


def wrong_order(w: Writer) -> int:
    forward, backward = pair(w, w.input("x", (B, T, I)), 1)
    return w.operator("CONCATENATION", [backward, forward], "merged", (B, T, 2 * H), Axis=2)


def along_time(w: Writer) -> int:
    return w.operator("CONCATENATION", pair(w, w.input("x", (B, T, I)), 1), "merged", (B, 2 * T, H), Axis=1)


def not_turned_back(w: Writer) -> int:
    x = w.input("x", (B, T, I))
    forward, backward = lower_of(w, x, "forward"), lower_of(w, w.reverse(x, 1), "backward")
    return w.operator("CONCATENATION", [forward, backward], "merged", (B, T, 2 * H), Axis=2)


def turned_in_the_batch(w: Writer) -> int:
    x = w.input("x", (B, T, I))
    forward, backward = lower_of(w, x, "forward"), lower_of(w, w.reverse(x, 0), "backward")
    both = [forward, w.reverse(backward, 0)]
    return w.operator("CONCATENATION", both, "merged", (B, T, 2 * H), Axis=2)


def of_two_inputs(w: Writer) -> int:
    forward = lower_of(w, w.input("x", (B, T, I)), "forward")
    backward = w.reverse(lower_of(w, w.reverse(w.input("z", (B, T, I)), 1), "backward"), 1)
    return w.operator("CONCATENATION", [forward, backward], "merged", (B, T, 2 * H), Axis=2)


def with_activation(w: Writer) -> int:
    sides = pair(w, w.input("x", (B, T, I)), 1)
    return w.operator("ADD", sides, "merged", (B, T, H), FusedActivationFunction=1)


def of_other_bounds(w: Writer) -> int:
    x = w.input("x", (B, T, I))
    forward = lower_of(w, x, "forward")
    both = [forward, w.reverse(lower_of(w, w.reverse(x, 1), "backward", CellClip=1.0), 1)]
    return w.operator("CONCATENATION", both, "merged", (B, T, 2 * H), Axis=2)


def first_step_of_the_backward(w: Writer) -> int:
    x = w.input("x", (B, T, I))
    forward, backward = lower_of(w, x, "forward"), lower_of(w, w.reverse(x, 1), "backward")
    both = [w.last(forward), w.last(w.reverse(backward, 1))]
    return w.operator("CONCATENATION", both, "merged", (B, 2 * H), Axis=1)


def merged_twice(w: Writer) -> list[int]:
    sides = pair(w, w.input("x", (B, T, I)), 1)
    return [w.operator(kind, sides, kind, (B, T, H)) for kind in ("ADD", "MUL")]


def lower_of(w: Writer, x: int, name: str, **options: Any) -> int:
    return w.lstm(name, x, random_weights(len(name)), **options)


@pytest.mark.parametrize(
    "build",
    [
        *(wrong_order, along_time, not_turned_back, turned_in_the_batch, of_two_inputs, with_activation),
        *(of_other_bounds, first_step_of_the_backward, merged_twice),
    ],
)
def test_what_is_no_bidirectional_layer(build: Callable[[Writer], Any], load: Callable[..., LSTM]) -> None:
    """Two operators side by side, each a net of its own."""
    with pytest.raises(FormatError, match="has 2 LSTMs that are not the layers of one net"):
        load(build)
    assert not load(build, node=0).bidirectional
    assert load(build, node=1).reverse == (build is not turned_in_the_batch)


def test_halves_that_are_no_mean(load: Callable[..., LSTM]) -> None:
    """A sum that is scaled by something else stays a sum."""

    def scaled(w: Writer) -> int:
        total = w.operator("ADD", pair(w, w.input("x", (B, T, I)), 1), "merged", (B, T, H))
        factor = w.constant("factor", np.float32(0.25))
        return w.operator("MUL", [factor, total], "quarter", (B, T, H))

    def also_taken(w: Writer) -> list[int]:
        total = w.operator("ADD", pair(w, w.input("x", (B, T, I)), 1), "merged", (B, T, H))
        return [total, w.operator("MUL", [total, w.constant("f", np.float32(0.5))], "mean", (B, T, H))]

    def swapped(w: Writer) -> int:
        total = w.operator("ADD", pair(w, w.input("x", (B, T, I)), 1), "merged", (B, T, H))
        return w.operator("DIV", [w.constant("f", np.float32(2)), total], "mean", (B, T, H))

    for build in (scaled, also_taken, swapped):
        assert load(build).merge == "sum"


# Picking


def test_picks_by_number_name_and_direction(tmp_path: Path) -> None:
    path = FOLDER / "two_pairs.tflite"
    assert [pick.value for pick in picks(path)] == [None, "between", "merged"]
    net = lstm.load(path)
    for layer, own in enumerate(("between", "merged")):
        for node in (layer, layer - 2, own):
            found = lstm.load(path, node=node).state_dict()
            for key in ("weight_ih_l0", "weight_hh_l0_reverse", "bias_ih_l0"):
                assert_same_bits(found[key], net.state_dict()[key.replace("l0", f"l{layer}")])
    one = lstm.load(path, node="upper/backward")
    assert one.reverse
    assert one.input_size == 2 * H
    assert_same_bits(one.state_dict()["weight_hh_l0"], net.state_dict()["weight_hh_l1_reverse"])
    with pytest.raises(
        FormatError, match=r"has 2 LSTMs, so none of number 2: 0: 'between' \(input_size=3, hidden"
    ):
        lstm.load(path, node=2)
    with pytest.raises(FormatError, match="has 0 LSTMs 'other'; it has 0: 'between'"):
        lstm.load(path, node="other")
    with pytest.raises(TypeError, match="node is True"):
        lstm.load(path, node=True)


def test_layers_of_one_name_are_picked_by_number(tmp_path: Path) -> None:
    w = Writer()
    x = w.input("x", (B, T, I))
    found = [w.lstm("lstm", x, random_weights(k)) for k in range(2)]
    path = tmp_path / "model.tflite"
    path.write_bytes(w.content(*found))
    assert [pick.value for pick in picks(path)] == [None, 0, 1]
    with pytest.raises(FormatError, match="has 2 LSTMs 'lstm'"):
        lstm.load(path, node="lstm")


# States, notes, tensors


def with_state(w: Writer, place: int, number: int) -> int:
    y = lower(w)
    w.operators[-1][1][place] = number
    return y


def test_initial_states(load: Callable[..., LSTM]) -> None:
    values = np.full((B, H), 0.5, np.float32)

    def constant(w: Writer) -> int:
        return with_state(w, 19, w.constant("start", values))

    def computed(w: Writer) -> int:
        return with_state(w, 18, w.operator("TANH", [w.input("s", (B, H))], "start", (B, H)))

    def zero(w: Writer) -> int:
        return with_state(w, 18, w.constant("start", 0 * values))

    def given(w: Writer) -> int:
        return with_state(w, 18, w.input("start", (B, H)))

    with pytest.raises(
        FormatError, match=r"constant C 'start' that is not zero.*initial_states=\"drop\".*C0="
    ):
        load(constant)
    with pytest.raises(FormatError, match=r"starts from the h that TANH computes.*initial_states=\"drop\""):
        load(computed)
    with pytest.raises(ValueError, match="initial_states is 'ignore'"):
        load(computed, initial_states="ignore")
    for build, options in ((constant, {"initial_states": "drop"}), (computed, {"initial_states": "drop"})):
        assert load(build, **options).hidden_size == H
    assert load(zero).hidden_size == load(given).hidden_size == H


def test_notes() -> None:
    path = FOLDER / "int8.tflite"
    (note,) = format_of(path).notes(path)
    assert "dequantized exactly" in note
    assert format_of(path).notes(path, node=0, initial_states="drop") == [note]
    for name in ("float16", "plain"):
        assert format_of(path).notes(FOLDER / f"{name}.tflite") == []


def test_tensors(tmp_path: Path) -> None:
    """Every constant, integers with a scale as what they stand for, names that are there twice numbered."""
    w = Writer()
    rng = np.random.default_rng(0)
    arrays = {
        "dense": rng.normal(size=(2, 3)).astype(np.float32),
        "half": rng.normal(size=4).astype(np.float16),
        "count": np.arange(3, dtype=np.int32),
        "flag": np.array([True, False]),
    }
    for name, array in arrays.items():
        w.constant(name, array)
    w.constant("count", np.array([7], np.int32))
    whole = np.arange(-3, 3, dtype=np.int8).reshape(2, 3)
    w.constant("int8", whole, scales=[0.5], zeros=[1])
    w.constant("columns", whole, scales=[0.5, 0.25, 2.0], zeros=[0, 0, 0], axis=1)
    w.constant("text", np.zeros(3, np.uint8), scales=[1.0])
    w.tensors[-1]["dtype"] = "string"
    path = tmp_path / "model.tflite"
    path.write_bytes(w.content(w.tensor("y", (1,))))
    found = lstm.tensors(path)
    arrays["half"] = arrays["half"].astype(np.float32)
    expected = {
        **arrays,
        "count#2": np.array([7], np.int32),
        "int8": ((whole - 1) * 0.5).astype(np.float32),
        "columns": whole * np.array([0.5, 0.25, 2.0], np.float32),
    }
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert_same_bits(found[name], array, name)
        assert found[name].flags.writeable, name


def test_tensors_of_a_loop() -> None:
    """Those of its graphs, from which the weights can be had."""
    found = lstm.tensors(FOLDER / "while_loop.tflite")
    assert found["2/functional_1/lstm_1/while/lstm_cell_1/MatMul"].shape == (16, 3)


# What is not read


def other(w: Writer, place: int, number: int, **options: Any) -> int:
    y = lower(w, **options)
    w.operators[-1][1][place] = number
    return y


def test_loops_and_single_operations(load: Callable[..., LSTM]) -> None:
    with pytest.raises(FormatError, match=r"(?s)While loop.*Keras 3.*\.keras or \.h5.*TF_USE_LEGACY_KERAS"):
        lstm.load(FOLDER / "while_loop.tflite")

    def unrolled(w: Writer) -> int:
        y = w.input("x", (B, I))
        for kind in ("LOGISTIC", "TANH", "MUL"):
            y = w.operator(kind, [y, y] if kind == "MUL" else [y], kind, (B, I))
        return y

    def nothing(w: Writer) -> int:
        return w.operator("TANH", [w.input("x", (B, I))], "y", (B, I))

    def one_step(w: Writer) -> int:
        return w.operator("LSTM", [w.input("x", (B, I))], "y", (B, I))

    with pytest.raises(FormatError, match=r"single operations, as of unroll=True; load the \.keras"):
        load(unrolled)
    with pytest.raises(FormatError, match=r"has no fused LSTM operator$"):
        load(nothing)
    with pytest.raises(FormatError, match=r"has no fused LSTM operator, but a single step of an LSTM$"):
        load(one_step)


UNSUITABLE: list[tuple[Callable[[Writer], int], str]] = [
    (lambda w: other(w, 21, w.constant("norm", np.ones(H, np.float32))), "has layer normalization"),
    (lambda w: lower(w, CellClip=-1.0), r"has cell_clip -1\.0, but it must be 0 or positive"),
    (lambda w: lower(w, CellClip=float("nan")), "has cell_clip nan"),
    (
        lambda w: lower(w, FusedActivationFunction=0),
        "has the activation NONE, but must have one of RELU, TANH",
    ),
    (lambda w: lower(w, FusedActivationFunction=3), "has the activation RELU6"),
    (lambda w: lower(w, FusedActivationFunction=99), "has the activation function 99"),
    (lambda w: lower(w, DiagonalRecurrentTensors=True), "has diagonal recurrent weights"),
    (lambda w: lower(w, has_options=False), "lacks its UnidirectionalSequenceLSTMOptions"),
    (lambda w: other(w, 13, -1), r"lacks its input 13, of shape \(5,\)"),
    (lambda w: other(w, 1, -1), "has one of the two weights of the input gate, but not the other"),
    (lambda w: other(w, 18, -1), "lacks its input 18, the state h"),
    (lambda w: other(w, 9, w.constant("p", np.ones(H, np.float32))), "lacks its input 10"),
    (lambda w: other(w, 2, w.input("given", (H, I))), "'given', holds no values, but weights must be"),
    (
        lambda w: other(w, 2, w.operator("TANH", [w.input("z", (H, I))], "made", (H, I))),
        "'made', is computed by TANH, but weights must be constants",
    ),
    (
        lambda w: other(w, 3, w.constant("odd", np.ones((H, I + 1), np.float32))),
        r"'odd', has shape \(5, 4\), but must have \(5, 3\)",
    ),
    (lambda w: other(w, 3, w.constant("odd", np.ones((H, I)))), "'odd', is FLOAT64, but must be"),
    (lambda w: other(w, 3, w.constant("odd", np.ones((H, I), np.int8))), "'odd', is INT8 with 0 scales"),
    (
        lambda w: other(w, 3, w.constant("odd", np.ones((H, I), np.int8), scales=[1.0], zeros=[3])),
        r"'odd', is INT8 with 1 scales and zero points \[3\]",
    ),
    (
        lambda w: other(w, 3, w.constant("odd", np.ones((H, I), np.int8), scales=[1.0] * H, zeros=[0] * H)),
        "'odd', is INT8 with 5 scales",
    ),
    (
        lambda w: w.lstm(
            "lstm",
            w.input("x", (B, T, I)),
            random_weights(1, P=2) | {"projection_bias": np.ones(2, np.float32)},
        ),
        "has a bias of the projection",
    ),
    (
        lambda w: w.lstm("lstm", w.input("x", (B, T, I)), random_weights(1, P=6)),
        "has a projection of 5 units to 6",
    ),
    (
        lambda w: w.lstm("lstm", w.input("x", (B, T, I)), random_weights(1, H=5) | {"h_f": np.ones((5, 4))}),
        "no proj",
    ),
    (
        lambda w: w.lstm("lstm", w.input("x", (B, T, I), "int8"), random_weights(1)),
        "computes in integers: its input",
    ),
    (
        lambda w: w.lstm("lstm", w.input("x", (B, T, 4)), random_weights(1)),
        r"has 4 features a step, but weights of \(5, 3\)",
    ),
]


@pytest.mark.parametrize(("build", "why"), UNSUITABLE, ids=lambda one: one if isinstance(one, str) else "")
def test_operators_that_this_package_does_not_compute(
    build: Callable[[Writer], int], why: str, load: Callable[..., LSTM]
) -> None:
    for options in ({}, {"node": 0}):
        with pytest.raises(FormatError, match=why) as caught:
            load(build, **options)
        assert "model.tflite" in str(caught.value)


def test_a_zero_bias_of_the_projection_changes_nothing(load: Callable[..., LSTM]) -> None:
    weights = random_weights(1, P=2) | {"projection_bias": np.zeros(2, np.float32)}
    assert load(lambda w: w.lstm("lstm", w.input("x", (B, T, I)), weights)).proj_size == 2


def test_an_auxiliary_input(load: Callable[..., LSTM]) -> None:
    def build(w: Writer) -> int:
        y = w.both("lstm", w.input("x", (B, T, I)), [random_weights(1), random_weights(2)])
        w.operators[0][1][39] = w.inputs[0]
        return y

    with pytest.raises(FormatError, match="has an auxiliary input"):
        load(build)


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tflite", None)
    with pytest.raises(ImportError, match=r'pip install "lstm-native\[tflite\]"'):
        lstm.load(FOLDER / "plain.tflite")


@pytest.mark.parametrize("read", [lstm.load, lstm.tensors])
def test_reading_takes_twice_the_files_size_at_most(read: Callable[[Path], Any], tmp_path: Path) -> None:
    """The file's bytes and the weights."""
    w = Writer()
    path = tmp_path / "large.tflite"
    path.write_bytes(w.content(w.lstm("lstm", w.input("x", (1, 2, 128)), random_weights(1, 128, 300))))
    read(path)  # what is imported once is not counted
    gc.collect()
    tracemalloc.start()
    try:
        found = read(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found
    assert peak < 2 * path.stat().st_size + 128 * 1024
