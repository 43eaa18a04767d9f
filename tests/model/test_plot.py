"""The pictures of lstm.plot over the steps of a trace, and examples/gates.py."""

from __future__ import annotations

import datetime
import itertools
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
    "input x, each feature on its own scale",
    "forget gate f",
    "input gate i",
    "candidate g",
    "output gate o",
    "cell state C, each unit on its own scale",
    "output h, each unit on its own scale",
]
UNITS, STEPS = 6, 9


def traced(**options):
    """A net of two layers, a batch that it has run over, and its trace."""
    rng = np.random.default_rng(0)
    net = random_net(rng, 3, UNITS, np.float32, num_layers=2, **options)
    X, _, _ = random_case(rng, 4, STEPS, 3, UNITS, np.float32)
    return X, net.trace(X)


def remembering(constants):
    """A trace of one sequence whose units have these time constants, by forget gates that vary."""
    constants = np.asarray(constants, float)
    means = np.exp(-1 / constants)
    rng = np.random.default_rng(1)
    spread = rng.uniform(-1, 1, (50, len(constants))) * np.minimum(means, 1 - means)
    trace = LSTM(3, len(constants), rng=2).trace(rng.standard_normal((50, 3)))
    return trace._replace(f=(means + spread - spread.mean(axis=0))[np.newaxis])


def drawn(ax):
    """What a heat map holds, (T, rows)."""
    (image,) = ax.images
    return np.asarray(image.get_array()).T


def pixels_across(ax):
    """(pixels, 3) along the middle of a heat map, without its frame."""
    ax.figure.canvas.draw()
    pixels = np.asarray(ax.figure.canvas.buffer_rgba())[..., :3]
    box = ax.get_window_extent()
    return pixels[len(pixels) - int(box.y0 + box.height / 2), int(box.x0) + 3 : int(box.x1) - 3].astype(int)


def x_labels(ax):
    """What is written at the ticks below an axis, by their places."""
    ax.figure.draw_without_rendering()
    low, high = ax.get_xlim()
    labels = {float(tick.get_loc()): tick.label1.get_text() for tick in ax.xaxis.get_major_ticks()}
    return {place: text for place, text in labels.items() if low <= place <= high}


def test_each_heat_map_holds_its_values() -> None:
    X, trace = traced()
    axes = plot.gates(trace, X, layer=1, row=2, order=None)
    assert [ax.get_title(loc="left") for ax in axes] == TITLES
    values = [X[2], *(getattr(trace, name)[1, 2] for name in "figoCh")]
    for ax, title, expected in zip(axes, TITLES, values, strict=True):
        scales = np.abs(expected).max(axis=0) if "own scale" in title else 1
        np.testing.assert_allclose(drawn(ax), expected / scales, rtol=1e-6)
        assert ax.images[0].origin == "lower"
        assert ax.images[0].colorbar is not None
    assert axes[-1].get_xlabel() == "time step"
    assert axes[1].get_ylabel() == "unit"


def test_one_scale_for_all_units() -> None:
    X, trace = traced()
    axes = plot.gates(trace, X, show="Ch", order=None, scale="shared")
    assert [ax.get_title(loc="left") for ax in axes] == ["input x", "cell state C", "output h"]
    for ax, expected in zip(axes, (X[0], trace.C[0, 0], trace.h[0, 0]), strict=True):
        np.testing.assert_array_equal(drawn(ax), expected)
        np.testing.assert_allclose(ax.images[0].get_clim(), np.abs(expected).max() * np.array([-1, 1]))


def test_units_are_sorted_by_memory_in_all_heat_maps_alike() -> None:
    constants = [3.0, 40.0, 0.5, 200.0, 7.0]
    trace = remembering(constants)
    np.testing.assert_allclose(plot.time_constants(trace), constants)
    axes = plot.gates(trace)
    order = [2, 0, 4, 1, 3]
    for ax, name in zip(axes, "figoCh", strict=True):
        expected = getattr(trace, name)[0][:, order]
        scales = np.abs(expected).max(axis=0) if name in "Ch" else 1
        np.testing.assert_allclose(drawn(ax), expected / scales)
        assert [text.get_text() for text in ax.get_yticklabels()] == ["2", "0", "4", "1", "3"]
        assert ax.get_title(loc="right") == (
            "units sorted by memory, the longest on top" if ax is axes[0] else ""
        )


def test_units_that_are_chosen() -> None:
    trace = remembering([3.0, 40.0, 0.5, 200.0, 7.0])
    (ax,) = plot.gates(trace, show="f", units=[3, 0, -1], order=None)
    np.testing.assert_array_equal(drawn(ax), trace.f[0][:, [3, 0, 4]])
    assert [text.get_text() for text in ax.get_yticklabels()] == ["3", "0", "4"]
    (ax,) = plot.gates(trace, show="f", units=np.array([3, 0, 4]))
    np.testing.assert_array_equal(drawn(ax), trace.f[0][:, [0, 4, 3]])


def test_many_units_have_the_length_of_their_memory_beside_them() -> None:
    trace = remembering(np.geomspace(0.6, 600, 61)[::-1])
    (ax,) = plot.gates(trace, show="f")
    assert ax.get_ylabel() == "memory (steps)"
    constants = np.sort(plot.time_constants(trace))
    ticks = dict(zip(ax.get_yticks(), [float(text.get_text()) for text in ax.get_yticklabels()], strict=True))
    assert list(ticks.values()) == [1, 10, 100]
    for height, steps in ticks.items():
        assert constants[int(height - 0.5)] < steps <= constants[int(height + 0.5)]


def test_many_units_that_remember_alike() -> None:
    """The lowest, the middle and the highest say theirs if no two round numbers lie between them."""
    (ax,) = plot.gates(remembering(np.geomspace(1.5, 70, 30)), show="f")
    assert sorted(float(text.get_text()) for text in ax.get_yticklabels()) == [3, 10, 30]
    (ax,) = plot.gates(remembering(np.linspace(4, 5, 30)), show="f")
    assert [text.get_text() for text in ax.get_yticklabels()] == ["4", "4.5", "5"]
    assert ax.get_yticks().tolist() == [0, 15, 29]


def test_many_units_as_they_are_numbered() -> None:
    trace = remembering(np.linspace(1, 50, 40))
    (ax,) = plot.gates(trace, show="f", order=None, units=range(39, -1, -2))
    ax.figure.draw_without_rendering()
    labels = {tick.get_loc(): tick.label1.get_text() for tick in ax.yaxis.get_major_ticks()}
    assert labels[5] == "29"
    assert ax.get_ylabel() == "unit"


def test_time_constants_of_odd_gates() -> None:
    trace = remembering([3.0, 3.0, 3.0, 3.0, 3.0])
    f = trace.f.copy()
    f[0, :, 0], f[0, :, 1], f[0, :, 2], f[0, 10:, 3] = 0, 1, np.nan, np.nan
    trace = trace._replace(f=f)
    constants = plot.time_constants(trace)
    assert constants[:2].tolist() == [0, np.inf]
    assert np.isnan(constants[2])
    np.testing.assert_allclose(constants[3:], [-1 / np.log(f[0, :10, 3].mean()), 3])
    assert not np.signbit(constants[:2]).any()
    order = [int(text.get_text()) for text in plot.gates(trace, show="f")[0].get_yticklabels()]
    assert order == [2, 0, *np.argsort(constants[3:]) + 3, 1]


def test_steps_past_a_length_are_no_memory() -> None:
    rng = np.random.default_rng(3)
    net = random_net(rng, 3, UNITS, np.float64)
    X, _, _ = random_case(rng, 2, STEPS, 3, UNITS, np.float64)
    padded, alone = net.trace(X, lengths=[STEPS, 4]), net.trace(X[1, :4])
    np.testing.assert_allclose(plot.time_constants(padded, row=1), plot.time_constants(alone))
    np.testing.assert_allclose(plot.time_constants(alone), -1 / np.log(alone.f[0].mean(axis=0)))


@pytest.mark.parametrize("options", [{"bidirectional": True}, {"precision": "int8"}, {"peephole": True}])
def test_every_layer_direction_and_row(options) -> None:
    X, trace = traced(**options)
    for layer, row in ((0, 3), (1, 1), (-1, -1)):
        ax, _ = plot.gates(trace, X, show="f", layer=layer, row=row)[0:2]
        np.testing.assert_allclose(drawn(ax), X[row] / np.abs(X[row]).max(axis=0), rtol=1e-6)
        f = trace.f[layer, row]
        ax = plot.gates(trace, show="f", layer=layer, row=row)[0]
        np.testing.assert_array_equal(drawn(ax), f[:, np.argsort(f.astype(float).mean(axis=0))])


def test_a_projected_h_has_features() -> None:
    _, trace = traced(proj_size=2)
    axes = plot.gates(trace, show="Ch", units=[4, 1])
    assert axes[1].get_title(loc="left") == "output h, projected, each feature on its own scale"
    assert [ax.get_ylabel() for ax in axes] == ["unit", "feature"]
    h = trace.h[0, 0]
    np.testing.assert_allclose(drawn(axes[1]), h / np.abs(h).max(axis=0), rtol=1e-6)


def test_gates_reach_from_zero_to_one_and_the_rest_is_symmetric() -> None:
    _, trace = traced()
    for ax in plot.gates(trace):
        low, high = ax.images[0].get_clim()
        texts = [text.get_text() for text in ax.images[0].colorbar.ax.get_yticklabels()]
        if ax.get_title(loc="left") in ("forget gate f", "input gate i", "output gate o"):
            assert (low, high) == (0, 1)
            assert texts == ["0", "0.5", "1"]
        else:
            assert low == -high
            assert high > 0
            assert texts == (
                ["−max", "0", "max"]
                if "own" in ax.get_title(loc="left")
                else [f"−{high:.2g}", "0", f"{high:.2g}"]
            )


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
    o, C = trace.o.copy(), trace.C.copy()
    o[0, 0, 2, 3], o[0, 0, 4, 1], C[0, 0, 5, 2] = -3.0, np.nan, np.nan
    axes = plot.gates(trace._replace(o=o, C=C), order=None)
    assert axes[3].images[0].get_clim() == (-3, 3)
    colours = [ax.images[0].to_rgba(ax.images[0].get_array()) for ax in axes[3:5]]
    assert colours[0][1, 4].tolist() == [0.5, 0.5, 0.5, 1]
    assert colours[0][3, 2].tolist() != [0.5, 0.5, 0.5, 1]
    assert colours[1][2, 5].tolist() == [0.5, 0.5, 0.5, 1]
    np.testing.assert_allclose(np.nanmax(np.abs(drawn(axes[4])), axis=0), 1, rtol=1e-6)


def test_of_more_steps_than_pixels_means_are_drawn() -> None:
    trace = remembering(np.linspace(1, 9, 8))
    C = np.where(np.arange(8000) % 2, 1.0, -1.0)[np.newaxis, :, np.newaxis] * np.ones(8)
    parts = {name: np.tile(getattr(trace, name), (1, 160, 1)) for name in "figoh"}
    (ax,) = plot.gates(trace._replace(C=C, **parts), show="C")
    np.testing.assert_allclose(pixels_across(ax), 247, atol=2)  # the white of zero


def test_nan_is_seen_among_more_steps_than_pixels() -> None:
    trace = remembering(np.linspace(1, 9, 8))
    f = np.tile(trace.f, (1, 100, 1))  # 5000 steps
    f[0, 2000:2020] = np.nan
    parts = {name: np.tile(getattr(trace, name), (1, 100, 1)) for name in "igoCh"}
    (ax,) = plot.gates(trace._replace(f=f, **parts), show="f")
    row = pixels_across(ax)
    is_grey = (np.ptp(row, axis=1) <= 2) & (np.abs(row[:, 0] - 128) <= 2)
    (places,) = np.nonzero(is_grey)
    assert len(places)
    np.testing.assert_allclose(places / len(row), 0.4, atol=0.01)


def test_into_given_axes_and_of_a_single_sequence() -> None:
    import matplotlib.pyplot as plt

    rng = np.random.default_rng(1)
    X = rng.standard_normal((7, 3))
    trace = LSTM(3, 6, rng=2).trace(X)
    _, given = plt.subplots(7, 1)
    assert list(plot.gates(trace, X, axes=given)) == list(given)
    with pytest.raises(ValueError, match="axes has 7 Axes, but there are 6"):
        plot.gates(trace, axes=given)
    assert list(plot.gates(trace, show="C", axes=given[0])) == [given[0]]


def test_what_cannot_be_drawn() -> None:
    X, trace = traced()
    with pytest.raises(TypeError, match="trace is a ndarray"):
        plot.gates(X)
    with pytest.raises(TypeError, match="trace is a ndarray"):
        plot.time_constants(X)
    with pytest.raises(ValueError, match="X has shape"):
        plot.gates(trace, X[:, :5])
    with pytest.raises(IndexError, match="layer is 2, but the trace has 2 layers and directions"):
        plot.gates(trace, layer=2)
    with pytest.raises(IndexError, match="row is 4, but the trace has 4 rows"):
        plot.gates(trace, row=4)
    with pytest.raises(TypeError, match=r"row is 0\.5, but must be an integer"):
        plot.gates(trace, row=0.5)
    with pytest.raises(ValueError, match="no steps"):
        plot.gates(LSTM(3, 6).trace(np.ones((0, 3))))
    with pytest.raises(ValueError, match="show is 'fq', but must name some of f, i, g, o, C, h"):
        plot.gates(trace, show="fq")
    with pytest.raises(ValueError, match="show is ''"):
        plot.gates(trace, show="")
    with pytest.raises(ValueError, match="order is 'name', but must be"):
        plot.gates(trace, order="name")
    with pytest.raises(ValueError, match="scale is 'own', but must be"):
        plot.gates(trace, scale="own")


def test_units_that_there_are_not() -> None:
    _, trace = traced()
    with pytest.raises(IndexError, match=r"units\[1\] is 6, but the trace has 6 units"):
        plot.gates(trace, units=[0, 6])
    with pytest.raises(TypeError, match=r"units\[0\] is True, but must be an integer"):
        plot.gates(trace, units=[True, False])
    with pytest.raises(TypeError, match="units is 3, but must be a sequence"):
        plot.gates(trace, units=3)
    with pytest.raises(ValueError, match="units is empty"):
        plot.gates(trace, units=[])


def test_all_nan_is_drawn() -> None:
    _, trace = traced()
    nothing = np.full_like(trace.C, np.nan)
    axes = plot.gates(trace._replace(C=nothing, f=nothing))
    assert len(axes) == 6
    axes[0].figure.draw_without_rendering()


def test_characters_are_written_below_their_steps() -> None:
    text = "a $b$\tc\n$"
    _, trace = traced()
    axes = plot.gates(trace, labels=text)
    labels = x_labels(axes[-1])
    assert labels == dict(enumerate(["a", " ", "$", "b", "$", "→", "c", "↵", "$"]))
    assert not any(tick.label1.get_parse_math() for tick in axes[-1].xaxis.get_major_ticks())
    assert axes[-1].get_xlabel() == ""
    assert axes[0].get_xlim() == (-0.5, STEPS - 0.5)


def test_words_stand_upright_if_they_are_long() -> None:
    _, trace = traced()
    for words, rotation in ((["word"] * STEPS, 0), (["a_very_long_word_indeed_" * 2] * STEPS, 90)):
        ax = plot.gates(trace, show="C", labels=words)[0]
        labels = x_labels(ax)
        assert list(labels) == list(range(STEPS))
        assert max(map(len, labels.values())) <= 24
        assert {tick.label1.get_rotation() for tick in ax.xaxis.get_major_ticks()} == {rotation}


@pytest.mark.parametrize("steps", [100, 2000])
def test_of_many_labels_some_are_written_at_their_steps_and_none_overlap(steps: int) -> None:
    trace = remembering([3.0, 9.0])
    trace = type(trace)(*(np.tile(part, (1, steps // 50, 1)) for part in trace))
    ax = plot.gates(trace, show="C", labels=[f"word {step}" for step in range(steps)])[0]
    labels = x_labels(ax)
    assert 4 <= len(labels) <= 20
    assert all(text == f"word {place:.0f}" for place, text in labels.items())
    boxes = [tick.label1.get_window_extent() for tick in ax.xaxis.get_major_ticks()]
    assert all(left.x1 < right.x0 for left, right in itertools.pairwise(boxes))


def test_times_become_the_axis() -> None:
    _, trace = traced()
    times = 3 + 0.032 * np.arange(STEPS, dtype=np.float32)
    axes = plot.gates(trace, labels=times)
    (image,) = axes[-1].images
    np.testing.assert_allclose(image.get_extent(), [2.984, 3 + 0.032 * 8.5, -0.5, UNITS - 0.5], rtol=1e-6)
    np.testing.assert_allclose(axes[-1].get_xlim(), [2.984, 3 + 0.032 * 8.5], rtol=1e-6)
    assert axes[-1].get_xlabel() == "time"
    assert all(float(text) == pytest.approx(place) for place, text in x_labels(axes[-1]).items())
    assert "step 2, unit" in axes[-1].format_coord(3.064 + 0.015, 0)
    value = trace.C[0, 0, 2, plot.time_constants(trace).argmin()]
    assert axes[-2].format_coord(3.064 - 0.015, -0.4).endswith(f": {value:.3g}")


def test_dates_become_the_axis() -> None:
    _, trace = traced()
    days = np.datetime64("2026-01-28") + np.arange(STEPS)
    for labels in (
        days,
        list(days),
        [day.item() for day in days],
        [datetime.datetime(2026, 1, 28, 12) + datetime.timedelta(k) for k in range(STEPS)],
    ):
        ax = plot.gates(trace, show="C", labels=labels)[0]
        width = ax.images[0].get_extent()[1] - ax.images[0].get_extent()[0]
        assert width == pytest.approx(STEPS)
        assert "Feb" in " ".join(x_labels(ax).values()) + ax.xaxis.get_offset_text().get_text()


def test_uneven_times_are_written_at_their_steps() -> None:
    _, trace = traced()
    times = [0, 1, 2, 3.5, 4, 5, 6, 7, 8]
    ax = plot.gates(trace, show="C", labels=times)[0]
    assert ax.get_xlim() == (-0.5, STEPS - 0.5)
    assert x_labels(ax)[3] == "3.5"
    months = np.arange("2026-01", "2026-10", dtype="M8[M]")
    assert x_labels(plot.gates(trace, show="C", labels=months)[0])[1] == "2026-02"
    assert x_labels(plot.gates(trace, show="C", labels=times[::-1])[0])[0] == "8"
    assert x_labels(plot.gates(trace, show="C", labels=[np.nan, *times[1:]])[0])[0] == "nan"


def test_labels_that_do_not_fit() -> None:
    _, trace = traced()
    with pytest.raises(ValueError, match="labels has 3 labels, but the trace has 9 steps"):
        plot.gates(trace, labels="abc")
    with pytest.raises(TypeError, match="labels is 5, but must be a text or a sequence"):
        plot.gates(trace, labels=5)
    with pytest.raises(TypeError, match="labels has None, but must be texts, numbers or dates"):
        plot.gates(trace, labels=[None] * STEPS)
    with pytest.raises(TypeError, match="but must be texts, numbers or dates"):
        plot.gates(trace, labels=np.ones((STEPS, 2)))
    with pytest.raises(TypeError, match="labels has True, but must be texts"):
        plot.gates(trace, labels=[True] * STEPS)


def test_one_step() -> None:
    trace = LSTM(3, 6, rng=2).trace(np.ones((1, 3)))
    for labels in (None, "a", [0.5], [np.datetime64("2026-01-01")]):
        axes = plot.gates(trace, np.ones((1, 3)), labels=labels)
        axes[0].figure.draw_without_rendering()


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
