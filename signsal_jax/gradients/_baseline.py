"""Baselines: what an image is compared with."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from signsal_jax import _checks

_EXPECTED = (
    "baseline: expected a number, one value per channel [c], or an image [h, w, c] or [b, h, w, c]"
)


def check_baseline(baseline: Any) -> Array | np.ndarray:
    """Returns a baseline as an array; raises if no images could have it."""
    if not isinstance(baseline, Array):
        baseline = _checks.as_array("baseline", baseline)
    if not (jnp.issubdtype(baseline.dtype, jnp.floating) or baseline.dtype.kind in "iu"):
        raise TypeError(f"baseline: expected real numbers, got {baseline.dtype}")
    if baseline.ndim == 2 or baseline.ndim > 4:
        raise ValueError(f"{_EXPECTED}, got shape {baseline.shape}")
    return baseline


def baseline_of(baseline: Any, images: Array) -> Array:
    """Returns the baseline in the images' dtype, as an array that broadcasts to them."""
    values = jnp.asarray(baseline, images.dtype)
    accepted = [images.shape[start:] for start in (4, 3, 1, 0)]
    if values.shape not in accepted:
        raise ValueError(f"{_EXPECTED} like the images {images.shape}, got shape {values.shape}")
    return values.reshape((1,) * (4 - values.ndim) + values.shape)
