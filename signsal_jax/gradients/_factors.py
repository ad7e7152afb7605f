"""The two factors of all class gradients: of the scores by features, and of features by pixels.

The scores depend on an image only through the D features at the network's narrowest place. So a
class gradient is a weighted sum of the D feature gradients, with the derivative of the score as
weights: D pullbacks instead of one per class.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from signsal_jax._precision import at_least_float32, matmul_precision
from signsal_jax._types import ApplyFn, Gradients, Images, Logits, Variables
from signsal_jax._vma import varying_like
from signsal_jax.gradients._cut import Cut, Features, features_of, logits_from
from signsal_jax.gradients._estimator import Estimator
from signsal_jax.gradients._jacobian import class_rows
from signsal_jax.gradients._linearize import linearize
from signsal_jax.gradients._plain import scores_of
from signsal_jax.gradients._products import ScoreWeights
from signsal_jax.sharding import from_first

FeatureRows = Float[Array, "b _ h w c"]
Result = TypeVar("Result")


@dataclasses.dataclass(frozen=True)
class Factors:
    """The class gradients of a batch as products of two factors, inside one program.

    Attributes:
      cut: where the features are.
      logits: `[b, k]`.
      weights: the derivatives of the scores by the features `[n, k, e]`: n = 1 if they are the
        same for all images, otherwise b; e = D, padded with zeros for an axis of devices.
      rows: the gradients of all features in this device's pixels and channels `[b, e, m]`.
      axis: the mesh axis whose devices share the pixels; None without.
      own: the features whose gradients this device has in all pixels.
      own_rows: their gradients `[b, _, h, w, c]`.
    """

    cut: Cut
    logits: Logits
    weights: ScoreWeights
    rows: Float[Array, "b e m"]
    axis: str | None
    own: Int[Array, " _"]
    own_rows: FeatureRows

    def total(self, values: Array) -> Array:
        """Sums what was computed of this device's pixels over all devices."""
        return values if self.axis is None else jax.lax.psum(values, self.axis)

    def everywhere(self, values: Any) -> Any:
        """Marks values that are equal on all devices, which JAX cannot know, as equal."""
        if self.axis is None:
            return values
        axis = self.axis
        return jax.tree.map(lambda leaf: from_first(leaf, axis), values)

    def pullback(self, cotangent: Float[Array, "b k"]) -> Gradients:
        """Pulls back any cotangent of the scores."""
        weights = jnp.take(self.weights, self.own, axis=2, mode="fill", fill_value=0)
        highest = jax.lax.Precision.HIGHEST
        wide = at_least_float32(self.own_rows.dtype)
        weights = jnp.broadcast_to(weights, (len(self.rows), *weights.shape[1:]))
        mixed = jnp.einsum("bk,bkd->bd", cotangent, weights, precision=highest).astype(wide)
        rows = self.own_rows.astype(wide)
        summed = self.total(jnp.einsum("bd,bdhwc->bhwc", mixed, rows, precision=highest))
        return summed.astype(self.own_rows.dtype)


def compute_factors(
    apply_fn: ApplyFn,
    variables: Variables,
    images: Images,
    cut: Cut,
    *,
    output: str = "logits",
    class_chunk: int | None,
    precision: str | None,
    estimator: Estimator,
    axis: str | None = None,
) -> Factors:
    """Computes the two factors of the class gradients by one pullback per feature.

    Inside `shard_map`, `axis` is the one whose devices share the features of an image. Each pulls
    back some features for all pixels; one all-to-all gives it all features of some pixels.
    """
    features, pullback = linearize(
        features_of(cut, apply_fn), variables, images, estimator=estimator, precision=precision
    )
    logits, weights = score_weights(
        apply_fn, variables, images, features, cut, output=output, precision=precision
    )
    own = own_features(cut, axis)
    own = jnp.broadcast_to(own[None], (len(features), len(own)))
    own_rows = class_rows(pullback, own, features, class_chunk)
    return assemble(cut, logits, weights, own_rows, axis)


def own_features(cut: Cut, axis: str | None) -> Int[Array, " _"]:
    """Returns the features that a device pulls back; indices from D on are padding."""
    devices = 1 if axis is None else jax.lax.axis_size(axis)
    share = -(-cut.width // devices)
    place = 0 if axis is None else jax.lax.axis_index(axis)
    return place * share + jnp.arange(share)


def assemble(
    cut: Cut, logits: Logits, weights: ScoreWeights, own_rows: FeatureRows, axis: str | None
) -> Factors:
    """Makes the factors of the gradients of each device's own features, by one all-to-all."""
    own = own_features(cut, axis)
    rows = own_rows.reshape(*own_rows.shape[:2], -1)
    if axis is not None:
        logits = from_first(logits, axis)
        rows, weights = _by_pixels(rows, weights, axis)
    return Factors(cut, logits, weights, rows, axis, own, own_rows)


def score_weights(
    apply_fn: ApplyFn,
    variables: Variables,
    images: Images,
    features: Features,
    cut: Cut,
    *,
    output: str,
    precision: str | None,
) -> tuple[Logits, ScoreWeights]:
    """Computes the logits and the derivatives of the scores by the features `[n, k, d]`.

    By forward derivatives, whose number is that of the features and not of the classes.
    """

    def tail(features: Features) -> tuple[Array, Logits]:
        logits = logits_from(cut, apply_fn, variables, images, features)
        return scores_of(logits, output), logits

    same = cut.affine and output == "logits"
    with matmul_precision(precision):
        _, logits = tail(features)
        # Where they are the same for all images, of two: one may be another program.
        some = features[:2] if same else features
        _, slope = jax.linearize(lambda some: tail(some)[0], some)
        shape = (cut.width, len(some), cut.width)
        each = jnp.broadcast_to(jnp.eye(cut.width, dtype=features.dtype)[:, None], shape)
        weights = jnp.moveaxis(jax.vmap(slope)(varying_like(each, features)), 0, 2)
    return logits, weights[:1] if same else weights


def head_weights(
    apply_fn: ApplyFn, variables: Variables, images: Images, cut: Cut, *, precision: str | None
) -> Float[Array, "k d"]:
    """Computes the derivatives of the scores by the features behind an affine cut.

    They are the same for any images.
    """
    features = features_of(cut, apply_fn)(variables, images)
    settings: dict[str, Any] = {"output": "logits", "precision": precision}
    return score_weights(apply_fn, variables, images, features, cut, **settings)[1][0]


def _by_pixels(
    rows: Float[Array, "b _ n"], weights: ScoreWeights, axis: str
) -> tuple[Float[Array, "b e m"], Float[Array, "_ k e"]]:
    """Inside `shard_map`: trades some features of all pixels for all features of some pixels.

    Pixels are padded to a multiple of the devices, the features to as many on each device.
    """
    devices = jax.lax.axis_size(axis)
    if devices == 1:
        return rows, weights
    padded = jnp.pad(rows, ((0, 0), (0, 0), (0, -rows.shape[2] % devices)))
    exchanged = jax.lax.all_to_all(padded, axis, split_axis=2, concat_axis=1, tiled=True)
    missing = exchanged.shape[1] - weights.shape[2]
    return exchanged, jnp.pad(weights, ((0, 0), (0, 0), (0, missing)))


def in_groups(function: Callable[..., Result], size: int, *args: Any) -> Result:
    """Applies a function of arrays `[b, ...]` to `size` images at a time.

    Args:
      function: returns a pytree of arrays with the images along their first axis.
      size: a divisor of b.
      *args: pytrees of arrays with the images along their first axis.
    """
    batch = len(jax.tree.leaves(args)[0])
    if size == batch:
        return function(*args)
    split = jax.tree.map(lambda a: a.reshape(-1, size, *a.shape[1:]), args)
    found = jax.lax.map(lambda some: function(*some), split)
    return jax.tree.map(lambda a: a.reshape(batch, *a.shape[2:]), found)
