"""The black and white deletion benchmark: rank pixels by a map, delete them, classify again."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float

from signsal_jax import _checks
from signsal_jax._deletion_loop import agreements
from signsal_jax._types import AnyArray, ApplyFn, Images, Variables

PAPER_FRACTIONS = (0.0, 0.03, 0.05, 0.07, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
PAPER_CURVES = (
    ("black", "vanilla"),
    ("black", "positive"),
    ("black", "active"),
    ("white", "vanilla"),
    ("white", "negative"),
    ("white", "inactive"),
)
RULES = ("paper", "exact")
FILLS = {"black": 0.0, "white": 1.0}


class DeletionCurve(NamedTuple):
    """One deletion curve, image by image (see `deletion_curve`).

    Attributes:
      agreement: `[b, f]`: the predicted class is that of the untouched image.
      deleted: `[b, f]`: the share of pixels really deleted, in [0, 1].
      valid: `[b]`: map and logits are free of NaN; where false, agreement means nothing.
    """

    agreement: Bool[Array, "b f"]
    deleted: Float[Array, "b f"]
    valid: Bool[Array, " b"]


def _fill_values(fill: Any, images: Array) -> Array:
    """The fill, broadcastable to the images."""
    if isinstance(fill, str):
        _checks.check_member("fill", fill, tuple(FILLS))
        fill = FILLS[fill]
    values = jnp.asarray(fill, images.dtype)
    accepted = ((), images.shape[3:], images.shape[1:], images.shape)
    if values.shape not in accepted:
        raise ValueError(
            "fill: expected 'black', 'white', a number, one value a channel "
            f"{list(images.shape[3:])}, or an image {list(images.shape[1:])}, got "
            f"shape {values.shape}"
        )
    return values.reshape((1,) * (4 - values.ndim) + values.shape)


def _deleted_counts(fractions: Any, size: int) -> np.ndarray:
    """How many of `size` pixels each fraction deletes at most."""
    return np.asarray([round(float(f) * size) for f in _checks.check_fractions(fractions)])


def deletion_masks(
    maps: Float[AnyArray, "b h w"],
    *,
    fractions: Sequence[float] | np.ndarray = PAPER_FRACTIONS,
    rule: str = "paper",
) -> Bool[Array, "f b h w"]:
    """Which pixels each fraction deletes, from one sort per map.

    Args:
      maps: saliency maps `[b, h, w]`, higher means deleted earlier.
      fractions: shares of the N = h·w pixels, each in [0, 1].
      rule: "paper" deletes the pixels with map > t and map != 0, where t is the value at
        position round(f·N) of the descending order (Python's round): a sparse map deletes
        fewer than f says. "exact" deletes exactly round(f·N) pixels, in descending order of
        the map and, at ties, in reading order (row by row).

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
    maps = jnp.asarray(maps)
    if maps.ndim != 3:
        raise ValueError(f"maps: expected rank 3 [batch, height, width], got shape {maps.shape}")
    _checks.check_member("rule", rule, RULES)
    flat = maps.reshape(len(maps), -1)
    size = flat.shape[1]
    counts = _deleted_counts(fractions, size)
    if rule == "paper":
        descending = jnp.sort(flat, axis=1, descending=True)
        # At f = 1 the position is one past the end: the threshold is then below every value.
        threshold = jnp.where(
            counts[None] < size, descending[:, np.minimum(counts, size - 1)], -jnp.inf
        )
        masks = (flat[None] > threshold.T[:, :, None]) & (flat[None] != 0)
    else:
        order = jnp.argsort(flat, axis=1, stable=True, descending=True)
        rank = jnp.argsort(order, axis=1)
        masks = rank[None] < counts[:, None, None]
    return masks.reshape(len(counts), *maps.shape)


def delete(images: Images, mask: Bool[AnyArray, "b h w"], fill: Any = "black") -> Images:
    """Overwrites the masked pixels, all channels of them, with the fill.

    Args:
      images: float `[b, h, w, c]`.
      mask: `[b, h, w]`, true where a pixel is deleted.
      fill: "black" (0), "white" (1), a number, one value a channel `[c]`, or an image
        `[h, w, c]` or `[b, h, w, c]`, such as the blurred input.

    Returns:
      `[b, h, w, c]`.

    Raises:
      TypeError, ValueError: images of the wrong rank or type, a mask of another size than the
        images, an unknown fill name or a fill of another shape.

    >>> import jax.numpy as jnp, signsal_jax
    >>> mask = jnp.asarray([[[True, False]]])
    >>> signsal_jax.delete(jnp.full((1, 1, 2, 1), 0.5), mask, "white").ravel().tolist()
    [1.0, 0.5]
    """
    _checks.check_image_batch(images)
    if jnp.shape(mask) != images.shape[:3]:
        raise ValueError(
            f"mask: expected the images' shape {images.shape[:3]}, got {jnp.shape(mask)}"
        )
    images = jnp.asarray(images)
    return jnp.where(jnp.asarray(mask)[..., None], _fill_values(fill, images), images)


def deletion_curve(
    apply_fn: ApplyFn,
    variables: Variables,
    images: Images,
    maps: Float[AnyArray, "b h w"],
    *,
    fill: Any = "black",
    fractions: Sequence[float] | np.ndarray = PAPER_FRACTIONS,
    rule: str = "paper",
) -> DeletionCurve:
    """Deletes the most salient pixels step by step and watches the predicted class.

    Args:
      apply_fn: `apply_fn(variables, images) -> logits`, see `signsal_jax.ApplyFn`.
      variables: the classifier's pytree of weights.
      images: float `[b, h, w, c]`, pixels in [0, 1].
      maps: saliency maps `[b, h, w]`, higher means deleted earlier.
      fill: "black" (0), "white" (1), a number, one value a channel `[c]`, or an image
        `[h, w, c]` or `[b, h, w, c]`, such as the blurred input.
      fractions: shares of deleted pixels, each in [0, 1].
      rule: "paper" or "exact", see `deletion_masks`.

    Returns:
      `DeletionCurve`: per image and fraction the agreement with the untouched image's
      prediction (not the label) and the share of pixels really deleted.

    Raises:
      TypeError, ValueError: images or maps of the wrong rank, maps of another size than the
        images, fractions outside [0, 1], an unknown rule or fill.

    Reference: arXiv 2309.12913, black and white deletion.

    >>> import jax.numpy as jnp, signsal_jax
    >>> def apply_fn(variables, images):
    ...     total = images.sum((1, 2, 3))
    ...     return jnp.stack([total - 1, 1 - total], axis=1)
    >>> images = jnp.full((1, 1, 4, 1), 0.5)
    >>> maps = jnp.asarray([[[4.0, 3.0, 2.0, 1.0]]])
    >>> curve = signsal_jax.deletion_curve(apply_fn, (), images, maps, fractions=[0.0, 0.75])
    >>> curve.agreement.tolist(), curve.deleted.tolist()
    ([[True, False]], [[0.0, 0.75]])
    """
    curves = evaluate_deletion(
        apply_fn,
        variables,
        images,
        {"map": maps},
        curves=(("fill", "map"),),
        fills={"fill": fill},
        fractions=fractions,
        rule=rule,
    )
    return curves["fill", "map"]


def evaluate_deletion(
    apply_fn: ApplyFn,
    variables: Variables,
    images: Images,
    maps: Mapping[str, Float[AnyArray, "b h w"]],
    *,
    curves: Sequence[tuple[str, str]] = PAPER_CURVES,
    fills: Mapping[str, Any] = FILLS,
    fractions: Sequence[float] | np.ndarray = PAPER_FRACTIONS,
    rule: str = "paper",
) -> dict[tuple[str, str], DeletionCurve]:
    """Several deletion curves at once: the untouched image classified once, each map sorted once.

    Pure and jittable; every fraction and fill stays on the device.

    Args:
      apply_fn: `apply_fn(variables, images) -> logits`, see `signsal_jax.ApplyFn`.
      variables: the classifier's pytree of weights.
      images: float `[b, h, w, c]`, pixels in [0, 1].
      maps: by name, saliency maps `[b, h, w]`, such as `Saliency.maps`.
      curves: pairs (name of a fill, name of a map); the paper's six by default.
      fills: by name, any fill that `deletion_curve` takes.
      fractions: shares of deleted pixels, each in [0, 1].
      rule: "paper" or "exact", see `deletion_masks`.

    Returns:
      A `DeletionCurve` for each pair in `curves`.

    Raises:
      TypeError, ValueError: as `deletion_curve`; a pair naming an unknown fill or map.

    Reference: arXiv 2309.12913, black and white deletion.

    >>> import jax.numpy as jnp, signsal_jax
    >>> def apply_fn(variables, images):
    ...     return jnp.stack([images.sum((1, 2, 3)), jnp.ones(len(images))], axis=1)
    >>> images, maps = jnp.full((1, 1, 4, 1), 0.5), jnp.asarray([[[4.0, 3.0, 2.0, 1.0]]])
    >>> curves = signsal_jax.evaluate_deletion(
    ...     apply_fn, (), images, {"vanilla": maps}, fractions=[0.75],
    ...     curves=[("black", "vanilla"), ("white", "vanilla")])
    >>> {name: curve.agreement.tolist() for name, curve in curves.items()}
    {('black', 'vanilla'): [[False]], ('white', 'vanilla'): [[True]]}
    """
    _checks.check_image_batch(images)
    images = jnp.asarray(images)
    for fill, name in curves:
        _checks.check_member("curves (fill)", fill, tuple(fills))
        _checks.check_member("curves (map)", name, tuple(maps))
    masks = {}
    for name in dict.fromkeys(name for _, name in curves):
        if jnp.shape(maps[name]) != images.shape[:3]:
            raise ValueError(
                f"maps[{name!r}]: expected the images' shape {images.shape[:3]} (reduce the "
                f"channels first), got {jnp.shape(maps[name])}"
            )
        masks[name] = deletion_masks(maps[name], fractions=fractions, rule=rule)
    logits = apply_fn(variables, images)
    _checks.check_logits(logits, len(images))
    predicted = jnp.argmax(logits, axis=1)
    valid = jnp.broadcast_to(~jnp.isnan(logits).any(1), (len(curves), len(images)))

    if not curves:
        return {}
    # A fraction that deletes nothing needs no network: it agrees with the untouched image.
    positive = _deleted_counts(fractions, images.shape[1] * images.shape[2]) > 0
    agreement = jnp.ones((len(positive), len(curves), len(images)), bool)
    if positive.any():
        deleting, numbers = agreements(
            apply_fn,
            variables,
            images,
            [masks[name][positive] for _, name in curves],
            [_fill_values(fills[fill], images) for fill, _ in curves],
            predicted,
        )
        agreement = agreement.at[positive].set(deleting)
        valid &= numbers.all(0)
    results = {}
    for index, (fill, name) in enumerate(curves):
        whole = ~jnp.isnan(maps[name]).any((1, 2))
        # Not in the images' own precision: bfloat16 cannot count past 256.
        deleted = masks[name].mean((2, 3), dtype=jnp.promote_types(images.dtype, jnp.float32)).T
        results[fill, name] = DeletionCurve(agreement[:, index].T, deleted, valid[index] & whole)
    return results
