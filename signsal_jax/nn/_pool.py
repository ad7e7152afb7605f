"""Max-pooling whose pullback is one pass of selections over the input."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

# Each tap is a separate operation, and its index must fit in an int8.
MAX_WINDOW = 11


Sides = tuple[tuple[int, int], tuple[int, int]]


def plain(images: Array, *, window: int, strides: int, sides: Sides) -> Array:
    """XLA's own max-pooling; `sides` is the padding above and below, left and right."""
    return jax.lax.reduce_window(
        images,
        -jnp.inf,
        jax.lax.max,
        window_dimensions=(1, window, window, 1),
        window_strides=(1, strides, strides, 1),
        padding=((0, 0), *sides, (0, 0)),
    )


def _first_taps(size: list[int], outputs: list[int], window: int, strides: int, sides: Sides):
    """Returns the first tap of each window that is not padding, or -1 if none: `[1, h, w, 1]`."""
    firsts, meets = [], []
    for n, count, (before, _) in zip(size, outputs, sides, strict=True):
        start = np.arange(count) * strides - before
        first = np.maximum(-start, 0)
        firsts.append(first)
        meets.append((first < window) & (start < n))
    taps = firsts[0][:, None] * window + firsts[1]
    taps = np.where(meets[0][:, None] & meets[1], taps, -1)
    return jnp.asarray(taps[None, :, :, None], jnp.int32)


def _largest(images: Array, window: int, strides: int, sides: Sides) -> tuple[Array, Array]:
    """Returns the largest value of each window and its tap, the first in reading order at a tie."""
    batch, *size, channels = images.shape
    pairs = zip(size, sides, strict=True)
    outputs = [(n + sum(side) - window) // strides + 1 for n, side in pairs]
    lowest = jnp.asarray(-jnp.inf, images.dtype)
    padded = jax.lax.pad(images, lowest, ((0, 0, 0), *((*side, 0) for side in sides), (0, 0, 0)))

    def candidate(tap: int) -> Array:
        corner = divmod(tap, window)
        ends = [at + (n - 1) * strides + 1 for at, n in zip(corner, outputs, strict=True)]
        return jax.lax.slice(
            padded, (0, *corner, 0), (batch, *ends, channels), (1, strides, strides, 1)
        )

    best = candidate(0)
    # Padding never wins, not even against a pixel of minus infinity.
    first = _first_taps(size, outputs, window, strides, sides)
    winner = jnp.broadcast_to(first, best.shape)
    for tap in range(1, window**2):
        value = candidate(tap)
        wins = (value > best) | jnp.isnan(value)
        best = jnp.where(wins, value, best)
        winner = jnp.where(wins, tap, winner)
    return best, winner.astype(jnp.int8)


def _select(images: Array, winner: Array, *, window: int, strides: int, sides: Sides) -> Array:
    """Selects the winner of each window, by sums over blocks of `strides`² pixels.

    A gather would compute the same. This form has a fast transpose: each pixel checks in which of
    the few windows that cover it it won, and the sum is written once.
    """
    batch, *size, channels = images.shape
    # Pad by one extra block. Otherwise XLA fuses the unpadded slice of the winners with the search
    # for them, and repeats that search for every class.
    blocks = [-(-n // strides) + 1 for n in size]
    zero = jnp.zeros((), images.dtype)
    pads = [(0, count * strides - n, 0) for count, n in zip(blocks, size, strict=True)]
    images = jax.lax.pad(images, zero, ((0, 0, 0), *pads, (0, 0, 0)))
    images = images.reshape(batch, blocks[0], strides, blocks[1], strides, channels)
    # A pixel of block i at `phase` is tap `phase + before - strides * shift` of window i + shift.
    phases = [np.arange(strides) + before for before, _ in sides]
    firsts = [-((window - 1 - before) // strides) for before, _ in sides]
    lasts = [(strides - 1 + before) // strides for before, _ in sides]
    room = [
        (-first, count + last - windows, 0)
        for first, last, count, windows in zip(
            firsts, lasts, blocks, winner.shape[1:3], strict=True
        )
    ]
    winner = jax.lax.pad(winner, jnp.asarray(-1, winner.dtype), ((0, 0, 0), *room, (0, 0, 0)))
    total = zero
    for down in range(firsts[0], lasts[0] + 1):
        for right in range(firsts[1], lasts[1] + 1):
            row, column = phases[0][:, None] - strides * down, phases[1][None] - strides * right
            inside = (row >= 0) & (row < window) & (column >= 0) & (column < window)
            tap = np.where(inside, row * window + column, -2).astype(winner.dtype)
            corner = down - firsts[0], right - firsts[1]
            candidates = winner[
                :, corner[0] : corner[0] + blocks[0], None, corner[1] : corner[1] + blocks[1], None
            ]
            won = candidates == tap.reshape(1, 1, strides, 1, strides, 1)
            chosen = jnp.where(won, images, zero).sum((2, 4))
            edges = [
                (at, last - first - at, 0)
                for at, first, last in zip(corner, firsts, lasts, strict=True)
            ]
            total += jax.lax.pad(chosen, zero, ((0, 0, 0), *edges, (0, 0, 0)))
    crop = [(-low, -high, 0) for low, high, _ in room]
    return jax.lax.pad(total, zero, ((0, 0, 0), *crop, (0, 0, 0)))


@functools.partial(jax.custom_jvp, nondiff_argnums=(1, 2, 3))
def blockwise(images: Array, window: int, strides: int, sides: Sides) -> Array:
    """Max-pooling; the first in reading order wins a tie."""
    return _largest(images, window, strides, sides)[0]


@blockwise.defjvp
def _blockwise_jvp(
    window: int, strides: int, sides: Sides, primals: tuple, tangents: tuple
) -> tuple[Array, Array]:
    # The winning taps are constants for every derivative: around its input the pool is linear.
    best, winner = _largest(primals[0], window, strides, sides)
    return best, _select(tangents[0], winner, window=window, strides=strides, sides=sides)
