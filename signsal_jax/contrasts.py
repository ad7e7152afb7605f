"""Contrasts between classes: the target's gradient minus a convex sum of the other classes'.

Let `a` be weights of the other classes, non-negative and with the sum one. The contrast is
`w = g_t - sum_s a_s g_s`. Three facts relate it to the other maps:

- The gradient of `log p_t` is `(1 - p_t)` times the contrast weighted by the softmax over the
  other classes. So log-softmax, softmax and weighted contrast have the same signs everywhere. As
  `p_t` goes to 1 the first two vanish (softmax underflows); the contrast does not.
- Active pixels have `w > 0` and inactive ones `w < 0` for every choice of `a`: all contrasts agree
  on them.
- Adding the same function of the image to all logits changes neither predictions nor contrasts,
  but it can change vanilla, positive and negative arbitrarily.
"""

from typing import Any

from signsal_jax import _checks
from signsal_jax._types import ApplyFn, ClassExtrema, Images, Variables
from signsal_jax.gradients import (
    CONTRASTS as CONTRASTS,
    Estimator,
    contrast_gradient,
    contrast_weights as contrast_weights,
    linearize,
    plain,
    require_linear,
    resolve_target,
)


def class_contrast(
    apply_fn: ApplyFn,
    variables: Variables,
    images: Images,
    *,
    target: Any = "predicted",
    against: str = "weighted",
    strength: float = 1.0,
    precision: str | None = "highest",
    estimator: Estimator = plain(),
) -> ClassExtrema:
    """The target's gradient minus a weighted sum of the other classes', by a single pullback.

    A positive value says that a brighter pixel favors the target over its rivals, a negative one
    that a darker pixel does. Pure, like `saliency_maps`; the result goes into
    `maps_from_extrema` for the maps "vanilla", "positive" and "negative" of the contrast.

    Args:
      apply_fn: `apply_fn(variables, images) -> logits`, see `signsal_jax.ApplyFn`.
      variables: the classifier's pytree of weights.
      images: float `[b, h, w, c]`, pixels in [0, 1].
      target: "predicted", one class index, or one index per image `[b]`.
      against: the weights of the other classes, see `contrast_weights`.
      strength: a factor of the weighted sum; 1 for a contrast between classes. With "max" and
        another value this is `y_t - strength * y_s` of arXiv 2501.11309, which is not invariant
        to a function added to all logits.
      precision: of float32 products, see `signed_jacobian`.
      estimator: the gradient method, see `signed_jacobian`; it must be linear in the class scores.

    Returns:
      `ClassExtrema` with logits `[b, k]`, target `[b]`, and the contrast `[b, h, w, c]` as
      `gradient`, in score units per unit of pixel value; the rivals' extrema are None.

    Raises:
      TypeError, ValueError: as `class_extrema`; an unknown `against`; an estimator that is not
        linear in the class scores.

    Reference: Wang and Wang, NeurIPS 2022, equations 2 to 4 (mean, max and weighted contrast).

    >>> import jax.numpy as jnp, signsal_jax
    >>> def apply_fn(variables, images):
    ...     return images.sum((1, 2)) @ variables
    >>> weights = jnp.asarray([[2.0, -1.0, 1.0]])
    >>> images = jnp.ones((1, 2, 2, 1))
    >>> contrast = signsal_jax.class_contrast(apply_fn, weights, images, against="max")
    >>> float(contrast.gradient[0, 0, 0, 0])
    1.0
    """
    require_linear(estimator, "class_contrast")
    _checks.check_member("against", against, CONTRASTS)
    factor = _checks.check_numbers("strength", strength, ranks=(0,))
    logits, pullback = linearize(
        apply_fn, variables, images, estimator=estimator, precision=precision, min_classes=2
    )
    target = resolve_target(logits, target)
    gradient = contrast_gradient(logits, pullback, images, target, against, factor)
    return ClassExtrema(logits, target, gradient)
