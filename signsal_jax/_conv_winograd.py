"""3x3 convolutions with half the multiplications: Winograd's F(4, 3) along the width."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from signsal_jax._conv_blocks import split_phases

_TILE = 4
_TAPS = 3


def _transforms() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The matrices of a tile: `output @ ((kernel @ g) * (image @ d))`.

    Toom-Cook with five finite points and infinity. These points are exact in binary, and keep
    the rounding error at twice that of the direct sum (the usual 0, ±1, ±2: three times, and
    largest errors twice as large again).
    """
    points = np.array([0, 0.625, -0.625, 1.5, -1.5])
    size = _TILE + _TAPS - 1

    def evaluate(terms: int) -> np.ndarray:
        return np.vstack([points[:, None] ** np.arange(terms), np.eye(terms)[-1:]])

    image = np.linalg.inv(evaluate(size)).T
    image[np.abs(image) < 1e-12] = 0
    scale = 2 ** np.round(np.log2(np.abs(image).max(1, keepdims=True)))
    return evaluate(_TILE).T, evaluate(_TAPS) * scale, image / scale


_OUTPUT, _KERNEL, _IMAGE = _transforms()


def _combine(row: np.ndarray, parts: list[Array]) -> Array:
    terms = [
        part if weight == 1 else part * np.asarray(weight, part.dtype)
        for weight, part in zip(row, parts, strict=True)
        if weight
    ]
    return sum(terms[1:], terms[0])


def conv3x3(images: Array, kernel: Array) -> Array:
    """A 3x3 convolution with stride 1 and padding 1.

    Four neighboring outputs of a row cost six products instead of twelve. What remains are six
    matrix products over the three rows.

    Reference: Lavin and Gray, Fast Algorithms for Convolutional Neural Networks (2016).
    """
    batch, height, width, channels = images.shape
    tiles = -(-width // _TILE)
    images = jnp.pad(images, ((0, 0), (1, 1), (0, 0), (0, 0)))
    needed = tiles * _TILE + _TAPS - 1
    phases, offset = split_phases(images, 2, _TILE, 1, needed, 0.0)
    columns = []
    for column in range(offset, offset + _TILE + _TAPS - 1):
        tile, phase = divmod(column, _TILE)
        columns.append(phases[:, :, tile : tile + tiles, phase])
    kernels = jnp.einsum(
        "ts,rsio->trio", _KERNEL.astype(kernel.dtype), kernel, precision=jax.lax.Precision.HIGHEST
    )
    products = []
    for row, tap in zip(_IMAGE, kernels, strict=True):
        tile = _combine(row, columns)
        tile = jnp.concatenate([tile[:, r : r + height] for r in range(_TAPS)], axis=-1)
        products.append(tile @ tap.reshape(_TAPS * channels, -1))
    outputs = jnp.stack([_combine(row, products) for row in _OUTPUT], axis=3)
    return outputs.reshape(batch, height, tiles * _TILE, -1)[:, :, :width]
