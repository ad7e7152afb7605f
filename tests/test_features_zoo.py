"""Class extrema through the features are those through the scores, for the zoo's networks."""

import os

import jax
import numpy as np
import pytest
from flax import nnx

from signsal_jax import gradients, models
from signsal_jax.models.convnext import ConvNeXt
from signsal_jax.models.efficientnet import EfficientNetLite0
from signsal_jax.models.resnet import ResNet
from signsal_jax.models.vit import ViT
from tests import toys
from tests.test_features import assert_same

slow = pytest.mark.skipif(
    not os.environ.get("SIGNSAL_SLOW_TESTS"), reason="takes minutes: set SIGNSAL_SLOW_TESTS=1"
)
# More classes than features. Of these, some are compared: through the scores each is a pullback.
# EfficientNet's last block has 192 channels: on fewer than 3x3 positions it is narrower than 1280.
NETWORKS = {
    "resnet18": (ResNet, 512, 32),
    "convnext_tiny": (ConvNeXt, 768, 32),
    "efficientnet_lite0": (EfficientNetLite0, 1280, 96),
    "vit_ti_16": (ViT, 192, 32),
}


def small(build, width, classes, size, **sizes):
    """A network with random weights and normalizations that do something, and two images."""
    network = nnx.eval_shape(lambda: build(classes, **sizes, rngs=nnx.Rngs(0)))
    apply_fn, shapes = models.from_nnx(network)
    rng = np.random.default_rng(3)

    def weights(path, leaf):
        values = rng.normal(size=leaf.shape) / np.sqrt(np.prod(leaf.shape[:-1]))
        if leaf.ndim < 2:
            multiplies = any(word in jax.tree_util.keystr(path) for word in ("scale", "var"))
            values = 1 + 0.3 * rng.random(leaf.shape) if multiplies else 0.1 * values
        return np.asarray(values, leaf.dtype)

    variables = jax.tree_util.tree_map_with_path(weights, shapes)
    images = toys.random_images(4, (2, size, size, 3))
    cut = gradients.narrowest_cut(apply_fn, variables, images, near_images=False)
    assert (cut.width, cut.classes, cut.affine) == (width, classes, True)
    return apply_fn, variables, images


@slow
def test_a_narrow_transformer():
    # At 32x32 one tie by rounding would already be more than one entry in 10,000.
    sizes = {"features": 12, "heads": 2, "depth": 2}
    assert_same(*small(ViT, 12, 20, 64, **sizes))


@slow
@pytest.mark.parametrize("name", NETWORKS)
def test_networks_of_the_zoo(name):
    build, width, size = NETWORKS[name]
    rivals = tuple(range(0, width, width // 30))
    given = small(build, width, width + 20, size)
    assert_same(*given, target=width + 1, rivals=rivals)
