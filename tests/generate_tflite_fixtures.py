"""python tests/generate_tflite_fixtures.py: write tests/data/tflite, models with TensorFlow Lite's outputs.

Needs tflite, and ai-edge-litert 2.3.0, whose interpreter runs them. stacked_keras.tflite and
while_loop.tflite are made by TensorFlow's converter, 2.15.1 with Keras 2.15 and 2.21.0 with Keras 3.15, of
`Sequential([Input((7, 3), batch_size=1), LSTM(4, return_sequences=True), ...])` with two layers and one;
they stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import tflite
from tflite_models import Writer, random_weights

FOLDER = Path(__file__).parent / "data" / "tflite"
B, T, I = 2, 6, 3  # noqa: E741


def plain(w: Writer) -> int:
    return w.lstm("lstm", w.input("x", (B, T, I)), random_weights(0))


def float16(w: Writer) -> int:
    return w.lstm("lstm", w.input("x", (B, T, I)), random_weights(1), "float16")


def int8(w: Writer) -> int:
    return w.lstm("lstm", w.input("x", (B, T, I)), random_weights(2), "int8")


def coupled(w: Writer) -> int:
    weights = random_weights(3, peephole=True, coupled=True)
    return w.lstm("lstm", w.input("x", (B, T, I)), weights, CellClip=0.4)


def relu(w: Writer) -> int:
    function = tflite.ActivationFunctionType.RELU
    return w.lstm("lstm", w.input("x", (B, T, I)), random_weights(4), FusedActivationFunction=function)


def clipped(w: Writer) -> int:
    """Time-major, with peepholes and a projection; both bounds act."""
    weights = random_weights(5, P=2, peephole=True)
    return w.lstm("lstm", w.input("x", (T, B, I)), weights, TimeMajor=True, CellClip=0.4, ProjClip=0.1)


def unprojected(w: Writer) -> int:
    """A bound of h that is not applied, since there is no projection."""
    return w.lstm("lstm", w.input("x", (B, T, I)), random_weights(6), ProjClip=0.01)


def both(w: Writer) -> int:
    """Time-major: batch-major with B > 1 is wrong in the interpreter itself."""
    sides = [random_weights(7), random_weights(8)]
    return w.both("lstm", w.input("x", (T, B, I)), sides, TimeMajor=True)


def pair(w: Writer, x: int, seed: int, K: int = I, name: str = "pair") -> tuple[int, int]:
    """Outputs of both directions at their places in time."""
    forward = w.lstm(f"{name}/forward", x, random_weights(seed, K))
    backward = w.lstm(f"{name}/backward", w.reverse(x, 1), random_weights(seed + 1, K))
    return forward, w.reverse(backward, 1)


def merged(kind: str, factor: float | None = None) -> Callable[[Writer], int]:
    def build(w: Writer) -> int:
        sides = pair(w, w.input("x", (B, T, I)), 10)
        y = w.operator(kind, sides, "merged", (B, T, 5))
        if factor is None:
            return y
        halving = w.constant("factor", np.float32(factor))
        return w.operator("DIV" if factor > 1 else "MUL", [y, halving], "mean", (B, T, 5))

    return build


def concatenated(w: Writer) -> int:
    sides = pair(w, w.input("x", (B, T, I)), 12)
    return w.operator("CONCATENATION", sides, "merged", (B, T, 10), Axis=-1)


def two_pairs(w: Writer) -> int:
    lower = pair(w, w.input("x", (B, T, I)), 14, name="lower")
    between = w.operator("CONCATENATION", lower, "between", (B, T, 10), Axis=2)
    return w.operator("CONCATENATION", pair(w, between, 16, 10, "upper"), "merged", (B, T, 10), Axis=2)


def last_steps(w: Writer) -> int:
    """Both directions' last states, as of a layer without return_sequences."""
    x = w.input("x", (B, T, I))
    forward = w.last(w.lstm("forward", x, random_weights(18)))
    backward = w.last(w.lstm("backward", w.reverse(x, -2), random_weights(19)))
    return w.operator("CONCATENATION", [forward, backward], "merged", (B, 10), Axis=1)


def backwards(w: Writer) -> int:
    """go_backwards, two layers: outputs stay in the order in which they are computed."""
    lower = w.lstm("lower", w.reverse(w.input("x", (B, T, I)), 1), random_weights(20))
    return w.lstm("upper", lower, random_weights(21, 5))


def swapped(w: Writer) -> int:
    """A layer of either layout, and a transpose between them."""
    lower = w.lstm("lower", w.input("x", (B, T, I)), random_weights(22))
    return w.lstm("upper", w.swap(lower), random_weights(23, 5), TimeMajor=True)


MODELS = {
    **{one.__name__: one for one in (plain, float16, int8, coupled, relu, clipped, unprojected, both)},
    **{
        "sum": merged("ADD"),
        "mul": merged("MUL"),
        "mean": merged("ADD", 0.5),
        "mean_by_2": merged("ADD", 2.0),
    },
    **{one.__name__: one for one in (concatenated, two_pairs, last_steps, backwards, swapped)},
}


def main() -> None:
    """Write each model, and x, y and the next y of all of them."""
    from ai_edge_litert.interpreter import Interpreter

    arrays = {}
    for name, build in MODELS.items():
        writer = Writer()
        (FOLDER / f"{name}.tflite").write_bytes(writer.content(build(writer)))
    for path in sorted(FOLDER.glob("*.tflite")):
        interpreter = Interpreter(str(path))
        interpreter.allocate_tensors()
        given, found = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
        rng = np.random.default_rng(len(arrays))
        for call in ("", "_next"):  # an operator keeps its state from call to call
            x = rng.standard_normal(given["shape"]).astype(np.float32)
            interpreter.set_tensor(given["index"], x)
            interpreter.invoke()
            arrays[f"{path.stem}_x{call}"], arrays[f"{path.stem}_y{call}"] = (
                x,
                interpreter.get_tensor(found["index"]),
            )
    np.savez_compressed(FOLDER / "outputs.npz", **arrays)


if __name__ == "__main__":
    main()
