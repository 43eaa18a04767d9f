"""Layers, directions, projections, peepholes, lengths and options: outputs, errors, weights.

Against an oracle of its own, against PyTorch and ONNX Runtime where they are installed, and native against
NumPy on every ISA.

Shapes: B batch, T time, I input, H hidden, O features of h, L layers, D directions.
"""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import variant_peers
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from support import DATA, DTYPES, ISAS, assert_close, assert_same_bits, awkward_arrays, misaligned
from variants import FUNCTIONS, OPTIONS, VARIANTS, assert_outputs_close, draw, fill_in, make, nets_of, oracle

import lstm
from lstm import LSTM, _kernel


def is_tame(outputs: dict[str, np.ndarray]) -> bool:
    """Whether nothing has grown without bound, as unbounded activations may."""
    return all(np.isfinite(array).all() and np.abs(array).max(initial=0) < 100 for array in outputs.values())


def each_mixture(count: int, test: Callable[[np.random.Generator, Any], None]) -> None:
    """Run `test` on `count` examples of a generator and a dtype, the same ones at every run."""

    @settings(max_examples=count, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(st.integers(0, 2**32 - 1), st.sampled_from(DTYPES))
    def run(seed: int, dtype: Any) -> None:
        test(np.random.default_rng(seed), dtype)

    run()


# Outputs


def test_mixtures_against_the_oracle(mixtures: int) -> None:
    """Both backends, and the native one on every ISA of this CPU, which give the same bits."""

    def test(rng: np.random.Generator, dtype: Any) -> None:
        mixture = draw(rng, dtype)
        expected = oracle(mixture)
        assume(is_tame(expected))
        outputs = {where: mixture.outputs(net) for where, net in nets_of(mixture)}
        for where, found in outputs.items():
            assert_outputs_close(found, expected, where)
            assert_outputs_close(found, outputs["NumPy"], where)
            if where != "NumPy":
                for name, array in found.items():
                    assert_same_bits(array, outputs["generic"][name], f"{where} {name}")

    each_mixture(4 * mixtures, test)


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_each_variant_matters(name: str, dtype: Any) -> None:
    """Each option changes the outputs, on both backends, and the oracle agrees with them."""
    _, mixture = make(name, dtype, 4)
    expected = oracle(fill_in(mixture))
    for backend in ("native", "numpy"):
        assert_outputs_close(mixture.outputs(mixture.net(backend=backend)), expected, backend)
    for option in OPTIONS:
        if option in VARIANTS[name]:
            other = {key: value for key, value in mixture.arguments.items() if key != option}
            if option == "merge":  # of the same size as before, for the next layer's weights
                other[option] = "mean" if mixture.arguments[option] == "sum" else "sum"
            without = mixture._replace(arguments=other)
            Y = without.outputs(without.net())["Y"]
            assert np.abs(Y - expected["Y"]).max() > 1e-3, option


def test_mixtures_against_pytorch(mixtures: int) -> None:
    """Layers, directions, projections, biases, packed sequences."""
    pytest.importorskip("torch")

    def test(rng: np.random.Generator, dtype: Any) -> None:
        mixture = variant_peers.for_pytorch(rng, dtype)
        expected = variant_peers.pytorch_outputs(mixture)
        for where, net in nets_of(mixture):
            assert_outputs_close(mixture.outputs(net), expected, where)

    each_mixture(2 * mixtures, test)


def test_mixtures_against_onnx_runtime(mixtures: int) -> None:
    """Peepholes, clip, coupled gates, activations, directions and lengths of the operator, in float32."""
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")

    def test(rng: np.random.Generator, _: Any) -> None:
        mixture = variant_peers.for_onnx_runtime(rng)
        assume(is_tame(oracle(mixture)))
        expected = variant_peers.onnx_outputs(mixture)
        for where, net in nets_of(mixture):
            assert_outputs_close(mixture.outputs(net), expected, where)

    each_mixture(2 * mixtures, test)


def recorded() -> dict[str, dict[str, np.ndarray]]:
    """Arrays of every recorded case by name."""
    cases: dict[str, dict[str, np.ndarray]] = {}
    with np.load(DATA / "variants.npz") as file:
        for key, array in file.items():
            case, name = key.split("/")
            cases.setdefault(case, {})[name] = array
    return cases


RECORDED = recorded()


def test_every_option_is_recorded() -> None:
    """With lengths and without, and each function of the operator."""
    arguments = [json.loads(str(case["arguments"])) for case in RECORDED.values()]
    for name in ("bidirectional", "reverse", "proj_size", "bias", "peephole", "clip", "input_forget"):
        assert {bool(one[name]) for one in arguments} == {True, False}, name
    assert {one["num_layers"] for one in arguments} == {1, 2, 3}
    functions = [f for one in arguments for f in one["activations"] or []]
    assert {(f if isinstance(f, str) else f[0]).lower() for f in functions} == set(map(str.lower, FUNCTIONS))
    for peer in ("pytorch", "onnxruntime"):
        cases = [case for name, case in RECORDED.items() if name.startswith(peer)]
        assert {"lengths" in case for case in cases} == {True, False}


@pytest.mark.parametrize("backend", ["native", "numpy"])
@pytest.mark.parametrize("case", RECORDED)
def test_recorded_outputs_of_peers(case: str, backend: str) -> None:
    """What PyTorch and ONNX Runtime gave, made by generate_variant_oracles.py."""
    mixture, expected = variant_peers.replayed(RECORDED[case])
    assert_outputs_close(mixture.outputs(mixture.net(backend=backend)), expected, case)


# Arrays and arguments


@pytest.mark.parametrize("backend", ["native", "numpy"])
@pytest.mark.parametrize("name", ["one-direction mixture", "two-direction mixture", "reversed mixture"])
def test_awkward_arrays(name: str, backend: str) -> None:
    _, mixture = make(name, np.float64, 5)
    net = mixture.net(backend=backend)
    expected = mixture.outputs(net)
    for field in ("X", "h0", "C0"):
        for what, array in awkward_arrays(getattr(mixture, field)):
            found = mixture._replace(**{field: array}).outputs(net)
            for key, values in expected.items():
                assert_same_bits(found[key], values, f"{field} {what}: {key}")


WRONG_ARGUMENTS: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "no layers": ({"num_layers": 0}, ValueError, "num_layers is 0"),
    "half a layer": ({"num_layers": 1.5}, TypeError, "num_layers is 1.5"),
    "a flag that is none": ({"bidirectional": 1}, TypeError, "bidirectional is 1"),
    "reverse text": ({"reverse": "yes"}, TypeError, "reverse is 'yes'"),
    "both and reverse": ({"bidirectional": True, "reverse": True}, ValueError, "reverse is True"),
    "a projection too large": ({"proj_size": 5}, ValueError, "proj_size is 5"),
    "a negative projection": ({"proj_size": -1}, ValueError, "proj_size is -1"),
    "a projection of True": ({"proj_size": True}, TypeError, "proj_size is True"),
    "no number to clip at": ({"clip": "1"}, TypeError, "clip is '1'"),
    "clip at zero": ({"clip": 0}, ValueError, "clip is 0"),
    "clip at NaN": ({"clip": np.nan}, ValueError, "clip is nan"),
    "clip at infinity": ({"clip": np.inf}, ValueError, "clip is inf"),
    "clip past every float": ({"clip": 10**400}, ValueError, "clip is an integer that no float can hold"),
    "an unknown merge": ({"bidirectional": True, "merge": "max"}, ValueError, "merge is 'max'"),
    "no merge": ({"bidirectional": True, "merge": None}, TypeError, "merge is None"),
    "nothing to merge": ({"merge": "sum"}, ValueError, "merge is 'sum', but only a bidirectional net"),
    "a negative cell_clip": ({"cell_clip": -1.0}, ValueError, "cell_clip is -1.0"),
    "no number for cell_clip": ({"cell_clip": True}, TypeError, "cell_clip is True"),
    "proj_clip at zero": ({"proj_size": 2, "proj_clip": 0}, ValueError, "proj_clip is 0"),
    "proj_clip of nothing": (
        {"proj_clip": 1.0},
        ValueError,
        "proj_clip is 1.0, but the net has no projection",
    ),
    "too few activations": ({"activations": ["Tanh"]}, ValueError, "activations has 1"),
    "four for two directions": (
        {"bidirectional": True, "activations": ["Tanh"] * 4},
        ValueError,
        "activations has 4 entries, but must have 3 or 6",
    ),
    "activations as text": ({"activations": "Tanh"}, TypeError, "activations is 'Tanh'"),
    "an unknown activation": ({"activations": ["Tanh", "Gelu", "Tanh"]}, ValueError, "'Gelu'"),
    "a parameter too many": ({"activations": [("Tanh", 1.0), "Tanh", "Tanh"]}, ValueError, "no alpha"),
    "a beta too many": ({"activations": [("Elu", 1.0, 2.0), "Tanh", "Tanh"]}, ValueError, "no beta"),
    "a parameter of text": ({"activations": [("Elu", "1"), "Tanh", "Tanh"]}, TypeError, "alpha"),
    "a parameter of NaN": ({"activations": [("Elu", np.nan), "Tanh", "Tanh"]}, ValueError, "alpha"),
    "a parameter past every float": (
        {"activations": [("Elu", 10**400), "Tanh", "Tanh"]},
        ValueError,
        "alpha of the activation Elu is an integer that no float can hold",
    ),
    "a function": ({"activations": [np.tanh, "Tanh", "Tanh"]}, TypeError, "an activation is"),
}


@pytest.mark.parametrize("name", WRONG_ARGUMENTS)
def test_wrong_arguments(name: str) -> None:
    arguments, error, match = WRONG_ARGUMENTS[name]
    with pytest.raises(error, match=match):
        LSTM(3, 5, **arguments)


WRONG_LENGTHS: dict[str, tuple[Any, type[Exception], str]] = {
    "too many": ([1, 2, 3, 4, 5], ValueError, r"lengths has shape \(5,\), but must be \(4,\)"),
    "one number": (3, ValueError, "lengths has shape"),
    "a column": (np.ones((4, 1), int), ValueError, "lengths has shape"),
    "negative": ([1, 2, -1, 3], ValueError, "from -1 to 3, but they must be from 0 to 6"),
    "past the end": ([1, 2, 7, 3], ValueError, "from 1 to 7"),
    "floating-point": ([1.0, 2.0, 3.0, 4.0], TypeError, "lengths has dtype float64"),
    "bool": ([True, False, True, True], TypeError, "lengths has dtype bool"),
    "text": (["1", "2", "3", "4"], TypeError, "lengths has dtype"),
    "huge": (np.array([2**64 - 1, 1, 1, 1], np.uint64), ValueError, "18446744073709551615"),
}


@pytest.mark.parametrize("backend", ["native", "numpy"])
@pytest.mark.parametrize("name", WRONG_LENGTHS)
def test_wrong_lengths(name: str, backend: str) -> None:
    lengths, error, match = WRONG_LENGTHS[name]
    _, mixture = make("two-direction mixture", np.float64, 4)
    net = mixture.net(backend=backend)
    out = np.full((4, 6, 10), 7.0)
    with pytest.raises(error, match=match):
        net.forward_sequence(mixture.X, lengths=lengths, out=out)
    assert (out == 7).all()
    with pytest.raises(error, match=match):
        net.trace(mixture.X, lengths=lengths)
    with pytest.raises(ValueError, match="single sequence"):
        net.forward_sequence(mixture.X[0], lengths=[6])


def test_lengths_of_any_integers() -> None:
    net, mixture = make("plain", np.float32, 4)
    lengths = np.array([3, 0, 6, 2])
    expected = net.forward_sequence(mixture.X, lengths=lengths)
    for dtype in (np.int8, np.uint8, np.int32, np.uint64, ">i4"):
        assert_same_bits(net.forward_sequence(mixture.X, lengths=lengths.astype(dtype)), expected)
    for odd in (np.repeat(lengths, 3)[::3], lengths[::-1].copy()[::-1], misaligned(lengths)):
        assert_same_bits(net.forward_sequence(mixture.X, lengths=odd), expected)
    assert_same_bits(net.forward_sequence(mixture.X, lengths=[3, 0, 6, 2]), expected)
    assert net.forward_sequence(np.ones((0, 6, 5)), lengths=[]).shape == (0, 6, 35)
    assert net.forward_sequence(np.ones((2, 0, 5)), lengths=[0, 0]).shape == (2, 0, 35)


@pytest.mark.parametrize("backend", ["native", "numpy"])
def test_state_shapes(backend: str) -> None:
    """(L D, O) and (L D, B, O) for h, H for C; a state that is not given comes in the form of the other."""
    net = LSTM(3, 6, num_layers=2, bidirectional=True, proj_size=4, rng=0, backend=backend)  # type: ignore[arg-type]
    X = np.random.default_rng(1).standard_normal((5, 7, 3))
    h0, C0 = np.ones((4, 5, 4)), np.ones((4, 5, 6))
    Y, (h, C) = net.forward_sequence(X, h0, C0, return_state=True)
    assert (Y.shape, h.shape, C.shape) == ((5, 7, 8), (4, 5, 4), (4, 5, 6))
    Y, (h, C) = net.forward_sequence(X[0], h0[:, 0], return_state=True)
    assert (Y.shape, h.shape, C.shape) == ((7, 8), (4, 4), (4, 6))
    for wrong in (h0[:2], h0[:, :4], h0[0], C0, h0[:, 0]):
        with pytest.raises(ValueError, match=r"h0 has shape .* but must be \(4, 5, 4\)"):
            net.forward_sequence(X, wrong)
    with pytest.raises(ValueError, match=r"C0 has shape .* but must be \(4, 5, 6\)"):
        net.forward_sequence(X, C0=h0)
    one = LSTM(3, 6, proj_size=4, rng=0, backend=backend)  # type: ignore[arg-type]
    for form, (h_shape, C_shape) in {
        (4,): ((4,), (6,)),
        (1, 4): ((1, 4), (1, 6)),
        (4, 1): ((4, 1), (6, 1)),
    }.items():
        _, (h, C) = one.forward_sequence(X[0], np.ones(form), return_state=True)
        assert (h.shape, C.shape) == (h_shape, C_shape)


@pytest.mark.parametrize("backend", ["native", "numpy"])
def test_what_runs_from_the_end_has_no_stream(backend: str) -> None:
    for options in ({"bidirectional": True}, {"reverse": True}):
        net = LSTM(3, 5, backend=backend, **options)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="starts at the end"):
            net.stream()
    both = LSTM(3, 5, bidirectional=True, backend=backend)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="bidirectional"):
        both.forward(np.ones(3), np.zeros((2, 5)), np.zeros((2, 5)))


# Weights


@pytest.mark.parametrize("backend", ["native", "numpy"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", VARIANTS)
def test_weights_come_and_go(name: str, dtype: Any, backend: str, tmp_path: Any) -> None:
    """State dicts, pickles, copies and files give the same bits."""
    _, mixture = make(name, dtype, 3)
    net = mixture.net(backend=backend)
    assert repr(eval(repr(net), {"LSTM": LSTM, "float32": "float32", "float64": "float64"})) == repr(net)
    expected = mixture.outputs(net)
    net.save(tmp_path / "net.npz")
    loaded = LSTM(**{"input_size": 5, "hidden_size": 35, **mixture.arguments}, dtype=dtype, backend=backend)
    loaded.load_state_dict(net.state_dict())
    others = {
        "pickle": pickle.loads(pickle.dumps(net)),
        "copy": copy.copy(net),
        "deepcopy": copy.deepcopy(net),
        "file": lstm.load(tmp_path / "net.npz", backend=backend),  # type: ignore[arg-type]
        "load_state_dict": loaded,
    }
    for how, other in others.items():
        assert repr(other) == repr(net), how
        for key, array in net.state_dict().items():
            assert_same_bits(other.state_dict()[key], array, f"{how} {key}")
        for key, array in mixture.outputs(other).items():
            assert_same_bits(array, expected[key], f"{how} {key}")


@pytest.mark.parametrize("backend", ["native", "numpy"])
def test_layers_show_and_set_the_weights(backend: str) -> None:
    """Each array of each layer is that of the state dict, and setting one sets it alone."""
    net = LSTM(
        3,
        6,
        num_layers=2,
        bidirectional=True,
        proj_size=4,
        peephole=True,
        init="pytorch",
        rng=1,
        backend=backend,  # type: ignore[arg-type]
    )
    assert len(net.layers) == 4
    gates = {"i": 0, "f": 1, "C": 2, "o": 3}
    for k, layer in enumerate(net.layers):
        suffix = f"_l{k // 2}" + "_reverse" * (k % 2)
        for gate, place in gates.items():
            rows = slice(6 * place, 6 * place + 6)
            state = net.state_dict()
            W = np.concatenate([state["weight_hh" + suffix][rows], state["weight_ih" + suffix][rows]], axis=1)
            assert_same_bits(getattr(layer, "W" + gate), W)
            assert_same_bits(getattr(layer, "b" + gate)[:, 0], state["bias_ih" + suffix][rows])
            setattr(layer, "W" + gate, W + 1)
            setattr(layer, "b" + gate, np.arange(6.0))
            state["weight_hh" + suffix][rows] = W[:, :4] + 1
            state["weight_ih" + suffix][rows] = W[:, 4:] + 1
            state["bias_ih" + suffix][rows] = np.arange(6.0)
            for key, array in net.state_dict().items():
                assert_same_bits(array, state[key], key)
        for place, gate in enumerate("ifo"):
            p = getattr(layer, "p" + gate)
            assert_same_bits(p[:, 0], net.state_dict()["weight_ch" + suffix][6 * place : 6 * place + 6])
            setattr(layer, "p" + gate, p - 2)
            assert_same_bits(getattr(layer, "p" + gate), p - 2)
            with pytest.raises(ValueError, match="read-only"):
                p[0] = 1
        assert layer.Whr is not None
        assert_same_bits(layer.Whr, net.state_dict()["weight_hr" + suffix])
        layer.Whr = layer.Whr * 3
        assert_same_bits(layer.Whr, net.state_dict()["weight_hr" + suffix])
    with pytest.raises(AttributeError, match=r"net\.layers\[k\]\.Wf"):
        _ = net.Wf
    plain = LSTM(3, 6, rng=0)
    with pytest.raises(ValueError, match="peephole=False"):
        plain.layers[0].pi = np.ones(6)
    with pytest.raises(ValueError, match="proj_size=0"):
        plain.layers[0].Whr = np.ones((3, 6))
    assert plain.layers[0].Whr is None
    assert not plain.layers[0].pf.any()


def test_load_state_dict_of_another_net() -> None:
    net = LSTM(3, 6, num_layers=2, rng=0)
    before = {name: array.tobytes() for name, array in net.state_dict().items()}
    others = (
        LSTM(3, 6, num_layers=3),
        LSTM(3, 6, num_layers=2, bidirectional=True),
        LSTM(3, 6, num_layers=2, proj_size=2),
        LSTM(3, 6, num_layers=2, peephole=True),
    )
    for other in others:
        with pytest.raises(ValueError, match="the state dict is of an LSTM with"):
            net.load_state_dict(other.state_dict())
    state = net.state_dict()
    del state["weight_hh_l1"]
    with pytest.raises(ValueError, match="lacks weight_hh_l1"):
        net.load_state_dict(state)
    with pytest.raises(ValueError, match="weight_ih_l999999"):
        net.load_state_dict({**net.state_dict(), "weight_ih_l999999": np.ones(3)})
    assert {name: array.tobytes() for name, array in net.state_dict().items()} == before


def test_the_names_stand_in_pytorchs_order() -> None:
    """As `list(torch.nn.LSTM(3, 5, 2, bidirectional=True, proj_size=2).state_dict())`; peepholes last."""
    endings = ("_l0", "_l0_reverse", "_l1", "_l1_reverse")
    kinds = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr", "weight_ch")
    net = LSTM(3, 5, num_layers=2, bidirectional=True, proj_size=2, peephole=True)
    assert list(net.state_dict()) == [kind + ending for ending in endings for kind in kinds]
    shapes = [array.shape for array in net.state_dict().values()]
    assert shapes[:6] == [(20, 3), (20, 2), (20,), (20,), (2, 5), (15,)]
    assert shapes[12:18] == [(20, 4), (20, 2), (20,), (20,), (2, 5), (15,)]
    without = LSTM(3, 5, num_layers=2, bias=False)
    assert list(without.state_dict()) == ["weight_ih_l0", "weight_hh_l0", "weight_ih_l1", "weight_hh_l1"]


@pytest.mark.parametrize("backend", ["native", "numpy"])
def test_what_is_given_and_taken_is_copied(backend: Any) -> None:
    """Of state dicts and of the arrays of layers: to write into them changes nothing in the net."""
    net = LSTM(3, 6, num_layers=2, proj_size=4, peephole=True, init="pytorch", rng=1, backend=backend)
    layer = net.layers[1]
    own = {"Whr": layer.Whr + 0, "pf": layer.pf + 0, "Wf": layer.Wf + 0, "bo": layer.bo + 0}
    for name, array in own.items():
        setattr(layer, name, array)
    expected = {name: array.copy() for name, array in net.state_dict().items()}
    for array in (*net.state_dict().values(), *own.values()):
        array += 1
    for name, array in net.state_dict().items():
        assert_same_bits(array, expected[name], name)
    for name, wrong in {"Whr": (6, 4), "pf": (4,), "Wf": (6, 9), "bo": (1, 6)}.items():
        with pytest.raises(ValueError, match=f"{name} has shape"):
            setattr(layer, name, np.ones(wrong))
    for name, array in net.state_dict().items():
        assert_same_bits(array, expected[name], name)
    assert repr(layer).startswith("<layer l1 of LSTM(3, 6, num_layers=2")
    assert (layer.input_size, layer.hidden_size, layer.state_size) == (4, 6, 4)


def test_initial_projections_and_peepholes() -> None:
    """Glorot: a Glorot-uniform projection, zero peepholes; the others draw both as they draw the rest."""

    def made(init: str) -> LSTM:
        return LSTM(3, 60, num_layers=2, proj_size=40, peephole=True, init=init, rng=0)  # type: ignore[arg-type]

    limits = {"glorot": np.sqrt(6 / 100), "pytorch": 1 / np.sqrt(60)}
    for init in ("glorot", "pytorch", "normal"):
        layers = made(init).layers
        peepholes = np.stack([getattr(layer, name) for layer in layers for name in ("pi", "pf", "po")])
        projections = np.stack([layer.Whr for layer in layers if layer.Whr is not None])
        assert projections.shape == (2, 40, 60)
        drawn = [projections.ravel()] if init == "glorot" else [projections.ravel(), peepholes.ravel()]
        assert peepholes.any() == (init != "glorot")
        for values in drawn:
            assert np.unique(values).size == values.size
            if init == "normal":
                assert abs(values.std() - 1) < 0.15
            else:
                assert 0.95 * limits[init] < np.abs(values).max() <= limits[init]
    hidden = made("glorot").layers[1].Wi[:, :40]  # 40 columns of an orthogonal matrix
    assert_close(hidden.T @ hidden, np.eye(40))


def test_options_as_they_are_shown() -> None:
    six = ["Sigmoid", "Tanh", "Tanh", "Sigmoid", "Tanh", ("elu", 0.5)]
    net = LSTM(3, 5, bidirectional=True, activations=six)
    assert net.activations == (*six[:5], ("Elu", 0.5))
    assert LSTM(3, 5, bidirectional=True, activations=["sigmoid", "TANH", "tanh"] * 2).activations is None
    for clip in (2, np.float32(2), np.int8(2)):
        assert repr(LSTM(3, 5, clip=clip)) == "LSTM(3, 5, clip=2.0, dtype=float64)"


def test_every_isa_is_tried() -> None:
    assert set(_kernel.SUPPORTED_ISAS) <= set(ISAS)
