"""The signed input Jacobian of all classes, from one forward pass."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Int

from signsal_jax import _checks
from signsal_jax._jaxpr import run_once
from signsal_jax._types import ApplyFn, ClassGradients, Images, Logits, Variables
from signsal_jax.gradients._chunks import in_chunks, resolve_chunk
from signsal_jax.gradients._estimator import Estimator, Pullback
from signsal_jax.gradients._linearize import (
    CPU_CLASSES,
    class_gradients,
    linearize,
    looped_gradients,
)
from signsal_jax.gradients._plain import plain


def signed_jacobian(
    apply_fn: ApplyFn,
    variables: Variables,
    images: Images,
    *,
    classes: Any = None,
    class_chunk: int | str | None = None,
    precision: str | None = "highest",
    estimator: Estimator = plain(),
) -> tuple[Logits, ClassGradients]:
    """Computes the signed gradient of every class score with respect to every pixel.

    One forward pass and one pullback per class (`plain`; other estimators state their cost).
    Pure: compose it with `jax.jit`, `jax.vmap`, `jax.grad` and `jax.shard_map`; differentiable as
    often as `apply_fn` is.

    Args:
      apply_fn: `apply_fn(variables, images) -> logits`, see `signsal_jax.ApplyFn`.
      variables: the classifier's pytree of weights.
      images: float `[b, h, w, c]`, pixels in [0, 1].
      classes: the class indices to differentiate: None for all, `[m]` for the same ones in
        every image, or `[b, m]` for different ones per image. An index out of range that is only
        known on the device gives a gradient of zeros.
      class_chunk: classes pulled back at a time, to bound memory; None for all at once, "auto"
        for as many as fit in about 1 GiB besides the forward pass, estimated from the network's
        largest array (one class if the batch size is symbolic, in `jax.export`). On CPU at most
        two are pulled back at a time, which is fastest. Any value gives the same numbers.
      precision: of float32 products. Results here are signs, and TPUs and recent GPUs round
        float32 products to bfloat16 or TF32 by default, which "highest" prevents. Any name that
        `jax.default_matmul_precision` accepts; None keeps the setting around the call. Operations
        of `apply_fn` with a precision of their own keep it.
      estimator: the gradient method: `plain`, `smooth_grad`, `integrated_gradients`, or your own
        `Estimator`.

    Returns:
      Logits `[b, k]` and the Jacobian `[b, m, h, w, c]` (`m = k` without `classes`), in score
      units per unit of pixel value.

    Raises:
      TypeError, ValueError: images that are not floating `[b, h, w, c]` or look like NCHW;
        logits that are not `[b, k]`; classes that are not integer `[m]` or `[b, m]`, or are
        host values out of range; a class_chunk below 1; images split over an explicit mesh; inside
        `shard_map`, images that are equal on devices where logits or classes differ.

    Reference: arXiv 2309.12913, section 3 (the signed gradients of all class scores).

    >>> import jax.numpy as jnp, signsal_jax
    >>> def apply_fn(variables, images):
    ...     return images.sum((1, 2)) @ variables
    >>> weights = jnp.asarray([[2.0, -1.0]])
    >>> logits, jacobian = signsal_jax.signed_jacobian(apply_fn, weights, jnp.ones((1, 2, 2, 1)))
    >>> jacobian[0, :, 0, 0, 0].tolist()
    [2.0, -1.0]
    """
    chunk = resolve_chunk(class_chunk, apply_fn, variables, images)
    logits, pullback = linearize(
        apply_fn, variables, images, estimator=estimator, precision=precision
    )
    batch, num_classes = logits.shape
    if classes is None:
        classes = jnp.arange(num_classes)
    classes = _checks.check_indices("classes", classes, num_classes)
    if classes.ndim == 1:
        classes = jnp.broadcast_to(classes, (batch, *classes.shape))
    if classes.ndim != 2 or classes.shape[0] != batch or classes.shape[1] == 0:
        raise ValueError(
            f"classes: expected shape [m] or [{batch}, m] with m >= 1, got {classes.shape}"
        )

    return logits, class_rows(pullback, classes, logits, chunk)


def class_rows(
    pullback: Pullback, classes: Int[Array, "b m"], logits: Logits, class_chunk: int | None
) -> ClassGradients:
    """Pulls back `classes` of every image, `class_chunk` at a time, into one array."""
    # On CPU, write one class at a time into the preallocated result: no transpose, no second copy.
    unroll = min(CPU_CLASSES, class_chunk or classes.shape[1])
    one_by_one = functools.partial(looped_gradients, pullback, logits=logits, axis=1, unroll=unroll)

    def by_chunks(classes: Array) -> Array:
        chunks = in_chunks(classes, class_chunk, padding=logits.shape[1])
        rows = jax.lax.map(lambda chunk: class_gradients(pullback, chunk, logits), chunks)
        rows = rows.reshape(-1, *rows.shape[2:])[: len(classes)]
        return jnp.moveaxis(rows, 0, 1)

    by_platform = functools.partial(jax.lax.platform_dependent, cpu=one_by_one, default=by_chunks)
    return run_once(by_platform, classes.T)
