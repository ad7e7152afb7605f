"""Figures from per-image agreements: fidelity, AUC, bootstrap intervals."""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float

from signsal_jax import _checks
from signsal_jax._precision import at_least_float32
from signsal_jax._types import AnyArray


class Interval(NamedTuple):
    """A mean over images with its bootstrap confidence bounds."""

    mean: Float[Array, "..."]
    low: Float[Array, "..."]
    high: Float[Array, "..."]


def fidelity(
    agreement: Bool[AnyArray, " b *f"], mask: Bool[AnyArray, " b"] | None = None
) -> Float[Array, "*f"]:
    """Returns the share of images that keep the predicted class of the untouched image.

    Args:
      agreement: per image (and fraction), whether the prediction is unchanged.
      mask: `[b]`, false for padding; None counts every image.

    Returns:
      `[*f]`, in [0, 1]; NaN when no image counts.

    Raises:
      TypeError, ValueError: agreement or a mask that is not boolean, a mask whose shape is not
        `[b]`.

    Reference: arXiv 2309.12913, there also called allegiance.

    >>> import jax.numpy as jnp, signsal_jax
    >>> signsal_jax.fidelity(jnp.asarray([[True, True], [True, False]])).tolist()
    [1.0, 0.5]
    """
    _checks.check_boolean("agreement", agreement)
    agreement = jnp.asarray(agreement)
    if agreement.ndim == 0:
        raise ValueError("agreement: expected shape [b, ...], got a single value")
    if mask is None:
        mask = jnp.ones(agreement.shape[:1], bool)
    _checks.check_boolean("mask", mask)
    mask = jnp.asarray(mask)
    if mask.shape != agreement.shape[:1]:
        raise ValueError(f"mask: expected shape {agreement.shape[:1]}, got {mask.shape}")
    mask = mask.reshape(-1, *[1] * (agreement.ndim - 1))
    return jnp.where(mask, agreement, False).sum(0) / mask.sum()


def auc(curve: Any, fractions: Sequence[float] | np.ndarray) -> Float[Array, "..."]:
    """Computes the area under a deletion curve by the trapezoid rule, not divided by the range.

    Args:
      curve: `[..., f]`, such as fidelity, or per-image agreements for per-image areas.
      fractions: the `f` fractions of deleted pixels, in [0, 1] and increasing.

    Returns:
      `[...]`. Lower is better: the map found the pixels that mattered. For the paper's
      fractions (0 to 0.9) a curve that never falls has the area 0.9.

    Raises:
      TypeError, ValueError: fractions outside [0, 1], not increasing, or not as many as the
        curve has points.

    Reference: arXiv 2309.12913, AUC of the deletion curves.

    >>> import signsal_jax
    >>> round(float(signsal_jax.auc([1.0, 0.5, 0.5], [0.0, 0.5, 0.9])), 4)
    0.575
    """
    curve = _checks.check_numbers("curve", curve)
    fractions = _checks.check_fractions(fractions)
    curve = curve.astype(at_least_float32(curve.dtype))
    if len(fractions) < 2 or (np.diff(fractions) <= 0).any():
        raise ValueError(f"fractions: expected at least two, increasing; got {fractions}")
    if curve.shape[-1:] != (len(fractions),):
        raise ValueError(
            f"curve: expected {len(fractions)} points along its last axis, got {curve.shape}"
        )
    # A weighted sum makes the area of a mean curve exactly the mean of the areas.
    steps = np.diff(fractions)
    weights = (np.append(steps, 0) + np.append(0, steps)) / 2
    return curve @ jnp.asarray(weights, curve.dtype)


@functools.partial(jax.jit, static_argnums=2)
def _resampled_means(key: Array, values: Array, num_resamples: int) -> Array:
    """Returns the mean of each resample of the rows; jitted here, because callers are not."""
    count = len(values)

    def resampled_mean(key: Array) -> Array:
        return values[jax.random.randint(key, (count,), 0, count)].mean(0)

    return jax.lax.map(resampled_mean, jax.random.split(key, num_resamples))


def bootstrap_interval(
    key: Array,
    values: Any,
    *,
    confidence: float = 0.95,
    num_resamples: int = 1000,
) -> Interval:
    """Computes a percentile bootstrap interval for the mean over images.

    Columns are resampled together, so intervals of several methods use the same images.
    The AUC of a mean curve is the mean of per-image AUCs: pass `auc(agreement, fractions)`.

    Args:
      key: a `jax.random` key; the same key gives the same interval.
      values: `[n, ...]`, one row per image.
      confidence: in (0, 1).
      num_resamples: the number of resamples of n images, at least 1.

    Returns:
      `Interval` of arrays `[...]`: the mean of the values, the lower and the upper bound.

    Raises:
      ValueError: no images, a confidence outside (0, 1), or fewer than one resample.

    Reference: Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapter 13.

    >>> import jax, jax.numpy as jnp, signsal_jax
    >>> interval = signsal_jax.bootstrap_interval(jax.random.key(0), jnp.full((20,), 0.25))
    >>> [float(bound) for bound in interval]
    [0.25, 0.25, 0.25]
    """
    _checks.check_key("key", key)
    values = _checks.check_numbers("values", values)
    values = values.astype(at_least_float32(values.dtype))
    if values.ndim == 0 or len(values) == 0:
        raise ValueError(f"values: expected shape [n, ...] with n >= 1, got {values.shape}")
    confidence = _checks.check_share("confidence", confidence)
    num_resamples = _checks.check_integer("num_resamples", num_resamples, least=1)
    means = _resampled_means(key, values, num_resamples)
    tail = (1 - confidence) / 2
    low, high = jnp.quantile(means, jnp.asarray([tail, 1 - tail], means.dtype), axis=0)
    return Interval(values.mean(0), low, high)


def paired_difference(
    key: Array,
    first: Any,
    second: Any,
    *,
    confidence: float = 0.95,
    num_resamples: int = 1000,
) -> Interval:
    """Computes a bootstrap interval for the mean difference `first - second` on the same images.

    Args:
      key: a `jax.random` key.
      first: `[n, ...]`, one row per image, such as per-image AUCs of one method.
      second: `[n, ...]`, the same images, another method.
      confidence: in (0, 1).
      num_resamples: the number of resamples of n images, at least 1.

    Returns:
      `Interval` of arrays `[...]`; an upper bound below 0 means that `first` is lower.

    Raises:
      ValueError: shapes that differ; otherwise as `bootstrap_interval`.

    >>> import jax, jax.numpy as jnp, signsal_jax
    >>> first, second = jnp.full((9,), 0.25), jnp.full((9,), 0.75)
    >>> float(signsal_jax.paired_difference(jax.random.key(0), first, second).mean)
    -0.5
    """
    first, second = (
        values.astype(at_least_float32(values.dtype))
        for values in (
            _checks.check_numbers("first", first),
            _checks.check_numbers("second", second),
        )
    )
    if first.ndim == 0 or len(first) == 0:
        raise ValueError(f"first: expected shape [n, ...] with n >= 1, got {first.shape}")
    if first.shape != second.shape:
        raise ValueError(f"second: expected the shape of first, {first.shape}, got {second.shape}")
    return bootstrap_interval(
        key, first - second, confidence=confidence, num_resamples=num_resamples
    )
