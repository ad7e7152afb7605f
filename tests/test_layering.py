"""Who may import whom: every import in the library and the training program is read."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = "signsal_jax"

# The floors of the house, by dotted prefix: a module imports only from floors below its own, and
# the files of one prefix may import each other. A new module is placed here on purpose.
FLOORS = (
    ("_types", "_checks", "_image_checks", "_extras", "_precision", "_jaxpr", "_sorting", "_vma"),
    ("scaling", "metrics", "sharding", "weights", "_rewrite", "_two_class"),
    ("nn",),
    ("gradients",),
    ("_methods",),
    ("maps",),
    ("attribution", "brightness", "contrasts", "statistics", "models"),
    ("evaluations",),
    ("truth",),
    ("study._config",),
    ("study._cut", "study._table"),
    ("study._step",),
    ("plan",),
)
# Input and output: may import any floor, and no floor imports them.
HOST = (
    "_cache",
    "_endings",
    "_digests",
    "_files",
    "_progress",
    "_provenance",
    "_run_config",
    "bridges",
    "checkpoint",
    "cli",
    "data",
    "report",
    "study._arrays",
    "study._bucket",
    "study._claim",
    "study._commits",
    "study._constants",
    "study._export",
    "study._folder",
    "study._code",
    "study._evaluate",
    "study._groups",
    "study._images",
    "study._leases",
    "study._manifest",
    "study._parts",
    "study._place",
    "study._reading",
    "study._run",
    "study._store",
    "study._space",
    "study._sums",
    "study._verify",
    "study._workers",
    "study._writer",
    "truth.run",
    "truth.training",
)
# A package whose pure part stands on the floors and whose storage is a host: its names come from
# both, the latter lazily.
FRONTS = {"study": "study._step"}
# Only behind extras, so never imported when a module is.
OPTIONAL = {
    "array_record",
    "grain",
    "h5py",
    "libtpu",
    "mlxtend",
    "tensorflow",
    "tensorflow_datasets",
    "torch",
    "transformers",
    "xarray",
}


def unit_of(module):
    """The longest declared prefix of `signsal_jax.study._step`; the package itself: `__init__`."""
    names = module.split(".")[1:]
    prefixes = [".".join(names[:end]) for end in range(len(names), 0, -1)]
    return next((name for name in prefixes if name in UNITS or name in FRONTS), "__init__")


def floor_of(unit):
    unit = FRONTS.get(unit, unit)
    return next((floor for floor, units in enumerate(FLOORS) if unit in units), None)


UNITS = {unit for floor in FLOORS for unit in floor} | {*HOST}


def module_name(path):
    names = list(path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(names[:-1] if names[-1] == "__init__" else names)


def imported(path):
    """Names of all modules that a file imports, wherever in it: `from a import b` gives a.b."""
    tree = ast.parse(path.read_text())
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def library_imports(path):
    """The library's units that a file imports; a public name of the package is its `__init__`."""
    return {unit_of(name) for name in imported(path) if name.split(".")[0] == PACKAGE}


def library_files():
    return sorted((ROOT / PACKAGE).rglob("*.py"))


def test_every_module_has_its_place():
    modules = {module_name(path) for path in library_files()} - {PACKAGE}
    homeless = {module for module in modules if unit_of(module) == "__init__"}
    assert not homeless, "place the new module in FLOORS or HOST"
    assert len(UNITS) == len(HOST) + sum(map(len, FLOORS)), "a module stands in two places"


def test_imports_point_to_lower_floors():
    wrong = set()
    for path in library_files():
        unit = unit_of(module_name(path))
        floor = floor_of(unit)
        if floor is None or unit in FRONTS:  # a host, or a door to both
            continue
        for other in library_imports(path) - {unit}:
            below = floor_of(other)
            # The package's public names come from above every floor.
            if other == "__init__" or below is None or below >= floor:
                wrong.add((module_name(path), other))
    assert not wrong


def test_no_import_cycles():
    """Also between hosts, and between the files of one folder."""
    names = {module_name(path): path for path in library_files()}
    graph = {
        name: {
            next((m for m in (other, other.rpartition(".")[0]) if m in names), None)
            for other in imported_early(path)
        }
        - {None, name}
        for name, path in names.items()
    }
    # A package's own files may be imported through it: that is its front, not a cycle.
    for name in graph:
        graph[name] -= {package for package in graph[name] if name.startswith(f"{package}.")}
    done = set()

    def visit(name, path):
        assert name not in path, " -> ".join([*path, name])
        if name not in done:
            for other in graph[name]:
                visit(other, [*path, name])
            done.add(name)

    for name in graph:
        visit(name, [])


def imported_early(path):
    """Names of the modules that a file imports when it is imported itself."""
    names = set()
    for node in top_level_statements(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def test_layers_reach_the_figures_through_one_door():
    """`_extras.figures` imports a host by name, so what uses it is listed here."""
    users = {
        unit_of(module_name(path))
        for path in library_files()
        if f"{PACKAGE}._extras.figures" in imported(path)
    }
    assert users == {"maps", "study._store"}


def test_the_library_imports_no_program():
    for path in library_files():
        outside = {name.split(".")[0] for name in imported(path)}
        assert not outside & {"train", "scripts", "tests"}, path


def test_private_files_belong_to_their_folder():
    """`nn._winograd` is the business of `nn` alone, as `cli/_network.py` is of `cli`."""
    for path in library_files():
        for name in imported(path):
            names = name.split(".")
            if names[0] != PACKAGE or len(names) < 3 or not names[2].startswith("_"):
                continue
            own = module_name(path).split(".")[1:2] == [names[1]]
            assert own or (path.parts[-1] == "__init__.py"), f"{path} imports {name}"


def test_optional_packages_are_imported_late():
    for path in [*library_files(), *sorted((ROOT / "train").rglob("*.py"))]:
        early = set()
        for node in top_level_statements(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                early |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                early.add(node.module.split(".")[0])
        assert not early & OPTIONAL, path


def top_level_statements(tree):
    """All statements that run on import: those outside functions and TYPE_CHECKING blocks."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        yield node
        yield from top_level_statements(node)


def test_importing_the_package_imports_no_host_module(imported_modules):
    """Public names that need one are looked up when they are first used."""
    units = {unit_of(name) for name in imported_modules if name.split(".")[0] == PACKAGE}
    assert "attribution" in units
    assert not units & {*HOST}


@pytest.mark.parametrize("module", ["flax", "matplotlib", "orbax", "PIL", "tyro"])
def test_importing_the_package_stays_light(imported_modules, module):
    assert module not in imported_modules


@pytest.fixture(scope="module")
def imported_modules():
    code = "import sys, signsal_jax; print(*sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "jax" in result.stdout.split()
    return result.stdout.split()
