"""Contrasts: the target's gradient minus a convex sum of the other classes', by one pullback."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from signsal_jax import _checks
from signsal_jax._types import Gradients, Images, Logits
from signsal_jax.gradients._estimator import Estimator, Pullback, require_linear
from signsal_jax.gradients._running import nan_where_not_finite

CONTRASTS = ("weighted", "mean", "max")


def contrast_weights(
    logits: Logits, target: Int[Array, " b"], against: str = "weighted"
) -> Float[Array, "b k"]:
    """Returns the weights of the other classes: non-negative, with sum one, zero for the target.

    Args:
      logits: `[b, k]` with k >= 2.
      target: the class explained, `[b]`.
      against: "weighted" (the softmax over the other classes), "mean" (equal weights), or "max"
        (one for the highest other class, the first at a tie).

    Returns:
      `[b, k]`. They are constants: no derivative passes through them.

    Raises:
      ValueError: an unknown `against`, or fewer than two classes.

    Reference: Wang and Wang, "Why Not Other Classes?", NeurIPS 2022, section 3.

    >>> import jax.numpy as jnp
    >>> from signsal_jax import contrasts
    >>> logits, target = jnp.asarray([[3.0, 1.0, 1.0]]), jnp.asarray([0])
    >>> contrasts.contrast_weights(logits, target).tolist()
    [[0.0, 0.5, 0.5]]
    >>> contrasts.contrast_weights(logits, target, "max").tolist()
    [[0.0, 1.0, 0.0]]
    """
    _checks.check_member("against", against, CONTRASTS)
    classes = logits.shape[1]
    _checks.check_logits(logits, len(logits), min_classes=2)
    logits = jax.lax.stop_gradient(logits)
    others = jnp.arange(classes)[None] != target[:, None]
    if against == "mean":
        return others.astype(logits.dtype) / (classes - 1)
    rivals = jnp.where(others, logits, -jnp.inf)
    if against == "max":
        return jax.nn.one_hot(rivals.argmax(1), classes, dtype=logits.dtype)
    return jax.nn.softmax(rivals, axis=1)


def check_contrasts(contrasts: Any, estimator: Estimator, output: str) -> tuple[str, ...]:
    """Returns the contrasts as a tuple.

    Raises:
      TypeError, ValueError: unknown or repeated ones; an estimator that is not linear in the class
        scores; an output other than logits, whose contrasts are theirs up to a factor.
    """
    if not contrasts:
        return ()
    contrasts = _checks.check_methods(contrasts, CONTRASTS, "contrasts")
    require_linear(estimator, "a contrast")
    if output != "logits":
        raise ValueError(f"output: expected logits, which contrasts are taken of, got {output!r}")
    return contrasts


def contrast_gradient(
    logits: Logits,
    pullback: Pullback,
    images: Images,
    target: Int[Array, " b"],
    against: str,
    strength: Any = 1.0,
) -> Gradients:
    """Pulls back the target's score minus `strength` times the weighted sum of the others."""
    chosen = jax.nn.one_hot(target, logits.shape[1], dtype=logits.dtype)
    cotangent = chosen - strength * contrast_weights(logits, target, against)
    return nan_where_not_finite(pullback(cotangent), images)


def contrast_gradients(
    logits: Logits,
    pullback: Pullback,
    images: Images,
    target: Int[Array, " b"],
    contrasts: Sequence[str],
) -> Mapping[str, Gradients]:
    """Computes several contrasts from the logits and the pullback that `linearize` returned."""
    return OrderedDict(
        (against, contrast_gradient(logits, pullback, images, target, against))
        for against in contrasts
    )
