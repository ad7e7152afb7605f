"""Layer-wise relevance propagation: closed forms, and rules written out in NumPy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import signsal_jax
from signsal_jax import gradients
from tests import toys

CLASSES = 3


def pooled(variables, images):
    """Convolutions, a residual, max- and average-pooling, a dense layer; biases where there are."""
    conv = toys._conv
    x = conv(images, variables["stem"], 1) + variables["stem_bias"]
    x = jax.nn.relu(x)
    x = x + jax.nn.relu(conv(x, variables["conv"], 1) - variables["conv_bias"])
    x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
    hidden = jnp.maximum(x.mean((1, 2)) @ variables["dense"] + variables["dense_bias"], 0)
    return hidden @ variables["head"]


@pytest.fixture(scope="module")
def model():
    rng = np.random.default_rng(0)
    shapes = {
        "stem": (3, 3, 2, 4),
        "conv": (3, 3, 4, 4),
        "dense": (4, 5),
        "head": (5, CLASSES),
        "stem_bias": (1, 1, 1, 4),
        "conv_bias": (1, 1, 1, 4),
        "dense_bias": (1, 5),
    }
    variables = {name: jnp.asarray(0.4 * rng.standard_normal(s)) for name, s in shapes.items()}
    return variables, toys.random_images(1, (8, 6, 4, 2))


def without_biases(variables):
    return {name: x * ("bias" not in name) for name, x in variables.items()}


@functools.partial(jax.jit, static_argnums=0)
def found(apply_fn, variables, images, estimator):
    return signsal_jax.signed_jacobian(apply_fn, variables, images, estimator=estimator)[1]


@pytest.mark.parametrize("biases", [False, True])
def test_lrp_0_is_gradient_x_input(model, biases):
    variables, images = model
    variables = variables if biases else without_biases(variables)
    relevance = found(pooled, variables, images, signsal_jax.lrp("epsilon", epsilon=0.0))
    expected = images[:, None] * toys.oracle_jacobian(pooled, variables, images)
    toys.assert_close(relevance, expected, 2e-5)


@pytest.mark.parametrize("rules", gradients.LRP_RULES)
def test_without_biases_relevance_adds_up_to_the_score(model, rules):
    variables, images = without_biases(model[0]), model[1]
    relevance = found(pooled, variables, images, signsal_jax.lrp(rules))
    assert np.isfinite(relevance).all()
    toys.assert_close(relevance.sum((2, 3, 4)), pooled(variables, images), 1e-3)
