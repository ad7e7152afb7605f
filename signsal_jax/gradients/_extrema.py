"""The target's gradient and the extrema of the other classes' gradients, streamed over classes."""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Int

from signsal_jax._jaxpr import run_once
from signsal_jax._types import ApplyFn, ClassExtrema, Images, Logits, Variables
from signsal_jax._vma import check_images_differ
from signsal_jax.gradients._chunks import in_chunks, resolve_chunk
from signsal_jax.gradients._contrast import check_contrasts, contrast_gradients
from signsal_jax.gradients._estimator import Estimator, Pullback
from signsal_jax.gradients._features import feature_extrema
from signsal_jax.gradients._linearize import (
    CPU_CLASSES,
    class_gradients,
    linearize,
    same_class_gradients,
)
from signsal_jax.gradients._plain import plain
from signsal_jax.gradients._rivals import resolve_rivals
from signsal_jax.gradients._running import (
    RunningExtrema,
    nan_where_not_finite,
    no_extrema,
    with_classes,
)
from signsal_jax.gradients._target import resolve_target
from signsal_jax.gradients._through import choose_cut


def target_gradient(
    apply_fn: ApplyFn,
    variables: Variables,
    images: Images,
    *,
    target: Any = "predicted",
    output: str = "logits",
    precision: str | None = "highest",
    estimator: Estimator = plain(),
    contrasts: Sequence[str] = (),
) -> ClassExtrema:
    """Computes the target's gradient alone, by one pullback; the others' extrema are None."""
    contrasts = check_contrasts(contrasts, estimator, output)
    logits, pullback = linearize(
        apply_fn,
        variables,
        images,
        estimator=estimator,
        output=output,
        precision=precision,
        min_classes=2,
    )
    extrema = target_extrema(logits, pullback, images, resolve_target(logits, target))
    contrasted = contrast_gradients(logits, pullback, images, extrema.target, contrasts)
    return extrema._replace(contrasts=contrasted or None)


def target_extrema(
    logits: Logits, pullback: Pullback, images: Images, target: Int[Array, " b"]
) -> ClassExtrema:
    """Computes `target_gradient` from the logits and the pullback that `linearize` returned."""
    gradient = class_gradients(pullback, target[None], logits)[0]
    return ClassExtrema(logits, target, nan_where_not_finite(gradient, images))


def class_extrema(
    apply_fn: ApplyFn,
    variables: Variables,
    images: Images,
    *,
    target: Any = "predicted",
    rivals: Any = "all",
    output: str = "logits",
    class_chunk: int | str | None = None,
    precision: str | None = "highest",
    estimator: Estimator = plain(),
    contrasts: Sequence[str] = (),
    through: str = "auto",
) -> ClassExtrema:
    """Computes the target's gradient and the highest and lowest gradient of all *other* classes.

    Streams over the classes in one pass (one forward, a pullback per class) and keeps running
    extrema, so with a `class_chunk` the peak memory does not depend on the number of classes.
    Where a network is narrower than it has classes, a pullback per feature may take less.

    Args:
      apply_fn: `apply_fn(variables, images) -> logits`, see `signsal_jax.ApplyFn`.
      variables: the classifier's pytree of weights.
      images: float `[b, h, w, c]`, pixels in [0, 1].
      target: "predicted", one class index, or one index per image `[b]`.
      rivals: the other classes: "all", an integer K for the K with the highest logits per image,
        or a list of class indices (the target is ignored if it is among them). Only they and the
        target are pulled back.
      output: the score that is differentiated: "logits", "log_softmax" or "softmax".
      class_chunk: classes pulled back at a time; None for all at once, or "auto", see
        `signed_jacobian`.
      precision: of float32 products, see `signed_jacobian`.
      estimator: the gradient method, see `signed_jacobian`.
      contrasts: also the target's gradient against a weighted sum of all others', for any of
        `signsal_jax.CONTRASTS`; each takes one more pullback, of an estimator that is linear.
      through: "scores" for a pullback per class, "features" for a pullback per feature at the
        network's narrowest place, "auto" for what costs less; `resolve_through` says which that
        is. `class_chunk` then counts features.

    Returns:
      `ClassExtrema`: logits `[b, k]`, target `[b]`, rivals `[b, r]` (None for all), contrasts by
      name `[b, h, w, c]` (None without), and per pixel
      and channel `[b, h, w, c]` the target's gradient, the highest and the lowest gradient of the
      other classes, and the classes that have them (the lowest index at a tie). A NaN gradient of
      any class makes the extrema there NaN, and a pixel that is not finite makes its image's
      target gradient NaN.

    Raises:
      TypeError, ValueError: as `signed_jacobian`; fewer than two classes; an unknown output; a
        target that is not an integer or, as a host value, out of range.

    Reference: arXiv 2309.12913, the comparisons behind active and inactive gradients.

    >>> import jax.numpy as jnp, signsal_jax
    >>> def apply_fn(variables, images):
    ...     return images.sum((1, 2)) @ variables
    >>> weights = jnp.asarray([[2.0, -1.0, 1.0]])
    >>> extrema = signsal_jax.class_extrema(apply_fn, weights, jnp.ones((1, 2, 2, 1)))
    >>> float(extrema.highest[0, 0, 0, 0]), int(extrema.highest_class[0, 0, 0, 0])
    (1.0, 2)
    """
    chunk = resolve_chunk(class_chunk, apply_fn, variables, images)
    contrasts = check_contrasts(contrasts, estimator, output)
    asked = {"rivals": rivals, "output": output, "estimator": estimator}
    cut = choose_cut(through, apply_fn, variables, images, **asked)
    if cut is not None:
        settings = {"class_chunk": chunk, "precision": precision, "contrasts": contrasts}
        given = apply_fn, variables, images, cut
        return feature_extrema(*given, target=target, **asked, **settings)[0]
    logits, pullback = linearize(
        apply_fn,
        variables,
        images,
        estimator=estimator,
        output=output,
        precision=precision,
        min_classes=2,
    )
    num_classes = logits.shape[1]
    target = resolve_target(logits, target)
    check_images_differ(jnp.asarray(images), "target", target)
    rivals = resolve_rivals(rivals, logits, target)
    if rivals is None:
        compared = jnp.arange(num_classes, dtype=jnp.int32)
    else:
        compared = jnp.concatenate([target[None], rivals.T])
    pull_back = same_class_gradients if rivals is None else class_gradients

    def update(extrema: RunningExtrema, classes: Array) -> tuple[RunningExtrema, None]:
        gradients = pull_back(pullback, classes, logits)
        return with_classes(extrema, classes, gradients, target, num_classes), None

    def by_chunks(start: RunningExtrema) -> RunningExtrema:
        chunks = in_chunks(compared, chunk, padding=num_classes)
        return jax.lax.scan(update, start, chunks)[0]

    def few_at_a_time(start: RunningExtrema) -> RunningExtrema:
        size = min(CPU_CLASSES, chunk or num_classes)
        full = len(compared) // size * size
        pairs = compared[:full].reshape(-1, size, *compared.shape[1:])
        extrema = jax.lax.scan(update, start, pairs)[0]
        return update(extrema, compared[full:])[0] if full < len(compared) else extrema

    by_platform = functools.partial(
        jax.lax.platform_dependent, cpu=few_at_a_time, default=by_chunks
    )
    extrema = run_once(by_platform, no_extrema(images))
    gradient = nan_where_not_finite(extrema.gradient, images)
    return ClassExtrema(
        logits,
        target,
        *extrema._replace(gradient=gradient),
        rivals=rivals,
        contrasts=contrast_gradients(logits, pullback, images, target, contrasts) or None,
    )
