"""Tables as notebooks show them: HTML without styles of its own, so that they look as the notebook's do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def html_table(above: Sequence[str], titles: Sequence[str], rows: Iterable[Sequence[str]], below: str) -> str:
    """A table of text with lines of text above and below it; all of them are escaped."""
    from html import escape  # which takes a millisecond that no start should wait for

    def line(kind: str, cells: Sequence[str]) -> str:
        return f"<tr>{''.join(f'<{kind}>{escape(cell)}</{kind}>' for cell in cells)}</tr>"

    first, *others = above
    return "".join(
        [
            f"<div><code>{escape(first)}</code>",
            *(f"<br>{escape(other)}" for other in others),
            f"<table><thead>{line('th', titles)}</thead><tbody>",
            *(line("td", row) for row in rows),
            "</tbody></table>",
            f"{escape(below)}</div>" if below else "</div>",
        ]
    )
