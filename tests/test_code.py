"""What a study's numbers depend on: which modules, and which edits of them."""

import shutil
from pathlib import Path

import pytest

import signsal_jax
from signsal_jax.study import _code

# A file that moves, joins or leaves is moved here on purpose: all studies in work will refuse to
# go on with the code after that.
MODULES = """
_checks
_extras
_image_checks
_jaxpr
_methods
_precision
_rewrite
_sorting
_types
_vma
data.arrays
data.dataset
data.digits
data.fingerprint
data.folders
data.load
data.photos
data.reading
data.tfds
evaluations._curves
evaluations._layers
evaluations._ranks
evaluations._scores
evaluations.claims
evaluations.controls
evaluations.deletion
evaluations.entry
evaluations.imputation
evaluations.infidelities
evaluations.insertion
evaluations.jacobian
evaluations.patches
evaluations.perturbation
evaluations.randomization
evaluations.registry
evaluations.rival
evaluations.rival_groups
evaluations.saliency
evaluations.sensitivity
evaluations.sparsity
evaluations.steps
gradients
gradients._affine
gradients._average
gradients._baseline
gradients._blur
gradients._cam
gradients._chunks
gradients._completeness
gradients._contrast
gradients._cut
gradients._estimator
gradients._expected
gradients._extrema
gradients._factor_statistics
gradients._factors
gradients._features
gradients._flat
gradients._full_grad
gradients._gradient_x_input
gradients._guided_path
gradients._hosted
gradients._hosted_features
gradients._jacobian
gradients._layer
gradients._linearize
gradients._lrp
gradients._lrp_operations
gradients._lrp_rules
gradients._masked
gradients._mean_of
gradients._named
gradients._operations
gradients._path
gradients._plain
gradients._products
gradients._relu
gradients._rivals
gradients._running
gradients._separator
gradients._sharded
gradients._smooth
gradients._squares
gradients._tape
gradients._target
gradients._through
maps
models.cifar_resnet
models.cnn
models.convnext
models.efficientnet
models.functional
models.layers
models.normalize
models.registry
models.resnet
models.vit
nn
nn._accelerate
nn._bilinear
nn._blocks
nn._choice
nn._layers
nn._own
nn._pool
nn._pullbacks
nn._ties
nn._winograd
scaling
sharding
statistics
study._config
study._cut
study._step
"""


def test_the_modules_are_these():
    assert _code.code_modules() == [f"signsal_jax.{name}" for name in MODULES.split()]


@pytest.fixture
def copied(tmp_path, monkeypatch):
    """The checksum after an edit of a file of a copy of the package."""
    package = tmp_path / "signsal_jax"
    shutil.copytree(
        Path(signsal_jax.__file__).parent, package, ignore=shutil.ignore_patterns("*.pyc", "*.npz")
    )
    monkeypatch.setattr(_code, "__file__", str(package / "study" / "_code.py"))
    _code.code_sha256.cache_clear()

    def edited(name, old, new):
        path = package / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))
        _code.code_sha256.cache_clear()
        found = _code.code_sha256()
        path.write_text(text)
        return found

    yield edited
    _code.code_sha256.cache_clear()


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("plan/_chips.py", "v5e", "v9e"),
        ("report/figures.py", "fontsize", "size"),
        ("cli/study.py", "study", "survey"),
        ("metrics.py", "0.95", "0.9"),
        # A word, a comment, a docstring.
        ("gradients/_running.py", '"""The target', '"""Truly. The target'),
        (
            "evaluations/deletion.py",
            "    return stacked(",
            "    # Why it is so.\n    return stacked(",
        ),
    ],
)
def test_edits_that_no_number_depends_on_leave_it(copied, name, old, new):
    assert copied(name, old, new) == copied("plan/_chips.py", "v5e", "v5e")


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("gradients/_running.py", "jnp.inf", "jnp.nan"),
        ("evaluations/insertion.py", "insert=True", "insert=False"),
        ("evaluations/perturbation.py", "0.03", "0.04"),
        ("models/layers.py", "import", "import os\nimport"),
        ("nn/_winograd.py", "import jax\n", "import jax\nX = 1\n"),
        ("data/reading.py", "255", "256"),
    ],
)
def test_edits_that_numbers_may_depend_on_change_it(copied, name, old, new):
    assert copied(name, old, new) != copied("plan/_chips.py", "v5e", "v5e")
