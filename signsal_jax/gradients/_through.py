"""The choice between a pullback per class and a pullback per feature."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export

from signsal_jax import _checks
from signsal_jax._jaxpr import trace
from signsal_jax._types import ApplyFn, Images, Variables
from signsal_jax._vma import explicitly_sharded
from signsal_jax.gradients._average import Averaged
from signsal_jax.gradients._cut import Cut, narrowest_cut
from signsal_jax.gradients._estimator import Estimator, require_linear
from signsal_jax.gradients._gradient_x_input import GradientXInput
from signsal_jax.gradients._linearize import check_arguments
from signsal_jax.gradients._mean_of import MeanOf
from signsal_jax.gradients._plain import Plain, plain

THROUGH = ("auto", "scores", "features")

# The memory that the Jacobian of the features may take on a device. Images that do not fit
# together are computed one group after the other.
FEATURE_BYTES = 2**30
# "auto" leaves the way through the scores only for a gain that exceeds what the count neglects.
_LEAST_GAIN = 1.1
# Nor does it search networks with fewer classes.
_LEAST_CLASSES = 64


def resolve_through(
    through: str,
    apply_fn: ApplyFn,
    variables: Variables,
    images: Images,
    *,
    rivals: Any = "all",
    output: str = "logits",
    estimator: Estimator = plain(),
) -> str:
    """Says whether class gradients are computed through the scores or through the features.

    Args:
      through: "scores" for a pullback per class; "features" for a pullback per feature, the
        arrays at the network's narrowest place, and a product with the derivative of the scores;
        "auto" for features where there are at least 64 classes, the counted cost is at least 10 %
        lower, the Jacobian of the features of one image fits in 1 GiB, and the estimator is
        `plain` or an average of it.
      apply_fn: `apply_fn(variables, images) -> logits`, see `signsal_jax.ApplyFn`.
      variables: the classifier's pytree of weights.
      images: float `[b, h, w, c]`; only their shape and type are used.
      rivals: as for `class_extrema`, as are output and estimator.

    Returns:
      "scores" or "features".

    Raises:
      ValueError: an unknown `through`; "features" of a network without a place that is narrower
        than its scores; of an estimator that is not linear; or, for an estimator other than
        `plain`, where the scores are not an affine function of the features.

    >>> import jax.numpy as jnp
    >>> from signsal_jax import gradients
    >>> def apply_fn(variables, images):
    ...     return images.reshape(len(images), -1) @ variables[0] @ variables[1]
    >>> def chosen(classes):
    ...     variables = jnp.ones((768, 8)), jnp.ones((8, classes))
    ...     return gradients.resolve_through("auto", apply_fn, variables, jnp.ones((1, 16, 16, 3)))
    >>> chosen(5)
    'scores'
    """
    cut = choose_cut(
        through, apply_fn, variables, images, rivals=rivals, output=output, estimator=estimator
    )
    return "scores" if cut is None else "features"


def choose_cut(
    through: Any,
    apply_fn: ApplyFn,
    variables: Variables,
    images: Images,
    *,
    rivals: Any,
    output: str,
    estimator: Estimator,
    devices: int = 1,
) -> Cut | None:
    """Returns the cut to compute through, or None for the way through the scores.

    Args:
      devices: the number that share the features of an image.
    """
    _checks.check_member("through", through, THROUGH)
    check_arguments(apply_fn, images, estimator, output)
    images = jnp.asarray(images)
    symbolic = any(map(export.is_symbolic_dim, images.shape))
    if through == "scores" or symbolic or explicitly_sharded(images):
        return None
    if through == "auto" and not (
        _pulls_back(estimator) and _many_classes(apply_fn, variables, images)
    ):
        return None
    if through == "features":
        require_linear(estimator, 'through="features"')
    # Of equally narrow places the last, where the tail is affine if it is behind any of them: then
    # its derivative is the same for all images.
    cut = narrowest_cut(apply_fn, variables, images, near_images=False)
    if through == "auto":
        if cut is None or cut.width >= cut.classes or not _composes(cut, estimator, output):
            return None
        return cut if _pays(cut, images, rivals, devices) else None
    if cut is None or cut.width >= cut.classes:
        got = "none" if cut is None else f"{cut.width} numbers for {cut.classes} classes"
        raise ValueError(
            f"through: expected features that are fewer than the scores, got {got}: "
            'choose "scores" or "auto"'
        )
    if not _composes(cut, estimator, output):
        raise ValueError(
            "through: expected scores that are an affine function of the features, which "
            f'{estimator.name} needs, got others: choose "scores" or "auto"'
        )
    return cut


def describe_cut(cut: Cut | None) -> dict[str, str | int]:
    """Returns what class gradients are computed through, for the records of a result.

    >>> from signsal_jax import gradients
    >>> gradients.describe_cut(None)
    {'way': 'scores'}
    """
    return {"way": "scores"} if cut is None else {"way": "features", "width": cut.width}


def group_size(cut: Cut, images: Images, estimator: Estimator, devices: int = 1) -> int:
    """Returns how many images are computed together: a divisor of their number."""
    batch = len(images)
    if any(np.ndim(leaf) == 4 and len(leaf) == batch for leaf in jax.tree.leaves(estimator)):
        return batch  # it has an array for these images, such as a baseline for each
    fit = FEATURE_BYTES // feature_bytes(cut, images, devices)
    return max(size for size in range(1, batch + 1) if batch % size == 0 and size <= max(fit, 1))


def feature_bytes(cut: Cut, images: Images, devices: int = 1) -> int:
    """Returns the size of the Jacobian of the features of one image, on each device."""
    rows = -(-cut.width // devices)
    return rows * math.prod(images.shape[1:]) * jnp.asarray(images).dtype.itemsize


def _pulls_back(estimator: Estimator) -> bool:
    """Whether a cotangent costs a backward pass through the whole network."""
    if isinstance(estimator, MeanOf):
        return all(map(_pulls_back, estimator.estimators))
    return estimator.linear and isinstance(estimator, Plain | Averaged | GradientXInput)


def _many_classes(apply_fn: ApplyFn, variables: Variables, images: Images) -> bool:
    logits = trace(apply_fn, variables, images)[1]
    return getattr(logits, "ndim", 0) == 2 and logits.shape[1] >= _LEAST_CLASSES


def _composes(cut: Cut, estimator: Estimator, output: str) -> bool:
    """Whether attributions of scores are weighted sums of those of the features.

    The chain rule says so at one place, for any tail. Estimators that see others need a tail whose
    derivative is the same everywhere.
    """
    return isinstance(estimator, Plain) or (cut.affine and output == "logits")


def _pays(cut: Cut, images: Images, rivals: Any, devices: int) -> bool:
    if feature_bytes(cut, images, devices) > FEATURE_BYTES:
        return False
    compared = cut.classes
    if isinstance(rivals, int | np.integer):
        compared = 1 + int(rivals)
    elif not isinstance(rivals, str) and hasattr(rivals, "__len__"):
        compared = 1 + len(rivals)
    pixels = math.prod(images.shape[1:])
    by_scores = compared * (cut.body_flops + cut.tail_flops)
    product = 2 * compared * cut.width * pixels
    by_features = cut.width * (cut.body_flops + cut.tail_flops) + product
    return by_features * _LEAST_GAIN <= by_scores
