"""The target's gradient and the extrema of the other classes' gradients, updated in a stream."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from signsal_jax._types import Gradients, Images

Classes = Int[Array, "b h w c"]

# Up to this many classes are compared one by one, by elementwise operations; more by reductions.
_MAX_UNROLL = 16


class RunningExtrema(NamedTuple):
    """The target's gradient and the extrema of the classes seen so far; -1 stands for no class."""

    gradient: Gradients
    highest: Gradients
    highest_class: Classes
    lowest: Gradients
    lowest_class: Classes


def no_extrema(like: Images) -> RunningExtrema:
    """Returns the extrema before any class is seen, for gradients of this shape and type."""
    like = jnp.asarray(like)
    zero = jnp.zeros_like(like)
    no_class = jnp.full_like(like, -1, jnp.int32)
    return RunningExtrema(zero, zero - jnp.inf, no_class, zero + jnp.inf, no_class)


def with_classes(
    extrema: RunningExtrema,
    classes: Int[Array, " m *b"],
    gradients: Float[Array, "m b h w c"],
    target: Int[Array, " b"],
    num_classes: int,
) -> RunningExtrema:
    """Updates the extrema with more classes, in ascending order; a tie keeps the lowest index.

    Args:
      extrema: the extrema of the classes seen before.
      classes: the class indices, `[m]` for all images or `[m, b]`; indices from `num_classes` on
        are padding.
      gradients: the gradients of these classes.
      target: the target class of each image: its gradient is kept and left out of the extrema.
      num_classes: the number of real classes.
    """
    target = target.reshape(-1, 1, 1, 1)
    indices = classes.reshape(len(classes), -1, 1, 1, 1)
    if len(classes) <= _MAX_UNROLL:
        for index, gradient in zip(indices, gradients, strict=True):
            rival = (index != target) & (index < num_classes)
            high, low = jnp.where(rival, gradient, -jnp.inf), jnp.where(rival, gradient, jnp.inf)
            kept = jnp.where(index == target, gradient, extrema.gradient)
            extrema = _merged(extrema._replace(gradient=kept), high, index, low, index)
        return extrema
    own = indices == target[None]
    rival = ~own & (indices < num_classes)
    high, low = jnp.where(rival, gradients, -jnp.inf), jnp.where(rival, gradients, jnp.inf)
    extrema = extrema._replace(gradient=extrema.gradient + jnp.where(own, gradients, 0).sum(0))
    return _merged(
        extrema, *_first(high, high.argmax(0), indices), *_first(low, low.argmin(0), indices)
    )


def _first(values: Array, place: Array, indices: Array) -> tuple[Array, Array]:
    """Selects value and class at `place` along axis 0.

    Unlike `max`, ties send the gradient to one class only.
    """
    chosen = jnp.arange(len(values)).reshape(-1, 1, 1, 1, 1) == place[None]
    index = jnp.where(chosen, indices, 0).sum(0, dtype=indices.dtype)  # int64 under x64
    return jnp.where(chosen, values, 0).sum(0), index


def _merged(
    extrema: RunningExtrema, high: Array, high_class: Array, low: Array, low_class: Array
) -> RunningExtrema:
    # Comparisons with NaN are false: take the first NaN explicitly, and it is never replaced.
    above = (high > extrema.highest) | (jnp.isnan(high) & ~jnp.isnan(extrema.highest))
    below = (low < extrema.lowest) | (jnp.isnan(low) & ~jnp.isnan(extrema.lowest))
    return extrema._replace(
        highest=jnp.where(above, high, extrema.highest),
        highest_class=jnp.where(above, high_class, extrema.highest_class),
        lowest=jnp.where(below, low, extrema.lowest),
        lowest_class=jnp.where(below, low_class, extrema.lowest_class),
    )


def nan_where_not_finite(gradient: Gradients, images: Images) -> Gradients:
    """Replaces the gradient of an image by NaN if any of its pixels is not finite.

    A classifier can hide such a pixel (by a comparison, say); the NaN gradient still reveals it.
    """
    finite = jnp.isfinite(jnp.asarray(images)).all((1, 2, 3), keepdims=True)
    return jnp.where(finite, gradient, jnp.nan)


def over_devices(extrema: RunningExtrema, axis: str) -> RunningExtrema:
    """Inside `shard_map`: combines the extrema of all devices along `axis`, which split classes."""

    def joined(values: Array, classes: Array, best: Callable, worst: float) -> tuple[Array, Array]:
        nan = jax.lax.pmax(jnp.isnan(values).astype(jnp.int32), axis) > 0
        extremum = best(jnp.where(jnp.isnan(values), worst, values), axis)
        extremum = jnp.where(nan, jnp.nan, extremum)
        reached = jnp.where(nan, jnp.isnan(values), values == extremum)
        lowest = jax.lax.pmin(jnp.where(reached, classes, jnp.iinfo(jnp.int32).max), axis)
        return extremum, lowest

    return RunningExtrema(
        jax.lax.psum(extrema.gradient, axis),
        *joined(extrema.highest, extrema.highest_class, jax.lax.pmax, -jnp.inf),
        *joined(extrema.lowest, extrema.lowest_class, jax.lax.pmin, jnp.inf),
    )
