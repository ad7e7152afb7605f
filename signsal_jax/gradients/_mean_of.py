"""The mean of several estimators, such as integrated gradients from black and from white."""

import dataclasses
import functools
import operator
from typing import Any

import jax
from jax import Array

from signsal_jax._types import ApplyFn, Gradients, Images, Logits, Variables
from signsal_jax.gradients._estimator import Estimator, Pullback, check_estimator, has_sign


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class MeanOf:
    """See `mean_of`."""

    estimators: tuple[Any, ...]

    name = "mean_of"

    @property
    def linear(self) -> bool:
        return all(estimator.linear for estimator in self.estimators)

    @property
    def signed(self) -> bool:
        return all(map(has_sign, self.estimators))

    def __call__(
        self, apply_fn: ApplyFn, variables: Variables, images: Images, /, **settings: Any
    ) -> tuple[Logits, Pullback]:
        asked = [one(apply_fn, variables, images, **settings) for one in self.estimators]

        def pullback(cotangent: Array) -> Gradients:
            attributions = [back(cotangent) for _, back in asked]
            return functools.reduce(operator.add, attributions) / len(asked)

        return asked[0][0], pullback


def mean_of(*estimators: Estimator) -> Estimator:
    """Averages the attributions of several estimators, in equal parts.

    Integrated gradients from a single baseline are zero where the image equals it, and their sign
    depends on which side of it the image lies. Averaged over a black and a white baseline, no
    gray level is left out: `mean_of(integrated_gradients(0.0), integrated_gradients(1.0))`.

    Cost: the sum of the estimators'.

    Args:
      *estimators: at least one.

    Returns:
      An `Estimator`, linear in the class scores if all of them are. Its logits are the first one's.

    Raises:
      TypeError, ValueError: something that is not an estimator, or nothing.

    >>> import jax.numpy as jnp, signsal_jax
    >>> def apply_fn(variables, images):
    ...     return images.sum((1, 2)) @ variables
    >>> both = signsal_jax.mean_of(
    ...     signsal_jax.integrated_gradients(0.0), signsal_jax.integrated_gradients(1.0))
    >>> weights, images = jnp.asarray([[2.0, -1.0]]), jnp.asarray([0.5, 1.0]).reshape(1, 1, 2, 1)
    >>> _, attributions = signsal_jax.signed_jacobian(apply_fn, weights, images, estimator=both)
    >>> attributions[0, 0].ravel().tolist()
    [0.0, 1.0]
    """
    if not estimators:
        raise ValueError("estimators: expected at least one, got none")
    for estimator in estimators:
        check_estimator(estimator)
    return MeanOf(estimators)
