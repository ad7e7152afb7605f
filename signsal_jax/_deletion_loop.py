"""Classifying what deletion leaves of the images, in the order that is fastest."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Int

from signsal_jax import _checks
from signsal_jax._types import ApplyFn, Variables

# On CPU two fractions a step keep both kinds of operations busy: those that use every core and
# those that use one. Side by side, all of them would take many times the memory.
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

    def curve_by_curve(masks: list[Array]) -> tuple[Array, Array]:
        results = [judge(deleted) for deleted in delete_all(masks)]
        return jax.tree.map(lambda *parts: jnp.concatenate(parts), *results)

    def curves_together(masks: list[Array]) -> tuple[Array, Array]:
        return judge(jnp.concatenate(delete_all(masks)))

    def over_fractions(fraction: Callable, unroll: int) -> Callable:
        def step(_: None, masks: list[Array]) -> tuple[None, tuple[Array, Array]]:
            return None, fraction(masks)

        return lambda masks: jax.lax.scan(step, None, masks, unroll=unroll)[1]

    return jax.lax.platform_dependent(
        masks,
        cpu=over_fractions(curves_together, _CPU_FRACTIONS),
        default=over_fractions(curve_by_curve, 1),
    )
