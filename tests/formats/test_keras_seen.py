"""No recurrent layer of a model of Keras is left out: all are listed, and each LSTM can be picked."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from keras_models import TOLERANCE, H, I, installed_keras, live_case
from support import assert_close

import lstm
from lstm import LSTM

h5py = pytest.importorskip("h5py")
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def keras() -> Iterator[Any]:
    with installed_keras() as found:
        yield found


@pytest.fixture(scope="module")
def own(keras: Any) -> dict[str, Any]:
    """Classes of a user's own."""
    L = keras.layers
    register = keras.saving.register_keras_serializable("tests")

    @register
    class Encoder(L.Layer):  # type: ignore[misc, name-defined]
        """Layers as attributes, alone and in a list."""

        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            self.rnn = L.LSTM(H, return_sequences=True, name="low")
            self.more = [L.LSTM(H, return_sequences=True, name="high")]

        def build(self, shape: Any) -> None:
            self.rnn.build(shape)
            self.more[0].build((*shape[:-1], H))
            self.built = True

        def call(self, X: Any) -> Any:
            return self.more[0](self.rnn(X))

        def compute_output_shape(self, shape: Any) -> Any:
            return (*shape[:-1], H)

    @register
    class OwnLSTM(L.LSTM):  # type: ignore[misc, name-defined]
        """A subclass that adds nothing."""

    @register
    class Net(keras.Model):  # type: ignore[misc, name-defined]
        """A subclassed model."""

        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            self.rnn = L.LSTM(H, return_sequences=True, name="rnn")
            self.head = L.Dense(1)

        def call(self, X: Any) -> Any:
            return self.head(self.rnn(X))

    return {"Encoder": Encoder, "OwnLSTM": OwnLSTM, "Net": Net}


many = {"return_sequences": True}

# Layers before an LSTM named "last", all of T and I, and the paths of what is recurrent in them.
LEFT_OUT: dict[str, tuple[Callable[[Any, Any], Any], list[str]]] = {
    "a GRU": (lambda L, own: L.GRU(H, name="a", **many), ["a"]),
    "a SimpleRNN": (lambda L, own: L.SimpleRNN(H, name="a", **many), ["a"]),
    "an RNN of others": (lambda L, own: L.RNN(L.GRUCell(H), name="a", **many), ["a"]),
    "a Bidirectional of others": (lambda L, own: L.Bidirectional(L.GRU(H, **many), name="a"), ["a"]),
    "a subclass": (lambda L, own: own["OwnLSTM"](H, name="a", **many), ["a"]),
    "a Bidirectional of a subclass": (
        lambda L, own: L.Bidirectional(own["OwnLSTM"](H, **many), name="a"),
        ["a"],
    ),
    "a layer around two": (lambda L, own: own["Encoder"](name="a"), ["a/low", "a/high"]),
}


IN_EVERY_FORMAT = ("a GRU", "a subclass", "a layer around two")


@pytest.mark.parametrize(
    ("case", "ending"),
    [
        *((case, ending) for case in LEFT_OUT for ending in (".keras", "live")),
        *((case, ending) for case in IN_EVERY_FORMAT for ending in (".h5", ".weights.h5")),
    ],
)
def test_what_is_recurrent_is_never_left_out(
    keras: Any, own: Any, case: str, ending: str, tmp_path: Path
) -> None:
    make, paths = LEFT_OUT[case]
    L = keras.layers
    model = keras.Sequential([keras.Input((6, I)), make(L, own), L.LSTM(H, name="last", **many)])
    X, expected = live_case(keras, model)
    load = loader(model, tmp_path / f"m{ending}")
    with pytest.raises(ValueError, match="pick one by layer=") as caught:
        load(None)
    for path in (*paths, "last"):
        assert f"{path!r} (" in str(caught.value)
    middle = keras.ops.convert_to_numpy(model.layers[0](X))
    assert_close(load("last").forward_sequence(middle), expected, case, TOLERANCE)
    if case == "a layer around two":
        assert_close(
            load("a/high").forward_sequence(load("low").forward_sequence(X)), middle, case, TOLERANCE
        )
    elif ending != ".weights.h5":
        with pytest.raises(
            ValueError, match=r"'a' is (an?|of the class) |'a' has a \w+_layer that is no LSTM"
        ):
            load("a")


def loader(model: Any, path: Path) -> Callable[[Any], LSTM]:
    """What gives the net of a layer of a live model, or of a file of it."""
    if path.name == "mlive":
        return lambda layer: LSTM.from_keras(model, layer)
    (model.save_weights if path.name.endswith(".weights.h5") else model.save)(path)
    return lambda layer: lstm.load(path, layer=layer)


@pytest.mark.parametrize("ending", [".keras", ".h5", ".weights.h5", "live"])
@pytest.mark.parametrize("wrapped", ["LSTM", "Bidirectional", "model"])
def test_time_distributed_layers_are_picked(keras: Any, wrapped: str, ending: str, tmp_path: Path) -> None:
    """By the name of the wrapper, their own, and both; X (B, S, T, I) runs T steps for each of S."""
    L = keras.layers
    inner: Any = L.LSTM(H, name="inner")
    if wrapped == "Bidirectional":
        inner = L.Bidirectional(L.LSTM(H), name="inner")
    elif wrapped == "model":
        inner = keras.Sequential([keras.Input((6, I)), L.LSTM(H, name="inner")], name="block")
    model = keras.Sequential(
        [keras.Input((4, 6, I)), L.TimeDistributed(inner, name="each"), L.LSTM(H, name="last")]
    )
    X, expected = live_case(keras, model, (2, 4, 6, I))
    load = loader(model, tmp_path / f"m{ending}")
    with pytest.raises(
        ValueError, match=r"'each/(block/)?inner' \(input_size=3, .*'last' \(input_size=|'last'"
    ):
        load(None)
    path = "each/block/inner" if wrapped == "model" else "each/inner"
    for layer in ("each", "inner", path):
        net = load(layer)
        rows, (h_n, _) = net.forward_sequence(X.reshape(8, 6, I), return_state=True)
        outputs = np.concatenate(list(h_n), axis=-1).reshape(2, 4, -1)
        Y = load("last").forward_sequence(outputs)
        assert_close(Y[:, -1], expected, layer, TOLERANCE)
        assert rows.shape[0] == 8


def test_one_time_distributed_layer_is_told(keras: Any, tmp_path: Path) -> None:
    from lstm.formats import keras as reader

    L = keras.layers
    keras.Sequential([keras.Input((4, 6, I)), L.TimeDistributed(L.LSTM(H))]).save(tmp_path / "m.keras")
    assert lstm.load(tmp_path / "m.keras").input_size == I
    assert ["TimeDistributed" in note for note in reader.notes(tmp_path / "m.keras")] == [True]


@pytest.mark.parametrize("ending", [".keras", ".h5", ".weights.h5", "live"])
def test_layers_of_one_name(keras: Any, ending: str, tmp_path: Path) -> None:
    """Two models made by one function, within another: paths tell their layers apart, names do not."""
    L = keras.layers

    def block(name: str) -> Any:
        return keras.Sequential([keras.Input((6, I)), L.LSTM(H, name="r", **many)], name=name)

    a, b, given = block("a"), block("b"), keras.Input((6, I))
    outer = keras.Model(given, L.Concatenate()([a(given), b(given)]), name="outer")
    model = keras.Model(given, outer(given))
    X, _ = live_case(keras, model)
    load = loader(model, tmp_path / f"m{ending}")
    for path, one in (("outer/a/r", a), ("b/r", b), ("a", a)):
        assert_close(load(path).forward_sequence(X), keras.ops.convert_to_numpy(one(X)), path, TOLERANCE)
    with pytest.raises(ValueError, match=r"'outer/a/r' \(input_size=3, .*'outer/b/r' \(input_size=3"):
        load(None)
    with pytest.raises(ValueError, match="there are 2 LSTM layers 'r'"):
        load("r")


@pytest.mark.parametrize("ending", [".keras", ".weights.h5", "live"])
def test_subclassed_models(keras: Any, own: Any, ending: str, tmp_path: Path) -> None:
    model = own["Net"]()
    X, _ = live_case(keras, model)
    expected = keras.ops.convert_to_numpy(model.rnn(X))
    load = loader(model, tmp_path / f"m{ending}")
    for layer in (None, "rnn", 0):
        assert_close(load(layer).forward_sequence(X), expected, str(layer), TOLERANCE)


def test_layers_that_lead_back(keras: Any) -> None:
    """An attribute that is the layer which holds it is no layer more."""
    L = keras.layers

    class Inner(L.Layer):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__(name="inner")
            self.rnn = L.LSTM(H, name="rnn", **many)

        def call(self, X: Any) -> Any:
            return self.rnn(X)

    class Outer(L.Layer):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.inner = Inner()
            vars(self.inner)["outer"] = self

        def call(self, X: Any) -> Any:
            return self.inner(X)

    outer = Outer()
    X, expected = live_case(keras, outer)
    net = LSTM.from_keras(outer, "inner/rnn")
    assert_close(net.forward_sequence(X), expected, "outer", TOLERANCE)


def test_a_cell_of_a_layer_of_ones_own(keras: Any, tmp_path: Path) -> None:
    """A decoder that steps an LSTMCell by hand."""
    L = keras.layers

    @keras.saving.register_keras_serializable("tests")
    class Decoder(L.Layer):  # type: ignore[misc, name-defined]
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            self.step = L.LSTMCell(H)

        def build(self, shape: Any) -> None:
            self.step.build((shape[0], shape[2]))
            self.built = True

        def call(self, X: Any) -> Any:
            state = [keras.ops.zeros((X.shape[0], H))] * 2
            return self.step(X[:, 0], state)[0]

        def compute_output_shape(self, shape: Any) -> Any:
            return (shape[0], H)

    model = keras.Sequential([keras.Input((6, I), batch_size=2), Decoder(name="decoder")])
    X, expected = live_case(keras, model)
    for ending in (".keras", ".h5", ".weights.h5", "live"):
        net = loader(model, tmp_path / f"m{ending}")(None)
        assert_close(net.forward_sequence(X)[:, 0], expected, ending, TOLERANCE)


@pytest.mark.parametrize("ending", [".keras", ".h5", "live"])
@pytest.mark.parametrize(
    ("mode", "merge"), [("sum", "sum"), ("ave", "mean"), ("mul", "mul"), (None, "concat")]
)
def test_merges(keras: Any, mode: str | None, merge: str, ending: str, tmp_path: Path) -> None:
    """A stack of two, and each direction of the first alone, the backward one at its time positions."""
    L = keras.layers
    given = keras.Input((6, I))
    both = L.Bidirectional(L.LSTM(H, name="lstm", **many), merge_mode=mode, name="both")
    outputs = both(given)
    first = keras.Model(given, outputs)
    if mode is not None:
        outputs = L.Bidirectional(L.LSTM(H, **many), merge_mode=mode, name="top")(outputs)
    model = keras.Model(given, outputs)
    X, _ = live_case(keras, first) if mode is not None else (np.ones((2, 6, I), np.float32), None)
    load = loader(model, tmp_path / f"m{ending}")
    net = load(None)
    assert (net.merge, net.num_layers) == (merge, 1 if mode is None else 2)
    Y = [keras.ops.convert_to_numpy(one) for one in keras.tree.flatten(model(X))]
    assert_close(net.forward_sequence(X), np.concatenate(Y, axis=-1), repr(mode), TOLERANCE)
    for names, side in (
        (("both/forward_lstm", "forward_lstm", "both/forward_layer"), both.forward_layer),
        (("both/backward_lstm", "backward_lstm", "both/backward_layer"), both.backward_layer),
    ):
        expected = keras.ops.convert_to_numpy(side(X))
        for name in names:
            one = load(name)
            assert one.reverse == ("backward" in name)
            alone = one.forward_sequence(X)
            assert_close(alone[:, ::-1] if one.reverse else alone, expected, name, TOLERANCE)


def test_directions_apart_feed_no_layer(keras: Any, tmp_path: Path) -> None:
    """The first output of merge_mode None is one direction alone."""
    L = keras.layers
    given = keras.Input((6, I))
    forward, _ = L.Bidirectional(L.LSTM(H, **many), merge_mode=None, name="both")(given)
    model = keras.Model(given, L.Bidirectional(L.LSTM(H, **many), name="top")(forward))
    with pytest.raises(ValueError, match="'both' gives its directions apart"):
        LSTM.from_keras(model)


def test_training_is_warned_of(keras: Any, tmp_path: Path) -> None:
    """Where it changes anything: a layer with dropout, a Dropout between two, a model that is called so."""
    L = keras.layers
    given = keras.Input((6, I))
    block = keras.Sequential([keras.Input((6, H)), L.LSTM(H, name="c", recurrent_dropout=0.2)], name="block")
    a = L.LSTM(H, dropout=0.5, name="a", **many)(given, training=True)
    b = L.LSTM(H, name="b", **many)(L.Dropout(0.5, name="drop")(a, training=True), training=True)
    stack, nested = keras.Model(given, b), keras.Model(given, block(b, training=True))
    for ending in (".keras", ".h5", "live"):
        load = loader(stack, tmp_path / f"stack{ending}" if ending != "live" else tmp_path / "mlive")
        with pytest.warns(lstm.FormatWarning, match="'[ab]' is random, since") as caught:
            assert load(None).num_layers == 2
        said = [one for one in caught if one.category is lstm.FormatWarning]
        assert len(said) == 2
        assert said[0].filename == __file__
        assert "'a' is random, since it has dropout and is called" in str(said[0].message)
        assert "'b' is random, since 'drop' before it is called" in str(said[1].message)
        load = loader(nested, tmp_path / f"nested{ending}" if ending != "live" else tmp_path / "mlive")
        with pytest.warns(lstm.FormatWarning, match="'block/c' is random"):
            load("c")
    plain = keras.Model(given, L.LSTM(H)(given, training=True))
    with warnings.catch_warnings():
        warnings.simplefilter("error", lstm.FormatWarning)
        LSTM.from_keras(plain)


@pytest.mark.parametrize("frozen", ["forward", "backward"])
def test_a_live_direction_that_is_not_trained(keras: Any, frozen: str) -> None:
    L = keras.layers
    layer = L.Bidirectional(L.LSTM(H, **many))
    X, expected = live_case(keras, layer)
    getattr(layer, f"{frozen}_layer").trainable = False
    assert_close(LSTM.from_keras(layer).forward_sequence(X), expected, frozen, TOLERANCE)
