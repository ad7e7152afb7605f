"""Class gradients as products of two factors, in blocks that the running extrema take up at once.

Equal classes have equal weights, and so bit-equal gradients: a matrix product on CPU sums every row
in the same order.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from signsal_jax._precision import at_least_float32
from signsal_jax.gradients._chunks import in_chunks
from signsal_jax.gradients._running import RunningExtrema, no_extrema, with_classes

ScoreWeights = Float[Array, "_ k d"]
"""The derivatives of the scores by the features: per image, or once if they are all the same."""

# Classes per matrix product and per update of the extrema, and pixels per product on CPU: the
# result of a product (1.5 MiB) stays in cache. Of the sizes tried on a busy machine the fastest.
_CLASSES, _FEW_CLASSES = 256, 16
_CPU_PIXELS = 1536


def product_extrema(
    weights: ScoreWeights,
    rows: Float[Array, "b d n"],
    target: Int[Array, " b"],
    compared: Int[Array, "b m"] | None = None,
) -> RunningExtrema:
    """Computes the extrema of the classes' gradients, each `[b, n]`, block by block.

    Args:
      weights: from `feature_jacobian`, as are the rows.
      rows: the gradients of the features in n pixels and channels.
      target: the class whose gradient is kept.
      compared: the classes of each image, the target included, ascending but for it; k is
        padding. None for all.
    """
    num_classes = weights.shape[1]

    def one_image(item: tuple[Array, Array, Any, Any]) -> RunningExtrema:
        rows, target, own_weights, compared = item
        score_weights = weights[0] if own_weights is None else own_weights
        if compared is None:
            compared = jnp.arange(num_classes, dtype=jnp.int32)
        run = functools.partial(_by_pixels, score_weights, compared)
        return jax.lax.platform_dependent(
            rows,
            target[None],
            cpu=functools.partial(run, _CPU_PIXELS),
            default=functools.partial(run, None),
        )

    own_weights = None if len(weights) == 1 else weights
    return jax.lax.map(one_image, (rows, target, own_weights, compared))


def _by_pixels(
    weights: Float[Array, "k d"],
    compared: Int[Array, " m"],
    block: int | None,
    rows: Float[Array, "d n"],
    target: Int[Array, "1"],
) -> RunningExtrema:
    pixels = rows.shape[1]
    block = min(block or pixels, pixels)
    classes = in_chunks(compared, _CLASSES, padding=len(weights), multiple=_FEW_CLASSES)

    def none_yet(rows: Array) -> RunningExtrema:
        return no_extrema(rows[0].reshape(1, 1, -1, 1))

    def in_a_line(extrema: RunningExtrema) -> RunningExtrema:
        return RunningExtrema(*(values.reshape(-1) for values in extrema))

    def extrema_of(rows: Array) -> RunningExtrema:
        update = functools.partial(_with_products, weights, rows, target)
        return in_a_line(jax.lax.scan(update, none_yet(rows), classes)[0])

    if block == pixels:
        return extrema_of(rows)

    def place(whole: RunningExtrema, start: Array) -> tuple[RunningExtrema, None]:
        part = extrema_of(jax.lax.dynamic_slice_in_dim(rows, start, block, 1))
        update = jax.lax.dynamic_update_slice_in_dim
        return RunningExtrema(
            *(update(old, new, start, 0) for old, new in zip(whole, part, strict=True))
        ), None

    # The last block ends with the last pixel, and so overlaps the one before.
    starts = jnp.minimum(jnp.arange(-(-pixels // block)) * block, pixels - block)
    return jax.lax.scan(place, in_a_line(none_yet(rows)), starts)[0]


def _with_products(
    weights: Array, rows: Array, target: Array, extrema: RunningExtrema, classes: Array
) -> tuple[RunningExtrema, None]:
    wide = at_least_float32(rows.dtype)
    # Padding has weights of zero.
    chosen = jnp.take(weights, classes, axis=0, mode="fill", fill_value=0).astype(wide)
    products = jnp.matmul(chosen, rows.astype(wide), precision=jax.lax.Precision.HIGHEST)
    products = products.astype(rows.dtype)

    def update(extrema: RunningExtrema, item: tuple[Array, Array]) -> tuple[RunningExtrema, None]:
        classes, gradients = item
        gradients = gradients.reshape(len(classes), 1, 1, -1, 1)
        return with_classes(extrema, classes, gradients, target, len(weights)), None

    few = classes.reshape(-1, _FEW_CLASSES), products.reshape(-1, _FEW_CLASSES, rows.shape[1])
    return jax.lax.scan(update, extrema, few)
