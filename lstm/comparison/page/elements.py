"""Elements of a page. Text becomes part of one only escaped: whatever is `Html` was made here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from ..text import printable


class Html(str):
    """What is HTML already, and not text from anywhere."""

    __slots__ = ()


EMPTY = Html()
VOID = ("meta", "img", "source", "br")
"""Elements that have no end tag."""


def element(tag: str, *content: str, **attributes: str | float) -> Html:
    """An element; content that is no `Html` is escaped, and attributes are. ``class_`` is class."""
    written = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{escape(printable(str(value)))}"'
        for name, value in attributes.items()
        if value or name != "class_"
    )
    if tag in VOID:
        return Html(f"<{tag}{written}>")
    return Html(f"<{tag}{written}>{together(content)}</{tag}>")


def together(content: Iterable[str]) -> Html:
    """Content side by side."""
    return Html("".join(one if isinstance(one, Html) else escape(printable(one)) for one in content))


def section(title: str, *content: str) -> Html:
    """A part of the page."""
    return element("section", element("h2", title), *content)


def facts(pairs: Iterable[tuple[str, str]]) -> Html:
    """Names and what they are."""
    rows = (element("div", element("dt", name), element("dd", value)) for name, value in pairs)
    return element("dl", *rows)


def table(titles: Sequence[str], rows: Iterable[Sequence[str]], class_: str = "") -> Html:
    """A table that scrolls within the page where it is too wide."""
    head = element("tr", *(element("th", title) for title in titles))
    return rows_below(head, (element("tr", *(element("td", cell) for cell in row)) for row in rows), class_)


def rows_below(head: Html, rows: Iterable[Html], class_: str) -> Html:
    """A table of rows that are there already."""
    inner = element("table", element("thead", head), element("tbody", *rows))
    return element("div", inner, class_=f"wide {class_}".rstrip())


def details(title: str, *content: str, is_open: bool = False) -> Html:
    """What can be folded away."""
    summary = element("summary", title)
    return (
        element("details", summary, *content, open="") if is_open else element("details", summary, *content)
    )


def code(text: str) -> Html:
    """Text as a program has it."""
    return element("code", text)
