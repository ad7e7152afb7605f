"""Pixels to change, and the scores of changed images: what several evaluations share."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int

from signsal_jax import _checks
from signsal_jax._jaxpr import run_once
from signsal_jax._precision import at_least_float32, matmul_precision
from signsal_jax._types import AnyArray, ApplyFn, Images, Logits, Variables


def logits_of(
    apply_fn: ApplyFn, variables: Variables, images: Images, precision: str | None
) -> Logits:
    """Returns the logits of images, in at least float32."""
    with matmul_precision(precision):
        logits = apply_fn(variables, images)
    _checks.check_logits(logits, images.shape[0], min_classes=2)
    return logits.astype(at_least_float32(logits.dtype))


def target_logit(logits: Logits, target: Int[AnyArray, " b"]) -> Float[Array, " b"]:
    """Returns each image's logit of its target."""
    own = jax.nn.one_hot(jnp.asarray(target), logits.shape[1], dtype=bool)
    return jnp.where(own, logits, 0).sum(1)


def check_values(
    values: Mapping[str, Float[AnyArray, "b h w c"]], images: Images
) -> dict[str, Float[Array, "b h w c"]]:
    """Returns signed values by name as arrays.

    Raises:
      TypeError, ValueError: no mapping, or values of another shape than the images.
    """
    if not isinstance(values, Mapping):
        raise TypeError(
            f"values: expected a mapping by name, such as {{'active': claimed_values(...)}}, got "
            f"{type(values).__name__}"
        )
    found = {}
    for name, array in values.items():
        found[name] = _checks.check_numbers("values", array)
        check_shape(f"values[{name!r}]", found[name], images.shape)
    return found


def check_shape(name: str, values: Array, shape: tuple[int, ...]) -> None:
    """Raises unless the values have this shape."""
    if values.shape != shape:
        raise ValueError(f"{name}: expected shape {shape}, got {values.shape}")


def chosen_pixels(
    ranks: Float[AnyArray, "b h w"], signs: Int[AnyArray, "b h w c"], share: float
) -> Bool[Array, "b h w 1"]:
    """Returns the highest of those pixels that have a sign; at a tie, the first in reading order.

    No more than the share of all pixels, and at least one where any has a sign.
    """
    batch, height, width, _ = signs.shape
    pixels = height * width
    claimed = (signs != 0).any(-1).reshape(batch, pixels)
    values = jnp.asarray(ranks).reshape(batch, pixels).astype(jnp.float32)
    order = jnp.argsort(jnp.where(claimed, -values, jnp.inf), axis=1)
    first = order[:, : max(1, round(share * pixels))]
    chosen = jnp.zeros((batch, pixels), bool)
    chosen = chosen.at[jnp.arange(batch)[:, None], first].set(True)
    return (chosen & claimed).reshape(batch, height, width, 1)


def margin_changes(
    apply_fn: ApplyFn,
    variables: Variables,
    images: Array,
    moves: Int[Array, "m b h w c"],
    target: Int[AnyArray, " b"],
    epsilon: float,
    precision: str | None,
) -> tuple[Float[Array, "m b k"], Bool[Array, "1 b k"]]:
    """Returns the changes of the target's margin to each class, and which are other classes."""

    def margins(images: Array) -> Array:
        logits = logits_of(apply_fn, variables, images, precision)
        return jnp.take_along_axis(logits, jnp.asarray(target)[:, None], 1) - logits

    before = margins(images)

    def change(move: Array) -> Array:
        return margins(images + epsilon * move.astype(images.dtype)) - before

    changes = run_once(lambda moves: jax.lax.map(change, moves), moves)
    others = ~jax.nn.one_hot(jnp.asarray(target), before.shape[1], dtype=bool)
    return changes, others[None]
