"""Sorting by integer keys: XLA on CPU sorts integers four times as fast as floating point."""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Int, Shaped


def ascending(values: Shaped[Array, "*b n"]) -> Shaped[Array, "*b n"]:
    """Sorts along the last axis, as `jnp.sort` does: NaN last, zeros without their sign.

    Not differentiable.
    """
    if not jnp.issubdtype(values.dtype, jnp.floating):
        return jnp.sort(values, axis=-1)
    return _values_of(jnp.sort(_keys_of(values), axis=-1, stable=False), values.dtype)


def inverse_permutation(order: Int[Array, "b n"]) -> Int[Array, "b n"]:
    """Returns where each index stands in its row of `order`, like a second `argsort` but faster."""
    batch, size = order.shape
    places = jnp.broadcast_to(jnp.arange(size, dtype=order.dtype), order.shape)
    rows = jnp.arange(batch)[:, None]
    return jnp.zeros_like(order).at[rows, order].set(places, unique_indices=True)


def _integer(dtype: jnp.dtype) -> jnp.dtype:
    return jnp.dtype(f"int{8 * dtype.itemsize}")


def _keys_of(values: Array) -> Array:
    """Returns integers in the order of the values.

    Bits of floating point are in the order of positive values already; of negative ones, in the
    opposite one.
    """
    values = jnp.where(values == 0, 0, jnp.where(jnp.isnan(values), jnp.nan, values))
    bits = jax.lax.bitcast_convert_type(values, _integer(values.dtype))
    return _flipped(bits)


def _values_of(keys: Array, dtype: jnp.dtype) -> Array:
    return jax.lax.bitcast_convert_type(_flipped(keys), dtype)


def _flipped(bits: Array) -> Array:
    """Reverses the order of the negative ones, and undoes it."""
    return jnp.where(bits < 0, bits ^ jnp.iinfo(bits.dtype).max, bits)
