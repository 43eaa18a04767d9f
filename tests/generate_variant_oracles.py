"""Records what PyTorch and ONNX Runtime make of random variants: tests/data/variants.npz.

    python tests/generate_variant_oracles.py

Needs torch, onnx and onnxruntime. Inputs and weights are recorded too, so that the tests need none of them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import variant_peers
from variants import FUNCTIONS, oracle

SMALL = {"input_size": 4, "hidden_size": 7}
CASES = 12


def cases() -> dict[str, np.ndarray]:
    """Every array under case/name."""
    arrays: dict[str, np.ndarray] = {}
    for seed in range(CASES):
        rng = np.random.default_rng(seed)
        dtype = (np.float32, np.float64)[seed % 2]
        mixture = variant_peers.for_pytorch(
            rng, dtype, **SMALL, num_layers=1 + seed % 3, proj_size=3 * (seed % 4 == 0)
        )
        record = variant_peers.recordable(mixture, variant_peers.pytorch_outputs(mixture))
        arrays.update({f"pytorch {seed}/{name}": array for name, array in record.items()})
    seed = found = 0
    while found < CASES:
        fixed: dict[str, Any] = {"bidirectional": found % 3 == 2, "reverse": found % 3 == 1}
        if found % 2:  # every function in some case; else at random
            names = [*FUNCTIONS, *FUNCTIONS, *FUNCTIONS, *FUNCTIONS]
            fixed["activations"] = names[3 * found :][: 6 if fixed["bidirectional"] else 3]
        mixture = variant_peers.for_onnx_runtime(np.random.default_rng(seed), **SMALL, **fixed)
        seed += 1
        if not all(np.abs(array).max() < 100 for array in oracle(mixture).values()):
            continue
        record = variant_peers.recordable(mixture, variant_peers.onnx_outputs(mixture))
        arrays.update({f"onnxruntime {found}/{name}": array for name, array in record.items()})
        found += 1
    return arrays


if __name__ == "__main__":
    np.savez_compressed(Path(__file__).parent / "data" / "variants.npz", **cases())
