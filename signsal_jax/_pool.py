"""Max-pooling along one axis after the other, with a pullback that is a sum of selections."""

import jax
import jax.numpy as jnp
from jax import Array

from signsal_jax._conv_blocks import output_size, split_phases


def _pool_axis(images: Array, axis: int, window: int, strides: int, padding: int) -> Array:
    outputs = output_size(images.shape[axis], window, strides, padding)
    needed = outputs * strides + window
    phases, offset = split_phases(images, axis, strides, padding, needed, -jnp.inf)
    candidates = []
    for tap in range(window):
        block, phase = divmod(tap + offset, strides)
        candidate = jax.lax.index_in_dim(phases, phase, axis + 1, keepdims=False)
        candidates.append(jax.lax.slice_in_dim(candidate, block, block + outputs, axis=axis))
    # Which candidate wins is a constant for every derivative: the pool is then linear in its
    # input, and so is its pullback.
    fixed = [jax.lax.stop_gradient(candidate) for candidate in candidates]
    best, winner = fixed[0], jnp.zeros(fixed[0].shape, jnp.int8)
    for tap, candidate in enumerate(fixed[1:], 1):
        wins = (candidate > best) | jnp.isnan(candidate)
        best = jnp.where(wins, candidate, best)
        winner = jnp.where(wins, jnp.int8(tap), winner)
    zero = jnp.zeros((), images.dtype)
    chosen = [jnp.where(winner == tap, c, zero) for tap, c in enumerate(candidates)]
    return sum(chosen[1:], chosen[0])


def separable(images: Array, *, window: int, strides: int, padding: int) -> Array:
    """Max-pooling; the first in reading order wins a tie.

    The leftmost of every row first, then the topmost of those: together the first in reading
    order.
    """
    for axis in (2, 1):
        images = _pool_axis(images, axis, window, strides, padding)
    return images


def plain(images: Array, *, window: int, strides: int, padding: int) -> Array:
    """XLA's own max-pooling."""
    return jax.lax.reduce_window(
        images,
        -jnp.inf,
        jax.lax.max,
        window_dimensions=(1, window, window, 1),
        window_strides=(1, strides, strides, 1),
        padding=((0, 0), (padding, padding), (padding, padding), (0, 0)),
    )
