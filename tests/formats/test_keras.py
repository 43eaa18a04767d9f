"""Files of Keras itself: its outputs, weights alone, other versions."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from keras_models import FILES, FIXTURES, FOLDER, HALF, TOLERANCE, H, I, assert_outputs, assert_same_net
from support import DATA, assert_close, assert_same_bits

import lstm
from lstm import LSTM, FormatError

h5py = pytest.importorskip("h5py")


def test_there_are_files_of_every_kind() -> None:
    assert {Path(name).suffix for _, name, _ in FILES} == {".keras", ".h5"}
    assert len(FILES) >= 20


@pytest.mark.parametrize(("case", "name", "layer"), FILES)
def test_recorded_models(case: str, name: str, layer: str | None) -> None:
    net = lstm.load(FOLDER / name, layer=layer)
    assert_outputs(net, FIXTURES[case])
    assert net.dtype == FIXTURES[case]["X"].dtype


def test_the_reference_backend() -> None:
    net = lstm.load(FOLDER / "bidirectional.keras", backend="numpy")
    assert net.backend == "numpy"
    assert_outputs(net, FIXTURES["bidirectional"])


def test_go_backwards_keeps_time_positions() -> None:
    """Keras's first output is that of the last step; ours stands at the last step."""
    case, net = FIXTURES["backwards"], lstm.load(FOLDER / "backwards.keras")
    assert (net.reverse, net.bias) == (True, False)
    Y = net.forward_sequence(case["X"], case["h0"], case["C0"])
    assert_close(Y[:, -1], case["Y"][:, 0], "last step", TOLERANCE)
    assert np.abs(Y - case["Y"]).max() > 0.1


def test_files_of_weights_alone() -> None:
    """A layer at a time, forward and of usual activations; a stack of cells in one layer is one net."""
    assert_outputs(lstm.load(FOLDER / "plain.weights.h5"), FIXTURES["plain"])
    whole = lstm.load(FOLDER / "bidirectional.keras").state_dict()
    for number, name in enumerate(("bidirectional", "bidirectional_1")):
        state = {
            key.replace(f"l{number}", "l0"): array for key, array in whole.items() if f"_l{number}" in key
        }
        for layer in (name, number, number - 2):
            net = lstm.load(FOLDER / "bidirectional.weights.h5", layer=layer)
            assert_same_net(net, LSTM.from_state_dict(state))
    with pytest.raises(
        FormatError, match=r"pick one by layer=: 'bidirectional' \(input_size=3, hidden_size=4, "
    ):
        lstm.load(FOLDER / "bidirectional.weights.h5")
    cells = lstm.load(FOLDER / "rnn_stack.weights.h5")
    assert repr(cells) == "LSTM(3, 4, num_layers=2, dtype=float32)"
    for key, array in lstm.load(FOLDER / "rnn_stack.keras").state_dict().items():
        assert_same_bits(cells.state_dict()[key], array, key)


def test_a_legacy_file_of_weights_alone() -> None:
    whole = lstm.load(FOLDER / "keras2_stacked.keras").state_dict()
    with pytest.raises(FormatError, match=r"'lstm_1' \(input_size=3, hidden_size=4\), 'lstm_2'"):
        lstm.load(FOLDER / "keras2_stacked_weights.h5")
    for number in range(2):
        state = {k.replace(f"l{number}", "l0"): a for k, a in whole.items() if k.endswith(f"_l{number}")}
        net = lstm.load(FOLDER / "keras2_stacked_weights.h5", layer=number)
        assert_same_net(net, LSTM.from_state_dict(state))


def test_legacy_files_of_layers_that_are_not_trained(tmp_path: Path) -> None:
    """Keras lists the weights of a direction that is trained before those of one that is not."""
    path = tmp_path / "m.h5"
    path.write_bytes((FOLDER / "bidirectional.h5").read_bytes())
    with h5py.File(path, "r+") as file:
        for group in file["model_weights"].values():
            names = list(group.attrs["weight_names"])
            if len(names) == 6:
                group.attrs["weight_names"] = names[3:] + names[:3]
    assert_same_net(lstm.load(path), lstm.load(FOLDER / "bidirectional.h5"))


def test_long_lists_of_weights_are_split(tmp_path: Path) -> None:
    """Keras splits a list of names that is too long for an attribute: weight_names0, weight_names1, ..."""
    path = tmp_path / "m.h5"
    path.write_bytes((FOLDER / "rnn_stack.h5").read_bytes())
    with h5py.File(path, "r+") as file:
        group = file["model_weights/rnn_1"] if "rnn_1" in file["model_weights"] else file["model_weights/rnn"]
        names = list(group.attrs["weight_names"])
        del group.attrs["weight_names"]
        for k, name in enumerate(names):
            group.attrs[f"weight_names{k}"] = [name]
    assert_same_net(lstm.load(path), lstm.load(FOLDER / "rnn_stack.h5"))


def test_a_legacy_file_of_weights_of_nested_models(tmp_path: Path) -> None:
    """All layers of a model in a model are in one group, whose names tell them apart."""
    rng = np.random.default_rng(0)
    arrays: dict[str, np.ndarray] = {}
    cells = {
        "lstm/lstm_cell": I,
        "sides/forward_a/lstm_cell": H,
        "sides/backward_a/lstm_cell": H,
        "stack/stacked_rnn_cells/lstm_cell": 2 * H,
        "stack/stacked_rnn_cells/lstm_cell_1": H,
        "old": I,  # before Keras 2.2 a layer had no cell of its own
    }
    for path, features in cells.items():
        for name, shape in (
            ("kernel", (features, 4 * H)),
            ("recurrent_kernel", (H, 4 * H)),
            ("bias", (4 * H,)),
        ):
            arrays[f"{path}/{name}:0"] = rng.uniform(-1, 1, shape).astype(np.float32)
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file.attrs["keras_version"] = "2.15.0"
        file.attrs["layer_names"] = ["inner"]
        for name, array in arrays.items():
            file[f"inner/{name}"] = array
        file["inner"].attrs["weight_names"] = list(arrays)
    for layer, kind, path in (
        ("lstm", "3, 4", "lstm/lstm_cell"),
        ("sides", "4, 4, bidirectional=True", "sides/forward_a/lstm_cell"),
        (2, "8, 4, num_layers=2", "stack/stacked_rnn_cells/lstm_cell"),
        ("old", "3, 4", "old"),
    ):
        net = lstm.load(tmp_path / "m.h5", layer=layer)
        assert repr(net) == f"LSTM({kind}, dtype=float32)"
        assert_same_bits(net.state_dict()["weight_ih_l0"], arrays[f"{path}/kernel:0"].T.copy())
    sides = lstm.load(tmp_path / "m.h5", layer="sides").state_dict()
    assert_same_bits(
        sides["weight_hh_l0_reverse"], arrays["sides/backward_a/lstm_cell/recurrent_kernel:0"].T.copy()
    )


def test_bfloat16_is_widened() -> None:
    net = lstm.load(FOLDER / "bfloat16.keras")
    assert net.dtype == np.float32
    state = net.state_dict()
    for key, array in (
        ("weight_ih_l0", HALF["0"].T),
        ("weight_hh_l0", HALF["1"].T),
        ("bias_ih_l0", HALF["2"]),
    ):
        assert_same_bits(state[key], np.ascontiguousarray(array), key)


def test_keras_2_has_another_hard_sigmoid() -> None:
    assert lstm.load(FOLDER / "keras2_stacked.keras").activations[0] == ("HardSigmoid", 0.2, 0.5)
    assert lstm.load(FOLDER / "hard_sigmoid.keras").activations[0] == ("HardSigmoid", 1 / 6, 0.5)


def test_there_and_back(tmp_path: Path) -> None:
    """A net of a Keras file, saved and loaded, is the same net."""
    net = lstm.load(FOLDER / "rnn_stack.h5")
    net.save(tmp_path / "net.npz")
    assert_same_net(lstm.load(tmp_path / "net.npz"), net)


def test_keras_is_not_imported() -> None:
    """Nor is h5py in this process: another one parses."""
    code = (
        "import sys, lstm; lstm.load(sys.argv[1]); "
        "assert not {'keras', 'h5py', 'torch', 'tensorflow', 'jax'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, FOLDER / "stacked.keras"], check=True, timeout=60)


def test_an_onnx_model_of_keras() -> None:
    """Keras's exporter writes one time step in single operations: the error says that there is no LSTM."""
    pytest.importorskip("onnx")
    path = DATA / "onnx" / "keras_export.onnx"
    with pytest.raises(FormatError, match="no LSTM node"):
        lstm.load(path)
    ort = pytest.importorskip("onnxruntime")
    with np.load(path.with_suffix(".npz")) as recorded:
        X, expected = recorded["X"], recorded["Y"]
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    (Y,) = session.run(None, {session.get_inputs()[0].name: X})
    assert (X.shape[1], Y.shape[1]) == (5, 1)
    assert_close(Y, expected[:, :1], "first step", TOLERANCE)


@pytest.mark.parametrize("ending", [".keras", ".h5", ".hdf5", ".weights.h5"])
def test_files_are_not_written(ending: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"must end in \.npz or \.safetensors or \.onnx to be written"):
        LSTM(3, 5).save(tmp_path / f"net{ending}")
    with pytest.raises(ValueError, match=r"must end in \.npz or \.safetensors or \.onnx to be written$"):
        LSTM(3, 5).save(tmp_path / "net.txt")
    assert not list(tmp_path.iterdir())


def test_the_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ImportError, match=r"lstm-native\[keras\]"):
        lstm.load(FOLDER / "plain.keras")


def test_arguments(tmp_path: Path) -> None:
    for wrong in (1.5, True, b"lstm"):
        with pytest.raises(TypeError, match="must be the name of a layer or its number"):
            lstm.load(FOLDER / "plain.keras", layer=wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="backend is 'gpu'") as caught:
        lstm.load(FOLDER / "plain.keras", backend="gpu")  # type: ignore[arg-type]
    assert caught.type is ValueError
    with pytest.raises(ValueError, match=r"takes prefix=.*, so layer= does not apply"):
        lstm.load(tmp_path / "net.npz", layer="a")
    with pytest.raises(ValueError, match=r"takes layer= and activations= and .*, so prefix= does not apply"):
        lstm.load(FOLDER / "plain.keras", prefix="a")
    with pytest.raises(FileNotFoundError):
        lstm.load(tmp_path / "none.h5")
    with pytest.raises(TypeError, match="is a str, but must be a Keras layer"):
        LSTM.from_keras(str(FOLDER / "plain.keras"))
