"""lstm.check_gradients and lstm.plot.gradients.

Shapes: B batch, T time, I input, H hidden, L layers, D directions.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
from gradient_cases import draw_call, gradients_of

import lstm
from lstm import LSTM
from lstm.core import dropout, gradients, reference_gradients


def make(**options: Any) -> tuple[LSTM, np.ndarray]:
    return LSTM(3, 5, init="pytorch", rng=0, **options), np.random.default_rng(1).standard_normal((4, 6, 3))


# ---- check_gradients


@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "dtype": np.float32}, {"backend": "numpy"}])
def test_right_gradients_pass(options: dict[str, Any]) -> None:
    net, X = make(**options)
    X[1, 2:] = np.nan
    before = net.state_dict()
    found = lstm.check_gradients(net, X, lengths=[6, 2, 0, 4])
    assert list(found) == [*before, "X", "h0", "C0"]
    assert 0 < max(found.values()) < 1e-8
    assert all(np.array_equal(array, before[name]) for name, array in net.state_dict().items())
    assert lstm.check_gradients(net, X, lengths=[6, 2, 0, 4]) == found
    assert lstm.check_gradients(net, X, lengths=[6, 2, 0, 4], rng=1) != found


def test_single_sequences_masks_and_states() -> None:
    net, X = make(proj_size=2)
    assert lstm.check_gradients(net, X[0])
    assert lstm.check_gradients(net, X[0], np.ones(2), np.ones((5, 1)), mask=[1 > 0, 1 < 0] * 3)
    assert lstm.check_gradients(net, X.astype(np.int8), np.ones((4, 2)))
    assert lstm.check_gradients(net, X[:, :0])["X"] == 0
    assert lstm.check_gradients(net, X[:0])["h0"] == 0


@pytest.mark.parametrize(
    ("which", "name"), [(0, "weight_ih_l0"), (1, "weight_ih_l0"), (2, "weight_ih_l0"), (3, "weight_ih_l0")]
)
def test_wrong_gradients_are_found(which: int, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One gate's derivative 1 % too large."""
    net, X = make(backend="numpy")
    right = reference_gradients.backward_step

    def wrong(*arguments: Any) -> Any:
        dz, *rest = right(*arguments)
        dz[which] *= 1.01
        return dz, *rest

    monkeypatch.setattr(reference_gradients, "backward_step", wrong)
    pattern = rf"the gradient of {name}\[\d+, \d+\] is -?[\d.e-]+, but a central difference gives -?[\d.e-]+"
    with pytest.raises(AssertionError, match=pattern):
        lstm.check_gradients(net, X, samples=100)
    assert lstm.check_gradients(net, X, samples=100, tolerance=1)


def test_wrong_arguments() -> None:
    net, X = make()
    for call, error, match in (
        (lambda: lstm.check_gradients(net.state_dict(), X), TypeError, "net is a dict"),  # type: ignore[arg-type]
        (lambda: lstm.check_gradients(net, X[..., :2]), ValueError, "X has 2 features"),
        (lambda: lstm.check_gradients(net, X, samples=0), ValueError, "samples is 0"),
        (lambda: lstm.check_gradients(net, X, tolerance="small"), TypeError, "tolerance is 'small'"),  # type: ignore[arg-type]
        (lambda: lstm.check_gradients(net, X * np.nan), ValueError, "not finite"),
        (lambda: lstm.check_gradients(net, X, lengths=[9, 9, 9, 9]), ValueError, "lengths has values"),
    ):
        with pytest.raises(error, match=match):
            call()


# ---- norms


@pytest.mark.parametrize("backend", ["native", "numpy"])
@pytest.mark.parametrize("seed", range(8))
def test_norms_are_those_of_the_gradients(backend: str, seed: int) -> None:
    """A step's norm is that of the gradients of the first states of a pass that begins after it."""
    mixture, derivatives = draw_call(
        300 + seed, num_layers=1, bidirectional=False, lengths=None, mask=None, reverse=False
    )
    net = mixture.net(backend=backend)
    g = gradients_of(net, mixture, derivatives)
    assert g.norms is not None
    cells, batch, time = g.norms.h.shape
    assert (cells, batch, time) == (1, *mixture.X.shape[:2])
    for t in range(time - 1):
        first = net.record(mixture.X[:, : t + 1], mixture.h0, mixture.C0)
        rest = net.record(mixture.X[:, t + 1 :], first.h_n, first.C_n)
        after = rest.backward(derivatives.dY[:, t + 1 :], derivatives.dh_n, derivatives.dC_n)
        dh = after.h0[0] + derivatives.dY[:, t]  # type: ignore[index]
        np.testing.assert_allclose(g.norms.h[0, :, t], np.linalg.norm(dh, axis=-1), rtol=1e-8)
    one = net.record(mixture.X[:, -1:], mixture.h0, mixture.C0)
    assert one.norms is None
    g = one.backward(dC_n=derivatives.dC_n)
    np.testing.assert_allclose(g.norms.C[0, :, 0], np.linalg.norm(derivatives.dC_n[0], axis=-1), rtol=1e-12)  # type: ignore[union-attr]


def test_norms_of_steps_that_are_not_computed_are_zero() -> None:
    net, X = make(bidirectional=True, num_layers=2)
    mask = np.random.default_rng(3).integers(0, 2, (4, 6)) > 0
    tape = net.record(X, mask=mask)
    g = tape.backward(np.ones(tape.Y.shape))
    assert g.norms is tape.norms
    assert g.norms is not None
    for values in g.norms:
        assert values.shape == (4, 4, 6)
        assert not values[:, ~mask].any()
        assert values[:, mask].all()
    single = net.record(X[0]).backward(np.ones((6, 10)))
    assert single.norms.h.shape == (4, 6)  # type: ignore[union-attr]


@pytest.mark.parametrize("reverse", [False, True])
def test_a_cell_overwrites_what_it_is_given(reverse: bool) -> None:
    """Norms and the gradient of X, whatever they held, past a row's length too."""
    net, X = make(reverse=reverse)
    core, lengths = net.core, np.array([6, 2, 0, 4])
    rates, rng = dropout.Rates(), np.random.default_rng(0)
    h0, C0 = (np.ones((1, 4, 5)) for _ in range(2))
    recording = core.record(X, h0, C0, lengths, None, rates, rng)
    norms = np.full((2, 4, 6), np.nan)
    ask = gradients.CellBackward(
        core.architecture,
        0,
        core.cells[0],
        recording.cell_pass(0),
        None,
        np.ones((4, 5)),
        np.ones((4, 5)),
        None,
        norms,
    )
    found = gradients.backward_cells([ask], True)
    within = np.arange(6) < lengths[:, np.newaxis]
    assert found is not None
    for values in (*norms, np.abs(found[0]).sum(axis=-1)):
        assert (values[within] > 0).all()
        assert (values[~within] == 0).all()


# ---- the picture


def taped(batch: int | None = 4, **options: Any) -> tuple[lstm.Tape, lstm.Gradients]:
    net, X = make(**options)
    tape = net.record(X[:batch] if batch is not None else X[0])
    return tape, tape.backward(dh_n=tape.h_n)


def drawing() -> Any:
    pytest.importorskip("matplotlib").use("Agg")
    import lstm.plot as plot

    return plot


def test_a_line_for_each_layer_and_direction() -> None:
    plot = drawing()
    tape, g = taped(bidirectional=True, num_layers=2)
    axes = plot.gradients(tape)
    assert len(axes) == 2
    for ax, values in zip(axes, g.norms, strict=True):  # type: ignore[arg-type]
        lines = ax.get_lines()
        assert len(lines) == 4
        for line, norms in zip(lines, values, strict=True):
            expected = np.sqrt(np.square(norms).sum(axis=0))
            np.testing.assert_allclose(line.get_ydata(), np.where(expected > 0, expected, np.nan))
    names = [text.get_text() for text in axes[0].get_legend().get_texts()]
    assert names == ["layer 0 forward", "layer 0 backward", "layer 1 forward", "layer 1 backward"]
    row = plot.gradients(g, row=2, axes=axes)
    np.testing.assert_allclose(row[0].get_lines()[4].get_ydata(), g.norms.h[0, 2])  # type: ignore[union-attr]
    assert plot.gradients(taped(None)[1])[0].get_legend() is None


def test_norms_of_zero_leave_a_gap() -> None:
    plot = drawing()
    net, X = make()
    tape = net.record(X, lengths=[3, 2, 0, 4])
    tape.backward(dh_n=tape.h_n)
    for ax in plot.gradients(tape):
        assert np.isnan(ax.get_lines()[0].get_ydata()).tolist() == [False] * 4 + [True] * 2


def test_what_cannot_be_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    plot = drawing()
    tape, g = taped()
    net, X = make()
    with pytest.raises(ValueError, match="call its backward first"):
        plot.gradients(net.record(X))
    with pytest.raises(TypeError, match="source is a ndarray"):
        plot.gradients(X)
    with pytest.raises(IndexError):
        plot.gradients(g, row=4)
    with pytest.raises(IndexError, match="of a single sequence"):
        plot.gradients(taped(None)[1], row=0)
    with pytest.raises(ValueError, match="axes has 7 Axes"):
        plot.gradients(tape, axes=[None] * 7)
    with pytest.raises(ValueError, match="no steps"):
        plot.gradients(net.record(X[:, :0]).backward(dh_n=np.ones((1, 4, 5))))
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"lstm-native\[plot\]"):
        plot.gradients(g)
