"""Class extrema through the features: a pullback per feature, and one product per image."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from signsal_jax._jaxpr import run_once
from signsal_jax._types import ApplyFn, ClassExtrema, Images, Variables
from signsal_jax.gradients._contrast import contrast_gradients
from signsal_jax.gradients._cut import Cut
from signsal_jax.gradients._estimator import Estimator
from signsal_jax.gradients._factors import Factors, compute_factors, in_groups
from signsal_jax.gradients._products import product_extrema
from signsal_jax.gradients._rivals import resolve_rivals
from signsal_jax.gradients._running import RunningExtrema, nan_where_not_finite
from signsal_jax.gradients._target import given_target, resolve_target
from signsal_jax.gradients._through import group_size


def feature_extrema(
    apply_fn: ApplyFn,
    variables: Variables,
    images: Images,
    cut: Cut,
    *,
    target: Any,
    output: str = "logits",
    class_chunk: int | None,
    precision: str | None,
    estimator: Estimator,
    rivals: Any = "all",
    contrasts: Sequence[str] = (),
    axis: str | None = None,
    also: Callable[[Factors], Any] = lambda factors: None,
) -> tuple[ClassExtrema, Any]:
    """Computes `class_extrema` by pullbacks of the features at a cut.

    Inside `shard_map`, `axis` is the one whose devices share the features of an image, and the
    products by pixels, see `compute_factors`. Only the extrema, of the size of the images, are
    gathered.

    Args:
      also: a function of the factors of some images, for what else is needed of them.

    Returns:
      The extrema, and the results of `also`, a pytree of arrays `[b, ...]`.
    """
    images = jnp.asarray(images)
    batch = len(images)
    devices = 1 if axis is None else jax.lax.axis_size(axis)
    size = group_size(cut, images, estimator, devices)
    if not isinstance(target, str):
        target = given_target(target, batch, cut.classes)

    def group(images: Images, targets: Array | None, variables: Variables) -> Any:
        settings: dict[str, Any] = {"class_chunk": class_chunk, "precision": precision}
        factors = compute_factors(
            apply_fn,
            variables,
            images,
            cut,
            output=output,
            estimator=estimator,
            axis=axis,
            **settings,
        )
        found = extrema_of_factors(
            factors, images, target if targets is None else targets, rivals, contrasts
        )
        return found, also(factors)

    def all_groups(variables: Variables, images: Images, targets: Array | None) -> Any:
        return in_groups(
            lambda images, targets: group(images, targets, variables), size, images, targets
        )

    return run_once(all_groups, variables, images, None if isinstance(target, str) else target)


def extrema_of_factors(
    factors: Factors, images: Images, target: Any, rivals: Any, contrasts: Sequence[str]
) -> ClassExtrema:
    """Computes the extrema of all classes, and the contrasts, as products of the factors."""
    logits, axis = factors.logits, factors.axis
    own = resolve_target(logits, target)
    others = resolve_rivals(rivals, logits, own)
    compared = None if others is None else jnp.concatenate([own[:, None], others], axis=1)
    extrema = product_extrema(factors.weights, factors.rows, own, compared)
    if axis is not None:
        extrema = _gathered(extrema, images[0].size, axis)
    extrema = RunningExtrema(*(values.reshape(images.shape) for values in extrema))
    gradient = nan_where_not_finite(extrema.gradient, images)
    contrasted = contrast_gradients(logits, factors.pullback, images, own, contrasts)
    gradient, contrasted = factors.everywhere((gradient, contrasted))
    extrema = extrema._replace(gradient=gradient)
    return ClassExtrema(logits, own, *extrema, rivals=others, contrasts=contrasted or None)


def _gathered(extrema: RunningExtrema, pixels: int, axis: str) -> RunningExtrema:
    """Inside `shard_map`: gives all devices the extrema of all pixels, each `[b, pixels]`."""
    devices, place = jax.lax.axis_size(axis), jax.lax.axis_index(axis)

    def whole(values: Array) -> Array:
        mine = (jnp.arange(devices) == place)[None, :, None]
        placed = jnp.where(mine, values[:, None], 0)
        return jax.lax.psum(placed, axis).reshape(len(values), -1)[:, :pixels]

    return RunningExtrema(*map(whole, extrema))
