"""Saliency maps from gradients: the part that each signed method keeps, and the runner-up class."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int

from signsal_jax import _checks
from signsal_jax._extras import figures
from signsal_jax._methods import (
    ALL_METHODS as ALL_METHODS,
    COMPARATIVE_METHODS as COMPARATIVE_METHODS,
    CONTRAST_METHODS,
    MARGIN_METHODS,
    METHODS as METHODS,
    contrast_and_part,
)
from signsal_jax._types import ClassExtrema, Gradients, Logits
from signsal_jax.scaling import CHANNELS, Map, normalize_maps, reduce_channels

TIES = ("strict", "non-strict")


class Saliency(NamedTuple):
    """Saliency maps and everything needed to judge them (see `saliency_maps`).

    Per-method results are OrderedDicts, because jit sorts the keys of plain dicts. Note that JAX
    treats OrderedDict and dict as different pytree types.

    Attributes:
      logits: `[b, k]`, always the raw logits, whatever output was differentiated.
      target: the class explained, `[b]`.
      maps: per method `[b, h, w]`, or `[b, h, w, c]` with `channel="none"`.
      empty: per method `[b]`, true where the map is constant (usually all zeros: nothing was kept).
      valid: `[b]`, true where the target is a class, no logit is NaN, and pixels and gradients are
        finite. The maps of an image that is not valid are all NaN, so that no average counts them
        as zeros.
      margin: for active, inactive and their margin-valued maps, `[b, h, w]`: how far the target's
        gradient lies above (active) or below (inactive) the runner-up's, in the channel where this
        is largest; positive exactly where a channel is strictly active (inactive). NaN where not
        valid.
      runner_up: for the same, `[b, h, w]`: the class closest to the target in that
        channel; -1 where not valid.
      rivals: `[b, r]`, the classes that active and inactive compare the target with, in ascending
        order (`k` in place of the target itself); None for all.
    """

    logits: Logits
    target: Int[Array, " b"]
    maps: Mapping[str, Map]
    empty: Mapping[str, Bool[Array, " b"]]
    valid: Bool[Array, " b"]
    margin: Mapping[str, Float[Array, "b h w"]]
    runner_up: Mapping[str, Int[Array, "b h w"]]
    rivals: Int[Array, "b r"] | None = None

    def plot(self, images: Any = None, **options: Any) -> Any:
        """Draws every map of every image in the color of its sign: `report.plot_saliency`.

        Args:
          images: `[b, h, w, c]` in [0, 1], drawn first; None for the maps alone.
          options: of `report.plot_saliency`, such as `class_names` and `overlay`.

        Returns:
          A matplotlib `Figure`, which a notebook shows.

        Raises:
          ImportError: without the extra `cli`.
          ValueError: as `report.plot_saliency`.
        """
        return figures().plot_saliency(self, images, **options)


def kept_gradient(
    method: str,
    gradient: Gradients,
    highest: Gradients | None = None,
    lowest: Gradients | None = None,
    *,
    ties: str = "strict",
) -> Gradients:
    """Returns the target's signed gradient where `method` keeps it, zero elsewhere.

    The margin-valued maps keep what active and inactive keep, and give its distance to the
    runner-up instead: "active_margin" `gradient - highest`, "inactive_margin" `gradient - lowest`.

    Args:
      method: one of `METHODS`, "active_margin" or "inactive_margin".
      gradient: the target class's gradient `[b, h, w, c]`.
      highest: the highest gradient of the other classes, needed for "active".
      lowest: the lowest gradient of the other classes, needed for "inactive".
      ties: "strict" (a tie with another class loses) or "non-strict" (a tie is kept).

    Returns:
      `[b, h, w, c]`, signed: "negative" keeps negative values. Zero wherever a compared value is
      NaN; `saliency_maps` flags such images as not valid.

    Raises:
      TypeError, ValueError: an unknown method or ties; no `highest` for active, no `lowest` for
        inactive; gradients of another rank, shape or type.

    Reference: arXiv 2309.12913, the definitions of the five maps.

    >>> import jax.numpy as jnp, signsal_jax
    >>> gradient = jnp.asarray([3.0, -1.0]).reshape(1, 1, 2, 1)
    >>> signsal_jax.kept_gradient("negative", gradient).ravel().tolist()
    [0.0, -1.0]
    """
    _checks.check_member("method", method, METHODS + MARGIN_METHODS)
    _checks.check_member("ties", ties, TIES)
    gradient = _checks.check_numbers("gradient", gradient, ranks=(4,))
    if method == "vanilla":
        return gradient
    if method == "positive":
        return jnp.where(gradient > 0, gradient, 0)
    if method == "negative":
        return jnp.where(gradient < 0, gradient, 0)
    active = method in ("active", "active_margin")
    name, rival = ("highest", highest) if active else ("lowest", lowest)
    if rival is None:
        raise ValueError(f"{name}: expected the other classes' gradients for {method}, got None")
    rival = _checks.check_numbers(name, rival)
    if rival.shape != gradient.shape:
        raise ValueError(
            f"{name}: expected the gradient's shape {gradient.shape}, got {rival.shape}"
        )
    above, below = (
        (jnp.greater, jnp.less) if ties == "strict" else (jnp.greater_equal, jnp.less_equal)
    )
    kept = above(gradient, rival) if active else below(gradient, rival)
    return jnp.where(kept, gradient - rival if method in MARGIN_METHODS else gradient, 0)


def _check_extrema(extrema: Any) -> None:
    if not isinstance(extrema, ClassExtrema):
        raise TypeError(
            f"extrema: expected a result of class_extrema, got {type(extrema).__name__}"
        )


def runner_up(
    method: str, extrema: ClassExtrema
) -> tuple[Float[Array, "b h w"], Int[Array, "b h w"]]:
    """Returns the margin to the closest other class and that class, one value of each per pixel.

    Args:
      method: "active" (margin to the highest other class) or "inactive" (to the lowest).
      extrema: from `class_extrema`.

    Returns:
      The margin `[b, h, w]` in gradient units, in the channel where it is largest (positive exactly
      where that channel is strictly active or inactive), and the class index `[b, h, w]`.

    Raises:
      TypeError, ValueError: a method other than active and inactive; extrema that are not from
        `class_extrema`, or that hold the target's gradient alone.

    >>> import jax.numpy as jnp, signsal_jax
    >>> def apply_fn(variables, images):
    ...     return images.sum((1, 2)) @ variables
    >>> weights = jnp.asarray([[2.0, -1.0, 1.5]])
    >>> extrema = signsal_jax.class_extrema(apply_fn, weights, jnp.ones((1, 1, 1, 1)))
    >>> [x.item() for x in signsal_jax.runner_up("active", extrema)]
    [0.5, 2]
    """
    _checks.check_member("method", method, COMPARATIVE_METHODS)
    _check_extrema(extrema)
    if method == "active":
        rival, rival_class = extrema.highest, extrema.highest_class
    else:
        rival, rival_class = extrema.lowest, extrema.lowest_class
    if rival is None or rival_class is None:
        raise ValueError(
            f"extrema: expected the extrema of all classes for {method}, got only a target gradient"
        )
    margin = extrema.gradient - rival if method == "active" else rival - extrema.gradient
    # Channel by channel: an argmax and a gather would take several times as long on CPU.
    best, best_class = margin[..., 0], rival_class[..., 0]
    for channel in range(1, margin.shape[-1]):
        value = margin[..., channel]
        better = (value > best) | (jnp.isnan(value) & ~jnp.isnan(best))
        best = jnp.where(better, value, best)
        best_class = jnp.where(better, rival_class[..., channel], best_class)
    return best, best_class


def valid_images(extrema: ClassExtrema) -> Bool[Array, " b"]:
    """True where the target is a class, no logit is NaN, all gradients are finite (`Saliency`)."""
    logits, target = extrema.logits, extrema.target
    finite = jnp.isfinite(extrema.gradient)
    for rivals in (extrema.highest, extrema.lowest):
        if rivals is not None:
            finite &= jnp.isfinite(rivals)
    for contrast in (extrema.contrasts or {}).values():
        finite &= jnp.isfinite(contrast)
    valid = finite.all((1, 2, 3)) & ~jnp.isnan(logits).any(1)
    return valid & (target >= 0) & (target < logits.shape[1])


def kept_of(method: str, extrema: ClassExtrema, *, ties: str = "strict") -> Gradients:
    """Returns `kept_gradient` of any of `ALL_METHODS`, from extrema that hold what it needs.

    Raises:
      ValueError: as `kept_gradient`; a contrast that the extrema do not hold.
    """
    if method not in CONTRAST_METHODS:
        return kept_gradient(method, extrema.gradient, extrema.highest, extrema.lowest, ties=ties)
    against, part = contrast_and_part(method)
    contrasts = extrema.contrasts or {}
    if against not in contrasts:
        raise ValueError(
            f"extrema: expected the contrast {against!r} for {method}, got "
            f"{', '.join(contrasts) or 'none'}: class_extrema(..., contrasts=[{against!r}])"
        )
    return kept_gradient(part, contrasts[against])


def maps_from_extrema(
    extrema: ClassExtrema,
    *,
    methods: Sequence[str] = METHODS,
    channel: str = "max",
    normalize: bool = True,
    ties: str = "strict",
) -> Saliency:
    """Computes the requested maps from one set of gradients: `saliency_maps` without the model.

    Args:
      extrema: from `class_extrema`; its four extrema may be None if no map compares classes, and
        it must hold the contrasts of which maps are requested.
      methods: any of `ALL_METHODS`, see `saliency_maps`.
      channel: "max" (the paper's), "sum" or "l2" of absolute values, or "none" (signed).
      normalize: scale each image's map, see `normalize_maps`.
      ties: "strict" (the paper's) or "non-strict".

    Returns:
      `Saliency`.

    Raises:
      TypeError, ValueError: an unknown or repeated method, or an unknown channel or ties; extrema
        that are not from `class_extrema`.

    >>> import jax.numpy as jnp, signsal_jax
    >>> def apply_fn(variables, images):
    ...     return jnp.einsum("bhwc,hwk->bk", images, variables)
    >>> weights = jnp.asarray([[[2.0, 1.0], [-1.0, 0.5]]])
    >>> extrema = signsal_jax.class_extrema(apply_fn, weights, jnp.ones((1, 1, 2, 1)), target=0)
    >>> saliency = signsal_jax.maps_from_extrema(extrema, methods=["active"], normalize=False)
    >>> saliency.maps["active"].tolist()
    [[[2.0, 0.0]]]
    """
    methods = _checks.check_methods(methods, ALL_METHODS)
    _checks.check_member("channel", channel, CHANNELS)
    _checks.check_member("ties", ties, TIES)
    _checks.check_flag("normalize", normalize)
    _check_extrema(extrema)
    target, logits = extrema.target, extrema.logits
    ranked = {
        method: runner_up(method.removesuffix("_margin"), extrema)
        for method in methods
        if method in COMPARATIVE_METHODS + MARGIN_METHODS
    }

    valid = valid_images(extrema)
    maps, empty = OrderedDict(), OrderedDict()
    for method in methods:
        raw = reduce_channels(kept_of(method, extrema, ties=ties), channel)
        scaled, constant = normalize_maps(raw)
        image_valid = valid.reshape(-1, *[1] * (raw.ndim - 1))
        maps[method] = jnp.where(image_valid, scaled if normalize else raw, jnp.nan)
        empty[method] = constant & valid
    known = valid[:, None, None]
    return Saliency(
        logits=logits,
        target=target,
        maps=maps,
        empty=empty,
        valid=valid,
        margin=OrderedDict(
            (method, jnp.where(known, margin, jnp.nan)) for method, (margin, _) in ranked.items()
        ),
        runner_up=OrderedDict(
            (method, jnp.where(known, rival, -1)) for method, (_, rival) in ranked.items()
        ),
        rivals=extrema.rivals,
    )
