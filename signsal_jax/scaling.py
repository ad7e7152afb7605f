"""From signed gradients to one value a pixel: channel reduction, and scaling to [0, 1]."""

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
    """One value a pixel: the largest, the sum or the l2 norm of the channels' absolute values.

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
    # The norm is taken of multiples of the largest channel, since squares of gradients underflow
    # early; it does not depend on that unit, nor does its derivative. The root of zero has an
    # infinite derivative: keep it away from the empty pixels, so that a map inside a loss has
    # the gradient 0 there and not NaN.
    unit = jax.lax.stop_gradient(jnp.abs(kept).max(-1))
    nothing = unit == 0
    unit = jnp.where(nothing, 1, unit)
    squares = jnp.square(kept / unit[..., None]).sum(-1)
    return jnp.where(nothing, 0, unit * jnp.sqrt(jnp.where(nothing, 1, squares)))


def normalize_maps(maps: Map) -> tuple[Map, Bool[Array, " b"]]:
    """Scales every image's map to [0, 1]; a map without a range is flagged.

    Args:
      maps: `[b, h, w]`, scaled by (m - min) / (max - min); or signed `[b, h, w, c]`, divided by
        the largest absolute value, which keeps zero and the signs where they are ([-1, 1]).

    Returns:
      The scaled maps and `empty` `[b]`, true where the map was constant (it is then zero
      throughout) or not finite (NaN throughout, so that no average takes it for zeros).

    Raises:
      TypeError, ValueError: maps that are no real numbers, of another rank, or without pixels.

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
    # One over a small range is more than float16 can hold.
    maps = maps.astype(wide)
    low, high = maps.min(axes, keepdims=True), maps.max(axes, keepdims=True)
    # Not low == high: of denormal numbers the difference can be zero where they are not equal.
    constant = high - low == 0
    if maps.ndim == 4:
        low, high = jnp.zeros_like(low), jnp.abs(maps).max(axes, keepdims=True)
    scaled = jnp.where(constant, 0, (maps - low) / jnp.where(constant, 1, high - low))
    finite = jnp.isfinite(maps).all(axes, keepdims=True)
    empty = (constant | ~finite).reshape(-1)
    return jnp.where(finite, scaled, jnp.nan).astype(dtype), empty
