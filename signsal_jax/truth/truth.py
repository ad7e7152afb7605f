"""What each mark does to the margin between two classes: by design, and measured on a network."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int

from signsal_jax._types import ApplyFn, Variables
from signsal_jax.truth.render import STEP, Scene, footprints, render_scene
from signsal_jax.truth.samples import Sample
from signsal_jax.truth.tasks import SHARPNESS, Task

INTERVENTIONS = ("brighter", "darker", "absent")
ENOUGH = 0.99
"""The share of images that a network classifies right, and of marks on which it agrees with the
design, without which a task doesn't count."""

Effects = Float[Array, "b m i k"]


class Agreement(NamedTuple):
    """How far a network does what the design says.

    Attributes:
      agrees: `[b, m, k]`, for a mark and a rival that it separates from the label by design:
        whether all three interventions change the margin in the direction of the design.
      separates: `[b, m, k]`, where this can be asked: the mark is there, and the design's effect is
        not zero.
      share: of these, where it agrees.
      leak: the mean size of the effects that are zero by design (decoys, and marks that two classes
        share), relative to the mean size of the others.
    """

    agrees: Bool[Array, "b m k"]
    separates: Bool[Array, "b m k"]
    share: Float[Array, ""]
    leak: Float[Array, ""]


def _changes(amplitude: Float[Array, "b m"]) -> Float[Array, "b m i"]:
    """By how much each intervention changes a mark's amplitude."""
    step = jnp.full_like(amplitude, STEP)
    return jnp.stack([step, -step, -amplitude], axis=-1)


def _to_margins(scores: Float[Array, "b m i k"], label: Int[Array, " b"]) -> Effects:
    own = jnp.take_along_axis(scores, label[:, None, None, None], axis=-1)
    return own - scores


def design_effects(task: Task, samples: Sample) -> Effects:
    """Returns the change of the margins that the design asks for.

    Args:
      task: one of `TASKS`.
      samples: a batch, from `jax.vmap` of `sample`.

    Returns:
      `[b, m, i, k]`: per mark and intervention (`INTERVENTIONS`), the change of the label's score
      minus that of class k, in the units of logits (`SHARPNESS` times the design's scores).

    >>> import jax
    >>> from signsal_jax import truth
    >>> task = truth.TASKS["dark"]
    >>> drawn = truth.batch(task, "test", 0, 2)
    >>> effects = truth.design_effects(task, drawn)
    >>> mark = int(drawn.label[0])
    >>> bool((effects[0, mark, 0].round(2) <= 0).all())  # brighter: bad for the darkest mark
    True
    """
    per_unit = jnp.asarray(task.design) * jnp.asarray(task.signs)[None]
    changes = _changes(samples.scene.amplitude)
    scores = SHARPNESS * changes[..., None] * per_unit.T[None, :, None, :]
    return _to_margins(scores, samples.label)


def intervened(scene: Scene) -> Float[Array, "mi h w c"]:
    """Renders a scene once for each mark and intervention on it, mark by mark."""
    count = len(scene.amplitude)
    changes = _changes(scene.amplitude[None])[0].reshape(-1, 1, 1, 1)
    drawn = jnp.repeat(footprints(scene), len(INTERVENTIONS), axis=0)
    assert len(drawn) == count * len(INTERVENTIONS)
    return render_scene(scene)[None] + changes * drawn


def measured_effects(apply_fn: ApplyFn, variables: Variables, samples: Sample) -> Effects:
    """Measures the change of a network's margins when one mark is rendered differently.

    Args:
      apply_fn: `apply_fn(variables, images) -> logits`, see `signsal_jax.ApplyFn`.
      variables: the classifier's pytree of weights.
      samples: a batch, from `jax.vmap` of `sample`.

    Returns:
      `[b, m, i, k]`, as `design_effects`.

    >>> from signsal_jax import truth
    >>> apply_fn, weights = truth.anchor(truth.TASKS["bright"])
    >>> drawn = truth.batch(truth.TASKS["bright"], "test", 0, 2)
    >>> truth.measured_effects(apply_fn, weights, drawn).shape
    (2, 6, 3, 4)
    """
    images = jax.vmap(intervened)(samples.scene)
    batch, variants = images.shape[:2]
    before = apply_fn(variables, jax.vmap(render_scene)(samples.scene))
    after = apply_fn(variables, images.reshape(-1, *images.shape[2:]))
    change = after.reshape(batch, variants, -1) - before[:, None]
    shape = (batch, variants // len(INTERVENTIONS), len(INTERVENTIONS), before.shape[1])
    return _to_margins(change.reshape(shape), samples.label)


def agreement(
    measured: Effects, design: Effects, shown: Bool[Array, "b m"], right: Bool[Array, " b"]
) -> Agreement:
    """Compares what a network does with the design.

    Args:
      measured: from `measured_effects`.
      design: from `design_effects`.
      shown: `[b, m]`, whether the mark is there.
      right: `[b]`, whether the network classifies the image right; others don't count.

    Returns:
      `Agreement`; a share or a leak of nothing is NaN.

    >>> from signsal_jax import truth
    >>> task = truth.TASKS["absence"]
    >>> drawn = truth.batch(task, "test", 0, 4)
    >>> design = truth.design_effects(task, drawn)
    >>> shown, right = drawn.scene.amplitude != 0, drawn.label >= 0
    >>> float(truth.agreement(design, design, shown, right).share)
    1.0
    """
    asked = shown[..., None] & right[:, None, None]
    separates = (design[:, :, 0] != 0) & asked
    agrees = (jnp.sign(measured) == jnp.sign(design)).all(2) & separates
    size = jnp.abs(measured[:, :, :2]).mean(2)
    # The label's own margin to itself is always zero: it is among neither.
    itself = (measured == 0).all((1, 2))[:, None, :]
    nothing = (design[:, :, 0] == 0) & asked & ~itself
    share = agrees.sum() / separates.sum()
    leak = _mean(size, nothing) / _mean(size, separates)
    return Agreement(agrees, separates, share, leak)


def _mean(values: Array, where: Array) -> Array:
    return jnp.where(where, values, 0).sum() / where.sum()


def directions(design: Effects, shown: Bool[Array, "b m"]) -> Float[Array, "b m"]:
    """Returns whether each mark, rendered brighter, helps the label (1) or hurts it (-1).

    A mark that concerns several rivals concerns them all in the same direction. 0 for decoys and
    for marks that are not there.

    >>> from signsal_jax import truth
    >>> task = truth.TASKS["absence"]
    >>> drawn = truth.batch(task, "test", 0, 1)
    >>> shown = drawn.scene.amplitude != 0
    >>> helps = truth.directions(truth.design_effects(task, drawn), shown)[0]
    >>> sorted(helps[:4].tolist()), helps[4:].tolist()  # three marks that others lack; decoys
    ([0.0, 1.0, 1.0, 1.0], [0.0, 0.0])
    """
    return jnp.where(shown, jnp.sign(design[:, :, 0].sum(-1)), 0)


def only_rivals(design: Effects, shown: Bool[Array, "b m"]) -> Int[Array, "b m"]:
    """Returns the class that a mark separates from the label, or -1 if it isn't exactly one.

    >>> from signsal_jax import truth
    >>> task = truth.TASKS["bright"]
    >>> drawn = truth.batch(task, "test", 0, 1)
    >>> rivals = truth.only_rivals(truth.design_effects(task, drawn), drawn.scene.amplitude > -1)
    >>> int(rivals[0, int(drawn.label[0])]), rivals[0, 4:].tolist()  # all rivals; decoys: none
    (-1, [-1, -1])
    """
    concerns = design[:, :, 0] != 0
    single = (concerns.sum(-1) == 1) & shown
    return jnp.where(single, concerns.argmax(-1), -1)
