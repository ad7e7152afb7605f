"""Occlusion and RISE against loops in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import signsal_jax
from tests import toys
from tests.everywhere import assert_same_everywhere

SHAPE = (8, 7, 5, 2)
KEY = jax.random.key(2)
ESTIMATORS = {
    "occlusion": signsal_jax.occlusion(window=3, stride=2, baseline=0.25),
    "rise": signsal_jax.rise(KEY, samples=5, cells=2, kept=0.4),
}


@pytest.fixture(scope="module")
def model():
    return toys.mlp_variables(0, 4, 70), toys.random_images(1, SHAPE)


def found(model, estimator):
    return np.asarray(
        jax.jit(
            lambda estimator, variables, images: signsal_jax.signed_jacobian(
                toys.mlp, variables, images, estimator=estimator
            )[1]
        )(estimator, *model)
    )


def by_hand(name, model):
    variables, images = model
    total, count = np.zeros((8, 4, 7, 5)), np.zeros((7, 5))
    if name == "occlusion":
        whole = np.asarray(toys.mlp(variables, images))
        for top in (0, 2, 4):
            for left in (0, 2):
                hidden = np.array(images)
                hidden[:, top : top + 3, left : left + 3] = 0.25
                drop = whole - np.asarray(toys.mlp(variables, hidden))
                total[:, :, top : top + 3, left : left + 3] += drop[..., None, None]
                count[top : top + 3, left : left + 3] += 1
        values = total / count
    else:
        for key in jax.random.split(KEY, 5):
            mask = np.asarray(ESTIMATORS["rise"].masks(7, 5, key))
            scores = np.asarray(toys.mlp(variables, images * mask[None, ..., None]))
            total += scores[..., None, None] * mask
        values = total / (5 * 0.4)
    return np.broadcast_to(values[..., None], (8, 4, *SHAPE[1:]))


@pytest.mark.parametrize("name", ESTIMATORS)
def test_by_definition_everywhere(model, name):
    """Whole, in chunks, split over devices, under vmap and beside padding."""
    variables, images = model
    expected = by_hand(name, model)
    toys.assert_close(found(model, ESTIMATORS[name]), expected)
    assert_same_everywhere(toys.mlp, ESTIMATORS[name], variables, images, expected)


def test_occlusion_of_single_pixels_of_a_linear_network_is_gradient_x_input():
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((3, 4, 5, 1)).astype(np.float32)
    network = (weights, np.zeros(3, np.float32)), toys.random_images(4, (2, 4, 5, 1))
    _, attributions = signsal_jax.signed_jacobian(
        toys.linear, *network, estimator=signsal_jax.occlusion(1, 1)
    )
    toys.assert_close(attributions, weights[None] * network[1][:, None])


def test_masks_are_smooth_and_keep_as_much_as_they_should():
    rise = signsal_jax.rise(KEY, cells=4, kept=0.3)
    masks = jax.vmap(lambda key: rise.masks(32, 24, key))(jax.random.split(KEY, 500))
    assert masks.shape == (500, 32, 24)
    assert 0 <= float(masks.min()) < float(masks.max()) <= 1
    np.testing.assert_allclose(masks.mean(), 0.3, atol=0.01)
    np.testing.assert_allclose(masks.mean(0), 0.3, atol=0.1)
    assert float(jnp.abs(jnp.diff(masks, axis=1)).max()) <= 1 / 8 + 1e-6


def test_rise_has_no_sign(model):
    with pytest.raises(ValueError, match="expected vanilla alone with rise"):
        signsal_jax.saliency_maps(toys.mlp, *model, estimator=ESTIMATORS["rise"])


def test_a_window_larger_than_the_image_hides_all_of_it(model):
    variables, images = model
    attributions = found(model, signsal_jax.occlusion(window=50, stride=50))
    drop = toys.mlp(variables, images) - toys.mlp(variables, jnp.zeros_like(images))
    toys.assert_close(attributions[:, :, 3, 2, 0], drop)
