"""Layer-wise relevance propagation: closed forms. Other libraries: see test_attribution_parity.

Mostly outside of jit, so that all rules share each compiled operation.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import signsal_jax
from signsal_jax import gradients
from tests import toys
from tests.everywhere import assert_same_everywhere

CLASSES = 3


def pooled(variables, images):
    """Convolutions, a residual, max- and average-pooling, dense layers; biases where there are."""
    conv = toys._conv
    x = jax.nn.relu(conv(images, variables["stem"], 1) + variables["stem_bias"])
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
    variables = {
        name: jnp.asarray(0.4 * rng.standard_normal(shape), jnp.float32)
        for name, shape in shapes.items()
    }
    return variables, toys.random_images(1, (8, 6, 4, 2))


def without_biases(variables):
    return {name: x * ("bias" not in name) for name, x in variables.items()}


def relevance_of(apply_fn, variables, images, *settings, **named):
    """The relevance for class 1 of every image, and its score."""
    logits, pullback = signsal_jax.lrp(*settings, **named)(apply_fn, variables, images)
    one_hot = jax.nn.one_hot(jnp.ones(len(images), int), logits.shape[1])
    return pullback(one_hot), logits[:, 1]


@pytest.mark.parametrize("biases", [False, True])
def test_lrp_0_is_gradient_x_input(model, biases):
    variables, images = model
    variables = variables if biases else without_biases(variables)
    relevance, _ = relevance_of(pooled, variables, images, "epsilon", epsilon=0.0)
    gradient = jax.grad(lambda images: pooled(variables, images)[:, 1].sum())(images)
    toys.assert_close(relevance, images * gradient, 2e-5)


@pytest.mark.parametrize("rules", gradients.LRP_RULES)
def test_without_biases_relevance_adds_up_to_the_score(model, rules):
    relevance, score = relevance_of(pooled, without_biases(model[0]), model[1], rules)
    toys.assert_close(relevance.sum((1, 2, 3)), score, 1e-3)


@pytest.mark.parametrize("rules", ["z_plus", "gamma", "alpha_beta"])
def test_a_batch_norm_is_part_of_its_convolution(model, rules):
    """Also where its factor is negative, which turns the signs of the weights."""
    variables, images = model
    factor = jnp.asarray([0.5, -2.0, 1.5, -0.1]).reshape(1, 1, 1, -1)
    mean, bias = variables["stem_bias"], variables["conv_bias"]
    head = variables["head"][:4]

    def normalized(kernel, images):
        x = (toys._conv(images, kernel, 1) - mean) * factor + bias
        return jax.nn.relu(x).mean((1, 2)) @ head

    def merged(kernel, images):
        x = toys._conv(images, kernel * factor, 1) + (bias - mean * factor)
        return jax.nn.relu(x).mean((1, 2)) @ head

    images = images - 0.5
    found, expected = (
        relevance_of(apply_fn, variables["stem"], images, rules)[0]
        for apply_fn in (normalized, merged)
    )
    toys.assert_close(found, expected)


def test_preprocessing_lets_relevance_pass(model):
    """Counted from the pixel that it maps to zero, and the box in pixels becomes one behind it."""
    variables, images = model

    def preprocessed(variables, images):
        return pooled(variables, (images - 0.5) / 0.25)

    found, _ = relevance_of(preprocessed, variables, images, "epsilon", epsilon=0.0)
    gradient = jax.grad(lambda images: preprocessed(variables, images)[:, 1].sum())(images)
    toys.assert_close(found, (images - 0.5) * gradient, 2e-5)


def test_relevance_of_probabilities_starts_as_gradient_times_logit(model):
    variables, images = model
    logits, pullback = signsal_jax.lrp("epsilon", epsilon=0.0)(
        pooled, variables, images, output="softmax"
    )
    one_hot = jax.nn.one_hot(jnp.ones(len(images), int), logits.shape[1])
    probability = jax.grad(lambda x: jax.nn.softmax(pooled(variables, x))[:, 1].sum())(images)
    toys.assert_close(pullback(one_hot), images * probability, 2e-5)


def one_layer(variables, images):
    x = jax.nn.relu(toys._conv(images, variables["stem"], 2) + variables["stem_bias"])
    x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 1, 1, 1), "SAME")
    return x.mean((1, 2)) @ variables["dense"]


def test_one_estimator_gives_the_same_everywhere(model):
    estimator = signsal_jax.lrp("z_plus")
    logits, pullback = estimator(one_layer, *model)
    one_hots = jnp.broadcast_to(jnp.eye(5)[:, None], (5, *logits.shape))
    rows = jnp.stack([pullback(one) for one in one_hots], 1)
    assert_same_everywhere(one_layer, estimator, *model, rows)


def test_maps_can_be_differentiated():
    weights = jnp.asarray([[0.4, -0.7], [0.3, 0.9]])
    images = toys.random_images(2, (1, 1, 2, 1))

    def energy(step):
        def apply_fn(variables, images):
            return jax.nn.relu(images.reshape(1, -1) @ variables) @ weights

        relevance, _ = relevance_of(apply_fn, weights + step, images, "z_plus")
        return (relevance**2).sum()

    difference = (energy(1e-3) - energy(-1e-3)) / 2e-3
    np.testing.assert_allclose(jax.grad(energy)(0.0), difference, rtol=1e-2)


def test_an_operation_without_a_rule_is_named(model):
    def squared(variables, images):
        return pooled(variables, images * images)

    def sorted_(variables, images):
        return jnp.sort(pooled(variables, images), axis=1)

    message = "every operation between .*, got mul of 2 values that depend on the images without"
    with pytest.raises(ValueError, match=message):
        relevance_of(squared, *model)
    with pytest.raises(ValueError, match=r'got sort without one: .*register_lrp_rule\("sort", r'):
        relevance_of(sorted_, *model)


def test_a_rule_can_be_registered(model):
    def rounded(variables, images):
        return jax.lax.round(pooled(variables, images) * 1e4) * 1e-4

    gradients.register_lrp_rule("round", "passed")
    found, _ = relevance_of(rounded, *model)
    expected, _ = relevance_of(pooled, *model)
    toys.assert_close(found, expected, 1e-3)
