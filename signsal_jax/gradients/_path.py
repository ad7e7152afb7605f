"""Integrated gradients: the gradient averaged along a line from a baseline to the image."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from signsal_jax import _checks
from signsal_jax._precision import at_least_float32, matmul_precision
from signsal_jax._types import ApplyFn, Gradients, Images, Logits, Variables
from signsal_jax.gradients._average import mean_pullback
from signsal_jax.gradients._estimator import Estimator, Pullback


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class IntegratedGradients:
    """See `integrated_gradients`."""

    baseline: Any
    steps: int = dataclasses.field(metadata={"static": True})

    name = "integrated_gradients"
    linear = True

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
        baseline = _baseline_of(self.baseline, images)
        difference = images - baseline
        wide = at_least_float32(images.dtype)
        # Use the midpoint of each step: the error falls with the square of the number of steps.
        places = (np.arange(self.steps) + 0.5) / self.steps

        def move(place: Array) -> Array:
            return (baseline + place * difference).astype(images.dtype)

        mean = mean_pullback(
            apply_fn, variables, move, jnp.asarray(places, wide), output=output, precision=precision
        )

        def pullback(cotangent: Array) -> Gradients:
            return difference * mean(cotangent)

        return logits, pullback


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
    if not isinstance(baseline, Array):
        baseline = _checks.as_array("baseline", baseline)
    if not (jnp.issubdtype(baseline.dtype, jnp.floating) or baseline.dtype.kind in "iu"):
        raise TypeError(f"baseline: expected real numbers, got {baseline.dtype}")
    if baseline.ndim == 2 or baseline.ndim > 4:
        raise ValueError(f"{_EXPECTED}, got shape {baseline.shape}")
    steps = _checks.check_integer("steps", steps, least=1)
    return IntegratedGradients(baseline, steps)


_EXPECTED = (
    "baseline: expected a number, one value per channel [c], or an image [h, w, c] or [b, h, w, c]"
)


def _baseline_of(baseline: Any, images: Array) -> Array:
    """Returns the baseline in the images' dtype, as an array that broadcasts to them."""
    values = jnp.asarray(baseline, images.dtype)
    accepted = [images.shape[start:] for start in (4, 3, 1, 0)]
    if values.shape not in accepted:
        raise ValueError(f"{_EXPECTED} like the images {images.shape}, got shape {values.shape}")
    return values.reshape((1,) * (4 - values.ndim) + values.shape)
