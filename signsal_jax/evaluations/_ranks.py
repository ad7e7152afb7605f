"""Rank correlation on the device, with average ranks at ties."""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float


def average_ranks(values: Float[Array, "*b n"]) -> Float[Array, "*b n"]:
    """Returns ranks from 1 to n along the last axis; equal values share the mean of theirs."""

    def of_row(row: Array) -> Array:
        ordered = jnp.sort(row)
        below = jnp.searchsorted(ordered, row, side="left", method="sort")
        upto = jnp.searchsorted(ordered, row, side="right", method="sort")
        return (below + upto + 1).astype(jnp.float32) / 2

    flat = values.reshape(-1, values.shape[-1])
    return jax.vmap(of_row)(flat).reshape(values.shape)


def rank_correlation(
    first: Float[Array, "*b n"], second: Float[Array, "*b n"]
) -> Float[Array, "*b"]:
    """Returns Spearman's correlation along the last axis, 0 where either is constant."""
    centered = [average_ranks(values) for values in (first, second)]
    centered = [ranks - ranks.mean(-1, keepdims=True) for ranks in centered]
    # Two products of a sum fit float32 where one would not.
    norms = [jnp.sqrt(jnp.square(ranks).sum(-1)) for ranks in centered]
    constant = (norms[0] == 0) | (norms[1] == 0)
    unit = [
        ranks / jnp.where(constant, 1, norm)[..., None]
        for ranks, norm in zip(centered, norms, strict=True)
    ]
    return jnp.where(constant, 0, (unit[0] * unit[1]).sum(-1))
