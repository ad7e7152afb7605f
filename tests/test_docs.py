"""What the build of the documentation relies on; scripts/docs.sh is the build itself."""

import importlib
import inspect
import re
from pathlib import Path

import pytest

from scripts.check_links import dead_links

API = Path(__file__).parents[1] / "docs" / "api"
MODULES = (
    "",
    ".bridges",
    ".data",
    ".evaluations",
    ".gradients",
    ".models",
    ".nn",
    ".plan",
    ".report",
    ".study",
    ".truth",
    ".weights",
)


@pytest.fixture(scope="module")
def documented():
    """The objects that the reference names, by identity."""
    names = re.findall(
        r"^\.\. auto\w+:: (\S+)$", "".join(p.read_text() for p in API.iterdir()), re.M
    )
    found = {}
    for name in names:
        part, _, last = name.rpartition(".")
        try:
            module = importlib.import_module(part)
        except ModuleNotFoundError:  # a class of a module
            pytest.fail(f"{name}: expected a name of a module")
        found[name] = getattr(module, last)
    assert len(found) == len(names)
    return found


@pytest.mark.parametrize("module", MODULES)
def test_the_reference_has_every_public_function_and_class(module, documented):
    """Constants are described where they are used."""
    source = importlib.import_module(f"signsal_jax{module}")
    public = {
        name: getattr(source, name)
        for name in dir(source)
        if not name.startswith("_") and name not in ("extra",)
    }
    missing = [
        f".. auto{'class' if inspect.isclass(value) else 'function'}:: signsal_jax{module}.{name}"
        for name, value in public.items()
        if (inspect.isclass(value) or inspect.isfunction(value))
        and value.__module__.startswith("signsal_jax")
        and not any(value is known for known in documented.values())
    ]
    assert not missing, f"add to a page of docs/api: {missing}"


def test_dead_links_are_found(tmp_path):
    (tmp_path / "_static").mkdir()
    (tmp_path / "_static" / "template.html").write_text('<img src="{{ nowhere }}">')
    (tmp_path / "a.html").write_text(
        '<h1 id="top">A</h1><a href="b.html#here">b</a><a href="#top">top</a>'
        '<a href="https://example.org/nowhere">out</a><a href="mailto:a@b">mail</a>'
    )
    (tmp_path / "b.html").write_text('<a name="here"></a><a href="a%20b.png">picture</a>')
    (tmp_path / "a b.png").touch()
    assert dead_links(tmp_path) == []
    (tmp_path / "c.html").write_text(
        '<a href="gone.html">1</a><a href="a.html#gone">2</a><img src="gone.png">'
    )
    assert dead_links(tmp_path) == [
        "c.html: gone.html: no such file",
        "c.html: a.html#gone: no such anchor",
        "c.html: gone.png: no such file",
    ]


def test_a_folder_without_pages_is_an_error(tmp_path):
    (line,) = dead_links(tmp_path)
    assert line.endswith("expected HTML pages, found none")
