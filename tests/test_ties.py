"""Exact zeros and exact ties: what the fast layers promise, bit for bit, beyond rounding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from signsal_jax import nn
from tests.test_nn import CONVOLUTIONS, FORMS

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
    views = np.lib.stride_tricks.sliding_window_view(padded, (size, size), axis=(1, 2))
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
    assert len(first) < len(rows)


def settings_of(name):
    batch, height, width, channels, features, window, strides, padding, groups = CONVOLUTIONS[name]
    shape = (max(batch, 5), height, width, channels)
    return shape, features, window, strides, padding, groups


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", FORMS)
def test_convolutions_keep_zeros_and_ties(name, precision):
    """Forward, pullback, and the pullback's own derivative in the direction of another kernel."""
    dtype = PRECISIONS[precision]
    shape, features, window, strides, padding, groups = settings_of(name)
    rng = np.random.default_rng(0)
    with jax.enable_x64(dtype == np.float64):
        images = drawings(rng, shape, dtype)
        kernel, other = rng.normal(size=(2, window, window, shape[3] // groups, features))
        kernel, other = (np.asarray(k / window, dtype) for k in (kernel, other))

        def convolve(images, kernel):
            return nn.conv2d(images, kernel, strides=strides, padding=padding, groups=groups)

        outputs_shape = jax.eval_shape(convolve, images, kernel).shape
        cotangent = drawings(rng, outputs_shape, dtype)

        def pullback(kernel):
            return jax.vjp(lambda x: convolve(x, kernel), images)[1](cotangent)[0]

        @jax.jit
        def everything(images, kernel, other):
            return convolve(images, kernel), *jax.jvp(pullback, (kernel,), (other,))

        outputs, gradient, slope = everything(images, kernel, other)
    sides = ((padding, padding),) * 2
    assert_rules(outputs, windows(images, window, strides, sides))
    spread = np.zeros(
        (len(images), *[(n - 1) * strides + 1 for n in outputs_shape[1:3]], features), dtype
    )
    spread[:, ::strides, ::strides] = cotangent
    sides = [
        (window - 1 - padding, n + padding - m)
        for n, m in zip(shape[1:3], spread.shape[1:3], strict=True)
    ]
    for found in (gradient, slope):
        assert_rules(found, windows(spread, window, 1, sides))


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
