"""`lstm.dask.forward_sequence`: the bits of one machine for any chunks, and on worker processes."""

from __future__ import annotations

import os
import time
from typing import Any

import numpy as np
import pytest
from support import assert_same_bits, random_net
from variants import VARIANTS, make
from worker_processes import kill_one, slow_workers

from lstm import LSTM

da = pytest.importorskip("dask.array")
pytest.importorskip("distributed")

import dask  # noqa: E402

import lstm.dask  # noqa: E402

B, T = 9, 13
CHUNKS = {"whole": (B, T, -1), "rows": (4, T, 2), "both": (4, 5, -1), "uneven": ((1, 5, 3), (6, 1, 6), 1)}


def computed(*results: Any) -> list[np.ndarray]:
    return list(dask.compute(*results, scheduler="sync"))


@pytest.mark.parametrize("name", VARIANTS)
def test_any_chunks_have_the_bits_of_one_call(name: str) -> None:
    """With states and lengths in and out, as arrays of NumPy and of Dask."""
    net, mixture = make(name, np.float32, B, T)
    lengths = np.random.default_rng(2).integers(0, T + 1, B)
    X, h0, C0 = mixture.X, mixture.h0, mixture.C0
    Y, (h_n, C_n) = net.forward_sequence(X, h0, C0, lengths=lengths, return_state=True)
    last = net.forward_sequences([x[:n] for x, n in zip(X, lengths, strict=True)], h0, C0, last=True)
    for which, chunks in CHUNKS.items():
        D = da.from_array(X, chunks=chunks)
        if net.bidirectional and len(D.chunks[1]) > 1:
            D = D.rechunk({1: -1})
        given = (h0, C0, lengths)
        if which == "both":
            given = tuple(da.from_array(one, chunks=2) for one in given)
        found, (h, C) = lstm.dask.forward_sequence(
            net, D, given[0], given[1], lengths=given[2], return_state=True
        )
        assert (found.shape, h.shape, C.shape) == (Y.shape, h_n.shape, C_n.shape)
        assert found.chunks[:2] == D.chunks[:2]
        ends = lstm.dask.forward_sequence(net, D, *given[:2], lengths=given[2], last=True)
        for one, other in zip(computed(found, h, C, ends), (Y, h_n, C_n, last), strict=True):
            assert_same_bits(one, other)
        (plain,) = computed(lstm.dask.forward_sequence(net, D))
        assert_same_bits(plain, net.forward_sequence(X))


@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "reverse": True}, {"bidirectional": True}])
def test_a_single_sequence(options: dict[str, Any]) -> None:
    net = random_net(np.random.default_rng(0), 3, 5, np.float64, **options)
    X = np.random.default_rng(1).standard_normal((50, 3))
    D = da.from_array(X, chunks=(50 if net.bidirectional else 7, 2))
    shape = (net.core.architecture.cells, 5)
    h0, C0 = (np.random.default_rng(k).standard_normal(shape) for k in (2, 3))
    found, (h, C) = lstm.dask.forward_sequence(net, D, h0, C0, return_state=True)
    Y, (h_n, C_n) = net.forward_sequence(X, h0, C0, return_state=True)
    for one, other in zip(computed(found, h, C), (Y, h_n, C_n), strict=True):
        assert_same_bits(one, other)
    last = lstm.dask.forward_sequence(net, D, last=True)
    assert_same_bits(computed(last)[0], net.forward_sequences([X], last=True)[0])


@pytest.mark.parametrize("shape", [(0, 5, 3), (4, 0, 3), (0, 3)])
def test_nothing_to_run(shape: tuple[int, ...]) -> None:
    net = LSTM(3, 5, rng=0)
    found, (h, _) = lstm.dask.forward_sequence(net, da.zeros(shape), return_state=True)
    Y, (h_n, _) = net.forward_sequence(np.zeros(shape), return_state=True)
    for one, other in zip(computed(found, h), (Y, h_n), strict=True):
        assert_same_bits(one, other)


def test_weights_set_later_change_nothing() -> None:
    net = LSTM(3, 5, rng=0)
    X = np.ones((4, 6, 3))
    before = net.forward_sequence(X)
    found = lstm.dask.forward_sequence(net, da.from_array(X, chunks=(2, 3, 3)))
    net.load_state_dict(LSTM(3, 5, rng=1).state_dict())
    assert_same_bits(computed(found)[0], before)


X = da.zeros((4, 6, 3), chunks=(2, 3, 3))
WRONG: dict[str, tuple[Any, dict[str, Any], type[Exception], str]] = {
    "an array of NumPy": (
        np.zeros((4, 6, 3)),
        {},
        TypeError,
        r"must be a dask.array.Array.*forward_sequence",
    ),
    "features": (X[..., :2], {}, ValueError, "2 features a step"),
    "axes": (X[0, 0], {}, ValueError, r"X has shape \(3,\)"),
    "complex": (X + 1j, {}, TypeError, "complex"),
    "unknown sizes": (X[X[:, 0, 0] == 0], {}, ValueError, "compute_chunk_sizes"),
    "state": (X, {"h0": np.zeros((3, 5))}, ValueError, r"h0 has shape \(3, 5\)"),
    "state of Dask": (X, {"C0": da.zeros((1, 4, 4))}, ValueError, r"C0 has shape \(1, 4, 4\)"),
    "lengths": (X, {"lengths": np.zeros(3, int)}, ValueError, r"lengths has shape \(3,\)"),
    "long lengths": (X, {"lengths": np.full(4, 7)}, ValueError, "from 7 to 7"),
    "lengths of floats": (X, {"lengths": da.zeros(4)}, TypeError, "float64"),
    "lengths of a sequence": (X[0], {"lengths": np.ones(1, int)}, ValueError, "single sequence"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_arrays(case: str) -> None:
    """Before anything is computed."""
    array, options, error, words = WRONG[case]
    with pytest.raises(error, match=words):
        lstm.dask.forward_sequence(LSTM(3, 5, rng=0), array, **options)


def test_what_only_values_tell_raises_where_it_is_computed() -> None:
    found = lstm.dask.forward_sequence(LSTM(3, 5, rng=0), X, lengths=da.full(4, 7))
    with pytest.raises(ValueError, match="from 7 to 7"):
        computed(found)


def test_both_directions_need_all_steps() -> None:
    net = LSTM(3, 5, bidirectional=True, rng=0)
    with pytest.raises(ValueError, match=r"2 chunks along time.*X\.rechunk\(\{1: -1\}\)"):
        lstm.dask.forward_sequence(net, X)
    with pytest.raises(ValueError, match=r"X\.rechunk\(\{0: -1\}\)"):
        lstm.dask.forward_sequence(net, X[0])


# On worker processes


def count_arrivals() -> None:
    """Let a worker count how often a net is unpacked there."""
    from lstm.core.net import Net

    unpack = Net.__setstate__

    def counted(net: Net, state: dict[str, Any]) -> None:
        os.environ["LSTM_TEST_ARRIVALS"] = str(arrivals() + 1)
        unpack(net, state)

    Net.__setstate__ = counted  # type: ignore[method-assign]


def arrivals() -> int:
    return int(os.environ.get("LSTM_TEST_ARRIVALS", 0))


def test_weights_travel_once_to_each_worker(client: Any) -> None:
    net = random_net(np.random.default_rng(0), 3, 5, np.float32, num_layers=2)
    X = np.random.default_rng(1).standard_normal((60, 20, 3))
    client.run(count_arrivals)
    found = lstm.dask.forward_sequence(net, da.from_array(X, chunks=(2, 10, 3)))
    assert_same_bits(client.compute(found).result(timeout=60), net.forward_sequence(X))
    assert all(count <= 2 for count in client.run(arrivals).values())


def test_a_worker_is_killed(client: Any) -> None:
    """In the middle; its chunks are computed again, with the same bits."""
    net = random_net(np.random.default_rng(0), 3, 5, np.float32)
    X = np.random.default_rng(1).standard_normal((80, 30, 3))
    with slow_workers(client, 0.03):
        found = lstm.dask.forward_sequence(net, da.from_array(X, chunks=(2, 15, 3))).persist()
        parts = client.futures_of(found)
        deadline = time.monotonic() + 60
        while sum(one.done() for one in parts) < 10 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert 10 <= sum(one.done() for one in parts) < len(parts)
        kill_one(client)
        assert_same_bits(client.compute(found).result(timeout=60), net.forward_sequence(X))
