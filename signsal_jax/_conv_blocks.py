"""Convolutions as stride-1 ones or as matrix products, by regrouping pixels."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array


def output_size(size: int, window: int, strides: int, padding: int) -> int:
    """How many windows fit along one axis."""
    return (size + 2 * padding - window) // strides + 1


def plain(images: Array, kernel: Array, *, strides: int, padding: int, groups: int = 1) -> Array:
    """XLA's own convolution."""
    return jax.lax.conv_general_dilated(
        images,
        kernel,
        window_strides=(strides, strides),
        padding=((padding, padding), (padding, padding)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


def split_phases(
    images: Array, axis: int, strides: int, before: int, needed: int, fill: float
) -> tuple[Array, int]:
    """Cuts a padded axis into its `strides` phases: `[..., blocks, strides, ...]`.

    Strided slices would do, but their transpose is a pad with holes, which XLA's CPU code fills
    element by element. Padding in front comes in whole blocks, so that the transpose moves
    whole blocks too: `offset` is where the asked for padding begins in the first one, and the
    axis covers `needed` elements from there.
    """
    lead = -(-before // strides) * strides
    offset = lead - before
    blocks = -(-(offset + needed) // strides)
    padding = [(0, 0, 0)] * images.ndim
    padding[axis] = (lead, blocks * strides - lead - images.shape[axis], 0)
    padded = jax.lax.pad(images, jnp.asarray(fill, images.dtype), padding)
    phases = padded.reshape(*images.shape[:axis], blocks, strides, *images.shape[axis + 1 :])
    return phases, offset


def _blocks(images: Array, kernel: Array, strides: int, padding: int) -> tuple[Array, Array]:
    """A strided convolution's images in blocks of `strides`² pixels, and its kernel for them.

    Returns blocks `[b, height + taps - 1, width + taps - 1, strides² * c]` and a kernel
    `[taps, taps, strides² * c, o]` for stride 1 and no padding.
    """
    window, _, channels, features = kernel.shape
    sizes = [output_size(n, window, strides, padding) for n in images.shape[1:3]]
    offset = 0
    for axis, outputs in ((1, sizes[0]), (3, sizes[1])):
        needed = (outputs - 1) * strides + window
        images, offset = split_phases(images, axis, strides, padding, needed, 0.0)
    taps = -(-(offset + window) // strides)
    images = images.transpose(0, 1, 3, 2, 4, 5)
    images = images.reshape(*images.shape[:3], strides**2 * channels)
    around = (offset, taps * strides - window - offset)
    kernel = jnp.pad(kernel, (around, around, (0, 0), (0, 0)))
    kernel = kernel.reshape(taps, strides, taps, strides, channels, features)
    kernel = kernel.transpose(0, 2, 1, 3, 4, 5).reshape(taps, taps, -1, features)
    return images[:, : sizes[0] + taps - 1, : sizes[1] + taps - 1], kernel


def space_to_depth(images: Array, kernel: Array, *, strides: int, padding: int) -> Array:
    """A strided convolution as one over blocks, written for its transpose to the images.

    The row taps become channels, so that only a window of one row is left. Its transpose is a
    convolution to `taps * strides² * c` features and a sum of shifted blocks: with a window of
    `taps`² it would be one to `strides² * c`, a dozen for a colour image, too few to fill a
    vector.
    """
    blocks, kernel = _blocks(images, kernel, strides, padding)
    taps, _, _, features = kernel.shape
    height = blocks.shape[1] - taps + 1
    blocks = jnp.concatenate([blocks[:, t : t + height] for t in range(taps)], axis=-1)
    kernel = kernel.transpose(1, 0, 2, 3).reshape(1, taps, -1, features)
    return plain(blocks, kernel, strides=1, padding=0)


def sum_of_products(images: Array, kernel: Array, *, strides: int, padding: int) -> Array:
    """A strided convolution as a product for every tap, written for its transpose to the kernel.

    That is a product of all blocks with all outputs for every tap, without a copy of the blocks.
    """
    blocks, kernel = _blocks(images, kernel, strides, padding)
    taps = len(kernel)
    height, width = (size - taps + 1 for size in blocks.shape[1:3])
    total = jnp.zeros((), images.dtype)
    for row in range(taps):
        for column in range(taps):
            part = blocks[:, row : row + height, column : column + width]
            total += part @ kernel[row, column]
    return total


def pointwise(images: Array, kernel: Array, *, strides: int) -> Array:
    """A 1x1 convolution without padding: a matrix product of every `strides`-th pixel."""
    if strides > 1:
        for axis in (1, 2):
            size = output_size(images.shape[axis], 1, strides, 0)
            images, _ = split_phases(images, axis, strides, 0, size * strides, 0.0)
            images = jax.lax.index_in_dim(images, 0, axis + 1, keepdims=False)
    return images @ kernel[0, 0]


def dense(images: Array, kernel: Array, *, strides: int, padding: int) -> Array:
    """A convolution of a tiny feature map as one product with the whole map."""
    batch, height, width, channels = images.shape
    window, _, _, features = kernel.shape
    sizes = [output_size(size, window, strides, padding) for size in (height, width)]

    def taps(size: int, outputs: int) -> np.ndarray:
        """`[window, size, outputs]`: 1 where a tap takes an input to an output."""
        tap, pixel, output = np.ogrid[:window, :size, :outputs]
        return (pixel == output * strides - padding + tap).astype(kernel.dtype)

    matrix = jnp.einsum(
        "yhp,xwq,yxio->hwipqo",
        taps(height, sizes[0]),
        taps(width, sizes[1]),
        kernel,
        precision=jax.lax.Precision.HIGHEST,
    )
    outputs = images.reshape(batch, -1) @ matrix.reshape(height * width * channels, -1)
    return outputs.reshape(batch, *sizes, features)


def depthwise(images: Array, kernel: Array, *, strides: int, padding: int) -> Array:
    """One filter a channel, as a sum of shifted images."""
    window, _, _, features = kernel.shape
    sizes = [output_size(size, window, strides, padding) for size in images.shape[1:3]]
    blocks, offset = images, 0
    for axis in (1, 2):
        needed = sizes[axis - 1] * strides + window
        blocks, offset = split_phases(blocks, 2 * axis - 1, strides, padding, needed, 0.0)
    total = jnp.zeros((len(images), *sizes, features), images.dtype)
    for row in range(window):
        for column in range(window):
            (top, y), (left, x) = divmod(row + offset, strides), divmod(column + offset, strides)
            shifted = blocks[:, top : top + sizes[0], y, left : left + sizes[1], x]
            total += shifted * kernel[row, column].reshape(1, 1, 1, features)
    return total
