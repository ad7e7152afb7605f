"""Flax NNX modules as pure functions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import signsal_jax
from tests import toys


class Regularized(nnx.Module):
    """Batch statistics, dropout and its generator, weights."""

    def __init__(self, rngs):
        self.norm = nnx.BatchNorm(12, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)
        self.linear = nnx.Linear(12, 3, rngs=rngs)

    def __call__(self, images):
        return self.linear(self.dropout(self.norm(images.reshape(len(images), -1))))


@pytest.fixture
def images():
    return toys.random_images(1, (4, 2, 2, 3))


def penalty(apply_fn, variables, images):
    saliency = signsal_jax.saliency_maps(apply_fn, variables, images, normalize=False)
    return saliency.maps["active"].mean()


def test_generators_are_no_variables(images):
    apply_fn, variables = signsal_jax.from_nnx(Regularized(nnx.Rngs(0)))
    leaves = jax.tree.leaves(variables)
    assert len(leaves) == 6
    assert all(jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in leaves)
    gradients = jax.jit(jax.grad(penalty, argnums=1), static_argnums=0)(apply_fn, variables, images)
    assert jax.tree.structure(gradients) == jax.tree.structure(variables)
    halved = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), variables)
    logits = apply_fn(halved, images.astype(jnp.bfloat16))
    np.testing.assert_allclose(logits, apply_fn(variables, images), atol=0.1)


def test_the_module_is_left_as_it_was(images):
    model = Regularized(nnx.Rngs(0))
    signsal_jax.from_nnx(model)
    assert not model.dropout.deterministic


def test_a_loss_of_the_module_differentiates_weights_alone(images):
    def loss(model):
        return penalty(*signsal_jax.from_nnx(model), images)

    model = Regularized(nnx.Rngs(0))
    gradients = nnx.jit(nnx.grad(loss))(model)
    apply_fn, variables = signsal_jax.from_nnx(model)
    expected = jax.jit(jax.grad(penalty, argnums=1), static_argnums=0)(apply_fn, variables, images)
    found = nnx.to_pure_dict(gradients)
    assert set(found["norm"]) == {"scale", "bias"}
    np.testing.assert_allclose(
        found["linear"]["kernel"], nnx.to_pure_dict(expected)["linear"]["kernel"], rtol=1e-5
    )


class Noisy(nnx.Module):
    """Draws at random in inference, too."""

    def __init__(self, rngs):
        self.linear = nnx.Linear(12, 3, rngs=rngs)
        self.rngs = rngs

    def __call__(self, images):
        logits = self.linear(images.reshape(len(images), -1))
        return logits + jax.random.normal(self.rngs.noise(), logits.shape)


def test_what_is_drawn_in_inference_is_a_pure_function(images):
    apply_fn, variables = signsal_jax.from_nnx(Noisy(nnx.Rngs(0)))
    first = apply_fn(variables, images)
    np.testing.assert_array_equal(apply_fn(variables, images), first)
    np.testing.assert_allclose(jax.jit(apply_fn)(variables, images), first, rtol=1e-5)
    assert signsal_jax.saliency_maps(apply_fn, variables, images).valid.all()


@pytest.mark.usefixtures("no_typecheck")
def test_only_modules():
    with pytest.raises(TypeError, match=r"model: expected a flax\.nnx\.Module, got function"):
        signsal_jax.from_nnx(toys.mlp)
