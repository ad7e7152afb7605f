"""Classifiers small enough to know everything about, as plain functions of variables and images."""

import functools

import jax
import jax.numpy as jnp
import numpy as np


def linear(variables, images):
    """Scores `<weights_c, image> + bias_c`: the Jacobian is the weights `[k, h, w, c]`."""
    weights, bias = variables
    return jnp.einsum("bhwc,khwc->bk", images, weights) + bias[None]


def quadratic(weights, images):
    """Scores `<weights_c, image²> / 2`: Jacobian weights · image, second derivative weights."""
    return jnp.einsum("bhwc,khwc->bk", images**2, weights) / 2


def mlp(variables, images):
    """A hidden layer with tanh: smooth, and quick to compile."""
    hidden = jnp.tanh(images.reshape(images.shape[0], -1) @ variables["hidden"])
    return hidden @ variables["head"]


def mlp_variables(seed, num_classes, pixels, width=5):
    rng = np.random.default_rng(seed)
    return {
        "hidden": jnp.asarray(
            rng.standard_normal((pixels, width), np.float32) / np.float32(np.sqrt(pixels))
        ),
        "head": jnp.asarray(rng.standard_normal((width, num_classes), np.float32)),
    }


def random_images(seed, shape):
    return jnp.asarray(np.random.default_rng(seed).random(shape, np.float32))


def cnn_variables(seed, num_classes, channels, width=6):
    rng = np.random.default_rng(seed)

    def normal(*shape):
        fan_in = np.prod(shape[:-1])
        return jnp.asarray(rng.standard_normal(shape, np.float32) / np.float32(np.sqrt(fan_in)))

    return {
        "stem": normal(3, 3, channels, width),
        "conv": normal(3, 3, width, width),
        "head": normal(width, num_classes),
    }


def _conv(x, kernel, strides):
    return jax.lax.conv_general_dilated(
        x, kernel, (strides, strides), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def cnn(variables, images):
    """Two convolutions with relu, average pool, linear."""
    x = jax.nn.relu(_conv(images, variables["stem"], 2))
    x = jax.nn.relu(_conv(x, variables["conv"], 1))
    return x.mean((1, 2)) @ variables["head"]


@functools.partial(jax.jit, static_argnums=0)
def oracle_jacobian(apply_fn, variables, images):
    """The definition: `jacrev` of one image's logits, mapped over the batch."""

    def logits(image):
        return apply_fn(variables, image[None])[0]

    return jax.vmap(jax.jacrev(logits))(images)


def counted(apply_fn):
    """`apply_fn` and two counters: `[traces, runs]`; call `jax.effects_barrier` before reading."""
    counts = [0, 0]

    def ran():
        counts[1] += 1

    def counting(variables, images):
        counts[0] += 1
        jax.debug.callback(ran)
        return apply_fn(variables, images)

    return counting, counts


def assert_close(actual, expected, tolerance=1e-5):
    """Equal up to a tolerance relative to the largest absolute value expected."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape
    largest = max(np.abs(expected).max(), np.finfo(np.float32).tiny)
    np.testing.assert_array_less(np.abs(actual - expected) / largest, tolerance)
