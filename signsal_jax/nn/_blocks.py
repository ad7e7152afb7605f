"""Convolutions on CPU, turned into stride-1 ones or matrix products by regrouping pixels."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

# A multiple of 12 and of 16, so that oneDNN's blocks of 48 or 64 positions (it halves the last two)
# consist of whole groups of 6 (AVX2) or 8 (AVX-512) columns. Eigen's groups have 4.
_POSITIONS = 48
# The most rows that a matrix product takes at a time (a vector of AVX-512).
_ROWS = 16


def output_size(size: int, window: int, strides: int, padding: int) -> int:
    """Returns the number of windows that fit along one axis."""
    return (size + 2 * padding - window) // strides + 1


def _tail_free(batch: Any, rows: int, columns: int) -> tuple[int, int]:
    """The smallest map of at least this size that has a multiple of `_POSITIONS` in each batch."""
    if not isinstance(batch, int):  # symbolic: whole numbers of positions in every image
        batch = 1

    def grown(rows: int) -> tuple[int, int]:
        step = _POSITIONS // math.gcd(_POSITIONS, batch * rows)
        return rows, -(-columns // step) * step

    return min(map(grown, range(rows, rows + _POSITIONS)), key=math.prod)


def convolve(
    images: Array,
    kernel: Array,
    *,
    strides: int = 1,
    sides: tuple[tuple[int, int], tuple[int, int]],
    holes: int = 1,
    wider: bool = False,
) -> Array:
    """Computes XLA's own convolution, such that equal windows give equal bits wherever they are.

    XLA's matrix product takes four, six or eight positions at a time and sums any remainder in
    another order. So we compute more outputs than needed, to leave no remainder, and drop them.

    Args:
      images: `[b, h, w, c]`.
      kernel: `[kh, kw, c, o]`.
      strides: the step along height and width.
      sides: the zeros added above and below, left and right.
      holes: the dilation of the images: the step between pixels after zeros are put between them.
      wider: compute more columns than the images have. Otherwise, if no axis of the outputs is
        larger than that of the images, XLA for CPU takes a routine that is up to twice as slow.
    """
    spans = [(n - 1) * holes + 1 for n in images.shape[1:3]]
    rows, columns = (
        (span + sum(side) - window) // strides + 1
        for span, side, window in zip(spans, sides, kernel.shape, strict=False)
    )
    least = max(columns, images.shape[2] + 1) if wider else columns
    grown = _tail_free(images.shape[0], rows, least)
    padding = [
        (before, behind + strides * (more - size))
        for (before, behind), more, size in zip(sides, grown, (rows, columns), strict=True)
    ]
    outputs = jax.lax.conv_general_dilated(
        images,
        kernel,
        window_strides=(strides, strides),
        padding=padding,
        lhs_dilation=(holes, holes),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    return outputs[:, :rows, :columns]


def direct(images: Array, kernel: Array, *, padding: tuple[int, int]) -> Array:
    """A convolution with stride 1, by the faster of XLA's two routines for CPU."""
    rows, columns = padding
    sides = ((rows, rows), (columns, columns))
    return convolve(images, kernel, sides=sides, wider=True)


def split_phases(
    images: Array, axis: int, strides: int, before: int, needed: int, fill: float
) -> tuple[Array, int]:
    """Cuts a padded axis into its `strides` phases: `[..., blocks, strides, ...]`.

    Strided slices would work too, but their transpose is a pad with holes, which XLA's CPU code
    fills element by element. The padding in front is rounded up to whole blocks, so that the
    transpose moves whole blocks too. `offset` is where the requested padding begins in the first
    block; the axis covers `needed` elements from there.
    """
    lead = -(-before // strides) * strides
    offset = lead - before
    blocks = -(-(offset + needed) // strides)
    padding = [(0, 0, 0)] * images.ndim
    padding[axis] = (lead, blocks * strides - lead - images.shape[axis], 0)
    padded = jax.lax.pad(images, jnp.asarray(fill, images.dtype), padding)
    phases = padded.reshape(*images.shape[:axis], blocks, strides, *images.shape[axis + 1 :])
    return phases, offset


def image_blocks(
    images: Array, *, window: int, strides: int, padding: int
) -> tuple[Array, tuple[int, int]]:
    """Groups images into blocks of `strides`² pixels, so that a strided convolution has stride 1.

    Returns the blocks `[b, outputs + taps - 1, ..., strides² * c]`, and the number of kernel
    elements to add before and behind the window to fill `taps` blocks along each axis.
    """
    sizes = [output_size(n, window, strides, padding) for n in images.shape[1:3]]
    offset = 0
    for axis, outputs in ((1, sizes[0]), (3, sizes[1])):
        needed = (outputs - 1) * strides + window
        images, offset = split_phases(images, axis, strides, padding, needed, 0.0)
    taps = -(-(offset + window) // strides)
    images = images.transpose(0, 1, 3, 2, 4, 5)
    images = images.reshape(*images.shape[:3], math.prod(images.shape[3:]))
    around = (offset, taps * strides - window - offset)
    return images[:, : sizes[0] + taps - 1, : sizes[1] + taps - 1], around


def kernel_blocks(kernel: Array, *, strides: int, around: tuple[int, int]) -> Array:
    """The kernel for `image_blocks`: `[taps, taps, strides² * c, o]`."""
    kernel = jnp.pad(kernel, (around, around, (0, 0), (0, 0)))
    taps = len(kernel) // strides
    kernel = kernel.reshape(taps, strides, taps, strides, *kernel.shape[2:])
    return kernel.transpose(0, 2, 1, 3, 4, 5).reshape(taps, taps, -1, kernel.shape[-1])


def space_to_depth(images: Array, kernel: Array, *, strides: int, padding: int) -> Array:
    """A strided convolution as one with stride 1 over blocks."""
    window = len(kernel)
    blocks, around = image_blocks(images, window=window, strides=strides, padding=padding)
    return direct(blocks, kernel_blocks(kernel, strides=strides, around=around), padding=(0, 0))


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
    rows, columns = (output_size(size, window, strides, padding) for size in (height, width))
    # The weight of each image pixel for each output: a tap of the kernel, or zero outside of it.
    sides = [strides * (n - 1) for n in (rows, columns)]
    room = [(side, padding + size) for side, size in zip(sides, (height, width), strict=True)]
    spread = jnp.pad(kernel, (*room, (0, 0), (0, 0)))
    tops, lefts = (
        [side + padding - strides * n for n in range(count)]
        for side, count in zip(sides, (rows, columns), strict=True)
    )
    taps = [spread[top : top + height, left : left + width] for top in tops for left in lefts]
    matrix = jnp.stack(taps, axis=3).reshape(height * width * channels, -1)
    flat = images.reshape(batch, height * width * channels)
    if isinstance(batch, int) and batch > 1:  # no remainder, see `convolve`
        flat = jnp.pad(flat, ((0, -batch % _ROWS), (0, 0)))
    return (flat @ matrix)[:batch].reshape(batch, rows, columns, features)


def depthwise(images: Array, kernel: Array, *, strides: int, padding: int) -> Array:
    """A convolution with one filter per channel, as a sum of shifted images."""
    window, _, _, features = kernel.shape
    sizes = [output_size(size, window, strides, padding) for size in images.shape[1:3]]
    blocks, offset = images, 0
    for axis in (1, 2):
        needed = sizes[axis - 1] * strides + window
        blocks, offset = split_phases(blocks, 2 * axis - 1, strides, padding, needed, 0.0)
    total = jnp.zeros((images.shape[0], *sizes, features), images.dtype)
    for row in range(window):
        for column in range(window):
            (top, y), (left, x) = divmod(row + offset, strides), divmod(column + offset, strides)
            shifted = blocks[:, top : top + sizes[0], y, left : left + sizes[1], x]
            total += shifted * kernel[row, column].reshape(1, 1, 1, features)
    return total
