"""Who may import whom: every import in the library and the training program is read."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = "signsal_jax"

# A module imports only from layers with a smaller number than its own. A package is one unit, and
# so is a module with the private parts that only it uses. A new module is placed here on purpose.
LAYERS = {
    "_types": 0,
    "_checks": 0,
    "_precision": 0,
    "_tracing": 0,
    "_varying": 0,
    "_pullbacks": 0.5,
    "_running_extrema": 0.5,
    "scaling": 0.5,
    "jacobian": 1,
    "maps": 1,
    "metrics": 1,
    "nn": 1,
    "perturbation": 1,
    "weights": 1,
    "sharding": 1,
    "acceleration": 2,
    "attribution": 2,
    "deletion": 2,
    "models": 2,
    "sharded_extrema": 2,
    "statistics": 2,
    "study": 3,
    "plan": 4,
}
PARTS = {
    "_chips": "plan",
    "_class_chunks": "jacobian",
    "_conv_blocks": "nn",
    "_conv_cpu": "nn",
    "_conv_pullbacks": "nn",
    "_conv_winograd": "nn",
    "_deletion_loop": "deletion",
    "_hlo_cost": "plan",
    "_hlo_text": "plan",
    "_plan_compile": "plan",
    "_pool": "nn",
}
# Input and output: may import any layer, and no layer imports them.
HOST = {
    "_cache",
    "_extras",
    "_files",
    "checkpoint",
    "cli",
    "data",
    "evaluation",
    "images",
    "prepare",
    "report",
    "store",
    "study_manifest",
    "study_run",
}
# Only behind extras, so never imported when a module is.
OPTIONAL = {
    "array_record",
    "grain",
    "libtpu",
    "mlxtend",
    "tensorflow",
    "tensorflow_datasets",
    "torch",
    "transformers",
}


def unit_of(module):
    """`signsal_jax.models.cnn` -> `models`; the package itself -> `__init__`."""
    names = module.split(".")
    unit = names[1] if len(names) > 1 else "__init__"
    return PARTS.get(unit, unit)


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
    units = {unit_of(name) for name in imported(path) if name.split(".")[0] == PACKAGE}
    return {unit if unit in known_units() else "__init__" for unit in units}


def known_units():
    found = {path.stem for path in (ROOT / PACKAGE).glob("*.py")}
    found |= {path.parent.name for path in (ROOT / PACKAGE).glob("*/__init__.py")}
    return {PARTS.get(unit, unit) for unit in found} - {"__init__"}


def library_files():
    return sorted((ROOT / PACKAGE).rglob("*.py"))


def test_every_module_has_its_place():
    assert known_units() <= LAYERS.keys() | HOST, "place the new module in LAYERS or HOST"
    assert not LAYERS.keys() & HOST


def test_imports_point_to_lower_layers():
    wrong = set()
    for path in library_files():
        unit = unit_of(module_name(path))
        if unit not in LAYERS:
            continue
        for other in library_imports(path) - {unit}:
            # The package's public names come from above every layer.
            if other not in LAYERS or LAYERS[other] >= LAYERS[unit]:
                wrong.add((unit, other))
    assert not wrong


def test_the_library_imports_no_program():
    for path in library_files():
        outside = {name.split(".")[0] for name in imported(path)}
        assert not outside & {"train", "scripts", "tests"}, path


def test_parts_belong_to_their_unit():
    for path in library_files():
        for name in imported(path):
            part = name.split(".")[1] if name.startswith(f"{PACKAGE}.") else None
            if part in PARTS:
                assert unit_of(module_name(path)) == PARTS[part], f"{path} imports {part}"


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
    assert not units & HOST


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
