"""The class that is explained: predicted, given for all images, or given per image."""

from typing import Any

import jax.numpy as jnp
from jax import Array
from jaxtyping import Int

from signsal_jax import _checks
from signsal_jax._types import Logits


def resolve_target(logits: Logits, target: Any) -> Int[Array, " b"]:
    """Returns the target class per image from "predicted", one index for all, or one per image."""
    if isinstance(target, str):
        _checks.check_member("target", target, ("predicted",))
        return jnp.argmax(logits, axis=1).astype(jnp.int32)
    return given_target(target, *logits.shape)


def given_target(target: Any, batch: int, num_classes: int) -> Int[Array, " b"]:
    """Returns the target class per image from one index for all, or one per image."""
    if target is None:
        raise TypeError("target: expected 'predicted', an index or one per image, got None")
    target = _checks.check_indices("target", target, num_classes)
    if target.shape not in ((), (batch,)):
        raise ValueError(
            f"target: expected 'predicted', an index or shape [{batch}], got {target.shape}"
        )
    return jnp.broadcast_to(target, (batch,))
