"""Rivals: the other classes that a target is compared with."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Int

from signsal_jax import _checks
from signsal_jax._types import Logits


def resolve_rivals(
    rivals: Any, logits: Logits, target: Int[Array, " b"]
) -> Int[Array, "b r"] | None:
    """Returns the rivals of each image's target in ascending order, or None for all other classes.

    The target itself is not a rival: where it is listed, `k` takes its place.

    Raises:
      TypeError, ValueError: unless rivals are "all", a number of classes from 1 to k - 1, or
        distinct class indices.
    """
    if isinstance(rivals, str):
        _checks.check_member("rivals", rivals, ("all",))
        return None
    num_classes = logits.shape[1]
    if isinstance(rivals, int | np.integer) and not isinstance(rivals, bool):
        if not 1 <= rivals < num_classes:
            raise ValueError(
                f"rivals: expected from 1 to {num_classes - 1} other classes, got {rivals}"
            )
        own = jnp.arange(num_classes)[None] == target[:, None]
        found = jax.lax.top_k(jnp.where(own, -jnp.inf, logits), int(rivals))[1]
    else:
        named = np.asarray(_checks.check_integers("rivals", rivals))
        if named.ndim != 1 or not named.size or len(np.unique(named)) != named.size:
            raise ValueError(
                f"rivals: expected 'all', a number of classes, or distinct classes, got {rivals!r}"
            )
        named = _checks.check_indices("rivals", named, num_classes)
        found = jnp.broadcast_to(named[None], (logits.shape[0], named.size))
        found = jnp.where(found == target[:, None], num_classes, found)
    return jnp.sort(found.astype(jnp.int32), axis=1)
