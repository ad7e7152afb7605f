"""One estimator in every way that it is used: the numbers must be the same."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

import signsal_jax
from signsal_jax import sharding
from signsal_jax.gradients import sharded_extrema
from tests import toys

TARGET = 2


def assert_same_everywhere(apply_fn, estimator, variables, images, jacobian, tolerance=1e-5):
    """Compares with the Jacobian `[b, k, h, w, c]`, in chunks of two classes: on one device, split
    over four, under vmap, and beside an image of padding."""
    jacobian = np.asarray(jacobian)
    others = np.delete(jacobian, TARGET, 1)
    mesh = sharding.make_mesh(jax.devices()[:4], class_devices=2)

    @jax.jit
    def everything(estimator, variables, images):
        settings = {"target": TARGET, "estimator": estimator, "class_chunk": 2}
        one = functools.partial(signsal_jax.class_extrema, apply_fn, variables, **settings)
        padded = jnp.concatenate([images[:3], jnp.zeros_like(images[:1])])
        return (
            one(images),
            sharded_extrema(apply_fn, variables, images, mesh=mesh, **settings),
            jax.vmap(one)(images[:, None]),
            one(padded).gradient[:3],
        )

    whole, sharded, mapped, padded = everything(estimator, variables, images)
    for extrema in (whole, sharded, jax.tree.map(lambda x: x[:, 0], mapped)):
        toys.assert_close(extrema.gradient, jacobian[:, TARGET], tolerance)
        toys.assert_close(extrema.highest, others.max(1), tolerance)
        toys.assert_close(extrema.lowest, others.min(1), tolerance)
    toys.assert_close(padded, jacobian[:3, TARGET], tolerance)
