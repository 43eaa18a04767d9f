"""One unit at a time: lstm.plot.unit and lstm.plot.text."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from support import random_case, random_net

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")
plot = pytest.importorskip("lstm.plot")

UNITS, STEPS = 6, 9


def traced(features=3, **options):
    """A net of two layers, a batch that it has run over, and its trace."""
    rng = np.random.default_rng(0)
    net = random_net(rng, features, UNITS, np.float32, num_layers=2, **options)
    X, _, _ = random_case(rng, 4, STEPS, features, UNITS, np.float32)
    return X, net.trace(X)


def lines_of(ax):
    """Values of the lines of an axis by their names, without the line of zero."""
    return {line.get_label(): line.get_ydata() for line in ax.lines if not line.get_label().startswith("_")}


@pytest.mark.parametrize("options", [{}, {"bidirectional": True}, {"precision": "int8"}])
@pytest.mark.parametrize(("layer", "row"), [(0, 0), (1, 2), (-1, -1)])
def test_lines_of_a_unit(options, layer: int, row: int) -> None:
    X, trace = traced(**options)
    axes = plot.unit(trace, 4, X, layer=layer, row=row)
    assert [ax.get_title(loc="left") for ax in axes] == [
        "input x",
        "gates of unit 4",
        "cell state C",
        "candidate g and output h",
    ]
    drawn = [lines_of(ax) for ax in axes]
    assert [list(lines) for lines in drawn] == [["x0", "x1", "x2"], ["f", "i", "o"], ["C"], ["g", "h"]]
    for feature in range(3):
        np.testing.assert_array_equal(drawn[0][f"x{feature}"], X[row, :, feature])
    for name, values in (drawn[1] | drawn[2] | drawn[3]).items():
        np.testing.assert_array_equal(values, getattr(trace, name)[layer, row, :, 4])
    assert axes[1].get_ylim() == (-0.04, 1.04)
    assert axes[-1].get_xlabel() == "time step"
    legends = [[text.get_text() for text in axes[k].get_legend().get_texts()] for k in (0, 1, 3)]
    assert legends == [["x0", "x1", "x2"], ["f", "i", "o"], ["g", "h"]]


def test_lines_over_times_and_characters() -> None:
    _, trace = traced()
    axes = plot.unit(trace, -1, labels=1 + 0.5 * np.arange(STEPS))
    assert axes[0].get_title(loc="left") == "gates of unit 5"
    np.testing.assert_allclose(axes[1].lines[0].get_xdata(), 1 + 0.5 * np.arange(STEPS))
    assert axes[1].get_xlim() == (0.75, 5.25)
    axes = plot.unit(trace, 0, labels="character")
    axes[0].figure.draw_without_rendering()
    assert [text.get_text() for text in axes[-1].get_xticklabels()] == list("character")


def test_many_features_are_a_heat_map() -> None:
    X, trace = traced(features=5)
    axes = plot.unit(trace, 1, X, row=3)
    (image,) = axes[0].images
    np.testing.assert_allclose(image.get_array(), (X[3] / np.abs(X[3]).max(axis=0)).T, rtol=1e-6)


def test_a_projected_h_has_no_units() -> None:
    _, trace = traced(proj_size=2)
    axes = plot.unit(trace, 1)
    assert list(lines_of(axes[-1])) == ["g"]
    assert axes[-1].get_title(loc="left") == "candidate g"
    with pytest.raises(ValueError, match="h of a net with a projection has features instead of units"):
        plot.text(trace, 1, "character", show="h")


def test_gates_without_bounds_and_nan() -> None:
    _, trace = traced()
    f, C = trace.f.copy(), trace.C.copy()
    f[0, 0, 2, 1], C[0, 0, 3, 1] = 2.5, np.nan
    axes = plot.unit(trace._replace(f=f, C=C), 1)
    assert axes[0].get_ylim()[1] > 2.5
    assert np.isnan(lines_of(axes[1])["C"]).tolist() == [step == 3 for step in range(STEPS)]
    axes[0].figure.draw_without_rendering()


def test_units_into_given_axes() -> None:
    import matplotlib.pyplot as plt

    X, trace = traced()
    _, given = plt.subplots(4, 1)
    assert list(plot.unit(trace, 0, X, axes=given)) == list(given)
    with pytest.raises(ValueError, match="axes has 4 Axes, but there are 3 pictures"):
        plot.unit(trace, 0, axes=given)
    assert plot.text(trace, 0, "character", axes=given[0]) is given[0]
    with pytest.raises(ValueError, match="axes has 4 Axes, but there are 1 picture"):
        plot.text(trace, 0, "character", axes=given)


def test_units_that_cannot_be_drawn() -> None:
    X, trace = traced()
    for draw in (plot.unit, lambda *arguments, **options: plot.text(*arguments, "character", **options)):
        with pytest.raises(TypeError, match="trace is a ndarray"):
            draw(X, 0)
        with pytest.raises(IndexError, match="unit is 6, but the trace has 6 units"):
            draw(trace, 6)
        with pytest.raises(TypeError, match=r"unit is 0\.5, but must be an integer"):
            draw(trace, 0.5)
        with pytest.raises(IndexError, match="layer is 2, but the trace has 2 layers"):
            draw(trace, 0, layer=2)
        with pytest.raises(IndexError, match="row is 4, but the trace has 4 rows"):
            draw(trace, 0, row=4)
    with pytest.raises(ValueError, match="X has shape"):
        plot.unit(trace, 0, X[0])
    with pytest.raises(ValueError, match="labels has 3 labels, but the trace has 9 steps"):
        plot.unit(trace, 0, labels="abc")
    with pytest.raises(ValueError, match="text has 3 characters or tokens, but the trace has 9 steps"):
        plot.text(trace, 0, "abc")
    with pytest.raises(TypeError, match="text has 1, but must be a str or a sequence of str"):
        plot.text(trace, 0, [1] * STEPS)
    with pytest.raises(TypeError, match="text has 7, but must be a str"):
        plot.text(trace, 0, 7)
    with pytest.raises(ValueError, match="show is 'z', but must be one of"):
        plot.text(trace, 0, "character", show="z")
    with pytest.raises(ValueError, match="columns is 0, but must be a positive integer"):
        plot.text(trace, 0, "character", columns=0)


def cells_of(ax):
    """Colours (lines, columns, 4) behind a text."""
    (image,) = ax.images
    return np.asarray(image.get_array())


@pytest.mark.parametrize("show", "figoCh")
@pytest.mark.parametrize(("layer", "row"), [(0, 0), (1, 2)])
def test_each_character_has_its_colour(show: str, layer: int, row: int) -> None:
    _, trace = traced()
    ax = plot.text(trace, 3, "ab $c$\nde", show=show, layer=layer, row=row)
    cells = cells_of(ax)
    assert cells.shape == (2, 7, 4)
    values = getattr(trace, show)[layer, row, :, 3]
    bound = np.abs(values).max()
    name, shares = ("viridis", values) if show in "fio" else ("RdBu_r", (values / bound + 1) / 2)
    expected = matplotlib.colormaps[name](shares.astype(float))
    np.testing.assert_allclose(cells[0], expected[:7], atol=0.01)
    np.testing.assert_allclose(cells[1, :2], expected[7:], atol=0.01)
    assert not cells[1, 2:].any()  # where there is no text there is no colour


def written(ax):
    """Texts by line and middle column."""
    return {(int(text.get_position()[1]), text.get_position()[0]): text.get_text() for text in ax.texts}


def test_characters_are_on_their_colours() -> None:
    _, trace = traced()
    ax = plot.text(trace, 3, "ab $c$\nde")
    line = {(0, column + 0.5): character for column, character in enumerate("ab $c$↵") if character != " "}
    assert written(ax) == line | {(1, 0.5): "d", (1, 1.5): "e"}
    assert not any(text.get_parse_math() for text in ax.texts)
    assert ax.get_title(loc="left") == "cell state C of unit 3"
    ax.figure.draw_without_rendering()
    low, high = (np.abs(trace.C[0, 0, :, 3]).max() * sign for sign in (-1, 1))
    bar = ax.figure.axes[1]
    assert [text.get_text() for text in bar.get_yticklabels()] == [f"−{high:.2g}", "0", f"{high:.2g}"]
    np.testing.assert_allclose(bar.get_ylim(), (low, high), rtol=1e-6)


def test_dark_colours_have_white_characters() -> None:
    _, trace = traced()
    f = trace.f.copy()
    f[0, 0, :, 3] = np.linspace(0, 1, STEPS)
    texts = plot.text(trace._replace(f=f), 3, "character", show="f").texts
    assert [texts[0].get_color(), texts[-1].get_color()] == ["white", "black"]


def test_nan_is_grey() -> None:
    _, trace = traced()
    C = trace.C.copy()
    C[0, 0, 2, 3] = np.nan
    cells = cells_of(plot.text(trace._replace(C=C), 3, "character"))
    assert cells[0, 2].tolist() == [0.5, 0.5, 0.5, 1]
    assert cells[0, 1].tolist() != [0.5, 0.5, 0.5, 1]
    assert len(cells_of(plot.text(trace._replace(C=np.full_like(C, np.nan)), 3, "character"))) == 1


def places(tokens, columns):
    from lstm.plot.texts import layout

    return [tuple(place) for place in layout(list(tokens), columns)]


def test_lines_are_broken_between_words() -> None:
    assert [line for line, _, _ in places("to be or", 6)] == [0, 0, 0, 0, 0, 0, 1, 1]
    assert [line for line, _, _ in places("to be, or", 6)] == [0, 0, 0, 1, 1, 1, 1, 1, 1]
    assert [line for line, _, _ in places("abcdefgh", 3)] == [0, 0, 0, 1, 1, 1, 2, 2]
    assert [line for line, _, _ in places("a\n\nb", 9)] == [0, 0, 1, 2]
    assert places(["to ", "be ", "", "or"], 7) == [(0, 0, 3), (0, 3, 6), (1, 0, 1), (1, 1, 3)]
    assert places(["ab", "cde", "f"], 4) == [(0, 0, 2), (1, 0, 3), (1, 3, 4)]
    assert places(["a", "much too long", "b"], 4) == [(0, 0, 1), (1, 0, 4), (2, 0, 1)]


def test_words_that_are_longer_than_a_line_are_cut() -> None:
    _, trace = traced()
    ax = plot.text(trace, 0, ["uncommonly"] + ["a"] * 8, columns=5)
    assert written(ax)[0, 2.5] == "unco…"


def test_the_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    _, trace = traced()
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    for draw in (lambda: plot.unit(trace, 0), lambda: plot.text(trace, 0, "character")):
        with pytest.raises(ImportError, match=r"lstm-native\[plot\]"):
            draw()
