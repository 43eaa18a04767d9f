"""Keras itself, if it is installed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from keras_models import TOLERANCE, H, I, assert_same_net, installed_keras, live_case
from support import ROOT, assert_close, assert_same_bits

import lstm
from lstm import LSTM

h5py = pytest.importorskip("h5py")


@pytest.fixture(scope="module")
def keras() -> Iterator[Any]:
    with installed_keras() as found:
        yield found


@pytest.mark.filterwarnings("ignore")
def test_live_layers(keras: Any) -> None:
    L = keras.layers
    many = {"return_sequences": True}
    for layer in (
        L.LSTM(H, **many),
        L.LSTM(H, use_bias=False, unit_forget_bias=False, dropout=0.5, recurrent_dropout=0.5, **many),
        L.LSTM(H, activation=L.LeakyReLU(negative_slope=0.1), recurrent_activation="hard_sigmoid", **many),
        L.LSTM(H, activation=keras.activations.softsign, go_backwards=True, **many),
        L.Bidirectional(L.LSTM(H, **many)),
        L.Bidirectional(
            L.LSTM(H, **many), backward_layer=L.LSTM(H, go_backwards=True, activation="relu", **many)
        ),
        L.Bidirectional(L.RNN(L.LSTMCell(H), **many)),
        L.RNN(L.LSTMCell(H, activation="elu"), **many),
        L.RNN([L.LSTMCell(H), L.LSTMCell(H)], **many),
        L.RNN(L.StackedRNNCells([L.LSTMCell(H), L.LSTMCell(H)]), go_backwards=True, **many),
    ):
        X, expected = live_case(keras, layer)
        net = LSTM.from_keras(layer)
        Y = net.forward_sequence(X)
        assert_close(Y[:, ::-1] if net.reverse else Y, expected, repr(net), TOLERANCE)


@pytest.mark.filterwarnings("ignore")
def test_live_bfloat16_is_widened(keras: Any) -> None:
    layer = keras.layers.LSTM(H, dtype="bfloat16", recurrent_initializer="glorot_uniform")
    layer.build((None, None, I))
    net = LSTM.from_keras(layer)
    assert net.dtype == np.float32
    kernel = np.asarray(layer.get_weights()[0].astype(np.float32))
    assert_same_bits(net.state_dict()["weight_ih_l0"], kernel.T.copy())


@pytest.mark.filterwarnings("ignore")
def test_live_masks_are_lengths(keras: Any) -> None:
    """The last states of padded rows; the second direction starts at the end of each."""
    L = keras.layers
    layer = L.Bidirectional(L.LSTM(H))
    X, _ = live_case(keras, layer)
    lengths = np.array([6, 4])
    mask = np.arange(6) < lengths[:, np.newaxis]
    expected = keras.ops.convert_to_numpy(layer(X, mask=keras.ops.convert_to_tensor(mask)))
    _, (h_n, _) = LSTM.from_keras(layer).forward_sequence(X, lengths=lengths, return_state=True)
    assert_close(np.concatenate(list(h_n), axis=-1), expected, "h_n", TOLERANCE)


@pytest.mark.filterwarnings("ignore")
def test_live_models(keras: Any, tmp_path: Path) -> None:
    """A stack, a model in a model, one of the user's own class; files of them give the same net."""
    L = keras.layers
    many = {"return_sequences": True}
    stack = keras.Sequential(
        [keras.Input((None, I)), L.LSTM(H, **many), L.Dropout(0.5), L.LSTM(H, name="top", **many)]
    )
    X, expected = live_case(keras, stack)
    assert_close(LSTM.from_keras(stack).forward_sequence(X), expected, "stack", TOLERANCE)
    given = keras.Input((None, I))
    between = L.LSTM(H, name="low", **many)(given)
    model = keras.Model(given, L.Dense(2)(L.LSTM(H, name="high", **many)(L.SpatialDropout1D(0.5)(between))))
    live_case(keras, model)
    net = LSTM.from_keras(model)
    assert net.num_layers == 2
    outer = keras.Model(given, keras.Sequential([model])(given))
    assert_same_net(LSTM.from_keras(outer), net)
    both = keras.Model(given, [between, model(given)])
    with pytest.raises(ValueError, match=r"'low' \(input_size=3, hidden_size=4\), '\w+/low' .*, '\w+/high'"):
        LSTM.from_keras(both)
    for ending in (".keras", ".h5"):
        outer.save(tmp_path / f"m{ending}")
        assert_same_net(lstm.load(tmp_path / f"m{ending}"), net)
    for layer in ("low", "high", 0):
        assert_same_net(lstm.load(tmp_path / "m.keras", layer=layer), LSTM.from_keras(outer, layer))

    class Mine(keras.Model):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = L.LSTM(H, **many), L.LSTM(H + 1)

        def call(self, X: Any) -> Any:
            return self.second(self.first(X))

    mine = Mine()
    X, expected = live_case(keras, mine)
    with pytest.raises(ValueError, match="pick one by layer="):
        LSTM.from_keras(mine)
    parts = [LSTM.from_keras(mine, number) for number in (0, 1)]
    Y = parts[1].forward_sequence(parts[0].forward_sequence(X))
    assert_close(Y[:, -1], expected, "own class", TOLERANCE)


@pytest.mark.filterwarnings("ignore")
def test_live_refusals(keras: Any) -> None:
    L = keras.layers
    with pytest.raises(ValueError, match="has no weights yet"):
        LSTM.from_keras(L.LSTM(H))

    class Mine(L.LSTM):  # type: ignore[misc]
        pass

    mine = Mine(H)
    mine.build((None, None, I))
    with pytest.raises(ValueError, match="there is no LSTM layer"):
        LSTM.from_keras(mine)
    for layer, message in (
        (L.LSTM(H, activation="gelu"), "has the activation 'gelu'"),
        (L.LSTM(H, activation=lambda x: x), "has the activation"),
    ):
        layer.build((None, None, I))
        with pytest.raises(ValueError, match=message):
            LSTM.from_keras(layer)


@pytest.mark.skipif(not (ROOT / "docs").exists(), reason="needs the source tree")
@pytest.mark.filterwarnings("ignore")
def test_the_page_runs(keras: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    blocks = re.findall(
        r"```python\n(.*?)```", (ROOT / "docs" / "from-keras.md").read_text("utf-8"), re.DOTALL
    )
    assert len(blocks) >= 3
    for block in blocks:
        exec(block, names)
