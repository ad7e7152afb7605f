"""The target's gradient and the extrema of the others', updated class by class."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from signsal_jax._types import Gradients, Images

Classes = Int[Array, "b h w c"]

# Up to so many classes one by one, which compiles to plain comparisons; more by reductions.
_MAX_UNROLL = 16


class RunningExtrema(NamedTuple):
    """What the classes seen so far say; -1 is no class."""

    gradient: Gradients
    highest: Gradients
    highest_class: Classes
    lowest: Gradients
    lowest_class: Classes


def no_extrema(like: Images) -> RunningExtrema:
    """Before any class was seen, for gradients of this shape and type."""
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
    """The extrema with some more classes, in ascending order; at a tie the lowest index stays.

    Args:
      classes: their indices, the same for all images or `[m, b]`; from `num_classes` on they are
        padding.
      gradients: theirs.
      target: of each image: its gradient is kept and takes no part in the extrema.
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
    return jnp.where(chosen, values, 0).sum(0), jnp.where(chosen, indices, 0).sum(0)


def _merged(
    extrema: RunningExtrema, high: Array, high_class: Array, low: Array, low_class: Array
) -> RunningExtrema:
    # NaN compares false with everything: take the first in explicitly, and it stays.
    above = (high > extrema.highest) | (jnp.isnan(high) & ~jnp.isnan(extrema.highest))
    below = (low < extrema.lowest) | (jnp.isnan(low) & ~jnp.isnan(extrema.lowest))
    return extrema._replace(
        highest=jnp.where(above, high, extrema.highest),
        highest_class=jnp.where(above, high_class, extrema.highest_class),
        lowest=jnp.where(below, low, extrema.lowest),
        lowest_class=jnp.where(below, low_class, extrema.lowest_class),
    )


def nan_where_not_finite(gradient: Gradients, images: Images) -> Gradients:
    """NaN throughout an image with a pixel that is not finite.

    A classifier can swallow such a pixel (by a comparison, say): the gradient carries it on.
    """
    finite = jnp.isfinite(jnp.asarray(images)).all((1, 2, 3), keepdims=True)
    return jnp.where(finite, gradient, jnp.nan)


def over_devices(extrema: RunningExtrema, axis: str) -> RunningExtrema:
    """Inside `shard_map`: the extrema of all devices along an axis, each of other classes."""

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
