"""Signed maps by brightness, against the whole Jacobian."""

import jax
import jax.numpy as jnp
import numpy as np

import signsal_jax
from signsal_jax import brightness, gradients
from tests import toys

SHAPE = (3, 4, 5, 2)


def test_by_definition_over_the_oracle():
    variables, images = toys.mlp_variables(0, 5, 40), toys.random_images(1, SHAPE)
    jacobian = np.asarray(toys.oracle_jacobian(toys.mlp, variables, images))
    own, others = jacobian[:, 2], np.delete(jacobian, 2, 1)
    above, below = np.maximum(own - others.max(1), 0), np.minimum(own - others.min(1), 0)

    @jax.jit
    def both(variables, images):
        alone = gradients.target_gradient(toys.mlp, variables, images, target=2)
        extrema = signsal_jax.class_extrema(toys.mlp, variables, images, target=2)
        return brightness.brightness_maps(alone), brightness.brightness_maps(extrema)

    alone, maps = both(variables, images)
    assert list(alone) == [brightness.GRADIENT]
    for found in (alone, maps):
        toys.assert_close(found[brightness.GRADIENT], own.sum(-1))
    toys.assert_close(maps[brightness.COMPARED], (above + below).sum(-1))


def test_a_brighter_pixel_changes_the_score_by_its_value():
    variables, images = toys.mlp_variables(0, 3, 24), toys.random_images(1, (1, 4, 3, 2))
    extrema = signsal_jax.class_extrema(toys.mlp, variables, images, target=1)
    found = brightness.brightness_maps(extrema)["gradient"][0, 2, 1]
    brighter = images.at[0, 2, 1].add(1e-2)
    change = (toys.mlp(variables, brighter) - toys.mlp(variables, images))[0, 1] / 1e-2
    np.testing.assert_allclose(found, change, rtol=1e-2)


def test_images_that_are_not_valid_are_nan():
    images = toys.random_images(1, SHAPE).at[1, 0, 0, 0].set(jnp.nan)
    extrema = signsal_jax.class_extrema(toys.mlp, toys.mlp_variables(0, 5, 40), images)
    for values in brightness.brightness_maps(extrema).values():
        assert np.isnan(values[1]).all()
        assert np.isfinite(values[0]).all()
