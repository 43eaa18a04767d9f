"""The pictures of lstm.plot, and examples/gates.py."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from support import ROOT, random_case, random_net

from lstm import LSTM

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")
plot = pytest.importorskip("lstm.plot")

TITLES = [
    "input x",
    "forget gate f",
    "input gate i",
    "candidate g",
    "output gate o",
    "cell state C",
    "output h",
]


@pytest.fixture(autouse=True)
def closed():
    """Close the figures of a test."""
    yield
    import matplotlib.pyplot as plt

    plt.close("all")


def traced(**options):
    """A net of two layers, a batch that it has run over, and its trace."""
    rng = np.random.default_rng(0)
    net = random_net(rng, 3, 6, np.float32, num_layers=2, **options)
    X, _, _ = random_case(rng, 4, 9, 3, 6, np.float32)
    return X, net.trace(X)


def test_each_heat_map_holds_its_values() -> None:
    X, trace = traced(proj_size=2)
    axes = plot.gates(trace, X, layer=1, row=2)
    assert [ax.get_title(loc="left") for ax in axes] == TITLES
    values = [X[2], *(getattr(trace, name)[1, 2] for name in "figoCh")]
    for ax, expected in zip(axes, values, strict=True):
        (image,) = ax.images
        np.testing.assert_array_equal(image.get_array(), expected.T)
        assert image.origin == "lower"
        assert image.colorbar is not None
    assert axes[-1].get_xlabel() == "time step"
    assert axes[1].get_ylabel() == "unit"


def test_gates_reach_from_zero_to_one_and_the_rest_is_symmetric() -> None:
    _, trace = traced()
    for ax in plot.gates(trace):
        low, high = ax.images[0].get_clim()
        if ax.get_title(loc="left") in ("forget gate f", "input gate i", "output gate o"):
            assert (low, high) == (0, 1)
        else:
            assert low == -high
            assert high > 0


def test_colour_bars_can_be_read() -> None:
    """At least a tenth of an inch wide, however few units there are, and of the same width."""
    X, trace = traced(proj_size=1)
    axes = plot.gates(trace, X)
    figure = axes[0].figure
    figure.draw_without_rendering()
    widths = [ax.images[0].colorbar.ax.get_window_extent().width / figure.dpi for ax in axes]
    assert min(widths) > 0.08
    assert max(widths) < 1.5 * min(widths)


def test_gates_without_bounds_and_nan_are_told_apart() -> None:
    _, trace = traced()
    o = trace.o.copy()
    o[0, 0, 2, 3], o[0, 0, 4, 1] = -3.0, np.nan
    (image,) = plot.gates(trace._replace(o=o))[3].images
    assert image.get_clim() == (-3, 3)
    colours = image.to_rgba(image.get_array())
    assert colours[1, 4].tolist() == [0.5, 0.5, 0.5, 1]
    assert colours[3, 2].tolist() != [0.5, 0.5, 0.5, 1]


def test_into_given_axes_and_of_a_single_sequence() -> None:
    import matplotlib.pyplot as plt

    rng = np.random.default_rng(1)
    X = rng.standard_normal((7, 3))
    trace = LSTM(3, 6, rng=2).trace(X)
    _, given = plt.subplots(7, 1)
    assert list(plot.gates(trace, X, axes=given)) == list(given)
    with pytest.raises(ValueError, match="axes has 7 Axes, but there are 6"):
        plot.gates(trace, axes=given)


def test_what_cannot_be_drawn() -> None:
    X, trace = traced()
    with pytest.raises(TypeError, match="trace is a ndarray"):
        plot.gates(X)
    with pytest.raises(ValueError, match="X has shape"):
        plot.gates(trace, X[:, :5])
    with pytest.raises(IndexError):
        plot.gates(trace, layer=2)
    with pytest.raises(IndexError):
        plot.gates(trace, row=4)
    with pytest.raises(ValueError, match="no steps"):
        plot.gates(LSTM(3, 6).trace(np.ones((0, 3))))


def test_all_nan_is_drawn() -> None:
    _, trace = traced()
    assert len(plot.gates(trace._replace(C=np.full_like(trace.C, np.nan)))) == 6


@pytest.mark.skipif(not (ROOT / "examples").exists(), reason="needs the source tree")
def test_the_example_writes_its_picture(tmp_path) -> None:
    path = tmp_path / "gates.png"
    subprocess.run([sys.executable, str(ROOT / "examples" / "gates.py"), str(path)], check=True)
    assert path.read_bytes().startswith(b"\x89PNG")


def test_the_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    _, trace = traced()
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"lstm-native\[plot\]"):
        plot.gates(trace)
