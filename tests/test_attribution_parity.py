"""Attributions in float64 against those of captum, zennit and PAIR saliency, recorded without JAX.

The weights come from the same seed on both sides; `scripts/record_attribution_parity.py` has the
other networks and the settings.
"""

import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.ad_checkpoint import checkpoint_name

import signsal_jax
from scripts import record_attribution_parity as other
from scripts.record_parity import seeded_arrays
from signsal_jax import gradients, models, weights
from tests import toys

RECORDED = np.load(other.DATA)
KEY = jax.random.key(other.SEED)
PATH = {"steps": other.STEPS}
ESTIMATORS = {
    "plain": signsal_jax.plain(),
    "integrated_gradients": signsal_jax.integrated_gradients(**PATH),
    "smooth_grad": signsal_jax.smooth_grad(KEY, samples=other.SAMPLES, noise=other.NOISE),
    "guided_backprop": signsal_jax.guided_backprop(),
    "deconvnet": signsal_jax.deconvnet(),
    "grad_cam": signsal_jax.grad_cam(),
    "layer_cam": signsal_jax.layer_cam(),
    "lrp_captum": signsal_jax.lrp("epsilon", epsilon=other.EPSILON),
    "guided_integrated_gradients": signsal_jax.guided_integrated_gradients(
        fraction=other.FRACTION, max_distance=other.MAX_DISTANCE, **PATH
    ),
    "blur_integrated_gradients": signsal_jax.blur_integrated_gradients(other.MAX_SIGMA, **PATH),
}
COMPOSITES = [rules for rules in gradients.LRP_RULES if f"small/{rules}/grid" in RECORDED]
# Float64 convolutions take seconds to compile. The rest have closed forms in other tests.
SLOW = bool(os.environ.get("SIGNSAL_SLOW_TESTS"))
QUICK = {"guided_backprop", "deconvnet", "lrp_captum", "guided_integrated_gradients", *COMPOSITES}
ESTIMATORS |= {rules: signsal_jax.lrp(rules) for rules in COMPOSITES}


def small(variables, images):
    """The small network of the recording, from its weights in torch's layout."""
    v = variables

    def conv(x, weight):
        return toys._conv(x, weight.transpose(2, 3, 1, 0), 1)

    def pool(x, start, function):
        return jax.lax.reduce_window(x, start, function, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")

    x = jax.nn.relu(conv(images, v["conv1.weight"]) + v["conv1.bias"].reshape(1, 1, 1, -1))
    x = conv(pool(x, -jnp.inf, jax.lax.max), v["conv2.weight"])
    shapes = ("weight", "bias", "running_mean", "running_var")
    scale, bias, mean, var = (v[f"bn2.{name}"].reshape(1, 1, 1, -1) for name in shapes)
    x = (x - mean) * (scale * jax.lax.rsqrt(var + 1e-5)) + bias
    x = checkpoint_name(jax.nn.relu(x), "features")
    x = pool(x, 0.0, jax.lax.add) / 4
    x = x.transpose(0, 3, 1, 2).reshape(len(x), -1)  # torch's order
    x = jax.nn.relu(x @ v["fc1.weight"].T + v["fc1.bias"][None])
    return x @ v["fc2.weight"].T + v["fc2.bias"][None]


def resnet20(arrays):
    (layout,) = weights.layouts("cifar_resnet20")
    network = nnx.eval_shape(lambda: models.registry.create_backbone("cifar_resnet20", 10))
    shapes = nnx.to_pure_dict(nnx.state(network))
    arrays = arrays or seeded_arrays(weights.source_shapes(layout, shapes))
    nnx.update(network, weights.convert(arrays, layout, shapes))
    return signsal_jax.from_nnx(network)


@pytest.fixture(scope="module")
def networks():
    built = {}

    def build(name):
        if name not in built:
            arrays = None
            if name == "resnet20_trained":
                if not other.TRAINED.exists():
                    pytest.skip("needs the folder shared, with weights")
                from safetensors.numpy import load_file

                arrays = load_file(other.TRAINED)
            if name == "small":
                built[name] = small, seeded_arrays(other.SMALL_SHAPES)
            else:
                built[name] = resnet20(arrays)
        return built[name]

    return build


@pytest.mark.parametrize("method", ESTIMATORS)
@pytest.mark.parametrize("name", other.SIZES)
def test_attributions_are_those_of_others(networks, x64, name, method):
    if not SLOW and (name != "small" or method not in QUICK):
        pytest.skip("takes minutes: set SIGNSAL_SLOW_TESTS=1")
    apply_fn, variables = networks(name)
    variables = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), variables)

    def scores(variables, images):
        if method in COMPOSITES:  # recorded behind this preprocessing
            shape = (1, 1, 1, 3)
            images = images - jnp.asarray(other.MEAN).reshape(shape)
            images = images / jnp.asarray(other.STD).reshape(shape)
        return apply_fn(variables, images)

    image = jnp.asarray(other.image_of(name))
    # Outside of jit, which compiles each operation once for all methods.
    logits, pullback = ESTIMATORS[method](scores, variables, image)
    cotangent = jax.nn.one_hot(jnp.asarray([other.TARGET]), logits.shape[1], dtype=image.dtype)
    found = other.summarize(np.asarray(pullback(cotangent))[0])
    largest = RECORDED[f"{name}/{method}/largest"]
    for key, value in found.items():
        wanted = RECORDED[f"{name}/{method}/{key}"]
        assert abs(value - wanted).max() < 1e-5 * max(largest, abs(wanted).max()), key
