"""One value per pixel from signed gradients: channel reduction, and scaling to [0, 1]."""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float

from signsal_jax import _checks
from signsal_jax._precision import at_least_float32
from signsal_jax._types import Gradients

CHANNELS = ("max", "sum", "l2", "none")

Map = Float[Array, "b h w"] | Float[Array, "b h w c"]


def reduce_channels(kept: Gradients, channel: str = "max") -> Map:
    """Reduces channels to one value per pixel: maximum, sum or l2 norm of their absolute values.

    Args:
      kept: signed gradients `[b, h, w, c]`.
      channel: "max" (the paper's), "sum", "l2", or "none" to return `kept` as it is, signed.

    Returns:
      `[b, h, w]`, at least 0; with "none" `[b, h, w, c]`.

    Raises:
      TypeError, ValueError: an unknown channel reduction, gradients of another rank or type.

    >>> import jax.numpy as jnp, signsal_jax
    >>> kept = jnp.asarray([3.0, -4.0]).reshape(1, 1, 1, 2)
    >>> [float(signsal_jax.reduce_channels(kept, name)[0, 0, 0]) for name in ("max", "sum", "l2")]
    [4.0, 7.0, 5.0]
    """
    _checks.check_member("channel", channel, CHANNELS)
    kept = _checks.check_numbers("kept", kept, ranks=(4,))
    if kept.shape[-1] == 0:
        raise ValueError(f"kept: expected at least one channel, got shape {kept.shape}")
    if channel == "none":
        return kept
    if channel == "max":
        return jnp.abs(kept).max(-1)
    if channel == "sum":
        return jnp.abs(kept).sum(-1)
    # Divide by the largest channel first, since squares of small gradients underflow. Neither the
    # norm nor its derivative depends on this unit. The square root has an infinite derivative at
    # zero: avoid it at empty pixels, so that a loss on the map has the gradient 0 there, not NaN.
    unit = jax.lax.stop_gradient(jnp.abs(kept).max(-1))
    nothing = unit == 0
    unit = jnp.where(nothing, 1, unit)
    squares = jnp.square(kept / unit[..., None]).sum(-1)
    return jnp.where(nothing, 0, unit * jnp.sqrt(jnp.where(nothing, 1, squares)))


def normalize_maps(maps: Map) -> tuple[Map, Bool[Array, " b"]]:
    """Scales each image's map to [0, 1] and flags constant maps.

    Args:
      maps: `[b, h, w]`, scaled by (m - min) / (max - min); or signed `[b, h, w, c]`, divided by
        the largest absolute value, which keeps zero and the signs where they are ([-1, 1]).

    Returns:
      The scaled maps and `empty` `[b]`, true where the map was constant (then it is all zeros) or
      not finite (then it is all NaN, so that no average counts it as zeros).

    Raises:
      TypeError, ValueError: maps that are not real numbers, of another rank, or without pixels.

    Reference: arXiv 2309.12913 (the authors' code gives NaN for a constant map).

    >>> import jax.numpy as jnp, signsal_jax
    >>> maps, empty = signsal_jax.normalize_maps(jnp.asarray([[[2.0, 4.0]], [[3.0, 3.0]]]))
    >>> maps.tolist(), empty.tolist()
    ([[[0.0, 1.0]], [[0.0, 0.0]]], [False, True])
    """
    maps = _checks.check_numbers("maps", maps)
    if maps.ndim not in (3, 4):
        hint = ": add a batch axis, maps[None]" if maps.ndim == 2 else ""
        raise ValueError(
            f"maps: expected [b, h, w] or signed [b, h, w, c], got shape {maps.shape}{hint}"
        )
    if 0 in maps.shape[1:]:
        raise ValueError(f"maps: expected at least one pixel, got shape {maps.shape}")
    axes, wide = tuple(range(1, maps.ndim)), at_least_float32(maps.dtype)
    dtype = maps.dtype if jnp.issubdtype(maps.dtype, jnp.floating) else wide
    # The reciprocal of a small range overflows float16.
    maps = maps.astype(wide)
    low, high = maps.min(axes, keepdims=True), maps.max(axes, keepdims=True)
    # Not low == high: the difference of unequal denormal numbers can be flushed to zero.
    constant = high - low == 0
    if maps.ndim == 4:
        low, high = jnp.zeros_like(low), jnp.abs(maps).max(axes, keepdims=True)
    scaled = jnp.where(constant, 0, (maps - low) / jnp.where(constant, 1, high - low))
    finite = jnp.isfinite(maps).all(axes, keepdims=True)
    empty = (constant | ~finite).reshape(-1)
    return jnp.where(finite, scaled, jnp.nan).astype(dtype), empty
