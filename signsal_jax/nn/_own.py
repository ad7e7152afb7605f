"""XLA's own convolution and its pullbacks, used on every platform except CPU."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jax import Array

from signsal_jax._vma import shaped_like


class Geometry(NamedTuple):
    """A convolution without its operands' values, dtypes, and numbers of images and features."""

    size: tuple[int, ...]
    """Height and width of the images."""
    window: tuple[int, ...]
    """Height and width of the kernel."""
    channels: int
    """Channels of the images; the kernel has `channels / groups`."""
    strides: int
    padding: int
    groups: int
    exact_ties: bool
    """Equal windows give equal bits wherever they are in an image."""
    precision: str | None
    """Precision of products on accelerators, recorded because lowering runs outside the caller's
    settings."""


def transposed(linear: Callable[[Array], Array], shape: tuple[Any, ...], cotangent: Array) -> Array:
    """Applies the transpose of a linear function of arrays of this shape (or a symbolic one)."""
    return jax.linear_transpose(linear, shaped_like(cotangent, shape))(cotangent)[0]


def outputs(images: Array, kernel: Array, *, geometry: Geometry) -> Array:
    """The convolution."""
    with jax.default_matmul_precision(geometry.precision):
        return jax.lax.conv_general_dilated(
            images,
            kernel,
            window_strides=(geometry.strides,) * 2,
            padding=[(geometry.padding, geometry.padding)] * 2,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=geometry.groups,
        )


def images(cotangent: Array, kernel: Array, *, geometry: Geometry) -> Array:
    """The convolution's pullback to the images."""
    shape = (cotangent.shape[0], *geometry.size, geometry.channels)
    return transposed(lambda images: outputs(images, kernel, geometry=geometry), shape, cotangent)


def kernel(images: Array, cotangent: Array, *, geometry: Geometry) -> Array:
    """The convolution's pullback to the kernel."""
    shape = (*geometry.window, geometry.channels // geometry.groups, cotangent.shape[-1])
    return transposed(lambda kernel: outputs(images, kernel, geometry=geometry), shape, cotangent)
