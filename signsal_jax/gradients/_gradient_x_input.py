"""Gradient x input: the gradient times the distance from a baseline."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from signsal_jax._types import ApplyFn, Gradients, Images, Logits, Variables
from signsal_jax.gradients._baseline import baseline_of, check_baseline
from signsal_jax.gradients._estimator import Estimator, Pullback
from signsal_jax.gradients._plain import Plain


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class GradientXInput:
    """See `gradient_x_input`."""

    baseline: Any

    name = "gradient_x_input"
    linear = True

    def __call__(
        self, apply_fn: ApplyFn, variables: Variables, images: Images, /, **settings: Any
    ) -> tuple[Logits, Pullback]:
        images = jnp.asarray(images)
        logits, gradient = Plain()(apply_fn, variables, images, **settings)
        difference = images - baseline_of(self.baseline, images)

        def pullback(cotangent: Array) -> Gradients:
            return difference * gradient(cotangent)

        return logits, pullback


def gradient_x_input(baseline: Any = 0.0) -> Estimator:
    """Multiplies the gradient by the image, or by its difference to a baseline.

    The first-order estimate of the change of the score when a pixel is put to the baseline, with
    the sign turned: a positive value says that the pixel as it is supports the class. This is not
    the sign of the gradient; a black pixel gets zero with the black baseline. For networks of
    ReLUs, max-pools and linear layers without biases the attributions of a class add up to its
    score.

    Cost: as `plain`.

    Args:
      baseline: a number, one value per channel `[c]`, or an image `[h, w, c]` or `[b, h, w, c]`;
        `[b, h, w, c]` cannot be split over devices. 1 for the white fill of the deletion benchmark.

    Returns:
      An `Estimator`, linear in the class scores; attributions are in units of the score.

    Raises:
      TypeError, ValueError: a baseline that is not numeric or of another shape. A baseline that
        does not fit the images raises once they are known.

    Reference: arXiv 1605.01713, section 2 (gradient * input).

    >>> import jax.numpy as jnp, signsal_jax
    >>> def apply_fn(variables, images):
    ...     return images.sum((1, 2)) @ variables
    >>> weights, images = jnp.asarray([[2.0, -1.0]]), jnp.asarray([0.0, 0.5]).reshape(1, 1, 2, 1)
    >>> _, attributions = signsal_jax.signed_jacobian(
    ...     apply_fn, weights, images, estimator=signsal_jax.gradient_x_input())
    >>> attributions[0, 0].ravel().tolist()
    [0.0, 1.0]
    """
    return GradientXInput(check_baseline(baseline))
