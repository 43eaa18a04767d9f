"""Record what PyTorch's nn.LSTM and nn.LSTMCell compute, for tests that run without PyTorch.

    pip install torch==2.13.0
    python tests/generate_oracles.py

writes tests/data/oracles.npz. An unpinned torch may be several GB; 2.13.0 is a CPU build.

Every case has all its weights, biases, inputs and states random and distinct, so that a wrong order of
gates, swapped states or a bias that is left out shows. Keys are "case<n>/<name>":

    weight_ih_l0 (4H, I)  weight_hh_l0 (4H, H)  bias_ih_l0 (4H,)  bias_hh_l0 (4H,), not without biases
    X (B, T, I)  h0 (B, H)  C0 (B, H)  ->  Y (B, T, H)  h_n (B, H)  C_n (B, H), of nn.LSTM
    x (B, I)  h_prev (B, H)  C_prev (B, H)  ->  h (B, H)  C (B, H), of nn.LSTMCell on the same weights

Shapes: B batch, T time, I input, H hidden.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np

PATH = Path(__file__).parent / "data" / "oracles.npz"
SEED = 20150827
# (I, H, B, T, bias)
SHAPES = (
    (3, 5, 2, 4, True),
    (1, 1, 3, 6, True),
    (1, 17, 2, 5, True),
    (7, 20, 4, 9, False),
    (9, 33, 2, 7, True),
)


def distinct(rng: np.random.Generator, limit: float, shape: tuple[int, ...]) -> np.ndarray:
    """Evenly spaced values within ±limit in random order: never two of them close, none of them zero."""
    size = int(np.prod(shape))
    return rng.permutation(limit * (2 * (np.arange(size) + 0.25) / size - 1)).reshape(shape)


def inputs(
    rng: np.random.Generator, input_size: int, hidden_size: int, batch: int, time: int, bias: bool
) -> dict[str, np.ndarray]:
    """Weights, inputs and states of one case, of float64."""
    rows = 4 * hidden_size
    limit = 1.5 / np.sqrt(hidden_size)
    case = {
        "weight_ih_l0": distinct(rng, limit, (rows, input_size)),
        "weight_hh_l0": distinct(rng, limit, (rows, hidden_size)),
    }
    if bias:
        case["bias_ih_l0"] = distinct(rng, 1, (rows,))
        # Small beside bias_ih, so that of one unit no two gates have the same sum of both.
        case["bias_hh_l0"] = distinct(rng, 0.25, (rows,))
    case["X"] = rng.standard_normal((batch, time, input_size))
    case["x"] = rng.standard_normal((batch, input_size))
    for h, C in (("h0", "C0"), ("h_prev", "C_prev")):
        case[h] = distinct(rng, 1, (batch, hidden_size))
        case[C] = distinct(rng, 2, (batch, hidden_size))
    return case


def outputs(case: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What PyTorch makes of the arrays of `inputs`, in their dtype."""
    import torch

    tensors = {name: torch.from_numpy(array) for name, array in case.items()}
    weights = {name: tensor for name, tensor in tensors.items() if "_l0" in name}
    hidden_size = case["h0"].shape[1]
    options = {"bias": "bias_ih_l0" in case, "dtype": tensors["X"].dtype}
    layer = torch.nn.LSTM(case["X"].shape[2], hidden_size, batch_first=True, **options)
    layer.load_state_dict(weights)
    cell = torch.nn.LSTMCell(case["X"].shape[2], hidden_size, **options)
    cell.load_state_dict({name.removesuffix("_l0"): tensor for name, tensor in weights.items()})
    with torch.no_grad():
        Y, (h_n, C_n) = layer(tensors["X"], (tensors["h0"][None], tensors["C0"][None]))
        h, C = cell(tensors["x"], (tensors["h_prev"], tensors["C_prev"]))
    results = {"Y": Y, "h_n": h_n[0], "C_n": C_n[0], "h": h, "C": C}
    return {name: tensor.numpy() for name, tensor in results.items()}


def cases() -> dict[str, np.ndarray]:
    """All recorded arrays by key: each of SHAPES in float64, then each in float32."""
    rng = np.random.default_rng(SEED)
    arrays = {}
    number = 0
    for dtype in (np.float64, np.float32):
        for shape in SHAPES:
            case = {name: array.astype(dtype) for name, array in inputs(rng, *shape).items()}
            for name, array in {**case, **outputs(case)}.items():
                arrays[f"case{number}/{name}"] = array
            number += 1
    return arrays


def main() -> None:
    with zipfile.ZipFile(PATH, "w", zipfile.ZIP_DEFLATED) as archive:
        for key, array in cases().items():
            memory = io.BytesIO()
            np.lib.format.write_array(memory, array, allow_pickle=False)
            # A ZipInfo has a fixed date, so that the file is the same when it is made anew.
            entry = zipfile.ZipInfo(f"{key}.npy")
            archive.writestr(entry, memory.getvalue(), zipfile.ZIP_DEFLATED)


if __name__ == "__main__":
    main()
