"""Gradients averaged along a line from a baseline to the image: integrated gradients."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from signsal_jax import _checks
from signsal_jax._precision import at_least_float32
from signsal_jax.gradients._average import Averaged, Places
from signsal_jax.gradients._baseline import baseline_of, check_baseline
from signsal_jax.gradients._estimator import Estimator


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class PathGradient(Averaged):
    """See `path_gradient`."""

    baseline: Any
    steps: int = dataclasses.field(metadata={"static": True})

    name = "path_gradient"

    def places(self, images: Array) -> Places:
        baseline = baseline_of(self.baseline, images)
        difference = images - baseline
        # Use the midpoint of each step: the error falls with the square of the number of steps.
        places = (np.arange(self.steps) + 0.5) / self.steps

        def move(place: Array) -> Array:
            return (baseline + place * difference).astype(images.dtype)

        return Places(jnp.asarray(places, at_least_float32(images.dtype)), move)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class IntegratedGradients(PathGradient):
    """See `integrated_gradients`."""

    name = "integrated_gradients"

    def places(self, images: Array) -> Places:
        difference = images - baseline_of(self.baseline, images)
        return dataclasses.replace(super().places(images), finish=lambda mean: difference * mean)


def path_gradient(baseline: Any = 0.0, steps: int = 32) -> Estimator:
    """Averages the gradient along the straight line from a baseline to the image.

    These are integrated gradients without the factor (image - baseline). The factor turns a
    derivative into a contribution and takes the sign's meaning along: with a black baseline it is
    never negative, with a white one never positive. Here a positive value still says that a
    brighter pixel raises the score, on average over the line.

    Cost: as `integrated_gradients`.

    Args:
      baseline: as for `integrated_gradients`.
      steps: the number of places on the line, at least 1.

    Returns:
      An `Estimator`, linear in the class scores; in score units per unit of pixel value. With the
      image as its own baseline it equals `plain`.

    Raises:
      TypeError, ValueError: as `integrated_gradients`.

    Reference: arXiv 1703.01365, the integral of equation 1.

    >>> import jax.numpy as jnp, signsal_jax
    >>> def apply_fn(variables, images):
    ...     return (images**2).sum((1, 2)) @ variables
    >>> weights, images = jnp.asarray([[1.0, -1.0]]), jnp.full((1, 1, 2, 1), 0.5)
    >>> _, attributions = signsal_jax.signed_jacobian(
    ...     apply_fn, weights, images, estimator=signsal_jax.path_gradient(1.0, steps=4))
    >>> attributions[0, 0].ravel().tolist()
    [1.5, 1.5]
    """
    return PathGradient(check_baseline(baseline), _checks.check_integer("steps", steps, least=1))


def integrated_gradients(baseline: Any = 0.0, steps: int = 32) -> Estimator:
    """Multiplies (image - baseline) by the gradient averaged along the straight line between them.

    The attributions of a class add up to the difference of its score between image and baseline
    (completeness), except for the error of the midpoint rule, which falls as 1 / steps².

    Mind the sign: it belongs to a contribution to this difference, not to a derivative. The factor
    (image - baseline) is never negative with a black baseline (0) and never positive with a white
    one (1). Where the image equals the baseline, the attribution is zero.

    Cost: one forward pass, and per class `steps` backward passes, each with a forward pass of its
    own that classes of the same chunk share (on CPU classes do not share it). Memory: as `plain`,
    whatever the number of steps.

    Args:
      baseline: a number, one value per channel `[c]`, or an image `[h, w, c]` or `[b, h, w, c]`;
        `[b, h, w, c]` cannot be split over devices.
      steps: the number of places on the line, at least 1.

    Returns:
      An `Estimator`, linear in the class scores; attributions are in units of the score. With one
      step it gives (image - baseline) times the result of `plain` halfway, bit for bit.

    Raises:
      TypeError, ValueError: a baseline that is not numeric or of another shape, steps below 1. A
        baseline that does not fit the images raises once they are known.

    Reference: arXiv 1703.01365, equations 1 and 3.

    >>> import jax.numpy as jnp, signsal_jax
    >>> def apply_fn(variables, images):
    ...     return (images**2).sum((1, 2)) @ variables
    >>> weights, images = jnp.asarray([[1.0, -1.0]]), jnp.full((1, 1, 2, 1), 0.5)
    >>> _, attributions = signsal_jax.signed_jacobian(
    ...     apply_fn, weights, images, estimator=signsal_jax.integrated_gradients(0.0, steps=4))
    >>> attributions[0, 0].ravel().tolist()
    [0.25, 0.25]
    """
    baseline = check_baseline(baseline)
    return IntegratedGradients(baseline, _checks.check_integer("steps", steps, least=1))
