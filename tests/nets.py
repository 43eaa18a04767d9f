"""Small nets and comparisons of their weights."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from support import assert_same_bits, random_net

from lstm import LSTM

BACKENDS = ("native", "numpy")
INPUT, HIDDEN = 3, 5
MATRICES = ("Wf", "Wi", "WC", "Wo")
BIASES = ("bf", "bi", "bC", "bo")
NAMES = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
# PyTorch's order of the gates along the rows of a weight.
ROWS = {"i": 0, "f": 1, "C": 2, "o": 3}


def make_net(**options: Any) -> LSTM:
    return random_net(np.random.default_rng(0), INPUT, HIDDEN, options.pop("dtype", np.float64), **options)


def assert_same_weights(actual: LSTM, expected: LSTM) -> None:
    """The same sizes, dtype and bits of every weight."""
    assert (actual.input_size, actual.hidden_size) == (expected.input_size, expected.hidden_size)
    assert (actual.bias, actual.dtype) == (expected.bias, expected.dtype)
    wanted = expected.state_dict()
    assert list(actual.state_dict()) == list(wanted)
    for name, array in actual.state_dict().items():
        assert_same_bits(array, wanted[name], name)


def assert_unchanged(net: LSTM, attempt: Callable[[], Any], error: type[Exception], match: str) -> None:
    """`attempt` raises and leaves every weight as it was."""
    before = copy.copy(net)
    with pytest.raises(error, match=match):
        attempt()
    assert_same_weights(net, before)
