"""What a map claims of every pixel and channel: in which direction it helps, and how much."""

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from signsal_jax._types import ClassExtrema
from signsal_jax.maps import COMPARATIVE_METHODS, kept_of


def claimed_signs(method: str, extrema: ClassExtrema) -> Int[Array, "b h w c"]:
    """Returns the direction in which a map claims that its pixels help the target.

    Brighter (1) for positive and active, darker (-1) for negative and inactive, the sign of the
    gradient for vanilla and of the contrast for contrasts; 0 where the map keeps nothing.

    Args:
      method: one of `ALL_METHODS`.
      extrema: from `class_extrema`, with what the method needs.

    Returns:
      int8 `[b, h, w, c]`.

    Raises:
      TypeError, ValueError: as `maps_from_extrema`.

    >>> import jax.numpy as jnp, signsal_jax
    >>> from signsal_jax.evaluations import claimed_signs
    >>> def apply_fn(variables, images):
    ...     return jnp.einsum("bhwc,hwk->bk", images, variables)
    >>> weights = jnp.asarray([[[-1.0, -2.0], [2.0, 3.0], [0.0, -1.0]]])
    >>> extrema = signsal_jax.class_extrema(apply_fn, weights, jnp.ones((1, 1, 3, 1)), target=0)
    >>> claimed_signs("active", extrema).ravel().tolist()
    [1, 0, 1]
    >>> claimed_signs("negative", extrema).ravel().tolist()
    [-1, 0, 0]
    """
    # The margin, because an active gradient can be negative, or zero.
    kept = f"{method}_margin" if method in COMPARATIVE_METHODS else method
    return jnp.sign(kept_of(kept, extrema)).astype(jnp.int8)


def claimed_values(method: str, extrema: ClassExtrema) -> Float[Array, "b h w c"]:
    """Returns what a map claims with its sign: `claimed_signs` times the magnitude that it shows.

    Args:
      method: one of `ALL_METHODS`.
      extrema: from `class_extrema`, with what the method needs.

    Returns:
      `[b, h, w, c]`, in score units per unit of pixel value.

    Raises:
      TypeError, ValueError: as `maps_from_extrema`.

    >>> import jax.numpy as jnp, signsal_jax
    >>> from signsal_jax.evaluations import claimed_values
    >>> def apply_fn(variables, images):
    ...     return jnp.einsum("bhwc,hwk->bk", images, variables)
    >>> weights = jnp.asarray([[[-1.0, -2.0], [2.0, 3.0], [0.0, -1.0]]])
    >>> extrema = signsal_jax.class_extrema(apply_fn, weights, jnp.ones((1, 1, 3, 1)), target=0)
    >>> claimed_values("active", extrema).ravel().tolist()
    [1.0, 0.0, 0.0]
    """
    return claimed_signs(method, extrema) * jnp.abs(kept_of(method, extrema))
