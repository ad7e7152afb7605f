"""One-logit classifiers as two-class ones."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import signsal_jax
from tests import toys


def sigmoid_logit(variables, images):
    return toys.mlp(variables, images)[:, 0]


@pytest.mark.parametrize("shape", [(), (1,)])
def test_it_explains_what_the_sigmoid_says(shape):
    variables, images = toys.mlp_variables(0, 1, 24), toys.random_images(1, (3, 3, 4, 2))

    def one(variables, images):
        return sigmoid_logit(variables, images).reshape(-1, *shape)

    apply_fn = signsal_jax.two_class(one)
    logit = sigmoid_logit(variables, images)
    probability = jax.nn.sigmoid(logit)
    toys.assert_close(
        jax.nn.softmax(apply_fn(variables, images)), jnp.stack([1 - probability, probability], 1)
    )
    saliency = signsal_jax.saliency_maps(
        apply_fn, variables, images, output="log_softmax", normalize=False, channel="none"
    )
    np.testing.assert_array_equal(saliency.target, logit > 0)
    gradient = jax.grad(lambda x: sigmoid_logit(variables, x).sum())(images)
    # d log p_1 = (1 - p) dz and d log p_0 = -p dz.
    factor = jnp.where(logit > 0, 1 - probability, -probability)
    expected = factor[:, None, None, None] * gradient
    toys.assert_close(saliency.maps["vanilla"], expected)
    toys.assert_close(saliency.maps["active"], jnp.maximum(expected, 0))


def test_equal_classifiers_compile_once():
    assert signsal_jax.two_class(sigmoid_logit) == signsal_jax.two_class(sigmoid_logit)
    assert hash(signsal_jax.two_class(sigmoid_logit)) == hash(signsal_jax.two_class(sigmoid_logit))


@pytest.mark.usefixtures("no_typecheck")
@pytest.mark.parametrize("shape", [(), (1,)])
def test_the_error_of_one_logit_names_it(shape):
    def one(variables, images):
        return images.sum((1, 2, 3)).reshape(-1, *shape)

    with pytest.raises(ValueError, match=r"pass signsal_jax\.two_class\(apply_fn\)"):
        signsal_jax.saliency_maps(one, (), jnp.ones((2, 3, 4, 1)))


def test_two_logits_are_not_one():
    with pytest.raises(ValueError, match=r"expected one logit per image, .* got \(2, 3\)"):
        signsal_jax.two_class(toys.mlp)(toys.mlp_variables(0, 3, 24), jnp.ones((2, 3, 4, 2)))
