"""Signed maps with one value per pixel: what happens if the pixel gets brighter."""

from collections import OrderedDict
from collections.abc import Mapping

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from signsal_jax._types import ClassExtrema
from signsal_jax.maps import kept_gradient, valid_images

GRADIENT, COMPARED = "gradient", "active & inactive"


def brightness_maps(extrema: ClassExtrema) -> Mapping[str, Float[Array, "b h w"]]:
    """Sums signed gradients over channels: the change of a score as a pixel gets brighter.

    "gradient" is the change of the target's score. "active & inactive" is the margin to the closest
    other class: positive where brighter favors the target over every other class (active), negative
    where darker does (inactive), and zero where neither is true in any channel.

    Args:
      extrema: from `class_extrema`; without the extrema of other classes, "gradient" is alone.

    Returns:
      By name `[b, h, w]`, signed, in score units per unit of pixel value in all channels at once;
      NaN for images that are not valid, see `Saliency`.

    Reference: arXiv 2309.12913, section 3, for active and inactive.

    >>> import jax.numpy as jnp, signsal_jax
    >>> from signsal_jax import brightness
    >>> def apply_fn(variables, images):
    ...     return jnp.einsum("bhwc,hwk->bk", images, variables)
    >>> weights = jnp.asarray([[[2.0, 1.5], [-1.0, 0.5], [0.0, 0.0]]])
    >>> extrema = signsal_jax.class_extrema(apply_fn, weights, jnp.ones((1, 1, 3, 1)), target=0)
    >>> maps = brightness.brightness_maps(extrema)
    >>> maps["gradient"].tolist(), maps["active & inactive"].tolist()
    ([[[2.0, -1.0, 0.0]]], [[[0.5, -1.5, 0.0]]])
    """
    signed = OrderedDict({GRADIENT: extrema.gradient})
    if extrema.highest is not None and extrema.lowest is not None:
        rivals = extrema.highest, extrema.lowest
        margins = [
            kept_gradient(method, extrema.gradient, *rivals)
            for method in ("active_margin", "inactive_margin")
        ]
        signed[COMPARED] = margins[0] + margins[1]
    valid = valid_images(extrema)[:, None, None]
    return OrderedDict(
        (name, jnp.where(valid, values.sum(-1), jnp.nan)) for name, values in signed.items()
    )
