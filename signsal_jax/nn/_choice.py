"""Which way of computing a convolution is fastest on CPU, by its static shapes."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from signsal_jax._vma import varying_alike
from signsal_jax.nn import _blocks, _pullbacks

Form = Callable[[Array, Array], Array]

# Limits chosen from timings of the convolutions of the Basic CNN and ResNet-18 alone, at 32x32
# and 224x224.
_MAX_DENSE_PAIRS = 16  # input pixels times output pixels of a convolution done as one product
_MAX_STEM_CHANNELS = 16  # with so few, a strided convolution is done in blocks of pixels
_MIN_STEM_WIDTH = 64  # narrower outputs do not pay for the blocks in the forward pass
_MIN_STRIDED_OUTPUT = 4  # below, holes between the pixels of the cotangent are most of it
_MAX_ROWS_WINDOW = 3  # a wider one would copy the cotangent too often for its kernel's pullback


class Forms(NamedTuple):
    """The same bilinear map in the form that is fastest for each use (None: XLA's own).

    `images` and `kernel` compute the tangents, so what matters is how fast their transposes
    are: the pullbacks to the images and to the kernel.
    """

    forward: Form | None = None
    images: Form | None = None
    kernel: Form | None = None


def forms(images: Array, kernel: Array, *, strides: int, padding: int, groups: int) -> Forms:
    """The forms for operands of these shapes."""
    _, height, width, channels = images.shape
    window, other_window, inputs, features = kernel.shape
    if (
        images.dtype not in (jnp.float32, jnp.float64)
        or images.dtype != kernel.dtype
        or window != other_window
        or channels != inputs * groups
    ):
        return Forms()
    size = (height, width)
    outputs = [_blocks.output_size(n, window, strides, padding) for n in size]
    if min(outputs) < 1:
        return Forms()
    settings = {"strides": strides, "padding": padding}
    if groups > 1:
        if groups != channels or features != channels:
            return Forms()
        depthwise = functools.partial(_blocks.depthwise, **settings)
        return Forms(depthwise, depthwise, depthwise)
    if window == 1 and padding == 0:
        pointwise = functools.partial(_blocks.pointwise, strides=strides)
        return Forms(pointwise, pointwise, pointwise)
    pairs = height * width * outputs[0] * outputs[1]
    if pairs <= _MAX_DENSE_PAIRS:
        dense = functools.partial(_blocks.dense, **settings)
        return Forms(dense, dense, dense if pairs == 1 else None)
    own = functools.partial(_blocks.plain, **settings)
    if strides > 1:
        return _strided(own, channels, outputs, window=window, size=size, **settings)
    return _unstrided(own, kernel, padding=padding)


def _strided(
    own: Form,
    channels: int,
    outputs: list[int],
    *,
    window: int,
    size: tuple[int, int],
    strides: int,
    padding: int,
) -> Forms:
    settings = {"strides": strides, "padding": padding}
    if channels <= _MAX_STEM_CHANNELS:
        forward = functools.partial(_blocks.convolve, strides=strides, sides=_alike(padding))
        if outputs[1] >= _MIN_STEM_WIDTH:
            forward = functools.partial(_blocks.space_to_depth, **settings)
        return Forms(
            forward,
            _images_form(_pullbacks.images_by_blocks, own, size=size, **settings),
            _kernel_form(_pullbacks.kernel_by_blocks, own, window=window, **settings),
        )
    small = min(outputs) < _MIN_STRIDED_OUTPUT
    pullback = _pullbacks.images_by_products if small else _pullbacks.images_by_phases
    forward = functools.partial(_blocks.convolve, strides=strides, sides=_alike(padding))
    return Forms(forward, _images_form(pullback, own, size=size, **settings))


def _unstrided(own: Form, kernel: Array, *, padding: int) -> Forms:
    window = len(kernel)
    opposite = window - 1 - padding
    if opposite < 0:
        return Forms()
    forward = functools.partial(_blocks.direct, padding=(padding, padding))
    backward = functools.partial(_blocks.direct, padding=(opposite, opposite))
    by_rows = functools.partial(_pullbacks.kernel_by_rows, window=window, padding=padding)
    return Forms(
        forward,
        _images_form(
            lambda cotangent, kernel: backward(cotangent, _pullbacks.flipped(kernel)), own
        ),
        _kernel_form(by_rows, own) if window <= _MAX_ROWS_WINDOW else None,
    )


def _alike(padding: int) -> tuple[tuple[int, int], tuple[int, int]]:
    return (padding, padding), (padding, padding)


def _images_form(pullback: Callable[..., Array], own: Form, **settings: Any) -> Form:
    """The map whose transpose to the images is this pullback of a cotangent and the kernel."""

    def form(images: Array, kernel: Array) -> Array:
        images, kernel = varying_alike(images, kernel)
        to_images = functools.partial(pullback, kernel=kernel, **settings)
        outputs = jax.eval_shape(own, images, kernel)
        return jax.linear_transpose(to_images, outputs)(images)[0]

    return form


def _kernel_form(pullback: Callable[..., Array], own: Form, **settings: Any) -> Form:
    """The map whose transpose to the kernel is this pullback of the images and a cotangent."""

    def form(images: Array, kernel: Array) -> Array:
        images, kernel = varying_alike(images, kernel)
        to_kernel = functools.partial(pullback, images, **settings)
        outputs = jax.eval_shape(own, images, kernel)
        return jax.linear_transpose(to_kernel, outputs)(kernel)[0]

    return form
