"""What the documentation takes from the rest of the repository.

The pages are plain Markdown, readable as they are. For the build,

- the Python blocks of a page become cells, so that the build runs them and shows what they print;
- the recorded tables, and the Markdown that lives beside the code, become pages;
- links to such files lead to these pages.
"""

import os
import re
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

DOCS = Path(__file__).resolve().parents[1]
ROOT = DOCS.parent
_NOTEBOOK = """---
file_format: mystnb
kernelspec: {name: python3, display_name: Python 3}
---
"""
_BLOCK = re.compile(r"^```python$", re.MULTILINE)
_LINK = re.compile(r"\]\((?![a-z]+:|#|/)([^)\s#]+)(#[^)\s]*)?\)")
# Text that stands elsewhere: its file, and its page.
_ELSEWHERE = {
    ROOT / "CONTRIBUTING.md": "contributing.md",
    ROOT / "CHANGELOG.md": "changelog.md",
    ROOT / "signsal_jax" / "nn" / "README.md": "convolutions.md",
}
_RESULTS = ROOT / "scripts" / "results"
_MADE = DOCS / "_made"
"""The pages made here; git ignores them."""


def _pages() -> dict[Path, Path]:
    tables = {file: f"tables/{file.name}" for file in sorted(_RESULTS.glob("*.md"))}
    return {file: _MADE / page for file, page in (_ELSEWHERE | tables).items()}


def _linked(text: str, file: Path, page: Path) -> str:
    """The text of a file, with relative links that hold in its page."""
    pages = _pages()

    def link(match: re.Match[str]) -> str:
        target = (file.parent / match[1]).resolve()
        target = pages.get(target, target)
        return f"]({os.path.relpath(target, page.parent)}{match[2] or ''})"

    return _LINK.sub(link, text)


def _write_pages(app: Sphinx) -> None:
    for file, page in _pages().items():
        text = file.read_text(encoding="utf-8")
        if not text.startswith("# "):
            text = f"# {file.stem}\n\n{text}"
        text = _linked(text, file, page)
        page.parent.mkdir(parents=True, exist_ok=True)
        # An unchanged page is not built again.
        if not page.exists() or page.read_text(encoding="utf-8") != text:
            page.write_text(text, encoding="utf-8")


def _make_cells(app: Sphinx, docname: str, content: list[str]) -> None:
    file = Path(app.env.doc2path(docname))
    if file.suffix != ".md" or _MADE in file.parents:
        return
    text = _linked(content[0], file, file)
    if _BLOCK.search(text):
        text = _NOTEBOOK + _BLOCK.sub("```{code-cell} python", text)
    content[0] = text


def _short_names(
    app: Sphinx, what: str, name: str, value: Any, options: Any, arguments: Any, returned: Any
) -> tuple[Any, Any]:
    """Arrays by the name that people import, not by where JAX keeps them."""
    short = [text and text.replace("jaxlib._jax.Array", "Array") for text in (arguments, returned)]
    return short[0], short[1]


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("builder-inited", _write_pages)
    app.connect("autodoc-process-signature", _short_names)
    app.connect("source-read", _make_cells)
    return {"parallel_read_safe": True}
