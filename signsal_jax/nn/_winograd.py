"""3x3 convolutions with half the multiplications: Winograd's F(4, 3) along the height."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from signsal_jax.nn._blocks import direct

_TILE = 4
_TAPS = 3
_ROWS = _TILE + _TAPS - 1


def _transforms() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the matrices for a tile of rows: `output @ ((kernel @ g) * (image @ d))`.

    Toom-Cook with five finite points and infinity. These points are exact in binary, and keep
    the rounding error at twice that of the direct sum (the usual 0, ±1, ±2 have three times that of
    the direct sum, and largest errors twice as large again).
    """
    points = np.array([0, 0.625, -0.625, 1.5, -1.5])

    def evaluate(terms: int) -> np.ndarray:
        return np.vstack([points[:, None] ** np.arange(terms), np.eye(terms)[-1:]])

    image = np.linalg.inv(evaluate(_ROWS)).T
    image[np.abs(image) < 1e-12] = 0
    scale = 2 ** np.round(np.log2(np.abs(image).max(1, keepdims=True)))
    return evaluate(_TILE).T, evaluate(_TAPS) * scale, image / scale


_OUTPUT, _KERNEL, _IMAGE = _transforms()


def tiles(height: int) -> int:
    """Returns the number of tiles of output rows per image."""
    return -(-height // _TILE)


def _combine(row: np.ndarray, parts: list[Array]) -> Array:
    terms = [
        part if weight == 1 else part * np.asarray(weight, part.dtype)
        for weight, part in zip(row, parts, strict=True)
        if weight
    ]
    return sum(terms[1:], terms[0])


def _seen(images: Array) -> Array:
    """Whether the 3x3 window around each pixel has a nonzero value: `[b, h, w, 1]`."""
    seen = (images != 0).any(-1, keepdims=True)
    for axis in (1, 2):
        sides = [(0, 0)] * 4
        sides[axis] = (1, 1)
        padded, size = jnp.pad(seen, sides), seen.shape[axis]
        seen = functools.reduce(
            jnp.logical_or,
            [jax.lax.slice_in_dim(padded, at, at + size, axis=axis) for at in range(_TAPS)],
        )
    return seen


def conv3x3(images: Array, kernel: Array) -> Array:
    """A 3x3 convolution with stride 1 and padding 1.

    Four rows of outputs cost six convolutions with a window of one row instead of twelve. Only
    whole rows are added and moved, which is fast in any layout of pixels and channels.

    A tile's rows are different sums of the same products. So equal windows in different rows give
    outputs that differ by rounding, and a window of zeros would see its neighbors' rounding: those
    outputs are set to zero.

    Reference: Lavin and Gray, Fast Algorithms for Convolutional Neural Networks (2016).
    """
    batch, height, width, channels = images.shape
    count = tiles(height)
    # Add a tile of zeros: the last tile reads rows beyond its own.
    bottom = _TILE * (count + 1) - height - 1
    rows = jnp.pad(images, ((0, 0), (1, bottom), (0, 0), (0, 0)))
    rows = rows.reshape(batch, count + 1, _TILE, width, channels)
    taken = []
    for row in range(_ROWS):
        tile, phase = divmod(row, _TILE)
        taken.append(rows[:, tile : tile + count, phase])
    kernels = jnp.einsum(
        "tr,rsio->tsio", _KERNEL.astype(kernel.dtype), kernel, precision=jax.lax.Precision.HIGHEST
    )
    products = [
        direct(_combine(weights, taken), window[None], padding=(0, 1))
        for weights, window in zip(_IMAGE, kernels, strict=True)
    ]
    outputs = jnp.stack([_combine(weights, products) for weights in _OUTPUT], axis=2)
    outputs = outputs.reshape(batch, count * _TILE, width, kernel.shape[3])
    return jnp.where(_seen(images), outputs[:, :height], 0)
