"""Contrasts between classes against the whole Jacobian, and the facts that the module states."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import signsal_jax
from signsal_jax import contrasts
from tests import toys

SHAPE = (4, 3, 2)
CLASSES = 4


@pytest.fixture(scope="module")
def network():
    return toys.mlp_variables(1, CLASSES, int(np.prod(SHAPE))), toys.random_images(2, (3, *SHAPE))


def oracle(variables, images):
    """The logits and the Jacobian `[b, k, h, w, c]` by the definition."""
    one = jax.jacrev(lambda image: toys.mlp(variables, image[None])[0])
    return toys.mlp(variables, images), jax.vmap(one)(images)


def weights_by_hand(logits, target, against):
    weights = np.zeros(logits.shape)
    for row, (scores, own) in enumerate(zip(np.asarray(logits, np.float64), target, strict=True)):
        others = [s for s in range(CLASSES) if s != own]
        if against == "max":
            weights[row, max(others, key=lambda s: scores[s])] = 1
        elif against == "mean":
            weights[row, others] = 1 / (CLASSES - 1)
        else:
            weights[row, others] = np.exp(scores[others]) / np.exp(scores[others]).sum()
    return weights


@pytest.mark.parametrize("against", contrasts.CONTRASTS)
@pytest.mark.parametrize("strength", [1.0, 0.5])
def test_a_contrast_is_that_of_the_whole_jacobian(network, against, strength):
    logits, jacobian = oracle(*network)
    target = [2, 0, 3]
    weights = weights_by_hand(logits, target, against)
    rivals = np.einsum("bk,bkhwc->bhwc", weights, jacobian)
    expected = np.asarray(jacobian)[np.arange(3), target] - strength * rivals
    found = jax.jit(
        lambda v, x: signsal_jax.class_contrast(
            toys.mlp, v, x, target=np.asarray(target), against=against, strength=strength
        )
    )(*network)
    np.testing.assert_allclose(found.gradient, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.logits, logits, rtol=1e-6)


def test_log_softmax_is_the_weighted_contrast_times_one_minus_p(network, x64):
    variables, images = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), network)

    def log_p(image, own):
        return jax.nn.log_softmax(toys.mlp(variables, image[None])[0])[own]

    contrast = signsal_jax.class_contrast(toys.mlp, variables, images)
    p = jax.nn.softmax(contrast.logits)[jnp.arange(3), contrast.target]
    expected = jax.vmap(jax.grad(log_p))(images, contrast.target)
    found = (1 - p).reshape(-1, 1, 1, 1) * contrast.gradient
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_where_softmax_underflows_the_contrast_does_not():
    """Logits 200 apart: in float32 p_t is 1, and the gradients of p_t and log p_t are zero."""
    rng = np.random.default_rng(0)
    variables = (
        jnp.asarray(rng.standard_normal((3, 2, 2, 1)), jnp.float32),
        jnp.array([200.0, 0, 0]),
    )
    images = jnp.full((1, 2, 2, 1), 0.5)
    explain = {
        output: signsal_jax.saliency_maps(
            toys.linear, variables, images, methods=["vanilla"], output=output, normalize=False
        ).maps["vanilla"]
        for output in ("softmax", "log_softmax")
    }
    assert not explain["softmax"].any()
    assert not explain["log_softmax"].any()
    assert signsal_jax.class_contrast(toys.linear, variables, images).gradient.all()


def test_a_function_added_to_all_logits_changes_vanilla_and_no_contrast(network):
    variables, images = network

    def with_addition(variables, images):
        added = 10 * jnp.sin(20 * images).sum((1, 2, 3))
        return toys.mlp(variables, images) + added[:, None]

    for against in contrasts.CONTRASTS:
        plain, changed = (
            signsal_jax.class_contrast(fn, variables, images, against=against).gradient
            for fn in (toys.mlp, with_addition)
        )
        np.testing.assert_allclose(changed, plain, atol=1e-4)
    before, after = (
        signsal_jax.saliency_maps(fn, variables, images, methods=["vanilla"], normalize=False)
        for fn in (toys.mlp, with_addition)
    )
    assert (after.maps["vanilla"] > 10 * before.maps["vanilla"]).mean() > 0.9


def test_active_and_inactive_are_where_every_contrast_agrees(network):
    variables, images = network
    extrema = signsal_jax.class_extrema(toys.mlp, variables, images)
    margins = (extrema.gradient - extrema.highest, extrema.lowest - extrema.gradient)
    for against in contrasts.CONTRASTS:
        contrast = signsal_jax.class_contrast(toys.mlp, variables, images, against=against).gradient
        # Beyond rounding, which the exact cases of test_properties do without.
        active, inactive = (margin > 1e-5 for margin in margins)
        assert active.any()
        assert inactive.any()
        assert (contrast[active] > 0).all()
        assert (contrast[inactive] < 0).all()


def test_weights_carry_no_derivative(network):
    _, images = network

    def size(images):
        return jnp.square(signsal_jax.class_contrast(toys.linear, linear, images).gradient).sum()

    linear = (
        jnp.asarray(np.random.default_rng(3).standard_normal((4, *SHAPE)), jnp.float32),
        jnp.zeros(4),
    )
    # The gradient of a linear network is constant, and so is its contrast with constant weights.
    assert not jax.grad(size)(images).any()


def test_maps_of_a_contrast_are_those_of_its_signs(network):
    contrast = signsal_jax.class_contrast(toys.mlp, *network)
    saliency = signsal_jax.maps_from_extrema(
        contrast, methods=["positive", "negative"], normalize=False
    )
    np.testing.assert_array_equal(
        saliency.maps["negative"], np.maximum(-np.asarray(contrast.gradient), 0).max(-1)
    )
    assert saliency.valid.all()


def test_smooth_contrast_is_the_contrast_of_smooth_gradients(network):
    smooth = signsal_jax.smooth_grad(jax.random.key(0), samples=3, noise=0.2)
    _, rows = signsal_jax.signed_jacobian(toys.mlp, *network, estimator=smooth)
    found = signsal_jax.class_contrast(
        toys.mlp, *network, target=1, against="mean", estimator=smooth
    )
    others = [0, 2, 3]
    np.testing.assert_allclose(
        found.gradient, rows[:, 1] - rows[:, others].mean(1), rtol=1e-4, atol=1e-6
    )


def test_wrong_arguments(network):
    with pytest.raises(ValueError, match="against: expected one of weighted, mean, max; got 'all'"):
        signsal_jax.class_contrast(toys.mlp, *network, against="all")

    class Squared:
        name, linear = "squared", False

        def __call__(self, apply_fn, variables, images, /, *, output, precision):
            raise AssertionError("not reached")

    with pytest.raises(ValueError, match="which class_contrast needs, got squared"):
        signsal_jax.class_contrast(toys.mlp, *network, estimator=Squared())
