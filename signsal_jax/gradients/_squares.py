"""SmoothGrad-squared and VarGrad: second moments of the gradient under noise, without a sign."""

import dataclasses
from typing import Any

import jax
from jax import Array

from signsal_jax._types import ApplyFn, Gradients, Variables
from signsal_jax.gradients._average import Places, mean_pullback
from signsal_jax.gradients._estimator import Estimator, Pullback
from signsal_jax.gradients._smooth import SmoothGrad, check_noise


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class SmoothGradSquared(SmoothGrad):
    """See `smooth_grad_squared`."""

    name = "smooth_grad_squared"
    linear = False
    signed = False

    def places(self, images: Array) -> Places:
        return dataclasses.replace(super().places(images), weigh=lambda _, gradient: gradient**2)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class VarGrad(SmoothGrad):
    """See `var_grad`."""

    name = "var_grad"
    linear = False
    signed = False

    def pullback(
        self, apply_fn: ApplyFn, variables: Variables, places: Places, settings: dict[str, Any]
    ) -> Pullback:
        mean_gradient = super().pullback(apply_fn, variables, places, settings)

        def variance(cotangent: Array) -> Gradients:
            # In two passes: the mean square minus the squared mean would lose a small variance.
            mean = mean_gradient(cotangent)
            around = dataclasses.replace(places, weigh=lambda _, gradient: (gradient - mean) ** 2)
            return mean_pullback(apply_fn, variables, around, settings)(cotangent)

        return variance


def smooth_grad_squared(key: Any, samples: int = 32, noise: float = 0.1) -> Estimator:
    """Averages the square of the gradient over copies of the image with Gaussian noise.

    Values are not negative and have no sign: "vanilla" is the only map of it that means anything,
    and `saliency_maps` refuses the others. Differences between classes are differences of squares.

    Cost, noise and arguments: as `smooth_grad`.

    Returns:
      An `Estimator` that is not linear in the class scores and has no sign, in squared units of the
      gradient.

    Raises:
      TypeError, ValueError: as `smooth_grad`.

    Reference: Hooker et al., arXiv 1806.10758, section 4.

    >>> import jax, jax.numpy as jnp, signsal_jax
    >>> def apply_fn(variables, images):
    ...     return images.sum((1, 2)) @ variables
    >>> weights, images = jnp.asarray([[2.0, -1.0]]), jnp.ones((1, 1, 2, 1))
    >>> _, squares = signsal_jax.signed_jacobian(
    ...     apply_fn, weights, images, estimator=signsal_jax.smooth_grad_squared(jax.random.key(0)))
    >>> squares.ravel().tolist()
    [4.0, 4.0, 1.0, 1.0]
    """
    return SmoothGradSquared(*check_noise(key, samples, noise))


def var_grad(key: Any, samples: int = 32, noise: float = 0.1) -> Estimator:
    """Computes the variance of the gradient over copies of the image with Gaussian noise.

    Shows where the gradient is unstable. As a variance it has no sign: "vanilla" is the only map of
    it that means anything, and `saliency_maps` refuses the others.

    Cost: twice that of `smooth_grad`. Noise and arguments: as there.

    Returns:
      An `Estimator` that is not linear in the class scores and has no sign, in squared units of the
      gradient; zero where all samples agree.

    Raises:
      TypeError, ValueError: as `smooth_grad`.

    Reference: Adebayo et al., arXiv 1810.03307, section 2.

    >>> import jax, jax.numpy as jnp, signsal_jax
    >>> def apply_fn(variables, images):
    ...     return images.sum((1, 2)) @ variables
    >>> weights, images = jnp.asarray([[2.0, -1.0]]), jnp.ones((1, 1, 2, 1))
    >>> _, variance = signsal_jax.signed_jacobian(
    ...     apply_fn, weights, images, estimator=signsal_jax.var_grad(jax.random.key(0), samples=4))
    >>> variance.ravel().tolist()
    [0.0, 0.0, 0.0, 0.0]
    """
    return VarGrad(*check_noise(key, samples, noise))
