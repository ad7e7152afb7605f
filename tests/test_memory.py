"""Calls outside jit leave nothing behind: no compiled program, no trace of one."""

import gc

import jax
import jax.numpy as jnp
import pytest

import signsal_jax

CALLS = 2
# Per call. A program that a cache keeps is 270 Python objects or more (and 2 to 3 MB of machine
# code). Of every compiled argmax, JAX itself keeps the 66 that describe how it reduces; up to two
# per call.
MOST_OBJECTS = 200


def apply_fn(variables, images):
    return jnp.square(images).sum((1, 2)) @ variables


def saliency_maps(apply_fn, weights, images):
    return signsal_jax.saliency_maps(apply_fn, weights, images)


def signed_jacobian(apply_fn, weights, images):
    return signsal_jax.signed_jacobian(apply_fn, weights, images)


def evaluate_deletion(apply_fn, weights, images):
    maps = {"map": images[..., 0]}
    return signsal_jax.evaluate_deletion(
        apply_fn, weights, images, maps, curves=[("black", "map")], fractions=[0.25, 0.5]
    )


def smooth_grad(apply_fn, weights, images):
    smooth = signsal_jax.smooth_grad(jax.random.key(0), samples=2)
    return signsal_jax.saliency_maps(
        apply_fn, weights, images, methods=["vanilla"], estimator=smooth
    )


@pytest.mark.parametrize("call", [saliency_maps, signed_jacobian, evaluate_deletion, smooth_grad])
def test_calls_outside_jit_do_not_accumulate(call):
    weights, images = jnp.ones((1, 3)), jnp.ones((1, 2, 2, 1))

    def calls(count):
        for _ in range(count):
            jax.block_until_ready(call(apply_fn, weights, images))
        gc.collect()
        return len(gc.get_objects())

    warm = calls(1)
    assert calls(CALLS) - warm <= MOST_OBJECTS * CALLS
