"""Guided integrated gradients; test_attribution_parity has a run of the authors' code."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import signsal_jax
from tests import toys
from tests.everywhere import assert_same_everywhere

STEPS = 4


@pytest.fixture(scope="module")
def model():
    return toys.mlp_variables(0, 5, 32), toys.random_images(1, (8, 4, 4, 2))


@jax.jit
def found(estimator, variables, images):
    return signsal_jax.signed_jacobian(toys.mlp, variables, images, estimator=estimator)[1]


def test_without_distance_it_is_the_straight_line(model):
    variables, images = model
    straight = signsal_jax.guided_integrated_gradients(0.25, steps=STEPS, max_distance=0.0)
    total = sum(
        toys.oracle_jacobian(toys.mlp, variables, 0.25 + (images - 0.25) * step / STEPS)
        for step in range(STEPS)
    )
    expected = (images - 0.25)[:, None] * total / STEPS
    toys.assert_close(found(straight, variables, images), expected)


def test_pixels_with_small_gradients_go_first():
    """Two pixels, one step of two each, any path: first all of the pixel that matters less."""
    weights = jnp.asarray([1.0, -3.0]).reshape(1, 1, 2, 1)

    def apply_fn(weights, images):
        score = (weights * images).sum((1, 2, 3)) + 2 * images.prod((1, 2, 3))
        return jnp.stack([score, -score], 1)

    estimator = signsal_jax.guided_integrated_gradients(steps=2, fraction=0.5, max_distance=1.0)
    _, attributions = signsal_jax.signed_jacobian(
        apply_fn, weights, jnp.ones((1, 1, 2, 1)), estimator=estimator
    )
    # At (0, 0) the gradient is (1, -3); at (1, 0) it is (1, -3 + 2).
    toys.assert_close(attributions[0, 0].ravel(), np.asarray([1.0, -1.0]))


def test_attributions_add_up_to_the_difference(model):
    variables, images = model
    many = signsal_jax.guided_integrated_gradients(steps=300)
    difference = toys.mlp(variables, images) - toys.mlp(variables, 0 * images)
    toys.assert_close(found(many, variables, images).sum((2, 3, 4)), difference, 1e-2)


def test_one_estimator_gives_the_same_everywhere(model):
    estimator = signsal_jax.guided_integrated_gradients(steps=STEPS, max_distance=0.3)
    assert_same_everywhere(toys.mlp, estimator, *model, found(estimator, *model), 2e-6)


def test_an_image_that_is_its_baseline_has_nothing_to_attribute(model):
    variables, images = model
    estimator = signsal_jax.guided_integrated_gradients(images, steps=STEPS)
    assert (np.asarray(found(estimator, variables, images)) == 0).all()
