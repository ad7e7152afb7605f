"""The logits and the pullback of an estimator, and class gradients computed by that pullback."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from signsal_jax import _checks, _image_checks
from signsal_jax._jaxpr import run_once
from signsal_jax._types import ApplyFn, Gradients, Images, Logits, Variables
from signsal_jax._vma import check_images_differ, explicitly_sharded, varying_like
from signsal_jax.gradients._estimator import Estimator, Pullback, check_estimator
from signsal_jax.gradients._plain import OUTPUTS, plain

# On CPU a loop over classes beats one batched pullback: its working set stays in cache, and it
# reuses its buffers; touching fresh pages costs as much as a convolution. Two classes per step let
# operations that use all cores overlap with those that use one.
CPU_CLASSES = 2


def linearize(
    apply_fn: ApplyFn,
    variables: Variables,
    images: Images,
    *,
    estimator: Estimator = plain(),
    output: str = "logits",
    precision: str | None = "highest",
    min_classes: int = 1,
) -> tuple[Logits, Pullback]:
    """Asks an estimator for logits `[b, k]` and the pullback of the class scores.

    Checks the arguments and the results in the same way for all estimators.
    """
    check_arguments(apply_fn, images, estimator, output)
    images = jnp.asarray(images)
    if explicitly_sharded(images):  # JAX has no rule for pulling back a batch of cotangents there
        raise ValueError(
            f"images: expected a mesh whose axes are Auto or Manual, got {jax.typeof(images)}: "
            "jax.make_mesh(..., axis_types=(jax.sharding.AxisType.Auto,) * n), or jax.shard_map"
        )

    def classify(variables: Any, images: Any) -> Array:
        logits = apply_fn(variables, images)
        _checks.check_logits(logits, images.shape[0], min_classes=min_classes)
        return logits

    logits, pullback = estimator(classify, variables, images, output=output, precision=precision)
    check_images_differ(images, "logits", logits)

    def checked(cotangent: Array) -> Gradients:
        check_images_differ(images, "classes", cotangent)
        gradient = pullback(varying_like(cotangent, logits))
        if gradient.shape != images.shape:
            raise ValueError(
                f"estimator: expected {estimator.name} to give attributions of the images' shape "
                f"{images.shape}, got {gradient.shape}"
            )
        return gradient

    return logits, checked


def check_arguments(apply_fn: Any, images: Any, estimator: Any, output: Any) -> None:
    """Raises what can be known to be wrong before the classifier is called."""
    _checks.check_classifier(apply_fn)
    _image_checks.check_image_batch(images)
    _image_checks.warn_of_pixel_range(images)
    _checks.check_member("output", output, OUTPUTS)
    check_estimator(estimator)


def class_gradients(
    pullback: Pullback, classes: Int[Array, "m b"], logits: Logits
) -> Float[Array, "m b h w c"]:
    """Pulls back the one-hot cotangents of `classes`, on accelerators all at once."""
    if len(classes) == 1:
        return pullback(_one_hot(classes[0], logits))[None]

    def together(classes: Array) -> Array:
        return jax.vmap(pullback)(_one_hot(classes, logits))

    def looped(classes: Array) -> Array:
        return looped_gradients(pullback, classes, logits, axis=0)

    by_platform = functools.partial(jax.lax.platform_dependent, cpu=looped, default=together)
    return run_once(by_platform, classes)


def same_class_gradients(
    pullback: Pullback, classes: Int[Array, " m"], logits: Logits
) -> Float[Array, "m b h w c"]:
    """Computes `class_gradients` of the same classes for every image."""
    rows = jnp.broadcast_to(classes[:, None], (len(classes), logits.shape[0]))
    return class_gradients(pullback, rows, logits)


def looped_gradients(
    pullback: Pullback,
    classes: Int[Array, "m b"],
    logits: Logits,
    *,
    axis: int,
    unroll: int = CPU_CLASSES,
) -> Float[Array, "..."]:
    """Computes `class_gradients` in a loop that writes each class to its place along `axis`."""

    def update(gradients: Array, item: tuple[Array, Array]) -> tuple[Array, None]:
        index, row = item
        gradient = pullback(_one_hot(row, logits))
        return jax.lax.dynamic_update_index_in_dim(gradients, gradient, index, axis), None

    one = jax.eval_shape(pullback, _one_hot(classes[0], logits))
    shape = (*one.shape[:axis], len(classes), *one.shape[axis:])
    empty = varying_like(jnp.zeros(shape, one.dtype), one)
    return jax.lax.scan(update, empty, (jnp.arange(len(classes)), classes), unroll=unroll)[0]


def _one_hot(classes: Int[Array, "*m b"], logits: Logits) -> Float[Array, "*m b k"]:
    return jax.nn.one_hot(classes, logits.shape[1], dtype=logits.dtype)
