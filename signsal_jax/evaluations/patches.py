"""Single-patch deletion: do the signed sums of patches rank them as their deletion does?"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int

from signsal_jax import _checks, _image_checks
from signsal_jax._jaxpr import run_once
from signsal_jax._types import AnyArray, ApplyFn, Images, Variables
from signsal_jax.evaluations._ranks import rank_correlation
from signsal_jax.evaluations._scores import check_values, logits_of, target_logit
from signsal_jax.evaluations.claims import claimed_values
from signsal_jax.evaluations.controls import control_maps
from signsal_jax.evaluations.entry import (
    GRADIENTS,
    MAPS,
    Classified,
    Entry,
    NetworkResult,
    Options,
    labelled,
)
from signsal_jax.evaluations.perturbation import FILLS, fill_values

GRID = 4
PATCH_CONTROLS = ("laplace", "gradient_x_difference")


class PatchRanks(NamedTuple):
    """How a map ranks patches (see `patch_deletion`).

    Attributes:
      correlation: `[b]`, Spearman's rank correlation of the patches' signed sums with the drops of
        the target's logit, in [-1, 1]; 0 where either is the same for all patches.
      valid: `[b]`, whether no logit and no value is NaN.
    """

    correlation: Float[Array, " b"]
    valid: Bool[Array, " b"]


def patch_deletion(
    apply_fn: ApplyFn,
    variables: Variables,
    images: Images,
    values: Mapping[str, Float[AnyArray, "b h w c"]],
    target: Int[AnyArray, " b"],
    *,
    fill: Any = "black",
    grid: int = GRID,
    precision: str | None = "highest",
) -> dict[str, PatchRanks]:
    """Deletes one patch at a time; compares the drops of the logit with signed sums of patches.

    Deletes `grid` x `grid` patches that share no pixel. Unlike a deletion curve, the network never
    sees more than one patch missing; unlike the protocol that this follows, it was not trained
    with missing patches.

    Cost: one forward pass for each patch and one more, however many maps.

    Args:
      apply_fn: `apply_fn(variables, images) -> logits`, see `signsal_jax.ApplyFn`.
      variables: the classifier's pytree of weights.
      images: float `[b, h, w, c]`, pixels in [0, 1].
      values: by name, signed values `[b, h, w, c]`: how much a pixel's deletion lowers the
        logit. Gradients point to brighter: pass `claimed_values` for black, and minus that for
        white.
      target: the class explained, `[b]`.
      fill: what a patch is filled with, see `delete`.
      grid: patches along each side, at least 2 and at most the image's.
      precision: of float32 products, see `signed_jacobian`.

    Returns:
      By name `PatchRanks`.

    Raises:
      TypeError, ValueError: wrong shapes, an unknown fill, a grid that does not fit.

    Reference: IDSDS, arXiv 2407.11910 (4 x 4 patches, Spearman's rank correlation).

    >>> import jax.numpy as jnp
    >>> from signsal_jax.evaluations import patch_deletion
    >>> def apply_fn(variables, images):
    ...     return jnp.einsum("bhwc,khwc->bk", images, variables)
    >>> weights = jnp.arange(8.0).reshape(2, 2, 2, 1)
    >>> found = patch_deletion(apply_fn, weights, jnp.ones((1, 2, 2, 1)),
    ...     {"true": weights[:1], "opposite": -weights[:1]}, jnp.asarray([0]), grid=2)
    >>> [round(float(found[name].correlation[0]), 3) for name in found]
    [1.0, -1.0]
    """
    _checks.check_classifier(apply_fn)
    _image_checks.check_image_batch(images)
    images, target = jnp.asarray(images), jnp.asarray(target)
    grid = _checks.check_integer("grid", grid, least=2, most=min(images.shape[1:3]))
    filled = fill_values(fill, images)
    values = check_values(values, images)
    # Patches as equal as can be where the grid does not divide the image.
    rows, columns = (jnp.arange(size) * grid // size for size in images.shape[1:3])
    patch = rows[:, None] * grid + columns[None]

    def score(images: Array) -> Array:
        return target_logit(logits_of(apply_fn, variables, images, precision), target)

    def without(number: Array) -> Array:
        return score(jnp.where((patch == number)[None, :, :, None], filled, images))

    numbers = jnp.arange(grid**2)
    drops = score(images)[None] - run_once(lambda numbers: jax.lax.map(without, numbers), numbers)
    found = {}
    for name, array in values.items():
        sums = jnp.zeros((len(images), grid**2), array.dtype)
        sums = sums.at[:, patch].add(array.sum(3))
        valid = ~jnp.isnan(drops).any(0) & ~jnp.isnan(sums).any(1)
        found[name] = PatchRanks(rank_correlation(sums, drops.T), valid)
    return found


def _of_network(batch: Classified) -> NetworkResult:
    assert batch.extrema is not None
    options, extrema, images = batch.options, batch.extrema, batch.images
    key = jax.random.key(options.control_seed)
    correlations, valid = [], []
    for fill, level in FILLS.items():
        # Becoming black lowers what is brighter by nature; becoming white raises it.
        direction = 1 - 2 * level
        values = {method: direction * claimed_values(method, extrema) for method in options.methods}
        edges = control_maps(key, images, extrema.gradient)["laplace"][..., None]
        values |= {
            "laplace": jnp.broadcast_to(edges, images.shape),
            "gradient_x_difference": extrema.gradient * (images - level),
        }
        found = patch_deletion(
            batch.apply_fn,
            batch.variables,
            images,
            values,
            extrema.target,
            fill=fill,
            precision=options.precision,
        )
        correlations.append(jnp.stack([one.correlation for one in found.values()], 1))
        valid += [one.valid for one in found.values()]
    return NetworkResult({"patch_ranks": jnp.stack(correlations, 1)}, jnp.stack(valid).all(0))


def _labels(options: Options) -> Mapping[str, Sequence[Any]]:
    return {"patch_fill": list(FILLS), "patch_map": [*options.methods, *PATCH_CONTROLS]}


ENTRY = Entry(
    "patches",
    arrays=labelled("patch_ranks", _labels),
    needs=frozenset({MAPS, GRADIENTS}),
    of_network=_of_network,
    mean=("patch_ranks",),
    labels=_labels,
)
