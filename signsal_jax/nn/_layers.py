"""Convolution and pooling for the zoo: channels last, torch's explicit padding.

On TPU and GPU these are XLA's own operations. On CPU, where several of those are slow, above all
in the pullback, the static shapes choose an equivalent that is fast in both directions.
"""

import functools

import jax
import jax.numpy as jnp
from jax import Array
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Float

from signsal_jax._vma import explicitly_sharded
from signsal_jax.nn import _blocks, _choice, _pool


def _on_cpu(
    form: _choice.Form | None, images: Array, kernel: Array, settings: dict[str, int]
) -> Array:
    own = functools.partial(_blocks.plain, **settings)
    # The rewrites regroup axes, which JAX asks to be told about where one of them is split.
    if form is None or explicitly_sharded(images) or explicitly_sharded(kernel):
        return own(images, kernel)
    return jax.lax.platform_dependent(images, kernel, cpu=form, default=own)


# A bilinear map: the tangents are the map itself, in the form whose transpose is fast.
@functools.partial(jax.custom_jvp, nondiff_argnums=(2, 3, 4))
def _bilinear(images: Array, kernel: Array, strides: int, padding: int, groups: int) -> Array:
    settings = {"strides": strides, "padding": padding, "groups": groups}
    return _on_cpu(_choice.forms(images, kernel, **settings).forward, images, kernel, settings)


def _bilinear_jvp(
    strides: int, padding: int, groups: int, primals: tuple, tangents: tuple
) -> tuple[Array, Array]:
    settings = {"strides": strides, "padding": padding, "groups": groups}
    (images, kernel), (images_dot, kernel_dot) = primals, tangents
    forms = _choice.forms(images, kernel, **settings)
    output = _bilinear(images, kernel, strides, padding, groups)
    terms = []
    if not isinstance(images_dot, SymbolicZero):
        terms.append(_on_cpu(forms.images, images_dot, kernel, settings))
    if not isinstance(kernel_dot, SymbolicZero):
        terms.append(_on_cpu(forms.kernel, images, kernel_dot, settings))
    return output, sum(terms[1:], terms[0]) if terms else jnp.zeros_like(output)


_bilinear.defjvp(_bilinear_jvp, symbolic_zeros=True)


# Jitted for calls outside jit. Inlined into the caller's: as a function of its own it would cost
# the pullback several times its time.
@functools.partial(jax.jit, static_argnames=("strides", "padding", "groups"), inline=True)
def _conv2d(images: Array, kernel: Array, strides: int, padding: int, groups: int) -> Array:
    return _bilinear(images, kernel, strides, padding, groups)


@functools.partial(jax.jit, static_argnames=("window", "strides", "sides"), inline=True)
def padded_max_pool(images: Array, window: int, strides: int, sides: _pool.Sides) -> Array:
    """Max-pooling with its own padding on each of the four sides."""
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
      ValueError: the window fits nowhere; from JAX, when the kernel's channels do not match.

    >>> import jax.numpy as jnp
    >>> from signsal_jax import nn
    >>> nn.conv2d(jnp.ones((1, 3, 3, 1)), jnp.ones((3, 3, 1, 1)), padding=1)[0, 1, :, 0].tolist()
    [6.0, 9.0, 6.0]
    """
    _check_fits(images, kernel.shape[:2], padding)
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
