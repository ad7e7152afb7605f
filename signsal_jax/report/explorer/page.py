"""The explorer as one HTML file: content, program and style, and nothing from elsewhere."""

import base64
import hashlib
import html
import json
import re
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from signsal_jax import _files
from signsal_jax.report.explorer.content import subject_content
from signsal_jax.report.explorer.results import Plot, Table
from signsal_jax.report.explorer.subject import Subject

EXPLORER = "explorer.html"
MOST_BYTES = 15_000_000
# In the order in which they use each other.
_MODULES = (
    "arrays.js",
    "colors.js",
    "dom.js",
    "state.js",
    "curves.js",
    "tables.js",
    "panel.js",
    "pixel.js",
    "deletion.js",
    "steps.js",
    "download.js",
    "explorer.js",
)
_START = """
const content = JSON.parse(document.getElementById("content").textContent);
render({ model: { get: (name) => content[name] }, el: document.getElementById("explorer") });
"""
_IMPORT = re.compile(r'^import \{[^}]*\} from "\./\w+\.js";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async )?(?:function|const|class) )", re.MULTILINE)


def explorer_html(
    subjects: Sequence[Subject],
    *,
    title: str,
    about: dict[str, str],
    notes: Sequence[str] = (),
    plots: Sequence[Plot] = (),
    tables: Sequence[Table] = (),
) -> str:
    """The page as text of at most `MOST_BYTES`, on which an image loses resolution before numbers.

    Args:
      subjects: the images.
      title: of the page.
      about: what is said of where the numbers come from, by what it is about.
      notes: what whoever shows the page must say of its data.
      plots, tables: results over all images.
    """
    numbers = sum(
        view.gradients.size + sum(values.size for values in view.signed.values())
        for subject in subjects
        for view in subject.views.values()
    )
    cell = 1
    # Two bytes each, which compression at best halves.
    while numbers / cell**2 > MOST_BYTES:
        cell += 1
    while True:
        content = {
            "title": title,
            "about": about,
            "notes": list(notes),
            "plots": [plot._asdict() for plot in plots],
            "tables": [table._asdict() for table in tables],
            "images": [subject_content(subject, cell) for subject in subjects],
        }
        text = _html(content)
        if len(text.encode()) <= MOST_BYTES or cell >= 8:
            return text
        cell += 1


def write_explorer(path: Path, subjects: Sequence[Subject], **described: Any) -> Path:
    """Writes `explorer_html` atomically; arguments as there."""
    return _files.write_text(path, explorer_html(subjects, **described))


def _html(content: dict[str, Any]) -> str:
    style, program = _read("explorer.css"), _program()
    parts = {
        "policy": f"default-src 'none'; base-uri 'none'; form-action 'none'; img-src data: blob:; "
        f"script-src '{_digest(program)}'; style-src '{_digest(style)}'",
        # Names of folders need not be UTF-8.
        "title": html.escape(content["title"]).encode("utf-8", "replace").decode(),
        "style": style,
        "program": program,
        "content": _json(content),
    }
    # In one pass, so that no part is searched for the names of the others.
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], _read("explorer.html"))


def _read(name: str) -> str:
    return (resources.files("signsal_jax.report.explorer") / name).read_text(encoding="utf-8")


def _program() -> str:
    """The modules as one: without their imports of each other."""
    text = "".join(_EXPORT.sub("", _IMPORT.sub("", _read(name))) for name in _MODULES) + _START
    assert "</script" not in text.lower()
    return text


def _digest(text: str) -> str:
    """What allows this very text, and no other, to run under the page's policy."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")


def _json(content: Any) -> str:
    """JSON that cannot end the element that it stands in."""
    text = json.dumps(content, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
