"""Class activation maps at a named layer, against their definitions."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.ad_checkpoint import checkpoint_name

import signsal_jax
from signsal_jax import models, sharding
from signsal_jax.gradients import sharded_extrema
from tests import toys

SHAPE = (4, 8, 6, 2)


def stem(variables, images):
    return jax.nn.relu(toys._conv(images, variables["stem"], 2))


def head(variables, features):
    x = jax.nn.relu(toys._conv(features, variables["conv"], 1))
    return (x**2).mean((1, 2)) @ variables["head"]


def network(variables, images):
    @jax.jit  # as layers of a user's network often are
    def marked(images):
        return checkpoint_name(stem(variables, images), "stem")

    return head(variables, marked(checkpoint_name(images, "images")))


@pytest.fixture(scope="module")
def model():
    return toys.cnn_variables(0, 4, 2), toys.random_images(1, SHAPE)


def expected(model, combine):
    variables, images = model
    features = stem(variables, images)
    gradient = jax.vmap(jax.jacrev(lambda one: head(variables, one[None])[0]))(features)
    values = combine(np.asarray(gradient), np.asarray(features)[:, None])
    scaled = [jax.image.resize(v, (4, *SHAPE[1:3]), "linear", antialias=False) for v in values]
    return np.broadcast_to(np.stack(scaled)[..., None], (4, 4, *SHAPE[1:]))


CAMS = {
    "grad_cam": (
        signsal_jax.grad_cam("stem"),
        lambda g, f: (g.mean((2, 3), keepdims=True) * f).sum(-1),
    ),
    "hires_cam": (signsal_jax.hires_cam("stem"), lambda g, f: (g * f).sum(-1)),
    "layer_cam": (signsal_jax.layer_cam("stem"), lambda g, f: (np.maximum(g, 0) * f).sum(-1)),
}


@pytest.mark.parametrize("name", CAMS)
def test_maps_are_by_definition_everywhere(model, name):
    variables, images = model
    estimator, combine = CAMS[name]
    jacobian = expected(model, combine)
    mesh = sharding.make_mesh(jax.devices()[:4], class_devices=2)
    settings = {"estimator": estimator, "class_chunk": 3}

    @jax.jit
    def everything(variables, images):
        one = functools.partial(signsal_jax.class_extrema, network, variables, target=1, **settings)
        return (
            signsal_jax.signed_jacobian(network, variables, images, estimator=estimator),
            one(images),
            sharded_extrema(network, variables, images, mesh=mesh, target=1, **settings),
            jax.vmap(lambda image: one(image[None]).gradient[0])(images[:2]),
        )

    (logits, whole), *extrema, mapped = everything(variables, images)
    toys.assert_close(logits, network(variables, images))
    toys.assert_close(whole, jacobian)
    for found in extrema:
        toys.assert_close(found.gradient, jacobian[:, 1])
        toys.assert_close(found.highest, jacobian[:, [0, 2, 3]].max(1))
    toys.assert_close(mapped, jacobian[:2, 1])


def test_at_the_images_hires_cam_is_gradient_x_input(model):
    by_layer, by_input = (
        signsal_jax.class_extrema(network, *model, estimator=estimator).gradient
        for estimator in (signsal_jax.hires_cam("images"), signsal_jax.gradient_x_input())
    )
    wanted = jnp.broadcast_to(by_input.sum(-1, keepdims=True), by_input.shape)
    toys.assert_close(by_layer, wanted)


def test_the_networks_of_the_package_name_their_features():
    """What follows them is a mean and a linear layer, for which both maps are the same."""
    model = models.create("cnn", 3, in_features=1, key=jax.random.key(0))
    apply_fn, variables = signsal_jax.from_nnx(model)
    images = toys.random_images(0, (1, 48, 48, 1))

    @jax.jit
    def both(variables, images):
        return [
            signsal_jax.saliency_maps(
                apply_fn, variables, images, methods=["vanilla"], estimator=estimator
            ).maps["vanilla"]
            for estimator in (signsal_jax.grad_cam(), signsal_jax.hires_cam())
        ]

    grad, hires = both(variables, images)
    toys.assert_close(grad, hires)
    assert len(np.unique(np.asarray(grad).round(5))) > 4


@pytest.mark.usefixtures("no_typecheck")
@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("none", r"layer: expected one layer named 'none', got 0 \(names found: images, stem\)"),
        ("twice", "layer: expected one layer named 'twice', got 2"),
        ("flat", r"layer: expected the output of 'flat' to be \[b, h, w, c\], got \(4, 4\)"),
    ],
)
def test_layers_that_are_not_there(model, layer, message):
    def apply_fn(variables, images):
        if layer == "twice":
            images = checkpoint_name(checkpoint_name(images, "twice"), "twice")
        logits = network(variables, images)
        return checkpoint_name(logits, "flat") if layer == "flat" else logits

    with pytest.raises(ValueError, match=message):
        signsal_jax.saliency_maps(apply_fn, *model, estimator=signsal_jax.grad_cam(layer))
