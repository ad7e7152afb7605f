"""The core works where only JAX, jaxtyping and NumPy are, and says what is missing for the rest."""

import subprocess
import sys
import textwrap

import pytest

OPTIONAL = (
    "array_record",
    "etils",
    "flax",
    "h5py",
    "grain",
    "matplotlib",
    "optax",
    "orbax",
    "PIL",
    "pyarrow",
    "safetensors",
    "tensorflow_datasets",
    "tensorstore",
    "tqdm",
    "tyro",
    "xarray",
)
REPORT = "report = signsal_jax.report\n"


def run_without(packages, code):
    """Runs code in a process where importing one of these packages fails as if it were absent."""
    hidden = f"import sys; sys.modules.update(dict.fromkeys({tuple(packages)!r}))\n"
    return subprocess.run(
        [sys.executable, "-c", hidden + textwrap.dedent(code)], capture_output=True, text=True
    )


def test_the_core_needs_no_extra():
    done = run_without(
        OPTIONAL,
        """
        import jax, jax.numpy as jnp, signsal_jax
        def apply_fn(weights, images):
            return jnp.einsum("bhwc,hwk->bk", images, weights)
        weights = jnp.asarray([[[2.0, 1.0], [-1.0, 0.5]]])
        images = jnp.ones((1, 1, 2, 1))
        explain = jax.jit(lambda v, x: signsal_jax.saliency_maps(apply_fn, v, x, target=0))
        saliency = explain(weights, images)
        curves = signsal_jax.evaluate_deletion(apply_fn, weights, images, saliency.maps)
        signsal_jax.accelerate(apply_fn)(weights, images)
        print(saliency.maps["active"].tolist(), len(curves))
        """,
    )
    assert done.stdout.split("\n")[0] == "[[[1.0, 0.0]]] 6", done.stderr


@pytest.mark.parametrize(
    ("package", "statement", "extra"),
    [
        ("flax", "signsal_jax.models", "zoo"),
        ("flax", "signsal_jax.from_nnx", "zoo"),
        ("safetensors", "from signsal_jax.weights import read", "zoo"),
        ("tensorstore", "signsal_jax.open_study", "study"),
        ("orbax", "signsal_jax.checkpoint", "study"),
        ("PIL", "signsal_jax.data", "study"),
        ("matplotlib", "signsal_jax.report", "cli"),
        ("tyro", "import signsal_jax.cli", "cli"),
        (
            "pyarrow",
            f"{REPORT}report.write_table([report.Column('a', [1])], 'a.parquet')",
            "parquet",
        ),
    ],
)
def test_an_absent_package_names_its_extra(package, statement, extra):
    done = run_without([package], f"import signsal_jax\n{statement}")
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: "), done.stderr
    assert f"pip install 'signsal_jax[{extra}]'" in last
