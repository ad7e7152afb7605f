"""Whether a network does what a task's design asks for: its accuracy and its agreement."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from signsal_jax._types import ApplyFn, Variables
from signsal_jax.truth.render import render_scene
from signsal_jax.truth.samples import Sample, batch
from signsal_jax.truth.tasks import Task
from signsal_jax.truth.truth import Agreement, agreement, design_effects, measured_effects

_AT_A_TIME = 250


class Followed(NamedTuple):
    """How well a network does on the scenes of a split.

    Attributes:
      samples: those whose marks were changed.
      images: theirs.
      right: `[b]`, which of them the network classifies right.
      accuracy: over all images.
      agreement: with the design, over the samples.
    """

    samples: Sample
    images: Array
    right: Array
    accuracy: float
    agreement: Agreement


def follow(
    logits_fn: Callable[..., Any],
    variables: Variables,
    task: Task,
    split: str,
    *,
    images: int,
    marked: int,
    stream: int = 0,
) -> Followed:
    """Measures a network on the first scenes of a split.

    Args:
      logits_fn: the jitted network.
      variables: its weights.
      task: one of `TASKS`.
      split: "train" or "test".
      images: on how many the accuracy is measured, at least `marked`.
      marked: on how many each mark is changed.
      stream: see `keys_of`.
    """
    apply_fn = in_parts(logits_fn)
    many, pixels = draw(task, split, images, stream)
    right = apply_fn(variables, pixels).argmax(1) == many.label
    samples = jax.tree.map(lambda leaf: leaf[:marked], many)
    compared = agreement(
        measured_effects(apply_fn, variables, samples),
        design_effects(task, samples),
        samples.scene.amplitude != 0,
        right[:marked],
    )
    return Followed(samples, pixels[:marked], right[:marked], float(right.mean()), compared)


@functools.lru_cache(maxsize=16)
def draw(task: Task, split: str, count: int, stream: int = 0) -> tuple[Sample, Array]:
    """Returns the first scenes of a split and their images."""
    samples = jax.jit(lambda: batch(task, split, 0, count, stream))()
    return samples, _render(samples.scene)


_render = jax.jit(jax.vmap(render_scene))


def in_parts(logits_fn: Callable[..., Any]) -> ApplyFn:
    """The network on batches of one size: tasks differ in their marks, and each size compiles."""

    def apply_fn(variables: Any, images: Any, /) -> Array:
        count = len(images)
        padded = np.pad(np.asarray(images), ((0, -count % _AT_A_TIME), (0, 0), (0, 0), (0, 0)))
        starts = range(0, len(padded), _AT_A_TIME)
        parts = [logits_fn(variables, padded[i : i + _AT_A_TIME]) for i in starts]
        return jnp.concatenate(parts)[:count]

    return apply_fn
