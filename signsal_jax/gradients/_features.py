"""Class extrema through the features: a pullback per feature, and one product per image.

The scores depend on an image only through the D features at the network's narrowest place. So a
class gradient is a weighted sum of the D feature gradients, with the derivative of the score as
weights: D pullbacks instead of one per class.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from signsal_jax._jaxpr import run_once
from signsal_jax._precision import at_least_float32, matmul_precision
from signsal_jax._types import ApplyFn, ClassExtrema, Gradients, Images, Logits, Variables
from signsal_jax._vma import varying_like
from signsal_jax.gradients._contrast import contrast_gradients
from signsal_jax.gradients._cut import Cut, Features, features_of, logits_from
from signsal_jax.gradients._estimator import Estimator
from signsal_jax.gradients._jacobian import class_rows
from signsal_jax.gradients._linearize import linearize
from signsal_jax.gradients._plain import scores_of
from signsal_jax.gradients._products import ScoreWeights, product_extrema
from signsal_jax.gradients._rivals import resolve_rivals
from signsal_jax.gradients._running import RunningExtrema, nan_where_not_finite
from signsal_jax.gradients._target import given_target, resolve_target
from signsal_jax.gradients._through import group_size
from signsal_jax.sharding import from_first

FeatureRows = Float[Array, "b _ h w c"]


def feature_extrema(
    apply_fn: ApplyFn,
    variables: Variables,
    images: Images,
    cut: Cut,
    *,
    target: Any,
    output: str,
    class_chunk: int | None,
    precision: str | None,
    estimator: Estimator,
    rivals: Any = "all",
    contrasts: Sequence[str] = (),
    axis: str | None = None,
) -> ClassExtrema:
    """Computes `class_extrema` by pullbacks of the features at a cut.

    Inside `shard_map`, `axis` is the one whose devices share the features of an image. Each pulls
    back some features for all pixels; one all-to-all gives it all features of some pixels, of which
    it computes the extrema of all classes. Only these, of the size of the images, are gathered.
    """
    images = jnp.asarray(images)
    batch = len(images)
    devices = 1 if axis is None else jax.lax.axis_size(axis)
    size = group_size(cut, images, estimator, devices)
    own_features = None
    if axis is not None:
        share = -(-cut.width // devices)
        own_features = jax.lax.axis_index(axis) * share + jnp.arange(share)
    if not isinstance(target, str):
        target = given_target(target, batch, cut.classes)

    def group(variables: Variables, images: Images, targets: Array | None) -> ClassExtrema:
        logits, weights, rows = feature_jacobian(
            apply_fn,
            variables,
            images,
            cut,
            output=output,
            class_chunk=class_chunk,
            precision=precision,
            estimator=estimator,
            own=own_features,
        )
        if axis is not None:
            logits = from_first(logits, axis)
        own = resolve_target(logits, target if targets is None else targets)
        others = resolve_rivals(rivals, logits, own)
        compared = None if others is None else jnp.concatenate([own[:, None], others], axis=1)
        flat = rows.reshape(*rows.shape[:2], -1)
        if axis is None:
            extrema = product_extrema(weights, flat, own, compared)
        else:
            exchanged, padded = by_pixels(flat, weights, axis)
            extrema = product_extrema(padded, exchanged, own, compared)
            extrema = gathered(extrema, flat.shape[2], axis)
        shaped = RunningExtrema(*(values.reshape(images.shape) for values in extrema))
        gradient = nan_where_not_finite(shaped.gradient, images)

        def pullback(cotangent: Array) -> Gradients:
            return pulled_back(weights, rows, cotangent)

        return ClassExtrema(
            logits,
            own,
            *shaped._replace(gradient=gradient if axis is None else from_first(gradient, axis)),
            rivals=others,
            contrasts=contrast_gradients(logits, pullback, images, own, contrasts) or None,
        )

    def all_groups(variables: Variables, images: Images, targets: Array | None) -> ClassExtrema:
        if size == batch:
            return group(variables, images, targets)
        split = jax.tree.map(lambda a: a.reshape(-1, size, *a.shape[1:]), (images, targets))
        found = jax.lax.map(lambda some: group(variables, *some), split)
        return jax.tree.map(lambda a: a.reshape(batch, *a.shape[2:]), found)

    return run_once(all_groups, variables, images, None if isinstance(target, str) else target)


def by_pixels(
    rows: Float[Array, "b _ n"], weights: ScoreWeights, axis: str
) -> tuple[Float[Array, "b e m"], Float[Array, "_ k e"]]:
    """Inside `shard_map`: trades some features of all pixels for all features of some pixels.

    Pixels are padded to a multiple of the devices, the features to as many on each device.
    """
    devices = jax.lax.axis_size(axis)
    padded = jnp.pad(rows, ((0, 0), (0, 0), (0, -rows.shape[2] % devices)))
    exchanged = jax.lax.all_to_all(padded, axis, split_axis=2, concat_axis=1, tiled=True)
    missing = exchanged.shape[1] - weights.shape[2]
    return exchanged, jnp.pad(weights, ((0, 0), (0, 0), (0, missing)))


def gathered(extrema: RunningExtrema, pixels: int, axis: str) -> RunningExtrema:
    """Inside `shard_map`: gives all devices the extrema of all pixels, each `[b, pixels]`."""
    devices, place = jax.lax.axis_size(axis), jax.lax.axis_index(axis)

    def whole(values: Array) -> Array:
        mine = (jnp.arange(devices) == place)[None, :, None]
        placed = jnp.where(mine, values[:, None], 0)
        return jax.lax.psum(placed, axis).reshape(len(values), -1)[:, :pixels]

    return RunningExtrema(*map(whole, extrema))


def feature_jacobian(
    apply_fn: ApplyFn,
    variables: Variables,
    images: Images,
    cut: Cut,
    *,
    output: str,
    class_chunk: int | None,
    precision: str | None,
    estimator: Estimator,
    own: Int[Array, " _"] | None = None,
) -> tuple[Logits, ScoreWeights, FeatureRows]:
    """Computes the two factors of the class gradients.

    Args:
      own: the features to pull back; None for all.

    Returns:
      Logits `[b, k]`; the derivatives of the scores with respect to the features `[n, k, d]`,
      n = 1 if they are the same for all images, otherwise b; and those of the features with
      respect to the pixels `[b, d, h, w, c]`.
    """
    body = features_of(cut, apply_fn)
    features, pullback = linearize(
        body, variables, images, estimator=estimator, precision=precision
    )

    def tail(features: Features) -> tuple[Array, Logits]:
        logits = logits_from(cut, apply_fn, variables, images, features)
        return scores_of(logits, output), logits

    same = cut.affine and output == "logits"
    with matmul_precision(precision):
        _, logits = tail(features)
        # By forward derivatives, whose number is that of the features and not of the classes.
        # Where they are the same for all images, of two: one may be another program.
        some = features[:2] if same else features
        _, slope = jax.linearize(lambda some: tail(some)[0], some)
        shape = (cut.width, len(some), cut.width)
        each = jnp.broadcast_to(jnp.eye(cut.width, dtype=features.dtype)[:, None], shape)
        weights = jnp.moveaxis(jax.vmap(slope)(varying_like(each, features)), 0, 2)
        weights = weights[:1] if same else weights
    classes = jnp.arange(cut.width) if own is None else own
    classes = jnp.broadcast_to(classes[None], (len(features), len(classes)))
    return logits, weights, class_rows(pullback, classes, features, class_chunk)


def pulled_back(
    weights: ScoreWeights, rows: FeatureRows, cotangent: Float[Array, "b k"]
) -> Gradients:
    """Computes the pullback of any cotangent of the scores from the two factors."""
    highest = jax.lax.Precision.HIGHEST
    wide = at_least_float32(rows.dtype)
    weights = jnp.broadcast_to(weights, (len(rows), *weights.shape[1:]))
    mixed = jnp.einsum("bk,bkd->bd", cotangent, weights, precision=highest).astype(wide)
    summed = jnp.einsum("bd,bdhwc->bhwc", mixed, rows.astype(wide), precision=highest)
    return summed.astype(rows.dtype)
