"""Convolution and pooling for the zoo: channels last, torch's explicit padding.

On TPU and GPU these are XLA's own operations. On CPU, where several of those are slow, above all
in the pullback, the static shapes choose an equivalent that is fast in both directions.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from signsal_jax import _conv_blocks, _conv_winograd, _pool

# Limits for CPU, chosen from timings of the convolutions of the Basic CNN and ResNet-18 alone.
_MAX_DENSE_PAIRS = 64  # input pixels times output pixels of a convolution done as one product
_MAX_BLOCK_CHANNELS = 64  # channels of a space-to-depth block
_MIN_WINOGRAD_CHANNELS = 64  # fewer do not pay for the transforms


def _cpu_convolution(
    images: Array, kernel: Array, strides: int, padding: int, groups: int
) -> Callable[[Array, Array], Array] | None:
    """The faster equivalent on CPU, or None where XLA's own is as good."""
    _, height, width, channels = images.shape
    window, other_window, inputs, features = kernel.shape
    if (
        images.dtype not in (jnp.float32, jnp.float64)
        or images.dtype != kernel.dtype
        or window != other_window
        or channels != inputs * groups
    ):
        return None
    sizes = [_conv_blocks.output_size(size, window, strides, padding) for size in (height, width)]
    if min(sizes) < 1:
        return None
    if groups > 1:
        if groups != channels or features != channels:
            return None
        return functools.partial(_conv_blocks.depthwise, strides=strides, padding=padding)
    if window == 1 and padding == 0:
        return functools.partial(_conv_blocks.pointwise, strides=strides)
    if height * width * sizes[0] * sizes[1] <= _MAX_DENSE_PAIRS:
        return functools.partial(_conv_blocks.dense, strides=strides, padding=padding)
    if strides > 1 and strides**2 * channels <= _MAX_BLOCK_CHANNELS:
        return functools.partial(_conv_blocks.space_to_depth, strides=strides, padding=padding)
    if (window, strides, padding) == (3, 1, 1) and min(
        channels, features
    ) >= _MIN_WINOGRAD_CHANNELS:
        return _conv_winograd.conv3x3
    return None


# Jitted for calls outside jit. Inlined into the caller's: as a function of its own it would cost
# the pullback several times its time.
@functools.partial(jax.jit, static_argnames=("strides", "padding", "groups"), inline=True)
def _conv2d(images: Array, kernel: Array, strides: int, padding: int, groups: int) -> Array:
    own = functools.partial(_conv_blocks.plain, strides=strides, padding=padding, groups=groups)
    fast = _cpu_convolution(images, kernel, strides, padding, groups)
    if fast is None:
        return own(images, kernel)
    return jax.lax.platform_dependent(images, kernel, cpu=fast, default=own)


@functools.partial(jax.jit, static_argnames=("window", "strides", "padding"), inline=True)
def _max_pool(images: Array, window: int, strides: int, padding: int) -> Array:
    settings = {"window": window, "strides": strides, "padding": padding}
    return jax.lax.platform_dependent(
        images,
        cpu=functools.partial(_pool.separable, **settings),
        default=functools.partial(_pool.plain, **settings),
    )


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
      ValueError: from JAX, when the kernel's channels do not match.

    >>> import jax.numpy as jnp
    >>> from signsal_jax import nn
    >>> nn.conv2d(jnp.ones((1, 3, 3, 1)), jnp.ones((3, 3, 1, 1)), padding=1)[0, 1, :, 0].tolist()
    [6.0, 9.0, 6.0]
    """
    return _conv2d(images, kernel, strides, padding, groups)


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
    return _max_pool(images, window, strides, padding)
