"""Convolution and pooling for the zoo: channels last, torch's explicit padding."""

import jax
import numpy as np
from jax import Array
from jaxtyping import Float


def conv2d(
    images: Float[Array, "b h w c"],
    kernel: Float[Array, "kh kw i o"],
    *,
    strides: int = 1,
    padding: int = 0,
    groups: int = 1,
) -> Float[Array, "b h2 w2 o"]:
    """A 2-D convolution (cross-correlation, as in deep learning).

    Args:
      images: `[b, h, w, c]`.
      kernel: `[kh, kw, c / groups, o]`.
      strides: the step along height and width.
      padding: zeros added on every side.
      groups: channel groups; `groups=c` is a depthwise convolution.

    Returns:
      `[b, (h + 2·padding - kh) // strides + 1, ..., o]`.

    Raises:
      TypeError: from JAX, when the kernel's channels do not match.

    >>> import jax.numpy as jnp
    >>> from signsal_jax import nn
    >>> nn.conv2d(jnp.ones((1, 3, 3, 1)), jnp.ones((3, 3, 1, 1)), padding=1)[0, 1, :, 0].tolist()
    [6.0, 9.0, 6.0]
    """
    return jax.lax.conv_general_dilated(
        images,
        kernel,
        window_strides=(strides, strides),
        padding=((padding, padding), (padding, padding)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


def max_pool(
    images: Float[Array, "b h w c"], *, window: int, strides: int, padding: int = 0
) -> Float[Array, "b h2 w2 c"]:
    """The largest value in every window; padding never wins.

    Args:
      images: `[b, h, w, c]`.
      window: height and width of the window.
      strides: the step along height and width.
      padding: rows and columns of minus infinity added on every side.

    Returns:
      `[b, (h + 2·padding - window) // strides + 1, ..., c]`. Its pullback gives a tie to the
      first element in reading order, as torch does.

    >>> import jax.numpy as jnp
    >>> from signsal_jax import nn
    >>> pixels = jnp.arange(16.0).reshape(1, 4, 4, 1)
    >>> nn.max_pool(pixels, window=2, strides=2)[0, :, :, 0].tolist()
    [[5.0, 7.0], [13.0, 15.0]]
    """
    return jax.lax.reduce_window(
        images,
        # A host scalar: JAX sees a max-pooling, and so its derivative, only if it can read it.
        np.asarray(-np.inf, images.dtype),
        jax.lax.max,
        window_dimensions=(1, window, window, 1),
        window_strides=(1, strides, strides, 1),
        padding=((0, 0), (padding, padding), (padding, padding), (0, 0)),
    )
