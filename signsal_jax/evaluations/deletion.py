"""The black and white deletion benchmark: rank pixels by a map, delete them, classify again."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float

from signsal_jax import _checks, _image_checks
from signsal_jax._precision import matmul_precision
from signsal_jax._types import AnyArray, ApplyFn, Images, Variables
from signsal_jax.evaluations._curves import (
    curve_labels,
    curve_specs,
    perturbation_curves,
    stacked,
)
from signsal_jax.evaluations.entry import MAPS, Classified, Entry, NetworkResult
from signsal_jax.evaluations.perturbation import FILLS, PAPER_FRACTIONS
from signsal_jax.gradients import CONTRASTS

PAPER_CURVES = (
    ("black", "vanilla"),
    ("black", "positive"),
    ("black", "active"),
    ("white", "vanilla"),
    ("white", "negative"),
    ("white", "inactive"),
)
# What favors the target where brighter is deleted by black, where darker by white.
OTHER_CURVES = (
    ("black", "active_margin"),
    ("white", "inactive_margin"),
    *(
        (fill, f"{against}_contrast{part}")
        for against in CONTRASTS
        for fill, parts in (("black", ("", "_positive")), ("white", ("", "_negative")))
        for part in parts
    ),
)


class DeletionCurve(NamedTuple):
    """One deletion curve, image by image (see `deletion_curve`).

    Attributes:
      agreement: `[b, f]`, true where the predicted class is that of the untouched image.
      deleted: `[b, f]`, the share of pixels actually deleted, in [0, 1].
      valid: `[b]`, true where map and logits are free of NaN; elsewhere agreement means nothing.
    """

    agreement: Bool[Array, "b f"]
    deleted: Float[Array, "b f"]
    valid: Bool[Array, " b"]


def deletion_curve(
    apply_fn: ApplyFn,
    variables: Variables,
    images: Images,
    maps: Float[AnyArray, "b h w"],
    *,
    fill: Any = "black",
    fractions: Sequence[float] | np.ndarray = PAPER_FRACTIONS,
    rule: str = "paper",
    precision: str | None = "highest",
) -> DeletionCurve:
    """Deletes the most salient pixels step by step and watches the predicted class.

    Args:
      apply_fn: `apply_fn(variables, images) -> logits`, see `signsal_jax.ApplyFn`.
      variables: the classifier's pytree of weights.
      images: float `[b, h, w, c]`, pixels in [0, 1].
      maps: saliency maps `[b, h, w]`, higher means deleted earlier.
      fill: "black" (0), "white" (1), a number, one value per channel `[c]`, or an image
        `[h, w, c]` or `[b, h, w, c]`, such as the blurred input.
      fractions: shares of deleted pixels, each in [0, 1].
      rule: "paper" or "exact", see `deletion_masks`.
      precision: of float32 products, see `signed_jacobian`.

    Returns:
      `DeletionCurve`: per image and fraction the agreement with the untouched image's
      prediction (not the label) and the share of pixels actually deleted.

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
        precision=precision,
    )
    return curves["fill", "map"]


def _check_curves(curves: Any, fills: Any, maps: Any) -> None:
    """Raises unless every curve is a pair of names that `fills` and `maps` know."""
    for argument, values in (("fills", fills), ("maps", maps)):
        if not isinstance(values, Mapping):
            raise TypeError(
                f"{argument}: expected a mapping by name, such as saliency.maps, got "
                f"{type(values).__name__}"
            )
    if isinstance(curves, str) or not isinstance(curves, Sequence):
        raise TypeError(f"curves: expected a sequence of pairs (fill, map), got {curves!r:.80}")
    for curve in curves:
        if not isinstance(curve, tuple | list) or len(curve) != 2:
            raise ValueError(f"curves: expected pairs (fill, map), got {curve!r}")
        _checks.check_member("curves (fill)", curve[0], tuple(fills))
        _checks.check_member("curves (map, of `maps`)", curve[1], tuple(maps))


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
    precision: str | None = "highest",
) -> OrderedDict[tuple[str, str], DeletionCurve]:
    """Computes several curves: classifies the untouched images once, and sorts each map once.

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
      precision: of float32 products, see `signed_jacobian`.

    Returns:
      A `DeletionCurve` for each pair in `curves`, in an OrderedDict, because jit keeps its order.

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
    _checks.check_classifier(apply_fn)
    _image_checks.check_image_batch(images)
    _image_checks.warn_of_pixel_range(images)
    images = jnp.asarray(images)
    _check_curves(curves, fills, maps)
    curves = tuple(curves)
    with matmul_precision(precision):
        logits = apply_fn(variables, images)
    _checks.check_logits(logits, images.shape[0])
    found = perturbation_curves(
        apply_fn,
        variables,
        images,
        {name: _checks.check_numbers("maps", maps[name]) for _, name in curves},
        jnp.argmax(logits, axis=1),
        curves=curves,
        fills=fills,
        fractions=fractions,
        rule=rule,
        precision=precision,
        insert=False,
    )
    numbers = ~jnp.isnan(logits).any(1)
    return OrderedDict(
        (name, DeletionCurve(curve.agreement, curve.share, curve.valid & numbers))
        for name, curve in found.items()
    )


def _of_network(batch: Classified) -> NetworkResult:
    options = batch.options
    found = perturbation_curves(
        batch.apply_fn,
        batch.variables,
        batch.images,
        batch.maps,
        batch.predicted,
        curves=options.curves,
        fills=FILLS,
        fractions=options.fractions,
        rule=options.rule,
        precision=options.precision,
        insert=False,
    )
    return stacked(found, agreement="agreement", share="deleted")


ENTRY = Entry(
    "deletion",
    arrays=lambda options, _: curve_specs(
        "curve", len(options.curves), options, agreement="agreement", share="deleted"
    ),
    needs=frozenset({MAPS}),
    of_network=_of_network,
    mean=("agreement", "deleted"),
    labels=lambda options: curve_labels("curve", options.curves, options),
)
