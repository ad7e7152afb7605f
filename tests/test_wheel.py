"""The wheel, in an environment outside the repository: what a user installs."""

import json
import os
import statistics
import subprocess
import sys
import sysconfig
import textwrap
import venv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]
# What `import signsal_jax` alone must not wait for.
HEAVY = ("flax", "optax", "orbax", "matplotlib", "PIL", "tensorflow", "torch", "tyro", "mlxtend")


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The Python of a fresh environment: the wheel, and the dependencies already here."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", folder, ROOT], check=True)
    (wheel,) = folder.glob("*.whl")
    environment = folder / "environment"
    venv.create(environment, symlinks=True)
    python = environment / "bin" / "python"
    subprocess.run([*pip, "--python", python, "install", "--no-deps", wheel], check=True)
    (packages,) = environment.glob("lib/python*/site-packages")
    # Appended to the path, so that the wheel comes first; editable installs are left out.
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


def run(python, *arguments, cwd, **options):
    environment = {
        key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")
    }
    return subprocess.run(
        [python, *arguments],
        cwd=cwd,
        env={**environment, "XDG_CACHE_HOME": str(cwd / "cache"), "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        timeout=300,
        **options,
    )


def test_what_is_imported_is_the_wheel(installed, tmp_path):
    done = run(installed, "-c", "import signsal_jax; print(signsal_jax.__file__)", cwd=tmp_path)
    path = Path(done.stdout.strip())
    assert installed.parents[1] in path.parents, done.stderr
    package = {file.name for file in path.parent.iterdir()}
    assert {"models", "data", "cli", "weights"} <= package
    weights = {file.stem for file in (path.parent / "models" / "packaged").glob("*.safetensors")}
    assert weights == {"cnn-cifar10", "cnn-imagenette"}
    page = {"explorer.html", "explorer.css", "explorer.js", "panel.js"}
    assert page <= {file.name for file in (path.parent / "report" / "explorer").iterdir()}
    assert not (path.parents[1] / "tests").exists()
    assert not (path.parents[1] / "train").exists()


def test_importing_is_quick_and_does_no_work(installed, tmp_path):
    code = """
        import sys, time
        # Beside JAX's own, which it needs: seconds alone would tell of the machine.
        start = time.process_time()
        import jax
        before = time.process_time()
        import signsal_jax
        print((time.process_time() - before) / (before - start))
        from jax._src import xla_bridge
        print(*sorted({name.partition(".")[0] for name in sys.modules}))
        print(bool(xla_bridge._backends))
        signsal_jax.models
        print("flax" in sys.modules)
    """
    # One that writes the compiled files first.
    outputs = [
        run(installed, "-c", textwrap.dedent(code), cwd=tmp_path, check=True).stdout.splitlines()
        for _ in range(4)
    ]
    shares, modules, backend, flax_later = zip(*outputs, strict=True)
    assert not set(HEAVY) & set(modules[0].split())
    assert backend[0] == "False"
    assert flax_later[0] == "True"
    assert statistics.median(map(float, shares[1:])) < 0.5


def test_the_command_explains_a_picture(installed, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (48, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "noise.png")
    signsal = installed.parent / "signsal"
    options = ("--model", "cnn-cifar10", "--no-explorer")
    done = run(signsal, "explain", "noise.png", *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    out = tmp_path / "explanations"
    results = json.loads((out / "results.json").read_text())
    assert results["network"]["weights"] == "cnn-cifar10"
    with Image.open(out / results["images"][0]["figure"]) as figure:
        figure.load()
    with np.load(out / results["images"][0]["maps"]) as maps:
        paper = {"vanilla", "positive", "negative", "active", "inactive"}
        assert set(maps) == {*paper, "gradient", "active & inactive"}
        assert all(np.isfinite(maps[name]).all() for name in maps)
