"""The short way of everyday arrays through `record` and `backward`: the bits and errors of the checked way.

Shapes: B batch, T time, I input, H hidden, O features of h, L layers.
"""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import pytest
from support import assert_same_bits

from lstm import LSTM, Gradients, Tape, _kernel
from lstm.core.gradients import zero_sums

DTYPES = [np.float32, np.float64]
BATCH, TIME, INPUT, HIDDEN = 4, 6, 3, 5
NETS: dict[str, dict[str, Any]] = {
    "one layer": {},
    "reverse": {"reverse": True},
    "two layers": {"num_layers": 2},
    "three layers, no bias": {"num_layers": 3, "bias": False},
    "projection": {"num_layers": 2, "proj_size": 2, "proj_clip": 0.1},
    "peepholes": {"peephole": True, "cell_clip": 0.4, "clip": 0.7, "input_forget": True},
    "activations": {"activations": ["hardsigmoid", "softsign", "relu"]},
}


def net_of(name: str, dtype: Any, **options: Any) -> LSTM:
    return LSTM(INPUT, HIDDEN, **NETS[name], **options, dtype=dtype, init="pytorch", rng=1)


def arrays_for(net: LSTM, batch: int | None = BATCH) -> dict[str, np.ndarray]:
    """X, states and the gradients of the results, of one sequence for None."""
    rng = np.random.default_rng(5)
    rows = () if batch is None else (batch,)
    layers, size = net.num_layers, net.proj_size or net.hidden_size
    shapes = {
        "X": (*rows, TIME, INPUT),
        "h0": (layers, *rows, size),
        "C0": (layers, *rows, HIDDEN),
        "dY": (*rows, TIME, size),
        "dh_n": (layers, *rows, size),
        "dC_n": (layers, *rows, HIDDEN),
    }
    return {name: rng.standard_normal(shape).astype(net.dtype) for name, shape in shapes.items()}


def arrays_of(tape: Tape, g: Gradients) -> dict[str, np.ndarray]:
    assert g.norms is not None
    others = {"Y": tape.Y, "h_n": tape.h_n, "C_n": tape.C_n, "dX": g.X, "dh0": g.h0, "dC0": g.C0}
    norms = {"norms of h": g.norms.h, "norms of C": g.norms.C}
    return {**g, **{name: array for name, array in others.items() if array is not None}, **norms}


class Ways:
    """Counts which calls go the short way, and can close it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.is_open, self.taken = True, dict.fromkeys(("everyday_record", "everyday_backward"), 0)
        for name in self.taken:
            monkeypatch.setattr(_kernel, name, self.counted(name, getattr(_kernel, name)))

    def counted(self, name: str, function: Any) -> Any:
        def call(*arguments: Any) -> Any:
            found = function(*arguments) if self.is_open else None
            self.taken[name] += found is not None
            return found

        return call


@pytest.fixture
def ways(monkeypatch: pytest.MonkeyPatch) -> Ways:
    return Ways(monkeypatch)


def compared(ways: Ways, run: Any) -> list[dict[str, np.ndarray]]:
    """What `run` gives by the short way and, copied, by the checked one: the same bits."""
    results = []
    for ways.is_open in (True, False):
        results.append({name: array.copy() for name, array in run().items()})
    short, checked = results
    assert short.keys() == checked.keys()
    for name, array in short.items():
        assert_same_bits(array, checked[name], name)
    return results


@pytest.mark.parametrize("batch", [None, BATCH, 1])
@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_short_way_gives_what_the_checked_way_gives(
    dtype: Any, name: str, batch: int | None, ways: Ways
) -> None:
    net = net_of(name, dtype)
    given = arrays_for(net, batch)
    before = {name: array.copy() for name, array in given.items()}

    def run() -> dict[str, np.ndarray]:
        tape = net.record(given["X"], given["h0"], given["C0"])
        return arrays_of(tape, tape.backward(given["dY"], given["dh_n"], given["dC_n"]))

    compared(ways, run)
    assert ways.taken == {"everyday_record": 1, "everyday_backward": 1}
    for name, array in given.items():
        assert_same_bits(array, before[name], name)


@pytest.mark.parametrize("batch", [None, BATCH])
@pytest.mark.parametrize("starts", [["dY"], ["dh_n"], ["dC_n"], ["dY", "dC_n"]])
@pytest.mark.parametrize("options", [{}, {"inputs": False}, {"weights": False}, {"per_sample": True}])
def test_what_is_left_out(options: dict[str, Any], starts: list[str], batch: int | None, ways: Ways) -> None:
    """States, some of the gradients to start from, and some of those asked for."""
    net = net_of("two layers", np.float32)
    given = arrays_for(net, batch)

    def run() -> dict[str, np.ndarray]:
        tape = net.record(given["X"])
        return arrays_of(tape, tape.backward(**{name: given[name] for name in starts}, **options))

    compared(ways, run)
    assert ways.taken == {"everyday_record": 1, "everyday_backward": 1}


def test_one_tape_and_one_sum_for_many_batches(ways: Ways) -> None:
    """`out` and `add_to`, as a loop of training uses them; a generator that nothing is drawn from."""
    net = net_of("two layers", np.float32)
    given = arrays_for(net)

    def run() -> dict[str, np.ndarray]:
        tape = g = None
        for k in range(3):
            X = given["X"] * np.float32(k + 1)
            tape = net.record(X, out=tape, rng=np.random.default_rng(k))
            g = tape.backward(given["dY"], add_to=g)
        assert tape is not None
        assert g is not None
        return arrays_of(tape, g)

    compared(ways, run)
    assert ways.taken == {"everyday_record": 3, "everyday_backward": 3}


def test_a_tape_of_another_kind_is_written_over(ways: Ways) -> None:
    """By an everyday pass after one with lengths and a mask, and the other way round."""
    net = net_of("one layer", np.float32)
    given = arrays_for(net)
    mask = np.arange(TIME) % 3 != np.arange(BATCH)[:, np.newaxis] % 3
    kinds: list[dict[str, Any]] = [{"mask": mask}, {}, {"lengths": [6, 2, 0, 5]}, {}, {"mask": mask}]
    tape = net.record(given["X"])
    for kind in kinds:
        tape = net.record(given["X"], given["h0"], given["C0"], **kind, out=tape)
        fresh = net.record(given["X"], given["h0"], given["C0"], **kind)
        expected = arrays_of(fresh, fresh.backward(given["dY"]))
        for name, array in arrays_of(tape, tape.backward(given["dY"])).items():
            assert_same_bits(array, expected[name], name)
    assert ways.taken == {"everyday_record": 5, "everyday_backward": 4}


def passes(net: LSTM, given: dict[str, np.ndarray]) -> list[tuple[str, dict[str, Any]]]:
    """(what, arguments of `record`) of calls that are not everyday ones."""
    X, h0, C0 = given["X"], given["h0"], given["C0"]
    other = np.float64 if net.dtype == np.float32 else np.float32
    return [
        ("strided", {"X": np.repeat(X, 2, axis=1)[:, ::2]}),
        ("another dtype", {"X": X.astype(other)}),
        ("another byte order", {"X": X.astype(X.dtype.newbyteorder())}),
        ("lists", {"X": X.tolist()}),
        ("states without the first axis", {"X": X, "h0": h0[0], "C0": C0[0]}),
        ("states of another dtype", {"X": X, "h0": h0.astype(other), "C0": C0}),
        ("lengths", {"X": X, "lengths": [6, 0, 3, 5]}),
        ("dropout", {"X": X, "recurrent_dropout": 0.5, "rng": 3}),
        ("no rows", {"X": X[:0].copy()}),
        ("no steps", {"X": X[:, :0].copy()}),
    ]


@pytest.mark.parametrize("index", range(10))
def test_other_passes_go_the_checked_way(index: int, ways: Ways) -> None:
    net = net_of("one layer", np.float32)
    given = arrays_for(net)
    _, arguments = passes(net, given)[index]

    def run() -> dict[str, np.ndarray]:
        tape = net.record(**arguments)
        return arrays_of(tape, tape.backward(np.ones(tape.Y.shape, np.float32)))

    compared(ways, run)
    assert ways.taken["everyday_record"] == 0


@pytest.mark.parametrize(
    "changed",
    [
        {"dY": lambda dY: np.repeat(dY, 2, axis=2)[..., ::2]},
        {"dY": lambda dY: dY.astype(np.float64)},
        {"dY": lambda dY: dY.tolist()},
        {"dh_n": lambda dh_n: dh_n[0]},
        {"dC_n": lambda dC_n: np.asfortranarray(dC_n)},
    ],
)
def test_other_gradients_go_the_checked_way(changed: dict[str, Any], ways: Ways) -> None:
    net = net_of("one layer", np.float32)
    given = arrays_for(net)
    name, change = next(iter(changed.items()))

    def run() -> dict[str, np.ndarray]:
        tape = net.record(given["X"])
        return arrays_of(tape, tape.backward(**{name: change(given[name])}))

    compared(ways, run)
    assert ways.taken == {"everyday_record": 1, "everyday_backward": 0}


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"X": np.zeros((BATCH, TIME, INPUT + 1), np.float32)}, ValueError, "X has 4 features"),
        ({"h0": np.zeros((2, BATCH, HIDDEN), np.float32)}, ValueError, "h0 has shape"),
        ({"C0": np.zeros((1, BATCH, HIDDEN + 1), np.float32)}, ValueError, "C0 has shape"),
        ({"X": np.zeros((BATCH, TIME + 1, INPUT), np.float32)}, ValueError, "out is a tape of 4 rows and 6"),
        ({"rng": "seed"}, TypeError, "rng"),
        ({"dropout": False}, TypeError, "dropout is False"),
    ],
)
def test_errors_of_record(arguments: dict[str, Any], error: type[Exception], words: str) -> None:
    """A tape to write over is as it was, unless it is the tape that does not fit."""
    net = net_of("one layer", np.float32)
    given = arrays_for(net)
    tape, fresh = net.record(given["X"]), net.record(given["X"])
    with pytest.raises(error, match=words):
        net.record(**{"X": given["X"] * 2, "out": tape, **arguments})
    if not words.startswith("out"):
        for name, array in arrays_of(tape, tape.backward(given["dY"])).items():
            assert_same_bits(array, arrays_of(fresh, fresh.backward(given["dY"]))[name], name)
            fresh = net.record(given["X"])


@pytest.mark.parametrize(
    "arguments",
    [
        {"dY": np.ones((BATCH, TIME, HIDDEN + 1), np.float32)},
        {"dY": np.ones((TIME, HIDDEN), np.float32)},
        {"dh_n": np.ones((2, BATCH, HIDDEN), np.float32)},
        {"dC_n": np.ones((BATCH + 1, HIDDEN), np.float32)},
    ],
)
def test_errors_of_backward(arguments: dict[str, Any]) -> None:
    """The tape is still good, and `add_to` as it was."""
    net = net_of("one layer", np.float32)
    given = arrays_for(net)
    tape = net.record(given["X"])
    g = tape.backward(given["dY"])
    before = {name: array.copy() for name, array in g.items()}
    tape = net.record(given["X"])
    with pytest.raises(ValueError, match="has shape"):
        tape.backward(**arguments, add_to=g)
    for name, array in g.items():
        assert_same_bits(array, before[name], name)
    tape.backward(given["dY"], add_to=g)
    expected = net.record(given["X"]).backward(given["dY"])
    expected = net.record(given["X"]).backward(given["dY"], add_to=expected)
    for name, array in g.items():
        assert_same_bits(array, expected[name], name)


def test_nets_without_a_short_way(ways: Ways) -> None:
    X = np.ones((BATCH, TIME, INPUT), np.float32)
    for net in (
        LSTM(INPUT, HIDDEN, bidirectional=True, dtype=np.float32, rng=0),
        LSTM(INPUT, HIDDEN, backend="numpy", dtype=np.float32, rng=0),
        LSTM(INPUT, HIDDEN, num_layers=17, dtype=np.float32, rng=0),
    ):
        tape = net.record(X)
        tape.backward(tape.Y)
    with pytest.raises(ValueError, match="precision"):
        LSTM(INPUT, HIDDEN, dtype=np.float32, rng=0).quantize("int8").record(X)
    assert not any(ways.taken.values())


def test_what_the_drop_in_asks_for() -> None:
    """X is read where it is, and layers whose weights are frozen have no sums."""
    net = net_of("two layers", np.float32)
    given, cells = arrays_for(net), net.core.cells
    sums = [tuple(zero_sums(net.core.architecture, net.dtype, None)[k]) for k in range(2)]
    results = []
    for copies in (True, False):
        made = _kernel.everyday_record(cells, given["X"], given["h0"], given["C0"], False, None, copies)
        assert made is not None
        storage, h0, *_ = made
        assert (storage[0] is given["X"]) is not copies
        asked = (
            sums if copies else [None, [np.zeros_like(one) if one is not None else None for one in sums[1]]]
        )
        found = _kernel.everyday_backward(
            cells, storage, h0, given["dY"], None, None, True, True, asked, False
        )
        assert found is not None
        results.append((*found, *(one for one in asked[1] if one is not None)))
    for first, second in zip(*results, strict=True):
        assert np.any(first)
        assert_same_bits(first, second)


def test_the_kernel_refuses_what_does_not_fit() -> None:
    """Storage, records and sums of other sizes, dtypes and layouts: None or an error, and nothing written."""
    net = net_of("two layers", np.float32)
    given, cells = arrays_for(net), net.core.cells
    made = _kernel.everyday_record(cells, given["X"], None, None, False)
    assert made is not None
    (X, records, Y), h0, *_ = made
    frozen = X.copy()
    frozen.flags.writeable = False
    gates, memory, squashed = records[0]
    read_only = Y.copy()
    read_only.flags.writeable = False
    storages: list[Any] = [
        (X[:, :-1].copy(), records, Y),
        (X.astype(np.float64), records, Y),
        (frozen, records, Y),
        (None, records, Y),
        (X, records, Y[..., :-1]),
        (X, records, read_only),
        (X, records, None),
        (X, records, [Y[0]]),
        (X, records[:1], Y),
        (X, [(gates[:1], memory, squashed), records[1]], Y[:, :1]),
        (X, [(gates, memory[..., :-1, :], squashed), records[1]], Y),
        (X, [None, None], Y),
        (X, [records[0][:2], records[1]], Y),
        (X, [records[0], []], Y),
        (X, records),
    ]
    for storage in storages:
        with contextlib.suppress(ValueError, TypeError, IndexError):
            assert _kernel.everyday_record(cells, given["X"], None, None, False, storage) is None
    sums = [tuple(np.zeros(3, np.float32) for _ in range(5))] * 2
    for storage, states, asked in [
        *((one, h0, None) for one in storages if one[0] is not frozen),
        ((X, records, Y), h0[:1], None),
        ((X, records, Y), [h0[0]], None),
        ((X, records, Y), h0.astype(np.float64), None),
        ((X, records, Y), h0, sums),
        ((X, records, Y), h0, sums[:1]),
        ((X, records, Y), h0, [sums[0][:3], sums[1]]),
        ((X, records, Y), h0, []),
    ]:
        if len(storage) == 3 and storage[2] is read_only:
            continue  # it is only read
        with contextlib.suppress(ValueError, TypeError, IndexError):
            found = _kernel.everyday_backward(
                cells, storage, states, given["dY"], None, None, True, True, asked, False
            )
            assert found is None
