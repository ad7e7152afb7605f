"""The pullbacks of a convolution on CPU, to the images and to the kernel."""

import math

import jax
import jax.numpy as jnp
from jax import Array

from signsal_jax._vma import varying_alike
from signsal_jax.nn._blocks import convolve, image_blocks, kernel_blocks


def flipped(kernel: Array) -> Array:
    """Returns the kernel to convolve the cotangent of a stride-1 convolution with."""
    return kernel[::-1, ::-1].transpose(0, 1, 3, 2)


def _phase_taps(strides: int, window: int, padding: int) -> list[list[tuple[int, int]]]:
    """Returns, for each phase of the pixels, its taps and their outputs, relative to its block.

    Tap t of output o reads pixel o·strides - padding + t.
    """
    return [
        [
            (tap, (phase + padding - tap) // strides)
            for tap in range(window)
            if (phase + padding - tap) % strides == 0
        ]
        for phase in range(strides)
    ]


def _interleaved(phases: list[Array], size: tuple[int, int], strides: int) -> Array:
    """Puts pixels together from their phases, each `[b, blocks, blocks, c]`, in reading order."""
    pixels = jnp.stack(phases, axis=3)
    batch, *blocks, _, channels = pixels.shape
    pixels = pixels.reshape(batch, *blocks, strides, strides, channels).transpose(0, 1, 3, 2, 4, 5)
    pixels = pixels.reshape(batch, blocks[0] * strides, blocks[1] * strides, channels)
    return pixels[:, : size[0], : size[1]]


def images_by_phases(
    cotangent: Array, kernel: Array, *, size: tuple[int, int], strides: int, padding: int
) -> Array:
    """Gradient of images of this size: one convolution per phase of the pixels, with its taps.

    XLA can skip the holes of a dilated cotangent just as well, but it sums the taps in an order
    that depends on the position.
    """
    *windows, channels, _ = kernel.shape
    blocks = [-(-n // strides) for n in size]
    zeros = jnp.zeros((cotangent.shape[0], *blocks, channels), cotangent.dtype)

    def phase(rows: list[tuple[int, int]], columns: list[tuple[int, int]]) -> Array:
        if not (rows and columns):  # a stride past the window leaves pixels out
            return zeros
        (first_row, top), (first_column, left) = rows[0], columns[0]
        met = flipped(kernel[first_row::strides, first_column::strides])
        # The last tap meets the first output.
        before = [taps - 1 - at for taps, at in zip(met.shape, (top, left), strict=False)]
        sides = [
            (low, count + taps - 1 - low - n)
            for low, count, taps, n in zip(
                before, blocks, met.shape, cotangent.shape[1:3], strict=False
            )
        ]
        return convolve(cotangent, met, sides=(sides[0], sides[1]), wider=True)

    rows, columns = (_phase_taps(strides, window, padding) for window in windows)
    return _interleaved([phase(r, c) for r in rows for c in columns], size, strides)


def images_by_products(
    cotangent: Array, kernel: Array, *, size: tuple[int, int], strides: int, padding: int
) -> Array:
    """Gradient of images of this small size: one matrix product per phase, with all its taps."""
    window, _, channels, _ = kernel.shape
    blocks = [-(-n // strides) for n in size]
    reach = -(-window // strides)
    padded = jnp.pad(cotangent, ((0, 0), *((reach, reach + n) for n in blocks), (0, 0)))
    taps = _phase_taps(strides, window, padding)
    phases = []
    for rows in taps:
        for columns in taps:
            met = [(row, column) for row in rows for column in columns]
            outputs = [
                padded[:, reach + top : reach + top + blocks[0], reach + left :][:, :, : blocks[1]]
                for (_, top), (_, left) in met
            ]
            weights = [kernel[row, column].T for (row, _), (column, _) in met]
            phases.append(
                jnp.concatenate(outputs, axis=-1) @ jnp.concatenate(weights)
                if met  # a stride past the window leaves pixels out
                else jnp.zeros((cotangent.shape[0], *blocks, channels), cotangent.dtype)
            )
    return _interleaved(phases, size, strides)


def images_by_blocks(
    cotangent: Array, kernel: Array, *, size: tuple[int, int], strides: int, padding: int
) -> Array:
    """Gradient of images of this size with few channels, in blocks of `strides`² pixels.

    The row taps of the blocks become features of a convolution with a window of one row. A window
    of `taps`² would leave `strides² * c` features, a dozen for a color image: too few for a vector.
    """
    window, _, channels, features = kernel.shape
    lead = -(-padding // strides) * strides
    offset = lead - padding
    taps = -(-(offset + window) // strides)
    around = (offset, taps * strides - window - offset)
    kernel = kernel_blocks(kernel, strides=strides, around=around)
    kernel = kernel[:, ::-1].transpose(1, 3, 0, 2).reshape(1, taps, features, -1)
    rows = convolve(cotangent, kernel, sides=((0, 0), (taps - 1, taps - 1)))
    rows = rows.reshape(*rows.shape[:3], taps, strides**2 * channels)
    blocks = jnp.zeros((), rows.dtype)
    for tap in range(taps):
        below = ((0, 0), (tap, taps - 1 - tap), (0, 0), (0, 0))
        blocks += jnp.pad(rows[:, :, :, tap], below)
    batch, height, width, _ = blocks.shape
    pixels = blocks.reshape(batch, height, width, strides, strides, channels)
    pixels = pixels.transpose(0, 1, 3, 2, 4, 5)
    pixels = pixels.reshape(batch, height * strides, width * strides, channels)
    # Cut off the padding before the images; pad with zeros if they extend past the last window.
    edges = [(-lead, lead + n - have, 0) for n, have in zip(size, pixels.shape[1:3], strict=True)]
    return jax.lax.pad(pixels, jnp.zeros((), pixels.dtype), ((0, 0, 0), *edges, (0, 0, 0)))


def kernel_by_rows(images: Array, cotangent: Array, *, window: int, padding: int) -> Array:
    """Gradient of the kernel of a stride-1 convolution: one matrix product per kernel row.

    For the kernel columns, shifted cotangents are placed side by side: they fill vectors that few
    channels alone would not.
    """
    _, _, width, channels = images.shape
    _, rows, _, features = cotangent.shape
    around = (window - 1 - padding, window - 1 - padding)
    padded = jnp.pad(cotangent, ((0, 0), (0, 0), around, (0, 0)))
    shifts = range(window - 1, -1, -1)
    shifted = jnp.concatenate([padded[:, :, left : left + width] for left in shifts], axis=-1)
    images = jnp.pad(images, ((0, 0), (padding, padding), (0, 0), (0, 0)))
    pixels = ((0, 1, 2), (0, 1, 2))
    taps = [
        jax.lax.dot_general(images[:, top : top + rows], shifted, (pixels, ((), ())))
        for top in range(window)
    ]
    kernel = jnp.stack(taps).reshape(window, channels, window, features)
    return kernel.transpose(0, 2, 1, 3)


def kernel_by_images(
    images: Array, cotangent: Array, *, window: int, strides: int, padding: int
) -> Array:
    """Gradient of the kernel from one image after the other, for maps larger than the cache.

    The taps of a kernel row, side by side, take as many times the memory of the images as the
    kernel is wide; those of one image stay in the cache. Each device sums over its own images.
    """
    batch, rows, columns, features = cotangent.shape
    channels = images.shape[-1]
    lanes = math.gcd(batch, jax.device_count())
    images = images.reshape(lanes, -1, *images.shape[1:])
    cotangent = cotangent.reshape(lanes, -1, rows * columns, features)
    spans = [(n - 1) * strides + 1 for n in (rows, columns)]
    sides = ((0, 0), (padding, padding), (padding, padding), (0, 0))

    def add(index: Array, kernel: Array) -> Array:
        pixels = jnp.pad(jax.lax.dynamic_index_in_dim(images, index, 1, keepdims=False), sides)
        outputs = jax.lax.dynamic_index_in_dim(cotangent, index, 1, keepdims=False)
        met = [pixels[:, :, left : left + spans[1] : strides] for left in range(window)]
        columns_met = jnp.concatenate(met, axis=-1)
        products = []
        for top in range(window):
            taps = columns_met[:, top : top + spans[0] : strides].reshape(lanes, rows * columns, -1)
            products.append(jax.lax.dot_general(taps, outputs, (((1,), (1,)), ((0,), (0,)))))
        return kernel + jnp.stack(products, axis=1)

    zeros = jnp.zeros((lanes, window, window * channels, features), images.dtype)
    images, cotangent, zeros = varying_alike(images, cotangent, zeros)
    kernel = jax.lax.fori_loop(0, images.shape[1], add, zeros).sum(0)
    return kernel.reshape(window, window, channels, features)


def _as_a_convolution(blocks: Array, cotangent: Array, taps: int) -> Array:
    """Convolves the images with the cotangent, with the roles of images and channels swapped.

    Columns of zeros widen the cotangent, because XLA then takes its faster routine, as in `direct`.
    """
    kernel = jax.lax.conv_general_dilated(
        blocks.transpose(3, 1, 2, 0),
        jnp.pad(cotangent.transpose(1, 2, 0, 3), ((0, 0), (0, taps), (0, 0), (0, 0))),
        window_strides=(1, 1),
        padding=((0, 0), (0, taps)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    return kernel.transpose(1, 2, 0, 3)


def kernel_by_blocks(
    images: Array,
    cotangent: Array,
    *,
    window: int,
    strides: int,
    padding: int,
    one_by_one: bool = False,
) -> Array:
    """Gradient of the kernel of a strided convolution over few channels, in blocks of pixels.

    Args:
      images: `[b, h, w, c]`.
      cotangent: of the outputs.
      window: the side of the kernel.
      strides: the side of a block.
      padding: the zeros around the images.
      one_by_one: as `kernel_by_images`.
    """
    blocks, around = image_blocks(images, window=window, strides=strides, padding=padding)
    channels, features = images.shape[-1], cotangent.shape[-1]
    taps = (window + sum(around)) // strides
    if one_by_one:
        kernel = kernel_by_images(blocks, cotangent, window=taps, strides=1, padding=0)
    else:
        kernel = _as_a_convolution(blocks, cotangent, taps)
    kernel = kernel.reshape(taps, taps, strides, strides, channels, features)
    kernel = kernel.transpose(0, 2, 1, 3, 4, 5)
    kernel = kernel.reshape(taps * strides, taps * strides, channels, features)
    before = around[0]
    return kernel[before : before + window, before : before + window]
