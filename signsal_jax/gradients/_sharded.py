"""Class extrema with the images split over one mesh axis and the classes over another."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Float, Int

from signsal_jax import _checks, _image_checks
from signsal_jax._types import ApplyFn, ClassExtrema, Images, Logits, Variables
from signsal_jax.gradients._estimator import Estimator, Pullback
from signsal_jax.gradients._features import feature_extrema
from signsal_jax.gradients._linearize import linearize, same_class_gradients
from signsal_jax.gradients._plain import plain
from signsal_jax.gradients._running import (
    RunningExtrema,
    nan_where_not_finite,
    no_extrema,
    over_devices,
    with_classes,
)
from signsal_jax.gradients._target import resolve_target
from signsal_jax.gradients._through import choose_cut
from signsal_jax.sharding import BY_IMAGE, from_first, own_classes, spread_over_classes

ClassRows = Float[Array, "m b h w c"]


def split_extrema(
    logits: Logits,
    pullback: Pullback,
    images: Images,
    target: Int[Array, " b"],
    class_chunk: int | None,
    also: Callable[[ClassRows], Any] = lambda gradients: None,
) -> tuple[ClassExtrema, Any]:
    """Inside `shard_map`: `class_extrema` with the classes split over the axis `class`.

    Each device streams over its own classes; only running extrema, of the size of the images,
    are exchanged (`pmax`, `pmin`), never a Jacobian.

    Args:
      logits: from `linearize`, like `pullback`, for `images` from `spread_over_classes`.
      target: the class explained.
      class_chunk: classes pulled back at a time on each device; None for all that it has.
      also: a function of the gradients of a chunk, for what else is needed of them.

    Returns:
      The extrema, the same on every device along `class`, and the results of `also` for this
      device's own chunks (those of `own_classes`), stacked along a first axis.
    """
    num_classes = logits.shape[1]

    def update(extrema: RunningExtrema, classes: Array) -> tuple[RunningExtrema, Any]:
        gradients = same_class_gradients(pullback, classes, logits)
        extrema = with_classes(extrema, classes, gradients, target, num_classes)
        return extrema, also(gradients)

    chunks = own_classes(num_classes, class_chunk)
    extrema, others = jax.lax.scan(update, no_extrema(images), chunks)
    gradient = nan_where_not_finite(extrema.gradient, images)
    extrema = extrema._replace(gradient=gradient)
    scores = from_first(logits, "class")
    return ClassExtrema(scores, target, *over_devices(extrema, "class")), others


def sharded_extrema(
    apply_fn: ApplyFn,
    variables: Variables,
    images: Images,
    *,
    mesh: Mesh,
    target: Any = "predicted",
    class_chunk: int | None = None,
    precision: str | None = "highest",
    estimator: Estimator = plain(),
    through: str = "auto",
) -> ClassExtrema:
    """Computes `class_extrema` with images split over `data` and classes over `class`.

    Pure: wrap it in `jax.jit`. One forward pass on every device (with `plain`). Through the
    features, these are split over `class`, and the product by pixels: see `class_extrema`.

    Args:
      apply_fn: `apply_fn(variables, images) -> logits`, see `signsal_jax.ApplyFn`.
      variables: the classifier's pytree of weights.
      images: float `[b, h, w, c]`, pixels in [0, 1]; b must be a multiple of the mesh's `data`.
      mesh: from `make_mesh`.
      target: "predicted", one class index, or one index per image `[b]`.
      class_chunk: classes pulled back at a time on each device; None for all that it has.
      precision: of float32 products, see `signed_jacobian`.
      estimator: the gradient method, see `signed_jacobian`.
      through: "auto", "scores" or "features", see `class_extrema`.

    Returns:
      `ClassExtrema` of global arrays, sharded over `data`.

    Raises:
      TypeError, ValueError: as `class_extrema`; b not a multiple of the mesh's `data`.

    >>> import jax.numpy as jnp
    >>> from signsal_jax import gradients, sharding
    >>> def apply_fn(variables, images):
    ...     return images.sum((1, 2)) @ variables
    >>> weights, images = jnp.asarray([[2.0, -1.0, 1.0]]), jnp.ones((1, 2, 2, 1))
    >>> mesh = sharding.make_mesh(jax.devices()[:1])
    >>> extrema = gradients.sharded_extrema(apply_fn, weights, images, mesh=mesh)
    >>> float(extrema.highest[0, 0, 0, 0]), int(extrema.highest_class[0, 0, 0, 0])
    (1.0, 2)
    """
    _checks.check_class_chunk(class_chunk)
    _image_checks.check_image_batch(images)
    _checks.check_mesh(mesh)
    if len(images) % mesh.shape["data"]:
        raise ValueError(
            f"images: expected a multiple of the mesh's {mesh.shape['data']} along data, got "
            f"{len(images)}: see signsal_jax.sharding.pad"
        )
    if not isinstance(target, str):
        target = _checks.check_integers("target", target)
    one_each = not isinstance(target, str) and target.ndim == 1

    def local(variables: Any, images: Array, target_rows: Any) -> ClassExtrema:
        images = spread_over_classes(images)
        wanted = target_rows if one_each else target
        asked = {"output": "logits", "estimator": estimator}
        cut = choose_cut(
            through,
            apply_fn,
            variables,
            images,
            rivals="all",
            devices=mesh.shape["class"],
            **asked,
        )
        if cut is not None:
            settings = {"class_chunk": class_chunk, "precision": precision}
            return feature_extrema(
                apply_fn, variables, images, cut, target=wanted, axis="class", **asked, **settings
            )[0]
        logits, pullback = linearize(
            apply_fn,
            variables,
            images,
            estimator=estimator,
            precision=precision,
            min_classes=2,
        )
        resolved = resolve_target(from_first(logits, "class"), wanted)
        return split_extrema(logits, pullback, images, resolved, class_chunk)[0]

    rows = None if isinstance(target, str) or not one_each else _checks.as_int32(target)
    return jax.shard_map(
        local, mesh=mesh, in_specs=(PartitionSpec(), BY_IMAGE, BY_IMAGE), out_specs=BY_IMAGE
    )(variables, jnp.asarray(images), rows)
