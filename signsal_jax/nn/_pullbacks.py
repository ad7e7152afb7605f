"""The pullbacks of a convolution on CPU, to the images and to the kernel."""

import jax
import jax.numpy as jnp
from jax import Array

from signsal_jax.nn._blocks import image_blocks, kernel_blocks


def flipped(kernel: Array) -> Array:
    """The kernel with which a stride-1 convolution's cotangent is convolved."""
    return kernel[::-1, ::-1].transpose(0, 1, 3, 2)


def images_by_dilation(
    cotangent: Array, kernel: Array, *, size: tuple[int, int], strides: int, padding: int
) -> Array:
    """To images of this size: a convolution of the cotangent with holes, which XLA skips."""
    low = len(kernel) - 1 - padding
    spans = [(outputs - 1) * strides + 1 for outputs in cotangent.shape[1:3]]
    return jax.lax.conv_general_dilated(
        cotangent,
        flipped(kernel),
        window_strides=(1, 1),
        padding=[(low, n - span + padding) for n, span in zip(size, spans, strict=True)],
        lhs_dilation=(strides, strides),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def images_by_phases(
    cotangent: Array, kernel: Array, *, size: tuple[int, int], strides: int, padding: int
) -> Array:
    """To images of this size: for each phase of the pixels a product with the taps it meets."""
    window, _, channels, _ = kernel.shape
    blocks = [-(-n // strides) for n in size]
    reach = -(-window // strides)
    room = [(reach, reach + n) for n in blocks]
    cotangent = jnp.pad(cotangent, ((0, 0), *room, (0, 0)))
    # Tap t of the output o reads pixel o·strides - padding + t: of a block's phase, those taps
    # whose output is a whole number, and where it is.
    taps = [
        [
            (tap, reach + (phase + padding - tap) // strides)
            for tap in range(window)
            if (phase + padding - tap) % strides == 0
        ]
        for phase in range(strides)
    ]
    phases = []
    for rows in taps:
        for columns in taps:
            met = [(row, top, column, left) for row, top in rows for column, left in columns]
            outputs = [
                cotangent[:, top : top + blocks[0], left : left + blocks[1]]
                for _, top, _, left in met
            ]
            weights = [kernel[row, column].T for row, _, column, _ in met]
            phases.append(
                jnp.concatenate(outputs, axis=-1) @ jnp.concatenate(weights)
                if met  # a stride past the window leaves pixels out
                else jnp.zeros((len(cotangent), *blocks, channels), cotangent.dtype)
            )
    pixels = jnp.concatenate(phases, axis=-1)
    pixels = pixels.reshape(len(pixels), *blocks, strides, strides, channels)
    pixels = pixels.transpose(0, 1, 3, 2, 4, 5)
    pixels = pixels.reshape(len(pixels), blocks[0] * strides, blocks[1] * strides, channels)
    return pixels[:, : size[0], : size[1]]


def images_by_blocks(
    cotangent: Array, kernel: Array, *, size: tuple[int, int], strides: int, padding: int
) -> Array:
    """To images of this size and few channels, in blocks of `strides`² pixels.

    The blocks' row taps are features of a convolution with a window of one row: with a window
    of `taps`² it would have `strides² * c`, a dozen for a colour image, too few to fill a vector.
    """
    window, _, channels, features = kernel.shape
    lead = -(-padding // strides) * strides
    offset = lead - padding
    taps = -(-(offset + window) // strides)
    around = (offset, taps * strides - window - offset)
    kernel = kernel_blocks(kernel, strides=strides, around=around)
    kernel = kernel[:, ::-1].transpose(1, 3, 0, 2).reshape(1, taps, features, -1)
    rows = jax.lax.conv_general_dilated(
        cotangent,
        kernel,
        window_strides=(1, 1),
        padding=((0, 0), (taps - 1, taps - 1)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    rows = rows.reshape(*rows.shape[:3], taps, strides**2 * channels)
    blocks = jnp.zeros((), rows.dtype)
    for tap in range(taps):
        below = ((0, 0), (tap, taps - 1 - tap), (0, 0), (0, 0))
        blocks += jnp.pad(rows[:, :, :, tap], below)
    batch, height, width, _ = blocks.shape
    pixels = blocks.reshape(batch, height, width, strides, strides, channels)
    pixels = pixels.transpose(0, 1, 3, 2, 4, 5)
    pixels = pixels.reshape(batch, height * strides, width * strides, channels)
    # What lies before the images is cut off; behind the last window there may be more of them.
    edges = [(-lead, lead + n - have, 0) for n, have in zip(size, pixels.shape[1:3], strict=True)]
    return jax.lax.pad(pixels, jnp.zeros((), pixels.dtype), ((0, 0, 0), *edges, (0, 0, 0)))


def kernel_by_rows(images: Array, cotangent: Array, *, window: int, padding: int) -> Array:
    """To the kernel of a stride-1 convolution: a product of whole rows for every row of taps.

    The column taps are shifted cotangents side by side, which fill vectors that few channels
    would not.
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


def kernel_by_blocks(
    images: Array, cotangent: Array, *, window: int, strides: int, padding: int
) -> Array:
    """To the kernel of a strided convolution over few channels: a convolution with the cotangent.

    Images are its channels and channels its images. Columns of zeros make the cotangent wider
    than the images: only then is it XLA's faster routine that takes it, as in `direct`.
    """
    blocks, around = image_blocks(images, window=window, strides=strides, padding=padding)
    channels, features = images.shape[-1], cotangent.shape[-1]
    taps = (window + sum(around)) // strides
    kernel = jax.lax.conv_general_dilated(
        blocks.transpose(3, 1, 2, 0),
        jnp.pad(cotangent.transpose(1, 2, 0, 3), ((0, 0), (0, taps), (0, 0), (0, 0))),
        window_strides=(1, 1),
        padding=((0, 0), (0, taps)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    kernel = kernel.reshape(strides, strides, channels, taps, taps, features)
    kernel = kernel.transpose(3, 0, 4, 1, 2, 5)
    kernel = kernel.reshape(taps * strides, taps * strides, channels, features)
    before = around[0]
    return kernel[before : before + window, before : before + window]
