"""How concentrated maps are."""

from collections.abc import Mapping

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from signsal_jax import _checks
from signsal_jax._precision import at_least_float32
from signsal_jax._types import AnyArray
from signsal_jax.evaluations.entry import MAPS, ArraySpec, Entry, Explained


def gini(maps: Float[AnyArray, "b h w"]) -> Float[Array, " b"]:
    """Returns the Gini index of each map: how concentrated it is, not whether it is right.

    Args:
      maps: saliency maps `[b, h, w]`, at least 0.

    Returns:
      `[b]` in [0, 1 - 1/(h·w)]: 0 if all pixels are equal (or all zero), the highest if one pixel
      has everything; 1/3 for uniform random numbers.

    Raises:
      TypeError, ValueError: maps that are not real numbers `[b, h, w]`, or without pixels.

    Reference: Hurley and Rickard, "Comparing Measures of Sparsity" (2009), table II; as a measure
    of explanations, Chalasani et al., arXiv 1810.06583.

    >>> import jax.numpy as jnp
    >>> from signsal_jax.evaluations import gini
    >>> gini(jnp.asarray([[[0.0, 0.0, 0.0, 1.0]], [[2.0, 2.0, 2.0, 2.0]]])).tolist()
    [0.75, 0.0]
    """
    maps = _checks.check_numbers("maps", maps, ranks=(3,))
    if 0 in maps.shape:
        raise ValueError(f"maps: expected at least one map and pixel, got shape {maps.shape}")
    ascending = jnp.sort(maps.reshape(maps.shape[0], -1), axis=1)
    ascending = ascending.astype(at_least_float32(maps.dtype))
    count = ascending.shape[1]
    weights = (2 * jnp.arange(1, count + 1, dtype=ascending.dtype) - count - 1) / count
    total = ascending.sum(1)
    return jnp.where(total == 0, 0, ascending @ weights / jnp.where(total == 0, 1, total))


def _of_image(explained: Explained) -> Mapping[str, Array]:
    assert explained.saliency is not None
    indices = [gini(values) for values in explained.saliency.maps.values()]
    return {"sparsity": jnp.stack(indices, 1)}


ENTRY = Entry(
    "sparsity",
    arrays=lambda options, _: {
        "sparsity": ArraySpec("float32", ("method",), (len(options.methods),))
    },
    needs=frozenset({MAPS}),
    of_image=_of_image,
    mean=("sparsity",),
)
