"""The page of ``lstm report``: one HTML file that loads nothing and runs nothing."""

from __future__ import annotations

from . import sections
from .content import Content
from .elements import Html, element
from .style import css

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
"""What a browser may do for this page: show its own style and pictures, and no more."""


def html_page(content: Content) -> str:
    """All that `content` says, as a document."""
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", content.title, ": LSTM report"),
        element("style", Html(css())),
    )
    parts = (
        sections.head,
        sections.in_the_file,
        sections.architecture,
        sections.weights,
        sections.gates,
        sections.against_numpy,
        sections.machine,
        sections.foot,
    )
    body = element("body", element("main", *(part(content) for part in parts)))
    return f"<!DOCTYPE html>\n{element('html', head, body, lang='en')}\n"
