"""Pixels to delete, most salient first, and the fill that replaces them."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float

from signsal_jax import _checks, _image_checks
from signsal_jax._sorting import ascending, inverse_permutation
from signsal_jax._types import AnyArray, Images

PAPER_FRACTIONS = (0.0, 0.03, 0.05, 0.07, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
RULES = ("paper", "exact", "completed")
# Of the order in which the rule "completed" takes pixels that a map does not distinguish.
_ORDER_SEED = 0
FILLS = {"black": 0.0, "white": 1.0}
BLUR_SHARE = 1 / 16


def fill_values(fill: Any, images: Array, name: str = "fill") -> Array:
    """Returns the fill as an array that broadcasts to the images `[b, h, w, c]`, in their dtype.

    Raises:
      TypeError, ValueError: an unknown name, an array of integers (such as an image with pixels
        up to 255), or a shape that `delete` does not take.
    """
    if isinstance(fill, str):
        _checks.check_member(name, fill, tuple(FILLS))
        fill = FILLS[fill]
    given = _checks.check_numbers(name, fill)
    if hasattr(fill, "dtype") and not jnp.issubdtype(given.dtype, jnp.floating):
        raise TypeError(
            f"{name}: expected floating point in [0, 1] like the images, got {given.dtype}: "
            f"convert with {name}.astype('float32') / 255"
        )
    values = given.astype(images.dtype)
    accepted = ((), images.shape[3:], images.shape[1:], images.shape)
    if values.shape not in accepted:
        raise ValueError(
            f"{name}: expected 'black', 'white', a number, one value per channel "
            f"{list(images.shape[3:])}, or an image {list(images.shape[1:])}, got "
            f"shape {values.shape}"
        )
    return values.reshape((1,) * (4 - values.ndim) + values.shape)


def deleted_counts(fractions: Any, size: int) -> np.ndarray:
    """Returns how many of `size` pixels each fraction deletes at most: `[f]`, by Python's round.

    Raises:
      TypeError, ValueError: fractions that are not numbers in [0, 1].
    """
    return np.asarray([round(float(f) * size) for f in _checks.check_fractions(fractions)])


def deletion_masks(
    maps: Float[AnyArray, "b h w"],
    *,
    fractions: Sequence[float] | np.ndarray = PAPER_FRACTIONS,
    rule: str = "paper",
) -> Bool[Array, "f b h w"]:
    """Selects the pixels that each fraction deletes, by one sort per map.

    Args:
      maps: saliency maps `[b, h, w]`, higher means deleted earlier.
      fractions: shares of the N = h·w pixels, each in [0, 1].
      rule: "paper" deletes the pixels with map > t and map != 0, where t is the value at
        position round(f·N) of the descending order (Python's round): a sparse map deletes
        fewer pixels than that. "exact" deletes exactly round(f·N) pixels, in descending order of
        the map and, at ties, in reading order (row by row). "completed" does so too, but takes
        ties (such as all the pixels where a sparse map is zero) in one random order, the same for
        all maps and images: reading order would delete the top of the picture first, and the
        paper's rule compares maps at different real shares.

    Returns:
      `[f, b, h, w]`, true where a pixel is deleted.

    Raises:
      ValueError: maps that are not `[b, h, w]`, fractions outside [0, 1], an unknown rule.

    Reference: arXiv 2309.12913, the deletion benchmark, and its public implementation.

    >>> import jax.numpy as jnp, signsal_jax
    >>> maps = jnp.asarray([[[0.0, 0.2], [0.0, 1.0]]])
    >>> [int(m.sum()) for m in signsal_jax.deletion_masks(maps, fractions=[0.25, 0.75])]
    [1, 2]
    >>> masks = signsal_jax.deletion_masks(maps, fractions=[0.25, 0.75], rule="exact")
    >>> [int(m.sum()) for m in masks]
    [1, 3]
    """
    maps = _checks.check_numbers("maps", maps)
    if maps.ndim != 3:
        raise ValueError(f"maps: expected rank 3 [batch, height, width], got shape {maps.shape}")
    if 0 in maps.shape:
        raise ValueError(f"maps: expected at least one map and pixel, got shape {maps.shape}")
    _checks.check_member("rule", rule, RULES)
    flat = maps.reshape(maps.shape[0], -1)
    size = flat.shape[1]
    counts = deleted_counts(fractions, size)
    if rule == "paper":
        descending = jnp.flip(ascending(flat), 1)
        # At f = 1 the position is one past the end: the threshold is then below every value.
        threshold = jnp.where(
            counts[None] < size, descending[:, np.minimum(counts, size - 1)], -jnp.inf
        )
        masks = (flat[None] > threshold.T[:, :, None]) & (flat[None] != 0)
    else:
        # The sort is stable: ties are taken in the order in which it is given the pixels.
        given = np.random.default_rng(_ORDER_SEED).permutation(size)
        taken = flat[:, given] if rule == "completed" else flat
        order = jnp.argsort(taken, axis=1, stable=True, descending=True)
        rank = inverse_permutation(order)
        if rule == "completed":
            rank = rank[:, np.argsort(given)]
        masks = rank[None] < counts[:, None, None]
    return masks.reshape(len(counts), *maps.shape)


def delete(images: Images, mask: Bool[AnyArray, "b h w"], fill: Any = "black") -> Images:
    """Overwrites all channels of the masked pixels with the fill.

    Args:
      images: float `[b, h, w, c]`.
      mask: `[b, h, w]`, true where a pixel is deleted.
      fill: "black" (0), "white" (1), a number, one value per channel `[c]`, or an image
        `[h, w, c]` or `[b, h, w, c]`, such as the blurred input.

    Returns:
      `[b, h, w, c]`.

    Raises:
      TypeError, ValueError: images of the wrong rank or type, a mask that is not boolean or of
        another size than the images, an unknown fill name or a fill of another shape.

    >>> import jax.numpy as jnp, signsal_jax
    >>> mask = jnp.asarray([[[True, False]]])
    >>> signsal_jax.delete(jnp.full((1, 1, 2, 1), 0.5), mask, "white").ravel().tolist()
    [1.0, 0.5]
    """
    _image_checks.check_image_batch(images)
    _checks.check_boolean("mask", mask)
    if jnp.shape(mask) != images.shape[:3]:
        raise ValueError(
            f"mask: expected the images' shape {images.shape[:3]}, got {jnp.shape(mask)}"
        )
    images = jnp.asarray(images)
    return jnp.where(jnp.asarray(mask)[..., None], fill_values(fill, images), images)


def blur(images: Images) -> Images:
    """Blurs images by a Gaussian whose standard deviation is 1/16 of their shorter side.

    Args:
      images: float `[b, h, w, c]`.

    Returns:
      `[b, h, w, c]`, in the range of the images: near the border, the weights of the pixels
      inside the image are scaled to a sum of 1.

    >>> import jax.numpy as jnp
    >>> from signsal_jax.evaluations import blur
    >>> blur(jnp.full((1, 4, 4, 1), 0.5))[0, 0, :2, 0].tolist()
    [0.5, 0.5]
    """
    _image_checks.check_image_batch(images)
    images = jnp.asarray(images)
    deviation = BLUR_SHARE * min(images.shape[1:3])

    def weights(size: int) -> Array:
        distance = jnp.arange(size)[:, None] - jnp.arange(size)[None]
        return jax.nn.softmax(-(distance**2) / (2 * deviation**2), axis=1).astype(images.dtype)

    vertical, horizontal = weights(images.shape[1]), weights(images.shape[2])
    return jnp.einsum(
        "yh,xw,bhwc->byxc", vertical, horizontal, images, precision=jax.lax.Precision.HIGHEST
    )
