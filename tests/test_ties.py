"""Exact zeros and exact ties: what the fast layers promise, bit for bit, beyond rounding."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given, settings, strategies as st

from signsal_jax import accelerate, nn, signed_jacobian
from tests.test_nn import CONVOLUTIONS, FORMS, own_convolution, own_pool

PRECISIONS = {"float32": np.float32, "float64": np.float64}


def drawings(rng, shape, dtype):
    """Flat rectangles on flat ground, some of them zero in every channel; most images alike."""
    batch, height, width, channels = shape
    images = np.empty(shape, dtype)
    for image in images:
        image[:] = rng.normal(size=channels) * rng.integers(2)
        for _ in range(3):
            top, left = rng.integers(height), rng.integers(width)
            bottom, right = top + rng.integers(1, height + 1), left + rng.integers(1, width + 1)
            image[top:bottom, left:right] = rng.normal(size=channels) * rng.integers(2)
    images[1:] = np.where(rng.random((batch - 1, 1, 1, 1)) < 0.6, images[:1], images[1:])
    return images


def windows(images, size, strides, sides):
    """Every window of the images, padded (or cropped) on each side: `[b, h, w, window]`."""
    padded = np.pad(images, ((0, 0), *[(max(a, 0), max(b, 0)) for a, b in sides], (0, 0)))
    (top, bottom), (left, right) = [(max(-a, 0), max(-b, 0)) for a, b in sides]
    padded = padded[:, top : padded.shape[1] - bottom, left : padded.shape[2] - right]
    shape = (size, size) if isinstance(size, int) else size
    views = np.lib.stride_tricks.sliding_window_view(padded, shape, axis=(1, 2))
    views = views[:, ::strides, ::strides]
    return views.reshape(*views.shape[:3], -1) + 0.0  # no negative zeros


def assert_rules(outputs, windows, *, anywhere=True):
    """Zero windows give zeros; equal windows equal bits, `anywhere` or at the same position."""
    batch, height, width, _ = windows.shape
    assert outputs.shape[:3] == (batch, height, width)
    outputs = np.asarray(outputs).reshape(batch * height * width, -1)
    if not anywhere:
        places = np.broadcast_to(np.arange(height * width), (batch, height * width))
        places = places.reshape(batch, height, width, 1).astype(windows.dtype)
        numbered = np.concatenate([windows, places], axis=-1)
    else:
        numbered = windows
    rows = np.ascontiguousarray(numbered.reshape(len(outputs), -1))
    _, first, kind = np.unique(
        rows.view((np.void, rows[0].nbytes)).ravel(), return_index=True, return_inverse=True
    )
    np.testing.assert_array_equal(outputs, outputs[first[kind]])
    zero = ~windows.reshape(len(outputs), -1).any(axis=1)
    np.testing.assert_array_equal(outputs[zero], 0)


def settings_of(name):
    batch, height, width, channels, features, window, strides, padding, groups = CONVOLUTIONS[name]
    shape = (max(batch, 5), height, width, channels)
    return shape, features, window, strides, padding, groups


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize(
    ("name", "exact_ties"), [*((name, True) for name in FORMS), ("winograd", False)]
)
def test_convolutions_keep_zeros_and_ties(name, exact_ties, precision):
    """Forward, pullback, and the pullback's own derivative in the direction of another kernel."""
    dtype = PRECISIONS[precision]
    shape, features, window, strides, padding, groups = settings_of(name)
    rng = np.random.default_rng(0)
    with jax.enable_x64(dtype == np.float64):
        images = drawings(rng, shape, dtype)
        kernel, other = rng.normal(size=(2, window, window, shape[3] // groups, features))
        kernel, other = (np.asarray(k / window, dtype) for k in (kernel, other))

        def convolve(images, kernel):
            shape = {"strides": strides, "padding": padding, "groups": groups}
            return nn.conv2d(images, kernel, **shape, exact_ties=exact_ties)

        outputs_shape = jax.eval_shape(convolve, images, kernel).shape
        cotangent = drawings(rng, outputs_shape, dtype)

        def pullback(kernel):
            return jax.vjp(lambda x: convolve(x, kernel), images)[1](cotangent)[0]

        @jax.jit
        def everything(images, kernel, other):
            return convolve(images, kernel), *jax.jvp(pullback, (kernel,), (other,))

        outputs, gradient, slope = everything(images, kernel, other)
    sides = ((padding, padding),) * 2
    assert_rules(outputs, windows(images, window, strides, sides), anywhere=exact_ties)
    spread = np.zeros(
        (len(images), *[(n - 1) * strides + 1 for n in outputs_shape[1:3]], features), dtype
    )
    spread[:, ::strides, ::strides] = cotangent
    sides = [
        (window - 1 - padding, n + padding - m)
        for n, m in zip(shape[1:3], spread.shape[1:3], strict=True)
    ]
    for found in (gradient, slope):
        assert_rules(found, windows(spread, window, 1, sides), anywhere=exact_ties)


def pictures(size):
    """What users have beside photos: an empty page, two colors, a digit, a screenshot."""
    constant = np.full((size, size), 0.6)
    two = np.where(np.arange(size)[:, None] // 3 % 2, 0.2, 0.9) * np.ones((1, size))
    digit = np.zeros((size, size))
    digit[3:5, 4:15] = 1.0
    for row in range(5, size - 3):
        digit[row, 14 - (row - 5) // 2 - 1 : 14 - (row - 5) // 2 + 1] = 1.0
    screenshot = np.full((size, size), 1.0)
    screenshot[:4] = 0.3
    screenshot[6:12, 2:9], screenshot[6:12, 11:18], screenshot[14:18, 2:18] = 0.8, 0.8, 0.0
    return np.stack([constant, two, digit, screenshot])[..., None]


def own_conv2d(images, kernel, *, strides=1, padding=0, exact_ties=True):
    return own_convolution(images, kernel, strides=strides, padding=padding, groups=1)


def own_max_pool(images, *, window, strides, padding=0):
    return own_pool(images, window=window, strides=strides, padding=padding)


def block(conv2d, images, layer, **settings):
    """Convolution, bias, batch normalization and ReLU."""
    x = conv2d(images, layer["kernel"], **settings) + layer["bias"]
    return jax.nn.relu(x * layer["scale"] - layer["shift"])


def digits_network(conv2d, max_pool, layers, images):
    x = block(conv2d, images, layers[0], padding=1)
    x = block(conv2d, x, layers[1], padding=1)
    x = max_pool(x, window=2, strides=2)
    x = block(conv2d, x, layers[2], padding=1)
    x = max_pool(x, window=3, strides=2, padding=1)
    x = block(conv2d, x, layers[3], padding=1, exact_ties=False)
    return x.mean((1, 2)) @ layers[4]["kernel"][0, 0]


def overlapping_network(conv2d, max_pool, layers, images):
    x = block(conv2d, images, layers[0], strides=2, padding=1)
    x = max_pool(x, window=3, strides=1, padding=1)
    x = block(conv2d, x, layers[1], padding=0)
    x = block(conv2d, x, layers[2], padding=1)
    x = max_pool(x, window=2, strides=1)
    x = block(conv2d, x, layers[3], strides=2, padding=1, exact_ties=False)
    return x.mean((1, 2)) @ layers[4]["kernel"][0, 0]


@pytest.fixture(scope="module")
def layers():
    rng = np.random.default_rng(3)
    widths = ((3, 1, 32), (3, 32, 32), (3, 32, 32), (3, 32, 32), (1, 32, 4))
    return [
        {
            "kernel": rng.normal(size=(window, window, i, o)) / window / np.sqrt(i),
            "bias": 0.1 * rng.normal(size=(1, 1, 1, o)),
            "scale": rng.uniform(0.5, 2, size=(1, 1, 1, o)),
            "shift": 0.1 * rng.normal(size=(1, 1, 1, o)),
        }
        for window, i, o in widths
    ]


def jacobian(apply_fn, layers, images, dtype):
    with jax.enable_x64(dtype == np.float64):
        layers, images = jax.tree.map(lambda a: jnp.asarray(a, dtype), (layers, images))
        return np.asarray(jax.jit(functools.partial(signed_jacobian, apply_fn))(layers, images)[0])


def by_layers(network):
    return functools.partial(network, nn.conv2d, nn.max_pool)


def by_accelerate(network):
    return accelerate(functools.partial(network, own_conv2d, own_max_pool))


@pytest.mark.parametrize(
    ("network", "fast"), [(digits_network, by_accelerate), (overlapping_network, by_layers)]
)
def test_gradients_of_pictures_with_flat_areas_are_jaxs_own(network, fast, layers):
    """Signs wherever double precision says that a gradient is above rounding, and zeros."""
    images = pictures(20)
    own = functools.partial(network, own_conv2d, own_max_pool)
    expected = jacobian(own, layers, images, np.float64)
    found = jacobian(fast(network), layers, images, np.float32)
    largest = np.abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * largest)
    np.testing.assert_array_equal(found == 0, expected == 0)
    above = np.abs(expected) > 1e-5 * largest
    np.testing.assert_array_equal(np.sign(found[above]), np.sign(expected[above]))


def test_classes_that_are_alike_have_bit_equal_gradients(layers):
    """In every image of a batch, in pairs of classes and in the one that is left over."""
    head = layers[4]["kernel"]
    alike = [*layers[:4], {"kernel": np.concatenate([head[..., :1]] * 3, axis=-1)}]
    apply_fn = functools.partial(digits_network, nn.conv2d, nn.max_pool)
    images = np.repeat(pictures(20)[2:], 3, axis=0)
    found = jacobian(apply_fn, alike, images, np.float32)
    assert found.any()
    np.testing.assert_array_equal(found, np.broadcast_to(found[:, :1], found.shape))
    np.testing.assert_array_equal(found, np.repeat(found[::3], 3, axis=0))


@settings(max_examples=5)  # each of them compiles
@given(
    batch=st.integers(1, 5),
    size=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    widths=st.tuples(st.sampled_from([1, 3, 16, 33]), st.sampled_from([2, 32])),
    window=st.tuples(st.integers(1, 5), st.integers(1, 5)) | st.just((3, 3)),
    strides=st.integers(1, 3),
    padding=st.integers(0, 3),
    exact_ties=st.booleans(),
)
def test_convolutions_of_any_shape(batch, size, widths, window, strides, padding, exact_ties):
    assume(all(n + 2 * padding >= taps for n, taps in zip(size, window, strict=True)))
    rng = np.random.default_rng(0)
    images = drawings(rng, (batch, *size, widths[0]), np.float32)
    kernel = np.asarray(rng.normal(size=(*window, *widths)) / max(window), np.float32)

    @functools.partial(jax.jit, static_argnums=0)
    def both(convolve, images, kernel):
        outputs, pullback = jax.vjp(convolve, images, kernel)
        return outputs, *pullback(jnp.where(outputs > 0, outputs, 0))

    shape = {"strides": strides, "padding": padding}
    convolve = functools.partial(nn.conv2d, **shape, exact_ties=exact_ties)
    actual = both(convolve, images, kernel)
    expected = both(functools.partial(own_convolution, **shape, groups=1), images, kernel)
    for found, wanted in zip(actual, expected, strict=True):
        largest = float(jnp.abs(wanted).max(initial=0))
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5 * largest)
    sides = ((padding, padding),) * 2
    assert_rules(actual[0], windows(images, window, strides, sides), anywhere=exact_ties)


def test_padding_never_wins_against_minus_infinity():
    """As in torch, the first pixel of the window; XLA's own may lose the gradient to padding."""
    images = jnp.full((1, 3, 3, 1), -jnp.inf)
    gradient = jax.grad(lambda x: nn.max_pool(x, window=3, strides=2, padding=1).sum())(images)
    assert gradient[0, :, :, 0].tolist() == [[1, 1, 0], [1, 1, 0], [0, 0, 0]]


def test_windows_that_fit_nowhere_are_named():
    images, kernel = jnp.ones((1, 2, 2, 1)), jnp.ones((5, 5, 1, 1))
    for call in (
        lambda: nn.max_pool(images, window=5, strides=1, padding=1),
        lambda: nn.conv2d(images, kernel, padding=1),
    ):
        with pytest.raises(
            ValueError, match=r"expected at least 5 rows and 5 columns.*got 4 and 4"
        ):
            call()
