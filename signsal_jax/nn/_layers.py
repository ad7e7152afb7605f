"""Convolution and pooling for the zoo: channels last, torch's explicit padding.

On TPU and GPU these are XLA's own operations. On CPU several of those are slow, above all in the
pullback: there `_choice` picks, by the static shapes, an equivalent that is fast in both
directions, and exact zeros and ties stay exact.
"""

import functools

import jax
from jax import Array
from jaxtyping import Float

from signsal_jax._precision import current_matmul_precision
from signsal_jax._vma import explicitly_sharded, varying_alike
from signsal_jax.nn import _own, _pool
from signsal_jax.nn._bilinear import outputs_p


@functools.partial(jax.jit, static_argnames=("window", "strides", "sides"), inline=True)
def padded_max_pool(images: Array, window: int, strides: int, sides: _pool.Sides) -> Array:
    """Max-pooling with separate padding for each of the four sides."""
    own = functools.partial(_pool.plain, window=window, strides=strides, sides=sides)
    if window > _pool.MAX_WINDOW or explicitly_sharded(images):
        return own(images)
    return jax.lax.platform_dependent(
        images,
        cpu=lambda images: _pool.blockwise(images, window, strides, sides),
        default=own,
    )


def _check_fits(images: Array, window: tuple[int, ...], padding: int) -> None:
    size = tuple(n + 2 * padding for n in images.shape[1:3])
    if window[0] > size[0] or window[1] > size[1]:
        raise ValueError(
            f"images: expected at least {window[0]} rows and {window[1]} columns for a window of "
            f"that size, got {size[0]} and {size[1]} with the padding: use a larger image or "
            "padding, or a smaller window"
        )


def conv2d(
    images: Float[Array, "b h w c"],
    kernel: Float[Array, "kh kw i o"],
    *,
    strides: int = 1,
    padding: int = 0,
    groups: int = 1,
    exact_ties: bool = True,
) -> Float[Array, "b h2 w2 o"]:
    """A 2-D convolution (cross-correlation, as in deep learning).

    Args:
      images: `[b, h, w, c]`.
      kernel: `[kh, kw, c / groups, o]`.
      strides: the step along height and width.
      padding: zeros added on every side.
      groups: channel groups; `groups=c` is a depthwise convolution.
      exact_ties: equal windows give equal bits wherever they are in an image, as a max-pool, an
        argmax or any other comparison of positions needs. Where none follows before positions are
        averaged, False allows a faster form on CPU (Winograd's, for 3x3 windows).

    Returns:
      `[b, (h + 2·padding - kh) // strides + 1, ..., o]`. On CPU, also in every derivative: a
      window of zeros gives exactly zero, and at one position equal windows give equal bits.

    Raises:
      ValueError: the window fits nowhere; from JAX, when the kernel's channels do not match.

    >>> import jax.numpy as jnp
    >>> from signsal_jax import nn
    >>> nn.conv2d(jnp.ones((1, 3, 3, 1)), jnp.ones((3, 3, 1, 1)), padding=1)[0, 1, :, 0].tolist()
    [6.0, 9.0, 6.0]
    """
    _check_fits(images, kernel.shape[:2], padding)
    geometry = _own.Geometry(
        size=images.shape[1:3],
        window=kernel.shape[:2],
        channels=images.shape[3],
        strides=strides,
        padding=padding,
        groups=groups,
        exact_ties=exact_ties,
        precision=current_matmul_precision(),
    )
    # The fast forms reshape axes, for which JAX requires explicit shardings if an axis is split.
    if explicitly_sharded(images) or explicitly_sharded(kernel):
        return _own.outputs(images, kernel, geometry=geometry)
    return outputs_p.bind(*varying_alike(images, kernel), geometry=geometry)


def max_pool(
    images: Float[Array, "b h w c"], *, window: int, strides: int, padding: int = 0
) -> Float[Array, "b h2 w2 c"]:
    """Takes the largest value in each window; padding never wins.

    Args:
      images: `[b, h, w, c]`.
      window: height and width of the window.
      strides: the step along height and width.
      padding: rows and columns of minus infinity added on every side.

    Returns:
      `[b, (h + 2·padding - window) // strides + 1, ..., c]`. Its pullback gives a tie to the
      first element in reading order, as torch does.

    Raises:
      ValueError: the window fits nowhere.

    >>> import jax.numpy as jnp
    >>> from signsal_jax import nn
    >>> pixels = jnp.arange(16.0).reshape(1, 4, 4, 1)
    >>> nn.max_pool(pixels, window=2, strides=2)[0, :, :, 0].tolist()
    [[5.0, 7.0], [13.0, 15.0]]
    """
    _check_fits(images, (window, window), padding)
    return padded_max_pool(images, window, strides, ((padding, padding), (padding, padding)))
