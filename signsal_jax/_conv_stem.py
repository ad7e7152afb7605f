"""Strided convolutions with a large window and few channels: the first layer of a network."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from signsal_jax._conv_blocks import output_size, split_phases
from signsal_jax._conv_winograd import conv3x3


def fits_pairs(window: int, strides: int, padding: int) -> bool:
    """Whether `pairs` covers every tap, with few enough zeros to be worth it."""
    return 2 * strides < window <= 3 * strides + padding and padding <= 2 * strides


def pairs(images: Array, kernel: Array, *, strides: int, padding: int) -> Array:
    """A strided stem as a 3x3 convolution of blocks that hold two outputs a side each.

    Three times the multiplications for 7x7 with stride 2, which Winograd halves, but 48 channels
    to `4 * features` instead of 3 to `features`: both directions run as matrix products.
    """
    batch, _, _, channels = images.shape
    window, _, _, features = kernel.shape
    block = 2 * strides
    sizes = [output_size(n, window, strides, padding) for n in images.shape[1:3]]
    blocks = images
    for axis, outputs in zip((1, 3), sizes, strict=True):
        needed = max(-(-outputs // 2) * block, blocks.shape[axis])
        blocks, _ = split_phases(blocks, axis, block, 0, needed, 0.0)
    rows, columns = blocks.shape[1], blocks.shape[3]
    blocks = blocks.transpose(0, 1, 3, 2, 4, 5).reshape(batch, rows, columns, -1)
    neighbor, pixel, output, tap = np.ogrid[:3, :block, :2, :window]
    place = tap == block * (neighbor - 1) + pixel - strides * output + padding
    place = place.astype(kernel.dtype)
    kernel = jnp.einsum(
        "aeiy,bfjx,yxco->abefcijo", place, place, kernel, precision=jax.lax.Precision.HIGHEST
    )
    kernel = kernel.reshape(3, 3, block**2 * channels, 4 * features)
    outputs = conv3x3(blocks, kernel)
    outputs = outputs.reshape(batch, rows, columns, 2, 2, features).transpose(0, 1, 3, 2, 4, 5)
    outputs = outputs.reshape(batch, 2 * rows, 2 * columns, features)
    return outputs[:, : sizes[0], : sizes[1]]
