"""FullGrad: all parts add up to the score; the authors' map by its definition."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import signsal_jax
from signsal_jax import gradients
from tests import toys
from tests.everywhere import assert_same_everywhere
from tests.test_lrp import model, one_layer, pooled

__all__ = ["model"]


def attributions_of(apply_fn, variables, images, **settings):
    """For class 1 of every image, and its score."""
    logits, pullback = signsal_jax.full_grad(**settings)(apply_fn, variables, images)
    one_hot = jax.nn.one_hot(jnp.ones(len(images), int), logits.shape[1])
    return pullback(one_hot), logits[:, 1]


def test_all_parts_add_up_to_the_score(model):
    variables, images = model
    variables = variables | {"dense_bias": 0 * variables["dense_bias"]}  # without a position

    def preprocessed(variables, images):
        return pooled(variables, (images - 0.5) / 0.25)

    attributions, score = attributions_of(preprocessed, variables, images)
    assert (attributions[..., :1] == attributions).all()
    toys.assert_close(attributions[..., 0].sum((1, 2)), score)
    gradient = jax.grad(lambda images: preprocessed(variables, images)[:, 1].sum())(images)
    assert np.abs((images * gradient).sum((1, 2, 3)) - score).max() > 0.1 * np.abs(score).max()


def test_the_authors_map(model):
    variables, images = model
    first = toys._conv(images, variables["stem"], 2) + variables["stem_bias"]
    tail = {"stem_bias": 0 * variables["stem_bias"], "dense": variables["dense"]}

    def behind(first):
        x = jax.lax.reduce_window(
            jax.nn.relu(first), -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 1, 1, 1), "SAME"
        )
        return (x.mean((1, 2)) @ tail["dense"])[:, 1].sum()

    def scaled(parts):
        parts = np.abs(parts)
        parts = parts - parts.min((1, 2, 3), keepdims=True)
        return (parts / (parts.max((1, 2, 3), keepdims=True) + 1e-6)).sum(-1, keepdims=True)

    by_image = jax.grad(lambda images: one_layer(variables, images)[:, 1].sum())(images)
    inner = scaled(variables["stem_bias"] * jax.grad(behind)(first))
    shape = (*images.shape[:3], 1)
    expected = scaled(images * by_image) + jax.image.resize(inner, shape, "linear", False)
    attributions, _ = attributions_of(one_layer, variables, images, signed=False)
    toys.assert_close(attributions, jnp.broadcast_to(expected, images.shape))
    unsigned = signsal_jax.full_grad(signed=False)
    assert not gradients.has_sign(unsigned)
    assert not unsigned.linear


def test_one_estimator_gives_the_same_everywhere(model):
    estimator = signsal_jax.full_grad()
    logits, pullback = estimator(one_layer, *model)
    one_hots = jnp.broadcast_to(jnp.eye(5)[:, None], (5, *logits.shape))
    rows = jnp.stack([pullback(one) for one in one_hots], 1)
    assert_same_everywhere(one_layer, estimator, *model, rows)


def test_loops_hide_biases(model):
    def looped(variables, images):
        x, _ = jax.lax.scan(lambda x, _: (x + 1.0, None), images, length=2)
        return one_layer(variables, x)

    with pytest.raises(ValueError, match=r"full_grad expected all biases outside of loops .* scan"):
        attributions_of(looped, *model)
