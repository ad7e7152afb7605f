"""Rank correlation on the device, with average ranks at ties."""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from signsal_jax._sorting import ascending


def average_ranks(values: Float[Array, "*b n"]) -> Float[Array, "*b n"]:
    """Returns ranks from 1 to n along the last axis; equal values share the mean of theirs."""

    def of_row(ordered: Array, row: Array) -> Array:
        below = jnp.searchsorted(ordered, row, side="left")
        upto = jnp.searchsorted(ordered, row, side="right")
        return (below + upto + 1).astype(jnp.float32) / 2

    flat = values.reshape(-1, values.shape[-1])
    return jax.vmap(of_row)(ascending(flat), flat).reshape(values.shape)


def unit_ranks(values: Float[Array, "*b n"]) -> Float[Array, "*b n"]:
    """Returns ranks with mean 0 and norm 1 along the last axis, or zeros where all are equal.

    The sum of products of two of them is Spearman's correlation.
    """
    ranks = average_ranks(values)
    ranks -= ranks.mean(-1, keepdims=True)
    # Two products of a sum fit float32 where one would not.
    norm = jnp.sqrt(jnp.square(ranks).sum(-1, keepdims=True))
    return ranks / jnp.where(norm == 0, 1, norm)


def rank_correlation(
    first: Float[Array, "*b n"], second: Float[Array, "*b n"]
) -> Float[Array, "*b"]:
    """Returns Spearman's correlation along the last axis, 0 where either is constant."""
    return (unit_ranks(first) * unit_ranks(second)).sum(-1)
