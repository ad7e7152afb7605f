"""Other backward passes through ReLUs, against such passes written out by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import signsal_jax
from signsal_jax import models
from tests import toys
from tests.everywhere import assert_same_everywhere

CLASSES = 4
ESTIMATORS = {
    "guided": signsal_jax.guided_backprop(),
    "deconvnet": signsal_jax.deconvnet(),
    "rect": signsal_jax.rect_grad(60.0),
}
each_estimator = pytest.mark.parametrize("name", ESTIMATORS)


@pytest.fixture(scope="module")
def model():
    return toys.cnn_variables(0, CLASSES, 2), toys.random_images(1, (8, 8, 6, 2))


def passed(name, output, cotangent):
    if name == "guided":
        return cotangent * (output > 0) * (cotangent > 0)
    if name == "deconvnet":
        return cotangent * (cotangent > 0)
    importance = (output * cotangent).reshape(len(output), -1)
    threshold = np.percentile(importance, 60.0, axis=1).reshape(-1, 1, 1, 1)
    return cotangent * (output > 0) * (output * cotangent > threshold)


def by_hand(name, model):
    """The attributions `[b, k, h, w, c]`: each linear layer pulled back, each ReLU by its rule."""
    variables, images = model
    first, stem_back = jax.vjp(lambda x: toys._conv(x, variables["stem"], 2), images)
    hidden = jax.nn.relu(first)
    second, conv_back = jax.vjp(lambda x: toys._conv(x, variables["conv"], 1), hidden)
    features = jax.nn.relu(second)
    _, head_back = jax.vjp(lambda x: x.mean((1, 2)) @ variables["head"], features)
    rows = []
    for k in range(CLASSES):
        cotangent = head_back(jnp.broadcast_to(jnp.eye(CLASSES)[k], (len(images), CLASSES)))[0]
        cotangent = conv_back(jnp.asarray(passed(name, features, cotangent)))[0]
        rows.append(stem_back(jnp.asarray(passed(name, hidden, cotangent)))[0])
    return np.stack(rows, 1)


def found(name, apply_fn, model):
    return jax.jit(
        lambda estimator, variables, images: signsal_jax.signed_jacobian(
            apply_fn, variables, images, estimator=estimator
        )[1]
    )(ESTIMATORS[name], *model)


@each_estimator
def test_attributions_are_those_by_hand(model, name):
    expected = by_hand(name, model)
    toys.assert_close(found(name, toys.cnn, model), expected)
    plain = signsal_jax.signed_jacobian(toys.cnn, *model)[1]
    assert np.abs(expected - plain).max() > 0.1 * np.abs(expected).max()

    @jax.jit  # as parts of a user's network often are
    def other_spelling(variables, images):
        x = jnp.maximum(toys._conv(images, variables["stem"], 2), 0)
        x = jnp.maximum(0.0, toys._conv(x, variables["conv"], 1))
        return x.mean((1, 2)) @ variables["head"]

    toys.assert_close(found(name, other_spelling, model), expected)
    toys.assert_close(found(name, signsal_jax.accelerate(toys.cnn), model), expected)


@each_estimator
def test_one_estimator_gives_the_same_everywhere(model, name):
    assert_same_everywhere(toys.cnn, ESTIMATORS[name], *model, by_hand(name, model))


@each_estimator
def test_maps_can_be_differentiated(model, name):
    """Away from where a unit turns, the slope along a direction is that of differences."""
    variables, images = model

    def energy(step, direction):
        moved = jax.tree.map(lambda v, d: v + step * d, variables, direction)
        _, rows = signsal_jax.signed_jacobian(
            toys.cnn, moved, images[:1], estimator=ESTIMATORS[name]
        )
        return (rows**2).sum()

    with jax.enable_x64(True):
        variables = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), variables)
        images = jnp.asarray(images, jnp.float64)
        direction = jax.tree.map(jnp.sin, variables)
        slope = jax.grad(energy)(0.0, direction)
        eps = 1e-7
        difference = (energy(eps, direction) - energy(-eps, direction)) / (2 * eps)
    np.testing.assert_allclose(slope, difference, rtol=1e-4)


def test_networks_of_the_zoo():
    model = models.load("cnn-cifar10")
    images = toys.random_images(3, (2, 32, 32, 3))
    for name in ESTIMATORS:
        assert np.isfinite(found(name, model.apply_fn, (model.variables, images))).all()


@each_estimator
def test_relu6_stops_what_is_cut_off_above(model, name):
    """Scaled so that half of the units are above six, where no derivative passes."""
    variables, images = model
    large = {**variables, "stem": 20 * variables["stem"]}

    def network(activation):
        def apply_fn(variables, images):
            x = activation(toys._conv(images, variables["stem"], 2))
            return x.mean((1, 2)) @ variables["head"]

        return apply_fn

    def written_out(x):
        return jnp.where(x < 6, jax.nn.relu(x), 6.0)

    capped = found(name, network(jax.nn.relu6), (large, images))
    hidden = toys._conv(images, large["stem"], 2)
    assert 0.1 < float((hidden > 6).mean()) < 0.9
    if name != "rect":  # whose importance is that of the output before it is cut off
        toys.assert_close(capped, found(name, network(written_out), (large, images)))
    assert np.abs(capped - found(name, network(jax.nn.relu), (large, images))).max() > 0


def test_a_network_without_relus_is_named(model):
    variables, images = toys.mlp_variables(0, 3, 96), model[1]
    message = r"guided_backprop expected a network with ReLUs .*\(other activations: tanh\)"
    with pytest.raises(ValueError, match=message):
        signsal_jax.signed_jacobian(
            toys.mlp, variables, images, estimator=signsal_jax.guided_backprop()
        )


def test_relus_out_of_reach_are_named(model):
    def looped(variables, images):
        x, _ = jax.lax.scan(lambda x, _: (jax.nn.relu(x), None), images, length=2)
        return toys.cnn(variables, x)

    with pytest.raises(
        ValueError, match=r"deconvnet expected every ReLU outside of loops.*got 1 i"
    ):
        signsal_jax.signed_jacobian(looped, *model, estimator=signsal_jax.deconvnet())


@pytest.mark.parametrize("percentile", [-1.0, 100.5, float("nan")])
def test_wrong_percentiles(percentile):
    with pytest.raises(ValueError, match=r"percentile: expected .*got"):
        signsal_jax.rect_grad(percentile)
