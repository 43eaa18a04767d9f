"""Find the speech in a recording, frame by frame.

    python examples/vad.py [recording.wav] [--png speech.png]

Silero VAD, a trained detector, listens as if to a microphone. Every 32 ms it takes 512 new samples and says
how likely it is that somebody speaks::

    512 samples ─▶ spectrum ─▶ 4 convolutions ─▶ features ─▶ LSTM ─▶ probability
                   (4, 129)       (T, C)           (128,)    (128,)

Each convolution is one NumPy product; the LSTM is a `Stream`, which remembers what was said so far. The
weights come from the detector as published, an ONNX file; nothing else of that file runs here. Needs the
extra ``onnx``, for the picture ``plot``, for ``--benchmark`` (ONNX Runtime beside it) ``bench``.

Shapes: T time steps within a frame, C channels.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import statistics
import sys
import time
import wave
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from lstm import LSTM

SPEECH = Path(__file__).parent / "speech"
RATE = 16000  # samples a second
FRAME = 512  # samples, 32 ms
CONTEXT = 64  # samples of the frame before that a frame is seen with
WINDOW, HOP = 256, 128  # samples of a spectrum, and from one to the next
ZERO = np.zeros((), np.float32)
SPOKEN = "#dcecd8"  # the colour of speech in the picture

# What is taken from the model beside its LSTM.
SHAPES = {
    "stft.forward_basis_buffer": (258, 1, WINDOW),
    "encoder.0.weight": (128, 129, 3),
    "encoder.0.bias": (128,),
    "encoder.1.weight": (64, 128, 3),
    "encoder.1.bias": (64,),
    "encoder.2.weight": (64, 64, 3),
    "encoder.2.bias": (64,),
    "encoder.3.weight": (128, 64, 3),
    "encoder.3.bias": (128,),
    "output.weight": (1, 128, 1),
    "output.bias": (1,),
}
STRIDES = (1, 2, 2, 1)  # of the four convolutions over time: 4, 4, 2, 1, 1 steps


class Spectrum:
    """Magnitudes of 129 frequencies at 4 times of a frame, by a Fourier transform that is a convolution."""

    def __init__(self, basis: np.ndarray) -> None:
        """`basis` (258, 1, 256): 129 windowed cosines, then 129 sines."""
        # Cosine and sine of a frequency side by side: their products are one complex number.
        pairs = basis.reshape(2, 129, WINDOW).transpose(2, 1, 0)
        self.basis = np.ascontiguousarray(pairs.reshape(WINDOW, 258))
        # The frame with its context before it and, behind it, its own end mirrored to fill the last window.
        samples = np.zeros(CONTEXT + FRAME + 64, np.float32)
        self.context, self.frame, self.mirror = np.split(samples, [CONTEXT, CONTEXT + FRAME])
        self.end, self.mirrored = self.frame[-CONTEXT:], self.frame[-2:-66:-1]
        self.windows = sliding_window_view(samples, WINDOW)[::HOP]  # (4, 256), overlapping
        self.columns = np.empty(self.windows.shape, np.float32)
        self.products = np.empty((len(self.windows), 258), np.float32)
        self.frequencies = self.products.view(np.complex64)  # (4, 129)

    def __call__(self, samples: np.ndarray, out: np.ndarray) -> None:
        """Samples (512,) -> magnitudes (4, 129) into `out`."""
        self.context[...] = self.end
        self.frame[...] = samples
        self.mirror[...] = self.mirrored
        self.columns[...] = self.windows
        self.columns.dot(self.basis, self.products)
        np.abs(self.frequencies, out=out)


class Convolution:
    """A convolution of three taps over time, and its ReLU: one product of windows and weights.

    The input is written into `input`, (T, C), the middle of an array with a step of zeros at either end.
    """

    def __init__(self, weight: np.ndarray, bias: np.ndarray, steps: int, stride: int) -> None:
        """`weight` (C', C, 3), `bias` (C',), `steps` T; `stride` 2 leaves out every other window."""
        out_channels, channels, taps = weight.shape
        padded = np.zeros((steps + 2, channels), np.float32)
        self.input = padded[1:-1]
        windows = sliding_window_view(padded, taps, axis=0)[::stride].swapaxes(1, 2)  # (T', 3, C)
        # Of a short input some taps meet nothing but the zeros at the ends: they are left out.
        meets = sliding_window_view(np.arange(steps + 2), taps)[::stride]
        used = np.flatnonzero(((meets > 0) & (meets <= steps)).any(axis=0))
        kept = slice(used[0], used[-1] + 1)
        self.windows = windows[:, kept]
        # The last column stays 1 and meets the bias.
        self.columns = np.ones((len(windows), self.windows[0].size + 1), np.float32)
        self.slots = self.columns[:, :-1].reshape(self.windows.shape)
        matrix = weight.transpose(2, 1, 0)[kept].reshape(-1, out_channels)
        self.matrix = np.vstack([matrix, bias])
        self.sums = np.empty((len(windows), out_channels), np.float32)

    def __call__(self, out: np.ndarray) -> None:
        """`input` (T, C) -> (T', C') into `out`."""
        self.slots[...] = self.windows
        self.columns.dot(self.matrix, self.sums)
        np.maximum(self.sums, ZERO, out=out)


class SpeechDetector:
    """A voice-activity detector: 512 samples in, the probability of speech out, and so on.

    It remembers the end of the last frame and the state of its LSTM; every array it works in is made once.
    """

    def __init__(self, path: str | Path) -> None:
        """Read the weights from `path`, Silero VAD's 16 kHz sequence model; ValueError for another."""
        net = LSTM.from_onnx(path, dtype=np.float32)
        weights = read_weights(path)
        if (net.input_size, net.hidden_size) != (128, 128):
            raise ValueError(f"{path} has {net!r}, but Silero VAD's has 128 inputs and 128 hidden units")
        self.spectrum = Spectrum(weights["stft.forward_basis_buffer"])
        self.convolutions = []
        steps = 4
        for k, stride in enumerate(STRIDES):
            weight, bias = weights[f"encoder.{k}.weight"], weights[f"encoder.{k}.bias"]
            self.convolutions.append(Convolution(weight, bias, steps, stride))
            steps = len(self.convolutions[-1].sums)
        # Each layer writes where the next one reads.
        self._features = np.empty(128, np.float32)
        ends = [*(convolution.input for convolution in self.convolutions[1:]), self._features[np.newaxis]]
        self._layers = list(zip(self.convolutions, ends, strict=True))
        self.net, self.stream = net, net.stream()
        self._hidden = np.empty(128, np.float32)
        self._head, self._head_bias = weights["output.weight"].ravel(), float(weights["output.bias"][0])

    def frame(self, samples: np.ndarray) -> float:
        """The probability that there is speech in the next 512 samples, (512,) within ±1."""
        if samples.shape != (FRAME,):
            raise ValueError(f"samples has shape {samples.shape}, but a frame is ({FRAME},)")
        features = self.features(samples)
        hidden = self.stream.step(features, out=self._hidden)
        return self.probability(hidden)

    def features(self, samples: np.ndarray) -> np.ndarray:
        """What the LSTM gets to see: samples (512,) -> (128,), an array that is used again."""
        self.spectrum(samples, out=self.convolutions[0].input)
        for convolution, out in self._layers:
            convolution(out=out)
        return self._features

    def probability(self, hidden: np.ndarray) -> float:
        """What the detector makes of the LSTM's h, (128,), which it overwrites."""
        np.maximum(hidden, ZERO, out=hidden)
        logit = float(hidden.dot(self._head)) + self._head_bias
        return 0.5 + 0.5 * math.tanh(logit / 2)  # the sigmoid, which so cannot overflow

    def reset(self) -> None:
        """Forget all, for another recording."""
        self.spectrum.frame[...] = 0
        self.stream.reset()


def read_weights(path: str | Path) -> dict[str, np.ndarray]:
    """The arrays that `SHAPES` names, float32, from an ONNX file; ValueError where they are not there."""
    import onnx
    from onnx.numpy_helper import to_array

    found = {tensor.name: tensor for tensor in onnx.load(path, load_external_data=False).graph.initializer}
    weights = {}
    for name, shape in SHAPES.items():
        if name not in found or tuple(found[name].dims) != shape or found[name].external_data:
            raise ValueError(f"{path} is not Silero VAD's 16 kHz sequence model: it has no {name} of {shape}")
        try:
            weights[name] = to_array(found[name]).astype(np.float32)
        except ValueError as error:
            raise ValueError(f"{path}: {name}: {error}") from error
    return weights


def read_wav(path: str | Path) -> np.ndarray:
    """Samples of a mono 16 kHz recording of 16 bits, scaled to ±1; ValueError for any other file."""
    try:
        with wave.open(str(path), "rb") as file:
            found = file.getnchannels(), file.getframerate(), 8 * file.getsampwidth()
            data = file.readframes(file.getnframes())
    except (wave.Error, EOFError) as error:
        raise ValueError(f"{path} is not a WAV file: {str(error) or 'it is cut short'}") from error
    if found != (1, RATE, 16):
        channels, rate, bits = found
        raise ValueError(
            f"{path} has {channels} channel{'s' * (channels > 1)}, {rate} Hz and {bits} bits, but the "
            f"detector hears 1 channel of {RATE} Hz and 16 bits: ffmpeg -i IN -ac 1 -ar {RATE} OUT.wav"
        )
    whole = data[: len(data) // 2 * 2]
    if not whole:
        raise ValueError(f"{path} has no samples")
    return np.frombuffer(whole, "<i2").astype(np.float32) / 32768


def frames(samples: np.ndarray) -> np.ndarray:
    """Samples (N,) -> (frames, 512); silence fills up the last one."""
    padded = np.zeros(-(-len(samples) // FRAME) * FRAME, np.float32)
    padded[: len(samples)] = samples
    return padded.reshape(-1, FRAME)


def segments(probabilities: Iterable[float], threshold: float) -> list[tuple[float, float]]:
    """Start and end, in seconds, of every stretch of speech.

    One begins where the probability reaches `threshold` and ends where it has been well below that for
    four frames (128 ms), so that it outlasts the pauses within words; shorter ones than eight frames
    (256 ms) are clicks, and left out.
    """
    quiet = max(threshold - 0.15, threshold / 2)
    found, start, last = [], None, 0
    for t, probability in enumerate([*probabilities, *[-1.0] * 4]):  # silence ends what is still open
        if start is None and probability >= threshold:
            start = last = t
        elif start is not None and probability >= quiet:
            last = t
        elif start is not None and t - last >= 4:
            if last + 1 - start >= 8:
                found.append((start, last + 1))
            start = None
    return [(start * FRAME / RATE, end * FRAME / RATE) for start, end in found]


def require(extra: str, *libraries: str) -> None:
    """ImportError that names the extra where one of its libraries is not installed."""
    for library in libraries:
        if importlib.util.find_spec(library) is None:
            raise ImportError(f'this needs {library}: pip install "lstm-native[{extra}]"')


def timed(run: Callable[[np.ndarray], Any], inputs: Iterable[np.ndarray]) -> tuple[list[Any], list[float]]:
    """The results of `run` on each of `inputs`, and the seconds each took."""
    results, seconds = [], []
    for one in inputs:
        before = time.perf_counter()
        result = run(one)
        seconds.append(time.perf_counter() - before)
        results.append(result)
    return results, seconds


def draw(
    path: str, samples: np.ndarray, probabilities: Sequence[float], threshold: float, trace: Any
) -> None:
    """Write a picture: waveform, probability of speech, and what the LSTM makes of it, all over time."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    import lstm.plot

    heights = {"height_ratios": [1, 1, 1.8, 1.8]}
    figure, axes = plt.subplots(4, sharex=True, figsize=(10, 6.8), layout="constrained", gridspec_kw=heights)
    middles = (np.arange(len(probabilities)) + 0.5) * FRAME / RATE
    units = np.argsort(lstm.plot.time_constants(trace))[::4]  # all 128 take four times the bytes
    lstm.plot.gates(trace, show="fC", units=units, labels=middles, axes=axes[2:])
    axes[2].set_title("forget gate f of every fourth unit", loc="left", fontsize="medium")
    draw_waveform(axes[0], samples)
    draw_probabilities(axes[1], probabilities, threshold)
    for start, end in segments(probabilities, threshold):
        for ax in axes[:2]:
            ax.axvspan(start, end, color=SPOKEN, lw=0, zorder=0)
    axes[-1].set(xlim=(0, len(samples) / RATE), xlabel="time (s)")
    figure.savefig(path, dpi=100)
    plt.close(figure)


def draw_waveform(ax: Any, samples: np.ndarray) -> None:
    """Samples (N,) over time: of each pixel the lowest and the highest, more than that cannot be seen."""
    starts = np.arange(0, len(samples), max(1, len(samples) // 2000))
    low, high = (extreme.reduceat(samples, starts) for extreme in (np.minimum, np.maximum))
    ax.fill_between(starts / RATE, low, high, color="#5b7282", lw=0.3)
    loudest = 1.1 * max(high.max(), -low.min(), 1e-3)
    ax.set(ylim=(-loudest, loudest), ylabel="amplitude")
    ax.set_title("waveform (shaded: speech)", loc="left", fontsize="medium")
    ax.spines[["top", "right"]].set_visible(False)


def draw_probabilities(ax: Any, probabilities: Sequence[float], threshold: float) -> None:
    """Probabilities (frames,), each from when the last sample of its frame has arrived."""
    known = (np.arange(len(probabilities)) + 1) * FRAME / RATE
    ax.plot(known, probabilities, color="#c44e1a", lw=1.4)
    ax.axhline(threshold, color="0.3", lw=0.8, ls=(0, (2, 3)))
    ax.set(ylim=(-0.04, 1.08), yticks=[0, 0.5, 1])
    ax.set_title(
        f"probability of speech (dotted: the threshold, {threshold:g})", loc="left", fontsize="medium"
    )
    ax.spines[["top", "right"]].set_visible(False)


class OnnxRuntime:
    """The same detector by ONNX Runtime: the published model whole, which takes a frame, h and c.

    As fast as it gets: inputs and outputs are bound to arrays made once. There are two of each state, and
    two bindings, since a run reads the one and writes the other.
    """

    def __init__(self, path: str | Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])
        self.input = np.zeros((1, CONTEXT + FRAME), np.float32)
        self.states = np.zeros((2, 2, 1, 1, 128), np.float32)  # before and after, h and c
        self.output = np.zeros(1, np.float32)
        self.next, self.after_next = self._bound(0, 1), self._bound(1, 0)

    def _bound(self, before: int, after: int) -> Any:
        """A binding that reads one of the states and writes the other."""
        binding = self.session.io_binding()
        (h, c), (h_n, c_n) = self.states[before], self.states[after]
        for name, array in (("input", self.input), ("h", h), ("c", c)):
            binding.bind_input(name, "cpu", 0, np.float32, array.shape, array.ctypes.data)
        for name, array in (("speech_probs", self.output), ("hn", h_n), ("cn", c_n)):
            binding.bind_output(name, "cpu", 0, np.float32, array.shape, array.ctypes.data)
        return binding

    def frame(self, samples: np.ndarray) -> float:
        """The probability that there is speech in the next 512 samples."""
        self.input[0, :CONTEXT] = self.input[0, -CONTEXT:]
        self.input[0, CONTEXT:] = samples
        self.session.run_with_iobinding(self.next)
        self.next, self.after_next = self.after_next, self.next
        return float(self.output[0])

    def reset(self) -> None:
        """Forget all, for another recording."""
        self.input[...] = 0
        self.states[...] = 0


def benchmark(path: str | Path, inputs: np.ndarray, passes: int = 20) -> bool:
    """Time every frame of `inputs` (frames, 512) here and by ONNX Runtime; whether they agree.

    They go through the recording in turn, `passes` times each, so that both see the same machine.
    """
    import onnxruntime
    from threadpoolctl import threadpool_limits

    ours, theirs = SpeechDetector(path), OnnxRuntime(path)
    features = [ours.features(frame).copy() for frame in inputs]
    hidden = np.empty(128, np.float32)
    theirs_name = f"ONNX Runtime {onnxruntime.__version__}"
    runs: dict[str, tuple[Callable[[np.ndarray], Any], Iterable[np.ndarray]]] = {
        "this example": (ours.frame, inputs),
        theirs_name: (theirs.frame, inputs),
        "of ours, up to the features": (ours.features, inputs),
        "of ours, the LSTM's step": (lambda x: ours.stream.step(x, out=hidden), features),
    }
    times: dict[str, list[float]] = {name: [] for name in runs}
    results: dict[str, list[Any]] = {}
    with threadpool_limits(1):
        for turn in range(passes + 1):
            for name, (run, given) in runs.items():
                ours.reset()
                theirs.reset()
                results[name], seconds = timed(run, given)
                times[name] += seconds if turn else []  # caches and the CPU's clock warm up in the first
    print(
        f"\n{passes} passes over {len(inputs)} frames of 32 ms in turn, one thread each, microseconds a frame"
    )
    print(f"{'':28}{'best':>8}{'median':>8}")
    for name, seconds in times.items():
        print(f"{name:28}{1e6 * min(seconds):8.1f}{1e6 * statistics.median(seconds):8.1f}")
    apart = np.abs(np.subtract(results["this example"], results[theirs_name])).max(initial=0)
    print(f"largest difference of the probabilities: {apart:.1e}")
    return bool(apart <= 1e-5)


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description="Find the speech in a recording with Silero VAD.")
    parser.add_argument(
        "wav",
        metavar="WAV",
        nargs="?",
        default=SPEECH / "speech.wav",
        help="a mono 16 kHz recording of 16 bits (default: three sentences of Jane Austen)",
    )
    parser.add_argument(
        "--model", default=SPEECH / "silero_vad_16k_sequence.onnx", help="Silero VAD's 16 kHz sequence model"
    )
    parser.add_argument(
        "--threshold", type=float, default=0.5, help="probability that counts as speech (0.5)"
    )
    parser.add_argument(
        "--png", metavar="PNG", help="draw the waveform, the probability and the LSTM's units"
    )
    parser.add_argument("--benchmark", action="store_true", help="time ONNX Runtime on the same frames, too")
    return parser


def run(arguments: argparse.Namespace) -> bool:
    """Do what the command line asks for; whether all of it held."""
    if not 0 < arguments.threshold <= 1:
        raise ValueError(f"--threshold is {arguments.threshold}, but must be above 0 and at most 1")
    require("onnx", "onnx")
    if arguments.png:
        require("plot", "matplotlib")
    if arguments.benchmark:
        require("bench", "onnxruntime", "threadpoolctl")
    samples = read_wav(arguments.wav)
    detector = SpeechDetector(arguments.model)
    inputs = frames(samples)
    probabilities, seconds = timed(detector.frame, inputs)
    for start, end in segments(probabilities, arguments.threshold):
        print(f"speech from {start:7.2f} s to {end:7.2f} s")
    mean, worst = 1e6 * statistics.mean(seconds), 1e6 * max(seconds)
    print(f"{len(inputs)} frames of 32 ms: {mean:.0f} µs each on the average, {worst:.0f} µs the slowest")
    if arguments.png:
        detector.reset()
        features = np.array([detector.features(frame).copy() for frame in inputs])
        trace = detector.net.trace(features)
        draw(arguments.png, samples, probabilities, arguments.threshold, trace)
        print(f"wrote {arguments.png}")
    return not arguments.benchmark or benchmark(arguments.model, inputs)


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status 0; 1 where ONNX Runtime finds other probabilities, 2 for what cannot be done."""
    arguments = make_parser().parse_args(argv)
    try:
        return 0 if run(arguments) else 1
    except (OSError, ValueError, ImportError) as error:
        print(f"vad.py: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
