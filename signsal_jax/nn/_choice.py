"""Chooses, by static shapes, the fastest form on CPU of a convolution and of its pullbacks."""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array

from signsal_jax.nn import _blocks, _pullbacks, _winograd
from signsal_jax.nn._own import Geometry, transposed

Form = Callable[[Array, Array], Array]

# Limits chosen from timings of the convolutions of the Basic CNN and ResNet-18 alone, at 32x32
# and 224x224.
_MAX_DENSE_PAIRS = 16  # input pixels times output pixels of a convolution done as one product
_MAX_STEM_CHANNELS = 16  # with so few, a strided convolution is done in blocks of pixels
# In the forward pass of a stem, blocks pay for few channels but one (for three, XLA's own takes up
# to four times as long), and for others where the outputs are wide.
_BLOCKED_CHANNELS = (2, 3, 4)
_MIN_STEM_WIDTH = 64
_MIN_STRIDED_OUTPUT = 4  # below, holes between the pixels of the cotangent are most of it
_MAX_ROWS_WINDOW = 3  # a wider one would copy the cotangent too often for its kernel's pullback
_MIN_STREAMED_BYTES = 12 * 2**20  # of images and outputs: more than a cache holds
_MIN_STREAMED_PIXELS = 100  # of an image; fewer do not pay for adding up a kernel per image
_MIN_WINOGRAD_CHANNELS = 32  # fewer do not pay for the transforms
_MIN_WINOGRAD_PIXELS = 64  # so many rows in each of its products, or its kernels weigh too much


class Forms(NamedTuple):
    """The convolution and its two pullbacks, in the form that is fastest (None: XLA's own)."""

    outputs: Form | None = None
    images: Form | None = None
    kernel: Form | None = None


def forms(geometry: Geometry, *, batch: Any, features: int, dtype: Any) -> Forms:
    """Returns the forms for operands of these shapes."""
    window, padding, strides = geometry.window[0], geometry.padding, geometry.strides
    sizes = [
        _blocks.output_size(n, taps, strides, padding)
        for n, taps in zip(geometry.size, geometry.window, strict=True)
    ]
    if dtype not in (jnp.float32, jnp.float64) or min(sizes) < 1:
        return Forms()
    if geometry.groups > 1:
        if {features, geometry.channels} != {geometry.groups} or len({*geometry.window}) > 1:
            return Forms()
        depthwise = functools.partial(_blocks.depthwise, strides=strides, padding=padding)
        return _alike(depthwise, geometry)
    if len({*geometry.window}) > 1:
        return _ordinary(geometry)
    if window == 1 and padding == 0:
        return _alike(functools.partial(_blocks.pointwise, strides=strides), geometry)
    pairs = geometry.size[0] * geometry.size[1] * sizes[0] * sizes[1]
    if pairs <= _MAX_DENSE_PAIRS and _each_window_sees_all(geometry, sizes):
        dense = functools.partial(_blocks.dense, strides=strides, padding=padding)
        every = _alike(dense, geometry)
        return every if pairs == 1 else every._replace(kernel=None)
    streamed = _exceeds_the_cache(geometry, sizes, batch, features, dtype)
    if strides > 1:
        return _strided(geometry, sizes, streamed)
    return _unstrided(geometry, batch, features, streamed)


def _each_window_sees_all(geometry: Geometry, sizes: list[int]) -> bool:
    """Whether every window covers the whole map, so that two windows are equal only if zero."""
    return all(
        window - geometry.padding >= size and (count - 1) * geometry.strides <= geometry.padding
        for window, size, count in zip(geometry.window, geometry.size, sizes, strict=True)
    )


def _alike(form: Form, geometry: Geometry) -> Forms:
    """Uses one form for all three: the pullbacks are its transposes."""

    def to_images(cotangent: Array, kernel: Array) -> Array:
        shape = (cotangent.shape[0], *geometry.size, geometry.channels)
        return transposed(lambda images: form(images, kernel), shape, cotangent)

    def to_kernel(images: Array, cotangent: Array) -> Array:
        channels = geometry.channels // geometry.groups
        shape = (*geometry.window, channels, cotangent.shape[-1])
        return transposed(lambda kernel: form(images, kernel), shape, cotangent)

    return Forms(form, to_images, to_kernel)


def _ordinary(geometry: Geometry) -> Forms:
    side = (geometry.padding, geometry.padding)
    outputs = functools.partial(_blocks.convolve, strides=geometry.strides, sides=(side, side))
    return Forms(outputs, _pullback(_pullbacks.images_by_phases, geometry))


def _pullback(form: Callable[..., Array], geometry: Geometry) -> Form:
    return functools.partial(
        form, size=geometry.size, strides=geometry.strides, padding=geometry.padding
    )


def _exceeds_the_cache(
    geometry: Geometry, sizes: list[int], batch: Any, features: int, dtype: Any
) -> bool:
    pixels = math.prod(geometry.size)
    numbers = pixels * geometry.channels + math.prod(sizes) * features
    return (
        isinstance(batch, int)  # not symbolic
        and pixels >= _MIN_STREAMED_PIXELS
        and batch * numbers * jnp.dtype(dtype).itemsize >= _MIN_STREAMED_BYTES
    )


def _strided(geometry: Geometry, sizes: list[int], streamed: bool) -> Forms:
    settings = {"strides": geometry.strides, "padding": geometry.padding}
    ordinary = _ordinary(geometry)
    if geometry.channels <= _MAX_STEM_CHANNELS:
        by_blocks = functools.partial(
            _pullbacks.kernel_by_blocks,
            window=geometry.window[0],
            one_by_one=streamed,
            **settings,
        )
        blocked = geometry.channels in _BLOCKED_CHANNELS or sizes[1] >= _MIN_STEM_WIDTH
        return Forms(
            functools.partial(_blocks.space_to_depth, **settings) if blocked else ordinary.outputs,
            _pullback(_pullbacks.images_by_blocks, geometry),
            by_blocks,
        )
    if min(sizes) < _MIN_STRIDED_OUTPUT:
        return ordinary._replace(images=_pullback(_pullbacks.images_by_products, geometry))
    return ordinary._replace(kernel=_kernel_by_images(geometry)) if streamed else ordinary


def _kernel_by_images(geometry: Geometry) -> Form:
    return functools.partial(
        _pullbacks.kernel_by_images,
        window=geometry.window[0],
        strides=geometry.strides,
        padding=geometry.padding,
    )


def _unstrided(geometry: Geometry, batch: Any, features: int, streamed: bool) -> Forms:
    window, padding = geometry.window[0], geometry.padding
    opposite = window - 1 - padding
    if opposite < 0:
        return _ordinary(geometry)
    outputs = functools.partial(_blocks.direct, padding=(padding, padding))
    backward = functools.partial(_blocks.direct, padding=(opposite, opposite))
    if not geometry.exact_ties and _winograd_pays(geometry, batch, features):
        outputs = backward = _winograd.conv3x3
    to_kernel = None
    if streamed:
        to_kernel = _kernel_by_images(geometry)
    elif window <= _MAX_ROWS_WINDOW:
        to_kernel = functools.partial(_pullbacks.kernel_by_rows, window=window, padding=padding)
    return Forms(
        outputs,
        lambda cotangent, kernel: backward(cotangent, _pullbacks.flipped(kernel)),
        to_kernel,
    )


def _winograd_pays(geometry: Geometry, batch: Any, features: int) -> bool:
    height, width = geometry.size
    return (
        (geometry.window[0], geometry.padding) == (3, 1)
        and min(geometry.channels, features) >= _MIN_WINOGRAD_CHANNELS
        and isinstance(batch, int)  # not symbolic
        and batch * _winograd.tiles(height) * width >= _MIN_WINOGRAD_PIXELS
    )
