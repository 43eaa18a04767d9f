"""What users of other libraries write: it works, or the error says what to write instead.

Shapes: B batch, T time, I input, H hidden, L layers, D directions.
"""

from __future__ import annotations

import inspect
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from support import assert_same_bits, random_case

import lstm
from lstm import LSTM
from lstm.habits import INSTEAD

BACKENDS = ["native", "numpy"]


def test_layers_by_position() -> None:
    assert repr(LSTM(3, 5, 2)) == "LSTM(3, 5, num_layers=2, dtype=float64)"
    with pytest.raises(TypeError, match=r"num_layers by position, but got 4 .* bidirectional=True"):
        LSTM(3, 5, 2, True)  # type: ignore[call-arg, misc]


@pytest.mark.parametrize("name", INSTEAD)
def test_arguments_of_other_libraries(name: str) -> None:
    with pytest.raises(TypeError, match=f"LSTM has no argument {name}: "):
        LSTM(3, 5, **{name: True})  # type: ignore[arg-type]
    assert name not in inspect.signature(LSTM).parameters


def test_the_signature_is_that_of_the_class() -> None:
    names = list(inspect.signature(LSTM).parameters)
    assert names[:4] == ["input_size", "hidden_size", "num_layers", "bidirectional"]
    with pytest.raises(TypeError, match="unexpected keyword argument 'wrong'"):
        LSTM(3, 5, wrong=1)  # type: ignore[call-arg]


def test_a_call_of_the_net() -> None:
    net = LSTM(3, 5)
    with pytest.raises(TypeError, match=r"net\.forward_sequence\(X, return_state=True\)"):
        net(np.ones((4, 3)))  # type: ignore[operator]


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_sequence_given_to_forward(backend: str) -> None:
    net = LSTM(3, 5, rng=0, backend=backend)  # type: ignore[arg-type]
    state = np.ones(5)
    for call in (
        lambda: net.forward(np.ones((10, 3))),  # type: ignore[call-overload]
        lambda: net.forward(np.ones(3), state),
        lambda: net.forward(np.ones(3), C_prev=state),  # type: ignore[call-overload]
    ):
        with pytest.raises(TypeError, match=r"h, C = net\.forward\(x, h_prev, C_prev\).*forward_sequence"):
            call()
    for X in (np.ones((10, 3)), np.ones((2, 10, 3))):
        with pytest.raises(ValueError, match=r"has shape.*net\.forward_sequence\(X\)"):
            net.forward(X, state, state)


@pytest.mark.parametrize("kind", [tuple, list])
@pytest.mark.parametrize("options", [{}, {"num_layers": 2}, {"num_layers": 2, "proj_size": 2}])
@pytest.mark.parametrize("backend", BACKENDS)
def test_states_as_one_tuple(backend: str, options: dict[str, Any], kind: type) -> None:
    """The bits of two arguments, in every form of a state."""
    rng = np.random.default_rng(3)
    net = LSTM(3, 5, **options, rng=0, backend=backend)  # type: ignore[arg-type]
    layers, size = net.num_layers, net.proj_size or 5
    X = random_case(rng, 2, 4, 3, 5, np.float64)[0]
    cases = [(X, (layers, 2)), (X[0], (layers,))] + ([(X, (2,)), (X[0], ())] if layers == 1 else [])
    for sequence, rows in cases:
        h0, C0 = rng.uniform(-1, 1, (*rows, size)), rng.standard_normal((*rows, 5))
        expected = net.forward_sequence(sequence, h0, C0, return_state=True)
        Y, state = net.forward_sequence(sequence, kind((h0, C0)), return_state=True)
        for actual, wanted in zip((Y, *state), (expected[0], *expected[1]), strict=True):
            assert_same_bits(actual, wanted)
        assert_same_bits(net.trace(sequence, kind((h0, C0))).C, net.trace(sequence, h0, C0).C)
        x = sequence[..., 0, :]
        for actual, wanted in zip(net.forward(x, kind((h0, C0))), net.forward(x, h0, C0), strict=True):
            assert_same_bits(actual, wanted)


def test_two_rows_of_h0_are_no_pair() -> None:
    """A list that has the shape of h0 is h0."""
    X, rows = np.ones((2, 4, 3)), np.random.default_rng(1).uniform(-1, 1, (2, 5))
    net = LSTM(3, 5, rng=0)
    assert_same_bits(net.forward_sequence(X, tuple(rows)), net.forward_sequence(X, rows))
    deep = LSTM(3, 5, 2, rng=0)
    assert_same_bits(deep.forward_sequence(X[0], rows.tolist()), deep.forward_sequence(X[0], rows))
    with pytest.raises(ValueError, match=r"C0 has shape \(4,\)"):
        net.forward_sequence(X[0], (np.ones(5), np.ones(4)))


def test_names_with_a_prefix() -> None:
    state = {f"encoder.lstm.{name}": array for name, array in LSTM(3, 5, rng=0).state_dict().items()}
    for call in (LSTM.from_state_dict, LSTM(3, 5).load_state_dict):
        with pytest.raises(ValueError, match=r'write LSTM\.from_torch\(state, "encoder\.lstm"\)'):
            call(state)
    assert LSTM.from_torch(state, "encoder.lstm").hidden_size == 5


def test_summary(capsys: pytest.CaptureFixture[str]) -> None:
    LSTM(3, 5, 2, bidirectional=True, proj_size=2, peephole=True, dtype=np.float32).summary()
    first, shapes, *table, total = capsys.readouterr().out.splitlines()
    assert first == "LSTM(3, 5, num_layers=2, bidirectional=True, proj_size=2, peephole=True, dtype=float32)"
    assert shapes == "(T, 3) -> (T, 4), or (B, T, 3) -> (B, T, 4)"
    assert [line.split()[0] for line in table] == ["layer", "l0", "l0_reverse", "l1", "l1_reverse"]
    assert total == "620 parameters, 2,480 bytes"


def test_a_trace_shows_shapes() -> None:
    trace = LSTM(3, 5, proj_size=2).trace(np.ones((4, 3)))
    shape = "(1, 4, 5)"
    assert repr(trace) == (
        f"<trace of float64: i {shape}, f {shape}, g {shape}, o {shape}, C {shape}, h (1, 4, 2)>"
    )


def test_printing_a_trace_shows_shapes(capsys: pytest.CaptureFixture[str]) -> None:
    print(LSTM(3, 5, 2, bidirectional=True).trace(np.ones((6, 4, 3))))
    assert capsys.readouterr().out.startswith("<trace of float64: i (4, 6, 4, 5), f (4, 6, 4, 5), ")


class Cells(HTMLParser):
    """The rows of the tables of a document, its other text, and its tags."""

    def __init__(self, document: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.text: list[str] = []
        self.tags: list[str] = []
        self.feed(document)
        self.close()
        assert not self.tags

    def handle_starttag(self, tag: str, attrs: object) -> None:
        assert not attrs
        if tag == "br":
            return
        assert tag in ("div", "code", "table", "thead", "tbody", "tr", "th", "td")
        self.tags.append(tag)
        if tag == "tr":
            self.rows.append([])

    def handle_endtag(self, tag: str) -> None:
        assert self.tags.pop() == tag

    def handle_data(self, data: str) -> None:
        (self.rows[-1] if self.tags[-1] in ("th", "td") else self.text).append(data)


def test_a_net_in_a_notebook(capsys: pytest.CaptureFixture[str]) -> None:
    """The table says what the summary says."""
    net = LSTM(3, 5, 2, bidirectional=True, proj_size=2, peephole=True, dtype=np.float32)
    net.summary()
    first, shapes, *table, total = capsys.readouterr().out.splitlines()
    shown = Cells(net._repr_html_())
    assert shown.text == [first, shapes, total]
    assert [" ".join(row) for row in shown.rows] == [" ".join(line.split()) for line in table]


def test_a_trace_in_a_notebook() -> None:
    shown = Cells(LSTM(3, 5, proj_size=2).trace(np.ones((4, 3)))._repr_html_())
    assert shown.text == ["trace of float64"]
    assert shown.rows == [
        ["array", "what it is", "shape"],
        ["i", "input gate", "(1, 4, 5)"],
        ["f", "forget gate", "(1, 4, 5)"],
        ["g", "candidate", "(1, 4, 5)"],
        ["o", "output gate", "(1, 4, 5)"],
        ["C", "cell state", "(1, 4, 5)"],
        ["h", "output", "(1, 4, 2)"],
    ]


def test_names_of_classes_are_no_html() -> None:
    net = type("<script>alert(1)</script>", (LSTM,), {})(3, 5)
    assert Cells(net._repr_html_()).text[0] == "<script>alert(1)</script>(3, 5, dtype=float64)"


def test_dir_of_the_package() -> None:
    assert dir(lstm) == sorted(lstm.__all__)
