"""The code that a study's numbers come from, and its checksum.

A study refuses to go on with other code, so what is covered decides which edits end a study of
days: exactly the modules that the step, the networks and the reading of pixels import, found from
their import statements. Words do not count: comments and docstrings are left out.
"""

import ast
import functools
import hashlib
from collections.abc import Iterator
from pathlib import Path

_PACKAGE = "signsal_jax"
_ROOTS = (
    "signsal_jax.study._step",
    # The networks' layers; their weights have a checksum of their own.
    "signsal_jax.models.registry",
    "signsal_jax.models.functional",
    "signsal_jax.models.normalize",
    # What turns the bytes of a data set into pixels.
    "signsal_jax.data.load",
)
# What is imported there and only shows how far the work is.
_NOT_NUMBERS = {"signsal_jax._progress"}


@functools.cache
def code_sha256() -> str:
    """The checksum of the modules in `code_modules`."""
    digest = hashlib.sha256()
    for module in code_modules():
        digest.update(f"{module}\n{_without_words(_file(module).read_text())}\n".encode())
    return digest.hexdigest()


def code_modules() -> list[str]:
    """The names of the package's modules that the numbers of a study come from."""
    found, waiting = set(), [*_ROOTS]
    while waiting:
        module = waiting.pop()
        if module not in found and module not in _NOT_NUMBERS:
            found.add(module)
            waiting += _imported(module)
    return sorted(found)


def _file(module: str) -> Path:
    path = Path(__file__).parents[2].joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _imported(module: str) -> Iterator[str]:
    """The package's modules that one imports, wherever in it.

    The package's own `__init__` is none of them: it only gathers names from everywhere.
    """
    for node in ast.walk(ast.parse(_file(module).read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            # A name in a module, or a module in a package.
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if _file(name).exists() else node.module or "" for name in inner]
        else:
            continue
        yield from (name for name in names if name.startswith(f"{_PACKAGE}."))


def _without_words(source: str) -> str:
    """The same program without comments, docstrings and the layout of lines."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [line for line in body if not _is_string(line)] or [ast.Pass()]  # pyright: ignore[reportAttributeAccessIssue]
    return ast.unparse(tree)


def _is_string(line: ast.stmt) -> bool:
    return (
        isinstance(line, ast.Expr)
        and isinstance(line.value, ast.Constant)
        and isinstance(line.value.value, str)
    )
