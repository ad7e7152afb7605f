"""A network set by hand whose gradients are known in closed form: the anchor of the benchmark."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from signsal_jax._types import ApplyFn, Variables
from signsal_jax.truth.render import CELL, CHANNELS, SHAPES, STAMPS
from signsal_jax.truth.tasks import SHARPNESS, Task

THRESHOLD = 0.05


def anchor(task: Task) -> tuple[ApplyFn, Variables]:
    """Sets a network by hand that computes the design's scores with one detector for each kind.

    A detector is the mean of a cell's pixels on the shape minus their mean outside it, times the
    mark's sign: for its own mark the mark's strength, for the others zero or less, and the texture
    adds a little. What is found above `THRESHOLD` is added to the scores.
    So in the cell of a mark that is found, the gradient of the margin to class s is
    `SHARPNESS * (design[t] - design[s]) * sign / n` on each of the mark's n pixels and channels.

    Args:
      task: one of `TASKS` whose marks are gray and may stand anywhere: "bright",
        "dark", "absence" or "shared".

    Returns:
      `apply_fn` and variables, see `signsal_jax.ApplyFn`.

    Raises:
      ValueError: another task.

    >>> import jax
    >>> from signsal_jax import truth
    >>> task = truth.TASKS["bright"]
    >>> apply_fn, weights = truth.anchor(task)
    >>> drawn = truth.batch(task, "test", 0, 4)
    >>> images = jax.vmap(truth.render_scene)(drawn.scene)
    >>> (apply_fn(weights, images).argmax(1) == drawn.label).tolist()
    [True, True, True, True]
    """
    told = [kind for kind, column in zip(task.kinds, task.design.T, strict=True) if column.any()]
    if any(kind.quadrant is not None or kind.color != (1.0,) * CHANNELS for kind in told):
        raise ValueError(f"task: expected gray marks that may stand anywhere, got {task.name}")
    filters = []
    for kind in told:
        shape = STAMPS[SHAPES.index(kind.shape)]
        contrast = shape / shape.sum() - (1 - shape) / (1 - shape).sum()
        filters.append(kind.sign * np.repeat(contrast[..., None], CHANNELS, 2) / CHANNELS)
    variables = {
        "filters": jnp.asarray(np.stack(filters, -1), jnp.float32),
        "design": jnp.asarray(task.design[:, : len(told)]),
    }
    return _apply, variables


def _apply(variables: Variables, images: Array) -> Array:
    found = jax.lax.conv_general_dilated(
        images,
        variables["filters"],
        (CELL, CELL),
        "VALID",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    strength = jnp.where(found > THRESHOLD, found, 0).sum((1, 2))
    return SHARPNESS * strength @ variables["design"].T
