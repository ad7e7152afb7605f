"""Two logits from the single logit of a sigmoid classifier."""

import dataclasses
from typing import Any

import jax.numpy as jnp
from jax import Array

from signsal_jax import _checks
from signsal_jax._types import ApplyFn


@dataclasses.dataclass(frozen=True)
class _TwoClass:
    """Equal for equal classifiers, so that `jax.jit` compiles once for a static `apply_fn`."""

    apply_fn: ApplyFn

    def __call__(self, variables: Any, images: Any, /) -> Array:
        logit = self.apply_fn(variables, images)
        if logit.shape not in ((images.shape[0],), (images.shape[0], 1)):
            raise ValueError(
                f"apply_fn: expected one logit per image, shape [{images.shape[0]}] or "
                f"[{images.shape[0]}, 1], got {logit.shape}"
            )
        logit = logit.reshape(-1, 1)
        return jnp.concatenate([jnp.zeros_like(logit), logit], axis=1)


def two_class(apply_fn: ApplyFn) -> ApplyFn:
    """Turns a binary classifier with one logit z (a sigmoid on top) into one with logits (0, z).

    The sigmoid of z is the probability p of class 1: the softmax of (0, z) is (1 - p, p). The
    gradient of class 0 is zero, so for class 1 the active map equals the positive one and the
    inactive map the negative one; pass `output="log_softmax"` for gradients of both classes.

    Args:
      apply_fn: `apply_fn(variables, images) -> logit`, `[b]` or `[b, 1]`.

    Returns:
      An `ApplyFn` whose logits are `[b, 2]`.

    >>> import jax.numpy as jnp, signsal_jax
    >>> def apply_fn(variables, images):
    ...     return images.sum((1, 2, 3)) - variables
    >>> signsal_jax.two_class(apply_fn)(1.0, jnp.ones((1, 2, 2, 1))).tolist()
    [[0.0, 3.0]]
    """
    _checks.check_classifier(apply_fn)
    return _TwoClass(apply_fn)
