"""Guided integrated gradients: the path to the image avoids what the score depends on most."""

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from signsal_jax import _checks
from signsal_jax._jaxpr import run_once
from signsal_jax._precision import at_least_float32, matmul_precision
from signsal_jax._sorting import inverse_permutation
from signsal_jax._types import ApplyFn, Gradients, Images, Logits, Variables
from signsal_jax._vma import varying_like
from signsal_jax.gradients._baseline import baseline_of, check_baseline
from signsal_jax.gradients._estimator import Estimator, Pullback
from signsal_jax.gradients._plain import Plain


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class GuidedIntegratedGradients:
    """See `guided_integrated_gradients`."""

    baseline: Any
    steps: int = dataclasses.field(metadata={"static": True})
    fraction: float = dataclasses.field(metadata={"static": True})
    max_distance: float = dataclasses.field(metadata={"static": True})

    name = "guided_integrated_gradients"
    linear = False

    def __call__(
        self,
        apply_fn: ApplyFn,
        variables: Variables,
        images: Images,
        /,
        *,
        output: str = "logits",
        precision: str | None = "highest",
    ) -> tuple[Logits, Pullback]:
        images = jnp.asarray(images)
        with matmul_precision(precision):
            logits = apply_fn(variables, images)
        wide = at_least_float32(images.dtype)
        flat = (len(images), -1)
        end = images.reshape(flat).astype(wide)
        start = jnp.broadcast_to(baseline_of(self.baseline, images), images.shape)
        start = varying_like(start.reshape(flat).astype(wide), end)

        def pullback(cotangent: Array) -> Gradients:
            def step(state: tuple[Array, Array], shares: Array) -> tuple[tuple[Array, Array], None]:
                here, total = state
                pixels = here.reshape(images.shape).astype(images.dtype)
                pull = Plain()(apply_fn, variables, pixels, output=output, precision=precision)[1]
                gradient = pull(cotangent).reshape(flat).astype(wide)
                there = self._move(here, gradient, start, end, shares)
                return (there, total + (there - here) * gradient), None

            shares = jnp.asarray((np.arange(self.steps) + 1) / self.steps, wide)
            # Under vmap over classes, each has a path of its own.
            begin = start + jnp.zeros_like(cotangent, wide).sum(1, keepdims=True)
            along = run_once(functools.partial(jax.lax.scan, step), (begin, 0 * begin), shares)
            return along[0][1].reshape(images.shape).astype(images.dtype)

        return logits, pullback

    def _move(self, here: Array, gradient: Array, start: Array, end: Array, share: Array) -> Array:
        """Goes one step: to where `share` of the distance `[b, p]` to the image is left behind.

        First moves pixels that fell too far behind the straight line; then, again and again, the
        `fraction` of pixels with the smallest gradients, as far as they may, until the
        distance is reached.
        """
        difference = end - start
        lowest, highest = (jnp.clip(share + sign * self.max_distance, 0, 1) for sign in (-1, 1))
        furthest = start + difference * highest
        gone = jnp.where(
            difference == 0, highest, (here - start) / jnp.where(difference == 0, 1, difference)
        )
        here = jnp.where(gone < lowest, start + difference * lowest, here)
        target = jnp.abs(difference).sum(1, keepdims=True) * (1 - share)

        # In the order of the gradient's size, which stays the same within a step.
        size = jnp.abs(gradient)
        order = jnp.argsort(size, axis=1)
        ordered = functools.partial(jnp.take_along_axis, indices=order, axis=1)
        size, furthest, end = (ordered(values) for values in (size, furthest, end))
        count = math.floor(self.fraction * (size.shape[1] - 1)) + 1

        def move_some(state: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], None]:
            here, done = state
            left = here != furthest
            chosen = left & (jnp.cumsum(left, axis=1) <= count)
            largest = jnp.where(chosen, size, 0).max(1, keepdims=True)
            chosen = left & (size <= largest)  # with ties
            distance = jnp.abs(here - end).sum(1, keepdims=True)
            room = (jnp.abs(here - furthest) * chosen).sum(1, keepdims=True)
            needed = jnp.where(room > 0, (distance - target) / jnp.where(room > 0, room, 1), 2)
            part = here + (furthest - here) * jnp.maximum(needed, 0)
            there = jnp.where(needed > 1, furthest, part)
            moved = jnp.where(chosen & ~done, there, here)
            return (moved, done | (needed <= 1)), None

        # Each round but the last takes `count` pixels as far as they may go.
        rounds = -(-size.shape[1] // count) + 1
        done = jnp.zeros_like(target, bool) & (target < 0)
        (here, _), _ = jax.lax.scan(move_some, (ordered(here), done), length=rounds)
        return jnp.take_along_axis(here, inverse_permutation(order), axis=1)


def guided_integrated_gradients(
    baseline: Any = 0.0, steps: int = 32, fraction: float = 0.25, max_distance: float = 0.02
) -> Estimator:
    """Integrates gradients along a path that first changes the pixels with the smallest gradients.

    Along the straight line of `integrated_gradients`, pixels that hardly matter collect large
    gradients on the way, which are noise. Here each step moves those pixels whose gradient is
    smallest where the path is. The path depends on the class, so each class has its own, and the
    result is not linear in the scores: what active and inactive compare are contributions along
    different paths.

    A positive value says that the pixel, as it differs from the baseline, raised the score; the
    attributions of a class add up to the difference of its score between image and baseline, up to
    the error of the sum, which falls as 1 / steps. Mind the factor (image - baseline): see
    `integrated_gradients`.

    Cost: one forward pass, and per class `steps` forward and backward passes and two sorts of the
    pixels. Memory: as `plain`.

    Args:
      baseline: as for `integrated_gradients`.
      steps: the number of steps, at least 1; the authors take 200.
      fraction: in (0, 1], the share of pixels moved together.
      max_distance: in [0, 1], how far a pixel may be ahead of the straight line or behind it, as a
        share of its way; 0 gives integrated gradients, 1 any path.

    Returns:
      An `Estimator` that is not linear in the class scores; attributions are in units of the score.

    Raises:
      TypeError, ValueError: as `integrated_gradients`; a fraction or distance outside of its range.

    Reference: Kapishnikov et al., arXiv 2106.09788, algorithm 1 and section 4.3.

    >>> import jax.numpy as jnp, signsal_jax
    >>> def apply_fn(variables, images):
    ...     return images.sum((1, 2)) @ variables
    >>> weights, images = jnp.asarray([[2.0, -1.0]]), jnp.asarray([1.0, 0.5]).reshape(1, 1, 2, 1)
    >>> _, attributions = signsal_jax.signed_jacobian(
    ...     apply_fn, weights, images, estimator=signsal_jax.guided_integrated_gradients(steps=4))
    >>> [round(value, 4) for value in attributions.ravel().tolist()]
    [2.0, 1.0, -1.0, -0.5]
    """
    baseline = check_baseline(baseline)
    steps = _checks.check_integer("steps", steps, least=1)
    fraction = _checks.check_real("fraction", fraction)
    if not 0 < fraction <= 1:
        raise ValueError(f"fraction: expected above 0 and at most 1, got {fraction}")
    max_distance = _checks.check_real("max_distance", max_distance)
    if not 0 <= max_distance <= 1:
        raise ValueError(f"max_distance: expected from 0 to 1, got {max_distance}")
    return GuidedIntegratedGradients(baseline, steps, fraction, max_distance)
