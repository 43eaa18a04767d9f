"""The parts of a page, from top to bottom."""

from __future__ import annotations

import base64
import os
import platform
from collections.abc import Iterator, Sequence

import numpy as np

from ...config import show_config
from ...core.architecture import Architecture
from ...core.summary import summarize
from ..comparison import Comparison
from ..machine import cpu_name
from ..report import bits_line, case_name, rounding_line
from ..text import format_bytes, format_time
from .content import Content
from .elements import EMPTY, Html, code, details, element, facts, rows_below, section, table, together
from .pictures import MOST_PICTURES
from .weights import W_H, W_X, gate_cards

CASES = {
    "case": "Case",
    "native": "Native",
    "numpy": "NumPy",
    "bars": "",
    "ratio": "Ratio",
    "error": "Error",
    "share": "of the allowed",
    "state": "",
}
"""Columns, and their titles."""

MOST_TENSORS, OPEN_TENSORS = 300, 12
MOST_PICKS = 50
MOST_LAYERS, MOST_BOXES = 8, 6


def head(content: Content) -> Html:
    """The name of the file, the net, and whether it passed."""
    count = len(content.comparisons)
    failed = sum(not c.passed for c in content.comparisons)
    verdict = f"✓ Native and NumPy agree in {'all ' if count > 1 else ''}{count} cases"
    if failed:
        verdict = f"✗ Native and NumPy differ in {failed} of {count} cases"
    return element(
        "header",
        element("p", "LSTM report", class_="kicker"),
        element("h1", content.title),
        element("p", code(repr(content.net))),
        element("p", verdict, class_="verdict bad" if failed else "verdict"),
        tiles(content),
    )


def tiles(content: Content) -> Html:
    """Four figures."""
    found = summarize(content.net.core, type(content.net).__name__)
    step, sample = content.comparisons[0], content.comparisons[-1]
    figures = [
        ("Parameters", f"{found.parameters:,}", f"{format_bytes(found.nbytes)} of weights"),
        ("One step", format_time(step.native_seconds), f"{_rows(step.batch)}, with its call"),
        (
            "The sample",
            format_time(sample.native_seconds),
            f"{_rows(sample.batch)} × {_steps(sample.time)}",
        ),
        ("Against NumPy", _times(sample.ratio), "as fast, on the sample"),
    ]
    cards = (
        element(
            "div",
            element("span", name, class_="name"),
            element("b", figure),
            element("span", about),
            class_="card",
        )
        for name, figure, about in figures
    )
    return element("div", *cards, class_="tiles")


def _rows(count: int) -> str:
    return f"{count:,} row{'s' * (count != 1)}"


def _steps(count: int) -> str:
    return f"{count:,} step{'s' * (count != 1)}"


def in_the_file(content: Content) -> Html:
    """Format, size, LSTMs, notes and tensors."""
    file = content.file
    pairs = [
        ("File", code(file.name)),
        ("Format", file.format),
        ("Size", f"{format_bytes(file.nbytes)} ({file.nbytes:,} bytes)"),
    ]
    if not file.unlisted:
        numbers = sum(int(np.prod(shape, dtype=object)) for _, shape in file.tensors)
        pairs.append(("Tensors", f"{len(file.tensors):,}, of {numbers:,} numbers"))
    parts = [element("div", facts(pairs), class_="card facts")]
    if len(file.others) > 1:
        picks = [
            element("li", code(text), class_="this" if this else "")
            for text, this in file.others[:MOST_PICKS]
        ]
        if (more := len(file.others) - MOST_PICKS) > 0:
            picks.append(element("li", f"and {more:,} more"))
        parts += [
            element("h3", "LSTMs in this file, and what picks each"),
            element("ul", *picks, class_="picks"),
        ]
    parts += [element("p", f"Note: {note}", class_="note") for note in file.notes]
    if file.unlisted:
        parts.append(element("p", f"Its tensors cannot be listed: {file.unlisted}", class_="note"))
    elif file.tensors:
        parts.append(_tensors(file.tensors))
    return section("In the file", *parts)


def _tensors(tensors: Sequence[tuple[str, tuple[int, ...]]]) -> Html:
    rows = [
        [code(name), _shape(shape), f"{int(np.prod(shape, dtype=object)):,}"]
        for name, shape in tensors[:MOST_TENSORS]
    ]
    listed = table(["Tensor", "Shape", "Numbers"], rows, "names numbers")
    count = len(tensors)
    more = EMPTY
    if count > MOST_TENSORS:
        more = element("p", f"and {count - MOST_TENSORS:,} more")
    return details(f"All {count:,} tensors", listed, more, is_open=count <= OPEN_TENSORS)


def _shape(shape: tuple[int, ...]) -> str:
    return " × ".join(f"{length:,}" for length in shape) or "one number"


def architecture(content: Content) -> Html:
    """Sizes and options."""
    net = content.net
    found = summarize(net.core, type(net).__name__)
    packed = sum(cell.nbytes for cell in net.core.cells)
    plan = net.core.architecture
    state = plan.cells * (plan.state_size + plan.hidden_size) * net.dtype.itemsize
    sizes = facts(
        [
            ("Input, a step", f"{plan.input_size:,} features"),
            ("Output, a step", f"{plan.output_size:,} features"),
            ("Parameters", f"{found.parameters:,}"),
            ("Weights", format_bytes(found.nbytes)),
            (f"In memory, for {net.core.isa or 'NumPy'}", format_bytes(packed)),
            ("State of a row", format_bytes(state)),
        ]
    )
    return section(
        "Sizes and options",
        _flow(plan),
        element("div", sizes, class_="card facts"),
        element("h3", "Layers"),
        table(["Layer", *map(code, found.titles[1:-1]), "Parameters"], _layers(found.rows), "numbers"),
        _more(len(found.rows), MOST_LAYERS * 4, "layers and directions"),
        element("h3", "Options"),
        element("div", facts(_options(content)), class_="card options"),
    )


def _layers(rows: list[list[str]]) -> list[list[str]]:
    return [[code(row[0]), *row[1:]] for row in rows[: MOST_LAYERS * 4]]


def _more(count: int, most: int, what: str) -> Html:
    """A line on what is left out."""
    return element("p", f"and {count - most:,} more {what}") if count > most else EMPTY


def _flow(plan: Architecture) -> Html:
    """From x to y, a box for each layer."""
    arrow = " ⇄" if plan.bidirectional else " ←" if plan.reverse else ""
    size = f"{plan.hidden_size:,} units" + (f", {plan.proj_size:,} out" if plan.proj_size else "")
    boxes = [_box("x", f"{plan.input_size:,} features", "box")]
    layers = list(range(plan.num_layers))
    kept = layers if len(layers) <= MOST_BOXES else [*layers[: MOST_BOXES - 2], -1, layers[-1]]
    for layer in kept:
        if layer < 0:
            boxes.append(_box("…", f"{plan.num_layers - len(kept) + 1:,} layers", "box"))
        else:
            boxes.append(_box(f"layer {layer}{arrow}", size, "box cell"))
    boxes.append(_box("y", f"{plan.output_size:,} features", "box"))
    return element("ul", *boxes, class_="flow")


def _box(name: str, size: str, class_: str) -> Html:
    return element("li", element("div", name, element("small", size), class_=class_))


def _options(content: Content) -> Iterator[tuple[str, str]]:
    """Every option of the class, those that are not the default in bold."""
    net = content.net
    plan = net.core.architecture
    changed = plan.changed_arguments()
    for name, value in {**plan.arguments(), "dtype": net.dtype.name, "precision": net.precision}.items():
        if name in ("input_size", "hidden_size"):
            continue
        is_changed = name in changed or (name == "precision" and value is not None)
        text = "default" if name == "activations" and value is None else _written(value)
        yield name, element("strong", text) if is_changed else text


def _written(value: object) -> str:
    """An option as a reader sees it."""
    if isinstance(value, tuple):
        return ", ".join(
            f"{one[0]}({', '.join(f'{number:g}' for number in one[1:])})"
            if isinstance(one, tuple)
            else str(one)
            for one in value
        )
    return str(value)


def weights(content: Content) -> Html:
    """How the weights of each gate are spread."""
    net = content.net
    plan = net.core.architecture
    parts: list[Html] = []
    for cell in range(min(plan.cells, MOST_LAYERS)):
        if plan.cells > 1:
            parts.append(element("h3", "Layer ", code(plan.suffix(cell).lstrip("_"))))
        parts.append(gate_cards(net.core.cell_weights(cell), plan.bias))
    about = element(
        "p",
        element("span", element("span", W_X, ", over the input"), class_="key filled"),
        element("span", element("span", W_H, ", over the state"), class_="key outline"),
        class_="keys",
    )
    explained = (
        "The share of weights of each size, on one scale for the four gates of a layer; the bars at the ends "
        "have what is larger, a thousandth of all. σ is the standard deviation; the bias is its mean ± σ."
    )
    if net.input_forget:
        explained += " This net computes f as 1 − i: the weights of f are not used."
    more = _more(plan.cells, MOST_LAYERS, "layers and directions")
    return section("Weights of each gate", element("p", explained), about, *parts, more)


def gates(content: Content) -> Html:
    """Pictures of the gates over the sample."""
    names = [picture.name for picture in content.pictures]
    shown = []
    for number, picture in enumerate(content.pictures):
        light, dark = (
            f"data:image/png;base64,{base64.b64encode(data).decode('ascii')}"
            for data in (picture.light, picture.dark)
        )
        drawn = element(
            "figure",
            element(
                "picture",
                element("source", srcset=dark, media="(prefers-color-scheme: dark)"),
                element(
                    "img", src=light, alt=f"gates, cell state and output of layer {picture.name} over time"
                ),
            ),
        )
        title = together(["Layer ", code(picture.name)])
        shown.append(drawn if len(names) == 1 else details(title, drawn, is_open=number == 0))
    shown.append(_more(content.net.core.architecture.cells, MOST_PICTURES, "layers and directions"))
    return section("Gates over a sample", element("p", content.sample.source), *shown)


def against_numpy(content: Content) -> Html:
    """Differences and times here."""
    rows = [_case(c, c is content.comparisons[-1]) for c in content.comparisons]
    about = (
        "The compiled path and the NumPy reference, in turns; the best time of each. The error of the native "
        "path is held to what rounding alone does to this net."
    )
    keys = element(
        "p",
        element("span", "native", class_="key ours"),
        element("span", "NumPy", class_="key numpy"),
        class_="keys",
    )
    failures = [
        element("p", f"{case_name(c)}: {failure}", class_="note bad")
        for c in content.comparisons
        for failure in c.failures
    ]
    notes = [element("p", line, class_="note") for c in content.comparisons if (line := rounding_line(c))]
    if nans := sum(c.nan_outputs for c in content.comparisons):
        notes.append(element("p", f"NaN in {nans:,} native outputs", class_="note"))
    bits = bits_line(content.comparisons)
    return section(
        "Native against NumPy",
        element("p", about),
        keys,
        rows_below(element("tr", *(element("th", title) for title in CASES.values())), rows, "cases"),
        *failures,
        *notes,
        element("p", f"{bits[:1].upper()}{bits[1:]}.", class_="bits"),
    )


def _case(c: Comparison, is_sample: bool) -> Html:
    """A row of the table."""
    slowest = max(c.native_seconds, c.numpy_seconds)
    bars = element(
        "span",
        element("i", class_="ours", style=f"width:{100 * c.native_seconds / slowest:.1f}%"),
        element("i", style=f"width:{100 * c.numpy_seconds / slowest:.1f}%"),
        class_="pair",
    )
    error = c.difference
    share = min(1.0, error.relative / error.tolerance)
    is_within = error.relative <= error.tolerance
    meter = element(
        "span", element("i", style=f"width:{100 * share:.1f}%"), class_="meter" if is_within else "meter bad"
    )
    name = f"{_rows(c.batch)} × {_steps(c.time)}"
    cells = {
        "case": together([element("strong", "the sample: "), name]) if is_sample else name,
        "native": format_time(c.native_seconds),
        "numpy": format_time(c.numpy_seconds),
        "bars": bars,
        "ratio": _times(c.ratio),
        "error": f"{error.relative:.1e}",
        "share": meter,
        "state": element("span", "ok", class_="ok")
        if c.passed
        else element("span", "FAILED", class_="failed"),
    }
    return element("tr", *(element("td", cells[column], class_=column) for column in CASES))


def _times(ratio: float) -> str:
    return f"{ratio:,.{0 if ratio >= 99.95 else 1}f} ×"


def machine(content: Content) -> Html:
    """What the times belong to."""
    known = show_config("dict")
    pairs = [
        ("CPU", cpu_name()),
        ("CPUs", str(os.cpu_count() or "unknown")),
        ("Instruction set", f"{known['isa']} (of {', '.join(known['isas'])})"),
        ("Threads", content.threads),
        ("System", f"{platform.system()} {platform.release()}, {platform.machine()}"),
        ("Versions", f"lstm {known['lstm']}, Python {known['python']}, NumPy {known['numpy']}"),
    ]
    return section("This machine", element("div", facts(pairs), class_="card facts"))


def foot(content: Content) -> Html:
    """Who made the page, and when."""
    version = show_config("dict")["lstm"]
    return element(
        "footer",
        f"Made by lstm {version} on {content.made}. This page is one file and loads nothing.",
    )
