"""The gradient itself, from one forward pass."""

import dataclasses

import jax
from jax import Array

from signsal_jax import _checks
from signsal_jax._precision import matmul_precision
from signsal_jax._types import ApplyFn, Images, Logits, Variables
from signsal_jax.gradients._estimator import Estimator, Pullback

OUTPUTS = ("logits", "log_softmax", "softmax")
_OUTPUT_FNS = {
    "logits": lambda logits: logits,
    "log_softmax": jax.nn.log_softmax,
    "softmax": jax.nn.softmax,
}


def scores_of(logits: Logits, output: str) -> Array:
    """Returns the class scores that are pulled back.

    Raises:
      ValueError: an output that is not one of `OUTPUTS`.
    """
    _checks.check_member("output", output, OUTPUTS)
    return _OUTPUT_FNS[output](logits)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Plain:
    """See `plain`."""

    name = "plain"
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

        def scores(images: Images) -> tuple[Array, Array]:
            logits = apply_fn(variables, images)
            return scores_of(logits, output), logits

        # The pullback's products inherit the precision that the forward pass was traced with.
        with matmul_precision(precision):
            _, pullback, logits = jax.vjp(scores, images, has_aux=True)
        return logits, lambda cotangent: pullback(cotangent)[0]


def plain() -> Estimator:
    """Returns the default estimator: the gradient of the class scores at the image.

    One forward pass in all, and one backward pass per class.

    >>> import jax.numpy as jnp, signsal_jax
    >>> def apply_fn(variables, images):
    ...     return (images**2).sum((1, 2)) @ variables
    >>> images, weights = jnp.full((1, 2, 2, 1), 3.0), jnp.asarray([[1.0, -1.0]])
    >>> logits, pullback = signsal_jax.plain()(
    ...     apply_fn, weights, images, output="logits", precision="highest")
    >>> pullback(jnp.asarray([[1.0, 0.0]])).ravel().tolist()
    [6.0, 6.0, 6.0, 6.0]
    """
    return Plain()
