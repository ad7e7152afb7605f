"""Max-pooling whose pullback is one pass of selections over the input."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from signsal_jax.nn._blocks import output_size

# Every tap is an operation of its own, and its number has to fit an int8.
MAX_WINDOW = 11


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


def _largest(images: Array, window: int, strides: int, padding: int) -> tuple[Array, Array]:
    """The largest value of each window and its tap, the first in reading order at a tie."""
    batch, *size, channels = images.shape
    height, width = (output_size(n, window, strides, padding) for n in size)
    around = (padding, padding, 0)
    lowest = jnp.asarray(-jnp.inf, images.dtype)
    images = jax.lax.pad(images, lowest, ((0, 0, 0), around, around, (0, 0, 0)))

    def candidate(tap: int) -> Array:
        top, left = divmod(tap, window)
        ends = top + (height - 1) * strides + 1, left + (width - 1) * strides + 1
        return jax.lax.slice(
            images, (0, top, left, 0), (batch, *ends, channels), (1, strides, strides, 1)
        )

    best = candidate(0)
    winner = jnp.zeros(best.shape, jnp.int32)
    for tap in range(1, window**2):
        value = candidate(tap)
        wins = (value > best) | jnp.isnan(value)
        best = jnp.where(wins, value, best)
        winner = jnp.where(wins, tap, winner)
    return best, winner.astype(jnp.int8)


def _select(images: Array, winner: Array, *, window: int, strides: int, padding: int) -> Array:
    """The winner of every window, summed over blocks of `strides`² pixels.

    A gather would compute the same. This form is for its transpose: every pixel asks the few
    windows that cover it whether it won there, and the sum is written once.
    """
    batch, *size, channels = images.shape
    # One block more than needed keeps every slice of the winners out of their unpadded part. XLA
    # would take that part from the computation itself, and find the winner anew in the pullback
    # of every class.
    blocks = [-(-n // strides) + 1 for n in size]
    zero = jnp.zeros((), images.dtype)
    pads = [(0, count * strides - n, 0) for count, n in zip(blocks, size, strict=True)]
    images = jax.lax.pad(images, zero, ((0, 0, 0), *pads, (0, 0, 0)))
    images = images.reshape(batch, blocks[0], strides, blocks[1], strides, channels)
    # A pixel of block i at `phase` is tap `phase + padding - strides * shift` of window i + shift.
    phases = np.arange(strides) + padding
    first, last = -((window - 1 - padding) // strides), (strides - 1 + padding) // strides
    room = [
        (-first, count + last - windows, 0)
        for count, windows in zip(blocks, winner.shape[1:3], strict=True)
    ]
    winner = jax.lax.pad(winner, jnp.asarray(-1, winner.dtype), ((0, 0, 0), *room, (0, 0, 0)))
    total = zero
    for down in range(first, last + 1):
        for right in range(first, last + 1):
            row, column = phases[:, None] - strides * down, phases[None] - strides * right
            inside = (row >= 0) & (row < window) & (column >= 0) & (column < window)
            tap = np.where(inside, row * window + column, -2).astype(winner.dtype)
            top, left = down - first, right - first
            candidates = winner[:, top : top + blocks[0], None, left : left + blocks[1], None]
            won = candidates == tap.reshape(1, 1, strides, 1, strides, 1)
            chosen = jnp.where(won, images, zero).sum((2, 4))
            edges = [(corner, last - first - corner, 0) for corner in (top, left)]
            total += jax.lax.pad(chosen, zero, ((0, 0, 0), *edges, (0, 0, 0)))
    crop = [(-low, -high, 0) for low, high, _ in room]
    return jax.lax.pad(total, zero, ((0, 0, 0), *crop, (0, 0, 0)))


@functools.partial(jax.custom_jvp, nondiff_argnums=(1, 2, 3))
def blockwise(images: Array, window: int, strides: int, padding: int) -> Array:
    """Max-pooling; the first in reading order wins a tie."""
    return _largest(images, window, strides, padding)[0]


@blockwise.defjvp
def _blockwise_jvp(
    window: int, strides: int, padding: int, primals: tuple, tangents: tuple
) -> tuple[Array, Array]:
    # Which tap wins is a constant for every derivative: the pool is linear around its input.
    best, winner = _largest(primals[0], window, strides, padding)
    return best, _select(tangents[0], winner, window=window, strides=strides, padding=padding)
