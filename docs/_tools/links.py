"""Check every link of a built site without a network: files that exist, and anchors that are in them.

    python docs/_tools/links.py site

Links to other hosts are not followed. Exit status 1, and a line for each broken link.
"""

from __future__ import annotations

import sys
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """The anchors of a page, and what it links to or shows."""

    def __init__(self) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect ids, names, href and src."""
        for name, value in attrs:
            if value and (name == "id" or (tag == "a" and name == "name")):
                self.anchors.add(value)
            elif value and name in ("href", "src"):
                self.links.add(value)


@cache
def read(path: Path) -> Page:
    """A page, parsed once."""
    page = Page()
    page.feed(path.read_text(encoding="utf-8"))
    return page


def broken(site: Path) -> list[str]:
    """A line for each link of the pages of `site` that leads nowhere."""
    found = []
    pages = [path for path in sorted(site.rglob("*.html")) if "_static" not in path.relative_to(site).parts]
    if not pages:
        return [f"{site} has no pages"]
    for path in pages:
        for link in sorted(read(path).links):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = path if not parts.path else path.parent / unquote(parts.path)
            if not target.exists():
                found.append(f"{path.relative_to(site)}: {link} is not there")
            elif target.suffix == ".html" and unquote(parts.fragment) not in {
                "",
                *read(target.resolve()).anchors,
            }:
                found.append(f"{path.relative_to(site)}: {link} has no such anchor")
    return found


def main(arguments: list[str]) -> int:
    """Print what is broken."""
    (site,) = arguments
    found = broken(Path(site).resolve())
    print("\n".join(found) or "every link leads somewhere")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
