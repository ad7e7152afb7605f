"""Classifying what deletion leaves of the images, in the order that is fastest."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Int

from signsal_jax import _checks
from signsal_jax._types import ApplyFn, Variables

# On CPU one batch of all curves is fastest while it is small, and two fractions a step keep both
# kinds of operations busy: those that use every core and those that use one.
_CPU_PIXELS = 2**20
_CPU_FRACTIONS = 2


def agreements(
    apply_fn: ApplyFn,
    variables: Variables,
    images: Array,
    masks: list[Bool[Array, "f b h w"]],
    fills: list[Array],
    predicted: Int[Array, " b"],
) -> tuple[Bool[Array, "f n b"], Bool[Array, "f n b"]]:
    """For `n` masks and fills: agreement, and whether every logit was a number."""

    def judge(deleted: Array) -> tuple[Array, Array]:
        logits = apply_fn(variables, deleted)
        _checks.check_logits(logits, len(deleted))
        classes = jnp.argmax(logits, axis=1).reshape(-1, len(images))
        return classes == predicted[None], ~jnp.isnan(logits).any(1).reshape(classes.shape)

    def delete_all(masks: list[Array]) -> list[Array]:
        return [
            jnp.where(mask[..., None], fill, images)
            for mask, fill in zip(masks, fills, strict=True)
        ]

    def over_fractions(curves: int, unroll: int) -> Callable:
        def step(_: None, masks: list[Array]) -> tuple[None, tuple[Array, Array]]:
            deleted = delete_all(masks)
            groups = [deleted[start : start + curves] for start in range(0, len(masks), curves)]
            results = [judge(jnp.concatenate(group)) for group in groups]
            return None, jax.tree.map(lambda *parts: jnp.concatenate(parts), *results)

        return lambda masks: jax.lax.scan(step, None, masks, unroll=unroll)[1]

    curves = min(max(_CPU_PIXELS // max(math.prod(images.shape[:3]), 1), 1), len(masks))
    return jax.lax.platform_dependent(
        masks,
        cpu=over_fractions(curves, _CPU_FRACTIONS if curves == len(masks) else 1),
        default=over_fractions(1, 1),
    )
