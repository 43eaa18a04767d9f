"""examples/vad.py: Silero's detector frame by frame, held to what ONNX Runtime made of the same recording.

examples/gates.py is run in test_plot.py.
"""

from __future__ import annotations

import subprocess
import sys
import wave
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from support import ROOT, assert_close, assert_same_bits, load_script

import lstm
from lstm import LSTM

pytest.importorskip("onnx")
SCRIPT = ROOT / "examples" / "vad.py"
SPEECH = ROOT / "examples" / "speech"
MODEL = SPEECH / "silero_vad_16k_sequence.onnx"
pytestmark = pytest.mark.skipif(not SCRIPT.exists(), reason="needs the source tree")


@pytest.fixture(scope="module")
def vad() -> ModuleType:
    """The example as a module."""
    return load_script(SCRIPT)


@pytest.fixture(scope="module")
def inputs(vad: ModuleType) -> np.ndarray:
    """The recording, (480, 512)."""
    return vad.frames(vad.read_wav(SPEECH / "speech.wav"))


@pytest.fixture(scope="module")
def recorded() -> dict[str, np.ndarray]:
    """What ONNX Runtime made of it."""
    with np.load(SPEECH / "speech.npz", allow_pickle=False) as file:
        return dict(file)


@pytest.fixture
def detector(vad: ModuleType) -> Any:
    """One that has heard nothing."""
    return vad.SpeechDetector(MODEL)


def write_wav(path: Path, samples: np.ndarray, channels: int = 1, rate: int = 16000) -> Path:
    """A WAV file of integer samples; of several channels their samples take turns."""
    with wave.open(str(path), "wb") as file:
        file.setparams((channels, samples.itemsize, rate, 0, "NONE", ""))
        file.writeframes(samples.tobytes())
    return path


def test_every_probability_is_onnx_runtimes(detector, inputs, recorded) -> None:
    probabilities = np.array([detector.frame(frame) for frame in inputs])
    expected = recorded["speech_probability"]
    assert expected.min() < 0.05
    assert expected.max() > 0.95
    np.testing.assert_allclose(probabilities, expected, rtol=0, atol=1e-5)
    np.testing.assert_allclose(detector.stream.h[0], recorded["h_n"], rtol=0, atol=1e-5)


def test_the_lstm_gets_the_features_that_were_recorded(detector, inputs, recorded) -> None:
    features = np.array([detector.features(frame).copy() for frame in inputs])
    # Sums of up to 388 products in the order of whichever BLAS NumPy has, four deep; 1.1e-5 was seen.
    largest = recorded["features"].max()
    np.testing.assert_allclose(features, recorded["features"], rtol=0, atol=5e-5 * largest)


def test_the_model_holds_the_lstm_beside_it() -> None:
    net, other = LSTM.from_onnx(MODEL), lstm.load(SPEECH / "lstm.npz")
    for name, array in net.state_dict().items():
        assert_same_bits(array, other.state_dict()[name], name)


def test_detectors_are_alone_and_begin_anew(vad, detector, inputs) -> None:
    alone = [detector.frame(frame) for frame in inputs[20:40]]
    other = vad.SpeechDetector(MODEL)
    detector.reset()
    together = [
        (detector.frame(a), other.frame(b)) for a, b in zip(inputs[20:40], inputs[200:220], strict=True)
    ]
    assert [a for a, _ in together] == alone


def test_a_frame_is_taken_whole_or_not_at_all(detector, inputs) -> None:
    for frame in inputs[20:30]:
        detector.frame(frame)
    state = detector.stream.state
    for wrong in (inputs[30][:511], inputs[30:31], inputs[30][:1], inputs[30, 0]):
        with pytest.raises(ValueError, match=r"samples has shape \(.*\), but a frame is \(512,\)"):
            detector.frame(wrong)
    assert_same_bits(detector.stream.h, state[0])


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("steps", [1, 2, 3, 4, 7])
def test_a_convolution_is_the_sum_over_its_taps(vad, steps: int, stride: int) -> None:
    rng = np.random.default_rng(steps)
    weight, bias = rng.standard_normal((5, 3, 3)), rng.standard_normal(5)
    convolution = vad.Convolution(weight.astype(np.float32), bias.astype(np.float32), steps, stride)
    expected_steps = range(0, steps, stride)
    out = np.empty((len(expected_steps), 5), np.float32)
    for _ in range(2):  # what the first leaves behind is not in the second
        x = rng.standard_normal((steps, 3))
        convolution.input[...] = x
        convolution(out=out)
        expected = [
            bias + sum(weight[:, :, k] @ x[t + k - 1] for k in range(3) if 0 <= t + k - 1 < steps)
            for t in expected_steps
        ]
        assert_close(out, np.maximum(expected, 0))


def test_samples_are_scaled_and_the_last_frame_filled_up(vad, tmp_path: Path) -> None:
    path = write_wav(tmp_path / "short.wav", np.array([-32768, 16384, 1] + [3] * 510, "<i2"))
    samples = vad.read_wav(path)
    assert samples.dtype == np.float32
    assert samples[:3].tolist() == [-1, 0.5, 1 / 32768]
    inputs = vad.frames(samples)
    assert inputs.shape == (2, 512)
    assert_same_bits(inputs.ravel()[:513], samples)
    assert not inputs[1, 1:].any()


# Probabilities of 32 ms, and the frames from and to which there is speech.
STRETCHES = {
    "none": ([0.4] * 50, []),
    "to the end": ([0.0] * 3 + [0.9] * 8, [(3, 11)]),
    "a click": ([0.0] * 3 + [0.9] * 7 + [0.0] * 9, []),
    "a short pause": ([0.9] * 5 + [0.0] * 3 + [0.9] * 5, [(0, 13)]),
    "a long pause": ([0.9] * 9 + [0.0] * 4 + [0.9] * 9, [(0, 9), (13, 22)]),
    "just below the threshold goes on": ([0.9] * 4 + [0.4] * 10, [(0, 14)]),
    "just below the threshold begins none": ([0.4] * 4 + [0.5] * 10, [(4, 14)]),
}


@pytest.mark.parametrize("name", STRETCHES)
def test_segments(vad, name: str) -> None:
    probabilities, expected = STRETCHES[name]
    assert vad.segments(probabilities, 0.5) == [(a * 512 / 16000, b * 512 / 16000) for a, b in expected]


def test_a_low_threshold_still_ends(vad) -> None:
    assert vad.segments([0.1] * 9 + [0.0] * 9, 0.1) == [(0, 9 * 512 / 16000)]


def test_the_picture_holds_waveform_probabilities_segments_and_units(
    vad, inputs, recorded, tmp_path, monkeypatch
) -> None:
    pytest.importorskip("matplotlib").use("Agg")
    import matplotlib.pyplot as plt

    close, figures = plt.close, []
    monkeypatch.setattr(plt, "close", figures.append)
    trace = lstm.load(SPEECH / "lstm.npz").trace(recorded["features"])
    probabilities = recorded["speech_probability"]
    vad.draw(str(tmp_path / "speech.png"), inputs.ravel(), probabilities, 0.5, trace)
    (figure,) = figures
    waveform, verdict, f, C = figure.axes[:4]
    np.testing.assert_array_equal(verdict.lines[0].get_ydata(), probabilities)
    np.testing.assert_allclose(verdict.lines[0].get_xdata(), 0.032 * np.arange(1, 481))
    assert set(verdict.lines[1].get_ydata()) == {0.5}
    for ax in (waveform, verdict):
        edges = [(patch.get_x(), patch.get_x() + patch.get_width()) for patch in ax.patches]
        np.testing.assert_allclose(edges, vad.segments(probabilities, 0.5))
    heights = waveform.collections[0].get_paths()[0].vertices[:, 1]
    assert (heights.min(), heights.max()) == (inputs.min(), inputs.max())
    order = np.argsort(trace.f[0].astype(float).mean(axis=0))[::4]
    np.testing.assert_array_equal(f.images[0].get_array(), trace.f[0][:, order].T)
    np.testing.assert_allclose(f.images[0].get_extent(), [0, 480 * 0.032, -0.5, 31.5], atol=1e-9)
    assert C.images[0].get_array().shape == (32, 480)
    assert C.get_xlabel() == "time (s)"
    # One scale for each: the bars of colours are the only other axes.
    assert [ax.get_label() for ax in figure.axes[4:]] == ["<colorbar>", "<colorbar>"]
    close(figure)


def test_from_the_command_line(tmp_path: Path) -> None:
    matplotlib = pytest.importorskip("matplotlib")
    path = tmp_path / "speech.png"
    command = [sys.executable, str(SCRIPT), str(SPEECH / "speech.wav"), "--png", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=True, timeout=120)
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    found = [[float(line.split()[k]) for k in (2, 5)] for line in lines if line.startswith("speech from")]
    # Three sentences with half a second of silence around each.
    np.testing.assert_allclose(found, [[0.7, 7.4], [8.4, 10.9], [11.9, 14.6]], atol=0.1)
    assert lines[3].startswith("480 frames of 32 ms: ")
    from matplotlib import image

    assert matplotlib
    picture = image.imread(path)[..., :3]
    height, width = picture.shape[:2]
    assert height >= 200
    assert width >= 800
    # White around it, and every colour that is drawn.
    for colour in ("#ffffff", "#dcecd8", "#5b7282", "#c44e1a"):
        wanted = np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)]) / 255
        assert (np.abs(picture - wanted).max(axis=-1) < 0.01).sum() > 200, colour


def refusal(vad: ModuleType, capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one line in which the example says why it cannot."""
    assert vad.main([str(argument) for argument in arguments]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("vad.py: ")
    assert told.err.count("\n") == 1
    return told.err


def test_recordings_that_do_not_fit(vad, capsys, tmp_path: Path) -> None:
    def write(name: str, *arguments: Any) -> Path:
        return write_wav(tmp_path / name, *arguments)

    samples = np.arange(2000, dtype="<i2")
    text, empty = tmp_path / "text.wav", tmp_path / "empty.wav"
    text.write_text("no recording at all")
    empty.write_bytes(b"")
    assert "text.wav is not a WAV file" in refusal(vad, capsys, text)
    assert "empty.wav is not a WAV file" in refusal(vad, capsys, empty)
    assert "No such file" in refusal(vad, capsys, tmp_path / "absent.wav")
    assert "2 channels, 16000 Hz and 16 bits" in refusal(vad, capsys, write("stereo.wav", samples, 2))
    assert "1 channel, 8000 Hz and 16 bits" in refusal(vad, capsys, write("8k.wav", samples, 1, 8000))
    assert "1 channel, 16000 Hz and 8 bits" in refusal(
        vad, capsys, write("8bit.wav", samples.astype(np.uint8))
    )
    assert "has no samples" in refusal(vad, capsys, write("silent.wav", samples[:0]))


def test_models_that_do_not_fit(vad, capsys, tmp_path: Path) -> None:
    path = tmp_path / "other.onnx"
    LSTM(128, 128, dtype=np.float32, rng=0).to_onnx(path)
    assert "it has no stft.forward_basis_buffer of (258, 1, 256)" in refusal(vad, capsys, "--model", path)
    path.write_bytes(MODEL.read_bytes()[:100_000])
    assert f"{path} is damaged" in refusal(vad, capsys, "--model", path)
    assert "No such file" in refusal(vad, capsys, "--model", tmp_path / "absent.onnx")


def altered(path: Path, changes: dict[str, np.ndarray]) -> Path:
    """The published model with other arrays in it, and no hidden_size on its LSTM."""
    import onnx

    model = onnx.load(MODEL)
    for tensor in model.graph.initializer:
        if tensor.name in changes:
            tensor.CopyFrom(onnx.numpy_helper.from_array(changes[tensor.name], tensor.name))
    (node,) = (node for node in model.graph.node if node.op_type == "LSTM")
    del node.attribute[:]
    onnx.save(model, path)
    return path


def test_models_in_which_one_thing_is_different(vad, capsys, tmp_path: Path) -> None:
    path = tmp_path / "other.onnx"
    smaller = {"onnx::LSTM_209": (1, 20, 128), "onnx::LSTM_210": (1, 20, 5), "onnx::LSTM_211": (1, 40)}
    altered(path, {name: np.zeros(shape, np.float32) for name, shape in smaller.items()})
    assert "LSTM(128, 5, dtype=float32), but Silero" in refusal(vad, capsys, "--model", path)
    altered(path, {"encoder.2.weight": np.zeros((64, 64, 5), np.float32)})
    assert "it has no encoder.2.weight of (64, 64, 3)" in refusal(vad, capsys, "--model", path)
    import onnx

    model = onnx.load(MODEL)
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == "output.weight")
    tensor.raw_data = tensor.raw_data[:-4]
    onnx.save(model, path)
    assert f"{path}: output.weight" in refusal(vad, capsys, "--model", path)
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="elsewhere.bin")
    path.write_bytes(model.SerializeToString())
    assert "it has no output.weight of (1, 128, 1)" in refusal(vad, capsys, "--model", path)


@pytest.mark.parametrize("threshold", [0, -0.5, 1.5, "nan"])
def test_thresholds_that_do_not_fit(vad, capsys, threshold) -> None:
    assert "--threshold is" in refusal(vad, capsys, f"--threshold={threshold}")


@pytest.mark.parametrize(
    ("library", "extra", "options"),
    [
        ("onnx", "onnx", []),
        ("matplotlib", "plot", ["--png", "x.png"]),
        ("onnxruntime", "bench", ["--benchmark"]),
    ],
)
def test_the_missing_extra_is_named(vad, capsys, monkeypatch, library, extra, options) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    assert f'needs {library}: pip install "lstm-native[{extra}]"' in refusal(vad, capsys, *options)


def test_the_benchmark_compares_with_onnx_runtime(vad, inputs, capsys, monkeypatch) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("threadpoolctl")
    assert vad.benchmark(MODEL, inputs[20:50], passes=2) is True
    told = capsys.readouterr().out
    assert "2 passes over 30 frames" in told
    best, median = (float(figure) for figure in told.partition("this example")[2].split()[:2])
    assert 0 < best <= median
    honest = vad.SpeechDetector.probability
    monkeypatch.setattr(vad.SpeechDetector, "probability", lambda self, h: honest(self, h) + 2e-5)
    assert vad.benchmark(MODEL, inputs[20:50], passes=1) is False


@pytest.mark.parametrize(("precision", "most"), [("int8", 0.02), ("bfloat16", 2e-3), ("float16", 5e-4)])
def test_small_weights_hear_the_same(detector, recorded, precision: Any, most: float) -> None:
    """The verdict moves by little, and of no frame from one side of 0.5 to the other."""
    net = lstm.load(SPEECH / "lstm.npz", precision=precision)
    hidden = net.forward_sequence(recorded["features"])
    probabilities = np.array([detector.probability(h) for h in hidden])
    expected = recorded["speech_probability"]
    assert 0 < np.abs(probabilities - expected).max() <= most
    np.testing.assert_array_equal(probabilities > 0.5, expected > 0.5)
