"""The signed input Jacobian, whole or streamed over classes, from one forward pass."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from signsal_jax import _checks
from signsal_jax._class_chunks import resolve_chunk, split_classes
from signsal_jax._types import (
    ApplyFn,
    ClassExtrema,
    ClassGradients,
    Gradients,
    Images,
    Logits,
    Variables,
)

OUTPUTS = ("logits", "log_softmax", "softmax")
_OUTPUT_FNS = {
    "logits": lambda logits: logits,
    "log_softmax": jax.nn.log_softmax,
    "softmax": jax.nn.softmax,
}

# On CPU a short unrolled loop over classes beats one batched pullback (its working set stays
# in cache); past this length compile time grows faster than run time falls.
_MAX_UNROLL = 16

Pullback = Callable[[Float[Array, "b k"]], Gradients]


def _varying_like(values: Array, like: Array) -> Array:
    """Inside `jax.shard_map`, marks `values` as differing between devices wherever `like` does.

    Constants do not, but cotangents and the carry of a scan must match what they meet.
    """
    axes = jax.typeof(like).manual_axis_type.varying - jax.typeof(values).manual_axis_type.varying
    return jax.lax.pcast(values, tuple(axes), to="varying") if axes else values


def linearize(
    apply_fn: ApplyFn,
    variables: Variables,
    images: Images,
    *,
    output: str = "logits",
    precision: str | None = "highest",
    min_classes: int = 1,
) -> tuple[Logits, Pullback]:
    """Runs the one forward pass: logits `[b, k]` and the pullback of the class scores."""
    _checks.check_image_batch(images)
    _checks.check_member("output", output, OUTPUTS)

    def scores(images: Images) -> tuple[Array, Array]:
        logits = apply_fn(variables, images)
        _checks.check_logits(logits, images.shape[0], min_classes=min_classes)
        return _OUTPUT_FNS[output](logits), logits

    # The pullback's products inherit the precision that the forward pass was traced with.
    with jax.default_matmul_precision(precision):
        _, pullback, logits = jax.vjp(scores, jnp.asarray(images), has_aux=True)
    return logits, lambda cotangent: pullback(_varying_like(cotangent, logits))[0]


def class_gradients(
    pullback: Pullback, classes: Int[Array, "m b"], logits: Logits
) -> Float[Array, "m b h w c"]:
    """Pulls back the one-hot cotangents of `classes`, all in one step."""
    cotangents = jax.nn.one_hot(classes, logits.shape[1], dtype=logits.dtype)

    def unrolled(cotangents: Array) -> Array:
        return jnp.stack([pullback(cotangent) for cotangent in cotangents])

    def batched(cotangents: Array) -> Array:
        return jax.vmap(pullback)(cotangents)

    if len(classes) == 1:
        return unrolled(cotangents)
    if len(classes) > _MAX_UNROLL:
        return batched(cotangents)
    return jax.lax.platform_dependent(cotangents, cpu=unrolled, default=batched)


def signed_jacobian(
    apply_fn: ApplyFn,
    variables: Variables,
    images: Images,
    *,
    classes: Any = None,
    class_chunk: int | str | None = None,
    precision: str | None = "highest",
) -> tuple[Logits, ClassGradients]:
    """The signed gradient of every class score with respect to every pixel.

    One forward pass and one pullback per class. Pure: compose it with `jax.jit`, `jax.vmap`,
    `jax.grad` and `jax.shard_map`; differentiable as often as `apply_fn` is.

    Args:
      apply_fn: `apply_fn(variables, images) -> logits`, see `signsal_jax.ApplyFn`.
      variables: the classifier's pytree of weights.
      images: float `[b, h, w, c]`, pixels in [0, 1].
      classes: the class indices to differentiate: None for all, `[m]` for the same ones in
        every image, or `[b, m]` for each image its own. An index out of range that is only
        known on the device gives a gradient of zeros.
      class_chunk: classes pulled back at a time, to bound memory; None for all at once, "auto"
        for as many as fit about 1 GiB beside the forward pass, judged by the network's largest
        array. Any value gives the same numbers.
      precision: of float32 products. The sign is the data here, and TPUs and recent GPUs round
        float32 products to bfloat16 or TF32 unless told otherwise: "highest" tells them. Any
        name that `jax.default_matmul_precision` takes; None keeps the setting around the call.
        An operation of `apply_fn` with a precision of its own keeps it.

    Returns:
      Logits `[b, k]` and the Jacobian `[b, m, h, w, c]` (`m = k` without `classes`), in score
      units per unit of pixel value.

    Raises:
      TypeError, ValueError: images that are not floating `[b, h, w, c]` or look like NCHW;
        logits that are not `[b, k]`; classes that are not integer `[m]` or `[b, m]`, or are
        host values out of range; a class_chunk below 1.

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
    logits, pullback = linearize(apply_fn, variables, images, precision=precision)
    batch, num_classes = logits.shape
    if classes is None:
        classes = jnp.arange(num_classes)
    classes = jnp.asarray(_checks.check_indices("classes", classes, num_classes))
    if classes.ndim == 1:
        classes = jnp.broadcast_to(classes, (batch, *classes.shape))
    if classes.ndim != 2 or classes.shape[0] != batch or classes.shape[1] == 0:
        raise ValueError(
            f"classes: expected shape [m] or [{batch}, m] with m >= 1, got {classes.shape}"
        )
    full, rest = split_classes(classes.T, chunk)
    if len(full) == 1:
        parts = [class_gradients(pullback, full[0], logits)]
    else:
        parts = jax.lax.map(lambda chunk: class_gradients(pullback, chunk, logits), full)
        parts = [parts.reshape(-1, *parts.shape[2:])]
    if len(rest):
        parts.append(class_gradients(pullback, rest, logits))
    return logits, jnp.moveaxis(jnp.concatenate(parts), 0, 1)


def resolve_target(logits: Logits, target: Any) -> Int[Array, " b"]:
    """The target class per image: predicted, one index for all, or one index an image."""
    batch, num_classes = logits.shape
    if isinstance(target, str):
        _checks.check_member("target", target, ("predicted",))
        return jnp.argmax(logits, axis=1).astype(jnp.int32)
    target = _checks.check_indices("target", target, num_classes)
    if target.shape not in ((), (batch,)):
        raise ValueError(
            f"target: expected 'predicted', an index or shape [{batch}], got {target.shape}"
        )
    return jnp.broadcast_to(jnp.asarray(target, jnp.int32), (batch,))


def target_gradient(
    apply_fn: ApplyFn,
    variables: Variables,
    images: Images,
    *,
    target: Any = "predicted",
    output: str = "logits",
    precision: str | None = "highest",
) -> ClassExtrema:
    """The target's gradient alone, by one pullback; the extrema of the others are None."""
    logits, pullback = linearize(
        apply_fn, variables, images, output=output, precision=precision, min_classes=2
    )
    target = resolve_target(logits, target)
    gradient = class_gradients(pullback, target[None], logits)[0]
    return ClassExtrema(logits, target, gradient)


def class_extrema(
    apply_fn: ApplyFn,
    variables: Variables,
    images: Images,
    *,
    target: Any = "predicted",
    output: str = "logits",
    class_chunk: int | str | None = None,
    precision: str | None = "highest",
) -> ClassExtrema:
    """The target's gradient and the highest and lowest gradient of all *other* classes.

    Streams over the classes in one pass (one forward, `k` pullbacks) and keeps running
    extrema, so with a `class_chunk` the peak memory does not depend on the number of classes.

    Args:
      apply_fn: `apply_fn(variables, images) -> logits`, see `signsal_jax.ApplyFn`.
      variables: the classifier's pytree of weights.
      images: float `[b, h, w, c]`, pixels in [0, 1].
      target: "predicted", one class index, or one index an image `[b]`.
      output: the score that is differentiated: "logits", "log_softmax" or "softmax".
      class_chunk: classes pulled back at a time; None for all at once, or "auto", see
        `signed_jacobian`.
      precision: of float32 products, see `signed_jacobian`.

    Returns:
      `ClassExtrema`: logits `[b, k]`, target `[b]`, and per pixel and channel `[b, h, w, c]` the
      target's gradient, the highest and the lowest gradient of the other classes, and which
      class that is (the lowest index at a tie). A NaN gradient of any class makes the extrema
      there NaN.

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
    logits, pullback = linearize(
        apply_fn, variables, images, output=output, precision=precision, min_classes=2
    )
    target = resolve_target(logits, target)
    gradient = class_gradients(pullback, target[None], logits)[0]
    # The j-th other class of an image is j below its target and j + 1 from there on, so the
    # target itself never takes part and no pullback is spent twice.
    others = jnp.arange(logits.shape[1] - 1, dtype=jnp.int32)[:, None]
    others = others + (others >= target[None])

    def update(extrema: tuple, candidates: tuple[Array, Array]) -> tuple[tuple, None]:
        index, candidate = candidates
        index = index[:, None, None, None]
        highest, highest_class, lowest, lowest_class = extrema
        # NaN compares false with everything: take it in explicitly, and it stays.
        above = (candidate > highest) | jnp.isnan(candidate)
        below = (candidate < lowest) | jnp.isnan(candidate)
        extrema = (
            jnp.where(above, candidate, highest),
            jnp.where(above, index, highest_class),
            jnp.where(below, candidate, lowest),
            jnp.where(below, index, lowest_class),
        )
        return extrema, None

    def update_chunk(extrema: tuple, classes: Array) -> tuple[tuple, None]:
        candidates = (classes, class_gradients(pullback, classes, logits))
        return jax.lax.scan(update, extrema, candidates, unroll=len(classes) <= _MAX_UNROLL)

    infinity = jnp.full_like(gradient, jnp.inf)
    no_class = _varying_like(jnp.full(gradient.shape, -1, jnp.int32), gradient)
    extrema = (-infinity, no_class, infinity, no_class)
    full, rest = split_classes(others, chunk)
    if len(full) == 1:
        extrema, _ = update_chunk(extrema, full[0])
    else:
        extrema, _ = jax.lax.scan(update_chunk, extrema, full)
    if len(rest):
        extrema, _ = update_chunk(extrema, rest)
    return ClassExtrema(logits, target, gradient, *extrema)
