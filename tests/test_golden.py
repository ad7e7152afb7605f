"""Every number that the authors' implementation gives for a small Basic CNN on 16 images.

`data/reference_cnn_small.npz` holds the images `[16, 32, 32, 3]`, the weights in torch's layout
and names, logits, the Jacobian of the first four images, the five maps, and for each method the
share of deleted pixels (the same for both fills) and the agreement per image and fraction.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import signsal_jax
from signsal_jax.models.cnn import BasicCNN
from tests import toys

FILE = "reference_cnn_small.npz"
FILLS = ("black", "white")


@pytest.fixture(scope="module")
def reference():
    with np.load(Path(__file__).parent / "data" / FILE) as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def classifier(reference):
    """The reference's weights in our Basic CNN: OIHW -> HWIO, [out, in] -> [in, out]."""
    # Shapes only: initial weights would be thrown away.
    model = nnx.eval_shape(lambda: BasicCNN(10, features=(8, 16, 32), rngs=nnx.Rngs(0)))
    layers = {"cnn_net.0": model.stem, "classifier": model.classifier}
    for index, block in enumerate(model.blocks):
        layers |= {f"cnn_net.{3 + index}.net.{2 * i}": c for i, c in enumerate(block.convs)}
    for name, layer in layers.items():
        weight = reference[f"torch/{name}.weight"]
        kernel = weight.transpose(2, 3, 1, 0) if weight.ndim == 4 else weight.T
        assert layer.kernel.shape == kernel.shape
        layer.kernel = nnx.Param(jnp.asarray(kernel))
        layer.bias = nnx.Param(jnp.asarray(reference[f"torch/{name}.bias"]))
    assert 2 * len(layers) == sum(name.startswith("torch/") for name in reference)
    return signsal_jax.from_nnx(model)


@pytest.fixture(scope="module")
def jacobian(reference, classifier):
    apply_fn, variables = classifier
    step = jax.jit(lambda v, x: signsal_jax.signed_jacobian(apply_fn, v, x, class_chunk=2))
    return step(variables, reference["images"])


@pytest.fixture(scope="module")
def saliency(reference, classifier):
    apply_fn, variables = classifier
    step = jax.jit(lambda v, x: signsal_jax.saliency_maps(apply_fn, v, x, class_chunk=2))
    return step(variables, reference["images"])


def test_logits_and_jacobian(reference, jacobian):
    logits, gradients = jacobian
    toys.assert_close(logits, reference["logits"], 1e-5)
    toys.assert_close(gradients[:4], reference["jacobian"], 1e-5)


def test_jacobian_of_all_images(jacobian):
    path = Path(__file__).parents[2] / "shared" / "golden" / FILE
    if not path.exists():
        pytest.skip(f"the whole reference Jacobian is not at {path}")
    with np.load(path) as arrays:
        toys.assert_close(jacobian[1], arrays["jacobian_bkhwc"], 1e-5)


@pytest.mark.parametrize("method", signsal_jax.METHODS)
def test_maps(reference, saliency, method):
    np.testing.assert_array_equal(saliency.target, reference["logits"].argmax(1))
    np.testing.assert_allclose(saliency.maps[method], reference[f"map/{method}"], atol=1e-4)
    assert saliency.valid.all()
    assert not saliency.empty[method].any()


def test_deletion(reference, classifier, saliency):
    apply_fn, variables = classifier
    pairs = [(fill, method) for fill in FILLS for method in signsal_jax.METHODS]
    np.testing.assert_allclose(reference["fractions"], signsal_jax.PAPER_FRACTIONS, rtol=1e-6)

    @jax.jit
    def step(variables, images, maps):
        curves = signsal_jax.evaluate_deletion(apply_fn, variables, images, maps, curves=pairs)
        return [curves[pair] for pair in pairs]

    curves = step(variables, reference["images"], saliency.maps)
    same = []
    for (fill, method), curve in zip(pairs, curves, strict=True):
        np.testing.assert_array_equal(curve.deleted, reference[f"deleted/{method}"])
        assert curve.valid.all()
        same.append(np.asarray(curve.agreement) == reference[f"agree/{fill}/{method}"])
    assert np.mean(same) >= 0.998
