"""Types that say between which devices values differ (or are split), and how to match them."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array


def _axes(value: Array | jax.ShapeDtypeStruct) -> frozenset:
    typed: Any = value if isinstance(value, jax.ShapeDtypeStruct) else jax.typeof(value)
    if hasattr(typed, "vma"):  # before JAX 0.9
        return typed.vma or frozenset()
    return typed.manual_axis_type.varying if typed.manual_axis_type else frozenset()


def varying_over(values: Array, *axes: Any) -> Array:
    """Inside `jax.shard_map`, marks `values` as differing between devices along these axes."""
    missing = tuple(frozenset(axes) - _axes(values))
    if not missing:
        return values
    lax: Any = jax.lax
    if not hasattr(lax, "pcast"):  # before JAX 0.9
        return lax.pvary(values, missing)
    return lax.pcast(values, missing, to="varying")


def varying_like(values: Array, like: Array | jax.ShapeDtypeStruct) -> Array:
    """Marks `values` as differing between devices wherever `like` does.

    Constants differ nowhere, but JAX requires cotangents and the carry of a scan to have the same
    type as the values they are combined with.
    """
    return varying_over(values, *_axes(like))


def varying_alike(*values: Array) -> list[Array]:
    """Marks each of the values as differing between devices wherever one of them does."""
    axes = frozenset().union(*map(_axes, values))
    return [varying_over(value, *axes) for value in values]


def shaped_like(
    values: Array | jax.ShapeDtypeStruct, shape: tuple[Any, ...], dtype: Any = None
) -> jax.ShapeDtypeStruct:
    """The type of an array of this shape that differs between devices wherever `values` do."""
    dtype = values.dtype if dtype is None else dtype
    return jax.eval_shape(lambda values: varying_like(jnp.zeros(shape, dtype), values), values)


def explicitly_sharded(value: Array) -> bool:
    """Whether the value's type says that it is split along axes of an explicit mesh."""
    return any(axes is not None for axes in jax.typeof(value).sharding.spec)


def check_images_differ(images: Array, name: str, values: Array) -> None:
    """Raises unless images differ between devices along every axis where `values` do.

    Otherwise the pullback would sum the gradients of all devices.
    """
    if axes := sorted(map(str, _axes(values) - _axes(images))):
        raise ValueError(
            f"images: expected to differ between devices along {', '.join(axes)} like the {name}, "
            f"got images that do not: jax.lax.pcast(images, {tuple(axes)}, to='varying')"
        )
