"""Scores of a map against a known truth, per image; NaN where an image has nothing to score."""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int

from signsal_jax import _checks


class PixelScores(NamedTuple):
    """Whether a map finds the true pixels, each `[b]` in [0, 1].

    Attributes:
      mass: the share of the map's values (without sign) that lies on true pixels.
      rank: of the map's highest pixels, as many as are true, the share that is true.
      precision: the average precision, the area under the precision-recall curve.
      chance: the share of pixels that is true: what a map at random gets on average for mass and
        rank.
    """

    mass: Float[Array, " b"]
    rank: Float[Array, " b"]
    precision: Float[Array, " b"]
    chance: Float[Array, " b"]


class SignScores(NamedTuple):
    """Whether a map's signs are true.

    Attributes:
      pixels: `[b]`, of the true pixels and channels where the map has a sign, the share where it
        is right.
      covered: `[b]`, the share of the true pixels and channels where the map has a sign.
      marks: `[b, m]`, 1 where the sum of the map's values over a mark has the right sign, 0 where
        it has the wrong one or is zero, NaN for marks without direction.
    """

    pixels: Float[Array, " b"]
    covered: Float[Array, " b"]
    marks: Float[Array, "b m"]


def _ratio(part: Array, whole: Array) -> Array:
    return jnp.where(whole > 0, part / jnp.where(whole > 0, whole, 1), jnp.nan)


def pixel_scores(values: Float[Array, "b h w"], true: Bool[Array, "b h w"]) -> PixelScores:
    """Scores how well a map without sign finds the true pixels.

    Pixels with the same value share their places in the order: a constant map gets the share of
    true pixels.

    Args:
      values: `[b, h, w]`, at least 0, higher is more relevant.
      true: `[b, h, w]`, the pixels that matter.

    Returns:
      `PixelScores`; NaN without true pixels, mass also for a map of zeros.

    Raises:
      TypeError, ValueError: values of another rank or type, truth of another shape or type.

    Reference: Arras et al., "CLEVR-XAI" (2022), relevance mass and rank accuracy.

    >>> import jax.numpy as jnp
    >>> from signsal_jax import truth
    >>> values, true = jnp.asarray([[[3.0, 0.0, 1.0, 0.0]]]), jnp.asarray([[[1, 1, 0, 0]]]) > 0
    >>> [round(float(score[0]), 4) for score in truth.pixel_scores(values, true)]
    [0.75, 0.5, 0.75, 0.5]
    """
    values = _checks.check_numbers("values", values, ranks=(3,))
    _checks.check_boolean("true", true)
    if true.shape != values.shape:
        raise ValueError(f"true: expected shape {values.shape}, got {true.shape}")
    values, true = (array.reshape(len(values), -1) for array in (values, jnp.asarray(true)))
    count = true.sum(1)
    mass = _ratio(jnp.where(true, values, 0).sum(1), values.sum(1))
    order = jnp.argsort(-values, axis=1)
    values, true = (jnp.take_along_axis(array, order, axis=1) for array in (values, true))
    found = jnp.cumsum(true, axis=1)
    pixels = values.shape[1]
    # The end of each pixel's group of equal values: the first end at or after it.
    ends = jnp.concatenate([values[:, 1:] != values[:, :-1], jnp.ones_like(true[:, :1])], axis=1)
    index = jnp.where(ends, jnp.arange(pixels)[None], pixels)
    end = jnp.flip(jnp.minimum.accumulate(jnp.flip(index, 1), axis=1), 1)
    found_at_end = jnp.take_along_axis(found, end, axis=1)
    precision = _ratio(jnp.where(true, found_at_end / (end + 1), 0).sum(1), count)
    # The places 0 to count - 1; the last of them may cut through a group.
    last = jnp.maximum(count - 1, 0)[:, None]
    group = values == jnp.take_along_axis(values, last, axis=1)
    above = values > jnp.take_along_axis(values, last, axis=1)
    left = count - above.sum(1)
    hits = (above & true).sum(1) + left * _ratio((group & true).sum(1), group.sum(1))
    nothing = count == 0
    return PixelScores(
        jnp.where(nothing, jnp.nan, mass),
        _ratio(hits, count),
        precision,
        jnp.where(nothing, jnp.nan, count / pixels),
    )


def sign_scores(
    values: Float[Array, "b h w c"],
    marks: Float[Array, "b m h w c"],
    direction: Float[Array, "b m"],
) -> SignScores:
    """Scores the signs of a map on the marks that have a direction.

    Args:
      values: `[b, h, w, c]`, positive where the map says that brighter helps the target.
      marks: `[b, m, h, w, c]`, from `footprints`; marks don't overlap.
      direction: `[b, m]`, from `directions`.

    Returns:
      `SignScores`.

    Raises:
      TypeError, ValueError: values of another rank or type, marks of another shape.

    >>> import jax.numpy as jnp
    >>> from signsal_jax import truth
    >>> values = jnp.asarray([2.0, -1.0, 0.0, 5.0]).reshape(1, 1, 4, 1)
    >>> marks = jnp.asarray([[1.0, 1, 1, 0], [0, 0, 0, 1]]).reshape(1, 2, 1, 4, 1)
    >>> scores = truth.sign_scores(values, marks, jnp.asarray([[1.0, 0.0]]))
    >>> scores.pixels.tolist(), round(float(scores.covered[0]), 3), scores.marks[0].tolist()
    ([0.5], 0.667, [1.0, nan])
    """
    values = _checks.check_numbers("values", values, ranks=(4,))
    marks = _checks.check_numbers("marks", marks, ranks=(5,))
    if marks.shape[:1] + marks.shape[2:] != values.shape:
        raise ValueError(f"marks: expected [b, m] + {values.shape[1:]}, got {marks.shape}")
    wanted = (marks * direction[:, :, None, None, None]).sum(1)
    asked = wanted != 0
    signed = asked & (values != 0)
    right = signed & (jnp.sign(values) == wanted)
    axes = (1, 2, 3)
    sums = (marks * values[:, None]).sum((2, 3, 4))
    by_mark = (jnp.sign(sums) == direction).astype(values.dtype)
    return SignScores(
        _ratio(right.sum(axes), signed.sum(axes)),
        _ratio(signed.sum(axes), asked.sum(axes)),
        jnp.where(direction == 0, jnp.nan, by_mark),
    )


def rival_scores(
    named: Int[Array, "b h w"], marks: Float[Array, "b m h w c"], rival: Int[Array, "b m"]
) -> Float[Array, "b m"]:
    """Scores the class that a map names as the rival, on marks that concern a single one.

    Args:
      named: `[b, h, w]`, the class that the map names, such as `Saliency.runner_up`.
      marks: `[b, m, h, w, c]`, from `footprints`.
      rival: `[b, m]`, from `only_rivals`; -1 for marks that are not asked about.

    Returns:
      `[b, m]`, the share of the mark's pixels where the class is right; NaN where not asked.

    Raises:
      ValueError: names of another shape.

    >>> import jax.numpy as jnp
    >>> from signsal_jax import truth
    >>> named, marks = jnp.asarray([[[2, 2, 1, 0]]]), jnp.ones((1, 1, 1, 4, 1))
    >>> truth.rival_scores(named, marks, jnp.asarray([[2]])).tolist()
    [[0.5]]
    """
    if marks.shape[:1] + marks.shape[2:4] != named.shape:
        raise ValueError(f"named: expected {marks.shape[:1] + marks.shape[2:4]}, got {named.shape}")
    pixels = (marks != 0).any(-1)
    right = pixels & (named[:, None] == rival[:, :, None, None])
    return jnp.where(rival < 0, jnp.nan, _ratio(right.sum((2, 3)), pixels.sum((2, 3))))
