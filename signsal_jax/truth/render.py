"""Scenes of marks on textured backgrounds, and their images: seeded, pure, on the device.

An image is its background plus every mark's footprint times the mark's amplitude, so it is linear
in the amplitudes, and "the same scene with one mark brighter" is exact. Background and amplitudes
are bounded so that pixels stay within [0, 1] without clipping.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int

SIZE = 32
CELL = 8
CELLS = (SIZE // CELL) ** 2
CHANNELS = 3
MOST_AMPLITUDE = 0.36
STEP = 0.04
"""How much brighter or darker a mark is rendered to learn what it does."""

_WAVES = 4
_TEXTURE = 0.08
_NOISE = 0.02
TEXTURE_NUMBERS = _WAVES * (2 + 1 + CHANNELS) + SIZE * SIZE * CHANNELS
"""How many random numbers a background is made of."""

# The first four divide a cell among them, and the last two have as many pixels in each of the four:
# no mark looks like part of another one.
_DRAWN = """
........ ##....## ..####.. ........ ######## #.#.#.#.
........ ##....## ..####.. ........ ........ .#.#.#.#
..####.. ........ ........ ##....## ######## #.#.#.#.
..####.. ........ ........ ##....## ........ .#.#.#.#
..####.. ........ ........ ##....## ######## #.#.#.#.
..####.. ........ ........ ##....## ........ .#.#.#.#
........ ##....## ..####.. ........ ######## #.#.#.#.
........ ##....## ..####.. ........ ........ .#.#.#.#
"""
SHAPES = ("square", "corners", "caps", "sides", "stripes", "checker")
STAMPS = np.asarray(
    [[[c == "#" for c in part] for part in line.split()] for line in _DRAWN.split("\n")[1:-1]],
    np.float32,
).transpose(1, 0, 2)
"""The shapes as 0 and 1, `[shape, cell, cell]`."""


class Scene(NamedTuple):
    """Everything that is in an image.

    Attributes:
      background: the texture, `[h, w, c]`.
      shape: per mark, an index into `SHAPES`.
      cell: per mark, its place: `CELLS` cells, row by row.
      color: per mark, 1 for the channels that it is drawn in, 0 for the others, `[m, c]`.
      amplitude: per mark, what it adds to its pixels: bright marks have a positive amplitude, dark
        ones a negative, and a mark with 0 is not there.
    """

    background: Float[Array, "h w c"]
    shape: Int[Array, " m"]
    cell: Int[Array, " m"]
    color: Float[Array, "m c"]
    amplitude: Float[Array, " m"]


def texture(numbers: Float[Array, " n"]) -> Float[Array, "h w c"]:
    """Returns a background: colored plane waves and noise around the gray 0.5.

    Args:
      numbers: `TEXTURE_NUMBERS` between 0 and 1.

    Returns:
      `[h, w, c]`, within 0.1 of 0.5.

    >>> import jax
    >>> from signsal_jax.truth import render
    >>> numbers = jax.random.uniform(jax.random.key(0), (render.TEXTURE_NUMBERS,))
    >>> render.texture(numbers).shape
    (32, 32, 3)
    """
    ends = np.cumsum([_WAVES * 2, _WAVES, _WAVES * CHANNELS])
    waves, phases, weights, noise = jnp.split(numbers, ends)
    frequency = 0.4 * waves.reshape(_WAVES, 2) - 0.2
    phase = phases.reshape(_WAVES, 1, 1)
    at = jnp.arange(SIZE, dtype=jnp.float32)
    turns = frequency[:, :1, None] * at[None, :, None] + frequency[:, 1:, None] * at[None, None]
    wave = jnp.cos(2 * jnp.pi * (turns + phase))
    weight = (2 * weights.reshape(_WAVES, CHANNELS) - 1) / _WAVES
    pixels = _TEXTURE * (wave[..., None] * weight[:, None, None]).sum(0)
    return 0.5 + pixels + _NOISE * (2 * noise.reshape(pixels.shape) - 1)


def footprints(scene: Scene) -> Float[Array, "m h w c"]:
    """Returns the pixels and channels of each mark: 1 where it is drawn, else 0.

    >>> import jax, jax.numpy as jnp
    >>> from signsal_jax import truth
    >>> scene = truth.sample(truth.TASKS["bright"], jax.random.key(0)).scene
    >>> marks = truth.footprints(scene)
    >>> marks.shape, float(marks.sum(0).max())
    ((6, 32, 32, 3), 1.0)
    """
    # XLA on CPU would compute cells and shapes inside the loop over pixels, and then reads memory
    # that it has not written (jax 0.10.2). The barrier has them computed before.
    cell, shape, color = jax.lax.optimization_barrier((scene.cell, scene.shape, scene.color))
    side = SIZE // CELL
    row, column = jnp.divmod(cell[:, None, None], side)
    at = jnp.arange(SIZE) // CELL
    inside = (row == at[None, :, None]) & (column == at[None, None, :])
    tiled = jnp.asarray(np.tile(STAMPS, (1, side, side)))
    pixels = jnp.where(inside, tiled[shape], 0)
    return pixels[..., None] * color[:, None, None, :]


def render_scene(scene: Scene) -> Float[Array, "h w c"]:
    """Draws the image of a scene.

    Returns:
      `[h, w, c]`, pixels in [0, 1].

    >>> import jax
    >>> from signsal_jax import truth
    >>> truth.render_scene(truth.sample(truth.TASKS["dark"], jax.random.key(0)).scene).shape
    (32, 32, 3)
    """
    drawn = (footprints(scene) * scene.amplitude[:, None, None, None]).sum(0)
    return scene.background + drawn
