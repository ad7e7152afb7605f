"""What JAX's types say of the devices that values live on, and how to make them match."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array


def _axes(value: Array | jax.ShapeDtypeStruct) -> frozenset:
    typed: Any = value if isinstance(value, jax.ShapeDtypeStruct) else jax.typeof(value)
    if hasattr(typed, "vma"):  # before JAX 0.9
        return typed.vma or frozenset()
    return typed.manual_axis_type.varying if typed.manual_axis_type else frozenset()


def _varying_over(values: Array, axes: frozenset) -> Array:
    """Inside `jax.shard_map`, marks `values` as differing between devices along these axes."""
    missing = axes - _axes(values)
    return jax.lax.pcast(values, tuple(missing), to="varying") if missing else values


def varying_like(values: Array, like: Array | jax.ShapeDtypeStruct) -> Array:
    """Marks `values` as differing between devices wherever `like` does.

    Constants do not, but cotangents and the carry of a scan must match what they meet.
    """
    return _varying_over(values, _axes(like))


def varying_alike(*values: Array) -> list[Array]:
    """Marks each of the values as differing between devices wherever one of them does."""
    axes = frozenset().union(*map(_axes, values))
    return [_varying_over(value, axes) for value in values]


def shaped_like(values: Array, shape: tuple[Any, ...]) -> jax.ShapeDtypeStruct:
    """The type of an array of this shape that differs between devices wherever `values` do."""
    return jax.eval_shape(
        lambda values: varying_like(jnp.zeros(shape, values.dtype), values), values
    )


def explicitly_sharded(value: Array) -> bool:
    """Whether its type says along which axes of an explicit mesh it is split."""
    return any(axes is not None for axes in jax.typeof(value).sharding.spec)


def check_images_differ(images: Array, name: str, values: Array) -> None:
    """Checks that images differ between devices wherever what is asked of them does.

    Otherwise the pullback would sum the gradients of all devices.
    """
    if axes := sorted(map(str, _axes(values) - _axes(images))):
        raise ValueError(
            f"images: expected to differ between devices along {', '.join(axes)} like the {name}, "
            f"got images that do not: jax.lax.pcast(images, {tuple(axes)}, to='varying')"
        )
