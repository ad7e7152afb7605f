"""Checks the internal links of a folder of HTML pages: files and anchors.

    python scripts/check_links.py docs/_build/html

Prints every dead link and exits with 1 if there is one. Links to other hosts are not followed.
"""

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

_LINKS = {"a": "href", "img": "src", "link": "href", "script": "src"}


class _Page(HTMLParser):
    """The anchors of a page, and what it links to."""

    def __init__(self, text: str):
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.anchors.update(value for key in ("id", "name") if (value := found.get(key)))
        if link := found.get(_LINKS.get(tag, "")):
            self.links.append(link)


def dead_links(folder: Path) -> list[str]:
    """A line about every internal link that leads nowhere, and about a folder without pages."""
    folder = folder.resolve()
    # What Sphinx keeps under _static are files of the theme, among them templates.
    found = (path for path in folder.rglob("*.html") if "_static" not in path.parts)
    pages = {path: _Page(path.read_text(encoding="utf-8")) for path in found}
    if not pages:
        return [f"{folder}: expected HTML pages, found none"]
    dead = []
    for path, page in sorted(pages.items()):
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            anchor = unquote(parts.fragment)
            if not target.is_file():
                dead.append(f"{path.relative_to(folder)}: {link}: no such file")
            elif anchor and target in pages and anchor not in pages[target].anchors:
                dead.append(f"{path.relative_to(folder)}: {link}: no such anchor")
    return dead


def main() -> int:
    (folder,) = sys.argv[1:]
    dead = dead_links(Path(folder))
    print("\n".join(dead) if dead else f"{folder}: no dead internal link")
    return bool(dead)


if __name__ == "__main__":
    sys.exit(main())
