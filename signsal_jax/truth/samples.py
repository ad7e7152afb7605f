"""Scenes drawn for a task, and their classes: seeded, pure, on the device.

All that is random in a scene comes from one array of numbers: compiling a generator takes longer
than drawing a thousand scenes.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int

from signsal_jax import _checks
from signsal_jax.truth.render import CELL, CELLS, SHAPES, SIZE, TEXTURE_NUMBERS, Scene, texture
from signsal_jax.truth.tasks import ABSENT_SHARE, NUMBERS, STRONGEST, WEAKEST, Task, spread

SPLITS = ("train", "test")


class Sample(NamedTuple):
    """A scene and its class.

    Attributes:
      scene: its marks stand in the order of the task's kinds.
      label: the class.
      scores: the design scores of the classes, `[k]`.
    """

    scene: Scene
    label: Int[Array, ""]
    scores: Float[Array, " k"]


def _places(task: Task, order: Array) -> Array:
    """A different cell for each mark, within its quarter if it has one; the lowest number first."""
    side = SIZE // CELL
    row, column = np.divmod(np.arange(CELLS), side)
    quadrant = row // (side // 2) * 2 + column // (side // 2)
    taken, cells = jnp.zeros(CELLS, bool), []
    # Those that are bound to a quarter choose first.
    for index in sorted(range(len(task.kinds)), key=lambda i: task.kinds[i].quadrant is None):
        wanted = task.kinds[index].quadrant
        allowed = np.ones(CELLS, bool) if wanted is None else quadrant == wanted
        cell = jnp.where(allowed & ~taken, order, 2.0).argmin()
        taken = taken.at[cell].set(True)
        cells.append((index, cell))
    return jnp.stack([cell for _, cell in sorted(cells, key=lambda pair: pair[0])])


def sample(task: Task, key: Array) -> Sample:
    """Draws a scene of a task and its class.

    Args:
      task: one of `TASKS`.
      key: a `jax.random` key; the same key gives the same scene.

    Returns:
      `Sample`.

    >>> import jax
    >>> from signsal_jax import truth
    >>> drawn = truth.sample(truth.TASKS["shared"], jax.random.key(0))
    >>> drawn.scene.amplitude.shape, int(drawn.label) == int(drawn.scores.argmax())
    ((6,), True)
    """
    kinds = len(task.kinds)
    sizes = 1, NUMBERS, kinds, kinds, CELLS, TEXTURE_NUMBERS
    numbers = jax.random.uniform(key, (sum(sizes),))
    classes, strengths, decoys, there, places, textures = jnp.split(numbers, np.cumsum(sizes)[:-1])
    label = jnp.floor(classes[0] * task.classes).astype(jnp.int32)
    told = task.strengths(strengths, label)
    untold = kinds - len(told)
    others = spread(decoys[:untold], WEAKEST, STRONGEST) * (there[:untold] >= ABSENT_SHARE)
    strength = jnp.concatenate([told, others])
    scene = Scene(
        background=texture(textures),
        shape=jnp.asarray([SHAPES.index(kind.shape) for kind in task.kinds]),
        cell=_places(task, places),
        color=jnp.asarray([kind.color for kind in task.kinds], jnp.float32),
        amplitude=strength * jnp.asarray(task.signs),
    )
    scores = (jnp.asarray(task.design) * strength[None]).sum(1)
    return Sample(scene, label, scores)


def keys_of(split: str, indices: Int[Array, " n"], stream: int | Array = 0) -> Array:
    """Returns one key per index of a split; the splits and their streams have no key in common.

    Args:
      split: "train" or "test".
      indices: `[n]`, from 0.
      stream: another sequence of the same split, such as one for each training run.

    Raises:
      ValueError: an unknown split.
    """
    _checks.check_member("split", split, SPLITS)
    start = jax.random.fold_in(jax.random.key(SPLITS.index(split)), stream)
    return jax.vmap(jax.random.fold_in, (None, 0))(start, indices)


def batch(
    task: Task, split: str, start: int | Array, count: int, stream: int | Array = 0
) -> Sample:
    """Draws the samples `start` to `start + count - 1` of a split.

    Args:
      task: one of `TASKS`.
      split: "train" or "test": these have no key in common.
      start: the number of the first sample.
      count: how many, known when tracing.
      stream: see `keys_of`.

    Returns:
      `Sample`, each array with a batch axis in front.

    >>> from signsal_jax import truth
    >>> truth.batch(truth.TASKS["color"], "test", 0, 3).label.shape
    (3,)
    """
    keys = keys_of(split, start + jnp.arange(count), stream)
    return jax.vmap(lambda key: sample(task, key))(keys)
