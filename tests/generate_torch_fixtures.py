"""Nets of PyTorch with its own outputs, for tests that run without it: tests/data/torch.npz.

    python tests/generate_torch_fixtures.py

Needs torch. Every case: the module's state dict, inputs X (B, T, I), states, and what PyTorch gave.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

CASES = {
    "plain": {},
    "stacked": {"num_layers": 3},
    "bidirectional": {"bidirectional": True, "num_layers": 2},
    "projection": {"proj_size": 3},
    "all": {"num_layers": 2, "bidirectional": True, "proj_size": 2, "bias": False},
    "double": {"dtype": torch.float64},
}


def cases() -> dict[str, np.ndarray]:
    """Every array under case/name."""
    torch.manual_seed(0)
    arrays: dict[str, np.ndarray] = {}
    for case, options in CASES.items():
        module = torch.nn.LSTM(4, 6, batch_first=True, **options)
        dtype = options.get("dtype", torch.float32)
        cells = module.num_layers * (2 if module.bidirectional else 1)
        X = torch.randn(3, 5, 4, dtype=dtype)
        h0 = torch.randn(cells, 3, module.proj_size or 6, dtype=dtype)
        C0 = torch.randn(cells, 3, 6, dtype=dtype)
        with torch.no_grad():
            Y, (h_n, C_n) = module(X, (h0, C0))
        found = {"X": X, "h0": h0, "C0": C0, "Y": Y, "h_n": h_n, "C_n": C_n}
        found.update({f"state {name}": tensor for name, tensor in module.state_dict().items()})
        arrays.update({f"{case}/{name}": tensor.numpy() for name, tensor in found.items()})
    return arrays


if __name__ == "__main__":
    np.savez_compressed(Path(__file__).parent / "data" / "torch.npz", **cases())
