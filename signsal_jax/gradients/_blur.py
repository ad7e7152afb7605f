"""Blur integrated gradients: gradients summed while the image comes into focus."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from signsal_jax import _checks
from signsal_jax._precision import at_least_float32
from signsal_jax._types import Gradients
from signsal_jax.gradients._average import Averaged, Places
from signsal_jax.gradients._estimator import Estimator

# Gaussians are cut off at this many standard deviations, as in SciPy.
_TRUNCATE = 4.0


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class BlurIntegratedGradients(Averaged):
    """See `blur_integrated_gradients`."""

    max_sigma: float = dataclasses.field(metadata={"static": True})
    steps: int = dataclasses.field(metadata={"static": True})

    name = "blur_integrated_gradients"

    def places(self, images: Array) -> Places:
        wide = at_least_float32(images.dtype)
        sigmas = jnp.asarray(np.linspace(0, self.max_sigma, self.steps + 1), wide)

        def blurred(sigma: Array) -> Array:
            return gaussian_blur(images, sigma, self.max_sigma)

        def move(ends: Array) -> Array:
            return blurred(ends[0])

        def weigh(ends: Array, gradient: Gradients) -> Gradients:
            return (blurred(ends[0]) - blurred(ends[1])) * gradient

        # The sum over the steps, not their mean.
        ends = jnp.stack([sigmas[:-1], sigmas[1:]], axis=1)
        return Places(ends, move, weigh, lambda mean: mean * self.steps)


def gaussian_blur(images: Array, sigma: Array, max_sigma: float) -> Array:
    """Blurs by a Gaussian of standard deviation `sigma`, at most `max_sigma`, in pixels.

    Outside of the images are zeros. A `sigma` of 0 changes nothing.
    """
    reach = int(_TRUNCATE * max_sigma + 0.5)
    radius = jnp.floor(_TRUNCATE * sigma + 0.5)

    def density(distance: Array) -> Array:
        exponent = -0.5 * jnp.square(distance / jnp.maximum(sigma, jnp.finfo(sigma.dtype).tiny))
        inside = (jnp.abs(distance) <= radius) & ((sigma > 0) | (distance == 0))
        return jnp.where(inside, jnp.exp(jnp.where(inside & (sigma > 0), exponent, 0)), 0)

    total = density(jnp.arange(-reach, reach + 1, dtype=sigma.dtype)).sum()

    def matrix(size: int) -> Array:
        places = jnp.arange(size, dtype=sigma.dtype)
        return density(places[:, None] - places[None]) / total

    rows, columns = (matrix(size).astype(images.dtype) for size in images.shape[1:3])
    highest = jax.lax.Precision.HIGHEST
    images = jnp.einsum("yi,bixc->byxc", rows, images, precision=highest)
    return jnp.einsum("xi,byic->byxc", columns, images, precision=highest)


def blur_integrated_gradients(max_sigma: float = 50.0, steps: int = 32) -> Estimator:
    """Integrates gradients along a path from a blurred copy to the image, instead of a baseline.

    Each step multiplies the change of a pixel as the blur shrinks by the gradient at the sharper
    end. A positive value says that the detail that appears at a pixel supports the class; it is
    not the sign of a derivative. The attributions of a class add up to the difference of its score
    between the image and its blurred copy, up to the error of the sum, which falls as 1 / steps.

    Cost: as `integrated_gradients`, and three blurs per step.

    Args:
      max_sigma: the standard deviation of the strongest blur, in pixels; above 0.
      steps: the number of steps, equally wide in the standard deviation; at least 1.

    Returns:
      An `Estimator`, linear in the class scores; attributions are in units of the score.

    Raises:
      TypeError, ValueError: max_sigma that is not finite or above 0, steps below 1.

    Reference: arXiv 2004.03383, equation 6. Outside of the image are zeros, as in the authors'
    code.

    >>> import jax.numpy as jnp, signsal_jax
    >>> def apply_fn(variables, images):
    ...     return images.sum((1, 2)) @ variables
    >>> weights, images = jnp.asarray([[2.0, -1.0]]), jnp.ones((1, 1, 1, 1))
    >>> blur = signsal_jax.blur_integrated_gradients(max_sigma=1e3, steps=4)
    >>> _, attributions = signsal_jax.signed_jacobian(
    ...     apply_fn, weights, images, estimator=blur)
    >>> [round(value, 2) for value in attributions[0].ravel().tolist()]
    [2.0, -1.0]
    """
    max_sigma = _checks.check_real("max_sigma", max_sigma)
    if not (max_sigma > 0 and math.isfinite(max_sigma)):
        raise ValueError(f"max_sigma: expected a finite number above 0, got {max_sigma}")
    steps = _checks.check_integer("steps", steps, least=1)
    return BlurIntegratedGradients(max_sigma, steps)
