"""How far attributions are from adding up to the difference of scores that they explain."""

from typing import Any

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from signsal_jax import _checks
from signsal_jax._types import Gradients


def completeness_gap(
    attributions: Gradients, score: Float[Array, " b"], baseline_score: Any
) -> Float[Array, " b"]:
    """Returns, per image, the relative gap between attributions' sum and the scores' difference.

    Integrated gradients of a class are complete: they add up to its score at the image minus that
    at the baseline. A gap well above 0.01 asks for more steps.

    Args:
      attributions: of one class per image, `[b, h, w, c]`, such as `ClassExtrema.gradient`.
      score: the score of that class at the image, `[b]`.
      baseline_score: that at the baseline, `[b]` or a number.

    Returns:
      `[b]`: `|sum - difference| / |difference|`; infinite where the scores are equal and the sum is
      not zero, 0 where both are zero.

    Raises:
      TypeError, ValueError: values that are not numbers or of another shape.

    Reference: arXiv 1703.01365, proposition 1.

    >>> import jax.numpy as jnp
    >>> from signsal_jax import gradients
    >>> gradients.completeness_gap(jnp.full((1, 1, 2, 1), 0.5), jnp.asarray([3.0]), 1.0).tolist()
    [0.5]
    """
    attributions = _checks.check_numbers("attributions", attributions, ranks=(4,))
    score = _checks.check_numbers("score", score, ranks=(1,))
    baseline_score = _checks.check_numbers("baseline_score", baseline_score, ranks=(0, 1))
    difference = score - baseline_score
    gap = jnp.abs(attributions.sum((1, 2, 3)) - difference)
    return jnp.where(gap == 0, 0, gap / jnp.abs(difference))
